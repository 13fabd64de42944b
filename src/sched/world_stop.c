/* SPDX-License-Identifier: BSD-2-Clause
 * world_stop.c -- stops of the world: one writer at a time, and the readers that a stop keeps out.
 * Role:       queues those who want to stop the world, gives it to the first, wakes who has waited
 *             for the end. How the others are brought to stand still: world_scan.c.
 * Invariants: W4. owner == t  =>  WORLD_STOP is set, and each other thread is OUTSIDE or, with
 *                 WORLD_HALT set, in WORLD_CODE and halted (W6), or WORLD_PARKED.
 * Locking:    world.c; the writers' queue under mt_world.queue.
 * Signals:    nothing here may be called from a host signal handler. */
#include "base/stats.h"
#include "sched/world_int.h"

#include <limits.h>
#include <time.h>

/* Writers, first come first served. Guarded by the queue lock. */
static Thread *writer;
static ThreadQueue writers;

/* Atomic: one more at each resume; readers that are kept out sleep on it. */
static u32 stop_gen;
/* Atomic: readers that are kept out or have not yet entered after a resume. */
static u32 blocked_readers;
/* Atomic: when the last stop was over. Written by its owner, read by the next. */
static i64 resumed_at;
#define READERS_NS 250000

/* ---- writers ---- */

static void writer_take(Thread *t)
{
    mt_mutex_lock(&mt_world.queue);
    if (writer == NULL) {
        writer = t;
    } else {
        threadqueue_push(&writers, t);
    }
    while (writer != t) {
        world_park(t, -1);
    }
    mt_mutex_unlock(&mt_world.queue);
}

static void writer_give(void)
{
    mt_mutex_lock(&mt_world.queue);
    writer = threadqueue_pop(&writers);
    if (writer != NULL) {
        world_unpark(writer);
    }
    mt_mutex_unlock(&mt_world.queue);
}

/* ---- threads that a tracer has stopped ---- */

static void freeze_locked(Thread *t, Thread *by)
{
    bool already = t->frozen_by != NULL;

    t->frozen_by = by;
    if (already) {
        return;
    }
    t->frozen_stopper = threadqueue_remove(&writers, t);
    if (world_is_sequential()) {
        seq_freeze_locked(t);
    }
}

void world_freeze(Thread *by, pid_t tid)
{
    for (Thread *t = threadlist_first(); t != NULL; t = threadlist_next(t)) {
        if (mt_load_relaxed(&t->tid) == tid) {
            freeze_locked(t, by);
        }
    }
}

static void thaw_locked(Thread *t)
{
    t->frozen_by = NULL;
    if (world_is_sequential()) {
        seq_thaw_locked(t);
    }
    if (!t->frozen_stopper) {
        return;
    }
    threadqueue_push(&writers, t);
    if (writer == NULL) {
        writer = threadqueue_pop(&writers);
        world_unpark(writer);
    }
}

void world_thaw(Thread *by, pid_t tid)
{
    mt_mutex_lock(&world_threads_lock);
    mt_mutex_lock(&mt_world.queue);
    for (Thread *t = threadlist_first(); t != NULL; t = threadlist_next(t)) {
        if (t->frozen_by == by && (tid == 0 || mt_load_relaxed(&t->tid) == tid)) {
            thaw_locked(t);
        }
    }
    mt_mutex_unlock(&mt_world.queue);
    mt_mutex_unlock(&world_threads_lock);
}

/* ---- readers that are kept out ---- */

/* One try; ACQ pairs with world_resume(). */
static bool try_enter(Thread *t)
{
    if ((mt_load_acquire(&mt_world_gate.attention) & WORLD_STOP) != 0) {
        return false;
    }
    world_mark_inside(t);
    if ((mt_load_acquire(&mt_world_gate.attention) & WORLD_STOP) == 0) {
        return true;
    }
    world_mark_outside(t);
    return false;
}

/* From WORLD_PARKED, as try_enter(). */
static bool try_unpark(Thread *t)
{
    if ((mt_load_acquire(&mt_world_gate.attention) & WORLD_HALT) != 0) {
        return false;
    }
    world_move(t, WORLD_PARKED, WORLD_IN);
    mt_fence_full(); /* as in world_mark_inside() */
    if ((mt_load_acquire(&mt_world_gate.attention) & WORLD_HALT) == 0) {
        annot_after(&mt_world_gate);
        return true;
    }
    world_move(t, WORLD_IN, WORLD_PARKED);
    world_wake_scanner(&t->world_state);
    return false;
}

static void wait_for_resume(Thread *t, bool (*try)(Thread *))
{
    bool counted = false;

    for (;;) {
        u32 gen = mt_load_acquire(
            &stop_gen); /* before the try: a resume in between ends the sleep */

        if (try(t)) {
            break;
        }
        if (!counted) {
            mt_fetch_add(&blocked_readers, 1);
            counted = true;
        }
        futex_wait(&stop_gen, gen, -1);
    }
    if (counted && mt_fetch_sub(&blocked_readers, 1) == 1) {
        futex_wake(&blocked_readers, 1);
    }
}

