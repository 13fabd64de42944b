/* SPDX-License-Identifier: BSD-2-Clause
 * test_blockmap.c -- publishing, linking, the indirect-branch tables, retiring, freeing and
 * flushing by several threads at once. While it goes on each thread follows links and entries as
 * translated code would: where they lead there must be the block wanted. Afterwards B1 to B4 are
 * checked. */
/* layers: mt_sched mt_jit mt_guest mt_base */
#include "base/options.h"
#include "guest/layout.h"
#include "jit/blockmap.h"
#include "jit/lower.h"
#include "jit/smc.h"
#include "world_sim.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define CACHE_BYTES (2u << 20)
#define THREADS 4
#define PCS 64
#ifdef __SANITIZE_THREAD__
#define TURNS 10000
#else
#define TURNS 200000
#endif

static GuestAddr pc_of(u64 r)
{
    u64 i = r % PCS;

    /* some of them share a slot of the first table, or need wide entries */
    return i < 32 ? 0x400000 + i * 16 : i < 48 ? 0x400000 + (i << 20) : 0x500000000 + i * 64;
}

/* A block with a conditional and an unconditional exit. NULL: the cache or the arena is full. */
static Block *make_block(Sim *s, GuestAddr pc)
{
    Lower l;
    Insn jcc = {.pc = pc, .len = 2, .cls = INSN_JCC, .cc = 4, .target = pc_of(sim_random(s))};
    Block *b;

    if (!cache_reserve(&l.space, 1024)) {
        return NULL;
    }
    lower_begin(&l, pc, (LowerEntry)(sim_random(s) % 3), false);
    l.return_stack = true;
    lower_insn(&l, &jcc);
    if (sim_random(s) % 2 != 0) {
        Insn call = {.pc = pc + 2, .len = 5, .cls = INSN_CALL, .target = pc_of(sim_random(s))};

        lower_insn(&l, &call);
    }
    lower_end_at(&l, pc_of(sim_random(s)));
    lower_finish(&l);
    b = block_alloc(&(BlockShape){.nedges = l.nedges, .pcmap_len = l.map.len});
    if (b == NULL) {
        return NULL;
    }
    b->pc = pc;
    b->host_start = l.start;
    b->entry_size = (u8)(l.host - l.start);
    b->host_size = (u16)((u32)(l.e.x - mt_cache.exec) - l.start);
    b->cold = l.stubs;
    b->nlinks = (u8)l.nlinks;
    b->ind = l.ind;
    b->call = l.call;
    for (u32 i = 0; i < l.nedges; i++) {
        Edge *e = &block_edges(b)[i];

        e->target = (i64)(l.edges[i].target - pc);
        e->index = i & 63;
        e->patch = (u16)(l.edges[i].patch - b->host_start);
        e->link = i & 63;
    }
    cds_lfht_node_init(&b->node);
    cache_commit(&l.space, (CacheOff)(l.e.x - mt_cache.exec), block_ref(b));
    return b;
}

static void flush(Sim *s)
{
    u32 generation = mt_cache.generation;

    world_stop_empty(&s->t);
    if (generation == mt_cache.generation) {
        smc_flush_world();
    }
    world_resume(&s->t);
}

/* As the run loop: finds or makes. NULL: flushed. */
static Block *get_block(Sim *s, GuestAddr pc)
{
    Block *b = blockmap_find(pc, 0), *first;

    if (b != NULL) {
        return b;
    }
    b = make_block(s, pc);
    if (b == NULL) {
        flush(s);
        return NULL;
    }
    first = smc_publish(b, NULL, 0);
    if (first != b) {
        cache_release(b->host_start);
        cache_release(b->cold);
        block_free(b);
    }
    if (first == b) {
        return_points_publish(b);
    }
    return first;
}

static u64 jump_target(const Edge *e)
{
    i32 rel = (i32)__atomic_load_n((u32 *)cache_write_ptr(edge_patch(e)), __ATOMIC_ACQUIRE);

    return cache_exec_addr(edge_patch(e)) + 4 + (u64)(i64)rel;
}

/* The block whose code a link leads to, or NULL: its own stub. */
static Block *follow_edge(const Edge *e)
{
    u64 at = jump_target(e);
    ChunkKind kind;
    Block *to;

    if (at == cache_exec_addr(edge_stub(e))) {
        return NULL;
    }
    to = block_of(cache_find_block(at, &kind));
    CHECK(to != block_of(0));
    if (edge_kind(e) == EDGE_CALL) {
        CHECK(to->pc == edge_target(e) && cache_exec_addr(mt_load_relaxed(&to->call)) == at);
        return to;
    }
    CHECK(kind == CHUNK_BLOCKS);
    CHECK(to->pc == edge_target(e) && cache_exec_addr(block_host(to)) == at);
    return to;
}

