/* SPDX-License-Identifier: BSD-2-Clause
 * x87ip.h -- the processor's note of where the last x87 instruction was. */
#ifndef MT_X87IP_H
#define MT_X87IP_H

#include "jit/insn.h"

/* Does an instruction store that note? */
typedef enum X87Store {
    X87_STORES_NOT,
    X87_STORES_ENV,        /* fnstenv, fnsave */
    X87_STORES_ALL,        /* fxsave */
    X87_STORES_MASKED = 4, /* xsave, xsaveopt, xsavec: if bit 0 of eax is set */
    X87_STORES_WIDE = 8,   /* besides: REX.W */
} X87Store;

/* A set of X87_STORES_*. Sees to mt_x87_seen as well: to be asked of each plain instruction that is
 * translated. */
u32 x87ip_store_of(const Insn *in);

/* Is it an x87 instruction, or one that stores that note? Changes nothing. */
bool x87ip_concerns(const Insn *in);

/* Where code in front of such an instruction goes (toolcall.S), with X87Store in call_site; it goes
 * on at call_return when the note is the guest's. */
void x87ip_entry(void);

/* The state saved by cpu_xstate_save() names the guest's instruction instead of its copy. Slow
 * domain; takes the pages' lock. */
void x87ip_to_guest(void);

/* Fast domain: is an x87 exception pending (the note must not be lost then)? */
bool x87ip_is_pending(void);

#endif
