/* SPDX-License-Identifier: BSD-2-Clause
 * signal.c -- the guest's dispositions and masks, and delivery (docs/SIGNALS.md).
 * Role:       owns SigTable, thread->sigmask, saved_sigmask, altstack. Takes what sig_handler.c put
 *             into the slot and does to the guest what the kernel would.
 * Invariants: G1. the host's action of each signal is what sig_handler_install() makes of the
 *                 guest's, whenever table_lock is free.
 *             G2. guest code runs only while the slot is empty and the host's mask is
 *                 SIG_HOST_MASK(thread->sigmask).
 *             G3. MT_PEND_SIGNAL is cleared before the slot is emptied, so a signal that comes in
 *                 between is deferred, and one that comes later sets the bit again.
 * Locking:    table_lock guards the tables; held across fork. Host handlers read single words of a
 *             table without it.
 * Signals:    only signal_handler_sig() and signal_dropped() may be called from a host handler. */
#include "sys/sig_host.h"

#include "base/atomics.h"
#include "base/heap.h"
#include "base/lockorder.h"
#include "base/log.h"
#include "base/stats.h"
#include "guest/aspace.h"
#include "jit/smc.h"
#include "sched/world.h"
#include "sys/ptrace_slot.h"
#include "sys/sigframe.h"
#include "sys/sys_events.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

#define HOST_ALTSTACK_SIZE (64 * 1024ul)
#define SIG_SETXID 33
#define MIN_ALTSTACK 2048 /* the kernel's MINSIGSTKSZ */
#define SS_AUTODISARM_FLAG (1u << 31)
/* Kernel: UAPI_SA_FLAGS on x86; others are cleared. */
#define SA_KNOWN_FLAGS 0xdc000807ull
#define TRAP_DB 1
#define TRAP_BP 3
#define TRAP_OF 4
#define TRAP_GP 13
#define TRAP_PF 14

bool (*signal_fault_hook)(Thread *t, PendingSignal *p);

static SigTable process_table;
static MtMutex table_lock = MT_MUTEX_INIT(RANK_SIGNAL);

static SigTable *table_of(const Thread *t)
{
    return t->sigtable ? t->sigtable : &process_table;
}

u64 signal_handler_sig(const Thread *t, int sig)
{
    /* Relaxed: the word alone matters. */
    return mt_load_relaxed(&table_of(t)->action[sig].handler);
}

SigMask signal_dropped(const Thread *t)
{
    return mt_load_relaxed(&table_of(t)->dropped) & ~t->sigmask; /* the word alone matters */
}

static void install_locked(SigTable *table, int sig)
{
    const GuestSigaction *act = &table->action[sig];
    SigMask rest = table->dropped & ~SIG_BIT(sig);
    mt_store_relaxed(&table->dropped, rest | (sig_handler_is_dropped(sig, act) ? SIG_BIT(sig) : 0));
    sig_handler_install(sig, act);
}

static void set_action_locked(Thread *t, int sig, const GuestSigaction *act)
{
    GuestSigaction *slot = &table_of(t)->action[sig];
    slot->flags = act->flags;
    slot->restorer = act->restorer;
    slot->mask = act->mask;
    mt_store_relaxed(&slot->handler, act->handler);
    install_locked(table_of(t), sig);
}

/* ---- start ---- */

void signal_init(Thread *main_thread)
{
    struct {
        u64 handler, flags, restorer;
        SigMask mask;
    } host;
    SigMask mask = 0;
    sig_handler_init();
    sig_handler_look_for_init();
    main_thread->altstack.flags = 0; /* exec leaves it so; only a new thread has SS_DISABLE */
    for (int sig = 1; sig <= MT_NSIG; sig++) {
        GuestSigaction *act = &process_table.action[sig];
        memset(act, 0, sizeof(*act));
        if (sys_raw(SYS_rt_sigaction, (u64)sig, 0, (u64)&host, sizeof(SigMask), 0, 0) == 0 &&
            host.handler == (u64)SIG_IGN) {
            act->handler = (u64)SIG_IGN;
        }
        install_locked(&process_table, sig);
    }
    sys_raw(SYS_rt_sigprocmask, SIG_BLOCK, 0, (u64)&mask, sizeof(mask), 0, 0);
    signal_set_mask(main_thread, mask);
}

