/* SPDX-License-Identifier: BSD-2-Clause
 * stats.h -- the runtime's counters (--stats=yes), one table: stats.def.
 * Each thread adds to its own set without synchronisation; sets are summed at thread exit and at
 * process exit (a running thread's counters are read relaxed: a count may be a moment old). */
#ifndef MT_STATS_H
#define MT_STATS_H

#include "base/base.h"

enum {
#define STAT(id, text) STAT_##id,
#include "base/stats.def"
    STAT_COUNT
};

extern __thread u64 mt_stats[STAT_COUNT];
/* Relaxed on both sides: only the own thread writes, and others only want the number. */
#define STAT_ADD(id, n) \
    __atomic_store_n(&mt_stats[STAT_##id], mt_stats[STAT_##id] + (u64)(n), __ATOMIC_RELAXED)
#define STAT_INC(id) STAT_ADD(id, 1)

void stats_thread_start(void); /* registers the calling thread's set */
void stats_thread_exit(void);  /* folds it into the totals and unregisters it */
void stats_print(void);        /* to the log */
u64 stats_total(int id);
void stats_after_fork_child(void); /* forget the other threads' sets, zero all */

#endif
