/* SPDX-License-Identifier: BSD-2-Clause
 * test_aspace_map.c -- the ordered set of mappings against an array of pages. */
/* layers: mt_base mt_guest */
#include "guest/aspace_map.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#define BASE 0x100000ul
#define PAGES 512

typedef struct Page {
    bool mapped;
    int prot, flags;
    u64 offset; /* files: of this page */
} Page;

static Page model[PAGES];
static u64 rng;

static u32 rnd(u32 n)
{
    rng = rng * 6364136223846793005ull + 1442695040888963407ull;
    return (u32)((rng >> 33) % n);
}

static GuestAddr at(unsigned page)
{
    return BASE + page * MT_PAGE_SIZE;
}

static void check_all(void)
{
    GuestAddr end = 0;
    unsigned page = 0;
    for (MapNode *n = map_begin(); n->kind != MAP_END; n = n->next) {
        assert_true(n->start >= end && n->end > n->start);
        assert_true(n->gap == n->start - end);
        end = n->end;
        for (; at(page) < n->start; page++) {
            assert_false(model[page].mapped);
        }
        for (; at(page) < n->end; page++) {
            assert_true(model[page].mapped);
            assert_int_equal(model[page].prot, n->prot);
            assert_int_equal(model[page].flags, n->flags);
            if ((n->flags & MAP_ANONYMOUS) == 0) {
                assert_int_equal(model[page].offset, n->offset + (at(page) - n->start));
            }
        }
    }
    for (; page < PAGES; page++) {
        assert_false(model[page].mapped);
    }
}

static GuestAddr model_hole(unsigned lo, unsigned hi, unsigned len, u64 align)
{
    for (unsigned p = hi - len; hi >= len && p >= lo && p < PAGES; p--) {
        unsigned k = 0;
        while (k < len && !model[p + k].mapped) {
            k++;
        }
        if (k == len && (at(p) & (align - 1)) == 0) {
            return at(p);
        }
    }
    return 0;
}

static void step(MapObject *file)
{
    unsigned start = rnd(PAGES - 32), len = 1 + rnd(31);
    assert_int_equal(map_prepare(6), 0);
    switch (rnd(4)) {
    case 0:
    case 1: {
        MapNode n = {.start = at(start), .end = at(start + len), .prot = (int)rnd(8)};
        n.flags = MAP_PRIVATE | (rnd(2) ? MAP_ANONYMOUS : 0);
        n.offset = (n.flags & MAP_ANONYMOUS) == 0 ? at(start) + (rnd(2) ? MT_PAGE_SIZE : 0) : 0;
        n.object = (n.flags & MAP_ANONYMOUS) == 0 ? map_object_ref(file) : NULL;
        map_remove(n.start, n.end);
        for (unsigned i = 0; i < len; i++) {
            model[start + i] = (Page){true, n.prot, n.flags, n.offset + i * MT_PAGE_SIZE};
        }
        map_add(&n);
        break;
    }
    case 2:
        map_remove(at(start), at(start + len));
        memset(&model[start], 0, len * sizeof(model[0]));
        break;
    default:
        map_split(at(start));
        map_split(at(start + len));
        int prot = (int)rnd(8);
        for (MapNode *n = map_first(at(start)); n->start < at(start + len); n = n->next) {
            n->prot = prot;
        }
        for (unsigned i = start; i < start + len; i++) {
            model[i].prot = prot;
        }
        map_join(at(start), at(start + len));
    }
}

static void random_operations(void **state)
{
    for (u32 seed = 1; seed <= 8; seed++) {
        rng = seed;
        map_init();
        memset(model, 0, sizeof(model));
        MapObject *file = map_object_new(1, 2, "/file");
        for (int i = 0; i < 3000; i++) {
            step(file);
            check_all();
            unsigned len = 1 + rnd(24), lo = rnd(PAGES / 2), hi = PAGES / 2 + rnd(PAGES / 2);
            u64 align = MT_PAGE_SIZE << rnd(4);
            assert_int_equal(map_hole(at(lo), at(hi), len * MT_PAGE_SIZE, align, 0),
                             model_hole(lo, hi, len, align));
        }
        map_init();
        assert_int_equal(file->refs, 1);
        map_object_unref(file);
    }
}

/* Two alike neighbours are one node, whichever came first. */
static void neighbours_join(void **state)
{
    map_init();
    assert_int_equal(map_prepare(6), 0);
    const MapNode a = {.start = at(0), .end = at(1), .flags = MAP_ANONYMOUS};
    const MapNode b = {.start = at(1), .end = at(2), .flags = MAP_ANONYMOUS};
    const MapNode c = {.start = at(2), .end = at(3), .flags = MAP_ANONYMOUS};
    map_add(&a);
    map_add(&c);
    map_add(&b);
    assert_true(map_begin()->start == at(0) && map_begin()->end == at(3));
    assert_int_equal(map_begin()->next->kind, MAP_END);
    map_init();
}

/* Nothing is placed right below a mapping that grows down. */
static void guard_below_stacks(void **state)
{
    map_init();
    assert_int_equal(map_prepare(6), 0);
    const MapNode n = {.start = at(100), .end = at(110), .flags = MAP_ANONYMOUS | MAP_GROWSDOWN};
    map_add(&n);
    assert_int_equal(map_hole(at(0), at(110), MT_PAGE_SIZE, MT_PAGE_SIZE, 16 * MT_PAGE_SIZE),
                     at(83));
    assert_int_equal(map_hole(at(90), at(110), MT_PAGE_SIZE, MT_PAGE_SIZE, 16 * MT_PAGE_SIZE), 0);
    map_init();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_operations),
        cmocka_unit_test(neighbours_join),
        cmocka_unit_test(guard_below_stacks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