/* The host's libc takes signal 33 (setxid) when it creates its first thread. Takes it back for the
 * guest's libc, in that thread, while it still has everything blocked. */
static void take_back_setxid(Thread *t)
{
    static bool done;
    mt_mutex_lock(&table_lock);
    if (!done) {
        done = true;
        sig_handler_install(SIG_SETXID, &table_of(t)->action[SIG_SETXID]);
    }
    mt_mutex_unlock(&table_lock);
}

/* Host alternate stacks of ended threads, kept for new ones: mapping and unmapping one costs a
 * sixth of a thread's life. Guarded by table_lock. */
enum { ALTSTACKS_KEPT = 32 };
static void *altstacks[ALTSTACKS_KEPT];
static u32 altstack_count;

static void *altstack_take(void)
{
    u8 *base = NULL;
    mt_mutex_lock(&table_lock);
    if (altstack_count > 0) {
        base = altstacks[--altstack_count];
    }
    mt_mutex_unlock(&table_lock);
    if (base != NULL) {
        return base;
    }
    base = mmap(NULL, HOST_ALTSTACK_SIZE + MT_PAGE_SIZE, PROT_NONE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) {
        return NULL;
    }
    if (mprotect(base + MT_PAGE_SIZE, HOST_ALTSTACK_SIZE, PROT_READ | PROT_WRITE)) {
        munmap(base, HOST_ALTSTACK_SIZE + MT_PAGE_SIZE);
        return NULL;
    }
    return base;
}

static void altstack_give(void *base)
{
    bool kept;
    mt_mutex_lock(&table_lock);
    kept = altstack_count < ALTSTACKS_KEPT;
    if (kept) {
        altstacks[altstack_count++] = base;
    }
    mt_mutex_unlock(&table_lock);
    if (!kept) {
        munmap(base, HOST_ALTSTACK_SIZE + MT_PAGE_SIZE);
    }
}

int signal_thread_init(Thread *t)
{
    u8 *base = altstack_take();
    if (base == NULL) {
        return -ENOMEM;
    }
    const stack_t ss = {.ss_sp = base + MT_PAGE_SIZE, .ss_size = HOST_ALTSTACK_SIZE};
    i64 r = sys_raw(SYS_sigaltstack, (u64)&ss, 0, 0, 0, 0, 0);
    if (r < 0) {
        altstack_give(base);
        return (int)r;
    }
    if (!t->is_main) {
        take_back_setxid(t);
    }
    sig_defer_thread_init();
    t->host_altstack = base;
    t->altstack = (GuestAltStack){.flags = SS_DISABLE};
    return 0;
}

void signal_thread_fini(Thread *t)
{
    const stack_t none = {.ss_flags = SS_DISABLE};
    siginfo_t info;
    signal_block_all();
    /* Signals for the process that this thread took and will not handle. */
    if (t->pending.full && !t->pending.synchronous) {
        sig_host_give_away(&t->pending.info);
    }
    t->pending.full = false;
    while (sig_defer_take(SIG_MASK_ALL, &info)) {
        sig_host_give_away(&info);
    }
    sig_defer_thread_fini();
    if (t->host_altstack) {
        sys_raw(SYS_sigaltstack, (u64)&none, 0, 0, 0, 0, 0);
        altstack_give(t->host_altstack);
        t->host_altstack = NULL;
    }
}

/* ---- masks ---- */

void signal_block_all(void)
{
    sig_host_setmask(SIG_MASK_ALL);
}

void signal_take_deferred(Thread *t)
{
    siginfo_t info;
    if (!sig_defer_any()) {
        return;
    }
    SigMask old = sig_host_setmask(SIG_MASK_ALL);
    if (!t->pending.full && sig_defer_take(~t->sigmask, &info)) {
        sig_fill_slot(t, &info, false);
        old = sig_mask_slot_full(t);
    }
    sig_host_setmask(old);
}

/* Makes the host's mask the guest's, unless a signal waits for delivery, which will do it. A signal
 * that fills the slot behind the check finds itself with an open mask; the next one is put back
 * by the handler (H1) and the mask closed. */
static void open_mask(Thread *t)
{
    sig_host_setmask(t->pending.full ? sig_mask_slot_full(t) : SIG_HOST_MASK(t->sigmask));
    signal_take_deferred(t);
}

void signal_set_mask(Thread *t, SigMask m)
{
    signal_store_mask(t, m);
    open_mask(t);
}

