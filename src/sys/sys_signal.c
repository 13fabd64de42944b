/* SPDX-License-Identifier: BSD-2-Clause
 * sys_signal.c -- the guest's system calls about signals.
 * Role:       argument checks and memory as the kernel does them; the state is signal.c's.
 * Invariants: T1. a call that takes a mask gets a copy of it, less SIG_OPEN.
 *             T2. with a temporary mask, thread->sigmask is that mask while the call runs (the
 *                 handler asks it for the open set); it stays so only if the call was interrupted
 *                 by a signal, with saved_sigmask holding the original.
 * Order of errors: where the kernel checks several things, a bad argument is passed on as it is, so
 *             that the kernel says which error comes first. */
#include "sys/sig_host.h"

#include "base/atomics.h"
#include "base/safe.h"
#include "jit/smc.h"
#include "sched/world.h"

#include <errno.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MASK_BYTES sizeof(SigMask)

/* The kernel's stack_t. */
typedef struct KernelStack {
    u64 sp;
    u32 flags, pad;
    u64 size;
} KernelStack;

static i64 read_guest(void *to, u64 from, size_t n)
{
    return safe_read(to, from, n);
}

/* ---- dispositions, alternate stack, return ---- */

i64 sys_rt_sigaction(Thread *t, const u64 a[6])
{
    GuestSigaction act, old;
    if (a[3] != MASK_BYTES) {
        return -EINVAL;
    }
    if (a[1] && read_guest(&act, a[1], sizeof(act))) {
        return -EFAULT;
    }
    i64 r = signal_action(t, (int)a[0], a[1] ? &act : NULL, &old);
    if (r == 0 && a[2]) {
        r = smc_safe_write(a[2], &old, sizeof(old));
    }
    return r;
}

i64 sys_sigaltstack(Thread *t, const u64 a[6])
{
    KernelStack k;
    GuestAltStack ss, old;
    if (a[0]) {
        if (read_guest(&k, a[0], sizeof(k))) {
            return -EFAULT;
        }
        ss = (GuestAltStack){.sp = k.sp, .flags = k.flags, .size = k.size};
    }
    i64 r = signal_altstack(t, a[0] ? &ss : NULL, &old);
    if (r == 0 && a[1]) {
        k = (KernelStack){.sp = old.sp, .flags = old.flags, .size = old.size};
        r = smc_safe_write(a[1], &k, sizeof(k));
    }
    return r;
}

i64 sys_rt_sigreturn(Thread *t, const u64 a[6])
{
    return signal_return(t);
}

/* ---- mask ---- */

/* In the window: either a signal comes before the change and is delivered first, or after it. */
static i64 change_mask(Thread *t, SigMask m)
{
    SigMask old = t->sigmask;
    const SigMask host = SIG_HOST_MASK(m);
    const u64 a[6] = {SIG_SETMASK, (u64)&host, 0, MASK_BYTES};
    if (m == old) {
        return 0;
    }
    signal_store_mask(t, m);
    i64 r = sys_window(SYS_rt_sigprocmask, a);
    if (r) {
        signal_store_mask(t, old);
        return r;
    }
    signal_take_deferred(t);
    return 0;
}

i64 sys_rt_sigprocmask(Thread *t, const u64 a[6])
{
    SigMask old = t->sigmask, set;
    if (a[3] != MASK_BYTES) {
        return -EINVAL;
    }
    if (a[1]) {
        if (read_guest(&set, a[1], sizeof(set))) {
            return -EFAULT;
        }
        set &= ~SIG_UNSTOPPABLE;
        switch ((int)a[0]) {
        case SIG_BLOCK: set |= old; break;
        case SIG_UNBLOCK: set = old & ~set; break;
        case SIG_SETMASK: break;
        default: return -EINVAL;
        }
        i64 r = change_mask(t, set);
        if (r) {
            return r;
        }
    }
    return a[2] ? smc_safe_write(a[2], &old, sizeof(old)) : 0;
}

