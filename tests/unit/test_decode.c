/* SPDX-License-Identifier: BSD-2-Clause
 * test_decode.c -- the decoder: classes, prefixes, offsets, registers, flags, memory accesses; a
 * walk over real libraries against capstone; random bytes at the end of readable memory. */
/* layers: mt_base mt_jit */
#include "jit/decode_int.h"

#include <elf.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define PC 0x10000000ull

static size_t parse_hex(const char *hex, u8 *out)
{
    size_t n = 0;
    for (const char *p = hex; *p; p++) {
        if (*p != ' ') {
            char digits[3] = {p[0], p[1], 0};
            out[n++] = (u8)strtoul(digits, NULL, 16);
            p++;
        }
    }
    return n;
}

/* Decodes bytes given in hex, both ways: with exactly these bytes and with more behind them (the
 * second time through the table of shapes). */
static Insn decode(const char *hex)
{
    u8 code[32];
    size_t n = parse_hex(hex, code);
    Insn a, b;

    memset(code + n, 0x90, sizeof(code) - n);
    decode_insn(&a, PC, code, n);
    for (int i = 0; i < 2; i++) {
        decode_insn(&b, PC, code, sizeof(code));
        if (a.cls != INSN_FAULT && (a.len != b.len || a.cls != b.cls || a.flags != b.flags ||
                                    a.gprs_used != b.gprs_used || a.target != b.target)) {
            fail_msg("%s: differs with more bytes behind it", hex);
        }
    }
    return a;
}

static void set_vendor(bool amd)
{
    decode_amd_branches = amd;
    ZydisDecoderEnableMode(&decode_zydis, ZYDIS_DECODER_MODE_AMD_BRANCHES, amd);
}

/* ---- classes ---- */

typedef struct ClassRow {
    const char *hex;
    InsnClass cls;
    i64 target; /* relative to PC; 0: none */
    int cc_or_pop;
} ClassRow;

static const ClassRow class_rows[] = {
    {"90", INSN_PLAIN, 0, 0},
    {"f30f1efa", INSN_PLAIN, 0, 0}, /* endbr64 */
    {"0f1f4000", INSN_PLAIN, 0, 0},
    {"662e0f1f840000000000", INSN_PLAIN, 0, 0},
    {"7402", INSN_JCC, 4, 4},
    {"2e7402", INSN_JCC, 5, 4}, /* hints */
    {"3e7402", INSN_JCC, 5, 4},
    {"647402", INSN_JCC, 5, 4},
    {"7ffe", INSN_JCC, 0 - 0x7fffffffll, 15}, /* to itself: checked below */
    {"0f8500010000", INSN_JCC, 0x106, 5},
    {"eb10", INSN_JMP, 0x12, 0},
    {"e9fbffffff", INSN_JMP, 0 - 0x7fffffffll, 0},
    {"f2e900000000", INSN_JMP, 6, 0}, /* bnd */
    {"e800010000", INSN_CALL, 0x105, 0},
    {"666648e800010000", INSN_CALL, 0x108, 0}, /* as __tls_get_addr is called */
    {"e305", INSN_JRCXZ, 7, 0},
    {"67e305", INSN_JRCXZ, 8, 0},
    {"e205", INSN_JRCXZ, 7, 0},
    {"e105", INSN_JRCXZ, 7, 0},
    {"e005", INSN_JRCXZ, 7, 0},
    {"ffe0", INSN_JMP_IND, 0, 0},
    {"3effe0", INSN_JMP_IND, 0, 0}, /* notrack */
    {"ff2500000000", INSN_JMP_IND, 0, 0},
    {"41ffd4", INSN_CALL_IND, 0, 0},
    {"65ff142510000000", INSN_CALL_IND, 0, 0},
    {"c3", INSN_RET, 0, 0},
    {"f3c3", INSN_RET, 0, 0},
    {"f2c3", INSN_RET, 0, 0},
    {"c21000", INSN_RET, 0, 0x10},
    {"c2ffff", INSN_RET, 0, 0xffff},
    {"0f05", INSN_SYSCALL, 0, 0},
    {"480f05", INSN_SYSCALL, 0, 0},
    {"cd80", INSN_EMULATE, 0, 0},
    {"c7f810000000", INSN_EMULATE, 0x16, 0}, /* xbegin */
    {"c6f801", INSN_PLAIN, 0, 0},            /* xabort */
    {"0f01d5", INSN_PLAIN, 0, 0},            /* xend */
    {"f3480faec0", INSN_EMULATE, 0, 0},      /* rdfsbase */
    {"f3480faec8", INSN_EMULATE, 0, 0},      /* rdgsbase */
    {"f3480faed0", INSN_EMULATE, 0, 0},      /* wrfsbase */
    {"f30faed8", INSN_EMULATE, 0, 0},        /* wrgsbase, 32 bits */
    {"f3480faee8", INSN_PLAIN, 0, 0},        /* incsspq */
    {"0faee8", INSN_PLAIN, 0, 0},            /* lfence */
    {"8ed8", INSN_EMULATE, 0, 0},            /* mov ds, eax */
    {"8ee0", INSN_EMULATE, 0, 0},            /* mov fs, eax */
    {"8e28", INSN_EMULATE, 0, 0},
    {"8ce0", INSN_PLAIN, 0, 0}, /* mov eax, fs */
    {"0fa0", INSN_PLAIN, 0, 0}, /* push fs */
    {"0fa8", INSN_PLAIN, 0, 0},
    {"0fa1", INSN_EMULATE, 0, 0}, /* pop fs */
    {"0fa9", INSN_EMULATE, 0, 0},
    {"0fb200", INSN_EMULATE, 0, 0}, /* lss lfs lgs */
    {"0fb400", INSN_EMULATE, 0, 0},
    {"480fb500", INSN_EMULATE, 0, 0},
    {"ff18", INSN_EMULATE, 0, 0},   /* call far */
    {"48ff28", INSN_EMULATE, 0, 0}, /* jmp far */
    {"cb", INSN_EMULATE, 0, 0},
    {"ca0800", INSN_EMULATE, 0, 0},
    {"cf", INSN_EMULATE, 0, 0},
    {"48cf", INSN_EMULATE, 0, 0},
    {"0f34", INSN_PLAIN, 0, 0}, /* sysenter */
    {"cc", INSN_PLAIN, 0, 0},
    {"cd03", INSN_PLAIN, 0, 0},
    {"f1", INSN_PLAIN, 0, 0},
    {"f4", INSN_PLAIN, 0, 0},
    {"ec", INSN_PLAIN, 0, 0},
    {"e710", INSN_PLAIN, 0, 0},
    {"fa", INSN_PLAIN, 0, 0},
    {"0f0b", INSN_PLAIN, 0, 0},
    {"0fb9c0", INSN_PLAIN, 0, 0},
    {"0fff00", INSN_PLAIN, 0, 0},
    {"0f01f8", INSN_PLAIN, 0, 0}, /* swapgs */
    {"0f30", INSN_PLAIN, 0, 0},
    {"0f0118", INSN_PLAIN, 0, 0},
    {"c5e174 10", INSN_PLAIN, 0, 0}, /* Knights Corner's jkzd: no branch here */
    {"06", INSN_INVALID, 0, 0},
    {"ce", INSN_INVALID, 0, 0}, /* into */
    {"d6", INSN_INVALID, 0, 0},
    {"0f04", INSN_INVALID, 0, 0},
    {"f00f1f00", INSN_INVALID, 0, 0}, /* lock nop */
    {"8ec8", INSN_INVALID, 0, 0},     /* mov cs, eax */
    {"62", INSN_FAULT, 0, 0},
    {"e8000000", INSN_FAULT, 0, 0},
    {"48", INSN_FAULT, 0, 0},
    {"", INSN_FAULT, 0, 0},
};

