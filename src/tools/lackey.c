/* SPDX-License-Identifier: BSD-2-Clause
 * lackey.c -- counts instructions, loads, stores and branches; prints memory accesses.
 * Role: the reference for authors of tools (docs/TOOLS.md): uses the interface, and nothing else of
 *       the runtime but its options. */
#include "tools/lackey.h"

#include "base/options.h"

#include <inttypes.h>

enum {
    COUNT_INSNS,
    COUNT_BLOCKS,
    COUNT_LOADS,
    COUNT_STORES,
    COUNT_JCCS,
    COUNT_NOT_TAKEN,
    COUNT_JUMPS,
    COUNT_CALLS,
    COUNT_RETURNS,
};

static void count_branch(MtvgSb *sb, u32 i, u8 kind)
{
    switch (kind) {
    case MTVG_JCC:
    case MTVG_JRCXZ:
        mtvg_count(sb, i, COUNT_JCCS, 1);
        mtvg_count_not_taken(sb, i, COUNT_NOT_TAKEN, 1);
        break;
    case MTVG_JMP:
    case MTVG_JMP_IND: mtvg_count(sb, i, COUNT_JUMPS, 1); break;
    case MTVG_CALL:
    case MTVG_CALL_IND: mtvg_count(sb, i, COUNT_CALLS, 1); break;
    case MTVG_RET: mtvg_count(sb, i, COUNT_RETURNS, 1); break;
    default: break;
    }
}

/* One load and one store an operand, an element of a string with a rep prefix. */
static void count_memory(MtvgSb *sb, u32 i)
{
    MtvgMem m[MTVG_MAX_MEMS];
    int n = mtvg_sb_mems(sb, i, m);

    for (int k = 0; k < n; k++) {
        if (m[k].kind == MTVG_MEM_STRING && m[k].rep) {
            mtvg_count_reps(sb, i, COUNT_LOADS, m[k].read);
            mtvg_count_reps(sb, i, COUNT_STORES, m[k].write);
        } else {
            mtvg_count(sb, i, COUNT_LOADS, m[k].read);
            mtvg_count(sb, i, COUNT_STORES, m[k].write);
        }
    }
}

static void count(MtvgSb *sb)
{
    u32 n = mtvg_sb_size(sb);

    mtvg_count_entry(sb, COUNT_BLOCKS, 1);
    for (u32 i = 0; i < n; i++) {
        const MtvgInsn *in = mtvg_sb_insn(sb, i);

        mtvg_count(sb, i, COUNT_INSNS, 1);
        count_branch(sb, i, in->kind);
        if (in->flags & (MTVG_I_LOADS | MTVG_I_STORES)) {
            count_memory(sb, i);
        }
    }
}

static void instrument(MtvgSb *sb)
{
    if (mt_opts.basic_counts) {
        count(sb);
    }
    if (mt_opts.trace_mem) {
        lackey_trace(sb);
    }
}

static void print_counts(void)
{
    u64 c[MTVG_NCOUNTERS];

    mtvg_counters(c);
    mtvg_message("Counted by lackey, all threads together:");
    mtvg_message("  superblocks entered:   %'" PRIu64, c[COUNT_BLOCKS]);
    mtvg_message("  guest instrs:          %'" PRIu64, c[COUNT_INSNS]);
    mtvg_message("  loads:                 %'" PRIu64, c[COUNT_LOADS]);
    mtvg_message("  stores:                %'" PRIu64, c[COUNT_STORES]);
    mtvg_message("  conditional branches:  %'" PRIu64, c[COUNT_JCCS]);
    mtvg_message("    of these taken:      %'" PRIu64, c[COUNT_JCCS] - c[COUNT_NOT_TAKEN]);
    mtvg_message("  jumps:                 %'" PRIu64, c[COUNT_JUMPS]);
    mtvg_message("  calls:                 %'" PRIu64, c[COUNT_CALLS]);
    mtvg_message("  returns:               %'" PRIu64, c[COUNT_RETURNS]);
}

static void finish(struct Thread *t)
{
    if (mt_opts.trace_mem) {
        lackey_trace_finish();
    }
    if (mt_opts.basic_counts) {
        print_counts();
    }
}

const MtvgTool mt_tool_lackey = {
    .name = "lackey",
    .instrument = instrument,
    .thread_start = lackey_trace_thread_start,
    .thread_end = lackey_trace_thread_end,
    .fork_child = lackey_trace_fork_child,
    .finish = finish,
};
