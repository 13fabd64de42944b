/* SPDX-License-Identifier: BSD-2-Clause
 * sys_dispatch.c -- one guest system call, from registers to registers.
 * Role:       what the fast path (sched/fastpath.c) does not do itself; knows the table, not the
 *             families.
 * Invariants: P1. a call that the guest did not ask for twice takes effect once: it is repeated
 *                 only after -EINTR due to a signal that is not for the guest, or after -EFAULT.
 *             P2. mt_cpu.rip moves back onto the instruction only if nothing has been done.
 * Locking:    none; the thread is outside the world. */
#include "sys/sys.h"

#include "base/log.h"
#include "base/valgrind_annot.h"
#include "base/stats.h"
#include "jit/smc.h"
#include "sched/world_inl.h"
#include "sys/ptrace_slot.h"
#include "sys/sys_events.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <sys/syscall.h>

#define SYSCALL_INSN_BYTES 2

#define X32_BIT 0x40000000u
#define ERESTARTSYS_CODE 512

bool (*sys_efault_hook)(Thread *t);

i64 sys_window(u64 nr, const u64 a[6])
{
    if (world_may_kick()) {
        world_wait_kicks(thread_self());
    }
    return sys_window_settled(nr, a);
}

static void allow_range(void *arg, u64 addr, u64 len)
{
    bool *any = arg;
    *any = smc_allow_write(addr, len) || *any;
}

bool sys_allow_writes(u64 nr, const u64 a[6], bool *known)
{
    bool any = false;
    *known = true;
    if (MT_LIKELY(!smc_any_protected())) {
        return false;
    }
    *known = sys_mem_will_write((u32)nr, a, allow_range, &any);
    for (int i = 0; i < 6 && !*known; i++) {
        allow_range(&any, a[i], MT_PAGE_SIZE);
    }
    return any;
}

bool sys_efault_is_ours(Thread *t, u64 nr, const u64 a[6], u32 epoch)
{
    bool known;
    return sys_allow_writes(nr, a, &known) || smc_write_epoch() != epoch ||
           (!known && sys_efault_hook && sys_efault_hook(t));
}

i64 sys_pass(Thread *t, u64 nr, const u64 a[6])
{
    bool known;
    u32 faults = 0;
    for (;;) {
        sys_allow_writes(nr, a, &known);
        u32 epoch = smc_write_epoch();
        t->disturbed = false;
        i64 r = sys_window(nr, a);
        if (MT_LIKELY(r != -EINTR && r != -EFAULT)) {
            return r;
        }
        if (r == -EFAULT) {
            if (faults++ == MT_EFAULT_REPEATS || !sys_efault_is_ours(t, nr, a, epoch)) {
                return r;
            }
        } else {
            if (!sys_only_disturbed(t) || nr == SYS_close) {
                return r;
            }
        }
    }
}

/* Says once for each number that there is no row for it. */
static void warn_unknown(u32 nr)
{
    static _Atomic u64 said[MT_SYS_MAX / 64 + 1]; /* the last word: everything above */
    u32 bit = nr < MT_SYS_MAX ? nr : MT_SYS_MAX;
    u64 mask = 1ull << (bit % 64);
    /* Relaxed: nothing but the line depends on it. */
    if (!(atomic_fetch_or_explicit(&said[bit / 64], mask, memory_order_relaxed) & mask)) {
        mt_umsg("Warning: system call %" PRIu32 " is unknown; it is passed to the kernel as it is.",
                nr);
    }
}

static i64 do_call(Thread *t, u32 nr, const u64 args[6])
{
    static const SysRow unknown;
    const SysRow *row = nr < MT_SYS_MAX ? &mt_sys_table[nr] : &unknown;
    u64 a[6];
    for (u32 i = 0; i < 6; i++) {
        a[i] = row->fd_args >> i & 1 ? fd_of_guest(args[i]) : args[i];
    }
    switch ((SysKind)row->kind) {
    case SYS_HANDLED: return row->handler(t, a);
    case SYS_ENOSYS: return -ENOSYS;
    case SYS_FDS:
    case SYS_PASS: return sys_pass(t, nr, a);
    case SYS_UNKNOWN: break;
    }
    if (nr & X32_BIT) {
        return -ENOSYS; /* the x32 ABI: its mmap and clone would pass us by */
    }
    warn_unknown(nr);
    return sys_pass(t, nr, a);
}

