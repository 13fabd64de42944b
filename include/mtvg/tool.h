/* SPDX-License-Identifier: BSD-2-Clause
 * mtvg/tool.h -- what a tool is to the runtime, and the runtime to a tool (docs/TOOLS.md).
 * A tool is linked with libmtvg into an mtvg of its own, in which it takes the place of the tool
 * "none": it defines mtvg_tool, see the end. All callbacks are ordinary C, vector registers and
 * libc included, unless they say otherwise; several threads are in them at the same time. Those
 * marked INSIDE hold the world lock for reading: they must not block, nor wait for another guest
 * thread; nobody stops the world meanwhile. The others are OUTSIDE: the world may be stopped, so
 * what they share with callbacks that are INSIDE, or with `finish`, wants a lock or atomics.
 * Registers are named by their hardware numbers: rax 0, rcx 1, rdx 2, rbx 3, rsp 4, rbp 5, rsi 6,
 * rdi 7, r8 8 ... r15 15. Sizes and lengths are in bytes, addresses are the guest's. */
#ifndef MTVG_TOOL_H
#define MTVG_TOOL_H

#include "mtvg/types.h"

struct Thread;
typedef struct MtvgSb MtvgSb; /* a superblock being translated; dies with the instrument callback */

/* --- guest instructions ----------------------------------------------------------------------- */

typedef enum MtvgKind {
    MTVG_PLAIN,
    MTVG_JCC,      /* conditional near jump */
    MTVG_JMP,      /* direct near jump */
    MTVG_CALL,     /* direct near call */
    MTVG_JRCXZ,    /* jrcxz, jecxz, loop, loope, loopne */
    MTVG_JMP_IND,  /* jmp r/m */
    MTVG_CALL_IND, /* call r/m */
    MTVG_RET,      /* near return */
    MTVG_SYSCALL,
    MTVG_EMULATED, /* done in C by the runtime: segment bases, far branches, iretq, xbegin */
    MTVG_INVALID,  /* raises SIGILL */
} MtvgKind;

enum {
    MTVG_I_LOADS = 1,   /* may read memory, explicitly or implicitly */
    MTVG_I_STORES = 2,  /* may write memory */
    MTVG_I_OPAQUE = 4,  /* of an extension that the decoder doesn't know: length only */
    MTVG_I_ADDR32 = 8,  /* addresses are 32-bit */
    MTVG_I_FAULTS = 16, /* may raise an exception: all registers and flags are live before it */
};

/* Flags as bits: CF 1, PF 2, AF 4, ZF 8, SF 16, OF 32, DF 64. */
#define MTVG_FL_ALL 0x7fu

typedef struct MtvgInsn {
    u64 pc;
    u64 target;                   /* of a direct branch */
    const u8 *bytes;              /* len of them */
    u16 gprs_read;                /* bit r: register r, explicitly or implicitly */
    u16 gprs_written;             /* wholly or partly; partly counts as read as well */
    u8 flags_read, flags_written; /* MTVG_FL_ALL and its parts */
    u8 len;
    u8 kind;  /* MtvgKind */
    u8 cond;  /* MTVG_JCC: condition code 0..15 as encoded */
    u8 flags; /* MTVG_I_* */
} MtvgInsn;

typedef enum MtvgMemKind {
    MTVG_MEM_NORMAL,     /* size bytes at base + index * scale + disp (+ segment base) */
    MTVG_MEM_STRING,     /* one element; repeats if rep */
    MTVG_MEM_BITS,       /* bt m, r and its family: the bit number's high part moves the address */
    MTVG_MEM_MASKED,     /* lanes enabled by a mask */
    MTVG_MEM_VSIB,       /* gather, scatter */
    MTVG_MEM_XSAVE,      /* size depends on the state components */
    MTVG_MEM_XLAT,       /* index is al */
    MTVG_MEM_COMPRESSED, /* as masked, without gaps */
} MtvgMemKind;

