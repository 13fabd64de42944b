/* SPDX-License-Identifier: BSD-2-Clause
 * aspace_mremap.c -- mremap.
 * Role:       tries in place first; if the mapping must move, the new address is chosen and claimed
 *             here, and the kernel moves onto the claim.
 * Locking:    aspace_lock is taken here. */
#include "base/heap.h"
#include "guest/aspace_int.h"
#include "guest/layout.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MREMAP_KNOWN (MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP)
#define HUGE_2M (2ul << 20)
#define PLACE_TRIES 16

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

/* May the kernel move [start, end)? It must begin in guest memory, and nothing of the runtime's may
 * lie in it; holes are the kernel's business (allowed from 6.17 on). Counts the nodes. */
static bool movable(GuestAddr start, GuestAddr end, unsigned *count)
{
    GuestAddr at = start;
    *count = 0;
    for (MapNode *n = map_first(start); at < end; n = n->next) {
        GuestAddr stop = n->start < end ? n->start : end;
        if (at < stop && (at == start || aspace_host_has(at, stop))) {
            return false;
        }
        if (n->start < end && !node_is_guest(n)) {
            return false;
        }
        *count += n->start < end ? 1 : 0;
        at = n->end;
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

/* A part of a node that moves, or has moved, to `copy`'s place. */
typedef struct Piece {
    GuestAddr from, from_end;
    MapNode copy;
} Piece;

/* The nodes in [old, old + old_len) as they will be at `to`: the last one is stretched or cut.
 * old_len == 0 duplicates the mapping from `old` on. */
static unsigned make_pieces(const MremapCall *c, GuestAddr to, Piece *pieces)
{
    GuestAddr from_end = c->old + (c->old_len < c->new_len ? c->old_len : c->new_len);
    unsigned count = 0;
    MapNode *n = map_first(c->old);
    do {
        Piece *p = &pieces[count++];
        p->from = n->start > c->old ? n->start : c->old;
        p->from_end = n->end < from_end ? n->end : from_end;
        p->copy = *n;
        p->copy.offset += (n->flags & MAP_ANONYMOUS) != 0 ? 0 : p->from - n->start;
        p->copy.start = to + (p->from - c->old);
        p->copy.end = to + (p->from_end - c->old);
        p->copy.guarded = false;
        n = n->next;
    } while (n->start < from_end);
    if (pieces[count - 1].from_end == from_end) {
        pieces[count - 1].copy.end = to + c->new_len;
    }
    return count;
}

static void enter_piece(const Piece *p)
{
    MapNode n = p->copy;
    map_object_ref(n.object);
    aspace_enter(&n);
}

static void tell_moved(const Piece *p)
{
    u64 len = p->from_end - p->from, room = p->copy.end - p->copy.start;

    aspace_tell(ASPACE_MOVED, p->copy.start, p->copy.start + (len < room ? len : room),
                p->copy.prot, p->from);
}

/* The claimed places that no piece has come to. */
static void unclaim_rest(const Piece *pieces, unsigned count, GuestAddr to, GuestAddr end)
{
    for (unsigned i = 0; i < count; i++) {
        if (to < pieces[i].copy.start) {
            place_unclaim(to, pieces[i].copy.start);
        }
        to = pieces[i].copy.end;
    }
    if (to < end) {
        place_unclaim(to, end);
    }
}

static void leave_piece(const Piece *p)
{
    map_remove(p->from, p->from_end);
    aspace_changed(p->from, p->from_end, -1);
}

static bool all_mapped(GuestAddr start, GuestAddr end)
{
    return msync((void *)start, end - start, MS_ASYNC) == 0;
}

/* The kernel has failed; having moved some of several mappings, perhaps. */
static void moved_partly(Piece *pieces, unsigned count, GuestAddr to, GuestAddr end)
{
    unsigned kept = 0;
    for (unsigned i = 0; count > 1 && i < count; i++) {
        if (!all_mapped(pieces[i].from, pieces[i].from_end)) {
            pieces[kept++] = pieces[i];
        }
    }
    unclaim_rest(pieces, kept, to, end);
    for (unsigned i = 0; i < kept; i++) {
        enter_piece(&pieces[i]);
        tell_moved(&pieces[i]);
        leave_piece(&pieces[i]);
    }
    place_resync(to, end);
}

static i64 move_to(const MremapCall *c, GuestAddr to, Piece *pieces)
{
    GuestAddr end = to + c->new_len;
    bool keeps_old = c->old_len == 0 || (c->flags & MREMAP_DONTUNMAP) != 0;
    i64 r = place_claim(to, end);
    if (r < 0) {
        return r;
    }
    unsigned count = make_pieces(c, to, pieces);
    r = host_mremap(c, c->flags | MREMAP_MAYMOVE | MREMAP_FIXED, to);
    if (r < 0) {
        moved_partly(pieces, count, to, end);
        if (c->old_len > c->new_len) {
            place_resync(c->old + c->new_len, c->old + c->old_len);
        }
        return r;
    }
    unclaim_rest(pieces, count, to, end);
    if (c->old_len > c->new_len) {
        map_remove(c->old + c->new_len, c->old + c->old_len);
        aspace_changed(c->old + c->new_len, c->old + c->old_len, -1);
    }
    for (unsigned i = 0; i < count; i++) {
        const Piece *p = &pieces[i];
        enter_piece(p);
        tell_moved(p);
        aspace_changed(p->copy.start, p->copy.end, p->copy.prot);
        if (!keeps_old) {
            leave_piece(p);
        } else if (c->old_len != 0) {
            aspace_tell(ASPACE_MAPPED, p->from, p->from_end, p->copy.prot, 0);
            aspace_changed(p->from, p->from_end, p->copy.prot); /* MREMAP_DONTUNMAP: empty now */
        }
    }
    return r;
}

/* Without MAYMOVE, or with room behind it. The lengths differ at most by growth. */
static i64 stay(const MremapCall *c)
{
    GuestAddr old_end = c->old + c->old_len;
    i64 r = host_mremap(c, 0, 0);
    if (r >= 0 && c->new_len > c->old_len) {
        MapNode more = *map_first(old_end - 1);
        more.offset += (more.flags & MAP_ANONYMOUS) != 0 ? 0 : old_end - more.start;
        more.start = old_end;
        more.end = c->old + c->new_len;
        map_object_ref(more.object);
        aspace_enter(&more);
    }
    return r;
}

static i64 move_somewhere(const MremapCall *c, Piece *pieces)
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
        i64 r = move_to(c, to, pieces);
        if (r != -EEXIST) {
            return r;
        }
        if (!place_learn(to, to + c->new_len)) {
            return -ENOMEM;
        }
    }
    return -ENOMEM;
}

