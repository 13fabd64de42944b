/* SPDX-License-Identifier: BSD-2-Clause
 * world_int.h -- what the files of the world lock share: world.c, world_scan.c,
 * world_stop.c, world_seq.c, threadlist.c. Nobody else includes it. */
#ifndef MT_WORLD_INT_H
#define MT_WORLD_INT_H

#include "base/lockorder.h"
#include "sched/world.h"
#include "sched/world_inl.h"

#include <limits.h>

typedef struct ThreadQueue {
    Thread *head, *tail;
} ThreadQueue;

/* What others must see the end of, and its doer waits for nobody: atomic. */
typedef struct Walk {
    u32 seq;     /* odd while it goes on */
    u32 waiting; /* for its end */
} Walk;

typedef struct World {
    /* immutable after world_init() */
    WorldConfig config;
    /* Atomic: the thread that has stopped the world, or NULL. Others only compare it with
     * themselves (and find a difference whatever they read) or use it to save a kick. */
    Thread *owner;
    /* grace: held by one grace period, scan: by one stop, while they wait for threads to leave;
     * both by a fork. Never taken INSIDE. A stop does not wait for a grace period. grace comes
     * first. */
    MtMutex grace, scan;
    /* By SCAN_*: one looks for threads that are INSIDE, and waits for them; and, in it, sends
     * kicks. */
    Walk scans[2], kicks[2];
    /* Guards the queues of writers (world_stop.c) and of the gate (world_seq.c), and
     * Thread.wait_next. Innermost; nothing but kicks happens under it. */
    MtMutex queue;
} World;
extern World mt_world;

static inline bool world_is_sequential(void)
{
    return !mt_world.config.parallel;
}

/* Own word of a thread that changes sides, in the slow paths: the scanner is woken. */
void world_mark_inside(Thread *t);
void world_mark_outside(Thread *t);
static inline bool world_owns_stop(const Thread *t)
{
    return mt_load_relaxed(&mt_world.owner) == t;
}

/* How long a waiter trusts its kick before it kicks again: a kick can hit a thread whose tid is
 * about to change (vfork). */
#define WORLD_PATIENCE_NS 10000000

/* ---- world_scan.c ---- */

/* At the start: membarrier. */
void world_scan_init(void);
/* All of `t`, the only thread; the locks of world_before_fork() are held. */
void world_scan_after_fork_child(Thread *t);

/* Sets the bits in t's cpu->pending, and kicks it if there were none: then a kick is on its way, or
 * t is on its way to look. */
void world_kick(Thread *t, u32 pend_bits);
/* t, itself, has taken bits that come with a kick, and could be kicked again only with new ones:
 * lets it arrive. */
void world_take_kick(Thread *t);

/* Lock of `which` (SCAN_*) held, its bit in `attention` set. Returns when each other thread was
 * OUTSIDE (and, for a grace period, in no RCU section) at some moment since the call, or has been
 * again since. Those INSIDE are kicked with `pend`. */
void world_scan(Thread *self, u32 which, u32 pend);
/* Scan lock held, STOP and HALT set. Returns when each other thread is OUTSIDE, parked, or in
 * WORLD_CODE and halted (W6). False: there is no membarrier, nothing is known. */
bool world_halt(Thread *self);

/* Sleeps until another thread unparks t, or the timeout; the queue lock is dropped meanwhile. */
void world_park(Thread *t, i64 timeout_ns);
void world_unpark(Thread *t);

static inline void threadqueue_push(ThreadQueue *q, Thread *t)
{
    t->wait_next = NULL;
    if (q->tail != NULL) {
        q->tail->wait_next = t;
    } else {
        q->head = t;
    }
    q->tail = t;
}

/* Was t in it? */
static inline bool threadqueue_remove(ThreadQueue *q, Thread *t)
{
    Thread *prev = NULL;

    for (Thread *i = q->head; i != NULL; prev = i, i = i->wait_next) {
        if (i == t) {
            *(prev != NULL ? &prev->wait_next : &q->head) = t->wait_next;
            q->tail = q->tail == t ? prev : q->tail;
            return true;
        }
    }
    return false;
}

static inline Thread *threadqueue_pop(ThreadQueue *q)
{
    Thread *t = q->head;

    if (t != NULL) {
        threadqueue_remove(q, t);
    }
    return t;
}

/* The two that may wait for threads at the same time: indices of Thread.scan, waiting_on and
 * Walks. */
enum { SCAN_STOP, SCAN_GRACE };

static inline void walk_begin(Walk *w)
{
    mt_fetch_add(&w->seq, 1); /* full barrier, see walk_wait() */
}

/* REL pairs with walk_wait(). */
static inline void walk_end(Walk *w)
{
    mt_fetch_add(&w->seq, 1);
    if (mt_load_relaxed(&w->waiting) != 0) {
        futex_wake(&w->seq, INT_MAX);
    }
}

/* Waits for the end of a walk that may have begun before the caller's last stores were visible. All
 * accesses but the load are locked operations: either the walk sees the stores, or we see the walk;
 * and either its end sees that we wait, or the kernel sees the new seq. */
void walk_wait(Walk *w);

/* ---- world_stop.c ---- */

/* t, OUTSIDE, becomes INSIDE; behind a stop, if there is one. */
void world_come_in(Thread *t);
/* t's vfork child has died, and t has not stopped the world: t does not want to any more. */
void world_stop_forget(Thread *t);
void world_stop_after_fork_child(void);

/* ---- threadlist.c ---- */

/* The list may be walked with its lock held, or in one of mt_world.scans. */
extern MtMutex world_threads_lock; /* guards changes of the list: Thread.next, prev */
Thread *threadlist_first(void);
static inline Thread *threadlist_next(const Thread *t)
{
    return mt_load_acquire(&t->next); /* pairs with world_attach() */
}
void threadlist_after_fork_child(Thread *t);

/* ---- world_seq.c ---- */

/* Callers have checked that the mode is sequential */
void seq_init(void);
void seq_enter(Thread *t);
void seq_leave(Thread *t, WorldAway away);
void seq_keep_turn(Thread *t);
void seq_quantum_end(Thread *t);
void seq_stop_begin(Thread *t);
void seq_stop_end(Thread *t);
void seq_after_fork_child(Thread *t, bool inside);
void seq_forget(Thread *t);
void seq_freeze_locked(Thread *t);
void seq_thaw_locked(Thread *t);

#endif
