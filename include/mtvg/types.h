/* SPDX-License-Identifier: BSD-2-Clause
 * mtvg/types.h -- integers by their size, as the runtime and its tools call them. */
#ifndef MTVG_TYPES_H
#define MTVG_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int8_t i8;
typedef int16_t i16;
typedef int32_t i32;
typedef int64_t i64;

#endif
