/* SPDX-License-Identifier: BSD-2-Clause
 * lockorder.c -- debug builds: are locks taken in rising rank?
 * Role:       a short list per thread of the ranks it holds. No cycle can form in the waits-for
 *             graph if every thread waits only for ranks above all it holds; that is all that is
 *             checked.
 * Locking:    none; the list is the thread's own. */
#include "base/lockorder.h"

#include "base/log.h"

#ifdef MT_DEBUG_BUILD

#define MT_MAX_HELD 16

static __thread struct {
    u16 rank[MT_MAX_HELD];
    u32 n;
} held;

static const char *rank_name(u32 rank)
{
    static const struct {
        u32 rank;
        const char *name;
    } names[] = {
#define LOCK_RANK(name, number) {number, #name},
#include "base/lockorder.def"
    };
    for (size_t i = 0; i < MT_ARRAY_SIZE(names); i++) {
        if (names[i].rank == rank) {
            return names[i].name;
        }
    }
    return "?";
}

void lockorder_check(LockRank rank)
{
    for (u32 i = 0; i < held.n; i++) {
        if (held.rank[i] >= (u32)rank) {
            mt_umsg_always("lock order: %s wanted while %s is held\n", rank_name((u32)rank),
                           rank_name(held.rank[i]));
            MT_ASSERT(!"lock order");
        }
    }
}

void lockorder_push(LockRank rank)
{
    MT_ASSERT(held.n < MT_MAX_HELD);
    held.rank[held.n++] = (u16)rank;
}

void lockorder_pop(LockRank rank)
{
    for (u32 i = held.n; i-- > 0;) {
        if (held.rank[i] == (u32)rank) {
            held.rank[i] = held.rank[--held.n];
            return;
        }
    }
    MT_ASSERT(!"unlock of a lock that is not held");
}

bool lockorder_holds(LockRank rank)
{
    for (u32 i = 0; i < held.n; i++) {
        if (held.rank[i] == (u32)rank) {
            return true;
        }
    }
    return false;
}

bool lockorder_is_free(void)
{
    return held.n == 0 || (held.n == 1 && held.rank[0] == RANK_WORLD);
}

#endif
