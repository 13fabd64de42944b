/* SPDX-License-Identifier: BSD-2-Clause
 * clone.h -- guest threads and processes: their start and their end. See sys.h for the entry points
 * that system calls use (sched_clone, sched_fork, sched_vfork, sched_exit_group). */
#ifndef MT_CLONE_H
#define MT_CLONE_H

#include "sched/thread.h"

/* The Thread of the calling host thread, attached to the world, with signals set up; for main and for
 * new threads. NULL: no memory. */
Thread *thread_start(bool is_main);

/* The reverse, for a thread whose run loop has ended. Does what the kernel does for the guest's
 * thread: robust futexes, CLEARTID. If it was the last thread the end-of-run reports are made. */
void thread_end(Thread *t);

/* clone with CLONE_VM but neither CLONE_THREAD nor CLONE_VFORK. */
i64 sched_clone_process(Thread *t, u64 flags, u64 stack, u64 ptid, u64 ctid, u64 tls,
                        int exit_signal);

/* Reports at the end of the run, once for the process. */
void process_finish(Thread *t);

#endif
