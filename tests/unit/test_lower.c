/* SPDX-License-Identifier: BSD-2-Clause
 * test_lower.c -- instructions of all kinds, and random ones, are lowered; the host code is walked
 * with the decoder: every instruction is one, has its place in the pc map, and jumps to where code
 * is; fields that may be patched obey L3; operands name the same memory. */
/* layers: mt_sched mt_jit mt_guest mt_base */
#include "base/options.h"
#include "guest/layout.h"
#include "jit/cache.h"
#include "jit/insn.h"
#include "jit/lower.h"
#include "insn_bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PC_LOW 0x400000ull
#define PC_HIGH 0x7f1234560ff0ull

/* The unit tests have no mt_cpu that generated code would reach. */
i32 mt_cpu_tpoff = -4096;

static const Bytes samples[] = {
    B(0x90),
    B(0x48, 0x89, 0xd8),                                  /* mov %rbx, %rax */
    B(0x48, 0x8b, 0x05, 0x10, 0, 0, 0),                   /* mov 16(%rip), %rax */
    B(0x67, 0x48, 0x8b, 0x05, 0x10, 0, 0, 0),             /* mov 16(%eip), %rax */
    B(0x67, 0x4a, 0x8b, 0x05, 0x10, 0, 0, 0),             /* the same with an idle REX.X */
    B(0x67, 0x4b, 0x8b, 0x05, 0x10, 0, 0, 0),             /* and REX.B */
    B(0x81, 0x3d, 0x10, 0, 0, 0, 0x78, 0x56, 0x34, 0x12), /* cmpl $imm32, 16(%rip) */
    B(0x66, 0xc7, 0x05, 0x10, 0, 0, 0, 0x34, 0x12),       /* movw $imm16, 16(%rip) */
    B(0xff, 0x35, 0x10, 0, 0, 0),                         /* push 16(%rip) */
    B(0x8f, 0x05, 0x10, 0, 0, 0),                         /* pop 16(%rip) */
    B(0x48, 0x0f, 0xc7, 0x0d, 0x10, 0, 0, 0),             /* cmpxchg16b 16(%rip) */
    B(0xc5, 0xf9, 0x6f, 0x05, 0x10, 0, 0, 0),             /* vmovdqa 16(%rip), %xmm0 */
    B(0xc4, 0xa1, 0x79, 0x6f, 0x05, 0x10, 0, 0, 0),       /* idle VEX.X */
    B(0xc4, 0xe3, 0x79, 0x0f, 0x05, 0x10, 0, 0, 0, 4),    /* vpalignr $4, 16(%rip), ... */
    B(0x67, 0xc4, 0xa1, 0x79, 0x6f, 0x05, 0x10, 0, 0, 0),
    B(0x62, 0xf1, 0xfd, 0x48, 0x6f, 0x05, 0x10, 0, 0, 0), /* vmovdqa64 16(%rip), %zmm0 */
    B(0x67, 0x62, 0xb1, 0xfd, 0x48, 0x6f, 0x05, 0x10, 0, 0, 0),
    B(0x64, 0x48, 0x8b, 0x04, 0x25, 0x28, 0, 0, 0), /* mov %fs:0x28, %rax */
    B(0x65, 0x48, 0x8b, 0x04, 0x25, 0x28, 0, 0, 0), /* mov %gs:0x28, %rax */
    B(0xf3, 0xa4),                                  /* rep movsb */
    B(0x0f, 0x0b),                                  /* ud2 */
    B(0x06),                                        /* invalid */
    B(0xcc),
    B(0x0f, 0x84, 0x00, 1, 0, 0), /* je */
    B(0x75, 0x10),
    B(0xe3, 0x10),       /* jrcxz */
    B(0x67, 0xe3, 0xf0), /* jecxz */
    B(0xe2, 0xfe),       /* loop */
    B(0xe1, 0x70),
    B(0xe0, 0x70),
    B(0xeb, 0x10),
    B(0xe9, 0x00, 0, 0, 1),
    B(0xe8, 0, 0, 0, 0), /* call, to find out where it is */
    B(0xe8, 0x78, 0x56, 0x34, 0x02),
    B(0x66, 0x66, 0x48, 0xe8, 0x78, 0x56, 0x34, 0x02), /* as for __tls_get_addr */
    B(0xc3),
    B(0xf3, 0xc3),
    B(0xc2, 0x10, 0x00),
    B(0xc2, 0xff, 0xff),
    B(0xff, 0xe0),                /* jmp *%rax */
    B(0x41, 0xff, 0xe4),          /* jmp *%r12 */
    B(0xff, 0xe1),                /* jmp *%rcx */
    B(0x3e, 0xff, 0xe2),          /* notrack jmp *%rdx */
    B(0xff, 0x25, 0x10, 0, 0, 0), /* jmp *16(%rip) */
    B(0x67, 0xff, 0x25, 0x10, 0, 0, 0),
    B(0xff, 0x24, 0xc5, 0x10, 0, 0, 0),       /* jmp *16(,%rax,8) */
    B(0x43, 0xff, 0x24, 0xec),                /* jmp *(%r12,%r13,8) */
    B(0x64, 0xff, 0x24, 0x25, 0x10, 0, 0, 0), /* jmp *%fs:16 */
    B(0xff, 0xd0),
    B(0xff, 0xd1),
    B(0xff, 0xd4),             /* call *%rsp */
    B(0xff, 0x54, 0x24, 0x08), /* call *8(%rsp) */
    B(0xff, 0x15, 0x10, 0, 0, 0),
    B(0x67, 0xff, 0x54, 0x24, 0x08),
    B(0x64, 0xff, 0x14, 0x25, 0x10, 0, 0, 0), /* call *%fs:16 */
    B(0x65, 0xff, 0x14, 0x25, 0x10, 0, 0, 0), /* call *%gs:16 */
    B(0x0f, 0x05),
    B(0x48, 0x0f, 0x05),
    B(0xcd, 0x80),
    B(0xcf),
    B(0xcb),
    B(0xff, 0x2c, 0x24),       /* ljmp *(%rsp) */
    B(0x8e, 0xe0),             /* mov %eax, %fs */
    B(0xf3, 0x0f, 0xae, 0xc0), /* rdfsbase %eax */
};

