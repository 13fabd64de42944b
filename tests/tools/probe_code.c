/* SPDX-License-Identifier: BSD-2-Clause
 * probe_code.c -- a tool for the tests only: puts code of its own, chosen by chance, before and
 * behind the guest's instructions, and checks what it computes; checks what is said of the stack
 * pointer, too.
 *     random steps before an instruction compute what C code computes from the registers at a call;
 *     an operand read through %gs (base 0) is what a load from its computed address reads;
 *     each instruction moves rsp as announced.
 * The guest must not notice: tests/tool_probe.py compares its output with the native run's. */
#include "base/base.h"
#include "mtvg/tool.h"

#include <stdio.h>
#include <string.h>

#define STEPS 8
#define NTEMPS 3

typedef struct Own {
    u64 result;  /* of the code, read at the call behind it */
    u64 scratch; /* stored to and loaded from */
    u64 behind;  /* how often code behind an instruction was done, and how often the slow call for
                 * it */
    u64 slow_behind;
    u64 rsp; /* what the next instruction must find */
    bool rsp_known;
    u64 pc, rsp_before; /* the last instruction */
} Own;

static __thread Own own;
static u64 checked, wrong, faults, wrong_loads, wrong_rsp, moves, slows;

static void count(u64 *n)
{
    __atomic_fetch_add(n, 1, __ATOMIC_RELAXED);
}

#ifdef PROBE_LAX
#define LAX true
#else
#define LAX false
#endif

static u32 next(u64 *seed)
{
    *seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
    return (u32)(*seed >> 33);
}

static i32 odd_number(u64 *seed)
{
    static const i32 some[] = {0, 1, -1, 8, 127, 128, -128, 0xff, 0xffff, 0x7fffffff, 0x12345678};
    u32 k = next(seed) % 16;

    return k < MT_ARRAY_SIZE(some) ? some[k] : (i32)next(seed);
}

/* --- random code ------------------------------------------------------------------------------ */

/* One step of the code, made from the seed; the same both when it is asked for and when it is
 * checked. */
typedef struct Step {
    u32 what, a, b, size, shift;
    i32 n;
    u32 cond;
} Step;

static Step make_step(u64 *seed)
{
    static const u8 conds[] = {MTVG_EQ, MTVG_NE, MTVG_EQ, MTVG_NE, MTVG_B,  MTVG_AE,
                               MTVG_BE, MTVG_A,  MTVG_L,  MTVG_GE, MTVG_LE, MTVG_G};
    Step s = {.what = next(seed) % 10,
              .a = next(seed) % NTEMPS,
              .b = next(seed) % (16 + NTEMPS),
              .size = 1u << next(seed) % 4,
              .shift = 1 + next(seed) % 63,
              .n = odd_number(seed)};

    s.cond = conds[next(seed) % MT_ARRAY_SIZE(conds)];
    if (*seed >> 62 != 0) { /* three of four: only what leaves the flags alone */
        s.what = s.what == 4 ? 2 : s.what;
        s.cond = s.cond & 1 ? MTVG_NE : MTVG_EQ;
    }
    return s;
}

static MtvgVal value(const MtvgVal *t, u32 b)
{
    return b < 16 ? (MtvgVal)b : t[b - 16];
}

