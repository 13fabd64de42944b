/* SPDX-License-Identifier: BSD-2-Clause
 * diskunit.h -- one translation as bytes that another process can use (docs/DISKCACHE.md).
 * A unit holds everything that the translation was made from: the guest's address and bytes. Where
 * these are the same, and the circumstances of diskcache.c's Key are, so is the translation. */
#ifndef MT_DISKUNIT_H
#define MT_DISKUNIT_H

#include "jit/insn.h"
#include "jit/lower.h"

#define MT_UNIT_MAX 8192u      /* bytes of a unit */
#define MT_UNIT_BODY_MAX 2048u /* of its code: it fits where any translation does */
#define MT_UNIT_RANGES 24u
#define MT_UNIT_SOURCE_MAX 2048u

/* The parts follow each other in the order of their numbers here: UnitEdge, UnitRange, UnitPage,
 * u16 fields, the pc map, code, the guest's bytes. */
typedef struct Unit {
    u32 size; /* of all, a multiple of 8 */
    u32 pc;
    u32 at; /* where the code lay; its entry for indirect branches, if any, is not part of it */
    u16 body, map, source; /* bytes */
    u8 nedges, nranges, npages, nfields;
    u8 ninsns, has_ind;
} Unit;

typedef struct UnitEdge {
    u64 target;
    u16 patch; /* from the code's beginning; 0: the system call at the end */
    u16 back;
    u32 unused;
} UnitEdge;

/* A run of guest bytes. */
typedef struct UnitRange {
    u32 start, len;
} UnitRange;

/* A guest page, and where the first and the last instruction that begins there do (PageWatch). */
typedef struct UnitPage {
    u32 page;
    u16 lo, hi;
} UnitPage;

typedef struct UnitView {
    const Unit *unit;
    const UnitEdge *edges;
    const UnitRange *ranges;
    const UnitPage *pages;
    const u16 *fields; /* 32-bit displacements from behind themselves, with what follows them */
    const u8 *map, *body, *source;
} UnitView;

/* Finds the parts. `p` is aligned to 8 bytes, n bytes can be read. False: it is not a unit, or one
 * whose parts do not agree. */
bool unit_view(UnitView *v, const u8 *p, size_t n);

/* Writes block b's unit to `out` (MT_UNIT_MAX bytes, aligned to 8). The guest's bytes are read from
 * its memory; *hash: of what was read, by unit_hash_insn(). Returns the size; 0: the block is of no
 * use to others. b stays valid and its pages unchanged meanwhile (smc_lock(), INSIDE). */
u32 unit_encode(const Block *b, u8 *out, u64 *hash);

/* Adds a guest instruction to the hash of a block's. */
u64 unit_hash_insn(u64 h, const Insn *in);

/* The unit's code in l->space, which has room for any (MT_MIN_SPACE), from its first few bytes on.
 * False: it can't be here. */
bool unit_lower(const UnitView *v, Lower *l);

/* A sum that tells bytes damaged by accident. */
u64 unit_sum(const void *p, size_t n);

#endif
