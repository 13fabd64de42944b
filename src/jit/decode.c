/* SPDX-License-Identifier: BSD-2-Clause
 * decode.c -- decoding for the translator: entry points and the table of shapes.
 * Role:   programs are made of a few hundred instruction shapes. A shape is everything but the
 *         register numbers, displacement and immediate: opcode map, opcode, prefix 66/F2/F3, REX.W,
 *         register or memory form, ModRM.reg. What decode_slow() says about a shape is known in 16
 *         bytes, in a table that mkshapes.c makes when mtvg is built, and an instruction costs a
 *         prefix and ModRM walk of about 15 ns instead of Zydis's 150.
 * Invariants:
 *   S1. The fast path yields bit for bit what decode_slow() yields: mkshapes.c tries each shape on many
 *       instructions of it.
 *   S2. Whatever else than the shape decides is not in the table: see is_irregular(). Nor is what depends
 *       on the processor.
 *   S3. The fast path never looks at a byte beyond avail: it wants 15.
 * Locking: none, the table is constant. */
#include "jit/decode_shape.h"

#include "base/options.h"

#include <cpuid.h>
#include <string.h>

/* One bit per opcode: has ModRM. A mistake here costs speed only (S1). */
static const u32 modrm_default[8] = {0x0f0f0f0f, 0x0f0f0f0f, 0x00000000, 0x00000a08,
                                     0x0000ffff, 0x00000000, 0xff0f00c3, 0xc0c00000};
static const u32 modrm_0f[8] = {0xffff200f, 0x0000ff00, 0xffffffff, 0xff7fffff,
                                0xffff0000, 0xfffff838, 0xffff00ff, 0xffffffff};

/* S2: classes, operands or length depend on more than the shape, or it is too rare to care. */
static bool is_irregular(const Walk *w)
{
    u8 o = w->opcode;
    bool reg_form = w->has_modrm && w->modrm >= 0xc0;

    switch (w->map) {
    case 0:
        switch (o) {
        case 0x62: /* EVEX, VEX, XOP or pop */
        case 0x8f:
        case 0xc4:
        case 0xc5:
        case 0x8c: /* segment registers */
        case 0x8e:
        case 0xa0 ... 0xa3: /* moffs */
        case 0xc8:          /* two immediates */
        case 0xcd: /* int: the immediate counts */ return true;
        case 0x90: return w->prefix == 0xf3 || (w->rex & 1); /* pause, xchg; else nop */
        case 0xc6:                                           /* xabort, xbegin */
        case 0xc7: return (w->modrm & 0xf8) == 0xf8;
        case 0xd8 ... 0xdf: /* x87: rm is opcode, too */ return reg_form;
        case 0x70 ... 0x7f: /* 66: AMD and Intel differ */
        case 0xe0 ... 0xe3:
        case 0xe8:
        case 0xe9:
        case 0xeb:
        case 0xc2:
        case 0xc3:
        case 0xff: return w->prefix == 0x66;
        default: return false;
        }
    case 1:
        switch (o) {
        case 0x01: /* rm is opcode */
        case 0x0f: /* 3DNow! */
        case 0x1a: /* MPX or nop */
        case 0x1b:
        case 0x1e:          /* endbr, rdssp or nop */
        case 0x20 ... 0x27: /* mod isn't looked at */
        case 0x78:          /* two immediates */
        case 0xa6:          /* PadLock */
        case 0xa7:
        case 0xae: /* fences, rdfsbase, ... */ return true;
        case 0x80 ... 0x8f: return w->prefix == 0x66;
        default: return false;
        }
    case 2: return o == 0xf8;  /* the register operand is an address */
    default: return o == 0xf0; /* hreset: rm is opcode */
    }
}

static bool walk_modrm(Walk *w, const u8 *code, unsigned i)
{
    u8 mod, rm;

    w->modrm = code[i++];
    mod = w->modrm >> 6;
    rm = w->modrm & 7;
    if (mod != 3) {
        if (rm == 4) {
            w->sib = code[i++];
            rm = w->sib & 7;
        }
        w->disp_size = mod == 1 ? 1 : mod == 2 || rm == 5 ? 4 : 0;
        w->disp_off = w->disp_size ? (u8)i : 0;
        i += w->disp_size;
    }
    w->end = (u8)i;
    return i <= MT_INSN_MAX;
}

