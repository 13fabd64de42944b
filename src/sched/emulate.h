/* SPDX-License-Identifier: BSD-2-Clause
 * emulate.h -- instructions done in C: those that would change the host's own segment state, and
 * control transfers that are too rare for a sequence of their own. */
#ifndef MT_EMULATE_H
#define MT_EMULATE_H

#include "sched/thread.h"

/* Does the INSN_EMULATE instruction at mt_cpu.rip (or an indirect branch through guest GS): mt_cpu
 * is changed as the processor would, or a synchronous signal becomes pending. True: it has been
 * executed. False: not, or not wholly: it has faulted, is another instruction by now, or (int 0x80)
 * is to be repeated. Slow domain, OUTSIDE. */
bool emulate_insn(Thread *t);

/* A branch has led to mt_cpu.rip, where there is no code. If that isn't canonical, a near call
 * would have faulted itself, and all that it did stands on the stack: is there an indirect call in
 * front of the return address, and does its operand still hold rip, then rip and rsp are made the
 * call's. OUTSIDE. */
void emulate_undo_call(void);

#endif
