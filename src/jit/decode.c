/* SPDX-License-Identifier: BSD-2-Clause
 * decode.c -- decoding for the translator: entry points and the table of shapes.
 * Role:   programs are made of a few hundred instruction shapes. A shape is everything but the
 *         register numbers, displacement and immediate: opcode map, opcode, prefix 66/F2/F3, REX.W,
 *         register or memory form, ModRM.reg. What decode_slow() says about a shape is known in 16
 *         bytes, in a table that mkshapes.c makes when mtvg is built, and an instruction costs a
 *         prefix and ModRM walk of about 15 ns instead of Zydis's 150.
 * Invariants:
 *   S1. The fast path yields bit for bit what decode_slow() yields: mkshapes.c tries each shape on
 *       many instructions of it.
 *   S2. Whatever else than the shape decides is not in the table (mkshapes.c, is_irregular()). Nor
 *       is what depends on the processor.
 *   S3. The fast path never looks at a byte beyond avail: it wants 15.
 * Locking: none, the table is constant. */
#include "jit/decode_shape.h"

#include "base/hostcpu.h"
#include "base/options.h"

#include <string.h>

/* One bit per opcode: has ModRM. A mistake here costs speed only (S1). */
static const u32 modrm_default[8] = {0x0f0f0f0f, 0x0f0f0f0f, 0x00000000, 0x00000a08,
                                     0x0000ffff, 0x00000000, 0xff0f00c3, 0xc0c00000};
static const u32 modrm_0f[8] = {0xffff200f, 0x0000ff00, 0xffffffff, 0xff7fffff,
                                0xffff0000, 0xfffff838, 0xffff00ff, 0xffffffff};

static bool is_in(const u32 *set, u8 b)
{
    return set[b >> 5] >> (b & 31) & 1;
}

/* Four prefixes, REX, three bytes of opcode, ModRM, SIB, displacement: decode_walk() looks at less
 * than 15 bytes. */
#define MT_SHAPE_PREFIXES 4u

/* 2E (in long nops), 64, 65, 66, F2, F3. Of others decode_walk() thinks that they are opcodes,
 * which the table does not know. */
static const u32 known_prefixes[8] = {[1] = 1u << 14, [3] = 0x70, [7] = 0xc0000};
_Static_assert(0x2e == 32 + 14 && 0x64 == 3 * 32 + 4 && 0xf2 == 7 * 32 + 18, "their bits");

static bool walk_prefixes(Walk *w, const u8 *code, unsigned *at)
{
    unsigned i = 0;

    for (; is_in(known_prefixes, code[i]); i++) {
        u8 b = code[i];

        if (i == MT_SHAPE_PREFIXES) {
            return false;
        }
        if (b == 0x66 || b >= 0xf2) {
            if (w->prefix != 0 && (b != 0x66 || w->prefix != b)) {
                return false;
            }
            w->prefix = b;
        } else if (b != 0x2e) {
            if (w->seg_off != MT_NONE) {
                return false;
            }
            w->seg_off = (u8)i;
            w->gs = b == 0x65;
        }
    }
    *at = i;
    return true;
}

/* By ModRM: bytes of displacement, and whether there is a SIB byte. */
#define SIB 8
#define ROW(disp, at_5) disp, disp, disp, disp, SIB | disp, at_5, disp, disp
#define ROWS(disp, at_5)                                                                 \
    ROW(disp, at_5), ROW(disp, at_5), ROW(disp, at_5), ROW(disp, at_5), ROW(disp, at_5), \
        ROW(disp, at_5), ROW(disp, at_5), ROW(disp, at_5)
static const u8 modrm_layout[256] = {ROWS(0, 4), ROWS(1, 1), ROWS(4, 4)};

static void walk_modrm(Walk *w, const u8 *code, unsigned i)
{
    u8 layout;

    w->modrm = code[i++];
    layout = modrm_layout[w->modrm];
    w->disp_size = layout & 7;
    if (layout & SIB) {
        w->sib = code[i++];
        if ((w->sib & 7) == 5 && w->modrm < 0x40) {
            w->disp_size = 4;
        }
    }
    w->disp_off = w->disp_size ? (u8)i : 0;
    w->end = (u8)(i + w->disp_size);
}

