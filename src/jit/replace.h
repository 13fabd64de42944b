/* SPDX-License-Identifier: BSD-2-Clause
 * replace.h -- guest functions that a tool has replaced: found by symbol when an image is mapped. */
#ifndef MT_REPLACE_H
#define MT_REPLACE_H

#include "guest/aspace.h"
#include "mtvg/tool.h"

extern bool mt_replacing; /* the tool has asked for any */

/* Finds the functions in executable file mappings. Takes aspace_lock. */
void replace_look(GuestAddr start, u64 len);
/* aspace_lock is held: nothing is replaced there any more. */
void replace_forget(GuestAddr start, u64 len);

/* In a fork's child: other threads may have been reading. */
void replace_after_fork_child(void);

typedef struct Replaced {
    MtvgReplacement fn;
    u64 arg;
    GuestAddr stands_for; /* not 0: pc is an IFUNC's resolver, which returns this */
} Replaced;

/* What the function at pc is replaced by. out: may be NULL. */
bool replace_find(GuestAddr pc, Replaced *out);

#endif