static void lower_it(Lower *l, const Insn *in)
{
    if (in->flags & INSN_F_SEG_GS) {
        lower_end_exit(l, in, in->cls == INSN_PLAIN ? EDGE_GS : EDGE_EMULATE, in->pc);
        return;
    }
    switch (in->cls) {
    case INSN_INVALID: lower_insn(l, in); break;
    case INSN_PLAIN:
    case INSN_JCC:
    case INSN_JRCXZ:
        lower_insn(l, in);
        lower_end_at(l, in->pc + in->len);
        break;
    default: lower_end_insn(l, in);
    }
}

static CacheOff code_end(const Lower *l)
{
    return (CacheOff)(l->e.x - mt_cache.exec);
}

static bool is_glue(u64 a)
{
    return a >= mt_cache.exec + MT_IBT_BYTES && a < mt_cache.exec + mt_cache.code_lo;
}

/* Code of ours that a jump may lead to. */
static void check_jump(const Lower *l, const Insn *h)
{
    CacheOff to = cache_off(h->target);
    bool hot = to >= l->start && to <= code_end(l);
    bool cold = to >= l->space.cold_start && to < l->space.cold;

    assert_true(hot || cold || is_glue(h->target));
}

static bool is_jump(const Insn *h)
{
    return h->cls == INSN_JMP || h->cls == INSN_JCC || h->cls == INSN_JRCXZ || h->cls == INSN_CALL;
}

/* The states that a place may have where the guest's instruction `in` is the only one. */
static void check_state(const PcState *s, const Insn *in)
{
    assert_true(s->kind <= PC_CALL_FIX_SLOT);
    if (s->kind == PC_NEXT || s->kind == PC_NEXT_SPILL) {
        assert_true(s->pc == in->pc + in->len);
    } else if (s->kind == PC_BRANCH) {
        assert_true(s->pc == in->target);
    } else {
        assert_true(s->pc == in->pc || s->pc == in->pc + in->len || s->pc == in->target);
    }
}

/* A copied instruction's RIP-relative operand: the same address, or what a scratch register
 * holds. */
static void check_operand(const Insn *in, const Insn *h)
{
    MemOp g[MT_MAX_MEMOPS], m[MT_MAX_MEMOPS];
    int n = decode_memops(in, g), k = decode_memops(h, m);

    /* %fs: a spill of ours */
    if (in->cls != INSN_PLAIN || !(in->flags & INSN_F_RIPREL) || (h->flags & INSN_F_SEG_FS) ||
        h->mnemonic != in->mnemonic || k != n) {
        return;
    }
    for (int i = 0; i < n; i++) {
        if (g[i].base != 0xfe) {
            continue;
        }
        assert_int_equal(m[i].index, 0xff);
        assert_int_equal(m[i].size, g[i].size);
        if (m[i].base == 0xfe || m[i].base == 0xff) {
            u64 a = (h->flags & INSN_F_ADDR32) ? (u32)m[i].disp : (u64)m[i].disp;

            assert_true(a == in->mem_addr);
        }
    }
}

