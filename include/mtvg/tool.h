/* SPDX-License-Identifier: BSD-2-Clause
 * mtvg/tool.h -- what a tool is to the runtime, and the runtime to a tool. */
#ifndef MTVG_TOOL_H
#define MTVG_TOOL_H

#include "base/base.h"

struct Thread;

/* A tool: a table of callbacks, each of which may be NULL. They run in the slow domain. */
typedef struct MtvgTool {
    const char *name;

    /* Once, after the options have been read, before the guest's first instruction. */
    void (*init)(void);
    /* On the thread itself: before its first and after its last instruction. */
    void (*thread_start)(struct Thread *t);
    void (*thread_end)(struct Thread *t);
    /* In a fork's child: the one thread that is left. */
    void (*fork_child)(struct Thread *t);
    /* Once, at the end of the run; other threads may still be running. */
    void (*finish)(struct Thread *t);
} MtvgTool;

#endif