static void test_classes(void **state)
{
    for (size_t i = 0; i < MT_ARRAY_SIZE(class_rows); i++) {
        const ClassRow *r = &class_rows[i];
        u8 code[32];
        size_t n = parse_hex(r->hex, code);
        Insn in = decode(r->hex);

        if (in.cls != r->cls) {
            fail_msg("%s: class %d, expected %d", r->hex, in.cls, r->cls);
        }
        if (in.cls == INSN_INVALID) {
            assert_int_equal(in.len, 1);
            continue;
        }
        if (in.len != n) {
            fail_msg("%s: length %u", r->hex, in.len);
        }
        if (r->target == 0 - 0x7fffffffll) {
            assert_true(in.target == PC); /* the row's displacement is minus its length */
        } else if (r->target != 0 && in.target != PC + (u64)r->target) {
            fail_msg("%s: target %llx", r->hex, (unsigned long long)in.target);
        }
        if (in.cls == INSN_JCC) {
            assert_int_equal(in.cc, r->cc_or_pop);
        } else if (in.cls == INSN_RET) {
            assert_int_equal(in.ret_pop, r->cc_or_pop);
        }
    }
}

/* A 66 prefix on a near branch: Intel ignores it, AMD cuts RIP (as measured on AMD hardware: rsp
 * moves by two at 66 ret and 66 call, rip is below 64 KiB). */
static void test_vendor(void **state)
{
    bool here = decode_amd_branches;
    u64 cut = PC & 0xffff;

    set_vendor(true);
    assert_int_equal(decode("66e91000").len, 4);
    assert_int_equal(decode("66e91000").cls, INSN_JMP);
    assert_true(decode("66e91000").target == cut + 0x14);
    assert_true(decode("667410").target == cut + 0x13);
    assert_true(decode("660f841000").target == cut + 0x15);
    assert_int_equal(decode("66e81000").cls, INSN_EMULATE);
    assert_int_equal(decode("66c3").cls, INSN_EMULATE);
    assert_int_equal(decode("66c20800").cls, INSN_EMULATE);
    assert_int_equal(decode("66ffe0").cls, INSN_EMULATE);
    assert_int_equal(decode("66ffd0").cls, INSN_EMULATE);
    assert_int_equal(decode("66e310").cls, INSN_EMULATE);
    assert_int_equal(decode("6648c3").cls, INSN_RET);
    assert_int_equal(decode("6648ffe0").cls, INSN_JMP_IND);
    assert_true(decode("6648e910000000").target == PC + 0x17);

    set_vendor(false);
    assert_int_equal(decode("66e910000000").len, 6);
    assert_true(decode("66e910000000").target == PC + 0x16);
    assert_true(decode("667410").target == PC + 0x13);
    assert_int_equal(decode("66e810000000").cls, INSN_CALL);
    assert_int_equal(decode("66c3").cls, INSN_RET);
    assert_int_equal(decode("66ffe0").cls, INSN_JMP_IND);
    assert_int_equal(decode("66e310").cls, INSN_JRCXZ);
    set_vendor(here);
}

/* ---- segments ---- */

typedef struct SegRow {
    const char *hex;
    u16 seg; /* INSN_F_SEG_* or 0 */
    int off; /* of the prefix in effect */
} SegRow;

