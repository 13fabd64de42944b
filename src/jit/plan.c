/* SPDX-License-Identifier: BSD-2-Clause
 * plan.c -- what a superblock is: which of the guest's instructions, in the order of execution.
 * Role:    follows fall-through behind conditional branches and direct jumps, up to the bounds of
 *          the options; reads, decodes, and has the pages watched. Knows nothing of host code.
 * Locking: none of its own; what it has asked of smc.c and replace.c may have changed when it
 *          returns, which smc_publish() finds out. */
#include "jit/plan.h"

#include "base/options.h"
#include "base/safe.h"
#include "guest/aspace.h"
#include "jit/blockmap.h"
#include "jit/cache.h"
#include "jit/instr.h"
#include "jit/lower.h"
#include "jit/replace.h"
#include "jit/translate.h"

#include <string.h>

/* Adds the page of addr to the plan's watches. False: not executable, or too many pages. */
static bool plan_watch(Plan *p, GuestAddr addr, bool *full)
{
    PageWatch w;

    *full = false;
    for (u32 i = 0; i < p->npages; i++) {
        if (p->pages[i].page == addr / MT_PAGE_SIZE) {
            return true;
        }
    }
    if (p->npages == MT_BLOCK_PAGES) {
        *full = true;
        return false;
    }
    if (!smc_watch(addr, &w)) {
        return false;
    }
    if (w.checked && !p->checked && p->n > 0) {
        *full = true; /* only blocks that begin there are checked */
        return false;
    }
    w.lo = MT_PAGE_SIZE;
    w.hi = 0;
    p->pages[p->npages++] = w;
    p->checked |= w.checked;
    p->self |= w.self;
    return true;
}

/* A private translation watches nothing: it is used once, at once. */
static bool page_readable(Plan *p, GuestAddr addr, bool *full)
{
    *full = false;
    return (p->flags & TR_STEP) ? aspace_is_exec(addr) : plan_watch(p, addr, full);
}

/* The guest's bytes at pc: 15, or those up to the end of the page; *n: how many can be read. Its
 * page is watched by now. Copied in pieces: a few instructions' bytes cost as much as one's. */
static const u8 *plan_read(Plan *p, GuestAddr pc, u32 *n)
{
    u32 in_page = MT_PAGE_SIZE - (u32)(pc & (MT_PAGE_SIZE - 1));
    u32 want = in_page < 15 ? in_page : 15;
    u64 skip = pc - p->read_pc;

    if (skip > p->read_n || p->read_n - skip < want) {
        p->read_pc = pc;
        p->read_n = (u32)safe_read_partial(p->code, pc,
                                           in_page < MT_READ_AHEAD ? in_page : MT_READ_AHEAD);
        skip = 0;
    }
    *n = p->read_n < want ? p->read_n : want;
    return p->code + skip;
}

/* Decodes the instruction at pc. False: the block must end before it (fault or full). */
static bool plan_fetch(Plan *p, GuestAddr pc, Insn *in)
{
    u32 in_page = MT_PAGE_SIZE - (u32)(pc & (MT_PAGE_SIZE - 1));
    const u8 *code;
    bool full;
    u32 n;

    if (!page_readable(p, pc, &full)) {
        p->fault = !full;
        p->fault_addr = pc;
        return false;
    }
    code = plan_read(p, pc, &n);
    decode_insn(in, pc, code, n);
    if (in->cls == INSN_FAULT && n == in_page) {
        u8 both[16];

        if (!page_readable(p, pc + n, &full)) {
            p->fault = !full;
            p->fault_addr = pc + n;
            return false;
        }
        memcpy(both, code, n);
        n += (u32)safe_read_partial(both + n, pc + n, 15 - n);
        decode_insn(in, pc, both, n);
    }
    if (in->cls == INSN_FAULT) {
        p->fault = true;
        p->fault_addr = pc + n;
        return false;
    }
    p->seen = n;
    return true;
}

bool plan_ends_with(const Plan *p, const Insn *in)
{
    switch (in->cls) {
    case INSN_CALL:
    case INSN_CALL_IND: return !p->calls_go_on || p->checked;
    case INSN_PLAIN:
    case INSN_JCC:
    case INSN_JRCXZ: return false;
    default: return true;
    }
}

static bool is_replaced(GuestAddr pc)
{
    return MT_UNLIKELY(mt_replacing) && replace_find(pc, NULL);
}

static bool has_insn(const Plan *p, GuestAddr pc)
{
    for (u32 i = 0; i < p->n; i++) {
        if (p->insns[i].pc == pc) {
            return true;
        }
    }
    return false;
}

/* Is there code for pc already, which the block can lead to? */
static bool is_translated(const Plan *p, GuestAddr pc)
{
    Place place;

    return smc_find_code(pc, p->key, (p->flags & TR_LOOP) != 0, &place);
}

/* May the block go on at the target of a direct jump? */
static bool may_follow(const Plan *p, GuestAddr target)
{
    if (is_replaced(target) || !mt_opts.follow_jumps || p->checked || (p->flags & TR_STEP) ||
        is_translated(p, target)) {
        return false;
    }
    return (u64)(target - p->pc + MT_EDGE_REACH / 2) < MT_EDGE_REACH && !has_insn(p, target);
}

