/* SPDX-License-Identifier: BSD-2-Clause
 * aspace_mremap.c -- mremap.
 * Role:       tries in place first; if the mapping must move, the new address is chosen and claimed
 *             here, and the kernel moves onto the claim.
 * Locking:    aspace_lock is taken here. */
#include "guest/aspace_int.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MREMAP_KNOWN (MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP)
#define HUGE_2M (2ul << 20)
#define PLACE_TRIES 16
#define MOVE_NODES_MAX 64

typedef struct MremapCall {
    GuestAddr old;
    u64 old_len, new_len; /* rounded up */
    int flags;
    GuestAddr new_addr;
} MremapCall;

static i64 host_mremap(const MremapCall *c, int flags, GuestAddr new_addr)
{
    long r = syscall(SYS_mremap, c->old, c->old_len, c->new_len, (long)flags, new_addr);
    return r == -1 ? -errno : r;
}

/* Is all of [start, end) the guest's? Counts the nodes. */
static bool owned(GuestAddr start, GuestAddr end, unsigned *count)
{
    *count = 0;
    for (MapNode *n = map_first(start); start < end; n = n->next) {
        if (!node_is_guest(n) || n->start > start) {
            return false;
        }
        start = n->end;
        ++*count;
    }
    return true;
}

/* The translator's write protection splits mappings in the kernel, which mremap would refuse to
 * cross: takes it back. The hook, called afterwards in any case, sees to the translations. */
static bool unguard(GuestAddr start, GuestAddr end)
{
    bool any = false;
    for (MapNode *n = map_first(start); n->start < end; n = n->next) {
        if (n->guarded && node_is_guest(n)) {
            GuestAddr from = n->start > start ? n->start : start;
            GuestAddr to = n->end < end ? n->end : end;
            host_mprotect(from, to - from, n->prot, -1);
            any = true;
        }
    }
    return any;
}

/* Enters a copy of the nodes at [old, old + old_len) as [to, to + new_len): the last one is
 * stretched or cut. old_len == 0 duplicates the mapping from `old` on. */
static void enter_moved(const MremapCall *c, GuestAddr to)
{
    GuestAddr end = to + c->new_len, from_end = c->old + c->old_len;
    MapNode copies[MOVE_NODES_MAX];
    unsigned n_copies = 0;
    for (MapNode *n = map_first(c->old); n_copies < MOVE_NODES_MAX; n = n->next) {
        MapNode *copy = &copies[n_copies++];
        GuestAddr from = n->start > c->old ? n->start : c->old;
        *copy = *n;
        map_object_ref(copy->object);
        if ((n->flags & MAP_ANONYMOUS) == 0) {
            copy->offset += from - n->start;
        }
        copy->start = to + (from - c->old);
        copy->end = n->end < from_end ? to + (n->end - c->old) : end;
        copy->guarded = false;
        if (n->end >= from_end || c->old_len == 0) {
            copy->end = end;
            break;
        }
    }
    for (unsigned i = 0; i < n_copies; i++) {
        if (copies[i].start < end) {
            copies[i].end = copies[i].end < end ? copies[i].end : end;
            aspace_enter(&copies[i]);
        } else {
            map_object_unref(copies[i].object);
        }
    }
}

/* The map after the kernel has moved c to `to` (perhaps where it was). */
static void moved(const MremapCall *c, GuestAddr to)
{
    GuestAddr old_end = c->old + c->old_len;
    bool keeps_old = c->old_len == 0 || (c->flags & MREMAP_DONTUNMAP) != 0;
    int prot = map_first(c->old)->prot;
    if (to == c->old && c->old_len != 0) {
        if (c->new_len > c->old_len) {
            MapNode more = *map_first(old_end - 1);
            more.offset += (more.flags & MAP_ANONYMOUS) != 0 ? 0 : old_end - more.start;
            more.start = old_end;
            more.end = to + c->new_len;
            more.flags &= ~MAP_GROWSDOWN;
            map_object_ref(more.object);
            aspace_enter(&more);
        } else if (c->new_len < c->old_len) {
            map_remove(to + c->new_len, old_end);
            aspace_changed(to + c->new_len, old_end, -1);
        }
        return;
    }
    enter_moved(c, to);
    if (!keeps_old) {
        map_remove(c->old, old_end);
        aspace_changed(c->old, old_end, -1);
    } else if (c->old_len != 0) {
        aspace_changed(c->old, old_end, prot); /* MREMAP_DONTUNMAP: empty now */
    }
    aspace_changed(to, to + c->new_len, prot);
}

