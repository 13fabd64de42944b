/* SPDX-License-Identifier: BSD-2-Clause
 * lower.h -- from decoded guest instructions to host code with its pc map and exits. */
#ifndef MT_LOWER_H
#define MT_LOWER_H

#include "jit/block.h"
#include "jit/emit.h"
#include "jit/insn.h"
#include "jit/pcmap.h"

#define MT_MAX_EDGES 40
#define MT_LOWER_MAX 192 /* host bytes that one guest instruction may need, its stub aside */
#define MT_STUB_BYTES 17 /* of an exit that can't be linked */

typedef struct LowerEdge {
    GuestAddr target;
    CacheOff patch, stub; /* stub: where the exit's `movl $edge, exit_arg` is, or its link's stub */
    u32 key;
    u8 kind;
    bool back;
} LowerEdge;

/* Entries of a block beside the one for direct jumps. */
typedef enum LowerEntry {
    ENTRY_NONE,
    ENTRY_IND,  /* for indirect branches */
    ENTRY_CALL, /* for host calls */
} LowerEntry;

/* An indirect call: its return address is put right by code at the end of the block. */
typedef struct LowerFix {
    CacheOff rel; /* the rel32 field of the host call */
    GuestAddr ret;
} LowerFix;

#define MT_MAX_FIXES 8

/* A translation in the making. */
typedef struct Lower {
    CodeSpace space;
    Emit e;
    GuestAddr pc;   /* the block's */
    CacheOff start; /* of its code */
    CacheOff host;  /* entry for direct jumps */
    CacheOff ind;   /* 0: none inline */
    CacheOff end;   /* lower_finish(): of the code, without stubs */
    CacheOff call;  /* 0: none inline */
    u32 nedges, nlinks;
    LowerEdge edges[MT_MAX_EDGES];
    CacheOff stubs; /* lower_finish(): of the links */
    u32 nfixes;
    LowerFix fixes[MT_MAX_FIXES];
    PcMap map;
    u32 key;           /* the block's version */
    u32 exit_key;      /* the next exit's target's version; 0 after lower_begin() */
    u8 field_behind;   /* lower_field_behind() */
    bool gs_is_tools;  /* FS-relative accesses can't go through GS */
    bool return_stack; /* calls and returns may go over the processor's return stack */
    bool quantum;      /* the sequential mode's quantum is counted down */
    bool full;         /* the code space is used up: end the block */
} Lower;

void lower_begin(Lower *l, GuestAddr pc, LowerEntry entry, bool quantum);

/* Cold code for one more instruction, and for all stubs. */
#define MT_COLD_ROOM (4 * (MT_STUB_BYTES + 9) + lower_stub_bytes(MT_MAX_EDGES))

/* Right behind lower_begin(): the block's version, and its exits' until another is set. */
void lower_version(Lower *l, u32 key);

/* Room for one more instruction with its exits? */
bool lower_room(const Lower *l);

/* Can an FS-relative access be lowered where gs_is_tools? */
bool lower_fs_inline(const Insn *in);

/* Does the block go on behind this call, where the call returns to? */
bool lower_goes_on(const Lower *l, const Insn *in);

/* The next instruction is followed at once by a jump that can be linked, whose field is n bytes
 * behind its beginning. So the field is aligned (L3) by what is put before or into that
 * instruction: behind a comparison, padding would keep the processor from making one operation of
 * it and the jump. */
static inline void lower_field_behind(Lower *l, u32 n)
{
    l->field_behind = (u8)n;
}

/* One instruction that does not end the block (INSN_PLAIN, INSN_INVALID, INSN_JCC, INSN_JRCXZ, and
 * calls if lower_goes_on()). */
void lower_insn(Lower *l, const Insn *in);
/* The block goes on at `to` behind a direct jump at the end of `in` (JMP: nothing is emitted). */
void lower_follow(Lower *l, const Insn *in, GuestAddr to);
/* One that does (all others). */
void lower_end_insn(Lower *l, const Insn *in);
/* Ends a block behind an instruction that does not: goes on at `pc`. */
void lower_end_at(Lower *l, GuestAddr pc);
/* Behind the last: the stubs of the links. Where the last of them is written l->nlinks *
 * MT_STUB_STEP bytes behind l->stubs, the block's reference is to be filled in. */
void lower_finish(Lower *l);
/* Bytes of the stubs of n links. */
static inline u32 lower_stub_bytes(u32 n)
{
    return n > 0 ? (n - 1) * MT_STUB_STEP + 16 : 0;
}
/* Ends the block before `in`: it needs C code of the given kind (EDGE_EMULATE, EDGE_GS). */
void lower_end_exit(Lower *l, const Insn *in, EdgeKind kind, GuestAddr target);
/* An exit out of line, in MT_STUB_BYTES that have been taken for it. */
void lower_exit_at(Lower *l, CacheOff at, EdgeKind kind, GuestAddr target);

/* The check that blocks from changing pages begin with: the n <= MT_CHECKED_BYTES guest bytes at
 * the block's pc are still those in `bytes`; if not, the block is left by an EDGE_STALE. So it is,
 * with mt_cpu.checks 0, at each 65536th check that the thread comes to. */
#define MT_CHECKED_BYTES 48
void lower_check_bytes(Lower *l, const u8 *bytes, u32 n);

/* Writes an indirect entry: pc as data (for the second look-up, entry.S), then code that checks
 * slot[1] against pc and goes to `body` (0: falls through). At most MT_IND_BYTES. Used for thunks
 * as well. Returns where the code begins. */
#define MT_IND_BYTES 96
CacheOff lower_ind_entry(Emit *e, GuestAddr pc, u64 body);

/* Writes an entry for host calls: replaces the return point's address on the stack by the guest's
 * return address, which is in rax, and reloads rax from slot[3]. At most MT_CALL_ENTRY_BYTES.
 * Returns where it begins. */
#define MT_CALL_ENTRY_BYTES 18
CacheOff lower_call_entry(Emit *e, u64 body);
/* Offsets in it at which the word at the stack pointer, and rax, have been put right. */
#define MT_CALL_STORED 4
#define MT_CALL_RELOADED 13

/* The guest address that a return point is for. */
GuestAddr lower_return_pc(CacheOff point);

#endif
