/* SPDX-License-Identifier: BSD-2-Clause
 * sig_singlestep.c -- TF, the trap flag, set by popf, iretq and sigreturn: a SIGTRAP behind each
 * instruction, with everything that changes the flow between. */
#define _GNU_SOURCE
#include "guest.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#define TF 0x100

extern char step_start[];

static struct {
    int sig, code;
    long at, address, trapno, tf;
} seen[400];
static volatile int nseen;
static volatile int stop_at = -1;
static volatile long alarms;

static void handler(int sig, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    greg_t *g = uc->uc_mcontext.gregs;
    if (nseen < 400) {
        seen[nseen].sig = sig;
        seen[nseen].code = info->si_code;
        seen[nseen].at = g[REG_RIP] - (long)step_start;
        seen[nseen].address = (long)info->si_addr - (long)step_start;
        seen[nseen].trapno = g[REG_TRAPNO];
        seen[nseen].tf = (g[REG_EFL] & TF) != 0;
        nseen++;
    }
    if (sig == SIGILL || sig == SIGSEGV) {
        g[REG_RIP] += 2;
    }
    if (nseen == stop_at) {
        g[REG_EFL] &= ~TF;
    }
}

/* Sets TF for what it interrupts. */
static void setter(int sig, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    uc->uc_mcontext.gregs[REG_EFL] |= TF;
}

static void on_alarm(int sig)
{
    alarms++;
}

/* rdi: to store what pushf pushes; rsi: writable memory */
unsigned long step_run(unsigned long *flags, unsigned long *memory);
__asm__(".text\n"
        "step_run:\n"
        "    push %rbx\n"
        "    sub $256, %rsp\n"
        "    pushf\n"
        "    orl $0x100, (%rsp)\n"
        "step_start:\n"
        "    popf\n"
        "    nop\n"
        "    mov $3, %ecx\n"
        "1:  dec %ecx\n"
        "    jnz 1b\n"
        "    pushf\n"
        "    pop %rax\n"
        "    mov %rax, (%rdi)\n"
        "    jmp 2f\n"
        "    nop\n"
        "2:  jz 3f\n"
        "    nop\n"
        "3:  jnz 2b\n"
        "    call 8f\n"
        "    lea 4f(%rip), %rax\n"
        "    jmp *%rax\n"
        "    nop\n"
        "4:  lea 8f(%rip), %rax\n"
        "    mov %rax, 8(%rsp)\n"
        "    call *8(%rsp)\n"
        "    call *%rax\n"
        "    lea 5f(%rip), %rax\n"
        "    mov %rax, (%rsi)\n"
        "    jmp *(%rsi)\n"
        "5:  mov $2, %ecx\n"
        "6:  loop 6b\n"
        "    xor %ecx, %ecx\n"
        "    jrcxz 7f\n"
        "    nop\n"
        "7:  mov $39, %eax\n"
        "    syscall\n"
        "    nop\n"
        "    mov $39, %eax\n"
        "    syscall\n"
        "    mov %r11, 8(%rdi)\n"
        "    ud2\n"
        "    mov %ss, %eax\n"
        "    mov %eax, %ss\n"
        "    nop\n"
        "    int3\n"
        "    nop\n"
        "    xor %eax, %eax\n"
        "    .byte 0x8b, 0x00\n" /* mov (%rax), %eax */
        "    cpuid\n"
        "    fld1\n"
        "    fstp %st\n"
        "    vzeroupper\n"
        "    mov %fs:0, %rax\n"
        "    movq $0, (%rsi)\n"
        "    lock incl (%rsi)\n"
        "    pushfw\n"
        "    popfw\n"
        "    pushf\n"
        "    popf\n" /* TF stays */
        "    lea step_done(%rip), %rax\n"
        "    push $0\n"
        "    push %rax\n"
        "    ret $8\n"
        "8:  cmpl $0x55, 16(%rsp)\n"
        "    ret\n"
        "step_done:\n"
        "    pushf\n"
        "    andl $~0x100, (%rsp)\n"
        "    popf\n" /* one more trap behind this */
        "    nop\n"
        "    add $256, %rsp\n"
        "    pop %rbx\n"
        "    ret\n");

