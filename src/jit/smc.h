/* SPDX-License-Identifier: BSD-2-Clause
 * smc.h -- guest code that changes (docs/INVALIDATION.md), and the end of blocks. */
#ifndef MT_SMC_H
#define MT_SMC_H

#include "base/atomics.h"
#include "jit/block.h"
#include "sched/thread.h"

/* What the translator must know about a guest page that it reads code from. */
typedef struct PageWatch {
    u64 page;     /* page number */
    u32 entry;    /* names it in Block.pages */
    u32 version;  /* changes when the page's code may have changed */
    bool checked; /* blocks must compare their bytes at entry */
    bool self;    /* the page writes to itself: end blocks behind each store */
    /* Filled in by who watches it: offsets of the first and the last instruction that begins
     * there. */
    u16 lo, hi;
} PageWatch;

/* Once, before code is translated. */
void smc_init(void);

/* Before bytes of the page are read for translation: from now on every change of it changes its
 * version. Caller INSIDE or OUTSIDE. False: the page can't be executed. */
bool smc_watch(GuestAddr addr, PageWatch *w);

/* Publishes b and registers it with its pages, in one step with respect to changes of these: a
 * thread that has changed a page never finds a block made of what was there before. Returns b, or
 * the block that another thread published first, or NULL: a page has changed since smc_watch(); b
 * is not in the map then. */
Block *smc_publish(Block *b, const PageWatch *w, u32 n);

/* Where translated code can be entered. */
typedef struct Place {
    Block *block;
    CacheOff at;
} Place;

/* Where the guest's code at pc is translated, version `key`: a block that begins there, or else the
 * middle of one, if blocks may be entered there (enters_inside()) and it is not to be a block of
 * its `own`: indirect branches and host calls need an entry, loops are faster. INSIDE. */
bool smc_find_code(GuestAddr pc, u32 key, bool own, Place *place);

/* aspace's change hook: [start, end) has changed. */
void smc_changed(GuestAddr start, GuestAddr end, int new_prot);

/* A host write fault at addr. True: it was our write protection; the guest can go on. `pc`: of the
 * writing instruction, 0 unknown; *step_over is set if that one instruction must be run in a
 * private translation. Caller OUTSIDE. */
bool smc_write_fault(GuestAddr addr, GuestAddr pc, bool *step_over);

/* How often what failed with EFAULT because of a protected page is done again: others may run code
 * there, and have it protected, all the time. A page is not protected that often, but one that lies
 * in the way of something whose ranges are not known. */
#define MT_EFAULT_REPEATS 10u

/* A system call failed with EFAULT: makes all write-protected pages writable (dropping their
 * translations). True: there were any, or other threads have made some writable since this thread
 * called it last: the call is to be repeated. */
bool smc_unprotect_all(void);

/* What a system call must know of protected pages: whether there are any, and whether some were
 * freed while it ran. Any thread, fast domain too. */
extern u32 mt_smc_protected, mt_smc_epoch; /* atomic: pages protected; protections removed so far */
static inline u32 smc_write_epoch(void)
{
    return mt_load_acquire(&mt_smc_epoch);
}

/* The range that holds all protected pages, while there are any. */
extern u64 mt_smc_lo, mt_smc_hi;
static inline bool smc_any_protected(void)
{
    return mt_load_acquire(&mt_smc_protected) != 0; /* pairs with the count's increment */
}

/* Can a write to [addr, addr + len) hit a protected page? */
static inline bool smc_may_hit(GuestAddr addr, u64 len)
{
    u64 lo;

    if (!smc_any_protected()) {
        return false;
    }
    lo = mt_load_relaxed(&mt_smc_lo);
    return addr < mt_load_relaxed(&mt_smc_hi) && (addr >= lo || lo - addr < len);
}

/* The kernel is going to write to [start, start + len): makes protected pages there writable
 * (dropping their translations). True: there were any. Caller OUTSIDE. */
bool smc_allow_write(GuestAddr start, u64 len);

/* b, which checks its bytes, is one of those that do so most: its pages are to be protected again,
 * if they may be. INSIDE. */
void smc_check_less(const Block *b);

/* Retires one block (its bytes are stale). */
void smc_retire(Block *b);
/* The same for one that was never published. */
void smc_retire_private(Block *b);

/* Frees retired blocks after a grace period, if there are many. Caller OUTSIDE. */
void smc_reclaim(Thread *t);

/* fork, world stopped, aspace_lock held: until the child is there nobody OUTSIDE unlinks or frees
 * blocks. `after` in parent and child. */
void smc_before_fork(void);
void smc_after_fork(void);

/* As safe_write(), but a write-protected code page is made writable. Caller OUTSIDE. */
int smc_safe_write(GuestAddr to, const void *from, size_t n);

/* Keeps everybody else from unlinking blocks (which threads OUTSIDE do as well). */
void smc_lock(void);
void smc_unlock(void);

/* World stopped: forgets all blocks and their memory (map, cache, arena). */
void smc_flush_world(void);

#endif
