/* SPDX-License-Identifier: BSD-2-Clause
 * world_seq.c -- sequential mode: the gate, which says whose turn it is.
 * Role:       a lock with a queue. Who comes next: by --fair-sched, the first in the queue (yes,
 *             try) or whoever is quickest (no; but the end of a quantum hands over to the first in
 *             any case); with --sched-seed, one that the generator picks. Stops and grace periods
 *             are the world lock's (world_stop.c, world_scan.c): they keep the holder OUTSIDE for a
 *             while, or let it stand where it is, and do not change whose turn it is.
 * Invariants: Q1. a thread runs guest code => it is the holder.
 *             Q2. without a seed: nobody holds the gate => nobody is queued (fair), or the first in
 *                 the queue has been woken (unfair).
 *             Q3. with a seed: nobody holds the gate and somebody is queued => one of the queued is
 *                 the arbiter, or has been woken and will be.
 *             Q4. with a seed: the generator is asked once for each choice and then once for the
 *                 quantum of the chosen; kicks, stops and grace periods don't ask it. So what it
 *                 says depends on the choices only, never on time.
 *             Q5. the turn is taken from a holder only in a stop of the world: it stands in
 *                 translated code (W6), or asks whose turn it is when it comes INSIDE behind the
 *                 stop. Until it has left the world it may be in the runtime's code without its
 *                 turn, as in parallel mode.
 *             Q6. a holder is OUTSIDE only if it has been handed the turn on its way INSIDE, waits
 *                 for the end of a stop, or keeps its turn over a call that does not block
 *                 (Thread.keeps_turn). If that blocks nevertheless, its turn is taken; it finds out
 *                 when it enters.
 * Locking:    all state here is guarded by mt_world.queue; Thread.gate_phase is atomic.
 * Signals:    nothing here may be called from a host signal handler. */
#include "base/options.h"
#include "base/stats.h"
#include "sched/world_int.h"
#include "sched/settle.h"

#include <sched.h>

static Thread *holder;   /* atomic: a thread asks without the lock whether it is itself */
static ThreadQueue gate; /* with a seed in order of world_index, else of arrival */
static Thread *arbiter;  /* with a seed: the queued thread that finds out who can be chosen */
static u32 waiting;      /* in the gate's queue */
static u64 turns;        /* that have been given so far, and given back */
static bool watched;     /* somebody looks whether the holder sleeps */
static u64 rng;

/* For how long the only one who waits trusts the holder to run. Two wait twice as long each, and
 * so on: so all of them together look at it no more often. */
#define WATCH_NS 5000000
#define WATCH_AGAIN_NS 1000000 /* in a program in which it has slept */
static i64 patience = WATCH_NS;

/* A system call takes as long as that many blocks. */
#define MT_SYSCALL_BLOCKS 200

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
    settle_init();
}

static void set_phase(Thread *t, u32 phase)
{
    mt_store_release(&t->gate_phase, phase); /* pairs with settle_wait() */
}

/* Written by others under the lock, or with the world stopped. */
static bool has_turn(const Thread *t)
{
    return mt_load_relaxed(&holder) == t;
}

static void set_holder_locked(Thread *t)
{
    mt_store_relaxed(&holder, t);
    turns++;
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
    waiting++;
    set_phase(t, GATE_WAITING);
}

static void dequeue_locked(Thread *t)
{
    waiting -= threadqueue_remove(&gate, t);
}

static void hand_to_locked(Thread *t)
{
    set_holder_locked(t);
    world_unpark(t);
    STAT_INC(HANDOVERS);
}

static void choose_locked(void)
{
    u32 k = (u32)(next_random() % waiting);
    Thread *t = gate.head;

    for (; k > 0; k--) {
        t = t->wait_next;
    }
    dequeue_locked(t);
    hand_to_locked(t);
}

