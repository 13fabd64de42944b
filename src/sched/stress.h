/* SPDX-License-Identifier: BSD-2-Clause
 * stress.h -- --stress=...: rare paths forced at random moments, from a printed seed. */
#ifndef MT_STRESS_H
#define MT_STRESS_H

#include "sched/thread.h"

extern bool mt_stress_on;

/* Parses the options; prints the seed. Exits with one line if they are wrong. */
void stress_init(void);

/* INSIDE the world, with no block held but for what the caller looks up again. True: the world has
 * been left, so that blocks and edges known before may be gone. */
bool stress_now(Thread *t);

static inline bool stress_point(Thread *t)
{
    return MT_UNLIKELY(mt_stress_on) && stress_now(t);
}

#endif
