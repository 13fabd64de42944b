/* SPDX-License-Identifier: BSD-2-Clause
 * flow_faults.c -- execution that goes wrong: the fault's address and the program counter.
 * guest: cflags=-no-pie
 * Jumps to nowhere, to data, to a non-canonical address; runs over the end of a page; invalid
 * instructions; int3; divisions; jumps into the middle of an instruction. */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "guest.h"

static sigjmp_buf out;
static siginfo_t info;
static ucontext_t context;

static void on_fault(int signo, siginfo_t *i, void *c)
{
    info = *i;
    context = *(ucontext_t *)c;
    siglongjmp(out, signo);
}

/* prints addresses relative to a base, so that they are the same in every run */
static void report(const char *what, uintptr_t base, int signo)
{
    uintptr_t ip = (uintptr_t)context.uc_mcontext.gregs[REG_RIP];
    if (!strcmp(what, "non-canonical")) {
        ip = base; /* under mtvg the target, natively the branch: docs/DIFFERENCES.md */
    }
    uintptr_t at = (uintptr_t)info.si_addr;
    printf("%-16s signal %d code %d rip %#lx addr %#lx err %#lx trap %ld r12 %llx\n", what, signo,
           info.si_code, ip - base, signo == SIGTRAP ? 0 : at - (at - base < 0x10000 ? base : 0),
           (unsigned long)context.uc_mcontext.gregs[REG_ERR] & 0x17,
           (long)context.uc_mcontext.gregs[REG_TRAPNO], context.uc_mcontext.gregs[REG_R12]);
}

/* goes there with a known %r12 */
static __attribute__((noinline)) void go(void *target)
{
    __asm__ volatile("mov $0xabcdef, %%r12d; jmp *%0" ::"r"(target) : "r12");
}

static void try_at(const char *what, void *target, uintptr_t base)
{
    int signo = sigsetjmp(out, 1);
    if (signo == 0) {
        go(target);
        printf("%s: came back\n", what);
    } else {
        report(what, base, signo);
    }
}

extern char middle_start[], middle_inside[];
__asm__(".text\n"
        "middle_start: .byte 0x48, 0xb8\n" /* movabs $..., %rax */
        "middle_inside: .byte 0x0f, 0x0b, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90\n"
        "    ud2\n");

