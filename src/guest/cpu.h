/* SPDX-License-Identifier: BSD-2-Clause
 * cpu.h -- the state of a guest thread's processor, as generated code and assembly see it.
 * Owner: the thread itself; nobody else reads or writes it, but `pending`, which others set.
 * Offsets are used by generated code (%fs:disp32) and by src/jit/entry.S through cpu_offsets.h. */
#ifndef MT_CPU_H
#define MT_CPU_H

#include "base/base.h"

enum {
    MT_RAX,
    MT_RCX,
    MT_RDX,
    MT_RBX,
    MT_RSP,
    MT_RBP,
    MT_RSI,
    MT_RDI,
    MT_R8,
    MT_R9,
    MT_R10,
    MT_R11,
    MT_R12,
    MT_R13,
    MT_R14,
    MT_R15,
    MT_NGPR
};

struct Thread;

/* What FNSTENV stores: the x87 environment, with 32-bit pointers. */
typedef struct X87Env {
    u32 cw, sw, tw;
    u32 ip, cs_opcode; /* of the last instruction; the opcode in bits 16 to 26 */
    u32 dp, ds;        /* its operand */
} X87Env;

#define MT_EXIT_STEPS 40 /* a multiple of 8 */

typedef struct CpuState {
    /* Exact guest state while translated code does not run. */
    u64 gpr[MT_NGPR]; /* hardware numbering */
    u64 rip;
    u64 rflags;
    u64 fs_base; /* the guest's FS base; the host's GS base while the thread runs (D1) */
    u64 gs_base; /* the guest's GS base, used by longer sequences only */

    /* Scratch for generated code; meaningful only inside one guest instruction's sequence. */
    u64 slot[8]; /* 0: spilled rcx at indirect branches, 1: their target; others free */

    /* How translated code was left: see entry.h. */
    u64 exit_arg;

    /* The host's stack pointer to return to when translated code is left. */
    u64 host_rsp;

    /* Nonzero: leave translated code / do not enter it / do not start a system call. A set of
     * MT_PEND_* bits, set by this thread's signal handler or by other threads (then kicked). */
    u32 pending;

    /* Guest vector and x87 state, XSAVE standard format, 64-byte aligned, mt_xsave.size bytes.
     * Valid only while xstate_saved. */
    u32 xstate_saved;
    u32 xstate_raw; /* it is the guest's own image, which has not been loaded yet (sigreturn) */
    void *xsave;

    struct Thread *thread; /* everything that generated code needn't reach */
    u64 quantum;           /* sequential mode: blocks left in this quantum */

    /* For tools' code (docs/TOOLS.md). */
    u64 spill[6];               /* registers that an annotation has taken, in ascending order */
    u64 spill_flags;            /* the flags: OF as bit 0; SF ZF AF PF CF in ah, as lahf has them */
    u64 old_sp;                 /* the stack pointer before an instruction (mtvg_on_sp) */
    u64 rep_start;              /* rcx before a rep-prefixed string instruction that is counted */
    u64 edge_pairs;             /* what the last system call instruction counted (counts.h) */
    u64 call_site, call_return; /* of a call to the tool: which, and where the code goes on */
    void (*call_entry)(void);   /* toolcall_entry */
    u32 key;    /* the block version that the guest goes on with (MtvgTool.block_key) */
    u32 fix;    /* MT_FIX_*: what is left to do to the stack behind translated code (recover.c) */
    u64 resume; /* entering behind a call to the tool: its CallSite, else 0 */
    /* With exit_arg: a direct exit's stub, see lower_finish(); else all 0. */
    u8 exit_steps[MT_EXIT_STEPS];
    u16 checks; /* counted down, past 0, by blocks that check their bytes (lower_check.c) */
    u32 copied; /* the block whose code behind an instruction was copied last (recover.c) */

    /* For instructions that store the address of the last x87 instruction (x87ip.c). */
    void (*x87_entry)(void); /* x87ip_entry */
    X87Env x87;              /* as of cpu_xstate_save(), if mt_x87_seen; ip 0: nothing to restore */
    u64 x87_at;              /* entering in front of such an instruction: its place, else 0 */
    u32 x87_left;            /* the thread has been OUTSIDE since that address was looked at last */
} CpuState;

#define MT_FIX_RET 1u  /* a return is done: the word below rsp is to be rip */
#define MT_FIX_CALL 2u /* a call is done: the word at rsp is to be slot[6] */

#define MT_PEND_SIGNAL 1u  /* the thread's pending signal slot is full */
#define MT_PEND_WORLD 2u   /* the world is asked to stop */
#define MT_PEND_RCU 8u     /* somebody waits for a grace period */
#define MT_PEND_PTRACE 16u /* the thread's tracer wants something (sys/ptrace_slot.h) */

extern __thread CpuState mt_cpu __attribute__((tls_model("local-exec"), aligned(64)));

/* Relaxed: what a bit asks for is looked at behind it, by means of its own. */
static inline u32 cpu_pending(void)
{
    return __atomic_load_n(&mt_cpu.pending, __ATOMIC_RELAXED);
}

/* An x87 instruction has been translated; never cleared. Atomic, relaxed: set before one can
 * run. */
extern bool mt_x87_seen;
/* XSAVE keeps the last x87 instruction's address while an exception is pending only (AMD). */
extern bool mt_x87_hidden;

/* Saves/restores the guest's vector and x87 state (D5); both are idempotent. */
void cpu_xstate_save(void);
void cpu_xstate_restore(void);

typedef struct XsaveInfo {
    u32 size; /* bytes of the standard-format area for `mask` */
    u64 mask; /* components saved: XCR0 less PKRU */
} XsaveInfo;
extern XsaveInfo mt_xsave;

/* Fills mt_xsave by CPUID; call once, first. */
void cpu_init(void);

/* The bits that MXCSR may have (as FXSAVE's MXCSR_MASK). */
u32 cpu_mxcsr_mask(void);

/* Gives the calling thread an xsave area holding the initial state. 0 or -ENOMEM. */
int cpu_thread_init(void);
void cpu_thread_fini(void);

/* Bits 48 to 63 are copies of bit 47. */
static inline bool cpu_is_canonical(u64 addr)
{
    return (u64)((i64)(addr << 16) >> 16) == addr;
}

/* Sets the guest's FS base in mt_cpu and, but for mt_tool_gs, the host's GS base to it. 0 or -EPERM
 * (non-canonical). */
int cpu_set_fs_base(u64 base);

/* The host's GS base is the tool's: FS-relative accesses of the guest take longer sequences. Set
 * once, before guest code is translated. */
extern bool mt_tool_gs;

/* The host's GS base. set: canonical, or nothing happens. */
u64 cpu_host_gs(void);
void cpu_set_host_gs(u64 base);

#endif
