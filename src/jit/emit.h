/* SPDX-License-Identifier: BSD-2-Clause
 * emit.h -- writing host instructions. Each emitter is headed by what it produces. */
#ifndef MT_EMIT_H
#define MT_EMIT_H

#include "base/base.h"
#include "guest/cpu.h"

#include <string.h>

typedef struct Emit {
    u8 *w; /* where the next byte is written */
    u64 x; /* the address at which it will be executed */
} Emit;

static inline void emit_u8(Emit *e, u8 b)
{
    *e->w++ = b;
    e->x++;
}

static inline void emit_u32(Emit *e, u32 v)
{
    memcpy(e->w, &v, 4);
    e->w += 4;
    e->x += 4;
}

static inline void emit_u64(Emit *e, u64 v)
{
    memcpy(e->w, &v, 8);
    e->w += 8;
    e->x += 8;
}

static inline void emit_bytes(Emit *e, const void *p, u32 n)
{
    memcpy(e->w, p, n);
    e->w += n;
    e->x += n;
}

/* Offset of a field of mt_cpu from %fs:0, the same in every thread (local-exec). */
extern i32 mt_cpu_tpoff;
#define MT_TP(field) ((u32)(mt_cpu_tpoff + (i32)offsetof(CpuState, field)))

/* op %reg, %fs:disp32 (9 bytes) */
static inline void emit_fs_op(Emit *e, u8 op, u32 reg, u32 disp)
{
    emit_u8(e, 0x64);
    emit_u8(e, (u8)(0x48 | (reg >> 3) << 2));
    emit_u8(e, op);
    emit_u8(e, (u8)(0x04 | (reg & 7) << 3));
    emit_u8(e, 0x25);
    emit_u32(e, disp);
}

/* mov %reg, %fs:disp */
static inline void emit_fs_store(Emit *e, u32 reg, u32 disp)
{
    emit_fs_op(e, 0x89, reg, disp);
}

/* mov %fs:disp, %reg */
static inline void emit_fs_load(Emit *e, u32 reg, u32 disp)
{
    emit_fs_op(e, 0x8b, reg, disp);
}

/* movl $imm, %fs:disp (12 bytes) */
static inline void emit_fs_store_imm32(Emit *e, u32 disp, u32 imm)
{
    emit_u8(e, 0x64);
    emit_u8(e, 0xc7);
    emit_u8(e, 0x04);
    emit_u8(e, 0x25);
    emit_u32(e, disp);
    emit_u32(e, imm);
}

/* mov $imm64, %reg (10 bytes) */
static inline void emit_mov_imm64(Emit *e, u32 reg, u64 imm)
{
    emit_u8(e, (u8)(0x48 | reg >> 3));
    emit_u8(e, (u8)(0xb8 | (reg & 7)));
    emit_u64(e, imm);
}

/* jmp target (5 bytes) */
static inline void emit_jmp(Emit *e, u64 target)
{
    emit_u8(e, 0xe9);
    emit_u32(e, (u32)(target - (e->x + 4)));
}

#endif
