/* SPDX-License-Identifier: BSD-2-Clause
 * translate.h -- making translations: decode, lower, publish. */
#ifndef MT_TRANSLATE_H
#define MT_TRANSLATE_H

#include "jit/block.h"
#include "jit/smc.h"
#include "sched/thread.h"

typedef enum TranslateStatus {
    TR_OK,
    TR_FAULT, /* code cannot be fetched: SIGSEGV at *fault */
    TR_FULL,  /* the code cache is full: translate_flush(), then again */
    TR_AGAIN, /* the code changed meanwhile */
} TranslateStatus;

enum {
    TR_WANT_IND = 1,   /* reached by an indirect branch: give it an inline indirect entry (key 0) */
    TR_STEP = 2,       /* one instruction, private: not published, its pages not watched */
    TR_GS = 4,         /* with TR_STEP: the host's GS base is the one that the operand needs */
    TR_ALONE = 8,      /* with TR_STEP: an indirect branch is left to emulate.c, not followed */
    TR_WANT_CALL = 16, /* reached by a direct call: give it an inline entry for calls (key 0) */
    TR_LOOP = 32, /* reached by a branch back: ends where other blocks begin, not inside them */
};

/* Once. 0 or -errno. */
int translate_init(void);

/* INSIDE, slow domain. Finds or makes the translation of pc, version `key` (0 but for tools). */
TranslateStatus translate(GuestAddr pc, u32 key, u32 flags, Block **out, GuestAddr *fault);

/* INSIDE, slow domain. Publishes a translation that another process has made (diskcache.c): of the
 * unit, whose pages are watched and whose guest bytes are there. Its exits are linked by
 * translate_link(), later, when others that they lead to are there. NULL: it can't be had, or is
 * there already; *full: the cache is full. */
struct UnitView;
Block *translate_from_disk(const struct UnitView *v, const PageWatch *pages, bool *full);
void translate_link(Block *b);

/* INSIDE, slow domain. A private translation of what the tool has put behind the instruction of
 * these bytes at pc, not of the instruction: it is left by an EDGE_AFTER. False: the cache is
 * full. */
bool translate_behind(GuestAddr pc, const u8 *bytes, u32 n, u32 key, Block **out);

/* Is e a branch back whose target is to have a translation of its own, even if another holds it?
 * Loops are faster so; programs with much code are not, which is why this ends with their
 * growth. */
bool translate_wants_loop(const Edge *e);

/* Throws all translations away, the world being stopped by this call. INSIDE; the caller's blocks
 * and edges are gone afterwards. */
void translate_flush(Thread *t);

/* The program has turned out to be large (blockmap_is_large()): if it has run for a while, flushes,
 * and uses the processor's return stack from now on. As translate_flush(). */
void translate_use_return_stack(Thread *t);

#endif
