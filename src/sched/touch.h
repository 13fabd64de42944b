/* SPDX-License-Identifier: BSD-2-Clause
 * touch.h -- sequential mode: page faults that other guest threads end are waited for OUTSIDE. */
#ifndef MT_TOUCH_H
#define MT_TOUCH_H

#include "sched/thread.h"

/* OUTSIDE: accesses what the guest instruction at mt_cpu.rip will, and waits for it to be there.
 * Ends early if a signal is pending. */
void touch_operands(Thread *t);

#endif
