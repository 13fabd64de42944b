/* SPDX-License-Identifier: BSD-2-Clause
 * robust.h -- the robust futex list at a thread's end. */
#ifndef MT_ROBUST_H
#define MT_ROBUST_H

#include "sched/thread.h"

/* Releases the futexes on the guest thread's robust list as the kernel would at the end of the
 * thread, and takes the list from the kernel, which would look at it later, when the guest may have
 * given that memory away. */
void robust_exit(Thread *t);

#endif
