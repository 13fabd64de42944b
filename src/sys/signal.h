/* SPDX-License-Identifier: BSD-2-Clause
 * signal.h -- signals: host handlers, the guest's dispositions, delivery (see docs/SIGNALS.md). */
#ifndef MT_SIGNAL_H
#define MT_SIGNAL_H

#include "base/atomics.h"
#include "sched/thread.h"

/* The guest's view of one action, as the kernel's struct sigaction on x86-64. */
typedef struct GuestSigaction {
    u64 handler; /* 0 SIG_DFL, 1 SIG_IGN */
    u64 flags;
    u64 restorer;
    SigMask mask;
} GuestSigaction;

/* The runtime's own kick signal; the guest may neither block nor catch it (documented). */
#define MT_SIG_KICK (mt_under_valgrind ? 63 : 64) /* Valgrind keeps 64 for itself */

/* Once, in the main thread, before the guest runs: installs host handlers, takes over inherited
 * dispositions and mask. */
void signal_init(Thread *main_thread);

/* Each host thread: alternate stack for host handlers; and the reverse. */
int signal_thread_init(Thread *t);
void signal_thread_fini(Thread *t);

/* Run loop, slow domain, outside the world lock: delivers the thread's pending signal, if full:
 * pushes a frame and sets mt_cpu to the handler, or does the default action (which may not return).
 * Afterwards the host mask is the guest's mask again and the slot is empty. */
void signal_deliver(Thread *t);

/* The same for an asynchronous signal that the thread's tracer has let through. */
void signal_deliver_seen(Thread *t, const siginfo_t *info);

/* A synchronous signal made by the runtime (invalid code, fetch fault, emulated instruction): fills
 * the pending slot as the kernel would for a fault at mt_cpu.rip. */
void signal_raise_sync(Thread *t, int sig, int si_code, u64 fault_addr, u64 trapno, u64 err);

/* rt_sigreturn: reads the frame at mt_cpu.gpr[RSP] and sets mt_cpu and the xsave area. */
i64 signal_return(Thread *t);

/* The guest's mask, without the host's. Senders in other threads look at it (sys_signal.c). */
static inline void signal_store_mask(Thread *t, SigMask m)
{
    mt_store_relaxed(&t->sigmask, m & ~(SIG_BIT(SIGKILL) | SIG_BIT(SIGSTOP)));
}

/* Sets the guest's mask: t->sigmask and the host's. */
void signal_set_mask(Thread *t, SigMask m);

/* CLONE_CLEAR_SIGHAND, in the child: handlers become SIG_DFL, what is ignored stays so. */
void signal_clear_handlers(void);

/* execve of a native program: host dispositions must be what the guest's are (the runtime's own
 * handlers become SIG_DFL by exec; ignored stay ignored); the host's mask is the guest's. Called
 * just before, undone after a failed exec. */
void signal_before_exec(Thread *t);
void signal_after_failed_exec(Thread *t);

/* Blocks every signal in the host until the next signal_set_mask(): around the creation of a
 * thread, which inherits the host's mask. */
void signal_block_all(void);

/* fork, around the host's: `before` in the parent, then `parent` and `child` (which has no pending
 * signals; its mask and altstack are the parent's). All signals are blocked in between. */
void signal_before_fork(Thread *t);
void signal_after_fork_parent(Thread *t);
void signal_after_fork_child(Thread *t);

/* vfork: the child runs in the parent's memory but has dispositions, mask and pending signals of
 * its own. `save` before the host's vfork (all signals are blocked from here), `child` first in the
 * child, `restore` in the parent when t is its own again (child did exec or exit; or vfork failed).
 * save: 0 or -ENOMEM (then nothing has been changed). */
typedef struct SigDeferred { /* what sig_defer.c hides */
    u32 low, first, count;
} SigDeferred;
typedef struct SignalVfork {
    struct SigTable *table;
    SigMask sigmask, saved_sigmask;
    bool saved_sigmask_valid;
    GuestAltStack altstack;
    PendingSignal pending;
    SigDeferred deferred;
} SignalVfork;
int signal_vfork_save(Thread *t, SignalVfork *save);
void signal_vfork_child(Thread *t);
void signal_vfork_restore(Thread *t, const SignalVfork *save);

/* Set by the translator; sees every synchronous SIGSEGV before the guest does, in the run loop's
 * context (slow domain, outside the world lock). True: handled, the guest goes on as it was. Also
 * asked when a signal frame cannot be written (info.si_addr: a byte of it). */
extern bool (*signal_fault_hook)(Thread *t, PendingSignal *p);

#endif
