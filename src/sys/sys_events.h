/* SPDX-License-Identifier: BSD-2-Clause
 * sys_events.h -- telling the tool of system calls, signals, exec, mappings.
 * Tools that want system calls set mt_all_slow: none is done by the fast path. */
#ifndef MT_SYS_EVENTS_H
#define MT_SYS_EVENTS_H

#include "mtvg/tool.h"
#include "sched/thread.h"

/* The tool, if it wants any of this; else NULL. */
extern const MtvgTool *mt_sys_tool;

/* Once, by the main thread t, before guest code runs and with the guest loaded: tells of its
 * mappings. */
void sys_events_init(Thread *t, const MtvgTool *tool);

void sys_events_call_begins(Thread *t, u32 nr, const u64 a[6]);
void sys_events_call_ended(Thread *t, u32 nr, const u64 a[6], i64 r);

static inline void sys_events_before(Thread *t, u32 nr, const u64 a[6])
{
    if (MT_UNLIKELY(mt_sys_tool != NULL)) {
        sys_events_call_begins(t, nr, a);
    }
}

static inline void sys_events_after(Thread *t, u32 nr, const u64 a[6], i64 r)
{
    if (MT_UNLIKELY(mt_sys_tool != NULL)) {
        sys_events_call_ended(t, nr, a, r);
    }
}

/* Before an attempt, and behind one that has failed. */
static inline void sys_events_exec(Thread *t, bool begins)
{
    if (mt_sys_tool != NULL && (begins ? mt_sys_tool->exec : mt_sys_tool->exec_failed) != NULL) {
        (begins ? mt_sys_tool->exec : mt_sys_tool->exec_failed)(t);
    }
}

static inline void sys_events_signal(Thread *t, int sig, u64 old_sp)
{
    if (mt_sys_tool != NULL && mt_sys_tool->signal != NULL) {
        mt_sys_tool->signal(t, sig, t->cpu->rip, old_sp, t->cpu->gpr[MT_RSP]);
    }
}

static inline void sys_events_signal_return(Thread *t)
{
    if (mt_sys_tool != NULL && mt_sys_tool->signal_return != NULL) {
        mt_sys_tool->signal_return(t);
    }
}

/* The ranges that a call touches (sys_mem.def). `writes`: after the call, r being the result.
 * Returns whether the call is in the table; fn NULL: no more than that. */
typedef void (*SysRangeFn)(void *arg, u64 addr, u64 len);
bool sys_mem_ranges(u32 nr, const u64 a[6], bool writes, i64 r, SysRangeFn fn, void *arg);

/* The ranges that a call that is about to be made may write to, or more. Returns as above. */
bool sys_mem_will_write(u32 nr, const u64 a[6], SysRangeFn fn, void *arg);

#endif