static i64 move_to(const MremapCall *c, GuestAddr to)
{
    GuestAddr end = to + c->new_len;
    i64 r = place_claim(to, end);
    if (r < 0) {
        return r;
    }
    r = host_mremap(c, c->flags | MREMAP_MAYMOVE | MREMAP_FIXED, to);
    if (r < 0) {
        place_unclaim(to, end);
        place_resync(to, end);
        return r;
    }
    moved(c, to);
    return r;
}

static i64 move_somewhere(const MremapCall *c)
{
    const MapNode *n = map_first(c->old);
    Region region = c->old < 1ull << 31 && c->new_len <= 64ul << 20 ? REGION_IMAGE : REGION_ANON;
    u64 align = aspace_node_page(n);
    if (align < HUGE_2M && c->new_len >= 2 * HUGE_2M && (n->flags & MAP_ANONYMOUS) != 0) {
        align = HUGE_2M;
    }
    for (int i = 0; i < PLACE_TRIES; i++) {
        GuestAddr to = place_find(c->new_len, align, region);
        if (to == 0) {
            return -ENOMEM;
        }
        i64 r = move_to(c, to);
        if (r != -EEXIST) {
            return r;
        }
        if (!place_learn(to, to + c->new_len)) {
            return -ENOMEM;
        }
    }
    return -ENOMEM;
}

static i64 check(const MremapCall *c, u64 raw_new_len)
{
    if ((c->flags & ~MREMAP_KNOWN) != 0 ||
        ((c->flags & MREMAP_FIXED) != 0 && (c->flags & MREMAP_MAYMOVE) == 0) ||
        ((c->flags & MREMAP_DONTUNMAP) != 0 &&
         ((c->flags & MREMAP_MAYMOVE) == 0 || c->old_len != c->new_len)) ||
        (c->old & ~MT_PAGE_MASK) != 0 || raw_new_len == 0 || c->new_len == 0) {
        return -EINVAL;
    }
    if ((c->flags & MREMAP_FIXED) != 0) {
        GuestAddr end = c->new_addr + c->new_len;
        if ((c->new_addr & ~MT_PAGE_MASK) != 0 || end <= c->new_addr || end > aspace_task_size ||
            (c->old + c->old_len > c->new_addr && end > c->old)) {
            return -EINVAL;
        }
    }
    return 0;
}

static i64 remap_or_move(const MremapCall *c)
{
    if ((c->flags & MREMAP_FIXED) != 0) {
        i64 r = move_to(c, c->new_addr);
        return r == -EEXIST ? -ENOMEM : r;
    }
    if (c->old_len != 0 && (c->flags & MREMAP_DONTUNMAP) == 0) {
        i64 r = host_mremap(c, 0, 0);
        if (r >= 0) {
            moved(c, c->old);
            return r;
        }
        if (r != -ENOMEM || (c->flags & MREMAP_MAYMOVE) == 0) {
            return r;
        }
    }
    if ((c->flags & MREMAP_MAYMOVE) == 0) {
        return -EINVAL; /* old_len is 0: a copy can't stay where it is */
    }
    return move_somewhere(c);
}

static i64 mremap_locked(MremapCall *c)
{
    unsigned count;
    GuestAddr old_end = c->old + (c->old_len != 0 ? c->old_len : MT_PAGE_SIZE);
    aspace_sync_growth(c->old, old_end);
    /* The kernel moves one mapping, or (from 6.17 on) several; our nodes and its mappings need not
     * be the same pieces, but many nodes are many mappings. */
    if (old_end <= c->old || !owned(c->old, old_end, &count) || count > MOVE_NODES_MAX) {
        return -EFAULT;
    }
    u64 page = aspace_node_page(map_first(c->old));
    c->old_len = MT_ALIGN_UP(c->old_len, page);
    c->new_len = MT_ALIGN_UP(c->new_len, page);
    if (c->new_len == 0 || map_prepare(ASPACE_NODES + count) != 0) {
        return -ENOMEM;
    }
    bool guarded = unguard(c->old, old_end);
    i64 r = remap_or_move(c);
    if (guarded && (r < 0 || (u64)r == c->old)) { /* still there: shall be protected again */
        for (MapNode *n = map_first(c->old); n->start < old_end; n = n->next) {
            if (n->guarded && node_is_guest(n)) {
                aspace_changed(n->start, n->end, n->prot);
            }
        }
    }
    return r;
}

i64 aspace_mremap(GuestAddr old, u64 old_len, u64 new_len, int flags, GuestAddr new_addr)
{
    MremapCall c = {.old = old, .flags = flags, .new_addr = new_addr};
    c.old_len = MT_PAGE_UP(old_len);
    c.new_len = MT_PAGE_UP(new_len);
    i64 r = check(&c, new_len);
    if (r < 0) {
        return r;
    }
    aspace_lock();
    r = mremap_locked(&c);
    aspace_unlock();
    return r;
}
