/* SPDX-License-Identifier: BSD-2-Clause
 * sig_handler.c -- the host's signal handler, and the kick.
 * Role:       turns a host signal into a full slot of the thread (or a guest fault, a kick, a
 *             fixup), and sends the thread to its run loop. Delivery is signal.c's.
 * Invariants: H1. the slot is filled only while empty; a signal that finds it full goes back to the
 *                 kernel's queue, or to the deferred ones.
 *             H2. with the slot full, the thread's host mask is sig_mask_slot_full() until
 *                 delivery.
 *             H3. the handler touches no guest memory, takes no lock, and is never nested: its
 *                 sa_mask is full.
 * Signals:    all functions but sig_handler_install/init may run in the handler. */
#include "sys/sig_host.h"

#include "base/atomics.h"
#include "base/log.h"
#include "base/safe.h"
#include "guest/cpu.h"
#include "jit/recover.h"
#include "sched/runloop.h"
#include "sys/ptrace_slot.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SA_RESTORER_FLAG 0x04000000ul
#define HOST_SA_FLAGS_OF_GUEST (SA_RESTART | SA_NOCLDSTOP | SA_NOCLDWAIT)
#define EFLAGS_TF 0x100
#define EFLAGS_DF 0x400
#define EFLAGS_AC 0x40000
#define TRAP_PF 14
#define TRAP_AC 17
#define MASK_BYTES 8

/* Newer than Debian 12's headers or not in all of them. */
#define SYS_SECCOMP_CODE 1
#define BUS_MCEERR_AR_CODE 4
#define BUS_MCEERR_AO_CODE 5
#define TRAP_TRACE_CODE 2

typedef struct KernelSigaction {
    void *handler;
    unsigned long flags;
    void (*restorer)(void);
    SigMask mask;
} KernelSigaction;

void sig_host_restorer(void); /* sys_window.S */

/* Proof that a signal 64 is a kick. Written once, before there is a second thread. */
static u64 kick_secret;
/* Kicks that had to be sent as SIGSYS and have not arrived yet. */
static _Atomic u32 kicks_by_sigsys;

/* ---- the host's masks and queues ---- */

SigMask sig_host_setmask(SigMask m)
{
    SigMask old = 0;
    sys_raw(SYS_rt_sigprocmask, SIG_SETMASK, (u64)&m, (u64)&old, MASK_BYTES, 0, 0);
    return old;
}

void sig_host_requeue(const siginfo_t *info)
{
    i64 pid = sys_raw(SYS_getpid, 0, 0, 0, 0, 0, 0);
    i64 tid = sys_raw(SYS_gettid, 0, 0, 0, 0, 0, 0);
    if (sys_raw(SYS_rt_tgsigqueueinfo, pid, tid, info->si_signo, (u64)info, 0, 0) < 0) {
        SigMask old = sig_host_setmask(SIG_MASK_ALL);
        sig_defer_add_sig(info); /* the user's queue is full */
        sig_host_setmask(old);
    }
}

void sig_host_give_away(const siginfo_t *info)
{
    i64 pid = sys_raw(SYS_getpid, 0, 0, 0, 0, 0, 0);
    if (info->si_code == SI_TKILL) {
        return;
    }
    /* Only the main thread may give the process a siginfo with si_code >= 0. */
    if (sys_raw(SYS_rt_sigqueueinfo, pid, info->si_signo, (u64)info, 0, 0, 0) < 0) {
        sys_raw(SYS_kill, pid, info->si_signo, 0, 0, 0, 0);
    }
}

void sig_fill_slot(Thread *t, const siginfo_t *info, bool synchronous)
{
    t->pending.info = *info;
    t->pending.synchronous = synchronous;
    /* Compiler order is enough: only this thread reads the slot. */
    atomic_signal_fence(memory_order_seq_cst);
    t->pending.full = true;
    __atomic_fetch_or(&t->cpu->pending, MT_PEND_SIGNAL, __ATOMIC_RELAXED);
}

/* ---- the kick ---- */

