/* SPDX-License-Identifier: BSD-2-Clause
 * sig_defer.c -- signals that the kernel cannot hold for us (docs/SIGNALS.md, "Faults").
 * Role:       a short queue per thread; knows neither masks nor dispositions.
 * Invariants: Q1. a standard signal is in it once at most; the first one counts, as in the kernel.
 *             Q2. it changes only while all signals are blocked in the host.
 *             Q3. in use: [first, count); hidden: [.., low); low <= first <= count.
 *             Q4. `present` is the set of the signals in use.
 * Signals:    sig_defer_add_sig() is for the host handler; the rest is for the thread itself. */
#include "sys/sig_host.h"

#include "base/valgrind_annot.h"

#include <string.h>
#include <sys/mman.h>

#define DEFER_MAX 32 /* more are dropped, as beyond RLIMIT_SIGPENDING */
/* Valgrind ignores the mask in a signal frame, so whatever the kernel has queued comes at once
 * (docs/CONCURRENCY.md). */
#define DEFER_MAX_VALGRIND 16384
#define FIRST_REALTIME 32

static __thread siginfo_t own_queue[DEFER_MAX];
static __thread siginfo_t *long_queue; /* NULL away from Valgrind */
static __thread volatile u32 low, first, count;
static __thread volatile SigMask present, watched;

void sig_defer_thread_init(void)
{
    if (mt_under_valgrind) {
        void *p = mmap(NULL, DEFER_MAX_VALGRIND * sizeof(siginfo_t), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        long_queue = p != MAP_FAILED ? p : NULL;
    }
}

void sig_defer_thread_fini(void)
{
    if (long_queue != NULL) {
        munmap(long_queue, DEFER_MAX_VALGRIND * sizeof(siginfo_t));
        long_queue = NULL;
    }
}

static siginfo_t *queue(void)
{
    return long_queue != NULL ? long_queue : own_queue;
}

/* Makes room below for what is added next. */
static void compact(void)
{
    memmove(&queue()[low], &queue()[first], (count - first) * sizeof(siginfo_t));
    count = low + (count - first);
    first = low;
}

void sig_defer_add_sig(const siginfo_t *info)
{
    u32 room = long_queue != NULL ? DEFER_MAX_VALGRIND : DEFER_MAX;
    SigMask bit = SIG_BIT(info->si_signo);

    if ((present & bit) && info->si_signo < FIRST_REALTIME) {
        return;
    }
    if (count == room && first > low) {
        compact();
    }
    if (count < room) {
        queue()[count] = *info;
        count = count + 1;
        present |= bit;
    }
}

bool sig_defer_any(void)
{
    return present != 0;
}

u32 sig_defer_count(void)
{
    return count - first;
}

SigMask sig_defer_pending(void)
{
    return present;
}

static void remove_at(u32 i)
{
    if (i == first) {
        first = first + 1;
    } else {
        memmove(&queue()[i], &queue()[i + 1], (count - i - 1) * sizeof(siginfo_t));
        count = count - 1;
    }
}

static bool holds(int sig)
{
    for (u32 i = first; i < count; i++) {
        if (queue()[i].si_signo == sig) {
            return true;
        }
    }
    return false;
}

bool sig_defer_take(SigMask set, siginfo_t *out)
{
    bool found = false;
    if (!(present & set)) {
        return false;
    }
    SigMask old = sig_host_setmask(SIG_MASK_ALL);
    int lowest = 1 + __builtin_ctzll(present & set); /* as the kernel takes them */
    for (u32 i = first; i < count && !found; i++) {
        if (queue()[i].si_signo == lowest) {
            *out = queue()[i];
            remove_at(i);
            if (!holds(out->si_signo)) { /* a long queue is mostly of one signal: a short look */
                present &= ~SIG_BIT(out->si_signo);
            }
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

SigDeferred sig_defer_hide(void)
{
    SigDeferred hidden = {low, first, count};

    low = first = count;
    present = 0;
    return hidden;
}

void sig_defer_unhide(SigDeferred hidden)
{
    low = hidden.low;
    first = hidden.first;
    count = hidden.count;
    present = 0;
    for (u32 i = first; i < count; i++) {
        present |= SIG_BIT(queue()[i].si_signo);
    }
}

void sig_defer_watch(SigMask set)
{
    watched = set;
}

bool sig_defer_watched_sig(int sig)
{
    return watched & SIG_BIT(sig);
}
