/* SPDX-License-Identifier: BSD-2-Clause
 * sig_regs.c -- a fault at a known instruction: every register in the frame; the handler changes
 * them all, rip and vector registers too, and sigreturn makes it so. */
#define _GNU_SOURCE
#include "guest.h"

#include <signal.h>
#include <sys/ucontext.h>

__attribute__((used)) static uint64_t in[17],
    out[17]; /* rax rcx rdx rbx rsp rbp rsi rdi r8..r15, rflags */
__attribute__((used)) static uint8_t xin[16][16], xout[16][16];
__attribute__((used)) static uint32_t mxcsr_in = 0x1fa0, mxcsr_out;
__attribute__((used)) static uint16_t fcw_in = 0x27f, fcw_out;
void probe(void);
extern const char fault_here[], resume_here[];

/* Loads everything from in, faults (a ud2 in the middle of a block), stores everything to out. */
__asm__(".text\n.globl probe, fault_here, resume_here\n"
        "probe:\n"
        "  push %rbx\n  push %rbp\n  push %r12\n  push %r13\n  push %r14\n  push %r15\n"
        "  mov %rsp, in+32(%rip)\n"
        "  ldmxcsr mxcsr_in(%rip)\n"
        "  fldcw fcw_in(%rip)\n"
        "  fldpi\n  fldl2e\n"
        "  movups xin(%rip), %xmm0\n  movups xin+16(%rip), %xmm1\n  movups xin+32(%rip), %xmm2\n"
        "  movups xin+240(%rip), %xmm15\n"
        "  mov in+8(%rip), %rcx\n  mov in+16(%rip), %rdx\n  mov in+24(%rip), %rbx\n"
        "  mov in+40(%rip), %rbp\n  mov in+48(%rip), %rsi\n  mov in+56(%rip), %rdi\n"
        "  mov in+64(%rip), %r8\n  mov in+72(%rip), %r9\n  mov in+80(%rip), %r10\n"
        "  mov in+88(%rip), %r11\n  mov in+96(%rip), %r12\n  mov in+104(%rip), %r13\n"
        "  mov in+112(%rip), %r14\n  mov in+120(%rip), %r15\n"
        "  pushq in+128(%rip)\n  popfq\n"
        "  mov in(%rip), %rax\n"
        "  movq $0x5ed0ed, -8(%rsp)\n" /* red zone */
        "fault_here:\n"
        "  ud2\n"
        "  nop\n"
        "  ud2\n"
        "resume_here:\n"
        "  mov %rax, out(%rip)\n  mov %rcx, out+8(%rip)\n  mov %rdx, out+16(%rip)\n"
        "  mov %rbx, out+24(%rip)\n  mov %rsp, out+32(%rip)\n  mov %rbp, out+40(%rip)\n"
        "  mov %rsi, out+48(%rip)\n  mov %rdi, out+56(%rip)\n  mov %r8, out+64(%rip)\n"
        "  mov %r9, out+72(%rip)\n  mov %r10, out+80(%rip)\n  mov %r11, out+88(%rip)\n"
        "  mov %r12, out+96(%rip)\n  mov %r13, out+104(%rip)\n  mov %r14, out+112(%rip)\n"
        "  mov %r15, out+120(%rip)\n"
        "  mov -8(%rsp), %rax\n"
        "  pushfq\n  popq out+128(%rip)\n"
        "  cld\n"
        "  mov %rax, in+32(%rip)\n" /* the red zone's word */
        "  movups %xmm0, xout(%rip)\n  movups %xmm1, xout+16(%rip)\n"
        "  movups %xmm2, xout+32(%rip)\n  movups %xmm15, xout+240(%rip)\n"
        "  stmxcsr mxcsr_out(%rip)\n"
        "  fnstcw fcw_out(%rip)\n"
        "  fninit\n"
        "  mov out+32(%rip), %rsp\n"
        "  movl $0x1f80, mxcsr_in(%rip)\n"
        "  ldmxcsr mxcsr_in(%rip)\n"
        "  pop %r15\n  pop %r14\n  pop %r13\n  pop %r12\n  pop %rbp\n  pop %rbx\n"
        "  ret\n");

