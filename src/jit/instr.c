/* SPDX-License-Identifier: BSD-2-Clause
 * instr.c -- what a tool sees of a superblock, and what it asks for.
 * Role:       the first half of the tool interface: views, liveness, requests. Emits nothing.
 * Invariants: I1. requests are checked here: what is accepted can be emitted.
 *             I2. before an instruction that may raise an exception, or be followed by an exit,
 *                 everything is live: a guest's handler sees the guest's state. */
#include "jit/instr.h"

#include <string.h>

_Static_assert(sizeof(MtvgMem) == sizeof(MemOp) &&
                   offsetof(MtvgMem, disp) == offsetof(MemOp, disp) &&
                   offsetof(MtvgMem, size) == offsetof(MemOp, size) &&
                   offsetof(MtvgMem, rep) == offsetof(MemOp, rep) &&
                   offsetof(MtvgMem, elem_count) == offsetof(MemOp, elem_count),
               "MtvgMem is the public name of MemOp");
_Static_assert((int)MTVG_MEM_COMPRESSED == (int)MEM_COMPRESSED &&
                   (int)MTVG_MEM_BITS == (int)MEM_BITS && (int)MTVG_MEM_XLAT == (int)MEM_XLAT,
               "MemKind");
_Static_assert((int)MTVG_JCC == (int)INSN_JCC && (int)MTVG_RET == (int)INSN_RET &&
                   (int)MTVG_JRCXZ == (int)INSN_JRCXZ && (int)MTVG_CALL_IND == (int)INSN_CALL_IND &&
                   (int)MTVG_SYSCALL == (int)INSN_SYSCALL && (int)MTVG_INVALID == (int)INSN_INVALID,
               "InsnClass");
_Static_assert(MTVG_NCOUNTERS == MT_COUNTERS && MTVG_MAX_MEMS == MT_MAX_MEMOPS, "limits");

void (*mt_instrument)(MtvgSb *sb);
u32 (*mt_block_key)(struct Thread *t, u64 pc, u32 key);
bool mt_lax_gprs, mt_lax_flags;

bool instr_is_side_exit(const Insn *in)
{
    return in->cls == INSN_JCC || in->cls == INSN_JRCXZ;
}

/* One-byte opcodes without memory operands that trap: div, idiv, int3, int n, hlt, int1, port I/O,
 * cli, sti, fwait, and xabort where there are no transactions. */
static bool traps_one_byte(const Insn *in, u8 op)
{
    switch (op) {
    case 0xf6:
    case 0xf7: return (in->bytes[in->modrm_off] >> 3 & 7) >= 6;
    case 0xc6: return in->bytes[in->modrm_off] == 0xf8;
    case 0x9b:
    case 0xcc:
    case 0xcd:
    case 0xf1:
    case 0xf4:
    case 0xfa:
    case 0xfb: return true;
    default:
        return (op >= 0x6c && op <= 0x6f) || (op >= 0xe4 && op <= 0xe7) ||
               (op >= 0xec && op <= 0xef) || (op >= 0xd8 && op <= 0xdf);
    }
}

/* 0F xx: anything that is not plain arithmetic on general registers may trap. */
static bool traps_0f(u8 op)
{
    return !((op >= 0x40 && op <= 0x4f) || (op >= 0x90 && op <= 0x9f) || op == 0xa3 || op == 0xab ||
             op == 0xb3 || op == 0xbb || op == 0xba || op == 0xa4 || op == 0xa5 || op == 0xac ||
             op == 0xad || op == 0xaf || op == 0xb6 || op == 0xb7 || op == 0xbe || op == 0xbf ||
             op == 0xbc || op == 0xbd || op == 0x1e || op == 0x1f || (op >= 0xc8 && op <= 0xcf));
}

static bool may_fault(const Insn *in)
{
    u8 op = in->bytes[in->opcode_off];

    if (in->flags & (INSN_F_READS_MEM | INSN_F_WRITES_MEM | INSN_F_OPAQUE)) {
        return true;
    }
    if (in->cls != INSN_PLAIN) {
        return in->cls != INSN_JMP && !instr_is_side_exit(in);
    }
    if (in->flags & INSN_F_VEX_LIKE) {
        return true;
    }
    if (in->opcode_off > 0 && in->bytes[in->opcode_off - 1] == 0x0f) {
        return traps_0f(op);
    }
    if (in->opcode_off > 1 && in->bytes[in->opcode_off - 2] == 0x0f) {
        return true;
    }
    return traps_one_byte(in, op);
}

