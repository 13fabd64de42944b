/* SPDX-License-Identifier: BSD-2-Clause
 * recover.c -- guest state from a host signal frame (D4).
 * Signals: runs in the host handler, but for recover_fix_stack(). General registers only; takes no
 *          lock. */
#include "jit/recover.h"

#include "base/safe.h"
#include "base/valgrind_annot.h"
#include "guest/cpu.h"
#include "jit/block.h"
#include "jit/cache.h"
#include "jit/counts.h"
#include "jit/cpu_offsets.h"
#include "jit/entry.h"
#include "jit/instr.h"
#include "jit/lower.h"
#include "jit/pcmap.h"
#include "jit/smc.h"
#include "sys/sys.h"

_Static_assert(offsetof(CpuState, gpr) == CPU_GPR, "cpu_offsets.h");
_Static_assert(offsetof(CpuState, rip) == CPU_RIP, "cpu_offsets.h");
_Static_assert(offsetof(CpuState, rflags) == CPU_RFLAGS, "cpu_offsets.h");
_Static_assert(offsetof(CpuState, slot) == CPU_SLOT, "cpu_offsets.h");
_Static_assert(offsetof(CpuState, exit_arg) == CPU_EXIT_ARG, "cpu_offsets.h");
_Static_assert(offsetof(CpuState, host_rsp) == CPU_HOST_RSP, "cpu_offsets.h");
_Static_assert(offsetof(CpuState, pending) == CPU_PENDING, "cpu_offsets.h");
_Static_assert(offsetof(Cache, ibt2) == MT_CACHE_IBT2, "cpu_offsets.h");

#define HOST_FLAGS_CLEAR 0x44500u /* AC, NT, DF, TF */

/* A jump of the glue counts as made: one of them leads on into translated code. */
static u64 through_glue(u64 pc)
{
    bool glue = cache_contains(pc) && cache_off(pc) >= MT_IBT_BYTES &&
                cache_off(pc) < mt_cache.code_lo;

    return glue ? *(const u64 *)(pc + MT_GLUE_TARGET) : pc;
}

HostWhere recover_where(u64 host_pc)
{
    u64 pc = through_glue(host_pc);
    ChunkKind kind;
    Block *b;

    if (pc >= (u64)cache_entering_begin && pc < (u64)cache_entering_end) {
        return WHERE_ENTERING;
    }
    if ((pc >= (u64)sys_window_begin && pc <= (u64)sys_window_insn) ||
        (pc >= (u64)sys_window32_begin && pc <= (u64)sys_window32_insn)) {
        return WHERE_SYSCALL;
    }
    if (pc >= (u64)ib_ret_miss && pc < (u64)ib_probe_end) {
        return WHERE_CACHE;
    }
    if (!cache_contains(pc)) {
        return WHERE_RUNTIME;
    }
    b = block_of(cache_find_block(pc, &kind));
    /* Exit stubs lead to the run loop within a few instructions. */
    if (b == block_of(0) || kind == CHUNK_COLD ||
        (kind == CHUNK_BLOCKS && cache_off(pc) >= b->host_start + b->host_size)) {
        return WHERE_RUNTIME;
    }
    return WHERE_CACHE;
}

static void apply_spills(u32 mask)
{
    for (u32 r = 0, k = 0; r < MT_NGPR; r++) {
        if (mask >> r & 1) {
            mt_cpu.gpr[r] = mt_cpu.spill[k++];
        }
    }
}

/* add $0x7f, %al; sahf */
static u64 saved_flags(u64 flags)
{
    const u64 in_ah = 0xd5, of = 0x800;

    flags = (flags & ~(in_ah | of)) | (mt_cpu.spill_flags >> 8 & in_ah);
    return flags | ((mt_cpu.spill_flags & 1) != 0 ? of : 0);
}

/* Has the instruction that the place belongs to been executed? */
static bool is_behind(const PcState *s)
{
    return s->kind == PC_NEXT || s->kind == PC_NEXT_SPILL || s->kind == PC_TGT_RCX ||
           s->kind == PC_TGT_SLOT || s->kind == PC_BRANCH || s->kind == PC_TGT_RESTORE ||
           s->kind == PC_TGT_RDX || s->kind == PC_TGT_SWAPPED || s->kind == PC_RET ||
           s->kind == PC_CALL_FIX || s->kind == PC_CALL_FIX_SLOT;
}

