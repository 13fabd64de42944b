/* SPDX-License-Identifier: BSD-2-Clause
 * thread.c -- guest threads: each is a host pthread with a host stack of its own (D6).
 * Role:       start and end of threads; what the kernel does at a thread's end for user space.
 * Locking:    none; the list of threads is the world's.
 * Lifetime:   a Thread lives from thread_start() to thread_end(), on its own host thread.
 * Order at the end of a thread: robust futexes are released, then CLEARTID is written and woken, as
 * the kernel does it (mm_release), and the host thread exits afterwards: whoever joined the guest's
 * thread may free its stack and TLS, which we no longer touch. */
#include "sched/clone.h"

#include "base/atomics.h"
#include "base/futex.h"
#include "base/log.h"
#include "base/options.h"
#include "base/safe.h"
#include "base/stats.h"
#include "jit/cache.h"
#include "jit/diskcache.h"
#include "jit/smc.h"
#include "jit/x87ip.h"
#include "sched/fastpath.h"
#include "sched/robust.h"
#include "sched/runloop.h"
#include "sched/tool_events.h"
#include "sched/world.h"
#include "sys/signal.h"
#include "sys/sys.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <linux/sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What a new thread gets from its parent. */
typedef struct StartArgs {
    u32 ready;       /* atomic: 1 once the parent has stored the child's number */
    int exit_signal; /* clone_process() only: the host's flags, the result */
    i64 result;
    u32 done; /* atomic: 1 once `result` is there */
    u64 flags, ptid, ctid, tls, stack;
    u64 gpr[MT_NGPR];
    u64 rip, rflags, fs_base, gs_base;
    SigMask sigmask;
    void *xsave; /* behind this struct, aligned */
} StartArgs;

Thread *thread_start(bool is_main)
{
    Thread *t = aligned_alloc(64, MT_ALIGN_UP(sizeof(Thread), 64));

    if (t == NULL) {
        return NULL;
    }
    memset(t, 0, sizeof(*t));
    t->cpu = &mt_cpu;
    t->tid = (pid_t)syscall(SYS_gettid);
    t->tgid = getpid();
    t->host = pthread_self();
    t->is_main = is_main;
    t->slow_call = mt_load_relaxed(&mt_all_slow);
    t->altstack.flags = 2; /* SS_DISABLE */
    if (cpu_thread_init() != 0) {
        free(t);
        return NULL;
    }
    mt_cpu.x87_entry = x87ip_entry;
    annot_ignore(&mt_cpu.pending, sizeof(mt_cpu.pending));
    mt_cpu.thread = t;
    mt_cpu.quantum = (u64)mt_opts.quantum;
    if (signal_thread_init(t) != 0) {
        cpu_thread_fini();
        free(t);
        return NULL;
    }
    stats_thread_start();
    STAT_INC(THREADS);
    world_attach(t);
    return t;
}

void thread_clear_tid(Thread *t)
{
    u32 zero = 0;

    if (t->clear_child_tid != 0 && smc_safe_write(t->clear_child_tid, &zero, 4) == 0) {
        annot_foreign_begin();
        sys_raw(SYS_futex, t->clear_child_tid, FUTEX_WAKE, 1, 0, 0, 0);
        annot_foreign_end();
    }
}

/* Whose thread ends the process. Atomic. */
static Thread *ended_by;

void sched_claim_end(Thread *t)
{
    Thread *nobody = NULL;

    /* Only the first one ends the process. Until then there is nothing for others to do: another
     * report would only be cut short by it, and the status is the first one's. */
    while (!mt_cas(&ended_by, &nobody, t) && nobody != t) {
        usleep(10000);
        nobody = NULL;
    }
}

void process_finish(Thread *t)
{
    sched_claim_end(t);
    if (mt_diskcache_on) {
        diskcache_save(t);
    }
    tool_finish(t);
    if (mt_opts.stats) {
        stats_print();
    }
    log_close();
}

/* The runtime's own part of a thread's end. */
static void thread_free(Thread *t, bool of_guest)
{
    world_enter(t);
    cache_thread_exit();
    world_leave(t);
    if (of_guest) {
        robust_exit(t);
    }
    world_transit_begin();
    world_detach(t);
    stats_thread_exit();
    if (of_guest) {
        thread_clear_tid(t);
    }
    world_transit_end();
    signal_thread_fini(t);
    cpu_thread_fini();
    mt_cpu.thread = NULL;
    free(t);
}

/* Guest threads that have been started, or are about to be, and have not ended. Counted before the
 * start: a main thread that ends at once must not take itself for the last one. Atomic; ACQ_REL, so
 * that the last one sees what the others have counted. */
