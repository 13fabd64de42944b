/* SPDX-License-Identifier: BSD-2-Clause
 * sys_turn.c -- sequential mode: what a system call means for the thread's turn.
 * Role: knows which calls never wait for another thread of the guest, and which wait for a moment
 *       only. A call that is taken for one that blocks costs time; one that is wrongly taken for
 *       one that does not blocks all until that is noticed (Q6 in world_seq.c).
 * With a seed each call is a place where threads may change, but for the clock's: they are many
 * then, without the vDSO, whose loops take as many turns as the clock says. */
#include "base/options.h"
#include "base/safe.h"
#include "sys/ptrace_slot.h"
#include "sys/sig_host.h"
#include "sys/sys.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>

#define SHORT_NS 10000000ll

static bool is_clock(u32 nr)
{
    return nr == SYS_clock_gettime || nr == SYS_gettimeofday || nr == SYS_time ||
           nr == SYS_getcpu || nr == SYS_clock_getres;
}

/* A signal that ends the process waits for its end (sent() in sys_signal.c). */
static bool is_handled(int sig)
{
    return sig > 0 && sig <= MT_NSIG && signal_handler_sig(thread_self(), sig) != (u64)SIG_DFL;
}

static bool never_waits(u32 nr, const u64 a[6])
{
    switch (nr) {
    case SYS_rt_sigprocmask:
    case SYS_rt_sigaction:
    case SYS_rt_sigreturn:
    case SYS_rt_sigpending:
    case SYS_sigaltstack:
    case SYS_getpid:
    case SYS_gettid:
    case SYS_getppid:
    case SYS_getuid:
    case SYS_geteuid:
    case SYS_getgid:
    case SYS_getegid:
    case SYS_getrusage:
    case SYS_times:
    case SYS_sched_getaffinity:
    case SYS_set_robust_list:
    case SYS_rseq: return true;
    case SYS_kill: return is_handled((int)a[1]);
    case SYS_tkill: return is_handled((int)a[1]);
    case SYS_tgkill: return is_handled((int)a[2]);
    case SYS_futex:
        switch (a[1] & FUTEX_CMD_MASK) {
        case FUTEX_WAKE:
        case FUTEX_WAKE_BITSET:
        case FUTEX_WAKE_OP:
        case FUTEX_REQUEUE:
        case FUTEX_CMP_REQUEUE:
        case FUTEX_UNLOCK_PI: return true;
        default: return false;
        }
    default: return is_clock(nr);
    }
}

static bool is_short(i64 ns)
{
    return ns <= SHORT_NS;
}

/* A timespec, or (unit 1000) a timeval. Absolute by `clock`, or relative (-1). */
static bool is_short_at(u64 addr, i64 unit, clockid_t clock)
{
    struct timespec ts, now = {0, 0};

    if (addr == 0 || safe_read(&ts, addr, sizeof(ts)) != 0) {
        return false;
    }
    if (clock >= 0 && clock_gettime(clock, &now) != 0) {
        return false;
    }
    /* Seconds first: no overflow. */
    return ts.tv_sec - now.tv_sec <= 1 &&
           is_short((ts.tv_sec - now.tv_sec) * 1000000000 + ts.tv_nsec * unit - now.tv_nsec);
}

static bool is_short_ms(u64 arg)
{
    return (int)arg >= 0 && is_short((int)arg * 1000000ll);
}

static bool futex_is_short(const u64 a[6])
{
    clockid_t clock = (a[1] & FUTEX_CLOCK_REALTIME) != 0 ? CLOCK_REALTIME : CLOCK_MONOTONIC;

    switch (a[1] & FUTEX_CMD_MASK) {
    case FUTEX_WAIT: return is_short_at(a[3], 1, -1);
    case FUTEX_WAIT_BITSET:
    case FUTEX_WAIT_REQUEUE_PI:
    case FUTEX_LOCK_PI2: return is_short_at(a[3], 1, clock);
    case FUTEX_LOCK_PI: return is_short_at(a[3], 1, CLOCK_REALTIME);
    default: return false;
    }
}

/* Has the call a timeout that is over after a moment? */
static bool waits_shortly(u32 nr, const u64 a[6])
{
    switch (nr) {
    case SYS_nanosleep: return is_short_at(a[0], 1, -1);
    case SYS_clock_nanosleep:
        return is_short_at(a[2], 1, (a[1] & TIMER_ABSTIME) != 0 ? (clockid_t)a[0] : -1);
    case SYS_futex: return futex_is_short(a);
    case SYS_poll: return is_short_ms(a[2]);
    case SYS_ppoll: return is_short_at(a[2], 1, -1);
    case SYS_select: return is_short_at(a[4], 1000, -1);
    case SYS_pselect6: return is_short_at(a[4], 1, -1);
    case SYS_epoll_wait:
    case SYS_epoll_pwait: return is_short_ms(a[3]);
    case SYS_epoll_pwait2: return is_short_at(a[3], 1, -1);
    case SYS_rt_sigtimedwait: return is_short_at(a[2], 1, -1);
    case SYS_semtimedop: return is_short_at(a[3], 1, -1);
    case SYS_mq_timedsend:
    case SYS_mq_timedreceive: return is_short_at(a[4], 1, CLOCK_REALTIME);
    default: return false;
    }
}

WorldAway sys_away(const CpuState *c)
{
    const u64 a[6] = {c->gpr[MT_RDI], c->gpr[MT_RSI], c->gpr[MT_RDX],
                      c->gpr[MT_R10], c->gpr[MT_R8],  c->gpr[MT_R9]};
    u32 nr = (u32)c->gpr[MT_RAX];
    bool seeded = mt_opts.sched_seed != NULL;

    if (ptrace_is_traced()) {
        return AWAY;
    }
    if (seeded && waits_shortly(nr, a)) {
        return AWAY_SHORTLY;
    }
    return (seeded ? is_clock(nr) : never_waits(nr, a)) ? AWAY_KEEPS_TURN : AWAY;
}
