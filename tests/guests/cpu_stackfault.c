/* SPDX-License-Identifier: BSD-2-Clause
 * cpu_stackfault.c -- instructions that are not copied, with operands that can't be accessed:
 * signal, address, error code and registers. Stacks that are not canonical, not mapped, end in the
 * middle of an operand, or can't be written; operands by rsp, rbp and another register.
 * guest: */
#define _GNU_SOURCE
#include "guest.h"

#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

enum { PAGE = 4096 };

static char *base; /* a page, one that can't be written, one that is not there */
static sigjmp_buf back;
static uint64_t rsp, at;
static const char *insn;

/* go(rsp, rbp and rax, instruction): there is no way back but by a fault. */
void go(uint64_t sp, uint64_t operand, const char *to);
__asm__(".text\n.globl go\ngo:\n"
        "  mov %rsi, %rbp\n mov %rsi, %rax\n mov %rdi, %rsp\n jmp *%rdx\n");

#define INSNS(X)                           \
    X(lret, "lretq")                       \
    X(lret_short, "lretq $8")              \
    X(iret, "iretq")                       \
    X(pop_fs, "pop %fs")                   \
    X(pop_gs, "popw %gs")                  \
    X(far_jmp, "ljmp *(%rax)")             \
    X(far_jmp_rbp, "ljmp *(%rbp)")         \
    X(far_jmp_rsp, "ljmp *(%rsp)")         \
    X(far_call, "lcall *far_target(%rip)") \
    X(mov_es, "mov (%rax), %es")           \
    X(mov_fs_rbp, "mov (%rbp), %fs")       \
    X(lfs, "lfs (%rax), %ecx")             \
    X(jmp_gs, "jmp *%gs:(%rax)")           \
    X(call_gs, "call *%gs:near_target_at(%rip)")

#define ASM(name, text)                                                 \
    __asm__(".globl insn_" #name "\ninsn_" #name ": " text "\n ud2\n"); \
    extern const char insn_##name[];
INSNS(ASM)

const struct {
    uint32_t ip;
    uint16_t cs;
} far_target = {0x1000, 0x33};
const uint64_t near_target_at = 0x1000;

static void handler(int sig, siginfo_t *info, void *context)
{
    const greg_t *g = ((ucontext_t *)context)->uc_mcontext.gregs;
    uint64_t a = (uint64_t)info->si_addr, lo = (uint64_t)base;
    printf(" %d, code %d, ", sig, info->si_code);
    if (a >= lo && a < lo + 3 * PAGE) {
        /* Processors differ in which of several words they look at first. */
        printf("in page %lld", (long long)(a - lo) / PAGE);
    } else {
        printf("at %s", a == (uint64_t)insn ? "itself" : a == 0 ? "0" : "?");
    }
    printf(", trap %lld, error %llx;%s%s%s\n", (long long)g[REG_TRAPNO],
           (unsigned long long)g[REG_ERR], (uint64_t)g[REG_RIP] == (uint64_t)insn ? "" : " rip",
           (uint64_t)g[REG_RSP] == rsp ? "" : " rsp", (uint64_t)g[REG_RAX] == at ? "" : " rax");
    siglongjmp(back, 1);
}

static void try(const char *text, const char *what)
{
    printf("%-16s", text);
    insn = what;
    if (sigsetjmp(back, 1) == 0) {
        go(rsp, at, insn);
    }
}

static void all(const char *name, uint64_t sp, uint64_t operand)
{
    printf("%s:\n", name);
    rsp = sp;
    at = operand;
#define TRY(name, text) try(#name, insn_##name);
    INSNS(TRY)
}

int main(void)
{
    struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    static char alt[65536];
    stack_t ss = {.ss_sp = alt, .ss_size = sizeof(alt)};
    CHECK(sigaltstack(&ss, NULL) == 0);
    CHECK(!sigaction(SIGSEGV, &sa, NULL) && !sigaction(SIGBUS, &sa, NULL) &&
          !sigaction(SIGILL, &sa, NULL));
    base = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(base != MAP_FAILED && munmap(base + 2 * PAGE, PAGE) == 0);
    memset(base, 0xff, 2 * PAGE); /* no selector */
    CHECK(mprotect(base + PAGE, PAGE, PROT_READ) == 0);
    const uint64_t end = (uint64_t)base + 2 * PAGE;
    all("not canonical", 0x8000000000000000, 0x8000000000000000);
    all("not canonical in the end", 0x7ffffffffffe, 0x7ffffffffffe);
    all("not mapped", end + 256, end + 256);
    all("ends in the middle", end - 4, end - 1);
    all("ends behind a word", end - 8, end - 2);
    all("read only", end - 2048, end - 2048);
    return 0;
}
