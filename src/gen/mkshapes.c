/* SPDX-License-Identifier: BSD-2-Clause
 * mkshapes.c -- writes the table of instruction shapes (decode.c), as C, when mtvg is built.
 * Role:   for each slot of the table: learns its shape from what decode_full() says about one
 *         instruction, then tries it on all samples: other registers, addresses, displacements,
 *         immediates, both vendors' branches, with and without MPX. A shape that fails on one of
 *         them stays unknown.
 * Usage:  mkshapes FILE */
#include "jit/decode_shape.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MT_SAMPLES 96
#define PC 0x10000000ull

/* decode.c's table, empty here. */
const u16 decode_numbers[MT_NSLOTS];
const Shape decode_shapes[1];

static u16 numbers[MT_NSLOTS];
static Shape shapes[MT_NSHAPES];
static u32 nshapes = 1;

/* A register operand of the sample; false if it doesn't fit. */
static bool learn_register(u64 *s0, u64 *s1, const ZydisDecodedOperand *op)
{
    u8 number = decode_gpr(op->reg.value);
    bool reads, writes;
    u64 r, w, is_8;

    if (number == MT_NONE) {
        return true;
    }
    decode_register_effect(op, &reads, &writes);
    switch (op->encoding) {
    case ZYDIS_OPERAND_ENCODING_NONE:
        *s1 |= (u64)reads << number | (u64)writes << (16 + number);
        return true;
    case ZYDIS_OPERAND_ENCODING_MODRM_REG:
        r = SHAPE_REG_R, w = SHAPE_REG_W, is_8 = SHAPE_REG_8;
        break;
    case ZYDIS_OPERAND_ENCODING_MODRM_RM: r = SHAPE_RM_R, w = SHAPE_RM_W, is_8 = SHAPE_RM_8; break;
    case ZYDIS_OPERAND_ENCODING_OPCODE: r = SHAPE_OP_R, w = SHAPE_OP_W, is_8 = SHAPE_OP_8; break;
    default: return false;
    }
    *s0 |= (reads ? r : 0) | (writes ? w : 0) | (op->reg.value <= ZYDIS_REGISTER_R15B ? is_8 : 0);
    return true;
}

/* A memory operand; false if it doesn't fit. */
static bool learn_memory(u64 *s0, u64 *s1, const ZydisDecodedInstruction *z,
                         const ZydisDecodedOperand *op)
{
    u8 base = decode_gpr(op->mem.base);

    if (op->encoding == ZYDIS_OPERAND_ENCODING_MODRM_RM) {
        if (decode_is_memory(z, op)) {
            *s0 |= SHAPE_SEG;
        }
        return true;
    }
    *s1 |= base == MT_NONE ? 0 : 1ull << base;
    return op->encoding == ZYDIS_OPERAND_ENCODING_NONE && decode_gpr(op->mem.index) == MT_NONE &&
           (base == MT_RSP || base == MT_RBP || base == MT_RSI || base == MT_RDI || base == MT_RBX);
}

static bool learn_shape(Shape *out, const Walk *w, const Insn *in, const ZydisDecodedInstruction *z,
                        const ZydisDecodedOperand *ops)
{
    const Fixup *fix = decode_fixup(z);
    u64 s0 = SHAPE_KNOWN;
    u64 s1 = 0;
    bool fits = z->raw.imm[1].size == 0 && !(in->flags & INSN_F_VEX_LIKE) &&
                in->cls != INSN_EMULATE;

    for (unsigned i = 0; i < z->operand_count && fits; i++) {
        if (ops[i].type == ZYDIS_OPERAND_TYPE_REGISTER) {
            fits = learn_register(&s0, &s1, &ops[i]);
        } else if (ops[i].type == ZYDIS_OPERAND_TYPE_MEMORY) {
            fits = learn_memory(&s0, &s1, z, &ops[i]);
        }
    }
    if (fix != NULL) {
        s1 |= (u64)fix->gprs_read | (u64)fix->gprs_written << 16;
        s0 |= fix->reads_reg ? SHAPE_REG_R : 0;
        s0 |= fix->reads_rm ? SHAPE_RM_R : 0;
    }
    if ((w->map == 0 && (w->opcode == 0xc0 || w->opcode == 0xc1)) ||
        (w->map == 1 && (w->opcode == 0xa4 || w->opcode == 0xac))) {
        s0 |= SHAPE_SHIFT;
    }
    s0 |= in->flags & INSN_F_READS_MEM ? SHAPE_MEM_R : 0;
    s0 |= in->flags & INSN_F_WRITES_MEM ? SHAPE_MEM_W : 0;
    s0 |= (u64)in->imm_size << SHAPE_IMM | (u64)in->cls << SHAPE_CLS |
          (u64)in->flags_read << SHAPE_FL_R | (u64)in->flags_written << SHAPE_FL_W |
          (u64)in->mnemonic << SHAPE_MNEMONIC;
    *out = (Shape){s0, s1};
    return fits;
}

/* decode.c, S2: classes, operands or length depend on more than the shape, or it is too rare to
 * care. 0x90 with REX.B is left to decode_walk(). */