static const int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                              REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                              REG_R12, REG_R13, REG_R14, REG_R15};
static int pass;
static uint64_t handler_flags;
static uint32_t handler_mxcsr;
static uint16_t handler_fcw, handler_fsw;

static void handler(int sig, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    greg_t *g = uc->uc_mcontext.gregs;
    struct _libc_fpstate *fp = uc->uc_mcontext.fpregs;

    __asm__ volatile("pushfq; popq %0" : "=r"(handler_flags));
    __asm__ volatile("stmxcsr %0" : "=m"(handler_mxcsr));
    __asm__ volatile("fnstcw %0" : "=m"(handler_fcw));
    __asm__ volatile("fnstsw %0" : "=m"(handler_fsw));
    CHECK(sig == SIGILL && info->si_code == ILL_ILLOPN);
    CHECK(info->si_addr == (void *)fault_here && g[REG_RIP] == (greg_t)fault_here);
    for (int i = 0; i < 16; i++) {
        if ((uint64_t)g[order[i]] != in[i]) {
            printf("register %d: %llx, not %lx\n", i, g[order[i]], in[i]);
        }
    }
    for (int i = 0; i < 16; i += i == 2 ? 13 : 1) {
        if (memcmp(&fp->_xmm[i], xin[i], 16)) {
            printf("xmm%d differs\n", i);
        }
    }
    printf("eflags %llx trapno %lld err %llx csgsfs %llx cr2 %d oldmask %llx\n", g[REG_EFL],
           g[REG_TRAPNO], g[REG_ERR], g[REG_CSGSFS], g[REG_CR2] == 0, g[REG_OLDMASK]);
    printf("cwd %x swd %x ftw %x mxcsr %x st0 %016lx\n", fp->cwd, fp->swd, fp->ftw, fp->mxcsr,
           *(uint64_t *)&fp->_st[0]);
    printf("flags %lx link %d stack flags %d\n", uc->uc_flags, uc->uc_link != NULL,
           uc->uc_stack.ss_flags);
    printf("magic %x %d\n", ((uint32_t *)fp)[116],
           *(uint32_t *)((char *)fp + ((uint32_t *)fp)[120]) == 0x46505845);
    g[REG_RIP] = (greg_t)resume_here;
    if (pass == 1) {
        for (int i = 0; i < 16; i++) {
            if (i != 4) {
                g[order[i]] = ~g[order[i]];
            }
        }
        g[REG_EFL] = 0xffffffff & ~0x50100; /* all that a user may set but TF, RF, AC */
        for (int i = 0; i < 16; i++) {
            memset(&fp->_xmm[i], 0x10 + i, 16);
        }
        fp->mxcsr = 0x1f80 | 0x6000;
        fp->cwd = 0x37f;
    }
}

int main(void)
{
    struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    sigaction(SIGILL, &sa, NULL);
    for (pass = 0; pass < 2; pass++) {
        for (int i = 0; i < 16; i++) {
            in[i] = 0x1122334455667788ull * (i + 1) + pass;
            memset(xin[i], 0xa0 + i + pass, 16);
        }
        in[16] = pass ? 0x202 : 0x2d7 | 0x400 | 0x800;
        mxcsr_in = 0x1fa0;
        probe();
        printf("handler: flags %lx mxcsr %x fcw %x fsw %x\n", handler_flags & 0x10d00,
               handler_mxcsr, handler_fcw, handler_fsw);
        printf("red zone %lx\n", in[4]);
        for (int i = 0; i < 16; i++) {
            uint64_t want = pass ? ~(0x1122334455667788ull * (i + 1) + pass)
                                 : 0x1122334455667788ull * (i + 1) + pass;
            if (i != 4 && out[i] != want) {
                printf("after: register %d: %lx, not %lx\n", i, out[i], want);
            }
        }
        printf("after: flags %lx mxcsr %x fcw %x xmm %x %x %x %x\n", out[16], mxcsr_out, fcw_out,
               xout[0][0], xout[1][5], xout[2][9], xout[15][15]);
    }
    return 0;
}