i64 sys_rt_sigpending(Thread *t, const u64 a[6])
{
    SigMask m = 0;
    if (a[1] > MASK_BYTES) {
        return -EINVAL;
    }
    sys_raw(SYS_rt_sigpending, (u64)&m, MASK_BYTES, 0, 0, 0, 0);
    m = ((m & ~SIG_OPEN) | sig_defer_pending()) & t->sigmask;
    return a[1] ? smc_safe_write(a[0], &m, a[1]) : 0;
}

/* ---- waiting with a temporary mask ---- */

/* Did a signal come that only the temporary mask let through? */
static bool is_interrupted(const Thread *t, i64 r, SigMask original)
{
    if (!t->pending.full) {
        return false;
    }
    return r == -EINTR || (r == MT_SYS_RESTART && (original & SIG_BIT(t->pending.info.si_signo)));
}

/* Does the call `nr`, whose arguments ask for the host's form of `temporary`. */
static i64 call_with_mask(Thread *t, u64 nr, const u64 a[6], SigMask temporary)
{
    SigMask original = t->sigmask;
    bool known;
    u32 faults = 0;
    i64 r;
    sys_allow_writes(nr, a, &known);
    signal_store_mask(t, temporary);
    signal_take_deferred(t);
    for (;;) {
        u32 epoch = smc_write_epoch();
        t->disturbed = false;
        r = sys_window(nr, a);
        if (r == -EFAULT && faults < MT_EFAULT_REPEATS && sys_efault_is_ours(t, nr, a, epoch)) {
            faults++;
        } else if (r != -EINTR || !sys_only_disturbed(t)) {
            break;
        }
    }
    if (is_interrupted(t, r, original)) {
        t->saved_sigmask = original;
        t->saved_sigmask_valid = true;
        return -EINTR;
    }
    signal_store_mask(t, original);
    return r;
}

/* The same for a call with a pointer to a mask in a[at] and its size in a[at+1]. */
static i64 call_with_mask_arg(Thread *t, u64 nr, const u64 a[6], int at)
{
    SigMask guest, host;
    if (!a[at] || a[at + 1] != MASK_BYTES || read_guest(&guest, a[at], sizeof(guest))) {
        return sys_pass(t, nr, a);
    }
    host = SIG_HOST_MASK(guest);
    u64 b[6] = {a[0], a[1], a[2], a[3], a[4], a[5]};
    b[at] = (u64)&host;
    return call_with_mask(t, nr, b, guest);
}

i64 sys_rt_sigsuspend(Thread *t, const u64 a[6])
{
    SigMask guest, host;
    if (a[1] != MASK_BYTES) {
        return -EINVAL;
    }
    if (read_guest(&guest, a[0], sizeof(guest))) {
        return -EFAULT;
    }
    host = SIG_HOST_MASK(guest);
    const u64 b[6] = {(u64)&host, MASK_BYTES};
    i64 r = call_with_mask(t, SYS_rt_sigsuspend, b, guest);
    return r == -EINTR && !t->saved_sigmask_valid ? MT_SYS_RESTART : r;
}

i64 sys_pause(Thread *t, const u64 a[6])
{
    i64 r = sys_window(SYS_pause, a);
    return t->pending.full ? r : MT_SYS_RESTART;
}

i64 sys_ppoll(Thread *t, const u64 a[6])
{
    return call_with_mask_arg(t, SYS_ppoll, a, 3);
}

i64 sys_pselect6(Thread *t, const u64 a[6])
{
    struct {
        u64 mask, size;
    } arg;
    SigMask guest, host;
    if (!a[5] || read_guest(&arg, a[5], sizeof(arg)) || !arg.mask || arg.size != MASK_BYTES ||
        read_guest(&guest, arg.mask, sizeof(guest))) {
        return sys_pass(t, SYS_pselect6, a);
    }
    host = SIG_HOST_MASK(guest);
    arg.mask = (u64)&host;
    const u64 b[6] = {a[0], a[1], a[2], a[3], a[4], (u64)&arg};
    return call_with_mask(t, SYS_pselect6, b, guest);
}

