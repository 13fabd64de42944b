/* SPDX-License-Identifier: BSD-2-Clause
 * insn_bytes.h -- instructions as bytes, for tests of what is made of them. */
#ifndef MT_INSN_BYTES_H
#define MT_INSN_BYTES_H

#include "base/base.h"

typedef struct Bytes {
    u8 n;
    u8 b[15];
} Bytes;

#define B(...)                       \
    {                                \
        sizeof((u8[]){__VA_ARGS__}), \
        {                            \
            __VA_ARGS__              \
        }                            \
    }

#endif
