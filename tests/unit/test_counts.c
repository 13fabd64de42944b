/* SPDX-License-Identifier: BSD-2-Clause
 * test_counts.c -- corrections of counts at each place where a segment can be interrupted. */
/* layers: mt_base mt_guest mt_jit */
#include "guest/cpu.h"
#include "jit/counts.h"
#include "jit/pcmap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* Five instructions: 0 1 2(jcc) | 3 4, each counting 1 in counter 0 and its index in counter 1;
 * instruction 1 is a followed jump. The edge from 2 to 3 counts 1 in counter 2. The additions stand
 * at 10 and at 30. Host code of instruction i: [10 i, 10 i + 10), of the jump none. */
static u8 side[128];

static void make_side(u16 vec0, u16 vec1)
{
    static const CountRec recs[2] = {{0, 3, 10, 0}, {3, 5, 35, 0}};
    CountRec r[2] = {recs[0], recs[1]};
    u8 *p = side;

    r[0].vec = vec0;
    r[1].vec = vec1;
    *p++ = 2;
    *p++ = 0;
    *p++ = 0;
    *p++ = 5;
    memcpy(p, r, sizeof(r));
    p += sizeof(r);
    for (u8 i = 0; i <= 5; i++) {
        *p++ = (u8)((i < 5 ? 2 : 0) | (i == 3 ? 1 << 3 : 0) | (i == 1 ? MT_SIDE_NOCODE : 0));
        if (i < 5) {
            *p++ = 0;
            *p++ = 1;
            *p++ = 1;
            *p++ = i;
        }
        if (i == 3) {
            *p++ = 2;
            *p++ = 1;
        }
    }
}

/* Interrupted at off with `next` instructions done: what has been added, plus the correction. */
static void check(u32 off, u32 next)
{
    CountVec first = {{3, 3, 0}}, second = {{2, 7, 1}};
    u32 v0 = counts_vector(&first, false), v1 = counts_vector(&second, false);
    u64 out[MT_COUNTERS];
    u64 indices = 0;

    make_side((u16)v0, (u16)v1);
    memset(mt_counts, 0, sizeof(mt_counts));
    mt_counts[v0] = off >= 10;
    mt_counts[v1] = off >= 35;
    counts_stop(side, off, next);
    counts_total(out);
    for (u32 i = 0; i < next; i++) {
        indices += i;
    }
    assert_int_equal(out[0], next);
    assert_int_equal(out[1], indices);
    assert_int_equal(out[2], next >= 3);
}

static void test_every_place(void **state)
{
    for (u32 off = 0; off < 50; off++) {
        for (u32 next = off < 30 ? 0 : 3; next <= (off < 30 ? 3 : 5); next++) {
            check(off, next);
        }
    }
}

static void test_followed_jump_is_done_with_its_predecessor(void **state)
{
    u64 out[MT_COUNTERS];

    check(0, 0);
    memset(mt_counts, 0, sizeof(mt_counts));
    counts_interrupted(side, 5, 1, false); /* one with code is done: 0, and with it 1 */
    counts_total(out);
    assert_int_equal(out[0], 2);
    memset(mt_counts, 0, sizeof(mt_counts));
    counts_interrupted(side, 5, 0, true);
    counts_total(out);
    assert_int_equal(out[0], 2);
}

static void test_numbers_run_out(void **state)
{
    CountVec v = {{0}};
    u32 n = 0;

    while (v.amount[3]++, counts_vector(&v, false) != MT_NO_VECTOR) {
        n++;
    }
    assert_in_range(n, 1000, MT_NVECTORS);
    for (u32 i = 0; i < MT_SPARE_VECTORS; i++, v.amount[3]++) {
        assert_int_not_equal(counts_vector(&v, true), MT_NO_VECTOR);
        assert_int_equal(counts_vector(&v, false), counts_vector(&v, true));
    }
    v.amount[4] = 1;
    assert_int_equal(counts_vector(&v, true), MT_NO_VECTOR);
    assert_int_equal(counts_vector(&v, false), MT_NO_VECTOR);
}

static void test_edge_pairs(void **state)
{
    mt_counts[2] = 10;
    mt_counts[5] = 10;
    counts_edge_undo(0xffffull << 32 | 0x0305 << 16 | 0x0402);
    assert_int_equal(mt_counts[2], 6);
    assert_int_equal(mt_counts[5], 7);
}

static void test_spills_record(void **state)
{
    PcMap m = {.len = 0};
    PcState s;

    pcmap_plain(&m, 3, 3);
    pcmap_spills(&m, 300, 1 << MT_RBX | 1 << MT_R15, false);
    pcmap_plain(&m, 2, 2);
    assert_true(pcmap_find(m.bytes, m.len, 0x1000, 302, &s));
    assert_int_equal(s.kind, PC_SPILLS);
    assert_int_equal(s.mask, 1 << MT_RBX | 1 << MT_R15);
    assert_int_equal(s.pc, 0x1003);
    assert_int_equal(s.insn_index, 1);
    assert_true(pcmap_find(m.bytes, m.len, 0x1000, 303, &s));
    assert_int_equal(s.kind, PC_SAME);
    assert_int_equal(s.pc, 0x1003);
}

static int setup(void **state)
{
    counts_init();
    counts_thread_start();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_place),
        cmocka_unit_test(test_followed_jump_is_done_with_its_predecessor),
        cmocka_unit_test(test_edge_pairs),
        cmocka_unit_test(test_spills_record),
        cmocka_unit_test(test_numbers_run_out),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