/* ---- raising ---- */

/* Fills the slot with a signal that cannot wait; one that is in it goes back. */
static void force(Thread *t, const siginfo_t *info)
{
    sig_host_setmask(SIG_MASK_ALL);
    if (t->pending.full) {
        sig_host_requeue(&t->pending.info);
        t->pending.full = false;
    }
    sig_fill_slot(t, info, true);
    sig_host_setmask(sig_mask_slot_full(t));
}

void signal_raise_sync(Thread *t, int sig, int si_code, u64 fault_addr, u64 trapno, u64 err)
{
    siginfo_t info;
    memset(&info, 0, sizeof(info));
    if (trapno == TRAP_PF && !cpu_is_canonical(fault_addr)) {
        /* Not canonical: the processor raises another exception, which has no address. */
        trapno = TRAP_GP;
        si_code = SI_KERNEL;
        fault_addr = 0;
        err = 0;
    }
    info.si_signo = sig;
    info.si_code = si_code;
    info.si_addr = (void *)fault_addr;
    t->pending.trapno = trapno;
    t->pending.err = err;
    if (trapno == TRAP_PF) {
        t->pending.cr2 = fault_addr;
    }
    force(t, &info);
}

/* The kernel's force_sig(SIGSEGV): no address, trapno and so on are those of the last fault. */
static void raise_bad_frame(Thread *t)
{
    siginfo_t info;
    memset(&info, 0, sizeof(info));
    info.si_signo = SIGSEGV;
    info.si_code = SI_KERNEL;
    force(t, &info);
}

/* ---- delivery ---- */

/* A signal that must not be delivered now: back to where it would be waiting natively. */
static void put_back(const siginfo_t *info)
{
    if (SIG_BIT(info->si_signo) & SIG_OPEN) {
        SigMask old = sig_host_setmask(SIG_MASK_ALL);
        sig_defer_add_sig(info);
        sig_host_setmask(old);
    } else {
        sig_host_requeue(info);
    }
}

/* The action to do now; SA_RESETHAND is done here. A synchronous signal that is blocked or ignored
 * gets its default action (kernel: force_sig_info_to_task). */
static GuestSigaction take_action(Thread *t, int sig, bool synchronous)
{
    GuestSigaction dfl = {0};
    mt_mutex_lock(&table_lock);
    GuestSigaction act = table_of(t)->action[sig];
    if (synchronous && (act.handler == (u64)SIG_IGN || (t->sigmask & SIG_BIT(sig)))) {
        act.handler = (u64)SIG_DFL;
        set_action_locked(t, sig, &act);
        signal_store_mask(t, t->sigmask & ~SIG_BIT(sig));
    } else if (act.handler > (u64)SIG_IGN && (act.flags & SA_RESETHAND)) {
        dfl = act;
        dfl.handler = (u64)SIG_DFL;
        set_action_locked(t, sig, &dfl);
    }
    mt_mutex_unlock(&table_lock);
    return act;
}

/* The frame lies in write-protected code pages perhaps: asks the translator for each page. */
static bool make_frame_writable(Thread *t, u64 frame)
{
    bool any = false;
    u64 end = frame + sizeof(SigFrame) + sigframe_xstate_size() + 2 * 64;
    if (!signal_fault_hook || frame >= aspace_task_size) { /* rsp was near 0, say */
        return false;
    }
    for (u64 page = MT_PAGE_DOWN(frame); page < end; page += MT_PAGE_SIZE) {
        PendingSignal p;
        memset(&p, 0, sizeof(p));
        p.synchronous = true;
        p.info.si_signo = SIGSEGV;
        p.info.si_code = SEGV_ACCERR;
        p.info.si_addr = (void *)(page < frame ? frame : page);
        p.trapno = TRAP_PF;
        p.err = 7; /* a user's write to a page that is there */
        any = signal_fault_hook(t, &p) || any;
    }
    return any;
}

