/* SPDX-License-Identifier: BSD-2-Clause
 * sys_mem_ranges.c -- sys_mem.def, applied to a call.
 * Role:    reads the guest's iovecs, lengths and strings safely; what can't be read has no ranges.
 *          The guest may change them meanwhile: the ranges are then those of one of the moments. */
#include "sys/sys_events.h"

#include "base/safe.h"
#include "sys/sys.h"

#include <errno.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#define MAX_IOVECS 1024 /* UIO_MAXIOV */
#define MAX_ROOM (1ull << 31)

typedef enum MemHow {
    HOW_SIZE,
    HOW_COUNT,
    HOW_RESULT,
    HOW_STR,
    HOW_IOV,
    HOW_MSG,
    HOW_LEN,
    HOW_SET,
    HOW_PAGES,
    HOW_GROUPS,
    HOW_EINTR,
    HOW_NOTHING,
    HOW_FUTEX,
} MemHow;

typedef struct MemRow {
    u16 nr;
    u8 write, arg, how;
    u16 n;
} MemRow;

static const MemRow rows[] = {
#define READS(name, arg, how, n) {SYS_##name, 0, arg, HOW_##how, n},
#define WRITES(name, arg, how, n) {SYS_##name, 1, arg, HOW_##how, n},
#define PLAIN(name) {SYS_##name, 0, 0, HOW_NOTHING, 0},
#define FUTEX(name) {SYS_##name, 0, 0, HOW_FUTEX, 0},
#include "sys/sys_mem.def"
};

typedef struct Walk {
    const u64 *a;
    bool writes;
    bool before; /* what will be written at most; r is not known yet */
    i64 r;
    SysRangeFn fn;
    void *arg;
} Walk;

static void range(const Walk *w, u64 addr, u64 len)
{
    if (addr != 0 && len != 0) {
        w->fn(w->arg, addr, len);
    }
}

static void string(const Walk *w, u64 addr)
{
    char page[256];
    u64 at = addr;

    while (addr != 0) {
        size_t n = safe_read_partial(page, at, sizeof(page));
        const char *nul = memchr(page, 0, n);

        if (nul != NULL || n < sizeof(page)) {
            range(w, addr, at + (nul != NULL ? (u64)(nul - page) + 1 : n) - addr);
            return;
        }
        at += n;
    }
}

/* Reads: the array and what it names. Writes: the first `result` bytes of it. Before a call that
 * will write there, the array is read. */
static void iovecs(const Walk *w, u64 addr, u64 count, bool row_writes)
{
    u64 left = w->writes && !w->before ? (u64)w->r : ~0ull;

    if (count > MAX_IOVECS) {
        return; /* EINVAL */
    }
    if (!w->writes) {
        range(w, addr, count * sizeof(struct iovec));
    }
    for (u64 i = 0; i < count && row_writes == w->writes; i++) {
        struct iovec v;
        u64 n;

        if (safe_read(&v, addr + i * sizeof(v), sizeof(v)) != 0) {
            return;
        }
        n = v.iov_len < left ? v.iov_len : left;
        range(w, (u64)v.iov_base, n);
        left -= n;
    }
}

static void message(const Walk *w, u64 addr, bool row_writes)
{
    struct msghdr m;

    if (!w->writes) {
        range(w, addr, sizeof(m));
    }
    if (safe_read(&m, addr, sizeof(m)) != 0) {
        return;
    }
    iovecs(w, (u64)m.msg_iov, m.msg_iovlen, row_writes);
    if (row_writes == w->writes) {
        range(w, (u64)m.msg_name, m.msg_namelen);
        range(w, (u64)m.msg_control, m.msg_controllen);
    }
    if (w->writes) {
        range(w, addr + offsetof(struct msghdr, msg_namelen), sizeof(m.msg_namelen));
        range(w, addr + offsetof(struct msghdr, msg_controllen),
              offsetof(struct msghdr, msg_flags) + sizeof(m.msg_flags) -
                  offsetof(struct msghdr, msg_controllen));
    }
}

static void futex(const Walk *w)
{
    int op = (int)w->a[1] & FUTEX_CMD_MASK;
    bool waits = op == FUTEX_WAIT || op == FUTEX_WAIT_BITSET || op == FUTEX_LOCK_PI ||
                 op == FUTEX_WAIT_REQUEUE_PI || op == FUTEX_LOCK_PI2;

    if (w->before) { /* the locking operations */
        range(w, w->a[0], 4);
        range(w, w->a[4], 4);
    }
    if (w->writes) {
        return;
    }
    if (op != FUTEX_WAKE && op != FUTEX_WAKE_BITSET) {
        range(w, w->a[0], 4);
    }
    if (waits) {
        range(w, w->a[3], 16);
    }
}

