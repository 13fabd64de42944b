/* SPDX-License-Identifier: BSD-2-Clause
 * fastpath.c -- the fast domain (ARCHITECTURE.md, D5).
 * Role: translated code, and system calls that need nothing but to be done.
 *       Compiled with -mgeneral-regs-only; between cpu_xstate_restore() and cpu_xstate_save() the
 *       guest's vector state is live, so nothing outside this file may be called there but
 *       assembly (cache_enter, sys_window). There the thread is in WORLD_CODE, too: with the world
 *       halted it may read blocks, edges and tables, but change nothing that is shared. */
#include "sched/fastpath.h"

#include "base/log.h"
#include "base/options.h"
#include "base/safe.h"
#include "base/stats.h"
#include "jit/blockmap.h"
#include "jit/entry.h"
#include "jit/recover.h"
#include "jit/replace.h"
#include "jit/smc.h"
#include "jit/x87ip.h"
#include "sched/world_inl.h"
#include "sys/sys.h"

#include <errno.h>
#include <setjmp.h>
#include <sys/syscall.h>

bool mt_all_slow;

#define MT_MAX_WRITE (1ull << 31) /* no call writes more to one place */

typedef enum FastCall {
    FAST_SLOW,     /* not done: the run loop does it */
    FAST_CONTINUE, /* done: enter translated code again */
    FAST_OUTSIDE,  /* done, but the thread could not become INSIDE at once */
    FAST_FAULT,    /* a signal is pending, state complete */
} FastCall;

static bool is_hidden(u64 fd)
{
    return (u32)fd - (u32)mt_fd_hidden_lo < MT_FD_HIDDEN_COUNT;
}

static bool is_simple(u32 nr, const u64 a[6])
{
    const SysRow *row;

    if (nr >= MT_SYS_MAX || mt_debug_level[LOG_SYSCALL] != 0 || !mt_opts.fast_syscalls) {
        return false;
    }
    row = &mt_sys_table[nr];
    if (row->kind == SYS_PASS) {
        return true;
    }
    if (row->kind != SYS_FDS) {
        return false;
    }
    for (u32 mask = row->fd_args; mask != 0; mask &= mask - 1) {
        if (is_hidden(a[__builtin_ctz(mask)])) {
            return false;
        }
    }
    return true;
}

/* May the call write to a code page that the translator protects? Then it is made writable first:
 * the call must not fail half done. */
static bool may_write_code(u32 nr, const u64 a[6])
{
    u32 args;

    if (MT_LIKELY(!smc_any_protected())) {
        return false;
    }
    args = mt_sys_writes[nr];
    if (args & MT_WRITES_DEEP) {
        return true;
    }
    for (; args != 0; args &= args - 1) {
        if (smc_may_hit(a[__builtin_ctz(args)], MT_MAX_WRITE)) {
            return true;
        }
    }
    return false;
}

/* In WORLD_CODE, and again afterwards but for FAST_OUTSIDE. mt_cpu.rip is behind the instruction.
 * The slow path repeats what needs thought: not begun (a signal is pending, a kick on its way),
 * -EINTR (for the guest to see?), -EFAULT (a code page protected meanwhile?). */
static FastCall fast_syscall(Thread *t)
{
    CpuState *c = &mt_cpu;
    const u64 a[6] = {c->gpr[MT_RDI], c->gpr[MT_RSI], c->gpr[MT_RDX],
                      c->gpr[MT_R10], c->gpr[MT_R8],  c->gpr[MT_R9]};
    u32 nr = (u32)c->gpr[MT_RAX], epoch;
    i64 r;

    if (t->slow_call) {
        t->slow_call = mt_load_relaxed(&mt_all_slow);
        return FAST_SLOW;
    }
    if (!is_simple(nr, a) || may_write_code(nr, a) || x87ip_is_pending() ||
        !world_leave_from(t, WORLD_CODE)) {
        return FAST_SLOW;
    }
    c->x87_left = 1;
    epoch = smc_write_epoch();
    t->disturbed = false;
    r = world_may_kick() ? MT_SYS_RESTART : sys_window_settled(nr, a);
    if (r == MT_SYS_RESTART ||
        (r == -EFAULT && (may_write_code(nr, a) || smc_write_epoch() != epoch)) ||
        (r == -EINTR && sys_only_disturbed(t) && nr != SYS_close)) {
        /* Nothing has been done; to be tried again as an ordinary call, which does not end here
         * again: it may fail for good. */
        c->rip -= 2;
        t->slow_call = true;
        return FAST_OUTSIDE;
    }
    STAT_INC(SYSCALLS);
    STAT_INC(SYSCALLS_FAST);
    t->in_syscall = true;
    c->gpr[MT_RAX] = (u64)r;
    c->gpr[MT_RCX] = c->rip;
    c->gpr[MT_R11] = c->rflags;
    return world_try_enter_to(t, WORLD_CODE) ? FAST_CONTINUE : FAST_OUTSIDE;
}

