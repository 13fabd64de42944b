/* SPDX-License-Identifier: BSD-2-Clause
 * entry.h -- entering and leaving translated code (entry.S). */
#ifndef MT_ENTRY_H
#define MT_ENTRY_H

#ifndef __ASSEMBLER__
#include "base/base.h"

/* Loads the guest's registers from mt_cpu and jumps to host_pc; returns when the code is left: a
 * MT_EXIT_* value. mt_cpu then holds the guest's registers and flags (rip as the reason says). The
 * guest's vector state must be in the registers before and is in them afterwards (D5). */
u32 cache_enter(u64 host_pc);

extern const char cache_entering_begin[], cache_entering_end[], cache_enter_abort[];
/* Where the glue in the cache jumps to, by exit reason. */
extern const char exit_direct[], exit_ib_miss[], exit_syscall[], exit_emulate[], exit_quantum[],
    exit_gs[], exit_ib_key[];
/* The second look-up of an indirect branch, which goes on in translated code if it succeeds; guest
 * registers may be in slots there (recover.c). */
extern const char ib_ret_miss[], ib_ret_other[], ib_ret_unswapped[], ib_probe_begin[],
    ib_probe_rax[], ib_probe_rdx[], ib_probe_end[];
/* Where a host signal handler that recovered the state sends the thread. */
extern const char exit_signal[];
#endif

#define MT_EXIT_ABORT 0   /* not entered: `pending` was set */
#define MT_EXIT_DIRECT 1  /* exit_arg: BlockRef, exit_steps: which link */
#define MT_EXIT_IB_MISS 2 /* target in slot[1], rcx in slot[0] */
#define MT_EXIT_SYSCALL 3 /* exit_arg: EdgeRef */
#define MT_EXIT_EMULATE 4 /* exit_arg: EdgeRef */
#define MT_EXIT_SIGNAL 5  /* state complete in mt_cpu, vector state saved */
#define MT_EXIT_QUANTUM 6 /* exit_arg: EdgeRef */
#define MT_EXIT_GS 7      /* exit_arg: EdgeRef */
#define MT_EXIT_IB_KEY 9  /* as MT_EXIT_IB_MISS; exit_arg: the target's version */
#define MT_EXIT_OUTSIDE 8 /* from fast_run(): state complete, the thread is OUTSIDE the world */

#endif
