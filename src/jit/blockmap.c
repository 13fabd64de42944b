/* SPDX-License-Identifier: BSD-2-Clause
 * blockmap.c -- lookup, chaining and unlinking of blocks.
 * Role:       liburcu's lock-free hash table holds all live blocks; the indirect-branch table and
 *             the links in the code are caches of it.
 * Invariants: B1. a block is in the table => it is not dead, or its unlinking is under way.
 *             B2. e is on b's incoming list  <=>  e's jump leads to b's code, not to its stub.
 *             B3. no edge leads to a block whose unlinking is complete, and none leads from one
 *                 that is freed.
 *             B4. no entry of the indirect-branch tables leads to a block whose unlinking is
 *                 complete.
 * Locking:    one of MT_CHAIN_LOCKS mutexes, by block, guards a block's incoming list, the jumps of
 *             the edges on it, and its coming into the indirect-branch tables. Only one is ever
 *             held. An edge is linked by the one who changes its jump from the stub (compare and
 *             exchange). Who unlinks sets `dead` before it takes the target's lock, and who links
 *             looks at it with the lock held: so the link is on the list when that is emptied, or
 *             is not made.
 * Lifetime:   a dead block is freed one grace period after blockmap_unlink(). Its own links stay
 *             till then (chain_forget()): nobody makes another any more. */
#include "jit/blockmap.h"

#include "base/atomics.h"
#include "base/heap.h"
#include "base/lockorder.h"
#include "base/log.h"
#include "base/options.h"
#include "base/stats.h"
#include "jit/emit.h"
#include "jit/lower.h"
#include "jit/smc.h"
#include "sched/rcu.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MT_CHAIN_LOCKS 64
/* At first; every step takes a stopped world. Fourfold and with room to spare while that costs
 * little memory: a program's start is short of time. Then twofold. */
#define MT_MAP_BUCKETS (1u << 11)
#define MT_MAP_LARGE (1u << 15)
#define MT_MAP_BUCKETS_MAX (1u << 22)
#define MT_LARGE_PROGRAM 40000u /* blocks */

/* Immutable but for blockmap_grow_world(). */
static struct cds_lfht *table;
static u32 table_buckets;
/* The next table, where forks may need it. Guarded by smc_lock(). */
static struct cds_lfht *spare;
static u32 spare_buckets; /* 0: none. Atomic, relaxed: without the lock it is a hint */
static bool is_bare;      /* a process that can't use libc's allocator, as liburcu does */
static u32 block_count;   /* atomic, relaxed: a hint */
static MtMutex chain_locks[MT_CHAIN_LOCKS];

static MtMutex *chain_lock(const Block *b)
{
    return &chain_locks[block_ref(b) * 2654435761u >> 26];
}

/* MT_BREAK_*: deliberately wrong builds, which a race checker must report (tests/outer.py). */
static void chain_take(const Block *b)
{
#ifndef MT_BREAK_CHAIN_LOCK
    mt_mutex_lock(chain_lock(b));
#else
    (void)chain_lock(b);
#endif
}

static void chain_give(const Block *b)
{
#ifndef MT_BREAK_CHAIN_LOCK
    mt_mutex_unlock(chain_lock(b));
#endif
}

static unsigned long hash_pc(GuestAddr pc, u32 key)
{
    u64 h = (pc ^ ((u64)key << 48)) * 0x9e3779b97f4a7c15ull;

    return h ^ h >> 32;
}

typedef struct Key {
    GuestAddr pc;
    u32 key;
} Key;

static int match(struct cds_lfht_node *node, const void *key)
{
    const Block *b = caa_container_of(node, Block, node);
    const Key *k = key;

    /* ACQ pairs with blockmap_add(). The table's own atomics do the same; race checkers do not see
     * them. */
    (void)mt_load_acquire(&b->dead);
    return b->pc == k->pc && block_key(b) == k->key;
}

/* 16 bits a bucket, one for each hash that was added since the table was made or flushed: most
 * look-ups are for code that has not been translated yet, and end here. Atomic, relaxed: who does
 * not see a bit yet does not find the block, and finds it in blockmap_add() at the latest. */