static i64 send_kick(pid_t pid, pid_t tid)
{
    siginfo_t info;
    memset(&info, 0, sizeof(info));
    info.si_signo = MT_SIG_KICK;
    info.si_code = SI_QUEUE;
    info.si_pid = pid;
    info.si_value.sival_ptr = (void *)kick_secret;
    return sys_raw(SYS_rt_tgsigqueueinfo, (u64)pid, (u64)tid, MT_SIG_KICK, (u64)&info, 0, 0);
}

bool thread_kick(Thread *t)
{
    /* Of the thread's process, not ours: one of the two may be a vfork child. */
    pid_t pid = mt_load_relaxed(&t->tgid), tid = mt_load_relaxed(&t->tid);
    i64 r = send_kick(pid, tid);
    if (r == -EAGAIN) {
        /* The guest's user has as many queued signals as allowed. A standard signal needs none. */
        atomic_fetch_add_explicit(&kicks_by_sigsys, 1, memory_order_relaxed);
        r = sys_raw(SYS_tgkill, (u64)pid, (u64)tid, SIGSYS, 0, 0, 0);
    }
    return r == 0;
}

static bool is_kick(int sig, const siginfo_t *info)
{
    if (sig == MT_SIG_KICK) {
        return info->si_code == SI_QUEUE && info->si_value.sival_ptr == (void *)kick_secret;
    }
    if (sig != SIGSYS || (info->si_code != SI_TKILL && info->si_code != SI_USER)) {
        return false;
    }
    u32 n = atomic_load_explicit(&kicks_by_sigsys, memory_order_relaxed);
    while (n) {
        if (atomic_compare_exchange_weak_explicit(&kicks_by_sigsys, &n, n - 1, memory_order_relaxed,
                                                  memory_order_relaxed)) {
            return true;
        }
    }
    return false;
}

/* From the tracer, also under mtvg: the thread's slot has requests. */
static bool is_ptrace_wake(int sig, const siginfo_t *info)
{
    return sig == MT_SIG_KICK && info->si_code == SI_QUEUE &&
           info->si_value.sival_ptr == (void *)mt_ptrace_proc.wake;
}

/* ---- the handler ---- */

/* Only the kernel's 8 bytes of glibc's longer mask are in the frame. */
static void set_return_mask(ucontext_t *uc, SigMask m)
{
    memcpy(&uc->uc_sigmask, &m, sizeof(m));
}

/* Makes the interrupted thread reach its run loop without running anything of the guest's. */
static void go_to_run_loop(ucontext_t *uc)
{
    u64 abort = safe_touch_abort((u64)uc->uc_mcontext.gregs[REG_RIP]);

    if (abort != 0) {
        uc->uc_mcontext.gregs[REG_RIP] = (greg_t)abort;
        return;
    }
    switch (recover_where((u64)uc->uc_mcontext.gregs[REG_RIP])) {
    case WHERE_CACHE:
        if (!recover_finish(uc)) {
            recover_leave_cache(uc);
        }
        break;
    case WHERE_ENTERING:
    case WHERE_SYSCALL: recover_abort(uc); break;
    case WHERE_RUNTIME: break;
    }
}

static void append(char *line, size_t size, const char *text)
{
    size_t at = strlen(line);
    for (; *text && at + 1 < size; text++) {
        line[at++] = *text;
    }
    line[at] = 0;
}

static void append_hex(char *line, size_t size, const char *label, u64 value)
{
    char digits[19] = "0x";
    int shift = 60;
    while (shift && !(value >> shift & 15)) {
        shift -= 4;
    }
    for (char *p = digits + 2; shift >= 0; shift -= 4) {
        *p++ = "0123456789abcdef"[value >> shift & 15];
        *p = 0;
    }
    append(line, size, label);
    append(line, size, digits);
}

/* A fault of the runtime itself: says so; the instruction is repeated and dumps core. */
static void internal_error(int sig, const siginfo_t *info, ucontext_t *uc)
{
    char line[400] = "mtvg: internal error: a fault in the runtime itself (please report it):";
    const KernelSigaction dfl = {.handler = SIG_DFL};
    append_hex(line, sizeof(line), " signal ", (u64)sig);
    append_hex(line, sizeof(line), " code ", (u32)info->si_code);
    append_hex(line, sizeof(line), " at pc ", (u64)uc->uc_mcontext.gregs[REG_RIP]);
    append_hex(line, sizeof(line), " address ", (u64)info->si_addr);
    append_hex(line, sizeof(line), " guest pc ", mt_cpu.rip);
    append_hex(line, sizeof(line), " thread ", (u64)sys_raw(SYS_gettid, 0, 0, 0, 0, 0, 0));
    append(line, sizeof(line), "\n");
    log_raw(line, strlen(line));
    sys_raw(SYS_rt_sigaction, (u64)sig, (u64)&dfl, 0, MASK_BYTES, 0, 0);
}

