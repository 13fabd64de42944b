/* SPDX-License-Identifier: BSD-2-Clause
 * stats.c -- the runtime's counters.
 * Role:       sums per-thread sets; knows nothing of what is counted.
 * Invariants: T1. a set is on the list from stats_thread_start() to stats_thread_exit().
 *             T2. total = folded + all sets on the list, so nothing is counted twice.
 * Locking:    stats_lock guards the list and `folded`. A set is written by its thread only,
 *             relaxed; readers are relaxed too: no order is needed, a count stands for itself.
 * Lifetime:   sets are thread-local; a thread must exit through stats_thread_exit(). */
#include "base/stats.h"

#include "base/lockorder.h"
#include "base/log.h"
#include "base/valgrind_annot.h"

__thread u64 mt_stats[STAT_COUNT];

typedef struct StatsSet {
    u64 *counts;
    struct StatsSet *next, *prev;
    bool listed;
} StatsSet;

static __thread StatsSet own;
static MtMutex stats_lock = MT_MUTEX_INIT(RANK_STATS);
static StatsSet *sets;
static u64 folded[STAT_COUNT];

static const char *const texts[STAT_COUNT] = {
#define STAT(id, text) [STAT_##id] = text,
#include "base/stats.def"
};

static void link_own_locked(void)
{
    annot_ignore(mt_stats, sizeof(mt_stats));
    own.counts = mt_stats;
    own.prev = NULL;
    own.next = sets;
    if (sets) {
        sets->prev = &own;
    }
    sets = &own;
    own.listed = true;
}

void stats_thread_start(void)
{
    mt_mutex_lock(&stats_lock);
    if (!own.listed) {
        link_own_locked();
    }
    mt_mutex_unlock(&stats_lock);
}

void stats_thread_exit(void)
{
    mt_mutex_lock(&stats_lock);
    if (own.listed) {
        if (own.next) {
            own.next->prev = own.prev;
        }
        if (own.prev) {
            own.prev->next = own.next;
        } else {
            sets = own.next;
        }
        own.listed = false;
        for (int i = 0; i < STAT_COUNT; i++) {
            folded[i] += mt_stats[i];
            mt_stats[i] = 0;
        }
    }
    mt_mutex_unlock(&stats_lock);
}

static u64 total_locked(int id)
{
    u64 sum = folded[id];
    for (StatsSet *s = sets; s; s = s->next) {
        sum += __atomic_load_n(&s->counts[id], __ATOMIC_RELAXED);
    }
    return sum;
}

u64 stats_total(int id)
{
    mt_mutex_lock(&stats_lock);
    u64 sum = total_locked(id);
    mt_mutex_unlock(&stats_lock);
    return sum;
}

/* "1,234,567" into buf. */
static const char *with_commas(u64 n, char buf[32])
{
    char *p = buf + 31;
    int digits = 0;
    *p = '\0';
    do {
        if (digits && digits % 3 == 0) {
            *--p = ',';
        }
        *--p = (char)('0' + n % 10);
        n /= 10;
        digits++;
    } while (n);
    return p;
}

void stats_print(void)
{
    mt_umsg_always("runtime counters:");
    for (int i = 0; i < STAT_COUNT; i++) {
        char buf[32];
        mt_umsg_always("%16s  %s", with_commas(stats_total(i), buf), texts[i]);
    }
}

void stats_after_fork_child(void)
{
    /* The parent's other threads are gone, and with them whoever held the lock. */
    annot_clean(&sets, sizeof(sets));
    annot_clean(folded, sizeof(folded));
    annot_clean(&own, sizeof(own));
    mt_mutex_init(&stats_lock, RANK_STATS);
    sets = NULL;
    for (int i = 0; i < STAT_COUNT; i++) {
        folded[i] = 0;
        mt_stats[i] = 0;
    }
    link_own_locked();
}
