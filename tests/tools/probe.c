/* SPDX-License-Identifier: BSD-2-Clause
 * probe.c -- a tool for the tests only: says what it is told of, one line an event, and changes
 * nothing. Linked into mtvg_probe, not into mtvg. tests/tool_probe.py compares what it says with
 * what probe_guest.c says that it does. */
#include "mtvg/tool.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void say(const char *format, ...)
{
    char line[200];
    va_list ap;
    int n;

    va_start(ap, format);
    n = vsnprintf(line, sizeof(line), format, ap);
    va_end(ap);
    mtvg_write(line, (size_t)n);
}

static void on_map(u64 start, u64 len, int prot)
{
    say("probe: map %" PRIx64 " %" PRIx64 " %d\n", start, len, prot);
}

static void on_unmap(u64 start, u64 len)
{
    say("probe: unmap %" PRIx64 " %" PRIx64 "\n", start, len);
}

static void on_protect(u64 start, u64 len, int prot)
{
    say("probe: protect %" PRIx64 " %" PRIx64 " %d\n", start, len, prot);
}

static void on_moved(u64 from, u64 to, u64 len)
{
    say("probe: moved %" PRIx64 " %" PRIx64 " %" PRIx64 "\n", from, to, len);
}

static void on_signal(struct Thread *t, int sig, u64 handler, u64 old_sp, u64 sp)
{
    say("probe: signal %d %" PRIx64 " %d\n", sig, handler, sp < old_sp && old_sp - sp < 65536);
}

static void on_signal_return(struct Thread *t)
{
    say("probe: signal_return\n");
}

static void on_exec(struct Thread *t)
{
    say("probe: exec\n");
}

static void on_exec_failed(struct Thread *t)
{
    say("probe: exec_failed\n");
}

static void on_pre(const MtvgSyscall *c)
{
    say("probe: pre %s %d %" PRIx64 " %" PRIx64 "\n", c->name, c->known, c->arg[0], c->arg[1]);
}

static void on_post(const MtvgSyscall *c)
{
    say("probe: post %s %" PRId64 "\n", c->name, c->result);
}

static void on_reads(const MtvgSyscall *c, u64 addr, u64 len)
{
    say("probe: reads %s %" PRIx64 " %" PRIx64 "\n", c->name, addr, len);
}

static void on_writes(const MtvgSyscall *c, u64 addr, u64 len)
{
    say("probe: writes %s %" PRIx64 " %" PRIx64 "\n", c->name, addr, len);
}

static void on_thread_start(struct Thread *t)
{
    say("probe: thread_start\n");
}

static void on_thread_end(struct Thread *t)
{
    say("probe: thread_end\n");
}

static void on_fork_child(struct Thread *t)
{
    say("probe: fork_child\n");
}

static u64 replaced(struct Thread *t, const u64 *gpr, u64 arg)
{
    say("probe: replaced %" PRIu64 " %" PRIu64 "\n", gpr[7], gpr[6]);
    return gpr[7] * 100 + gpr[6] + arg;
}

/* Returns something else for one length, which the guest looks for. */
static u64 replaced_move(struct Thread *t, const u64 *gpr, u64 arg)
{
    if (gpr[2] == 4321) {
        say("probe: memmove %" PRIu64 "\n", arg);
        return gpr[7] + 1;
    }
    return (u64)memmove((void *)gpr[7], (const void *)gpr[6], gpr[2]);
}

static void on_init(void)
{
    mtvg_replace("probe_g*", "replace_me", replaced, 5);
    mtvg_replace("libc.so.*", "labs", replaced, 0);
    mtvg_replace("probe_g*", "chosen", replaced, 6);
    mtvg_replace("probe_g*", "local_one", replaced, 7);
    mtvg_replace("libc.so.*", "memmove", replaced_move, 1);
    mtvg_replace("libc.so.*", "memcpy@GLIBC_2.2.5", replaced_move, 2);
    mtvg_replace("libc.so.*", "memcpy@GLIBC_2.999", replaced_move, 3);
}

const MtvgTool mtvg_tool = {
    .name = "probe",
    .init = on_init,
    .thread_start = on_thread_start,
    .thread_end = on_thread_end,
    .fork_child = on_fork_child,
    .map = on_map,
    .unmap = on_unmap,
    .protect = on_protect,
    .moved = on_moved,
    .signal = on_signal,
    .signal_return = on_signal_return,
    .exec = on_exec,
    .exec_failed = on_exec_failed,
    .syscall_pre = on_pre,
    .syscall_post = on_post,
    .kernel_reads = on_reads,
    .kernel_writes = on_writes,
};
