/* SPDX-License-Identifier: BSD-2-Clause
 * aspace_protect.c -- mprotect, madvise, remap_file_pages: changes inside existing mappings.
 * Role:       each guest piece of the range gets a host call of its own, so that what the kernel
 *             did before an error is known exactly.
 * Locking:    aspace_lock is taken here. */
#include "base/heap.h"
#include "guest/aspace_int.h"
#include "guest/hostmaps.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif
#ifndef MADV_GUARD_REMOVE
#define MADV_GUARD_REMOVE 103
#endif
#ifndef PROT_SEM
#define PROT_SEM 0x8
#endif

#define PROT_RWX (PROT_READ | PROT_WRITE | PROT_EXEC)

/* --- mprotect --- */

/* What the translator must hear of: execute or write permission changed, or the host's protection
 * of a page that may hold translations has been set anew. */
static bool matters(const MapNode *n, int new_prot)
{
    return ((n->prot ^ new_prot) & (PROT_EXEC | PROT_WRITE)) != 0 || n->guarded ||
           (new_prot & PROT_EXEC) != 0;
}

typedef struct PathQuery {
    GuestAddr at;
    char *path; /* heap_copy_text(), or NULL */
} PathQuery;

static bool path_step(const HostMap *m, void *arg)
{
    PathQuery *q = arg;
    if (q->at >= m->end) {
        return true;
    }
    if (q->at >= m->start && m->name[0] != '\0') {
        q->path = heap_copy_text(m->name);
    }
    return false;
}

/* A file that wasn't mapped for execution becomes code: asks the kernel for its path. */
static void learn_path(const MapNode *n)
{
    if ((n->flags & MAP_ANONYMOUS) == 0 && n->object != NULL && n->object->path == NULL &&
        n->object->shm_at == 0) {
        PathQuery q = {.at = n->start};
        hostmaps_foreach(path_step, &q);
        n->object->path = q.path;
    }
}

static i64 protect_node(MapNode *n, GuestAddr from, GuestAddr to, int prot, int pkey)
{
    i64 r = host_mprotect(from, to - from, prot, pkey);
    if (r < 0) {
        return r;
    }
    int effective = aspace_effective_prot(prot);
    bool tell = matters(n, effective);
    if (n->prot != effective) {
        map_split(from);
        map_split(to);
        n = map_first(from);
        n->prot = effective;
        if ((effective & PROT_EXEC) != 0) {
            learn_path(n);
        }
    }
    if (n->start == from && n->end == to) {
        n->guarded = false;
    }
    aspace_tell(ASPACE_PROTECTED, from, to, effective, 0);
    if (tell) {
        aspace_changed(from, to, effective);
    }
    return 0;
}

static i64 protect_locked(GuestAddr start, GuestAddr end, int prot, int pkey)
{
    GuestAddr at = start;
    i64 r = 0;
    while (at < end) {
        MapNode *n = map_first(at);
        if (!node_is_guest(n) || n->start > at) {
            r = -ENOMEM;
            break;
        }
        GuestAddr to = n->end < end ? n->end : end;
        r = map_prepare(ASPACE_NODES);
        if (r == 0) {
            r = protect_node(n, at, to, prot, pkey);
        }
        if (r < 0) {
            break;
        }
        at = to;
    }
    map_join(start, end);
    return r;
}

i64 aspace_mprotect(GuestAddr addr, u64 len, int prot, int pkey)
{
    int grows = prot & (PROT_GROWSDOWN | PROT_GROWSUP);
    GuestAddr end = addr + MT_PAGE_UP(len);
    prot &= ~(PROT_GROWSDOWN | PROT_GROWSUP);
    if (grows == (PROT_GROWSDOWN | PROT_GROWSUP) || (addr & ~MT_PAGE_MASK) != 0) {
        return -EINVAL;
    }
    if (len == 0) {
        return 0;
    }
    if (end <= addr) {
        return -ENOMEM;
    }
    if ((prot & ~(PROT_RWX | PROT_SEM)) != 0) {
        return -EINVAL;
    }
    if (pkey != -1) { /* is it one at all? Comes before whether there is anything mapped. */
        i64 r = host_mprotect(1ull << 63, MT_PAGE_SIZE, prot, pkey);
        if (r != -ENOMEM) {
            return r;
        }
    }
    aspace_lock();
    aspace_sync_growth(addr, end);
    i64 r = 0;
    if (grows != 0) {
        MapNode *n = map_first(addr);
        if ((n->flags & MAP_GROWSDOWN) != 0) { /* it is meant to its start, which may have moved */
            aspace_sync_growth(n->start - 1, n->start);
        }
        if (!node_is_guest(n) || n->start >= end) {
            r = -ENOMEM;
        } else if (grows == PROT_GROWSUP || (n->flags & MAP_GROWSDOWN) == 0) {
            r = -EINVAL;
        } else {
            addr = n->start;
        }
    }
    if (r == 0) {
        r = protect_locked(addr, end, prot, pkey);
    }
    aspace_unlock();
    return r;
}

