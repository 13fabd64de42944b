/* SPDX-License-Identifier: BSD-2-Clause
 * aspace_place.c -- chooses addresses, and takes them without ever touching the runtime's memory.
 * Role:       the only callers of mmap with a fixed address are here and in aspace_mmap.c.
 * Invariants: A2 of aspace.c. The host's libraries, heap and thread stacks may appear anywhere at
 *             any moment, so that a hole in our map is only a guess until MAP_FIXED_NOREPLACE
 *             succeeds.
 * Locking:    aspace_lock. */
#include "guest/aspace_int.h"
#include "guest/hostmaps.h"
#include "guest/layout.h"

#include <errno.h>

#define NONPIE_HI 0x20000000ul /* see layout.c: below, only if there is no other room */
#define BRK_ROOM (1ull << 40)
#define STACK_ROOM (64ull << 30)
#define HUGE_LEN (16ull << 30) /* from here on the huge region comes before the anon region */

static u64 anon_size(void)
{
    return mt_layout.anon_hi - mt_layout.anon_lo;
}

/* The anon region up to here is kept for the heap, wherever that is. */
static u64 heap_room_end(void)
{
    u64 room = anon_size() / 4;
    return mt_layout.anon_lo + (room < BRK_ROOM ? MT_PAGE_DOWN(room) : BRK_ROOM);
}

u64 place_brk_limit(void)
{
    /* In the image window the heap ends at the next mapping: often the code cache. */
    return mt_layout.brk_base < mt_layout.image_hi ? mt_layout.image_hi : heap_room_end();
}

/* The anon region from here on is kept for the main stack. */
static u64 stack_room_start(void)
{
    u64 room = anon_size() / 8;
    return mt_layout.stack_top - (room < STACK_ROOM ? MT_PAGE_DOWN(room) : STACK_ROOM);
}

GuestAddr place_find(u64 len, u64 align, Region region)
{
    enum { IMAGE = 1 << REGION_IMAGE, ANON = 1 << REGION_ANON, LOW = 1 << REGION_LOW };
    const bool huge = len >= HUGE_LEN;
    const struct {
        u64 lo, hi;
        u32 regions;
    } areas[] = {
        {NONPIE_HI, mt_layout.image_hi, IMAGE | LOW},
        {mt_layout.huge_lo, huge ? mt_layout.huge_hi : 0, IMAGE | ANON},
        {heap_room_end(), stack_room_start(), IMAGE | ANON},
        {mt_layout.huge_lo, mt_layout.huge_hi, IMAGE | ANON},
        {mt_layout.anon_lo, heap_room_end(), IMAGE | ANON},
        {NONPIE_HI, mt_layout.image_hi, ANON},
        {mt_layout.image_lo, NONPIE_HI, IMAGE | ANON | LOW},
    };
    for (size_t i = 0; i < MT_ARRAY_SIZE(areas); i++) {
        if (areas[i].lo >= areas[i].hi || !(areas[i].regions >> region & 1)) {
            continue;
        }
        GuestAddr at = map_hole(areas[i].lo, areas[i].hi, len, align, ASPACE_STACK_GUARD);
        if (at != 0) {
            return at;
        }
    }
    return 0;
}

bool place_may_be_free(GuestAddr start, GuestAddr end)
{
    const MapNode *n = map_first(start);
    while (n->kind == MAP_FOREIGN && n->start < end) {
        n = n->next;
    }
    return n->start >= end;
}

/* 0: a free place is asked for as a hint, which check_place() makes the same of. */
static int noreplace = MAP_FIXED_NOREPLACE;

void aspace_filtered(void)
{
    aspace_lock();
    noreplace = 0;
    aspace_unlock();
}

/* Kernels before 4.17 and Valgrind take MAP_FIXED_NOREPLACE's address for a hint. */
static i64 check_place(i64 r, GuestAddr addr, u64 len)
{
    if (r >= 0 && (u64)r != addr) {
        host_munmap((u64)r, len);
        return -EEXIST;
    }
    return r;
}

static i64 claim(GuestAddr start, GuestAddr end)
{
    i64 r = host_mmap(start, end - start, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | noreplace, -1, 0);
    return check_place(r, start, end - start);
}

i64 place_map(GuestAddr addr, u64 len, int prot, int flags, int fd, u64 off)
{
    flags &= ~(MAP_FIXED | MAP_FIXED_NOREPLACE | MAP_32BIT | MAP_ABOVE4G);
    if ((flags & MAP_TYPE) != MAP_SHARED_VALIDATE) {
        i64 r = host_mmap(addr, len, prot, flags | noreplace, fd, off);
        return check_place(r, addr, len);
    }
    /* MAP_SHARED_VALIDATE refuses MAP_FIXED_NOREPLACE. */
    i64 r = claim(addr, addr + len);
    if (r < 0) {
        return r;
    }
    r = host_mmap(addr, len, prot, flags | MAP_FIXED, fd, off);
    if (r < 0) {
        host_munmap(addr, len);
    }
    return r;
}