static void check_exit(CacheOff at)
{
    Insn h;

    decode_insn(&h, cache_exec_addr(at), cache_write_ptr(at), 15);
    assert_int_equal(h.cls, INSN_JMP);
    assert_true(is_glue(h.target));
}

/* The offset from %fs:0 that a stub's instruction writes to. */
static i32 stub_operand(CacheOff at, u32 len)
{
    Insn h;

    decode_insn(&h, cache_exec_addr(at), cache_write_ptr(at), 15);
    assert_int_equal(h.len, len);
    assert_true((h.flags & INSN_F_RIPREL) && (h.flags & INSN_F_SEG_FS));
    return (i32)h.mem_addr;
}

/* notb exit_steps + i, from the last link's on; movl $block, exit_arg; jmp glue */
static void check_stubs(const Lower *l)
{
    CacheOff at = l->stubs;

    for (u32 i = l->nlinks; i > 1; i--, at += MT_STUB_STEP) {
        assert_int_equal(stub_operand(at, MT_STUB_STEP), (i32)(MT_TP(exit_steps) + i - 1));
    }
    if (l->nlinks > 0) {
        assert_int_equal(stub_operand(at, 11), (i32)MT_TP(exit_arg));
        check_exit(at + 11);
    }
}

static void check_edges(const Lower *l)
{
    u32 links = 0;

    for (u32 i = 0; i < l->nedges; i++) {
        const LowerEdge *d = &l->edges[i];
        Insn h;

        assert_int_equal(d->kind == EDGE_DIRECT || d->kind == EDGE_CALL, d->patch != 0);
        if (d->kind == EDGE_RETURN) {
            assert_true(d->stub > l->start && d->stub < code_end(l));
            assert_true(lower_return_pc(d->stub) == d->target);
            continue;
        }
        if (d->patch != 0) { /* L3 */
            i32 rel;

            assert_true((cache_exec_addr(d->patch) & 7) <= 4);
            memcpy(&rel, cache_write_ptr(d->patch), 4);
            assert_true(cache_exec_addr(d->patch) + 4 + (u64)(i64)rel == cache_exec_addr(d->stub));
        }
        if (d->patch != 0) {
            assert_int_equal(d->stub, l->stubs + (l->nlinks - ++links) * MT_STUB_STEP);
            continue;
        }
        /* movl $edge, exit_arg; jmp glue */
        decode_insn(&h, cache_exec_addr(d->stub), cache_write_ptr(d->stub), 15);
        assert_int_equal(h.len, 12);
        assert_int_equal(h.imm_off, 8);
        check_exit(d->stub + 12);
    }
    assert_int_equal(links, l->nlinks);
    check_stubs(l);
}

/* All host instructions from the direct entry on. */
static void check_code(const Lower *l, const Insn *in)
{
    CacheOff at = l->host, end = l->end;
    PcState s;

    while (at < end) {
        Insn h;

        decode_insn(&h, cache_exec_addr(at), cache_write_ptr(at), 15);
        if (in->cls != INSN_INVALID && !(in->flags & INSN_F_OPAQUE)) {
            assert_true(h.cls != INSN_FAULT && (h.cls != INSN_INVALID || h.len > 1));
        }
        assert_true(pcmap_find(l->map.bytes, l->map.len, l->pc, at - l->host, &s));
        check_state(&s, in);
        if (is_jump(&h)) {
            check_jump(l, &h);
        }
        check_operand(in, &h);
        at += h.cls == INSN_INVALID ? 2 : h.len; /* ud2 of ours, or the guest's */
    }
    assert_int_equal(at, end);
    /* The map describes all of it, and no more. */
    assert_true(pcmap_find(l->map.bytes, l->map.len, l->pc, end - l->host, &s));
    assert_false(pcmap_find(l->map.bytes, l->map.len, l->pc, end - l->host + 1, &s));
}