#define MT_SEEN_WORDS(buckets) ((buckets) / 4)
static u64 *seen; /* as `table` */

static u64 *seen_word(unsigned long hash)
{
    return &seen[hash / 64 % MT_SEEN_WORDS(table_buckets)];
}

static bool is_seen(unsigned long hash)
{
    return !mt_opts.map_filter || (mt_load_relaxed(seen_word(hash)) >> hash % 64 & 1) != 0;
}

static void set_seen(unsigned long hash)
{
    if (!is_seen(hash)) {
        mt_fetch_or(seen_word(hash), 1ull << hash % 64);
    }
}

/* An empty table; `table` and what goes with it stay as they are if there is no memory. */
static bool new_table(u32 buckets)
{
    struct cds_lfht *t = spare_buckets == buckets ? spare : rcu_table_new(buckets);
    u64 *s = heap_alloc_zeroed(MT_SEEN_WORDS(buckets) * sizeof(u64));

    if (t == NULL || s == NULL) {
        heap_free(s);
        if (t != NULL && t != spare) {
            cds_lfht_destroy(t, NULL);
        }
        return false;
    }
    if (t == spare) {
        spare = NULL;
        mt_store_relaxed(&spare_buckets, 0);
    }
    table = t;
    table_buckets = buckets;
    heap_free(seen);
    seen = s;
    return true;
}

int blockmap_init(void)
{
    for (int i = 0; i < MT_CHAIN_LOCKS; i++) {
        mt_mutex_init(&chain_locks[i], RANK_JIT_CHAIN);
    }
    return new_table(MT_MAP_BUCKETS) ? 0 : -ENOMEM;
}

static Block *look_up(GuestAddr pc, u32 key, unsigned long hash)
{
    Key k = {pc, key};
    struct cds_lfht_iter it;
    struct cds_lfht_node *n;

    rcu_read_begin(thread_self());
    annot_foreign_begin();
    cds_lfht_lookup(table, hash, match, &k, &it);
    annot_foreign_end();
    n = cds_lfht_iter_get_node(&it);
    if (n != NULL) {
        annot_after(n); /* ACQ: the table's loads pair with its stores in blockmap_add() */
    }
    rcu_read_end(thread_self());
    return n != NULL ? caa_container_of(n, Block, node) : NULL;
}

Block *blockmap_find(GuestAddr pc, u32 key)
{
    unsigned long hash = hash_pc(pc, key);

    return is_seen(hash) ? look_up(pc, key, hash) : NULL;
}

Block *blockmap_prepare(const Block *b)
{
    unsigned long hash = hash_pc(b->pc, block_key(b));

    if (!is_seen(hash)) {
        set_seen(hash);
        return NULL; /* blockmap_add() finds out if another thread has just done the same */
    }
    return look_up(b->pc, block_key(b), hash);
}

/* REL: the block is complete for who finds it, and for who leaves translated code by one of its
 * exits (annot_left()). */
static void annot_publish(Block *b)
{
#ifndef MT_BREAK_PUBLISH
    annot_before(&b->node);
#endif
}

Block *blockmap_add(Block *b)
{
    Key k = {b->pc, block_key(b)};
    unsigned long hash = hash_pc(b->pc, block_key(b));
    struct cds_lfht_node *n;

#ifndef MT_BREAK_PUBLISH
    mt_store_release(&b->dead, 0); /* pairs with match() */
#endif
    mt_fetch_add(&block_count, 1); /* before it can be found, and retired */
    rcu_read_begin(thread_self());
    annot_publish(b);
    annot_foreign_begin();
    n = cds_lfht_add_unique(table, hash, match, &k, &b->node);
    annot_foreign_end();
    annot_after(n); /* another thread's, perhaps */
    rcu_read_end(thread_self());
    if (n != &b->node) {
        mt_fetch_sub(&block_count, 1);
    }
    return caa_container_of(n, Block, node);
}

/* The field of the jump, as the processor reads it. */
static u32 jump_rel(const Edge *e)
{
    return mt_load_relaxed((const u32 *)cache_exec_addr(edge_patch(e)));
}

static u32 rel_to(const Edge *e, u64 target)
{
    return (u32)(target - (cache_exec_addr(edge_patch(e)) + 4));
}

