/* SPDX-License-Identifier: BSD-2-Clause
 * process.c -- fork, vfork, and the end of the process.
 * fork:  the world is stopped and the runtime's locks are taken, so that the child finds its one
 *        copy of everything consistent; it then gets a code cache of its own.
 * vfork: the child runs in the parent's memory, on the parent's Thread object and TLS (the parent
 *        sleeps in the kernel meanwhile), but on another host stack. What the child changes of the
 *        Thread and of the dispositions is put back when the parent goes on.
 *        A child with CLONE_VM but without CLONE_VFORK gets a lender thread as its "parent".
 * Locking: order: world (stopped), aspace_lock, smc.c's, the signal table's, the world's own, the
 *          heap's, then libc's (fork(3) takes them). */
#include "sched/clone.h"

#include "base/atomics.h"
#include "base/futex.h"
#include "base/heap.h"
#include "base/log.h"
#include "base/options.h"
#include "base/safe.h"
#include "base/stats.h"
#include "guest/aspace.h"
#include "jit/blockmap.h"
#include "jit/cache.h"
#include "jit/perfmap.h"
#include "jit/smc.h"
#include "sched/childcode.h"
#include "sched/robust.h"
#include "sched/runloop.h"
#include "sched/tool_events.h"
#include "sched/world.h"
#include "sys/ptrace_slot.h"
#include "sys/signal.h"
#include "sys/sys.h"

#include <errno.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MT_VFORK_STACK (256u * 1024)
#define MT_FORK_SECONDS 5

typedef struct ChildArgs {
    Thread *t;
    u64 flags, ptid, ctid, stack, tls;
    CacheCopy cache; /* fork: the child's code cache */
    bool bare;       /* fork: the child can't rely on libc's locks */
    i64 *pid_out;    /* vfork_process() */
    u32 *done;
    u32 *go; /* fork, with a seed: see hold_child() */
} ChildArgs;

static void write_tid(u64 addr, pid_t tid)
{
    u32 v = (u32)tid;

    (void)!smc_safe_write(addr, &v, 4);
}

/* The child's registers: the system call returns 0. */
static void child_state(const ChildArgs *a)
{
    Thread *t = a->t;

    /* Relaxed: a kick that reads the old number finds nobody, or a sleeping parent; the world is
     * stopped (fork), or the stopper looks again (vfork). */
    mt_store_relaxed(&t->tid, (pid_t)syscall(SYS_gettid));
    mt_store_relaxed(&t->tgid, (pid_t)syscall(SYS_getpid));
    if (a->stack != 0) {
        mt_cpu.gpr[MT_RSP] = a->stack;
    }
    if (a->flags & CLONE_SETTLS) {
        cpu_set_fs_base(a->tls);
    }
    t->clear_child_tid = (a->flags & CLONE_CHILD_CLEARTID) ? a->ctid : 0;
}

/* A bad address is the guest's own affair; but only where SIGSEGV is not blocked and no lock is
 * held. */
static void store_child_tid(const ChildArgs *a)
{
    if (a->flags & CLONE_CHILD_SETTID) {
        write_tid(a->ctid, a->t->tid);
    }
}

/* --sched-seed: which thread the signal of a child's end goes to depends on who has it blocked. The
 * forking thread has until its fork is over: the child does not begin before. (It does not sleep
 * meanwhile, for then it would count as settled.) */
