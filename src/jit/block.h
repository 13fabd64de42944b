/* SPDX-License-Identifier: BSD-2-Clause
 * block.h -- a translation (superblock) and its exits.
 * Blocks live in one reserved arena, so that 32 bits name a block or an edge (BlockRef, EdgeRef:
 * offset in the arena / 4; 0 means none). */
#ifndef MT_BLOCK_H
#define MT_BLOCK_H

#include "base/options.h"
#include "jit/cache.h"

#include <urcu/rculfhash.h>

typedef u32 BlockRef;
typedef u32 EdgeRef;

typedef enum EdgeKind {
    EDGE_DIRECT, /* can be linked */
    EDGE_CALL,   /* the same, by a host call: it pushes the address of the return point behind it */
    EDGE_RETURN, /* not an exit: that return point, for guest address
                  * `target` */
    EDGE_SYSCALL, /* target: behind the syscall instruction */
    EDGE_EMULATE, /* target: the instruction to emulate */
    EDGE_GS,      /* target: the instruction to run with the guest's GS base */
    EDGE_FS,      /* the same with its FS base, where GS is the tool's */
    EDGE_REPLACE, /* target: the function that the tool does */
    EDGE_QUANTUM, /* target: the block itself */
    EDGE_STALE,   /* target: the block itself; its guest code has changed */
    EDGE_AFTER,   /* behind an instruction and the tool's code that follows it: a signal has come */
} EdgeKind;

/* An exit of a block; there are three or four a block, so every byte counts. Immutable but for the
 * field marked; which block it is linked to is known from its jump. What depends on the block is
 * behind the functions below. */
typedef struct Edge {
    i64 target : 35; /* guest address, from the block's */
    u64 index : 6;   /* among the block's edges */
    u64 back : 1;    /* of a branch back, a loop's */
    u64 patch : 16; /* the rel32 field of the jump, from host_start; 0: this edge is never linked */
    u64 link : 6;   /* linked: its number among the block's that can be; else the EdgeKind */
    union {
        EdgeRef in_next;       /* guarded by the chain lock of the block linked to */
        CacheOff return_point; /* EDGE_RETURN */
    };
} __attribute__((packed, aligned(4))) Edge;

/* How far from the block's address an edge's target may be. */
#define MT_EDGE_REACH (1ll << 34)

/* What a tool adds to an edge. */
typedef struct EdgeTool {
    u32 key; /* of the target's version */
    /* EDGE_SYSCALL: what the instruction counts (counts.h); EDGE_AFTER: counts_stop()'s
     * arguments */
    u16 pairs[3];
    /* EDGE_EMULATE, EDGE_SYSCALL: the instruction's length, if a tool has code behind it; else 0 */
    u16 behind;
    u16 unused[2]; /* a multiple of 8 */
} EdgeTool;

/* What a tool adds to a block. */
typedef struct BlockTool {
    u32 key; /* version, chosen by the tool; 0: those reached through the indirect-branch tables */
    u32 extra; /* bytes behind the pc map: side table and call sites (instr.h); 0: none */
} BlockTool;

#define MT_BLOCK_PAGES 3
/* Bytes of code from the stub of a link to that of the one before (lower_finish()). */
#define MT_STUB_STEP 7

typedef struct Block {
    /* immutable after publication */
    struct cds_lfht_node node;
    GuestAddr pc;
    CacheOff host_start; /* where its code begins: the inline entry, if any */
    CacheOff cold;       /* its stubs, if they are there, or other code; 0: none */
    u16 host_size;       /* from host_start */
    u16 pcmap_len;
    u8 nlinks; /* edges that can be linked */
    u8 nedges, ninsns;
    u8 entry_size; /* of the inline entry for indirect branches or calls; 0: none */
    u8 npages;
    bool has_tool; /* there are a BlockTool and EdgeTools */
    /* atomic */
    u16 dead;
    CacheOff ind;  /* entry for indirect branches (checks slot[1]); 0 none yet */
    CacheOff call; /* entry for EDGE_CALL; 0 none yet */
    union {
        EdgeRef in_head;      /* guarded by this block's chain lock */
        BlockRef retire_next; /* once it is unlinked: smc.c's retire list */
    };
    /* Edge edges[nedges]; if has_tool: BlockTool tool, EdgeTool tools[nedges]; u32 pages[npages]
     * (entries of smc.c's table), u8 pcmap[pcmap_len], u8 side[extra] follow */
} Block;

extern u8 *mt_block_arena;

static inline Block *block_of(BlockRef r)
{
    return (Block *)(mt_block_arena + (u64)r * 4);
}