/* Does the siginfo say what the frame says of the fault? A child with such an exit signal (clone)
 * sends codes above 0 too, and has its number in place of the address. */
static bool fits_frame(int sig, const siginfo_t *info, const greg_t *g)
{
    greg_t at = (greg_t)info->si_addr;
    if (info->si_code == SI_KERNEL) {
        return true;
    }
    if (sig != SIGSEGV && sig != SIGBUS) {
        return at == g[REG_RIP];
    }
    return at == (g[REG_TRAPNO] == TRAP_PF ? g[REG_CR2] : 0) ||
           (sig == SIGBUS && info->si_code == BUS_MCEERR_AR_CODE);
}

/* Raised by the kernel for the interrupted instruction? A guest may queue itself any siginfo
 * (rt_sigqueueinfo); such a signal arrives right behind the system call. */
static bool is_synchronous(int sig, const siginfo_t *info, const ucontext_t *uc)
{
    if (!(SIG_BIT(sig) & SIG_FAULTS) || info->si_code <= 0 || sig == SIGSYS ||
        (sig == SIGBUS && info->si_code == BUS_MCEERR_AO_CODE) ||
        !fits_frame(sig, info, uc->uc_mcontext.gregs)) {
        return false;
    }
    u64 pc = (u64)uc->uc_mcontext.gregs[REG_RIP];
    return pc != (u64)sys_window_end && pc != (u64)sys_window32_end;
}

/* Fills the slot with a fault for the guest. g: of the fault. */
static void fill_fault(Thread *t, const siginfo_t *info, const greg_t *g, ucontext_t *uc)
{
    u64 trapno = (u64)g[REG_TRAPNO], err = (u64)g[REG_ERR], cr2 = (u64)g[REG_CR2];

    if (t->pending.full) { /* cannot be (H2); if it were, nothing is lost */
        sig_host_requeue(&t->pending.info);
    }
    t->pending.trapno = trapno;
    t->pending.err = err;
    if (trapno == TRAP_PF) { /* page fault; others leave the thread's cr2 as it was */
        t->pending.cr2 = cr2;
    }
    sig_fill_slot(t, info, true);
    set_return_mask(uc, sig_mask_slot_full(t));
}

/* A fault in translated code is the guest's. */
static void take_guest_fault(Thread *t, int sig, const siginfo_t *host_info, ucontext_t *uc)
{
    const greg_t *g = uc->uc_mcontext.gregs;
    siginfo_t info = *host_info;
    bool at_pc = (sig == SIGILL || sig == SIGFPE || sig == SIGTRAP) &&
                 (u64)info.si_addr == (u64)g[REG_RIP];

    if (g[REG_TRAPNO] == TRAP_AC && recover_may_be_check((u64)g[REG_RIP])) {
        recover_leave_cache(uc);
        t->step_over = true;
        return;
    }
    recover_leave_cache(uc);
    if ((sig == SIGSEGV || sig == SIGBUS) && recover_is_done()) {
        return;
    }
    if (at_pc) {
        info.si_addr = (void *)t->cpu->rip;
    }
    fill_fault(t, &info, g, uc);
}

/* So is one of a function that the tool does in the guest's place. */
static void take_replaced_fault(Thread *t, const siginfo_t *info, ucontext_t *uc)
{
    greg_t *g = uc->uc_mcontext.gregs;

    fill_fault(t, info, g, uc);
    g[REG_RIP] = (greg_t)run_loop_replaced_faulted;
    g[REG_RSP] = ((g[REG_RSP] - 256) & ~15ll) - 8; /* below the red zone, as behind a call */
    g[REG_EFL] &= ~(greg_t)EFLAGS_DF;
}

/* The guest's popf has set TF. It ends its block, so the next instruction has not begun: the run
 * loop goes on in single steps. */
