/* SPDX-License-Identifier: BSD-2-Clause
 * childcode.h -- code that forked children have had to translate is translated by their parent
 * before it forks again: children of one program do much the same, and what one translates is gone
 * with it. */
#ifndef MT_CHILDCODE_H
#define MT_CHILDCODE_H

#include "sched/thread.h"

/* In any process: pc, of version 0, has been translated, with these flags (TR_WANT_IND,
 * TR_WANT_CALL, TR_LOOP), or made known to indirect branches (TR_WANT_IND). Tells the parent, if
 * there is one to tell. */
void childcode_note(GuestAddr pc, u32 flags);

/* OUTSIDE, before the world is stopped for a fork: translates what two children have told of. */
void childcode_before_fork(Thread *t);

/* In the child: its parent's table is the one to tell, its own children are none yet. */
void childcode_after_fork_child(void);

#endif
