/* SPDX-License-Identifier: BSD-2-Clause
 * hostcpu.h -- what the processor is and has, as the C library's loader has found out. Asking it
 * again costs 10 microseconds for each cpuid where a hypervisor answers it, and a short program
 * waits for it. */
#ifndef MT_HOSTCPU_H
#define MT_HOSTCPU_H

#include "base/base.h"

#include <sys/platform/x86.h>

/* CPU_FEATURE_PRESENT(NAME): the processor has it. */

/* AMD or Hygon. */
bool hostcpu_is_amd(void);

/* The display family of cpuid(1). */
u32 hostcpu_family(void);

/* The state components that the kernel has enabled (XCR0); OSXSAVE only. */
static inline u64 hostcpu_xcr0(void)
{
    u32 lo, hi;

    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (u64)hi << 32 | lo;
}

#endif
