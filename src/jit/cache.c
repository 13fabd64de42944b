/* SPDX-License-Identifier: BSD-2-Clause
 * cache.c -- the code cache.
 * Role:       owns the code's memory and knows which block a code address belongs to. It does not
 *             know what blocks are (a BlockRef is a number here).
 * Invariants: C1. a chunk has at most one owner thread, and only the owner takes room from it, while the
 *                 chunk is busy. One that is not busy may be taken over by another thread.
 *             C2. the first nstarts starts of a chunk are sorted by offset: room is taken upwards.
 *             C3. a chunk is free <=> no owner and no live block.
 * Locking:    pool_lock guards kinds and changes of owners; the owner alone makes its chunk busy and not
 *             busy, changes the bump pointers meanwhile, and counts `live` up without the lock: C3 is looked at
 *             when there is no owner. cache_find_block() takes no lock: nstarts
 *             is published by a release store.
 * Signals:    cache_find_block() only. */
#include "jit/cache.h"

#include "base/atomics.h"
#include "base/hostcpu.h"
#include "base/lockorder.h"
#include "base/log.h"
#include "base/options.h"
#include "guest/layout.h"
#include "jit/entry.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

typedef struct ChunkStart {
    CacheOff off;
    u32 block;
} ChunkStart;

typedef struct Chunk {
    CacheOff lo, hi;
    CacheOff next; /* bump pointer; owner */
    u8 kind;
    u64 owner;           /* atomic: 0: none; own_id(), one more while busy */
    u32 live;            /* atomic: up by the owner, down under pool_lock */
    u32 nstarts;         /* atomic: REL by the owner, ACQ by cache_find_block() */
    ChunkStart **starts; /* by MT_STARTS */
} Chunk;

#define MT_BLOCK_ALIGN 16u
#define MT_SHARE_BELOW 16u   /* threads share chunks when less than this part of all is free */
#define MT_STARTS 128u       /* pieces that the list of a chunk's starts grows by */
#define MT_PATCHED_PAGES 192 /* of the writable view, before they are dropped */

Cache mt_cache;

static MtMutex pool_lock = MT_MUTEX_INIT(RANK_JIT_CACHE);
static Chunk *chunks;

/* By page of the writable view: patched since all were dropped. Atomic, relaxed: for the count only. */
static u64 *patched;
static u32 npatched;

/* By kind: the chunks that the thread had last. They are still its own if they say so. */
static __thread Chunk *own[CHUNK_COLD + 1];
#define MT_BUSY 1u

static u64 own_id(void)
{
    return (u64)(uintptr_t)own;
}

static u32 glue_at;

/* jmp *2(%rip); ud2; .quad target (MT_GLUE_TARGET) */
static u64 glue_jump(const void *target)
{
    u8 *w = cache_write_ptr(glue_at);
    u64 addr = cache_exec_addr(glue_at);
    static const u8 code[8] = {0xff, 0x25, 0x02, 0, 0, 0, 0x0f, 0x0b};

    memcpy(w, code, sizeof(code));
    memcpy(w + MT_GLUE_TARGET, &target, 8);
    glue_at += 16;
    return addr;
}

/* Only as much as is in use is touched; one call is cheaper than a fault for each page, and the second
 * table's pages would be read before they are written (before Linux 5.14: as many faults). */
static void ibt_clear(void)
{
    u32 last = cache_index(~0ull, mt_cache.ibt_mask);

    madvise(mt_cache.ibt, (last + 1) * sizeof(*mt_cache.ibt), MADV_POPULATE_WRITE);
    for (u32 i = 0; i <= last; i++) {
        mt_store_relaxed(&mt_cache.ibt[i],
                         mt_cache.glue_ib_miss); /* a halted thread may be looking */
    }
    if (mt_cache.ibt2 != NULL) {
        madvise(mt_cache.ibt2, MT_IBT2_SIZE * sizeof(*mt_cache.ibt2), MADV_DONTNEED);
        madvise(mt_cache.ibt2, MT_IBT2_SIZE * sizeof(*mt_cache.ibt2), MADV_POPULATE_WRITE);
    }
}

