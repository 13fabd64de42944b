/* SPDX-License-Identifier: BSD-2-Clause
 * sys_proc.c -- clone, clone3, fork, vfork: every form becomes one request, checked as the kernel
 *               checks it, and then one of three calls into sched.
 * Role:       argument formats and their errors; pidfds. How a thread or a process is made is
 *             sched's business.
 * Sources:    kernel/fork.c of Linux 6.12 for the order and the conditions of the errors. */
#include "base/safe.h"
#include "sys/sys.h"

#include <errno.h>
#include <limits.h>
#include <linux/sched.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>

#define USER_SPACE_END 0x7ffffffff000ull
#define MT_PIDFD_THREAD 0200u /* O_EXCL: pidfd_open() of a thread, Linux 6.9 */

enum {
    CLONE_ARGS_V0 = 64,
    CLONE_ARGS_V2 = 88,
    PID_NS_LEVELS_MAX = 32,
};

typedef struct CloneRequest {
    u64 flags; /* without the signal */
    u64 stack; /* its top; 0: the parent's stack pointer */
    u64 ptid, ctid, tls;
    u64 pidfd; /* where to store it, if CLONE_PIDFD */
    int exit_signal;
} CloneRequest;

/* What copy_process() refuses, whatever form the call has. */
static i64 check_flags(const Thread *t, u64 flags)
{
    if ((flags & CLONE_FS) && (flags & (CLONE_NEWNS | CLONE_NEWUSER))) {
        return -EINVAL;
    }
    if ((flags & CLONE_THREAD) && !(flags & CLONE_SIGHAND)) {
        return -EINVAL;
    }
    if ((flags & CLONE_SIGHAND) && !(flags & CLONE_VM)) {
        return -EINVAL;
    }
    if ((flags & CLONE_THREAD) && (flags & (CLONE_NEWUSER | CLONE_NEWPID))) {
        return -EINVAL;
    }
    if ((flags & CLONE_NEWIPC) && (flags & CLONE_SYSVSEM)) {
        return -EINVAL;
    }
    if ((flags & CLONE_PARENT) && t->tgid == 1) {
        return -EINVAL;
    }
    return 0;
}

/* The descriptor that CLONE_PIDFD asks for. The child may be gone already, and reaped where SIGCHLD
 * is ignored: then there is nothing to refer to and -1 is stored. */
static void store_pidfd(const CloneRequest *q, i64 pid)
{
    u32 flags = q->flags & CLONE_THREAD ? MT_PIDFD_THREAD : 0;
    i64 fd = sys_raw(SYS_pidfd_open, (u64)pid, flags, 0, 0, 0, 0);
    int value = fd < 0 ? -1 : (int)fd;
    if (safe_write(q->pidfd, &value, sizeof(value)) && fd >= 0) {
        sys_raw(SYS_close, (u64)fd, 0, 0, 0, 0, 0);
    }
}

static i64 make_child(Thread *t, const CloneRequest *q)
{
    i64 r = check_flags(t, q->flags);
    if (r < 0) {
        return r;
    }
    int probe = -1;
    if ((q->flags & CLONE_PIDFD) && safe_write(q->pidfd, &probe, sizeof(probe))) {
        return -EFAULT;
    }
    if ((q->flags & CLONE_SETTLS) && q->tls >= USER_SPACE_END) {
        return -EPERM;
    }
    u64 flags = q->flags & ~(u64)CLONE_PIDFD;
    bool waits = (flags & CLONE_VFORK) && !(flags & CLONE_THREAD);
    if (!(flags & CLONE_VM)) {
        r = sched_fork(t, flags, q->ptid, q->ctid, q->stack, q->tls, q->exit_signal);
    } else if (waits) {
        r = sched_vfork(t, flags, q->ptid, q->ctid, q->stack, q->tls, q->exit_signal);
        sys_exec_release(r);
    } else {
        r = sched_clone(t, flags, q->stack, q->ptid, q->ctid, q->tls, q->exit_signal);
    }
    if (r > 0 && (q->flags & CLONE_PIDFD)) {
        store_pidfd(q, r);
    }
    return r;
}

i64 sys_fork(Thread *t, const u64 a[6])
{
    CloneRequest q = {.exit_signal = SIGCHLD};
    return make_child(t, &q);
}