static void take_step(Thread *t, ucontext_t *uc)
{
    uc->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)EFLAGS_TF;
    t->tf_loaded = true;
    __atomic_fetch_or(&t->cpu->pending, MT_PEND_SIGNAL, __ATOMIC_RELAXED);
    go_to_run_loop(uc);
}

static void take_fault(Thread *t, int sig, const siginfo_t *info, ucontext_t *uc)
{
    u64 pc = (u64)uc->uc_mcontext.gregs[REG_RIP];
    u64 fixup = sig == SIGSEGV || sig == SIGBUS ? safe_fixup(pc) : 0;
    if (sig == SIGTRAP && pc == (u64)ptrace_stop_end) {
        ptrace_nobody_sig();
        return;
    }
    if (sig == SIGSEGV && pc == (u64)sys_window32_insn) {
        fixup = (u64)sys_window32_fault;
    }
    if (fixup) {
        uc->uc_mcontext.gregs[REG_RIP] = (greg_t)fixup;
        return;
    }
    if (t && (sig == SIGSEGV || sig == SIGBUS) && recover_tool_fault(uc)) {
        return;
    }
    if (t && sig == SIGTRAP && info->si_code == TRAP_TRACE_CODE) {
        take_step(t, uc);
        return;
    }
    if (t && recover_where(pc) == WHERE_CACHE) {
        take_guest_fault(t, sig, info, uc);
        return;
    }
    if (t && t->fault_env != NULL && (sig == SIGSEGV || sig == SIGBUS)) {
        take_replaced_fault(t, info, uc);
        return;
    }
    internal_error(sig, info, uc);
}

/* From a seccomp filter, not from rt_sigqueueinfo? */
static bool is_trapped_call(int sig, const siginfo_t *info, const ucontext_t *uc)
{
    return sig == SIGSYS && info->si_code == SYS_SECCOMP_CODE &&
           (u64)info->si_call_addr == (u64)uc->uc_mcontext.gregs[REG_RIP];
}

/* The guest's filter is meant for the guest's calls. One of the runtime's own fails, where the
 * kernel leaves its number as the result; the guest hears of it if its own call of that number is
 * being done by it. */
static bool take_own_trapped(const Thread *t, int sig, const siginfo_t *info, ucontext_t *uc)
{
    u64 pc = (u64)uc->uc_mcontext.gregs[REG_RIP];
    if (!is_trapped_call(sig, info, uc) || pc == (u64)sys_window_end ||
        pc == (u64)sys_window32_end) {
        return false;
    }
    /* brk has no errors: it returns the break, which glibc compares with what it wanted. */
    uc->uc_mcontext.gregs[REG_RAX] = info->si_syscall == SYS_brk ? 0 : -ENOSYS;
    return !t || t->doing != (u32)info->si_syscall + 1;
}

static void take_async(Thread *t, int sig, const siginfo_t *info, ucontext_t *uc)
{
    /* A seccomp filter's SIGSYS is forced: neither blocked nor queued. */
    bool forced = is_trapped_call(sig, info, uc);
    bool open = SIG_BIT(sig) & SIG_OPEN;
    if (!t) { /* a host thread that is about to become a guest's: pending until it has its mask */
        sig_host_requeue(info);
        set_return_mask(uc, SIG_MASK_ALL);
        return;
    }
    if (open && !forced) {
        t->disturbed = true; /* if it goes into the slot, that says more */
        if (t->sigmask & SIG_BIT(sig)) {
            sig_defer_add_sig(info);
            if (sig_defer_watched_sig(sig)) {
                __atomic_fetch_or(&t->cpu->pending, MT_PEND_SIGNAL, __ATOMIC_RELAXED);
                go_to_run_loop(uc);
            }
            return;
        }
        if (signal_handler_sig(t, sig) == (u64)SIG_IGN) {
            return;
        }
    }
    if (t->pending.full) {
        /* Valgrind ignores the mask in a frame: a signal put back would come again at once, for
         * ever. Under it the deferred queue is long. */
        if (open || mt_under_valgrind) {
            sig_defer_add_sig(info);
        } else {
            sig_host_requeue(info);
        }
        set_return_mask(uc, sig_mask_slot_full(t));
        return;
    }
    sig_fill_slot(t, info, forced);
    go_to_run_loop(uc);
    set_return_mask(uc, sig_mask_slot_full(t));
}

