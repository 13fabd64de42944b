/* SPDX-License-Identifier: BSD-2-Clause
 * insn.h -- one decoded guest instruction, as the rest of the translator sees it.
 * Role: the only header that knows what decoding yields; nothing of Zydis leaks out of decode.c. */
#ifndef MT_INSN_H
#define MT_INSN_H

#include "base/base.h"

/* How the translator must treat an instruction. */
typedef enum InsnClass {
    INSN_PLAIN, /* copied (perhaps with its segment prefix or displacement rewritten) */
    INSN_JCC,   /* conditional near jump; .cc, .target */
    INSN_JMP,   /* direct near jump; .target (xbegin counts as a jump to its fallback: see flags) */
    INSN_CALL,  /* direct near call; .target */
    INSN_JRCXZ, /* jrcxz/jecxz/loop/loope/loopne: short only; .target; copied as a condition */
    INSN_JMP_IND,  /* jmp r/m64 */
    INSN_CALL_IND, /* call r/m64 */
    INSN_RET,      /* near ret; .ret_pop = bytes of `ret imm16` */
    INSN_SYSCALL,  /* syscall */
    /* Done in C by emulate.c: rd/wrfsbase, rd/wrgsbase, mov/pop to a segment register, far
     * branches, iretq, int 0x80, xbegin, lfs/lgs/lss; on AMD also near calls, rets, indirect jumps
     * and loops with a 66 prefix (16-bit RIP). */
    INSN_EMULATE,
    INSN_INVALID, /* not an instruction: SIGILL at pc (copied as ud2) */
    INSN_FAULT,   /* its bytes could not be read: SIGSEGV at .pc + .len (len = readable bytes) */
} InsnClass;

enum {
    INSN_F_RIPREL = 1,  /* has a RIP-relative memory operand: mem_addr is its absolute address */
    INSN_F_SEG_FS = 2,  /* effective segment override is FS: prefix byte at seg_off */
    INSN_F_SEG_GS = 4,  /* same, GS */
    INSN_F_OPAQUE = 8,  /* of an unknown extension: length known, nothing else */
    INSN_F_ADDR32 = 16, /* 67 prefix: addresses are 32-bit */
    INSN_F_WRITES_MEM = 32, /* may write memory (explicitly or implicitly, incl. push/call) */
    INSN_F_READS_MEM = 64,
    /* VEX, EVEX or XOP encoded: no legacy REX; register extension bits are inverted inside the
     * prefix. */
    INSN_F_VEX_LIKE = 128,
};

typedef struct Insn {
    GuestAddr pc;
    u8 bytes[15];
    u8 len;
    u8 cls;        /* InsnClass */
    u8 cc;         /* JCC: condition code 0..15 as encoded */
    u16 flags;     /* INSN_F_* */
    u8 opcode_off; /* offset of the (last) opcode byte */
    u8 rex_off;    /* offset of a REX prefix, 0xff if none */
    u8 modrm_off;  /* offset of ModRM, 0xff if none */
    /* Displacement bytes; size 0, 1, 4 (8 for moffs, which then count here). */
    u8 disp_off, disp_size;
    u8 imm_off, imm_size;
    u8 seg_off; /* offset of the effective FS/GS prefix byte, 0xff if none */
    u16 ret_pop;
    /* Bit r: GPR r is read or written, explicitly or implicitly (rsp too). Opaque: 0xffff. */
    u16 gprs_used;
    u16 gprs_read, gprs_written; /* written: fully or partly; partly counts as read as well */
    /* MT_FL_* below; written means "certainly written or undefined". */
    u8 flags_read, flags_written;
    GuestAddr target;   /* branches: absolute target */
    GuestAddr mem_addr; /* INSN_F_RIPREL */
    u16 mnemonic;       /* an opaque number for tables in decode.c, and for tests */
} Insn;

#define MT_FL_CF 1u
#define MT_FL_PF 2u
#define MT_FL_AF 4u
#define MT_FL_ZF 8u
#define MT_FL_SF 16u
#define MT_FL_OF 32u
#define MT_FL_DF 64u
#define MT_FL_ALL6 63u /* the six arithmetic ones */

/* One memory access of an instruction, explicit or implicit, for tools. */
typedef enum MemKind {
    MEM_NORMAL, /* size bytes at base + index*scale + disp (segment base added) */
    MEM_STRING, /* rep movs/stos/...: one element; repeats unless !rep */
    MEM_BITS,   /* bt/bts/btr/btc m, r: the operand named plus (bit offset >> 3) */
    MEM_MASKED, /* masked vector access: only lanes enabled by the mask */
    MEM_VSIB,   /* gather/scatter: index is a vector register */
    MEM_XSAVE,  /* xsave family: size depends on the state */
    MEM_XLAT,   /* one byte at base plus the low byte of index */
    /* vcompress/vexpand: as MEM_MASKED, but the enabled lanes' elements follow each other without
     * gaps. */
    MEM_COMPRESSED,
} MemKind;

typedef struct MemOp {
    u8 kind;        /* MemKind */
    u8 base, index; /* MT_* register numbers, 0xff: none, 0xfe: rip */
    u8 scale;
    u8 seg;         /* 0 none, 1 FS, 2 GS */
    u8 read, write; /* bool */
    u8 rep;         /* MEM_STRING with a rep prefix */
    /* MEM_VSIB, MEM_MASKED; mask_reg 0xff: none (VEX masks: vector register number | 0x80).
     * vsib_width: bytes of one index (4, 8). MEM_BITS: vsib_reg is the GPR with the signed bit
     * number, of vsib_width bytes. */
    u8 vsib_reg, vsib_width, mask_reg;
    u8 elem_size, elem_count; /* MEM_VSIB, MEM_MASKED */
    i64 disp;                 /* RIP-relative: the absolute address, base = 0xfe */
    u32 size;                 /* bytes; 0 unknown */
} MemOp;

#define MT_MAX_MEMOPS 3

/* Once per process, before threads. */
void decode_init(void);

/* Decodes the instruction at pc from memory that can be read through `code` (avail bytes readable,
 * 1..15 are enough to look at). Never fails: invalid code gives INSN_INVALID (len 1) and code that
 * is cut off by the end of readable memory INSN_FAULT. Thread-safe, no allocation. */
void decode_insn(Insn *out, GuestAddr pc, const u8 *code, size_t avail);

/* The memory accesses of an instruction decoded before; returns their number (0..MT_MAX_MEMOPS).
 * lea, nop, prefetch and other address-only operands don't count. */
int decode_memops(const Insn *in, MemOp out[MT_MAX_MEMOPS]);

/* Disassembly (capstone; Zydis's formatter where it rejects), AT&T or Intel as the library likes;
 * NUL-terminated. Slow, thread-safe. */
void decode_text(const Insn *in, char *buf, size_t size);

/* --verify-decode: compares with capstone; false if they differ in validity, length, or explicit
 * memory operand, outside the list of capstone's known faults. Writes why to buf. */
bool decode_verify(const Insn *in, char *buf, size_t size);

#endif
