/* SPDX-License-Identifier: BSD-2-Clause
 * block.h -- a translation (superblock) and its exits.
 * Blocks live in one reserved arena, so that 32 bits name a block or an edge (BlockRef, EdgeRef:
 * offset in the arena / 8; 0 means none). */
#ifndef MT_BLOCK_H
#define MT_BLOCK_H

#include "base/base.h"
#include "jit/cache.h"

#include <urcu/rculfhash.h>

typedef u32 BlockRef;
typedef u32 EdgeRef;

typedef enum EdgeKind {
    EDGE_DIRECT,  /* can be linked */
    EDGE_SYSCALL, /* target: behind the syscall instruction */
    EDGE_EMULATE, /* target: the instruction to emulate */
    EDGE_GS,      /* target: the instruction to run with the guest's GS base */
    EDGE_FS,      /* the same with its FS base, where GS is the tool's */
    EDGE_REPLACE, /* target: the function that the tool does */
    EDGE_QUANTUM, /* target: the block itself */
    EDGE_STALE,   /* target: the block itself; its guest code has changed */
    EDGE_AFTER,   /* behind an instruction and the tool's code that follows it: a signal has come */
} EdgeKind;

/* An exit of a block. Immutable but for the fields marked. */
typedef struct Edge {
    GuestAddr target;
    BlockRef from;
    CacheOff patch; /* the rel32 field of the jump; 0: this edge is never linked */
    CacheOff stub;
    /* guarded by the chain lock of the block linked to */
    BlockRef to;
    EdgeRef in_next, in_prev;
    u32 key; /* of the target's version */
    u8 kind;
    u16 pairs
        [3]; /* what the instruction counts (counts.h); EDGE_AFTER: counts_stop()'s arguments */
} Edge;

#define MT_BLOCK_PAGES 3

typedef struct Block {
    /* immutable after publication */
    struct cds_lfht_node node;
    GuestAddr pc;
    u32 key; /* version, chosen by the tool; those reached through the indirect-branch tables have 0 */
    CacheOff host; /* entry for direct jumps */
    u32 host_size;
    CacheOff cold; /* its stubs; 0: none */
    u16 guest_bytes;
    u16 pcmap_len;
    u32 extra; /* bytes behind the pc map: side table and call sites (instr.h); 0: none */
    u8 nedges, ninsns, npages;
    bool inline_ind;
    u32 pages[MT_BLOCK_PAGES]; /* page table entries (smc.c) it depends on */
    BlockRef self;
    /* guarded by the page's lock (smc.c) */
    BlockRef page_next[MT_BLOCK_PAGES];
    /* guarded by this block's chain lock */
    EdgeRef in_head;
    /* atomic */
    u32 dead;
    u32 host_start;       /* where its code begins (the inline indirect entry, if any) */
    CacheOff ind;         /* entry for indirect branches (checks slot[1]); 0 none yet */
    BlockRef retire_next; /* smc.c's retire list */
    /* Edge edges[nedges], then u8 pcmap[pcmap_len], then u8 side[extra] follow */
} Block;

extern u8 *mt_block_arena;

static inline Block *block_of(BlockRef r)
{
    return (Block *)(mt_block_arena + (u64)r * 8);
}

static inline Edge *edge_of(EdgeRef r)
{
    return (Edge *)(mt_block_arena + (u64)r * 8);
}

static inline u32 arena_ref(const void *p)
{
    return (u32)(((const u8 *)p - mt_block_arena) / 8);
}

static inline Edge *block_edges(const Block *b)
{
    return (Edge *)(b + 1);
}

static inline u8 *block_pcmap(const Block *b)
{
    return (u8 *)(block_edges(b) + b->nedges);
}

/* Only if extra != 0. */
static inline u8 *block_side(const Block *b)
{
    return block_pcmap(b) + b->pcmap_len;
}

/* Reserves the arena for a cache of that size. 0 or -ENOMEM. */
int block_arena_init(u64 cache_size);
/* Memory for a block, zeroed; NULL: the arena is full (flush). */
Block *block_alloc(u32 nedges, u32 pcmap_len);
void block_free(Block *b);
/* World stopped, all blocks unreachable: forgets all. */
void block_arena_reset_world(void);

#endif
