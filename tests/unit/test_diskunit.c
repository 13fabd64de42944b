/* SPDX-License-Identifier: BSD-2-Clause
 * test_diskunit.c -- U1: blocks of random instructions are lowered, encoded, and made again in
 * another place; there they must be what lower.c makes there of the same instructions. U2: damaged
 * units are refused, or stay inside their room. */
/* layers: mt_sched mt_jit mt_guest mt_base */
#include "base/options.h"
#include "guest/layout.h"
#include "jit/cache.h"
#include "jit/diskunit.h"
#include "insn_bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#define PC 0x400ff0u /* near the end of a page */
#define GUEST_BYTES (4 * MT_PAGE_SIZE)
#define MAX_INSNS 12u
#define SPACE 3072u

/* The unit tests have no mt_cpu that generated code would reach. */
i32 mt_cpu_tpoff = -4096;

static const Bytes inner[] = {
    B(0x90),
    B(0x48, 0x89, 0xd8),
    B(0x48, 0x8b, 0x05, 0x10, 0x20, 0, 0), /* mov 0x2010(%rip), %rax */
    B(0x81, 0x3d, 0x10, 0, 0, 0, 0x78, 0x56, 0x34, 0x12),
    B(0xc5, 0xf9, 0x6f, 0x05, 0x10, 0, 0, 0),
    B(0x62, 0xf1, 0xfd, 0x48, 0x6f, 0x05, 0x10, 0, 0, 0),
    B(0x67, 0x48, 0x8b, 0x05, 0x10, 0, 0, 0), /* mov 16(%eip), %rax */
    B(0x64, 0x48, 0x8b, 0x04, 0x25, 0x28, 0, 0, 0),
    B(0x48, 0x8d, 0x1d, 0xf0, 0xff, 0xff, 0xff), /* lea -16(%rip), %rbx */
    B(0xff, 0x35, 0x10, 0, 0, 0),
    B(0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8),
    B(0x0f, 0x84, 0x40, 1, 0, 0),
    B(0x75, 0x10),
    B(0xe3, 0x10),
    B(0xe2, 0xfe),
    B(0xf3, 0xa4),
    B(0xeb, 0x03), /* followed */
    B(0xe9, 0x20, 0, 0, 0),
};

static const Bytes last[] = {
    B(0xc3),
    B(0xc2, 0x10, 0),
    B(0xff, 0xe0),
    B(0xff, 0x25, 0x10, 0, 0, 0), /* jmp *16(%rip) */
    B(0xe8, 0x78, 0x56, 0x34, 0x02),
    B(0xff, 0xd0),
    B(0xff, 0x15, 0x10, 0, 0, 0),
    B(0xeb, 0x10),
    B(0x0f, 0x05),
    B(0x90),
    B(0x0f, 0x85, 0, 0, 1, 0),
};

/* What is not encoded, at the end of a block. */
static const Bytes refused[] = {
    B(0xcd, 0x80),             /* int $0x80 */
    B(0x06),                   /* invalid */
    B(0xd9, 0xee),             /* fldz */
    B(0x0f, 0xae, 0x04, 0x24), /* fxsave (%rsp) */
    B(0xf3, 0x0f, 0xae, 0xc0), /* rdfsbase %eax */
};

static u64 seed = 88172645463325252ull;

static u32 rnd(u32 n)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (u32)(seed >> 20) % n;
}

typedef struct Code {
    Insn insns[MAX_INSNS];
    u32 n;
    bool ind;
} Code;

static Insn put(GuestAddr pc, const Bytes *b)
{
    Insn in;

    memcpy((void *)pc, b->b, b->n);
    decode_insn(&in, pc, (const u8 *)pc, 15);
    assert_int_equal(in.len, b->n);
    return in;
}

static void make_code(Code *c, const Bytes *end)
{
    GuestAddr pc = PC - rnd(64);
    u32 n = rnd(MAX_INSNS - 1);

    c->ind = rnd(2);
    for (c->n = 0; c->n < n; c->n++) {
        const Insn *in = &c->insns[c->n];

        c->insns[c->n] = put(pc, &inner[rnd(MT_ARRAY_SIZE(inner))]);
        pc = in->cls == INSN_JMP ? in->target : pc + in->len;
    }
    c->insns[c->n++] = put(pc, end);
}