static bool is_irregular(const Walk *w)
{
    u8 o = w->opcode;
    bool reg_form = w->has_modrm && w->modrm >= 0xc0;

    switch (w->map) {
    case 0:
        switch (o) {
        case 0x26: /* prefixes, escapes */
        case 0x2e:
        case 0x36:
        case 0x3e:
        case 0x40 ... 0x4f:
        case 0x64 ... 0x67:
        case 0xf0:
        case 0xf2:
        case 0xf3:
        case 0x0f:
        case 0x62: /* EVEX, VEX, XOP or pop */
        case 0x8f:
        case 0xc4:
        case 0xc5:
        case 0x8c: /* segment registers */
        case 0x8e:
        case 0xa0 ... 0xa3: /* moffs */
        case 0xc8:          /* two immediates */
        case 0xcd: /* int: the immediate counts */ return true;
        case 0x90: return w->prefix == 0xf3; /* pause */
        case 0xc6:                           /* xabort, xbegin */
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

/* ---- samples ---- */

static u64 random_state;

static u32 random_number(u32 below)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (u32)(random_state >> 33) % below;
}

/* An instruction of the slot, if it is laid out as decode.c thinks: 15 bytes, random ones behind
 * it. */
static void make_sample(u8 *code, u32 slot)
{
    static const u8 prefixes[] = {0, 0x66, 0xf2, 0xf3}, escapes[] = {0, 0, 0x38, 0x3a};
    u32 prefix = slot >> 15, map = slot >> 13 & 3, n = 0;
    u8 rex = (u8)(0x40 | (slot >> 1 & 8) | random_number(8));
    bool reg_form = slot >> 3 & 1;

    for (u32 i = 0; i < MT_INSN_MAX; i++) {
        code[i] = (u8)(random_number(4) == 0 ? 0 : random_number(256));
    }
    if (prefix != 0) {
        code[n++] = prefixes[prefix];
    }
    if (random_number(8) == 0) {
        code[n++] = prefix == 1 && random_number(2) ? 0x66 : 0x2e;
    }
    if (!reg_form && random_number(4) == 0) {
        code[n++] = (u8)(0x64 + random_number(2));
    }
    if ((rex & 8) || random_number(2)) {
        code[n++] = rex;
    }
    if (map > 0) {
        code[n++] = 0x0f;
    }
    if (map > 1) {
        code[n++] = escapes[map];
    }
    code[n++] = (u8)(slot >> 5);
    code[n] = (u8)((reg_form ? 3 : random_number(3)) << 6 | (slot & 7) << 3 | random_number(8));
}

/* ---- the table ---- */

static void set_processor(u32 sample)
{
    decode_amd_branches = sample & 1;
    ZydisDecoderEnableMode(&decode_zydis, ZYDIS_DECODER_MODE_AMD_BRANCHES, sample & 1);
    ZydisDecoderEnableMode(&decode_zydis, ZYDIS_DECODER_MODE_MPX, sample >> 1 & 1);
}

/* One sample of the slot. False: the slot has no shape. *s: the shape, once it is known. */
static bool try_sample(u32 slot, Shape *s)
{
    ZydisDecodedInstruction z;
    ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
    u8 code[MT_INSN_MAX];
    Shape tried = *s;
    Insn in, again;
    Walk w;

    make_sample(code, slot);
    if (!decode_walk(&w, code) || w.slot != slot) {
        return true;
    }
    if (is_irregular(&w)) {
        return false;
    }
    if (!decode_full(&in, PC, code, MT_INSN_MAX, &z, ops)) {
        return false; /* only some registers or addresses are valid, or none */
    }
    if (!(s->w0 & SHAPE_KNOWN) && !learn_shape(s, &w, &in, &z, ops)) {
        return false;
    }
    if (!decode_apply(&again, &w, PC, code, s)) {
        *s = tried;
        return true; /* left to decode_slow(): a shift by zero, which teaches nothing */
    }
    return decode_same(&again, &in);
}

static bool find_shape(u32 slot, Shape *s)
{
    *s = (Shape){0, 0};
    random_state = 88172645463325252ull + slot;
    for (u32 i = 0; i < MT_SAMPLES; i++) {
        set_processor(i);
        if (!try_sample(slot, s)) {
            return false;
        }
    }
    return s->w0 & SHAPE_KNOWN;
}

static u16 number_of(const Shape *s)
{
    u32 i = 1;

    while (i < nshapes && (shapes[i].w0 != s->w0 || shapes[i].w1 != s->w1)) {
        i++;
    }
    if (i == nshapes) {
        if (nshapes == MT_NSHAPES) {
            fprintf(stderr, "mkshapes: more than %u shapes\n", MT_NSHAPES);
            exit(1);
        }
        shapes[nshapes++] = *s;
    }
    return (u16)i;
}

static bool write_table(FILE *f)
{
    fprintf(f, "/* Written by mkshapes. */\n#include \"jit/decode_shape.h\"\n"
               "const u16 decode_numbers[MT_NSLOTS] = {");
    for (u32 i = 0; i < MT_NSLOTS; i++) {
        fprintf(f, "%s%u,", i % 32 ? "" : "\n", numbers[i]);
    }
    fprintf(f, "};\nconst Shape decode_shapes[] = {\n");
    for (u32 i = 0; i < nshapes; i++) {
        fprintf(f, "{0x%llx,0x%llx},\n", (unsigned long long)shapes[i].w0,
                (unsigned long long)shapes[i].w1);
    }
    fprintf(f, "};\n");
    return fclose(f) == 0;
}

int main(int argc, char **argv)
{
    FILE *f = argc == 2 ? fopen(argv[1], "w") : NULL;

    if (f == NULL) {
        fprintf(stderr, "usage: mkshapes FILE\n");
        return 1;
    }
    decode_init();
    for (u32 slot = 0; slot < MT_NSLOTS; slot++) {
        Shape s;

        numbers[slot] = find_shape(slot, &s) ? number_of(&s) : 0;
    }
    return write_table(f) ? 0 : 1;
}
