/* SPDX-License-Identifier: BSD-2-Clause
 * smc.h -- guest code that changes (docs/INVALIDATION.md), and the end of blocks. */
#ifndef MT_SMC_H
#define MT_SMC_H

#include "jit/block.h"
#include "sched/thread.h"

/* What the translator must know about a guest page that it reads code from. */
typedef struct PageWatch {
    u64 page;      /* page number */
    u32 entry;     /* names it in Block.pages */
    u32 version;   /* changes when the page's code may have changed */
    bool checked;  /* blocks must compare their bytes at entry */
    bool self;     /* the page writes to itself: end blocks behind each store */
} PageWatch;

void smc_init(void);

/* Before bytes of the page are read for translation: from now on every change of it changes its
 * version. Caller INSIDE or OUTSIDE. False: the page can't be executed. */
bool smc_watch(GuestAddr addr, PageWatch *w);

/* Registers b (in the map already) with its pages. False: one has changed since smc_watch(); b has been
 * retired. */
bool smc_register(Block *b, const PageWatch *w, u32 n);

/* aspace's change hook: [start, end) has changed. */
void smc_changed(GuestAddr start, GuestAddr end, int new_prot);

/* A host write fault at addr. True: it was our write protection; the guest can go on. `pc`: of the
 * writing instruction, 0 unknown; *step_over is set if that one instruction must be run in a private
 * translation. Caller OUTSIDE. */
bool smc_write_fault(GuestAddr addr, GuestAddr pc, bool *step_over);

/* A system call failed with EFAULT: makes all write-protected pages writable (dropping their
 * translations). True: there were any. */
bool smc_unprotect_all(void);

/* Retires one block (its bytes are stale). */
void smc_retire(Block *b);
/* The same for one that was never published. */
void smc_retire_private(Block *b);

/* Frees retired blocks after a grace period, if there are many. Caller OUTSIDE. */
void smc_reclaim(Thread *t);

/* World stopped, the block map empty: forgets all blocks and their memory (cache, arena). */
void smc_flush_world(void);

#endif
