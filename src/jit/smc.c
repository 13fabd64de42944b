/* SPDX-License-Identifier: BSD-2-Clause
 * smc.c -- guest pages with translations.
 * Role:       for each guest page that code was read from: is it watched, which blocks came from
 *             it.
 * Invariants: S1. a page is `valid` => every change of its contents that the guest can make without
 *                 a fault is seen: it is not writable for the guest, or it is write-protected, or
 *                 it is `checked`.
 *             S2. a block on a page's list was made from bytes read while the page had the version
 *                 that it has now.
 *             S3. a version belongs to one page at one time and never comes again: so `checked` and
 *                 `self` are what they were when it was given out, and who finds it unchanged knows
 *                 that the page has been valid all the while.
 *             S4. who changes a page has detached its blocks from the list when the version is the
 *                 new one, under the page's group lock; so a block is on the list then, or
 *                 smc_publish() finds the new version.
 * Locking:    page_lock is held by whoever changes anything but a list's beginning; so there is one
 *             of them. What smc_watch() and smc_publish() look at (version, valid, checked, self)
 *             and the lists are changed under the page's group lock as well, which those two take
 *             alone: threads that translate do not wait for each other unless their code's pages
 *             share a group. The table only grows: it is read without a lock.
 *             Order: aspace_lock, page_lock, group locks (in rising order), chain locks.
 * Lifetime:   retired blocks wait on retire_list for smc_reclaim(), which frees them after a grace
 *             period; until then threads may still run them. */
#include "jit/smc.h"

#include "base/heap.h"
#include "base/lockorder.h"
#include "base/log.h"
#include "base/safe.h"
#include "base/stats.h"
#include "guest/aspace.h"
#include "jit/blockmap.h"
#include "jit/cache.h"
#include "jit/instr.h"
#include "jit/pcmap.h"
#include "sched/world.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define MT_PAGE_BUCKETS 4096
#define MT_PAGE_GROUPS 64
#define MT_ENTRY_CHUNK 1024u
#define MT_ENTRY_CHUNKS 65536u /* 256 GiB of code */
#define MT_FAULTS_TO_CHECK 6
#define MT_FAULTS_AGAIN 4 /* `faults` of a page that is not checked any more */
#define MT_RELAPSES_MAX 4
#define MT_RECLAIM_AT 256

/* A block that was made from the page; its instructions there begin between the MT_SPAN_BYTES lo
 * and hi. */
#define MT_SPAN_BYTES 16u
typedef struct PageSpan {
    BlockRef block;
    u8 lo, hi;
} __attribute__((packed, aligned(2))) PageSpan;

/* All blocks that were made from the page. */
typedef struct SpanList {
    PageSpan *spans;
    u32 n, room;
} SpanList;

typedef struct PageEntry {
    /* immutable after publication */
    u64 page;
    u32 number; /* of the entry */
    u32 next;   /* in the bucket */
    /* page_lock */
    u16 faults;
    u8 relapses, passes; /* `checked` again; since then, smc_check_less() has been asked */
    bool is_protected;
    /* changed under page_lock and the group's lock, read under either */
    bool valid, checked;
    bool self; /* its own code has written to it: matters when it is checked */
    u32 version;
    SpanList list; /* the same, but that smc_publish() adds to it under the group's lock only */
} PageEntry;

/* Written under page_lock. A page is counted before it is protected and until it is writable again,
 * and the epoch goes up before the count goes down: a thread whose system call met a protected page
 * sees one or the other. */
u32 mt_smc_protected, mt_smc_epoch;
u64 mt_smc_lo, mt_smc_hi;

static MtMutex page_lock = MT_MUTEX_INIT(RANK_JIT_PAGES);
static struct {
    _Alignas(64) MtMutex m;
} groups[MT_PAGE_GROUPS];
/* Entries never move. Written under page_lock; a chunk is published with its first entry, an entry
 * by its bucket's release store. */
static PageEntry *chunks[MT_ENTRY_CHUNKS];
static u32 entry_count;
static u32 buckets[MT_PAGE_BUCKETS]; /* atomic */
static u32 next_version; /* last one given out; written under page_lock, else atomic: a hint */
static BlockRef retire_list;
static u32 retire_count; /* likewise */

