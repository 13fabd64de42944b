/* SPDX-License-Identifier: BSD-2-Clause
 * probe_keys.c -- a tool for the tests only: each superblock has three versions, and each exit
 * leads to the next one; checks at every entry that it is the right one. Has %gs for itself too.
 * Linked into mtvg_keys (tests/tool_probe.py). */
#include "mtvg/tool.h"

#include <stdio.h>
#include <stdlib.h>

#define VERSIONS 3

static __thread u32 expected; /* the version that the thread must enter next */
static __thread u32 inside;   /* the version that it is in */
static __thread u64 own_area[2];
static u64 entries, wrong, asked, wrong_asked, wrong_gs;

static void set_gs(struct Thread *t)
{
    own_area[1] = (u64)own_area;
    mtvg_set_gs_base((u64)own_area);
    expected = inside = 0;
}

static void on_entry(const MtvgCall *c)
{
    u64 area;

    __atomic_fetch_add(&entries, 1, __ATOMIC_RELAXED);
    if (c->arg != expected) {
        __atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
    }
    inside = (u32)c->arg;
    expected = ((u32)c->arg + 1) % VERSIONS;
    __asm__ volatile("mov %%gs:8, %0" : "=r"(area));
    if (area != (u64)own_area) {
        __atomic_fetch_add(&wrong_gs, 1, __ATOMIC_RELAXED);
    }
}

static void instrument(MtvgSb *sb)
{
    u32 key = mtvg_sb_key(sb), n = mtvg_sb_size(sb);

    mtvg_call(sb, 0, MTVG_BEFORE, on_entry, key);
    for (u32 i = 0; i <= n; i++) {
        mtvg_exit_key(sb, i, (key + 1) % VERSIONS);
    }
}

/* What the exit says; or, behind an interruption, the version that was interrupted, or 0 (an
 * indirect branch was being done). */
static u32 block_key(struct Thread *t, u64 pc, u32 key)
{
    __atomic_fetch_add(&asked, 1, __ATOMIC_RELAXED);
    if (key >= VERSIONS || (key != expected && key != inside && key != 0)) {
        __atomic_fetch_add(&wrong_asked, 1, __ATOMIC_RELAXED);
    }
    expected = key;
    return key;
}

static void finish(struct Thread *t)
{
    char line[160];
    int n = snprintf(line, sizeof(line), "probe: keys entries %d asked %d wrong %llu %llu %llu\n",
                     entries > 1000, asked > 100, (unsigned long long)wrong,
                     (unsigned long long)wrong_asked, (unsigned long long)wrong_gs);

    mtvg_write(line, (size_t)n);
}

const MtvgTool mtvg_tool = {
    .name = "keys",
    .uses_gs = true,
    .instrument = instrument,
    .block_key = block_key,
    .thread_start = set_gs,
    .finish = finish,
};
