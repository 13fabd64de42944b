/* SPDX-License-Identifier: BSD-2-Clause
 * threadlist.c -- the list of attached threads.
 * Role:       who a stop, a grace period and the sequential switch have to reckon with.
 * Invariants: T1. a thread is INSIDE or in an RCU section => it is on the list.
 *             T2. a thread leaves the list only with the grace and scan locks held: whoever holds one of
 *                 them may follow pointers to the threads it has found without holding the list's lock.
 * Locking:    world_threads_lock guards the links; innermost but for the queue lock. */
#include "sched/world_priv.h"

MtMutex world_threads_lock = MT_MUTEX_INIT(RANK_WORLD_THREADS);
static Thread *first, *last;
static u32 count;      /* atomic; written under the lock */
static u32 next_index; /* guarded by the lock */
static u32 transit;    /* atomic: threads that start or end and are not on the list */

void world_attach(Thread *t)
{
    MT_ASSERT(((uintptr_t)&t->world_state & 63) == 0 && !world_is_inside(t));
    /* Up to futex and gate_phase these words are only accessed atomically. */
    annot_ignore(&t->world_state, 2 * sizeof(u32));
    annot_ignore(&t->kicked, sizeof(u32));
    annot_ignore(&t->futex, 2 * sizeof(u32));
    mt_store_relaxed(&t->gate_phase, GATE_AWAY);
    mt_mutex_lock(&world_threads_lock);
    t->world_index = next_index++;
    t->next = NULL;
    t->prev = last;
    *(last != NULL ? &last->next : &first) = t;
    last = t;
    mt_store_relaxed(&count, count + 1);
    mt_mutex_unlock(&world_threads_lock);
}

void world_detach(Thread *t)
{
    MT_ASSERT(!world_is_inside(t) && t->rcu_nest == 0);
    mt_mutex_lock(&mt_world.grace);
    mt_mutex_lock(&mt_world.scan);
    mt_mutex_lock(&world_threads_lock);
    *(t->prev != NULL ? &t->prev->next : &first) = t->next;
    *(t->next != NULL ? &t->next->prev : &last) = t->prev;
    t->next = t->prev = NULL;
    mt_store_relaxed(&count, count - 1);
    mt_mutex_unlock(&world_threads_lock);
    mt_mutex_unlock(&mt_world.scan);
    mt_mutex_unlock(&mt_world.grace);
}

void world_transit_begin(void)
{
    mt_fetch_add(&transit, 1);
}

void world_transit_end(void)
{
    mt_fetch_sub(&transit, 1);
}

bool threadlist_in_transit(void)
{
    return mt_load_acquire(&transit) !=
           0; /* pairs with world_transit_end(): the list is complete */
}

Thread *threadlist_first_locked(void)
{
    return first;
}

void world_foreach_thread(void (*fn)(Thread *, void *), void *arg)
{
    mt_mutex_lock(&world_threads_lock);
    for (Thread *t = first; t != NULL; t = t->next) {
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
    first = last = t;
    t->next = t->prev = NULL;
    mt_store_relaxed(&count, 1);
    mt_store_relaxed(&transit, 0);
}