#define MTVG_NO_REG 0xff
#define MTVG_REG_RIP 0xfe
#define MTVG_MAX_MEMS 3

/* One memory access of an instruction, explicit or implicit, in terms of the registers before
 * it. */
typedef struct MtvgMem {
    u8 kind;        /* MtvgMemKind */
    u8 base, index; /* register, MTVG_NO_REG, MTVG_REG_RIP (disp is the address then) */
    u8 scale;
    u8 seg; /* 0, 1: FS, 2: GS */
    u8 read, write;
    u8 rep;
    /* VSIB: the vector of indices, and the bytes of one (4, 8). MASKED, VSIB, COMPRESSED: an opmask
     * register; 0x80 | number: a vector register; MTVG_NO_REG: no mask. BITS: the register with the
     * bit number, and its bytes. What addresses come of them: mtvg_resolve(). */
    u8 vsib_reg, vsib_width, mask_reg;
    /* Lanes, and the bytes of each. */
    u8 elem_size, elem_count;
    i64 disp;
    u32 size; /* bytes; 0: depends on the state */
} MtvgMem;

/* The superblock. Instructions 0..n-1 are in the order of execution; direct jumps inside it have
 * been followed. It is left behind its last instruction, and at every MTVG_JCC and MTVG_JRCXZ if
 * taken. */
u64 mtvg_sb_pc(const MtvgSb *sb);                      /* address of its first instruction */
u32 mtvg_sb_key(const MtvgSb *sb);                     /* its version (block_key), else 0 */
u32 mtvg_sb_size(const MtvgSb *sb);                    /* n, in instructions */
const MtvgInsn *mtvg_sb_insn(const MtvgSb *sb, u32 i); /* dies with sb; NULL: no such one */

/* The memory accesses of instruction i: loads first, then stores; returns their number, 0 to
 * MTVG_MAX_MEMS. */
int mtvg_sb_mems(const MtvgSb *sb, u32 i, MtvgMem out[MTVG_MAX_MEMS]);

/* Which registers and flags are live before instruction i (i == n: all). What is dead will be
 * written before anything, an exit and a signal handler included, can look at it; with lax_flags
 * and lax_gprs handlers of faults excluded. */
u16 mtvg_sb_live_gprs(const MtvgSb *sb, u32 i);
u8 mtvg_sb_live_flags(const MtvgSb *sb, u32 i);

/* What instruction i does to the stack pointer. */
typedef enum MtvgSpMove {
    MTVG_SP_SAME,
    MTVG_SP_ADD, /* adds *delta, always the same; an instruction that faults adds nothing */
    MTVG_SP_ANY, /* sets it to anything: mov, leave, and, xchg, far branches... */
} MtvgSpMove;
MtvgSpMove mtvg_sb_sp(const MtvgSb *sb, u32 i, i64 *delta);

/* For a tool with block_key: where the superblock is left at instruction i (a conditional branch
 * that is taken, or the last instruction), or, i == n, behind the last one, the guest goes on with
 * this version of what is there. Not asked for: the superblock's own. Instructions left to the
 * runtime (MTVG_EMULATED, those run with another GS base): the version with which the guest goes on
 * at this instruction itself, or behind it, whichever comes next. False: there is no such
 * instruction, or the tool has no block_key. */
bool mtvg_exit_key(MtvgSb *sb, u32 i, u32 key);

/* --- counting --------------------------------------------------------------------------------- */

/* Counters 0 to MTVG_NCOUNTERS - 1 are 64 bits, one set a thread, summed when asked for. Counting
 * is exact: an instruction that is interrupted, faults, or is never reached has not been counted,
 * wherever the counting code has been put. */
#define MTVG_NCOUNTERS 16

/* Adds n to `counter` each time that instruction i is executed. False, and nothing is counted:
 * there is no such instruction or counter, or it is too much for one instruction (more than 7
 * different counters, 3 for a system call, or 255 for one of them). */