static void ret_clear(void)
{
    u32 last = cache_index(~0ull, mt_cache.ret_mask);

    if (mt_cache.return_stack) {
        madvise(mt_cache.ret, (last + 1) * sizeof(*mt_cache.ret), MADV_POPULATE_WRITE);
        for (u32 i = 0; i <= last; i++) {
            mt_cache.ret[i] = (u32)mt_cache.glue_ret_miss;
        }
    }
}

static bool can_use_return_stack(void)
{
    return mt_opts.ib_inline && mt_cache.ibt2 != NULL;
}

static u32 glue_word(u64 value)
{
    u32 at = glue_at;

    memcpy(cache_write_ptr(at), &value, sizeof(value));
    glue_at += 16;
    return (u32)cache_exec_addr(at);
}

/* pext is microcoded on AMD processors before Zen 3, and loop is slow on Intel's. */
static void choose_instructions(void)
{
    bool amd = hostcpu_is_amd(), pext;

    pext = CPU_FEATURE_PRESENT(BMI2) && mt_opts.ib_index != IB_INDEX_WORD &&
           (!amd || hostcpu_family() >= 0x19 || mt_opts.ib_index == IB_INDEX_PEXT);
    mt_cache.fast_loop = mt_opts.ib_check == IB_CHECK_AUTO ? amd
                                                           : mt_opts.ib_check == IB_CHECK_LOOP;
    mt_cache.ibt_mask = pext ? ((1u << MT_IBT_BITS_MIN) - 1) << MT_IBT_SHIFT : 0xffff;
    mt_cache.ret_mask = pext ? ((1u << MT_RET_BITS_MIN) - 1) << MT_RET_SHIFT : 0xffff;
    mt_cache.ibt_mask_at = pext ? glue_word(mt_cache.ibt_mask) : 0;
    mt_cache.ret_mask_at = pext ? glue_word(mt_cache.ret_mask) : 0;
}

static void glue_init(void)
{
    glue_at = MT_IBT_BYTES;
    choose_instructions();
    mt_cache.glue_direct = glue_jump(exit_direct);
    mt_cache.glue_ib_exit = glue_jump(exit_ib_miss);
    mt_cache.glue_ib_miss = mt_cache.ibt2 != NULL ? glue_jump(ib_probe_begin)
                                                  : mt_cache.glue_ib_exit;
    mt_cache.glue_syscall = glue_jump(exit_syscall);
    mt_cache.glue_emulate = glue_jump(exit_emulate);
    mt_cache.glue_quantum = glue_jump(exit_quantum);
    mt_cache.glue_gs = glue_jump(exit_gs);
    mt_cache.glue_ib_key = glue_jump(exit_ib_key);
    mt_cache.glue_ret_miss = glue_jump(ib_ret_miss);
    mt_cache.glue_ret_other = glue_jump(ib_ret_other);
    mt_cache.return_stack = mt_opts.return_stack == RETURN_STACK_YES && can_use_return_stack();
    ibt_clear();
    ret_clear();
}

