/* SPDX-License-Identifier: BSD-2-Clause
 * toolcode_emit.c -- host code of a tool's own code.
 * The code of one piece, in the block:
 *         spills of what is taken and live
 *     begin:  [FLAGS_SAVED: lahf; seto %al; mov %rax, spill_flags; (mov spill, %rax)]
 *         the steps
 *     end:    [FLAGS_SAVED: mov spill_flags, %rax; add $0x7f, %al; sahf]
 *         reloads
 * and out of line, if there is a slow call:
 *         the same as from `end` on
 *     fault:  the call, which comes back behind the reloads
 * Invariants: E1. (instr_emit.c) the flags are changed only where they are dead or saved.
 *             E3. from `begin` to the end the registers of one mask are in mt_cpu.spill; behind the
 *                 store of spill_flags that holds the flags, until the end. The pc map needs two
 *                 records.
 *             E4. code out of line is done as the runtime's: signals wait for the call, whose
 *                 return looks at `pending`. */
#include "jit/instr.h"
#include "jit/toolcode.h"

#include "base/hostcpu.h"
#include "jit/cache.h"

#include <string.h>

#define TEMP0 16
#define MAX_FIXES (MT_CODE_OPS)

/* What is done about flags that are live. */
typedef enum FlagsWay {
    FLAGS_FREE,    /* nothing: they are dead, or no step changes them */
    FLAGS_AVOIDED, /* steps that change them are done by others, with rcx */
    FLAGS_SAVED,   /* in rax's place */
} FlagsWay;

typedef struct Fix {
    u8 *field; /* rel32 */
    u64 behind;
    u32 label;
} Fix;

typedef struct Gen {
    MtvgSb *sb;
    SbCall *c;
    Lower *l;
    Emit *e;
    FlagsWay way;
    u16 spilled;
    bool rcx_lost; /* FLAGS_AVOIDED: rcx has been used */
    u8 temp[MTVG_CODE_TEMPS];
    u32 nfixes;
    Fix fixes[MAX_FIXES];
    u64 label_at[MT_CODE_OPS + 1];
} Gen;

static const CodeOp *ops_of(const MtvgSb *sb, const SbCall *c)
{
    return &sb->ops[c->ops];
}

/* --- encoding --------------------------------------------------------------------------------- */

static u32 reg_of(const Gen *g, MtvgVal v)
{
    return v < TEMP0 ? v : g->temp[v - TEMP0];
}

static bool fits8(i64 n)
{
    return n == (i8)n;
}

/* REX (always, so that 1-byte registers are the low ones), opcode of one byte or 0x0fXX */
static void emit_opcode(Emit *e, u32 rex, u32 opcode)
{
    emit_u8(e, (u8)(0x40 | rex));
    if (opcode > 0xff) {
        emit_u8(e, (u8)(opcode >> 8));
    }
    emit_u8(e, (u8)opcode);
}

/* op %rm, %reg: ModRM with two registers */
static void emit_regs(Emit *e, bool wide, u32 opcode, u32 reg, u32 rm)
{
    emit_opcode(e, (wide ? 8u : 0) | (reg >> 3) << 2 | rm >> 3, opcode);
    emit_u8(e, (u8)(0xc0 | (reg & 7) << 3 | (rm & 7)));
}

static void emit_segment(Emit *e, u32 space)
{
    if (space != MTVG_IN_MEMORY) {
        emit_u8(e, space == MTVG_IN_GS ? 0x65 : 0x64);
    }
}

