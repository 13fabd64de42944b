/* SPDX-License-Identifier: BSD-2-Clause
 * cfi_expr.c -- DWARF expressions, as far as call frame information has them (DWARF 5, chapter
 * 2.5): those of PLT entries and of signal trampolines in the first place. */
#include "diag/cfi.h"
#include "diag/reader.h"

#include <dwarf.h>

#define STACK_MAX 64
#define OPS_MAX 1000 /* branches can go in circles */

typedef struct Machine {
    Reader code;
    GuestAddr start;
    const CfiRegs *regs;
    u64 stack[STACK_MAX];
    unsigned depth;
} Machine;

static void push(Machine *m, u64 v)
{
    if (m->depth == STACK_MAX) {
        m->code.bad = true;
        return;
    }
    m->stack[m->depth++] = v;
}

static u64 pop(Machine *m)
{
    if (m->depth == 0) {
        m->code.bad = true;
        return 0;
    }
    return m->stack[--m->depth];
}

/* The word that is i below the top. */
static u64 pick(Machine *m, unsigned i)
{
    if (i >= m->depth) {
        m->code.bad = true;
        return 0;
    }
    return m->stack[m->depth - 1 - i];
}

static void deref(Machine *m, unsigned n)
{
    u64 at = pop(m), v = 0;
    if (n > sizeof(v) || safe_read(&v, at, n) != 0) {
        m->code.bad = true;
    }
    push(m, v);
}

static void based(Machine *m, u64 reg)
{
    i64 n = read_sleb(&m->code);
    if (reg >= CFI_REGS) {
        m->code.bad = true;
        return;
    }
    push(m, m->regs->r[reg] + (u64)n);
}

static void jump(Machine *m, bool taken)
{
    i64 n = read_s(&m->code, 2);
    GuestAddr to = m->code.at + (u64)n;
    if (taken) {
        m->code.bad = m->code.bad || to < m->start || to > m->code.end;
        m->code.at = to;
    }
}

static bool binary(Machine *m, u8 op)
{
    if (op < DW_OP_and || op > DW_OP_ne) {
        return false;
    }
    u64 b = pop(m), a = pop(m), v;
    i64 sa = (i64)a, sb = (i64)b;
    switch (op) {
    case DW_OP_and: v = a & b; break;
    case DW_OP_or: v = a | b; break;
    case DW_OP_xor: v = a ^ b; break;
    case DW_OP_plus: v = a + b; break;
    case DW_OP_minus: v = a - b; break;
    case DW_OP_mul: v = a * b; break;
    case DW_OP_mod: v = b != 0 ? a % b : 0; break;
    case DW_OP_div: v = sb == -1 ? 0 - a : sb != 0 ? (u64)(sa / sb) : 0; break;
    case DW_OP_shl: v = b < 64 ? a << b : 0; break;
    case DW_OP_shr: v = b < 64 ? a >> b : 0; break;
    case DW_OP_shra: v = (u64)(sa >> (b < 64 ? b : 63)); break;
    case DW_OP_eq: v = sa == sb; break;
    case DW_OP_ge: v = sa >= sb; break;
    case DW_OP_gt: v = sa > sb; break;
    case DW_OP_le: v = sa <= sb; break;
    case DW_OP_lt: v = sa < sb; break;
    case DW_OP_ne: v = sa != sb; break;
    default: return false;
    }
    push(m, v);
    return true;
}

static void reorder(Machine *m, u8 op)
{
    u64 a = pop(m), b = pop(m);
    if (op == DW_OP_swap) {
        push(m, a);
        push(m, b);
    } else {
        u64 c = pop(m);
        push(m, a);
        push(m, c);
        push(m, b);
    }
}

static void one(Machine *m, u8 op)
{
    Reader *r = &m->code;
    if (op >= DW_OP_lit0 && op <= DW_OP_lit31) {
        push(m, op - DW_OP_lit0);
        return;
    }
    if (op >= DW_OP_breg0 && op <= DW_OP_breg31) {
        based(m, op - DW_OP_breg0);
        return;
    }
    switch (op) {
    case DW_OP_addr:
    case DW_OP_const8u:
    case DW_OP_const8s: push(m, read_u(r, 8)); return;
    case DW_OP_const1u: push(m, read_u(r, 1)); return;
    case DW_OP_const1s: push(m, (u64)read_s(r, 1)); return;
    case DW_OP_const2u: push(m, read_u(r, 2)); return;
    case DW_OP_const2s: push(m, (u64)read_s(r, 2)); return;
    case DW_OP_const4u: push(m, read_u(r, 4)); return;
    case DW_OP_const4s: push(m, (u64)read_s(r, 4)); return;
    case DW_OP_constu: push(m, read_uleb(r)); return;
    case DW_OP_consts: push(m, (u64)read_sleb(r)); return;
    case DW_OP_bregx: based(m, read_uleb(r)); return;
    case DW_OP_deref: deref(m, 8); return;
    case DW_OP_deref_size: deref(m, read_u8(r)); return;
    case DW_OP_dup: push(m, pick(m, 0)); return;
    case DW_OP_over: push(m, pick(m, 1)); return;
    case DW_OP_pick: push(m, pick(m, read_u8(r))); return;
    case DW_OP_drop: pop(m); return;
    case DW_OP_swap:
    case DW_OP_rot: reorder(m, op); return;
    case DW_OP_neg: push(m, 0 - pop(m)); return;
    case DW_OP_not: push(m, ~pop(m)); return;
    case DW_OP_abs: {
        u64 v = pop(m);
        push(m, (i64)v < 0 ? 0 - v : v);
        return;
    }
    case DW_OP_plus_uconst: push(m, pop(m) + read_uleb(r)); return;
    case DW_OP_skip: jump(m, true); return;
    case DW_OP_bra: jump(m, pop(m) != 0); return;
    case DW_OP_nop: return;
    default:
        if (!binary(m, op)) {
            r->bad = true;
        }
    }
}

bool cfi_expression(GuestAddr at, u64 len, const CfiRegs *regs, u64 first, u64 *value)
{
    Machine m = {.code = reader_at(at, at + len), .start = at, .regs = regs};
    push(&m, first);
    for (unsigned n = 0; m.code.at < m.code.end && !m.code.bad; n++) {
        if (n == OPS_MAX) {
            return false;
        }
        one(&m, read_u8(&m.code));
    }
    *value = pop(&m);
    return !m.code.bad;
}