/* Room is left for the labels. */
static void add_step(MtvgCode *c, const MtvgVal *t, const Step *s, u32 *label)
{
    MtvgPlace at = mtvg_at(MTVG_IN_TLS, MTVG_NO_VAL, mtvg_tls_offset(&own.scratch));

    switch (s->what) {
    case 0: mtvg_code_mov(c, t[s->a], value(t, s->b)); break;
    case 1: mtvg_code_op(c, MTVG_ADD, t[s->a], value(t, s->b)); break;
    case 2: mtvg_code_op_const(c, s->n & 1 ? MTVG_ADD : MTVG_SUB, t[s->a], s->n); break;
    case 3:
        mtvg_code_shift(c, s->n & 1 ? MTVG_SHR : s->n & 2 ? MTVG_SHL : MTVG_SAR, t[s->a], s->shift);
        break;
    case 4:
        if (s->n & 1) {
            mtvg_code_op(c, (MtvgOp)(s->shift % 5), t[s->a], value(t, s->b));
        } else {
            mtvg_code_op_const(c, (MtvgOp)(s->shift % 5), t[s->a], s->n);
        }
        break;
    case 5: mtvg_code_op_const(c, MTVG_AND, t[s->a], s->n & 1 ? 0xff : 0xffff); break;
    case 6:
        mtvg_code_store(c, s->size, at, value(t, s->b));
        mtvg_code_load(c, t[s->a], s->size, at);
        break;
    case 7: mtvg_code_store_const(c, s->size, at, s->n); break;
    case 8:
        if (*label == 0) {
            *label = s->n & 1 ? mtvg_code_skip_if(c, s->cond, s->size, value(t, s->b), s->n)
                              : mtvg_code_skip_if_at(c, s->cond, s->size, at, s->n);
        }
        break;
    default:
        if (*label != 0) {
            mtvg_code_here(c, *label);
            *label = 0;
        } else {
            mtvg_code_const(c, t[s->a], (u64)(i64)s->n << (s->shift & 31));
        }
    }
}

static bool add_code(MtvgSb *sb, u32 i, u64 seed)
{
    MtvgCode *c = mtvg_code(sb, i, MTVG_BEFORE, NULL, 0);
    MtvgVal t[NTEMPS];
    u32 label = 0;

    for (u32 k = 0; k < NTEMPS; k++) {
        t[k] = mtvg_code_temp(c);
        mtvg_code_const(c, t[k], k * 0x123456789ull);
    }
    mtvg_code_store_const(c, 8, mtvg_at(MTVG_IN_TLS, MTVG_NO_VAL, mtvg_tls_offset(&own.scratch)),
                          77);
    for (u32 k = 0; k < STEPS; k++) {
        Step s = make_step(&seed);

        add_step(c, t, &s, &label);
    }
    if (label != 0) {
        mtvg_code_here(c, label);
    }
    for (u32 k = 1; k < NTEMPS; k++) {
        mtvg_code_op(c, MTVG_ADD, t[0], t[k]);
    }
    mtvg_code_store(c, 8, mtvg_at(MTVG_IN_TLS, MTVG_NO_VAL, mtvg_tls_offset(&own.result)), t[0]);
    return mtvg_code_ok(c);
}

static bool holds(u32 cond, u32 size, u64 v, i32 n)
{
    u32 drop = 64 - 8 * size;
    i64 a = (i64)(v << drop) >> drop, b = (i64)((u64)(i64)n << drop) >> drop;
    u64 ua = v << drop >> drop, ub = (u64)(i64)n << drop >> drop;

    switch (cond) {
    case MTVG_EQ: return ua == ub;
    case MTVG_NE: return ua != ub;
    case MTVG_B: return ua < ub;
    case MTVG_AE: return ua >= ub;
    case MTVG_BE: return ua <= ub;
    case MTVG_A: return ua > ub;
    case MTVG_L: return a < b;
    case MTVG_GE: return a >= b;
    case MTVG_LE: return a <= b;
    default: return a > b;
    }
}

static u64 arith(u32 op, u64 a, u64 b)
{
    return op == MTVG_ADD   ? a + b
           : op == MTVG_SUB ? a - b
           : op == MTVG_AND ? a & b
           : op == MTVG_OR  ? a | b
                            : a ^ b;
}