static bool push_frame(Thread *t, const PendingSignal *p, const GuestSigaction *act)
{
    u64 bad;
    const SigFrameArgs args = {
        .act = act,
        .info = &p->info,
        .oldmask = t->saved_sigmask_valid ? t->saved_sigmask : t->sigmask,
        .trapno = p->trapno,
        .err = p->err,
        .cr2 = p->cr2,
        .is_fault = p->synchronous && p->info.si_signo != SIGSYS && p->trapno != TRAP_DB &&
                    p->trapno != TRAP_BP && p->trapno != TRAP_OF,
    };
    if (mt_cpu.xstate_raw) {
        cpu_xstate_restore(); /* the processor keeps less than the image holds */
    }
    cpu_xstate_save();
    for (u32 i = 0; sigframe_push(t->cpu, &t->altstack, &args, &bad) != 0; i++) {
        if (i == MT_EFAULT_REPEATS || !bad || !make_frame_writable(t, bad)) {
            return false;
        }
    }
    return true;
}

static void call_handler(Thread *t, PendingSignal *p, const GuestSigaction *act)
{
    int sig = p->info.si_signo;
    u64 old_sp = t->cpu->gpr[MT_RSP];
    if (!push_frame(t, p, act)) {
        MT_DEBUG(LOG_SIGNAL, 1, "signal %d: no room for a frame", sig);
        if (sig == SIGSEGV) {
            p->info.si_code = SI_KERNEL;
            p->trapno = 0;
            sig_default_die(t, p);
        }
        raise_bad_frame(t);
        return;
    }
    sys_events_signal(t, sig, old_sp);
    t->saved_sigmask_valid = false;
    signal_store_mask(t, t->sigmask | act->mask | (act->flags & SA_NODEFER ? 0 : SIG_BIT(sig)));
    if (t->altstack.flags & SS_AUTODISARM_FLAG) {
        t->altstack = (GuestAltStack){.flags = SS_DISABLE};
    }
    STAT_INC(SIGNALS);
    if (ptrace_is_traced()) {
        ptrace_after_frame(t);
    }
}

/* What the kernel does itself now, without asking a tracer once more. */
static void leave_to_kernel(const siginfo_t *info)
{
    ptrace_slot()->approved = info->si_signo;
    sig_host_requeue(info);
}

/* `seen`: by the tracer, if there is one. */
static void deliver_one(Thread *t, PendingSignal *p, bool seen)
{
    if (p->synchronous) {
        if (p->info.si_signo == SIGSEGV && signal_fault_hook && signal_fault_hook(t, p)) {
            return;
        }
    } else if (t->sigmask & SIG_BIT(p->info.si_signo)) {
        put_back(&p->info);
        return;
    }
    if (!seen && ptrace_is_traced()) {
        int raised = p->info.si_signo;
        if (!ptrace_before_signal(t, &p->info)) {
            return;
        }
        p->synchronous = p->synchronous && p->info.si_signo == raised;
        if (!p->synchronous && (t->sigmask & SIG_BIT(p->info.si_signo))) {
            put_back(&p->info);
            return;
        }
    }
    int sig = p->info.si_signo;
    if (sig == SIGSYS && p->synchronous) { /* by a seccomp filter: the call has not been done */
        p->info.si_call_addr = (void *)t->cpu->rip;
        t->cpu->gpr[MT_RAX] = (u32)p->info.si_syscall;
    }
    GuestSigaction act = take_action(t, sig, p->synchronous);
    MT_DEBUG(LOG_SIGNAL, 1, "signal %d code %d at 0x%lx: handler 0x%lx", sig, p->info.si_code,
             (unsigned long)t->cpu->rip, (unsigned long)act.handler);
    if (act.handler > (u64)SIG_IGN) {
        call_handler(t, p, &act);
    } else if (act.handler == (u64)SIG_DFL) {
        if (sig_default_fatal(sig)) {
            if (p->synchronous || !mt_is_init) {
                sig_default_die(t, p);
            }
        } else if (sig_default_of(sig) == SIG_DEFAULT_STOP) {
            leave_to_kernel(&p->info); /* the host's action is SIG_DFL by now */
        }
    }
}

void signal_deliver(Thread *t)
{
    for (;;) {
        __atomic_fetch_and(&t->cpu->pending, ~MT_PEND_SIGNAL, __ATOMIC_RELAXED);
        if (t->pending.full) {
            PendingSignal p = t->pending;
            t->pending.full = false;
            deliver_one(t, &p, false);
            open_mask(t);
            continue;
        }
        if (!t->saved_sigmask_valid) {
            return;
        }
        /* A temporary mask, and no handler came of it. */
        t->saved_sigmask_valid = false;
        signal_set_mask(t, t->saved_sigmask);
    }
}