bool decode_walk(Walk *w, const u8 *code)
{
    static const u8 prefix_number[256] = {[0x66] = 1, [0xf2] = 2, [0xf3] = 3};
    unsigned i = 0;
    u8 b;

    *w = (Walk){.rex_off = MT_NONE, .seg_off = MT_NONE};
    if (is_in(known_prefixes, code[0]) && !walk_prefixes(w, code, &i)) {
        return false;
    }
    b = code[i];
    if ((b & 0xf0) == 0x40) {
        w->rex = b;
        w->rex_off = (u8)i;
        b = code[++i];
    }
    if (b == 0x0f) {
        b = code[++i];
        w->map = 1;
        if (b == 0x38 || b == 0x3a) {
            w->map = b == 0x38 ? 2 : 3;
            b = code[++i];
        }
    } else if (b == 0x90 && (w->rex & 1)) { /* xchg, not nop */
        return false;
    }
    w->opcode = b;
    w->opcode_off = (u8)i++;
    w->has_modrm = w->map >= 2 || is_in(w->map ? modrm_0f : modrm_default, b);
    w->end = (u8)i;
    if (w->has_modrm) {
        walk_modrm(w, code, i);
    }
    if (w->seg_off != MT_NONE && (!w->has_modrm || w->modrm >= 0xc0)) {
        return false;
    }
    w->slot = (u32)prefix_number[w->prefix] << 15 | (u32)w->map << 13 | (u32)b << 5 |
              (w->rex & 8u) << 1 | (w->modrm >= 0xc0 ? 8u : 0) | (w->modrm >> 3 & 7u);
    return true;
}

static u32 number_of(u8 number, u8 rex, bool is_8bit)
{
    return is_8bit && rex == 0 && number >= 4 ? number - 4u : number; /* ah..bh */
}

static i64 immediate(const u8 *p, unsigned size)
{
    i32 v32;
    i16 v16;

    switch (size) {
    case 1: return (i8)p[0];
    case 2: memcpy(&v16, p, sizeof(v16)); return v16;
    case 4: memcpy(&v32, p, sizeof(v32)); return v32;
    default: return 0; /* of 8 bytes: mov only, nobody asks */
    }
}

/* The registers of a memory operand; sets what else depends on it. */
static u32 apply_memory(Insn *out, const Walk *w, u64 s0)
{
    u8 rm = w->modrm & 7;

    if (w->seg_off != MT_NONE && (s0 & SHAPE_SEG)) {
        out->flags |= w->gs ? INSN_F_SEG_GS : INSN_F_SEG_FS;
        out->seg_off = w->seg_off;
    }
    if (rm == 4) {
        u8 index = (u8)((w->sib >> 3 & 7) | (w->rex & 2 ? 8 : 0));
        u8 base = (u8)((w->sib & 7) | (w->rex & 1 ? 8 : 0));

        return (index != MT_RSP ? 1u << index : 0) |
               ((base & 7) != MT_RBP || w->modrm >= 0x40 ? 1u << base : 0);
    }
    if (rm == 5 && w->modrm < 0x40) {
        out->flags |= INSN_F_RIPREL;
        out->mem_addr = out->pc + out->len + (u64)immediate(out->bytes + w->disp_off, 4);
        return 0;
    }
    return 1u << (rm | (w->rex & 1 ? 8 : 0));
}