/* With MREMAP_DONTUNMAP alone the new address is a hint. */
static i64 move_to_hint(const MremapCall *c, Piece *pieces)
{
    GuestAddr end = c->new_addr + c->new_len;

    if (c->new_addr < mt_layout.image_lo) {
        return -EEXIST;
    }
    aspace_sync_growth(c->new_addr, end);
    const MapNode *above = map_first(end);
    u64 guard = (above->flags & MAP_GROWSDOWN) != 0 ? ASPACE_STACK_GUARD : 0;
    if (!place_may_be_free(c->new_addr, end) || end + guard > above->start) {
        return -EEXIST;
    }
    return move_to(c, c->new_addr, pieces);
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
    if ((c->flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) != 0) {
        GuestAddr end = c->new_addr + c->new_len;
        if ((c->new_addr & ~MT_PAGE_MASK) != 0 || end <= c->new_addr || end > aspace_task_size ||
            (c->old + c->old_len > c->new_addr && end > c->old)) {
            return -EINVAL;
        }
    }
    return 0;
}

static i64 remap_or_move(const MremapCall *c, Piece *pieces)
{
    if ((c->flags & MREMAP_FIXED) != 0) {
        i64 r = move_to(c, c->new_addr, pieces);
        return r == -EEXIST ? -ENOMEM : r;
    }
    if (c->old_len != 0 && (c->flags & MREMAP_DONTUNMAP) == 0) {
        i64 r = stay(c);
        if (r != -ENOMEM || (c->flags & MREMAP_MAYMOVE) == 0) {
            return r;
        }
    }
    if ((c->flags & MREMAP_DONTUNMAP) != 0 && c->new_addr != 0) {
        i64 r = move_to_hint(c, pieces);
        if (r != -EEXIST) {
            return r;
        }
    }
    if ((c->flags & MREMAP_MAYMOVE) == 0) {
        return host_mremap(c, 0, 0); /* old_len is 0: fails, a copy can't stay where it is */
    }
    return move_somewhere(c, pieces);
}