/* Private memory: a fork's child gets its copy from the kernel. */
static int map_tables(void)
{
    void *p = mmap((void *)mt_cache.exec, MT_IBT_BYTES, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

    if (p == MAP_FAILED) {
        return -errno;
    }
    annot_ignore(p, MT_IBT_BYTES); /* words that are only accessed atomically */
    mt_cache.ibt = p;
    if (CPU_FEATURE_PRESENT(SSE4_2) && mt_opts.ib_second) {
        mt_cache.ibt2 = (u32 *)(mt_cache.ibt + MT_IBT_SIZE);
    }
    mt_cache.ret = (u32 *)(mt_cache.ibt + MT_IBT_SIZE) + MT_IBT2_SIZE;
    return 0;
}

/* -EMFILE, -ENFILE, -EFBIG: new_views() may do. The kernel's answer to a file beyond RLIMIT_FSIZE would be
 * SIGXFSZ. */
static int new_memfd(void)
{
    struct rlimit max;
    int fd;

    if (getrlimit(RLIMIT_FSIZE, &max) == 0 && max.rlim_cur < mt_cache.size - MT_IBT_BYTES) {
        return -EFBIG;
    }
    fd = memfd_create("mtvg-code", MFD_CLOEXEC);
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

/* A second view of shared memory is mremap's with an old size of 0. */
static int new_views(CacheCopy *copy)
{
    u64 size = mt_cache.size - MT_IBT_BYTES;
    u8 *w = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1,
                 0);
    u8 *x = w != MAP_FAILED ? mremap(w, 0, size, MREMAP_MAYMOVE) : MAP_FAILED;

    if (x == MAP_FAILED || mprotect(x, size, PROT_READ | PROT_EXEC) != 0) {
        int e = errno;

        if (w != MAP_FAILED) {
            munmap(w, size);
        }
        if (x != MAP_FAILED) {
            munmap(x, size);
        }
        return -e;
    }
    *copy = (CacheCopy){-1, w, x};
    return 0;
}

/* Memory for the code: behind a descriptor if there may and can be one. */
static int new_memory(CacheCopy *copy, bool by_fd)
{
    int fd = by_fd ? new_memfd() : -EMFILE;

    if (fd == -EMFILE || fd == -ENFILE || fd == -EFBIG) {
        return new_views(copy);
    }
    *copy = (CacheCopy){fd, NULL, NULL};
    return fd < 0 ? fd : 0;
}

static int map_fd(int fd, void *write_at)
{
    u64 size = mt_cache.size - MT_IBT_BYTES;
    void *w = mmap(write_at, size, PROT_READ | PROT_WRITE, MAP_SHARED | (write_at ? MAP_FIXED : 0),
                   fd, 0);

    if (w == MAP_FAILED) {
        return -errno;
    }
    mt_cache.write = (u8 *)w - MT_IBT_BYTES;
    w = mmap((void *)(mt_cache.exec + MT_IBT_BYTES), size, PROT_READ | PROT_EXEC,
             MAP_SHARED | MAP_FIXED, fd, 0);
    return w == MAP_FAILED ? -errno : 0;
}

static int move_view(u8 *view, void *to)
{
    u64 size = mt_cache.size - MT_IBT_BYTES;

    return mremap(view, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, to) == MAP_FAILED ? -errno : 0;
}

/* Makes the memory the cache's: its writable view at write_at, or anywhere if that is NULL. */
static int put_in_place(const CacheCopy *memory, void *write_at)
{
    int r = 0;

    if (memory->fd >= 0) {
        r = map_fd(memory->fd, write_at);
        close(memory->fd);
        return r;
    }
    if (write_at != NULL) {
        r = move_view(memory->write, write_at);
    } else {
        mt_cache.write = memory->write - MT_IBT_BYTES;
    }
    return r != 0 ? r : move_view(memory->exec, (void *)(mt_cache.exec + MT_IBT_BYTES));
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
    CacheCopy memory;
    int r;

    mt_cache.exec = mt_layout.cache_base;
    mt_cache.size = mt_layout.cache_size;
    mt_cache.code_lo = (CacheOff)head;
    mt_cache.chunk_size = choose_chunk_size(mt_cache.size - head);
    mt_cache.nchunks = (u32)((mt_cache.size - head) / mt_cache.chunk_size);
    chunks = calloc(mt_cache.nchunks, sizeof(*chunks));
    patched = calloc(mt_cache.size / MT_PAGE_SIZE / 64 + 1, sizeof(*patched));
    if (chunks == NULL || patched == NULL) {
        return -ENOMEM;
    }
    r = map_tables();
    if (r == 0) {
        r = new_memory(&memory, true);
    }
    if (r == 0) {
        r = put_in_place(&memory, NULL);
    }
    if (r != 0) {
        return r;
    }
    glue_init();
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

/* A chunk for a new owner: one that another has left with room in it, else the first free one. Cold ones
 * come from the other end, so that hot code stays dense. When few are free, threads share: each may
 * need three, and there may be thousands. */
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

/* Code that is hardly written any more: takes its pages out of the writable view, where they count a second
 * time as resident. Their contents stay. */
static void drop_write_view(CacheOff from, u64 to)
{
    u64 lo = MT_PAGE_UP(cache_write_ptr(from)), hi = MT_PAGE_DOWN(mt_cache.write + to);

    madvise((void *)lo, hi - lo, MADV_DONTNEED);
}

static void drop_patched(void)
{
    mt_store_relaxed(&npatched, 0);
    for (u64 i = 0; i < mt_cache.size / MT_PAGE_SIZE / 64 + 1; i++) {
        mt_store_relaxed(&patched[i], 0);
    }
    drop_write_view(mt_cache.code_lo, mt_cache.size);
}

u8 *cache_patch_ptr(CacheOff o)
{
    u64 *word = &patched[o / MT_PAGE_SIZE / 64], bit = 1ull << (o / MT_PAGE_SIZE % 64);

    if ((mt_load_relaxed(word) & bit) == 0 && (mt_fetch_or(word, bit) & bit) == 0 &&
        mt_fetch_add(&npatched, 1) >= MT_PATCHED_PAGES) {
        drop_patched();
    }
    return cache_write_ptr(o);
}

/* Gives the thread's chunk up (its blocks stay) and takes another. */
static Chunk *chunk_switch(ChunkKind kind, u32 need)
{
    Chunk *c = own[kind];
    bool was_free;

    if (is_own(kind)) {
        drop_write_view(c->lo, c->hi); /* without the lock: it takes a while */
    }
    mt_mutex_lock(&pool_lock);
    if (is_own(kind)) {
        give_up_locked(c);
    }
    c = find_room_locked(kind, need);
    was_free = c != NULL && c->next == c->lo;
    mt_mutex_unlock(&pool_lock);
    if (was_free) {
        /* What an outer Valgrind knows of the chunk's last use is void; its own patches to code that
         * has run are told one by one. */
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

static ChunkStart *start_of(const Chunk *c, u32 i)
{
    return &c->starts[i / MT_STARTS][i % MT_STARTS];
}

/* Room for a chunk's start n; it stays when the chunk is used anew. */
static void make_start(Chunk *c, u32 n)
{
    if (c->starts == NULL) {
        c->starts = calloc(mt_cache.chunk_size / MT_BLOCK_ALIGN / MT_STARTS, sizeof(*c->starts));
        MT_ASSERT(c->starts != NULL);
    }
    if (c->starts[n / MT_STARTS] == NULL) {
        c->starts[n / MT_STARTS] = malloc(MT_STARTS * sizeof(ChunkStart));
        MT_ASSERT(c->starts[n / MT_STARTS] != NULL);
    }
}

static void add_start(Chunk *c, CacheOff off, u32 block)
{
    u32 n = c->nstarts;

    make_start(c, n);
    *start_of(c, n) = (ChunkStart){off, block};
    /* REL pairs with cache_find_block(): who sees the count sees the entry. */
    mt_store_release(&c->nstarts, n + 1);
    count_live(c);
}

void cache_commit(CodeSpace *s, CacheOff hot_end, u32 block_ref)
{
    Chunk *c = s->chunk;

    MT_DCHECK(hot_end <= s->hot_end);
    c->next = (CacheOff)MT_ALIGN_UP(hot_end, MT_BLOCK_ALIGN);
    if (c->next > c->hi) {
        c->next = c->hi;
    }
    add_start(c, s->hot, block_ref);
    if (s->cold != s->cold_start) {
        s->cold_chunk->next = s->cold;
        count_live(s->cold_chunk);
    }
    end_busy(s->cold_chunk);
    end_busy(c);
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

        if (start_of(c, mid)->off <= off) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo > 0 ? start_of(c, lo - 1)->block : 0;
}

/* The tables begin as small as they can be. */
void cache_use_return_stack_world(u32 blocks)
{
    mt_cache.return_stack = true;
    madvise(mt_cache.ibt, MT_IBT_SIZE * sizeof(*mt_cache.ibt), MADV_DONTNEED);
    if (mt_cache.ibt_mask_at != 0) {
        mt_store_relaxed(&mt_cache.ibt_mask, ((1u << MT_IBT_BITS_MIN) - 1) << MT_IBT_SHIFT);
    }
    cache_size_tables_world(blocks);
}

bool cache_may_use_return_stack(void)
{
    return mt_opts.return_stack == RETURN_STACK_AUTO && !mt_cache.return_stack &&
           mt_opts.parallel && can_use_return_stack();
}

void cache_flush_world(void)
{
    mt_mutex_lock(&pool_lock);
    mt_cache.generation++;
    pool_init();
    mt_mutex_unlock(&pool_lock);
    ibt_clear();
    ret_clear();
}

/* A mask of more bits until there are `want` entries, and its copy for pext, if there is one. */
static u32 grow_mask(u32 mask, u32 copy_at, u32 want, u32 size)
{
    const u32 shift = (u32)__builtin_ctz(mask);
    u32 last = mask >> shift;

    if (copy_at == 0) {
        return mask;
    }
    while (last < want && last < size - 1) {
        last = last << 1 | 1;
    }
    *(u64 *)cache_write_ptr(cache_off(copy_at)) = (u64)last << shift;
    return last << shift;
}

/* Where returns have a table of their own, few blocks have an indirect entry. */
void cache_size_tables_world(u32 blocks)
{
    const bool apart = mt_cache.return_stack;

    /* A thread in the fast domain may use the old one once more: what it finds is checked. */
    mt_store_relaxed(&mt_cache.ibt_mask, grow_mask(mt_cache.ibt_mask, mt_cache.ibt_mask_at,
                                                   apart ? 2 * blocks : 8 * blocks, MT_IBT_SIZE));
    mt_cache.ret_mask = grow_mask(mt_cache.ret_mask, mt_cache.ret_mask_at, 8 * blocks,
                                  apart ? MT_RET_SIZE : 1);
    ibt_clear();
    ret_clear();
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

static void copy_to_views(const CacheCopy *copy)
{
    memcpy(copy->write, mt_cache.write + MT_IBT_BYTES, mt_cache.code_lo - MT_IBT_BYTES);
    for (u32 i = 0; i < mt_cache.nchunks; i++) {
        Chunk *c = &chunks[i];

        if (c->kind != CHUNK_FREE) {
            memcpy(copy->write + c->lo - MT_IBT_BYTES, mt_cache.write + c->lo, c->next - c->lo);
        }
    }
}

int cache_before_fork(CacheCopy *copy, bool shares_fds)
{
    int r = new_memory(copy, !shares_fds), fd = copy->fd;

    if (r != 0 || fd < 0) {
        if (r == 0) {
            copy_to_views(copy);
        }
        return r;
    }
    r = write_range(fd, MT_IBT_BYTES, mt_cache.code_lo);
    for (u32 i = 0; r == 0 && i < mt_cache.nchunks; i++) {
        Chunk *c = &chunks[i];

        if (c->kind != CHUNK_FREE) {
            r = write_range(fd, c->lo, c->next);
        }
    }
    if (r != 0) {
        close(fd);
    }
    return r;
}

void cache_after_fork_parent(const CacheCopy *copy)
{
    if (copy->fd >= 0) {
        close(copy->fd);
    } else {
        munmap(copy->write, mt_cache.size - MT_IBT_BYTES);
        munmap(copy->exec, mt_cache.size - MT_IBT_BYTES);
    }
}

int cache_after_fork_child(const CacheCopy *copy)
{
    int r = put_in_place(copy, mt_cache.write + MT_IBT_BYTES);

    /* The other threads' chunks have lost their owners. */
    for (u32 i = 0; i < mt_cache.nchunks; i++) {
        Chunk *c = &chunks[i];

        if (mt_load_relaxed(&c->owner) != 0 && !is_owner(c)) {
            give_up_locked(c);
        }
    }
    return r;
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
