/* SPDX-License-Identifier: BSD-2-Clause
 * toolcode.c -- code of a tool's own, as the tool describes it (docs/TOOLS.md).
 * Role:       records the steps, and finds out what they read, need, and can't do. toolcode_emit.c
 *             makes host code of them.
 * Invariants: T1. code that is not `bad` can be emitted, in no more bytes than have been taken.
 *             T2. control flow goes forward only. */
#include "jit/toolcode.h"

#include "guest/cpu.h"
#include "jit/instr.h"

#define TEMP0 16 /* temporaries are numbered from here */
#define OP_BYTES 36
#define FRAME_BYTES 150 /* spills, flags, and what undoes them */
#define COLD_BYTES (MT_CALL_BYTES + 80)

static SbCall *as_call(MtvgCode *c)
{
    return (SbCall *)c;
}

static bool is_temp(const SbCall *c, MtvgVal v)
{
    return v >= TEMP0 && v < TEMP0 + c->ntemps;
}

static bool is_val(const SbCall *c, MtvgVal v)
{
    return v < MT_NGPR || is_temp(c, v);
}

static void reads(SbCall *c, MtvgVal v)
{
    if (v < MT_NGPR) {
        c->reads |= (u16)(1u << v);
    }
}

/* The next step; NULL: there is none. */
static CodeOp *add_op(MtvgCode *code, u32 op)
{
    SbCall *c = as_call(code);
    MtvgSb *sb;
    CodeOp *o;

    if (c == NULL || c->bad) {
        return NULL;
    }
    sb = c->sb;
    if (c != &sb->calls[sb->ncalls - 1] || c->nops == MT_CODE_OPS ||
        !instr_take_room(sb, c, OP_BYTES, 0)) {
        c->bad = true;
        return NULL;
    }
    o = &sb->ops[c->ops + c->nops++];
    sb->nops++;
    *o = (CodeOp){.op = (u8)op, .a = MTVG_NO_VAL, .b = MTVG_NO_VAL};
    return o;
}

static void set_target(MtvgCode *code, CodeOp *o, MtvgVal t)
{
    o->a = t;
    as_call(code)->bad |= !is_temp(as_call(code), t);
}

static void set_source(MtvgCode *code, MtvgVal *field, MtvgVal v)
{
    *field = v;
    as_call(code)->bad |= !is_val(as_call(code), v);
    reads(as_call(code), v);
}

static bool good_size(u32 size)
{
    return size == 1 || size == 2 || size == 4 || size == 8;
}

static void set_place(MtvgCode *code, CodeOp *o, u32 size, MtvgPlace at)
{
    SbCall *c = as_call(code);

    o->at = at;
    o->size = (u8)size;
    c->bad |= !good_size(size) || at.space > MTVG_IN_TLS || at.index == MT_RSP ||
              (at.space == MTVG_IN_GS && !mt_tool_gs) ||
              (at.base != MTVG_NO_VAL && !is_val(c, at.base)) ||
              (at.index != MTVG_NO_VAL && (!is_val(c, at.index) || !good_size(at.scale)));
    reads(c, at.base);
    reads(c, at.index);
}

MtvgCode *mtvg_code(MtvgSb *sb, u32 i, MtvgWhen when, MtvgFunction slow, u64 arg)
{
    SbCall *c = instr_request(sb, i, when, FRAME_BYTES, COLD_BYTES);

    if (c == NULL) {
        return NULL;
    }
    c->fn = slow;
    c->arg = arg;
    c->is_code = true;
    sb->ncodes++;
    return (MtvgCode *)c;
}

bool mtvg_code_ok(const MtvgCode *code)
{
    const SbCall *c = (const SbCall *)code;

    if (c == NULL || c->bad) {
        return false;
    }
    for (u32 label = 1, i = 0; label <= c->nlabels; label++) {
        for (i = 0; i < c->nops; i++) {
            const CodeOp *o = &c->sb->ops[c->ops + i];

            if (o->op == CODE_HERE && o->label == label) {
                break;
            }
        }
        if (i == c->nops) {
            return false;
        }
    }
    return true;
}

MtvgVal mtvg_code_temp(MtvgCode *code)
{
    SbCall *c = as_call(code);

    if (c == NULL) {
        return TEMP0;
    }
    if (c->ntemps == MTVG_CODE_TEMPS) {
        c->bad = true;
        return TEMP0;
    }
    return (MtvgVal)(TEMP0 + c->ntemps++);
}