/* Four prefixes, REX, three bytes of opcode, ModRM, SIB: it looks at less than 15 bytes. */
#define MT_SHAPE_PREFIXES 4u

bool decode_walk(Walk *w, const u8 *code)
{
    unsigned i = 0;
    u8 b;

    *w = (Walk){.rex_off = MT_NONE, .seg_off = MT_NONE};
    for (;; i++) {
        if (i > MT_SHAPE_PREFIXES) {
            return false;
        }
        b = code[i];
        if (b == 0x66 || b == 0xf2 || b == 0xf3) {
            if (w->prefix != 0 && (b != 0x66 || w->prefix != b)) {
                return false;
            }
            w->prefix = b;
        } else if (b == 0x64 || b == 0x65) {
            if (w->seg_off != MT_NONE) {
                return false;
            }
            w->seg_off = (u8)i;
            w->gs = b == 0x65;
        } else if (b != 0x2e) { /* CS: in long nops */
            break;
        }
    }
    if ((b & 0xf0) == 0x40) {
        w->rex = b;
        w->rex_off = (u8)i;
        b = code[++i];
        if ((b & 0xf0) == 0x40) {
            return false;
        }
    }
    switch (b) {
    case 0x26: /* the other prefixes; REX before a prefix is ignored */
    case 0x2e:
    case 0x36:
    case 0x3e:
    case 0x64 ... 0x67:
    case 0xf0:
    case 0xf2:
    case 0xf3: return false;
    case 0x0f:
        b = code[++i];
        w->map = 1;
        if (b == 0x38 || b == 0x3a) {
            w->map = b == 0x38 ? 2 : 3;
            b = code[++i];
        }
        break;
    default: break;
    }
    w->opcode = b;
    w->opcode_off = (u8)i++;
    w->has_modrm = w->map >= 2 || ((w->map ? modrm_0f : modrm_default)[b >> 5] >> (b & 31) & 1);
    w->end = (u8)i;
    if (w->has_modrm && !walk_modrm(w, code, i)) {
        return false;
    }
    if (is_irregular(w) || (w->seg_off != MT_NONE && (!w->has_modrm || w->modrm >= 0xc0))) {
        return false;
    }
    w->slot = (u32)w->map << 15 | (u32)b << 7 | (w->rex & 8u) << 3 | (w->modrm >= 0xc0 ? 32u : 0) |
              (u32)(w->modrm & 0x38) >> 1;
    w->slot |= w->prefix == 0x66 ? 1 : w->prefix == 0xf2 ? 2 : w->prefix == 0xf3 ? 3 : 0;
    return true;
}

static u16 named_register(u8 number, u8 rex, bool is_8bit)
{
    if (is_8bit && rex == 0 && number >= 4) {
        number -= 4; /* ah..bh */
    }
    return (u16)(1u << number);
}