/* ModRM, SIB, displacement */
static void emit_place(Emit *e, u32 reg, u32 base, u32 index, u32 scale, i32 disp)
{
    u32 log = scale == 8 ? 3 : scale == 4 ? 2 : scale == 2 ? 1 : 0;
    bool sib = base == MTVG_NO_VAL || index != MTVG_NO_VAL || (base & 7) == MT_RSP;
    u32 mod = base == MTVG_NO_VAL ? 0 : disp == 0 && (base & 7) != MT_RBP ? 0 : fits8(disp) ? 1 : 2;

    emit_u8(e, (u8)(mod << 6 | (reg & 7) << 3 | (sib ? 4 : base & 7)));
    if (sib) {
        emit_u8(e, (u8)(log << 6 | (index == MTVG_NO_VAL ? 4 : index & 7) << 3 |
                        (base == MTVG_NO_VAL ? 5 : base & 7)));
    }
    if (base == MTVG_NO_VAL || mod == 2) {
        emit_u32(e, (u32)disp);
    } else if (mod == 1) {
        emit_u8(e, (u8)disp);
    }
}

/* Prefixes are the caller's. */
static void emit_mem(const Gen *g, bool wide, u32 opcode, u32 reg, const MtvgPlace *at)
{
    u32 base = at->base == MTVG_NO_VAL ? MTVG_NO_VAL : reg_of(g, at->base);
    u32 index = at->index == MTVG_NO_VAL ? MTVG_NO_VAL : reg_of(g, at->index);

    emit_opcode(g->e,
                (wide ? 8u : 0) | (reg >> 3) << 2 | (index == MTVG_NO_VAL ? 0 : index >> 3) << 1 |
                    (base == MTVG_NO_VAL ? 0 : base >> 3),
                opcode);
    emit_place(g->e, reg, base, index, at->scale, at->disp);
}

/* mov, movzx: size bytes at `at`, zero-extended, to %reg */
static void emit_load(const Gen *g, u32 reg, u32 size, const MtvgPlace *at)
{
    emit_segment(g->e, at->space);
    emit_mem(g, size == 8, size == 1 ? 0x0fb6 : size == 2 ? 0x0fb7 : 0x8b, reg, at);
}

static void emit_imm(Emit *e, u32 size, i64 n)
{
    if (size == 1) {
        emit_u8(e, (u8)n);
    } else if (size == 2) {
        emit_u8(e, (u8)n);
        emit_u8(e, (u8)(n >> 8));
    } else {
        emit_u32(e, (u32)n);
    }
}

/* The group-1 opcode for a constant: 80 (1 byte), 83 (sign-extended byte), 81 */
static u32 group1(u32 size, i64 n)
{
    return size == 1 ? 0x80 : fits8(n) ? 0x83 : 0x81;
}

static i64 as_signed(u32 size, i64 n)
{
    return size == 1 ? (i8)n : size == 2 ? (i16)n : (i32)n;
}

/* --- what flags need -------------------------------------------------------------------------- */

static bool changes_flags(const CodeOp *o)
{
    switch (o->op) {
    case CODE_OPERAND: return o->n != 0;
    case CODE_ADD:
    case CODE_SUB:
    case CODE_AND:
    case CODE_OR:
    case CODE_XOR:
    case CODE_SHL:
    case CODE_SHR:
    case CODE_SAR:
    case CODE_IF:
    case CODE_IF_AT:
    case CODE_IF_VALS: return true;
    default: return false;
    }
}

/* Can it be done without? */
static bool avoids_flags(const CodeOp *o)
{
    switch (o->op) {
    case CODE_ADD: return true;
    case CODE_SUB: return o->b == MTVG_NO_VAL && o->n != INT32_MIN;
    case CODE_AND: return o->b == MTVG_NO_VAL && (o->n == 0xff || o->n == 0xffff);
    case CODE_SHL:
    case CODE_SHR:
    case CODE_SAR: return CPU_FEATURE_PRESENT(BMI2);
    case CODE_IF:
    case CODE_IF_AT: return (o->cond == MTVG_EQ || o->cond == MTVG_NE) && o->n != INT32_MIN;
    default: return !changes_flags(o);
    }
}

