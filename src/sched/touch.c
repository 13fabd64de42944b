/* SPDX-License-Identifier: BSD-2-Clause
 * touch.c -- sequential mode: page faults that other guest threads end are waited for OUTSIDE.
 * Role:       a thread that has lost its turn in a page fault (world_seq.c) would come to the same
 *             fault in its next turn, and lose it again; and a fault that is interrupted for that
 *             has been withdrawn when the thread that serves it comes to read of it. So it waits
 *             for its memory here, as natively.
 * Signals:    end the wait (safe_touch()). */
#include "sched/touch.h"

#include "base/atomics.h"
#include "base/safe.h"
#include "jit/insn.h"
#include "mtvg/tool.h"

static void touch(const MtvgAccess *a)
{
    if (a->size != 0) {
        safe_touch(a->addr, a->write != 0, &mt_cpu.pending);
        safe_touch(a->addr + a->size - 1, a->write != 0, &mt_cpu.pending);
    }
}

void touch_operands(Thread *t)
{
    u8 code[15];
    Insn in;
    MemOp ops[MT_MAX_MEMOPS];
    MtvgAccess out[MTVG_MAX_ACCESSES];
    MtvgCall c = {.thread = t,
                  .pc = mt_cpu.rip,
                  .gpr = mt_cpu.gpr,
                  .rflags = mt_cpu.rflags,
                  .fs_base = mt_cpu.fs_base,
                  .gs_base = mt_cpu.gs_base};
    int n;

    /* What asked for a safepoint is content with being OUTSIDE; it must not end the wait. */
    mt_fetch_and(&mt_cpu.pending, ~(MT_PEND_WORLD | MT_PEND_RCU));
    decode_insn(&in, c.pc, code, safe_read_partial(code, c.pc, sizeof(code)));
    c.flags = in.flags & INSN_F_ADDR32 ? MTVG_I_ADDR32 : 0;
    n = decode_memops(&in, ops);
    for (int i = 0; i < n; i++) {
        /* The same layout: asserted in instr.c. */
        int k = mtvg_resolve(&c, (const MtvgMem *)&ops[i], out);

        for (int j = 0; j < k; j++) {
            touch(&out[j]);
        }
    }
}