/* What the code must have computed. */
static u64 expected(const u64 *gpr, u64 seed)
{
    u64 t[NTEMPS], mem = 77;
    bool open = false, skipping = false;

    for (u32 k = 0; k < NTEMPS; k++) {
        t[k] = k * 0x123456789ull;
    }
    for (u32 k = 0; k < STEPS; k++) {
        Step s = make_step(&seed);
        u64 v = s.b < 16 ? gpr[s.b] : t[s.b - 16];
        u64 n = (u64)(i64)s.n;

        if (s.what == 9 && open) {
            open = skipping = false;
            continue;
        }
        if (skipping) {
            continue;
        }
        switch (s.what) {
        case 0: t[s.a] = v; break;
        case 1: t[s.a] += v; break;
        case 2: t[s.a] = s.n & 1 ? t[s.a] + n : t[s.a] - n; break;
        case 3:
            t[s.a] = s.n & 1   ? t[s.a] >> s.shift
                     : s.n & 2 ? t[s.a] << s.shift
                               : (u64)((i64)t[s.a] >> s.shift);
            break;
        case 4: t[s.a] = arith(s.shift % 5, t[s.a], s.n & 1 ? v : n); break;
        case 5: t[s.a] &= s.n & 1 ? 0xff : 0xffff; break;
        case 6:
            memcpy(&mem, &v, s.size);
            t[s.a] = 0;
            memcpy(&t[s.a], &mem, s.size);
            break;
        case 7: memcpy(&mem, &n, s.size); break;
        case 8:
            if (!open) {
                open = true;
                skipping = holds(s.cond, s.size, s.n & 1 ? v : mem, s.n);
            }
            break;
        default: t[s.a] = n << (s.shift & 31);
        }
    }
    for (u32 k = 1; k < NTEMPS; k++) {
        t[0] += t[k];
    }
    return t[0];
}

static void on_result(const MtvgCall *c)
{
    count(&checked);
    if (own.result != expected(c->gpr, c->arg)) {
        count(&wrong);
    }
}

/* --- operands --------------------------------------------------------------------------------- */

/* The code has read an operand in two ways, and they differ; or it can't be read. */
static void on_difference(const MtvgCall *c)
{
    MtvgAccess a[MTVG_MAX_ACCESSES];
    u8 byte;

    mtvg_resolve(c, &c->mems[c->arg], a);
    count(mtvg_read_memory(&byte, a[0].addr, 1) != 0 ||
                  mtvg_read_memory(&byte, a[0].addr + a[0].size - 1, 1) != 0
              ? &faults
              : &wrong_loads);
}

static void check_operand(MtvgSb *sb, u32 i, u32 k, u32 size)
{
    MtvgCode *c = mtvg_code(sb, i, MTVG_BEFORE, on_difference, k);
    MtvgVal address = mtvg_code_temp(c), a = mtvg_code_temp(c), b = mtvg_code_temp(c);
    MtvgPlace at;

    mtvg_code_operand(c, address, k);
    mtvg_code_load(c, a, size, mtvg_at(MTVG_IN_MEMORY, address, 0));
    if (mtvg_place(sb, i, k, MTVG_IN_GS, 0, &at)) {
        mtvg_code_load(c, b, size, at);
        mtvg_code_slow_if_vals(c, MTVG_NE, a, b);
    }
}

/* --- the stack pointer ------------------------------------------------------------------------ */

static void on_insn(const MtvgCall *c)
{
    bool again = c->pc == own.pc && c->gpr[4] == own.rsp_before; /* a signal, or a fault, came */

    if (own.rsp_known && c->gpr[4] != own.rsp && !again) {
        count(&wrong_rsp);
    }
    own.pc = c->pc;
    own.rsp_before = c->gpr[4];
    own.rsp_known = c->arg != 0;
    own.rsp = c->gpr[4] + (c->arg >> 1) - (1ull << 40);
}

static void on_move(const MtvgCall *c)
{
    count(&moves);
    if (c->old_sp == c->gpr[4]) {
        count(&wrong_rsp);
    }
}

static void on_signal(struct Thread *t, int sig, u64 handler, u64 old_sp, u64 sp)
{
    own.rsp_known = false;
}

static void on_signal_return(struct Thread *t)
{
    own.rsp_known = false;
}