static void lower_one(const u8 *code, u32 n, GuestAddr pc, u32 skew, LowerEntry entry, bool quantum)
{
    static Lower l;
    Insn in;
    CacheOff before;

    decode_insn(&in, pc, code, n);
    if (in.cls == INSN_FAULT) {
        return;
    }
    if (!cache_reserve(&l.space, 3072)) {
        cache_flush_world();
        assert_true(cache_reserve(&l.space, 3072));
    }
    l.space.hot += skew; /* all alignments */
    lower_begin(&l, pc, entry, quantum);
    l.return_stack = skew % 3 == 0;
    assert_true(lower_room(&l));
    assert_true(l.host - l.start <= (entry == ENTRY_IND ? MT_IND_BYTES : MT_CALL_ENTRY_BYTES));
    before = code_end(&l);
    lower_it(&l, &in);
    assert_true(code_end(&l) - before <= MT_LOWER_MAX);
    lower_finish(&l);
    if (in.cls == INSN_INVALID || (in.flags & INSN_F_OPAQUE)) {
        check_edges(&l);
        return; /* bytes that the decoder does not know */
    }
    check_code(&l, &in);
    check_edges(&l);
}

static void all_kinds(void **state)
{
    static const GuestAddr pcs[] = {PC_LOW, PC_HIGH, 0x7ffffff0, 0xfffffff0};

    for (u32 i = 0; i < MT_ARRAY_SIZE(samples); i++) {
        for (u32 k = 0; k < MT_ARRAY_SIZE(pcs); k++) {
            for (u32 skew = 0; skew < 8; skew++) {
                mt_opts.exits = (i + k + skew / 4) % 2 ? EXITS_NEAR : EXITS_COLD;
                lower_one(samples[i].b, samples[i].n, pcs[k], skew, (LowerEntry)(skew % 3),
                          skew & 2);
            }
        }
    }
}

static void random_bytes(void **state)
{
    u64 s = 0x1234567;
    u8 code[15];

    mt_opts.exits = EXITS_COLD;
    for (u32 i = 0; i < 400000; i++) {
        for (u32 k = 0; k < 15; k++) {
            s ^= s >> 12;
            s ^= s << 25;
            s ^= s >> 27;
            code[k] = (u8)(s * 0x2545f4914f6cdd1dull >> 40);
        }
        if (i % 3 == 0) { /* a RIP-relative operand behind a likely opcode */
            static const u8 starts[][3] = {{0x48, 0x8b, 0x05},
                                           {0xc5, 0xf8, 0x10},
                                           {0xff, 0x15},
                                           {0x67, 0x8b, 0x0d},
                                           {0x64, 0x8b, 0x05}};

            memcpy(code, starts[i / 3 % 5], 3);
        }
        lower_one(code, 15, i & 1 ? PC_LOW : PC_HIGH, i % 8, ENTRY_NONE, false);
    }
}

/* In the sequential mode a pause takes from the quantum; not the exchange that looks like it. */
static void pauses(void **state)
{
    static const Bytes codes[] = {B(0xf3, 0x90), B(0xf3, 0x41, 0x90)};
    static Lower l;

    for (u32 i = 0; i < 4; i++) {
        const Bytes *b = &codes[i % 2];
        CacheOff before;
        Insn in;

        decode_insn(&in, PC_LOW, b->b, b->n);
        cache_flush_world();
        assert_true(cache_reserve(&l.space, 3072));
        lower_begin(&l, in.pc, ENTRY_NONE, i < 2);
        before = code_end(&l);
        lower_insn(&l, &in);
        assert_int_equal(code_end(&l) - before, b->n + (i == 0 ? 9 : 0));
        lower_end_at(&l, in.pc + in.len);
        lower_finish(&l);
        check_code(&l, &in);
    }
}

/* The check that blocks from changing pages begin with: each length, low and high. */
static void checked_bytes(void **state)
{
    static const Insn nop = {.pc = PC_LOW, .bytes = {0x90}, .len = 1, .cls = INSN_PLAIN};
    u8 bytes[MT_CHECKED_BYTES];
    static Lower l;

    memset(bytes, 0x90, sizeof(bytes));
    for (u32 n = 1; n <= MT_CHECKED_BYTES; n++) {
        for (int high = 0; high < 2; high++) {
            Insn in = nop;

            mt_opts.protect_again = n % 3 != 0;
            in.pc = high ? PC_HIGH : PC_LOW;
            cache_flush_world();
            assert_true(cache_reserve(&l.space, 3072));
            lower_begin(&l, in.pc, ENTRY_IND, true);
            lower_check_bytes(&l, bytes, n);
            assert_true(lower_room(&l));
            lower_it(&l, &in);
            lower_finish(&l);
            check_code(&l, &in);
            check_edges(&l);
        }
    }
}

