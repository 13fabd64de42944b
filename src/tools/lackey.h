/* SPDX-License-Identifier: BSD-2-Clause
 * lackey.h -- what lackey's two files share: --trace-mem (lackey_trace.c). */
#ifndef MT_LACKEY_H
#define MT_LACKEY_H

#include "tools/tools.h"

void lackey_trace(MtvgSb *sb);
void lackey_trace_thread_start(struct Thread *t);
void lackey_trace_thread_end(struct Thread *t);
void lackey_trace_fork_child(struct Thread *t);
void lackey_trace_finish(void);

#endif