/* What this thread was told since `recent_at` was the last version, so that it need not ask for
 * each block. An old one does no harm (S3): smc_publish() finds out. */
#define MT_RECENT 8
static __thread PageWatch recent[MT_RECENT];
static __thread u32 recent_at;

static u32 bucket_of(u64 page)
{
    return (u32)(page * 0x9e3779b97f4a7c15ull >> 52);
}

void smc_init(void)
{
    for (u32 i = 0; i < MT_PAGE_GROUPS; i++) {
        mt_mutex_init(&groups[i].m, RANK_JIT_GROUP);
    }
    entry_count = 1;
}

static PageEntry *entry_at(u32 number)
{
    return &chunks[number / MT_ENTRY_CHUNK][number % MT_ENTRY_CHUNK];
}

static PageEntry *find(u64 page)
{
    /* ACQ pairs with make_locked() */
    for (u32 i = mt_load_acquire(&buckets[bucket_of(page)]); i != 0; i = entry_at(i)->next) {
        if (entry_at(i)->page == page) {
            return entry_at(i);
        }
    }
    return NULL;
}

static PageEntry *make_locked(u64 page)
{
    PageEntry *p = find(page), **chunk;
    u32 *bucket = &buckets[bucket_of(page)];

    if (p != NULL) {
        return p;
    }
    MT_ASSERT(entry_count / MT_ENTRY_CHUNK < MT_ENTRY_CHUNKS);
    chunk = &chunks[entry_count / MT_ENTRY_CHUNK];
    if (*chunk == NULL) {
        *chunk = heap_alloc_zeroed(MT_ENTRY_CHUNK * sizeof(**chunk));
        MT_ASSERT(*chunk != NULL);
    }
    p = entry_at(entry_count);
    *p = (PageEntry){.page = page, .number = entry_count, .next = *bucket};
    mt_store_release(bucket, entry_count++); /* the entry is complete for find() */
    return p;
}

static u32 group_of(u32 entry)
{
    return entry % MT_PAGE_GROUPS;
}

/* MT_BREAK_*: deliberately wrong builds, which a race checker must report (tests/outer.py). */
#ifdef MT_BREAK_INSIDE_LOCK
#define FINDS_INSIDE_LOCKED false
#else
#define FINDS_INSIDE_LOCKED true
#endif
#ifdef MT_BREAK_VERSION_LOCK
#define CHANGES_LOCKED false
#else
#define CHANGES_LOCKED true
#endif

static void group_take(const PageEntry *p, bool really)
{
    if (really) {
        mt_mutex_lock(&groups[group_of(p->number)].m);
    }
}

static void group_give(const PageEntry *p, bool really)
{
    if (really) {
        mt_mutex_unlock(&groups[group_of(p->number)].m);
    }
}

static u32 new_version_locked(void)
{
    mt_store_relaxed(&next_version, next_version + 1);
    return next_version;
}

/* Before the count goes up: who sees the page counted sees it in the range. */
static void widen_range_locked(GuestAddr page)
{
    bool first = mt_smc_protected == 0;

    if (first || page < mt_smc_lo) {
        mt_store_relaxed(&mt_smc_lo, page);
    }
    if (first || page + MT_PAGE_SIZE > mt_smc_hi) {
        mt_store_relaxed(&mt_smc_hi, page + MT_PAGE_SIZE);
    }
}

static void count_protected_locked(PageEntry *p)
{
    if (!p->is_protected) {
        widen_range_locked(p->page * MT_PAGE_SIZE);
        mt_fetch_add(&mt_smc_protected, 1);
    }
    p->is_protected = true;
}

static void uncount_protected_locked(PageEntry *p)
{
    if (p->is_protected) {
        p->is_protected = false;
        mt_fetch_add(&mt_smc_epoch, 1);
        mt_fetch_sub(&mt_smc_protected, 1);
    }
}