void mtvg_code_mov(MtvgCode *c, MtvgVal t, MtvgVal v)
{
    CodeOp *o = add_op(c, CODE_MOV);

    if (o != NULL) {
        set_target(c, o, t);
        set_source(c, &o->b, v);
    }
}

void mtvg_code_const(MtvgCode *c, MtvgVal t, u64 n)
{
    CodeOp *o = add_op(c, CODE_CONST);

    if (o != NULL) {
        set_target(c, o, t);
        o->n = (i64)n;
    }
}

/* Operand k as base, index, scale and displacement, whatever its segment. */
static bool plain_operand(const MtvgSb *sb, u32 i, u32 k, MtvgMem *m)
{
    MtvgMem mems[MTVG_MAX_MEMS];

    if (k >= (u32)mtvg_sb_mems(sb, i, mems)) {
        return false;
    }
    *m = mems[k];
    return (m->kind == MTVG_MEM_NORMAL || m->kind == MTVG_MEM_STRING) &&
           (m->base < MT_NGPR || m->base == MTVG_NO_REG || m->base == MTVG_REG_RIP) &&
           (m->index < MT_NGPR || m->index == MTVG_NO_REG);
}

static MtvgPlace operand_place(const MtvgMem *m, MtvgSpace space, i32 disp)
{
    return (MtvgPlace){(u8)space, m->base < MT_NGPR ? m->base : MTVG_NO_VAL,
                       m->index < MT_NGPR ? m->index : MTVG_NO_VAL,
                       m->index < MT_NGPR ? m->scale : 1, disp};
}

bool mtvg_place(const MtvgSb *sb, u32 i, u32 k, MtvgSpace space, i32 disp, MtvgPlace *out)
{
    MtvgMem m;
    i64 d;

    if (!plain_operand(sb, i, k, &m)) {
        return false;
    }
    d = m.disp + disp;
    if (m.seg != 0 || (sb->view[i].flags & MTVG_I_ADDR32) || d != (i32)d) {
        return false;
    }
    *out = operand_place(&m, space, (i32)d);
    return true;
}

void mtvg_code_operand(MtvgCode *c, MtvgVal t, u32 k)
{
    CodeOp *o = add_op(c, CODE_OPERAND);
    MtvgMem m;

    if (o == NULL) {
        return;
    }
    set_target(c, o, t);
    if (!plain_operand(as_call(c)->sb, as_call(c)->insn, k, &m)) {
        as_call(c)->bad = true;
        return;
    }
    if (m.base == MTVG_REG_RIP || (m.base == MTVG_NO_REG && m.disp != (i32)m.disp)) {
        o->op = m.seg == 0 && m.index == MTVG_NO_REG ? CODE_CONST : CODE_OPERAND;
        o->n = m.disp;
        as_call(c)->bad |= o->op != CODE_CONST;
        return;
    }
    set_place(c, o, 8, operand_place(&m, MTVG_IN_MEMORY, (i32)m.disp));
    o->size = (as_call(c)->sb->view[as_call(c)->insn].flags & MTVG_I_ADDR32) ? 4 : 8;
    o->n = m.seg;
}

static void add_arith(MtvgCode *c, MtvgOp op, MtvgVal t, MtvgVal v, i64 n)
{
    CodeOp *o = add_op(c, CODE_ADD + (u32)op);

    if (o == NULL) {
        return;
    }
    set_target(c, o, t);
    o->n = n;
    if (v != MTVG_NO_VAL) {
        set_source(c, &o->b, v);
    }
    as_call(c)->bad |= op > MTVG_XOR;
}

void mtvg_code_op(MtvgCode *c, MtvgOp op, MtvgVal t, MtvgVal v)
{
    if (v == MTVG_NO_VAL && c != NULL) {
        as_call(c)->bad = true;
    }
    add_arith(c, op, t, v, 0);
}

void mtvg_code_op_const(MtvgCode *c, MtvgOp op, MtvgVal t, i32 n)
{
    add_arith(c, op, t, MTVG_NO_VAL, n);
}

void mtvg_code_shift(MtvgCode *c, MtvgShift op, MtvgVal t, u32 n)
{
    CodeOp *o = add_op(c, CODE_SHL + (u32)op);

    if (o != NULL) {
        set_target(c, o, t);
        o->n = n;
        as_call(c)->bad |= n == 0 || n > 63 || op > MTVG_SAR;
    }
}

void mtvg_code_load(MtvgCode *c, MtvgVal t, u32 size, MtvgPlace at)
{
    CodeOp *o = add_op(c, CODE_LOAD);

    if (o != NULL) {
        set_target(c, o, t);
        set_place(c, o, size, at);
    }
}

