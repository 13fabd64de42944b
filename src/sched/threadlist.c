/* SPDX-License-Identifier: BSD-2-Clause
 * threadlist.c -- the list of attached threads.
 * Role:       who a stop, a grace period and the sequential switch have to reckon with.
 * Invariants: T1. a thread is INSIDE or in an RCU section => it is on the list.
 *             T2. a thread that has left the list waits for the end of the scans that go on: who
 *                 makes one may follow the links, and keep pointers to the threads it has found,
 *                 without a lock. So a stop does not wait for who starts or ends, and perhaps has
 *                 no processor.
 * Locking:    world_threads_lock guards changes of the links; innermost but for the queue lock.
 *             They are atomic, for scans. */
#include "sched/world_int.h"

#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

MtMutex world_threads_lock = MT_MUTEX_INIT(RANK_WORLD_THREADS);
static Thread *first; /* atomic */
static Thread *last;
static u32 count;      /* atomic; written under the lock */
static u32 next_index; /* guarded by the lock */
static u32 transit;    /* atomic: threads that start or end and are not on the list */

/* Lenders that live, or lived when somebody last looked. The list is guarded by the lock; its head
 * is atomic. */
typedef struct Lender {
    pid_t tgid, tid;
    struct Lender *next;
} Lender;
static Lender *lenders;

static void free_lenders(Lender *l)
{
    while (l != NULL) {
        Lender *next = l->next;

        free(l);
        l = next;
    }
}

/* Drops those that the kernel has let go. The caller frees what it is given, without the lock. */
static Lender *prune_lenders_locked(void)
{
    Lender *gone = NULL, **p = &lenders;

    while (*p != NULL) {
        Lender *l = *p;

        if (syscall(SYS_tgkill, l->tgid, l->tid, 0) == 0) {
            p = &l->next;
        } else {
            mt_store_relaxed(p, l->next);
            l->next = gone;
            gone = l;
        }
    }
    return gone;
}

void world_lender_begin(void)
{
    Lender *l = malloc(sizeof(*l)), *gone;

    MT_ASSERT(l != NULL); /* a few bytes; the host thread itself needed more */
    l->tgid = getpid();
    l->tid = (pid_t)syscall(SYS_gettid);
    mt_mutex_lock(&world_threads_lock);
    gone = prune_lenders_locked();
    l->next = lenders;
    mt_store_relaxed(&lenders, l);
    mt_mutex_unlock(&world_threads_lock);
    free_lenders(gone);
}

bool world_has_lenders(void)
{
    return mt_load_relaxed(&lenders) != NULL;
}

bool world_is_lender(pid_t tid)
{
    bool found = false;

    mt_mutex_lock(&world_threads_lock);
    for (Lender *l = lenders; l != NULL; l = l->next) {
        found = found || l->tid == tid; /* also one that has ended since the caller learned of it */
    }
    mt_mutex_unlock(&world_threads_lock);
    return found;
}

/* A thread that has the number of one is not that one. */
static void forget_lender_locked(pid_t tid)
{
    for (Lender *l = lenders; l != NULL; l = l->next) {
        l->tid = l->tid == tid ? 0 : l->tid;
    }
}

void world_attach(Thread *t)
{
    MT_ASSERT(((uintptr_t)&t->world_state & 63) == 0 && !world_is_inside(t));
    /* Up to futex and gate_phase these words are only accessed atomically. */
    annot_ignore(&t->world_state, 2 * sizeof(u32));
    annot_ignore(&t->kicked, sizeof(u32));
    annot_ignore(&t->futex, 2 * sizeof(u32));
    mt_store_relaxed(&t->gate_phase, GATE_AWAY);
    mt_mutex_lock(&world_threads_lock);
    forget_lender_locked(t->tid);
    t->world_index = next_index++;
    mt_store_relaxed(&t->next, NULL);
    t->prev = last;
    /* REL: what is above is seen by who finds t. A scan that does not find it has begun before: t
     * enters behind the scan's `attention` (W1, R2). */
    mt_store_release(last != NULL ? &last->next : &first, t);
    last = t;
    mt_store_relaxed(&count, count + 1);
    mt_mutex_unlock(&world_threads_lock);
}

void world_detach(Thread *t)
{
    Thread *next;

    MT_ASSERT(!world_is_inside(t) && t->rcu_nest == 0);
    mt_mutex_lock(&world_threads_lock);
    next = mt_load_relaxed(&t->next);
    mt_store_release(t->prev != NULL ? &t->prev->next : &first, next);
    *(next != NULL ? &next->prev : &last) = t->prev;
    mt_store_relaxed(&count, count - 1);
    mt_mutex_unlock(&world_threads_lock);
    lockorder_check(RANK_WORLD_GRACE); /* a scan may have to wait for who holds any lock */
#ifndef MT_BREAK_WALK                  /* deliberately wrong: must be reported (tests/outer.py) */
    walk_wait(&mt_world.scans[SCAN_STOP]); /* t->next stays: a scan may be at t */
    walk_wait(&mt_world.scans[SCAN_GRACE]);
#endif
}

void world_transit_begin(void)
{
    mt_fetch_add(&transit, 1);
}

void world_transit_end(void)
{
    mt_fetch_sub(&transit, 1);
}

bool world_in_transit(void)
{
    return mt_load_acquire(&transit) !=
           0; /* pairs with world_transit_end(): the list is complete */
}

Thread *threadlist_first(void)
{
    return mt_load_acquire(&first); /* pairs with world_attach() */
}

void world_foreach_thread(void (*fn)(Thread *, void *), void *arg)
{
    mt_mutex_lock(&world_threads_lock);
    for (Thread *t = threadlist_first(); t != NULL; t = threadlist_next(t)) {
        fn(t, arg);
    }
    mt_mutex_unlock(&world_threads_lock);
}

/* A moment old, for callers that do not stop the world. */
u32 world_thread_count(void)
{
    return mt_load_relaxed(&count);
}

void threadlist_after_fork_child(Thread *t)
{
    mt_store_relaxed(&first, t);
    mt_store_relaxed(&t->next, NULL);
    last = t;
    t->prev = NULL;
    mt_store_relaxed(&lenders, NULL); /* the parent's; the few bytes stay */
    mt_store_relaxed(&count, 1);
    mt_store_relaxed(&transit, 0);
}