static void watch_result(const PageEntry *p, PageWatch *w)
{
    w->page = p->page;
    w->entry = p->number;
    w->version = p->version;
    w->checked = p->checked;
    w->self = p->checked && p->self;
}

/* Gives the page a new version. Returns what was on its list: S4, nobody comes to it behind us. */
static SpanList new_state_locked(PageEntry *p, bool valid, bool checked, bool self)
{
    SpanList list;

    group_take(p, CHANGES_LOCKED);
    list = p->list;
    p->list = (SpanList){NULL, 0, 0};
    p->version = new_version_locked();
    p->valid = valid;
    p->checked = checked;
    p->self = self;
    group_give(p, CHANGES_LOCKED);
    return list;
}

/* Both locks held. Makes S1 true for the page. */
static void validate_locked(PageEntry *p, const AspaceInfo *info)
{
    GuestAddr addr = p->page * MT_PAGE_SIZE;
    bool checked = p->checked, self = p->self;

    if ((info->flags & MAP_SHARED) != 0 && (info->prot & PROT_EXEC) != 0) {
        /* Can be written through another mapping, or by another process. */
        checked = true;
        self = (info->prot & PROT_WRITE) != 0; /* there will be no fault to tell */
    }
    if ((info->prot & PROT_WRITE) && !checked) {
        count_protected_locked(p);
        if (aspace_host_protect_locked(addr, MT_PAGE_SIZE, false) != 0) {
            uncount_protected_locked(p);
            checked = true;
        }
    }
    new_state_locked(p, true, checked, self); /* the list is empty, it was not valid */
}

static bool watch_slow(u64 page, PageWatch *w)
{
    AspaceInfo info;
    bool ok;

    aspace_lock();
    ok = aspace_query_locked(page * MT_PAGE_SIZE, &info) && (info.prot & PROT_EXEC) != 0;
    if (ok) {
        mt_mutex_lock(&page_lock);
        PageEntry *p = make_locked(page);
        if (!p->valid) {
            validate_locked(p, &info);
        }
        watch_result(p, w);
        mt_mutex_unlock(&page_lock);
    }
    aspace_unlock();
    return ok;
}

static bool watch_recent(u64 page, PageWatch *w)
{
    u32 now = mt_load_relaxed(&next_version);

    if (recent_at != now) {
        memset(recent, 0, sizeof(recent));
        recent_at = now;
    }
    *w = recent[page % MT_RECENT];
    return w->version != 0 && w->page == page;
}

bool smc_watch(GuestAddr addr, PageWatch *w)
{
    u64 page = addr / MT_PAGE_SIZE;
    PageEntry *p;
    bool valid;

    if (watch_recent(page, w)) {
        return true;
    }
    p = find(page);
    valid = false;
    if (p != NULL) {
        group_take(p, true);
        valid = p->valid;
        watch_result(p, w);
        group_give(p, true);
    }
    valid = valid || watch_slow(page, w);
    if (valid) {
        recent[page % MT_RECENT] = *w;
    }
    return valid;
}

static void add_span_locked(SpanList *l, const PageWatch *w, BlockRef block)
{
    if (l->n == l->room) {
        l->room += l->room / 2 + 4;
        l->spans = heap_resize(l->spans, l->room * sizeof(*l->spans));
        MT_ASSERT(l->spans != NULL);
    }
    l->spans[l->n++] = (PageSpan){block, (u8)(w->lo / MT_SPAN_BYTES), (u8)(w->hi / MT_SPAN_BYTES)};
}

static void remove_span_locked(SpanList *l, BlockRef block)
{
    for (u32 i = l->n; i-- > 0;) {
        if (l->spans[i].block == block) {
            l->spans[i] = l->spans[--l->n];
            return;
        }
    }
}

/* Not where a tool's code, the count of the quantum or a check stand at the beginning of blocks. */
static bool enters_inside(u32 key)
{
    return mt_opts.enter_inside && mt_opts.parallel && mt_instrument == NULL && key == 0;
}

