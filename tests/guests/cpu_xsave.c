/* SPDX-License-Identifier: BSD-2-Clause
 * cpu_xsave.c -- xsave, xsavec, xsaveopt, xrstor, fxsave round trips; parts; init state.
 * guest: cflags=-no-pie -mxsave -mxsavec -mxsaveopt -mfxsr -mavx needs=xsave,xsavec,xsaveopt,avx */
#include <immintrin.h>

#include "guest.h"

_Alignas(64) unsigned char area[8192], other[8192];
_Alignas(32) unsigned char ymm[32], back[32];

int main(void)
{
    for (int i = 0; i < 32; i++) {
        ymm[i] = (unsigned char)(i * 7 + 1);
    }
    __asm__ volatile("vmovdqu ymm(%%rip), %%ymm5\n"
                     "fninit; fldpi; fld1\n"
                     "mov $7, %%eax; xor %%edx, %%edx; xsave64 area(%%rip)\n"
                     "vzeroall; fninit\n"
                     "mov $7, %%eax; xor %%edx, %%edx; xrstor64 area(%%rip)\n"
                     "vmovdqu %%ymm5, back(%%rip)\n"
                     "fstpt other(%%rip)\n"
                     "fstpt other+16(%%rip)\n" ::
                         : "eax", "edx", "xmm5", "memory");
    CHECK(!memcmp(ymm, back, 32));
    printf("%016llx%04x %016llx%04x\n", *(unsigned long long *)other, *(uint16_t *)(other + 8),
           *(unsigned long long *)(other + 16), *(uint16_t *)(other + 24));
    printf("%d\n", !memcmp(area + 160 + 80, ymm, 16));
    /* only the upper halves: the lower ones stay */
    __asm__ volatile("vmovdqu ymm(%%rip), %%ymm5\n"
                     "mov $4, %%eax; xor %%edx, %%edx; xsavec64 other(%%rip)\n"
                     "vpcmpeqd %%xmm5, %%xmm5, %%xmm5\n"
                     "mov $4, %%eax; xor %%edx, %%edx; xrstor64 other(%%rip)\n"
                     "vmovdqu %%ymm5, back(%%rip)\n" ::
                         : "eax", "edx", "xmm5", "memory");
    for (int i = 0; i < 32; i++) {
        printf("%02x", back[i]);
    }
    printf("\n");
    /* a header of zeros sets the initial state */
    memset(area + 512, 0, 64);
    __asm__ volatile("fldpi; vmovdqu ymm(%%rip), %%ymm5\n"
                     "mov $7, %%eax; xor %%edx, %%edx; xrstor64 area(%%rip)\n"
                     "vmovdqu %%ymm5, back(%%rip); fxam; fnstsw %%ax; mov %%ax, other(%%rip)\n" ::
                         : "eax", "edx", "xmm5", "memory");
    for (int i = 0; i < 32; i++) {
        CHECK(back[i] == 0);
    }
    printf("%04x\n", *(uint16_t *)other & 0x4700);
    __asm__ volatile("fninit; fldl2e; vmovdqu ymm(%%rip), %%ymm5; fxsave64 area(%%rip); fninit\n"
                     "vpxor %%xmm5, %%xmm5, %%xmm5; fxrstor64 area(%%rip); vmovdqu %%ymm5, "
                     "back(%%rip); fstpt other(%%rip)" ::
                         : "xmm5", "memory");
    printf("%016llx %02x %02x\n", *(unsigned long long *)other, back[3], back[20]);
    __asm__ volatile("mov $7, %%eax; xor %%edx, %%edx; xsaveopt64 area(%%rip)" ::
                         : "eax", "edx", "memory");
    return 0;
}
