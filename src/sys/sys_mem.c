/* SPDX-License-Identifier: BSD-2-Clause
 * sys_mem.c -- system calls about the guest's memory.
 * Role:       argument checks that aspace does not do; what the runtime mapped for itself looks
 *             unmapped (-ENOMEM) to the guest.
 * Locking:    aspace takes its own lock. `lock_future` is atomic. */
#include "base/safe.h"
#include "guest/aspace.h"
#include "guest/layout.h"
#include "jit/replace.h"
#include "jit/smc.h"
#include "sys/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MLOCK_ONFAULT
#define MLOCK_ONFAULT 1
#endif

static bool is_page_aligned(u64 x)
{
    return (x & (MT_PAGE_SIZE - 1)) == 0;
}

/* Of a word that the kernel looks at as a whole, where aspace takes an int: bit 31 is nobody's
 * either. */
static int flag_word(u64 v)
{
    return (int)(v >> 32 != 0 ? v | 1u << 31 : v);
}

/* A call about [addr, addr+len). The runtime's pages are like ones that are not mapped: what is in
 * front of the first is done, and the call fails; or it is about an address that nobody can map, so
 * that the kernel says what else is wrong with it. */
static i64 pass_range(Thread *t, u64 nr, const u64 a[6])
{
    const u64 nowhere = 1ull << 63;
    u64 b[6] = {a[0], a[1], a[2], a[3], a[4], a[5]};
    u64 ours = MT_PAGE_UP(a[1]), front = 0;
    if (a[1] == 0 || a[0] + a[1] <= a[0] || !aspace_is_runtime(a[0], a[1])) {
        return sys_pass(t, nr, a);
    }
    while (ours - front >
           MT_PAGE_SIZE) { /* the first page of the runtime's ends in (front, ours] */
        u64 middle = front + MT_PAGE_DOWN((ours - front) / 2);
        bool before = aspace_is_runtime(a[0], middle);
        ours = before ? middle : ours;
        front = before ? front : middle;
    }
    b[0] = front != 0 ? a[0] : nowhere | (a[0] & (MT_PAGE_SIZE - 1));
    b[1] = front != 0 ? front : MT_PAGE_SIZE;
    i64 r = sys_pass(t, nr, b);
    return r == 0 ? -ENOMEM : r;
}

/* ---- mlockall(MCL_FUTURE) ----
 * The kernel's own would lock the runtime's code cache and reservations too, so new guest mappings
 * are locked one by one. Not inherited by fork: hence the process id beside the flag. */

enum { LOCK_NO, LOCK_NOW, LOCK_ON_FAULT };

static _Atomic u64
    lock_future; /* process id << 2 | LOCK_*; relaxed: one word, nothing else with it */

static int lock_mode(const Thread *t)
{
    u64 v = atomic_load_explicit(&lock_future, memory_order_relaxed);
    return v >> 2 == (u64)t->tgid ? (int)(v & 3) : LOCK_NO;
}

static void lock_new_range(const Thread *t, u64 addr, u64 len)
{
    int mode = lock_mode(t);
    if (mode != LOCK_NO) {
        sys_raw(SYS_mlock2, addr, len, mode == LOCK_ON_FAULT ? MLOCK_ONFAULT : 0, 0, 0, 0);
    }
}

static bool add_size(const AspaceInfo *m, void *arg)
{
    *(u64 *)arg += m->end - m->start;
    return true;
}

/* As mlockall, which ignores what can't be populated (PROT_NONE). Without aspace's lock: a page may
 * be one that another thread brings (userfaultfd). */
static void lock_all(u64 how)
{
    AspaceInfo m;
    for (GuestAddr at = 0; aspace_query_from(at, &m); at = m.end) {
        sys_raw(SYS_mlock2, m.start, m.end - m.start, how, 0, 0, 0);
    }
}

i64 sys_mlockall(Thread *t, const u64 a[6])
{
    int flags = (int)a[0];
    if (!flags || (flags & ~(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT)) || flags == MCL_ONFAULT) {
        return -EINVAL;
    }
    struct rlimit lim;
    if (!sys_has_capability(CAP_IPC_LOCK) && getrlimit(RLIMIT_MEMLOCK, &lim) == 0) {
        u64 total = 0;
        aspace_foreach(add_size, &total);
        if (lim.rlim_cur == 0) {
            return -EPERM;
        }
        if ((flags & MCL_CURRENT) && total > lim.rlim_cur) {
            return -ENOMEM;
        }
    }
    u64 how = flags & MCL_ONFAULT ? MLOCK_ONFAULT : 0;
    u64 mode = !(flags & MCL_FUTURE) ? LOCK_NO : how ? LOCK_ON_FAULT : LOCK_NOW;
    atomic_store_explicit(&lock_future, (u64)t->tgid << 2 | mode, memory_order_relaxed);
    if (flags & MCL_CURRENT) {
        lock_all(how);
    }
    return 0;
}