static bool find_inside_locked(const SpanList *l, GuestAddr pc, Place *place)
{
    u32 at = pc % MT_PAGE_SIZE / MT_SPAN_BYTES, off;

    for (u32 i = 0; i < l->n; i++) {
        const PageSpan *s = &l->spans[i];
        Block *b = block_of(s->block);

        if (s->lo <= at && at <= s->hi &&
            pcmap_find_insn(block_pcmap(b), b->pcmap_len, b->pc, pc, &off)) {
            *place = (Place){b, block_host(b) + off};
            return true;
        }
    }
    return false;
}

bool smc_find_code(GuestAddr pc, u32 key, bool own, Place *place)
{
    Block *b = blockmap_find(pc, key);
    PageEntry *p;
    bool found;

    if (b != NULL || own || !enters_inside(key)) {
        *place = (Place){b, b != NULL ? block_host(b) : 0};
        return b != NULL;
    }
    p = find(pc / MT_PAGE_SIZE);
    if (p == NULL) {
        return false;
    }
    group_take(p, FINDS_INSIDE_LOCKED);
    found = p->valid && !p->checked && find_inside_locked(&p->list, pc, place);
    group_give(p, FINDS_INSIDE_LOCKED);
    return found;
}

/* It waits for the one who is just publishing b. */
static void list_remove_locked(PageEntry *p, Block *b)
{
    group_take(p, true);
    remove_span_locked(&p->list, block_ref(b));
    group_give(p, true);
}

static void retire_locked(Block *b)
{
    if (!blockmap_unlink(b)) {
        return;
    }
    for (u32 i = 0; i < b->npages; i++) {
        list_remove_locked(entry_at(block_pages(b)[i]), b);
    }
    b->retire_next = retire_list;
    retire_list = block_ref(b);
    mt_store_relaxed(&retire_count, retire_count + 1);
}

void smc_retire(Block *b)
{
    mt_mutex_lock(&page_lock);
    retire_locked(b);
    mt_mutex_unlock(&page_lock);
}

void smc_retire_private(Block *b)
{
    mt_mutex_lock(&page_lock);
    b->retire_next = retire_list;
    retire_list = block_ref(b);
    mt_store_relaxed(&retire_count, retire_count + 1);
    mt_mutex_unlock(&page_lock);
}

/* Takes the groups of the watched pages. Rising, so two that publish don't wait for each other in a
 * circle; the lock order knows one rank for all. */
static void take_groups(const PageWatch *w, u32 n, u64 *taken)
{
    *taken = 0;
#ifndef MT_BREAK_PAGE_LOCK
    for (u32 i = 0; i < n; i++) {
        *taken |= 1ull << group_of(w[i].entry);
    }
#endif
    for (u64 left = *taken; left != 0; left &= left - 1) {
        MtMutex *m = &groups[__builtin_ctzll(left)].m;

        if (left == *taken) {
            mt_mutex_lock(m);
        } else {
            mt_mutex_lock_unordered(m);
        }
    }
}

static void give_groups(u64 taken)
{
    for (; taken != 0; taken &= taken - 1) {
        mt_mutex_unlock(&groups[__builtin_ctzll(taken)].m);
    }
}

static bool unchanged_locked(const PageWatch *w, u32 n)
{
    for (u32 i = 0; i < n; i++) {
        const PageEntry *p = entry_at(w[i].entry);

        if (!p->valid || p->version != w[i].version) {
            return false;
        }
    }
    return true;
}

static void register_locked(Block *b, const PageWatch *w, u32 n)
{
    for (u32 i = 0; i < n; i++) {
        add_span_locked(&entry_at(w[i].entry)->list, &w[i], block_ref(b));
    }
}

Block *smc_publish(Block *b, const PageWatch *w, u32 n)
{
    /* Without the locks first: who is late need not wait for them, and who is not has touched what
     * he will need under them. */
    Block *first = blockmap_prepare(b);
    u64 taken;

    if (first != NULL) {
        return first;
    }
    MT_DCHECK(n == b->npages);
    for (u32 i = 0; i < n; i++) {
        /* Who finds b may retire it, and waits for the locks of these. */
        block_pages(b)[i] = w[i].entry;
    }
    take_groups(w, n, &taken);
    if (unchanged_locked(w, n)) {
        first = blockmap_add(b);
        if (first == b) {
            register_locked(b, w, n);
        }
    }
    give_groups(taken);
    return first;
}

