/* SPDX-License-Identifier: BSD-2-Clause
 * cpu_offsets.h -- offsets of CpuState's fields for assembly; recover.c asserts that they are right. */
#ifndef MT_CPU_OFFSETS_H
#define MT_CPU_OFFSETS_H

#define CPU_GPR 0
#define CPU_RIP 128
#define CPU_RFLAGS 136
#define CPU_FS_BASE 144
#define CPU_GS_BASE 152
#define CPU_SLOT 160
#define CPU_EXIT_ARG 224
#define CPU_HOST_RSP 232
#define CPU_PENDING 240

#define MT_CACHE_IBT2 32 /* offset of Cache.ibt2 */

#endif
