/* SPDX-License-Identifier: BSD-2-Clause
 * guest.h -- what the guest programs share: checks, hashing, random numbers.
 * A guest prints only what is the same in every run; a failed CHECK prints GUEST-FAILED, which the
 * harness counts as a failure natively too. */
#ifndef GUEST_H
#define GUEST_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(cond)                                                                          \
    do {                                                                                     \
        if (!(cond)) {                                                                       \
            printf("GUEST-FAILED %s:%d: %s (errno %d)\n", __FILE__, __LINE__, #cond, errno); \
            fflush(stdout);                                                                  \
            _Exit(99);                                                                       \
        }                                                                                    \
    } while (0)

/* Prints what a call returns, and errno. */
#define SAY_RESULT(call)                                 \
    do {                                                 \
        errno = 0;                                       \
        long r_ = (long)(call);                          \
        printf("%s: %ld, errno %d\n", #call, r_, errno); \
    } while (0)

/* Hash of n bytes, chained through h (start with 0). */
static inline uint64_t hash_bytes(uint64_t h, const void *data, size_t n)
{
    const unsigned char *p = data;
    while (n >= 8) {
        uint64_t w;
        memcpy(&w, p, 8);
        h = (h ^ w) * 0x9e3779b97f4a7c15ull;
        h ^= h >> 29;
        p += 8;
        n -= 8;
    }
    for (; n; n--, p++) {
        h = (h ^ *p) * 0x9e3779b97f4a7c15ull;
        h ^= h >> 29;
    }
    return h;
}

/* xorshift64*; never seed with 0. */
static inline uint64_t rng_next(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * 0x2545f4914f6cdd1dull;
}

#endif
