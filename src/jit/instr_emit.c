/* SPDX-License-Identifier: BSD-2-Clause
 * instr_emit.c -- a tool's requests become host code.
 * Role:       second half of the tool interface: where counts are added, with which registers.
 * Invariants: E1. flags are changed only where they are dead, registers where they are dead or
 *                 spilled; the pc map knows of the spilled ones at each instruction (L4).
 *             E2. a count is added by one store: it is done or not, and the side table says where
 *                 that is. */
#include "jit/instr.h"

#include "guest/cpu.h"
#include "jit/cache.h"

#include <string.h>

#define FL_ARITH_BUT_CF (MT_FL_ALL6 & ~MT_FL_CF)
#define COUNT_DISP(vec) ((u32)(mt_counts_tpoff + (i32)(8 * (vec))))

static u32 block_off(const Lower *l)
{
    return (u32)(l->e.x - cache_exec_addr(l->host));
}

bool instr_room(const Lower *l)
{
    return lower_room(l) &&
           l->space.hot_end - cache_off(l->e.x) > 3 * MT_LOWER_MAX + MT_INSTR_ROOM &&
           l->space.cold_end - l->space.cold > MT_COLD_ROOM + MT_INSTR_COLD &&
           l->map.len + 400 < MT_PCMAP_MAX;
}

/* --- scratch registers ------------------------------------------------------------------------ */

typedef struct Scratch {
    u8 reg[2];
    u16 spilled;
    u64 begin;
} Scratch;

/* Picks n registers that are not in `avoid`: dead ones if there are, the others are spilled. */
static void scratch_take(Lower *l, Scratch *s, u32 n, u16 live, u16 avoid)
{
    u32 got = 0, k = 0;

    avoid |= 1u << MT_RSP;
    s->spilled = 0;
    for (u32 pass = 0; pass < 2; pass++) {
        for (u32 r = 0; r < MT_NGPR && got < n; r++) {
            bool dead = !(live >> r & 1);

            if (!(avoid >> r & 1) && dead == (pass == 0)) {
                s->reg[got++] = (u8)r;
                s->spilled |= (u16)(dead ? 0 : 1u << r);
            }
        }
    }
    for (u32 r = 0; r < MT_NGPR; r++) {
        if (s->spilled >> r & 1) {
            emit_fs_store(&l->e, r, MT_TP(spill[k]));
            pcmap_plain(&l->map, 0, 9);
            k++;
        }
    }
    s->begin = l->e.x;
}

static void scratch_give(Lower *l, const Scratch *s)
{
    u32 k = 0;

    for (u32 r = 0; r < MT_NGPR; r++) {
        if (s->spilled >> r & 1) {
            emit_fs_load(&l->e, r, MT_TP(spill[k]));
            k++;
        }
    }
    pcmap_spills(&l->map, (u32)(l->e.x - s->begin), s->spilled, false);
}

/* lea disp32(%base), %reg */
static void emit_lea_disp(Emit *e, u32 reg, u32 base, i32 disp)
{
    emit_u8(e, (u8)(0x48 | (reg >> 3) << 2 | base >> 3));
    emit_u8(e, 0x8d);
    if ((base & 7) == 4) {
        emit_u8(e, (u8)(0x84 | (reg & 7) << 3));
        emit_u8(e, 0x24);
    } else {
        emit_u8(e, (u8)(0x80 | (reg & 7) << 3 | (base & 7)));
    }
    emit_u32(e, (u32)disp);
}

/* lea disp32(%base,%index), %reg; index is not rsp. wide: 64 bits */
static void emit_lea_sum(Emit *e, u32 reg, u32 base, u32 index, i32 disp, bool wide)
{
    emit_u8(e, (u8)(0x40 | (wide ? 8 : 0) | (reg >> 3) << 2 | (index >> 3) << 1 | base >> 3));
    emit_u8(e, 0x8d);
    emit_u8(e, (u8)(0x84 | (reg & 7) << 3));
    emit_u8(e, (u8)((index & 7) << 3 | (base & 7)));
    emit_u32(e, (u32)disp);
}

/* --- counts ----------------------------------------------------------------------------------- */

