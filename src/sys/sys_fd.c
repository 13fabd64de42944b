/* SPDX-License-Identifier: BSD-2-Clause
 * sys_fd.c -- system calls on ranges of descriptors, and what a pidfd stands for. Single
 *             descriptors are checked by the table (column `mask` of syscalls.def). */
#include "sys/sys.h"

#include <errno.h>
#include <linux/close_range.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#define PIDFD_SELF_THREAD_VALUE (-10000)
#define PIDFD_SELF_PROCESS_VALUE (-10001)
#define PIDFD_THREAD_FLAG 0200 /* O_EXCL */

/* Around the hidden range, so that it stays open. */
i64 sys_close_range(Thread *t, const u64 a[6])
{
    u32 first = (u32)a[0], last = (u32)a[1], flags = (u32)a[2];
    u32 lo = (u32)mt_fd_hidden_lo, hi = lo + MT_FD_HIDDEN_COUNT - 1;
    if ((flags & ~(u32)(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC)) || first > last || first > hi ||
        last < lo) {
        return sys_pass(t, SYS_close_range, a);
    }
    if (flags & CLOSE_RANGE_UNSHARE) {
        i64 r = sys_raw(SYS_unshare, CLONE_FILES, 0, 0, 0, 0, 0);
        if (r < 0) {
            return r;
        }
        flags &= ~(u32)CLOSE_RANGE_UNSHARE;
    }
    i64 r = 0;
    if (first < lo) {
        r = sys_raw(SYS_close_range, first, lo - 1, flags, 0, 0, 0);
    }
    if (r == 0 && last > hi) {
        r = sys_raw(SYS_close_range, hi + 1, last, flags, 0, 0, 0);
    }
    return r;
}

pid_t sys_pidfd_pid(const Thread *t, int fd, bool *is_thread)
{
    bool dummy, *thread = is_thread ? is_thread : &dummy;
    *thread = fd == PIDFD_SELF_THREAD_VALUE;
    if (*thread || fd == PIDFD_SELF_PROCESS_VALUE) {
        return *thread && is_thread ? t->tid : t->tgid;
    }
    char path[64], text[1024];
    snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
    i64 info = sys_raw(SYS_open, (u64)path, 02000000 /* O_RDONLY | O_CLOEXEC */, 0, 0, 0, 0);
    if (info < 0) {
        return 0;
    }
    i64 n = sys_raw(SYS_read, (u64)info, (u64)text, sizeof(text) - 1, 0, 0, 0);
    sys_raw(SYS_close, (u64)info, 0, 0, 0, 0, 0);
    text[n > 0 ? n : 0] = '\0';
    const char *line = strstr(text, "\nPid:"), *flags = strstr(text, "\nflags:");
    unsigned bits = 0;
    int pid = 0;
    if (!line || sscanf(line, "\nPid: %d", &pid) != 1) {
        return 0;
    }
    *thread = flags && sscanf(flags, "\nflags: %o", &bits) == 1 && (bits & PIDFD_THREAD_FLAG);
    return pid;
}
