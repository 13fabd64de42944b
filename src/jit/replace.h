/* SPDX-License-Identifier: BSD-2-Clause
 * replace.h -- guest functions that a tool has replaced: found by symbol when an image is
 * mapped. */
#ifndef MT_REPLACE_H
#define MT_REPLACE_H

#include "base/atomics.h"
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
    MtvgLightReplacement light; /* or NULL */
    u64 arg;
    GuestAddr stands_for; /* not 0: pc is an IFUNC's resolver, which returns this */
} Replaced;

/* What the function at pc is replaced by. out: may be NULL; otherwise the thread remembers. */
bool replace_find(GuestAddr pc, Replaced *out);

/* For the fast domain: what replace_find() has found for this thread, if nothing has changed
 * since. */
typedef struct ReplaceRecent {
    GuestAddr pc;
    u32 changes;
    Replaced what;
} ReplaceRecent;

#define MT_REPLACE_RECENT 32
extern __thread ReplaceRecent mt_replace_recent[MT_REPLACE_RECENT];
/* Atomic; changed with the table, by its lock's holder. Who reads an old value uses what was right
 * when the guest made its call. */
extern u32 mt_replace_changes;

static inline ReplaceRecent *replace_recent_slot(GuestAddr pc)
{
    return &mt_replace_recent[(pc ^ pc >> 5) % MT_REPLACE_RECENT];
}

static inline const Replaced *replace_recent(GuestAddr pc)
{
    const ReplaceRecent *r = replace_recent_slot(pc);

    return r->pc == pc && r->changes == mt_load_relaxed(&mt_replace_changes) ? &r->what : NULL;
}

#endif