/* The flags that an instruction surely sets, by what it computes. What the manuals call undefined
 * (behind mul, shifts, bsf and others) may be the old flags on some processor: those stay live. AF
 * behind and, or, xor, test is 0 on all of them. */
static u8 flags_set(const Insn *in)
{
    u8 op = in->bytes[in->opcode_off];
    u8 reg = in->modrm_off < 15 ? in->bytes[in->modrm_off] >> 3 & 7 : 0;
    bool sets;

    if ((in->flags & (INSN_F_VEX_LIKE | INSN_F_OPAQUE)) || in->cls != INSN_PLAIN) {
        return 0;
    }
    if (in->opcode_off > 0 && in->bytes[in->opcode_off - 1] == 0x0f) {
        return op == 0xc0 || op == 0xc1 ? in->flags_written : 0; /* xadd */
    }
    if (in->opcode_off > 1 && in->bytes[in->opcode_off - 2] == 0x0f) {
        return 0;
    }
    sets = (op < 0x40 && (op & 7) < 6) || (op >= 0x80 && op <= 0x85) || op == 0xa8 || op == 0xa9 ||
           ((op == 0xf6 || op == 0xf7) && (reg <= 1 || reg == 3)) ||
           ((op == 0xfe || op == 0xff) && reg <= 1);
    return sets ? in->flags_written : 0;
}

static void make_view(MtvgSb *sb, u32 i)
{
    const Insn *in = &sb->insns[i];

    sb->view[i] = (MtvgInsn){
        .pc = in->pc,
        .target = in->target,
        .bytes = in->bytes,
        .gprs_read = in->gprs_read,
        .gprs_written = in->gprs_written,
        .flags_read = in->flags_read,
        .flags_written = in->flags_written,
        .len = in->len,
        .kind = in->cls,
        .cond = in->cc,
        .flags = (u8)((in->flags & INSN_F_READS_MEM ? MTVG_I_LOADS : 0) |
                      (in->flags & INSN_F_WRITES_MEM ? MTVG_I_STORES : 0) |
                      (in->flags & INSN_F_OPAQUE ? MTVG_I_OPAQUE : 0) |
                      (in->flags & INSN_F_ADDR32 ? MTVG_I_ADDR32 : 0) |
                      (may_fault(in) ? MTVG_I_FAULTS : 0)),
    };
}

/* May dead values be lost though the instruction can fault? Not before those that are there to
 * trap, and those that lead out. */
static bool is_lax(const MtvgSb *sb, u32 i)
{
    const Insn *in = &sb->insns[i];

    return in->cls == INSN_PLAIN && !(in->flags & INSN_F_OPAQUE) &&
           ((in->flags & (INSN_F_READS_MEM | INSN_F_WRITES_MEM)) ||
            !traps_one_byte(in, in->bytes[in->opcode_off]));
}

/* Backward over the superblock. read: what is read before each instruction besides; or NULL. */
static void find_liveness(MtvgSb *sb, const u16 *read)
{
    sb->live_gprs[sb->n] = 0xffff;
    sb->live_flags[sb->n] = MTVG_FL_ALL;
    for (u32 i = sb->n; i-- > 0;) {
        const Insn *in = &sb->insns[i];

        bool leaves = (sb->view[i].flags & MTVG_I_FAULTS) || instr_is_side_exit(in);
        bool lax = leaves && (mt_lax_gprs || mt_lax_flags) && is_lax(sb, i);

        sb->live_gprs[i] = (u16)((sb->live_gprs[i + 1] & ~in->gprs_written) | in->gprs_read);
        sb->live_flags[i] = (u8)((sb->live_flags[i + 1] & ~flags_set(in)) | in->flags_read);
        if (leaves && !(lax && mt_lax_gprs)) {
            sb->live_gprs[i] = 0xffff;
        }
        if (leaves && !(lax && mt_lax_flags)) {
            sb->live_flags[i] = MTVG_FL_ALL;
        }
        if (read != NULL) {
            sb->live_gprs[i] |= read[i];
            sb->live_flags[i] |= read[i] == 0xffff ? MTVG_FL_ALL : 0;
        }
    }
}

/* The same with what the tool's requests read: a call looks at everything, code at what it
 * names. */
