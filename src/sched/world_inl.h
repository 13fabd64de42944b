/* SPDX-License-Identifier: BSD-2-Clause
 * world_inl.h -- the fast paths of the world lock, for both domains.
 * Nothing external is called, no vector register is touched, no fence is executed and no shared
 * line is written while nobody wants the world (fast domain: sched/fastpath.c).
 * Guarantees (argued in docs/CONCURRENCY.md):
 *   W1. A reader that finds `attention` zero after its store to world_state is INSIDE, and every
 *       stop or grace period that begins later sees it there.
 *   W2. A reader that finds it nonzero takes its store back and goes the slow way.
 *   W6. A thread in CODE that a halt has counted as stopped executes nothing of the guest's, and
 *       comes no further than world_code_end() or OUTSIDE, until the halt is over. */
#ifndef MT_WORLD_INL_H
#define MT_WORLD_INL_H

#include "base/atomics.h"
#include "base/futex.h"
#include "base/lockorder.h"
#include "sched/world.h"

/* Bits of the word that every reader looks at. Zero: parallel mode, nobody wants anything. */
#define WORLD_SEQUENTIAL 1u /* for good: one thread at a time */
#define WORLD_FENCES 2u     /* for good: no membarrier, readers execute fences */
#define WORLD_STOP 4u       /* a stop is wanted or under way */
#define WORLD_SCAN 8u       /* somebody waits for a grace period */
#define WORLD_HALT 16u      /* a stop for which it is enough that translated code stands still */

/* Where a thread is: the low bits of Thread.world_state. Odd: INSIDE, in a stay; the bits above
 * count the stays that are over. */
#define WORLD_OUT 0u
#define WORLD_IN 1u   /* the runtime's C code, under the reader lock */
#define WORLD_CODE 3u /* translated code, or near it: touches nothing that a halt may change (W6) */
#define WORLD_PARKED 5u /* has left translated code, waits for the end of a halt */
#define WORLD_WHERE 7u
#define WORLD_STAY 8u

typedef struct WorldGate {
    /* read by all; written only by those who stop the world or synchronise */
    _Alignas(64) u32 attention;
    /* the words that the stopper and the synchroniser sleep on, or NULL */
    _Alignas(64) u32 *waiting_on[2];
} WorldGate;
extern WorldGate mt_world_gate;

static inline u32 world_where(u32 state)
{
    return state & WORLD_WHERE;
}

/* OUTSIDE, before a system call of the guest's. False: world_wait_kicks() is not needed (K3 in
 * world_scan.c). ACQ pairs with the end of a stop or a grace period: cpu->pending says whether it
 * has sent a kick. */
static inline bool world_may_kick(void)
{
    return (__atomic_load_n(&mt_world_gate.attention, __ATOMIC_ACQUIRE) & ~WORLD_SEQUENTIAL) != 0;
}

static inline bool world_is_inside(const Thread *t)
{
    return (t->world_state & 1) != 0; /* own word, or the world is stopped */
}

/* The thread's word has changed while `attention` was set: wakes who sleeps on it.
 * The fence pairs with scan_sleep(): either we see waiting_on, or the kernel sees our new word. */
static inline void world_wake_scanner(u32 *word)
{
    mt_fence_full();
    if (mt_load_relaxed(&mt_world_gate.waiting_on[0]) == word ||
        mt_load_relaxed(&mt_world_gate.waiting_on[1]) == word) {
        futex_wake(word, 2);
    }
}

/* Steps of an own word. REL pairs with the scanner's acquire: what we did before is over. */
static inline void world_step(u32 *word, u32 n)
{
    __atomic_store_n(word, __atomic_load_n(word, __ATOMIC_RELAXED) + n, __ATOMIC_RELEASE);
    mt_compiler_barrier(); /* the load of `attention` stays behind; the scanner's membarrier does
                              what a fence would do here */
}

/* Between two places INSIDE, or from WORLD_OUT; `from` is where t is. */
static inline void world_move(Thread *t, u32 from, u32 to)
{
    world_step(&t->world_state, to - from);
}

/* `where` (WORLD_IN or WORLD_CODE) from OUTSIDE; false: not done (sequential mode, the world is
 * wanted, or fences are needed), call world_enter(). ACQ pairs with world_resume(): what was done
 * to the stopped world is seen. */
static inline bool world_try_enter_to(Thread *t, u32 where)
{
    if (MT_UNLIKELY(__atomic_load_n(&mt_world_gate.attention, __ATOMIC_RELAXED) != 0)) {
        return false;
    }
    lockorder_check(RANK_WORLD);
    world_move(t, WORLD_OUT, where);
    if (MT_LIKELY(__atomic_load_n(&mt_world_gate.attention, __ATOMIC_ACQUIRE) == 0)) {
        lockorder_push(RANK_WORLD);
        annot_after(&mt_world_gate);
        return true;
    }
    world_move(t, where, WORLD_STAY);
    world_wake_scanner(&t->world_state);
    return false;
}

static inline bool world_try_enter_fast(Thread *t)
{
    return world_try_enter_to(t, WORLD_IN);
}

/* Becomes OUTSIDE from `where`; false: not done; world_leave() can do it from WORLD_IN. */
static inline bool world_leave_from(Thread *t, u32 where)
{
    if (MT_UNLIKELY(__atomic_load_n(&mt_world_gate.attention, __ATOMIC_RELAXED) != 0)) {
        return false;
    }
    lockorder_pop(RANK_WORLD);
    annot_before(&t->world_state);
    world_move(t, where, WORLD_STAY);
    if (MT_UNLIKELY(__atomic_load_n(&mt_world_gate.attention, __ATOMIC_RELAXED) != 0)) {
        world_wake_scanner(&t->world_state);
    }
    return true;
}

static inline bool world_leave_fast(Thread *t)
{
    return world_leave_from(t, WORLD_IN);
}

/* From WORLD_IN: translated code comes next. The caller looks at cpu->pending afterwards, before it
 * goes there: no look at `attention` is needed, a halt sets the bit. */
static inline void world_code_begin(Thread *t)
{
    world_move(t, WORLD_IN, WORLD_CODE);
}

/* Back in the runtime: WORLD_IN. The stay goes on, so what was found in it is still there. False: a
 * halt is under way, t is still in WORLD_CODE. ACQ pairs with world_resume(). */
static inline bool world_try_code_end(Thread *t)
{
    world_move(t, WORLD_CODE, WORLD_IN);
    if (MT_LIKELY((__atomic_load_n(&mt_world_gate.attention, __ATOMIC_ACQUIRE) & WORLD_HALT) ==
                  0)) {
        return true;
    }
    world_move(t, WORLD_IN, WORLD_CODE);
    world_wake_scanner(&t->world_state);
    return false;
}

/* The same in the slow domain: not before a halt is over. */
static inline void world_code_end(Thread *t)
{
    if (!world_try_code_end(t)) {
        world_wait_halted(t);
    }
}

#endif
