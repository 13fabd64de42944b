/* SPDX-License-Identifier: BSD-2-Clause
 * aspace_int.h -- what the files of aspace share. Private to src/guest.
 * Everything here needs aspace_lock, unless said otherwise. */
#ifndef MT_ASPACE_INT_H
#define MT_ASPACE_INT_H

#include "guest/aspace.h"
#include "guest/aspace_map.h"

#include <sys/mman.h>

/* Newer than the headers of some systems that mtvg is built on. */
#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif
#ifndef MAP_ABOVE4G
#define MAP_ABOVE4G 0x80
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

/* Nodes that one operation may need: two splits, the new mapping, growth of a stack. */
#define ASPACE_NODES 6

/* The kernel keeps this free below a mapping that grows down (stack_guard_gap's default). */
#define ASPACE_STACK_GUARD (256 * MT_PAGE_SIZE)

/* --- the host's system calls: result or -errno; no lock needed --- */
i64 host_mmap(GuestAddr addr, u64 len, int prot, int flags, int fd, u64 off);
i64 host_munmap(GuestAddr addr, u64 len);
i64 host_mprotect(GuestAddr addr, u64 len, int prot, int pkey);

/* --- aspace.c --- */
void aspace_changed(GuestAddr start, GuestAddr end, int new_prot); /* calls the hook */
static inline void aspace_tell(AspaceEvent what, GuestAddr start, GuestAddr end, int prot,
                               GuestAddr from)
{
    if (aspace_event_hook != NULL) {
        aspace_event_hook(what, start, end - start, prot, from);
    }
}
int aspace_effective_prot(int prot); /* what the kernel makes of it (READ_IMPLIES_EXEC) */

/* Is the node memory that the guest may change? */
static inline bool node_is_guest(const MapNode *n)
{
    return n->kind == MAP_GUEST;
}

/* Has the host anything in [start, end), where the guest has nothing? */
bool aspace_host_has(GuestAddr start, GuestAddr end);

/* The kernel grows stacks by itself: brings nodes with MAP_GROWSDOWN up to date that may have grown
 * into [start, end). Needs no prepared node. Call it before relying on what is free there. */
void aspace_sync_growth(GuestAddr start, GuestAddr end);

/* --- aspace_place.c --- */

/* Which part of the address space a mapping without a fixed address prefers. */
typedef enum Region {
    REGION_ANON,
    REGION_IMAGE,
    REGION_LOW /* the image window and nowhere else */
} Region;

/* The first address behind the room that is kept free for the brk heap. */
u64 place_brk_limit(void);

/* A free aligned range, first in `region`, then wherever there is room. 0: none. */
GuestAddr place_find(u64 len, u64 align, Region region);

/* Is there nothing in [start, end) but, perhaps, things of the host's, which may be gone by now? */
bool place_may_be_free(GuestAddr start, GuestAddr end);

/* mmap at exactly [addr, addr + len), where place_may_be_free(); never replaces what the host has
 * there. addr, or -EEXIST (something of the host's is there), or the kernel's error. */
i64 place_map(GuestAddr addr, u64 len, int prot, int flags, int fd, u64 off);

/* After -EEXIST from [lo, hi), which place_find() chose: enters what the host has in that region as
 * foreign, so that it isn't chosen again. False: there is no point in trying again. */
bool place_learn(GuestAddr lo, GuestAddr hi);

/* Takes the parts of [start, end) that aren't the guest's, so that MAP_FIXED over the whole range
 * hits only guest memory. 0, or -EEXIST (something of the host's is there; nothing is left taken)
 * or -ENOMEM. place_unclaim() gives them back, for when the operation has failed. */
int place_claim(GuestAddr start, GuestAddr end);
void place_unclaim(GuestAddr start, GuestAddr end);

/* After a failed MAP_FIXED: forgets guest mappings in the range that the kernel has removed. */
void place_resync(GuestAddr start, GuestAddr end);

/* Enters a new mapping over whatever was there. `n` describes it; takes over n->object. */
void aspace_enter(const MapNode *n);

/* --- aspace_mmap.c --- */

/* Pages of the mapping: 4 KiB, or a huge page's size. */
u64 aspace_node_page(const MapNode *n);

/* Unmaps the guest's memory in [start, end). 0 or -errno. */
i64 aspace_unmap_locked(GuestAddr start, GuestAddr end);

/* Reserves room for an ELF image in the image window: PROT_NONE, aligned. Takes the lock itself.
 * Address or -errno. */
i64 aspace_reserve_image(u64 len, u64 align);

/* mmap of anonymous memory with a name for /proc/self/maps at a fixed place; `flags` without
 * MAP_FIXED. Needs prepared nodes. Address or -errno. */
i64 aspace_map_named(GuestAddr addr, u64 len, int prot, int flags, const char *name);

#endif