/* The caller holds the gate no longer. force: also unfair mode hands over to the first. */
static void give_locked(bool force)
{
    set_holder_locked(NULL);
    if (gate.head == NULL) {
        return;
    }
    if (config()->seeded) {
        if (arbiter == NULL) {
            world_unpark(gate.head); /* becomes the arbiter */
        }
    } else if (force || config()->fair != FAIR_NO) {
        Thread *t = gate.head;

        dequeue_locked(t);
        hand_to_locked(t);
    } else {
        world_unpark(gate.head); /* it stays in the queue and tries its luck */
    }
}

/* The arbiter's work: wait until it is certain who is at the gate, then choose. Another one does
 * it if this one has been frozen meanwhile. */
static void arbitrate_locked(Thread *t)
{
    arbiter = t;
    mt_mutex_unlock(&mt_world.queue);
    settle_wait();
    mt_mutex_lock(&mt_world.queue);
    if (arbiter == t) {
        arbiter = NULL;
        choose_locked();
    }
}

/* ---- a holder that sleeps ---- */

/* Does the holder sleep where it can be made to stand still, or is no danger? In a page fault of
 * translated code, or in a system call, that is. */
static bool holder_sleeps_locked(void)
{
    u32 where = world_where(mt_load_acquire(&holder->world_state));
    bool asks = where == WORLD_CODE || (where == WORLD_OUT && mt_load_relaxed(&holder->keeps_turn));
    pid_t tgid = mt_load_relaxed(&holder->tgid), tid = mt_load_relaxed(&holder->tid);
    u64 turn = turns;
    bool sleeps;

    mt_mutex_unlock(&mt_world.queue);
    sleeps = asks && settle_sleeps(tgid, tid, config()->seeded);
    mt_mutex_lock(&mt_world.queue);
    return sleeps && turns == turn;
}

/* The page fault may be another guest thread's to end, which needs its turn for it: t, queued,
 * takes it from the holder. That one stands still by W6, and finds out when it leaves the world
 * (seq_leave()) or enters (Q5). */
static void take_from_sleeper_locked(Thread *t)
{
    u64 turn = turns;
    Thread *h = holder;

    dequeue_locked(t);
    set_phase(t, GATE_ARRIVING);
    mt_mutex_unlock(&mt_world.queue);
    world_stop(t);
    mt_mutex_lock(&mt_world.queue);
    if (turns == turn) {
        set_phase(h, GATE_AWAY);
        if (world_is_inside(h)) {
            h->turn_lost = true;
        }
        patience = WATCH_AGAIN_NS;
        give_locked(true);
        STAT_INC(TURNS_LOST);
    }
    mt_mutex_unlock(&mt_world.queue);
    world_resume(t);
    set_phase(t, GATE_ARRIVING);
    mt_mutex_lock(&mt_world.queue);
    queue_locked(t);
}

/* t is queued, and somebody holds the gate, or is about to be chosen. */
static void wait_watching_locked(Thread *t)
{
    u64 turn = turns;

    world_park(t, (i64)waiting * patience);
    if (turns != turn || holder == NULL || watched) {
        return;
    }
    watched = true;
    if (holder_sleeps_locked()) {
        take_from_sleeper_locked(t);
    }
    watched = false;
}

/* t is queued; returns when it holds the gate. */
static void wait_turn_locked(Thread *t)
{
    while (holder != t) {
        if (holder != NULL || arbiter != NULL) {
            wait_watching_locked(t);
        } else if (config()->seeded) {
            arbitrate_locked(t);
        } else {
            dequeue_locked(t);
            set_holder_locked(t);
        }
    }
    set_phase(t, GATE_HOLDS);
    new_quantum_locked(t);
}

static void take_turn(Thread *t)
{
    set_phase(t, GATE_ARRIVING);
    mt_mutex_lock(&mt_world.queue);
    if (holder == NULL && !config()->seeded) {
        set_holder_locked(t); /* Q2: nobody is queued, or we are quicker */
        set_phase(t, GATE_HOLDS);
        new_quantum_locked(t);
    } else {
        queue_locked(t);
        wait_turn_locked(t);
    }
    mt_mutex_unlock(&mt_world.queue);
}