/* incq %fs:disp; addq $imm, %fs:disp */
static u32 emit_add_flags(Emit *e, u32 disp, u32 imm)
{
    emit_u8(e, 0x64);
    emit_u8(e, 0x48);
    emit_u8(e, imm == 1 ? 0xff : imm < 128 ? 0x83 : 0x81);
    emit_u8(e, 0x04);
    emit_u8(e, 0x25);
    emit_u32(e, disp);
    if (imm == 1) {
        return 9;
    }
    if (imm < 128) {
        emit_u8(e, (u8)imm);
        return 10;
    }
    emit_u32(e, imm);
    return 13;
}

static void add_count(MtvgSb *sb, Lower *l, u32 vec, u32 imm)
{
    u32 at = sb->seg.at;
    u8 live = sb->live_flags[at];
    u32 off;

    if (!(live & (imm == 1 ? FL_ARITH_BUT_CF : MT_FL_ALL6))) {
        pcmap_plain(&l->map, 0, emit_add_flags(&l->e, COUNT_DISP(vec), imm));
        off = block_off(l);
    } else {
        Scratch s;

        /* mov %fs:disp, %r; lea imm(%r), %r; mov %r, %fs:disp */
        scratch_take(l, &s, 1, sb->live_gprs[at], 0);
        emit_fs_load(&l->e, s.reg[0], COUNT_DISP(vec));
        emit_lea_disp(&l->e, s.reg[0], s.reg[0], (i32)imm);
        emit_fs_store(&l->e, s.reg[0], COUNT_DISP(vec));
        off = block_off(l);
        scratch_give(l, &s);
    }
    MT_ASSERT(sb->nrecs < MT_SB_RECS);
    sb->recs[sb->nrecs++] = (CountRec){(u8)sb->seg.first, (u8)sb->seg.end, (u16)off, (u16)vec};
}

static void add_segment(MtvgSb *sb, Lower *l)
{
    static const CountVec none;
    u32 vec;

    if (memcmp(&sb->seg.vec, &none, sizeof(none)) == 0) {
        return;
    }
    vec = counts_vector(&sb->seg.vec, false);
    if (vec != MT_NO_VECTOR && vec >= MT_COUNTERS) {
        add_count(sb, l, vec, 1);
        return;
    }
    for (u32 c = 0; c < MT_COUNTERS; c++) {
        if (sb->seg.vec.amount[c] != 0) {
            add_count(sb, l, c, sb->seg.vec.amount[c]);
        }
    }
}

static void sum_counts(CountVec *v, const SbCounts *s)
{
    for (u32 i = 0; i < s->n; i++) {
        v->amount[s->pair[i][0]] = (u16)(v->amount[s->pair[i][0]] + s->pair[i][1]);
    }
}

/* The best place in the segment: flags dead, else a dead register, else its begin. */
static u32 best_place(const MtvgSb *sb, u32 first, u32 end)
{
    u32 reg = end, any = end;

    for (u32 i = first; i < end; i++) {
        if (!sb->coded[i]) {
            continue;
        }
        if (!(sb->live_flags[i] & FL_ARITH_BUT_CF)) {
            return i;
        }
        if (reg == end && (sb->live_gprs[i] | 1u << MT_RSP) != 0xffff) {
            reg = i;
        }
        if (any == end) {
            any = i;
        }
    }
    return reg < end ? reg : any < end ? any : first;
}

static void begin_segment(MtvgSb *sb, u32 first)
{
    u32 end = first;

    while (end < sb->n && !instr_is_side_exit(&sb->insns[end])) {
        end++;
    }
    end += end < sb->n;
    sb->seg = (SbSegment){.first = first, .end = end};
    sum_counts(&sb->seg.vec, &sb->pre[first]);
    for (u32 i = first; i < end; i++) {
        sum_counts(&sb->seg.vec, &sb->own[i]);
    }
    sb->seg.at = best_place(sb, first, end);
    if (first < end) {
        sb->coded[sb->seg.at] = 1;
    }
}

/* --- rep-prefixed strings --------------------------------------------------------------------- */

static u32 rep_index(const MtvgSb *sb, u32 insn)
{
    u32 k = 0;

    while (k < sb->nreps && sb->reps[k].insn != insn) {
        k++;
    }
    return k;
}