static const SegRow seg_rows[] = {
    {"64488b042528000000", INSN_F_SEG_FS, 0},
    {"65488b042528000000", INSN_F_SEG_GS, 0},
    {"64658b00", INSN_F_SEG_GS, 1}, /* the last of FS and GS wins, */
    {"65648b00", INSN_F_SEG_FS, 1},
    {"643e8b00", INSN_F_SEG_FS, 0}, /* the others don't count */
    {"3e648b00", INSN_F_SEG_FS, 1},
    {"652e8b00", INSN_F_SEG_GS, 0},
    {"6436268b00", INSN_F_SEG_FS, 0},
    {"3e8b00", 0, 0},
    {"66648b00", INSN_F_SEG_FS, 1},
    {"64668b00", INSN_F_SEG_FS, 0},
    {"64f0480fb10f", INSN_F_SEG_FS, 0},
    {"648b0500000000", INSN_F_SEG_FS, 0}, /* with RIP-relative */
    {"6489c0", 0, 0},                     /* no memory operand */
    {"648d00", 0, 0},                     /* lea */
    {"640f1f00", 0, 0},                   /* nop */
    {"647402", 0, 0},                     /* hint */
    {"6450", 0, 0},                       /* implicit stack */
    {"64ff30", INSN_F_SEG_FS, 0},         /* push fs:[rax] */
    {"64c3", 0, 0},
    {"64a4", INSN_F_SEG_FS, 0}, /* movsb: the source */
    {"f365a5", INSN_F_SEG_GS, 1},
    {"65ac", INSN_F_SEG_GS, 0},
    {"64a6", INSN_F_SEG_FS, 0},
    {"64aa", 0, 0}, /* stos, scas: ES only */
    {"64ae", 0, 0},
    {"64d7", INSN_F_SEG_FS, 0},                 /* xlat */
    {"64a12800000000000000", INSN_F_SEG_FS, 0}, /* moffs */
    {"6548a32800000000000000", INSN_F_SEG_GS, 0},
    {"64660ff7c1", INSN_F_SEG_FS, 0}, /* maskmovdqu */
    {"640f01fc", INSN_F_SEG_FS, 0},   /* clzero */
    {"64c5f85800", INSN_F_SEG_FS, 0},
    {"6462f17c485800", INSN_F_SEG_FS, 0},
    {"64c5f858c1", 0, 0},
    {"64ff2500000000", INSN_F_SEG_FS, 0},
};

static void test_segments(void **state)
{
    for (size_t i = 0; i < MT_ARRAY_SIZE(seg_rows); i++) {
        const SegRow *r = &seg_rows[i];
        Insn in = decode(r->hex);

        if ((in.flags & (INSN_F_SEG_FS | INSN_F_SEG_GS)) != r->seg ||
            in.seg_off != (r->seg ? r->off : 0xff)) {
            fail_msg("%s: flags %x, segment prefix at %u", r->hex, in.flags, in.seg_off);
        }
    }
}

/* ---- offsets ---- */

/* 255: none. flags: of OFFSET_FLAGS. RIP-relative displacements are 0x10. */
typedef struct OffsetRow {
    const char *hex;
    int opcode, rex, modrm, disp, disp_size, imm, imm_size;
    u16 flags;
} OffsetRow;

#define OFFSET_FLAGS (INSN_F_RIPREL | INSN_F_ADDR32 | INSN_F_VEX_LIKE | INSN_F_OPAQUE)

static const OffsetRow offset_rows[] = {
    {"50", 0, 255, 255, 0, 0, 0, 0, 0},
    {"4889c0", 1, 0, 2, 0, 0, 0, 0, 0},
    {"488b0510000000", 1, 0, 2, 3, 4, 0, 0, INSN_F_RIPREL},
    {"488b4510", 1, 0, 2, 3, 1, 0, 0, 0},
    {"8b842410000000", 0, 255, 1, 3, 4, 0, 0, 0},
    {"8b042510000000", 0, 255, 1, 3, 4, 0, 0, 0},
    {"c7051000000001000000", 0, 255, 1, 2, 4, 6, 4, INSN_F_RIPREL},
    {"66c705100000000100", 1, 255, 2, 3, 4, 7, 2, INSN_F_RIPREL},
    {"48b81122334455667788", 1, 0, 255, 0, 0, 2, 8, 0},
    {"48a11122334455667788", 1, 0, 255, 2, 8, 0, 0, 0},
    {"67a111223344", 1, 255, 255, 2, 4, 0, 0, INSN_F_ADDR32},
    {"678b0510000000", 1, 255, 2, 3, 4, 0, 0, INSN_F_RIPREL | INSN_F_ADDR32},
    {"4866890510000000", 2, 255, 3, 4, 4, 0, 0, INSN_F_RIPREL}, /* REX before 66 is ignored */
    {"660f6f0510000000", 2, 255, 3, 4, 4, 0, 0, INSN_F_RIPREL},
    {"66440f3a0f051000000008", 4, 1, 5, 6, 4, 10, 1, INSN_F_RIPREL},
    {"c5fc100510000000", 2, 255, 3, 4, 4, 0, 0, INSN_F_RIPREL | INSN_F_VEX_LIKE},
    {"c4e37d06051000000001", 3, 255, 4, 5, 4, 9, 1, INSN_F_RIPREL | INSN_F_VEX_LIKE},
    {"62f17c48100510000000", 4, 255, 5, 6, 4, 0, 0, INSN_F_RIPREL | INSN_F_VEX_LIKE},
    {"62f17c48104001", 4, 255, 5, 6, 1, 0, 0, INSN_F_VEX_LIKE},
    {"8fe97880051000 0000", 3, 255, 4, 5, 4, 0, 0, INSN_F_RIPREL | INSN_F_VEX_LIKE},
    {"0f0f0510000000 9e", 7, 255, 2, 3, 4, 0, 0, INSN_F_RIPREL}, /* pfadd */
    {"c8100001", 0, 255, 255, 0, 0, 1, 3, 0},
    {"ff2510000000", 0, 255, 1, 2, 4, 0, 0, INSN_F_RIPREL},
    {"0f8510000000", 1, 255, 255, 0, 0, 2, 4, 0},
    {"f20f38f10510000000", 3, 255, 4, 5, 4, 0, 0, INSN_F_RIPREL},
    /* unknown extensions */
    {"0f38fc0510000000", 2, 255, 3, 4, 4, 0, 0, INSN_F_RIPREL | INSN_F_OPAQUE}, /* aadd */
    {"c4e2fbcc05 10000000", 3, 255, 4, 5, 4, 0, 0,
     INSN_F_RIPREL | INSN_F_OPAQUE | INSN_F_VEX_LIKE}, /* SHA-512's place, with memory */
    {"c4e279dac1", 3, 255, 4, 0, 0, 0, 0, INSN_F_OPAQUE | INSN_F_VEX_LIKE},          /* sm3 */
    {"c4e379dec105", 3, 255, 4, 0, 0, 5, 1, INSN_F_OPAQUE | INSN_F_VEX_LIKE},        /* sm3rnds2 */
    {"c4e7 7bf8c001000000", 3, 255, 4, 0, 0, 5, 4, INSN_F_OPAQUE | INSN_F_VEX_LIKE}, /* urdmsr */
    {"62f47c188105 10000000 01000000", 4, 255, 5, 6, 4, 10, 4,
     INSN_F_RIPREL | INSN_F_OPAQUE | INSN_F_VEX_LIKE}, /* APX add */
    {"62f47c18f6c0 01", 4, 255, 5, 0, 0, 6, 1, INSN_F_OPAQUE | INSN_F_VEX_LIKE},
};

