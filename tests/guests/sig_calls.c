/* SPDX-License-Identifier: BSD-2-Clause
 * sig_calls.c -- signals that arrive anywhere in calls and returns: at each instruction that a
 * handler is shown, all registers, the flags and the words at and below the stack pointer are what
 * they are natively.
 * guest: timeout=60 */
#define _GNU_SOURCE
#include "guest.h"

#include <pthread.h>
#include <signal.h>
#include <ucontext.h>
#include <unistd.h>

#define SIGNALS 20000

/* Calls of all kinds. r12 to r15, rbp, rax, rcx, rdx, rsi and rdi hold constants all along; flags:
 * carry is set. rbx counts. Labels: callees, places that are returned to. */
void calls(volatile int *stop);
extern const char calls_begin[], calls_end[], callee[], callee_ret[], far_callee[], ret1[], ret2[],
    ret3[], ret4[];
__asm__(".text\n.globl calls\ncalls:\n"
        "  push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n"
        "  mov %rdi, %r8\n xor %ebx, %ebx\n lea callee(%rip), %r9\n push %r9\n"
        "  mov $0x1111, %eax\n mov $0x3333, %ecx\n mov $0x4444, %edx\n mov $0x5555, %esi\n"
        "  mov $0x6666, %edi\n mov $0x7777, %ebp\n mov $0xcccc, %r12d\n mov $0xdddd, %r13d\n"
        "  mov $0xeeee, %r14d\n mov $0xffff, %r15d\n stc\n"
        ".globl calls_begin\ncalls_begin:\n"
        "  call callee\n.globl ret1\nret1:\n"
        "  call *%r9\n.globl ret2\nret2:\n"
        "  call *(%rsp)\n.globl ret3\nret3:\n"
        "  call far_callee\n.globl ret4\nret4:\n"
        "  lea 1(%rbx), %rbx\n"
        "  jmp 2f\n"
        ".globl callee\ncallee:\n"
        "  lea (%rbx), %r10\n"
        ".globl callee_ret\ncallee_ret:\n"
        "  ret\n"
        ".globl far_callee\nfar_callee:\n"
        "  call callee\n"
        "  ret $0\n"
        "2: mov (%r8), %r11d\n"
        "  lea -1(%r11), %r11d\n"
        "  movl %r11d, %r11d\n"
        "  mov %rcx, %r10\n"
        "  mov %r11, %rcx\n"
        "  jrcxz 3f\n"
        "  mov %r10, %rcx\n"
        "  jmp calls_begin\n"
        "3: mov %r10, %rcx\n"
        ".globl calls_end\ncalls_end:\n"
        "  pop %r9\n pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n"
        "  ret\n");

static unsigned long seen_callee, seen_return, seen_other, wrong;
static volatile int stop, running;
static uint64_t base_sp; /* at calls_begin; 0: not known yet */

static void note(int good)
{
    wrong += !good;
}

static int is_return_address(uint64_t a)
{
    return a == (uint64_t)ret1 || a == (uint64_t)ret2 || a == (uint64_t)ret3 ||
           a == (uint64_t)ret4 || a == (uint64_t)far_callee + 5;
}

static void check_registers(const greg_t *g)
{
    note(g[REG_RAX] == 0x1111 && g[REG_RDX] == 0x4444 && g[REG_RSI] == 0x5555);
    note(g[REG_RDI] == 0x6666 && g[REG_RBP] == 0x7777 && g[REG_R12] == 0xcccc);
    note(g[REG_R13] == 0xdddd && g[REG_R14] == 0xeeee && g[REG_R15] == 0xffff);
    note((g[REG_EFL] & 1) == 1);
}

static void handler(int sig, siginfo_t *info, void *context)
{
    const greg_t *g = ((ucontext_t *)context)->uc_mcontext.gregs;
    uint64_t pc = (uint64_t)g[REG_RIP], sp = (uint64_t)g[REG_RSP];
    const uint64_t *stack = (const uint64_t *)sp;

    if (pc < (uint64_t)calls_begin || pc >= (uint64_t)calls_end) {
        seen_other++;
        return;
    }
    check_registers(g);
    if (pc >= (uint64_t)ret1 && pc <= (uint64_t)ret4) {
        note(g[REG_RCX] == 0x3333);
    }
    if (pc == (uint64_t)callee || pc == (uint64_t)callee_ret || pc == (uint64_t)far_callee) {
        seen_callee++;
        note(g[REG_RCX] == 0x3333);
        note(is_return_address(stack[0]));
        note(sp == base_sp - 8 || sp == base_sp - 16);
    } else if (pc == (uint64_t)ret1 || pc == (uint64_t)ret2 || pc == (uint64_t)ret3) {
        seen_return++;
        note(stack[-1] == pc);
        note(sp == base_sp);
    } else if (pc == (uint64_t)calls_begin || pc == (uint64_t)ret4) {
        note(sp == base_sp);
    }
    (void)sig;
    (void)info;
}

static void *run(void *arg)
{
    stack_t alt = {.ss_sp = malloc(65536), .ss_size = 65536};

    CHECK(sigaltstack(&alt, NULL) == 0); /* the words below the stack pointer stay */
    __asm__ volatile("lea -72(%%rsp), %0" : "=r"(base_sp));
    running = 1;
    stop = 2;
    calls(&stop);
    return NULL;
}

/* Where exactly is the stack pointer at calls_begin? What most signals say. */
static void find_base(int sig, siginfo_t *info, void *context)
{
    const greg_t *g = ((ucontext_t *)context)->uc_mcontext.gregs;
    uint64_t pc = (uint64_t)g[REG_RIP];

    if (pc == (uint64_t)ret4 || (pc >= (uint64_t)callee - 6 && pc < (uint64_t)callee) ||
        pc == (uint64_t)calls_begin ||
        (pc > (uint64_t)far_callee + 7 && pc < (uint64_t)calls_end)) {
        base_sp = (uint64_t)g[REG_RSP];
        running = 2;
    }
    (void)sig;
    (void)info;
}

int main(void)
{
    struct sigaction sa = {.sa_sigaction = find_base,
                           .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
    pthread_t t;

    CHECK(sigaction(SIGUSR1, &sa, NULL) == 0);
    CHECK(pthread_create(&t, NULL, run, NULL) == 0);
    while (running != 2) {
        if (running == 1) {
            pthread_kill(t, SIGUSR1);
        }
        usleep(50);
    }
    sa.sa_sigaction = handler;
    CHECK(sigaction(SIGUSR2, &sa, NULL) == 0);
    for (int i = 0; i < SIGNALS; i++) {
        pthread_kill(t, SIGUSR2);
        if (i % 64 == 0) {
            usleep(10);
        }
    }
    stop = 1;
    CHECK(pthread_join(t, NULL) == 0);
    CHECK(wrong == 0);
    CHECK(seen_callee + seen_return + seen_other > 0);
    puts("registers and stack were right");
    return 0;
}