static FlagsWay choose_way(const MtvgSb *sb, const SbCall *c, u8 live)
{
    const CodeOp *o = ops_of(sb, c);
    bool changes = false, avoids = true;

    for (u32 i = 0; i < c->nops; i++) {
        changes |= changes_flags(&o[i]);
        avoids &= avoids_flags(&o[i]);
    }
    if (!changes || !(live & MT_FL_ALL6)) {
        return FLAGS_FREE;
    }
    return avoids ? FLAGS_AVOIDED : FLAGS_SAVED;
}

/* --- registers -------------------------------------------------------------------------------- */

/* Temporaries: rax, if flags are saved there and the code doesn't read it, then dead registers,
 * then others. */
static void take_registers(Gen *g, u16 live)
{
    u16 avoid = (u16)(g->c->reads | 1u << MT_RSP), taken = 0;
    u32 n = 0;

    if (g->way == FLAGS_SAVED) {
        if (g->c->ntemps > 0 && !(avoid >> MT_RAX & 1)) {
            g->temp[n++] = MT_RAX;
        }
        avoid |= 1u << MT_RAX;
        taken |= 1u << MT_RAX;
    } else if (g->way == FLAGS_AVOIDED) {
        avoid |= 1u << MT_RCX;
        taken |= 1u << MT_RCX;
    }
    for (u32 pass = 0; pass < 2; pass++) {
        for (u32 r = 0; r < MT_NGPR && n < g->c->ntemps; r++) {
            if (!(avoid >> r & 1) && (live >> r & 1) == pass) {
                g->temp[n++] = (u8)r;
                taken |= (u16)(1u << r);
                avoid |= (u16)(1u << r);
            }
        }
    }
    g->spilled = taken & live;
}

static u32 spill_disp(const Gen *g, u32 reg)
{
    u32 below = g->spilled & ((1u << reg) - 1);

    return MT_TP(spill[__builtin_popcount(below)]);
}

static void spill(const Gen *g)
{
    for (u32 r = 0; r < MT_NGPR; r++) {
        if (g->spilled >> r & 1) {
            emit_fs_store(g->e, r, spill_disp(g, r));
            pcmap_plain(&g->l->map, 0, 9);
        }
    }
}

static void reload(const Gen *g, Emit *e)
{
    if (g->way == FLAGS_SAVED) {
        emit_fs_load(e, MT_RAX, MT_TP(spill_flags));
        emit_bytes(e, "\x04\x7f\x9e", 3); /* add $0x7f, %al; sahf */
    }
    for (u32 r = 0; r < MT_NGPR; r++) {
        if (g->spilled >> r & 1) {
            emit_fs_load(e, r, spill_disp(g, r));
        }
    }
}

/* --- steps ------------------------------------------------------------------------------------ */

static bool names(const CodeOp *o, MtvgVal v)
{
    return o->a == v || o->b == v || o->at.base == v || o->at.index == v;
}

/* The guest's rcx is wanted again. */
static void rcx_back(Gen *g, const CodeOp *o)
{
    bool place = o->op == CODE_OPERAND || o->op == CODE_LOAD || o->op == CODE_STORE ||
                 o->op == CODE_STORE_CONST || o->op == CODE_IF_AT;

    if (g->rcx_lost && (place ? names(o, MT_RCX) : o->a == MT_RCX || o->b == MT_RCX)) {
        emit_fs_load(g->e, MT_RCX, spill_disp(g, MT_RCX));
        g->rcx_lost = false;
    }
}

/* lea disp(%base,%index,scale), %reg */
static void emit_lea(const Gen *g, u32 reg, u32 base, u32 index, u32 scale, i32 disp)
{
    emit_opcode(g->e,
                8 | (reg >> 3) << 2 | (index == MTVG_NO_VAL ? 0 : index >> 3) << 1 |
                    (base == MTVG_NO_VAL ? 0 : base >> 3),
                0x8d);
    emit_place(g->e, reg, base, index, scale, disp);
}