/* The block that an entry for pc leads to; it may be another's, which then checks. */
static Block *follow_entry(GuestAddr pc)
{
    u64 at = __atomic_load_n(ibt_slot(pc), __ATOMIC_ACQUIRE); /* as each load of translated code */
    ChunkKind kind;
    Block *to;

    if (at == mt_cache.glue_ib_miss) {
        return NULL;
    }
    to = block_of(cache_find_block(at, &kind));
    CHECK(to != block_of(0) && (kind == CHUNK_BLOCKS || kind == CHUNK_THUNKS));
    CHECK(cache_exec_addr(__atomic_load_n(&to->ind, __ATOMIC_RELAXED)) == at);
    CHECK(ibt_slot(to->pc) == ibt_slot(pc));
    CHECK(*(u64 *)cache_write_ptr(cache_off(at) - 8) == to->pc);
    return to;
}

/* The block that a return to pc leads to; the return point may be for another address, which it
 * checks. */
static Block *follow_return(GuestAddr pc)
{
    u32 at = __atomic_load_n(ret_slot(pc), __ATOMIC_ACQUIRE);
    ChunkKind kind;
    Block *to;

    if (at == (u32)mt_cache.glue_ret_miss) {
        return NULL;
    }
    to = block_of(cache_find_block(at, &kind));
    CHECK(to != block_of(0) && kind == CHUNK_BLOCKS);
    CHECK(ret_slot(lower_return_pc(cache_off(at))) == ret_slot(pc));
    return to;
}

/* INSIDE from begin to end, as a thread that stays in translated code. */
static void turn(Sim *s)
{
    Block *b = get_block(s, pc_of(sim_random(s)));

    for (int steps = 0; b != NULL && steps < 8; steps++) {
        Edge *e = &block_edges(b)[sim_random(s) % b->nedges];
        Block *to;

        switch (sim_random(s) % 8) {
        case 0:
            smc_retire(b); /* we go on in it */
            break;
        case 1:
        case 2:
            if (!ibt_publish(b)) {
                flush(s);
                return;
            }
            break;
        case 3:
            if (sim_random(s) % 64 == 0) {
                sched_yield();
            }
            break;
        default: break;
        }
        switch (sim_random(s) % 8) {
        case 0: to = follow_entry(pc_of(sim_random(s))); break;
        case 1: to = follow_return(pc_of(sim_random(s)) + 7); break;
        default: to = follow_edge(e);
        }
        if (to == NULL) {
            u32 generation = mt_cache.generation;

            to = get_block(s, edge_target(e));
            if (to == NULL || generation != mt_cache.generation) {
                return;
            }
            chain_link(e, to, block_host(to));
        }
        b = to;
    }
}

static void *worker(void *arg)
{
    Sim *s = arg;

    mt_cpu.thread = &s->t;
    sim_begin(s);
    world_attach(&s->t);
    for (int i = 0; i < TURNS; i++) {
        smc_reclaim(&s->t);
        world_enter(&s->t);
        if (mt_load_relaxed(&s->cpu.pending) != 0) {
            world_safepoint(&s->t);
        }
        turn(s);
        if (i % 4096 == 4095) {
            flush(s);
        }
        world_leave(&s->t);
    }
    world_enter(&s->t);
    cache_thread_exit();
    world_leave(&s->t);
    world_detach(&s->t);
    mt_cpu.thread = NULL;
    return NULL;
}

static bool on_list(const Block *b, EdgeRef r)
{
    for (EdgeRef x = b->in_head; x != 0; x = edge_of(x)->in_next) {
        CHECK(follow_edge(edge_of(x)) == b);
        if (x == r) {
            return true;
        }
    }
    return false;
}

/* B1 to B4, with nobody else about. */
static void check_all(void)
{
    for (u64 i = 0; i < PCS; i++) {
        Block *b = blockmap_find(pc_of(i), 0), *to;

        if (b == NULL) {
            continue;
        }
        CHECK(b->dead == 0 && b->pc == pc_of(i));
        for (u32 k = 0; k < b->nedges; k++) {
            Edge *e = &block_edges(b)[k];

            to = follow_edge(e);
            CHECK(to == NULL || (to->dead == 0 && on_list(to, arena_ref(e))));
        }
        CHECK(!on_list(b, 0)); /* all that are on it lead here */
        to = follow_entry(pc_of(i));
        CHECK(to == NULL || to->dead == 0);
        to = follow_return(pc_of(i) + 7);
        CHECK(to == NULL || to->dead == 0);
    }
}

