/* SPDX-License-Identifier: BSD-2-Clause
 * cpu_offsets.h -- offsets of CpuState's fields for assembly; recover.c asserts that they are
 * right. */
#ifndef MT_CPU_OFFSETS_H
#define MT_CPU_OFFSETS_H

#define CPU_GPR 0
#define CPU_RIP 128
#define CPU_RFLAGS 136
#define CPU_SLOT 160
#define CPU_EXIT_ARG 224
#define CPU_HOST_RSP 232
#define CPU_PENDING 240

/* clang-format off */
#ifdef __ASSEMBLER__
#define CPU(off) %fs:mt_cpu@tpoff+(off)
#define GPR(n) CPU(CPU_GPR + 8*(n))

/* All but rax, rcx and rsp, to mt_cpu. */
    .macro SAVE_MOST_GPRS
    mov %rdx, GPR(2)
    mov %rbx, GPR(3)
    mov %rbp, GPR(5)
    mov %rsi, GPR(6)
    mov %rdi, GPR(7)
    mov %r8, GPR(8)
    mov %r9, GPR(9)
    mov %r10, GPR(10)
    mov %r11, GPR(11)
    mov %r12, GPR(12)
    mov %r13, GPR(13)
    mov %r14, GPR(14)
    mov %r15, GPR(15)
    .endm
#endif
/* clang-format on */

#define MT_CACHE_IBT2 32 /* offset of Cache.ibt2 */

#endif
