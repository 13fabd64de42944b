/* SPDX-License-Identifier: BSD-2-Clause
 * aspace.c -- the guest's address space: lock, queries, notes, the translator's write protection.
 * Role:       owns aspace_lock and the change hook. The system calls are in aspace_mmap.c,
 *             aspace_protect.c, aspace_mremap.c and aspace_brk.c; placement is in aspace_place.c,
 *             the data structure in aspace_map.c.
 * Invariants: A1. a page is covered by a guest node  <=>  the guest has it mapped, but for growth
 *                 of stacks by the kernel, which aspace_sync_growth() catches up with.
 *             A2. MAP_FIXED is used on the host only over pages that are guest nodes' or that have
 *                 just been claimed with MAP_FIXED_NOREPLACE, so nothing of the runtime's is hit.
 *             A3. the map is changed after the host's call has succeeded, with the lock held
 *                 throughout; nodes are allocated before (map_prepare).
 * Locking:    aspace_lock (RANK_GUEST_MAP). Inside it, only what the change hook takes. The hook is
 *             called after the host's mappings have changed.
 * Signals:    nothing here may be called from a host signal handler. */
#include "base/lockorder.h"
#include "guest/aspace_int.h"
#include "guest/hostmaps.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/syscall.h>
#include <unistd.h>

static MtMutex lock = MT_MUTEX_INIT(RANK_GUEST_MAP);
static AspaceChangeHook change_hook;
AspaceEventHook aspace_event_hook;
static _Atomic bool personality_used;
u64 aspace_task_size = 0x7ffffffff000;

/* --- host calls --- */

static i64 result(long r)
{
    return r == -1 ? -errno : r;
}

i64 host_mmap(GuestAddr addr, u64 len, int prot, int flags, int fd, u64 off)
{
    return result(syscall(SYS_mmap, addr, len, (long)prot, (long)flags, (long)fd, off));
}

i64 host_munmap(GuestAddr addr, u64 len)
{
    return result(syscall(SYS_munmap, addr, len));
}

i64 host_mprotect(GuestAddr addr, u64 len, int prot, int pkey)
{
    if (pkey >= 0) {
        return result(syscall(SYS_pkey_mprotect, addr, len, (long)prot, (long)pkey));
    }
    return result(syscall(SYS_mprotect, addr, len, (long)prot));
}

/* --- lock and hook --- */

