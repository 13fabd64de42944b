/* SPDX-License-Identifier: BSD-2-Clause
 * instr.h -- a superblock's instrumentation in the making (docs/TOOLS.md).
 * instr.c:    what the tool sees and asks for. instr_emit.c: putting it into the code. */
#ifndef MT_INSTR_H
#define MT_INSTR_H

#include "jit/block.h"
#include "jit/counts.h"
#include "jit/insn.h"
#include "jit/lower.h"
#include "mtvg/tool.h"

#define MT_SB_INSNS 128
#define MT_SB_PAIRS 7
#define MT_SB_CALLS 260
#define MT_SB_REPS 16
#define MT_SB_RECS 320
#define MT_INSTR_ROOM 1024 /* host bytes that one instruction's annotations may need */

typedef struct SbCounts {
    u8 n;
    u8 pair[MT_SB_PAIRS][2]; /* counter, amount */
} SbCounts;

typedef struct SbCall {
    void (*fn)(const MtvgCall *);
    u64 arg;
    u8 insn, when;
    CacheOff imm; /* where the site's reference is to be written */
    u32 ret;      /* offset from Block.host of the code behind the call */
} SbCall;

typedef struct SbRep {
    u8 insn;
    CountVec vec;
} SbRep;

/* A run of instructions whose counts are added together, before instruction `at`. */
typedef struct SbSegment {
    u32 first, end, at;
    CountVec vec;
} SbSegment;

struct MtvgSb {
    GuestAddr pc;
    u32 key;
    u32 n;
    u32 excluded; /* its annotations go elsewhere (EDGE_GS); MT_SB_INSNS: none */
    const Insn *insns;
    const u16 *followed;
    u32 ncalls, nreps, nrecs;
    bool ended;
    SbSegment seg;
    SbCounts own[MT_SB_INSNS + 1]; /* when instruction i is executed */
    SbCounts pre[MT_SB_INSNS + 1]; /* when i is reached along the edge inside the block */
    u32 exit_key[MT_SB_INSNS + 1];
    u8 coded[MT_SB_INSNS];
    u16 live_gprs[MT_SB_INSNS + 1];
    u8 live_flags[MT_SB_INSNS + 1];
    MtvgInsn view[MT_SB_INSNS];
    SbCall calls[MT_SB_CALLS];
    SbRep reps[MT_SB_REPS];
    RepRec rep_recs[MT_SB_REPS];
    CountRec recs[MT_SB_RECS];
};

/* The tool's callback; NULL: nothing is instrumented. Set once, before guest code is translated. */
extern void (*mt_instrument)(MtvgSb *sb);
/* The same; NULL: there is only version 0. */
extern u32 (*mt_block_key)(struct Thread *t, u64 pc, u32 key);

/* Shows the instructions to the tool. `excluded`: see above. */
void instr_begin(MtvgSb *sb, GuestAddr pc, u32 key, const Insn *insns, const u16 *followed, u32 n,
                 u32 excluded);
bool instr_is_side_exit(const Insn *in);

/* Emission, for each instruction in order: before its code, and behind it. */
bool instr_room(const Lower *l);
void instr_before(MtvgSb *sb, Lower *l, u32 i);
void instr_after(MtvgSb *sb, Lower *l, u32 i);
/* Instead of lower_follow(). */
void instr_follow(MtvgSb *sb, Lower *l, u32 i);
/* Behind the last instruction, if the block goes on from there. */
void instr_end(MtvgSb *sb, Lower *l);

/* What a block keeps behind its pc map: the side table and the call sites. */
u32 instr_extra_bytes(const MtvgSb *sb, u32 pcmap_len);
void instr_write_extra(const MtvgSb *sb, Block *b);
/* The pairs that an edge for a system call keeps (counts.h). */
u64 instr_edge_pairs(const MtvgSb *sb, u32 i);

/* A call that the tool has asked for. Lies behind its block's side table. */
typedef struct CallSite {
    void (*fn)(const MtvgCall *);
    u64 arg;
    GuestAddr pc;      /* the instruction */
    GuestAddr next_pc; /* where the guest stands at the call */
    BlockRef block;
    u32 off; /* of the code behind the call, from Block.host */
    u8 next; /* instructions before this one have been executed */
    u8 len, nmems, when;
    u8 flags;
    MtvgMem mems[];
} CallSite;

/* The code that jumps here has set call_site and call_return; all registers are the guest's. */
void toolcall_entry(void);
/* The run loop: translated code was not entered again behind a call. INSIDE. */
void toolcall_aborted(void);

/* The run loop will emulate the last instruction of b, which has been counted; INSIDE. And then: has
 * it been executed? If not (it faults), it hasn't been counted. */
void counts_emulate(const Block *b);
void counts_emulated(bool done);

#endif