bool decode_apply(Insn *out, const Walk *w, GuestAddr pc, const u8 *code, const Shape *s)
{
    const u64 s0 = s->w0;
    const u32 imm_size = s0 >> SHAPE_IMM & 15;
    u32 reads = (u16)s->w1, writes = (u16)(s->w1 >> 16);

    if (w->end + imm_size > MT_INSN_MAX ||
        (MT_UNLIKELY(s0 & SHAPE_SHIFT) && (code[w->end] & 31) == 0)) {
        return false;
    }
    *out = (Insn){.pc = pc,
                  .len = (u8)(w->end + imm_size),
                  .cls = s0 >> SHAPE_CLS & 15,
                  .flags = (u16)((s0 & SHAPE_MEM_R ? INSN_F_READS_MEM : 0) |
                                 (s0 & SHAPE_MEM_W ? INSN_F_WRITES_MEM : 0)),
                  .opcode_off = w->opcode_off,
                  .rex_off = w->rex_off,
                  .modrm_off = MT_NONE,
                  .disp_off = w->disp_off,
                  .disp_size = w->disp_size,
                  .imm_off = imm_size ? w->end : 0,
                  .imm_size = (u8)imm_size,
                  .seg_off = MT_NONE,
                  .flags_read = (u8)(s0 >> SHAPE_FL_R),
                  .flags_written = (u8)(s0 >> SHAPE_FL_W),
                  .mnemonic = (u16)(s0 >> SHAPE_MNEMONIC)};
    memcpy(out->bytes, code, MT_INSN_MAX);
    if (w->has_modrm) {
        u32 reg = number_of((u8)((w->modrm >> 3 & 7) | (w->rex & 4) << 1), w->rex,
                            s0 & SHAPE_REG_8);

        out->modrm_off = w->opcode_off + 1;
        reads |= (s0 & SHAPE_REG_R ? 1u : 0) << reg;
        writes |= (s0 & SHAPE_REG_W ? 1u : 0) << reg;
        if (w->modrm < 0xc0) {
            reads |= apply_memory(out, w, s0);
        } else {
            u32 rm = number_of((u8)((w->modrm & 7) | (w->rex & 1) << 3), w->rex, s0 & SHAPE_RM_8);

            reads |= (s0 & SHAPE_RM_R ? 1u : 0) << rm;
            writes |= (s0 & SHAPE_RM_W ? 1u : 0) << rm;
        }
    } else {
        u32 op = number_of((u8)((w->opcode & 7) | (w->rex & 1) << 3), w->rex, s0 & SHAPE_OP_8);

        reads |= (s0 & SHAPE_OP_R ? 1u : 0) << op;
        writes |= (s0 & SHAPE_OP_W ? 1u : 0) << op;
    }
    out->gprs_read = (u16)reads;
    out->gprs_written = (u16)writes;
    out->gprs_used = (u16)(reads | writes);
    if (out->cls != INSN_PLAIN) {
        i64 imm = immediate(code + w->end, imm_size);

        if (out->cls >= INSN_JCC && out->cls <= INSN_JRCXZ) {
            out->target = pc + out->len + (u64)imm;
            out->cc = out->cls == INSN_JCC ? w->opcode & 15 : 0;
        } else if (out->cls == INSN_RET) {
            out->ret_pop = (u16)imm;
        }
    }
    return true;
}

bool decode_same(const Insn *a, const Insn *b)
{
    return memcmp(a, b, offsetof(Insn, flags_written) + 1) == 0 && a->target == b->target &&
           a->mem_addr == b->mem_addr && a->mnemonic == b->mnemonic;
}

/* ---- entry points ---- */

#define MT_CPUID_RTM (1u << 11) /* leaf 7, ebx */
#define MT_CPUID_MPX (1u << 14)

void decode_init(void)
{
    u32 leaf7;

    ZydisDecoderInit(&decode_zydis, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    decode_amd_branches = hostcpu_is_amd();
    ZydisDecoderEnableMode(&decode_zydis, ZYDIS_DECODER_MODE_AMD_BRANCHES, decode_amd_branches);
    leaf7 = __x86_get_cpuid_feature_leaf(CPUID_INDEX_7)->cpuid_array[1];
    decode_has_rtm = (leaf7 & MT_CPUID_RTM) != 0;
    /* Without MPX its opcodes are nops, which access nothing. */
    if (!(leaf7 & MT_CPUID_MPX)) {
        ZydisDecoderEnableMode(&decode_zydis, ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
    }
}

void decode_insn(Insn *out, GuestAddr pc, const u8 *code, size_t avail)
{
    const Shape *s;
    Walk w;

    if (MT_UNLIKELY(avail < MT_INSN_MAX) || mt_opts.decoder == DECODER_FULL ||
        !decode_walk(&w, code)) {
        decode_slow(out, pc, code, avail);
        return;
    }
    s = &decode_shapes[decode_numbers[w.slot]];
    if (MT_UNLIKELY(!(s->w0 & SHAPE_KNOWN)) || MT_UNLIKELY(!decode_apply(out, &w, pc, code, s))) {
        decode_slow(out, pc, code, MT_INSN_MAX);
    }
}
