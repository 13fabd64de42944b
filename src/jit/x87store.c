/* SPDX-License-Identifier: BSD-2-Clause
 * x87store.c -- which instructions store the address of the last x87 instruction (x87ip.c). */
#include "jit/x87ip.h"

#include "base/atomics.h"
#include "guest/cpu.h"

static bool is_map_0f(const Insn *in)
{
    return in->opcode_off > 0 && in->bytes[in->opcode_off - 1] == 0x0f;
}

static bool is_x87(const Insn *in)
{
    u8 op = in->bytes[in->opcode_off];

    return !(in->flags & (INSN_F_VEX_LIKE | INSN_F_OPAQUE)) && op >= 0xd8 && op <= 0xdf &&
           in->modrm_off == in->opcode_off + 1 && !is_map_0f(in);
}

bool x87ip_concerns(const Insn *in)
{
    return is_x87(in) || x87ip_store_of(in) != X87_STORES_NOT;
}

u32 x87ip_store_of(const Insn *in)
{
    u8 op = in->bytes[in->opcode_off], modrm;
    u32 reg, wide = 0;

    if ((in->flags & (INSN_F_VEX_LIKE | INSN_F_OPAQUE)) || in->modrm_off == 0xff) {
        return X87_STORES_NOT;
    }
    modrm = in->bytes[in->modrm_off];
    reg = modrm >> 3 & 7;
    if (is_x87(in)) {
        mt_store_relaxed(&mt_x87_seen, true);
        return (op == 0xd9 || op == 0xdd) && modrm < 0xc0 && reg == 6 ? X87_STORES_ENV
                                                                      : X87_STORES_NOT;
    }
    if (modrm >= 0xc0 || !is_map_0f(in) || !(in->flags & INSN_F_WRITES_MEM)) {
        return X87_STORES_NOT;
    }
    if (in->rex_off != 0xff && (in->bytes[in->rex_off] & 8)) {
        wide = X87_STORES_WIDE;
    }
    if (op == 0xae && reg == 0) {
        return X87_STORES_ALL | wide;
    }
    if ((op == 0xae && (reg == 4 || reg == 6)) || (op == 0xc7 && reg == 4)) {
        return X87_STORES_MASKED | wide;
    }
    return X87_STORES_NOT;
}
