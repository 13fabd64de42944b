/* SPDX-License-Identifier: BSD-2-Clause
 * world.h -- the big lock (a read/write lock, or one exclusive lock in sequential mode) and RCU.
 * A thread is INSIDE while it runs translated code or touches the translator's shared structures,
 * OUTSIDE otherwise (in particular in every system call that may block). */
#ifndef MT_WORLD_H
#define MT_WORLD_H

#include "base/base.h"
#include "sched/thread.h"

typedef struct WorldConfig {
    bool parallel; /* false: one thread inside at a time */
    int fair;      /* FAIR_* */
    u64 quantum;   /* sequential: blocks */
    bool seeded;   /* --sched-seed: hand-overs and quantum lengths come from `seed` */
    u64 seed;
    /* Interrupts t, so that it leaves translated code and looks at cpu->pending; false: t has no
     * kernel thread. What interrupts it clears Thread.kicked before anything else. */
    bool (*kick)(Thread *t);
} WorldConfig;

/* Once; 0 or -errno (membarrier is registered here; falls back to fences where it is missing). */
int world_init(const WorldConfig *c);

/* A new thread, before its first world_enter(), called by itself or for it by its creator; and its
 * end: the thread must be OUTSIDE, the Thread object may be freed afterwards. Both maintain the
 * list of threads (world_threads_lock). */
void world_attach(Thread *t);
void world_detach(Thread *t);

/* --sched-seed: somebody who matters is not on the list, so nobody is chosen to run. begin: by a
 * creator before it starts a thread, and by a thread before it detaches; end: by the new thread
 * when it has attached (or the creator, if it could not be started), and by the ending thread when
 * it has woken whom its end wakes (clear_child_tid, robust futexes). Cheap in the other modes. */
void world_transit_begin(void);
void world_transit_end(void);
bool world_in_transit(void);

/* Becomes INSIDE / OUTSIDE. Reader side: no shared line is written, no fence instruction; an RCU
 * read-side section lasts from enter to leave. enter waits while the world is stopped. Sequential
 * mode: enter takes the exclusive lock in order of arrival, leave gives it away. */
void world_enter(Thread *t);
void world_leave(Thread *t);

/* Sequential mode: what a thread leaves for. */
typedef enum WorldAway {
    AWAY,            /* may be away for any time */
    AWAY_SHORTLY,    /* soon back, whatever others do: with a seed, who is next waits for it */
    AWAY_KEEPS_TURN, /* comes back at once */
} WorldAway;
/* world_leave(); the turn, if it is kept, is charged with a system call. */
void world_leave_for(Thread *t, WorldAway away);

/* INSIDE, called by the run loop when cpu->pending has MT_PEND_WORLD or MT_PEND_RCU: leaves, lets
 * others go on, enters again; clears those bits. */
void world_safepoint(Thread *t);

/* Sequential mode: the quantum is used up (called by the run loop when cpu->quantum ran out). */
void world_quantum_end(Thread *t);

/* Stops the world, until world_resume(). Caller INSIDE or OUTSIDE (it is left as it was by
 * world_resume). Nested calls by the same thread count.
 * world_stop: on return nobody else executes guest code, or the runtime's code INSIDE. Threads may
 * stand still in translated code, without a processor: their guest registers are in the kernel's
 * hands, and what they may find when they leave it (code, blocks, edges) must stay as it is for
 * running threads. It does not wait for threads that have no processor, as long as they are in
 * translated code.
 * world_stop_empty: on return every other attached thread is OUTSIDE, its state complete. Waits
 * until each has had a processor. Not nested in a world_stop. */
void world_stop(Thread *t);
void world_stop_empty(Thread *t);
void world_resume(Thread *t);
/* By who has stopped the world: is it empty, or do threads perhaps stand in translated code? */
bool world_is_empty(void);

/* t, in WORLD_CODE, has found WORLD_HALT set (world_inl.h): waits, then is in WORLD_IN. */
void world_wait_halted(Thread *t);

/* Waits for an RCU grace period, kicking threads out of translated code. Caller OUTSIDE, not
 * stopping the world. */
void world_synchronize(Thread *t);

/* Calls fn for each attached thread, the world being stopped or the list lock taken. */
void world_foreach_thread(void (*fn)(Thread *, void *), void *arg);
u32 world_thread_count(void);

/* Lenders: kernel threads of this process that only sleep in place of a vfork's parent (FORK.md),
 * so not the guest's. Called by one, attached, before its first call for the guest; it counts until
 * the kernel has let it go. */
void world_lender_begin(void);
bool world_is_lender(pid_t tid);
/* Could there be one? Who asks while one is made may be told either. */
bool world_has_lenders(void);

/* fork: parent calls before_stop, OUTSIDE, then stops the world, then `before` last, when it holds
 * all other locks that the child must find free (lockorder.def). world_after_fork_parent() undoes
 * both. The child's thread list is only itself. In the child the stop is over (the thread is INSIDE
 * or OUTSIDE as before world_stop()); a world_resume() there does nothing. */
void world_before_fork_stop(Thread *t);
void world_before_fork(Thread *t);
/* Instead, if it comes to no fork after before_stop. */
void world_no_fork(Thread *t);
void world_after_fork_parent(Thread *t);
void world_after_fork_child(Thread *t);

/* In the parent, after a vfork child that used its Thread object is gone: if the child was killed
 * at a bad moment, gives back what it held. t is OUTSIDE afterwards. */
void world_vfork_returned(Thread *t);

/* Tracing among threads of one memory (sched_quiesce()): the thread, OUTSIDE, stands still until
 * its tracer, `by`, lets it go; the world lock is handed to others meanwhile. Locks of
 * world_before_fork() held. */
void world_freeze(Thread *by, pid_t tid);
/* `by` lets the thread go, or all of its tracees (tid 0). */
void world_thaw(Thread *by, pid_t tid);

/* The thread, OUTSIDE, is about to do a system call of the guest's: waits for kicks that are being
 * sent. Behind it, if cpu->pending is zero no kick comes before the thread has been INSIDE again
 * (K3 in world_scan.c). */
void world_wait_kicks(Thread *t);

/* The kernel thread behind t, which is OUTSIDE, is another one from now on: kicks that were sent to
 * the old one do not arrive. */
void world_kernel_thread_changed(Thread *t);

#endif
