/* SPDX-License-Identifier: BSD-2-Clause
 * cpu_x87ip.c -- where the last x87 instruction was, and its operand, as each instruction that
 * stores it says. A switch to another process may make it 0 (AMD): such a run is repeated.
 * guest: cflags=-no-pie -O1 needs=xsave,xsavec,xsaveopt */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "guest.h"

enum { TRIES = 20000 };

_Alignas(64) unsigned char image[4096], other[4096];
double zero, one_and_half = 1.5;
const uint16_t unmasked = 0x37b, normal = 0x37f;

struct env {
    uint32_t cw, sw, tw, ip, cs_opcode, dp, ds;
};

struct result {
    uint64_t ip, dp;
    uint32_t opcode, cs, ds, cw, sw;
};

static struct result from_env(const void *p)
{
    struct env e;
    memcpy(&e, p, sizeof e);
    return (struct result){e.ip,          e.dp,          e.cs_opcode >> 16, e.cs_opcode & 0xffff,
                           e.ds & 0xffff, e.cw & 0xffff, e.sw & 0xffff};
}

static struct result from_env16(const void *p)
{
    uint16_t w[7];
    memcpy(w, p, sizeof w);
    return (struct result){w[3], w[5], 0, w[4], w[6], w[0], w[1]};
}

static struct result from_image(const void *p, int wide)
{
    const unsigned char *b = p;
    struct result r = {0};
    memcpy(&r.cw, b, 2);
    memcpy(&r.sw, b + 2, 2);
    memcpy(&r.opcode, b + 6, 2);
    memcpy(&r.ip, b + 8, wide ? 8 : 4);
    memcpy(&r.dp, b + 16, wide ? 8 : 4);
    if (!wide) {
        memcpy(&r.cs, b + 12, 2);
        memcpy(&r.ds, b + 20, 2);
    }
    return r;
}

static void show(const char *name, struct result r, uint64_t ip, uint64_t dp, uint64_t mask)
{
    printf("%-24s", name);
    if (r.ip == 0) {
        printf(" none, operand %llx", (unsigned long long)r.dp);
    } else {
        printf(" at %lld, operand %lld", (long long)(r.ip - (ip & mask)),
               (long long)(r.dp - (dp & mask)));
    }
    printf(" opcode %x cs %x ds %x cw %x sw %x\n", r.opcode, r.cs, r.ds, r.cw, r.sw);
}

/* The code has labels of its own: a%= is the instruction. */
#define RUN(name, code, read, operand, mask, ...)                                 \
    do {                                                                          \
        struct result r = {0};                                                    \
        uint64_t at = 0;                                                          \
        for (int i = 0; i < TRIES && r.ip == 0; i++) {                            \
            memset(image, 0xcc, sizeof image);                                    \
            memset(image + 512, 0, 64);                                           \
            __asm__ volatile("lea 1f(%%rip), %0\n" code "\nfnclex; fninit"        \
                             : "=&b"(at)                                          \
                             : __VA_ARGS__                                        \
                             : "rcx", "rsi", "rdi", "r8", "r11", "memory", "cc"); \
            r = read;                                                             \
        }                                                                         \
        show(name, r, at, (uint64_t)(operand), mask);                             \
    } while (0)

#define MASK32 0xffffffffull
#define ALL ~0ull
#define BITS(n) "a"(n), "d"(0)