bool mtvg_count(MtvgSb *sb, u32 i, u32 counter, u32 n);
/* The same each time that the superblock is entered, */
bool mtvg_count_entry(MtvgSb *sb, u32 counter, u32 n);
/* and each time that the conditional branch i (MTVG_JCC, MTVG_JRCXZ; else false) is not taken. */
bool mtvg_count_not_taken(MtvgSb *sb, u32 i, u32 counter, u32 n);
/* Adds n, at most 255, for each repetition of the string instruction i. False: it has no rep
 * prefix, or there are too many of them in the superblock (16), or of different sets of amounts in
 * all (some 20). */
bool mtvg_count_reps(MtvgSb *sb, u32 i, u32 counter, u32 n);

/* The sums over all threads that there have been. Exact for threads that are not running guest
 * code: call it from `finish`, where the world is stopped. */
void mtvg_counters(u64 out[MTVG_NCOUNTERS]);

/* --- calls ------------------------------------------------------------------------------------ */

typedef enum MtvgWhen { MTVG_BEFORE, MTVG_AFTER } MtvgWhen;

/* What a called function is given. The registers are those before or behind the instruction. */
typedef struct MtvgCall {
    struct Thread *thread;
    u64 pc; /* of the instruction */
    u8 len, nmems, when;
    u8 flags;            /* MTVG_I_* */
    const MtvgMem *mems; /* its accesses */
    const u64 *gpr;      /* 16, hardware numbering */
    u64 rflags, fs_base, gs_base;
    u64 arg;    /* as given to mtvg_call() */
    u64 old_sp; /* mtvg_on_sp(): the stack pointer before the instruction */
} MtvgCall;

/* INSIDE. Calls fn before or behind instruction i each time it is executed. Before means: is about
 * to be; a signal may be delivered in between, and the instruction, with its call, is come back to
 * afterwards. Behind: MTVG_PLAIN, MTVG_EMULATED and MTVG_SYSCALL only, and there may be only one
 * annotation (call or code) behind an instruction; what has been executed is always followed by it,
 * before any signal is delivered. False: impossible here, or too many. If the superblock as a whole
 * has too many, it is made shorter, and `instrument` is called again for what is left of it. */
typedef void (*MtvgFunction)(const MtvgCall *c);
bool mtvg_call(MtvgSb *sb, u32 i, MtvgWhen when, MtvgFunction fn, u64 arg);

/* Calls fn behind instruction i (MTVG_PLAIN) if that has changed the stack pointer: c->old_sp to
 * c->gpr[4]. Nothing else may be asked for behind it. For instructions that mtvg_sb_sp() says
 * MTVG_SP_ANY of; constant moves are cheaper followed by code of the tool's own. False: as
 * mtvg_call(). */
bool mtvg_on_sp(MtvgSb *sb, u32 i, MtvgFunction fn, u64 arg);

/* Has the thread gone to another stack, rather than grown or shrunk the one it was on? A hint: no
 * frame is that large, and a stack that the program has switched to hardly ever so near. */
#define MTVG_MAX_FRAME (2u << 20)
static inline bool mtvg_sp_switched(u64 old_sp, u64 sp)
{
    return old_sp - sp + MTVG_MAX_FRAME > 2 * MTVG_MAX_FRAME;
}

/* The address of an operand of kind MTVG_MEM_NORMAL or MTVG_MEM_STRING (one element). */
static inline u64 mtvg_address(const MtvgCall *c, const MtvgMem *m)
{
    u64 a = (u64)m->disp + (m->base < 16 ? c->gpr[m->base] : 0) +
            (m->index < 16 ? c->gpr[m->index] * m->scale : 0);

    a = (c->flags & MTVG_I_ADDR32) ? (u32)a : a;
    return a + (m->seg == 1 ? c->fs_base : m->seg == 2 ? c->gs_base : 0);
}