i64 sys_munlockall(Thread *t, const u64 a[6])
{
    atomic_store_explicit(&lock_future, 0, memory_order_relaxed);
    return sys_pass(t, SYS_munlockall, a);
}

/* ---- mappings ---- */

/* A mapping that RLIMIT_AS forbids, which the kernel looks at last: what else may be wrong with
 * it? */
static i64 refuse_mapping(const u64 a[6], int flags)
{
    const u64 dropped = MAP_FIXED | MAP_FIXED_NOREPLACE | MAP_POPULATE | MAP_LOCKED;
    if ((flags & MAP_FIXED) != 0 && !is_page_aligned(a[0])) {
        return -EINVAL;
    }
    i64 r = sys_raw(SYS_mmap, 0, a[1], a[2], (a[3] & ~dropped) | MAP_NORESERVE, a[4], a[5]);
    if (r >= 0) {
        sys_raw(SYS_munmap, (u64)r, a[1], 0, 0, 0, 0);
    }
    return r < 0 ? r : -ENOMEM;
}

i64 sys_mmap(Thread *t, const u64 a[6])
{
    int flags = flag_word(a[3]);
    if (!is_page_aligned(a[5])) {
        return -EINVAL;
    }
    if (!sys_rlimit_allows_map(a[0], flags & MAP_FIXED ? MT_PAGE_UP(a[1]) : 0, MT_PAGE_UP(a[1]),
                               (int)a[2], flags)) {
        return refuse_mapping(a, flags);
    }
    i64 r = aspace_mmap(a[0], a[1], (int)a[2], flags, (int)a[4], a[5]);
    if (r > 0) {
        lock_new_range(t, (u64)r, MT_PAGE_UP(a[1]));
        if (MT_UNLIKELY(mt_replacing) && (a[2] & PROT_EXEC) != 0) {
            replace_look((u64)r, MT_PAGE_UP(a[1]));
        }
    } else if ((flags & MAP_ANONYMOUS) == 0) { /* what the kernel looks at before the address */
        i64 mode = sys_raw(SYS_fcntl, a[4], F_GETFL, 0, 0, 0, 0);
        return mode < 0 || (mode & O_PATH) != 0 ? -EBADF : r;
    }
    return r;
}

i64 sys_munmap(Thread *t, const u64 a[6])
{
    return aspace_munmap(a[0], a[1]);
}

/* Behind an mprotect with result r. */
static i64 look_for_replaced(const u64 a[6], i64 r)
{
    if (MT_UNLIKELY(mt_replacing) && r == 0 && (a[2] & PROT_EXEC) != 0) {
        replace_look(a[0], MT_PAGE_UP(a[1]));
    }
    return r;
}

static i64 do_mprotect(const u64 a[6], int pkey)
{
    if (!sys_rlimit_allows_protect(a[0], MT_PAGE_UP(a[1]), (int)a[2])) {
        return -ENOMEM;
    }
    return look_for_replaced(a, aspace_mprotect(a[0], a[1], flag_word(a[2]), pkey));
}

i64 sys_mprotect(Thread *t, const u64 a[6])
{
    return do_mprotect(a, -1);
}

i64 sys_pkey_mprotect(Thread *t, const u64 a[6])
{
    return do_mprotect(a, (int)a[3]);
}

i64 sys_mremap(Thread *t, const u64 a[6])
{
    AspaceInfo m;
    if (a[2] <= aspace_task_size && MT_PAGE_UP(a[2]) > MT_PAGE_UP(a[1]) && aspace_query(a[0], &m) &&
        !sys_rlimit_allows_map(0, 0, MT_PAGE_UP(a[2]) - MT_PAGE_UP(a[1]), m.prot, m.flags)) {
        return -ENOMEM;
    }
    return aspace_mremap(a[0], a[1], a[2], flag_word(a[3]), a[4]);
}

