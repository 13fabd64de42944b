/* SPDX-License-Identifier: BSD-2-Clause
 * flow_canonical.c -- branches to addresses that no processor can go to: far returns and iretq,
 * near ones through %gs or with TF set, and indirect calls fault themselves and leave the stack
 * pointer alone. Other near branches are reported at their target (docs/DIFFERENCES.md): the signal
 * only is looked at. */
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "guest.h"

static sigjmp_buf out;
static volatile greg_t at, rsp; /* of the branch */
static volatile greg_t trapno, err, rip_now, rsp_now;
static volatile int signo, code;
static volatile unsigned long addr;

static void on_fault(int sig, siginfo_t *i, void *c)
{
    greg_t *g = ((ucontext_t *)c)->uc_mcontext.gregs;
    if (sig == SIGTRAP) {
        return; /* of the instruction between popf and the branch */
    }
    signo = sig;
    code = i->si_code;
    addr = (unsigned long)i->si_addr;
    trapno = g[REG_TRAPNO];
    err = g[REG_ERR];
    rip_now = g[REG_RIP];
    rsp_now = g[REG_RSP];
    siglongjmp(out, 1);
}

static const uint64_t targets[] = {0x8000000000000000, 0x0000800000000000, 0x1234567800000000,
                                   0xffff7fffffffffff};
volatile uint64_t target;

#define BRANCH(name, exact, before, insn)                                                          \
    do {                                                                                           \
        for (unsigned k = 0; k < sizeof targets / sizeof targets[0]; k++) {                        \
            target = targets[k];                                                                   \
            if (!sigsetjmp(out, 1)) {                                                              \
                __asm__ volatile("mov %%rsp, %%rbx\n" before "\nlea 1f(%%rip), %%rcx\n"            \
                                 "mov %%rcx, %[at]\nmov %%rsp, %[rsp]\n1: " insn "\n"              \
                                 : [at] "=m"(at), [rsp] "=m"(rsp)                                  \
                                 : "a"(target), "d"(&target)                                       \
                                 : "rcx", "rbx", "r8", "memory");                                  \
            }                                                                                      \
            printf("%-8s signal %d code %d addr %#lx trap %lld err %lld", name, signo, code, addr, \
                   trapno, err);                                                                   \
            if (exact) {                                                                           \
                printf(" rip %+lld rsp %+lld", rip_now - at, rsp_now - rsp);                       \
            }                                                                                      \
            printf("\n");                                                                          \
        }                                                                                          \
    } while (0)

#define FAR_FRAME "mov %%cs, %%ecx\npush %%rcx\npush %%rax"
#define IRET_FRAME \
    "mov %%ss, %%ecx\npush %%rcx\npush %%rbx\npushfq\nmov %%cs, %%ecx\npush %%rcx\npush %%rax"
#define TF "\npushfq\norl $0x100, (%%rsp)\npopfq"

int main(void)
{
    static char stack[65536];
    stack_t alt = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction act = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaltstack(&alt, NULL);
    sigaction(SIGSEGV, &act, NULL);
    sigaction(SIGBUS, &act, NULL);
    sigaction(SIGTRAP, &act, NULL);
    CHECK(syscall(SYS_arch_prctl, ARCH_SET_GS, &target) == 0);

    BRANCH("lretq", 1, FAR_FRAME, "lretq");
    BRANCH("lretq 16", 1, FAR_FRAME, "lretq $16");
    BRANCH("iretq", 1, IRET_FRAME, "iretq");
    BRANCH("jmp gs", 1, "", "jmp *%%gs:0");
    BRANCH("call gs", 1, "", "call *%%gs:0");
    BRANCH("ret tf", 1, "push %%rax" TF, "ret");
    BRANCH("jmp tf", 1, TF, "jmp *%%rax");
    BRANCH("call tf", 1, TF, "call *(%%rdx)");
    BRANCH("jmp", 0, "", "jmp *%%rax");
    BRANCH("jmp mem", 0, "", "jmp *(%%rdx)");
    BRANCH("call", 1, "", "call *%%rax");
    BRANCH("call mem", 1, "", "call *(%%rdx)");
    BRANCH("call r8", 1, "mov %%rax, %%r8\n", "call *%%r8");
    BRANCH("call sp", 1, "push %%rax\n", "call *(%%rsp)");
    BRANCH("call ip", 1, "", "call *target(%%rip)");
    BRANCH("ret", 0, "push %%rax", "ret");
    BRANCH("ret 16", 0, "push %%rax", "ret $16");
    return 0;
}
