/* SPDX-License-Identifier: BSD-2-Clause
 * futex.h -- the kernel's wait queues, without libc: usable in both domains (general registers
 * only), in signal handlers, and in a vfork child (same memory, hence the same private futexes).
 * errno is left alone. */
#ifndef MT_FUTEX_H
#define MT_FUTEX_H

#include "base/base.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>

static inline long futex_raw(u32 *word, long op, u32 val, const struct timespec *timeout)
{
    register const struct timespec *r10 __asm__("r10") = timeout;
    long ret;

    __asm__ volatile("syscall"
                     : "=a"(ret)
                     : "0"((long)SYS_futex), "D"(word), "S"(op | FUTEX_PRIVATE_FLAG),
                       "d"((long)val), "r"(r10)
                     : "rcx", "r11", "memory");
    return ret;
}

/* Sleeps if *word is `val`, until woken, a signal, or timeout_ns has passed (negative: no limit).
 * Returns 0, -EAGAIN (the word differs), -EINTR or -ETIMEDOUT; callers look at their condition
 * again in each case. */
static inline long futex_wait(u32 *word, u32 val, i64 timeout_ns)
{
    struct timespec ts = {timeout_ns / 1000000000, timeout_ns % 1000000000};

    return futex_raw(word, FUTEX_WAIT, val, timeout_ns >= 0 ? &ts : NULL);
}

/* Wakes up to n sleepers; returns how many. The word's memory may be gone already. */
static inline long futex_wake(u32 *word, u32 n)
{
    return futex_raw(word, FUTEX_WAKE, n, NULL);
}

#endif