void world_come_in(Thread *t)
{
    wait_for_resume(t, try_enter);
}

void world_wait_halted(Thread *t)
{
    world_move(t, WORLD_CODE, WORLD_PARKED);
    world_wake_scanner(&t->world_state);
    wait_for_resume(t, try_unpark);
}

static i64 now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000l + ts.tv_nsec;
}

/* Writers that follow each other closely must not starve readers: those kept out by the last stop
 * get a moment from its end to come in first. Bounded, since they may have no processor to run
 * on. */
static void let_readers_in(void)
{
    i64 end = mt_load_relaxed(&resumed_at) + READERS_NS;
    u32 n;

    while ((n = mt_load_acquire(&blocked_readers)) != 0) {
        i64 left = end - now_ns();

        if (left <= 0) {
            return;
        }
        futex_wait(&blocked_readers, n, left);
    }
}

static void resume_readers(u32 bits)
{
    annot_before(&mt_world_gate);
    mt_fetch_and(&mt_world_gate.attention, ~bits); /* pairs with try_enter() and the fast path */
    mt_store_relaxed(&resumed_at, now_ns());
    mt_fetch_add(&stop_gen, 1);
    /* Both this and the reader's count are locked operations: it sees the new gen, or we see it. */
    if (mt_load_relaxed(&blocked_readers) != 0) {
        futex_wake(&stop_gen, INT_MAX);
    }
}

/* ---- stops ---- */

/* That a signal reaches a thread before it executes anything more is the kernel's doing. */
static bool can_halt(void)
{
    return !mt_under_valgrind && (mt_load_relaxed(&mt_world_gate.attention) & WORLD_FENCES) == 0;
}

static void stop_readers(Thread *t, bool empty)
{
    bool halt = !empty && can_halt();
    i64 us, begun = now_ns();

    let_readers_in();
    mt_fetch_or(&mt_world_gate.attention, halt ? WORLD_STOP | WORLD_HALT : WORLD_STOP);
    mt_mutex_lock(&mt_world.scan);
    walk_begin(&mt_world.scans[SCAN_STOP]);
    if (halt && !world_halt(t)) {
        resume_readers(WORLD_HALT); /* the parked ones must leave */
        halt = false;
    }
    if (!halt) {
        world_scan(t, SCAN_STOP, MT_PEND_WORLD);
    }
    walk_end(&mt_world.scans[SCAN_STOP]);
    mt_mutex_unlock(&mt_world.scan);
    us = (now_ns() - begun) / 1000;
    STAT_ADD(STOP_US, (u64)us);
    STAT_ADD(SLOW_STOPS, us > 1000);
}

static void stop(Thread *t, bool empty)
{
    bool inside = world_is_inside(t);

    if (world_owns_stop(t)) {
        MT_DCHECK(!empty || world_is_empty());
        t->world_stop_depth++;
        return;
    }
    MT_DCHECK(t->rcu_nest == 0);
    STAT_INC(WORLD_STOPS);
    if (inside) {
        lockorder_pop(RANK_WORLD);
        world_mark_outside(t);
    }
    lockorder_check(RANK_WORLD_SCAN);
    if (world_is_sequential() && !inside) {
        seq_stop_begin(t);
    }
    writer_take(t);
    stop_readers(t, empty);
    lockorder_push(RANK_WORLD);
    t->world_stop_was_inside = inside;
    t->world_stop_depth = 1;
    mt_store_relaxed(&mt_world.owner, t);
}

void world_stop(Thread *t)
{
    stop(t, false);
}

void world_stop_empty(Thread *t)
{
    stop(t, true);
}

bool world_is_empty(void)
{
    return (mt_load_relaxed(&mt_world_gate.attention) & WORLD_HALT) == 0;
}

void world_resume(Thread *t)
{
    if (!world_owns_stop(t) || --t->world_stop_depth != 0) {
        return;
    }
    MT_DCHECK(!world_is_inside(t));
    lockorder_pop(RANK_WORLD);
    mt_store_relaxed(&mt_world.owner, NULL);
    resume_readers(WORLD_STOP | WORLD_HALT);
    writer_give();
    if (t->world_stop_was_inside) {
        world_enter(t);
    } else if (world_is_sequential()) {
        seq_stop_end(t);
    }
}

/* ---- fork, vfork ---- */

void world_stop_after_fork_child(void)
{
    writer = NULL;
    writers = (ThreadQueue){NULL, NULL};
    mt_store_relaxed(&blocked_readers, 0);
}

void world_stop_forget(Thread *t)
{
    bool given;

    mt_mutex_lock(&mt_world.queue);
    threadqueue_remove(&writers, t);
    given = writer == t; /* before or after its death */
    mt_mutex_unlock(&mt_world.queue);
    if (given) {
        resume_readers(WORLD_STOP | WORLD_HALT);
        writer_give();
    }
}
