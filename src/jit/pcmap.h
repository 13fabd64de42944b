/* SPDX-License-Identifier: BSD-2-Clause
 * pcmap.h -- from a place in a block's host code to the guest's state there (D4).
 * A block's map is a string of records, one a guest instruction, in the order of the host code:
 *   (glen << 4 | hlen), hlen 1..15   an instruction copied as one host instruction; glen 0: padding
 *   (glen << 4), n, n * step         a sequence of n host instructions; a step is 2 bytes: its host
 *                                    length, and the state in which the guest is if it is
 *                                    interrupted right before that host instruction
 *                                    (kind | register << 4);
 *                                    behind the steps 8 bytes of target if any kind is PC_BRANCH
 *   (glen << 4), 0xe0 | i            the same; the steps are those of the common sequence i
 *                                    (pcmap.c)
 *   0, 0xff, i32                     the guest goes on at pc + i32 (a jump that was followed)
 *   0, 0xfe, u64                     the guest goes on at this address
 *   0, 0xfb, u64                     the same; the instruction there has had its record before
 *   0, 0xfd, u16 hlen, u16 mask      hlen bytes of a tool's code before the next instruction, all
 *                                    along which the registers of the mask are in
 *                                    mt_cpu.spill, in ascending order
 *   0, 0xfc, u16 hlen, u16 mask      the same, and the flags are in mt_cpu.spill_flags */
#ifndef MT_PCMAP_H
#define MT_PCMAP_H

#include "base/base.h"

typedef enum PcKind {
    PC_SAME,       /* before the instruction, all exact */
    PC_SPILL,      /* same, but register reg is in slot[3] */
    PC_NEXT,       /* behind the instruction, all exact */
    PC_NEXT_SPILL, /* behind it, register reg is in slot[3] */
    PC_TGT_RCX,    /* a branch has been done; its target is in rcx, the guest's rcx in slot[0] */
    PC_TGT_SLOT,   /* same, the target is in slot[1] */
    PC_BRANCH,     /* a branch to the record's target has been done, all exact */
    PC_SPILL_RCX,  /* before the instruction, rcx is in slot[0] */
    /* Calls and returns over the host's return stack (CHAINING.md): */
    PC_SWAPPED,     /* before the instruction; rcx is in rdi, rdi in slot[0] */
    PC_TGT_SWAPPED, /* the same, but a branch has been done; its target is in slot[1] */
    PC_TGT_RESTORE, /* as PC_TGT_SWAPPED; the word below rsp is to be the target */
    PC_TGT_RDX,     /* as PC_TGT_SWAPPED; rdx is in slot[2] */
    PC_RET,         /* as PC_TGT_RESTORE, but rsp is still to go up by 8 */
    /* A call to rcx has been done, but for the word at rsp, which is to be the record's pc; rcx is
     * in slot[0]: */
    PC_CALL_FIX,
    PC_CALL_FIX_SLOT, /* the same, the target is in slot[1] */
    /* Not in steps: */
    PC_SPILLS = 16,  /* before the instruction, the registers of .mask are in spill[] */
    PC_SPILLS_FLAGS, /* same, and the flags are in spill_flags */
} PcKind;

typedef struct PcStep {
    u8 hlen;
    u8 state; /* PcKind | reg << 4 */
} PcStep;

#define MT_PCMAP_MAX 2048

typedef struct PcMap {
    u32 len;
    u8 bytes[MT_PCMAP_MAX];
} PcMap;

/* Records: one host instruction of hlen bytes (any number: padding) for a guest's of glen bytes.
 * Here and below glen 0: it belongs to no guest instruction, or to one that goes on behind it. */
void pcmap_plain(PcMap *m, u32 glen, u32 hlen);
/* n <= 16 host instructions; target: for PC_BRANCH steps. */
void pcmap_steps(PcMap *m, u32 glen, const PcStep *steps, u32 n, GuestAddr target);
/* A jump that was followed: the guest is at `from` (its end, by the records) and goes on at
 * `to`. */
void pcmap_goto(PcMap *m, GuestAddr from, GuestAddr to);
/* What follows belongs to the instruction at `to`, which has had its record: the last one that is
 * counted. */
void pcmap_again(PcMap *m, GuestAddr to);
/* hlen bytes of a tool's code, all along which these registers, and the flags, are in
 * mt_cpu.spill. */
void pcmap_spills(PcMap *m, u32 hlen, u32 mask, bool flags);
/* Room for an instruction's records, and `more` bytes? */
static inline bool pcmap_room(const PcMap *m, u32 more)
{
    return m->len + 64 + more < MT_PCMAP_MAX;
}

typedef struct PcState {
    GuestAddr pc; /* of the instruction, or behind it, or the target, as the kind says */
    u8 kind;
    u8 reg;
    u16 mask;       /* PC_SPILLS */
    u32 insn_index; /* how many instructions that have code of their own are before this one */
} PcState;

/* The state at `off` bytes from the code that the map describes, for a block that begins at guest
 * pc. False: off is behind the end. Signal-safe. */
bool pcmap_find(const u8 *map, u32 len, GuestAddr pc, u32 off, PcState *out);

/* The other way round: where the code of the instruction at `want` begins; there all is exact.
 * False: the block has none for it (a jump that was followed has no code). */
bool pcmap_find_insn(const u8 *map, u32 len, GuestAddr pc, GuestAddr want, u32 *off);

#endif
