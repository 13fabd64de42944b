/* SPDX-License-Identifier: BSD-2-Clause
 * blockmap.h -- from guest addresses to translations, and the links between them.
 * Callers are INSIDE the world unless said otherwise: a block found stays valid until they
 * leave. */
#ifndef MT_BLOCKMAP_H
#define MT_BLOCKMAP_H

#include "base/atomics.h"
#include "jit/block.h"

/* Once. 0 or -ENOMEM. */
int blockmap_init(void);

/* The live translation of `pc` for `key`, or NULL. */
Block *blockmap_find(GuestAddr pc, u32 key);

/* Before blockmap_add(b): the block that is published already, or NULL. */
Block *blockmap_prepare(const Block *b);

/* Publishes b. Returns b, or the block that another thread published first. */
Block *blockmap_add(Block *b);

/* Makes b unreachable: out of the map, the indirect-branch table, and all links to it. Any
 * thread; idempotent. Threads that run it go on until they leave it. b is freed by its retirer one
 * grace period later. True: this call did it. */
bool blockmap_unlink(Block *b);

/* Are there so many blocks that look-ups get slow? Then, with the world stopped: a larger table. */
bool blockmap_is_crowded(void);
void blockmap_grow_world(void);
/* OUTSIDE, before a fork whose child can't allocate memory by libc (heap.h): makes the next table
 * ahead. In the child, which is alone: there will be none after that. */
void blockmap_before_bare_fork(void);
void blockmap_after_bare_fork(void);

/* Before the first block: there will be so many. */
void blockmap_expect(u32 blocks);

/* Are there so many that the processor's predictor of indirect branches can't know the program's
 * returns? */
bool blockmap_is_large(void);
/* How many there are. */
u32 blockmap_count(void);

/* World stopped, smc_lock() held: forgets all blocks. */
void blockmap_flush_world(void);

/* Links an exit of a block to `to`: the exit's jump is patched to lead to `at`, in its code (calls:
 * to its entry for calls). Refuses dead blocks. */
void chain_link(Edge *e, Block *to, CacheOff at);

/* Before b is freed, one grace period after it became dead, smc_lock() held: takes its links off
 * the lists of the blocks that they lead to. */
void chain_forget(const Block *b);

/* Makes b's return points reachable for returns. */
void return_points_publish(Block *b);
/* The block to whose return point for pc returns go, or NULL. */
Block *return_point_owner(GuestAddr pc);

/* Makes b reachable for indirect branches; false: the cache is full. */
bool ibt_publish(Block *b);

/* The slot of the second table for pc. There must be one (mt_cache.ibt2). */
u32 *ibt2_slot(GuestAddr pc);

/* Do indirect branches find b in each of the tables? Returns look into the second one only. */
bool ibt_has(const Block *b);

/* The executable address to enter for guest address pc through the indirect-branch table: checks
 * slot[1], restores rcx from slot[0]. */
static inline u64 ibt_lookup(GuestAddr pc)
{
    u64 at = mt_load_relaxed(ibt_slot(pc));

    return at != 0 ? at : mt_cache.glue_ib_miss; /* 0: the table has just shrunk */
}

#endif