static void all_at_once(void **state)
{
    pthread_t th[THREADS];
    Sim *s[THREADS];
    Sim *me = sim_new(99, 1);

    for (int i = 0; i < THREADS; i++) {
        s[i] = sim_new(i, 20260101);
        CHECK(pthread_create(&th[i], NULL, worker, s[i]) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(th[i], NULL);
        free(s[i]);
    }
    mt_cpu.thread = &me->t;
    sim_begin(me);
    world_attach(&me->t);
    world_enter(&me->t);
    check_all();
    flush(me);
    for (u64 i = 0; i < PCS; i++) {
        assert_null(blockmap_find(pc_of(i), 0));
        assert_null(follow_entry(pc_of(i)));
        assert_null(follow_return(pc_of(i) + 7));
    }
    cache_thread_exit();
    assert_int_equal(cache_used_bytes(), 0);
    world_leave(&me->t);
    world_detach(&me->t);
    mt_cpu.thread = NULL;
    free(me);
}

/* A dead block is neither linked nor published. */
static void dead_blocks(void **state)
{
    Sim *s = sim_new(1, 5);
    Block *a, *b;
    Edge *e;

    mt_cpu.thread = &s->t;
    sim_begin(s);
    world_attach(&s->t);
    world_enter(&s->t);
    a = get_block(s, 0x500000);
    b = get_block(s, 0x600000);
    e = &block_edges(a)[0];
    e->target = (i64)(0x600000 - a->pc);
    chain_link(e, b, block_host(b));
    assert_ptr_equal(follow_edge(e), b);
    assert_true(ibt_publish(b));
    assert_ptr_equal(follow_entry(0x600000), b);
    assert_true(blockmap_unlink(b));
    assert_false(blockmap_unlink(b));
    assert_null(follow_edge(e));
    assert_null(follow_entry(0x600000));
    chain_link(e, b, block_host(b));
    assert_null(follow_edge(e));
    assert_true(ibt_publish(b));
    assert_null(follow_entry(0x600000));
    assert_null(blockmap_find(0x600000, 0));
    /* and a dead block's links stay until it is freed, but it gets no new ones */
    b = get_block(s, 0x600000);
    chain_link(e, b, block_host(b));
    assert_true(blockmap_unlink(a));
    assert_ptr_equal(follow_edge(e), b);
    assert_true(on_list(b, arena_ref(e)));
    chain_forget(a);
    assert_null(follow_edge(e));
    assert_int_equal(b->in_head, 0);
    chain_link(e, b, block_host(b));
    assert_null(follow_edge(e));
    assert_int_equal(b->in_head, 0);
    flush(s);
    world_leave(&s->t);
    world_detach(&s->t);
    mt_cpu.thread = NULL;
    free(s);
}

/* Two targets that share a slot of the second table, but none of the first, where returns do not
 * look: which of the two is missed is entered again. */
static void second_table(void **state)
{
    Sim *s = sim_new(1, 9);
    GuestAddr pc = 0x700000, other = pc;
    Block *a, *b;

    if (mt_cache.ibt2 == NULL) {
        skip(); /* no CRC32 */
    }
    do {
        other += 16;
    } while (ibt2_slot(other) != ibt2_slot(pc) || ibt_slot(other) == ibt_slot(pc));
    mt_cpu.thread = &s->t;
    sim_begin(s);
    world_attach(&s->t);
    world_enter(&s->t);
    a = get_block(s, pc);
    assert_false(ibt_has(a));
    assert_true(ibt_publish(a));
    assert_true(ibt_has(a));
    b = get_block(s, other);
    assert_true(ibt_publish(b));
    assert_true(ibt_has(b));
    assert_ptr_equal(follow_entry(pc), a);
    assert_false(ibt_has(a));
    assert_true(ibt_publish(a));
    assert_true(ibt_has(a));
    flush(s);
    world_leave(&s->t);
    world_detach(&s->t);
    mt_cpu.thread = NULL;
    free(s);
}

/* Many blocks: the tables grow, and everything is found in the new ones. */
static void growth(void **state)
{
    const u32 n = 4500, mask = mt_cache.ibt_mask;
    const GuestAddr base = 0x10000000;
    Sim *s = sim_new(2, 7);
    u32 entries = 0;

    mt_cpu.thread = &s->t;
    sim_begin(s);
    world_attach(&s->t);
    world_enter(&s->t);
    for (u32 i = 0; i < n; i++) {
        Block *b = get_block(s, base + 48 * i);

        assert_non_null(b); /* there is room for so many */
        assert_true(i % 2 == 0 || ibt_publish(b));
        if (blockmap_is_crowded()) {
            world_stop_empty(&s->t);
            blockmap_grow_world();
            world_resume(&s->t);
            assert_false(blockmap_is_crowded());
        }
    }
    assert_true(mt_cache.ibt_mask_at == 0 || mt_cache.ibt_mask > mask);
    for (u32 i = 0; i < n; i++) {
        Block *b = blockmap_find(base + 48 * i, 0), *hit = follow_entry(base + 48 * i);

        assert_non_null(b);
        entries += hit == b;
    }
    assert_true(entries > n / 4); /* of a half; some share a slot */
    flush(s);
    world_leave(&s->t);
    world_detach(&s->t);
    mt_cpu.thread = NULL;
    free(s);
}

static int setup(void **state)
{
    mt_opts.ib_inline = mt_opts.ib_second = mt_opts.map_filter = true;
    mt_opts.return_stack = RETURN_STACK_YES;
    sim_world((WorldConfig){.parallel = true, .fair = FAIR_TRY, .quantum = 1000});
    smc_init();
    return layout_init(CACHE_BYTES + MT_IBT_BYTES) != 0 || cache_init() != 0 ||
           block_arena_init(mt_cache.size) != 0 || blockmap_init() != 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dead_blocks),
        cmocka_unit_test(second_table),
        cmocka_unit_test(growth),
        cmocka_unit_test(all_at_once),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
