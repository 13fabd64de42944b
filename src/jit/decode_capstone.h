/* SPDX-License-Identifier: BSD-2-Clause
 * decode_capstone.h -- the one capstone handle, for decode_text.c and decode_verify.c. */
#ifndef MT_DECODE_CAPSTONE_H
#define MT_DECODE_CAPSTONE_H

#include "jit/insn.h"

#include <capstone/capstone.h>

/* Locks the handle and returns it, 0 if there is none; unlock it in either case. */
csh decode_capstone_take(void);
void decode_capstone_give(void);

/* What capstone makes of the bytes, NULL if it rejects them. Valid until the lock is given back. */
const cs_insn *decode_capstone_locked(const Insn *in);
/* A register's name in capstone's numbering, or NULL. */
const char *decode_capstone_reg_locked(unsigned reg);

#endif
