/* SPDX-License-Identifier: BSD-2-Clause
 * clone.h -- guest threads and processes: their start and their end. See sys.h for the entry points
 * that system calls use (sched_clone, sched_fork, sched_vfork, sched_exit_group). */
#ifndef MT_CLONE_H
#define MT_CLONE_H

#include "sched/thread.h"

/* The Thread of the calling host thread, attached to the world, with signals set up; for main and
 * for new threads. NULL: no memory. */
Thread *thread_start(bool is_main);

/* The reverse, for a thread whose run loop has ended. Does what the kernel does for the guest's
 * thread: robust futexes, CLEARTID. If it was the last thread the end-of-run reports are made. */
void thread_end(Thread *t);

/* Has this process, or one that it was forked from, ever had a second thread? */
bool thread_was_started(void);

/* fork's child: forgets the other threads. */
void thread_count_fork_child(void);

/* Writes and wakes the CLONE_CHILD_CLEARTID word. */
void thread_clear_tid(Thread *t);

/* A child that shares the caller's memory, as sched_vfork(); in the child's memory, which is the
 * caller's, its pid is stored to *pid_out, *done set to 1 and woken as soon as it runs (if not
 * NULL). Returns, when the child is gone or has exec'ed, its pid; or -errno. */
i64 vfork_process(Thread *t, u64 flags, u64 ptid, u64 ctid, u64 stack, u64 tls, int exit_signal,
                  i64 *pid_out, u32 *done);

/* Reports at the end of the run, once for the process. */
void process_finish(Thread *t);

#endif
