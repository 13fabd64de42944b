/* SPDX-License-Identifier: BSD-2-Clause
 * world.c -- the big lock as a read/write lock: the readers' side, and forks.
 * Role:       readers say in a word of their own whether they are INSIDE; whoever wants the world
 *             says so in one word that all look at, makes every processor execute a barrier
 *             (membarrier), looks at all threads' words and waits for those that are INSIDE
 *             (world_scan.c). Who may stop the world, and who waits for the end of a stop:
 *             world_stop.c; whose turn it is in sequential mode: world_seq.c.
 * Invariants: W1, W2, W6: world_inl.h; W3, K1 to K3: world_scan.c; W4: world_stop.c.
 *             W5. a thread that waits for the writers' queue, a lock of the world or, for more than
 *                 a halt, a resume is OUTSIDE: so those who hold them never wait for it. A parked
 *                 thread keeps a grace period waiting, so no owner of a stop waits for one.
 * Locking:    writers' queue, then grace, scan. None is held while the world is stopped, but the
 *             queue's head place (and by a fork, grace). A stop takes no lock that a thread which
 *             starts, ends, or has had a vfork child takes: it could wait for one that has no
 *             processor.
 * Signals:    nothing here may be called from a host signal handler. */
#include "sched/world.h"

#include "sched/world_int.h"

#include <errno.h>

WorldGate mt_world_gate;
World mt_world = {
    .grace = MT_MUTEX_INIT(RANK_WORLD_GRACE),
    .scan = MT_MUTEX_INIT(RANK_WORLD_SCAN),
    .queue = MT_MUTEX_INIT(RANK_WORLD_QUEUE),
};

int world_init(const WorldConfig *c)
{
    mt_world.config = *c;
    world_scan_init();
    if (!c->parallel) {
        mt_fetch_or(&mt_world_gate.attention, WORLD_SEQUENTIAL);
        seq_init();
    }
    return 0;
}

/* ---- parking ---- */

void world_park(Thread *t, i64 timeout_ns)
{
    mt_store_relaxed(&t->futex, 0);
    mt_mutex_unlock(&mt_world.queue);
    /* ACQ pairs with world_unpark() */
    while (mt_load_acquire(&t->futex) == 0) {
        if (futex_wait(&t->futex, 0, timeout_ns) == -ETIMEDOUT) {
            break;
        }
    }
    mt_mutex_lock(&mt_world.queue);
}

/* Queue lock held: so the store is not lost between t's test of its condition and its sleep. t may
 * be gone when the kernel looks at the word: then nobody is woken. */
void world_unpark(Thread *t)
{
    mt_store_release(&t->futex, 1);
    futex_wake(&t->futex, 1);
}

/* ---- readers ---- */

void world_mark_inside(Thread *t)
{
    world_move(t, WORLD_OUT, WORLD_IN);
    mt_fence_full(); /* slow path: not left to the scanner's membarrier, which may be missing */
    annot_after(&mt_world_gate);
}

void world_mark_outside(Thread *t)
{
    annot_before(&t->world_state);
    world_move(t, world_where(t->world_state), WORLD_STAY);
    world_wake_scanner(&t->world_state);
}

void world_enter(Thread *t)
{
    if (world_try_enter_fast(t)) {
        return;
    }
    if (world_owns_stop(t)) {
        world_mark_inside(t);
    } else {
        lockorder_check(RANK_WORLD);
        if (world_is_sequential()) {
            seq_enter(t);
        } else {
            world_come_in(t);
        }
    }
    lockorder_push(RANK_WORLD);
}

void world_leave_for(Thread *t, WorldAway away)
{
    bool turn;

    if (world_leave_fast(t)) {
        return;
    }
    turn = world_is_sequential() && !world_owns_stop(t);
    if (turn && away == AWAY_KEEPS_TURN) {
        seq_keep_turn(t);
        turn = false;
    }
    lockorder_pop(RANK_WORLD);
    world_mark_outside(t);
    if (turn) {
        seq_leave(t, away);
    }
}

void world_leave(Thread *t)
{
    world_leave_for(t, AWAY);
}

void world_quantum_end(Thread *t)
{
    if (world_is_sequential() && !world_owns_stop(t)) {
        lockorder_pop(RANK_WORLD);
        world_mark_outside(t);
        seq_quantum_end(t);
        world_enter(t);
    }
}

void world_safepoint(Thread *t)
{
    const u32 bits = MT_PEND_WORLD | MT_PEND_RCU;
    /* First the bits, then the word: a kick for a stop that begins in between sets them again. */
    bool kicked = (mt_fetch_and(&t->cpu->pending, ~bits) & bits) != 0;

    if (world_is_sequential() && !world_owns_stop(t)) { /* keeps its turn */
        lockorder_pop(RANK_WORLD);
        world_mark_outside(t);
    } else {
        world_leave(t);
    }
    world_enter(t);
    if (kicked) {
        world_take_kick(t);
    }
}

/* ---- fork, vfork ---- */

/* Before the stop, since a grace period may wait for threads that the stop parks. */
void world_before_fork_stop(Thread *t)
{
    MT_DCHECK(!world_is_inside(t));
    mt_mutex_lock(&mt_world.grace);
}

void world_no_fork(Thread *t)
{
    mt_mutex_unlock(&mt_world.grace);
}

void world_before_fork(Thread *t)
{
    /* Out of order, WORLD being held: only a stop can have it, and there is none but ours. */
    mt_mutex_lock_unordered(&mt_world.scan);
    mt_mutex_lock(&world_threads_lock);
    mt_mutex_lock(&mt_world.queue);
}

void world_after_fork_parent(Thread *t)
{
    mt_mutex_unlock(&mt_world.queue);
    mt_mutex_unlock(&world_threads_lock);
    mt_mutex_unlock(&mt_world.scan);
    mt_mutex_unlock(&mt_world.grace);
}

void world_after_fork_child(Thread *t)
{
    bool stopped = world_owns_stop(t);
    bool inside = stopped ? t->world_stop_was_inside : world_is_inside(t);

    threadlist_after_fork_child(t);
    world_stop_after_fork_child();
    mt_fetch_and(&mt_world_gate.attention, ~(WORLD_STOP | WORLD_HALT | WORLD_SCAN));
    world_scan_after_fork_child(t);
    seq_after_fork_child(t, inside);
    world_after_fork_parent(t);
    if (stopped) { /* the stop is over: there is nobody left to stop */
        mt_store_relaxed(&mt_world.owner, NULL);
        t->world_stop_depth = 0;
        lockorder_pop(RANK_WORLD);
        if (inside) {
            world_mark_inside(t);
            lockorder_push(RANK_WORLD);
        }
    }
}

void world_vfork_returned(Thread *t)
{
    if (world_is_inside(t)) {
        lockorder_pop(RANK_WORLD);
        world_mark_outside(t);
    }
    world_kernel_thread_changed(t);
    world_thaw(t, 0); /* the kernel lets go what a dead tracer has stopped */
    if (t->rcu_nest != 0) {
        t->rcu_nest = 1;
        world_step(&t->rcu_state, 1);
        t->rcu_nest = 0;
        world_wake_scanner(&t->rcu_state);
    }
    if (world_owns_stop(t)) {
        t->world_stop_depth = 1;
        t->world_stop_was_inside = false;
        world_resume(t);
    } else {
        world_stop_forget(t);
    }
    if (world_is_sequential()) {
        seq_forget(t);
    }
}
