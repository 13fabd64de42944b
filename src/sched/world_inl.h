/* SPDX-License-Identifier: BSD-2-Clause
 * world_inl.h -- the fast paths of the world lock, for both domains.
 * Nothing external is called, no vector register is touched, no fence is executed and no shared line
 * is written while nobody wants the world (fast domain: sched/fastpath.c).
 * Guarantees (argued in docs/CONCURRENCY.md):
 *   W1. A reader that finds `attention` zero after its store to world_state is INSIDE, and every stop
 *       or grace period that begins later sees it there.
 *   W2. A reader that finds it nonzero takes its store back and goes the slow way. */
#ifndef MT_WORLD_INL_H
#define MT_WORLD_INL_H

#include "base/atomics.h"
#include "base/futex.h"
#include "base/lockorder.h"
#include "sched/thread.h"

/* Bits of the word that every reader looks at. Zero: parallel mode, nobody wants anything. */
#define WORLD_SEQUENTIAL 1u /* for good: one thread at a time */
#define WORLD_FENCES 2u     /* for good: no membarrier, readers execute fences */
#define WORLD_STOP 4u       /* a stop is wanted or under way */
#define WORLD_SCAN 8u       /* somebody waits for threads to leave */

typedef struct WorldGate {
    /* read by all; written only by those who stop the world or synchronise */
    _Alignas(64) u32 attention;
    /* the word that the one scanner sleeps on, or NULL */
    _Alignas(64) u32 *waiting_on;
} WorldGate;
extern WorldGate mt_world_gate;

static inline bool world_is_inside(const Thread *t)
{
    return (t->world_state & 1) != 0; /* own word, or the world is stopped */
}

/* The thread's word has changed while `attention` was set: wakes the scanner if it sleeps on it.
 * The fence pairs with scan_sleep(): either we see waiting_on, or the kernel sees our new word. */
static inline void world_wake_scanner(u32 *word)
{
    mt_fence_full();
    if (mt_load_relaxed(&mt_world_gate.waiting_on) == word) {
        futex_wake(word, 1);
    }
}

/* One step of an own word. REL pairs with the scanner's acquire: what we did before is over. */
static inline void world_bump(u32 *word)
{
    __atomic_store_n(word, __atomic_load_n(word, __ATOMIC_RELAXED) + 1, __ATOMIC_RELEASE);
    mt_compiler_barrier(); /* the load of `attention` stays behind; the scanner's membarrier does
                              what a fence would do here */
}

/* Becomes INSIDE; false: not done (sequential mode, the world is wanted, or fences are needed), call
 * world_enter(). ACQ pairs with world_resume(): what was done to the stopped world is seen. */
static inline bool world_try_enter_fast(Thread *t)
{
    if (MT_UNLIKELY(__atomic_load_n(&mt_world_gate.attention, __ATOMIC_RELAXED) != 0)) {
        return false;
    }
    lockorder_check(RANK_WORLD);
    world_bump(&t->world_state);
    if (MT_LIKELY(__atomic_load_n(&mt_world_gate.attention, __ATOMIC_ACQUIRE) == 0)) {
        lockorder_push(RANK_WORLD);
        annot_after(&mt_world_gate);
        return true;
    }
    world_bump(&t->world_state);
    world_wake_scanner(&t->world_state);
    return false;
}

/* Becomes OUTSIDE; false: not done, call world_leave(). */
static inline bool world_leave_fast(Thread *t)
{
    if (MT_UNLIKELY(__atomic_load_n(&mt_world_gate.attention, __ATOMIC_RELAXED) != 0)) {
        return false;
    }
    lockorder_pop(RANK_WORLD);
    annot_before(&t->world_state);
    world_bump(&t->world_state);
    if (MT_UNLIKELY(__atomic_load_n(&mt_world_gate.attention, __ATOMIC_RELAXED) != 0)) {
        world_wake_scanner(&t->world_state);
    }
    return true;
}

#endif