static void apply_branch_done(void)
{
    mt_cpu.rip = mt_cpu.slot[1];
    mt_cpu.gpr[MT_RCX] = mt_cpu.slot[0];
}

/* The word at rsp is to be the return address. What goes over the return stack goes to version
 * 0. */
static void apply_pushed(GuestAddr ret)
{
    mt_cpu.key = 0;
    mt_cpu.slot[6] = ret;
    mt_cpu.fix = MT_FIX_CALL;
}

static void apply_swapped(void)
{
    mt_cpu.gpr[MT_RCX] = mt_cpu.gpr[MT_RDI];
    mt_cpu.gpr[MT_RDI] = mt_cpu.slot[0];
}

static void apply_return_done(u32 fix)
{
    apply_swapped();
    mt_cpu.rip = mt_cpu.slot[1];
    mt_cpu.key = 0;
    mt_cpu.fix = fix;
}

static void apply_state(const PcState *s)
{
    mt_cpu.rip = s->pc;
    switch (s->kind) {
    case PC_SPILL:
    case PC_NEXT_SPILL: mt_cpu.gpr[s->reg] = mt_cpu.slot[3]; break;
    case PC_TGT_RCX:
        mt_cpu.rip = mt_cpu.gpr[MT_RCX];
        mt_cpu.gpr[MT_RCX] = mt_cpu.slot[0];
        break;
    case PC_TGT_SLOT: apply_branch_done(); break;
    case PC_SPILL_RCX: mt_cpu.gpr[MT_RCX] = mt_cpu.slot[0]; break;
    case PC_SPILLS_FLAGS: mt_cpu.rflags = saved_flags(mt_cpu.rflags); /* fall through */
    case PC_SPILLS: apply_spills(s->mask); break;
    case PC_SWAPPED: apply_swapped(); break;
    case PC_TGT_RDX: mt_cpu.gpr[MT_RDX] = mt_cpu.slot[2]; /* fall through */
    case PC_TGT_SWAPPED: apply_return_done(0); break;
    case PC_RET: mt_cpu.gpr[MT_RSP] += 8; /* fall through */
    case PC_TGT_RESTORE: apply_return_done(MT_FIX_RET); break;
    case PC_CALL_FIX: mt_cpu.slot[1] = mt_cpu.gpr[MT_RCX]; /* fall through */
    case PC_CALL_FIX_SLOT:
        apply_branch_done();
        apply_pushed(s->pc);
        break;
    default: break;
    }
}

/* In an entry for calls: the call is done, but for the word at the stack pointer. */
static void apply_call_entry(const Block *b, u32 at)
{
    mt_cpu.rip = b->pc;
    if (at < MT_CALL_STORED) {
        apply_pushed(mt_cpu.gpr[MT_RAX]);
    }
    if (at < MT_CALL_RELOADED) {
        mt_cpu.gpr[MT_RAX] = mt_cpu.slot[3];
    }
}

/* In an indirect entry: slot[1] and slot[0] hold target and rcx all along; rdx is in slot[2] from
 * its spill on, which is a no-op before its reload has been done and after. */
static void apply_ind_entry(const Block *b, u32 off)
{
    mt_cpu.rip = mt_cpu.slot[1];
    mt_cpu.gpr[MT_RCX] = mt_cpu.slot[0];
    if (b->pc >= 0x80000000u && off >= 18 && off < 41) {
        mt_cpu.gpr[MT_RDX] = mt_cpu.slot[2];
    }
}

static const u8 greg_of[MT_NGPR] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                    REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                    REG_R12, REG_R13, REG_R14, REG_R15};

static void copy_registers(const greg_t *g)
{
    for (int i = 0; i < MT_NGPR; i++) {
        mt_cpu.gpr[i] = (u64)g[greg_of[i]];
    }
    mt_cpu.rflags = (u64)g[REG_EFL];
}

/* In the second look-up of an indirect branch: as in an indirect entry; rax and rdx are in slot[4]
 * and slot[5] from their spills on. */
