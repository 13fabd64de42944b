/* SPDX-License-Identifier: BSD-2-Clause
 * base.h -- the few definitions that every module uses. */
#ifndef MT_BASE_H
#define MT_BASE_H

#include "mtvg/types.h"

/* An address in the guest's view. Guest memory is identity-mapped, so it can be read through a
 * pointer, but only with safe_read() and friends: the guest may unmap it at any moment. */
typedef u64 GuestAddr;

#define MT_PAGE_SIZE 4096ul
#define MT_PAGE_MASK (~(MT_PAGE_SIZE - 1))
#define MT_PAGE_DOWN(x) ((u64)(x)&MT_PAGE_MASK)
#define MT_PAGE_UP(x) (((u64)(x) + MT_PAGE_SIZE - 1) & MT_PAGE_MASK)
#define MT_ALIGN_UP(x, a) (((u64)(x) + (a)-1) & ~((u64)(a)-1))
#define MT_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define MT_LIKELY(x) __builtin_expect(!!(x), 1)
#define MT_UNLIKELY(x) __builtin_expect(!!(x), 0)

/* Prints thread, guest PC, module and how to report it, then dumps core. */
_Noreturn void mt_assert_failed(const char *expr, const char *file, int line);
/* Gives mt_assert_failed() the calling thread's guest PC; set once at start, must be
 * signal-safe. */
extern u64 (*mt_assert_guest_pc)(void);

/* Stays on in release builds. Nothing that a guest does may make one fire. */
#define MT_ASSERT(e)                                  \
    do {                                              \
        if (MT_UNLIKELY(!(e))) {                      \
            mt_assert_failed(#e, __FILE__, __LINE__); \
        }                                             \
    } while (0)

#ifdef MT_DEBUG_BUILD
#define MT_DCHECK(e) MT_ASSERT(e)
#else
#define MT_DCHECK(e) ((void)sizeof(e))
#endif

#endif
