/* SPDX-License-Identifier: BSD-2-Clause
 * sig_host.h -- what the signal code does to the host: actions, masks, queueing. Private to
 * src/sys/signal.c, sig_*.c, sys_signal.c and sys_turn.c. */
#ifndef MT_SIG_HOST_H
#define MT_SIG_HOST_H

#include "base/base.h"
#include "sched/thread.h"
#include "sys/signal.h"
#include "sys/sys.h"

#define MT_NSIG 64

/* Signals that are synchronous if the kernel raises them (si_code > 0). */
#define SIG_FAULTS                                                                               \
    (SIG_BIT(SIGSEGV) | SIG_BIT(SIGBUS) | SIG_BIT(SIGILL) | SIG_BIT(SIGFPE) | SIG_BIT(SIGTRAP) | \
     SIG_BIT(SIGSYS))
/* The open set: never in the host's mask while the guest or the runtime runs. */
#define SIG_OPEN (SIG_FAULTS | SIG_BIT(MT_SIG_KICK))
#define SIG_UNSTOPPABLE (SIG_BIT(SIGKILL) | SIG_BIT(SIGSTOP))

/* The host's mask for a guest's mask. */
#define SIG_HOST_MASK(guest) ((guest) & ~SIG_OPEN)
#define SIG_MASK_ALL (~0ull)

/* The process's dispositions (signal.c). */
typedef struct SigTable {
    GuestSigaction action[MT_NSIG + 1];
    SigMask dropped; /* what the kernel drops when it is sent, if it is not blocked. Atomic */
} SigTable;

/* What need not be blocked to keep the host handler away, and so is not: a signal that the kernel
 * would drop is kept if it is blocked, or given to another thread of the process, whose system call
 * it then interrupts. */
SigMask signal_dropped(const Thread *t);

/* While the slot is full; the kick may wait. */
static inline SigMask sig_mask_slot_full(const Thread *t)
{
    return ~SIG_FAULTS & ~signal_dropped(t);
}

/* May be read in a host handler: one aligned word. */
u64 signal_handler_sig(const Thread *t, int sig);

/* sig_handler.c */
void sig_handler_install(int sig,
                         const GuestSigaction *act); /* the host's action for the guest's */
void sig_handler_init(void);
bool sig_handler_is_dropped(int sig, const GuestSigaction *act);
/* Asks whether this is an init process, which the kernel spares default actions. True: it has
 * changed. */
bool sig_handler_look_for_init(void);
extern bool mt_is_init;
SigMask sig_host_setmask(SigMask m);            /* returns the old one */
void sig_host_requeue(const siginfo_t *info);   /* to this thread, keeping the siginfo */
void sig_host_give_away(const siginfo_t *info); /* to the process, if it was meant for it */
void sig_fill_slot(Thread *t, const siginfo_t *info, bool synchronous);

/* sig_defer.c: asynchronous signals of the open set that the guest has blocked, and signals for
 * which there is no room elsewhere. Per thread, FIFO for each signal. _sig: all signals are
 * blocked. */
void sig_defer_add_sig(const siginfo_t *info);
bool sig_defer_any(void);
u32 sig_defer_count(void);
void sig_defer_thread_init(void);
void sig_defer_thread_fini(void);
/* vfork: hides what there is (returns what `unhide` needs); `unhide` drops what came since. */
SigDeferred sig_defer_hide(void);
void sig_defer_unhide(SigDeferred hidden);
SigMask sig_defer_pending(void);
/* Takes the first one of the lowest signal that is in `set`. */
bool sig_defer_take(SigMask set, siginfo_t *out);
void sig_defer_drop(SigMask set);
/* sigwait: while set, a deferred signal of this set makes the thread's system call not begin. */
void sig_defer_watch(SigMask set);
bool sig_defer_watched_sig(int sig);

/* sig_default.c */
typedef enum SigDefault {
    SIG_DEFAULT_IGNORE,
    SIG_DEFAULT_STOP,
    SIG_DEFAULT_TERM,
    SIG_DEFAULT_CORE
} SigDefault;
SigDefault sig_default_of(int sig);
static inline bool sig_default_fatal(int sig)
{
    return sig_default_of(sig) >= SIG_DEFAULT_TERM;
}
/* Says why the guest dies, and where; then dies. */
_Noreturn void sig_default_die(Thread *t, const PendingSignal *p);

/* signal.c: moves a deferred signal that is not blocked any more into the slot, if that is free. */
void signal_take_deferred(Thread *t);
i64 signal_action(Thread *t, int sig, const GuestSigaction *act, GuestSigaction *old);
i64 signal_altstack(Thread *t, const GuestAltStack *ss, GuestAltStack *old);

#endif