static void follow_stack(MtvgSb *sb, u32 i)
{
    i64 delta = 0;
    MtvgSpMove move = mtvg_sb_sp(sb, i, &delta);

    /* The lowest bit says that the rest is a number. */
    mtvg_call(sb, i, MTVG_BEFORE, on_insn,
              move == MTVG_SP_ANY ? 0 : 1 | (u64)(delta + (1ll << 40)) << 1);
}

/* --- the tool --------------------------------------------------------------------------------- */

static void on_slow_behind(const MtvgCall *c)
{
    own.slow_behind++;
    count(&slows);
}

/* behind++; to the slow call whenever its low bits are 0 */
static void count_behind(MtvgSb *sb, u32 i)
{
    MtvgPlace at = mtvg_at(MTVG_IN_TLS, MTVG_NO_VAL, mtvg_tls_offset(&own.behind));
    MtvgCode *c = mtvg_code(sb, i, MTVG_AFTER, on_slow_behind, 0);
    MtvgVal t = mtvg_code_temp(c);

    mtvg_code_load(c, t, 8, at);
    mtvg_code_op_const(c, MTVG_ADD, t, 1);
    mtvg_code_store(c, 8, at, t);
    mtvg_code_op_const(c, MTVG_AND, t, 0xff);
    mtvg_code_slow_if(c, MTVG_EQ, 8, t, 0);
}

static void add_annotations(MtvgSb *sb, bool calls)
{
    for (u32 i = 0; i < mtvg_sb_size(sb); i++) {
        const MtvgInsn *in = mtvg_sb_insn(sb, i);
        u64 seed = in->pc * 0x9e3779b97f4a7c15ull;
        u32 dice = next(&seed);
        MtvgMem m[MTVG_MAX_MEMS];
        i64 delta;
        int n = mtvg_sb_mems(sb, i, m);

        if (calls) {
            follow_stack(sb, i);
        }
        if (dice % 4 == 0 && add_code(sb, i, seed) && calls) {
            mtvg_call(sb, i, MTVG_BEFORE, on_result, seed);
        }
        for (int k = 0; k < n; k++) {
            if ((m[k].kind == MTVG_MEM_NORMAL || m[k].kind == MTVG_MEM_STRING) &&
                (m[k].size == 1 || m[k].size == 2 || m[k].size == 4 || m[k].size == 8)) {
                check_operand(sb, i, (u32)k, m[k].size);
            }
        }
        if (in->kind == MTVG_PLAIN && mtvg_sb_sp(sb, i, &delta) == MTVG_SP_ANY) {
            mtvg_on_sp(sb, i, on_move, 0);
        } else if (in->kind == MTVG_PLAIN) {
            count_behind(sb, i);
        }
    }
}

/* A call looks at all registers and flags; without, dead ones are really used. */
static void instrument(MtvgSb *sb)
{
    add_annotations(sb, !LAX);
}

static void on_start(struct Thread *t)
{
    mtvg_set_gs_base(0);
    memset(&own, 0, sizeof(own));
}

static void on_end(struct Thread *t)
{
    if (own.slow_behind != own.behind / 256) {
        count(&wrong);
    }
}

static void finish(struct Thread *t)
{
    char line[200];
    int n;

    on_end(t);
    n = snprintf(line, sizeof(line),
                 "probe: code checked %d wrong %llu loads %llu faults %d rsp %llu moves %d\n",
                 checked > 1000, (unsigned long long)wrong, (unsigned long long)wrong_loads,
                 faults > 0, (unsigned long long)wrong_rsp, moves > 10);
    mtvg_write(line, (size_t)n);
}

const MtvgTool mtvg_tool = {
    .name = "code",
    .uses_gs = true,
    .lax_flags = LAX,
    .lax_gprs = LAX,
    .instrument = instrument,
    .thread_start = on_start,
    .thread_end = on_end,
    .signal = on_signal,
    .signal_return = on_signal_return,
    .finish = finish,
};