static void hold_child(ChildArgs *a)
{
    void *p;

    if (mt_opts.sched_seed != NULL && (a->flags & CLONE_VFORK) == 0) {
        p = mmap(NULL, sizeof(*a->go), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        a->go = p != MAP_FAILED ? p : NULL;
    }
}

static void let_child_go(const ChildArgs *a)
{
    if (a->go != NULL) {
        mt_store_release(a->go, 1); /* pairs with await_go() */
        munmap(a->go, sizeof(*a->go));
    }
}

static void await_go(const ChildArgs *a)
{
    if (a->go != NULL) {
        time_t end = time(NULL) + MT_FORK_SECONDS;

        /* Bounded, for the parent may be killed. Pairs with let_child_go(). */
        while (mt_load_acquire(a->go) == 0 && time(NULL) < end) {
            sched_yield();
        }
        munmap(a->go, sizeof(*a->go));
    }
}

static void fork_child(const ChildArgs *a)
{
    Thread *t = a->t;

    heap_after_fork();
    child_state(a);
    thread_count_fork_child();
    log_after_fork_child();
    stats_after_fork_child();
    world_after_fork_child(t);
    signal_after_fork_child(t);
    if (a->flags & CLONE_CLEAR_SIGHAND) {
        signal_clear_handlers();
    }
    smc_after_fork();
    /* Before anything that unlinks blocks: until then the code is the parent's. */
    if (cache_after_fork_child(&a->cache) != 0) {
        mt_umsg_always("the code cache can't be copied for a forked child: out of memory");
        _exit(1);
    }
    perfmap_after_fork_child((a->flags & CLONE_FILES) != 0);
    aspace_after_fork_child(); /* memory that the child has not inherited */
    store_child_tid(a);
    ptrace_fork_child();
    STAT_INC(THREADS);
    if (a->bare) {
        blockmap_after_bare_fork();
    }
    childcode_after_fork_child();
    tool_fork_child(t);
    await_go(a);
}

/* fork(3) gives the child a consistent libc; flags that it can't express (name spaces, ptrace,
 * another exit signal) need the bare system call, whose child may find libc's locks taken for ever,
 * as natively: by threads OUTSIDE that start or end. So what is needed to run on takes none
 * (heap.h). */
static u64 rest_of_flags(u64 flags)
{
    return flags & ~(u64)(CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | CLONE_PARENT_SETTID |
                          CLONE_SETTLS | CLONE_DETACHED);
}

static bool is_bare(u64 flags, int exit_signal)
{
    return rest_of_flags(flags) != 0 || exit_signal != SIGCHLD;
}

static i64 host_fork(u64 flags, int exit_signal)
{
    u64 rest = rest_of_flags(flags);
    pid_t pid;

    if (is_bare(flags, exit_signal)) {
        return sys_raw(SYS_clone, rest | (u64)exit_signal, 0, 0, 0, 0, 0);
    }
    pid = fork();
    return pid < 0 ? -errno : pid;
}

i64 sched_fork(Thread *t, u64 flags, u64 ptid, u64 ctid, u64 stack, u64 tls, int exit_signal)
{
    ChildArgs a = {.t = t,
                   .flags = flags,
                   .ptid = ptid,
                   .ctid = ctid,
                   .stack = stack,
                   .tls = tls,
                   .cache = {-1, NULL, NULL}};
    i64 pid;

    hold_child(&a);
    a.bare = is_bare(flags, exit_signal) && thread_was_started();
    if (a.bare) {
        blockmap_before_bare_fork();
    }
    childcode_before_fork(t);
    world_before_fork_stop(t);
    world_stop(t);
    aspace_lock();
    /* Before the copy is made: a thread OUTSIDE that handles a write fault unlinks blocks, in the
     * parent's code. */
    smc_before_fork();
    if (cache_before_fork(&a.cache, (flags & CLONE_FILES) != 0) != 0) {
        smc_after_fork();
        aspace_unlock();
        world_resume(t);
        world_no_fork(t);
        let_child_go(&a);
        return -ENOMEM;
    }
    signal_before_fork(t);
    world_before_fork(t);
    heap_before_fork();
    pid = host_fork(flags, exit_signal);
    if (pid == 0) {
        fork_child(&a);
        return 0;
    }
    heap_after_fork();
    world_after_fork_parent(t);
    signal_after_fork_parent(t);
    smc_after_fork();
    aspace_unlock();
    world_resume(t);
    cache_after_fork_parent(&a.cache);
    STAT_INC(FORKS);
    if (pid > 0 && (flags & CLONE_PARENT_SETTID)) {
        write_tid(ptid, (pid_t)pid);
    }
    let_child_go(&a);
    return pid;
}

i64 sched_quiesce(Thread *t, i64 (*fn)(Thread *, void *), void *arg)
{
    i64 r;

    world_before_fork_stop(t);
    world_stop_empty(t);
    aspace_lock();
    smc_before_fork();
    signal_before_fork(t);
    world_before_fork(t);
    r = fn(t, arg);
    world_after_fork_parent(t);
    signal_after_fork_parent(t);
    smc_after_fork();
    aspace_unlock();
    world_resume(t);
    return r;
}

/* On the child's own host stack. */
_Noreturn void vfork_child_main(ChildArgs *a);
_Noreturn void vfork_child_main(ChildArgs *a)
{
    Thread *t = a->t;

    child_state(a);
    ptrace_vfork_child();
    world_kernel_thread_changed(t);
    t->is_vfork_child = true;
    if (a->flags & CLONE_CLEAR_SIGHAND) {
        signal_clear_handlers();
    }
    signal_vfork_child(t);
    store_child_tid(a);
    if (a->flags & CLONE_PARENT_SETTID) {
        write_tid(a->ptid, t->tid);
    }
    if (a->done != NULL) {
        *a->pid_out = t->tid;
        mt_store_release(a->done, 1);
        futex_wake(a->done, 1);
    }
    t->in_syscall = true;
    mt_cpu.gpr[MT_RAX] = 0;
    mt_cpu.gpr[MT_RCX] = mt_cpu.rip;
    mt_cpu.gpr[MT_R11] = mt_cpu.rflags;
    run_loop(t);
    /* exit(2): the one thread of this process. */
    robust_exit(t);
    thread_clear_tid(t);
    sys_raw(SYS_exit_group, (u64)t->exit_code, 0, 0, 0, 0, 0);
    __builtin_unreachable();
}

/* clone(flags) on the given stack; the child calls vfork_child_main(args). In vfork.S. */
i64 vfork_clone(u64 flags, void *stack_top, ChildArgs *args);

/* What the child shares with its parent and must find as it was. */
typedef struct ParentState {
    CpuState cpu;
    Thread thread;
    SignalVfork signals;
    u8 xsave[];
} ParentState;

static bool save_parent(Thread *t, ParentState *s)
{
    if (signal_vfork_save(t, &s->signals) != 0) {
        return false;
    }
    s->cpu = mt_cpu;
    memcpy(&s->thread, t, offsetof(Thread, next)); /* its own part */
    memcpy(s->xsave, mt_cpu.xsave, mt_xsave.size);
    return true;
}

/* The fields that the world lock, the list and the signal code own go on as they are. */
static void restore_parent(Thread *t, ParentState *s)
{
    u32 pending = cpu_pending() & ~MT_PEND_SIGNAL;

    cpu_set_fs_base(s->cpu.fs_base);
    memcpy(mt_cpu.gpr, s->cpu.gpr, sizeof(mt_cpu.gpr));
    mt_cpu.rip = s->cpu.rip;
    mt_cpu.rflags = s->cpu.rflags;
    mt_cpu.gs_base = s->cpu.gs_base;
    mt_cpu.key = s->cpu.key;
    mt_cpu.quantum = s->cpu.quantum;
    mt_cpu.xstate_saved = 1;
    memcpy(mt_cpu.xsave, s->xsave, mt_xsave.size);
    mt_cpu.x87.ip = 0;
    __atomic_store_n(&mt_cpu.pending, pending, __ATOMIC_RELAXED);
    mt_store_relaxed(&t->tid, s->thread.tid);
    mt_store_relaxed(&t->tgid, s->thread.tgid);
    t->clear_child_tid = s->thread.clear_child_tid;
    t->is_vfork_child = s->thread.is_vfork_child;
    t->exiting = false;
    t->pending.full = false;
    t->step_over = false;
    t->saved_sigmask_valid = s->thread.saved_sigmask_valid;
    t->saved_sigmask = s->thread.saved_sigmask;
    t->in_syscall = s->thread.in_syscall;
    t->doing = s->thread.doing;
    signal_vfork_restore(t, &s->signals);
}

/* For settle_wait(): t's own number is the child's meanwhile, or none any more. */
static void set_vfork_parent(Thread *t, pid_t tgid, pid_t tid)
{
    mt_store_relaxed(&t->vfork_tgid, tgid);
    mt_store_release(&t->vfork_tid, tid); /* pairs with collect_parents() */
}

i64 vfork_process(Thread *t, u64 flags, u64 ptid, u64 ctid, u64 stack, u64 tls, int exit_signal,
                  i64 *pid_out, u32 *done)
{
    ChildArgs a = {.t = t,
                   .flags = flags,
                   .ptid = ptid,
                   .ctid = ctid,
                   .stack = stack,
                   .tls = tls,
                   .pid_out = pid_out,
                   .done = done};
    u64 host_flags = (flags & ~(u64)(CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_SETTID |
                                     CLONE_CHILD_CLEARTID | CLONE_SIGHAND | CLONE_CLEAR_SIGHAND)) |
                     CLONE_VM | CLONE_VFORK | (u64)exit_signal;
    /* The state behind the stack. */
    size_t size = MT_VFORK_STACK + sizeof(ParentState) + mt_xsave.size;
    void *host_stack = mmap(NULL, size, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    u32 depth = mt_ptrace.depth;
    pid_t above_tgid = t->vfork_tgid, above_tid = t->vfork_tid; /* t is a vfork child itself */
    ParentState *s;
    i64 pid;

    if (host_stack == MAP_FAILED) {
        return -ENOMEM;
    }
    if (!ptrace_vfork_begin()) {
        munmap(host_stack, size);
        return -EAGAIN;
    }
    perfmap_before_vfork();
    s = (ParentState *)((u8 *)host_stack + MT_VFORK_STACK);
    if (!save_parent(t, s)) {
        ptrace_vfork_done(depth);
        munmap(host_stack, size);
        return -ENOMEM;
    }
    if (mt_instrument != NULL) {
        counts_vfork_save();
    }
    set_vfork_parent(t, t->tgid, t->tid);
    pid = vfork_clone(host_flags, (u8 *)host_stack + MT_VFORK_STACK, &a);
    if (mt_instrument != NULL) {
        counts_vfork_drop();
    }
    world_vfork_returned(t);
    ptrace_vfork_done(depth);
    restore_parent(t, s);
    set_vfork_parent(t, above_tgid, above_tid);
    if (mt_under_valgrind && pid > 0 && done != NULL && mt_load_acquire(done) == 0) {
        /* Valgrind makes a fork of it: the child has told a copy. */
        *pid_out = pid;
        mt_store_release(done, 1);
        futex_wake(done, 1);
    }
    munmap(host_stack, size);
    STAT_INC(FORKS);
    return pid;
}

i64 sched_vfork(Thread *t, u64 flags, u64 ptid, u64 ctid, u64 stack, u64 tls, int exit_signal)
{
    return vfork_process(t, flags, ptid, ctid, stack, tls, exit_signal, NULL, NULL);
}

_Noreturn void sched_exit_group(Thread *t, int code)
{
    if (!t->is_vfork_child) {
        process_finish(t);
    }
    for (;;) {
        sys_raw(SYS_exit_group, (u64)code, 0, 0, 0, 0, 0);
    }
}

typedef struct KernelAction {
    u64 handler, flags, restorer, mask;
} KernelAction;

_Noreturn void sched_die_of_signal(Thread *t, int sig)
{
    KernelAction dfl = {0, 0, 0, 0};
    SigMask none = 0;

    if (!t->is_vfork_child) {
        process_finish(t);
    }
    sys_raw(SYS_rt_sigaction, (u64)sig, (u64)&dfl, 0, 8, 0, 0);
    ptrace_slot()->approved = sig; /* its tracer has seen it */
    for (;;) {
        sys_raw(SYS_tgkill, (u64)t->tgid, (u64)t->tid, (u64)sig, 0, 0, 0);
        sys_raw(SYS_rt_sigprocmask, SIG_SETMASK, (u64)&none, 0, 8, 0, 0);
        /* A signal that does not kill after all (an init process in its name space). */
        sys_raw(SYS_exit_group, 128u + (u64)sig, 0, 0, 0, 0, 0);
    }
}