static u32 rel_to_stub(const Edge *e)
{
    return rel_to(e, cache_exec_addr(edge_stub(e)));
}

/* Links and unlinks are one store each. The field lies inside 8 aligned bytes (lower.c, L3), so a
 * processor that fetches the jump sees the old or the new target, and a compare and exchange is one
 * access. */
static bool link_jump(const Edge *e, u64 target)
{
    CacheOff at = edge_patch(e);
    u32 stub = rel_to_stub(e);

    if (jump_rel(e) != stub || !mt_cas((u32 *)cache_patch_ptr(at), &stub, rel_to(e, target))) {
        return false;
    }
    annot_code_changed((void *)cache_exec_addr(at), 4);
    return true;
}

/* REL pairs with link_jump()'s exchange, which may be under another block's lock: whoever links the
 * edge next finds it off the list that it was on. */
static void unlink_jump(const Edge *e)
{
    CacheOff at = edge_patch(e);

    mt_store_release((u32 *)cache_patch_ptr(at), rel_to_stub(e));
    annot_code_changed((void *)cache_exec_addr(at), 4);
    STAT_INC(UNLINKS);
}

static bool is_dead(const Block *b)
{
    return mt_load_seq(&b->dead) != 0;
}

/* The block's entry for host calls; 0: the cache is full. */
static CacheOff call_entry(Block *b)
{
    CacheOff none = 0, at = mt_load_acquire(&b->call);
    Emit e;

    if (at != 0) {
        return at;
    }
    at = cache_take_thunk(MT_CALL_ENTRY_BYTES, block_ref(b));
    if (at == 0) {
        return 0;
    }
    e.w = cache_write_ptr(at);
    e.x = cache_exec_addr(at);
    lower_call_entry(&e, cache_exec_addr(block_host(b)));
    if (!mt_cas(&b->call, &none, at)) {
        cache_release(at);
        at = none;
    }
    return at;
}

void chain_link(Edge *e, Block *to, CacheOff at)
{
    CacheOff entry;

    /* Private translations are dead from the beginning, and must be left behind their one
     * instruction. */
    if (e->patch == 0 || is_dead(edge_block(e))) {
        return;
    }
    entry = edge_kind(e) == EDGE_CALL ? call_entry(to) : at;
    if (entry == 0) {
        return;
    }
    chain_take(to);
    if (!is_dead(to) && link_jump(e, cache_exec_addr(entry))) {
        e->in_next = to->in_head;
        to->in_head = arena_ref(e);
        STAT_INC(LINKS);
    }
    chain_give(to);
}

/* entry.S computes the same. */
__attribute__((target("crc32"))) u32 *ibt2_slot(GuestAddr pc)
{
    return &mt_cache.ibt2[__builtin_ia32_crc32di(0, pc) & (MT_IBT2_SIZE - 1)];
}

static void ibt_remove_locked(Block *b)
{
    CacheOff ind = mt_load_seq(&b->ind);
    u64 own = cache_exec_addr(ind);
    u32 own2 = (u32)own;

    if (ind != 0) {
        mt_cas(ibt_slot(b->pc), &own, mt_cache.glue_ib_miss);
        if (mt_cache.ibt2 != NULL) {
            mt_cas(ibt2_slot(b->pc), &own2, 0);
        }
    }
}

static void ibt_put(GuestAddr pc, CacheOff ind)
{
    mt_store_seq(ibt_slot(pc), cache_exec_addr(ind));
    if (mt_cache.ibt2 != NULL) {
        mt_store_seq(ibt2_slot(pc), (u32)cache_exec_addr(ind));
    }
}

/* The return points of a block: where they are, and for which guest address. */
static bool return_point(const Edge *e, CacheOff *at, GuestAddr *pc)
{
    switch (edge_kind(e)) {
    case EDGE_CALL: *at = edge_patch(e) + 4; break;
    case EDGE_RETURN: *at = e->return_point; break;
    default: return false;
    }
    *pc = lower_return_pc(*at);
    return true;
}