static void test_offsets(void **state)
{
    for (size_t i = 0; i < MT_ARRAY_SIZE(offset_rows); i++) {
        const OffsetRow *r = &offset_rows[i];
        u8 code[32];
        size_t n = parse_hex(r->hex, code);
        Insn in = decode(r->hex);

        if (in.len != n || in.opcode_off != r->opcode || in.rex_off != r->rex ||
            in.modrm_off != r->modrm || in.disp_off != r->disp || in.disp_size != r->disp_size ||
            in.imm_off != r->imm || in.imm_size != r->imm_size ||
            (in.flags & OFFSET_FLAGS) != r->flags) {
            fail_msg("%s: len %u opcode %u rex %u modrm %u disp %u+%u imm %u+%u flags %x", r->hex,
                     in.len, in.opcode_off, in.rex_off, in.modrm_off, in.disp_off, in.disp_size,
                     in.imm_off, in.imm_size, in.flags);
        }
        if (in.flags & INSN_F_RIPREL) {
            assert_true(in.mem_addr == PC + n + 0x10);
        }
        if (in.flags & INSN_F_OPAQUE) {
            assert_int_equal(in.cls, INSN_PLAIN);
            assert_int_equal(in.gprs_used, 0xffff);
        }
    }
}

/* Another displacement, written where disp_off says, is the one that is decoded then. */
static void check_rewrite(const Insn *in)
{
    MemOp before[MT_MAX_MEMOPS], after[MT_MAX_MEMOPS];
    Insn patched;
    u8 code[16] = {0};
    i32 disp;
    int n;

    memcpy(code, in->bytes, in->len);
    memcpy(&disp, code + in->disp_off, 4);
    disp ^= 0x1000;
    memcpy(code + in->disp_off, &disp, 4);
    decode_insn(&patched, in->pc, code, in->len);
    assert_int_equal(patched.len, in->len);
    if (in->flags & INSN_F_RIPREL) {
        assert_true((patched.mem_addr - in->mem_addr) + 0x1000 <= 0x2000 &&
                    patched.mem_addr != in->mem_addr);
    }
    n = decode_memops(in, before);
    assert_int_equal(decode_memops(&patched, after), n);
    for (int i = 0; i < n; i++) {
        i64 delta = after[i].disp - before[i].disp;
        if (delta == 0x1000 || delta == -0x1000) {
            return;
        }
    }
    /* address only: lea, nop, prefetch */
    for (int i = 0; i < n; i++) {
        assert_true(before[i].disp == after[i].disp);
    }
}

/* ---- registers and flags ---- */

#define R(r) (1u << MT_##r)

typedef struct EffectRow {
    const char *hex;
    u16 read, written;
    u8 flags_read, flags_written;
} EffectRow;

#define CF MT_FL_CF
#define ZF MT_FL_ZF
#define OF MT_FL_OF
#define DF MT_FL_DF
#define ALL6 MT_FL_ALL6

