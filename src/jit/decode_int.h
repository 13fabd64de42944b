/* SPDX-License-Identifier: BSD-2-Clause
 * decode_int.h -- what the decoder's files share; nobody else includes it.
 * Files:  decode.c          entry, the table of shapes (fast path)
 *         decode_full.c     Zydis's operands -> Insn (slow path, and teacher of the fast one)
 *         decode_fallback.c lengths of instructions that Zydis doesn't know
 *         decode_memops.c   memory accesses
 *         decode_text.c     disassembly
 *         decode_verify.c   cross-check with capstone
 *         decode_fixups.def what Zydis has wrong */
#ifndef MT_DECODE_INT_H
#define MT_DECODE_INT_H

#include "guest/cpu.h"
#include "jit/insn.h"

#include <Zydis/Zydis.h>

#define MT_INSN_MAX 15u
#define MT_NONE 0xffu
#define MT_FL_ALL7 (MT_FL_ALL6 | MT_FL_DF)

/* Immutable after decode_init(). */
extern ZydisDecoder decode_zydis;
/* This processor takes a 66 prefix on near branches for a 16-bit RIP (AMD; Intel ignores it). */
extern bool decode_amd_branches;
/* xbegin is an instruction here. */
extern bool decode_has_rtm;

/* The prefixes before the opcode, or before a VEX, EVEX or XOP prefix. */
typedef struct Prefixes {
    u8 count;   /* bytes, REX included */
    u8 rex_off; /* MT_NONE: none, or one that is ignored because it isn't the last */
    u8 rex;     /* its value, 0 if none */
    u8 seg_off; /* the last FS or GS prefix: CS, DS, ES, SS don't override it in 64-bit mode */
    bool gs, opsize, addrsize, rep, lock;
} Prefixes;

void decode_prefixes(Prefixes *p, const u8 *code, size_t avail);

/* Without the table of shapes. Same contract as decode_insn(). */
void decode_slow(Insn *out, GuestAddr pc, const u8 *code, size_t avail);
/* Same; true if Zydis knows it, and then z and ops are what it says. */
bool decode_full(Insn *out, GuestAddr pc, const u8 *code, size_t avail, ZydisDecodedInstruction *z,
                 ZydisDecodedOperand *ops);

/* All fields are equal. */
bool decode_same(const Insn *a, const Insn *b);

/* A row of decode_fixups.def. */
typedef struct Fixup {
    u16 mnemonic;
    u8 map;
    u8 flags_read, flags_killed;
    bool reads_reg, reads_rm; /* the register that ModRM.reg or .rm names is read, too */
    u16 gprs_read, gprs_written;
} Fixup;

/* NULL if Zydis is right about it. */
const Fixup *decode_fixup(const ZydisDecodedInstruction *z);

/* What a register operand means for gprs_read and gprs_written. */
void decode_register_effect(const ZydisDecodedOperand *op, bool *reads, bool *writes);

/* Zydis has rejected the bytes. Sets length, offsets, flags, class of out, whose pc and bytes are
 * there. */
void decode_fallback(Insn *out, const u8 *code, size_t avail);

void decode_set_invalid(Insn *out);
void decode_set_fault(Insn *out, size_t avail);

/* Zydis register -> MT_R*, MT_NONE if it is no general register. Any width, also ah..bh. */
static inline u8 decode_gpr(ZydisRegister r)
{
    if (r >= ZYDIS_REGISTER_AX && r <= ZYDIS_REGISTER_R15) {
        return (u8)((r - ZYDIS_REGISTER_AX) & 15);
    }
    if (r >= ZYDIS_REGISTER_AL && r <= ZYDIS_REGISTER_R15B) {
        unsigned i = (unsigned)(r - ZYDIS_REGISTER_AL);
        return (u8)(i < 4 ? i : i - 4); /* ah..bh lie between bl and spl */
    }
    return MT_NONE;
}
_Static_assert(ZYDIS_REGISTER_R15B - ZYDIS_REGISTER_AL == 19, "ah..bh included");
_Static_assert(ZYDIS_REGISTER_R15 - ZYDIS_REGISTER_AX == 47, "three widths in hardware order");

/* A write of it leaves the rest of the 64-bit register as it was. */
static inline bool decode_partial(ZydisRegister r)
{
    return r < ZYDIS_REGISTER_EAX;
}

/* A memory operand whose address counts, and with it its segment: not lea's, not a nop's. */
bool decode_is_memory(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *op);
/* One that is read or written: not prefetch's or clflush's either. */
bool decode_accesses(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *op);

/* decode_insn() has to look at memory through a segment override for these, though Zydis lists no
 * operand: clzero, monitor and the like. */
bool decode_hidden_address(ZydisMnemonic m);

/* Capstone 4.0.2 is known to be wrong about it (decode_verify.c). */
bool decode_capstone_bad(const Insn *in);

#endif
