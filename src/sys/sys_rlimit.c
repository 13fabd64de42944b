/* SPDX-License-Identifier: BSD-2-Clause
 * sys_rlimit.c -- RLIMIT_AS, the limit of the address space.
 * Role:    the runtime's reservations take most of what a guest would allow itself, and without memory
 *          the runtime can't go on. So a limit that the guest sets for its own process is kept here,
 *          and compared with the guest's mappings only; the kernel gets it at exec. One that
 *          was there at the start is the kernel's, and includes the runtime.
 * Locking: none: single words. Two threads that set the limit at the same time may mix theirs. */
#include "guest/aspace.h"
#include "sys/sys.h"

#include "base/safe.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/syscall.h>

typedef struct Limit {
    u64 cur, max;
} Limit;

/* What the guest has set; relaxed, see Locking. `kept`: it has. */
static _Atomic u64 as_cur = RLIM_INFINITY, as_max = RLIM_INFINITY;
static _Atomic bool kept;
/* A vfork child that has set its own: the kernel's, as exec is next. */
static _Atomic int set_by_vfork_child;

bool sys_has_capability(int cap)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}};
    i64 r = sys_raw(SYS_capget, (u64)&header, (u64)data, 0, 0, 0, 0);

    return r == 0 && (data[cap / 32].effective & 1u << cap % 32);
}

static void host_limit(Limit *l)
{
    *l = (Limit){RLIM_INFINITY, RLIM_INFINITY};
    sys_raw(SYS_prlimit64, 0, RLIMIT_AS, 0, (u64)l, 0, 0);
}

/* Is the limit of the calling process ours to keep? */
static bool is_kept_here(const Thread *t, u64 pid, u64 resource, bool sets)
{
    Limit host;

    if ((u32)resource != RLIMIT_AS || ((i32)pid != 0 && (i32)pid != t->tgid) ||
        atomic_load_explicit(&set_by_vfork_child, memory_order_relaxed) == t->tgid) {
        return false;
    }
    if (sets && t->is_vfork_child) {
        atomic_store_explicit(&set_by_vfork_child, t->tgid, memory_order_relaxed);
        return false;
    }
    if (atomic_load_explicit(&kept, memory_order_relaxed)) {
        return true;
    }
    host_limit(&host);
    return sets && host.cur == RLIM_INFINITY;
}

static Limit current_limit(void)
{
    Limit l;

    if (!atomic_load_explicit(&kept, memory_order_relaxed)) {
        host_limit(&l);
        return l;
    }
    l.cur = atomic_load_explicit(&as_cur, memory_order_relaxed);
    l.max = atomic_load_explicit(&as_max, memory_order_relaxed);
    return l;
}

static i64 get_or_set(u64 new_at, u64 old_at)
{
    Limit was = current_limit(), l;

    if (new_at != 0) {
        if (safe_read(&l, new_at, sizeof(l))) {
            return -EFAULT;
        }
        if (l.cur > l.max) {
            return -EINVAL;
        }
        if (l.max > was.max && !sys_has_capability(CAP_SYS_RESOURCE)) {
            return -EPERM;
        }
        atomic_store_explicit(&as_max, l.max, memory_order_relaxed);
        atomic_store_explicit(&as_cur, l.cur, memory_order_relaxed);
        atomic_store_explicit(&kept, true, memory_order_relaxed);
    }
    return old_at != 0 && safe_write(old_at, &was, sizeof(was)) ? -EFAULT : 0;
}

i64 sys_prlimit64(Thread *t, const u64 a[6])
{
    return is_kept_here(t, a[0], a[1], a[2] != 0) ? get_or_set(a[2], a[3])
                                                  : sys_pass(t, SYS_prlimit64, a);
}

i64 sys_setrlimit(Thread *t, const u64 a[6])
{
    if (!is_kept_here(t, 0, a[0], true)) {
        return sys_pass(t, SYS_setrlimit, a);
    }
    return a[1] == 0 ? -EFAULT : get_or_set(a[1], 0);
}

i64 sys_getrlimit(Thread *t, const u64 a[6])
{
    if (!is_kept_here(t, 0, a[0], false)) {
        return sys_pass(t, SYS_getrlimit, a);
    }
    return a[1] == 0 ? -EFAULT : get_or_set(0, a[1]);
}

/* ---- what is limited ---- */

typedef struct Sum {
    u64 bytes;
    GuestAddr start, end; /* does not count */
} Sum;

static bool add_mapping(const AspaceInfo *m, void *arg)
{
    Sum *s = arg;
    GuestAddr lo = m->start > s->start ? m->start : s->start;
    GuestAddr hi = m->end < s->end ? m->end : s->end;

    s->bytes += m->end - m->start - (lo < hi ? hi - lo : 0);
    return true;
}

bool sys_rlimit_allows(GuestAddr replaced, u64 replaced_len, u64 len)
{
    u64 limit = atomic_load_explicit(&as_cur, memory_order_relaxed);
    Sum s = {0, replaced, replaced + replaced_len};

    if (MT_LIKELY(limit == RLIM_INFINITY)) {
        return true;
    }
    aspace_foreach(add_mapping, &s);
    return len <= limit && s.bytes <= limit - len;
}

/* ---- exec ---- */

void sys_rlimit_before_exec(const Thread *t, SysRlimitSaved *saved)
{
    Limit l = current_limit();

    saved->changed = is_kept_here(t, 0, RLIMIT_AS, false);
    if (saved->changed) {
        sys_raw(SYS_prlimit64, 0, RLIMIT_AS, (u64)&l, (u64)saved->limit, 0, 0);
    }
}

void sys_rlimit_after_failed_exec(const SysRlimitSaved *saved)
{
    if (saved->changed) {
        /* Without privileges the hard limit can't be raised again; the soft one can, up to there. */
        Limit l = {saved->limit[0], saved->limit[1]}, now;

        if (sys_raw(SYS_prlimit64, 0, RLIMIT_AS, (u64)&l, 0, 0, 0) < 0) {
            host_limit(&now);
            now.cur = now.max;
            sys_raw(SYS_prlimit64, 0, RLIMIT_AS, (u64)&now, 0, 0, 0);
        }
    }
}
