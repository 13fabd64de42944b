/* SPDX-License-Identifier: BSD-2-Clause
 * toolcall.c -- calls from translated code to the tool.
 * Role:       what toolcall.S calls with the guest's state saved.
 * Invariants: C1. the thread stays INSIDE: the call's block, and its site, live until it leaves.
 *                 The tool's function is the runtime's code: a stop waits for it (WORLD_IN).
 *             C2. mt_cpu.resume != 0 between the call and the entry into translated code behind it:
 *                 if that entry is aborted, the run loop undoes what was counted ahead.
 *             C3. this file is compiled for general registers only (CMakeLists.txt):
 *                 toolcall_light() runs with the guest's vector state live. */
#include "jit/instr.h"

#include "jit/cache.h"
#include "jit/recover.h"
#include "sched/world_inl.h"

bool (*mt_light)(const MtvgCall *c, MtvgFunction fn);

static const CallSite *this_site(void)
{
    return (const CallSite *)(const void *)block_of((BlockRef)mt_cpu.call_site);
}

static MtvgCall describe(const CallSite *s)
{
    return (MtvgCall){.thread = thread_self(),
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
}

/* The guest goes on behind the call. */
static void go_on(const CallSite *s)
{
    mt_cpu.slot[7] = mt_cpu.call_return;
    mt_cpu.resume = (u64)s;
    mt_cpu.x87_at = 0;
}

bool toolcall_light(void);
bool toolcall_light(void)
{
    const CallSite *s = this_site();
    MtvgCall c;
    bool done;

    mt_cpu.rip = s->next_pc;
    if (mt_light == NULL || !world_try_code_end(thread_self())) {
        return false;
    }
    c = describe(s);
    done = mt_light(&c, s->fn);
    world_code_begin(c.thread);
    if (done) {
        go_on(s);
    }
    return done;
}

void toolcall_run(void);
void toolcall_run(void)
{
    const CallSite *s = this_site();
    MtvgCall c = describe(s);

    world_code_end(c.thread);
    s->fn(&c);
    world_code_begin(c.thread);
    go_on(s);
}

void toolcall_aborted(void)
{
    const CallSite *s = (const CallSite *)mt_cpu.resume;

    if (s != NULL) {
        mt_cpu.resume = 0;
        mt_cpu.key = block_key(block_of(s->block)); /* it may have been reached by links */
        counts_stop(block_side(block_of(s->block)), s->off, s->next);
    }
}

/* What the instruction being emulated counts, taken back until it is done. */
static __thread u8 emulated[1 + 2 * MT_SB_PAIRS];

void counts_emulate(const Block *b)
{
    emulated[0] = 0;
    if (block_extra(b) != 0) {
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