/* mov %rcx, %fs:rep_start */
static void rep_before(MtvgSb *sb, Lower *l, u32 k)
{
    const Insn *in = &sb->insns[sb->reps[k].insn];

    emit_fs_store(&l->e, MT_RCX, MT_TP(rep_start));
    pcmap_plain(&l->map, 0, 9);
    sb->rep_recs[k] = (RepRec){.insn = sb->reps[k].insn,
                               .addr32 = (in->flags & INSN_F_ADDR32) != 0,
                               .begin = (u16)block_off(l)};
}

/* Adds start - rcx, flags untouched:
 *     mov %rcx, %a; not %a; mov rep_start, %b; lea 1(%a,%b), %a; mov count, %b; lea (%a,%b), %a;
 *     mov %a, count */
static void rep_after(MtvgSb *sb, Lower *l, u32 k)
{
    RepRec *r = &sb->rep_recs[k];
    u32 vec = counts_vector(&sb->reps[k].vec, true);
    Emit *e = &l->e;
    Scratch s;
    u32 a, b;

    r->end = (u16)block_off(l);
    MT_ASSERT(vec != MT_NO_VECTOR); /* mtvg_count_reps() */
    r->vec = (u16)vec;
    scratch_take(l, &s, 2, sb->live_gprs[r->insn + 1], 1u << MT_RCX);
    a = s.reg[0];
    b = s.reg[1];
    emit_u8(e, (u8)(0x48 | a >> 3));
    emit_u8(e, 0x89);
    emit_u8(e, (u8)(0xc0 | MT_RCX << 3 | (a & 7)));
    emit_u8(e, (u8)(0x48 | a >> 3));
    emit_u8(e, 0xf7);
    emit_u8(e, (u8)(0xd0 | (a & 7)));
    emit_fs_load(e, b, MT_TP(rep_start));
    emit_lea_sum(e, a, a, b, 1, !r->addr32);
    emit_fs_load(e, b, COUNT_DISP(vec));
    emit_lea_sum(e, a, a, b, 0, true);
    emit_fs_store(e, a, COUNT_DISP(vec));
    r->commit = (u16)block_off(l);
    scratch_give(l, &s);
}

/* --- calls ------------------------------------------------------------------------------------ */

void instr_emit_call(Emit *e, SbCall *c, u32 ret)
{
    emit_fs_store_imm32(e, MT_TP(call_site), 0);
    c->imm = cache_off(e->x) - 4;
    emit_fs_store_imm32(e, MT_TP(call_return), ret != 0 ? ret : (u32)(e->x + 12 + 8));
    emit_u8(e, 0x64);
    emit_u8(e, 0xff);
    emit_u8(e, 0x24);
    emit_u8(e, 0x25);
    emit_u32(e, MT_TP(call_entry));
}

static void emit_call(Lower *l, SbCall *c)
{
    instr_emit_call(&l->e, c, 0);
    pcmap_plain(&l->map, 0, 12);
    pcmap_plain(&l->map, 0, 12);
    pcmap_plain(&l->map, 0, 8);
    c->ret = block_off(l);
}

static void emit_calls(MtvgSb *sb, Lower *l, u32 i, u32 when)
{
    for (u32 k = 0; k < sb->ncalls; k++) {
        SbCall *c = &sb->calls[k];

        if (c->insn == i && c->when == when && c->is_code) {
            toolcode_emit(sb, l, c);
        } else if (c->insn == i && c->when == when) {
            emit_call(l, c);
        }
    }
}

/* --- what follows an instruction -------------------------------------------------------------- */

bool instr_has_after(const MtvgSb *sb, u32 i)
{
    for (u32 k = 0; k < sb->ncalls; k++) {
        if (sb->calls[k].insn == i && sb->calls[k].when == MTVG_AFTER) {
            return true;
        }
    }
    return false;
}

/* A signal that arrives in the code [begin, here) behind instruction i must not leave it undone,
 * for the instruction has been executed: the thread goes on in this copy, which ends with an exit
 * (recover_finish). */
