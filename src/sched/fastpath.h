/* SPDX-License-Identifier: BSD-2-Clause
 * fastpath.h -- running translated code, and the system calls done without leaving the fast
 * domain. */
#ifndef MT_FASTPATH_H
#define MT_FASTPATH_H

#include "base/atomics.h"
#include "sched/thread.h"

/* INSIDE, slow domain. Enters translated code at host_pc with the guest state of mt_cpu; does
 * ordinary system calls on the way. Returns an MT_EXIT_* value in the slow domain; the thread is
 * INSIDE but for MT_EXIT_OUTSIDE. */
u32 fast_run(Thread *t, u64 host_pc);

/* Threads have Thread.slow_call set, and keep it: the fast path does no system call. Atomic;
 * threads that there are when it is set find out at their next slow one. */
extern bool mt_all_slow;
static inline void fast_no_more(Thread *t)
{
    mt_store_relaxed(&mt_all_slow, true);
    t->slow_call = true;
}

#endif