static void add_named(Insn *out, u16 bit, u64 roles, u64 r, u64 w)
{
    if (roles & r) {
        out->gprs_read |= bit;
    }
    if (roles & w) {
        out->gprs_written |= bit;
    }
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

static void apply_modrm(Insn *out, const Walk *w, u64 s0)
{
    u8 reg = (u8)((w->modrm >> 3 & 7) | (w->rex & 4 ? 8 : 0));
    u8 rm = (u8)((w->modrm & 7) | (w->rex & 1 ? 8 : 0));
    u8 mod = w->modrm >> 6;

    out->modrm_off = w->opcode_off + 1;
    out->disp_off = w->disp_off;
    out->disp_size = w->disp_size;
    add_named(out, named_register(reg, w->rex, s0 & SHAPE_REG_8), s0, SHAPE_REG_R, SHAPE_REG_W);
    if (mod == 3) {
        add_named(out, named_register(rm, w->rex, s0 & SHAPE_RM_8), s0, SHAPE_RM_R, SHAPE_RM_W);
        return;
    }
    if (w->seg_off != MT_NONE && (s0 & SHAPE_SEG)) {
        out->flags |= w->gs ? INSN_F_SEG_GS : INSN_F_SEG_FS;
        out->seg_off = w->seg_off;
    }
    if ((rm & 7) == 4) {
        u8 index = (u8)((w->sib >> 3 & 7) | (w->rex & 2 ? 8 : 0));
        u8 base = (u8)((w->sib & 7) | (w->rex & 1 ? 8 : 0));
        if (index != MT_RSP) {
            out->gprs_read |= (u16)(1u << index);
        }
        if ((base & 7) != MT_RBP || mod != 0) {
            out->gprs_read |= (u16)(1u << base);
        }
    } else if (mod == 0 && (rm & 7) == 5) {
        out->flags |= INSN_F_RIPREL;
        out->mem_addr = out->pc + out->len + (u64)immediate(out->bytes + w->disp_off, 4);
    } else {
        out->gprs_read |= (u16)(1u << rm);
    }
}

bool decode_apply(Insn *out, const Walk *w, GuestAddr pc, const u8 *code, const Shape *s)
{
    const u64 s0 = s->w0, s1 = s->w1;
    unsigned imm_size = s0 >> SHAPE_IMM & 15;
    i64 imm = immediate(code + w->end, imm_size <= MT_INSN_MAX - w->end ? imm_size : 0);

    if (w->end + imm_size > MT_INSN_MAX || ((s0 & SHAPE_SHIFT) && (imm & 31) == 0)) {
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
                  .imm_off = imm_size ? w->end : 0,
                  .imm_size = (u8)imm_size,
                  .seg_off = MT_NONE,
                  .gprs_read = (u16)s1,
                  .gprs_written = (u16)(s1 >> 16),
                  .flags_read = (u8)(s0 >> SHAPE_FL_R),
                  .flags_written = (u8)(s0 >> SHAPE_FL_W),
                  .mnemonic = (u16)(s0 >> SHAPE_MNEMONIC)};
    memcpy(out->bytes, code, MT_INSN_MAX);
    if (w->has_modrm) {
        apply_modrm(out, w, s0);
    } else {
        u8 number = (u8)((w->opcode & 7) | (w->rex & 1 ? 8 : 0));
        add_named(out, named_register(number, w->rex, s0 & SHAPE_OP_8), s0, SHAPE_OP_R, SHAPE_OP_W);
    }
    if (out->cls >= INSN_JCC && out->cls <= INSN_JRCXZ) {
        out->target = pc + out->len + (u64)imm;
        out->cc = out->cls == INSN_JCC ? w->opcode & 15 : 0;
    } else if (out->cls == INSN_RET) {
        out->ret_pop = (u16)imm;
    }
    out->gprs_used = out->gprs_read | out->gprs_written;
    return true;
}

bool decode_same(const Insn *a, const Insn *b)
{
    return memcmp(a, b, offsetof(Insn, flags_written) + 1) == 0 && a->target == b->target &&
           a->mem_addr == b->mem_addr && a->mnemonic == b->mnemonic;
}

/* ---- entry points ---- */

void decode_init(void)
{
    unsigned a, b, c, d;
    char vendor[13] = {0};

    ZydisDecoderInit(&decode_zydis, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    if (__get_cpuid(0, &a, &b, &c, &d)) {
        memcpy(vendor, &b, 4);
        memcpy(vendor + 4, &d, 4);
        memcpy(vendor + 8, &c, 4);
    }
    decode_amd_branches = strcmp(vendor, "AuthenticAMD") == 0 ||
                          strcmp(vendor, "HygonGenuine") == 0;
    ZydisDecoderEnableMode(&decode_zydis, ZYDIS_DECODER_MODE_AMD_BRANCHES, decode_amd_branches);
    /* Without MPX its opcodes are nops, which access nothing. */
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & 1u << 14)) {
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
