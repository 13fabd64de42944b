/* SPDX-License-Identifier: BSD-2-Clause
 * test_cache.c -- the code cache: room is taken once, blocks are found by each of their bytes,
 * chunks come back when their blocks are gone, and all of it from several threads. */
/* layers: mt_sched mt_jit mt_guest mt_base */
#include "guest/cpu.h"
#include "guest/layout.h"
#include "jit/cache.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define CACHE_BYTES (4u << 20)
#define THREADS 4

typedef struct Piece {
    CacheOff lo, hi, cold;
    u32 block;
} Piece;

static u64 next_random(u64 *s)
{
    *s ^= *s >> 12;
    *s ^= *s << 25;
    *s ^= *s >> 27;
    return *s * 0x2545f4914f6cdd1dull >> 32;
}

/* One block of random size, filled with its number. False: the cache is full. */
static bool make_piece(Piece *p, u32 block, u64 *seed)
{
    u32 hot = 1 + (u32)(next_random(seed) % 700), stubs = (u32)(next_random(seed) % 8);
    CodeSpace s;

    if (!cache_reserve(&s, 1024)) {
        return false;
    }
    assert_true(s.hot_end - s.hot >= 1024 && s.cold_end - s.cold >= 512);
    p->lo = s.hot;
    p->hi = s.hot + hot;
    p->block = block;
    p->cold = 0;
    for (u32 i = 0; i < stubs; i++) {
        CacheOff at = cache_take_cold(&s, 17);

        assert_int_not_equal(at, 0);
        memset(cache_write_ptr(at), (int)(block & 0xff), 17);
        p->cold = i == 0 ? at : p->cold;
    }
    memset(cache_write_ptr(p->lo), (int)(block & 0xff), hot);
    cache_commit(&s, p->hi, block);
    return true;
}

static void check_piece(const Piece *p)
{
    ChunkKind kind;

    for (CacheOff o = p->lo; o < p->hi; o++) {
        assert_int_equal(cache_find_block(cache_exec_addr(o), &kind), p->block);
        assert_int_equal(kind, CHUNK_BLOCKS);
        assert_int_equal(*(u8 *)cache_exec_addr(o), (u8)p->block);
    }
    if (p->cold != 0) {
        cache_find_block(cache_exec_addr(p->cold), &kind);
        assert_int_equal(kind, CHUNK_COLD);
        assert_int_equal(*(u8 *)cache_exec_addr(p->cold), (u8)p->block);
    }
}

static void release_piece(const Piece *p)
{
    cache_release(p->lo);
    if (p->cold != 0) {
        cache_release(p->cold);
    }
}

static void fill_find_flush(void **state)
{
    static Piece p[20000];
    u64 seed = 7;

    for (int round = 0; round < 3; round++) {
        u32 n = 0, generation = mt_cache.generation;

        while (n < MT_ARRAY_SIZE(p) && make_piece(&p[n], n + 1, &seed)) {
            n++;
        }
        assert_true(n > 100 && n < MT_ARRAY_SIZE(p));
        for (u32 i = 0; i < n; i += 7) {
            check_piece(&p[i]);
        }
        assert_true(cache_used_bytes() > CACHE_BYTES / 8);
        cache_flush_world();
        assert_int_equal(mt_cache.generation, generation + 1);
        assert_int_equal(cache_used_bytes(), 0);
    }
}

/* Without a flush: releasing all blocks makes their chunks free. */
static void release_frees(void **state)
{
    static Piece p[20000];
    u64 seed = 9;

    for (int round = 0; round < 5; round++) {
        u32 n = 0;

        while (n < MT_ARRAY_SIZE(p) && make_piece(&p[n], n + 1, &seed)) {
            n++;
        }
        assert_true(n > 100);
        for (u32 i = 0; i < n; i++) {
            release_piece(&p[i]);
        }
        cache_thread_exit();
        assert_int_equal(cache_used_bytes(), 0);
    }
}

static void thunks(void **state)
{
    CacheOff at[100];
    ChunkKind kind;

    for (u32 i = 0; i < 100; i++) {
        at[i] = cache_take_thunk(90, i + 1);
        assert_int_not_equal(at[i], 0);
    }
    for (u32 i = 0; i < 100; i++) {
        for (u32 k = 0; k < 90; k++) {
            assert_int_equal(cache_find_block(cache_exec_addr(at[i] + k), &kind), i + 1);
            assert_int_equal(kind, CHUNK_THUNKS);
        }
        cache_release(at[i]);
    }
    cache_thread_exit();
    assert_int_equal(cache_used_bytes(), 0);
}