/* One real access. */
typedef struct MtvgAccess {
    u64 addr;
    u32 size;
    u8 read, write;
} MtvgAccess;

/* The accesses that an operand stands for: from the registers, masks and vectors in the state at
 * the call. Strings with a rep prefix: one element (see rcx). Returns their number, at most 64. */
#define MTVG_MAX_ACCESSES 64
int mtvg_resolve(const MtvgCall *c, const MtvgMem *m, MtvgAccess out[MTVG_MAX_ACCESSES]);

/* --- code of the tool's own ------------------------------------------------------------------- */

/* A short piece of straight code before or behind an instruction: computes in temporaries, looks at
 * the tool's memory and writes it, and goes to a call out of line if it does not like what it sees.
 *
 *     MtvgCode *c = mtvg_code(sb, i, MTVG_BEFORE, slow, arg);
 *     MtvgVal t = mtvg_code_temp(c);
 *     mtvg_code_operand(c, t, 0);
 *     mtvg_code_shift(c, MTVG_SHR, t, 3);
 *     mtvg_code_slow_if_at(c, MTVG_NE, 1, mtvg_at(MTVG_IN_GS, t, 0), 0);
 *     if (!mtvg_code_ok(c)) ...
 *
 * The guest notices nothing: temporaries live in dead registers, or in spilled ones; flags that are
 * live are left alone, or, if the code can't do without, saved. When control goes to the slow call,
 * all that is live is the guest's again, and behind the call the rest of the code is not done.
 * A load or store that faults (a guest's wild address has no shadow) leads to the slow call too;
 * if there is none, the rest is not done. Code before an instruction may be begun and broken off,
 * to be begun anew, when a signal comes; code behind one is finished first. */
typedef struct MtvgCode MtvgCode; /* dies with the superblock; at most 40 steps */

/* A value: a register of the guest (0..15, as it is before or behind the instruction; not to be
 * changed), or a temporary. */
typedef u8 MtvgVal;
#define MTVG_CODE_TEMPS 4 /* temporaries in one piece of code */
#define MTVG_NO_VAL 0xff

typedef enum MtvgSpace {
    MTVG_IN_MEMORY, /* the process's, by its address */
    MTVG_IN_GS,     /* relative to the tool's GS base (uses_gs) */
    MTVG_IN_TLS,    /* relative to the thread's TLS: mtvg_tls_offset() of a __thread variable */
} MtvgSpace;

/* Where something lies: base + index * scale + disp, 64 bits. */
typedef struct MtvgPlace {
    u8 space;            /* MtvgSpace */
    MtvgVal base, index; /* or MTVG_NO_VAL; index is not the guest's rsp */
    u8 scale;            /* 1, 2, 4, 8 */
    i32 disp;
} MtvgPlace;

static inline MtvgPlace mtvg_at(MtvgSpace space, MtvgVal base, i32 disp)
{
    return (MtvgPlace){(u8)space, base, MTVG_NO_VAL, 1, disp};
}

/* The place of memory operand k of instruction i (mtvg_sb_mems) in a space of the tool's, at
 * operand + disp: no address need be computed to look at a shadow at a constant displacement.
 * False: it can't be named so (segments, RIP-relative ones far away, 32-bit addresses, kinds other
 * than MTVG_MEM_NORMAL and MTVG_MEM_STRING): use mtvg_code_operand(), or a call. */
bool mtvg_place(const MtvgSb *sb, u32 i, u32 k, MtvgSpace space, i32 disp, MtvgPlace *out);

typedef enum MtvgOp { MTVG_ADD, MTVG_SUB, MTVG_AND, MTVG_OR, MTVG_XOR } MtvgOp;
typedef enum MtvgShift { MTVG_SHL, MTVG_SHR, MTVG_SAR } MtvgShift;
typedef enum MtvgCond { /* as the hardware encodes them; B, A: unsigned, L, G: signed */
                        MTVG_B = 2,
                        MTVG_AE,
                        MTVG_EQ,
                        MTVG_NE,
                        MTVG_BE,
                        MTVG_A,
                        MTVG_L = 12,
                        MTVG_GE,
                        MTVG_LE,
                        MTVG_G,
} MtvgCond;

