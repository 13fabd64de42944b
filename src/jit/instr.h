/* SPDX-License-Identifier: BSD-2-Clause
 * instr.h -- a superblock's instrumentation in the making (docs/TOOLS.md).
 * instr.c:    what the tool sees and asks for. instr_emit.c: putting it into the code.
 * toolcode.c, toolcode_emit.c: the same for code of the tool's own. */
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
#define MT_SB_OPS 1600
#define MT_SB_AFTERS MT_MAX_EDGES
#define MT_SB_CODES 255
#define MT_CODE_OPS 40 /* of one piece of code */

/* Host bytes that one instruction's annotations may need, out of line too; calls and code may have
 * so much of them, the rest is for counts. */
#define MT_INSTR_ROOM 2048
#define MT_INSTR_COLD 1400
#define MT_CALLS_ROOM 1200

typedef struct SbCounts {
    u8 n;
    u8 pair[MT_SB_PAIRS][2]; /* counter, amount */
} SbCounts;

/* One step of a tool's code; which fields mean something: toolcode_emit.c. */
typedef struct CodeOp {
    u8 op, cond, size;
    MtvgVal a, b;
    u8 label;
    MtvgPlace at;
    i64 n;
} CodeOp;

/* A call, or code (is_code) whose slow call it is (fn may be NULL then). */
typedef struct SbCall {
    void (*fn)(const MtvgCall *);
    u64 arg;
    MtvgSb *sb;
    u8 insn, when;
    bool is_code, bad;
    u8 ntemps, nlabels;
    u16 ops, nops; /* code: sb->ops[] */
    u16 hot, cold; /* bytes that it may need, at most */
    u16 reads;     /* registers of the guest that it reads */
    CacheOff imm;  /* where the site's reference is to be written; 0: nowhere */
    u32 ret;       /* offset from block_host() of the code behind the call */
} SbCall;

/* What the block keeps of code that may fault, and of what follows an instruction (instr_emit.c).
 * Offsets are from block_host(). */
typedef struct CodeRec {
    u16 begin, end;
    CacheOff fault; /* where a fault leads to; in the hot code: to `end` */
} __attribute__((packed)) CodeRec;

typedef struct AfterRec {
    u16 begin, end;
    CacheOff copy; /* the same code, which ends with an exit to the run loop */
    u8 edge, next;
} __attribute__((packed)) AfterRec;

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
    u32 ncalls, nreps, nrecs, nops, ncodes, nafters;
    bool gs_away; /* GS is not the tool's here (a private translation) */
    u32 cut; /* requests were too many: they fit if the superblock ends before this; 0: they fit */
    u32 nouts; /* rel32 fields that lead out of the code behind an instruction: where they end */
    u16 outs[MT_CODE_OPS + 1];
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
    CodeRec codes[MT_SB_CODES];
    AfterRec afters[MT_SB_AFTERS];
    u16 room[MT_SB_INSNS]; /* taken of MT_CALLS_ROOM */
    CodeOp ops[MT_SB_OPS];
    CountRec recs[MT_SB_RECS];
};

/* The tool's callback; NULL: nothing is instrumented. Set once, before guest code is translated. */
extern void (*mt_instrument)(MtvgSb *sb);
/* The same; NULL: there is only version 0. */
extern u32 (*mt_block_key)(struct Thread *t, u64 pc, u32 key);
extern bool mt_lax_gprs, mt_lax_flags;
extern bool (*mt_light)(const MtvgCall *c, MtvgFunction fn);

/* Shows the instructions to the tool. `excluded`: see above. */
void instr_begin(MtvgSb *sb, GuestAddr pc, u32 key, const Insn *insns, const u16 *followed, u32 n,
                 u32 excluded, bool gs_away);
bool instr_is_side_exit(const Insn *in);

/* Is it done outside of translated code? Then what follows it is put into a translation of its own,
 * when it is done (translate_behind()). */
static inline bool instr_is_outside(const Insn *in)
{
    return in->cls == INSN_EMULATE || in->cls == INSN_SYSCALL;
}
bool instr_has_after(const MtvgSb *sb, u32 i);

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

/* For recovery; signal-safe. The codes and afters of a block with `extra`. */
typedef struct BlockCodes {
    u32 ncodes, nafters;
    const CodeRec *codes;
    const AfterRec *afters;
} BlockCodes;
static inline BlockCodes instr_codes(const Block *b)
{
    const u8 *p = block_side(b) + block_extra(b) - 4;
    BlockCodes c = {.ncodes = p[0] | (u32)p[1] << 8, .nafters = p[2] | (u32)p[3] << 8};

    c.afters = (const AfterRec *)(p - c.nafters * sizeof(AfterRec));
    c.codes = (const CodeRec *)((const u8 *)c.afters - c.ncodes * sizeof(CodeRec));
    return c;
}

/* --- between instr.c, instr_emit.c and toolcode*.c --- */

/* The next request at an instruction, of so many bytes; NULL: no room. */
SbCall *instr_request(MtvgSb *sb, u32 i, u32 when, u32 hot, u32 cold);
bool instr_take_room(MtvgSb *sb, SbCall *c, u32 hot, u32 cold);

/* toolcode_emit.c */
void toolcode_emit(MtvgSb *sb, Lower *l, SbCall *c);
#define MT_CALL_BYTES 32
/* movl $site, call_site; movl $ret, call_return; jmp *call_entry; ret 0: behind this. */
void instr_emit_call(Emit *e, SbCall *c, u32 ret);

/* A call that the tool has asked for. Lies behind its block's side table. */
typedef struct CallSite {
    void (*fn)(const MtvgCall *);
    u64 arg;
    GuestAddr pc;      /* the instruction */
    GuestAddr next_pc; /* where the guest stands at the call */
    BlockRef block;
    u32 off; /* of the code behind the call, from block_host() */
    u8 next; /* instructions before this one have been executed */
    u8 len, nmems, when;
    u8 flags;
    MtvgMem mems[];
} CallSite;

/* The code that jumps here has set call_site and call_return; all registers are the guest's. */
void toolcall_entry(void);
/* The run loop: translated code was not entered again behind a call. INSIDE. */
void toolcall_aborted(void);

/* The run loop will emulate the last instruction of b, which has been counted; INSIDE. And then:
 * has it been executed? If not (it faults), it hasn't been counted. */
void counts_emulate(const Block *b);
void counts_emulated(bool done);

#endif
