/* SPDX-License-Identifier: BSD-2-Clause
 * toolcode.h -- the steps of a tool's code (CodeOp, instr.h). */
#ifndef MT_TOOLCODE_H
#define MT_TOOLCODE_H

#include "jit/emit.h"
#include "mtvg/tool.h"

enum {               /* fields that mean something: */
       CODE_MOV,     /* a = b */
       CODE_CONST,   /* a = n */
       CODE_OPERAND, /* a = address `at` (size: 4 bytes of it, or 8) + base of segment n */
       CODE_ADD,     /* a = a op b, or n if b is none; in the order of MtvgOp */
       CODE_SUB,
       CODE_AND,
       CODE_OR,
       CODE_XOR,
       CODE_SHL, /* a = a op n; in the order of MtvgShift */
       CODE_SHR,
       CODE_SAR,
       CODE_LOAD,        /* a = size bytes at `at` */
       CODE_STORE,       /* size bytes at `at` = b */
       CODE_STORE_CONST, /* the same = n */
       CODE_IF,          /* size bytes of a cond n: go to label, 0 is the slow call */
       CODE_IF_AT,       /* size bytes at `at` */
       CODE_IF_VALS,     /* a cond b */
       CODE_HERE,        /* label */
};

#endif