/* Begins code for instruction i (behind: as mtvg_call). slow: what control goes to; may be NULL.
 * Pieces and calls at the same place are done in this order. One is made at a time: the next
 * mtvg_code() or mtvg_call() ends it. NULL: impossible here, or too many; mtvg_code_*() take NULL,
 * and do nothing. */
MtvgCode *mtvg_code(MtvgSb *sb, u32 i, MtvgWhen when, MtvgFunction slow, u64 arg);
/* False: something in it can't be done, or it is too long: there will be no code at all. */
bool mtvg_code_ok(const MtvgCode *c);

/* A new temporary, its value undefined. */
MtvgVal mtvg_code_temp(MtvgCode *c);
/* t = v; t = n; t = the address of memory operand k (MTVG_MEM_NORMAL, MTVG_MEM_STRING) */
void mtvg_code_mov(MtvgCode *c, MtvgVal t, MtvgVal v);
void mtvg_code_const(MtvgCode *c, MtvgVal t, u64 n);
void mtvg_code_operand(MtvgCode *c, MtvgVal t, u32 k);
/* t = t op v, 64 bits; n is sign-extended, shifts are by 1..63. Add and sub of a constant, shifts,
 * and with 0xff or 0xffff cost little where flags are live; the others make them be saved. */
void mtvg_code_op(MtvgCode *c, MtvgOp op, MtvgVal t, MtvgVal v);
void mtvg_code_op_const(MtvgCode *c, MtvgOp op, MtvgVal t, i32 n);
void mtvg_code_shift(MtvgCode *c, MtvgShift op, MtvgVal t, u32 n);
/* size: 1, 2, 4, 8. Loads are zero-extended; of n the low bytes are stored (8: sign-extended). */
void mtvg_code_load(MtvgCode *c, MtvgVal t, u32 size, MtvgPlace at);
void mtvg_code_store(MtvgCode *c, u32 size, MtvgPlace at, MtvgVal v);
void mtvg_code_store_const(MtvgCode *c, u32 size, MtvgPlace at, i32 n);
/* To the slow call if v, or what lies there, compares with n so (size bytes of each; 8: n is
 * sign-extended). Comparisons for equality cost little where flags are live. */
void mtvg_code_slow_if(MtvgCode *c, MtvgCond cond, u32 size, MtvgVal v, i32 n);
void mtvg_code_slow_if_at(MtvgCode *c, MtvgCond cond, u32 size, MtvgPlace at, i32 n);
void mtvg_code_slow_if_vals(MtvgCode *c, MtvgCond cond, MtvgVal a, MtvgVal b);
/* The same, but what comes next is left out, up to mtvg_code_here() with what this returns. */
u32 mtvg_code_skip_if(MtvgCode *c, MtvgCond cond, u32 size, MtvgVal v, i32 n);
u32 mtvg_code_skip_if_at(MtvgCode *c, MtvgCond cond, u32 size, MtvgPlace at, i32 n);
void mtvg_code_here(MtvgCode *c, u32 label);

/* Of a __thread variable of the tool's. */
static inline i32 mtvg_tls_offset(const void *variable)
{
    u64 fs0;

    __asm__("mov %%fs:0, %0" : "=r"(fs0));
    return (i32)((u64)variable - fs0);
}

/* --- replaced functions ----------------------------------------------------------------------- */

