/* SPDX-License-Identifier: BSD-2-Clause
 * flow_retstack.c -- what calls and returns leave behind: registers, flags, the words at and below
 * the stack pointer; stacks that can't be written or aren't there; return addresses that are
 * changed; calls that are met in several ways.
 * guest:
 * variant: pie
 * variant: nopie cflags=-no-pie
 * variant: static cflags=-static */
#define _GNU_SOURCE
#include "guest.h"

#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

/* Out: rax, rcx, rdx, rsi, rdi, r8..r11, flags behind a call whose callee does nothing. */
void all_registers(uint64_t out[10], void (*callee)(void), long direct);
uint64_t word_below(void), word_below_indirect(void (*f)(void));
void nothing(void);
long chain_on(const void *stack), ret_on(const void *stack), call_on(const void *stack);
extern const char chain1[], chain2[], chain_end[], ret_place[], call_place[];
__asm__(".text\n"
        ".globl nothing\nnothing: ret\n"
        ".globl all_registers\nall_registers:\n"
        "  push %rbx\n push %rbp\n mov %rdi, %rbx\n mov %rsi, %rbp\n mov %rdx, %rcx\n"
        "  mov $0x101, %eax\n mov $0x103, %edx\n mov $0x104, %esi\n mov $0x105, %edi\n"
        "  mov $0x106, %r8d\n mov $0x107, %r9d\n mov $0x108, %r10d\n mov $0x109, %r11d\n"
        "  jrcxz 1f\n mov $0x102, %ecx\n stc\n call nothing\n jmp 2f\n"
        "1: mov $0x102, %ecx\n stc\n call *%rbp\n"
        "2: mov %rax, (%rbx)\n mov %rcx, 8(%rbx)\n mov %rdx, 16(%rbx)\n mov %rsi, 24(%rbx)\n"
        "  mov %rdi, 32(%rbx)\n mov %r8, 40(%rbx)\n mov %r9, 48(%rbx)\n mov %r10, 56(%rbx)\n"
        "  mov %r11, 64(%rbx)\n pushf\n pop %rax\n and $0x8d5, %eax\n mov %rax, 72(%rbx)\n"
        "  pop %rbp\n pop %rbx\n ret\n"
        ".globl word_below\nword_below:\n"
        "  call nothing\n"
        "1: mov -8(%rsp), %rax\n lea 1b(%rip), %rcx\n sub %rcx, %rax\n ret\n"
        ".globl word_below_indirect\nword_below_indirect:\n"
        "  call *%rdi\n"
        "1: mov -8(%rsp), %rax\n lea 1b(%rip), %rcx\n sub %rcx, %rax\n ret\n"
        /* returns along a stack of addresses */
        ".globl chain_on\nchain_on:\n"
        "  mov %rsp, %r8\n mov $1, %eax\n mov %rdi, %rsp\n ret\n"
        ".globl chain1\nchain1: add $4, %eax\n ret\n"
        ".globl chain2\nchain2: imul $3, %eax, %eax\n ret\n"
        ".globl chain_end\nchain_end: mov %r8, %rsp\n ret\n"
        ".globl ret_on\nret_on:\n"
        "  mov %rsp, %r8\n mov %rdi, %rsp\n.globl ret_place\nret_place: ret\n"
        ".globl call_on\ncall_on:\n"
        "  mov %rsp, %r8\n mov %rdi, %rsp\n.globl call_place\ncall_place: call nothing\n ud2\n");

static sigjmp_buf env;
static uint64_t fault_pc, fault_sp, fault_addr;

static void on_fault(int sig, siginfo_t *info, void *context)
{
    const greg_t *g = ((ucontext_t *)context)->uc_mcontext.gregs;

    fault_pc = (uint64_t)g[REG_RIP];
    fault_sp = (uint64_t)g[REG_RSP];
    fault_addr = (uint64_t)info->si_addr;
    siglongjmp(env, sig);
}

static void check_registers(void)
{
    uint64_t r[2][10];

    all_registers(r[0], nothing, 1);
    all_registers(r[1], nothing, 0);
    for (int k = 0; k < 2; k++) {
        for (uint64_t i = 0; i < 9; i++) {
            CHECK(r[k][i] == 0x101 + i);
        }
    }
    CHECK((r[0][9] & 1) == 1 && (r[1][9] & 1) == 1);
    CHECK(word_below() == 0);
    CHECK(word_below_indirect(nothing) == 0);
}

/* Returning reads the stack and writes nothing: it may be read-only. */
static void check_read_only(uint64_t *page)
{
    const uint64_t words[4] = {(uint64_t)chain1, (uint64_t)chain2, (uint64_t)chain1,
                               (uint64_t)chain_end};

    CHECK(mprotect(page, 4096, PROT_READ | PROT_WRITE) == 0);
    memcpy(page + 256, words, sizeof(words));
    CHECK(chain_on(page + 256) == 19);
    memcpy(page + 256, words, sizeof(words));
    CHECK(mprotect(page, 4096, PROT_READ) == 0);
    CHECK(chain_on(page + 256) == 19);
    CHECK(memcmp(page + 256, words, sizeof(words)) == 0);
}

/* Faults: at the return or the call, with the stack pointer as it was before. */
static void check_faults(char *page)
{
    CHECK(mprotect(page, 4096, PROT_NONE) == 0);
    if (sigsetjmp(env, 1) == 0) {
        ret_on(page + 64);
        CHECK(0);
    }
    CHECK(fault_pc == (uint64_t)ret_place && fault_sp == (uint64_t)page + 64);
    CHECK(fault_addr == fault_sp);
    if (sigsetjmp(env, 1) == 0) {
        call_on(page + 64);
        CHECK(0);
    }
    CHECK(fault_pc == (uint64_t)call_place && fault_sp == (uint64_t)page + 64);
    CHECK(fault_addr == fault_sp - 8);
    CHECK(mprotect(page, 4096, PROT_READ) == 0);
    if (sigsetjmp(env, 1) == 0) {
        call_on(page + 64);
        CHECK(0);
    }
    CHECK(fault_pc == (uint64_t)call_place && fault_addr == fault_sp - 8);
}

/* One call that is met in a loop, from before the loop, and by a jump to right before it. */
__attribute__((noinline)) static long step(long x)
{
    __asm__ volatile("" : "+r"(x));
    return x * 3 + 1;
}

__attribute__((noinline)) static long met_in_many_ways(int from, int n)
{
    long x = from;

    if (from == 1) {
        goto inside;
    }
    if (from == 2) {
        x += 5;
        goto late;
    }
    for (; n > 0; n--) {
        x ^= 1;
inside:
        x += 2;
late:
        x = step(x);
        if (x & 4) {
            x -= 3;
            continue;
        }
        x &= 0xffff;
    }
    return x;
}

int main(void)
{
    struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    stack_t alt = {.ss_sp = malloc(65536), .ss_size = 65536};
    char *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    long sum = 0;

    CHECK(page != MAP_FAILED && sigaltstack(&alt, NULL) == 0);
    CHECK(sigaction(SIGSEGV, &sa, NULL) == 0 && sigaction(SIGBUS, &sa, NULL) == 0);
    for (int i = 0; i < 200; i++) {
        check_registers();
        check_read_only((uint64_t *)page);
        check_faults(page);
        for (int from = 0; from < 3; from++) {
            sum = sum * 31 + met_in_many_ways(from, i);
        }
    }
    printf("%ld\n", sum);
    return 0;
}