static void step_const(const Gen *g, const CodeOp *o)
{
    u32 r = reg_of(g, o->a);

    if (o->n == (i32)o->n && o->n < 0) {
        emit_regs(g->e, true, 0xc7, 0, r);
        emit_u32(g->e, (u32)o->n);
    } else if (o->n == (u32)o->n) {
        emit_opcode(g->e, r >> 3, 0xb8 | (r & 7));
        emit_u32(g->e, (u32)o->n);
    } else {
        emit_mov_imm64(g->e, r, (u64)o->n);
    }
}

/* lea (32-bit address: 67 lea); add fs_base or gs_base */
static void step_operand(const Gen *g, const CodeOp *o)
{
    if (o->size == 4) {
        emit_u8(g->e, 0x67);
    }
    emit_mem(g, true, 0x8d, reg_of(g, o->a), &o->at);
    if (o->n != 0) {
        emit_fs_op(g->e, 0x03, reg_of(g, o->a), o->n == 1 ? MT_TP(fs_base) : MT_TP(gs_base));
    }
}

static void step_arith(const Gen *g, const CodeOp *o)
{
    static const u8 opcode[] = {0x03, 0x2b, 0x23, 0x0b, 0x33};
    static const u8 digit[] = {0, 5, 4, 1, 6};
    u32 k = o->op - CODE_ADD, r = reg_of(g, o->a);

    if (g->way == FLAGS_AVOIDED && o->op == CODE_AND) {
        emit_regs(g->e, false, o->n == 0xff ? 0x0fb6 : 0x0fb7, r, r);
    } else if (g->way == FLAGS_AVOIDED && o->b != MTVG_NO_VAL) {
        u32 b = reg_of(g, o->b); /* rsp can be a base only */

        emit_lea(g, r, b, r, 1, 0);
    } else if (g->way == FLAGS_AVOIDED) {
        emit_lea(g, r, r, MTVG_NO_VAL, 1, (i32)(o->op == CODE_SUB ? -o->n : o->n));
    } else if (o->b != MTVG_NO_VAL) {
        emit_regs(g->e, true, opcode[k], r, reg_of(g, o->b));
    } else {
        emit_regs(g->e, true, group1(8, o->n), digit[k], r);
        emit_imm(g->e, fits8(o->n) ? 1 : 4, o->n);
    }
}

/* shl $n, %r; or mov $n, %ecx; shlx %rcx, %r, %r */
static void step_shift(Gen *g, const CodeOp *o)
{
    static const u8 digit[] = {4, 5, 7};
    static const u8 pp[] = {1, 3, 2}; /* VEX prefixes of shlx, shrx, sarx */
    u32 k = o->op - CODE_SHL, r = reg_of(g, o->a), x = r >> 3 ^ 1;

    if (g->way != FLAGS_AVOIDED) {
        emit_regs(g->e, true, 0xc1, digit[k], r);
        emit_u8(g->e, (u8)o->n);
        return;
    }
    emit_u8(g->e, 0xb9);
    emit_u32(g->e, (u32)o->n);
    emit_u8(g->e, 0xc4);
    emit_u8(g->e, (u8)(x << 7 | 0x40 | x << 5 | 2));
    emit_u8(g->e, (u8)(0x80 | (~MT_RCX & 15u) << 3 | pp[k]));
    emit_u8(g->e, 0xf7);
    emit_u8(g->e, (u8)(0xc0 | (r & 7) << 3 | (r & 7)));
    g->rcx_lost = true;
}

static void step_store(const Gen *g, const CodeOp *o)
{
    bool imm = o->op == CODE_STORE_CONST;

    emit_segment(g->e, o->at.space);
    if (o->size == 2) {
        emit_u8(g->e, 0x66);
    }
    emit_mem(g, o->size == 8, (imm ? 0xc6 : 0x88) | (o->size != 1), imm ? 0 : reg_of(g, o->b),
             &o->at);
    if (imm) {
        emit_imm(g->e, o->size, o->n);
    }
}