/* On the thread itself, not INSIDE: the guest has called a replaced function. Its arguments are in
 * gpr[7], [6], [2], [1], [8], [9]; what is returned here is returned to the guest in rax. If it
 * faults (SIGSEGV, SIGBUS) at memory that the guest told it of, it is left where it stands, as by
 * longjmp, and the guest gets the signal at its function's first instruction; it is called anew if
 * that is come back to, and so it is if it writes to a page with translated code. It must not hold
 * a lock where that can be. */
typedef u64 (*MtvgReplacement)(struct Thread *t, const u64 *gpr, u64 arg);

/* To be called in init: functions of this name in images whose soname, or file name if there is
 * none, matches the pattern (fnmatch(3)) are not run: fn is called instead. Found by .dynsym and
 * .symtab, local symbols included, when the image becomes executable. "name" stands for all
 * versions of it, "name@VERSION" for that one. An IFUNC's resolver is not run: it is given an
 * address that only stands for fn, so that functions which share an implementation (memcpy,
 * memmove) stay apart; who calls the implementation by another name is not caught. If several
 * wishes name one address, the first counts. The strings must stay. False: too many. */
bool mtvg_replace(const char *image, const char *symbol, MtvgReplacement fn, u64 arg);

/* INSIDE. The same for a function that is called often: asked first, with the guest's vector state
 * still in the registers, so it must be a MTVG_LIGHT function. True: it has been done, *result is
 * returned to the guest. False: nothing has been done, fn is called. Faults are as above. */
typedef bool (*MtvgLightReplacement)(const u64 *gpr, u64 arg, u64 *result);
bool mtvg_replace_light(const char *image, const char *symbol, MtvgLightReplacement light,
                        MtvgReplacement fn, u64 arg);

/* The 16 general registers of the calling thread; valid in callbacks on the thread itself. */
const u64 *mtvg_gprs(struct Thread *t);

/* For a tool with uses_gs: sets the calling thread's GS base, where %gs:... of its code leads. A
 * new thread begins with the base of the one that made it. */
void mtvg_set_gs_base(u64 base);

/* --- system calls ----------------------------------------------------------------------------- */

typedef struct MtvgSyscall {
    struct Thread *thread;
    const char *name; /* "unknown": a number that the runtime doesn't know */
    u32 nr;
    bool known; /* kernel_reads and kernel_writes are told all that it does to memory */
    u64 arg[6];
    i64 result; /* syscall_post: as in rax: -errno if it failed */
} MtvgSyscall;

/* A function that uses general registers only. */
#define MTVG_LIGHT __attribute__((target("general-regs-only")))

/* --- the log, the guest's memory -------------------------------------------------------------- */

