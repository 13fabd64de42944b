/* SPDX-License-Identifier: BSD-2-Clause
 * sig_faults.c -- synchronous faults: signal, code, address, rip, trap number and error code, from
 * instructions of many kinds; what a faulting instruction has and has not done. */
#define _GNU_SOURCE
#include "guest.h"

#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ucontext.h>
#include <unistd.h>

static sigjmp_buf back;
static uint8_t *page;      /* readable and writable, then one without any rights */
static uint8_t *readonly;  /* a page that is read-only */
static uint8_t *truncated; /* a file mapping behind the file's end */
static const char *volatile expected_rip;
static uint64_t expected_sp;
static int hide_rip;
static int untouchable; /* the page that is jumped to */

static const char *place(uint64_t a)
{
    static char text[64];
    uint64_t p = (uint64_t)page, r = (uint64_t)readonly, t = (uint64_t)truncated;
    if (a >= p && a < p + 8192) {
        snprintf(text, sizeof(text), "page+%ld", (long)(a - p));
    } else if (a >= r && a < r + 4096) {
        snprintf(text, sizeof(text), "readonly+%ld", (long)(a - r));
    } else if (a >= t && a < t + 8192) {
        snprintf(text, sizeof(text), "truncated+%ld", (long)(a - t));
    } else if (expected_rip && a - (uint64_t)expected_rip < 32) {
        snprintf(text, sizeof(text), "insn+%ld", (long)(a - (uint64_t)expected_rip));
    } else {
        snprintf(text, sizeof(text), "%lx", a);
    }
    return text;
}

static void handler(int sig, siginfo_t *info, void *context)
{
    greg_t *g = ((ucontext_t *)context)->uc_mcontext.gregs;
    printf(" sig %d code %d addr %s", sig, info->si_code, place((uint64_t)info->si_addr));
    /* Which of the two it is after a jump out of the address space depends on the CPU's maker. */
    printf(" rip %s", hide_rip ? "?" : place((uint64_t)g[REG_RIP]));
    /* A fetch fault's "present" bit depends on whether the page has been touched, if it may be. */
    printf(" trap %lld err %llx", g[REG_TRAPNO],
           g[REG_ERR] & ((g[REG_ERR] & 0x10) != 0 && !untouchable ? ~1ll : ~0ll));
    if (g[REG_TRAPNO] == 14) {
        printf(" cr2 %s", place((uint64_t)g[REG_CR2]));
    }
    printf(" RF %d rcx %llx rsi-rdi %d", (g[REG_EFL] & 0x10000) != 0, g[REG_RCX] & 0xfff,
           (int)((g[REG_RSI] ^ g[REG_RDI]) & 0xfff));
    if (expected_sp) {
        printf(" sp%+ld", (long)((uint64_t)g[REG_RSP] - expected_sp));
    }
    printf("\n");
    siglongjmp(back, 1);
}

/* Runs one instruction, in the middle of a block, with rax = rsi = a, rdi = b, rcx = c. */
#define INSN(name, text, a, b, c)                                                         \
    do {                                                                                  \
        printf("%s:", name);                                                              \
        expected_sp = 0;                                                                  \
        if (!sigsetjmp(back, 1)) {                                                        \
            uint64_t ra = (uint64_t)(a), rb = (uint64_t)(b), rc = (uint64_t)(c), rs = ra; \
            __asm__ volatile("lea 1f(%%rip), %%rdx\n"                                     \
                             "mov %%rdx, %4\n"                                            \
                             "xor %%edx, %%edx\n"                                         \
                             "1: " text "\n"                                              \
                             "nop\n"                                                      \
                             : "+a"(ra), "+S"(rs), "+D"(rb), "+c"(rc), "=m"(expected_rip) \
                             :                                                            \
                             : "rdx", "rbx", "memory", "cc", "xmm0", "xmm1");             \
            printf(" no fault\n");                                                        \
        }                                                                                 \
    } while (0)

static uint32_t div_mxcsr = 0x1d80, default_mxcsr = 0x1f80; /* divide by zero unmasked */
static uint16_t div_fcw = 0x37b, default_fcw = 0x37f;