int main(void)
{
    static char stack[65536];
    stack_t alt = {.ss_sp = stack, .ss_size = sizeof stack};
    sigaltstack(&alt, NULL);
    struct sigaction act = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};
    for (int i = 0; i < 5; i++) {
        sigaction(signals[i], &act, NULL);
    }
    unsigned char *p = mmap(NULL, 3 << 12, PROT_READ | PROT_WRITE | PROT_EXEC,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    uintptr_t b = (uintptr_t)p;
    CHECK(!munmap(p + 8192, 4096));
    CHECK(!mprotect(p + 4096, 4096, PROT_READ | PROT_WRITE));

    try_at("null", NULL, 0);
    try_at("small", (void *)0x1234, 0);
    try_at("non-canonical", (void *)0x8123456789abcdef, 0);
    try_at("kernel", (void *)0xffff800000000000, 0);
    try_at("vsyscall gap", (void *)0xffffffffff601000, 0);
    try_at("no exec", p + 4096, b);
    try_at("unmapped", p + 8192, b);
    memset(p, 0x90, 4096);
    try_at("over the end", p + 4000, b);
    memcpy(p + 4094, "\x48\xb8", 2); /* an instruction over the end */
    try_at("split", p + 4000, b);
    memset(p + 4094, 0x90, 2);

    static const struct {
        const char *name;
        unsigned char code[16];
    } bad[] = {
        {"ud2", {0x90, 0x0f, 0x0b}},
        {"ud1", {0x90, 0x0f, 0xb9, 0xc0}},
        {"ud0", {0x90, 0x0f, 0xff, 0xc0}},
        {"push es", {0x90, 0x06}},
        {"aaa", {0x90, 0x37}},
        {"salc", {0x90, 0xd6}},
        {"bad lock", {0x90, 0xf0, 0x90}},
        {"lock mov", {0x90, 0xf0, 0x89, 0x03}},
        {"bad 0f", {0x90, 0x0f, 0x04}},
        {"long",
         {0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66,
          0x90}},
        {"hlt", {0x90, 0xf4}},
        {"cli", {0x90, 0xfa}},
        {"in", {0x90, 0xec}},
        {"mov cr0", {0x90, 0x0f, 0x20, 0xc0}},
        {"rdmsr", {0x90, 0x0f, 0x32}},
        {"wrmsr", {0x90, 0x0f, 0x30}},
        {"lgdt", {0x90, 0x0f, 0x01, 0x10}},
        {"invlpg", {0x90, 0x0f, 0x01, 0x38}},
        {"sysret", {0x90, 0x48, 0x0f, 0x07}},
        {"iret to bad", {0x6a, 0x00, 0x6a, 0x00, 0x6a, 0x00, 0x6a, 0x00, 0x6a, 0x00, 0x48, 0xcf}},
        {"int3", {0x90, 0xcc, 0x90}},
        {"int 3", {0x90, 0xcd, 0x03, 0x90}},
        {"int1", {0x90, 0xf1, 0x90}},
        {"int 0x20", {0x90, 0xcd, 0x20}},
        {"divide", {0x31, 0xc9, 0x31, 0xd2, 0x48, 0xf7, 0xf1}},
        {"overflow",
         {0x31, 0xc0, 0xba, 0x00, 0x00, 0x00, 0x40, 0xb9, 0x01, 0x00, 0x00, 0x00, 0xf7, 0xf1}},
        {"load", {0x48, 0xc7, 0xc0, 0x10, 0x00, 0x00, 0x00, 0x48, 0x8b, 0x18}},
        {"store", {0x48, 0xc7, 0xc0, 0x18, 0x00, 0x00, 0x00, 0x48, 0x89, 0x18}},
        {"push", {0x31, 0xe4, 0x50}},
        {"pop", {0x31, 0xe4, 0x58}},
        {"call no stack", {0x31, 0xe4, 0xff, 0xd0}},
        {"ret no stack", {0x31, 0xe4, 0xc3}},
        {"alignment", {0x48, 0x83, 0xe4, 0xf0, 0x0f, 0x28, 0x44, 0x24, 0xf1}},
        {"non-canon load", {0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 0x88, 0x48, 0x8b, 0x18}},
        {"fs bad", {0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0x40, 0x64, 0x48, 0x8b, 0x18}},
        {"vex bad", {0x90, 0xc5, 0xf8, 0xff, 0xc0}},
        {"movaps fault", {0x31, 0xc0, 0x0f, 0x28, 0x40, 0x20}},
        {"cmpxchg16b", {0x48, 0x89, 0xe0, 0x48, 0x83, 0xe0, 0xf0, 0x48, 0x0f, 0xc7, 0x48, 0xf8}},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        memset(p, 0x90, 256);
        memcpy(p + 16, bad[i].code, 16);
        memcpy(p + 32, "\x0f\x0b", 2);
        try_at(bad[i].name, p + 16, b);
    }
    try_at("start", middle_start, (uintptr_t)middle_start);
    try_at("inside", middle_inside, (uintptr_t)middle_start);
    try_at("start again", middle_start, (uintptr_t)middle_start);
    /* the page comes back with code: what failed before now runs into ud2 */
    CHECK(mmap(p + 8192, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
               0) == p + 8192);
    memset(p + 4096, 0x90, 8192);
    memcpy(p + 12000, "\x0f\x0b", 2);
    CHECK(!mprotect(p + 4096, 8192, PROT_READ | PROT_EXEC));
    memset(p, 0x90, 4096);
    try_at("now runs", p + 4000, b);
    return 0;
}
