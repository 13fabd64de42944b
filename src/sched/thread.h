/* SPDX-License-Identifier: BSD-2-Clause
 * thread.h -- guest threads as the runtime knows them. */
#ifndef MT_THREAD_H
#define MT_THREAD_H

#include "base/base.h"
#include "guest/cpu.h"

#include <pthread.h>
#include <signal.h>
#include <sys/types.h>
#include <sys/ucontext.h>

/* The kernel's view of a signal mask: 64 bits, bit (sig-1). */
typedef u64 SigMask;
#define SIG_BIT(sig) (1ull << ((sig)-1))

typedef struct GuestAltStack {
    u64 sp;
    u32 flags; /* SS_* as the guest gave them */
    u64 size;
} GuestAltStack;

/* The one signal that the runtime may hold for a thread (ARCHITECTURE.md, D7).
 * Written by the thread's own host handler, read by its run loop. */
typedef struct PendingSignal {
    siginfo_t info;
    volatile bool full;
    bool synchronous;     /* raised by the guest instruction at cpu.rip: never blocked or queued */
    u64 trapno, err, cr2; /* for the guest's sigcontext */
} PendingSignal;

/* Room for the runtime's own calls in each thread. */
#define MT_HOST_STACK (256u * 1024)

/* Where a thread is with respect to the gate of sequential mode (world_seq.c). */
enum {
    GATE_AWAY,     /* OUTSIDE: in a system call, or on its way to or from one */
    GATE_ARRIVING, /* about to queue up */
    GATE_WAITING,  /* in a queue of the gate */
    GATE_HOLDS,    /* its turn */
};

/* What a stop or a grace period that waits for the thread has seen (world_scan.c). */
typedef struct WorldScan {
    struct Thread *next; /* to be waited for */
    u32 world, rcu;
} WorldScan;

/* A guest thread. */
typedef struct Thread {
    /* immutable after start */
    CpuState *cpu;
    pid_t tid; /* kernel thread id, the guest's gettid() */
    pid_t tgid;
    pthread_t host;
    bool is_main;
    void *host_altstack;

    /* own thread only */
    SigMask sigmask;       /* the guest's signal mask (the host's is the same, less the kick) */
    SigMask saved_sigmask; /* sigsuspend, ppoll...: mask to put into the signal frame */
    bool saved_sigmask_valid;
    GuestAltStack altstack;
    PendingSignal pending;
    bool disturbed; /* set by the handler: a signal has arrived that is not delivered (sys.h) */
    u64 clear_child_tid;
    bool step_over;   /* run the next instruction in a private translation */
    bool tf_loaded;   /* popf has set TF in the host's flags, from where the handler has taken it */
    bool trap_behind; /* what is done OUTSIDE belongs to an instruction that began with TF set */
    /* The instruction that is done OUTSIDE has a tool's code behind it: so many of these bytes. */
    u8 behind_n;
    u8 behind_bytes[15];
    u32 behind_key;
    GuestAddr behind_pc;
    bool exiting; /* the run loop ends */
    int exit_code;
    bool in_syscall;           /* rip is behind a system call that has just been done */
    u32 doing;                 /* number + 1 of the guest's call that a handler is doing; 0: none */
    bool slow_call;            /* the next system call is not for the fast path (mt_all_slow) */
    bool is_vfork_child;       /* runs in the parent's memory until exec or exit */
    void *fault_env;           /* a replaced function runs: where its faults lead (runloop.c) */
    struct SigTable *sigtable; /* NULL: the process's; a vfork child has its own (signal.c) */

    /* changed under the thread list's lock; `next` atomic, for scans */
    struct Thread *next, *prev;

    /* World lock, RCU (world_inl.h, world_int.h). Atomic, written by the thread itself only; a
     * cache line of their own, which others read only while they stop the world or synchronise. */
    _Alignas(64) u32 world_state; /* WORLD_* (world_inl.h), and one stay more at each leave */
    u32 rcu_state;                /* odd: in an RCU section outside the world lock */
    u32 rcu_nest;                 /* own: depth of RCU sections */
    u32 world_stop_depth;         /* own: nested world_stop() */
    bool world_stop_was_inside;   /* own */
    /* Atomic: a kick has been sent and has not arrived. Set by a stopper, in mt_world.kicks, before
     * it sends; cleared by the thread's handler (K1 in world_scan.c). */
    u32 kicked;

    /* Atomic; written by whoever parks and unparks the thread. */
    _Alignas(64) u32 futex;
    /* Sequential mode: GATE_*; written by the thread itself, or for one that stands still. */
    u32 gate_phase;
    /* atomic: the kernel thread that sleeps until the vfork child which uses this one has exec'ed;
     * 0: none */
    pid_t vfork_tid, vfork_tgid;
    /* guarded by the world lock's queue lock */
    struct Thread *wait_next;
    /* Set by others with the world stopped, cleared by the thread: it has lost its turn in a page
     * fault. */
    bool turn_lost;
    bool keeps_turn; /* atomic, own: OUTSIDE for a call that does not block (Q6 in world_seq.c) */
    struct Thread *frozen_by; /* its tracer (world_freeze()), or NULL */
    /* It was taken out of the gate's queue, or of a turn that it did not know of; */
    bool frozen_waits;
    /* it was taken out of the queue of those that want to stop the world. */
    bool frozen_stopper;
    /* [0] guarded by the world lock's scan lock, [1] by its grace lock */
    WorldScan scan[2];
    /* guarded by the thread list's lock; immutable while attached */
    u32 world_index;
} Thread;

static inline Thread *thread_self(void)
{
    return mt_cpu.thread;
}

/* Sends the kick signal: t leaves translated code if it runs it, and looks at cpu->pending. False:
 * there is no such kernel thread. For the world lock, which sets the bits first. */
bool thread_kick(Thread *t);

#endif
