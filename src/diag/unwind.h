/* SPDX-License-Identifier: BSD-2-Clause
 * unwind.h -- who called whom: the return addresses on a guest thread's stack.
 * Knows no names: symbols.h has them. Usable for any thread of the guest whose registers are known
 * and that stands still. Slow domain; not in a signal handler. */
#ifndef MT_UNWIND_H
#define MT_UNWIND_H

#include "base/base.h"
#include "guest/cpu.h"

#define MT_CALLERS_MAX 500 /* --num-callers at most */

/* Fills pcs with at most max addresses, the innermost first, and returns how many: the first is the
 * instruction at rip, those behind it lie in the call instructions, but for one that was
 * interrupted by a signal: that is the instruction to be executed next. `files`: files may be
 * opened for tables that are not in memory. */
unsigned unwind_stack(const CpuState *cpu, GuestAddr *pcs, unsigned max, bool files);

/* Is this the code by which a signal handler returns? */
bool unwind_is_sigreturn(GuestAddr pc);

#endif