static inline Edge *edge_of(EdgeRef r)
{
    return (Edge *)(mt_block_arena + (u64)r * 4);
}

static inline u32 arena_ref(const void *p)
{
    return (u32)(((const u8 *)p - mt_block_arena) / 4);
}

static inline Edge *block_edges(const Block *b)
{
    return (Edge *)(b + 1);
}

/* Only if has_tool. */
static inline BlockTool *block_tool(const Block *b)
{
    return (BlockTool *)(block_edges(b) + b->nedges);
}

static inline EdgeTool *block_tools(const Block *b)
{
    return (EdgeTool *)(block_tool(b) + 1);
}

static inline u32 block_key(const Block *b)
{
    return b->has_tool ? block_tool(b)->key : 0;
}

static inline u32 block_extra(const Block *b)
{
    return b->has_tool ? block_tool(b)->extra : 0;
}

/* The pages that the block depends on. */
static inline u32 *block_pages(const Block *b)
{
    return b->has_tool ? (u32 *)(block_tools(b) + b->nedges) : (u32 *)(block_edges(b) + b->nedges);
}

static inline u8 *block_pcmap(const Block *b)
{
    u64 p = (u64)(block_pages(b) + b->npages);

    return (u8 *)(b->has_tool ? MT_ALIGN_UP(p, 8) : p); /* call sites follow (instr_emit.c) */
}

static inline BlockRef block_ref(const Block *b)
{
    return arena_ref(b);
}

/* Entry for direct jumps. */
static inline CacheOff block_host(const Block *b)
{
    return b->host_start + b->entry_size;
}

/* The stubs of its links: the last one's first (lower_finish()). */
static inline CacheOff block_stubs(const Block *b)
{
    return mt_opts.exits == EXITS_NEAR ? b->host_start + b->host_size : b->cold;
}

/* Is this entry of the block inside its own code (else it is a thunk)? */
static inline bool block_has(const Block *b, CacheOff entry)
{
    return entry - b->host_start < b->host_size;
}

static inline Block *edge_block(const Edge *e)
{
    return (Block *)((const u8 *)(e - e->index) - sizeof(Block));
}

/* Translated code has been left through e: the block is complete for who has come there by a
 * patched jump, too. One announcement for a block, not one for each edge, since DRD and Helgrind
 * remember each for good; what is read to find it is the only thing that they must not look at. ACQ
 * pairs with blockmap_add(). */
static inline void annot_left(const Edge *e)
{
    MT_VG({
        VALGRIND_DISABLE_ERROR_REPORTING;
        const Block *b = edge_block(e);
        VALGRIND_ENABLE_ERROR_REPORTING;
        annot_after(&b->node);
    });
}

static inline GuestAddr edge_target(const Edge *e)
{
    return edge_block(e)->pc + (u64)e->target;
}

static inline CacheOff edge_patch(const Edge *e)
{
    return edge_block(e)->host_start + e->patch;
}

static inline EdgeKind edge_kind(const Edge *e)
{
    if (e->patch == 0) {
        return (EdgeKind)e->link;
    }
    return *(const u8 *)(cache_exec_addr(edge_patch(e)) - 1) == 0xe8 ? EDGE_CALL : EDGE_DIRECT;
}

static inline CacheOff edge_stub(const Edge *e)
{
    const Block *b = edge_block(e);

    return block_stubs(b) + (b->nlinks - 1u - e->link) * MT_STUB_STEP;
}

/* NULL: there is no tool, all of it would be 0. */
static inline EdgeTool *edge_tool(const Edge *e)
{
    const Block *b = edge_block(e);

    return b->has_tool ? &block_tools(b)[e->index] : NULL;
}

/* The version that the exit leads to. */
static inline u32 edge_key(const Edge *e)
{
    const EdgeTool *x = edge_tool(e);

    return x != NULL ? x->key : 0;
}

/* Only if extra != 0. */
static inline u8 *block_side(const Block *b)
{
    return block_pcmap(b) + b->pcmap_len;
}

/* Reserves the arena for a cache of that size. 0 or -ENOMEM. */
int block_arena_init(u64 cache_size);
/* What decides a block's size. */
typedef struct BlockShape {
    u32 nedges, npages, pcmap_len, extra;
    bool has_tool;
} BlockShape;

/* Memory for a block, its shape filled in, all else 0; NULL: the arena is full (flush). */
Block *block_alloc(const BlockShape *shape);
void block_free(Block *b);
/* World stopped, all blocks unreachable: forgets all. */
void block_arena_reset_world(void);

#endif