static u32 live_threads = 1;
/* Those that have not yet given everything back; and with what status the last one exited.
 * Atomic. */
static u32 unfinished_threads = 1;
static int last_exit_code;

void thread_count_fork_child(void)
{
    mt_store_relaxed(&ended_by, NULL);
    mt_store_relaxed(&live_threads, 1); /* it is alone */
    mt_store_relaxed(&unfinished_threads, 1);
}

void thread_end(Thread *t)
{
    int code = t->exit_code;

    if (mt_fetch_sub(&live_threads, 1) == 1) {
        mt_store_relaxed(&last_exit_code, code);
        process_finish(t);
    }
    tool_thread_end(t);
    thread_free(t, true);
    /* The process's status is that of the last thread's exit(2), and host threads exit with 0.
     * ACQ_REL: its own subtraction comes behind the store. */
    if (mt_fetch_sub(&unfinished_threads, 1) == 1) {
        sys_raw(SYS_exit_group, (u64)mt_load_relaxed(&last_exit_code), 0, 0, 0, 0, 0);
    }
}

static void store_tid(u64 addr, pid_t tid)
{
    u32 v = (u32)tid;

    /* As the kernel: a bad address is the guest's own affair. */
    (void)!smc_safe_write(addr, &v, 4);
}

static void take_state(const StartArgs *s)
{
    memcpy(mt_cpu.gpr, s->gpr, sizeof(mt_cpu.gpr));
    memcpy(mt_cpu.xsave, s->xsave, mt_xsave.size);
    mt_cpu.xstate_saved = 1;
    mt_cpu.rip = s->rip;
    mt_cpu.rflags = s->rflags;
    mt_cpu.gs_base = s->gs_base;
    mt_cpu.gpr[MT_RAX] = 0;
    mt_cpu.gpr[MT_RCX] = s->rip;
    mt_cpu.gpr[MT_R11] = s->rflags;
    if (s->stack != 0) {
        mt_cpu.gpr[MT_RSP] = s->stack;
    }
    cpu_set_fs_base((s->flags & CLONE_SETTLS) ? s->tls : s->fs_base);
}

/* What children sleep on: the wake-up comes when the child may have freed its StartArgs, and that
 * memory be another thread's. Counts, by the address of the StartArgs. */
static u32 told[16]; /* atomic */

static u32 *told_word(const StartArgs *s)
{
    return &told[(uintptr_t)s / 64 % MT_ARRAY_SIZE(told)];
}

/* The parent stores the new number to the guest's CLONE_PARENT_SETTID word, which usually is the
 * CLONE_CHILD_CLEARTID word too: the child must not run, and end, before that. The parent is
 * quicker than the start of a thread, so the child hardly ever sleeps here. */
static void wait_for_parent(StartArgs *s)
{
    u32 *word = told_word(s);
    u32 count = mt_load_acquire(word);

    while (mt_load_acquire(&s->ready) == 0) {
        futex_wait(word, count, -1);
        count = mt_load_acquire(word);
    }
}

static void tell_child(StartArgs *s)
{
    u32 *word = told_word(s);

    /* REL pairs with wait_for_parent(). The child frees s as soon as it sees the 1. It does not
     * sleep past it: `ready` is stored before the count, and the child reads them the other way. */
    mt_store_release(&s->ready, 1);
    mt_fetch_add(word, 1);
    futex_wake(word, INT_MAX);
}

static void *thread_main(void *arg)
{
    StartArgs *s = arg;
    Thread *t = thread_start(false);

    MT_ASSERT(t != NULL); /* a few KiB; the host thread itself needed more */
    world_transit_end();
    take_state(s);
    if (s->flags & CLONE_CHILD_CLEARTID) {
        t->clear_child_tid = s->ctid;
    }
    tool_thread_start(t);
    signal_set_mask(t, s->sigmask);
    if (s->flags & CLONE_CHILD_SETTID) { /* a bad address must not find SIGSEGV blocked */
        store_tid(s->ctid, t->tid);
    }
    wait_for_parent(s);
    free(s);
    run_loop(t);
    thread_end(t);
    return NULL;
}