void signal_deliver_seen(Thread *t, const siginfo_t *info)
{
    PendingSignal p = {.info = *info};
    deliver_one(t, &p, true);
    open_mask(t);
}

/* Since Linux 6.12 rt_sigreturn sets the alternate stack first, while the handler's stack pointer
 * counts: a handler that runs on it can't have it changed. */
static bool altstack_comes_first(void)
{
    struct utsname name;
    int major, minor;
    return uname(&name) != 0 || sscanf(name.release, "%d.%d", &major, &minor) != 2 || major > 6 ||
           (major == 6 && minor >= 12);
}

static i64 set_altstack(Thread *t, const GuestAltStack *ss, u64 sp)
{
    u32 mode = ss->flags & ~SS_AUTODISARM_FLAG;
    if (sigframe_on_altstack(&t->altstack, sp)) {
        return -EPERM;
    }
    if (mode != SS_DISABLE && mode != SS_ONSTACK && mode != 0) {
        return -EINVAL;
    }
    if (ss->sp == t->altstack.sp && ss->size == t->altstack.size &&
        ss->flags == t->altstack.flags) {
        return 0; /* however small: none at all, as exec leaves it, has no size */
    }
    if (mode == SS_DISABLE) {
        t->altstack = (GuestAltStack){.flags = ss->flags};
        return 0;
    }
    if (ss->size < MIN_ALTSTACK) {
        return -ENOMEM;
    }
    t->altstack = *ss;
    return 0;
}

static void restore_altstack(Thread *t, const GuestAltStack *ss, u64 handler_sp)
{
    /* The kernel does not look at the result either. */
    set_altstack(t, ss, altstack_comes_first() ? handler_sp : t->cpu->gpr[MT_RSP]);
}

i64 signal_return(Thread *t)
{
    SigMask mask;
    bool mask_valid;
    GuestAltStack alt;
    i32 bad_selector;
    u64 sp = t->cpu->gpr[MT_RSP];
    int bad = sigframe_pop(t->cpu, &mask, &mask_valid, &alt, &bad_selector);
    if (mask_valid) {
        signal_set_mask(t, mask);
    }
    if (bad) {
        raise_bad_frame(t);
        return MT_SYS_STATE_SET;
    }
    restore_altstack(t, &alt, sp);
    sys_events_signal_return(t);
    if (bad_selector >= 0) { /* the kernel's iret faults */
        signal_raise_sync(t, SIGSEGV, SI_KERNEL, 0, TRAP_GP, (u64)bad_selector);
    }
    return MT_SYS_STATE_SET;
}

/* ---- what system calls do ---- */

i64 signal_action(Thread *t, int sig, const GuestSigaction *act, GuestSigaction *old)
{
    if (sig < 1 || sig > MT_NSIG || (act && (SIG_BIT(sig) & SIG_UNSTOPPABLE))) {
        return -EINVAL;
    }
    mt_mutex_lock(&table_lock);
    if (old) {
        *old = table_of(t)->action[sig];
    }
    if (act) {
        GuestSigaction clean = *act;
        clean.flags &= SA_KNOWN_FLAGS;
        clean.mask &= ~SIG_UNSTOPPABLE;
        set_action_locked(t, sig, &clean);
        if (clean.handler == (u64)SIG_IGN) {
            sig_defer_drop(SIG_BIT(sig));
        }
    }
    mt_mutex_unlock(&table_lock);
    return 0;
}

i64 signal_altstack(Thread *t, const GuestAltStack *ss, GuestAltStack *old)
{
    u64 sp = t->cpu->gpr[MT_RSP];
    if (old) {
        *old = t->altstack;
        old->flags = sigframe_altstack_state(&t->altstack, sp) |
                     (t->altstack.flags & SS_AUTODISARM_FLAG);
    }
    if (!ss) {
        return 0;
    }
    return set_altstack(t, ss, sp);
}

void signal_clear_handlers(void)
{
    Thread *t = thread_self();
    mt_mutex_lock(&table_lock);
    for (int sig = 1; sig <= MT_NSIG; sig++) {
        GuestSigaction act = {.handler = table_of(t)->action[sig].handler};
        if (act.handler != (u64)SIG_IGN) {
            act.handler = (u64)SIG_DFL;
        }
        set_action_locked(t, sig, &act);
    }
    mt_mutex_unlock(&table_lock);
}

/* ---- exec, fork, vfork ---- */