static const EffectRow effect_rows[] = {
    {"4889d8", R(RBX), R(RAX), 0, 0},
    {"89d8", R(RBX), R(RAX), 0, 0},
    {"6689d8", R(RBX) | R(RAX), R(RAX), 0, 0}, /* partly written is read */
    {"88d8", R(RBX) | R(RAX), R(RAX), 0, 0},
    {"88e3", R(RAX) | R(RBX), R(RBX), 0, 0},   /* mov bl, ah */
    {"88fc", R(RBX) | R(RAX), R(RAX), 0, 0},   /* mov ah, bh */
    {"4088fc", R(RDI) | R(RSP), R(RSP), 0, 0}, /* mov spl, dil */
    {"4589c7", R(R8), R(R15), 0, 0},
    {"8b44b310", R(RBX) | R(RSI), R(RAX), 0, 0},
    {"468b44b310", R(RBX) | R(R14), R(R8), 0, 0},
    {"428b04bd00000000", R(R15), R(RAX), 0, 0},
    {"8b0424", R(RSP), R(RAX), 0, 0},
    {"488d0500000000", 0, R(RAX), 0, 0},
    {"01d8", R(RAX) | R(RBX), R(RAX), 0, ALL6},
    {"11d8", R(RAX) | R(RBX), R(RAX), CF, ALL6},
    {"39d8", R(RAX) | R(RBX), 0, 0, ALL6},
    {"85c0", R(RAX), 0, 0, ALL6},
    {"ffc0", R(RAX), R(RAX), 0, ALL6 & ~CF},
    {"f7d0", R(RAX), R(RAX), 0, 0},
    {"50", R(RAX) | R(RSP), R(RSP), 0, 0},
    {"4158", R(RSP), R(R8) | R(RSP), 0, 0},
    {"8f00", R(RAX) | R(RSP), R(RSP), 0, 0},
    {"c9", R(RBP) | R(RSP), R(RBP) | R(RSP), 0, 0},
    {"9c", R(RSP), R(RSP), ALL6 | DF, 0},
    {"9d", R(RSP), R(RSP), 0, ALL6 | DF},
    {"9f", R(RAX), R(RAX), ALL6 & ~OF, 0},
    {"9e", R(RAX), 0, 0, ALL6 & ~OF},
    {"f5", 0, 0, CF, CF},
    {"f8", 0, 0, 0, CF},
    {"fc", 0, 0, 0, DF},
    {"f3a4", R(RSI) | R(RDI) | R(RCX), R(RSI) | R(RDI) | R(RCX), DF, 0},
    {"a4", R(RSI) | R(RDI), R(RSI) | R(RDI), DF, 0},
    {"f3ab", R(RAX) | R(RDI) | R(RCX), R(RDI) | R(RCX), DF, 0},
    {"a6", R(RSI) | R(RDI), R(RSI) | R(RDI), DF, ALL6},
    {"f3a6", R(RSI) | R(RDI) | R(RCX), R(RSI) | R(RDI) | R(RCX), DF | ZF, 0}, /* rcx may be 0 */
    {"ae", R(RAX) | R(RDI), R(RDI), DF, ALL6},
    {"f2ae", R(RAX) | R(RDI) | R(RCX), R(RDI) | R(RCX), DF | ZF, 0},
    {"d7", R(RAX) | R(RBX), R(RAX), 0, 0},
    {"d3e0", R(RAX) | R(RCX), R(RAX), 0, 0}, /* the count may be 0 */
    {"c1e005", R(RAX), R(RAX), 0, ALL6},
    {"c1e000", R(RAX), R(RAX), 0, 0},
    {"c1e020", R(RAX), R(RAX), 0, 0}, /* 32 & 31 */
    {"48c1e020", R(RAX), R(RAX), 0, ALL6},
    {"48c1e040", R(RAX), R(RAX), 0, 0},
    {"c0e020", R(RAX), R(RAX), 0, 0},
    {"48c0e020", R(RAX), R(RAX), 0, 0}, /* 8 bits: & 31 in spite of REX.W */
    {"d1e0", R(RAX), R(RAX), 0, ALL6},
    {"c1c005", R(RAX), R(RAX), 0, CF | OF},
    {"c1c000", R(RAX), R(RAX), 0, 0},
    {"c1d005", R(RAX), R(RAX), CF, CF | OF},
    {"0fa4d805", R(RAX) | R(RBX), R(RAX), 0, ALL6},
    {"0fa4d820", R(RAX) | R(RBX), R(RAX), 0, 0},
    {"0fa5d8", R(RAX) | R(RBX) | R(RCX), R(RAX), 0, 0},
    {"f7e3", R(RAX) | R(RBX), R(RAX) | R(RDX), 0, ALL6},
    {"f7f3", R(RAX) | R(RBX) | R(RDX), R(RAX) | R(RDX), 0, ALL6},
    {"99", R(RAX), R(RDX), 0, 0},
    {"98", R(RAX), R(RAX), 0, 0},
    {"0f44c3", R(RAX) | R(RBX), R(RAX), ZF, 0},
    {"0f94c0", R(RAX), R(RAX), ZF, 0},
    {"7400", 0, 0, ZF, 0},
    {"e300", R(RCX), 0, 0, 0},
    {"e200", R(RCX), R(RCX), 0, 0},
    {"e100", R(RCX), R(RCX), ZF, 0},
    {"0fbcc3", R(RAX) | R(RBX), R(RAX), 0, ALL6}, /* bsf: rax stays if rbx is 0 */
    {"0fbccb", R(RCX) | R(RBX), R(RCX), 0, ALL6},
    {"f30fbcc3", R(RBX), R(RAX), 0, ALL6},
    {"480fc7 0f", R(RAX) | R(RBX) | R(RCX) | R(RDX) | R(RDI), R(RAX) | R(RDX), 0, ZF},
    {"f00fb10f", R(RAX) | R(RCX) | R(RDI), R(RAX), 0, ALL6},
    {"f00fc10f", R(RCX) | R(RDI), R(RCX), 0, ALL6},
    {"0fa2", R(RAX) | R(RCX), R(RAX) | R(RBX) | R(RCX) | R(RDX), 0, 0},
    {"0f31", 0, R(RAX) | R(RDX), 0, 0},
    {"0f01d0", R(RCX), R(RAX) | R(RDX), 0, 0},
    {"0fc8", R(RAX), R(RAX), 0, 0},
    {"4891", R(RAX) | R(RCX), R(RAX) | R(RCX), 0, 0},
    {"90", 0, 0, 0, 0},
    {"f390", 0, 0, 0, 0},
    {"f34190", R(RAX) | R(R8), R(RAX) | R(R8), 0, 0}, /* xchg on AMD, pause on Intel */
    {"660f3a63c10c", 0, R(RCX), 0, ALL6},             /* pcmpistri */
    {"660f3a61c10c", R(RAX) | R(RDX), R(RCX), 0, ALL6},
    {"660ff7c1", R(RDI), 0, 0, 0},
    {"f30f1ec8", R(RAX), R(RAX), 0, 0}, /* rdsspd: a nop without shadow stacks */
    {"c5f877", 0, 0, 0, 0},
    {"c4e27917c1", 0, 0, 0, ALL6}, /* vptest */
    {"c4e2790ec1", 0, 0, 0, ALL6},
    {"c4e2f3f6c3", R(RBX) | R(RDX), R(RAX) | R(RCX), 0, 0}, /* mulx */
    {"c4e278f2c3", R(RAX) | R(RBX), R(RAX), 0, ALL6},       /* andn */
    {"f3660f38f6c3", R(RAX) | R(RBX), R(RAX), OF, OF},      /* adox */
    {"660f38f6c3", R(RAX) | R(RBX), R(RAX), CF, CF},        /* adcx */
    {"c8100000", R(RBP) | R(RSP), R(RBP) | R(RSP), 0, 0},
    {"0f05", 0xffff, R(RAX) | R(RCX) | R(R11), ALL6 | DF, 0},
};