static void apply_ib_probe(u64 pc)
{
    mt_cpu.rip = mt_cpu.slot[1];
    mt_cpu.gpr[MT_RCX] = mt_cpu.slot[0];
    if (pc >= (u64)ib_probe_rax) {
        mt_cpu.gpr[MT_RAX] = mt_cpu.slot[4];
    }
    if (pc >= (u64)ib_probe_rdx) {
        mt_cpu.gpr[MT_RDX] = mt_cpu.slot[5];
    }
}

/* A return that found no return point, or another one, on its way to the second look-up. */
static void apply_ret_miss(u64 pc)
{
    if (pc < (u64)ib_ret_unswapped) {
        apply_return_done(pc < (u64)ib_ret_other ? MT_FIX_RET : 0);
    } else {
        mt_cpu.rip = mt_cpu.slot[1];
    }
}

static void resume_at(ucontext_t *uc, const char *label)
{
    uc->uc_mcontext.gregs[REG_RIP] = (greg_t)label;
    uc->uc_mcontext.gregs[REG_RSP] = (greg_t)mt_cpu.host_rsp;
    uc->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)HOST_FLAGS_CLEAR;
}

void recover_leave_cache(ucontext_t *uc)
{
    u64 pc = through_glue((u64)uc->uc_mcontext.gregs[REG_RIP]);
    ChunkKind kind;
    Block *b = block_of(cache_find_block(pc, &kind));
    CacheOff off = cache_off(pc);
    /* Atomic: another thread may just be giving the block an entry. The one that this thread is in,
     * if it is in one, was there before the jump to it was. */
    CacheOff call = mt_load_relaxed(&b->call), ind = mt_load_relaxed(&b->ind);
    PcState s;

    annot_after(&b->node); /* pairs with blockmap_add(): code that runs has been published */
    copy_registers(uc->uc_mcontext.gregs);
    mt_cpu.key = 0;
    mt_cpu.fix = 0;
    if (pc >= (u64)ib_ret_miss && pc < (u64)ib_probe_begin) {
        apply_ret_miss(pc);
    } else if (!cache_contains(pc)) {
        apply_ib_probe(pc);
    } else if (call != 0 && off - call < MT_CALL_ENTRY_BYTES &&
               (kind == CHUNK_THUNKS || off < block_host(b))) {
        apply_call_entry(b, off - call);
    } else if (kind == CHUNK_THUNKS || off < block_host(b)) {
        apply_ind_entry(b, off - ind);
    } else if (pcmap_find(block_pcmap(b), b->pcmap_len, b->pc, off - block_host(b), &s)) {
        mt_cpu.key = block_key(b);
        apply_state(&s);
        if (block_extra(b) != 0) {
            counts_interrupted(block_side(b), off - block_host(b), s.insn_index, is_behind(&s));
        }
    } else {
        mt_cpu.rip = b->pc;
        mt_cpu.key = block_key(b);
    }
    resume_at(uc, exit_signal);
}

void recover_in_front(u64 host_pc)
{
    ChunkKind kind;
    const Block *b = block_of(cache_find_block(host_pc, &kind));
    u32 off = cache_off(host_pc) - block_host(b);
    PcState s;

    if (pcmap_find(block_pcmap(b), b->pcmap_len, b->pc, off, &s)) {
        mt_cpu.rip = s.pc;
        mt_cpu.key = block_key(b);
        if (block_extra(b) != 0) {
            counts_interrupted(block_side(b), off, s.insn_index, false);
        }
    }
}

/* --- tools' code ------------------------------------------------------------------------------ */

/* Offset of the interrupted instruction from block_host(); ~0: not in the block's own code. */
static u32 block_offset(u64 pc, Block **b)
{
    ChunkKind kind;

    if (!cache_contains(pc)) {
        return ~0u;
    }
    *b = block_of(cache_find_block(pc, &kind));
    if (*b == block_of(0) || kind != CHUNK_BLOCKS || cache_off(pc) < block_host(*b) ||
        cache_off(pc) >= (*b)->host_start + (*b)->host_size || block_extra(*b) == 0) {
        return ~0u;
    }
    return cache_off(pc) - block_host(*b);
}

bool recover_finish(ucontext_t *uc)
{
    Block *b;
    u32 off = block_offset((u64)uc->uc_mcontext.gregs[REG_RIP], &b);
    BlockCodes codes;

    if (off == ~0u) {
        return false;
    }
    codes = instr_codes(b);
    for (u32 i = 0; i < codes.nafters; i++) {
        const AfterRec *a = &codes.afters[i];

        if (off >= a->begin && off < a->end) {
            mt_cpu.copied = block_ref(b);
            uc->uc_mcontext.gregs[REG_RIP] = (greg_t)cache_exec_addr(a->copy + (off - a->begin));
            return true;
        }
    }
    return false;
}