static void masked(void)
{
    RUN("fnstenv", "fninit; 1: fldl one_and_half(%%rip); fnstenv image(%%rip)", from_env(image),
        &one_and_half, MASK32, BITS(0));
    RUN("fnstenv, no operand", "fninit; 1: fld1; fnstenv image(%%rip)", from_env(image), 0, MASK32,
        BITS(0));
    RUN("fnstenv, two", "fninit; fldl one_and_half(%%rip); nop; 1: fldz; fnstenv image(%%rip)",
        from_env(image), &one_and_half, MASK32, BITS(0));
    RUN("fnstenv, prefixes",
        "fninit; 1: .byte 0x2e, 0x66, 0x48; fldl one_and_half(%%rip); fnstenv image(%%rip)",
        from_env(image), &one_and_half, MASK32, BITS(0));
    RUN("fnstenv, 67", "fninit; 1: fldl one_and_half(%%eip); fnstenv image(%%eip)", from_env(image),
        &one_and_half, MASK32, BITS(0));
    RUN("fnstenv by rsp",
        "fninit; 1: fldl one_and_half; lea -256(%%rsp), %%rsp\n"
        "fnstenv 8(%%rsp); lea image(%%rip), %%rdi; lea 8(%%rsp), %%rsi; mov $28, %%ecx; cld\n"
        "rep movsb; lea 256(%%rsp), %%rsp",
        from_env(image), &one_and_half, MASK32, BITS(0));
    RUN("fnstenv, jumps",
        "fninit; jmp 2f; 3: fnstenv image(%%rip); jmp 4f; 2: call 5f; jmp 3b; 5: 1: fldl "
        "one_and_half; ret; 4:",
        from_env(image), &one_and_half, MASK32, BITS(0));
    RUN("fnstenv16", "fninit; 1: fldl one_and_half; data16 fnstenv image(%%rip)", from_env16(image),
        &one_and_half, 0xffff, BITS(0));
    RUN("fnsave", "fninit; 1: fldl one_and_half; fnsave image(%%rip)", from_env(image),
        &one_and_half, MASK32, BITS(0));
    RUN("fnsave16", "fninit; 1: fldl one_and_half; data16 fnsave image(%%rip)", from_env16(image),
        &one_and_half, 0xffff, BITS(0));
    RUN("fstenv", "fninit; 1: fldl one_and_half; fstenv image(%%rip)", from_env(image),
        &one_and_half, MASK32, BITS(0));
    RUN("fnstenv, fs", "fninit; 1: fldl %%fs:0; fnstenv image(%%rip)", from_env(image), 0, MASK32,
        BITS(0));
    RUN("fnstenv, fs and base",
        "fninit; mov $8, %%ecx; 1: fldl %%fs:8(%%rcx); fnstenv image(%%rip)", from_env(image), 16,
        MASK32, BITS(0));
    RUN("fnstenv twice", "fninit; 1: fldl one_and_half; fnstenv other; fnstenv image(%%rip)",
        from_env(image), &one_and_half, MASK32, BITS(0));
    RUN("fnstenv, mmx behind",
        "fninit; 1: fldl one_and_half; movq %%rsp, %%mm1; emms; fnstenv image", from_env(image),
        &one_and_half, MASK32, BITS(0));
    RUN("fnstenv, system call",
        "fninit; 1: fldl one_and_half; mov $110, %%eax; syscall; fnstenv image(%%rip)",
        from_env(image), &one_and_half, MASK32, "d"(0));
    RUN("fxsave64", "fninit; 1: fldl one_and_half; fxsave64 image(%%rip); fnstenv other(%%rip)",
        from_env(other), &one_and_half, MASK32, BITS(0));
    printf("fxsave64: cw %x\n", *(uint16_t *)image);
}

#define FAULT "fninit; fldcw unmasked(%%rip); fld1; 1: fdivl zero(%%rip); "