/* In WORLD_CODE, and again afterwards. A function that the tool does, without saving the vector
 * state if it has a light one for it. */
static FastCall fast_replaced(Thread *t, const Edge *e)
{
    const Replaced *r;
    jmp_buf env;
    u64 ret, result;

    annot_left(e);
    if (edge_kind(e) != EDGE_REPLACE || block_key(edge_block(e)) != 0) {
        return FAST_SLOW;
    }
    r = replace_recent(edge_target(e));
    if (r == NULL || r->light == NULL || safe_read(&ret, mt_cpu.gpr[MT_RSP], sizeof(ret)) != 0 ||
        cpu_pending() != 0 /* Q5 in world_seq.c */ || !world_try_code_end(t)) {
        return FAST_SLOW;
    }
    mt_cpu.rip = edge_target(e);
    mt_cpu.key = 0;
    t->fault_env = &env;
    if (_setjmp(env) != 0) {
        t->fault_env = NULL;
        world_code_begin(t);
        return FAST_FAULT;
    }
    if (!r->light(mt_cpu.gpr, r->arg, &result)) {
        t->fault_env = NULL;
        world_code_begin(t);
        return FAST_SLOW;
    }
    t->fault_env = NULL;
    world_code_begin(t);
    mt_cpu.gpr[MT_RAX] = result;
    mt_cpu.gpr[MT_RSP] += 8;
    mt_cpu.rip = ret;
    return FAST_CONTINUE;
}

static void take_edge(Thread *t, const Edge *e)
{
    const EdgeTool *x;

    annot_left(e);
    mt_cpu.rip = edge_target(e);
    x = edge_tool(e);
    t->behind_n = x != NULL ? (u8)x->behind : 0;
    mt_cpu.edge_pairs = x ? x->pairs[0] | (u64)x->pairs[1] << 16 | (u64)x->pairs[2] << 32 : 0;
}

u32 fast_run(Thread *t, u64 host_pc)
{
    u32 reason;

    cpu_xstate_restore();
    world_code_begin(t);
    for (;;) {
        FastCall f;

        t->in_syscall = false;
        mt_cpu.resume = 0;
        mt_cpu.x87_at = 0;
        annot_foreign_begin();
        reason = cache_enter(host_pc);
        annot_foreign_end();
        if (reason == MT_EXIT_ABORT && mt_cpu.x87_at != 0) {
            recover_in_front(mt_cpu.x87_at);
            reason = MT_EXIT_SIGNAL;
            break;
        }
        if (reason == MT_EXIT_SYSCALL) {
            take_edge(t, edge_of((u32)mt_cpu.exit_arg));
            f = t->behind_n != 0 ? FAST_SLOW : fast_syscall(t);
        } else if (reason == MT_EXIT_EMULATE && mt_replacing) {
            f = fast_replaced(t, edge_of((u32)mt_cpu.exit_arg));
        } else {
            break;
        }
        if (f == FAST_FAULT) {
            reason = MT_EXIT_SIGNAL;
            break;
        }
        if (f == FAST_SLOW) {
            break;
        }
        if (f == FAST_OUTSIDE) {
            reason = MT_EXIT_OUTSIDE;
            break;
        }
        /* Through the indirect entry, which checks slot[1] and reloads rcx from slot[0]. */
        mt_cpu.slot[0] = mt_cpu.gpr[MT_RCX];
        mt_cpu.slot[1] = mt_cpu.rip;
        host_pc = ibt_lookup(mt_cpu.rip);
    }
    cpu_xstate_save();
    if (reason != MT_EXIT_OUTSIDE) {
        world_code_end(t);
    }
    if (mt_cpu.fix != 0) {
        recover_fix_stack();
    }
    x87ip_to_guest();
    return reason;
}