i64 sys_brk(Thread *t, const u64 a[6])
{
    u64 before = (u64)aspace_brk(0);
    if (a[0] > before && !sys_rlimit_allows_map(0, 0, MT_PAGE_UP(a[0]) - MT_PAGE_UP(before),
                                                PROT_READ | PROT_WRITE, MAP_PRIVATE)) {
        return (i64)before;
    }
    if (a[0] > mt_layout.brk_base && !sys_rlimit_allows_heap(a[0] - mt_layout.brk_base)) {
        return (i64)before;
    }
    i64 r = aspace_brk(a[0]);
    if (lock_mode(t) != LOCK_NO && (u64)r > before) {
        lock_new_range(t, MT_PAGE_DOWN(before), MT_PAGE_UP(r) - MT_PAGE_DOWN(before));
    }
    return r;
}

i64 sys_shmat(Thread *t, const u64 a[6])
{
    return aspace_shmat((int)a[0], a[1], (int)a[2]);
}

i64 sys_shmdt(Thread *t, const u64 a[6])
{
    return aspace_shmdt(a[0]);
}

i64 sys_remap_file_pages(Thread *t, const u64 a[6])
{
    return aspace_remap_file_pages(a[0], a[1], flag_word(a[2]), a[3], flag_word(a[4]));
}

/* ---- advice and the like, for ranges that may be ours ---- */

/* Waits for each page, which may be one that another thread brings; changes nothing else. */
static i64 populate(Thread *t, const u64 a[6])
{
    for (u32 i = 0;; i++) {
        if ((int)a[2] == MADV_POPULATE_WRITE) {
            smc_allow_write(a[0], a[1]);
        }
        i64 r = pass_range(t, SYS_madvise, a);
        if (r != -EFAULT || i == MT_EFAULT_REPEATS || !smc_may_hit(a[0], a[1])) {
            return r;
        }
    }
}

i64 sys_madvise(Thread *t, const u64 a[6])
{
    if ((int)a[2] == MADV_POPULATE_READ || (int)a[2] == MADV_POPULATE_WRITE) {
        return populate(t, a);
    }
    return aspace_madvise(a[0], a[1], (int)a[2]);
}

i64 sys_msync(Thread *t, const u64 a[6])
{
    return pass_range(t, SYS_msync, a);
}

i64 sys_mincore(Thread *t, const u64 a[6])
{
    return pass_range(t, SYS_mincore, a);
}

i64 sys_mlock(Thread *t, const u64 a[6])
{
    return pass_range(t, SYS_mlock, a);
}

i64 sys_mlock2(Thread *t, const u64 a[6])
{
    return pass_range(t, SYS_mlock2, a);
}

i64 sys_munlock(Thread *t, const u64 a[6])
{
    return pass_range(t, SYS_munlock, a);
}

i64 sys_mseal(Thread *t, const u64 a[6])
{
    return pass_range(t, 462, a);
}

/* ---- process_madvise ---- */

static bool changes_contents(int advice)
{
    return advice != MADV_COLD && advice != MADV_PAGEOUT && advice != MADV_WILLNEED &&
           advice != MADV_COLLAPSE;
}

i64 sys_process_madvise(Thread *t, const u64 a[6])
{
    int advice = (int)a[3];
    u64 count = a[2];
    /* What drops contents is allowed on the own process only; the translator must see it. */
    if (!changes_contents(advice) || sys_pidfd_pid(t, (int)a[0], NULL) != t->tgid) {
        return sys_pass(t, SYS_process_madvise, a);
    }
    if ((u32)a[4] != 0 || count > 1024 /* UIO_MAXIOV */) {
        return -EINVAL;
    }
    struct iovec v;
    for (u64 i = 0; i < count; i++) { /* all of it, before anything is done */
        if (safe_read(&v, a[1] + i * sizeof(v), sizeof(v))) {
            return -EFAULT;
        }
    }
    /* Whether it takes such advice, which only newer kernels do. */
    const u64 nothing[6] = {a[0], 0, 0, (u64)advice};
    i64 done = sys_pass(t, SYS_process_madvise, nothing);
    for (u64 i = 0; i < count && done >= 0; i++) {
        if (safe_read(&v, a[1] + i * sizeof(v), sizeof(v))) {
            return done; /* it has gone meanwhile */
        }
        i64 r = aspace_madvise((u64)v.iov_base, v.iov_len, advice);
        if (r < 0) {
            return done ? done : r;
        }
        done += (i64)v.iov_len;
    }
    return done;
}
