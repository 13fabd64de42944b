/* SPDX-License-Identifier: BSD-2-Clause
 * counts.h -- counters of tools: exact, per thread, one addition a segment (docs/TOOLS.md).
 * A segment is a run of a block's instructions that is left at its end only (or by an exception).
 * What its instructions count together is a vector of amounts. Distinct vectors are few, so each
 * has a number, and a thread has one 64-bit word a number: how often a segment with that vector was
 * begun. */
#ifndef MT_COUNTS_H
#define MT_COUNTS_H

#include "base/base.h"

#define MT_COUNTERS 16
#define MT_NVECTORS 4096 /* the first MT_COUNTERS are the unit vectors */
#define MT_NO_VECTOR 0xffffu

typedef struct CountVec {
    u16 amount[MT_COUNTERS];
} CountVec;

extern __thread u64 mt_counts[MT_NVECTORS] __attribute__((tls_model("local-exec")));
/* Offset of mt_counts from %fs:0. */
extern i32 mt_counts_tpoff;

void counts_init(void);
void counts_thread_start(void);
void counts_thread_end(void);
/* In the child: the others' counts are the parent's, and so is what this thread has counted. */
void counts_after_fork_child(void);
/* A vfork child counts in its parent's memory: save() folds what there is, drop() forgets the
 * child. */
void counts_vfork_save(void);
void counts_vfork_drop(void);

/* The vector's number, or MT_NO_VECTOR if there are too many (then: unit vectors). `spare`: may be
 * one of the last MT_SPARE_VECTORS, kept for what unit vectors can't do. */
#define MT_SPARE_VECTORS 32
u32 counts_vector(const CountVec *v, bool spare);

void counts_total(u64 out[MT_COUNTERS]);

/* --- the side table of a block: what recovery must know. All offsets are from block_host(). ------
 *   u16 nrecs, u8 nreps, u8 ninsns
 *   nrecs * CountRec    additions, in the order of the code
 *   nreps * RepRec
 *   for each instruction, and what is behind the last: u8 head, then npairs + npre pairs of
 *   (counter, amount)
 *       head: npairs (3 bits) of the instruction itself, npre (3 bits) of the edge that leads to it
 *       inside the block, MT_SIDE_NOCODE: a jump that was followed */
typedef struct CountRec {
    u8 first, end; /* the segment's instructions, end excluded */
    u16 off;       /* behind the addition */
    u16 vec;
} __attribute__((packed)) CountRec;

typedef struct RepRec {
    u8 insn, addr32;
    u16 vec;
    u16 begin, end; /* the instruction's own code */
    u16 commit;     /* behind the addition */
} __attribute__((packed)) RepRec;

#define MT_SIDE_NOCODE 0x80u

/* The code of a block with this side table is left at `off`, where instructions 0..next-1 have been
 * executed and no more will be: corrects this thread's counts. Signal-safe. */
void counts_stop(const u8 *side, u32 off, u32 next);
/* From where pcmap_find() says: `index` instructions with code are done, and one more if
 * `behind`. */
void counts_interrupted(const u8 *side, u32 off, u32 index, bool behind);
/* Adds what instruction number `insn` counts, sign times. */
void counts_insn(const u8 *side, u32 insn, i64 sign);
/* Copies its pairs: their number (up to 7), then counter and amount of each. */
void counts_pairs(const u8 *side, u32 insn, u8 out[15]);

/* Pairs kept with a system call's edge: (counter | 0xff for none, amount). */
#define MT_EDGE_PAIRS 3
void counts_edge_undo(u64 pairs);

#endif
