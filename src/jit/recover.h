/* SPDX-License-Identifier: BSD-2-Clause
 * recover.h -- what a host signal handler asks the translator. Signal-safe; general registers
 * only. */
#ifndef MT_RECOVER_H
#define MT_RECOVER_H

#include "base/base.h"

#include <sys/ucontext.h>

typedef enum HostWhere {
    WHERE_RUNTIME,  /* C code, or assembly that needs no care */
    WHERE_CACHE,    /* in translated code: guest state can be recovered */
    WHERE_ENTERING, /* between the last check of `pending` and translated code */
    WHERE_SYSCALL,  /* between the last check of `pending` and a guest system call's `syscall`
                        instruction, that included */
} HostWhere;

HostWhere recover_where(u64 host_pc);

/* WHERE_CACHE: writes the exact guest registers, rip and rflags at the interruption into mt_cpu,
 * then changes uc so that the handler returns into the run loop. The guest's vector state is in the
 * registers when the handler has returned, and the fast path saves it then (the signal is delivered
 * later, by the run loop). For a synchronous signal mt_cpu.rip is the faulting instruction's
 * address (int3: the address behind it). */
void recover_leave_cache(ucontext_t *uc);

/* WHERE_CACHE, an asynchronous signal: is the thread in a tool's code behind an instruction? Then
 * it goes on in a copy of that, which leads to the run loop. `pending` must be set. False: leave
 * the cache. */
bool recover_finish(ucontext_t *uc);

/* SIGBUS of the alignment check: may it be the check of code that changes? A private translation
 * has none. */
bool recover_may_be_check(u64 host_pc);

/* SIGSEGV, SIGBUS: if a load or store of a tool's code has faulted, goes on at its slow call. */
bool recover_tool_fault(ucontext_t *uc);

/* WHERE_ENTERING, WHERE_SYSCALL: changes uc so that the thread goes back to the run loop with guest
 * state as in mt_cpu (nothing has been done yet). */
void recover_abort(ucontext_t *uc);

/* Behind recover_leave_cache(): is the instruction that was interrupted, a return, done all the
 * same? A fault there is not the guest's. */
bool recover_is_done(void);

/* Translated code was not entered again at this place, which is in front of an instruction: makes
 * mt_cpu's registers, which are the guest's, exact in the other fields too. Fast domain, INSIDE. */
void recover_in_front(u64 host_pc);

/* Slow domain, before anything else that is done with the state: completes what a call or return
 * was interrupted in (mt_cpu.fix). */
void recover_fix_stack(void);
/* The same behind an EDGE_CALL that was not linked: what is left to do is what the entry for calls
 * does. */
void recover_unlinked_call(void);

#endif