/* Both lengths are multiples of the page; shrinks only with MREMAP_FIXED. */
static i64 remap_guarded(const MremapCall *c)
{
    unsigned count;
    GuestAddr old_end = c->old + (c->old_len != 0 ? c->old_len : MT_PAGE_SIZE);
    if (!movable(c->old, old_end, &count)) {
        return -EFAULT;
    }
    Piece *pieces = heap_alloc(count * sizeof(*pieces));
    if (pieces == NULL || map_prepare(ASPACE_NODES + 3 * count) != 0) {
        heap_free(pieces);
        return -ENOMEM;
    }
    bool guarded = unguard(c->old, old_end);
    i64 r = remap_or_move(c, pieces);
    heap_free(pieces);
    if (guarded && (r < 0 || (u64)r == c->old)) { /* still there: shall be protected again */
        for (MapNode *n = map_first(c->old); n->start < old_end; n = n->next) {
            if (n->guarded && node_is_guest(n)) {
                aspace_changed(n->start, n->end, n->prot);
            }
        }
    }
    return r;
}

static i64 mremap_locked(MremapCall *c)
{
    aspace_sync_growth(c->old, c->old + c->old_len + 1);
    const MapNode *n = map_first(c->old);
    if (n->start > c->old || !node_is_guest(n)) {
        return -EFAULT;
    }
    if (c->old + c->old_len < c->old) {
        return c->old_len > c->new_len ? -EINVAL /* munmap's */ : -EFAULT;
    }
    if (c->old_len == 0 && (n->flags & MAP_TYPE) == MAP_PRIVATE) {
        return -EINVAL; /* there is no copying of those */
    }
    u64 page = aspace_node_page(n);
    c->old_len = MT_ALIGN_UP(c->old_len, page);
    c->new_len = MT_ALIGN_UP(c->new_len, page);
    if (c->new_len == 0 || map_prepare(ASPACE_NODES) != 0) {
        return -ENOMEM;
    }
    if (c->old_len > c->new_len && (c->flags & MREMAP_FIXED) == 0) {
        /* The end is unmapped first, whatever is there. */
        i64 r = aspace_unmap_locked(c->old + c->new_len, c->old + c->old_len);
        if (r < 0) {
            return r;
        }
        c->old_len = c->new_len;
    }
    return remap_guarded(c);
}

i64 aspace_mremap(GuestAddr old, u64 old_len, u64 new_len, int flags, GuestAddr new_addr)
{
    MremapCall c = {.old = old, .flags = flags, .new_addr = new_addr};
    c.old_len = MT_PAGE_UP(old_len);
    c.new_len = MT_PAGE_UP(new_len);
    if (new_len > aspace_task_size) {
        return host_mremap(&c, flags, new_addr); /* fails; which error differs between kernels */
    }
    i64 r = check(&c, new_len);
    if (r < 0) {
        return r;
    }
    aspace_lock();
    r = mremap_locked(&c);
    aspace_unlock();
    return r;
}
