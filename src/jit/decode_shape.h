/* SPDX-License-Identifier: BSD-2-Clause
 * decode_shape.h -- shapes of instructions: what decode.c and mkshapes.c share. */
#ifndef MT_DECODE_SHAPE_H
#define MT_DECODE_SHAPE_H

#include "jit/decode_int.h"

/* word 0; word 1 is the GPRs read (bits 0..15) and written (16..31) whatever the encoding names. */
#define SHAPE_KNOWN 1ull
#define SHAPE_REG_R 4ull /* ModRM.reg names a GPR that is read, written, of 8 bits */
#define SHAPE_REG_W 8ull
#define SHAPE_REG_8 0x10ull
#define SHAPE_RM_R 0x20ull /* ModRM.rm, register form */
#define SHAPE_RM_W 0x40ull
#define SHAPE_RM_8 0x80ull
#define SHAPE_OP_R 0x100ull /* the opcode's low three bits */
#define SHAPE_OP_W 0x200ull
#define SHAPE_OP_8 0x400ull
#define SHAPE_MEM_R 0x800ull
#define SHAPE_MEM_W 0x1000ull
#define SHAPE_SEG 0x2000ull   /* a segment override counts */
#define SHAPE_SHIFT 0x4000ull /* an immediate count: zero is another shape */
#define SHAPE_IMM 16          /* bytes of immediate, 4 bits */
#define SHAPE_CLS 20          /* 4 bits */
#define SHAPE_FL_R 24         /* 8 bits each */
#define SHAPE_FL_W 32
#define SHAPE_MNEMONIC 40 /* 16 bits */

typedef struct Shape {
    u64 w0, w1;
} Shape;

/* prefix 2 bits, map 2, opcode 8, REX.W 1, register form 1, ModRM.reg 3: what is used of an opcode
 * mostly lies in one line of the processor's cache. */
#define MT_NSLOTS (1u << 17)
#define MT_NSHAPES 4096u

/* Of the table that mkshapes.c makes: by slot the number of its shape; shape 0 is not known.
 * Constant, so that all processes share what of it is in use. */
extern const u16 decode_numbers[MT_NSLOTS];
extern const Shape decode_shapes[];

/* What the walk over an instruction's bytes finds. */
typedef struct Walk {
    u32 slot;
    u8 map, opcode, opcode_off;
    u8 prefix; /* 0, 0x66, 0xf2, 0xf3 */
    u8 rex, rex_off, seg_off;
    bool gs, has_modrm;
    u8 modrm, sib;
    u8 disp_off, disp_size, end; /* end: of the displacement, where an immediate begins */
} Walk;

/* Up to an immediate. False: leave it to decode_slow(). Needs 15 readable bytes. */
bool decode_walk(Walk *w, const u8 *code);

/* Fills out by a shape; false if the instruction isn't of it after all. */
bool decode_apply(Insn *out, const Walk *w, GuestAddr pc, const u8 *code, const Shape *s);

#endif