/* The kernel leaves AC as the guest had it, and an outer Valgrind DF as well. With AC set, C code
 * would die of its first unaligned access. NT and ID stay: rt_sigreturn does not restore them, and
 * the guest's flags may be live where it goes on (exits, tools' code). */
static inline __attribute__((always_inline)) void clean_flags(void)
{
    __asm__ volatile("lea -128(%%rsp), %%rsp\n\tpushfq\n\tandl %0, (%%rsp)\n\tpopfq\n\t"
                     "lea 128(%%rsp), %%rsp"
                     :
                     : "i"(~(EFLAGS_AC | EFLAGS_DF))
                     : "memory", "cc");
}

static void host_handler(int sig, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    clean_flags();
    Thread *t = thread_self();
    if (t && (sig == MT_SIG_KICK || sig == SIGSYS)) {
        /* K1 in world_scan.c; of one SIGSYS too many nothing depends */
        mt_store_relaxed(&t->kicked, 0);
    }
    if (is_kick(sig, info)) {
        if (t) {
            t->disturbed = true;
            go_to_run_loop(uc);
        }
    } else if (t && is_ptrace_wake(sig, info)) {
        t->disturbed = true;
        __atomic_fetch_or(&t->cpu->pending, MT_PEND_PTRACE, __ATOMIC_RELAXED);
        go_to_run_loop(uc);
    } else if (is_synchronous(sig, info, uc)) {
        take_fault(t, sig, info, uc);
    } else if (!take_own_trapped(t, sig, info, uc)) {
        take_async(t, sig, info, uc);
    }
}

/* ---- installing ---- */

/* The first process of a pid name space: what would end it is dropped unless the kernel raises it
 * for a fault. With SIG_DFL on the host the kernel itself decides, and such a signal disturbs
 * nothing. */
bool mt_is_init;

bool sig_handler_look_for_init(void)
{
    bool was = mt_is_init;
    mt_is_init = getpid() == 1;
    return mt_is_init != was;
}

bool sig_handler_is_dropped(int sig, const GuestSigaction *act)
{
    return !(SIG_BIT(sig) & (SIG_OPEN | SIG_UNSTOPPABLE)) &&
           (act->handler == (u64)SIG_IGN ||
            (act->handler == (u64)SIG_DFL && sig_default_of(sig) == SIG_DEFAULT_IGNORE));
}

void sig_handler_install(int sig, const GuestSigaction *act)
{
    KernelSigaction k = {
        .handler = (void *)host_handler,
        .flags = SA_SIGINFO | SA_ONSTACK | SA_RESTORER_FLAG | (act->flags & HOST_SA_FLAGS_OF_GUEST),
        .restorer = sig_host_restorer,
        .mask = SIG_MASK_ALL,
    };
    if (SIG_BIT(sig) & SIG_UNSTOPPABLE) {
        return;
    }
    if (SIG_BIT(sig) & SIG_OPEN) {
        /* Also taken when the guest has no handler: must not disturb system calls then. */
        k.flags |= act->handler <= (u64)SIG_IGN ? SA_RESTART : 0;
    } else if (act->handler == (u64)SIG_IGN ||
               (act->handler == (u64)SIG_DFL && (mt_is_init || !sig_default_fatal(sig)))) {
        k.handler = (void *)act->handler;
        k.flags &= ~(unsigned long)(SA_SIGINFO | SA_ONSTACK);
        k.mask = 0;
    }
    sys_raw(SYS_rt_sigaction, (u64)sig, (u64)&k, 0, MASK_BYTES, 0, 0);
}

void sig_handler_init(void)
{
    if (sys_raw(SYS_getrandom, (u64)&kick_secret, sizeof(kick_secret), 0, 0, 0, 0) !=
        (i64)sizeof(kick_secret)) {
        kick_secret = __builtin_ia32_rdtsc() * 0x9e3779b97f4a7c15ull;
    }
    mt_ptrace_proc.wake = ~kick_secret;
    mt_ptrace_proc.family = kick_secret * 0x9e3779b97f4a7c15ull;
}