static void copy_after(MtvgSb *sb, Lower *l, u32 i, u64 begin)
{
    u32 n = (u32)(l->e.x - begin), off = (u32)(begin - cache_exec_addr(l->host));
    CacheOff at = cache_take_cold(&l->space, n + MT_STUB_BYTES);
    u8 *to;

    MT_ASSERT(at != 0 && sb->nafters < MT_SB_AFTERS); /* instr_room(); an edge each */
    to = cache_write_ptr(at);
    memcpy(to, l->e.w - n, n);
    for (u32 k = 0; k < sb->nouts; k++) {
        u8 *field = to + sb->outs[k] - off - 4;
        u32 rel;

        memcpy(&rel, field, 4);
        rel += (u32)(begin - cache_exec_addr(at));
        memcpy(field, &rel, 4);
    }
    sb->afters[sb->nafters++] = (AfterRec){(u16)off, (u16)(off + n), at, (u8)l->nedges,
                                           (u8)(i + 1)};
    lower_exit_at(l, at + n, EDGE_AFTER, sb->insns[i].pc + sb->insns[i].len);
}

/* --- in order --------------------------------------------------------------------------------- */

void instr_before(MtvgSb *sb, Lower *l, u32 i)
{
    u32 k = rep_index(sb, i);

    if (i == 0 || instr_is_side_exit(&sb->insns[i - 1])) {
        begin_segment(sb, i);
    }
    emit_calls(sb, l, i, MTVG_BEFORE);
    if (sb->seg.at == i) {
        add_segment(sb, l);
    }
    if (k < sb->nreps) {
        rep_before(sb, l, k);
    }
}

void instr_after(MtvgSb *sb, Lower *l, u32 i)
{
    u32 k = rep_index(sb, i);
    u64 begin = l->e.x;

    if (k < sb->nreps) {
        rep_after(sb, l, k);
    }
    sb->nouts = 0;
    if (sb->ncalls > 0 && instr_has_after(sb, i)) {
        emit_calls(sb, l, i, MTVG_AFTER);
        copy_after(sb, l, i, begin);
    }
}

/* nop, if there must be something to be interrupted at */
void instr_follow(MtvgSb *sb, Lower *l, u32 i)
{
    const Insn *in = &sb->insns[i];

    if (!sb->coded[i]) {
        lower_follow(l, in, in->target);
        return;
    }
    emit_u8(&l->e, 0x90);
    pcmap_plain(&l->map, in->len, 1);
    pcmap_goto(&l->map, in->pc + in->len, in->target);
}

void instr_end(MtvgSb *sb, Lower *l)
{
    if (sb->n > 0 && instr_is_side_exit(&sb->insns[sb->n - 1])) {
        begin_segment(sb, sb->n);
        add_segment(sb, l);
    }
}

/* --- what the block keeps --------------------------------------------------------------------- */

static u32 side_bytes(const MtvgSb *sb)
{
    u32 n = 4 + sb->nrecs * (u32)sizeof(CountRec) + sb->nreps * (u32)sizeof(RepRec);

    for (u32 i = 0; i <= sb->n; i++) {
        n += 1 + 2u * (sb->own[i].n + sb->pre[i].n);
    }
    return n;
}

static u32 call_mems(const MtvgSb *sb, const SbCall *c, MtvgMem out[MTVG_MAX_MEMS])
{
    return (u32)mtvg_sb_mems(sb, c->insn, out);
}

static u32 site_bytes(u32 nmems)
{
    return (u32)MT_ALIGN_UP(sizeof(CallSite) + nmems * sizeof(MtvgMem), 8);
}

/* At the end of what the block keeps. */
static u32 tail_bytes(const MtvgSb *sb)
{
    return (u32)(sb->ncodes * sizeof(CodeRec) + sb->nafters * sizeof(AfterRec) + 4);
}

u32 instr_extra_bytes(const MtvgSb *sb, u32 pcmap_len)
{
    u32 n = side_bytes(sb);

    if (sb->ncalls > 0) {
        MtvgMem mems[MTVG_MAX_MEMS];

        /* The pc map begins at a multiple of 8 where there is a tool (block_pcmap()). */
        n = (u32)MT_ALIGN_UP(pcmap_len + n, 8) - pcmap_len;
        for (u32 i = 0; i < sb->ncalls; i++) {
            n += sb->calls[i].imm != 0 ? site_bytes(call_mems(sb, &sb->calls[i], mems)) : 0;
        }
    }
    return n + tail_bytes(sb);
}