static void drop_blocks_locked(PageEntry *p, bool checked, bool self)
{
    SpanList list = new_state_locked(p, false, checked, self);

    for (u32 i = 0; i < list.n; i++) {
        retire_locked(block_of(list.spans[i].block));
    }
    heap_free(list.spans);
}

/* aspace_lock and page_lock held: the page may be written from now on. */
static void allow_write_locked(PageEntry *p, bool checked, bool self)
{
    drop_blocks_locked(p, checked, self);
    aspace_host_protect_locked(p->page * MT_PAGE_SIZE, MT_PAGE_SIZE, true);
    uncount_protected_locked(p);
}

/* Some changes (madvise) leave the host's protection as it was. */
static void page_changed_locked(PageEntry *p, bool is_mapped)
{
    if (is_mapped && p->is_protected) {
        allow_write_locked(p, false, false);
    } else {
        drop_blocks_locked(p, false, false);
        uncount_protected_locked(p);
    }
}

void smc_changed(GuestAddr start, GuestAddr end, int new_prot)
{
    u64 first = start / MT_PAGE_SIZE, last = (end - 1) / MT_PAGE_SIZE;

    mt_mutex_lock(&page_lock);
    if (last - first < 4 * (u64)entry_count) {
        for (u64 page = first; page <= last; page++) {
            PageEntry *p = find(page);

            if (p != NULL) {
                page_changed_locked(p, new_prot >= 0);
            }
        }
    } else {
        for (u32 i = 1; i < entry_count; i++) {
            if (entry_at(i)->page >= first && entry_at(i)->page <= last) {
                page_changed_locked(entry_at(i), new_prot >= 0);
            }
        }
    }
    mt_mutex_unlock(&page_lock);
}

/* Not a shared page: validate_locked() would have it checked again. Each time it takes twice as
 * long, up to 2^MT_RELAPSES_MAX, so that a page that does change costs more for its checks than for
 * going to and fro. */
static void check_less_locked(PageEntry *p)
{
    AspaceInfo info;

    if (!p->valid || !p->checked || !aspace_query_locked(p->page * MT_PAGE_SIZE, &info) ||
        (info.flags & MAP_SHARED) != 0 || ++p->passes < 1 << p->relapses) {
        return;
    }
    p->passes = 0;
    p->relapses += p->relapses < MT_RELAPSES_MAX;
    p->faults = MT_FAULTS_AGAIN;
    STAT_INC(SMC_AGAIN);
    drop_blocks_locked(p, false, p->self);
}

void smc_check_less(const Block *b)
{
    aspace_lock();
    mt_mutex_lock(&page_lock);
    for (u32 i = 0; i < b->npages; i++) {
        check_less_locked(entry_at(block_pages(b)[i]));
    }
    mt_mutex_unlock(&page_lock);
    aspace_unlock();
}

bool smc_write_fault(GuestAddr addr, GuestAddr pc, bool *step_over)
{
    AspaceInfo info;
    PageEntry *p;
    bool ours, self;

    aspace_lock();
    ours = aspace_query_locked(addr, &info) && (info.prot & PROT_WRITE) != 0;
    mt_mutex_lock(&page_lock);
    p = find(addr / MT_PAGE_SIZE);
    /* Not ours: the guest may write, and the page was not protected by us: a real fault (beyond the
     * end of a file, say) unless another thread has just handled the same one. */
    ours = ours && p != NULL;
    if (ours && p->is_protected) {
        STAT_INC(SMC_FAULTS);
        self = pc != 0 && (pc / MT_PAGE_SIZE == p->page || (pc + 15) / MT_PAGE_SIZE == p->page);
        allow_write_locked(p, p->checked || ++p->faults > MT_FAULTS_TO_CHECK, p->self || self);
        *step_over = self && !p->checked;
    } else if (ours) {
        /* Another thread was first. */
        ours = !p->valid || p->checked;
        if (ours) {
            allow_write_locked(p, p->checked, p->self);
        }
    }
    mt_mutex_unlock(&page_lock);
    aspace_unlock();
    return ours;
}