i64 sys_epoll_pwait(Thread *t, const u64 a[6])
{
    return call_with_mask_arg(t, SYS_epoll_pwait, a, 4);
}

i64 sys_epoll_pwait2(Thread *t, const u64 a[6])
{
    return call_with_mask_arg(t, SYS_epoll_pwait2, a, 4);
}

/* ---- waiting for signals ---- */

static i64 give_info(Thread *t, const siginfo_t *info, u64 to)
{
    if (to && smc_safe_write(to, info, sizeof(*info))) {
        return -EFAULT;
    }
    return info->si_signo;
}

/* What the kernel says of a timeout before it looks for signals. */
static i64 bad_timeout(u64 at)
{
    struct timespec ts;
    if (at && read_guest(&ts, at, sizeof(ts))) {
        return -EFAULT;
    }
    return at && (ts.tv_sec < 0 || (u64)ts.tv_nsec >= 1000000000u) ? -EINVAL : 0;
}

i64 sys_rt_sigtimedwait(Thread *t, const u64 a[6])
{
    static const struct timespec at_once;
    SigMask these, host;
    siginfo_t info;
    if (a[3] != MASK_BYTES) {
        return -EINVAL;
    }
    if (read_guest(&these, a[0], sizeof(these))) {
        return -EFAULT;
    }
    host = SIG_HOST_MASK(these);
    u64 b[6] = {(u64)&host, a[1], a[2], MASK_BYTES};
    bool known;
    sys_allow_writes(SYS_rt_sigtimedwait, b, &known);
    /* From here on a deferred one of `these` makes the window abort. */
    sig_defer_watch(these);
    if (sig_defer_pending() & these) {
        /* Faults are taken first, as by the kernel; the kick is the last of all signals. */
        i64 r = bad_timeout(a[2]);
        bool taken = r == 0 && sig_defer_take(these & SIG_FAULTS, &info);
        if (r == 0 && !taken) {
            b[2] = (u64)&at_once;
            r = sys_raw(SYS_rt_sigtimedwait, b[0], b[1], b[2], b[3], 0, 0);
            taken = r == -EAGAIN && sig_defer_take(these, &info);
        }
        sig_defer_watch(0);
        return taken ? give_info(t, &info, a[1]) : r;
    }
    t->disturbed = false;
    i64 r = sys_window(SYS_rt_sigtimedwait, b);
    sig_defer_watch(0);
    if (r < 0 && sig_defer_take(these, &info)) {
        return give_info(t, &info, a[1]);
    }
    return r == -EINTR && sys_only_disturbed(t) ? MT_SYS_RESTART : r;
}

static i64 signalfd(Thread *t, u64 nr, const u64 a[6])
{
    SigMask guest;
    if (a[2] != MASK_BYTES || read_guest(&guest, a[1], sizeof(guest))) {
        return sys_pass(t, nr, a);
    }
    const SigMask host = SIG_HOST_MASK(guest);
    const u64 b[6] = {a[0], (u64)&host, a[2], a[3]};
    return sys_pass(t, nr, b);
}

i64 sys_signalfd(Thread *t, const u64 a[6])
{
    return signalfd(t, SYS_signalfd, a);
}

i64 sys_signalfd4(Thread *t, const u64 a[6])
{
    return signalfd(t, SYS_signalfd4, a);
}

/* ---- sending: the kernel's; what comes to ourselves is there before the call returns ---- */

typedef struct Target {
    int sig;
    pid_t process, thread; /* of whom one is meant; 0: not */
    bool is_here;          /* in this process */
    bool is_taken;         /* by a thread that has it unblocked */
} Target;