/* Ignoring the kick's signal discards kicks that are on their way. */
static bool exec_ignores_kick(const Thread *t)
{
    return !t->is_vfork_child && signal_handler_sig(t, MT_SIG_KICK) == (u64)SIG_IGN;
}

static void forget_kick(Thread *t, void *arg)
{
    mt_store_relaxed(&t->kicked, 0);
}

void signal_before_exec(Thread *t)
{
    const struct {
        u64 handler, flags, restorer;
        SigMask mask;
    } ignore = {.handler = (u64)SIG_IGN};
    siginfo_t info;
    world_kernel_thread_changed(t); /* or the new program would die of a late kick */
    if (exec_ignores_kick(t)) {
        world_stop_empty(t);
    }
    signal_block_all();
    for (int sig = 1; sig <= MT_NSIG; sig++) {
        if ((SIG_BIT(sig) & SIG_OPEN) && signal_handler_sig(t, sig) == (u64)SIG_IGN) {
            sys_raw(SYS_rt_sigaction, (u64)sig, (u64)&ignore, 0, sizeof(SigMask), 0, 0);
        }
    }
    /* Pending signals survive exec: what we hold becomes the kernel's. One that finds the user's
     * queue full comes back to ours, hence the bound. */
    for (u32 n = sig_defer_count(); n > 0 && sig_defer_take(SIG_MASK_ALL, &info); n--) {
        sig_host_requeue(&info);
    }
    sig_host_setmask(t->sigmask);
}

void signal_after_failed_exec(Thread *t)
{
    mt_mutex_lock(&table_lock);
    for (int sig = 1; sig <= MT_NSIG; sig++) {
        if (SIG_BIT(sig) & SIG_OPEN) {
            sig_handler_install(sig, &table_of(t)->action[sig]);
        }
    }
    mt_mutex_unlock(&table_lock);
    if (exec_ignores_kick(t)) {
        world_foreach_thread(forget_kick, NULL);
        world_resume(t);
    }
    open_mask(t);
}

void signal_before_fork(Thread *t)
{
    mt_mutex_lock(&table_lock);
    sig_host_setmask(~signal_dropped(t));
}

void signal_after_fork_parent(Thread *t)
{
    mt_mutex_unlock(&table_lock);
    open_mask(t);
}

static void forget_pending(Thread *t)
{
    __atomic_fetch_and(&t->cpu->pending, ~MT_PEND_SIGNAL, __ATOMIC_RELAXED);
    t->pending.full = false;
}

void signal_after_fork_child(Thread *t)
{
    if (sig_handler_look_for_init()) {
        for (int sig = 1; sig <= MT_NSIG; sig++) {
            sig_handler_install(sig, &table_of(t)->action[sig]);
        }
    }
    mt_mutex_unlock(&table_lock); /* this thread took it before the fork */
    forget_pending(t);
    sig_defer_drop(SIG_MASK_ALL);
    open_mask(t);
}

int signal_vfork_save(Thread *t, SignalVfork *save)
{
    SigTable *copy = heap_alloc(sizeof(*copy));
    if (!copy) {
        return -ENOMEM;
    }
    signal_block_all();
    mt_mutex_lock(&table_lock);
    *copy = *table_of(t);
    mt_mutex_unlock(&table_lock);
    *save = (SignalVfork){
        .table = t->sigtable,
        .sigmask = t->sigmask,
        .saved_sigmask = t->saved_sigmask,
        .saved_sigmask_valid = t->saved_sigmask_valid,
        .altstack = t->altstack,
        .pending = t->pending,
        .deferred = sig_defer_hide(),
    };
    t->sigtable = copy;
    forget_pending(t);
    return 0;
}

void signal_vfork_child(Thread *t)
{
    open_mask(t);
}

void signal_vfork_restore(Thread *t, const SignalVfork *save)
{
    heap_free(t->sigtable);
    t->sigtable = save->table;
    signal_store_mask(t, save->sigmask);
    t->saved_sigmask = save->saved_sigmask;
    t->saved_sigmask_valid = save->saved_sigmask_valid;
    t->altstack = save->altstack;
    forget_pending(t);
    sig_defer_unhide(save->deferred);
    t->pending = save->pending;
    if (t->pending.full) {
        __atomic_fetch_or(&t->cpu->pending, MT_PEND_SIGNAL, __ATOMIC_RELAXED);
    }
    open_mask(t);
}