static const char *name_of(u32 nr)
{
    return nr < MT_SYS_MAX && mt_sys_table[nr].name ? mt_sys_table[nr].name : "unknown";
}

static void trace_call(u32 nr, const u64 a[6])
{
    log_debug(LOG_SYSCALL,
              "%s[%" PRIu32 "](%#" PRIx64 ", %#" PRIx64 ", %#" PRIx64 ", %#" PRIx64 ", %#" PRIx64
              ", %#" PRIx64 ") ...",
              name_of(nr), nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static void trace_result(u32 nr, i64 r)
{
    switch (r) {
    case MT_SYS_RESTART:
        log_debug(LOG_SYSCALL, "%s: not begun, something is pending", name_of(nr));
        break;
    case MT_SYS_STATE_SET:
        log_debug(LOG_SYSCALL, "%s = new state, rip %#" PRIx64, name_of(nr), mt_cpu.rip);
        break;
    case MT_SYS_EXIT: log_debug(LOG_SYSCALL, "%s: the thread ends", name_of(nr)); break;
    default: log_debug(LOG_SYSCALL, "%s = %#" PRIx64 " (%" PRId64 ")", name_of(nr), (u64)r, r);
    }
}

i64 sys_call(Thread *t, u32 nr, const u64 a[6])
{
    sys_events_before(t, nr, a);
    t->doing = nr + 1;
    i64 r = do_call(t, nr, a);
    t->doing = 0;
    sys_events_after(t, nr, a, r);
    return r;
}

/* A call that has not begun, as the thread's tracer sees it natively: it ends, and begins anew. */
static void show_restart(Thread *t)
{
    mt_cpu.gpr[MT_RAX] = (u64)-ERESTARTSYS_CODE;
    ptrace_after_syscall(t);
    mt_cpu.gpr[MT_RAX] = ptrace_slot()->orig_rax;
}

void sys_dispatch(Thread *t)
{
    CpuState *c = &mt_cpu;
    bool traced = ptrace_is_traced(), wanted = !traced || ptrace_before_syscall(t);
    /* The kernel looks at the low half only. */
    u32 nr = (u32)(traced ? ptrace_slot()->orig_rax : c->gpr[MT_RAX]);
    const u64 a[6] = {c->gpr[MT_RDI], c->gpr[MT_RSI], c->gpr[MT_RDX],
                      c->gpr[MT_R10], c->gpr[MT_R8],  c->gpr[MT_R9]};
    STAT_INC(SYSCALLS);
    t->in_syscall = true;
    bool tracing = MT_UNLIKELY(mt_debug_level[LOG_SYSCALL] >= 1);
    if (tracing) {
        trace_call(nr, a);
    }
    i64 r = wanted ? sys_call(t, nr, a) : (i64)c->gpr[MT_RAX];
    if (tracing) {
        trace_result(nr, r);
    }
    switch (r) {
    case MT_SYS_RESTART:
        if (traced) {
            show_restart(t);
        }
        c->rip -= SYSCALL_INSN_BYTES;
        t->in_syscall = false;
        return;
    case MT_SYS_STATE_SET: t->in_syscall = false; break;
    default: /* MT_SYS_EXIT too: nobody looks at the registers any more */
        c->gpr[MT_RAX] = (u64)r;
        c->gpr[MT_RCX] = c->rip;
        c->gpr[MT_R11] = c->rflags;
        break;
    }
    /* Not `traced`: PTRACE_TRACEME, or a child. */
    if (ptrace_is_traced() && r != MT_SYS_EXIT) {
        ptrace_after_syscall(t);
    }
}