static u32 plan_limit(const Plan *p)
{
    return (p->flags & TR_STEP) ? 1 : (u32)mt_opts.max_insns;
}

/* The plan's guest bytes so far, if it is contiguous. */
static u32 plan_bytes(const Plan *p, GuestAddr next)
{
    return (u32)(next - p->pc);
}

static bool must_stop(const Plan *p, const Insn *in, GuestAddr next)
{
    if (p->n >= plan_limit(p) || (p->checked && plan_bytes(p, next) + 15 > MT_CHECKED_BYTES)) {
        return true;
    }
    if (p->self && (in->flags & INSN_F_WRITES_MEM)) {
        return true;
    }
    /* Behind a branch there may be code that exists already. */
    return in->cls != INSN_PLAIN && (p->branches > mt_opts.max_branches || is_translated(p, next));
}

/* popf: if it sets TF, the trap flag, the thread leaves translated code behind it
 * (sig_handler.c). */
static bool is_popf(const Insn *in)
{
    return in->cls == INSN_PLAIN && in->modrm_off == 0xff && in->bytes[in->opcode_off] == 0x9d;
}

/* int3, int n, int1: what the signal's frame names is the instruction behind, so that must have
 * code. */
static bool is_trap(const Insn *in)
{
    u8 op = in->bytes[in->opcode_off];

    return in->cls == INSN_PLAIN && in->modrm_off == 0xff &&
           (in->opcode_off == 0 || in->bytes[in->opcode_off - 1] != 0x0f) &&
           (op == 0xcc || op == 0xcd || op == 0xf1);
}

static bool behind_trap(const Plan *p)
{
    return p->n > 1 && is_trap(&p->insns[p->n - 2]);
}

bool plan_is_call(const Insn *in)
{
    return in->cls == INSN_CALL || in->cls == INSN_CALL_IND;
}

/* A call that another block has as well. Returns are predicted to go to the return point behind the
 * host call that was executed, but only one of several is what the returns' table says; so such a
 * call gets a block that begins with it, for all. */
static bool is_shared_call(const Plan *p, const Insn *in)
{
    if (!mt_cache.return_stack || !plan_is_call(in) || (p->flags & TR_STEP) ||
        is_trap(&p->insns[p->n - 1])) {
        return false;
    }
    return has_insn(p, in->pc) || return_point_owner(in->pc + in->len) != NULL;
}

bool plan_needs_gs(const Plan *p, const Insn *in)
{
    if (p->flags & TR_GS) {
        return false;
    }
    return (in->flags & INSN_F_SEG_GS) ||
           (mt_tool_gs && (in->flags & INSN_F_SEG_FS) && !lower_fs_inline(in));
}

/* An instruction begins at pc. */
static void note_start(Plan *p, GuestAddr pc)
{
    u16 at = pc % MT_PAGE_SIZE;

    for (u32 i = 0; i < p->npages; i++) {
        PageWatch *w = &p->pages[i];

        if (w->page == pc / MT_PAGE_SIZE) {
            w->lo = at < w->lo ? at : w->lo;
            w->hi = at > w->hi ? at : w->hi;
        }
    }
}

/* Adds instructions until the block ends. */
static void add_insns(Plan *p, GuestAddr pc)
{
    for (;;) {
        Insn *in = &p->insns[p->n];

        p->next = pc;
        if (is_replaced(pc)) {
            bool full;

            p->replaced = p->n == 0 && page_readable(p, pc, &full);
            return;
        }
        if (!plan_fetch(p, pc, in)) {
            return;
        }
        if (p->n > 0 && is_shared_call(p, in)) {
            return;
        }
        note_start(p, pc);
        p->followed[p->n++] = 0;
        pc += in->len;
        p->next = pc;
        p->branches += in->cls == INSN_JCC || in->cls == INSN_JRCXZ;
        if (in->cls == INSN_JMP && p->n < plan_limit(p) && !behind_trap(p) &&
            may_follow(p, in->target)) {
            p->followed[p->n - 1] = 1;
            pc = in->target;
            continue;
        }
        p->ended = plan_ends_with(p, in) || plan_needs_gs(p, in);
        if (p->ended || (in->flags & INSN_F_SEG_GS) || is_popf(in)) {
            return;
        }
        if (must_stop(p, in, pc)) {
            return;
        }
    }
}

void plan_make(Plan *p, GuestAddr pc, u32 key, u32 flags)
{
    p->pc = pc;
    p->key = key;
    p->flags = flags;
    p->n = p->branches = p->npages = p->read_n = 0;
    p->read_pc = 0;
    p->replaced = p->checked = p->self = p->ended = p->fault = false;
    p->calls_go_on = mt_cache.return_stack && mt_instrument == NULL && key == 0 &&
                     !(flags & TR_STEP);
    add_insns(p, pc);
}

void plan_cut(Plan *p, u32 n)
{
    p->n = n;
    p->ended = false;
    p->next = p->insns[n].pc;
}