/* The same for a place in the copy that the thread is in; *moved: from the original. */
static u32 copied_offset(u64 pc, Block **b, u64 *moved)
{
    BlockCodes codes;
    ChunkKind kind;

    if (!cache_contains(pc) || mt_cpu.copied == 0) {
        return ~0u;
    }
    cache_find_block(pc, &kind);
    if (kind != CHUNK_COLD) {
        return ~0u; /* the block may be gone long since */
    }
    *b = block_of(mt_cpu.copied);
    codes = instr_codes(*b);
    for (u32 i = 0; i < codes.nafters; i++) {
        const AfterRec *a = &codes.afters[i];
        u32 at = cache_off(pc) - a->copy;

        if (at < (u32)(a->end - a->begin)) {
            *moved = a->copy - (block_host(*b) + a->begin);
            return a->begin + at;
        }
    }
    return ~0u;
}

bool recover_tool_fault(ucontext_t *uc)
{
    greg_t *g = uc->uc_mcontext.gregs;
    u64 moved = 0;
    Block *b;
    u32 off = block_offset((u64)g[REG_RIP], &b);
    BlockCodes codes;
    PcState s;

    if (off == ~0u) {
        off = copied_offset((u64)g[REG_RIP], &b, &moved);
    }
    if (off == ~0u) {
        return false;
    }
    codes = instr_codes(b);
    for (u32 i = 0; i < codes.ncodes; i++) {
        const CodeRec *r = &codes.codes[i];

        if (off < r->begin || off >= r->end ||
            !pcmap_find(block_pcmap(b), b->pcmap_len, b->pc, off, &s)) {
            continue;
        }
        for (u32 reg = 0, k = 0; reg < MT_NGPR; reg++) {
            if (s.mask >> reg & 1) {
                g[greg_of[reg]] = (greg_t)mt_cpu.spill[k++];
            }
        }
        if (s.kind == PC_SPILLS_FLAGS) {
            g[REG_EFL] = (greg_t)saved_flags((u64)g[REG_EFL]);
        }
        g[REG_RIP] = (greg_t)(cache_exec_addr(r->fault) +
                              (r->fault == block_host(b) + r->end ? moved : 0));
        return true;
    }
    return false;
}

bool recover_may_be_check(u64 host_pc)
{
    ChunkKind kind;
    const Block *b = block_of(cache_find_block(host_pc, &kind));

    for (u32 i = 0; kind == CHUNK_BLOCKS && i < b->nedges; i++) {
        if (edge_kind(&block_edges(b)[i]) == EDGE_STALE) {
            return true;
        }
    }
    return false;
}

bool recover_is_done(void)
{
    return mt_cpu.fix == MT_FIX_RET;
}

void recover_unlinked_call(void)
{
    apply_pushed(mt_cpu.gpr[MT_RAX]);
    mt_cpu.gpr[MT_RAX] = mt_cpu.slot[3];
    recover_fix_stack();
}

void recover_fix_stack(void)
{
    u64 sp = mt_cpu.gpr[MT_RSP];

    if (mt_cpu.fix == MT_FIX_RET) {
        /* It may be read-only: then it has not been changed. */
        (void)safe_write(sp - 8, &mt_cpu.rip, sizeof(u64));
    } else {
        (void)smc_safe_write(sp, &mt_cpu.slot[6], sizeof(u64));
    }
    mt_cpu.fix = 0;
}

void recover_abort(ucontext_t *uc)
{
    u64 pc = (u64)uc->uc_mcontext.gregs[REG_RIP];

    if (pc >= (u64)sys_window_begin && pc <= (u64)sys_window_insn) {
        uc->uc_mcontext.gregs[REG_RIP] = (greg_t)sys_window_abort;
    } else if (pc >= (u64)sys_window32_begin && pc <= (u64)sys_window32_insn) {
        uc->uc_mcontext.gregs[REG_RIP] = (greg_t)sys_window32_abort;
    } else {
        resume_at(uc, cache_enter_abort);
    }
}