/* With the next instruction's field announced (lower_field_behind()) nothing stands between the
 * two, and what is put into the first one does not change it. */
static void beside_jumps(void **state)
{
    static const Bytes first[] = {
        B(0x85, 0xc0),                                  /* test %eax, %eax */
        B(0x45, 0x39, 0xc8),                            /* cmp %r9d, %r8d */
        B(0x66, 0x81, 0xf9, 0x34, 0x12),                /* cmp $0x1234, %cx */
        B(0x80, 0x3c, 0x25, 1, 0, 0, 0, 5),             /* cmpb $5, 1 */
        B(0x80, 0x3d, 0x10, 0, 0, 0, 5),                /* cmpb $5, 16(%rip) */
        B(0x48, 0xff, 0xc9),                            /* dec %rcx */
        B(0x3c, 0x41),                                  /* cmp $65, %al */
        B(0x64, 0x48, 0x3b, 0x04, 0x25, 0x28, 0, 0, 0), /* cmp %fs:0x28, %rax */
        B(0xc5, 0xf9, 0x2e, 0xc1),                      /* vucomisd %xmm1, %xmm0 */
        B(0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x3e, 0x48, 0x81, 0xfb, 0, 1, 0,
          0), /* cmp $256, %rbx; 14 bytes */
    };
    static Lower l;

    for (u32 i = 0; i < MT_ARRAY_SIZE(first); i++) {
        for (u32 skew = 0; skew < 8; skew++) {
            Insn in, h, jump = {.pc = PC_LOW + 15, .bytes = {0x75, 0}, .len = 2, .cls = INSN_JCC};
            CacheOff at, last = 0, end;
            PcState s;

            decode_insn(&in, PC_LOW, first[i].b, first[i].n);
            if (in.cls == INSN_FAULT) {
                continue;
            }
            jump.cc = 5;
            jump.target = PC_LOW + 64;
            cache_flush_world();
            assert_true(cache_reserve(&l.space, 3072));
            l.space.hot += skew;
            lower_begin(&l, in.pc, ENTRY_NONE, false);
            lower_field_behind(&l, 2);
            lower_insn(&l, &in);
            end = code_end(&l);
            lower_insn(&l, &jump);
            assert_int_equal(l.edges[0].patch, end + 2);
            lower_end_at(&l, jump.target);
            lower_finish(&l);
            for (at = l.host; at < end; at += h.len) {
                last = at;
                decode_insn(&h, cache_exec_addr(at), cache_write_ptr(at), 15);
            }
            assert_int_equal(at, end);
            assert_int_equal(h.mnemonic, in.mnemonic);
            assert_int_equal(h.flags & ~INSN_F_SEG_GS, in.flags & ~INSN_F_SEG_FS);
            check_operand(&in, &h);
            assert_true(pcmap_find(l.map.bytes, l.map.len, l.pc, last - l.host, &s));
            assert_true(s.kind == PC_SAME && s.pc == in.pc);
            assert_true(pcmap_find(l.map.bytes, l.map.len, l.pc, end - l.host, &s));
            assert_true(s.kind == PC_SAME && s.pc == in.pc + in.len);
            check_edges(&l);
        }
    }
}

/* Room for code, in an empty cache. */
static Emit fresh_space(CodeSpace *s)
{
    cache_flush_world();
    assert_true(cache_reserve(s, 3072));
    return (Emit){cache_write_ptr(s->hot), cache_exec_addr(s->hot)};
}

/* recover.c knows where in an entry rdx is in slot[2]. */
static void ind_entry_layout(void **state)
{
    for (int high = 0; high < 2; high++) {
        GuestAddr pc = high ? PC_HIGH : PC_LOW;
        bool spilled = false;
        CacheOff at, entry;
        CodeSpace s;
        Emit e;
        Insn h;

        e = fresh_space(&s);
        entry = at = lower_ind_entry(&e, pc, mt_cache.exec + MT_IBT_BYTES);
        assert_true(e.x - cache_exec_addr(s.hot) <= MT_IND_BYTES);
        assert_true(*(u64 *)cache_write_ptr(entry - 8) == pc);
        while (cache_exec_addr(at) < e.x) {
            u32 off = at - entry;

            decode_insn(&h, cache_exec_addr(at), cache_write_ptr(at), 15);
            assert_int_not_equal(h.cls, INSN_INVALID);
            assert_int_equal(spilled, high && off >= 18 && off < 41);
            if (h.len == 9 && h.bytes[3] == 0x14) { /* rdx to or from a slot */
                spilled = h.bytes[2] == 0x89;
            }
            at += h.len;
        }
        assert_int_equal(cache_exec_addr(at), e.x);
    }
}

