/* SPDX-License-Identifier: BSD-2-Clause
 * cache.c -- the code cache: who takes room in it.
 * Role:       deals it out to threads in chunks and knows which block a code address belongs to. It
 *             does not know what blocks are (a BlockRef is a number here).
 * Files:      cache_memory.c  the memory behind it, and its copies for forks
 *             cache_tables.c  the tables for indirect branches, the glue
 * Invariants: C1. a chunk has at most one owner thread, and only the owner takes room from it,
 *                 while the chunk is busy. One that is not busy may be taken over by another
 *                 thread.
 *             C2. the first nstarts starts of a chunk are sorted by offset: room is taken upwards.
 *             C3. a chunk is free <=> no owner and no live block.
 * Locking:    pool_lock guards kinds and changes of owners; the owner alone makes its chunk busy
 *             and not busy, changes the bump pointers meanwhile, and counts `live` up without the
 *             lock: C3 is looked at when there is no owner. cache_find_block() takes no lock:
 *             nstarts is published by a release store.
 * Signals:    cache_find_block() only. */
#include "jit/cache_int.h"

#include "base/heap.h"
#include "base/lockorder.h"
#include "guest/layout.h"

#include <errno.h>
#include <stdlib.h>

#define MT_STARTS 128u /* pieces that the list of a chunk's starts grows by */

/* Where code begins, from the chunk's beginning, and whose it is. */
typedef struct ChunkStarts {
    u32 block[MT_STARTS];
    u16 off[MT_STARTS];
} ChunkStarts;

typedef struct Chunk {
    CacheOff lo, hi;
    CacheOff next; /* bump pointer; owner */
    u8 kind;
    u64 owner;            /* atomic: 0: none; own_id(), one more while busy */
    u32 live;             /* atomic: up by the owner, down under pool_lock */
    u32 nstarts;          /* atomic: REL by the owner, ACQ by cache_find_block() */
    ChunkStarts **starts; /* by MT_STARTS */
} Chunk;

#define MT_BLOCK_LEAST 16u /* bytes that a block takes */
#define MT_SHARE_BELOW 16u /* threads share chunks when less than this part of all is free */

Cache mt_cache;

static MtMutex pool_lock = MT_MUTEX_INIT(RANK_JIT_CACHE);
static Chunk *chunks;

/* By kind: the chunks that the thread had last. They are still its own if they say so. */
static __thread Chunk *own[CHUNK_COLD + 1];
#define MT_BUSY 1u

static u64 own_id(void)
{
    return (u64)(uintptr_t)own;
}

static void pool_init(void)
{
    for (u32 i = 0; i < mt_cache.nchunks; i++) {
        Chunk *c = &chunks[i];

        c->lo = mt_cache.code_lo + i * mt_cache.chunk_size;
        c->hi = c->lo + mt_cache.chunk_size;
        c->kind = CHUNK_FREE;
        mt_store_relaxed(&c->live, 0);
        mt_store_relaxed(&c->owner, 0); /* world stopped, or before threads */
        mt_store_relaxed(&c->nstarts, 0);
    }
}

static u32 choose_chunk_size(u64 code)
{
    u64 n = code / 64;
    u32 size = 8192;

    while (size < MT_CHUNK_MAX && size * 2 <= n) {
        size *= 2;
    }
    return size;
}

int cache_init(void)
{
    const u64 head = MT_CACHE_HEAD;
    int r;

    mt_cache.exec = mt_layout.cache_base;
    mt_cache.size = mt_layout.cache_size;
    mt_cache.code_lo = (CacheOff)head;
    mt_cache.chunk_size = choose_chunk_size(mt_cache.size - head);
    mt_cache.nchunks = (u32)((mt_cache.size - head) / mt_cache.chunk_size);
    chunks = calloc(mt_cache.nchunks, sizeof(*chunks));
    r = chunks != NULL ? cache_tables_map() : -ENOMEM;
    if (r == 0) {
        r = cache_memory_init();
    }
    if (r != 0) {
        return r;
    }
    cache_tables_init();
    pool_init();
    return 0;
}

static bool is_owner(const Chunk *c)
{
    /* Relaxed: nobody else writes a value that is this thread's. */
    return (mt_load_relaxed(&c->owner) & ~(u64)MT_BUSY) == own_id();
}

/* Is own[kind] still the thread's? It may be so again, but for another kind, behind a flush. */
static bool is_own(ChunkKind kind)
{
    return own[kind] != NULL && is_owner(own[kind]) && own[kind]->kind == kind;
}

/* Makes own[kind] busy. False: it is another's by now. */
static bool make_busy(ChunkKind kind)
{
    u64 *owner = own[kind] != NULL ? &own[kind]->owner : NULL, id = own_id();

    /* It is busy if the last translation has been given up: a flush comes next. */
    return is_own(kind) &&
           (mt_load_relaxed(owner) == (id | MT_BUSY) || mt_cas(owner, &id, id | MT_BUSY));
}

