/* SPDX-License-Identifier: BSD-2-Clause
 * test_pcmap.c -- property test of the pc map: random sequences of records, of which a plain list
 * of "these bytes, this state" is kept beside; each offset must give the list's state. */
/* layers: mt_jit mt_guest mt_base */
#include "jit/pcmap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MAX_SPANS 4096

/* Host bytes in a row with one state. */
typedef struct Span {
    u32 hlen;
    PcState state;
} Span;

/* Where the code of an instruction begins. */
typedef struct Start {
    GuestAddr pc;
    u32 off;
} Start;

typedef struct Model {
    PcMap map;
    Start starts[MAX_SPANS];
    u32 nstarts, hlen;
    Span spans[MAX_SPANS];
    u32 nspans;
    GuestAddr pc;
    u32 index; /* instructions with code so far */
} Model;

static u64 rng;

static u32 rnd(u32 n)
{
    rng ^= rng >> 12;
    rng ^= rng << 25;
    rng ^= rng >> 27;
    return (u32)((rng * 0x2545f4914f6cdd1dull >> 33) % n);
}

static void span(Model *m, u32 hlen, PcState s)
{
    s.insn_index = m->index;
    m->spans[m->nspans++] = (Span){hlen, s};
    m->hlen += hlen;
}

/* Before an instruction's record. */
static void start(Model *m, u32 glen)
{
    if (glen != 0) {
        m->starts[m->nstarts++] = (Start){m->pc, m->hlen};
    }
}

static void advance(Model *m, u32 glen)
{
    m->pc += glen;
    m->index += glen != 0;
}

static void add_plain(Model *m)
{
    u32 glen = rnd(16), hlen = 1 + rnd(15);

    pcmap_plain(&m->map, glen, hlen);
    start(m, glen);
    span(m, hlen, (PcState){.pc = m->pc, .kind = PC_SAME});
    advance(m, glen);
}

static void add_steps(Model *m)
{
    static const u8 kinds[] = {PC_SAME,    PC_SPILL,    PC_NEXT,   PC_NEXT_SPILL,
                               PC_TGT_RCX, PC_TGT_SLOT, PC_BRANCH, PC_SPILL_RCX};
    u32 glen = rnd(16), n = 1 + rnd(12);
    GuestAddr target = (u64)rnd(1u << 31) << 16 | rnd(65536);
    PcStep steps[12];

    start(m, glen);
    for (u32 i = 0; i < n; i++) {
        u8 kind = kinds[rnd(MT_ARRAY_SIZE(kinds))], reg = (u8)rnd(16);
        PcState s = {.pc = m->pc, .kind = kind, .reg = reg};

        if (kind == PC_NEXT || kind == PC_NEXT_SPILL) {
            s.pc += glen;
        } else if (kind == PC_BRANCH) {
            s.pc = target;
        }
        steps[i] = (PcStep){(u8)(1 + rnd(20)), (u8)(kind | reg << 4)};
        span(m, steps[i].hlen, s);
    }
    pcmap_steps(&m->map, glen, steps, n, target);
    advance(m, glen);
}

static void add_goto(Model *m)
{
    GuestAddr to = rnd(2) ? m->pc + rnd(1u << 30) - (1u << 29) : (u64)rnd(1u << 31) << 17;

    pcmap_goto(&m->map, m->pc, to);
    m->pc = to;
}

static void add_spills(Model *m)
{
    u32 hlen = 1 + rnd(900), mask = rnd(65536);
    bool flags = rnd(2) != 0;

    pcmap_spills(&m->map, hlen, mask, flags);
    span(m, hlen,
         (PcState){.pc = m->pc, .kind = flags ? PC_SPILLS_FLAGS : PC_SPILLS, .mask = (u16)mask});
}

static void build(Model *m, GuestAddr pc)
{
    m->map.len = 0;
    m->nspans = m->nstarts = m->hlen = 0;
    m->pc = pc;
    m->index = 0;
    for (u32 n = rnd(60); n > 0 && pcmap_room(&m->map, 0); n--) {
        switch (rnd(8)) {
        case 0: add_steps(m); break;
        case 1: add_goto(m); break;
        case 2: add_spills(m); break;
        default: add_plain(m);
        }
    }
    assert_true(m->map.len <= MT_PCMAP_MAX && m->nspans <= MAX_SPANS);
}

static void same_state(const PcState *a, const PcState *b)
{
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->pc, b->pc);
    assert_int_equal(a->insn_index, b->insn_index);
    if (a->kind == PC_SPILL || a->kind == PC_NEXT_SPILL) {
        assert_int_equal(a->reg, b->reg);
    } else if (a->kind == PC_SPILLS || a->kind == PC_SPILLS_FLAGS) {
        assert_int_equal(a->mask, b->mask);
    }
}

static void check(const Model *m, GuestAddr pc)
{
    u32 off = 0;
    PcState s;

    for (u32 i = 0; i < m->nspans; i++) {
        for (u32 k = 0; k < m->spans[i].hlen; k++, off++) {
            assert_true(pcmap_find(m->map.bytes, m->map.len, pc, off, &s));
            same_state(&s, &m->spans[i].state);
        }
    }
    /* Behind the last: the next instruction; further on: nothing. */
    assert_true(pcmap_find(m->map.bytes, m->map.len, pc, off, &s));
    assert_int_equal(s.kind, PC_SAME);
    assert_int_equal(s.pc, m->pc);
    assert_false(pcmap_find(m->map.bytes, m->map.len, pc, off + 1, &s));
    assert_false(pcmap_find(m->map.bytes, m->map.len, pc, off + 1000, &s));
}

static void check_starts(const Model *m, GuestAddr pc)
{
    u32 off;

    for (u32 i = 0; i < m->nstarts; i++) {
        u32 first = 0;

        while (m->starts[first].pc != m->starts[i].pc) {
            first++;
        }
        assert_true(pcmap_find_insn(m->map.bytes, m->map.len, pc, m->starts[i].pc, &off));
        assert_int_equal(off, m->starts[first].off);
    }
    assert_false(pcmap_find_insn(m->map.bytes, m->map.len, pc, ~0ull, &off));
}

static void random_sequences(void **state)
{
    static Model m;

    for (u64 seed = 1; seed <= 3000; seed++) {
        GuestAddr pc;

        rng = seed * 0x9e3779b97f4a7c15ull;
        pc = rnd(2) ? rnd(1u << 31) : (u64)rnd(1u << 31) << 16;
        build(&m, pc);
        check(&m, pc);
        check_starts(&m, pc);
    }
}

static void empty_map(void **state)
{
    PcState s;

    assert_true(pcmap_find(NULL, 0, 0x1234, 0, &s));
    assert_int_equal(s.pc, 0x1234);
    assert_false(pcmap_find(NULL, 0, 0x1234, 1, &s));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_sequences),
        cmocka_unit_test(empty_map),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
