/* SPDX-License-Identifier: BSD-2-Clause
 * probe_behind.c -- a tool for the tests only: what it puts behind instructions that the runtime
 * does (system calls, far branches, ...) runs once each time that one has been executed, as its
 * count says. Linked into mtvg_behind. */
#include "mtvg/tool.h"

#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

enum { EMULATED, SYSCALLS, KINDS };

static __thread struct {
    u64 coded[KINDS];
    bool ending;
} own __attribute__((tls_model("local-exec")));
static u64 behind[KINDS];
static u64 gone; /* calls that nothing is behind: exit, rt_sigreturn */
static u64 wrong;

static void on_behind(const MtvgCall *c)
{
    __atomic_fetch_add(&behind[c->arg & 1], 1, __ATOMIC_RELAXED);
    /* A system call leaves the address behind it in rcx. */
    if ((c->arg & 1) == SYSCALLS && c->gpr[1] != c->pc + c->len) {
        __atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
    }
}

static void on_pre(const MtvgSyscall *c)
{
    bool ends = c->nr == SYS_exit || c->nr == SYS_exit_group;

    /* A call that is not begun, for something is pending, is told of again. */
    if (c->nr == SYS_rt_sigreturn || (ends && !own.ending)) {
        own.ending = ends;
        __atomic_fetch_add(&gone, 1, __ATOMIC_RELAXED);
    }
}

/* coded[kind]++ */
static void add_code(MtvgSb *sb, u32 i, u32 kind)
{
    MtvgPlace at = mtvg_at(MTVG_IN_TLS, MTVG_NO_VAL, mtvg_tls_offset(&own.coded[kind]));
    MtvgCode *c = mtvg_code(sb, i, MTVG_AFTER, NULL, 0);
    MtvgVal t = mtvg_code_temp(c);

    mtvg_code_load(c, t, 8, at);
    mtvg_code_op_const(c, MTVG_ADD, t, 1);
    mtvg_code_store(c, 8, at, t);
}

static void instrument(MtvgSb *sb)
{
    for (u32 i = 0; i < mtvg_sb_size(sb); i++) {
        const MtvgInsn *in = mtvg_sb_insn(sb, i);
        u32 kind = in->kind == MTVG_SYSCALL ? SYSCALLS : EMULATED;

        if (in->kind != MTVG_SYSCALL && in->kind != MTVG_EMULATED) {
            continue;
        }
        mtvg_count(sb, i, kind, 1);
        if (in->pc >> 1 & 1) {
            mtvg_call(sb, i, MTVG_AFTER, on_behind, kind);
        } else {
            add_code(sb, i, kind);
        }
    }
}

static void on_end(struct Thread *t)
{
    for (u32 k = 0; k < KINDS; k++) {
        __atomic_fetch_add(&behind[k], own.coded[k], __ATOMIC_RELAXED);
        own.coded[k] = 0;
    }
}

/* Its counts begin at 0, but it is still to come from its fork. */
static void on_fork_child(struct Thread *t)
{
    memset(&own, 0, sizeof(own));
    behind[EMULATED] = gone = 0;
    behind[SYSCALLS] = ~0ull;
}

static void finish(struct Thread *t)
{
    u64 done[MTVG_NCOUNTERS];
    char line[200];
    int n;

    on_end(t);
    mtvg_counters(done);
    n = snprintf(line, sizeof(line),
                 "probe: behind emulated %lld of %llu, calls %lld of %llu wrong %llu\n",
                 (long long)(behind[EMULATED] - done[EMULATED]), (unsigned long long)done[EMULATED],
                 (long long)(behind[SYSCALLS] + gone - done[SYSCALLS]),
                 (unsigned long long)done[SYSCALLS], (unsigned long long)wrong);
    mtvg_write(line, (size_t)n);
}

const MtvgTool mtvg_tool = {
    .name = "behind",
    .instrument = instrument,
    .thread_end = on_end,
    .syscall_pre = on_pre,
    .fork_child = on_fork_child,
    .finish = finish,
};