static void test_memory(void)
{
    uint8_t *end = page + 4096;
    INSN("read null", "mov (%%rax), %%rbx", 0, 0, 0);
    INSN("write null", "mov %%rbx, (%%rax)", 0, 0, 0);
    INSN("read 1 at the end", "movzbl (%%rax), %%ebx", end, 0, 0);
    INSN("split read", "mov (%%rax), %%rbx", end - 3, 0, 0);
    memset(end - 8, 0x11, 8);
    INSN("split write", "mov %%rdi, (%%rax)", end - 3, 0, 0);
    printf("  left of the border: %x\n", end[-1]);
    INSN("split movups", "movups %%xmm0, (%%rax)", end - 8, 0, 0);
    printf("  left of the border: %x\n", end[-8]);
    INSN("write readonly", "movl $1, 16(%%rax)", readonly, 0, 0);
    INSN("rmw readonly", "incl 16(%%rax)", readonly, 0, 0);
    INSN("lock xadd readonly", "lock xadd %%rdi, 24(%%rax)", readonly, 0, 0);
    INSN("cmpxchg16b readonly", "lock cmpxchg16b 32(%%rax)", readonly, 0, 0);
    INSN("not canonical", "mov (%%rax), %%rbx", 0x8000000000000000, 0, 0);
    INSN("kernel address", "mov (%%rax), %%rbx", 0xffffffff80000000, 0, 0);
    INSN("movaps unaligned", "movaps 4(%%rax), %%xmm0", page, 0, 0);
    INSN("bus read", "mov 8(%%rax), %%rbx", truncated, 0, 0);
    INSN("bus write", "mov %%rbx, 8(%%rax)", truncated, 0, 0);
    INSN("rep movsb", "rep movsb", page, end - 100, 300);
    INSN("rep stosq", "rep stosq", 0, end - 64, 20);
    INSN("rep lodsb", "rep lodsb", end - 5, 0, 20);
    INSN("std rep stosb", "std; rep stosb; cld", 0, 64, 200);
    __asm__ volatile("cld");
    INSN("repe cmpsb", "xor %%edx, %%edx; repe cmpsb", end - 50, end - 50, 90);
    INSN("movsq", "movsq", page, end - 4, 0);
    INSN("bts beyond", "bts %%rcx, (%%rax)", end - 16, 0, 8 * 20);
    INSN("xchg", "xchg %%rbx, (%%rax)", end, 0, 0);
    INSN("cmov", "test %%rax, %%rax; cmovz (%%rdi), %%rbx", 1, end, 0);
    INSN("fldt split", "fldt (%%rax)", end - 4, 0, 0);
    __asm__ volatile("fninit");
    INSN("fxsave", "fxsave (%%rax)", readonly, 0, 0);
}

static void test_fp(void)
{
    float zero = 0, one = 1, r;
    printf("sse div by zero:");
    if (!sigsetjmp(back, 1)) {
        __asm__ volatile("ldmxcsr %3\n"
                         "lea 1f(%%rip), %%rdx\n"
                         "mov %%rdx, %1\n"
                         "movss %2, %%xmm0\n"
                         "1: divss %4, %%xmm0\n"
                         "movss %%xmm0, %0\n"
                         : "=m"(r), "=m"(expected_rip)
                         : "m"(one), "m"(div_mxcsr), "m"(zero)
                         : "rdx", "xmm0");
    }
    __asm__ volatile("ldmxcsr %0" : : "m"(default_mxcsr));
    printf("x87 div by zero:");
    if (!sigsetjmp(back, 1)) {
        __asm__ volatile("fldcw %0\n"
                         "lea 1f(%%rip), %%rdx\n"
                         "mov %%rdx, %1\n"
                         "fldz\n fld1\n"
                         "fdiv %%st(1), %%st\n" /* noticed by the next waiting instruction */
                         "nop\n"
                         "1: fwait\n"
                         :
                         : "m"(div_fcw), "m"(expected_rip)
                         : "rdx", "memory");
    }
    __asm__ volatile("fnclex; fninit; fldcw %0" : : "m"(default_fcw));
}

static void test_illegal(void)
{
    INSN("ud2", "nop; nop; ud2", 0, 0, 0);
    INSN("hlt", "hlt", 0, 0, 0);
    INSN("int3", "int3", 0, 0, 0);
    INSN("int 0x3", ".byte 0xcd, 0x03", 0, 0, 0);
    INSN("int1", ".byte 0xf1", 0, 0, 0);
    INSN("int 0x42", "int $0x42", 0, 0, 0);
    INSN("in", "in $0x80, %%al", 0, 0, 0);
    INSN("wrmsr", "wrmsr", 0, 0, 0);
    INSN("lock nop", ".byte 0xf0, 0x90", 0, 0, 0);
    INSN("push es", ".byte 0x06", 0, 0, 0);
    INSN("mov cr0", "mov %%cr0, %%rbx", 0, 0, 0);
    INSN("ldmxcsr bad", "movl $-1, 64(%%rax); ldmxcsr 64(%%rax)", page, 0, 0);
}