i64 sys_vfork(Thread *t, const u64 a[6])
{
    CloneRequest q = {.flags = CLONE_VM | CLONE_VFORK, .exit_signal = SIGCHLD};
    return make_child(t, &q);
}

i64 sys_clone(Thread *t, const u64 a[6])
{
    CloneRequest q = {
        .flags = (u32)a[0] & ~(u32)CSIGNAL,
        .stack = a[1],
        .ptid = a[2],
        .pidfd = a[2],
        .ctid = a[3],
        .tls = a[4],
        .exit_signal = (int)(a[0] & CSIGNAL),
    };
    /* One argument for two results. */
    if ((q.flags & CLONE_PIDFD) && (q.flags & (CLONE_PARENT_SETTID | CLONE_DETACHED))) {
        return -EINVAL;
    }
    return make_child(t, &q);
}

/* ---- clone3 ---- */

/* Reads the guest's structure, which may be shorter or longer than ours: what it lacks is zero,
 * what we don't know must be zero. */
static i64 read_clone_args(struct clone_args *out, u64 addr, u64 size)
{
    if (size > MT_PAGE_SIZE) {
        return -E2BIG;
    }
    if (size < CLONE_ARGS_V0) {
        return -EINVAL;
    }
    u8 raw[MT_PAGE_SIZE];
    if (safe_read(raw, addr, size)) {
        return -EFAULT;
    }
    for (u64 i = sizeof(*out); i < size; i++) {
        if (raw[i]) {
            return -E2BIG;
        }
    }
    memset(out, 0, sizeof(*out));
    memcpy(out, raw, size < sizeof(*out) ? size : sizeof(*out));
    return 0;
}

static bool clone_args_valid(const struct clone_args *c)
{
    const u64 known = 0xffffffffull | CLONE_CLEAR_SIGHAND | CLONE_INTO_CGROUP;
    if ((c->flags & ~known) || (c->flags & (CLONE_DETACHED | (CSIGNAL & ~CLONE_NEWTIME)))) {
        return false;
    }
    if ((c->flags & CLONE_SIGHAND) && (c->flags & CLONE_CLEAR_SIGHAND)) {
        return false;
    }
    if ((c->flags & (CLONE_THREAD | CLONE_PARENT)) && c->exit_signal) {
        return false;
    }
    if (!c->stack) {
        return c->stack_size == 0;
    }
    return c->stack_size && c->stack_size <= USER_SPACE_END &&
           c->stack <= USER_SPACE_END - c->stack_size;
}

/* What the caller asks for beyond an ordinary child. */
static i64 check_clone_extras(const struct clone_args *c, u64 size)
{
    if (c->set_tid_size > PID_NS_LEVELS_MAX || !c->set_tid != !c->set_tid_size) {
        return -EINVAL;
    }
    if ((c->exit_signal & ~(u64)CSIGNAL) || c->exit_signal > 64) {
        return -EINVAL;
    }
    if ((c->flags & CLONE_INTO_CGROUP) && (c->cgroup > INT_MAX || size < CLONE_ARGS_V2)) {
        return -EINVAL;
    }
    if (!clone_args_valid(c)) {
        return -EINVAL;
    }
    if ((c->flags & CLONE_PIDFD) && (c->flags & CLONE_PARENT_SETTID) && c->pidfd == c->parent_tid) {
        return -EINVAL;
    }
    if (c->set_tid) {
        return -EPERM; /* as without CAP_CHECKPOINT_RESTORE */
    }
    if (c->flags & CLONE_INTO_CGROUP) {
        return -EOPNOTSUPP; /* callers move the child by hand then */
    }
    return 0;
}

i64 sys_clone3(Thread *t, const u64 a[6])
{
    struct clone_args c;
    i64 r = read_clone_args(&c, a[0], a[1]);
    if (r == 0) {
        r = check_clone_extras(&c, a[1]);
    }
    if (r < 0) {
        return r;
    }
    CloneRequest q = {
        .flags = c.flags,
        .stack = c.stack + c.stack_size,
        .ptid = c.parent_tid,
        .pidfd = c.pidfd,
        .ctid = c.child_tid,
        .tls = c.tls,
        .exit_signal = (int)c.exit_signal,
    };
    return make_child(t, &q);
}
