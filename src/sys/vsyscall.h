/* SPDX-License-Identifier: BSD-2-Clause
 * vsyscall.h -- the fixed page at the end of the address space, from where old programs call
 * time(), gettimeofday() and getcpu(). */
#ifndef MT_VSYSCALL_H
#define MT_VSYSCALL_H

#include "sched/thread.h"

#define MT_VSYSCALL_PAGE 0xffffffffff600000ull

/* The guest has jumped to mt_cpu.rip, where no code can be read. True: that was the page, and what
 * the kernel does there has been done: the call and the return from it, or a signal raised. */
bool vsyscall_call(Thread *t);

#endif
