/* SPDX-License-Identifier: BSD-2-Clause
 * hostcpu.c -- see hostcpu.h. Called before there are threads. */
#include "base/hostcpu.h"

#include <cpuid.h>

bool hostcpu_is_amd(void)
{
    static u32 vendor; /* the first four letters; the loader keeps a number of its own */
    u32 a, c, d;

    if (vendor == 0) {
        __cpuid(0, a, vendor, c, d);
    }
    return vendor == signature_AMD_ebx || vendor == 0x6f677948; /* "Hygo" */
}

u32 hostcpu_family(void)
{
    u32 eax = __x86_get_cpuid_feature_leaf(CPUID_INDEX_1)->cpuid_array[0];
    u32 family = eax >> 8 & 15;

    return family == 15 ? family + (eax >> 20 & 255) : family;
}