static void return_points_locked(const Block *b, bool enter)
{
    CacheOff at;
    GuestAddr pc;

    for (u32 i = 0; i < b->nedges; i++) {
        if (return_point(&block_edges(b)[i], &at, &pc)) {
            u32 own = (u32)cache_exec_addr(at);

            if (enter) {
                mt_store_seq(ret_slot(pc), own);
            } else {
                mt_cas(ret_slot(pc), &own, (u32)mt_cache.glue_ret_miss);
            }
        }
    }
}

void return_points_publish(Block *b)
{
    if (mt_cache.return_stack) {
        chain_take(b);
        if (!is_dead(b)) {
            return_points_locked(b, true);
        }
        chain_give(b);
    }
}

Block *return_point_owner(GuestAddr pc)
{
    u32 host = mt_load_acquire(ret_slot(pc)); /* pairs with return_points_locked() */
    ChunkKind kind;
    Block *b;
    CacheOff at;
    GuestAddr for_pc;

    if (host == (u32)mt_cache.glue_ret_miss) {
        return NULL;
    }
    b = block_of(cache_find_block(host, &kind));
    for (u32 i = 0; b != block_of(0) && i < b->nedges; i++) {
        if (return_point(&block_edges(b)[i], &at, &for_pc) && cache_exec_addr(at) == host) {
            return for_pc == pc ? b : NULL;
        }
    }
    return NULL;
}

static void unlink_incoming(Block *b)
{
    chain_take(b);
    ibt_remove_locked(b);
    if (mt_cache.return_stack) {
        return_points_locked(b, false);
    }
    while (b->in_head != 0) {
        Edge *e = edge_of(b->in_head);

        b->in_head = e->in_next;
        unlink_jump(e);
    }
    chain_give(b);
}

/* Takes the edges of all dead blocks off b's list: so the whole of a list is walked once for all
 * those that are freed together. */
static void unlink_dead_edges(Block *b)
{
    chain_take(b);
    for (EdgeRef *link = &b->in_head; *link != 0;) {
        Edge *e = edge_of(*link);

        if (is_dead(edge_block(e))) {
            *link = e->in_next;
            unlink_jump(e);
        } else {
            link = &e->in_next;
        }
    }
    chain_give(b);
}

void chain_forget(const Block *b)
{
    ChunkKind kind;

    for (u32 i = 0; i < b->nedges; i++) {
        const Edge *e = &block_edges(b)[i];

        if (e->patch != 0 && jump_rel(e) != rel_to_stub(e)) {
            u64 target = cache_exec_addr(edge_patch(e)) + 4 + (u64)(i64)(i32)jump_rel(e);

            unlink_dead_edges(block_of(cache_find_block(target, &kind)));
        }
    }
}

bool blockmap_unlink(Block *b)
{
    u32 left;

    if (mt_exchange(&b->dead, 1) != 0) {
        return false;
    }
    rcu_read_begin(thread_self());
    annot_foreign_begin();
    cds_lfht_del(table, &b->node);
    annot_foreign_end();
    left = mt_fetch_sub(&block_count, 1) - 1;
    MT_DCHECK(left < 0x80000000u); /* below zero, the table would grow at each look-up */
    (void)left;
    rcu_read_end(thread_self());
    unlink_incoming(b);
    STAT_INC(RETIRED);
    return true;
}

bool ibt_has(const Block *b)
{
    CacheOff ind = mt_load_acquire(&b->ind);
    u64 at = cache_exec_addr(ind);

    return ind != 0 && mt_load_relaxed(ibt_slot(b->pc)) == at &&
           (mt_cache.ibt2 == NULL || mt_load_relaxed(ibt2_slot(b->pc)) == (u32)at);
}

static CacheOff make_thunk(Block *b)
{
    CacheOff at = cache_take_thunk(MT_IND_BYTES, block_ref(b));
    Emit e;

    if (at == 0) {
        return 0;
    }
    e.w = cache_write_ptr(at);
    e.x = cache_exec_addr(at);
    return lower_ind_entry(&e, b->pc, cache_exec_addr(block_host(b)));
}

