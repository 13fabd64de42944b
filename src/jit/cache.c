/* SPDX-License-Identifier: BSD-2-Clause
 * cache.c -- the code cache.
 * Role:       owns the code's memory and knows which block a code address belongs to. It does not
 *             know what blocks are (a BlockRef is a number here).
 * Invariants: C1. a chunk has at most one owner thread, and only the owner takes room from it.
 *             C2. starts[0..nstarts) of a chunk is sorted by offset: room is taken upwards.
 *             C3. a chunk is free <=> no owner and no live block.
 * Locking:    pool_lock guards the free list, `owned` and `live`; the owner alone changes the bump
 *             pointers. cache_find_block() takes no lock: nstarts is published by a release store.
 * Signals:    cache_find_block() only. */
#include "jit/cache.h"

#include "base/log.h"
#include "guest/layout.h"
#include "jit/entry.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct ChunkStart {
    CacheOff off;
    u32 block;
} ChunkStart;

typedef struct Chunk {
    CacheOff lo, hi;
    CacheOff hot, cold;  /* bump pointers; owner */
    u8 kind;
    bool owned;          /* pool_lock */
    u32 live;            /* pool_lock */
    u32 nstarts;         /* atomic: REL by the owner, ACQ by cache_find_block() */
    ChunkStart *starts;
    struct Chunk *next_free; /* pool_lock */
} Chunk;

#define MT_BLOCK_ALIGN 16u

Cache mt_cache;

static pthread_mutex_t pool_lock = PTHREAD_MUTEX_INITIALIZER;
static Chunk *chunks;
static Chunk *free_list;

typedef struct OwnChunk {
    Chunk *chunk;
    u32 generation;
} OwnChunk;
static __thread OwnChunk own[2]; /* [0] blocks, [1] thunks */

static u32 glue_at;

/* jmp *0(%rip); .quad target */
static u64 glue_jump(const void *target)
{
    u8 *w = cache_write_ptr(glue_at);
    u64 addr = cache_exec_addr(glue_at);
    static const u8 code[8] = {0xff, 0x25, 0x02, 0, 0, 0, 0x0f, 0x0b};

    memcpy(w, code, sizeof(code));
    memcpy(w + 8, &target, 8);
    glue_at += 16;
    return addr;
}

static void ibt_clear(void)
{
    for (u32 i = 0; i < MT_IBT_SIZE; i++) {
        mt_cache.ibt[i] = mt_cache.glue_ib_miss;
    }
    if (mt_cache.ibt2 != NULL) {
        madvise(mt_cache.ibt2, MT_IBT_SIZE * 8, MADV_DONTNEED);
    }
}

static void glue_init(void)
{
    glue_at = MT_IBT_BYTES;
    mt_cache.glue_direct = glue_jump(exit_direct);
    mt_cache.glue_ib_exit = glue_jump(exit_ib_miss);
    mt_cache.glue_ib_miss = mt_cache.ibt2 != NULL ? glue_jump(ib_probe_begin) : mt_cache.glue_ib_exit;
    mt_cache.glue_syscall = glue_jump(exit_syscall);
    mt_cache.glue_emulate = glue_jump(exit_emulate);
    mt_cache.glue_quantum = glue_jump(exit_quantum);
    mt_cache.glue_gs = glue_jump(exit_gs);
    ibt_clear();
}

static int map_views(int fd, void *write_at)
{
    void *w = mmap(write_at, mt_cache.size - MT_IBT_BYTES, PROT_READ | PROT_WRITE,
                   MAP_SHARED | (write_at ? MAP_FIXED : 0), fd, 0);

    if (w == MAP_FAILED) {
        return -errno;
    }
    mt_cache.write = (u8 *)w - MT_IBT_BYTES;
    return 0;
}

static int map_exec_view(int fd)
{
    void *x = mmap((void *)(mt_cache.exec + MT_IBT_BYTES), mt_cache.size - MT_IBT_BYTES,
                   PROT_READ | PROT_EXEC, MAP_SHARED | MAP_FIXED, fd, 0);

    return x == MAP_FAILED ? -errno : 0;
}

