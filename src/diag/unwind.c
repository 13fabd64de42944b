/* SPDX-License-Identifier: BSD-2-Clause
 * unwind.c -- from frame to frame: by call frame information, else by what the stack looks like.
 * Invariants: U1. memory is read by safe_read() only: the stack may be anything.
 *             U2. at most `max` steps, and the stack pointer rises in each that does not lead out
 *                 of a signal handler: no chain is followed in circles. */
#include "diag/unwind.h"

#include "base/safe.h"
#include "diag/cfi.h"
#include "diag/image.h"
#include "guest/aspace.h"

#include <string.h>
#include <ucontext.h>

#define CALL_MAX 7 /* bytes of a call */
#define UC_GREGS offsetof(ucontext_t, uc_mcontext.gregs)

/* DWARF's register -> ucontext's, and the hardware's number. */
static const u8 greg_of[CFI_REGS] = {REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI,
                                     REG_RBP, REG_RSP, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                     REG_R12, REG_R13, REG_R14, REG_R15, REG_RIP};
static const u8 gpr_of[CFI_PC] = {MT_RAX, MT_RDX, MT_RCX, MT_RBX, MT_RSI, MT_RDI, MT_RBP, MT_RSP,
                                  MT_R8,  MT_R9,  MT_R10, MT_R11, MT_R12, MT_R13, MT_R14, MT_R15};

typedef struct Unwinder {
    CfiRegs regs;
    bool exact; /* regs' pc is the instruction itself, not one behind a call */
    bool files;
    Image image;
} Unwinder;

bool unwind_is_sigreturn(GuestAddr pc)
{
    /* mov $15, %rax (or %eax); syscall */
    static const u8 by_rax[] = {0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 0x05};
    static const u8 by_eax[] = {0xb8, 15, 0, 0, 0, 0x0f, 0x05};
    u8 code[sizeof(by_rax)];
    size_t n = safe_read_partial(code, pc, sizeof(code));
    return (n >= sizeof(by_rax) && memcmp(code, by_rax, sizeof(by_rax)) == 0) ||
           (n >= sizeof(by_eax) && memcmp(code, by_eax, sizeof(by_eax)) == 0);
}

/* The handler has returned: its frame lies at the stack pointer. */
static bool leave_handler(Unwinder *u)
{
    u64 gregs[NGREG];
    if (safe_read(gregs, u->regs.r[CFI_RSP] + UC_GREGS, sizeof(gregs)) != 0) {
        return false;
    }
    for (unsigned i = 0; i < CFI_REGS; i++) {
        u->regs.r[i] = gregs[greg_of[i]];
    }
    u->exact = true;
    return true;
}

/* Length of the indirect call (ff /2) that the bytes, three at least, may be, without prefixes. */
static unsigned indirect_call(const u8 *code)
{
    unsigned mod = code[1] >> 6, rm = code[1] & 7;
    if (code[0] != 0xff || (code[1] >> 3 & 7) != 2) {
        return 0;
    }
    if (mod == 3) {
        return 2;
    }
    unsigned sib = rm == 4;
    bool disp32 = mod == 2 || (mod == 0 && (rm == 5 || (sib != 0 && (code[2] & 7) == 5)));
    return 2 + sib + (disp32 ? 4 : mod == 1 ? 1 : 0);
}

/* Is there a call before it? */
static bool is_return_address(GuestAddr pc)
{
    u8 code[CALL_MAX + 1] = {0}; /* one more: that of two bytes has no SIB byte */
    if (!aspace_is_exec(pc - 1)) {
        return false;
    }
    for (unsigned n = 1; n <= CALL_MAX; n++) { /* as many as there are */
        if (safe_read(code + CALL_MAX - n, pc - n, 1) != 0) {
            break;
        }
    }
    if (code[CALL_MAX - 5] == 0xe8) {
        return true;
    }
    for (unsigned n = 2; n <= CALL_MAX; n++) {
        if (indirect_call(code + CALL_MAX - n) == n) {
            return true;
        }
    }
    return false;
}

/* A return whose address is at `slot`. */
static bool pop_return(Unwinder *u, GuestAddr slot)
{
    u64 pc;
    if (safe_read(&pc, slot, sizeof(pc)) != 0 ||
        (!is_return_address(pc) && !unwind_is_sigreturn(pc))) {
        return false;
    }
    u->regs.r[CFI_PC] = pc;
    u->regs.r[CFI_RSP] = slot + sizeof(pc);
    return true;
}

/* Code without tables: generated at run time, or by an assembler. A leaf may have no frame; others
 * have a frame pointer more often than not. */
static bool guess(Unwinder *u)
{
    u64 rsp = u->regs.r[CFI_RSP], rbp = u->regs.r[CFI_RBP], outer;
    if (u->exact && pop_return(u, rsp)) {
        return true;
    }
    if (rbp < rsp || (rbp & 7) != 0 || safe_read(&outer, rbp, sizeof(outer)) != 0 ||
        !pop_return(u, rbp + sizeof(outer))) {
        return false;
    }
    u->regs.r[CFI_RBP] = outer;
    return true;
}

static bool by_tables(Unwinder *u, bool *found)
{
    GuestAddr pc = u->regs.r[CFI_PC] - (u->exact ? 0 : 1);
    CfiRule rule;
    *found = image_find(&u->image, pc) && (cfi_find(&u->image.tables, pc, &rule) ||
                                           (u->files && image_look_into_file(&u->image) &&
                                            cfi_find(&u->image.tables, pc, &rule)));
    if (!*found || !cfi_step(&rule, &u->regs)) {
        return false;
    }
    u->exact = rule.signal_frame;
    return true;
}

static bool step(Unwinder *u)
{
    u64 rsp = u->regs.r[CFI_RSP];
    bool found = false;
    if (!u->exact && unwind_is_sigreturn(u->regs.r[CFI_PC])) {
        return leave_handler(u);
    }
    if (!by_tables(u, &found)) {
        if (found || !guess(u)) {
            return false;
        }
        u->exact = false;
    }
    return u->exact || u->regs.r[CFI_RSP] > rsp;
}

unsigned unwind_stack(const CpuState *cpu, GuestAddr *pcs, unsigned max, bool files)
{
    Unwinder u = {.exact = true, .files = files};
    unsigned n = 0;
    for (unsigned i = 0; i < CFI_PC; i++) {
        u.regs.r[i] = cpu->gpr[gpr_of[i]];
    }
    u.regs.r[CFI_PC] = cpu->rip;
    do {
        GuestAddr pc = u.regs.r[CFI_PC];
        if (!u.exact && !aspace_is_exec(pc - 1)) {
            break; /* nobody called from there: garbage */
        }
        pcs[n++] = u.exact || unwind_is_sigreturn(pc) ? pc : pc - 1;
    } while (n < max && step(&u));
    image_forget(&u.image);
    return n;
}