static void pending(void)
{
    RUN("pending, fnstenv", FAULT "fnstenv image(%%rip)", from_env(image), &zero, MASK32, BITS(0));
    RUN("pending, fnstenv twice", FAULT "fnstenv other(%%rip); fnstenv image(%%rip)",
        from_env(image), &zero, MASK32, BITS(0));
    RUN("pending, fxsave64", FAULT "fxsave64 image(%%rip)", from_image(image, 1), &zero, ALL,
        BITS(0));
    RUN("pending, fxsave", FAULT "fxsave image(%%rip)", from_image(image, 0), &zero, MASK32,
        BITS(0));
    RUN("pending, xsave64", FAULT "xsave64 image(%%rip)", from_image(image, 1), &zero, ALL,
        BITS(7));
    RUN("pending, xsave", FAULT "xsave image(%%rip)", from_image(image, 0), &zero, MASK32, BITS(7));
    RUN("pending, xsavec64", FAULT "xsavec64 image(%%rip)", from_image(image, 1), &zero, ALL,
        BITS(7));
    RUN("pending, xsaveopt64", FAULT "xsaveopt64 image(%%rip)", from_image(image, 1), &zero, ALL,
        BITS(3));
    RUN("not x87, xsavec64", FAULT "movq $0, image+8(%%rip); xsavec64 image(%%rip); fnstenv other",
        from_env(other), &zero, MASK32, BITS(6));
    printf("untouched %d\n", image[0] == 0xcc && image[16] == 0xcc && image[8] == 0);
    RUN("pending, system call", FAULT "mov $110, %%eax; syscall; fxsave64 image(%%rip)",
        from_image(image, 1), &zero, ALL, "d"(0));
}

static void loaded(void)
{
    struct env e = {0x37f, 0, 0xffff, 0x12345678, 0x0123002b, 0x76543210, 0x2b};
    uint64_t ip = 0x00007123456789abull, dp = 0x0000555544443333ull;
    struct result r;

    for (int i = 0; i < TRIES; i++) {
        __asm__ volatile("fldenv %1; fnstenv %0" : "=m"(image) : "m"(e));
        r = from_env(image);
        if (r.ip != 0) {
            break;
        }
    }
    printf("fldenv: %llx %llx opcode %x\n", (unsigned long long)r.ip, (unsigned long long)r.dp,
           r.opcode);
    __asm__ volatile(FAULT "fxsave64 image(%%rip)" ::: "memory");
    memcpy(image + 8, &ip, 8);
    memcpy(image + 16, &dp, 8);
    __asm__ volatile("fxrstor64 image(%rip); fxsave64 other(%rip)");
    r = from_image(other, 1);
    printf("fxrstor64: %llx %llx\n", (unsigned long long)r.ip, (unsigned long long)r.dp);
    __asm__ volatile("fnstenv other(%rip)");
    r = from_env(other);
    printf("then fnstenv: %llx %llx sw %x\n", (unsigned long long)r.ip, (unsigned long long)r.dp,
           r.sw);
    __asm__ volatile("fnclex; fninit; fnsave image(%%rip); fninit" ::: "memory");
    e.ip = 0x22334455;
    memcpy(image + 12, &e.ip, 4);
    for (int i = 0; i < TRIES; i++) {
        __asm__ volatile("frstor image(%%rip); fnsave other(%%rip)" ::: "memory");
        r = from_env(other);
        if (r.ip != 0) {
            break;
        }
    }
    printf("frstor: %llx\n", (unsigned long long)r.ip);
}

/* fldl 1f(%rip); [fnstenv (%rdi);] ret; 1: .double 1.5 -- far from everything; the code is dropped
 * in between. */
static void far_code(int drop)
{
    static const unsigned char code[] = {0xdd, 0x05, 0x04, 0, 0, 0, 0xd9, 0x37, 0xc3,
                                         0x90, 0,    0,    0, 0, 0, 0,    0xf8, 0x3f};
    struct result r = {0};
    unsigned char *p = NULL;

    for (int i = 0; i < TRIES && r.ip == 0; i++) {
        p = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                 0);
        CHECK(p != MAP_FAILED);
        memcpy(p, code, sizeof code);
        __asm__ volatile("fninit");
        ((void (*)(void *))p)(image);
        if (drop) {
            syscall(SYS_munmap, p, 4096);
            for (int k = 0; k < 3; k++) {
                syscall(SYS_getppid);
            }
            __asm__ volatile("fnstenv image(%%rip)" ::: "memory");
        } else {
            munmap(p, 4096);
        }
        r = from_env(image);
    }
    show(drop ? "code dropped" : "far code", r, (uint64_t)p, (uint64_t)p + 10, MASK32);
}

int main(void)
{
    masked();
    pending();
    loaded();
    far_code(0);
    far_code(1);
    return 0;
}