/* As long as there is room for one more instruction, there is for what lower_finish() adds. */
static void room_for_fixes(void **state)
{
    static const struct {
        u8 code[6];
        u32 len, times;
    } seq[] = {{{0xff, 0xd0}, 2, MT_MAX_FIXES - 1},
               {{0xe8, 1, 2, 3, 0}, 5, 27},
               {{0x8b, 0x05, 1, 2, 3, 0}, 6, 1000}};
    static Lower l;
    GuestAddr pc = PC_HIGH;

    cache_flush_world();
    assert_true(cache_reserve(&l.space, 3072));
    lower_begin(&l, pc, ENTRY_NONE, false);
    l.return_stack = true;
    for (u32 k = 0; k < MT_ARRAY_SIZE(seq); k++) {
        for (u32 i = 0; i < seq[k].times && lower_room(&l); i++) {
            Insn in;

            decode_insn(&in, pc, seq[k].code, seq[k].len);
            lower_insn(&l, &in);
            pc += in.len;
        }
    }
    assert_int_equal(l.nfixes, MT_MAX_FIXES - 1);
    lower_end_at(&l, pc);
    lower_finish(&l);
    assert_true(l.map.len > MT_PCMAP_MAX / 2 && l.map.len <= MT_PCMAP_MAX);
}

/* Where pext and loop are fast, calls and returns are common sequences for the pc map: 2 bytes
 * each. */
static void common_maps(void **state)
{
    static const struct {
        u8 code[5];
        u32 len;
        bool stack;
    } seq[] = {{{0xe8, 1, 2, 3, 0}, 5, true}, {{0xc3}, 1, true}, {{0xc3}, 1, false}};
    static Lower l;

    for (u32 i = 0; i < MT_ARRAY_SIZE(seq); i++) {
        u32 padding;
        Insn in;

        cache_flush_world();
        assert_true(cache_reserve(&l.space, 3072));
        lower_begin(&l, PC_LOW, ENTRY_NONE, false);
        l.return_stack = seq[i].stack;
        decode_insn(&in, PC_LOW, seq[i].code, seq[i].len);
        if (in.cls == INSN_CALL) {
            lower_insn(&l, &in);
        } else {
            lower_end_insn(&l, &in);
        }
        padding = l.map.bytes[0] >> 4 == 0; /* before a call */
        if (mt_cache.ibt_mask_at != 0 && mt_cache.fast_loop) {
            assert_int_equal(l.map.len - padding, 2);
        }
        lower_finish(&l);
    }
}

/* recover.c knows where in an entry for calls the stack and rax have been put right. */
static void call_entry_layout(void **state)
{
    CacheOff at, entry;
    CodeSpace s;
    Emit e;
    Insn h;

    e = fresh_space(&s);
    entry = lower_call_entry(&e, mt_cache.exec + MT_IBT_BYTES);
    assert_int_equal(e.x - cache_exec_addr(entry), MT_CALL_ENTRY_BYTES);
    at = entry;
    decode_insn(&h, cache_exec_addr(at), cache_write_ptr(at), 15);
    assert_true((h.flags & INSN_F_WRITES_MEM) != 0 && h.len == MT_CALL_STORED);
    at += h.len;
    decode_insn(&h, cache_exec_addr(at), cache_write_ptr(at), 15);
    assert_true((h.gprs_written & 1) != 0);
    at += h.len;
    assert_int_equal(at - entry, MT_CALL_RELOADED);
    decode_insn(&h, cache_exec_addr(at), cache_write_ptr(at), 15);
    assert_int_equal(h.cls, INSN_JMP);
}

static int setup(void **state)
{
    decode_init();
    mt_opts.ib_inline = true;
    mt_opts.return_stack = RETURN_STACK_YES;
    return layout_init((8u << 20) + MT_CACHE_HEAD) != 0 || cache_init() != 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_kinds),        cmocka_unit_test(random_bytes),
        cmocka_unit_test(pauses),           cmocka_unit_test(checked_bytes),
        cmocka_unit_test(ind_entry_layout), cmocka_unit_test(call_entry_layout),
        cmocka_unit_test(common_maps),      cmocka_unit_test(room_for_fixes),
        cmocka_unit_test(beside_jumps),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