/* jcc rel32; or, cond < 0, jmp rel32 */
static void emit_branch(Gen *g, int cond, u32 label)
{
    if (cond >= 0) {
        emit_u8(g->e, 0x0f);
        emit_u8(g->e, (u8)(0x80 | cond));
    } else {
        emit_u8(g->e, 0xe9);
    }
    emit_u32(g->e, 0);
    MT_ASSERT(g->nfixes < MAX_FIXES);
    g->fixes[g->nfixes++] = (Fix){g->e->w - 4, g->e->x, label};
}

/* mov operand, %rcx; [lea -n(%rcx), %rcx]; jrcxz, across or into a jmp */
static void branch_by_rcx(Gen *g, const CodeOp *o)
{
    u64 mask = o->size == 8 ? ~0ull : (1ull << 8 * o->size) - 1;
    u64 n = (u64)o->n & mask;

    if (o->op == CODE_IF_AT) {
        emit_load(g, MT_RCX, o->size, &o->at);
    } else {
        emit_regs(g->e, o->size == 8,
                  o->size == 1   ? 0x0fb6
                  : o->size == 2 ? 0x0fb7
                                 : 0x8b,
                  MT_RCX, reg_of(g, o->a));
    }
    if (n != 0) {
        emit_bytes(g->e, o->size == 8 ? "\x48\x8d\x89" : "\x40\x8d\x89", 3);
        emit_u32(g->e, (u32)-n);
    }
    if (o->cond == MTVG_NE) {
        emit_bytes(g->e, "\xe3\x05", 2);
    } else {
        emit_bytes(g->e, "\xe3\x02\xeb\x05", 4);
    }
    emit_branch(g, -1, o->label);
    g->rcx_lost = true;
}

static void step_branch(Gen *g, const CodeOp *o)
{
    i64 n = o->size == 8 ? o->n : as_signed(o->size, o->n);

    if (g->way == FLAGS_AVOIDED) {
        branch_by_rcx(g, o);
        return;
    }
    if (o->op == CODE_IF_AT) {
        emit_segment(g->e, o->at.space);
    }
    if (o->op != CODE_IF_VALS && o->size == 2) {
        emit_u8(g->e, 0x66);
    }
    if (o->op == CODE_IF_AT) {
        emit_mem(g, o->size == 8, group1(o->size, n), 7, &o->at);
    } else if (o->op == CODE_IF) {
        emit_regs(g->e, o->size == 8, group1(o->size, n), 7, reg_of(g, o->a));
    } else {
        emit_regs(g->e, true, 0x3b, reg_of(g, o->a), reg_of(g, o->b));
    }
    if (o->op != CODE_IF_VALS) {
        emit_imm(g->e, fits8(n) ? 1 : o->size, n);
    }
    emit_branch(g, o->cond, o->label);
}

static void step(Gen *g, const CodeOp *o)
{
    rcx_back(g, o);
    switch (o->op) {
    case CODE_MOV: emit_regs(g->e, true, 0x8b, reg_of(g, o->a), reg_of(g, o->b)); break;
    case CODE_CONST: step_const(g, o); break;
    case CODE_OPERAND: step_operand(g, o); break;
    case CODE_ADD:
    case CODE_SUB:
    case CODE_AND:
    case CODE_OR:
    case CODE_XOR: step_arith(g, o); break;
    case CODE_SHL:
    case CODE_SHR:
    case CODE_SAR: step_shift(g, o); break;
    case CODE_LOAD: emit_load(g, reg_of(g, o->a), o->size, &o->at); break;
    case CODE_STORE:
    case CODE_STORE_CONST: step_store(g, o); break;
    case CODE_HERE: g->label_at[o->label] = g->e->x; break;
    default: step_branch(g, o);
    }
    if (o->op == CODE_HERE && g->way == FLAGS_AVOIDED) {
        g->rcx_lost = true; /* on one of the ways that lead here */
    }
}

/* --- the whole -------------------------------------------------------------------------------- */