static void find_liveness_of_requests(MtvgSb *sb)
{
    u16 read[MT_SB_INSNS + 1] = {0};

    for (u32 k = 0; k < sb->ncalls; k++) {
        const SbCall *c = &sb->calls[k];
        u16 what = c->is_code ? c->reads : 0xffff;

        read[c->insn + (c->when == MTVG_AFTER)] |= what;
        read[c->insn] |= c->is_code ? 0 : what;
    }
    find_liveness(sb, read);
}

/* Takes back what was asked for an instruction that a private translation will run, and code that
 * can't be made. */
static void drop_requests(MtvgSb *sb, u32 insn)
{
    u32 calls = 0, reps = 0;

    if (insn < sb->n) {
        sb->own[insn].n = 0;
    }
    for (u32 i = 0; i < sb->ncalls; i++) {
        const SbCall *c = &sb->calls[i];

        if (c->insn != insn && (!c->is_code || mtvg_code_ok((const MtvgCode *)c))) {
            sb->calls[calls++] = sb->calls[i];
        }
    }
    for (u32 i = 0; i < sb->nreps; i++) {
        if (sb->reps[i].insn != insn) {
            sb->reps[reps++] = sb->reps[i];
        }
    }
    sb->ncalls = calls;
    sb->nreps = reps;
}

void instr_begin(MtvgSb *sb, GuestAddr pc, u32 key, const Insn *insns, const u16 *followed, u32 n,
                 u32 excluded, bool gs_away)
{
    sb->pc = pc;
    sb->key = key;
    sb->insns = insns;
    sb->followed = followed;
    sb->n = n;
    sb->excluded = excluded;
    sb->gs_away = gs_away;
    sb->ncalls = sb->nreps = sb->nrecs = sb->nops = sb->ncodes = sb->nafters = sb->cut = 0;
    sb->ended = false;
    sb->seg = (SbSegment){0};
    for (u32 i = 0; i <= n; i++) {
        sb->own[i].n = sb->pre[i].n = 0;
        sb->exit_key[i] = key;
    }
    for (u32 i = 0; i < n; i++) {
        make_view(sb, i);
        sb->coded[i] = !followed[i];
        sb->room[i] = 0;
    }
    find_liveness(sb, NULL);
    mt_instrument(sb);
    drop_requests(sb, excluded);
    sb->ncodes = 0; /* counts what is emitted from now on */
    if (sb->ncalls > 0) {
        find_liveness_of_requests(sb);
        for (u32 i = 0; i < sb->ncalls; i++) {
            sb->coded[sb->calls[i].insn] = 1;
        }
    }
}

/* --- the interface ---------------------------------------------------------------------------- */

u64 mtvg_sb_pc(const MtvgSb *sb)
{
    return sb->pc;
}

u32 mtvg_sb_key(const MtvgSb *sb)
{
    return sb->key;
}

bool mtvg_exit_key(MtvgSb *sb, u32 i, u32 key)
{
    if (i > sb->n || mt_block_key == NULL) {
        return false;
    }
    sb->exit_key[i] = key;
    return true;
}

u32 mtvg_sb_size(const MtvgSb *sb)
{
    return sb->n;
}

const MtvgInsn *mtvg_sb_insn(const MtvgSb *sb, u32 i)
{
    return i < sb->n ? &sb->view[i] : NULL;
}

int mtvg_sb_mems(const MtvgSb *sb, u32 i, MtvgMem out[MTVG_MAX_MEMS])
{
    if (i >= sb->n || !(sb->insns[i].flags & (INSN_F_READS_MEM | INSN_F_WRITES_MEM))) {
        return 0;
    }
    return decode_memops(&sb->insns[i], (MemOp *)out);
}

u16 mtvg_sb_live_gprs(const MtvgSb *sb, u32 i)
{
    return i <= sb->n ? sb->live_gprs[i] : 0xffff;
}

u8 mtvg_sb_live_flags(const MtvgSb *sb, u32 i)
{
    return i <= sb->n ? sb->live_flags[i] : MTVG_FL_ALL;
}

static bool add_count(SbCounts *s, u32 limit, u32 counter, u32 n)
{
    u32 i = 0;

    while (i < s->n && s->pair[i][0] != counter) {
        i++;
    }
    if (counter >= MTVG_NCOUNTERS || i == limit || n > 255u - (i < s->n ? s->pair[i][1] : 0)) {
        return false;
    }
    if (i == s->n) {
        s->n++;
        s->pair[i][0] = (u8)counter;
        s->pair[i][1] = 0;
    }
    s->pair[i][1] = (u8)(s->pair[i][1] + n);
    return true;
}