/* REL pairs with take_over_locked(): who takes the chunk sees how far it is used. */
static void end_busy(Chunk *c)
{
    mt_store_release(&c->owner, own_id());
}

static void chunk_maybe_free_locked(Chunk *c)
{
    if (mt_load_relaxed(&c->owner) == 0 && mt_load_relaxed(&c->live) == 0 &&
        c->kind != CHUNK_FREE) {
        c->kind = CHUNK_FREE;
        mt_store_release(&c->nstarts, 0);
    }
}

static void give_up_locked(Chunk *c)
{
    mt_store_release(&c->owner, 0);
    chunk_maybe_free_locked(c);
}

/* A chunk of the kind that belongs to a thread which is not translating now. */
static Chunk *take_over_locked(ChunkKind kind, u32 need)
{
    static u32 last; /* so that not all take the same */

    for (u32 i = 0; i < mt_cache.nchunks; i++) {
        u32 k = (last + i) % mt_cache.nchunks;
        Chunk *c = &chunks[k];
        u64 owner = mt_load_relaxed(&c->owner);

        if (c->kind == kind && owner != 0 && !(owner & MT_BUSY) &&
            mt_cas(&c->owner, &owner, own_id() | MT_BUSY)) {
            if (c->hi - c->next >= need) {
                last = k + 1;
                return c;
            }
            give_up_locked(c); /* its owner would, too */
        }
    }
    return NULL;
}

/* A chunk for a new owner: one that another has left with room in it, else the first free one. Cold
 * ones come from the other end, so that hot code stays dense. When few are free, threads share:
 * each may need three, and there may be thousands. */
static Chunk *find_room_locked(ChunkKind kind, u32 need)
{
    Chunk *free_chunk = NULL, *c = NULL;
    u32 nfree = 0;

    for (u32 i = 0; i < mt_cache.nchunks; i++) {
        c = &chunks[kind == CHUNK_COLD ? mt_cache.nchunks - 1 - i : i];
        if (c->kind == kind && mt_load_relaxed(&c->owner) == 0 &&
            c->hi - c->next >= mt_cache.chunk_size / 2) {
            break;
        }
        if (c->kind == CHUNK_FREE) {
            free_chunk = nfree++ == 0 ? c : free_chunk;
        }
        c = NULL;
    }
    if (c == NULL && nfree < mt_cache.nchunks / MT_SHARE_BELOW) {
        c = take_over_locked(kind, need);
    }
    if (c == NULL && free_chunk != NULL) {
        c = free_chunk;
        c->kind = (u8)kind;
        c->next = c->lo;
    }
    if (c != NULL) {
        mt_store_relaxed(&c->owner, own_id() | MT_BUSY);
    }
    return c;
}

/* Gives the thread's chunk up (its blocks stay) and takes another. */
static Chunk *chunk_switch(ChunkKind kind, u32 need)
{
    Chunk *c = own[kind];
    bool was_free;

    if (is_own(kind)) {
        cache_memory_drop_write_view(c->lo, c->hi); /* without the lock: it takes a while */
    }
    mt_mutex_lock(&pool_lock);
    if (is_own(kind)) {
        give_up_locked(c);
    }
    c = find_room_locked(kind, need);
    was_free = c != NULL && c->next == c->lo;
    mt_mutex_unlock(&pool_lock);
    if (was_free) {
        /* What an outer Valgrind knows of the chunk's last use is void; its own patches to code
         * that has run are told one by one. */
        annot_code_changed((void *)cache_exec_addr(c->lo), c->hi - c->lo);
    }
    own[kind] = c;
    return c;
}

/* A chunk with room, busy. */
static Chunk *own_chunk(ChunkKind kind, u32 need)
{
    Chunk *c = own[kind];

    return make_busy(kind) && c->hi - c->next >= need ? c : chunk_switch(kind, need);
}

bool cache_reserve(CodeSpace *s, u32 need)
{
    Chunk *c = own_chunk(CHUNK_BLOCKS, need);
    Chunk *cold = c != NULL ? own_chunk(CHUNK_COLD, need / 2) : NULL;

    if (cold == NULL) {
        if (c != NULL) {
            end_busy(c);
        }
        return false;
    }
    s->chunk = c;
    s->hot = c->next;
    s->hot_end = c->hi;
    s->cold_chunk = cold;
    s->cold = s->cold_start = cold->next;
    s->cold_end = cold->hi;
    return true;
}

CacheOff cache_take_cold(CodeSpace *s, u32 n)
{
    CacheOff at = s->cold;

    if (s->cold_end - at < n) {
        return 0;
    }
    s->cold += n;
    return at;
}

static void count_live(Chunk *c)
{
    mt_fetch_add(&c->live, 1);
}

static CacheOff start_of(const Chunk *c, u32 i)
{
    return c->lo + c->starts[i / MT_STARTS]->off[i % MT_STARTS];
}

static u32 block_at(const Chunk *c, u32 i)
{
    return c->starts[i / MT_STARTS]->block[i % MT_STARTS];
}

