/* SPDX-License-Identifier: BSD-2-Clause
 * sig_x87.c -- an x87 exception is reported at the next x87 instruction; the frame names the one
 * that has caused it, and its operand. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <ucontext.h>

#include "guest.h"

extern const char x87_bad[], x87_next[];
static sigjmp_buf back;
static double zero;

static void handler(int sig, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    const struct _libc_fpstate *fp = uc->uc_mcontext.fpregs;

    printf("signal %d code %d at next %d, frame: instruction %d operand %d status %x\n", sig,
           info->si_code, info->si_addr == x87_next, fp->rip == (uintptr_t)x87_bad,
           fp->rdp == (uintptr_t)&zero, fp->swd & 0x3f);
    siglongjmp(back, 1);
}

int main(void)
{
    struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    const uint16_t unmasked = 0x37b, normal = 0x37f;

    sigaction(SIGFPE, &sa, NULL);
    for (int i = 0; i < 3; i++) {
        if (!sigsetjmp(back, 1)) {
            __asm__ volatile("fldcw %0\n"
                             "fld1\n"
                             ".globl x87_bad, x87_next\n"
                             "x87_bad: fdivl %1\n"
                             "nop\n"
                             "x87_next: fwait\n"
                             :
                             : "m"(unmasked), "m"(zero));
        }
        __asm__ volatile("fninit; fldcw %0" : : "m"(normal));
    }
    return 0;
}
