/* SPDX-License-Identifier: BSD-2-Clause
 * sys_rlimit.c -- RLIMIT_AS and RLIMIT_DATA, the limits of a process's memory.
 * Role:    the runtime's reservations take most of what a guest would allow itself, and without
 *          memory the runtime can't go on. So a limit that the guest sets for its own process is
 *          kept here, and compared with the guest's mappings only. A traced program's mtvg is told
 *          at exec, for a native one the kernel is. One that was there at the start is taken over
 *          if the kernel's can be raised; if not, it stays the kernel's, and includes the runtime.
 * Locking: none: single words. Two threads that set a limit at the same time may mix theirs, as may
 *          two vfork children. */
#include "guest/aspace.h"
#include "sys/sys.h"

#include "base/safe.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef struct Limit {
    u64 cur, max;
} Limit;

enum { KIND_AS, KIND_DATA, KINDS };

static const u32 resource_of[KINDS] = {[KIND_AS] = RLIMIT_AS, [KIND_DATA] = RLIMIT_DATA};

/* What the guest has set; relaxed, see Locking. */
typedef struct Kept {
    _Atomic u64 cur, max;
    _Atomic bool is_set;
} Kept;

/* The process's, and those of a vfork child that has set its own. */
static Kept of_process[KINDS] = {{RLIM_INFINITY, RLIM_INFINITY, false},
                                 {RLIM_INFINITY, RLIM_INFINITY, false}};
static Kept of_vfork_child[KINDS];
static _Atomic int vfork_child; /* its pid */

bool sys_has_capability(int cap)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}};
    i64 r = sys_raw(SYS_capget, (u64)&header, (u64)data, 0, 0, 0, 0);

    return r == 0 && (data[cap / 32].effective & 1u << cap % 32);
}

static i64 host_prlimit(int kind, const Limit *new, Limit *old)
{
    return sys_raw(SYS_prlimit64, 0, resource_of[kind], (u64) new, (u64)old, 0, 0);
}

static Limit host_limit(int kind)
{
    Limit l = {RLIM_INFINITY, RLIM_INFINITY};

    host_prlimit(kind, NULL, &l);
    return l;
}

static bool is_kept(const Kept *k)
{
    return atomic_load_explicit(&k->is_set, memory_order_relaxed);
}

static void keep(Kept *k, const Limit *l)
{
    atomic_store_explicit(&k->max, l->max, memory_order_relaxed);
    atomic_store_explicit(&k->cur, l->cur, memory_order_relaxed);
    atomic_store_explicit(&k->is_set, true, memory_order_relaxed);
}

static Limit kept_limit(const Kept *k)
{
    return (Limit){atomic_load_explicit(&k->cur, memory_order_relaxed),
                   atomic_load_explicit(&k->max, memory_order_relaxed)};
}

/* The calling process's. */
static Kept *kept_of(const Thread *t, int kind)
{
    bool own = t->is_vfork_child &&
               atomic_load_explicit(&vfork_child, memory_order_relaxed) == t->tgid;

    return own ? &of_vfork_child[kind] : &of_process[kind];
}

/* A vfork child that is about to set a limit. */
static void separate_from_parent(const Thread *t)
{
    if (!t->is_vfork_child || kept_of(t, 0) == &of_vfork_child[0]) {
        return;
    }
    for (int i = 0; i < KINDS; i++) {
        Limit l = kept_limit(&of_process[i]);

        keep(&of_vfork_child[i], &l);
        atomic_store_explicit(&of_vfork_child[i].is_set, is_kept(&of_process[i]),
                              memory_order_relaxed);
    }
    atomic_store_explicit(&vfork_child, t->tgid, memory_order_relaxed);
}

void sys_rlimit_forget(i64 vforked)
{
    int pid = (int)vforked;

    atomic_compare_exchange_strong_explicit(&vfork_child, &pid, 0, memory_order_relaxed,
                                            memory_order_relaxed);
}

/* ---- start ---- */

