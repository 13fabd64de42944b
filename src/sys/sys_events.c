/* SPDX-License-Identifier: BSD-2-Clause
 * sys_events.c -- what the tool hears of system calls and mappings.
 * Role:    between sys_dispatch.c, aspace's event hook, and the tool's callbacks.
 * Locking: none; mapping events come with aspace_lock held, which gives them their order. */
#include "sys/sys_events.h"

#include "guest/aspace.h"
#include "jit/replace.h"
#include "sched/fastpath.h"
#include "sys/sys.h"

#include <string.h>

const MtvgTool *mt_sys_tool;

static void on_mapping(AspaceEvent what, GuestAddr start, u64 len, int prot, GuestAddr from)
{
    const MtvgTool *tool = mt_sys_tool;

    if (what == ASPACE_UNMAPPED && mt_replacing) {
        replace_forget(start, len);
    }
    if (what == ASPACE_MAPPED && tool->map != NULL) {
        tool->map(start, len, prot);
    } else if (what == ASPACE_UNMAPPED && tool->unmap != NULL) {
        tool->unmap(start, len);
    } else if (what == ASPACE_PROTECTED && tool->protect != NULL) {
        tool->protect(start, len, prot);
    } else if (what == ASPACE_MOVED && tool->moved != NULL) {
        tool->moved(from, start, len);
    }
}

static bool tell_mapping(const AspaceInfo *m, void *arg)
{
    on_mapping(ASPACE_MAPPED, m->start, m->end - m->start, m->prot, 0);
    return true;
}

void sys_events_init(Thread *t, const MtvgTool *tool)
{
    bool calls = tool->syscall_pre != NULL || tool->syscall_post != NULL ||
                 tool->kernel_reads != NULL || tool->kernel_writes != NULL;
    bool maps = tool->map != NULL || tool->unmap != NULL || tool->protect != NULL ||
                tool->moved != NULL || mt_replacing;

    if (calls || maps || tool->signal != NULL || tool->signal_return != NULL ||
        tool->exec != NULL || tool->exec_failed != NULL) {
        mt_sys_tool = tool;
    }
    /* The fast path goes on through the indirect-branch table, which knows version 0 only. */
    if (calls || tool->block_key != NULL) {
        fast_no_more(t);
    }
    if (maps) {
        aspace_foreach(tell_mapping, NULL);
        aspace_event_hook = on_mapping;
    }
    if (mt_replacing) {
        replace_look(0, ~0ull);
    }
}

/* --- system calls ----------------------------------------------------------------------------- */

typedef struct RangeArg {
    const MtvgSyscall *call;
    void (*fn)(const MtvgSyscall *c, u64 addr, u64 len);
} RangeArg;

static void tell_range(void *arg, u64 addr, u64 len)
{
    const RangeArg *r = arg;

    r->fn(r->call, addr, len);
}

static void describe(MtvgSyscall *c, Thread *t, u32 nr, const u64 a[6], i64 r)
{
    const char *name = nr < MT_SYS_MAX ? mt_sys_table[nr].name : NULL;

    *c = (MtvgSyscall){.thread = t, .name = name != NULL ? name : "unknown", .nr = nr, .result = r};
    memcpy(c->arg, a, sizeof(c->arg));
    c->known = sys_mem_ranges(nr, a, false, 0, NULL, NULL);
}

void sys_events_call_begins(Thread *t, u32 nr, const u64 a[6])
{
    const MtvgTool *tool = mt_sys_tool;
    MtvgSyscall c;
    RangeArg arg = {&c, tool->kernel_reads};

    describe(&c, t, nr, a, 0);
    if (tool->syscall_pre != NULL) {
        tool->syscall_pre(&c);
    }
    if (tool->kernel_reads != NULL) {
        sys_mem_ranges(nr, a, false, 0, tell_range, &arg);
    }
}

void sys_events_call_ended(Thread *t, u32 nr, const u64 a[6], i64 r)
{
    const MtvgTool *tool = mt_sys_tool;
    MtvgSyscall c;
    RangeArg arg = {&c, tool->kernel_writes};

    if (r == MT_SYS_RESTART || r == MT_SYS_STATE_SET || r == MT_SYS_EXIT) {
        return;
    }
    describe(&c, t, nr, a, r);
    if (tool->kernel_writes != NULL) {
        sys_mem_ranges(nr, a, true, r, tell_range, &arg);
    }
    if (tool->syscall_post != NULL) {
        tool->syscall_post(&c);
    }
}
