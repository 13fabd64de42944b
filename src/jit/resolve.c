/* SPDX-License-Identifier: BSD-2-Clause
 * resolve.c -- the real memory accesses of an operand, from the guest's state.
 * Role:    slow domain: the vector state lies in mt_cpu.xsave, in the standard format.
 * Sources: Intel SDM vol. 1, chapter 13 (XSAVE area; a component whose bit in XSTATE_BV is clear is
 *          in its initial state: zeros); vol. 2, BT, VGATHER*, VCOMPRESS*. */
#include "guest/cpu.h"
#include "base/hostcpu.h"
#include "mtvg/tool.h"

#include <cpuid.h>
#include <string.h>

#define XSAVE_XMM 160
#define XSAVE_MM 32
#define XSAVE_HEADER 512
#define COMP_X87 0
#define COMP_SSE 1
#define COMP_AVX 2
#define COMP_OPMASK 5
#define COMP_ZMM_HI256 6
#define COMP_HI16_ZMM 7

/* Copies n bytes at offset `at` of the component; zeros if it is in its initial state. */
static void read_component(u8 *out, u32 comp, u32 at, u32 n)
{
    const u8 *area = mt_cpu.xsave;
    u32 a, base = 0, c, d;
    u64 bv;

    memset(out, 0, n);
    memcpy(&bv, area + XSAVE_HEADER, 8);
    if (mt_xsave.mask != 0 && !(bv & mt_xsave.mask & 1ull << comp)) {
        return;
    }
    if (comp >= COMP_AVX) {
        if (mt_xsave.mask == 0) {
            return;
        }
        __cpuid_count(0xd, comp, a, base, c, d);
    }
    memcpy(out, area + base + at, n);
}

static void read_vector(u8 out[64], u32 r)
{
    if (r >= 16) {
        read_component(out, COMP_HI16_ZMM, 64 * (r - 16), 64);
        return;
    }
    read_component(out, COMP_SSE, XSAVE_XMM + 16 * r, 16);
    read_component(out + 16, COMP_AVX, 16 * r, 16);
    read_component(out + 32, COMP_ZMM_HI256, 32 * r, 32);
}

/* The enabled lanes as bits. */
static u64 read_mask(const MtvgMem *m)
{
    u64 all = m->elem_count >= 64 ? ~0ull : (1ull << m->elem_count) - 1;
    u64 k = 0;
    u8 v[64];

    if (m->mask_reg == MTVG_NO_REG) {
        return all;
    }
    if (!(m->mask_reg & 0x80)) {
        read_component((u8 *)&k, COMP_OPMASK, 8u * m->mask_reg, 8);
        return k & all;
    }
    if (m->elem_size == 1 && m->elem_count == 8) { /* maskmovq */
        memset(v, 0, sizeof(v));
        read_component(v, COMP_X87, XSAVE_MM + 16u * (m->mask_reg & 7), 8);
    } else {
        read_vector(v, m->mask_reg & 0x1f);
    }
    for (u32 i = 0; i < m->elem_count; i++) {
        k |= (u64)(v[(i + 1) * m->elem_size - 1] >> 7) << i;
    }
    return k;
}

static u64 finish_address(const MtvgCall *c, const MtvgMem *m, u64 a)
{
    if (c->flags & MTVG_I_ADDR32) {
        a = (u32)a;
    }
    return a + (m->seg == 1 ? c->fs_base : m->seg == 2 ? c->gs_base : 0);
}

/* Offset from the segment's base, vector index aside. */
static u64 plain_offset(const MtvgCall *c, const MtvgMem *m)
{
    u64 a = (u64)m->disp;

    if (m->base < MT_NGPR) {
        a += c->gpr[m->base];
    }
    if (m->index < MT_NGPR) {
        u64 index = c->gpr[m->index];

        a += (m->kind == MTVG_MEM_XLAT ? (u8)index : index) * m->scale;
    }
    return a;
}

/* The bit number counts from the operand's address, in both directions, by units of its size. */
static u64 bits_offset(const MtvgCall *c, const MtvgMem *m)
{
    u64 v = c->gpr[m->vsib_reg];
    i64 bit = m->vsib_width == 2 ? (i16)v : m->vsib_width == 4 ? (i32)v : (i64)v;
    u32 log = m->vsib_width == 2 ? 4 : m->vsib_width == 4 ? 5 : 6;

    return (u64)((bit >> log) * m->vsib_width);
}

static int resolve_vsib(const MtvgCall *c, const MtvgMem *m, MtvgAccess *out)
{
    u64 mask = read_mask(m), base = plain_offset(c, m);
    u8 v[64];
    int n = 0;

    read_vector(v, m->vsib_reg);
    for (u32 i = 0; i < m->elem_count; i++) {
        i64 index = 0;
        i32 narrow;

        if (!(mask >> i & 1)) {
            continue;
        }
        memcpy(&index, v + i * m->vsib_width, m->vsib_width);
        memcpy(&narrow, &index, 4);
        index = m->vsib_width == 4 ? narrow : index;
        out[n++] = (MtvgAccess){finish_address(c, m, base + (u64)index * m->scale), m->elem_size,
                                m->read, m->write};
    }
    return n;
}

/* Neighbouring lanes are one access. */
static int resolve_lanes(const MtvgCall *c, const MtvgMem *m, u64 mask, MtvgAccess *out)
{
    u64 base = plain_offset(c, m);
    int n = 0;

    for (u32 i = 0; i < m->elem_count;) {
        u32 end = i;

        while (end < m->elem_count && (mask >> end & 1)) {
            end++;
        }
        if (end > i) {
            out[n++] = (MtvgAccess){finish_address(c, m, base + i * m->elem_size),
                                    (end - i) * m->elem_size, m->read, m->write};
        }
        i = end > i ? end : i + 1;
    }
    return n;
}

/* The extent of the standard format for the components asked for. */
static u32 xsave_size(const MtvgCall *c)
{
    u64 want = ((u64)(u32)c->gpr[MT_RDX] << 32 | (u32)c->gpr[MT_RAX]);
    u32 size = XSAVE_HEADER + 64;

    want &= hostcpu_xcr0();
    for (u32 i = 2; i < 63; i++) {
        u32 bytes, at, ecx, edx;

        if (want >> i & 1) {
            __cpuid_count(0xd, i, bytes, at, ecx, edx);
            size = at + bytes > size ? at + bytes : size;
        }
    }
    return size;
}

int mtvg_resolve(const MtvgCall *c, const MtvgMem *m, MtvgAccess out[MTVG_MAX_ACCESSES])
{
    u64 offset = plain_offset(c, m), mask;
    u32 size = m->size;

    switch (m->kind) {
    case MTVG_MEM_VSIB: return resolve_vsib(c, m, out);
    case MTVG_MEM_MASKED: return resolve_lanes(c, m, read_mask(m), out);
    case MTVG_MEM_COMPRESSED:
        mask = read_mask(m);
        size = (u32)__builtin_popcountll(mask) * m->elem_size;
        if (size == 0) {
            return 0;
        }
        break;
    case MTVG_MEM_BITS: offset += bits_offset(c, m); break;
    case MTVG_MEM_XSAVE: size = xsave_size(c); break;
    default: break;
    }
    out[0] = (MtvgAccess){finish_address(c, m, offset), size, m->read, m->write};
    return 1;
}
