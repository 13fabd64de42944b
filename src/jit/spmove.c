/* SPDX-License-Identifier: BSD-2-Clause
 * spmove.c -- what an instruction does to the stack pointer.
 * Role:    for tools; pure. Forms not named here that write rsp are MTVG_SP_ANY.
 * Sources: AMD64 Architecture Programmer's Manual vol. 3, PUSH, POP, CALL, RET. */
#include "guest/cpu.h"
#include "jit/instr.h"

#include <string.h>

static bool has_66(const Insn *in)
{
    for (u32 i = 0; i < in->opcode_off; i++) {
        if (in->bytes[i] == 0x66) {
            return true;
        }
    }
    return false;
}

static u8 rex_of(const Insn *in)
{
    return in->rex_off != 0xff ? in->bytes[in->rex_off] : 0;
}

/* Bytes that a push or pop moves. REX.W undoes an operand-size prefix. */
static i64 slot_size(const Insn *in)
{
    return has_66(in) && !(rex_of(in) & 8) ? 2 : 8;
}

static i64 immediate(const Insn *in)
{
    i32 word;

    if (in->imm_size == 1) {
        return (i8)in->bytes[in->imm_off];
    }
    memcpy(&word, in->bytes + in->imm_off, 4);
    return word;
}

/* lea disp(%rsp), %rsp, of 64 bits */
static bool lea_of_rsp(const Insn *in, i64 *delta)
{
    const u8 *m = in->bytes + in->modrm_off;
    i32 d = 0;

    if ((rex_of(in) & 0xf) != 8 || (in->flags & INSN_F_ADDR32) || (m[0] & 0x3f) != 0x24 ||
        m[0] >> 6 == 3 || m[1] != 0x24) {
        return false;
    }
    if (in->disp_size == 1) {
        d = (i8)in->bytes[in->disp_off];
    } else if (in->disp_size == 4) {
        memcpy(&d, in->bytes + in->disp_off, 4);
    }
    *delta = d;
    return true;
}

/* add, sub $n, %rsp */
static bool add_to_rsp(const Insn *in, i64 *delta)
{
    u8 modrm = in->bytes[in->modrm_off];

    if ((rex_of(in) & 9) != 8 || (modrm != 0xc4 && modrm != 0xec)) {
        return false;
    }
    *delta = modrm == 0xc4 ? immediate(in) : -immediate(in);
    return true;
}

static MtvgSpMove one_byte(const Insn *in, u8 op, i64 *delta)
{
    u8 modrm = in->modrm_off != 0xff ? in->bytes[in->modrm_off] : 0;
    bool known = false;

    switch (op) {
    case 0x50 ... 0x57:
    case 0x68:
    case 0x6a:
    case 0x9c: *delta = -slot_size(in); return MTVG_SP_ADD;
    case 0x58 ... 0x5f:
        known = op != 0x5c || (rex_of(in) & 1) != 0;
        *delta = slot_size(in);
        break;
    case 0x8f:
        known = modrm != 0xc4 || (rex_of(in) & 1) != 0;
        *delta = slot_size(in);
        break;
    case 0x9d:
        known = true;
        *delta = slot_size(in);
        break;
    case 0xff:
        known = (modrm >> 3 & 7) == 6;
        *delta = -slot_size(in);
        break;
    case 0x81:
    case 0x83: known = add_to_rsp(in, delta); break;
    case 0x8d: known = lea_of_rsp(in, delta); break;
    default: break;
    }
    return known ? MTVG_SP_ADD : MTVG_SP_ANY;
}

static MtvgSpMove plain_move(const Insn *in, i64 *delta)
{
    u8 op = in->bytes[in->opcode_off];

    if (in->flags & INSN_F_VEX_LIKE) {
        return MTVG_SP_ANY;
    }
    if (in->opcode_off > 0 && in->bytes[in->opcode_off - 1] == 0x0f) {
        *delta = -slot_size(in);
        return op == 0xa0 || op == 0xa8 ? MTVG_SP_ADD : MTVG_SP_ANY; /* push %fs, %gs */
    }
    return one_byte(in, op, delta);
}

MtvgSpMove mtvg_sb_sp(const MtvgSb *sb, u32 i, i64 *delta)
{
    const Insn *in;
    MtvgSpMove move = MTVG_SP_SAME;

    *delta = 0;
    if (i >= sb->n) {
        return MTVG_SP_SAME;
    }
    in = &sb->insns[i];
    switch (in->cls) {
    case INSN_CALL:
    case INSN_CALL_IND: *delta = -8; return MTVG_SP_ADD;
    case INSN_RET: *delta = 8 + (i64)in->ret_pop; return MTVG_SP_ADD;
    case INSN_EMULATE: return MTVG_SP_ANY;
    case INSN_PLAIN:
        if ((in->gprs_written >> MT_RSP & 1) && !(in->flags & INSN_F_OPAQUE)) {
            move = plain_move(in, delta);
        }
        break;
    default: break;
    }
    if (move != MTVG_SP_ADD) {
        *delta = 0;
    }
    return move;
}