static void write_tail(const MtvgSb *sb, u8 *p)
{
    u16 n[2] = {(u16)sb->ncodes, (u16)sb->nafters};

    memcpy(p, sb->codes, sb->ncodes * sizeof(CodeRec));
    p += sb->ncodes * sizeof(CodeRec);
    memcpy(p, sb->afters, sb->nafters * sizeof(AfterRec));
    memcpy(p + sb->nafters * sizeof(AfterRec), n, 4);
}

static u8 *write_pairs(u8 *p, const SbCounts *s)
{
    memcpy(p, s->pair, 2u * s->n);
    return p + 2u * s->n;
}

static u8 *write_side(const MtvgSb *sb, u8 *p)
{
    p[0] = (u8)sb->nrecs;
    p[1] = (u8)(sb->nrecs >> 8);
    p[2] = (u8)sb->nreps;
    p[3] = (u8)sb->n;
    p += 4;
    memcpy(p, sb->recs, sb->nrecs * sizeof(CountRec));
    p += sb->nrecs * sizeof(CountRec);
    memcpy(p, sb->rep_recs, sb->nreps * sizeof(RepRec));
    p += sb->nreps * sizeof(RepRec);
    for (u32 i = 0; i <= sb->n; i++) {
        *p++ = (u8)(sb->own[i].n | sb->pre[i].n << 3 |
                    (i < sb->n && !sb->coded[i] ? MT_SIDE_NOCODE : 0));
        p = write_pairs(p, &sb->own[i]);
        p = write_pairs(p, &sb->pre[i]);
    }
    return p;
}

/* A call behind an instruction lies in the copy as well. */
static void write_copied_site(const MtvgSb *sb, const SbCall *c, u32 ref)
{
    for (u32 k = 0; k < sb->nafters; k++) {
        const AfterRec *a = &sb->afters[k];

        if (a->next == c->insn + 1) {
            memcpy(cache_write_ptr(a->copy + (a->end - a->begin) - MT_CALL_BYTES + 8), &ref, 4);
        }
    }
}

static void write_site(const MtvgSb *sb, const SbCall *c, const Block *b, CallSite *s)
{
    const Insn *in = &sb->insns[c->insn];
    u32 ref = arena_ref(s);

    *s = (CallSite){.fn = c->fn,
                    .arg = c->arg,
                    .pc = in->pc,
                    .next_pc = c->when == MTVG_BEFORE ? in->pc : in->pc + in->len,
                    .block = block_ref(b),
                    .off = c->ret,
                    .next = (u8)(c->insn + (c->when == MTVG_AFTER)),
                    .len = in->len,
                    .when = c->when,
                    .flags = sb->view[c->insn].flags};
    s->nmems = (u8)call_mems(sb, c, s->mems);
    memcpy(cache_write_ptr(c->imm), &ref, 4);
    if (c->when == MTVG_AFTER && c->imm - b->host_start < b->host_size) {
        write_copied_site(sb, c, ref);
    }
}

void instr_write_extra(const MtvgSb *sb, Block *b)
{
    u8 *side = block_pcmap(b) + b->pcmap_len;
    u8 *p = write_side(sb, side);
    u8 *end = (u8 *)b + MT_ALIGN_UP((u64)(p - (u8 *)b), 8);

    for (u32 i = 0; i < sb->ncalls; i++) {
        CallSite *s = (CallSite *)end;

        if (sb->calls[i].imm != 0) {
            write_site(sb, &sb->calls[i], b, s);
            end += site_bytes(s->nmems);
        }
    }
    write_tail(sb, side + block_extra(b) - tail_bytes(sb));
    for (u32 i = 0; i < sb->nafters; i++) {
        u16 *pairs = block_tools(b)[sb->afters[i].edge].pairs;

        pairs[0] = sb->afters[i].end;
        pairs[1] = sb->afters[i].next;
    }
}

u64 instr_edge_pairs(const MtvgSb *sb, u32 i)
{
    u64 v = ~0ull;

    for (u32 k = 0; k < sb->own[i].n && k < MT_EDGE_PAIRS; k++) {
        v = v << 16 | sb->own[i].pair[k][0] | (u64)sb->own[i].pair[k][1] << 8;
    }
    return v;
}