static u32 off_of(const Lower *l, u64 x)
{
    return (u32)(x - cache_exec_addr(l->host));
}

/* Out of line: takes everything back and calls. Returns where; *fault: behind the taking back. */
static u64 emit_slow(Gen *g, u32 ret, CacheOff *fault)
{
    u8 code[128];
    Emit c = {code, 0};
    u32 restore;
    CacheOff at;

    reload(g, &c);
    restore = (u32)c.x;
    at = cache_take_cold(&g->l->space, restore + MT_CALL_BYTES);
    MT_ASSERT(at != 0); /* instr_room() */
    c = (Emit){cache_write_ptr(at), cache_exec_addr(at)};
    reload(g, &c);
    *fault = at + restore;
    instr_emit_call(&c, g->c, ret);
    return cache_exec_addr(at);
}

static void resolve(Gen *g, u64 slow)
{
    for (u32 i = 0; i < g->nfixes; i++) {
        const Fix *f = &g->fixes[i];
        u32 rel = (u32)((f->label == 0 ? slow : g->label_at[f->label]) - f->behind);

        memcpy(f->field, &rel, 4);
        if (f->label == 0) {
            g->sb->outs[g->sb->nouts++] = (u16)off_of(g->l, f->behind);
        }
    }
}

static bool needs_gs(const MtvgSb *sb, const SbCall *c)
{
    const CodeOp *o = ops_of(sb, c);

    for (u32 i = 0; i < c->nops; i++) {
        if (o[i].at.space == MTVG_IN_GS) {
            return true;
        }
    }
    return false;
}

/* GS is not the tool's: the slow call always, if there is one. */
static void emit_away(MtvgSb *sb, Lower *l, SbCall *c)
{
    if (c->fn != NULL) {
        instr_emit_call(&l->e, c, 0);
        pcmap_plain(&l->map, 0, 12);
        pcmap_plain(&l->map, 0, 12);
        pcmap_plain(&l->map, 0, 8);
        c->ret = off_of(l, l->e.x);
    }
}

void toolcode_emit(MtvgSb *sb, Lower *l, SbCall *c)
{
    u32 at = c->insn + (c->when == MTVG_AFTER);
    Gen g = {.sb = sb, .c = c, .l = l, .e = &l->e};
    u64 begin, saved, end, slow = 0;
    CacheOff fault;

    c->imm = 0;
    sb->nouts = 0;
    if (sb->gs_away && needs_gs(sb, c)) {
        emit_away(sb, l, c);
        return;
    }
    if (c->nops == 0) {
        return;
    }
    g.way = choose_way(sb, c, sb->live_flags[at]);
    take_registers(&g, sb->live_gprs[at]);
    spill(&g);
    begin = saved = l->e.x;
    if (g.way == FLAGS_SAVED) {
        emit_bytes(&l->e, "\x9f\x0f\x90\xc0", 4); /* lahf; seto %al */
        emit_fs_store(&l->e, MT_RAX, MT_TP(spill_flags));
        saved = l->e.x;
        pcmap_spills(&l->map, (u32)(saved - begin), g.spilled, false);
        if (c->reads >> MT_RAX & 1) {
            emit_fs_load(&l->e, MT_RAX, spill_disp(&g, MT_RAX));
        }
    }
    for (u32 i = 0; i < c->nops; i++) {
        step(&g, &ops_of(sb, c)[i]);
    }
    reload(&g, &l->e);
    end = l->e.x;
    if (end > saved) {
        pcmap_spills(&l->map, (u32)(end - saved), g.spilled, g.way == FLAGS_SAVED);
    }
    fault = cache_off(end);
    if (c->fn != NULL) {
        slow = emit_slow(&g, (u32)end, &fault);
    }
    resolve(&g, slow);
    c->ret = off_of(l, end);
    sb->codes[sb->ncodes++] = (CodeRec){(u16)off_of(l, begin), (u16)c->ret, fault};
}
