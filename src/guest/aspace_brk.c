/* SPDX-License-Identifier: BSD-2-Clause
 * aspace_brk.c -- the brk heap, the main thread's stack, System V shared memory.
 * Locking:    aspace_lock is taken here and guards brk_now. */
#include "base/log.h"
#include "guest/aspace_int.h"
#include "guest/layout.h"

#include <errno.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <valgrind/valgrind.h>

#define SHM_TRIES 4
#define STACK_INITIAL (132ul << 10) /* what a new process has */
#define STACK_FIXED_MAX (64ul << 20)

static GuestAddr brk_now; /* the guest's program break; 0: not asked for yet */

/* --- brk --- */

static bool over_data_limit(u64 size)
{
    struct rlimit lim;
    return getrlimit(RLIMIT_DATA, &lim) == 0 && lim.rlim_cur != RLIM_INFINITY &&
           size > lim.rlim_cur;
}

static i64 brk_grow(GuestAddr from, GuestAddr to)
{
    if (!place_may_be_free(from, to + MT_PAGE_SIZE)) { /* the kernel leaves a page free behind it */
        return -ENOMEM;
    }
    return aspace_map_named(from, to - from, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                            "[heap]");
}

static void brk_set(GuestAddr addr)
{
    GuestAddr old_end = MT_PAGE_UP(brk_now), new_end = MT_PAGE_UP(addr);
    if (map_prepare(ASPACE_NODES) != 0) {
        return;
    }
    if (new_end > old_end && brk_grow(old_end, new_end) < 0) {
        return;
    }
    if (new_end < old_end && aspace_unmap_locked(new_end, old_end) < 0) {
        return;
    }
    brk_now = addr;
}

i64 aspace_brk(GuestAddr addr)
{
    aspace_lock();
    if (brk_now == 0) {
        brk_now = mt_layout.brk_base;
    }
    if (addr >= mt_layout.brk_base && addr <= place_brk_limit() &&
        !over_data_limit(addr - mt_layout.brk_base)) {
        brk_set(addr);
    }
    i64 r = (i64)brk_now;
    aspace_unlock();
    return r;
}

void aspace_start_brk(GuestAddr start)
{
    if (start >= mt_layout.image_lo && start < mt_layout.image_hi) {
        mt_layout.brk_base = start;
    }
}

/* --- the main stack --- */

GuestAddr aspace_make_stack(bool executable)
{
    struct rlimit lim;
    GuestAddr top = mt_layout.stack_top;
    int prot = PROT_READ | PROT_WRITE | (executable ? PROT_EXEC : 0);
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_STACK;
    u64 size = STACK_INITIAL;
    if (RUNNING_ON_VALGRIND) { /* it doesn't know of mappings that the kernel grows */
        size = 8ul << 20;
        if (getrlimit(RLIMIT_STACK, &lim) == 0 && lim.rlim_cur < STACK_FIXED_MAX &&
            lim.rlim_cur > size) {
            size = MT_PAGE_DOWN(lim.rlim_cur);
        }
        flags &= ~MAP_GROWSDOWN;
    }
    aspace_lock();
    i64 r = map_prepare(ASPACE_NODES);
    if (r == 0) {
        r = aspace_map_named(top - size, size, prot, flags, "[stack]");
    }
    aspace_unlock();
    if (r < 0) {
        mt_umsg_always("cannot make the program's stack of %lu KiB at 0x%lx (error %d)\n",
                       (unsigned long)(size >> 10), (unsigned long)(top - size), (int)-r);
        return 0;
    }
    return top;
}

/* --- System V shared memory --- */

static i64 host_shmat(int shmid, GuestAddr addr, int flags)
{
    long r = syscall(SYS_shmat, (long)shmid, addr, (long)flags);
    return r == -1 ? -errno : r;
}

static void shm_enter(GuestAddr at, u64 len, int flags, MapObject *object)
{
    MapNode n = {.start = at, .end = at + len, .flags = MAP_SHARED, .kind = MAP_GUEST};
    n.prot = aspace_effective_prot(PROT_READ | ((flags & SHM_RDONLY) != 0 ? 0 : PROT_WRITE) |
                                   ((flags & SHM_EXEC) != 0 ? PROT_EXEC : 0));
    n.object = object;
    object->shm_at = at;
    aspace_enter(&n);
}

/* At an address that the guest gave; the kernel replaces nothing without SHM_REMAP. */
static i64 shm_attach_at(int shmid, GuestAddr addr, int flags, u64 len)
{
    GuestAddr at = (flags & SHM_RND) != 0 ? MT_PAGE_DOWN(addr) : addr;
    if ((flags & SHM_REMAP) == 0 || (at & ~MT_PAGE_MASK) != 0 || at + len < at) {
        return host_shmat(shmid, addr, flags);
    }
    aspace_sync_growth(at, at + len);
    if (place_claim(at, at + len) < 0) {
        return -EINVAL;
    }
    i64 r = host_shmat(shmid, addr, flags);
    if (r < 0) {
        place_unclaim(at, at + len);
        place_resync(at, at + len);
    }
    return r;
}

static i64 shm_attach_anywhere(int shmid, int flags, u64 len)
{
    for (int i = 0; i < SHM_TRIES; i++) {
        GuestAddr at = place_find(len, MT_PAGE_SIZE, REGION_ANON);
        if (at == 0) {
            return -ENOMEM;
        }
        i64 r = host_shmat(shmid, at, flags & ~SHM_RND);
        if (r != -EINVAL || !place_learn(at, at + len)) {
            return r;
        }
    }
    return -ENOMEM;
}

i64 aspace_shmat(int shmid, GuestAddr addr, int flags)
{
    struct shmid_ds ds;
    if (addr == 0 ? (flags & SHM_REMAP) != 0 : (addr & ~MT_PAGE_MASK) != 0 && !(flags & SHM_RND)) {
        return -EINVAL;
    }
    if (shmctl(shmid, IPC_STAT, &ds) != 0) {
        return -errno;
    }
    u64 len = MT_PAGE_UP(ds.shm_segsz);
    char name[32];
    snprintf(name, sizeof(name), "/SYSV%08x (deleted)", (unsigned)ds.shm_perm.__key);
    aspace_lock();
    MapObject *object = map_object_new(0, (u64)shmid, name);
    i64 r = object == NULL || map_prepare(ASPACE_NODES) != 0 ? -ENOMEM : 0;
    if (r == 0) {
        r = addr != 0 ? shm_attach_at(shmid, addr, flags, len)
                      : shm_attach_anywhere(shmid, flags, len);
    }
    if (r >= 0) {
        shm_enter((u64)r, len, flags, object);
    } else {
        map_object_unref(object);
    }
    aspace_unlock();
    return r;
}

i64 aspace_shmdt(GuestAddr addr)
{
    aspace_lock();
    MapNode *n = map_first(addr);
    i64 r = map_prepare(ASPACE_NODES);
    if (n->start != addr || n->object == NULL || n->object->shm_at != addr) {
        r = -EINVAL;
    }
    if (r == 0 && syscall(SYS_shmdt, addr) != 0) {
        r = -errno;
    }
    for (MapNode *next; r == 0 && n->kind != MAP_END; n = next) {
        GuestAddr start = n->start, end = n->end;
        next = n->next;
        if (n->object != NULL && n->object->shm_at == addr) {
            map_remove(start, end);
            aspace_changed(start, end, -1);
        }
    }
    aspace_unlock();
    return r;
}
