/* SPDX-License-Identifier: BSD-2-Clause
 * sig_forged.c -- handlers that change their frame in every way, and frames that find no room: each
 * field as the kernel takes or refuses it, each case in a child of its own.
 * guest: cflags=-O1 needs=avx2 timeout=60 */
#define _GNU_SOURCE
#include "guest.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

enum { ALT = 65536 };

static int how, calls;
static char *alt;
static unsigned char copy[8192] __attribute__((aligned(64)));

static uint32_t *word(void *area, size_t at)
{
    return (uint32_t *)((char *)area + at);
}

static void move_state(ucontext_t *c, size_t misaligned)
{
    memcpy(copy + misaligned, c->uc_mcontext.fpregs, 4096);
    c->uc_mcontext.fpregs = (void *)(copy + misaligned);
}

static int forge_state(ucontext_t *c)
{
    void *x = c->uc_mcontext.fpregs;

    switch (how) {
    case 0: c->uc_mcontext.fpregs = NULL; break;
    case 1: move_state(c, 0); break;
    case 2: move_state(c, 8); break;
    case 3: move_state(c, 16); break;
    case 4: c->uc_mcontext.fpregs = (void *)8; break;
    case 5: c->uc_mcontext.fpregs = (void *)0xffff800000000000; break;
    case 6: *word(x, 464) = 0; break; /* the first magic number: none but FXSAVE's state */
    case 7: move_state(c, 16), *word(copy, 16 + 464) = 0; break;
    case 8: *word(x, 468) = ~0u; break;            /* extended_size */
    case 9: *word(x, *word(x, 480)) = 0; break;    /* the second magic number */
    case 10: *word(x, 472) = 3; break;             /* xfeatures */
    case 11: *word(x, 480) = 100; break;           /* xstate_size */
    case 12: *word(x, 24) = ~0u; break;            /* mxcsr */
    case 13: memset(word(x, 512), 0xff, 8); break; /* XSTATE_BV */
    case 14: memset(word(x, 512), 0, 8); break;
    case 15: *word(x, 520) = 1; break; /* XCOMP_BV */
    case 16: *word(x, 536) = 1; break; /* reserved */
    default: return 0;
    }
    return 1;
}

static void forge(int sig, siginfo_t *info, void *context)
{
    ucontext_t *c = context;
    greg_t *g = c->uc_mcontext.gregs;
    unsigned short *selector = (unsigned short *)&g[REG_CSGSFS];

    calls++;
    if (forge_state(c)) {
        return;
    }
    switch (how) {
    case 20: g[REG_EFL] |= 0x240000; break;
    case 21: g[REG_EFL] = ~0x100; break;
    case 22: g[REG_EFL] = 0; break;
    case 23: selector[0] = 0; break;
    case 24: selector[0] = 0x10; break;
    case 25: selector[0] = 0x30; break;
    case 26: selector[3] = 0; break;
    case 27: selector[3] = 0x33; break;
    case 28: selector[3] = 0, c->uc_flags &= ~4ul; break; /* UC_STRICT_RESTORE_SS */
    case 29: selector[3] = 0x28; break;
    case 30: selector[1] = 0x2b, selector[2] = 0x10; break; /* gs and fs are not looked at */
    case 31: c->uc_flags = 0; break;
    case 32: c->uc_flags = ~0ul; break;
    case 33: g[REG_RSP] = (greg_t)0x800000000000; break;
    case 34: c->uc_stack.ss_size = 1; break;
    case 35: c->uc_stack.ss_flags = 77; break;
    case 36: c->uc_stack = (stack_t){.ss_flags = SS_DISABLE}; break;
    case 37: memset(info, 0xff, sizeof *info); break;
    default: g[REG_ERR] = g[REG_TRAPNO] = g[REG_CR2] = g[REG_OLDMASK] = -1; break;
    }
}

static void second(int sig, siginfo_t *info, void *context)
{
    greg_t *g = ((ucontext_t *)context)->uc_mcontext.gregs;

    printf("then signal %d, code %d, address %p, trap %lld, err %llx, flags %llx\n", sig,
           info->si_code, info->si_addr, g[REG_TRAPNO], g[REG_ERR], g[REG_EFL] & 0x244ed5);
    fflush(stdout);
    _exit(7);
}

