/* SPDX-License-Identifier: BSD-2-Clause
 * sig_longjmp.c -- handlers that never return: siglongjmp out of SIGSEGV 10000 times, longjmp
 * without mask, swapcontext in a handler, handlers that repair the cause. */
#define _GNU_SOURCE
#include "guest.h"

#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

static sigjmp_buf back;
static volatile int faults;
static uint8_t alt[65536];

static void jump(int sig, siginfo_t *info, void *uc)
{
    faults++;
    siglongjmp(back, sig);
}

static void set(int sig, void (*f)(int, siginfo_t *, void *), int flags)
{
    struct sigaction sa = {.sa_sigaction = f, .sa_flags = SA_SIGINFO | flags};
    CHECK(sigaction(sig, &sa, NULL) == 0);
}

static void test_many(int flags, const char *name)
{
    uint64_t sum = 0;
    faults = 0;
    set(SIGSEGV, jump, flags);
    for (volatile int i = 0; i < 10000; i++) {
        int r = sigsetjmp(back, 1);
        if (r == 0) {
            *(volatile char *)(uintptr_t)(i & 0xfff) = 1;
        }
        sum += (uint64_t)r * (i + 1);
    }
    printf("%s: faults %d sum %lu\n", name, faults, sum);
}

static void test_no_mask(void)
{
    sigset_t now;
    set(SIGSEGV, jump, SA_NODEFER);
    if (!sigsetjmp(back, 0)) {
        *(volatile char *)1 = 1;
    }
    sigprocmask(SIG_BLOCK, NULL, &now);
    printf("SA_NODEFER: blocked %d\n", sigismember(&now, SIGSEGV));
    set(SIGUSR1, jump, 0);
    if (!sigsetjmp(back, 0)) {
        raise(SIGUSR1);
    }
    sigprocmask(SIG_BLOCK, NULL, &now);
    printf("without mask: blocked %d\n", sigismember(&now, SIGUSR1));
    sigemptyset(&now);
    sigprocmask(SIG_SETMASK, &now, NULL);
}

static uint8_t *area;
static void repair(int sig, siginfo_t *info, void *uc)
{
    uint8_t *p = (uint8_t *)((uintptr_t)info->si_addr & ~4095ul);
    faults++;
    CHECK(p >= area && p < area + 256 * 4096);
    CHECK(mprotect(p, 4096, PROT_READ | PROT_WRITE) == 0);
}

/* As garbage collectors do: the fault is repaired, the instruction repeated. */
static void test_repair(void)
{
    area = mmap(NULL, 256 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    set(SIGSEGV, repair, 0);
    faults = 0;
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 256 * 4096 - 8; i += 1021) {
            *(volatile uint64_t *)(area + i) += (uint64_t)i; /* some cross pages */
        }
        mprotect(area, 256 * 4096, PROT_NONE);
    }
    mprotect(area, 256 * 4096, PROT_READ);
    printf("repaired: %d hash %lx\n", faults, hash_bytes(0, area, 256 * 4096));
}

static void skip(int sig, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    faults++;
    uc->uc_mcontext.gregs[REG_RIP] += 2; /* mov (%rax), %eax has two bytes */
    uc->uc_mcontext.gregs[REG_RAX] = 4711;
}

static void test_skip(void)
{
    uint64_t sum = 0;
    set(SIGSEGV, skip, 0);
    faults = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t rax = (uint64_t)i & 7;
        __asm__ volatile(".byte 0x8b, 0x00" : "+a"(rax) : : "memory");
        sum += rax;
    }
    printf("skipped: %d sum %lu\n", faults, sum);
}

/* A scheduler in a handler: it switches to another context and comes back later. */
static ucontext_t main_context, other;
static uint8_t other_stack[65536];
static volatile int switches;
static void other_main(void)
{
    for (;;) {
        switches++;
        swapcontext(&other, &main_context);
    }
}

static void switch_away(int sig, siginfo_t *info, void *uc)
{
    swapcontext(&main_context, &other);
}

static void test_switch(void)
{
    getcontext(&other);
    other.uc_stack.ss_sp = other_stack;
    other.uc_stack.ss_size = sizeof(other_stack);
    makecontext(&other, other_main, 0);
    set(SIGUSR2, switch_away, 0);
    for (int i = 0; i < 100; i++) {
        raise(SIGUSR2);
    }
    printf("switches %d\n", switches);
}

int main(void)
{
    stack_t ss = {.ss_sp = alt, .ss_size = sizeof(alt)};
    test_many(0, "stack");
    CHECK(sigaltstack(&ss, NULL) == 0);
    test_many(SA_ONSTACK, "altstack");
    test_no_mask();
    test_repair();
    test_skip();
    test_switch();
    return 0;
}
