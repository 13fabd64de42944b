/* SPDX-License-Identifier: BSD-2-Clause
 * runloop_int.h -- what runloop.c and step.c share. Nobody else includes it. */
#ifndef MT_RUNLOOP_INT_H
#define MT_RUNLOOP_INT_H

#include "guest/cpu.h"
#include "jit/block.h"
#include "sched/runloop.h"

#define EFLAGS_TF 0x100ull

/* What is to be done OUTSIDE the world. */
typedef enum Action {
    ACT_NONE,
    ACT_SYSCALL,
    ACT_EMULATE,
    ACT_REPLACE,
    ACT_FETCH_FAULT,
} Action;

/* How translated code was left last, for the next lookup. */
typedef struct Way {
    Edge *edge; /* to be linked, or NULL */
    u32 generation;
    bool indirect, call;
} Way;

/* Runs the one instruction at rip in a private translation, made with TR_STEP and `flags`. INSIDE.
 * Returns an MT_EXIT_*; *act, *fault: as run_after_exit(). */
u32 run_one(Thread *t, u32 flags, Action *act, GuestAddr *fault);

/* Translated code was left for `reason`: sets rip as the exit says, and what *way is for the next
 * look-up. True: go on INSIDE. False: *act is to be done OUTSIDE (ACT_FETCH_FAULT: at *fault). */
bool run_after_exit(Thread *t, u32 reason, Way *way, Action *act, GuestAddr *fault);

/* --- step.c --- */

/* With TF set, or for a tracer: executes one instruction, and raises the trap behind it. Returns
 * what is to be done OUTSIDE (then the trap comes behind that: t->trap_behind). */
Action step_run(Thread *t, GuestAddr *fault);

/* Has a popf that sets TF been executed, and TF been taken out of the host's flags by the handler?
 * Then it is the guest's from now on. */
void step_take_loaded_tf(Thread *t);

/* SIGTRAP, if no other synchronous signal is pending. */
void step_raise_trap(Thread *t);

#endif