/* As translate.c does. */
static void lower_code(Lower *l, const Code *c)
{
    const Insn *in = c->insns;

    lower_begin(l, in->pc, c->ind ? ENTRY_IND : ENTRY_NONE, false);
    for (u32 i = 0; i + 1 < c->n; i++, in++) {
        if (in->cls == INSN_JMP) {
            lower_follow(l, in, in->target);
        } else {
            lower_insn(l, in);
        }
    }
    if (in->cls == INSN_PLAIN || in->cls == INSN_JCC || in->cls == INSN_INVALID) {
        lower_insn(l, in);
        lower_end_at(l, in->pc + in->len);
    } else {
        lower_end_insn(l, in);
    }
    for (u32 i = 0; i < l->nedges; i++) {
        l->edges[i].back = l->edges[i].kind == EDGE_DIRECT && l->edges[i].target <= c->insns[0].pc;
    }
    lower_finish(l);
}

static Block *make_block(const Lower *l, const Code *c)
{
    const BlockShape shape = {.nedges = l->nedges, .npages = 1, .pcmap_len = l->map.len};
    Block *b = block_alloc(&shape);
    u32 link = 0;

    assert_non_null(b);
    memcpy(block_pcmap(b), l->map.bytes, l->map.len);
    b->pc = l->pc;
    b->host_start = l->start;
    b->host_size = (u16)(l->end - l->start);
    b->entry_size = (u8)(l->host - l->start);
    b->nlinks = l->nlinks & 255;
    b->ninsns = (u8)c->n;
    b->ind = l->ind;
    for (u32 i = 0; i < l->nedges; i++) {
        const LowerEdge *d = &l->edges[i];
        Edge *e = &block_edges(b)[i];

        e->target = (i64)(d->target - b->pc);
        e->index = i & 63;
        e->back = d->back;
        e->patch = (u16)(d->patch != 0 ? d->patch - b->host_start : 0);
        e->link = (d->patch != 0 ? link++ : d->kind) & 63;
        if (d->patch == 0) {
            memset(cache_write_ptr(d->stub) + 8, 0x5a, 4);
        } else {
            memset(cache_write_ptr(d->patch), 0x5a, 4); /* linked */
        }
    }
    return b;
}

static u64 hash_of(const Code *c)
{
    u64 h = 0;

    for (u32 i = 0; i < c->n; i++) {
        h = unit_hash_insn(h, &c->insns[i]);
    }
    return h;
}

/* Some room in the cache, which differs from call to call. */
static void anywhere(CodeSpace *s)
{
    for (u32 n = 1 + rnd(3); n > 0; n--) {
        assert_true(cache_reserve(s, SPACE));
        cache_take_cold(s, rnd(64));
        cache_commit(s, s->hot + rnd(640), 1);
    }
    assert_true(cache_reserve(s, SPACE));
}

static void same_edges(const Lower *a, const Lower *b)
{
    assert_int_equal(a->nedges, b->nedges);
    assert_int_equal(a->nlinks, b->nlinks);
    for (u32 i = 0; i < a->nedges; i++) {
        const LowerEdge *x = &a->edges[i], *y = &b->edges[i];

        assert_true(x->target == y->target && x->patch == y->patch && x->stub == y->stub);
        assert_true(x->kind == y->kind && x->back == y->back && x->key == y->key);
    }
}

/* In one place: what unit_lower() makes, then what lower.c does. */
static void same_code(const Code *c, const UnitView *v)
{
    static u8 hot[SPACE], cold[SPACE];
    static Lower want, got;
    u32 n, cold_n;

    anywhere(&got.space);
    want.space = got.space;
    assert_true(unit_lower(v, &got));
    assert_true(got.space.hot - want.space.hot < 8);
    want.space.hot = got.space.hot;
    n = (u32)(got.e.x - cache_exec_addr(got.start));
    cold_n = got.space.cold - got.space.cold_start;
    memcpy(hot, cache_write_ptr(got.start), n);
    memcpy(cold, cache_write_ptr(got.space.cold_start), cold_n);
    memset(cache_write_ptr(got.start), 0xcc, n);
    memset(cache_write_ptr(got.space.cold_start), 0xcc, cold_n);
    lower_code(&want, c);
    assert_true(want.e.x == got.e.x && want.end == got.end && want.host == got.host &&
                want.ind == got.ind && want.call == got.call && want.pc == got.pc &&
                want.space.cold == got.space.cold && want.map.len == got.map.len);
    same_edges(&want, &got);
    for (u32 i = 0; i < want.nedges; i++) { /* filled in when a block is made */
        if (want.edges[i].patch == 0) {
            memset(cache_write_ptr(want.edges[i].stub) + 8, 0, 4);
        }
    }
    assert_memory_equal(hot, cache_write_ptr(want.start), n);
    assert_memory_equal(cold, cache_write_ptr(want.space.cold_start), cold_n);
    assert_memory_equal(want.map.bytes, got.map.bytes, want.map.len);
    cache_abort(&got.space);
}

