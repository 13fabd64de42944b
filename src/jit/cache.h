/* SPDX-License-Identifier: BSD-2-Clause
 * cache.h -- the code cache: memory for translated code, and the table for indirect branches.
 * The cache is one range below 2 GiB (D2). At its start lie the tables for indirect branches,
 * ordinary private memory; the rest is a memfd (or, where that can't be, shared memory) mapped
 * twice: an executable, read-only view there, and a writable view anywhere. An offset into the
 * cache (CacheOff) names a byte in both views. */
#ifndef MT_CACHE_H
#define MT_CACHE_H

#include "base/atomics.h"
#include "base/base.h"

typedef u32 CacheOff; /* from mt_cache.exec / mt_cache.write */

/* Indirect branches look in the first table, by bits of the target: 13 to 18 of them, as the
 * program grows, from bit 2 on, where the processor has a fast pext, which leaves the flags alone;
 * else the low 16 (movzx). A miss looks in the second (entry.S), by 16 bits of its CRC, so that two
 * targets which collide in one hardly ever do in the other. Returns over the processor's return
 * stack look in a table of their own, which names return points by 4 bytes: 13 to 20 bits from bit
 * 3 on, since calls are some bytes apart, and since the fewer cache lines the tables take, the
 * better. */
#define MT_IBT_BITS_MIN 13
#define MT_IBT_BITS_MAX 18
#define MT_IBT_SHIFT 2
#define MT_IBT_SIZE (1u << MT_IBT_BITS_MAX)
#define MT_IBT2_SIZE (1u << 16)
#define MT_RET_SHIFT 3
#define MT_RET_BITS_MIN 13
#define MT_RET_BITS_MAX 20
#define MT_RET_SIZE (1u << MT_RET_BITS_MAX)
#define MT_IBT_BYTES (MT_IBT_SIZE * 8u + MT_IBT2_SIZE * 4u + MT_RET_SIZE * 4u)
#define MT_GLUE_BYTES 4096u
#define MT_CHUNK_MAX 65536u
#define MT_GLUE_TARGET 8u /* a jump of the glue: where its target's address stands */
#define MT_CACHE_HEAD (MT_IBT_BYTES + MT_GLUE_BYTES) /* before the first chunk */

typedef enum ChunkKind {
    CHUNK_FREE,
    CHUNK_BLOCKS, /* hot code, in the order in which it was first run */
    CHUNK_THUNKS, /* indirect entries of blocks that have none of their own */
    CHUNK_COLD,   /* exit stubs, literals: out of the way of the hot code */
} ChunkKind;

typedef struct Cache {
    /* immutable after cache_init() */
    u64 exec;         /* address of the range (< 2 GiB); executable from MT_IBT_BYTES on */
    u8 *write;        /* what to add an offset >= MT_IBT_BYTES to for the writable view */
    u64 size;         /* bytes of the whole range */
    u64 *ibt;         /* first table: address of an indirect entry, or of the miss stub */
    u32 *ibt2;        /* second table: the same, or 0; NULL: no CRC32, --ib-second=no */
    u32 *ret;         /* returns: address of a return point, or of the miss stub */
    u32 ibt_mask_at;  /* address of a 64-bit copy of ibt_mask, for pext; 0: no pext, 16 bits */
    u32 ret_mask_at;  /* the same */
    bool fast_loop;   /* `loop` is a cheap branch: AMD */
    CacheOff code_lo; /* first chunk */
    u32 chunk_size;
    u32 nchunks;
    /* addresses (executable view) of the glue */
    u64 glue_direct, glue_ib_miss, glue_ib_exit, glue_syscall, glue_emulate, glue_quantum, glue_gs,
        glue_ib_key, glue_ret_miss, glue_ret_other;
    /* changed by cache_flush_world() only */
    u32 generation;
    /* changed with the world empty and smc_lock() held */
    bool return_stack; /* calls and returns go over the processor's return stack */
    /* atomic; changed by cache_size_tables_world() only */
    u32 ibt_mask; /* which bits of the target index the first table */
    u32 ret_mask; /* and the returns' table */
} Cache;

extern Cache mt_cache;

/* Code space that is being written: from reserve to commit (or not: what is not committed stays
 * free). */