static void test_effects(void **state)
{
    for (size_t i = 0; i < MT_ARRAY_SIZE(effect_rows); i++) {
        const EffectRow *r = &effect_rows[i];
        Insn in = decode(r->hex);

        if (in.gprs_read != r->read || in.gprs_written != r->written ||
            in.flags_read != r->flags_read || in.flags_written != r->flags_written) {
            fail_msg("%s: GPRs read %04x written %04x, flags read %02x written %02x", r->hex,
                     in.gprs_read, in.gprs_written, in.flags_read, in.flags_written);
        }
        assert_int_equal(in.gprs_used, in.gprs_read | in.gprs_written);
    }
}

/* ---- memory accesses ---- */

/* "rw NORMAL size seg base index*scale disp [extras]", one per access, as text. */
static void describe(const MemOp *m, char *out, size_t size)
{
    static const char *const kinds[] = {"normal", "string", "bits", "masked",
                                        "vsib",   "xsave",  "xlat", "compressed"};
    int n = snprintf(out, size, "%s%s %s %u", m->read ? "r" : "", m->write ? "w" : "",
                     kinds[m->kind], m->size);

    if (m->seg) {
        n += snprintf(out + n, size - (size_t)n, " seg%u", m->seg);
    }
    n += snprintf(out + n, size - (size_t)n, " [");
    if (m->base != 0xff) {
        n += snprintf(out + n, size - (size_t)n, "%d", m->base == 0xfe ? -1 : m->base);
    }
    if (m->index != 0xff) {
        n += snprintf(out + n, size - (size_t)n, "+%u*%u", m->index, m->scale);
    }
    n += snprintf(out + n, size - (size_t)n, "%+lld]", (long long)m->disp);
    if (m->rep) {
        n += snprintf(out + n, size - (size_t)n, " rep");
    }
    if (m->vsib_reg != 0xff) {
        n += snprintf(out + n, size - (size_t)n, " v%u.%u*%u", m->vsib_reg, m->vsib_width,
                      m->scale);
    }
    if (m->mask_reg != 0xff) {
        n += snprintf(out + n, size - (size_t)n, " %c%u", m->mask_reg & 0x80 ? 'x' : 'k',
                      m->mask_reg & 0x7f);
    }
    if (m->elem_count) {
        snprintf(out + n, size - (size_t)n, " %ux%u", m->elem_count, m->elem_size);
    }
}

typedef struct MemRow {
    const char *hex, *expected;
} MemRow;