/* Rows that take part before (reads) and behind the call (writes); those whose target is read as a
 * whole structure take part in both. */
static void row_ranges(const Walk *w, const MemRow *row)
{
    u64 p = w->a[row->arg], n = row->n;
    /* Before the call: the room, which is the argument behind the buffer where it matters. */
    u64 room = row->arg < 5 && w->a[row->arg + 1] < MAX_ROOM ? w->a[row->arg + 1] : MAX_ROOM;
    u64 result = w->before ? room : (u64)w->r;
    u32 len;

    if (row->how == HOW_FUTEX) {
        futex(w);
        return;
    }
    if (row->how == HOW_IOV && (row->write == w->writes || !w->writes)) {
        iovecs(w, p, w->a[n], row->write);
        return;
    }
    if (row->how == HOW_MSG && (row->write == w->writes || !w->writes)) {
        message(w, p, row->write);
        return;
    }
    if (row->write != w->writes) {
        return;
    }
    switch ((MemHow)row->how) {
    case HOW_SIZE: range(w, p, n); break;
    case HOW_COUNT: range(w, p, w->a[n & 15] * (n >> 4)); break;
    case HOW_RESULT: range(w, p, result * n); break;
    case HOW_STR: string(w, p); break;
    case HOW_LEN:
        if (w->a[n] != 0 && safe_read(&len, w->a[n], sizeof(len)) == 0) {
            range(w, p, len);
        }
        break;
    case HOW_SET: range(w, p, ((u32)w->a[n] + 63) / 64 * 8); break;
    case HOW_PAGES: range(w, p, MT_PAGE_UP(w->a[n]) / MT_PAGE_SIZE); break;
    case HOW_GROUPS: range(w, p, w->a[n] != 0 ? result * 4 : 0); break;
    default: break;
    }
}

bool sys_mem_ranges(u32 nr, const u64 a[6], bool writes, i64 r, SysRangeFn fn, void *arg)
{
    Walk w = {.a = a, .writes = writes, .r = r, .fn = fn, .arg = arg};
    bool known = false;

    for (u32 i = 0; i < MT_ARRAY_SIZE(rows); i++) {
        const MemRow *row = &rows[i];

        if (row->nr != nr) {
            continue;
        }
        known = true;
        if (fn == NULL) {
            break;
        }
        if (row->how == HOW_EINTR) {
            range(&w, writes && r == -EINTR ? a[row->arg] : 0, row->n);
        } else if (!writes || r >= 0) {
            row_ranges(&w, row);
        }
    }
    return known;
}

bool sys_mem_will_write(u32 nr, const u64 a[6], SysRangeFn fn, void *arg)
{
    Walk w = {.a = a, .writes = true, .before = true, .fn = fn, .arg = arg};
    bool known = false;

    for (u32 i = 0; i < MT_ARRAY_SIZE(rows); i++) {
        const MemRow *row = &rows[i];

        if (row->nr == nr && row->how == HOW_EINTR) {
            range(&w, a[row->arg], row->n);
        } else if (row->nr == nr) {
            row_ranges(&w, row);
        }
        known = known || row->nr == nr;
    }
    return known;
}

u8 mt_sys_writes[MT_SYS_MAX];

void sys_mem_init(void)
{
    const u8 all = 0x3f;

    memset(mt_sys_writes, all, sizeof(mt_sys_writes));
    for (u32 i = 0; i < MT_ARRAY_SIZE(rows); i++) {
        mt_sys_writes[rows[i].nr] = 0;
    }
    for (u32 i = 0; i < MT_ARRAY_SIZE(rows); i++) {
        const MemRow *row = &rows[i];
        bool deep = row->how == HOW_IOV || row->how == HOW_MSG;

        if (row->how == HOW_FUTEX) {
            mt_sys_writes[row->nr] |= 1 << 0 | 1 << 4;
        } else if (row->write || row->how == HOW_EINTR) {
            mt_sys_writes[row->nr] |= deep ? MT_WRITES_DEEP : 1u << row->arg;
        }
    }
}
