/* SPDX-License-Identifier: BSD-2-Clause
 * settle.h -- --sched-seed: when is it certain which threads could run? */
#ifndef MT_SETTLE_H
#define MT_SETTLE_H

#include "base/base.h"

#include <sys/types.h>

/* At the start, and in a forked child. */
void settle_init(void);

/* Nobody holds the gate. Returns when every attached thread either is queued at the gate or sleeps
 * in a system call (or is stopped, or gone), and every thread of the processes that descend from
 * this one sleeps, all at one moment. */
void settle_wait(void);

/* Has the thread slept, or been stopped, for a while, without interruption? A disk takes its time:
 * with a seed, that is none of the reasons unless it takes very long. */
bool settle_sleeps(pid_t tgid, pid_t tid, bool seeded);

#endif