static const MemRow mem_rows[] = {
    {"8b4310", "r normal 4 [3+16]"},
    {"488944b310", "w normal 8 [3+6*4+16]"},
    {"0103", "rw normal 4 [3+0]"},
    {"3903", "r normal 4 [3+0]"},
    {"8b0510000000", "r normal 4 [-1+268435478]"},
    {"64488b042528000000", "r normal 8 seg1 [+40]"},
    {"48a12800000000000000", "r normal 8 [+40]"},
    {"67a1000000f0", "r normal 4 [+4026531840]"},
    {"8d03", ""},
    {"0f1f4000", ""},
    {"0f1800", ""},
    {"0fae38", ""}, /* clflush */
    {"50", "w normal 8 [4-8]"},
    {"6650", "w normal 2 [4-2]"},
    {"6a01", "w normal 8 [4-8]"},
    {"0fa0", "w normal 8 [4-8]"},
    {"ff33", "r normal 8 [3+0]; w normal 8 [4-8]"},
    {"58", "r normal 8 [4+0]"},
    {"8f03", "r normal 8 [4+0]; w normal 8 [3+0]"},
    {"8f442408", "r normal 8 [4+0]; w normal 8 [4+16]"}, /* rsp has moved */
    {"e800000000", "w normal 8 [4-8]"},
    {"ff13", "r normal 8 [3+0]; w normal 8 [4-8]"},
    {"ff23", "r normal 8 [3+0]"},
    {"c3", "r normal 8 [4+0]"},
    {"c21000", "r normal 8 [4+0]"},
    {"c9", "r normal 8 [5+0]"},
    {"9c", "w normal 8 [4-8]"},
    {"9d", "r normal 8 [4+0]"},
    {"c8100000", "w normal 8 [4-8]"},
    {"c8100003", "r normal 16 [5-16]; w normal 32 [4-32]"},
    {"f3a4", "r string 1 [6+0] rep; w string 1 [7+0] rep"},
    {"66f3a5", "r string 2 [6+0] rep; w string 2 [7+0] rep"},
    {"48a5", "r string 8 [6+0]; w string 8 [7+0]"},
    {"65ac", "r string 1 seg2 [6+0]"},
    {"f348ab", "w string 8 [7+0] rep"},
    {"f2ae", "r string 1 [7+0] rep"},
    {"64d7", "r xlat 1 seg1 [3+0*1+0]"},
    {"0fa303", "r bits 4 [3+0] v0.4*0"},
    {"480fab4b08", "rw bits 8 [3+8] v1.8*0"},
    {"0fba2305", "r normal 4 [3+0]"},
    {"f00fb10b", "rw normal 4 [3+0]"},
    {"480fc70b", "rw normal 16 [3+0]"},
    {"0fae23", "rw xsave 0 [3+0]"},
    {"0fae2b", "r xsave 0 [3+0]"},
    {"0fae03", "w normal 512 [3+0]"},
    {"dd33", "w normal 108 [3+0]"},
    {"660ff7c1", "w masked 16 [7+0] x1 16x1"},
    {"c4e2712c03", "r masked 16 [3+0] x1 4x4"},
    {"c4e2752e03", "w masked 32 [3+0] x1 8x4"},
    {"c4e2f18c03", "r masked 16 [3+0] x1 2x8"},
    {"62f17c491003", "r masked 64 [3+0] k1 16x4"},
    {"62f17c481003", "r normal 64 [3+0]"},
    {"62f17c4a1103", "w masked 64 [3+0] k2 16x4"},
    {"62f17c595803", "r normal 4 [3+0]"}, /* broadcast */
    {"62f17c49584301", "r masked 64 [3+64] k1 16x4"},
    {"62f27d498a03", "w compressed 64 [3+0] k1 16x4"},
    {"62f27d498803", "r compressed 64 [3+0] k1 16x4"},
    {"62f27d490003", "r normal 64 [3+0]"}, /* vpshufb: no fault suppression */
    {"c4e2699204 0b", "r vsib 16 [3+0] v1.4*1 x2 4x4"},
    {"c4e2ed9204 4b", "r vsib 32 [3+0] v1.4*2 x2 4x8"},
    {"c4e26d9304 4b", "r vsib 16 [3+0] v1.8*2 x2 4x4"},
    {"62f27d49920c 83", "r vsib 64 [3+0] v0.4*4 k1 16x4"},
    {"62f2fd49a20c 83", "w vsib 64 [3+0] v0.4*4 k1 8x8"},
    {"62f27d41920c 83", "r vsib 64 [3+0] v16.4*4 k1 16x4"},
    {"660f38f803", "r normal 64 [3+0]; w normal 64 [0+0]"},
    {"640f01fc", "w normal 64 seg1 [0+0]"},
    {"0fc303", "w normal 4 [3+0]"},
    {"f30f7e03", "r normal 8 [3+0]"},
    {"660fd603", "w normal 8 [3+0]"},
    {"0f1f", ""},
    {"06", ""},
};

static void test_memops(void **state)
{
    for (size_t i = 0; i < MT_ARRAY_SIZE(mem_rows); i++) {
        const MemRow *r = &mem_rows[i];
        MemOp ops[MT_MAX_MEMOPS];
        Insn in = decode(r->hex);
        char text[512] = "";
        u16 accesses = 0;
        int n = decode_memops(&in, ops);

        for (int k = 0; k < n; k++) {
            char one[128];
            describe(&ops[k], one, sizeof(one));
            strcat(text, k ? "; " : "");
            strcat(text, one);
            accesses |= ops[k].read ? INSN_F_READS_MEM : 0;
            accesses |= ops[k].write ? INSN_F_WRITES_MEM : 0;
        }
        if (strcmp(text, r->expected) != 0) {
            fail_msg("%s: \"%s\", expected \"%s\"", r->hex, text, r->expected);
        }
        assert_int_equal(in.flags & (INSN_F_READS_MEM | INSN_F_WRITES_MEM), accesses);
    }
}

/* ---- text ---- */

static void test_text(void **state)
{
    static const char *const rows[][2] = {
        {"4889d8", "mov rax, rbx"},
        {"c5fdd7c1", "vpmovmskb eax, ymm1"},
        {"62f37d203fc100", "vpcmpb"}, /* capstone rejects it */
        {"c4e27d5a00", "vbroadcasti128"},
        {"06", ".byte 0x06"},
        {"c4e279dac1", ".byte 0xc4,0xe2,0x79,0xda,0xc1"},
    };
    char small[4], text[128];
    Insn in;

    for (size_t i = 0; i < MT_ARRAY_SIZE(rows); i++) {
        in = decode(rows[i][0]);
        decode_text(&in, text, sizeof(text));
        if (strncmp(text, rows[i][1], strlen(rows[i][1])) != 0) {
            fail_msg("%s: \"%s\"", rows[i][0], text);
        }
        decode_text(&in, small, sizeof(small));
        assert_true(strlen(small) < sizeof(small));
    }
    in = decode("");
    decode_text(&in, text, sizeof(text));
    assert_string_equal(text, "(unreadable)");
}

/* ---- real code ---- */

typedef struct Code {
    u8 *file, *text;
    size_t file_size, text_size;
    u64 addr;
} Code;

static bool code_open(Code *c, const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    Elf64_Ehdr *e;
    Elf64_Shdr *s;

    if (fd < 0) {
        return false;
    }
    assert_int_equal(fstat(fd, &st), 0);
    c->file_size = (size_t)st.st_size;
    c->file = mmap(NULL, c->file_size, PROT_READ, MAP_PRIVATE, fd, 0);
    close(fd);
    assert_ptr_not_equal(c->file, MAP_FAILED);
    e = (Elf64_Ehdr *)c->file;
    s = (Elf64_Shdr *)(c->file + e->e_shoff);
    for (unsigned i = 0; i < e->e_shnum; i++) {
        if (strcmp((char *)c->file + s[e->e_shstrndx].sh_offset + s[i].sh_name, ".text") == 0) {
            c->text = c->file + s[i].sh_offset;
            c->text_size = s[i].sh_size;
            c->addr = s[i].sh_addr;
        }
    }
    return c->text_size != 0;
}

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void measure(const char *path, const Code *c)
{
    for (int slow = 0; slow < 2; slow++) {
        double best = 1e9;
        for (int round = 0; round < 3; round++) {
            double t = now_ns();
            size_t n = 0;
            for (size_t i = 0; i < c->text_size; n++) {
                Insn in;
                (slow ? decode_slow : decode_insn)(&in, c->addr + i, c->text + i, c->text_size - i);
                i += in.len;
            }
            t = (now_ns() - t) / (double)n;
            best = t < best ? t : best;
        }
        print_message("%s: %.1f ns/insn%s\n", path, best, slow ? " without shapes" : "");
    }
}