static void glue_is_no_block(void **state)
{
    ChunkKind kind;

    assert_int_equal(cache_find_block(mt_cache.glue_direct, &kind), 0);
    assert_int_equal(cache_find_block(mt_cache.exec, &kind), 0);
    assert_int_equal(kind, CHUNK_FREE);
    assert_false(cache_contains(mt_cache.exec + mt_cache.size));
    for (u32 i = 0; i <= cache_index(~0ull, mt_cache.ibt_mask); i++) {
        assert_int_equal(mt_cache.ibt[i], mt_cache.glue_ib_miss);
    }
}

/* Each thread makes and drops blocks; what it has is not touched by the others. */
static void *work(void *arg)
{
    u32 id = (u32)(uintptr_t)arg;
    u64 seed = id + 1;
    Piece mine[24];
    u32 n = 0, made = 0, full = 0;

    while (made < 3000 && full < 3000) {
        if (n < MT_ARRAY_SIZE(mine) && make_piece(&mine[n], id << 24 | made, &seed)) {
            n++;
            made++;
        } else {
            u32 k = (u32)(next_random(&seed) % MT_ARRAY_SIZE(mine));

            full += n < MT_ARRAY_SIZE(mine);
            if (k < n) {
                check_piece(&mine[k]);
                release_piece(&mine[k]);
                mine[k] = mine[--n];
            }
        }
    }
    while (n > 0) {
        check_piece(&mine[--n]);
        release_piece(&mine[n]);
    }
    cache_thread_exit();
    return NULL;
}

static void several_threads(void **state)
{
    pthread_t t[THREADS];

    for (uintptr_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&t[i], NULL, work, (void *)(i + 1)), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(t[i], NULL);
    }
    assert_int_equal(cache_used_bytes(), 0);
}

/* More threads than there are chunks, none of which needs much: there is room for each, if not at
 * once (the chunks of threads that have lost their processor while translating are busy). */
enum { CROWD = 100 };
static pthread_barrier_t crowd;

static void *work_a_little(void *arg)
{
    u32 id = (u32)(uintptr_t)arg;
    u64 seed = id + 1;
    Piece mine[6];

    for (u32 i = 0; i < MT_ARRAY_SIZE(mine); i++) {
        while (!make_piece(&mine[i], id << 8 | i, &seed)) {
            sched_yield();
        }
        while (cache_take_thunk(48, id << 8 | 0x80) == 0) {
            sched_yield();
        }
        pthread_barrier_wait(&crowd); /* all hold on to their chunks */
    }
    for (u32 i = 0; i < MT_ARRAY_SIZE(mine); i++) {
        check_piece(&mine[i]);
    }
    cache_thread_exit();
    return NULL;
}

static void more_threads_than_chunks(void **state)
{
    pthread_t t[CROWD];
    pthread_attr_t attr;

    assert_true(3 * CROWD > 2 * mt_cache.nchunks);
    pthread_barrier_init(&crowd, NULL, CROWD);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 64 * 1024);
    for (uintptr_t i = 0; i < CROWD; i++) {
        assert_int_equal(pthread_create(&t[i], &attr, work_a_little, (void *)(i + 1)), 0);
    }
    for (int i = 0; i < CROWD; i++) {
        pthread_join(t[i], NULL);
    }
    cache_flush_world();
    assert_int_equal(cache_used_bytes(), 0);
}

/* The child's cache is a copy: what either does afterwards the other does not see. */
static void fork_copies(void **state)
{
    u64 seed = 3;
    Piece p;

    for (int shares = 0; shares < 2; shares++) {
        CacheCopy copy;
        int status;
        pid_t pid;

        assert_true(make_piece(&p, 77, &seed));
        assert_int_equal(cache_before_fork(&copy, shares), 0);
        pid = fork();
        if (pid == 0) {
            bool ok = cache_after_fork_child(&copy) == 0 && *(u8 *)cache_exec_addr(p.lo) == 77;

            *cache_write_ptr(p.lo) = 1;
            _exit(ok && *(u8 *)cache_exec_addr(p.lo) == 1 ? 0 : 1);
        }
        cache_after_fork_parent(&copy);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        check_piece(&p);
        release_piece(&p);
    }
}

static int setup(void **state)
{
    return layout_init(CACHE_BYTES + MT_CACHE_HEAD) != 0 || cache_init() != 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(glue_is_no_block), cmocka_unit_test(fill_find_flush),
        cmocka_unit_test(release_frees),    cmocka_unit_test(thunks),
        cmocka_unit_test(several_threads),  cmocka_unit_test(more_threads_than_chunks),
        cmocka_unit_test(fork_copies),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
