/* SPDX-License-Identifier: BSD-2-Clause
 * family.h -- the processes that descend from another, as the kernel lists them. */
#ifndef MT_FAMILY_H
#define MT_FAMILY_H

#include "base/base.h"

#include <sys/types.h>

/* Has this process a child, dead ones that nobody has waited for included? */
bool family_exists(void);

/* Calls fn for each thread of each process that descends from `root` (0: from this one). A
 * process whose parent has ended is not found; nor is any where /proc is not to be had. */
void family_foreach(pid_t root, void (*fn)(void *arg, pid_t tgid, pid_t tid), void *arg);

#endif
