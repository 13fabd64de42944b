/* SPDX-License-Identifier: BSD-2-Clause
 * sig_aligncheck.c -- with the AC flag set, which makes unaligned accesses fault: system calls,
 * signals, faults, timers, code that is new or changed. Everything between on() and off() is free
 * of unaligned accesses but for the one that is meant. */
#define _GNU_SOURCE
#include "guest.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#define AC 0x40000

static volatile long hits, last_code, last_addr, last_trap, last_flag;

static void handler(int sig, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    hits++;
    last_code = info->si_code;
    last_addr = (long)info->si_addr;
    last_trap = uc->uc_mcontext.gregs[REG_TRAPNO];
    last_flag = (uc->uc_mcontext.gregs[REG_EFL] & AC) != 0;
    if (sig == SIGBUS) {
        uc->uc_mcontext.gregs[REG_EFL] &= ~AC;
    }
}

static inline void on(void)
{
    __asm__ volatile("lea -128(%%rsp), %%rsp; pushfq; orl %0, (%%rsp); popfq; lea 128(%%rsp), %%rsp"
                     :
                     : "i"(AC)
                     : "memory", "cc");
}

/* Was it set up to now? */
static inline int off(void)
{
    unsigned long flags;
    __asm__ volatile("lea -128(%%rsp), %%rsp; pushfq; mov (%%rsp), %0; andl %1, (%%rsp); popfq;"
                     "lea 128(%%rsp), %%rsp"
                     : "=&r"(flags)
                     : "i"(~AC)
                     : "memory", "cc");
    return (flags & AC) != 0;
}

static inline long call3(long nr, long a, long b, long c)
{
    long r;
    __asm__ volatile("syscall"
                     : "=a"(r)
                     : "a"(nr), "D"(a), "S"(b), "d"(c)
                     : "rcx", "r11", "memory");
    return r;
}

static void with_timer(void)
{
    struct itimerval each = {{0, 500}, {0, 500}}, never = {{0, 0}, {0, 0}};
    long flag;
    int set;
    CHECK(setitimer(ITIMER_REAL, &each, NULL) == 0);
    hits = 0;
    on();
    while (hits < 100) {
    }
    flag = last_flag; /* one more may come behind off() */
    set = off();
    setitimer(ITIMER_REAL, &never, NULL);
    printf("timer: AC %d, in the frame %ld\n", set, flag);
}

static void with_code(void)
{
    unsigned char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE | PROT_EXEC,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int set;
    CHECK(p != MAP_FAILED);
    memset(p, 0xc3, 8192);
    ((void (*)(void))p)();
    on();
    for (int i = 0; i < 20; i++) {
        p[i] = 0x90; /* in a page with translations */
        ((void (*)(void))p)();
        ((void (*)(void))(p + 4096 + 16 * i))();
    }
    set = off();
    printf("code: AC %d\n", set);
    munmap(p, 8192);
}

int main(void)
{
    struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    long pid = getpid(), good = 0;
    int set;

    setvbuf(stdout, NULL, _IONBF, 0);
    sigaction(SIGBUS, &sa, NULL);
    sigaction(SIGUSR1, &sa, NULL);
    sigaction(SIGALRM, &sa, NULL);

    on();
    for (int i = 0; i < 100; i++) {
        good += call3(SYS_getppid, 0, 0, 0) > 0;
    }
    good += call3(SYS_getpid, 0, 0, 0) == pid;
    set = off();
    printf("calls: %ld, AC %d\n", good, set);

    on();
    call3(SYS_kill, pid, SIGUSR1, 0);
    set = off();
    printf("kill: hits %ld, AC %d, in the frame %ld\n", hits, set, last_flag);

    with_timer();
    with_code();

    hits = 0;
    on();
    __asm__ volatile("mov 1(%0), %%eax" : : "r"(&sa) : "eax");
    set = off();
    printf("unaligned: hits %ld, code %ld, address %ld, trap %ld, AC %d, in the frame %ld\n", hits,
           last_code, last_addr, last_trap, set, last_flag);
    return 0;
}