/* Flags and accesses that decode_memops() reports agree, whatever the instruction. */
static void check_consistent(const Insn *in)
{
    MemOp ops[MT_MAX_MEMOPS];
    int n = decode_memops(in, ops);
    bool reads = false, writes = false;

    for (int i = 0; i < n; i++) {
        reads |= ops[i].read;
        writes |= ops[i].write;
    }
    if (!(in->flags & INSN_F_OPAQUE)) {
        assert_int_equal(reads, (in->flags & INSN_F_READS_MEM) != 0);
        assert_int_equal(writes, (in->flags & INSN_F_WRITES_MEM) != 0);
    }
    assert_true(in->opcode_off < in->len && in->disp_off + in->disp_size <= in->len &&
                in->imm_off + in->imm_size <= in->len);
}

static void sweep(const char *path)
{
    size_t n = 0, bad = 0, invalid = 0;
    Code c = {0};

    if (!code_open(&c, path)) {
        print_message("%s: not here\n", path);
        return;
    }
    measure(path, &c);
    for (size_t i = 0; i < c.text_size; n++) {
        char why[256], text[128];
        Insn in;

        decode_insn(&in, c.addr + i, c.text + i, c.text_size - i);
        invalid += in.cls == INSN_INVALID;
        if (!decode_verify(&in, why, sizeof(why))) {
            decode_text(&in, text, sizeof(text));
            print_message("%llx: %s: %s\n", (unsigned long long)in.pc, text, why);
            bad++;
        }
        if (in.cls != INSN_INVALID && in.cls != INSN_FAULT) {
            check_consistent(&in);
            if (in.disp_size == 4 && n % 7 == 0) {
                check_rewrite(&in);
            }
        }
        i += in.len ? in.len : 1;
    }
    print_message("%s: %zu instructions, %zu invalid (data)\n", path, n, invalid);
    assert_int_equal(bad, 0);
    munmap(c.file, c.file_size);
}

static void test_libc(void **state)
{
    sweep("/lib/x86_64-linux-gnu/libc.so.6");
}

static void test_libcrypto(void **state)
{
    sweep("/usr/lib/x86_64-linux-gnu/libcrypto.so.3");
}

/* ---- random bytes ---- */

static u64 random_state = 88172645463325252ull;

static u64 random64(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* Bytes that are prefixes and escapes more often than chance would have it. */
static u8 random_byte(void)
{
    static const u8 common[] = {0x66, 0xf2, 0xf3, 0x64, 0x65, 0x67, 0xf0, 0x2e, 0x3e, 0x48, 0x41,
                                0x4f, 0x0f, 0x0f, 0x38, 0x3a, 0xc4, 0xc5, 0x62, 0x8f, 0xc1, 0x00};
    u64 r = random64();

    return r >> 60 < 6 ? common[(r >> 8) % sizeof(common)] : (u8)r;
}

/* At the end of a readable page: no byte beyond it is looked at; what is cut off is a fault, and is
 * the same instruction when the rest is there. */
static void test_page_end(void **state)
{
    u8 *page = mmap(NULL, 2 * MT_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                    0);
    size_t classes[INSN_FAULT + 1] = {0};

    assert_ptr_not_equal(page, MAP_FAILED);
    assert_int_equal(mprotect(page + MT_PAGE_SIZE, MT_PAGE_SIZE, PROT_NONE), 0);
    for (int round = 0; round < 1000000; round++) {
        size_t avail = random64() % 17;
        u8 *code = page + MT_PAGE_SIZE - avail;
        char why[256];
        Insn in, slow, cut;

        for (size_t i = 0; i < avail; i++) {
            code[i] = random_byte();
        }
        decode_insn(&in, PC, code, avail);
        classes[in.cls]++;
        decode_slow(&slow, PC, code, avail);
        assert_true(decode_same(&in, &slow));
        if (in.cls == INSN_FAULT) {
            assert_int_equal(in.len, avail);
            continue;
        }
        assert_true(in.len >= 1 && in.len <= avail);
        if (in.cls != INSN_INVALID) {
            size_t less = random64() % in.len;
            check_consistent(&in);
            decode_insn(&cut, PC, code, less);
            assert_true(cut.cls == INSN_FAULT && cut.len == less);
        }
        if (round % 16 == 0) {
            decode_verify(&in, why, sizeof(why)); /* capstone's faults are many in random bytes */
            decode_text(&in, why, sizeof(why));
        }
    }
    print_message("plain %zu, invalid %zu, cut off %zu\n", classes[INSN_PLAIN],
                  classes[INSN_INVALID], classes[INSN_FAULT]);
    munmap(page, 2 * MT_PAGE_SIZE);
}

static int setup(void **state)
{
    decode_init();
    decode_has_rtm = true;
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_classes),   cmocka_unit_test(test_vendor),
        cmocka_unit_test(test_segments),  cmocka_unit_test(test_offsets),
        cmocka_unit_test(test_effects),   cmocka_unit_test(test_memops),
        cmocka_unit_test(test_text),      cmocka_unit_test(test_libc),
        cmocka_unit_test(test_libcrypto), cmocka_unit_test(test_page_end),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
