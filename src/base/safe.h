/* SPDX-License-Identifier: BSD-2-Clause
 * safe.h -- access to guest memory that may be unmapped or protected.
 * Each copy loop is bracketed by labels; the host signal handler asks safe_fixup() for faults
 * inside them. Usable in both domains (general registers only) and in signal handlers. */
#ifndef MT_SAFE_H
#define MT_SAFE_H

#include "base/base.h"

/* Copies n bytes from guest memory. 0, or -EFAULT (dst then holds an unspecified prefix). */
int safe_read(void *dst, GuestAddr src, size_t n);

/* Copies n bytes to guest memory. 0, or -EFAULT (a prefix may have been written). */
int safe_write(GuestAddr dst, const void *src, size_t n);

/* Copies as many bytes as are readable, at most n; returns how many (0..n). */
size_t safe_read_partial(void *dst, GuestAddr src, size_t n);

/* Copies a NUL-terminated string of at most n-1 characters; returns its length, -EFAULT, or
 * -ENAMETOOLONG. */
i64 safe_read_str(char *dst, GuestAddr src, size_t n);

/* Compare and exchange of an aligned 32-bit word: 1 changed, 0 not (*seen: what was there), or
 * -EFAULT. */
int safe_cmpxchg32(GuestAddr addr, u32 old, u32 new_value, u32 *seen);

/* Accesses a byte, if it can be accessed, without changing it; writing, so that it is there to be
 * written. Waits for its page as long as *unless is 0: set in a signal handler, which takes
 * safe_touch_abort(). */
void safe_touch(GuestAddr addr, bool write, const u32 *unless);
/* The pc to resume at, if pc is in safe_touch(), else 0. */
u64 safe_touch_abort(u64 pc);

/* For the host's SIGSEGV/SIGBUS handler: if pc is inside one of the routines above, returns the pc
 * to resume at (the routine then returns the error), else 0. */
u64 safe_fixup(u64 pc);

#endif
