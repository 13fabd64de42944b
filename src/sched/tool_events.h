/* SPDX-License-Identifier: BSD-2-Clause
 * tool_events.h -- telling the tool what happens. */
#ifndef MT_TOOL_EVENTS_H
#define MT_TOOL_EVENTS_H

#include "mtvg/tool.h"
#include "sched/thread.h"

/* The tool of this run; set by main, never NULL afterwards. */
extern const MtvgTool *mt_tool;

static inline void tool_thread_start(Thread *t)
{
    if (mt_tool->thread_start != NULL) {
        mt_tool->thread_start(t);
    }
}

static inline void tool_thread_end(Thread *t)
{
    if (mt_tool->thread_end != NULL) {
        mt_tool->thread_end(t);
    }
}

static inline void tool_fork_child(Thread *t)
{
    if (mt_tool->fork_child != NULL) {
        mt_tool->fork_child(t);
    }
}

static inline void tool_finish(Thread *t)
{
    if (mt_tool->finish != NULL) {
        mt_tool->finish(t);
    }
}

#endif