bool ibt_publish(Block *b)
{
    CacheOff none = 0, at = mt_load_acquire(&b->ind);

    if (at == 0) {
        at = make_thunk(b);
        if (at == 0) {
            return false;
        }
        if (!mt_cas(&b->ind, &none, at)) {
            cache_release(at);
            at = none;
        }
    }
    /* Under the lock, B4: a dead block is not entered any more once it waits for its grace
     * period. */
    chain_take(b);
    if (!is_dead(b)) {
        ibt_put(b->pc, at);
    }
    chain_give(b);
    return true;
}

bool blockmap_is_crowded(void)
{
    u32 most = table_buckets < MT_MAP_LARGE ? table_buckets : 3 * table_buckets;

    return mt_load_relaxed(&block_count) > most && table_buckets < MT_MAP_BUCKETS_MAX &&
           (!is_bare || mt_load_relaxed(&spare_buckets) != 0);
}

u32 blockmap_count(void)
{
    return mt_load_relaxed(&block_count);
}

bool blockmap_is_large(void)
{
    u32 n = blockmap_count();

    return n >= MT_LARGE_PROGRAM &&
           n % 64 == 0; /* not each time: what is decided then takes a while */
}

static u32 growth(void)
{
    return table_buckets < MT_MAP_LARGE ? 4 : 2;
}

void blockmap_before_bare_fork(void)
{
    struct cds_lfht *t;
    u32 buckets;

    smc_lock();
    buckets = is_bare || spare_buckets != 0 || table_buckets >= MT_MAP_BUCKETS_MAX
                  ? 0
                  : table_buckets * growth();
    smc_unlock();
    t = buckets != 0 ? rcu_table_new(buckets) : NULL;
    if (t == NULL) {
        return;
    }
    smc_lock();
    if (spare_buckets == 0 && buckets == table_buckets * growth()) {
        spare = t;
        mt_store_relaxed(&spare_buckets, buckets);
        t = NULL;
    }
    smc_unlock();
    if (t != NULL) {
        cds_lfht_destroy(t, NULL);
    }
}

void blockmap_after_bare_fork(void)
{
    is_bare = true;
}

/* liburcu's own resizing starts threads, which the guest would see; so the blocks move to a new
 * table while nobody looks: the world is stopped, and unlinking from OUTSIDE is kept out by
 * page_lock. */
void blockmap_grow_world(void)
{
    struct cds_lfht *old = table;
    struct cds_lfht_iter it;
    struct cds_lfht_node *n;
    u32 step = growth();

    smc_lock();
    if (blockmap_is_crowded() && new_table(table_buckets * step)) {
        cache_size_tables_world(block_count * step / 2);
        rcu_read_begin(thread_self());
        annot_foreign_begin();
        cds_lfht_for_each(old, &it, n)
        {
            Block *b = caa_container_of(n, Block, node);
            unsigned long hash = hash_pc(b->pc, block_key(b));

            cds_lfht_del(old, n);
            cds_lfht_node_init(n);
            cds_lfht_add(table, hash, n);
            set_seen(hash);
            if (b->ind != 0) {
                ibt_put(b->pc, b->ind);
            }
            if (mt_cache.return_stack) {
                return_points_locked(b, true);
            }
        }
        rcu_read_end(thread_self());
        if (!is_bare) {
            cds_lfht_destroy(old, NULL);
        }
        annot_foreign_end();
    }
    smc_unlock();
}

void blockmap_expect(u32 blocks)
{
    struct cds_lfht *old = table;
    u32 buckets = MT_MAP_BUCKETS;

    while (buckets < blocks && buckets < MT_MAP_LARGE) {
        buckets *= 2;
    }
    if (buckets > table_buckets && new_table(buckets)) {
        cds_lfht_destroy(old, NULL);
        cache_size_tables_world(buckets / 2);
    }
}

static void drop_node(struct cds_lfht_node *n)
{
    cds_lfht_del(table, n);
}

void blockmap_flush_world(void)
{
    struct cds_lfht_iter it;
    struct cds_lfht_node *n;

    memset(seen, 0, MT_SEEN_WORDS(table_buckets) * sizeof(u64));
    block_count = 0;
    rcu_read_begin(thread_self());
    annot_foreign_begin();
    cds_lfht_for_each(table, &it, n)
    {
        drop_node(n);
    }
    annot_foreign_end();
    rcu_read_end(thread_self());
}
