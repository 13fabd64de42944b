/* SPDX-License-Identifier: BSD-2-Clause
 * runloop.h -- what a guest thread does on its host thread. */
#ifndef MT_RUNLOOP_H
#define MT_RUNLOOP_H

#include "sched/thread.h"

/* Runs the guest from the state in mt_cpu until t->exiting. The thread is attached to the world and
 * OUTSIDE, before and after. */
void run_loop(Thread *t);

/* A function that the tool has replaced has faulted, at memory that the guest told it of: `pending`
 * holds the signal. Entered from the host's handler, on the faulting stack. */
_Noreturn void run_loop_replaced_faulted(void);

/* Installs the run loop's hooks into lower layers; once, before threads. */
void run_loop_init(void);

#endif
