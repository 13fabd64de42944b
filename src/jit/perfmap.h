/* SPDX-License-Identifier: BSD-2-Clause
 * perfmap.h -- /tmp/perf-PID.map, by which perf(1) names translated code (docs/PERFORMANCE.md). */
#ifndef MT_PERFMAP_H
#define MT_PERFMAP_H

#include "jit/block.h"

/* Adds a line for the block: "ADDR SIZE guest_PC file+offset". */
void perfmap_add(const Block *b);

/* The file must be there before a vfork child, which translates into its parent's cache, may need
 * it. */
void perfmap_before_vfork(void);
/* A forked child has a file of its own. World stopped. */
void perfmap_after_fork_child(bool shares_fds);

#endif