/* Private memory: a fork's child gets its copy from the kernel. */
static int map_tables(void)
{
    void *p = mmap((void *)mt_cache.exec, MT_IBT_BYTES, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

    if (p == MAP_FAILED) {
        return -errno;
    }
    mt_cache.ibt = p;
    mt_cache.ibt2 = __builtin_cpu_supports("sse4.2") ? mt_cache.ibt + MT_IBT_SIZE : NULL;
    return 0;
}

static int new_memfd(void)
{
    int fd = memfd_create("mtvg-code", MFD_CLOEXEC);

    if (fd < 0) {
        return -errno;
    }
    if (ftruncate(fd, (off_t)(mt_cache.size - MT_IBT_BYTES)) != 0) {
        int e = errno;

        close(fd);
        return -e;
    }
    return fd;
}

static void pool_init(void)
{
    free_list = NULL;
    for (u32 i = mt_cache.nchunks; i-- > 0;) {
        Chunk *c = &chunks[i];

        c->lo = mt_cache.code_lo + i * mt_cache.chunk_size;
        c->hi = c->lo + mt_cache.chunk_size;
        c->kind = CHUNK_FREE;
        c->owned = false;
        c->live = 0;
        __atomic_store_n(&c->nstarts, 0, __ATOMIC_RELAXED); /* world stopped, or before threads */
        c->next_free = free_list;
        free_list = c;
    }
}

static u32 choose_chunk_size(u64 code)
{
    u64 n = code / 64;
    u32 size = 8192;

    while (size < 65536 && size * 2 <= n) {
        size *= 2;
    }
    return size;
}

int cache_init(void)
{
    const u64 head = MT_CACHE_HEAD;
    int fd, r;

    mt_cache.exec = mt_layout.cache_base;
    mt_cache.size = mt_layout.cache_size;
    mt_cache.code_lo = (CacheOff)head;
    mt_cache.chunk_size = choose_chunk_size(mt_cache.size - head);
    mt_cache.nchunks = (u32)((mt_cache.size - head) / mt_cache.chunk_size);
    chunks = calloc(mt_cache.nchunks, sizeof(*chunks));
    if (chunks == NULL) {
        return -ENOMEM;
    }
    fd = new_memfd();
    if (fd < 0) {
        return fd;
    }
    r = map_tables();
    if (r == 0) {
        r = map_views(fd, NULL);
    }
    if (r == 0) {
        r = map_exec_view(fd);
    }
    close(fd);
    if (r != 0) {
        return r;
    }
    glue_init();
    pool_init();
    return 0;
}

static void chunk_maybe_free_locked(Chunk *c)
{
    if (!c->owned && c->live == 0 && c->kind != CHUNK_FREE) {
        c->kind = CHUNK_FREE;
        __atomic_store_n(&c->nstarts, 0, __ATOMIC_RELEASE);
        c->next_free = free_list;
        free_list = c;
    }
}

/* Gives the thread's chunk up (its blocks stay) and takes a free one. */
static Chunk *chunk_switch(OwnChunk *o, ChunkKind kind)
{
    Chunk *c;

    pthread_mutex_lock(&pool_lock);
    if (o->chunk != NULL && o->generation == mt_cache.generation) {
        o->chunk->owned = false;
        chunk_maybe_free_locked(o->chunk);
    }
    c = free_list;
    if (c != NULL) {
        free_list = c->next_free;
        c->owned = true;
        c->kind = (u8)kind;
        c->hot = c->lo;
        c->cold = c->hi;
    }
    pthread_mutex_unlock(&pool_lock);
    if (c != NULL && c->starts == NULL) {
        c->starts = malloc(mt_cache.chunk_size / MT_BLOCK_ALIGN * sizeof(ChunkStart));
        MT_ASSERT(c->starts != NULL);
    }
    o->chunk = c;
    o->generation = mt_cache.generation;
    return c;
}

static Chunk *own_chunk(ChunkKind kind, u32 need)
{
    OwnChunk *o = &own[kind == CHUNK_THUNKS];

    if (o->chunk != NULL && o->generation == mt_cache.generation &&
        o->chunk->cold - o->chunk->hot >= need) {
        return o->chunk;
    }
    return chunk_switch(o, kind);
}

bool cache_reserve(CodeSpace *s, u32 need)
{
    Chunk *c = own_chunk(CHUNK_BLOCKS, need);

    if (c == NULL) {
        return false;
    }
    s->chunk = c;
    s->hot = c->hot;
    s->hot_end = c->cold;
    return true;
}

CacheOff cache_take_cold(CodeSpace *s, u32 n)
{
    if (s->hot_end - s->hot < n + 64) {
        return 0;
    }
    s->hot_end -= n;
    return s->hot_end;
}

static void add_start(Chunk *c, CacheOff off, u32 block)
{
    u32 n = c->nstarts;

    c->starts[n] = (ChunkStart){off, block};
    /* REL pairs with cache_find_block(): who sees the count sees the entry. */
    __atomic_store_n(&c->nstarts, n + 1, __ATOMIC_RELEASE);
    pthread_mutex_lock(&pool_lock);
    c->live++;
    pthread_mutex_unlock(&pool_lock);
}

void cache_commit(CodeSpace *s, CacheOff hot_end, u32 block_ref)
{
    Chunk *c = s->chunk;

    MT_DCHECK(hot_end <= s->hot_end);
    c->hot = (CacheOff)MT_ALIGN_UP(hot_end, MT_BLOCK_ALIGN);
    c->cold = s->hot_end;
    if (c->hot > c->cold) {
        c->hot = c->cold;
    }
    add_start(c, s->hot, block_ref);
}

void cache_abort(CodeSpace *s)
{
    s->chunk = NULL;
}

CacheOff cache_take_thunk(u32 n, u32 block_ref)
{
    Chunk *c;
    CacheOff at;

    n = (u32)MT_ALIGN_UP(n, MT_BLOCK_ALIGN);
    c = own_chunk(CHUNK_THUNKS, n);
    if (c == NULL) {
        return 0;
    }
    at = c->hot;
    c->hot += n;
    add_start(c, at, block_ref);
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

    pthread_mutex_lock(&pool_lock);
    MT_ASSERT(c != NULL && c->live > 0);
    c->live--;
    chunk_maybe_free_locked(c);
    pthread_mutex_unlock(&pool_lock);
}

u32 cache_find_block(u64 host_pc, ChunkKind *kind, bool *cold)
{
    CacheOff off = cache_off(host_pc);
    Chunk *c = chunk_at(off);
    u32 lo = 0, hi;

    *cold = false;
    *kind = CHUNK_FREE;
    if (c == NULL || c->kind == CHUNK_FREE) {
        return 0;
    }
    *kind = (ChunkKind)c->kind;
    /* The code is being run, so its block was committed before: its start is visible. */
    hi = __atomic_load_n(&c->nstarts, __ATOMIC_ACQUIRE);
    while (lo < hi) {
        u32 mid = (lo + hi) / 2;

        if (c->starts[mid].off <= off) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo > 0 ? c->starts[lo - 1].block : 0;
}

void cache_flush_world(void)
{
    pthread_mutex_lock(&pool_lock);
    mt_cache.generation++;
    pool_init();
    pthread_mutex_unlock(&pool_lock);
    ibt_clear();
}

void cache_thread_exit(void)
{
    pthread_mutex_lock(&pool_lock);
    for (int i = 0; i < 2; i++) {
        if (own[i].chunk != NULL && own[i].generation == mt_cache.generation) {
            own[i].chunk->owned = false;
            chunk_maybe_free_locked(own[i].chunk);
        }
        own[i].chunk = NULL;
    }
    pthread_mutex_unlock(&pool_lock);
}

static int write_range(int fd, CacheOff lo, CacheOff hi)
{
    while (lo < hi) {
        ssize_t n = pwrite(fd, mt_cache.write + lo, hi - lo, lo - MT_IBT_BYTES);

        if (n <= 0) {
            return n == 0 ? -EIO : -errno;
        }
        lo += (CacheOff)n;
    }
    return 0;
}

int cache_before_fork(void)
{
    int fd = new_memfd();
    int r = fd < 0 ? fd : write_range(fd, MT_IBT_BYTES, mt_cache.code_lo);

    for (u32 i = 0; r == 0 && i < mt_cache.nchunks; i++) {
        Chunk *c = &chunks[i];

        if (c->kind != CHUNK_FREE) {
            r = write_range(fd, c->lo, c->hot);
            r = r == 0 ? write_range(fd, c->cold, c->hi) : r;
        }
    }
    if (r != 0 && fd >= 0) {
        close(fd);
    }
    return r != 0 ? r : fd;
}

void cache_after_fork_parent(int fd)
{
    close(fd);
}

int cache_after_fork_child(int fd)
{
    int r = map_views(fd, mt_cache.write + MT_IBT_BYTES);

    if (r == 0) {
        r = map_exec_view(fd);
    }
    close(fd);
    /* The other threads' chunks have lost their owners. */
    for (u32 i = 0; i < mt_cache.nchunks; i++) {
        Chunk *c = &chunks[i];

        if (c != own[0].chunk && c != own[1].chunk) {
            c->owned = false;
            chunk_maybe_free_locked(c);
        }
    }
    return r;
}

u64 cache_used_bytes(void)
{
    u64 n = 0;

    pthread_mutex_lock(&pool_lock);
    for (u32 i = 0; i < mt_cache.nchunks; i++) {
        Chunk *c = &chunks[i];

        if (c->kind != CHUNK_FREE) {
            n += (c->hot - c->lo) + (c->hi - c->cold);
        }
    }
    pthread_mutex_unlock(&pool_lock);
    return n;
}
