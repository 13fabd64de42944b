/* SPDX-License-Identifier: BSD-2-Clause
 * sys_ptrace.c -- ptrace.
 * Role:       of other processes: ptrace_request.c. A process that shares the guest's memory (clone
 *             with CLONE_VM) may trace its threads, as leak checkers do to find what their
 *             registers and stacks point to. What the kernel says of a thread that is in the
 *             runtime are the runtime's registers; the guest's are in its CpuState.
 *             Nor may a thread stop where it holds a lock of the runtime: its tracer shares them.
 * Locking:    the tracee is stopped: its CpuState stays as it is while it is read. */
#include "base/safe.h"
#include "jit/cache.h"
#include "sched/world.h"
#include "sys/ptrace_peer.h"
#include "sys/signal.h"
#include "sys/sys.h"

#include <elf.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>

typedef struct FindThread {
    pid_t tid;
    const CpuState *cpu;
} FindThread;

static void match_thread(Thread *t, void *arg)
{
    FindThread *f = arg;
    f->cpu = mt_load_relaxed(&t->tid) == f->tid ? t->cpu : f->cpu;
}

/* The state of the thread of this memory that has this number; NULL: another process's. */
static const CpuState *find_cpu(pid_t tid)
{
    FindThread f = {.tid = tid};
    world_foreach_thread(match_thread, &f);
    return f.cpu;
}

/* In translated code all registers are the guest's already. */
static void guest_registers(const CpuState *c, struct user_regs_struct *r)
{
    if (!cache_contains(r->rip)) {
        const u64 *g = c->gpr;
        r->rax = g[MT_RAX], r->rcx = g[MT_RCX], r->rdx = g[MT_RDX], r->rbx = g[MT_RBX];
        r->rsp = g[MT_RSP], r->rbp = g[MT_RBP], r->rsi = g[MT_RSI], r->rdi = g[MT_RDI];
        r->r8 = g[MT_R8], r->r9 = g[MT_R9], r->r10 = g[MT_R10], r->r11 = g[MT_R11];
        r->r12 = g[MT_R12], r->r13 = g[MT_R13], r->r14 = g[MT_R14], r->r15 = g[MT_R15];
        r->rip = c->rip;
        r->eflags = c->rflags;
    }
    r->fs_base = c->fs_base;
    r->gs_base = c->gs_base;
}

/* The kernel has filled n bytes of registers at `at`. */
static void replace_registers(pid_t tid, u64 at, size_t n)
{
    struct user_regs_struct r;
    const CpuState *c = find_cpu(tid);
    if (c == NULL || n < sizeof(r) || safe_read(&r, at, sizeof(r)) != 0) {
        return;
    }
    guest_registers(c, &r);
    safe_write(at, &r, sizeof(r));
}

/* The same for the XSAVE area; a thread in translated code has its own in the registers. */
static void replace_xstate(pid_t tid, u64 at, size_t n)
{
    const CpuState *c = find_cpu(tid);
    if (c != NULL && c->xstate_saved) {
        safe_write(at, c->xsave, n < mt_xsave.size ? n : mt_xsave.size);
    }
}

#define STOP_STEP_NS 100000
#define STOP_STEPS \
    1000 /* a tenth of a second: a parent of a vfork child does not stop before that ends */

static i64 look_for_stop(pid_t tid, u64 flags, siginfo_t *si)
{
    si->si_pid = 0;
    return sys_raw(SYS_waitid, P_PID, (u64)tid, (u64)si,
                   WSTOPPED | WEXITED | WNOHANG | __WALL | flags, 0, 0);
}

/* The kernel stops the tracee as soon as it has a processor; what the guest's wait would find
 * stays. A kick that was on its way may be first: that stop is not the guest's, the one asked for
 * comes behind it. */
static void await_stop(pid_t tid)
{
    struct timespec step = {0, STOP_STEP_NS};
    siginfo_t si;

    for (u32 i = 0; i < STOP_STEPS; i++) {
        if (look_for_stop(tid, WNOWAIT, &si) != 0) {
            return;
        }
        if (si.si_pid != 0) {
            if (si.si_code != CLD_TRAPPED || si.si_status != MT_SIG_KICK) {
                return;
            }
            look_for_stop(tid, 0, &si);
            sys_raw(SYS_ptrace, PTRACE_CONT, (u64)tid, 0, MT_SIG_KICK, 0, 0);
        }
        nanosleep(&step, NULL);
    }
}

/* A request that stops a thread of this memory, all others being quiet. */
static i64 stop_quiet(Thread *t, void *arg)
{
    const u64 *a = arg;
    i64 r = sys_raw(SYS_ptrace, a[0], a[1], a[2], a[3], 0, 0);
    if (r == 0) {
        await_stop((pid_t)a[1]);
        world_freeze(t, (pid_t)a[1]);
    }
    return r;
}

static i64 request(Thread *t, const u64 a[6])
{
    if (a[0] == PTRACE_ATTACH || a[0] == PTRACE_INTERRUPT) {
        u64 copy[4] = {a[0], a[1], a[2], a[3]};
        return sched_quiesce(t, stop_quiet, copy);
    }
    if (ptrace_resumes(a[0]) || a[0] == PTRACE_KILL) {
        /* At once: the tracee may be handed the turn, and a kick must not send the tracer to wait
         * for it. */
        world_thaw(t, (pid_t)a[1]);
        return sys_raw(SYS_ptrace, a[0], a[1], a[2], a[3], 0, 0);
    }
    return sys_pass(t, SYS_ptrace, a);
}

bool ptrace_shares_memory(pid_t tid)
{
    return find_cpu(tid) != NULL;
}

i64 sys_ptrace(Thread *t, const u64 a[6])
{
    struct iovec v;
    pid_t tid = (pid_t)a[1];
    if (a[0] == PTRACE_TRACEME || !ptrace_shares_memory(tid)) {
        return ptrace_request(t, a);
    }
    i64 r = request(t, a);
    if (r == 0 && a[0] == PTRACE_GETREGS) {
        replace_registers(tid, a[3], sizeof(struct user_regs_struct));
    } else if (r == 0 && a[0] == PTRACE_GETREGSET && safe_read(&v, a[3], sizeof(v)) == 0) {
        if (a[2] == NT_PRSTATUS) {
            replace_registers(tid, (u64)v.iov_base, v.iov_len);
        } else if (a[2] == NT_X86_XSTATE) {
            replace_xstate(tid, (u64)v.iov_base, v.iov_len);
        }
    }
    return r;
}
