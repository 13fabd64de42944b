/* SPDX-License-Identifier: BSD-2-Clause
 * lower_int.h -- what the files of lower share. Nobody else includes it.
 * Each of these emits at l->e and records the steps of what it emits in the pc map (L4), unless it
 * says otherwise. One that takes `steps` writes them there instead, for the caller to record
 * together with its own, and returns how many they are. */
#ifndef MT_LOWER_INT_H
#define MT_LOWER_INT_H

#include "jit/cache.h"
#include "jit/lower.h"

#define SLOT(i) MT_TP(slot[i])

static inline bool fits32(i64 v)
{
    return v == (i32)v;
}

/* Can an absolute disp32 name it (sign-extended)? */
static inline bool low_address(GuestAddr a)
{
    return a < 0x80000000u;
}

static inline CacheOff here(const Lower *l)
{
    return (CacheOff)(l->e.x - mt_cache.exec);
}

/* --- lower_exit.c --- */

/* The next edge, of the exits' version (l->exit_key) or, for those that come back here, the
 * block's. */
LowerEdge *lower_edge(Lower *l, EdgeKind kind, GuestAddr target);
/* The code of an exit, MT_STUB_BYTES, that leaves through `glue` (mt_cache.glue_*). No steps. */
void lower_emit_exit(Emit *e, u64 glue);
/* The bytes to add so that the 4-byte field `skip` bytes from here lies inside 8 aligned bytes
 * (L3). No steps. */
u32 lower_field_pad(const Lower *l, u32 skip);
/* Adds them. */
void lower_align_field(Lower *l, u32 skip);
/* The rel32 field of an exit that can be linked; lower_stubs() fills it in. No steps. */
void lower_link_field(Lower *l, LowerEdge *d);
/* Jumps that can be linked. glen: bytes of the guest instruction that it ends; cc: the condition's
 * number in the encoding. */
void lower_link_jmp(Lower *l, u32 glen, GuestAddr target);
void lower_link_jcc(Lower *l, u32 glen, u32 cc, GuestAddr target);
void lower_link_jrcxz(Lower *l, const Insn *in);
/* Behind all code: the stubs of the links. */
void lower_stubs(Lower *l);

/* --- lower_plain.c --- */

void lower_plain(Lower *l, const Insn *in);
void lower_invalid(Lower *l, const Insn *in);

/* --- lower_check.c --- */

/* At 0 the block is left for `pc`, in the version `key`; else takes one from the quantum. */
void lower_quantum(Lower *l, GuestAddr pc, u32 key);
/* A thread that spins waits for another, and a pause takes long: takes all but the multiple of 256
 * from the quantum. */
void lower_quantum_pause(Lower *l);

/* --- lower_indirect.c: without the processor's return stack --- */

/* The index in a table of the target in rcx, to rcx. mask_at: disp32 of pext's mask; 0: the low 16
 * bits. No steps; returns the length in bytes. */
u32 lower_ib_index(Emit *e, u32 mask_at);
/* The jump to the target in rcx, whose guest value is in slot[0]: at most 3 steps. */
u32 lower_ib_jump(Lower *l, PcStep *steps);
void lower_indirect(Lower *l, const Insn *in);
void lower_plain_call(Lower *l, const Insn *in);
void lower_ret(Lower *l, const Insn *in);

/* --- lower_retstack.c: with it --- */

/* May the next call or return go over it? */
bool lower_over_retstack(const Lower *l);
void lower_stack_call(Lower *l, const Insn *in);
/* steps: n of them, of what has put the target into rcx; room for 16. */
void lower_stack_call_ind(Lower *l, const Insn *in, PcStep *steps, u32 n);
void lower_stack_ret(Lower *l, const Insn *in);
/* Behind all other code: what puts the return addresses of indirect calls right. */
void lower_call_fixes(Lower *l);

#endif
