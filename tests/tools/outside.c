/* SPDX-License-Identifier: BSD-2-Clause
 * outside.c -- a tool that is built outside of the tree, with what `cmake --install` puts there and
 * nothing else (tests/tool_outside.py). Checks what it is told of liveness and operands, reads the
 * guest's memory, and says what has come to pass: each kind of event that a run of bash with
 * children has. */
#include <mtvg/tool.h>

#include <stdio.h>
#include <string.h>

enum { INSNS, LOADED, STORED };

#define ALL_GPRS 0xffffu

static u64 wrong, dead_gprs, dead_flags, accesses, implicit, unreadable;
static u64 starts, ends, maps, unmaps, pre, post, in_bytes, out_bytes, signals, replaced;

static bool forked;

static void add(u64 *to, u64 n)
{
    __atomic_fetch_add(to, n, __ATOMIC_RELAXED);
}

static void check(bool ok)
{
    add(&wrong, !ok);
}

static void check_liveness(const MtvgSb *sb, u32 n)
{
    check(mtvg_sb_live_gprs(sb, n) == ALL_GPRS && mtvg_sb_live_flags(sb, n) == MTVG_FL_ALL);
    for (u32 i = 0; i < n; i++) {
        const MtvgInsn *in = mtvg_sb_insn(sb, i);
        u16 gprs = mtvg_sb_live_gprs(sb, i), gprs_after = mtvg_sb_live_gprs(sb, i + 1);
        u8 flags = mtvg_sb_live_flags(sb, i), flags_after = mtvg_sb_live_flags(sb, i + 1);

        check((in->gprs_read & ~gprs) == 0 && (in->flags_read & ~flags) == 0);
        check((gprs_after & ~in->gprs_written & ~gprs) == 0);
        check((flags_after & ~in->flags_written & ~flags) == 0);
        if (in->kind == MTVG_JCC || (in->flags & MTVG_I_FAULTS)) {
            check(gprs == ALL_GPRS && flags == MTVG_FL_ALL);
        }
        add(&dead_gprs, gprs != ALL_GPRS);
        add(&dead_flags, flags != MTVG_FL_ALL);
    }
}

/* What is about to be read can be read. */
static void on_access(const MtvgCall *c)
{
    MtvgAccess a[MTVG_MAX_ACCESSES];
    unsigned char bytes[64];

    for (int k = 0; k < c->nmems; k++) {
        int n = mtvg_resolve(c, &c->mems[k], a);

        for (int i = 0; i < n; i++) {
            u64 size = a[i].size < sizeof(bytes) ? a[i].size : sizeof(bytes);

            add(&accesses, 1);
            add(&unreadable, mtvg_read_memory(bytes, a[i].addr, size) != 0);
        }
    }
}

static void instrument(MtvgSb *sb)
{
    u32 n = mtvg_sb_size(sb);
    MtvgMem mems[MTVG_MAX_MEMS];

    check(n > 0 && mtvg_sb_insn(sb, 0)->pc == mtvg_sb_pc(sb) && mtvg_sb_key(sb) == 0);
    check_liveness(sb, n);
    for (u32 i = 0; i < n; i++) {
        int nmems = mtvg_sb_mems(sb, i, mems);

        mtvg_count(sb, i, INSNS, 1);
        for (int k = 0; k < nmems; k++) {
            check(mems[k].read || mems[k].write);
            mtvg_count(sb, i, LOADED, mems[k].read);
            mtvg_count(sb, i, STORED, mems[k].write);
            add(&implicit, mtvg_sb_insn(sb, i)->kind == MTVG_CALL && mems[k].write);
        }
        if (nmems > 0 && i % 16 == 0) {
            mtvg_call(sb, i, MTVG_BEFORE, on_access, 0);
        }
    }
}

static u64 my_labs(struct Thread *t, const u64 *gpr, u64 arg)
{
    add(&replaced, 1);
    return (i64)gpr[7] < 0 ? -gpr[7] : gpr[7];
}

static void on_init(void)
{
    mtvg_replace("libc.so.*", "labs", my_labs, 0);
}

static void on_thread_start(struct Thread *t)
{
    add(&starts, 1);
}

static void on_thread_end(struct Thread *t)
{
    add(&ends, 1);
}

static void on_fork_child(struct Thread *t)
{
    mtvg_write("outside: forked\n", 16);
    forked = true;
}

static void on_map(u64 start, u64 len, int prot)
{
    add(&maps, 1);
}

static void on_unmap(u64 start, u64 len)
{
    add(&unmaps, 1);
}

static void on_signal(struct Thread *t, int sig, u64 handler, u64 old_sp, u64 sp)
{
    check(mtvg_gprs(t)[4] == sp);
    add(&signals, 1);
}

static void on_pre(const MtvgSyscall *c)
{
    add(&pre, 1);
}

static void on_post(const MtvgSyscall *c)
{
    add(&post, 1);
}

static void on_reads(const MtvgSyscall *c, u64 addr, u64 len)
{
    add(&in_bytes, len);
}

static void on_writes(const MtvgSyscall *c, u64 addr, u64 len)
{
    add(&out_bytes, len);
}

static void say(const char *what, bool yes)
{
    char line[80];

    mtvg_write(line, (u64)snprintf(line, sizeof(line), "outside: %s %d\n", what, yes));
}

static void finish(struct Thread *t)
{
    u64 c[MTVG_NCOUNTERS];

    if (forked) {
        return;
    }
    mtvg_counters(c);
    mtvg_message("%llu instructions, %llu loads, %llu stores", (unsigned long long)c[INSNS],
                 (unsigned long long)c[LOADED], (unsigned long long)c[STORED]);
    say("wrong", wrong != 0);
    say("dead", dead_gprs > 100 && dead_flags > 100);
    say("accesses", accesses > 1000 && unreadable == 0 && implicit > 10);
    say("counts", c[INSNS] > c[LOADED] && c[LOADED] > c[STORED] && c[STORED] > 1000);
    say("threads", starts == 1 && ends <= 1);
    say("maps", maps > 10 && unmaps > 0);
    say("calls", pre > post && post > 10 && in_bytes > 100 && out_bytes > 100);
    say("signals", signals > 0);
    say("replaced", replaced > 0);
}

const MtvgTool mtvg_tool = {
    .name = "outside",
    .init = on_init,
    .instrument = instrument,
    .thread_start = on_thread_start,
    .thread_end = on_thread_end,
    .fork_child = on_fork_child,
    .map = on_map,
    .unmap = on_unmap,
    .signal = on_signal,
    .syscall_pre = on_pre,
    .syscall_post = on_post,
    .kernel_reads = on_reads,
    .kernel_writes = on_writes,
    .finish = finish,
};
