/* SPDX-License-Identifier: BSD-2-Clause
 * ptrace_tracee.c -- the stops of a thread whose tracer runs under mtvg too (docs/PTRACE.md).
 * Role:       at each place where the kernel would stop a native thread, the guest's state is
 *             complete in mt_cpu; the thread says in its slot why it stops and executes an int3
 *             that the tracer's mtvg knows. What the tracer wants is in the slot when it goes on.
 * Invariants: Q1. a stop is made OUTSIDE the world and without locks: a tracer may leave it there.
 *             Q2. without a tracer (it has died, or detached in between) the int3 does nothing, and
 *                 the signal is delivered.
 * Signals:    ptrace_nobody_sig() runs in the host handler. */
#include "sys/ptrace_slot.h"

#include "base/atomics.h"
#include "jit/smc.h"
#include "jit/translate.h"
#include "sched/fastpath.h"
#include "sched/world.h"
#include "sys/sig_host.h"
#include "sys/sys.h"

#include <errno.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

enum {
    ERESTARTSYS = 512, /* what a tracer sees of a call that a signal will make begin again */
    TRAP_CODE_SYSCALL = SIGTRAP | 0x80,
};

PtraceProc mt_ptrace_proc;
__thread PtraceTls mt_ptrace __attribute__((tls_model("local-exec"))) = {
    .magic = PTRACE_SLOT_MAGIC,
    .proc = &mt_ptrace_proc,
};

void ptrace_nobody_sig(void)
{
    PtraceSlot *s = ptrace_slot();
    s->traced = 0;
    s->mode = PTRACE_MODE_CONT;
}

/* Translations may have been made of code that the tracer has changed since. */
static void forget_code(Thread *t)
{
    ptrace_slot()->dirty = 0;
    world_enter(t);
    translate_flush(t);
    world_leave(t);
}

/* What the tracer has changed that lies elsewhere, too. */
static void take_changes(Thread *t, PtraceSlot *s)
{
    if (s->changed) {
        s->changed = 0;
        mt_cpu.key = 0;
        cpu_set_fs_base(mt_cpu.fs_base);
        signal_set_mask(t, t->sigmask);
    }
    if (s->dirty) {
        forget_code(t);
    }
}

static void stop(Thread *t, PtraceAt at, i32 code)
{
    PtraceSlot *s = ptrace_slot();
    fast_no_more(t); /* from now on the tracer may want to see system calls */
    s->code = code;
    s->deliver = at == PTRACE_AT_SIGNAL ? s->info.si_signo : 0;
    s->mode = PTRACE_MODE_CONT;
    /* Compiler order is enough: the tracer looks when the kernel has stopped us. */
    *(volatile u32 *)&s->at = at;
    ptrace_stop_here();
    *(volatile u32 *)&s->at = PTRACE_AT_NOTHING; /* the tracer has done so, if there was one */
    take_changes(t, s);
}

static siginfo_t trap_info(int code)
{
    siginfo_t info;
    memset(&info, 0, sizeof(info));
    info.si_signo = SIGTRAP;
    info.si_code = code;
    info.si_pid = (pid_t)sys_raw(SYS_gettid, 0, 0, 0, 0, 0, 0);
    info.si_uid = (uid_t)sys_raw(SYS_getuid, 0, 0, 0, 0, 0, 0);
    return info;
}

/* ---- signals ---- */

bool ptrace_before_signal(Thread *t, siginfo_t *info)
{
    PtraceSlot *s = ptrace_slot();
    s->orig_rax = ~0ull;
    s->info = *info;
    stop(t, PTRACE_AT_SIGNAL, info->si_signo);
    if (s->deliver == 0) {
        return false;
    }
    if (s->deliver != s->info.si_signo) {
        memset(&s->info, 0,
               sizeof(s->info)); /* as the kernel: another signal, sent by the tracer */
        s->info.si_signo = s->deliver;
    }
    *info = s->info;
    return true;
}

void ptrace_after_frame(Thread *t)
{
    PtraceSlot *s = ptrace_slot();
    if (s->mode == PTRACE_MODE_STEP) {
        s->info = trap_info(SIGTRAP);
        stop(t, PTRACE_AT_EVENT, SIGTRAP);
    }
}

/* ---- system calls ---- */