/* Takes a limit of the kernel's over. */
static void take_over(int kind)
{
    Limit l = host_limit(kind), none = {RLIM_INFINITY, RLIM_INFINITY}, most = {l.max, l.max};

    if (l.cur != RLIM_INFINITY && (host_prlimit(kind, &none, NULL) == 0 ||
                                   (l.cur < l.max && host_prlimit(kind, &most, NULL) == 0))) {
        keep(&of_process[kind], &l);
    }
}

/* "kind:cur:max,...", see sys_rlimit_text(). */
static void keep_told(const char *text)
{
    Limit l;
    int kind;

    for (; text != NULL; text = strchr(text, ',') ? strchr(text, ',') + 1 : NULL) {
        if (sscanf(text, "%d:%" SCNx64 ":%" SCNx64, &kind, &l.cur, &l.max) == 3 && kind >= 0 &&
            kind < KINDS) {
            keep(&of_process[kind], &l);
        }
    }
}

void sys_rlimit_start(const char *told)
{
    keep_told(told);
    for (int i = 0; i < KINDS; i++) {
        if (!is_kept(&of_process[i])) {
            take_over(i);
        }
    }
}

/* ---- the system calls ---- */

/* Is the limit of the calling process ours to keep? Its kind or -1. */
static int kind_kept_here(const Thread *t, u64 pid, u64 resource, bool sets)
{
    int kind = 0;

    while (kind < KINDS && resource_of[kind] != (u32)resource) {
        kind++;
    }
    if (kind == KINDS || ((i32)pid != 0 && (i32)pid != t->tgid)) {
        return -1;
    }
    return is_kept(kept_of(t, kind)) || (sets && host_limit(kind).cur == RLIM_INFINITY) ? kind : -1;
}

static i64 get_or_set(const Thread *t, int kind, u64 new_at, u64 old_at)
{
    Kept *k = kept_of(t, kind);
    Limit was = is_kept(k) ? kept_limit(k) : host_limit(kind), l;

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
        separate_from_parent(t);
        keep(kept_of(t, kind), &l);
    }
    return old_at != 0 && safe_write(old_at, &was, sizeof(was)) ? -EFAULT : 0;
}

i64 sys_prlimit64(Thread *t, const u64 a[6])
{
    int kind = kind_kept_here(t, a[0], a[1], a[2] != 0);

    return kind >= 0 ? get_or_set(t, kind, a[2], a[3]) : sys_pass(t, SYS_prlimit64, a);
}

i64 sys_setrlimit(Thread *t, const u64 a[6])
{
    int kind = kind_kept_here(t, 0, a[0], true);

    if (kind < 0) {
        return sys_pass(t, SYS_setrlimit, a);
    }
    return a[1] == 0 ? -EFAULT : get_or_set(t, kind, a[1], 0);
}

i64 sys_getrlimit(Thread *t, const u64 a[6])
{
    int kind = kind_kept_here(t, 0, a[0], false);

    if (kind < 0) {
        return sys_pass(t, SYS_getrlimit, a);
    }
    return a[1] == 0 ? -EFAULT : get_or_set(t, kind, 0, a[1]);
}

/* ---- what is limited ---- */

/* As the kernel's is_data_mapping(): counts for RLIMIT_DATA. */
static bool is_data(int prot, int flags)
{
    return (prot & PROT_WRITE) != 0 && (flags & MAP_TYPE) == MAP_PRIVATE &&
           (flags & MAP_GROWSDOWN) == 0;
}

typedef struct Sum {
    u64 bytes[KINDS];
    GuestAddr start, end;
    u64 inside;       /* bytes between these */
    u64 not_writable; /* those that would be data if they were */
} Sum;

static bool add_mapping(const AspaceInfo *m, void *arg)
{
    Sum *s = arg;
    GuestAddr lo = m->start > s->start ? m->start : s->start;
    GuestAddr hi = m->end < s->end ? m->end : s->end;
    u64 inside = lo < hi ? hi - lo : 0;
    bool data = is_data(m->prot, m->flags);

    s->bytes[KIND_AS] += m->end - m->start;
    s->bytes[KIND_DATA] += data ? m->end - m->start : 0;
    s->inside += inside;
    s->not_writable += !data && is_data(PROT_WRITE, m->flags) ? inside : 0;
    return true;
}

