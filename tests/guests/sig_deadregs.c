/* SPDX-License-Identifier: BSD-2-Clause
 * sig_deadregs.c -- a handler sees the registers that the program overwrites right behind the
 * instruction that faults: nothing may have been put into them before (by the code of a tool, say).
 * guest: cflags=-O1 */
#define _GNU_SOURCE
#include "guest.h"

#include <signal.h>
#include <ucontext.h>

static void handler(int sig, siginfo_t *info, void *context)
{
    greg_t *g = ((ucontext_t *)context)->uc_mcontext.gregs;

    printf("signal %d, code %d, flags %llx:", sig, info->si_code, g[REG_EFL] & 0x8d5);
    for (int i = REG_R8; i <= REG_RCX; i++) {
        if (i != REG_R14 && i != REG_R15) {
            printf(" %llx", g[i]);
        }
    }
    printf("\n");
    ((struct _libc_fpstate *)((ucontext_t *)context)->uc_mcontext.fpregs)->cwd = 0x37f;
    ((struct _libc_fpstate *)((ucontext_t *)context)->uc_mcontext.fpregs)->swd = 0;
    g[REG_RIP] = g[REG_R15];
}

/* All registers get a number each; the instruction faults, in a block of its own; all are
 * overwritten then, the flags are not. */
#define FAULTS(before, insn)                                                                      \
    __asm__ volatile(before "\n\tlea 1f(%%rip), %%r15\n\t"                                        \
                            "mov $2, %%ecx; mov $3, %%edx; mov $4, %%ebx; mov $5, %%esi\n\t"      \
                            "mov $6, %%edi; mov $7, %%r8d; mov $8, %%r9d; mov $9, %%r10d\n\t"     \
                            "mov $10, %%r11d; mov $11, %%r12d; mov $12, %%r13d\n\t"               \
                            "lea 2f(%%rip), %%r14; mov $1, %%eax; cmp $1, %%eax\n\t"              \
                            "jmp *%%r14\n2: " insn "\n\t"                                         \
                            "mov $2, %%eax; mov $3, %%ecx; mov $4, %%edx; mov $5, %%ebx\n\t"      \
                            "mov $6, %%esi; mov $7, %%edi; mov $8, %%r8d; mov $9, %%r9d\n\t"      \
                            "mov $10, %%r10d; mov $11, %%r11d; mov $12, %%r12d\n\t"               \
                            "mov $13, %%r13d; mov $14, %%r14d; jmp *%%r15\n"                      \
                            "1:"                                                                  \
                     :                                                                            \
                     : "m"(unmasked)                                                              \
                     : "rax", "rcx", "rdx", "rbx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", \
                       "r13", "r14", "r15", "memory", "cc")

int main(void)
{
    static const int signals[] = {SIGSEGV, SIGFPE, SIGILL, SIGTRAP};
    static const unsigned short unmasked = 0x37b; /* division by zero traps */
    struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};

    for (int i = 0; i < 4; i++) {
        CHECK(sigaction(signals[i], &sa, NULL) == 0);
    }
    for (int i = 0; i < 2; i++) {
        FAULTS("fninit; fldcw %0; fld1; fldz; fdivrp", "fwait");
        FAULTS("fninit; fldcw %0; fld1; fldz; fdivrp", "fld1");
        FAULTS("", ".byte 0xc6, 0xf8, 0"); /* xabort: nothing, where there are transactions */
        FAULTS("", "ud2");
        FAULTS("", "int3");
        FAULTS("", "hlt");
        FAULTS("", "cli");
        FAULTS("", "in %%dx, %%al");
        FAULTS("", "div %%r15b; .byte 0x66; ud2");
        FAULTS("", "mov 0, %%rax");
        FAULTS("", "xgetbv; ud2");
        FAULTS("", "int $4");
        FAULTS("", "mov %%cr0, %%rax");
    }
    return 0;
}
