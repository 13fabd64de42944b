/* SPDX-License-Identifier: BSD-2-Clause
 * rcu.c -- liburcu's hash table under the runtime's own read sections.
 * Role:       liburcu calls back into a "flavour" only to resize a table in the background. Tables
 *             of a fixed size never do, so each entry of ours is an internal error. */
#define URCU_INLINE_SMALL_FUNCTIONS
#include "sched/rcu.h"

#include <urcu/urcu-memb.h>
#include <urcu/rculfhash.h>

static void never(void)
{
    MT_ASSERT(!"an RCU table was resized");
}

static int never_int(void)
{
    never();
    return 0;
}

static void never_call(struct rcu_head *head, void (*fn)(struct rcu_head *))
{
    never();
}

static void never_defer(void (*fn)(void *), void *p)
{
    never();
}

static void never_atfork(struct urcu_atfork *a)
{
    never();
}

static const struct rcu_flavor_struct own_flavor = {
    .read_lock = never,
    .read_unlock = never,
    .read_ongoing = never_int,
    .read_quiescent_state = never,
    .update_call_rcu = never_call,
    .update_synchronize_rcu = never,
    .update_defer_rcu = never_defer,
    .thread_offline = never,
    .thread_online = never,
    .register_thread = never,
    .unregister_thread = never,
    .barrier = never,
    .register_rculfhash_atfork = never_atfork,
    .unregister_rculfhash_atfork = never_atfork,
};

struct cds_lfht *rcu_table_new(unsigned long buckets)
{
    return cds_lfht_new_flavor(buckets, buckets, buckets, 0, &own_flavor, NULL);
}
