/* SPDX-License-Identifier: BSD-2-Clause
 * sys_fd.c -- system calls on ranges of descriptors. Single descriptors are checked by the table
 *             (column `mask` of syscalls.def). */
#include "sys/sys.h"

#include <errno.h>
#include <linux/close_range.h>
#include <sched.h>
#include <sys/syscall.h>

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
