/* SPDX-License-Identifier: BSD-2-Clause
 * sig_defer.c -- signals that the kernel cannot hold for us (docs/SIGNALS.md, "Faults").
 * Role:       a short queue per thread; knows neither masks nor dispositions.
 * Invariants: Q1. a standard signal is in it once at most; the first one counts, as in the kernel.
 *             Q2. it changes only while all signals are blocked in the host.
 * Signals:    sig_defer_add_sig() is for the host handler; the rest is for the thread itself. */
#include "sys/sig_host.h"

#include <string.h>

#define DEFER_MAX 32 /* more are dropped, as beyond RLIMIT_SIGPENDING */
#define FIRST_REALTIME 32

static __thread siginfo_t queue[DEFER_MAX];
static __thread volatile u32 first, count; /* in use: [first, count) */
static __thread volatile SigMask watched;

void sig_defer_add_sig(const siginfo_t *info)
{
    for (u32 i = first; i < count; i++) {
        if (queue[i].si_signo == info->si_signo && info->si_signo < FIRST_REALTIME) {
            return;
        }
    }
    if (count < DEFER_MAX) {
        queue[count] = *info;
        count = count + 1;
    }
}

bool sig_defer_any(void)
{
    return count != first;
}

SigMask sig_defer_pending(void)
{
    SigMask m = 0;
    if (!sig_defer_any()) {
        return 0;
    }
    SigMask old = sig_host_setmask(SIG_MASK_ALL);
    for (u32 i = first; i < count; i++) {
        m |= SIG_BIT(queue[i].si_signo);
    }
    sig_host_setmask(old);
    return m;
}

bool sig_defer_take(SigMask set, siginfo_t *out)
{
    bool found = false;
    if (!sig_defer_any()) {
        return false;
    }
    SigMask old = sig_host_setmask(SIG_MASK_ALL);
    for (u32 i = 0; i < count && !found; i++) {
        if (set & SIG_BIT(queue[i].si_signo)) {
            *out = queue[i];
            memmove(&queue[i], &queue[i + 1], (count - i - 1) * sizeof(queue[0]));
            count = count - 1;
            found = true;
        }
    }
    sig_host_setmask(old);
    return found;
}

void sig_defer_drop(SigMask set)
{
    siginfo_t dropped;
    while (sig_defer_take(set, &dropped)) {
    }
}

u32 sig_defer_hide(void)
{
    u32 hidden = first;
    first = count;
    return hidden;
}

void sig_defer_unhide(u32 hidden)
{
    count = first;
    first = hidden;
}

void sig_defer_watch(SigMask set)
{
    watched = set;
}

bool sig_defer_watched_sig(int sig)
{
    return watched & SIG_BIT(sig);
}
