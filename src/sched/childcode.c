/* SPDX-License-Identifier: BSD-2-Clause
 * childcode.c -- code that forked children have had to translate.
 * Role:       a table in memory that a process shares with the children it forks. Who translates
 *             enters the block's address; an address that is entered again, by another child, is
 *             queued for the parent, which translates it before its next fork. So nothing is
 *             translated ahead that was needed only once, and a parent whose children go different
 *             ways does at most half as much as they did.
 * Concurrency: all words are hints, each atomic by itself and in no order: children enter while the
 *             parent takes. What is told may be code of the child's alone: the parent translates
 *             whatever it has itself at that address, if that is code that it can't write to; a
 *             translation that is never run does no harm. `told` and `asked` change in a fork's
 *             child, which is alone; `asked` once more, from NULL. */
#include "sched/childcode.h"

#include "base/atomics.h"
#include "base/options.h"
#include "base/stats.h"
#include "guest/aspace.h"
#include "jit/blockmap.h"
#include "jit/cache.h"
#include "jit/smc.h"
#include "jit/translate.h"
#include "sched/world.h"

#include <sys/mman.h>

#define MT_CHILD_WORDS 4096u /* addresses known at a time */
#define MT_CHILD_QUEUE 1024u /* translated before one fork at most */
#define WORD_SHIFT 8         /* address and flags; below them: */
#define WORD_QUEUED 1u
#define WORD_FLAGS (TR_WANT_IND | TR_WANT_CALL | TR_LOOP)

typedef struct ChildCode {
    u64 words[MT_CHILD_WORDS]; /* by hash of the address; 0: none */
    u64 queue[MT_CHILD_QUEUE]; /* words, 0 where one is being entered or has been taken */
    u32 queued;                /* may run ahead of the queue's size */
} ChildCode;

static ChildCode *told;  /* shared with the parent and its other children, or NULL */
static ChildCode *asked; /* atomic: shared with the children */

static u64 *word_of(ChildCode *c, GuestAddr pc)
{
    return &c->words[(pc * 0x9e3779b97f4a7c15ull) >> 52 & (MT_CHILD_WORDS - 1)];
}

static void enqueue(ChildCode *c, u64 *slot, u64 word)
{
    u32 i;

    if (mt_load_relaxed(&c->queued) >= MT_CHILD_QUEUE || !mt_cas(slot, &word, word | WORD_QUEUED)) {
        return;
    }
    i = mt_fetch_add(&c->queued, 1);
    if (i < MT_CHILD_QUEUE) {
        mt_store_relaxed(&c->queue[i], word);
    } else {
        mt_store_relaxed(slot, word);
    }
}

void childcode_note(GuestAddr pc, u32 flags)
{
    u64 word = pc << WORD_SHIFT | (flags & WORD_FLAGS) << 1, none = 0, *slot;

    if (told == NULL) {
        return;
    }
    slot = word_of(told, pc);
    if (mt_load_relaxed(slot) == word) {
        enqueue(told, slot, word);
    } else {
        mt_cas(slot, &none, word);
    }
}

/* False: there is no room for more. */
static bool translate_ahead(GuestAddr pc, u32 flags)
{
    TranslateStatus s;
    Place place;
    GuestAddr fault;
    AspaceInfo info;

    if (!aspace_query(pc, &info) || (info.prot & (PROT_EXEC | PROT_WRITE)) != PROT_EXEC) {
        return true;
    }
    if (!smc_find_code(pc, 0, flags != 0, &place)) {
        s = translate(pc, 0, flags, &place.block, &fault);
        if (s != TR_OK) {
            return s != TR_FULL;
        }
        STAT_INC(TRANSLATIONS_AHEAD);
        childcode_note(pc, flags);
    }
    return !(flags & TR_WANT_IND) || ibt_publish(place.block);
}

static void translate_queue(ChildCode *c)
{
    u32 n = mt_exchange(&c->queued, 0);
    bool room = true;

    for (u32 i = 0; i < n && i < MT_CHILD_QUEUE; i++) {
        u64 word = mt_exchange(&c->queue[i], 0), whole = word | WORD_QUEUED;
        GuestAddr pc = word >> WORD_SHIFT;

        if (word != 0) {
            mt_cas(word_of(c, pc), &whole, 0); /* so that another may have the place */
            room = room && !blockmap_is_crowded() &&
                   translate_ahead(pc, (u32)word >> 1 & WORD_FLAGS);
        }
    }
}

static void share_table(void)
{
    ChildCode *none = NULL, *c = mmap(NULL, sizeof(*c), PROT_READ | PROT_WRITE,
                                      MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (c != MAP_FAILED && !mt_cas(&asked, &none, c)) {
        munmap(c, sizeof(*c));
    }
}

/* What is translated ahead depends on when children ran, which a seed for hand-overs rules out. */
void childcode_before_fork(Thread *t)
{
    ChildCode *c = mt_load_relaxed(&asked); /* fresh memory is all zeroes to everyone */

    if (!mt_opts.child_code || mt_opts.sched_seed != NULL) {
        return;
    }
    if (c == NULL) {
        share_table();
    } else if (mt_load_relaxed(&c->queued) != 0) {
        world_enter(t);
        translate_queue(c);
        world_leave(t);
    }
}

void childcode_after_fork_child(void)
{
    if (told != NULL) {
        munmap(told, sizeof(*told));
    }
    told = asked;
    mt_store_relaxed(&asked, NULL);
}
