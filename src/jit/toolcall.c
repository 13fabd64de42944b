/* SPDX-License-Identifier: BSD-2-Clause
 * toolcall.c -- calls from translated code to the tool.
 * Role:       what toolcall.S calls with the guest's state saved.
 * Invariants: C1. the thread stays INSIDE: the call's block, and its site, live until it leaves.
 *             C2. mt_cpu.resume != 0 between the call and the entry into translated code behind it:
 *                 if that entry is aborted, the run loop undoes what was counted ahead. */
#include "jit/instr.h"

#include "jit/cache.h"
#include "jit/recover.h"
#include "sched/thread.h"

void toolcall_run(void);
void toolcall_run(void)
{
    const CallSite *s = (const CallSite *)edge_of((EdgeRef)mt_cpu.call_site);
    u64 where = mt_cpu.call_return;
    MtvgCall c = {.thread = thread_self(),
                  .pc = s->pc,
                  .len = s->len,
                  .nmems = s->nmems,
                  .when = s->when,
                  .flags = s->flags,
                  .mems = s->mems,
                  .gpr = mt_cpu.gpr,
                  .rflags = mt_cpu.rflags,
                  .fs_base = mt_cpu.fs_base,
                  .gs_base = mt_cpu.gs_base,
                  .arg = s->arg,
                  .old_sp = mt_cpu.old_sp};

    mt_cpu.rip = s->next_pc;
    s->fn(&c);
    mt_cpu.slot[7] = where;
    mt_cpu.resume = (u64)s;
}

void toolcall_aborted(void)
{
    const CallSite *s = (const CallSite *)mt_cpu.resume;

    if (s != NULL) {
        mt_cpu.resume = 0;
        mt_cpu.key = block_of(s->block)->key; /* it may have been reached by links */
        counts_stop(block_side(block_of(s->block)), s->off, s->next);
    }
}

/* What the instruction being emulated counts, taken back until it is done. */
static __thread u8 emulated[1 + 2 * MT_SB_PAIRS];

void counts_emulate(const Block *b)
{
    emulated[0] = 0;
    if (b->extra != 0) {
        counts_insn(block_side(b), b->ninsns - 1u, -1);
        counts_pairs(block_side(b), b->ninsns - 1u, emulated);
    }
}

void counts_emulated(bool done)
{
    for (u32 i = 0; done && i < emulated[0]; i++) {
        mt_counts[emulated[1 + 2 * i]] += emulated[2 + 2 * i];
    }
    emulated[0] = 0;
}