bool ptrace_before_syscall(Thread *t)
{
    PtraceSlot *s = ptrace_slot();
    u32 mode = s->mode;
    s->orig_rax = (u32)mt_cpu.gpr[MT_RAX];
    mt_cpu.gpr[MT_RAX] = (u64)-ENOSYS;
    if (mode == PTRACE_MODE_SYSCALL || mode >= PTRACE_MODE_EMULATE) {
        mt_cpu.gpr[MT_RCX] = mt_cpu.rip;
        mt_cpu.gpr[MT_R11] = mt_cpu.rflags;
        s->info = trap_info(TRAP_CODE_SYSCALL);
        s->message = 1; /* PTRACE_EVENTMSG_SYSCALL_ENTRY */
        stop(t, PTRACE_AT_ENTRY, SIGTRAP);
    }
    return mode < PTRACE_MODE_EMULATE && (i32)s->orig_rax != -1;
}

void ptrace_after_syscall(Thread *t)
{
    PtraceSlot *s = ptrace_slot();
    if (s->event != 0) {
        i32 code = s->event;
        s->event = 0;
        s->info = trap_info(code);
        s->message = s->event_message;
        stop(t, PTRACE_AT_EVENT, code);
    }
    if (s->mode == PTRACE_MODE_SYSCALL) {
        s->info = trap_info(TRAP_CODE_SYSCALL);
        s->message = 2; /* PTRACE_EVENTMSG_SYSCALL_EXIT */
        stop(t, PTRACE_AT_EXIT, SIGTRAP);
    }
}

/* ---- requests ---- */

static PtraceRequest next_request(PtraceSlot *s)
{
    PtraceRequest r = s->request[0];
    s->nrequests--;
    memmove(s->request, s->request + 1, s->nrequests * sizeof(s->request[0]));
    return r;
}

void ptrace_serve(Thread *t)
{
    PtraceSlot *s = ptrace_slot();
    mt_fetch_and(&mt_cpu.pending, ~MT_PEND_PTRACE);
    if (s->dirty) {
        forget_code(t);
    }
    while (s->nrequests > 0 && s->nrequests <= PTRACE_REQUESTS) {
        PtraceRequest r = next_request(s);
        if (r.at == PTRACE_AT_SIGNAL) {
            if (!s->traced || ptrace_before_signal(t, &r.info)) {
                signal_deliver_seen(t, &r.info);
            }
        } else if (s->traced) {
            i32 code = r.info.si_signo;
            s->orig_rax = ~0ull;
            s->info = trap_info(code);
            stop(t, PTRACE_AT_EVENT, code);
        }
    }
}

/* ---- processes ---- */

void ptrace_start(Thread *t)
{
    PtraceSlot *s = ptrace_slot();
    i32 code = mt_ptrace_proc.start_code;
    if (code == 0) {
        return;
    }
    mt_ptrace_proc.start_code = 0;
    s->tid = t->tid;
    s->traced = 1;
    s->message = mt_ptrace_proc.start_message;
    s->orig_rax = SYS_execve;
    s->info = trap_info(code == SIGTRAP ? 0 : code);
    stop(t, code == SIGTRAP ? PTRACE_AT_SIGNAL : PTRACE_AT_EVENT, code);
    if (code == SIGTRAP && s->deliver != 0) {
        siginfo_t info = s->info;
        info.si_signo = s->deliver;
        signal_deliver_seen(t, &info);
    }
    s->orig_rax = SYS_execve;
    ptrace_after_syscall(t);
}

void ptrace_traceme(Thread *t)
{
    PtraceSlot *s = ptrace_slot();
    if (ptrace_peer_process((pid_t)sys_raw(SYS_getppid, 0, 0, 0, 0, 0, 0))) {
        s->tid = t->tid;
        s->traced = 1;
        fast_no_more(t);
    }
}

/* The slot is this thread's if the tracer has taken it at its first stop; else it is a copy of
 * another's. */
static void own_or_clear(void)
{
    PtraceSlot *s = ptrace_slot();
    if (s->tid != (i32)sys_raw(SYS_gettid, 0, 0, 0, 0, 0, 0)) {
        memset(s, 0, sizeof(*s));
    }
}

void ptrace_fork_child(void)
{
    PtraceSlot own = *ptrace_slot();
    memset(mt_ptrace.slot, 0, sizeof(mt_ptrace.slot));
    mt_ptrace.depth = 0;
    mt_ptrace.slot[0] = own;
    own_or_clear();
}

bool ptrace_vfork_begin(void)
{
    if (mt_ptrace.depth + 1 >= PTRACE_LEVELS) {
        return false;
    }
    memset(ptrace_slot() + 1, 0, sizeof(PtraceSlot));
    mt_ptrace.vforking = 1;
    return true;
}

void ptrace_vfork_child(void)
{
    mt_ptrace.vforking = 0;
    mt_ptrace.depth++;
    own_or_clear();
}

void ptrace_vfork_done(u32 depth)
{
    mt_ptrace.vforking = 0;
    mt_ptrace.depth = depth;
}