bool smc_unprotect_all(void)
{
    static __thread u32 seen;
    bool any;

    aspace_lock();
    mt_mutex_lock(&page_lock);
    for (u32 i = 1; i < entry_count && mt_smc_protected > 0; i++) {
        PageEntry *p = entry_at(i);

        if (p->is_protected) {
            allow_write_locked(p, p->checked, p->self);
        }
    }
    any = mt_smc_epoch != seen;
    seen = mt_smc_epoch;
    mt_mutex_unlock(&page_lock);
    aspace_unlock();
    return any;
}

bool smc_allow_write(GuestAddr start, u64 len)
{
    GuestAddr end = start + len < start ? ~0ull : start + len;
    bool any = false;

    if (!smc_may_hit(start, len)) {
        return false;
    }
    aspace_lock();
    mt_mutex_lock(&page_lock);
    for (u32 i = 1; i < entry_count; i++) {
        PageEntry *p = entry_at(i);
        GuestAddr page = p->page * MT_PAGE_SIZE;

        if (p->is_protected && page < end && page + MT_PAGE_SIZE > start) {
            allow_write_locked(p, p->checked || ++p->faults > MT_FAULTS_TO_CHECK, p->self);
            any = true;
        }
    }
    mt_mutex_unlock(&page_lock);
    aspace_unlock();
    return any;
}

int smc_safe_write(GuestAddr to, const void *from, size_t n)
{
    int r = safe_write(to, from, n);

    for (u32 i = 0; i < MT_EFAULT_REPEATS && r != 0 && smc_unprotect_all(); i++) {
        r = safe_write(to, from, n);
    }
    return r;
}

void smc_before_fork(void)
{
    mt_mutex_lock(&page_lock);
}

void smc_after_fork(void)
{
    mt_mutex_unlock(&page_lock);
}

static void free_block(Block *b)
{
    cache_release(b->host_start);
    if (b->cold != 0) {
        cache_release(b->cold);
    }
    if (b->call != 0 && !block_has(b, b->call)) {
        cache_release(b->call);
    }
    if (b->ind != 0 && !block_has(b, b->ind)) {
        cache_release(b->ind);
    }
    block_free(b);
}

void smc_reclaim(Thread *t)
{
    BlockRef list;
    u32 generation;

    if (mt_load_relaxed(&retire_count) < MT_RECLAIM_AT) {
        return;
    }
    mt_mutex_lock(&page_lock);
    list = retire_list;
    retire_list = 0;
    mt_store_relaxed(&retire_count, 0);
    generation = mt_cache.generation;
    mt_mutex_unlock(&page_lock);
    world_synchronize(t);
    /* A flush in the meantime has forgotten these blocks. */
    mt_mutex_lock(&page_lock);
    while (generation == mt_cache.generation && list != 0) {
        Block *b = block_of(list);

        list = b->retire_next;
        chain_forget(b);
        free_block(b);
    }
    mt_mutex_unlock(&page_lock);
}

void smc_lock(void)
{
    mt_mutex_lock(&page_lock);
}

void smc_unlock(void)
{
    mt_mutex_unlock(&page_lock);
}

void smc_flush_world(void)
{
    MT_ASSERT(world_is_empty()); /* all code and blocks are reused */
    /* All of it in one section: a thread OUTSIDE whose system call changes code retires blocks
     * meanwhile. It finds all blocks in the map, or none on its pages. */
    mt_mutex_lock(&page_lock);
    blockmap_flush_world();
    for (u32 i = 1; i < entry_count; i++) {
        entry_at(i)->list.n = 0; /* nobody publishes: the world is empty */
    }
    retire_list = 0;
    mt_store_relaxed(&retire_count, 0);
    /* Under page_lock, so that smc_reclaim() frees either before it or not at all. */
    cache_flush_world();
    block_arena_reset_world();
    mt_mutex_unlock(&page_lock);
}
