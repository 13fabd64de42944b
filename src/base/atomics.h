/* SPDX-License-Identifier: BSD-2-Clause
 * atomics.h -- atomic accesses to ordinary integers and pointers, the order spelled out in the
 * name.
 * Role:       gcc's __atomic builtins (which TSan follows) plus what an outer Helgrind must be
 *             told: a release is a happens-before edge to the acquires of the same word, and the
 *             word itself is not checked. So a release or acquire that is missing at a call site is
 *             a race that Helgrind reports on the data behind it.
 * Contract:   a word that is accessed through these is accessed through these only, but for its
 *             initialisation. p: pointer to an integer or pointer of up to 8 bytes, not _Atomic. */
#ifndef MT_ATOMICS_H
#define MT_ATOMICS_H

#include "base/valgrind_annot.h"

/* Relaxed: no order at all. For counters, hints, and words that their own thread writes. */
#define mt_load_relaxed(p)                      \
    ({                                          \
        annot_ignore((p), sizeof(*(p)));        \
        __atomic_load_n((p), __ATOMIC_RELAXED); \
    })
#define mt_store_relaxed(p, v)                        \
    ({                                                \
        annot_ignore((p), sizeof(*(p)));              \
        __atomic_store_n((p), (v), __ATOMIC_RELAXED); \
    })

/* Acquire: sees all that was done before the release that stored the value. */
#define mt_load_acquire(p)                                               \
    ({                                                                   \
        annot_ignore((p), sizeof(*(p)));                                 \
        __typeof__(*(p)) mt_v_ = __atomic_load_n((p), __ATOMIC_ACQUIRE); \
        annot_after(p);                                                  \
        mt_v_;                                                           \
    })

#define mt_store_release(p, v)                        \
    ({                                                \
        annot_ignore((p), sizeof(*(p)));              \
        annot_before(p);                              \
        __atomic_store_n((p), (v), __ATOMIC_RELEASE); \
    })

/* Sequentially consistent load: the other half of Dekker's pattern. */
#define mt_load_seq(p)                                                   \
    ({                                                                   \
        annot_ignore((p), sizeof(*(p)));                                 \
        __typeof__(*(p)) mt_v_ = __atomic_load_n((p), __ATOMIC_SEQ_CST); \
        annot_after(p);                                                  \
        mt_v_;                                                           \
    })

#define mt_store_seq(p, v)                            \
    ({                                                \
        annot_ignore((p), sizeof(*(p)));              \
        annot_before(p);                              \
        __atomic_store_n((p), (v), __ATOMIC_SEQ_CST); \
    })

/* Read-modify-write: all are sequentially consistent (a LOCK prefix gives that anyway on x86) and
 * return the old value. */
#define MT_RMW_(p, builtin, ...)                                              \
    ({                                                                        \
        annot_ignore((p), sizeof(*(p)));                                      \
        annot_before(p);                                                      \
        __typeof__(*(p)) mt_v_ = builtin((p), __VA_ARGS__, __ATOMIC_SEQ_CST); \
        annot_after(p);                                                       \
        mt_v_;                                                                \
    })
#define mt_exchange(p, v) MT_RMW_(p, __atomic_exchange_n, (v))
#define mt_fetch_add(p, v) MT_RMW_(p, __atomic_fetch_add, (v))
#define mt_fetch_sub(p, v) MT_RMW_(p, __atomic_fetch_sub, (v))
#define mt_fetch_or(p, v) MT_RMW_(p, __atomic_fetch_or, (v))
#define mt_fetch_and(p, v) MT_RMW_(p, __atomic_fetch_and, (v))

/* Compare and swap: true if *p was *expected and is v now; else *expected is what *p holds. */
#define mt_cas(p, expected, v)                                                                   \
    ({                                                                                           \
        annot_ignore((p), sizeof(*(p)));                                                         \
        annot_before(p);                                                                         \
        bool mt_ok_ = __atomic_compare_exchange_n((p), (expected), (v), false, __ATOMIC_SEQ_CST, \
                                                  __ATOMIC_SEQ_CST);                             \
        annot_after(p);                                                                          \
        mt_ok_;                                                                                  \
    })

/* The compiler moves no memory access across it. */
static inline void mt_compiler_barrier(void)
{
    __asm__ volatile("" ::: "memory");
}

/* Full barrier: earlier stores are visible before later loads are done. A locked no-op on the stack
 * is cheaper than MFENCE, and TSan (which knows no fences) is not asked about it. */
static inline void mt_fence_full(void)
{
    __asm__ volatile("lock; orl $0, (%%rsp)" ::: "memory", "cc");
}

#endif
