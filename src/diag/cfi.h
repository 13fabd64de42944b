/* SPDX-License-Identifier: BSD-2-Clause
 * cfi.h -- call frame information: how a function's caller's registers are found, for each of its
 * instructions. DWARF 5, chapter 6.4; .eh_frame as in the Linux Standard Base.
 * Reads guest memory through safe_read() only, allocates nothing, and ends for any contents:
 * nothing here relies on what the guest's tables say.
 * A rule depends on the program counter only. Whoever unwinds often keeps rules by program counter,
 * and drops them when the code there goes. */
#ifndef MT_CFI_H
#define MT_CFI_H

#include "base/base.h"

/* Registers by DWARF's numbers: rax rdx rcx rbx rsi rdi rbp rsp r8 ... r15, and the return
 * address. */
enum { CFI_RBP = 6, CFI_RSP = 7, CFI_PC = 16, CFI_REGS = 17 };

typedef struct CfiRegs {
    u64 r[CFI_REGS];
} CfiRegs;

typedef enum CfiHow {
    CFI_SAME,      /* as in this frame */
    CFI_UNDEFINED, /* not to be had; of the return address: there is no caller */
    CFI_AT,        /* in memory at CFA + n */
    CFI_IS,        /* CFA + n; of the CFA itself: register reg + n */
    CFI_REG,       /* in register n */
    CFI_EXPR_AT,   /* in memory at what the expression in memory at n, len bytes, gives */
    CFI_EXPR_IS    /* what that expression gives */
} CfiHow;

typedef struct CfiCell {
    u8 how;
    u8 reg;
    u16 len;
    i64 n;
} CfiCell;

typedef struct CfiRule {
    CfiCell cfa; /* the stack pointer in the caller, before its call pushed the return address */
    CfiCell reg[CFI_REGS];
    u8 ra;             /* where the return address is: the number of a register */
    bool signal_frame; /* the caller was interrupted: its pc is not behind a call */
} CfiRule;

/* One object's tables. */
typedef struct CfiTables {
    GuestAddr hdr;              /* .eh_frame_hdr; 0: none */
    GuestAddr eh, eh_end;       /* .eh_frame, if there is no .eh_frame_hdr; 0: none */
    GuestAddr debug, debug_end; /* .debug_frame; 0: none */
    u64 bias;                   /* for .debug_frame: loaded address less the file's */
} CfiTables;

/* The rule for the instruction at pc. False: the tables have none. */
bool cfi_find(const CfiTables *tables, GuestAddr pc, CfiRule *rule);

/* Turns the registers of a frame into its caller's. False: there is no caller, or memory that can't
 * be read; *regs is then unspecified. */
bool cfi_step(const CfiRule *rule, CfiRegs *regs);

/* The value of a DWARF expression, with `first` on the stack. False: it can't be evaluated. In
 * cfi_expr.c. */
bool cfi_expression(GuestAddr at, u64 len, const CfiRegs *regs, u64 first, u64 *value);

#endif
