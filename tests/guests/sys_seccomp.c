/* SPDX-License-Identifier: BSD-2-Clause
 * sys_seccomp.c -- a filter that traps calls, as browsers' sandboxes install it: the handler sees
 * the guest's calls of these numbers, each with its number in rax, and no others: what the runtime
 * does itself for threads, memory, signals and new code is none of its business.
 * guest: cflags=-D_GNU_SOURCE */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "guest.h"

/* Those behind `CALLED` the guest does not call itself. */
static const int trapped[] = {SYS_newfstatat, SYS_fstat,         SYS_sysinfo,     SYS_sched_yield,
                              SYS_pread64,    SYS_lseek,         SYS_getpriority, SYS_brk,
                              SYS_mremap,     SYS_rt_sigpending, SYS_readlink,    SYS_readlinkat,
                              SYS_prlimit64};
enum { N = sizeof(trapped) / sizeof(trapped[0]), CALLED = 7, STACK = 256 << 10 };

static volatile int caught, wrong;

static void on_sys(int sig, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    greg_t *g = uc->uc_mcontext.gregs;
    caught++;
    if (sig != SIGSYS || info->si_code != 1 ||
        (uint64_t)info->si_call_addr != (uint64_t)g[REG_RIP] || g[REG_RAX] != info->si_syscall ||
        info->si_arch != AUDIT_ARCH_X86_64) {
        wrong++;
    }
    g[REG_RAX] = -5000 - info->si_syscall;
}

static void install(void)
{
    struct sock_filter code[2 * N + 6] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))};
    int n = 1;
    for (int i = 0; i < N; i++) {
        code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)trapped[i], 0,
                                                 1);
        code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP | 7);
    }
    /* And a mapping with flags that a C library does not use. */
    code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 0, 3);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                             offsetof(struct seccomp_data, args[3]));
    code[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, MAP_FIXED_NOREPLACE, 0, 1);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP | 7);
    code[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog prog = {(unsigned short)n, code};
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) == 0);
}

static long raw(long nr, long a, long b)
{
    long r;
    register long r10 __asm__("r10") = 0;
    __asm__ volatile("syscall"
                     : "=a"(r)
                     : "a"(nr), "D"(a), "S"(b), "d"(0), "r"(r10)
                     : "rcx", "r11", "memory");
    return r;
}

static void *thread(void *arg)
{
    for (int i = 0; i < 50; i++) {
        raw(SYS_gettid, 0, 0);
    }
    return arg;
}

static char stack[STACK] __attribute__((aligned(4096)));

static void threads(void)
{
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstack(&attr, stack, STACK); /* glibc does not give its pages back */
    for (int i = 0; i < 20; i++) {
        pthread_t t;
        void *r;
        CHECK(pthread_create(&t, &attr, thread, &stack[i]) == 0);
        CHECK(pthread_join(t, &r) == 0 && r == &stack[i]);
    }
}

static volatile int alarms;

static void on_usr(int sig)
{
    alarms += sig == SIGUSR1;
}

/* New code, dropped code: mov $n, %eax; ret. */
static void code(void)
{
    unsigned char *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE | PROT_EXEC,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    for (int i = 0; i < 3000; i++) {
        unsigned char *at = p + (i * 331) % ((1 << 20) - 16);
        at[0] = 0xb8;
        memcpy(at + 1, &i, 4);
        at[5] = 0xc3;
        CHECK(((int (*)(void))(uintptr_t)at)() == i);
    }
    CHECK(mmap(p, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p);
    CHECK(munmap(p, 1 << 20) == 0);
    CHECK(mmap(p, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == p);
}

int main(void)
{
    struct sigaction sa = {.sa_sigaction = on_sys, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigaction(SIGSYS, &sa, NULL);
    signal(SIGUSR1, on_usr);
    free(malloc(64)); /* the heap begins before the filter */
    install();
    for (int i = 0; i < CALLED; i++) {
        CHECK(raw(trapped[i], AT_FDCWD, (long)"/") == -5000 - trapped[i]);
    }
    CHECK(caught == CALLED && wrong == 0);
    threads();
    code();
    for (int i = 0; i < 50; i++) {
        kill(getpid(), SIGUSR1);
    }
    CHECK(alarms == 50);
    CHECK(mprotect(stack, 4096, PROT_READ) == 0 &&
          mprotect(stack, 4096, PROT_READ | PROT_WRITE) == 0);
    pid_t child = fork();
    if (child == 0) {
        threads();
        code();
        _exit(caught == CALLED ? 9 : 10);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 9);
    CHECK(caught == CALLED && wrong == 0);
    static const char done[] = "ok\n"; /* not by stdio, which asks for the file's status */
    CHECK(write(1, done, 3) == 3);
    return 0;
}