/* Room for a chunk's start n; it stays when the chunk is used anew. */
static void make_start(Chunk *c, u32 n)
{
    if (c->starts == NULL) {
        c->starts = heap_alloc_zeroed(mt_cache.chunk_size / MT_BLOCK_LEAST / MT_STARTS *
                                      sizeof(*c->starts));
        MT_ASSERT(c->starts != NULL);
    }
    if (c->starts[n / MT_STARTS] == NULL) {
        c->starts[n / MT_STARTS] = heap_alloc(sizeof(ChunkStarts));
        MT_ASSERT(c->starts[n / MT_STARTS] != NULL);
    }
}

static void add_start(Chunk *c, CacheOff off, u32 block)
{
    u32 n = c->nstarts;

    make_start(c, n);
    c->starts[n / MT_STARTS]->block[n % MT_STARTS] = block;
    c->starts[n / MT_STARTS]->off[n % MT_STARTS] = (u16)(off - c->lo);
    /* REL pairs with cache_find_block(): who sees the count sees the entry. */
    mt_store_release(&c->nstarts, n + 1);
    count_live(c);
}

void cache_commit(CodeSpace *s, CacheOff hot_end, u32 block_ref)
{
    Chunk *c = s->chunk;

    MT_DCHECK(hot_end <= s->hot_end);
    c->next = hot_end - s->hot < MT_BLOCK_LEAST ? s->hot + MT_BLOCK_LEAST : hot_end;
    add_start(c, s->hot, block_ref);
    if (s->cold != s->cold_start) {
        s->cold_chunk->next = s->cold;
        count_live(s->cold_chunk);
    }
    end_busy(s->cold_chunk);
    end_busy(c);
}

void cache_abort(CodeSpace *s)
{
    end_busy(s->cold_chunk);
    end_busy(s->chunk);
}

CacheOff cache_take_thunk(u32 n, u32 block_ref)
{
    Chunk *c;
    CacheOff at;

    MT_DCHECK(n >= MT_BLOCK_LEAST);
    c = own_chunk(CHUNK_THUNKS, n);
    if (c == NULL) {
        return 0;
    }
    at = c->next;
    c->next += n;
    add_start(c, at, block_ref);
    end_busy(c);
    return at;
}

static Chunk *chunk_at(CacheOff off)
{
    u32 i = (off - mt_cache.code_lo) / mt_cache.chunk_size;

    return off >= mt_cache.code_lo && i < mt_cache.nchunks ? &chunks[i] : NULL;
}

void cache_release(CacheOff code)
{
    Chunk *c = chunk_at(code);
    u32 live;

    MT_ASSERT(c != NULL);
    mt_mutex_lock(&pool_lock);
    live = mt_fetch_sub(&c->live, 1);
    MT_ASSERT(live > 0);
    chunk_maybe_free_locked(c);
    mt_mutex_unlock(&pool_lock);
}

/* In the fast domain, too. */
__attribute__((target("general-regs-only"))) u32 cache_find_block(u64 host_pc, ChunkKind *kind)
{
    CacheOff off = cache_off(host_pc);
    Chunk *c = chunk_at(off);
    u32 lo = 0, hi;

    *kind = CHUNK_FREE;
    if (c == NULL) {
        return 0;
    }
    /* The code is being run, so its block was committed before: its start is visible. */
    hi = mt_load_acquire(&c->nstarts);
    *kind = (ChunkKind)c->kind;
    if (*kind == CHUNK_FREE) {
        return 0;
    }
    while (lo < hi) {
        u32 mid = (lo + hi) / 2;

        if (start_of(c, mid) <= off) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo > 0 ? block_at(c, lo - 1) : 0;
}

void cache_flush_world(void)
{
    mt_mutex_lock(&pool_lock);
    mt_cache.generation++;
    pool_init();
    mt_mutex_unlock(&pool_lock);
    cache_tables_clear();
}

void cache_thread_exit(void)
{
    mt_mutex_lock(&pool_lock);
    for (int i = 0; i <= CHUNK_COLD; i++) {
        if (is_own((ChunkKind)i)) {
            give_up_locked(own[i]);
        }
        own[i] = NULL;
    }
    mt_mutex_unlock(&pool_lock);
}

bool cache_used_part(u32 i, CacheOff *lo, CacheOff *hi)
{
    *lo = chunks[i].lo;
    *hi = chunks[i].next;
    return chunks[i].kind != CHUNK_FREE;
}

void cache_drop_other_owners(void)
{
    for (u32 i = 0; i < mt_cache.nchunks; i++) {
        Chunk *c = &chunks[i];

        if (mt_load_relaxed(&c->owner) != 0 && !is_owner(c)) {
            give_up_locked(c);
        }
    }
}

u64 cache_used_bytes(void)
{
    u64 n = 0;

    mt_mutex_lock(&pool_lock);
    for (u32 i = 0; i < mt_cache.nchunks; i++) {
        Chunk *c = &chunks[i];

        if (c->kind != CHUNK_FREE) {
            n += c->next - c->lo;
        }
    }
    mt_mutex_unlock(&pool_lock);
    return n;
}
