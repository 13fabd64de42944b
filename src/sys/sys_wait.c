/* SPDX-License-Identifier: BSD-2-Clause
 * sys_wait.c -- wait4 and waitid: the kernel's, but for stops of tracees that are not the guest's
 * to see. */
#include "jit/smc.h"
#include "sys/ptrace_slot.h"
#include "sys/sys.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

i64 sys_wait4(Thread *t, const u64 a[6])
{
    for (;;) {
        int status = 0;
        const u64 b[6] = {a[0], (u64)&status, a[2], a[3]};
        i64 r = sys_pass(t, SYS_wait4, b);
        if (r <= 0) {
            return r;
        }
        if (WIFSTOPPED(status)) {
            i32 code = status >> 8;
            if (!ptrace_peer_stopped((pid_t)r, &code)) {
                continue;
            }
            status = code << 8 | 0x7f;
        } else if (!WIFCONTINUED(status)) {
            ptrace_peer_gone((pid_t)r);
        }
        return a[1] != 0 && smc_safe_write(a[1], &status, sizeof(status)) ? -EFAULT : r;
    }
}

/* As the kernel: also if there is nothing, or an error. Bytes 12 to 15 are not written. */
static i64 put_waitid(u64 to, const siginfo_t *info, i64 r)
{
    if (to == 0 || r == MT_SYS_RESTART) {
        return r;
    }
    return smc_safe_write(to, info, 12) || smc_safe_write(to + 16, (const u8 *)info + 16, 12)
               ? -EFAULT
               : r;
}

i64 sys_waitid(Thread *t, const u64 a[6])
{
    for (;;) {
        siginfo_t info;
        memset(&info, 0, sizeof(info));
        const u64 b[6] = {a[0], a[1], (u64)&info, a[3], a[4]};
        i64 r = sys_pass(t, SYS_waitid, b);
        if (r == 0 && (info.si_code == CLD_TRAPPED || info.si_code == CLD_STOPPED)) {
            i32 code = info.si_status;
            if (!ptrace_peer_stopped(info.si_pid, &code)) {
                continue; /* it has gone on, so with WNOWAIT there is nothing left to find either */
            }
            info.si_status = code;
        } else if (r == 0 && info.si_code != CLD_CONTINUED && !(a[3] & WNOWAIT)) {
            ptrace_peer_gone(info.si_pid);
        }
        return put_waitid(a[2], &info, r);
    }
}