typedef struct CodeSpace {
    CacheOff hot, hot_end;   /* room for the block */
    CacheOff cold, cold_end; /* room for its stubs; moves up as they are taken */
    CacheOff cold_start;
    struct Chunk *chunk, *cold_chunk;
} CodeSpace;

/* Maps the cache at mt_layout.cache_base and writes the glue. 0 or -errno. */
int cache_init(void);

/* INSIDE the world. Takes room for one translation, at least `need` bytes of hot and `need` / 2 of
 * cold code, from the calling thread's chunks, or new ones. False: the cache is full (flush, then
 * again). */
bool cache_reserve(CodeSpace *s, u32 need);
/* Takes n bytes for a stub. Offset, or 0: no room. */
CacheOff cache_take_cold(CodeSpace *s, u32 n);
/* Keeps [s->hot, hot_end) and the stubs, and registers the block for cache_find_block(). */
void cache_commit(CodeSpace *s, CacheOff hot_end, u32 block_ref);

/* Gives back what has been reserved. */
void cache_abort(CodeSpace *s);

/* n bytes in a thunk chunk; `block_ref` is found by cache_find_block(). 0: full. */
CacheOff cache_take_thunk(u32 n, u32 block_ref);

/* One block of a chunk has been freed; a chunk without blocks becomes free. After a grace
 * period. */
void cache_release(CacheOff code);

/* Which block does this code belong to? Signal-safe. 0: none (glue). *kind says what it is
 * (CHUNK_COLD: the block is not known). */
u32 cache_find_block(u64 host_pc, ChunkKind *kind);

/* World stopped: forgets all code. */
void cache_flush_world(void);

/* World stopped: the tables for indirect branches and returns as large as is good for that many
 * blocks, and empty. */
void cache_size_tables_world(u32 blocks);

/* World empty, smc_lock() held, and a flush follows: code that is made from now on uses the
 * processor's return stack. The program has that many blocks. */
void cache_use_return_stack_world(u32 blocks);
/* May it be used, by what the options and the processor say, though it is not yet? */
bool cache_may_use_return_stack(void);

/* The thread's chunks are given up (thread exit). INSIDE. */
void cache_thread_exit(void);

/* fork: the mappings are shared, so the child needs a copy of its own, made before the parent goes
 * on and changes it. World stopped. A child that shares the descriptors must not depend on one:
 * then, and when there is none left or RLIMIT_FSIZE is less, the copy is two views that the parent
 * has mapped. `before` and `child` return 0 or -errno; `child` puts the copy in place of the
 * parent's cache. */
typedef struct CacheCopy {
    int fd; /* or -1 and the two views */
    u8 *write, *exec;
} CacheCopy;

int cache_before_fork(CacheCopy *copy, bool shares_fds);
void cache_after_fork_parent(const CacheCopy *copy);
int cache_after_fork_child(const CacheCopy *copy);

u64 cache_used_bytes(void);

static inline u64 cache_exec_addr(CacheOff o)
{
    return mt_cache.exec + o;
}

static inline u8 *cache_write_ptr(CacheOff o)
{
    return mt_cache.write + o;
}

/* The same, to patch code that has been written long since: so many pages of the writable view
 * become resident, where they count a second time, and no more. */
u8 *cache_patch_ptr(CacheOff o);

static inline bool cache_contains(u64 host_pc)
{
    return host_pc - mt_cache.exec < mt_cache.size;
}

/* What pext would say: the mask is one run of bits. */
static inline u32 cache_index(GuestAddr pc, u32 mask)
{
    return ((u32)pc & mask) >> __builtin_ctz(mask);
}

/* The slot of the first table for a guest address. */
static inline u64 *ibt_slot(GuestAddr pc)
{
    return &mt_cache.ibt[cache_index(pc, mt_load_relaxed(&mt_cache.ibt_mask))];
}

/* The slot of the returns' table. */
static inline u32 *ret_slot(GuestAddr pc)
{
    return &mt_cache.ret[cache_index(pc, mt_load_relaxed(&mt_cache.ret_mask))];
}

static inline CacheOff cache_off(u64 host_pc)
{
    return (CacheOff)(host_pc - mt_cache.exec);
}

#endif
