/* SPDX-License-Identifier: BSD-2-Clause
 * assert.c -- the end after an internal error.
 * Role:       says where and in which thread, how to report it, and dumps core.
 * Invariants: A1. nothing here takes a lock, allocates, or runs a handler of the guest: SIGABRT is
 *                 reset to its default action by a plain system call first.
 *             A2. an assertion that fails while another is being reported kills at once.
 * Signals:    callable everywhere. */
#include "base/base.h"
#include "base/log.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

u64 (*mt_assert_guest_pc)(void);

/* The kernel's struct sigaction. */
typedef struct KernelSigaction {
    u64 handler, flags, restorer, mask;
} KernelSigaction;

/* Dies of SIGABRT with a core dump if the limits allow one. */
static _Noreturn void die_with_core(void)
{
    KernelSigaction dfl = {0};
    u64 unblock = 1ull << (SIGABRT - 1);
    syscall(SYS_rt_sigaction, SIGABRT, &dfl, NULL, sizeof(u64));
    syscall(SYS_rt_sigprocmask, SIG_UNBLOCK, &unblock, NULL, sizeof(u64));
    syscall(SYS_tgkill, getpid(), (pid_t)syscall(SYS_gettid), SIGABRT);
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;) {
        syscall(SYS_exit_group, 127);
    }
}

void mt_assert_failed(const char *expr, const char *file, int line)
{
    static __thread bool reporting;
    if (reporting) {
        die_with_core();
    }
    reporting = true;

    char text[1024];
    int n = snprintf(text, sizeof(text), "\nmtvg: internal error at %s:%d: %s\n", file, line, expr);
    log_emergency(text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
    u64 pc = mt_assert_guest_pc ? mt_assert_guest_pc() : 0;
    n = snprintf(
        text, sizeof(text),
        "mtvg: process %d, thread %d, guest code at 0x%llx, version " MT_VERSION "\n"
        "mtvg: this is a fault of mtvg, not of the program it runs. Please report it with "
        "these\nmtvg: lines, the command line, and the output of `mtvg --debug=all:1 -v`.\n",
        (int)getpid(), (int)syscall(SYS_gettid), (unsigned long long)pc);
    log_emergency(text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
    die_with_core();
}
