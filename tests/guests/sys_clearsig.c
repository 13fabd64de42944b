/* SPDX-License-Identifier: BSD-2-Clause
 * sys_clearsig.c -- clone3 with CLONE_CLEAR_SIGHAND, as fork and as vfork: the child has no
 * handlers, ignores what the parent ignores, and the parent keeps all. */
#define _GNU_SOURCE
#include "guest.h"

#include <linux/sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef CLONE_CLEAR_SIGHAND
#define CLONE_CLEAR_SIGHAND 0x100000000ull
#endif

static volatile int hits;

static void handler(int sig)
{
    hits++;
}

/* What the child sees, as an exit status; vfork's child calls this in the parent's memory. */
static int look(void)
{
    struct sigaction usr1, usr2, trap;
    sigaction(SIGUSR1, NULL, &usr1);
    sigaction(SIGUSR2, NULL, &usr2);
    sigaction(SIGTRAP, NULL, &trap);
    return (usr1.sa_handler == SIG_DFL) | (usr2.sa_handler == SIG_IGN) << 1 |
           (trap.sa_handler == SIG_DFL) << 2 | (usr1.sa_flags == 0) << 3 |
           (sigismember(&usr1.sa_mask, SIGHUP) == 0) << 4;
}

/* The child does not return from here, nor does the call itself: they may share the stack. */
static __attribute__((noinline)) long clone3_child(unsigned long flags, int sig)
{
    struct clone_args args = {.flags = flags, .exit_signal = SIGCHLD};
    long pid;
    __asm__ volatile("syscall"
                     : "=a"(pid)
                     : "a"(SYS_clone3), "D"(&args), "S"(sizeof(args))
                     : "rcx", "r11", "memory");
    if (pid == 0) {
        if (sig) {
            syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), sig);
        }
        _exit(look());
    }
    return pid;
}

static void try(const char *what, unsigned long flags, int sig)
{
    int status = 0;
    long pid = clone3_child(flags, sig);
    if (pid < 0) {
        printf("%s: error %ld\n", what, -pid);
        return;
    }
    CHECK(waitpid((pid_t)pid, &status, 0) == pid);
    printf("%s, signal %d: status %#x; parent: %d, hits %d\n", what, sig, status, look(), hits);
    hits = 0;
    raise(SIGUSR1);
    printf("  hits of its own %d\n", hits);
    hits = 0;
}

int main(void)
{
    struct sigaction sa = {.sa_handler = handler, .sa_flags = SA_RESTART};
    sigaddset(&sa.sa_mask, SIGHUP);
    sigaction(SIGUSR1, &sa, NULL);
    sigaction(SIGTRAP, &sa, NULL);
    signal(SIGUSR2, SIG_IGN);
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < 4; k++) {
            const int sig = (const int[]){0, SIGTRAP, SIGUSR1, SIGUSR2}[k];
            try("fork", CLONE_CLEAR_SIGHAND, sig);
            try("vfork", CLONE_CLEAR_SIGHAND | CLONE_VM | CLONE_VFORK, sig);
            try("plain vfork", CLONE_VM | CLONE_VFORK, 0);
        }
    }
    try("both", CLONE_CLEAR_SIGHAND | CLONE_SIGHAND | CLONE_VM, 0);
    return 0;
}
