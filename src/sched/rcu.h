/* SPDX-License-Identifier: BSD-2-Clause
 * rcu.h -- RCU read sections, and liburcu's lock-free hash table on top of them.
 * A thread that is INSIDE the world lock is in a read section without doing anything. A thread that
 * is OUTSIDE marks one by rcu_read_begin() and rcu_read_end(). A grace period, world_synchronize(),
 * waits for both; so does, for the former, world_stop_empty().
 * Role:       why these are our own and not liburcu's flavours: docs/CONCURRENCY.md, "RCU".
 * Retiring:   owners keep their own retire lists: unlink, world_synchronize(), free. There is no
 *             call_rcu: its worker would be a thread that the guest sees.
 * Signals:    not for host signal handlers. */
#ifndef MT_RCU_H
#define MT_RCU_H

#include "sched/world_inl.h"

struct cds_lfht;

/* A read section of a thread that may be OUTSIDE: short, never blocks, nests. */
static inline void rcu_read_begin(Thread *t)
{
    if (t->rcu_nest++ == 0) {
        world_step(&t->rcu_state, 1);
        if (MT_UNLIKELY(__atomic_load_n(&mt_world_gate.attention, __ATOMIC_RELAXED) &
                        WORLD_FENCES)) {
            mt_fence_full();
        }
    }
    mt_compiler_barrier();
}

static inline void rcu_read_end(Thread *t)
{
    mt_compiler_barrier();
    if (t->rcu_nest == 1) {
        annot_before(&t->rcu_state);
        world_step(&t->rcu_state, 1);
        t->rcu_nest = 0;
        if (MT_UNLIKELY(__atomic_load_n(&mt_world_gate.attention, __ATOMIC_RELAXED) != 0)) {
            world_wake_scanner(&t->rcu_state);
        }
    } else {
        t->rcu_nest--;
    }
}

/* A table of liburcu (cds_lfht_*) with a fixed number of buckets, a power of two; NULL: no memory.
 * It must never be resized: that starts threads (and is all that a flavour is used for). Lookups
 * need a read section as above; nodes are freed a grace period after cds_lfht_del(). */
struct cds_lfht *rcu_table_new(unsigned long buckets);

#endif
