/* SPDX-License-Identifier: BSD-2-Clause
 * tool_events.h -- telling the tool what happens. */
#ifndef MT_TOOL_EVENTS_H
#define MT_TOOL_EVENTS_H

#include "jit/instr.h"
#include "jit/replace.h"
#include "mtvg/tool.h"
#include "sched/thread.h"
#include "sched/world.h"

/* The tool of this run; set by main, never NULL afterwards. */
extern const MtvgTool *mt_tool;

/* Once, before guest code runs. */
static inline void tool_init(void)
{
    mt_tool_gs |= mt_tool->uses_gs;
    if (mt_tool->init != NULL) {
        mt_tool->init();
    }
    mt_instrument = mt_tool->instrument;
    mt_block_key = mt_tool->block_key;
    mt_lax_gprs = mt_tool->lax_gprs;
    mt_lax_flags = mt_tool->lax_flags;
    mt_light = mt_tool->light;
    if (mt_instrument != NULL) {
        counts_init();
    }
}

static inline void tool_thread_start(Thread *t)
{
    if (mt_instrument != NULL) {
        mt_cpu.call_entry = toolcall_entry;
        counts_thread_start();
    }
    if (mt_tool->thread_start != NULL) {
        mt_tool->thread_start(t);
    }
}

static inline void tool_thread_end(Thread *t)
{
    if (mt_tool->thread_end != NULL) {
        mt_tool->thread_end(t);
    }
    if (mt_instrument != NULL) {
        counts_thread_end();
    }
}

static inline void tool_fork_child(Thread *t)
{
    replace_after_fork_child();
    if (mt_instrument != NULL) {
        counts_after_fork_child();
    }
    if (mt_tool->fork_child != NULL) {
        mt_tool->fork_child(t);
    }
}

static inline void tool_finish(Thread *t)
{
    if (mt_tool->finish != NULL) {
        world_stop_empty(t); /* counts are exact when translated code has been left */
        mt_tool->finish(t);
        world_resume(t);
    }
}

#endif
