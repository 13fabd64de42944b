/* SPDX-License-Identifier: BSD-2-Clause
 * FS-relative operands in all addressing forms: base, index, displacement, none, extended
 * registers, rsp, 32-bit addresses, strings, xlat, all registers used, VEX, pop, call and jump, and
 * a fault.
 * guest: needs=avx cflags=-fno-pie -no-pie -mavx */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

static __thread unsigned char area[256] __attribute__((aligned(64)));
long target_hits;

__asm__(".text\nfs_target:\n incq target_hits(%rip)\n ret\n");
extern char fs_target[];

static unsigned long offset(void)
{
    unsigned long v;

    __asm__("mov %%fs:0, %0" : "=r"(v));
    return (unsigned long)area - v;
}

static void dump(const char *what)
{
    unsigned long h = 5381;

    for (int i = 0; i < 256; i++) {
        h = h * 33 + area[i];
    }
    printf("%s: area %lx\n", what, h);
}

static void loads(unsigned long o)
{
    unsigned long r, f;

    __asm__ volatile("stc; mov %%fs:16(%2), %0; pushf; pop %1"
                     : "=&r"(r), "=&r"(f)
                     : "r"(o)
                     : "cc");
    printf("base %lx cf %lx\n", r, f & 1);
    __asm__ volatile("mov $2, %%r12d; mov %1, %%r13; mov %%fs:8(%%r13,%%r12,8), %0"
                     : "=&r"(r)
                     : "r"(o)
                     : "r12", "r13");
    printf("r13+r12*8 %lx\n", r);
    __asm__ volatile("mov %1, %%r13; mov %%fs:(%%r13), %0" : "=&r"(r) : "r"(o) : "r13");
    printf("r13 %lx\n", r);
    __asm__ volatile("mov %1, %%r12; mov %%fs:(%%r12), %%r12; mov %%r12, %0"
                     : "=&r"(r)
                     : "r"(o)
                     : "r12");
    printf("r12 to itself %lx\n", r);
    __asm__ volatile("mov %1, %%rdi; movzbl %%fs:5(%%rdi), %%edi; mov %%rdi, %0"
                     : "=&r"(r)
                     : "r"(o)
                     : "rdi");
    printf("rdi to itself %lx\n", r);
    __asm__ volatile("mov %1, %%rsi; mov %%fs:3(,%%rsi,1), %0" : "=&r"(r) : "r"(o) : "rsi");
    printf("index only %lx\n", r);
    __asm__ volatile("mov %1, %%rbx; .byte 0x64; lea 4(%%rbx), %0; sub %%rbx, %0"
                     : "=&r"(r)
                     : "r"(o)
                     : "rbx", "cc");
    printf("lea %lx\n", r);
    __asm__ volatile("mov %1, %%rbx; mov $9, %%eax; .byte 0x64; xlatb" : "=&a"(r) : "r"(o) : "rbx");
    printf("xlat %lx\n", r & 255);
    __asm__ volatile(
        "mov %1, %%rdx; mov %%rsp, %%rcx; sub %%rsp, %%rdx; mov %%fs:8(%%rsp,%%rdx), %0"
        : "=&r"(r)
        : "r"(o)
        : "rcx", "rdx", "cc");
    printf("rsp+rdx %lx\n", r);
    __asm__ volatile("vmovdqu %%fs:1(%1), %%ymm1; vmovq %%xmm1, %0; vzeroupper"
                     : "=r"(r)
                     : "r"(o)
                     : "xmm1");
    printf("vex %lx\n", r);
}

static void stores(unsigned long o)
{
    unsigned long lo = 0x1122334455667788, hi = 0x99aabbccddeeff00;

    __asm__ volatile("mov $0x1234, %%eax; mov %%ah, %%fs:1(%0); lock addl $77, %%fs:8(%0)"
                     :
                     : "r"(o)
                     : "rax", "cc", "memory");
    dump("ah, lock add");
    memcpy(area + 16, &lo, 8);
    memcpy(area + 24, &hi, 8);
    __asm__ volatile("mov %0, %%rsi; mov %1, %%rax; mov %2, %%rdx; mov $5, %%ebx; mov $6, %%ecx; "
                     "xor %%edi, %%edi; lock cmpxchg16b %%fs:16(%%rsi,%%rdi,2)"
                     :
                     : "r"(o), "r"(lo), "r"(hi)
                     : "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "cc", "memory");
    dump("cmpxchg16b");
    __asm__ volatile(
        "mov %0, %%rsi; lea 64+area@tpoff, %%rdi; mov %%fs:0, %%rax; add %%rax, %%rdi; "
        "mov $40, %%ecx; cld; rep movsb %%fs:(%%rsi), (%%rdi)"
        :
        : "r"(o)
        : "rax", "rcx", "rsi", "rdi", "cc", "memory");
    dump("rep movs");
    __asm__ volatile("pushq $0x42; popq %%fs:32(%0); pushq %%fs:40(%0); popq %%fs:48(%0)"
                     :
                     : "r"(o)
                     : "memory");
    dump("push, pop");
    __asm__ volatile("mov $300, %%eax; bts %%rax, %%fs:(%0)" : : "r"(o) : "rax", "cc", "memory");
    dump("bts");
}

static void branches(unsigned long o)
{
    void *p = fs_target;

    memcpy(area + 128, &p, 8);
    __asm__ volatile("sub $128, %%rsp; call *%%fs:128(%0); mov %0, %%rcx; call *%%fs:128(%%rcx); "
                     "mov %0, %%r9; lea 1f(%%rip), %%rax; push %%rax; jmp *%%fs:128(%%r9); "
                     "1: add $128, %%rsp"
                     :
                     : "r"(o)
                     : "rax", "rcx", "r9", "cc", "memory");
    memset(area + 128, 1, 8);
    printf("branches %ld\n", target_hits);
}

static void on_fault(int sig, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    greg_t *g = uc->uc_mcontext.gregs;

    printf("fault %d rdi %llx rsi %llx at %02x\n", sig, g[REG_RDI], g[REG_RSI],
           *(unsigned char *)g[REG_RIP]);
    g[REG_RIP] += 5;
}

static void faults(void)
{
    struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};

    sigaction(SIGSEGV, &sa, NULL);
    __asm__ volatile("mov $0x1111111111111111, %%rdi; mov $0x22, %%esi; mov %%fs:1(%%rdi), %%rax"
                     :
                     :
                     : "rax", "rdi", "rsi", "memory");
}

static void short_addresses(void)
{
    unsigned long r;
    unsigned int ptr = 0;

    /* 32-bit arithmetic: 0xfffffff8 + 8 is 0 */
    __asm__ volatile("mov $0xfffffff8, %%edx; mov $8, %%ecx; mov %%fs:(%%edx,%%ecx), %0; "
                     "sub %%fs:0, %0"
                     : "=&r"(r)
                     : "r"(ptr)
                     : "rcx", "rdx", "cc");
    printf("addr32 %lx\n", r);
    __asm__ volatile("movabs %%fs:0, %%rax; sub %%fs:0, %%rax" : "=a"(r) : : "cc");
    printf("moffs %lx\n", r);
}

int main(void)
{
    unsigned long o = offset();

    for (int i = 0; i < 256; i++) {
        area[i] = (unsigned char)(i * 7 + 1);
    }
    loads(o);
    stores(o);
    branches(o);
    short_addresses();
    faults();
    return 0;
}