/* Faults of the stack itself need an alternate one. */
#define ON_STACK(name, text, sp)                           \
    do {                                                   \
        printf("%s:", name);                               \
        expected_sp = (uint64_t)(sp);                      \
        if (!sigsetjmp(back, 1)) {                         \
            __asm__ volatile("lea 1f(%%rip), %%rdx\n"      \
                             "mov %%rdx, %0\n"             \
                             "mov %1, %%rsp\n"             \
                             "1: " text "\n"               \
                             "ud2\n"                       \
                             : "=m"(expected_rip)          \
                             : "r"(expected_sp), "a"(page) \
                             : "rdx", "memory", "cc");     \
        }                                                  \
        expected_sp = 0;                                   \
    } while (0)

static void test_stack(void)
{
    uint8_t *end = page + 4096;
    ON_STACK("push", "push %%rbx", readonly + 64);
    ON_STACK("push imm", "pushq $1", readonly + 64);
    ON_STACK("push mem", "pushq (%%rax)", readonly + 64);
    ON_STACK("pushf", "pushfq", readonly + 64);
    ON_STACK("call", "call 2f; 2:", readonly + 64);
    ON_STACK("call reg", "lea 2f(%%rip), %%rbx; call *%%rbx; 2:", readonly + 64);
    ON_STACK("call mem", "call *(%%rax)", readonly + 64);
    ON_STACK("pop", "pop %%rbx", end);
    ON_STACK("pop split", "pop %%rbx", end - 4);
    ON_STACK("pop to bad", "pop (%%rax)", readonly + 64);
    ON_STACK("popf", "popfq", end);
    ON_STACK("ret", "ret", end);
    ON_STACK("ret imm", "ret $16", end);
    ON_STACK("leave", "mov %%rsp, %%rbp; leave", end);
    ON_STACK("enter", "enter $16, $0", readonly + 64);
    __asm__ volatile("" : : : "memory");
}

static void test_execute(void)
{
    page[4080] = 0xc3;
    printf("execute no-exec:");
    expected_rip = (const char *)page + 4080;
    if (!sigsetjmp(back, 1)) {
        ((void (*)(void))(page + 4080))();
    }
    printf("execute null:");
    expected_rip = NULL;
    if (!sigsetjmp(back, 1)) {
        ((void (*)(void))(uintptr_t)8)();
    }
    printf("execute without rights:");
    if (!sigsetjmp(back, 1)) {
        ((void (*)(void))(page + 4096))();
    }
    printf("execute not canonical:");
    hide_rip = 1;
    if (!sigsetjmp(back, 1)) {
        uint64_t target = 0x8000123412341234;
        __asm__ volatile("jmp *%0" : : "r"(target));
    }
    hide_rip = 0;
    /* Code that runs off its page's end. */
    uint8_t *code = mmap(NULL, 8192, PROT_READ | PROT_WRITE | PROT_EXEC,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(code + 4096, 4096, PROT_NONE);
    memset(code, 0x90, 4096);
    memcpy(code + 4094, "\x48\xb8", 2); /* mov $imm64, %rax: cut in two */
    printf("insn cut by the page's end:");
    untouchable = 1;
    expected_rip = (const char *)code + 4094;
    if (!sigsetjmp(back, 1)) {
        ((void (*)(void))(code + 4000))();
    }
    untouchable = 0;
    munmap(code, 8192);
}

int main(void)
{
    static uint8_t alt[65536];
    struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    const int sigs[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};
    stack_t ss = {.ss_sp = alt, .ss_size = sizeof(alt)};
    FILE *file = tmpfile();

    CHECK(sigaltstack(&ss, NULL) == 0);
    for (int i = 0; i < 5; i++) {
        sigaction(sigs[i], &sa, NULL);
    }
    page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(page + 4096, 4096, PROT_NONE);
    readonly = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(file && ftruncate(fileno(file), 8192) == 0);
    truncated = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fileno(file), 0);
    CHECK(ftruncate(fileno(file), 0) == 0);
    test_memory();
    test_fp();
    test_illegal();
    test_stack();
    test_execute();
    INSN("div by zero", "xor %%ecx, %%ecx; div %%ecx", 1, 0, 0);
    INSN("idiv overflow", "mov $0x80000000, %%eax; cltd; idiv %%ecx", 0, 0, -1);
    return 0;
}