static void look_for_taker(Thread *o, void *arg)
{
    Target *to = arg;
    /* Relaxed, of another thread: all a moment old. */
    pid_t tid = mt_load_relaxed(&o->tid), tgid = mt_load_relaxed(&o->tgid);
    if (to->thread != 0 && tid != to->thread) {
        return;
    }
    to->is_here |= to->thread != 0 || tid == to->process || tgid == to->process;
    to->is_taken |= (mt_load_relaxed(&o->sigmask) & SIG_BIT(to->sig)) == 0;
}

/* A signal whose default action ends the process has ended it before the sender's call returns: the
 * kernel does that when it is sent. Here a thread has to take it, and tell of it; the sender waits
 * for that. Not if it dumps core: then the thread has to take it natively as well. Bounded, as a
 * thread may have the signal blocked in a way that is not seen here (ppoll). */
static i64 sent(Thread *t, i64 r, Target to)
{
    enum { ROUNDS = 1000, ROUND_US = 10000 };
    if (r != 0 || to.sig < 1 || to.sig > MT_NSIG || t->is_vfork_child || mt_is_init ||
        sig_default_of(to.sig) != SIG_DEFAULT_TERM) {
        return r;
    }
    for (int i = 0; i < ROUNDS && !t->pending.full; i++) {
        to.is_here = to.is_taken = false;
        world_foreach_thread(look_for_taker, &to);
        to.is_taken |= world_in_transit(); /* perhaps by one that has just started */
        if (!to.is_here || !to.is_taken || signal_handler_sig(t, to.sig) != (u64)SIG_DFL) {
            break;
        }
        usleep(ROUND_US);
    }
    return r;
}

i64 sys_kill(Thread *t, const u64 a[6])
{
    int pid = (int)a[0];
    i64 r = sys_pass(t, SYS_kill, a);
    bool group = pid == 0 || (pid < -1 && -pid == getpgrp());
    return sent(t, r, (Target){.sig = (int)a[1], .process = group ? t->tgid : pid});
}

i64 sys_tkill(Thread *t, const u64 a[6])
{
    i64 r = sys_pass(t, SYS_tkill, a);
    return sent(t, r, (Target){.sig = (int)a[1], .thread = (pid_t)a[0]});
}

i64 sys_tgkill(Thread *t, const u64 a[6])
{
    i64 r = sys_pass(t, SYS_tgkill, a);
    return sent(t, r, (Target){.sig = (int)a[2], .thread = (pid_t)a[1]});
}

i64 sys_rt_sigqueueinfo(Thread *t, const u64 a[6])
{
    i64 r = sys_pass(t, SYS_rt_sigqueueinfo, a);
    return sent(t, r, (Target){.sig = (int)a[1], .process = (pid_t)a[0]});
}

i64 sys_rt_tgsigqueueinfo(Thread *t, const u64 a[6])
{
    i64 r = sys_pass(t, SYS_rt_tgsigqueueinfo, a);
    return sent(t, r, (Target){.sig = (int)a[2], .thread = (pid_t)a[1]});
}

i64 sys_pidfd_send_signal(Thread *t, const u64 a[6])
{
    enum { THREAD_ONLY = 1, WHOLE_PROCESS = 2 };
    i64 r = sys_pass(t, SYS_pidfd_send_signal, a);
    if (r != 0 || (int)a[1] < 1 || sig_default_of((int)a[1]) != SIG_DEFAULT_TERM) {
        return r;
    }
    bool of_thread;
    pid_t pid = sys_pidfd_pid(t, (int)a[0], &of_thread);
    of_thread = (of_thread && !(a[3] & WHOLE_PROCESS)) || (a[3] & THREAD_ONLY);
    return sent(t, r,
                of_thread ? (Target){.sig = (int)a[1], .thread = pid}
                          : (Target){.sig = (int)a[1], .process = pid});
}

i64 sys_timer_create(Thread *t, const u64 a[6])
{
    return sys_pass(t, SYS_timer_create, a);
}
