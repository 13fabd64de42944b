/* SPDX-License-Identifier: BSD-2-Clause
 * world_seq.c -- sequential mode: the gate that lets one thread at a time INSIDE.
 * Role:       a lock with a queue. Who comes next: a thread that wants to stop the world; else the one
 *             from whom such a thread has borrowed the gate; else, by --fair-sched, the first in the
 *             queue (yes, try) or whoever is quickest (no; but the end of a quantum hands over to the
 *             first in any case); else, with --sched-seed, one that the generator picks.
 * Invariants: Q1. a thread is INSIDE => it is the holder.
 *             Q2. without a seed: nobody holds the gate => nobody is queued (fair), or the first in
 *                 the queue has been woken (unfair).
 *             Q3. with a seed: nobody holds the gate and somebody is queued => one of the queued is
 *                 the arbiter, or has been woken and will be.
 *             Q4. with a seed: the generator is asked once for each choice and then once for the
 *                 quantum of the chosen; kicks, stops and grace periods don't ask it. So what it says
 *                 depends on the choices only, never on time.
 * Locking:    all state here is guarded by mt_world.queue; Thread.gate_phase is atomic.
 * Signals:    nothing here may be called from a host signal handler. */
#include "base/options.h"
#include "base/stats.h"
#include "sched/world_int.h"
#include "sched/settle.h"

#include <sched.h>

static Thread *holder;
static ThreadQueue gate;     /* with a seed in order of world_index, else of arrival */
static ThreadQueue stoppers; /* threads that were OUTSIDE and want to stop the world */
static Thread *borrowed;     /* gave the gate to a stopper at a safepoint, gets it back next */
static Thread *arbiter;      /* with a seed: the queued thread that finds out who can be chosen */
static u64 rng;

static const WorldConfig *config(void)
{
    return &mt_world.config;
}

/* splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014. */
static u64 next_random(void)
{
    u64 z = rng += 0x9e3779b97f4a7c15ull;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

void seq_init(void)
{
    rng = config()->seed;
    if (config()->seeded) {
        settle_init();
    }
}

static void set_phase(Thread *t, u32 phase)
{
    mt_store_release(&t->gate_phase, phase); /* pairs with settle_wait() */
}

static void new_quantum_locked(Thread *t)
{
    u64 q = config()->quantum;

    t->cpu->quantum = config()->seeded ? 1 + next_random() % (2 * q) : q;
}

/* ---- the queue ---- */

/* In order of creation, so that the generator chooses from the same list in each run. */
static void queue_sorted_locked(Thread *t)
{
    Thread **p = &gate.head;

    while (*p != NULL && (*p)->world_index < t->world_index) {
        p = &(*p)->wait_next;
    }
    t->wait_next = *p;
    *p = t;
    if (t->wait_next == NULL) {
        gate.tail = t;
    }
}

static void queue_locked(Thread *t)
{
    if (config()->seeded) {
        queue_sorted_locked(t);
    } else {
        threadqueue_push(&gate, t);
    }
    set_phase(t, GATE_WAITING);
}

static void hand_to_locked(Thread *t)
{
    holder = t;
    world_unpark(t);
    STAT_INC(HANDOVERS);
}

static void choose_locked(void)
{
    u32 n = 0, k;
    Thread *t;

    for (t = gate.head; t != NULL; t = t->wait_next) {
        n++;
    }
    k = (u32)(next_random() % n);
    for (t = gate.head; k > 0; k--) {
        t = t->wait_next;
    }
    threadqueue_remove(&gate, t);
    hand_to_locked(t);
}

/* The caller holds the gate no longer. force: also unfair mode hands over to the first. */
static void give_locked(bool force)
{
    Thread *t = threadqueue_pop(&stoppers);

    holder = NULL;
    if (t != NULL) {
        hand_to_locked(t);
    } else if (borrowed != NULL) {
        t = borrowed;
        borrowed = NULL;
        hand_to_locked(t);
    } else if (gate.head == NULL) {
        return;
    } else if (config()->seeded) {
        if (arbiter == NULL) {
            world_unpark(gate.head); /* becomes the arbiter */
        }
    } else if (force || config()->fair != FAIR_NO) {
        hand_to_locked(threadqueue_pop(&gate));
    } else {
        world_unpark(gate.head); /* it stays in the queue and tries its luck */
    }
}

/* The arbiter's work: wait until it is certain who is at the gate, then choose. A stopper may take the
 * gate meanwhile; when it gives it back, arbitration begins anew. */
static void arbitrate_locked(Thread *t)
{
    arbiter = t;
    mt_mutex_unlock(&mt_world.queue);
    settle_wait();
    mt_mutex_lock(&mt_world.queue);
    arbiter = NULL;
    if (holder == NULL) {
        choose_locked();
    }
}

/* t is queued; returns when it holds the gate. */
static void wait_turn_locked(Thread *t)
{
    while (holder != t) {
        if (holder != NULL || arbiter != NULL) {
            world_park(t, -1);
        } else if (config()->seeded) {
            arbitrate_locked(t);
        } else {
            threadqueue_remove(&gate, t);
            holder = t;
        }
    }
    set_phase(t, GATE_HOLDS);
    new_quantum_locked(t);
}

/* ---- enter, leave, hand over ---- */

void seq_enter(Thread *t)
{
    set_phase(t, GATE_ARRIVING);
    mt_mutex_lock(&mt_world.queue);
    if (holder == NULL && !config()->seeded) {
        holder = t; /* Q2: nobody is queued, or we are quicker */
        set_phase(t, GATE_HOLDS);
        new_quantum_locked(t);
    } else {
        queue_locked(t);
        wait_turn_locked(t);
    }
    mt_mutex_unlock(&mt_world.queue);
    world_mark_inside(t);
}

/* t is marked OUTSIDE already. */
void seq_leave(Thread *t)
{
    set_phase(t, GATE_AWAY);
    mt_mutex_lock(&mt_world.queue);
    give_locked(false);
    mt_mutex_unlock(&mt_world.queue);
}

void seq_quantum_end(Thread *t)
{
    world_mark_outside(t);
    mt_mutex_lock(&mt_world.queue);
    if (gate.head == NULL && stoppers.head == NULL && !config()->seeded) {
        new_quantum_locked(t);
    } else {
        queue_locked(t);
        give_locked(true);
        wait_turn_locked(t);
    }
    mt_mutex_unlock(&mt_world.queue);
    world_mark_inside(t);
}

/* ---- stops ---- */

/* The holder at a safepoint: a grace period is content with its having been OUTSIDE for a moment, a
 * stopper borrows the gate. Neither changes whose turn it is. */
void seq_safepoint(Thread *t)
{
    world_mark_outside(t);
    mt_mutex_lock(&mt_world.queue);
    if (stoppers.head != NULL) {
        borrowed = t;
        hand_to_locked(threadqueue_pop(&stoppers));
        while (holder != t) {
            world_park(t, -1);
        }
    }
    mt_mutex_unlock(&mt_world.queue);
    world_mark_inside(t);
}

/* The holder, if it may be running guest code, is asked to come to a safepoint. */
static void kick_holder_locked(void)
{
    if (holder != NULL && !world_owns_stop(holder)) {
        world_kick(holder, MT_PEND_WORLD);
    }
}

/* inside: t has just been marked OUTSIDE, but still holds the gate, and with it the world. */
void seq_stop(Thread *t, bool inside)
{
    if (inside) {
        return;
    }
    set_phase(t, GATE_ARRIVING);
    mt_mutex_lock(&mt_world.queue);
    if (holder == NULL) {
        holder = t;
    } else {
        threadqueue_push(&stoppers, t);
        set_phase(t, GATE_WAITING);
        while (holder != t) {
            kick_holder_locked();
            world_park(t, WORLD_PATIENCE_NS);
        }
    }
    mt_mutex_unlock(&mt_world.queue);
    set_phase(t, GATE_HOLDS);
}

void seq_resume(Thread *t, bool inside)
{
    if (inside) {
        world_mark_inside(t);
        return;
    }
    seq_leave(t);
}

/* ---- fork, vfork ---- */

void seq_after_fork_child(Thread *t, bool inside)
{
    holder = inside ? t : NULL;
    gate = stoppers = (ThreadQueue){NULL, NULL};
    borrowed = NULL;
    arbiter = NULL;
    set_phase(t, inside ? GATE_HOLDS : GATE_AWAY);
}

/* ---- threads that a tracer has stopped ---- */

/* t can't take its turn: it leaves the queues. */
void seq_freeze_locked(Thread *t)
{
    t->frozen_stopper = threadqueue_remove(&stoppers, t) || borrowed == t;
    t->frozen_waits = t->frozen_stopper || threadqueue_remove(&gate, t);
    borrowed = borrowed == t ? NULL : borrowed;
}

/* It waits still, where it did; one that had lent the gate waits to be handed it, as a stopper does. */
void seq_thaw_locked(Thread *t)
{
    if (t->frozen_stopper) {
        threadqueue_push(&stoppers, t);
    } else {
        queue_locked(t);
    }
    if (holder == NULL) {
        give_locked(false);
    }
}

/* t's user died anywhere; t is OUTSIDE. */
void seq_forget(Thread *t)
{
    mt_mutex_lock(&mt_world.queue);
    threadqueue_remove(&gate, t);
    threadqueue_remove(&stoppers, t);
    borrowed = borrowed == t ? NULL : borrowed;
    arbiter = arbiter == t ? NULL : arbiter;
    if (holder == t ||
        holder == NULL) { /* t may have been woken to see to it that somebody goes on */
        give_locked(false);
    }
    mt_mutex_unlock(&mt_world.queue);
    set_phase(t, GATE_AWAY);
}
