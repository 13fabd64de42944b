/* SPDX-License-Identifier: BSD-2-Clause
 * robust.c -- the robust futex list at a thread's end.
 * Source: the kernel's Documentation/locking/robust-futex-ABI.rst. */
#include "sched/robust.h"

#include "base/safe.h"
#include "base/valgrind_annot.h"
#include "jit/smc.h"
#include "sys/sys.h"

#include <linux/futex.h>
#include <sys/syscall.h>

#define LIST_LIMIT 2048 /* ROBUST_LIST_LIMIT */
#define PI_BIT 1ull

typedef struct RobustHead {
    u64 next;
    i64 futex_offset;
    u64 pending;
} RobustHead;

/* Guest memory that is going to be changed atomically: it is readable, or this says so. */
static bool read_word(GuestAddr a, u32 *v)
{
    return (a & 3) == 0 && safe_read(v, a, 4) == 0;
}

/* safe_cmpxchg32(), in a write-protected code page too. */
static int exchange_word(GuestAddr a, u32 old, u32 new_value, u32 *seen)
{
    int r = safe_cmpxchg32(a, old, new_value, seen);

    for (u32 i = 0; i < MT_EFAULT_REPEATS && r < 0 && smc_unprotect_all(); i++) {
        r = safe_cmpxchg32(a, old, new_value, seen);
    }
    return r;
}

static void wake(GuestAddr a)
{
    annot_foreign_begin();
    sys_raw(SYS_futex, a, FUTEX_WAKE, 1, 0, 0, 0);
    annot_foreign_end();
}

/* The owner of this futex dies. Who waits for a PI futex is woken by the kernel when the host
 * thread ends: it knows the owner. False: the word can't be accessed, and the kernel would end its
 * walk here. */
static bool futex_death(Thread *t, GuestAddr a, bool pi, bool pending)
{
    u32 v;

    if (!read_word(a, &v)) {
        return false;
    }
    if (pending && !pi && v == 0) {
        wake(a);
        return true;
    }
    while ((v & FUTEX_TID_MASK) == (u32)t->tid) {
        u32 dead = (v & FUTEX_WAITERS) | FUTEX_OWNER_DIED;
        int r = exchange_word(a, v, dead, &v);

        if (r > 0 && !pi && (dead & FUTEX_WAITERS)) {
            wake(a);
        }
        if (r != 0) {
            return r > 0;
        }
    }
    return true;
}

static void walk(Thread *t, u64 head_addr, const RobustHead *head)
{
    u64 entry = head->next;
    u64 pending = head->pending & ~PI_BIT;

    for (int i = 0; i < LIST_LIMIT && (entry & ~PI_BIT) != head_addr; i++) {
        u64 at = entry & ~PI_BIT, next;

        /* Read on before the futex is released: another thread may then free it. */
        bool more = safe_read(&next, at, 8) == 0;

        if (at != pending &&
            !futex_death(t, at + (u64)head->futex_offset, (entry & PI_BIT) != 0, false)) {
            return;
        }
        if (!more) {
            return;
        }
        entry = next;
    }
    if (pending != 0) {
        futex_death(t, pending + (u64)head->futex_offset, (head->pending & PI_BIT) != 0, true);
    }
}

void robust_exit(Thread *t)
{
    u64 head_addr = 0, len = 0;
    RobustHead head;

    if (sys_raw(SYS_get_robust_list, 0, (u64)&head_addr, (u64)&len, 0, 0, 0) != 0 ||
        head_addr == 0 || len != sizeof(head)) {
        return;
    }
    if (safe_read(&head, head_addr, sizeof(head)) == 0) {
        walk(t, head_addr, &head);
    }
    sys_raw(SYS_set_robust_list, 0, sizeof(head), 0, 0, 0, 0);
}