/* Sends itself the signal with everything in a known state, and tells what has become of it. */
static void raise_and_tell(long sp)
{
    double seven = 7.5, after;
    unsigned long flags, ymm[4], result;
    unsigned mxcsr;
    sigset_t mask;
    stack_t now;

    __asm__ volatile(
        "movq %[d], %%xmm7; vpcmpeqd %%ymm6, %%ymm6, %%ymm6; mov %%rsp, %%rbx\n\t"
        "test %[sp], %[sp]; cmovnz %[sp], %%rsp; syscall; mov %%rbx, %%rsp\n\t"
        "pushf; pop %[f]; push $2; popf; movq %%xmm7, %[a]; vmovdqu %%ymm6, %[y]\n\t"
        "stmxcsr %[m]"
        : [f] "=&r"(flags), [a] "=m"(after), [y] "=m"(ymm), [m] "=m"(mxcsr), "=a"(result)
        : [d] "r"(seven), [sp] "r"(sp), "a"(SYS_kill), "D"((long)getpid()), "S"((long)SIGUSR1)
        : "rbx", "rcx", "r11", "xmm6", "xmm7", "memory", "cc");
    sigprocmask(SIG_BLOCK, NULL, &mask);
    sigaltstack(NULL, &now);
    printf("result %ld, %g, ymm %lx %lx %lx, flags %lx, mxcsr %x, usr1 %d, stack %d %zu\n", result,
           after, ymm[0], ymm[2], ymm[3], flags & 0x244ed5, mxcsr, sigismember(&mask, SIGUSR1),
           now.ss_flags, now.ss_size);
}

static void handle(int sig, void (*handler)(int, siginfo_t *, void *), int flags)
{
    struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags};

    CHECK(sigaction(sig, &sa, NULL) == 0);
}

static void forged(int which)
{
    how = which;
    handle(SIGUSR1, forge, 0);
    raise_and_tell(0);
}

/* A stack pointer without room below it. */
static void nowhere(int which)
{
    static const long pointers[] = {8, 64, 4096, 0x800000000000, -64, -4096, 0x7ffffffff000};

    how = 99;
    handle(SIGUSR1, forge, 0);
    raise_and_tell(pointers[which]);
}

static void set_again(int sig, siginfo_t *info, void *context)
{
    stack_t now, same = {.ss_sp = alt, .ss_size = ALT};
    char here;

    sigaltstack(NULL, &now);
    printf("handler %d: flags %x, on it %d, ", ++calls, (unsigned)now.ss_flags,
           &here >= alt && &here < alt + ALT);
    if (calls < how) {
        printf("once more\n");
        raise(sig);
    }
    printf("set: %d\n", sigaltstack(&same, NULL));
}

static void disarmed(int which)
{
    stack_t ss = {.ss_sp = alt, .ss_size = ALT, .ss_flags = which & 1 ? (int)(1u << 31) : 0};

    how = which / 2 + 1;
    CHECK(sigaltstack(&ss, NULL) == 0);
    handle(SIGUSR1, set_again, SA_ONSTACK | SA_NODEFER);
    raise(SIGUSR1);
    sigaltstack(NULL, &ss);
    printf("behind: flags %x, size %zu\n", (unsigned)ss.ss_flags, ss.ss_size);
}

static void small_stack(int which)
{
    stack_t ss = {.ss_sp = alt, .ss_size = (size_t)which * 256};

    how = 99;
    handle(SIGUSR1, forge, SA_ONSTACK);
    printf("%d bytes: %d\n", which * 256, sigaltstack(&ss, NULL));
    raise_and_tell(0);
}

static void each(const char *name, void (*test)(int), int first, int last)
{
    for (int i = first; i <= last; i++) {
        int status;
        pid_t pid;

        printf("%s %d: ", name, i);
        fflush(stdout);
        pid = fork();
        if (pid == 0) {
            stack_t ss = {.ss_sp = alt, .ss_size = ALT};

            alarm(20);
            CHECK(sigaltstack(&ss, NULL) == 0);
            handle(SIGSEGV, second, SA_ONSTACK);
            handle(SIGBUS, second, SA_ONSTACK);
            test(i);
            fflush(stdout);
            _exit(0);
        }
        CHECK(waitpid(pid, &status, 0) == pid);
        if (WIFSIGNALED(status)) {
            printf("killed by %d\n", WTERMSIG(status));
        }
    }
}

int main(void)
{
    alt = mmap(NULL, ALT, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(alt != MAP_FAILED);
    each("state", forged, 0, 16);
    each("frame", forged, 20, 38);
    each("pointer", nowhere, 0, 6);
    each("disarm", disarmed, 0, 5);
    each("small", small_stack, 7, 16);
    return 0;
}
