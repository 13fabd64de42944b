/* SPDX-License-Identifier: BSD-2-Clause
 * plan.h -- the guest instructions of one superblock (plan.c), for translate.c. */
#ifndef MT_PLAN_H
#define MT_PLAN_H

#include "jit/insn.h"
#include "jit/smc.h"

#define MT_MAX_INSNS 128
#define MT_READ_AHEAD 128u /* bytes of guest code that are copied at a time */

/* Decoded guest code of one superblock. */
typedef struct Plan {
    GuestAddr pc;
    u32 key;
    u32 flags;
    u32 n;
    u32 branches;
    u32 npages;
    PageWatch pages[MT_BLOCK_PAGES];
    bool checked, self;
    bool calls_go_on; /* the plan goes on behind calls */
    bool replaced;    /* a function that the tool does: no instructions */
    bool ended;       /* the last instruction ends the block */
    bool fault;
    GuestAddr fault_addr;
    u32 seen;          /* bytes that the last instruction was decoded from */
    GuestAddr next;    /* where the block goes on if it is not ended */
    GuestAddr read_pc; /* `code`: what was read last, of one page */
    u32 read_n;
    u8 code[MT_READ_AHEAD];
    u16 followed[MT_MAX_INSNS]; /* instruction i is a jump that was followed */
    Insn insns[MT_MAX_INSNS];
} Plan;

/* Adds instructions from pc on, version `key`, until the superblock ends; flags: TR_* of
 * translate(). No instructions and not `replaced`: there is nothing to execute at fault_addr.
 * INSIDE. */
void plan_make(Plan *p, GuestAddr pc, u32 key, u32 flags);

/* Ends the plan before its instruction n. */
void plan_cut(Plan *p, u32 n);

/* What the plan may have at its end only: */
bool plan_ends_with(const Plan *p, const Insn *in);
/* one that needs another host GS base than the block has. */
bool plan_needs_gs(const Plan *p, const Insn *in);

bool plan_is_call(const Insn *in);

#endif