bool mtvg_count(MtvgSb *sb, u32 i, u32 counter, u32 n)
{
    u32 limit;

    if (i >= sb->n) {
        return false;
    }
    limit = sb->insns[i].cls == INSN_SYSCALL ? MT_EDGE_PAIRS : MT_SB_PAIRS;
    return n == 0 || add_count(&sb->own[i], limit, counter, n);
}

bool mtvg_count_entry(MtvgSb *sb, u32 counter, u32 n)
{
    return n == 0 || add_count(&sb->pre[0], MT_SB_PAIRS, counter, n);
}

bool mtvg_count_not_taken(MtvgSb *sb, u32 i, u32 counter, u32 n)
{
    if (i >= sb->n || !instr_is_side_exit(&sb->insns[i])) {
        return false;
    }
    return n == 0 || add_count(&sb->pre[i + 1], MT_SB_PAIRS, counter, n);
}

static bool is_rep(const MtvgSb *sb, u32 i)
{
    MtvgMem m[MTVG_MAX_MEMS];
    int n = mtvg_sb_mems(sb, i, m);

    return n > 0 && m[0].kind == MTVG_MEM_STRING && m[0].rep && sb->insns[i].cls == INSN_PLAIN;
}

bool mtvg_count_reps(MtvgSb *sb, u32 i, u32 counter, u32 n)
{
    SbRep *r = NULL;

    if (counter >= MTVG_NCOUNTERS || n > 255 || !is_rep(sb, i)) {
        return false;
    }
    for (u32 k = 0; k < sb->nreps; k++) {
        if (sb->reps[k].insn == i) {
            r = &sb->reps[k];
        }
    }
    if (r == NULL) {
        if (sb->nreps == MT_SB_REPS) {
            return false;
        }
        r = &sb->reps[sb->nreps++];
        *r = (SbRep){.insn = (u8)i};
    }
    r->vec.amount[counter] = (u16)(r->vec.amount[counter] + n);
    if (counts_vector(&r->vec, true) == MT_NO_VECTOR) {
        r->vec.amount[counter] = (u16)(r->vec.amount[counter] - n);
        return false;
    }
    return true;
}

/* What follows an instruction is copied (instr_emit.c), so it counts twice. */
bool instr_take_room(MtvgSb *sb, SbCall *c, u32 hot, u32 cold)
{
    u32 n = hot > cold ? hot : cold;

    n += c->when == MTVG_AFTER ? hot : 0;
    if (sb->room[c->insn] + n > MT_CALLS_ROOM) {
        return false;
    }
    sb->room[c->insn] = (u16)(sb->room[c->insn] + n);
    return true;
}

SbCall *instr_request(MtvgSb *sb, u32 i, u32 when, u32 hot, u32 cold)
{
    SbCall *c = &sb->calls[sb->ncalls];

    if (i >= sb->n || (when == MTVG_AFTER && sb->insns[i].cls != INSN_PLAIN &&
                       !instr_is_outside(&sb->insns[i]))) {
        return NULL;
    }
    for (u32 k = 0; k < sb->ncalls && when == MTVG_AFTER; k++) {
        if (sb->calls[k].insn == i && sb->calls[k].when == MTVG_AFTER) {
            return NULL;
        }
    }
    if (sb->ncalls == MT_SB_CALLS || sb->nops + MT_CODE_OPS > MT_SB_OPS ||
        sb->ncodes == MT_SB_CODES) {
        sb->cut = sb->cut == 0 || i < sb->cut ? i : sb->cut; /* 0: too many for one */
        return NULL;
    }
    *c = (SbCall){.sb = sb, .insn = (u8)i, .when = (u8)when, .ops = (u16)sb->nops};
    if (!instr_take_room(sb, c, hot, cold)) {
        return NULL;
    }
    sb->ncalls++;
    return c;
}

bool mtvg_call(MtvgSb *sb, u32 i, MtvgWhen when, MtvgFunction fn, u64 arg)
{
    SbCall *c = instr_request(sb, i, when, MT_CALL_BYTES, 0);

    if (c == NULL) {
        return false;
    }
    c->fn = fn;
    c->arg = arg;
    return true;
}

const u64 *mtvg_gprs(struct Thread *t)
{
    return mt_cpu.gpr;
}

void mtvg_set_gs_base(u64 base)
{
    MT_ASSERT(mt_tool_gs);
    cpu_set_host_gs(base);
}

void mtvg_counters(u64 out[MTVG_NCOUNTERS])
{
    counts_total(out);
}