/* A line of its own in the log, "==PID== text" (at most 1,000 bytes); dropped with -q. */
void mtvg_message(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* n bytes into the log as they are. Signal-safe; up to 4,096 bytes are not mixed with another's. */
void mtvg_write(const char *text, u64 n);

/* Copies n bytes of the guest's memory, which may be unmapped at any time. 0; or -EFAULT: not all
 * of it can be read, and some of `to` may have been written. */
int mtvg_read_memory(void *to, u64 from, u64 n);

/* --- the tool --------------------------------------------------------------------------------- */

/* A tool: a table of callbacks, each of which may be NULL. */
typedef struct MtvgTool {
    const char *name;
    /* The tool keeps the host's GS base (mtvg_set_gs_base). The guest's FS-relative accesses take
     * longer then. Those to its GS, and rare forms of those to FS (strings, 32-bit addresses), are
     * run apart, with another GS base: calls made for these see that one. */
    bool uses_gs;
    /* Flags (registers) that the program will write before it reads them count as dead, and may be
     * lost, though an access to memory in between may fault, whose handler would find other values
     * in its ucontext. Without this, whatever accesses memory keeps all alive, and code before it
     * has to save flags (spill registers). Handlers hardly ever look at flags; but some go on
     * elsewhere with the registers: HotSpot and others find null pointers by such faults. */
    bool lax_flags, lax_gprs;

    /* Once, after the options have been read, before the guest's first instruction. */
    void (*init)(void);
    /* INSIDE. A superblock is being translated; may be called again for the same code at any time,
     * by several threads at once. What it asks for must depend on the instructions only. */
    void (*instrument)(MtvgSb *sb);
    /* INSIDE. Asked before each call to a function fn of the tool's from translated code; true:
     * what it was for has been done, fn is not called. A call costs ten times as much, for the
     * vector state has to be saved: here it is still in the registers. So this must be a MTVG_LIGHT
     * function, call none that is not, and not use mtvg_resolve(). */
    bool (*light)(const MtvgCall *c, MtvgFunction fn);
    /* INSIDE. Versions of code: which one does the guest go on with at pc? Asked whenever
     * translated code is entered from the runtime; links between translations go by mtvg_exit_key()
     * without asking. key: what the exit that led here said; 0 if the thread begins; if translated
     * code was interrupted (signal, fault), the version of what was, and that of a handler's frame
     * is the tool's to remember. Versions other than 0 are reached by indirect branches through the
     * runtime, which is slow, and so are all system calls. */
    u32 (*block_key)(struct Thread *t, u64 pc, u32 key);
    /* On the thread itself: before its first and after its last instruction. A process made by
     * clone with CLONE_VM, without CLONE_THREAD and CLONE_VFORK, has both too: they are called in
     * its parent, in whose memory it runs. A vfork child goes on as its parent's thread. */
    void (*thread_start)(struct Thread *t);
    void (*thread_end)(struct Thread *t);
    /* In a fork's child: the one thread that is left. Its counters begin at zero. */
    void (*fork_child)(struct Thread *t);
    /* Mappings, in one order for all threads, whoever makes them; those that there are at start
     * come behind init. Called with the lock of the map of mappings held: no callback may block,
     * wait for another thread, or call the runtime. The caller may be OUTSIDE, and in a fork's
     * child. Memory is `map`ped again when its contents become zeroes or the file's
     * (MADV_DONTNEED), or its stack grows (found out late). `moved`: [from, from + len) is at `to`
     * now, which has been mapped before; `from` is unmapped afterwards. prot: PROT_*. */
    void (*map)(u64 start, u64 len, int prot);
    void (*unmap)(u64 start, u64 len);
    void (*protect)(u64 start, u64 len, int prot);
    void (*moved)(u64 from, u64 to, u64 len);

    /* On the thread itself, not INSIDE. A frame for a handler has been pushed to [sp, old_sp), or,
     * if old_sp is on another stack, from sp on; the thread goes on at `handler`. Then:
     * rt_sigreturn has restored what the frame says. Handlers left by a jump don't return. */
    void (*signal)(struct Thread *t, int sig, u64 handler, u64 old_sp, u64 sp);
    void (*signal_return)(struct Thread *t);
    /* The process is about to run another program; and: this has failed, it goes on. */
    void (*exec)(struct Thread *t);
    void (*exec_failed)(struct Thread *t);

    /* On the thread itself, not INSIDE. Before a system call, and what the kernel will read, then
     * what it has written, and behind the call. Those that replace the state or don't return
     * (rt_sigreturn, exec, exit) have no syscall_post. One that was not begun, because a signal
     * came first, has none either, and is come back to. Ranges are what the arguments say: not
     * checked, at most what may be touched; a failed call's writes are not told. */
    void (*syscall_pre)(const MtvgSyscall *c);
    void (*kernel_reads)(const MtvgSyscall *c, u64 addr, u64 len);
    void (*kernel_writes)(const MtvgSyscall *c, u64 addr, u64 len);
    void (*syscall_post)(const MtvgSyscall *c);

    /* Once, at the end of the run. The world is stopped: no other thread runs guest code. */
    void (*finish)(struct Thread *t);
} MtvgTool;

/* To be defined by a tool. */
extern const MtvgTool mtvg_tool __attribute__((weak));

#endif
