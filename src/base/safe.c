/* SPDX-License-Identifier: BSD-2-Clause
 * safe.c -- access to guest memory that may be unmapped or protected.
 * Role:       splits requests at page borders and turns faults into errors; the accesses themselves
 *             are in safe.S.
 * Invariants: S1. a fault happens at page granularity: if a copy that stays inside one page faults,
 *                 none of its bytes is accessible. Hence partial copies need no register of the
 *                 interrupted copy loop (an outer Valgrind does not keep them exact).
 * Signals:    everything here may be called in a host signal handler, and in both domains. */
#include "base/safe.h"

#include "base/valgrind_annot.h"

#include <errno.h>

int safe_copy_raw(void *dst, const void *src, size_t n);
i64 safe_str_raw(char *dst, const char *src, size_t n);
int safe_cas_raw(u32 *p, u32 old, u32 new_value, u32 *seen);
extern const char safe_copy_begin[], safe_copy_end[], safe_copy_fault[];
extern const char safe_cas_begin[], safe_cas_end[], safe_cas_fault[];
extern const char safe_str_begin[], safe_str_end[], safe_str_fault[];
void safe_touch_raw(u8 *p, bool write, const u32 *unless);
extern const char safe_touch_begin[], safe_touch_end[];

/* Races on guest memory are the guest's. */
static int copy(void *dst, const void *src, size_t n)
{
    annot_foreign_begin();
    int r = safe_copy_raw(dst, src, n);
    annot_foreign_end();
    return r;
}

int safe_read(void *dst, GuestAddr src, size_t n)
{
    return copy(dst, (const void *)src, n) ? -EFAULT : 0;
}

int safe_write(GuestAddr dst, const void *src, size_t n)
{
    return copy((void *)dst, src, n) ? -EFAULT : 0;
}

/* Bytes from addr to the end of its page, at most n. */
static size_t chunk_in_page(GuestAddr addr, size_t n)
{
    size_t room = MT_PAGE_SIZE - (addr & (MT_PAGE_SIZE - 1));
    return n < room ? n : room;
}

size_t safe_read_partial(void *dst, GuestAddr src, size_t n)
{
    size_t done = 0;
    while (done < n) {
        size_t len = chunk_in_page(src + done, n - done);
        if (copy((char *)dst + done, (const void *)(src + done), len)) {
            break;
        }
        done += len;
    }
    return done;
}

i64 safe_read_str(char *dst, GuestAddr src, size_t n)
{
    annot_foreign_begin();
    i64 len = safe_str_raw(dst, (const char *)src, n);
    annot_foreign_end();
    if (len < 0) {
        return -EFAULT;
    }
    return (size_t)len < n ? len : -ENAMETOOLONG;
}

int safe_cmpxchg32(GuestAddr addr, u32 old, u32 new_value, u32 *seen)
{
    annot_foreign_begin();
    int r = safe_cas_raw((u32 *)addr, old, new_value, seen);
    annot_foreign_end();

    return r < 0 ? -EFAULT : r;
}

void safe_touch(GuestAddr addr, bool write, const u32 *unless)
{
    annot_foreign_begin();
    safe_touch_raw((u8 *)addr, write, unless);
    annot_foreign_end();
}

u64 safe_touch_abort(u64 pc)
{
    return pc >= (u64)safe_touch_begin && pc < (u64)safe_touch_end ? (u64)safe_touch_end : 0;
}

u64 safe_fixup(u64 pc)
{
    if (safe_touch_abort(pc) != 0) {
        return (u64)safe_touch_end;
    }
    if (pc >= (u64)safe_copy_begin && pc < (u64)safe_copy_end) {
        return (u64)safe_copy_fault;
    }
    if (pc >= (u64)safe_str_begin && pc < (u64)safe_str_end) {
        return (u64)safe_str_fault;
    }
    if (pc >= (u64)safe_cas_begin && pc < (u64)safe_cas_end) {
        return (u64)safe_cas_fault;
    }
    return 0;
}