/* ---- enter, leave, hand over ---- */

/* t, OUTSIDE, comes INSIDE when it is its turn and no stop is under way. While it waits for the
 * end of a stop it can lose its turn. */
void seq_enter(Thread *t)
{
    mt_store_relaxed(&t->keeps_turn, false);
    for (;;) {
        if (!has_turn(t)) {
            take_turn(t);
        }
        world_come_in(t);
        if (has_turn(t)) { /* behind world_come_in(): what was done to the stopped world is seen */
            return;
        }
        world_mark_outside(t);
    }
}

/* t is marked OUTSIDE already. */
void seq_leave(Thread *t, WorldAway away)
{
    set_phase(t, away == AWAY_SHORTLY ? GATE_ARRIVING : GATE_AWAY);
    mt_mutex_lock(&mt_world.queue);
    if (holder == t) {
        give_locked(false);
    }
    mt_mutex_unlock(&mt_world.queue);
}

/* t, INSIDE, will go OUTSIDE and come back without losing its turn. */
void seq_keep_turn(Thread *t)
{
    u64 *quantum = &t->cpu->quantum;

    mt_store_relaxed(&t->keeps_turn, true);
    *quantum = *quantum > MT_SYSCALL_BLOCKS ? *quantum - MT_SYSCALL_BLOCKS : 1;
}

/* t has been marked OUTSIDE, and will enter next. */
void seq_quantum_end(Thread *t)
{
    mt_mutex_lock(&mt_world.queue);
    if (holder == t && gate.head == NULL && !config()->seeded) {
        new_quantum_locked(t);
    } else if (holder == t) {
        queue_locked(t);
        give_locked(true);
        wait_turn_locked(t);
    }
    mt_mutex_unlock(&mt_world.queue);
}

/* ---- stops ---- */

/* With a seed nobody is chosen while one that is OUTSIDE stops the world: it sleeps in between,
 * and not for a reason that lasts. */
void seq_stop_begin(Thread *t)
{
    set_phase(t, GATE_ARRIVING);
}

void seq_stop_end(Thread *t)
{
    set_phase(t, GATE_AWAY);
}

/* ---- fork, vfork ---- */

void seq_after_fork_child(Thread *t, bool inside)
{
    set_holder_locked(inside ? t : NULL);
    gate = (ThreadQueue){NULL, NULL};
    waiting = 0;
    arbiter = NULL;
    watched = false;
    set_phase(t, inside ? GATE_HOLDS : GATE_AWAY);
    settle_init();
}

/* ---- threads that a tracer has stopped ---- */

/* t can't take its turn: it leaves the queue, or loses the gate. */
void seq_freeze_locked(Thread *t)
{
    t->frozen_waits = t->gate_phase == GATE_WAITING; /* handed the gate, perhaps */
    dequeue_locked(t);
    if (t->gate_phase != GATE_AWAY) {
        set_phase(t, GATE_WAITING); /* nobody waits for its arrival */
    }
    arbiter = arbiter == t ? NULL : arbiter;
    watched = false; /* as in seq_forget() */
    if (holder == t || holder == NULL) {
        give_locked(false);
    }
}

/* It waits still, where it did; or finds out that it has lost its turn. */
void seq_thaw_locked(Thread *t)
{
    if (t->frozen_waits) {
        queue_locked(t);
        if (holder == NULL) {
            give_locked(false);
        }
    } else if (t->gate_phase != GATE_AWAY) {
        set_phase(t, GATE_ARRIVING);
    }
}

/* t's user died anywhere; t is OUTSIDE. */
void seq_forget(Thread *t)
{
    mt_mutex_lock(&mt_world.queue);
    dequeue_locked(t);
    arbiter = arbiter == t ? NULL : arbiter;
    watched = false; /* it may have been t; two are no harm */
    if (holder == t ||
        holder == NULL) { /* t may have been woken to see to it that somebody goes on */
        give_locked(false);
    }
    mt_mutex_unlock(&mt_world.queue);
    set_phase(t, GATE_AWAY);
}