typedef struct Learn {
    GuestAddr lo, hi;
    bool failed;
} Learn;

/* Enters the parts of [start, end) that have no node. */
static void learn_range(Learn *l, GuestAddr start, GuestAddr end)
{
    while (start < end) {
        MapNode *n = map_first(start);
        GuestAddr stop = n->start < end ? n->start : end;
        if (start < stop) {
            MapNode foreign = {.start = start, .end = stop, .kind = MAP_FOREIGN};
            foreign.flags = MAP_ANONYMOUS;
            if (map_prepare(ASPACE_NODES) != 0) {
                l->failed = true;
                return;
            }
            map_add(&foreign);
        }
        start = n->end;
    }
}

static bool learn_step(const HostMap *m, void *arg)
{
    Learn *l = arg;
    GuestAddr start = m->start > l->lo ? m->start : l->lo;
    GuestAddr end = m->end < l->hi ? m->end : l->hi;
    learn_range(l, start, end);
    return m->start < l->hi && !l->failed;
}

/* Looks at the whole region at once: where one thing of the host's is, there are more. */
bool place_learn(GuestAddr lo, GuestAddr hi)
{
    Learn l = {.lo = mt_layout.anon_lo, .hi = mt_layout.anon_hi};
    if (lo < mt_layout.image_hi) {
        l = (Learn){.lo = mt_layout.image_lo, .hi = mt_layout.image_hi};
    } else if (mt_layout.huge_lo <= lo && lo < mt_layout.huge_hi) {
        l = (Learn){.lo = mt_layout.huge_lo, .hi = mt_layout.huge_hi};
    }
    aspace_sync_growth(l.lo, l.hi);
    hostmaps_foreach(learn_step, &l);
    if (!l.failed && map_is_free(lo, hi)) {
        learn_range(&l, lo, hi); /* what was in the way is gone, or /proc doesn't tell */
    }
    return !l.failed;
}

/* Walks the parts of [start, end) that aren't the guest's. Noted memory can't be claimed. */
static int claim_parts(GuestAddr start, GuestAddr end, GuestAddr *reached)
{
    GuestAddr at = start;
    for (MapNode *n = map_first(start); at < end; n = n->next) {
        while (n->kind == MAP_FOREIGN) { /* perhaps it isn't there any more */
            n = n->next;
        }
        GuestAddr stop = n->start < end ? n->start : end;
        *reached = at;
        if (at < stop) {
            i64 r = claim(at, stop);
            if (r < 0) {
                return (int)r;
            }
        }
        if (n->kind == MAP_NOTED && n->start < end) {
            *reached = stop;
            return -EEXIST;
        }
        at = n->end;
    }
    *reached = end;
    return 0;
}

int place_claim(GuestAddr start, GuestAddr end)
{
    GuestAddr reached = start;
    int r = claim_parts(start, end, &reached);
    if (r < 0) {
        place_unclaim(start, reached);
    }
    return r;
}

void place_unclaim(GuestAddr start, GuestAddr end)
{
    GuestAddr at = start;
    for (MapNode *n = map_first(start); at < end; n = n->next) {
        while (n->kind == MAP_FOREIGN) {
            n = n->next;
        }
        GuestAddr stop = n->start < end ? n->start : end;
        if (at < stop) {
            host_munmap(at, stop - at);
        }
        at = n->end;
    }
}

/* msync reports holes, and changes nothing with MS_ASYNC. */
static bool all_mapped(GuestAddr start, GuestAddr end)
{
    return msync((void *)start, end - start, MS_ASYNC) == 0;
}

void place_resync(GuestAddr start, GuestAddr end)
{
    if (all_mapped(start, end)) {
        return;
    }
    map_split(start);
    map_split(end);
    for (MapNode *n = map_first(start); n->start < end;) {
        MapNode *next = n->next;
        GuestAddr a = n->start, b = n->end;
        if (node_is_guest(n) && !all_mapped(a, b)) {
            host_munmap(a, b - a);
            map_remove(a, b);
            aspace_changed(a, b, -1);
        }
        n = next;
    }
}

void aspace_enter(const MapNode *n)
{
    GuestAddr start = n->start, end = n->end;
    bool replaced = !map_is_free(start, end);
    int prot = n->prot;
    if (replaced) {
        map_remove(start, end);
    }
    map_add(n);
    if (replaced) {
        aspace_changed(start, end, prot);
    }
}