static void show(const char *what)
{
    printf("%s: %d\n", what, nseen);
    for (int i = 0; i < nseen; i++) {
        printf("  signal %d code %d at +%ld, address %s, trap %ld, TF %ld\n", seen[i].sig,
               seen[i].code, seen[i].at, seen[i].address == seen[i].at ? "there" : "elsewhere",
               seen[i].trapno, seen[i].tf);
    }
    nseen = 0;
}

static unsigned long run(unsigned long *flags, unsigned long *memory)
{
    unsigned long r;
    __asm__ volatile("call step_run"
                     : "=a"(r), "+D"(flags), "+S"(memory)
                     :
                     : "rcx", "rdx", "rbx", "r8", "r9", "r10", "r11", "memory", "cc", "st", "st(1)",
                       "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)");
    return r;
}

static void by_iret(void)
{
    __asm__ volatile("mov %%rsp, %%rax\n"
                     "mov %%ss, %%ecx; push %%rcx\n"
                     "push %%rax\n"
                     "pushf; orl $0x100, (%%rsp)\n"
                     "mov %%cs, %%ecx; push %%rcx\n"
                     "lea 1f(%%rip), %%rcx; push %%rcx\n"
                     "iretq\n"
                     "1: nop\n"
                     "nop\n"
                     "mov %%rsp, %%rax\n"
                     "mov %%ss, %%ecx; push %%rcx\n"
                     "push %%rax\n"
                     "pushf; andl $~0x100, (%%rsp)\n"
                     "mov %%cs, %%ecx; push %%rcx\n"
                     "lea 2f(%%rip), %%rcx; push %%rcx\n"
                     "iretq\n"
                     "2: nop\n"
                     "nop\n"
                     :
                     :
                     : "rax", "rcx", "memory", "cc");
}

/* A loop of 20,000 traps while a timer runs. */
static void with_timer(void)
{
    struct itimerval each = {{0, 300}, {0, 300}}, never = {{0, 0}, {0, 0}};
    long n = 10000, count = 0;
    signal(SIGALRM, on_alarm);
    setitimer(ITIMER_REAL, &each, NULL);
    __asm__ volatile("sub $128, %%rsp\n"
                     "pushf; orl $0x100, (%%rsp); popf\n"
                     "1: inc %1\n"
                     "dec %0\n"
                     "jnz 1b\n"
                     "pushf; andl $~0x100, (%%rsp); popf\n"
                     "add $128, %%rsp\n"
                     : "+r"(n), "+r"(count)
                     :
                     : "memory", "cc");
    setitimer(ITIMER_REAL, &never, NULL);
    printf("timer: %ld, alarms %s\n", count, alarms ? "came" : "did not come");
}

int main(void)
{
    struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    unsigned long flags[2] = {0, 0};
    unsigned long *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    sigaction(SIGTRAP, &sa, NULL);
    sigaction(SIGILL, &sa, NULL);
    sigaction(SIGSEGV, &sa, NULL);
    for (int i = 0; i < 3; i++) {
        memory[512 - 1] = 0;
        run(flags, memory);
        show("popf");
        printf("pushed: TF %d, r11: TF %d\n", (flags[0] & TF) != 0, (flags[1] & TF) != 0);
    }
    by_iret();
    printf("iretq: %d traps\n", nseen);
    nseen = 0;

    sa.sa_sigaction = setter;
    sigaction(SIGUSR1, &sa, NULL);
    stop_at = 5;
    raise(SIGUSR1);
    printf("sigreturn: %d traps\n", nseen);
    nseen = 0;
    stop_at = -1;
    with_timer();
    return 0;
}