/* --- madvise --- */

static bool advice_changes_contents(int advice)
{
    switch (advice) {
    case MADV_DONTNEED:
    case MADV_DONTNEED_LOCKED:
    case MADV_FREE:
    case MADV_REMOVE:
    case MADV_GUARD_INSTALL:
    case MADV_GUARD_REMOVE: return true;
    default: return false;
    }
}

static bool advice_lasts(int advice)
{
    return advice == MADV_DONTFORK || advice == MADV_DOFORK || advice == MADV_WIPEONFORK ||
           advice == MADV_KEEPONFORK;
}

static void note_advice(GuestAddr from, GuestAddr to, int advice)
{
    map_split(from);
    map_split(to);
    MapNode *n = map_first(from);
    if (advice == MADV_DONTFORK || advice == MADV_DOFORK) {
        n->dontfork = advice == MADV_DONTFORK;
    } else {
        n->wipeonfork = advice == MADV_WIPEONFORK;
    }
}

static i64 host_madvise(GuestAddr addr, u64 len, int advice)
{
    return syscall(SYS_madvise, addr, len, (long)advice) == -1 ? -errno : 0;
}

/* As the kernel: goes on behind holes, and reports them at the end. */
static i64 advise_locked(GuestAddr start, GuestAddr end, int advice)
{
    bool hole = false;
    GuestAddr at = start;
    while (at < end) {
        MapNode *n = map_first(at);
        if (n->start > at || !node_is_guest(n)) {
            hole = true;
            at = n->start > at ? n->start : n->end;
            continue;
        }
        GuestAddr to = n->end < end ? n->end : end;
        int prot = n->prot;
        i64 r = map_prepare(ASPACE_NODES);
        if (r == 0) {
            r = host_madvise(at, to - at, advice);
        }
        if (r < 0) {
            return r;
        }
        if (advice_lasts(advice)) {
            note_advice(at, to, advice);
        }
        if (advice_changes_contents(advice)) {
            aspace_tell(ASPACE_MAPPED, at, to, prot, 0);
            aspace_changed(at, to, prot);
        }
        at = to;
    }
    if (advice_lasts(advice)) {
        map_join(start, end);
    }
    return hole ? -ENOMEM : 0;
}

i64 aspace_madvise(GuestAddr addr, u64 len, int advice)
{
    u64 size = MT_PAGE_UP(len);
    GuestAddr end = addr + size;
    if ((addr & ~MT_PAGE_MASK) != 0 || (len != 0 && size == 0) || end < addr) {
        return -EINVAL;
    }
    i64 r = host_madvise(0, 0, advice); /* only whether it knows the advice */
    if (r < 0 || end == addr) {
        return r;
    }
    aspace_lock();
    aspace_sync_growth(addr, end);
    r = advise_locked(addr, end, advice);
    aspace_unlock();
    return r;
}

/* --- remap_file_pages --- */

/* The kernel replaces [start, end) by another part of the same mapping's file. */
static void remapped(GuestAddr start, GuestAddr end, u64 offset)
{
    map_split(start);
    map_split(end);
    for (MapNode *n = map_first(start); n->start < end; n = n->next) {
        n->offset = offset + (n->start - start);
        aspace_tell(ASPACE_MAPPED, n->start, n->end, n->prot, 0);
        aspace_changed(n->start, n->end, n->prot);
    }
    map_join(start, end);
}

i64 aspace_remap_file_pages(GuestAddr addr, u64 size, int prot, u64 pgoff, int flags)
{
    GuestAddr start = MT_PAGE_DOWN(addr), end = start + MT_PAGE_DOWN(size);
    if (prot != 0 || end <= start) {
        return -EINVAL;
    }
    aspace_lock();
    i64 r = map_prepare(ASPACE_NODES);
    GuestAddr at = start;
    for (MapNode *n = map_first(start); at < end && r == 0; n = n->next) {
        if (!node_is_guest(n) || n->start > at || (n->flags & MAP_TYPE) != MAP_SHARED) {
            r = -EINVAL;
        }
        at = n->end;
    }
    if (r == 0 && syscall(SYS_remap_file_pages, start, end - start, 0l, pgoff, (long)flags) != 0) {
        r = -errno;
        place_resync(start, end);
    } else if (r == 0) {
        remapped(start, end, pgoff * MT_PAGE_SIZE);
    }
    aspace_unlock();
    return r;
}