void mtvg_code_store(MtvgCode *c, u32 size, MtvgPlace at, MtvgVal v)
{
    CodeOp *o = add_op(c, CODE_STORE);

    if (o != NULL) {
        set_source(c, &o->b, v);
        set_place(c, o, size, at);
    }
}

void mtvg_code_store_const(MtvgCode *c, u32 size, MtvgPlace at, i32 n)
{
    CodeOp *o = add_op(c, CODE_STORE_CONST);

    if (o != NULL) {
        set_place(c, o, size, at);
        o->n = n;
    }
}

static CodeOp *add_branch(MtvgCode *c, u32 op, MtvgCond cond, u32 size, i32 n)
{
    CodeOp *o = add_op(c, op);

    if (o != NULL) {
        o->cond = (u8)cond;
        o->size = (u8)size;
        o->n = n;
        as_call(c)->bad |= !good_size(size) || !((1u << cond) & 0xf0fcu) || cond > MTVG_G;
    }
    return o;
}

/* label 0: the slow call */
static void branch_val(MtvgCode *c, MtvgCond cond, u32 size, MtvgVal v, i32 n, u32 label)
{
    CodeOp *o = add_branch(c, CODE_IF, cond, size, n);

    if (o != NULL) {
        set_source(c, &o->a, v);
        o->label = (u8)label;
    }
}

static void branch_at(MtvgCode *c, MtvgCond cond, u32 size, MtvgPlace at, i32 n, u32 label)
{
    CodeOp *o = add_branch(c, CODE_IF_AT, cond, size, n);

    if (o != NULL) {
        set_place(c, o, size, at);
        o->label = (u8)label;
    }
}

static bool has_slow(MtvgCode *c)
{
    if (c != NULL && as_call(c)->fn == NULL) {
        as_call(c)->bad = true;
    }
    return c != NULL && !as_call(c)->bad;
}

void mtvg_code_slow_if(MtvgCode *c, MtvgCond cond, u32 size, MtvgVal v, i32 n)
{
    if (has_slow(c)) {
        branch_val(c, cond, size, v, n, 0);
    }
}

void mtvg_code_slow_if_at(MtvgCode *c, MtvgCond cond, u32 size, MtvgPlace at, i32 n)
{
    if (has_slow(c)) {
        branch_at(c, cond, size, at, n, 0);
    }
}

void mtvg_code_slow_if_vals(MtvgCode *c, MtvgCond cond, MtvgVal a, MtvgVal b)
{
    CodeOp *o;

    if (has_slow(c)) {
        o = add_branch(c, CODE_IF_VALS, cond, 8, 0);
        if (o != NULL) {
            set_source(c, &o->a, a);
            set_source(c, &o->b, b);
        }
    }
}

static u32 new_label(MtvgCode *c)
{
    return c != NULL ? ++as_call(c)->nlabels : 0;
}

u32 mtvg_code_skip_if(MtvgCode *c, MtvgCond cond, u32 size, MtvgVal v, i32 n)
{
    u32 label = new_label(c);

    branch_val(c, cond, size, v, n, label);
    return label;
}

u32 mtvg_code_skip_if_at(MtvgCode *c, MtvgCond cond, u32 size, MtvgPlace at, i32 n)
{
    u32 label = new_label(c);

    branch_at(c, cond, size, at, n, label);
    return label;
}

void mtvg_code_here(MtvgCode *c, u32 label)
{
    CodeOp *o = add_op(c, CODE_HERE);

    if (o != NULL) {
        o->label = (u8)label;
        as_call(c)->bad |= label == 0 || label > as_call(c)->nlabels;
    }
}

/* Before: mov %rsp, old_sp. Behind: to the slow call if rsp is another one. */
bool mtvg_on_sp(MtvgSb *sb, u32 i, MtvgFunction fn, u64 arg)
{
    const MtvgPlace old = mtvg_at(MTVG_IN_TLS, MTVG_NO_VAL, (i32)MT_TP(old_sp));
    MtvgCode *before = mtvg_code(sb, i, MTVG_BEFORE, NULL, 0), *behind;
    MtvgVal t;

    mtvg_code_store(before, 8, old, MT_RSP);
    behind = mtvg_code_ok(before) ? mtvg_code(sb, i, MTVG_AFTER, fn, arg) : NULL;
    if (!mtvg_code_ok(behind)) {
        return false;
    }
    t = mtvg_code_temp(behind);
    mtvg_code_load(behind, t, 8, old);
    mtvg_code_slow_if_vals(behind, MTVG_NE, t, MT_RSP);
    return mtvg_code_ok(behind);
}
