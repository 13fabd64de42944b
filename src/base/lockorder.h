/* SPDX-License-Identifier: BSD-2-Clause
 * lockorder.h -- mutexes with a place in the lock order (lockorder.def).
 * MtMutex is a pthread mutex, so that an outer Helgrind and TSan see it. Debug builds check that a
 * thread takes locks in rising rank and say both names if not; release builds pay nothing.
 * Signals:    never lock in a host signal handler. */
#ifndef MT_LOCKORDER_H
#define MT_LOCKORDER_H

#include "base/base.h"
#include "base/stats.h"

#include <pthread.h>

typedef enum LockRank {
#define LOCK_RANK(name, number) RANK_##name = number,
#include "base/lockorder.def"
} LockRank;

typedef struct MtMutex {
    pthread_mutex_t m;
    u16 rank;
} MtMutex;

#define MT_MUTEX_INIT(rank_)               \
    {                                      \
        PTHREAD_MUTEX_INITIALIZER, (rank_) \
    }

static inline void mt_mutex_init(MtMutex *x, LockRank rank)
{
    pthread_mutex_init(&x->m, NULL);
    x->rank = (u16)rank;
}

#ifdef MT_DEBUG_BUILD
/* About to take, or wait for, something of this rank: all that is held must rank lower. */
void lockorder_check(LockRank rank);
void lockorder_push(LockRank rank); /* taken */
void lockorder_pop(LockRank rank);  /* given back, in any order */
bool lockorder_holds(LockRank rank);
/* Is nothing held but the world lock? */
bool lockorder_is_free(void);
#else
static inline void lockorder_check(LockRank rank)
{
}

static inline void lockorder_push(LockRank rank)
{
}

static inline void lockorder_pop(LockRank rank)
{
}

static inline bool lockorder_is_free(void)
{
    return true;
}
#endif

/* Counts the locks that were not free: of the translator, and all others. */
static inline void mt_mutex_take(MtMutex *x)
{
    if (pthread_mutex_trylock(&x->m) == 0) {
        return;
    }
    if (x->rank >= RANK_JIT_PAGES && x->rank <= RANK_JIT_ARENA) {
        STAT_INC(JIT_LOCK_WAITS);
    } else {
        STAT_INC(LOCK_WAITS);
    }
    MT_ASSERT(pthread_mutex_lock(&x->m) == 0);
}

static inline void mt_mutex_lock(MtMutex *x)
{
    lockorder_check(x->rank);
    mt_mutex_take(x);
    lockorder_push(x->rank);
}

/* Out of order, where the caller has an argument (in a comment) why that cannot deadlock. */
static inline void mt_mutex_lock_unordered(MtMutex *x)
{
    mt_mutex_take(x);
    lockorder_push(x->rank);
}

static inline void mt_mutex_unlock(MtMutex *x)
{
    lockorder_pop(x->rank);
    MT_ASSERT(pthread_mutex_unlock(&x->m) == 0);
}

#endif
