/* SPDX-License-Identifier: BSD-2-Clause
 * diskcache.h -- translations that are kept on disk for later runs (docs/DISKCACHE.md). */
#ifndef MT_DISKCACHE_H
#define MT_DISKCACHE_H

#include "jit/insn.h"
#include "jit/lower.h"
#include "sched/thread.h"

/* Is there a folder to read from and write to? Immutable once guest code runs, but that it may
 * become false. */
extern bool mt_diskcache_on;

/* Once, when the translator is there and signals are handled, before guest code runs. `program`:
 * path of the guest's. */
void diskcache_init(const char *program);

/* INSIDE, slow domain. There is no translation for pc: reads those that begin on its page. True:
 * there may be one now. */
bool diskcache_load(GuestAddr pc);

/* INSIDE. A translation of these instructions, b, has been published. */
void diskcache_note(const Block *b, const Insn *insns, u32 n);

/* Were there translations on disk at the start? */
bool diskcache_has_file(void);

/* Writes what the process has translated: it ends, or all of it is going to be thrown away. Caller
 * OUTSIDE. */
void diskcache_save(Thread *t);

/* Nothing will be written any more: the process may not do all system calls from now on. */
void diskcache_off(void);

#endif