static u32 encode(Code *c, const Bytes *end, u8 *unit, u64 *hash)
{
    static Lower l;
    Block *b;
    u32 size;

    if (rnd(50) == 0) {
        cache_flush_world();
    }
    make_code(c, end);
    anywhere(&l.space);
    lower_code(&l, c);
    b = make_block(&l, c);
    size = unit_encode(b, unit, hash);
    block_free(b);
    cache_abort(&l.space);
    return size;
}

static void same_elsewhere(void **state)
{
    static _Alignas(8) u8 unit[MT_UNIT_MAX];
    static const u8 kinds[] = {EXITS_COLD, EXITS_NEAR};

    for (u32 i = 0; i < 40000; i++) {
        UnitView v;
        Code c;
        u64 hash;
        u32 size;

        mt_opts.exits = kinds[i & 1];
        size = encode(&c, &last[rnd(MT_ARRAY_SIZE(last))], unit, &hash);
        assert_true(size != 0 && size % 8 == 0);
        assert_true(hash == hash_of(&c));
        assert_true(!unit_view(&v, unit, size - 8) && unit_view(&v, unit, size));
        same_code(&c, &v);
    }
}

static void not_encoded(void **state)
{
    static _Alignas(8) u8 unit[MT_UNIT_MAX];

    mt_opts.exits = EXITS_COLD;
    for (u32 i = 0; i < 2000; i++) {
        Code c;
        u64 hash;

        assert_int_equal(encode(&c, &refused[rnd(MT_ARRAY_SIZE(refused))], unit, &hash), 0);
    }
}

/* The unit in memory of its own size, before a page that can't be touched. */
static void damaged(void **state)
{
    static _Alignas(8) u8 unit[MT_UNIT_MAX];
    static Lower l;
    u8 *room = mmap(NULL, MT_UNIT_MAX + MT_PAGE_SIZE, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    u32 passed = 0;

    assert_true(room != MAP_FAILED && mprotect(room + MT_UNIT_MAX, MT_PAGE_SIZE, PROT_NONE) == 0);
    mt_opts.exits = EXITS_COLD;
    for (u32 i = 0; i < 4000; i++) {
        Code c;
        u64 hash;
        u32 size = encode(&c, &last[rnd(MT_ARRAY_SIZE(last))], unit, &hash);

        for (u32 k = 0; k < 20; k++) {
            u8 *p = room + MT_UNIT_MAX - size;
            UnitView v;

            memcpy(p, unit, size);
            for (u32 n = 1 + rnd(3); n > 0; n--) {
                p[rnd(k % 2 == 0 ? sizeof(Unit) : size)] = (u8)rnd(256);
            }
            if (unit_view(&v, p, size)) {
                passed++;
                anywhere(&l.space);
                unit_lower(&v, &l);
                assert_true(l.e.x <= cache_exec_addr(l.space.hot_end));
                assert_true(l.space.cold <= l.space.cold_end);
                cache_abort(&l.space);
            }
        }
    }
    assert_true(passed > 1000);
    munmap(room, MT_UNIT_MAX + MT_PAGE_SIZE);
}

static void sums(void **state)
{
    u8 b[257] = {0};

    for (u32 n = 1; n < sizeof(b); n++) {
        u64 sum = unit_sum(b, n);

        assert_true(sum != unit_sum(b, n - 1));
        b[rnd(n)] ^= (u8)(1u << rnd(8));
        assert_true(sum != unit_sum(b, n));
    }
}

static int set_up(void **state)
{
    void *guest = mmap((void *)(u64)MT_PAGE_DOWN(PC - MT_PAGE_SIZE), GUEST_BYTES,
                       PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
                       -1, 0);

    mt_opts.ib_inline = true;
    decode_init();
    return guest == MAP_FAILED || layout_init((4u << 20) + MT_CACHE_HEAD) != 0 ||
           cache_init() != 0 || block_arena_init(4u << 20) != 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_elsewhere),
        cmocka_unit_test(not_encoded),
        cmocka_unit_test(damaged),
        cmocka_unit_test(sums),
    };

    return cmocka_run_group_tests(tests, set_up, NULL);
}