static StartArgs *make_args(Thread *t, u64 flags, u64 stack, u64 ptid, u64 ctid, u64 tls)
{
    size_t head = MT_ALIGN_UP(sizeof(StartArgs), 64);
    StartArgs *s = aligned_alloc(64, head + MT_ALIGN_UP(mt_xsave.size, 64));

    if (s == NULL) {
        return NULL;
    }
    *s = (StartArgs){.flags = flags,
                     .ptid = ptid,
                     .ctid = ctid,
                     .tls = tls,
                     .stack = stack,
                     .rip = mt_cpu.rip,
                     .rflags = mt_cpu.rflags,
                     .fs_base = mt_cpu.fs_base,
                     .gs_base = mt_cpu.gs_base,
                     .sigmask = t->sigmask};
    memcpy(s->gpr, mt_cpu.gpr, sizeof(s->gpr));
    s->xsave = (u8 *)s + head;
    memcpy(s->xsave, mt_cpu.xsave, mt_xsave.size);
    return s;
}

/* The kernel's number of a pthread that has been created and can't have ended: its CPU clock's name
 * holds it (MAKE_THREAD_CPUCLOCK in the kernel's posix-timers). */
static pid_t tid_of(pthread_t th)
{
    clockid_t clock = 0;
    int r = pthread_getcpuclockid(th, &clock);

    MT_ASSERT(r == 0);
    return ~((i32)clock >> 3);
}

static bool was_started; /* atomic: by this process, or one that it was forked from */

bool thread_was_started(void)
{
    return mt_load_relaxed(&was_started);
}

/* Starts the host thread. The child is given `s` to free. 0 or -errno. */
static int start_host_thread(Thread *t, void *(*fn)(void *), StartArgs *s, pthread_t *th)
{
    pthread_attr_t attr;
    int r;

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, MT_HOST_STACK);
    /* The new thread begins with everything blocked. */
    signal_block_all();
    mt_store_relaxed(&was_started, true);
    world_transit_begin();
    r = pthread_create(th, &attr, fn, s);
    if (r != 0) {
        world_transit_end();
    }
    signal_set_mask(t, t->sigmask);
    pthread_attr_destroy(&attr);
    return -r;
}

/* A process that shares its parent's memory and runs at the same time: a host thread of the parent
 * lends it TLS and Thread object, and sleeps in a vfork until it has exec'ed or exited. */
static void *lender_main(void *arg)
{
    StartArgs *s = arg;
    Thread *t = thread_start(false);
    u64 flags = s->flags, ptid = s->ptid, ctid = s->ctid, tls = s->tls;
    int exit_signal = s->exit_signal;
    i64 pid;

    MT_ASSERT(t != NULL);
    world_lender_begin();
    world_transit_end();
    take_state(s);
    signal_store_mask(t, s->sigmask);
    tool_thread_start(t);
    pid = vfork_process(t, flags, ptid, ctid, s->stack, tls, exit_signal, &s->result, &s->done);
    if (pid < 0) {
        s->result = pid;
        mt_store_release(&s->done, 1);
        futex_wake(&s->done, 1);
    }
    wait_for_parent(s);
    free(s);
    tool_thread_end(t);
    thread_free(t, false);
    return NULL;
}

static i64 clone_process(Thread *t, u64 flags, u64 stack, u64 ptid, u64 ctid, u64 tls,
                         int exit_signal)
{
    StartArgs *s = make_args(t, flags, stack, ptid, ctid, tls);
    pthread_t th;
    i64 pid;
    int r;

    if (s == NULL) {
        return -ENOMEM;
    }
    s->exit_signal = exit_signal;
    r = start_host_thread(t, lender_main, s, &th);
    if (r != 0) {
        free(s);
        return r;
    }
    while (mt_load_acquire(&s->done) == 0) {
        futex_wait(&s->done, 0, -1);
    }
    pid = s->result;
    pthread_detach(th);
    tell_child(s);
    return pid;
}

i64 sched_clone(Thread *t, u64 flags, u64 stack, u64 ptid, u64 ctid, u64 tls, int exit_signal)
{
    StartArgs *s;
    pthread_t th;
    pid_t tid;
    int r;

    if (!(flags & CLONE_THREAD)) {
        return clone_process(t, flags, stack, ptid, ctid, tls, exit_signal);
    }
    s = make_args(t, flags, stack, ptid, ctid, tls);
    if (s == NULL) {
        return -ENOMEM;
    }
    mt_fetch_add(&live_threads, 1);
    mt_fetch_add(&unfinished_threads, 1);
    r = start_host_thread(t, thread_main, s, &th);
    if (r != 0) {
        mt_fetch_sub(&live_threads, 1); /* not 0: we live */
        mt_fetch_sub(&unfinished_threads, 1);
        free(s);
        return r;
    }
    tid = tid_of(th);
    if (flags & CLONE_PARENT_SETTID) {
        store_tid(ptid, tid);
    }
    pthread_detach(th);
    tell_child(s);
    return tid;
}