void aspace_init(AspaceChangeHook hook)
{
    aspace_lock();
    change_hook = hook;
    map_init();
    const GuestAddr beyond = 1ull << 55; /* there with five-level page tables only */
    i64 r = host_mmap(beyond, MT_PAGE_SIZE, PROT_NONE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (r >= 0) {
        host_munmap((u64)r, MT_PAGE_SIZE);
        aspace_task_size = (u64)r == beyond ? (1ull << 56) - MT_PAGE_SIZE : aspace_task_size;
    }
    aspace_unlock();
}

void aspace_personality_used(void)
{
    /* Relaxed: a thread that has the personality has set it itself, or was made later. */
    atomic_store_explicit(&personality_used, true, memory_order_relaxed);
}

int aspace_effective_prot(int prot)
{
    prot &= PROT_READ | PROT_WRITE | PROT_EXEC;
    if ((prot & PROT_READ) != 0 && atomic_load_explicit(&personality_used, memory_order_relaxed) &&
        (personality(0xffffffff) & READ_IMPLIES_EXEC) != 0) {
        prot |= PROT_EXEC;
    }
    return prot;
}

void aspace_lock(void)
{
    mt_mutex_lock(&lock);
}

void aspace_unlock(void)
{
    mt_mutex_unlock(&lock);
}

void aspace_changed(GuestAddr start, GuestAddr end, int new_prot)
{
    if (change_hook != NULL) {
        change_hook(start, end, new_prot);
    }
}

/* The kernel has not copied what MADV_DONTFORK covers, and has cleared what MADV_WIPEONFORK
 * does. */
void aspace_after_fork_child(void)
{
    /* The lock is held: this thread took it before the fork. */
    for (MapNode *n = map_begin(); n->kind != MAP_END;) {
        MapNode *next = n->next;
        GuestAddr start = n->start, end = n->end;
        if (n->dontfork) {
            map_remove(start, end); /* whole nodes: splits nothing, allocates nothing */
            aspace_changed(start, end, -1);
        } else if (n->wipeonfork) {
            aspace_tell(ASPACE_MAPPED, start, end, n->prot, 0);
            aspace_changed(start, end, n->prot);
        }
        n = next;
    }
    aspace_unlock();
}

/* --- stacks that the kernel grows --- */

static bool page_is_mapped(GuestAddr page)
{
    unsigned char vec;
    return syscall(SYS_mincore, page, MT_PAGE_SIZE, &vec) == 0;
}

typedef struct GrowthQuery {
    GuestAddr page;
    GuestAddr start; /* of the host's mapping that contains page */
} GrowthQuery;

static bool growth_step(const HostMap *m, void *arg)
{
    GrowthQuery *q = arg;
    if (m->start <= q->page && q->page < m->end) {
        q->start = m->start;
    }
    return m->end <= q->page;
}

void aspace_sync_growth(GuestAddr start, GuestAddr end)
{
    for (MapNode *n = map_first(start);; n = n->next) {
        if ((n->flags & MAP_GROWSDOWN) != 0 && start < n->start && n->kind == MAP_GUEST) {
            GuestAddr floor = n->prev != NULL ? n->prev->end : 0;
            if (floor < n->start && page_is_mapped(n->start - MT_PAGE_SIZE)) {
                GrowthQuery q = {.page = n->start - MT_PAGE_SIZE, .start = n->start};
                hostmaps_foreach(growth_step, &q); /* if it fails, the map stays as it is */
                map_set_start(n, q.start > floor ? q.start : floor);
            }
        }
        if (n->kind == MAP_END || n->start >= end) {
            return;
        }
    }
}

/* --- queries --- */

static void fill_info(const MapNode *n, AspaceInfo *out)
{
    memset(out, 0, sizeof(*out));
    out->start = n->start;
    out->end = n->end;
    out->prot = n->prot;
    out->flags = n->flags;
    out->offset = n->offset;
    if (n->object != NULL) {
        out->dev = n->object->dev;
        out->ino = n->object->ino;
        out->path = n->object->path;
    }
}

static MapNode *node_at(GuestAddr addr)
{
    MapNode *n = map_first(addr);
    if (n->start > addr && (n->flags & MAP_GROWSDOWN) != 0) {
        aspace_sync_growth(addr, addr + 1);
        n = map_first(addr);
    }
    return n->start <= addr && (n->kind == MAP_GUEST || n->kind == MAP_NOTED) ? n : NULL;
}

bool aspace_query_locked(GuestAddr addr, AspaceInfo *out)
{
    const MapNode *n = node_at(addr);
    if (n == NULL) {
        return false;
    }
    fill_info(n, out);
    return true;
}

bool aspace_query(GuestAddr addr, AspaceInfo *out)
{
    aspace_lock();
    bool found = aspace_query_locked(addr, out);
    aspace_unlock();
    if (found) {
        out->path = NULL; /* might be freed by now */
    }
    return found;
}

bool aspace_query_from(GuestAddr addr, AspaceInfo *out)
{
    aspace_lock();
    aspace_sync_growth(addr, addr + 1);
    const MapNode *n = map_first(addr);
    while (n->kind == MAP_FOREIGN) {
        n = n->next;
    }
    bool found = n->kind != MAP_END;
    if (found) {
        fill_info(n, out);
        out->path = NULL; /* as above */
    }
    aspace_unlock();
    return found;
}

bool aspace_is_exec(GuestAddr addr)
{
    AspaceInfo info;
    return aspace_query(addr, &info) && (info.prot & PROT_EXEC) != 0;
}

#define IMAGE_PIECES 64 /* mappings between a file's beginning and its code, at most */

bool aspace_image(GuestAddr pc, AspaceImage *out)
{
    aspace_lock();
    const MapNode *n = map_first(pc);
    const MapObject *o = n->object;
    bool found = n->kind <= MAP_NOTED && n->start <= pc && (n->prot & PROT_EXEC) != 0 && o != NULL;
    if (found) {
        *out = (AspaceImage){.dev = o->dev, .ino = o->ino};
        snprintf(out->path, sizeof(out->path), "%s", o->path != NULL ? o->path : "");
        for (int i = 0; i < IMAGE_PIECES && n != NULL && out->header == 0; i++, n = n->prev) {
            if (n->object != NULL && n->object->dev == o->dev && n->object->ino == o->ino &&
                n->offset == 0) {
                out->header = n->start;
            }
        }
    }
    aspace_unlock();
    return found;
}

void aspace_foreach(bool (*fn)(const AspaceInfo *, void *), void *arg)
{
    aspace_lock();
    aspace_sync_growth(0, ~0ull);
    for (const MapNode *n = map_begin(); n->kind != MAP_END; n = n->next) {
        AspaceInfo info;
        if (n->kind == MAP_FOREIGN) {
            continue;
        }
        fill_info(n, &info);
        if (!fn(&info, arg)) {
            break;
        }
    }
    aspace_unlock();
}

void aspace_note(GuestAddr start, u64 len, int prot, int flags, const char *path)
{
    GuestAddr first = MT_PAGE_DOWN(start), end = MT_PAGE_UP(start + len);
    if (end <= first) {
        return;
    }
    aspace_lock();
    if (map_prepare(ASPACE_NODES) == 0) {
        MapNode n = {.start = first, .end = end, .prot = prot, .flags = flags, .kind = MAP_NOTED};
        n.object = path != NULL ? map_object_new(0, 0, path) : NULL;
        map_remove(first, end);
        map_add(&n);
    }
    aspace_unlock();
}

typedef struct OverlapQuery {
    GuestAddr start, end;
    bool found;
} OverlapQuery;

static bool overlap_step(const HostMap *m, void *arg)
{
    OverlapQuery *q = arg;
    q->found = m->start < q->end && m->end > q->start;
    return m->end <= q->start;
}

bool aspace_host_has(GuestAddr start, GuestAddr end)
{
    if (end - start == MT_PAGE_SIZE) {
        return page_is_mapped(start);
    }
    OverlapQuery q = {.start = start, .end = end};
    return hostmaps_foreach(overlap_step, &q) != 0 || q.found;
}

bool aspace_is_runtime(GuestAddr addr, u64 len)
{
    GuestAddr at = MT_PAGE_DOWN(addr), end = MT_PAGE_UP(addr + len);
    bool found = false;
    if (len == 0 || addr + len < addr || end == 0 || end > aspace_task_size) {
        return false; /* the kernel refuses it itself */
    }
    aspace_lock();
    aspace_sync_growth(at, end);
    for (const MapNode *n = map_first(at); at < end && !found; n = n->next) {
        GuestAddr stop = n->start < end ? n->start : end;
        if (at < stop) {
            found = aspace_host_has(at, stop);
        }
        if (n->kind == MAP_FOREIGN && n->start < end) {
            GuestAddr from = n->start > at ? n->start : at;
            found = found || aspace_host_has(from, n->end < end ? n->end : end);
        }
        at = n->end;
    }
    aspace_unlock();
    return found;
}

/* --- write protection on behalf of the translator --- */

int aspace_host_protect_locked(GuestAddr page, u64 len, bool write_allowed)
{
    GuestAddr at = MT_PAGE_DOWN(page), end = MT_PAGE_UP(page + len);
    for (MapNode *n = map_first(at); n->start < end; n = n->next) {
        if (!node_is_guest(n)) {
            continue;
        }
        GuestAddr from = n->start > at ? n->start : at, to = n->end < end ? n->end : end;
        int prot = write_allowed ? n->prot : n->prot & ~PROT_WRITE;
        i64 r = host_mprotect(from, to - from, prot, -1);
        if (r < 0) {
            return (int)r;
        }
        n->guarded = n->guarded || (!write_allowed && (n->prot & PROT_WRITE) != 0);
    }
    return 0;
}
