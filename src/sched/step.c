/* SPDX-License-Identifier: BSD-2-Clause
 * step.c -- one guest instruction at a time: TF, and tracers that step.
 * Role:    executes an instruction in a translation of its own, and raises the trap behind it. TF
 *          is the guest's only: it never is in the host's flags, but at the end of a popf; so what
 *          reads or writes the flags is put right here, and a repeated string instruction is run
 *          turn by turn.
 * Signals: as the run loop: slow domain, INSIDE. */
#include "sched/runloop_int.h"

#include "base/safe.h"
#include "jit/insn.h"
#include "jit/entry.h"
#include "jit/smc.h"
#include "jit/translate.h"
#include "sched/fastpath.h"
#include "sys/signal.h"

#include <signal.h>

#define MT_X86_DB 1

/* What an instruction has to do with TF itself. */
typedef enum FlagsUse {
    FLAGS_NOT,
    FLAGS_PUSHED,
    FLAGS_LOADED,
    FLAGS_TRAP_HELD, /* mov to %ss: the trap comes behind the next one */
} FlagsUse;

static FlagsUse flags_use(const Insn *in)
{
    if ((in->cls != INSN_PLAIN && in->cls != INSN_EMULATE) ||
        (in->opcode_off > 0 && in->bytes[in->opcode_off - 1] == 0x0f)) {
        return FLAGS_NOT;
    }
    switch (in->bytes[in->opcode_off]) {
    case 0x9c: return in->modrm_off == 0xff ? FLAGS_PUSHED : FLAGS_NOT;
    case 0x9d:
    case 0xcf: return in->modrm_off == 0xff ? FLAGS_LOADED : FLAGS_NOT;
    case 0x8e: return (in->bytes[in->modrm_off] >> 3 & 7) == 2 ? FLAGS_TRAP_HELD : FLAGS_NOT;
    default: return FLAGS_NOT;
    }
}

static u64 turns_left(const Insn *in, u64 rcx)
{
    return in->flags & INSN_F_ADDR32 ? (u32)rcx : rcx;
}

/* A repeated string instruction traps behind each turn: it is executed with a count of 1. Returns
 * %rcx as it was; 0: nothing to be done. */
static u64 turn_begin(const Insn *in)
{
    u64 rcx = mt_cpu.gpr[MT_RCX];
    MemOp ops[MT_MAX_MEMOPS];

    if (turns_left(in, rcx) < 2 || in->cls != INSN_PLAIN || decode_memops(in, ops) == 0 ||
        ops[0].kind != MEM_STRING || !ops[0].rep) {
        return 0;
    }
    mt_cpu.gpr[MT_RCX] = 1;
    return rcx;
}

/* Does a comparison go on? The last prefix says whether while equal (f3) or not. */
static bool goes_on(const Insn *in)
{
    const u64 zf = 0x40;
    u8 op = in->bytes[in->opcode_off] & 0xfe;
    u32 i = in->opcode_off - 1u;

    if (op != 0xa6 && op != 0xae) {
        return true;
    }
    while (in->bytes[i] != 0xf2 && in->bytes[i] != 0xf3) {
        i--;
    }
    return ((mt_cpu.rflags & zf) != 0) == (in->bytes[i] == 0xf3);
}

static void turn_end(const Insn *in, u64 rcx)
{
    if (rcx == 0) {
        return;
    }
    if (mt_cpu.rip == in->pc) { /* not executed */
        mt_cpu.gpr[MT_RCX] = rcx;
        return;
    }
    mt_cpu.gpr[MT_RCX] = turns_left(in, rcx) - 1;
    if (goes_on(in)) {
        mt_cpu.rip = in->pc;
    }
}

void step_take_loaded_tf(Thread *t)
{
    if (t->tf_loaded) {
        t->tf_loaded = false;
        mt_cpu.rflags |= EFLAGS_TF;
    }
}

/* pushf has been executed with TF clear in the host's flags. */
static void set_pushed_tf(void)
{
    u64 sp = mt_cpu.gpr[MT_RSP];
    u8 byte;

    if (safe_read(&byte, sp + 1, 1) == 0) {
        byte |= EFLAGS_TF >> 8;
        smc_safe_write(sp + 1, &byte, 1);
    }
}

void step_raise_trap(Thread *t)
{
    if (!(t->pending.full && t->pending.synchronous)) {
        signal_raise_sync(t, SIGTRAP, TRAP_TRACE, mt_cpu.rip, MT_X86_DB, 0);
    }
}

Action step_run(Thread *t, GuestAddr *fault)
{
    GuestAddr from = mt_cpu.rip;
    u8 code[15];
    Insn in;
    decode_insn(&in, from, code, safe_read_partial(code, from, sizeof(code)));
    FlagsUse use = flags_use(&in);
    u64 rcx = turn_begin(&in);
    Way way = {NULL, mt_cache.generation, t->in_syscall, false};
    Action act = ACT_NONE;
    u64 tf = mt_cpu.rflags & EFLAGS_TF;
    u32 reason;

    mt_cpu.rflags &= ~EFLAGS_TF;
    t->slow_call = true; /* not through the fast path, which would run on */
    reason = run_one(t, TR_ALONE, &act, fault);
    t->slow_call = mt_load_relaxed(&mt_all_slow);
    if (act == ACT_NONE) {
        run_after_exit(t, reason, &way, &act, fault);
    }
    bool executed = mt_cpu.rip != from;
    turn_end(&in, rcx);
    if (act != ACT_NONE) {
        mt_cpu.rflags |= tf;
        /* Not behind a system call: the kernel returns from it as popf does. But for a tracer. */
        t->trap_behind = (act == ACT_EMULATE && use != FLAGS_TRAP_HELD) || act == ACT_REPLACE ||
                         (act == ACT_SYSCALL && tf == 0);
        return act;
    }
    if ((reason == MT_EXIT_ABORT || reason == MT_EXIT_SIGNAL) && !executed) {
        mt_cpu.rflags |= tf; /* not executed */
        return act;
    }
    if (use != FLAGS_LOADED) {
        mt_cpu.rflags |= tf;
    }
    step_take_loaded_tf(t);
    if (use == FLAGS_PUSHED && tf != 0) {
        set_pushed_tf();
    }
    step_raise_trap(t);
    return act;
}