/* A soft limit of no data means the hard one, as in the kernel. */
static u64 limit_of(int kind)
{
    Limit l = kept_limit(&of_process[kind]);

    return kind == KIND_DATA && l.cur == 0 ? l.max : l.cur;
}

static bool is_limited(void)
{
    return limit_of(KIND_AS) != RLIM_INFINITY || limit_of(KIND_DATA) != RLIM_INFINITY;
}

static bool has_room(int kind, const Sum *s, u64 more)
{
    u64 limit = limit_of(kind);

    return limit == RLIM_INFINITY || (more <= limit && s->bytes[kind] <= limit - more);
}

bool sys_rlimit_allows_map(GuestAddr replaced, u64 replaced_len, u64 len, int prot, int flags)
{
    Sum s = {.start = replaced, .end = replaced + replaced_len};

    if (MT_LIKELY(!is_limited())) {
        return true;
    }
    aspace_foreach(add_mapping, &s);
    u64 more = len > s.inside ? len - s.inside : 0;
    return has_room(KIND_AS, &s, more) && (!is_data(prot, flags) || has_room(KIND_DATA, &s, more));
}

bool sys_rlimit_allows_protect(GuestAddr start, u64 len, int prot)
{
    Sum s = {.start = start, .end = start + len};

    if (MT_LIKELY(!is_limited()) || (prot & PROT_WRITE) == 0) {
        return true;
    }
    aspace_foreach(add_mapping, &s);
    return s.not_writable == 0 || has_room(KIND_DATA, &s, s.not_writable);
}

bool sys_rlimit_allows_heap(u64 bytes)
{
    u64 limit = kept_limit(&of_process[KIND_DATA]).cur;

    return limit == RLIM_INFINITY || bytes <= limit;
}

/* ---- exec ---- */

void sys_rlimit_text(const Thread *t, char *out, size_t size)
{
    size_t n = 0;

    out[0] = '\0';
    for (int i = 0; i < KINDS && n < size; i++) {
        if (is_kept(kept_of(t, i))) {
            Limit l = kept_limit(kept_of(t, i));

            n += (size_t)snprintf(out + n, size - n, "%s%d:%" PRIx64 ":%" PRIx64, n ? "," : "", i,
                                  l.cur, l.max);
        }
    }
}

/* A hard limit can't be raised again without privileges, and the runtime could not go on under it:
 * an exec that will fail must not set it. */
static bool is_executable(int dirfd, u64 path, int flags)
{
    i64 r = sys_raw(SYS_faccessat2, (u64)(i64)dirfd, path, X_OK, (u64)(flags | AT_EACCESS), 0, 0);

    return r == 0 || r == -ENOSYS || r == -EPERM; /* the latter two: not known */
}

void sys_rlimit_before_exec(const Thread *t, int dirfd, u64 path, int flags, SysRlimitSaved *saved)
{
    bool looked = false;

    *saved = (SysRlimitSaved){{false}, {{0}}};
    for (int i = 0; i < KINDS; i++) {
        if (is_kept(kept_of(t, i)) && (looked || (looked = is_executable(dirfd, path, flags)))) {
            Limit l = kept_limit(kept_of(t, i)), was;

            saved->changed[i] = host_prlimit(i, &l, &was) == 0;
            saved->limit[i][0] = was.cur;
            saved->limit[i][1] = was.max;
        }
    }
}

void sys_rlimit_after_failed_exec(const SysRlimitSaved *saved)
{
    for (int i = 0; i < KINDS; i++) {
        Limit l = {saved->limit[i][0], saved->limit[i][1]};

        if (saved->changed[i] && host_prlimit(i, &l, NULL) < 0) {
            l = host_limit(i); /* at least what is allowed */
            l.cur = l.max;
            host_prlimit(i, &l, NULL);
        }
    }
}
