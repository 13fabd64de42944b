/* SPDX-License-Identifier: BSD-2-Clause
 * flow_returns.c -- returns that do not go back to their call, and calls that never return.
 * guest:
 * variant: pie
 * variant: nopie cflags=-no-pie
 * variant: static cflags=-static */
#include <setjmp.h>
#include <sys/mman.h>

#include "guest.h"

/* the classic retpoline, by hand */
__asm__(".text\n"
        "retpoline_rax:\n"
        "    call 1f\n"
        "2:  pause; lfence; jmp 2b\n"
        "1:  mov %rax, (%rsp)\n"
        "    ret\n"
        /* returns to its caller's caller */
        ".globl skip_caller\n"
        "skip_caller: add $8, %rsp; mov $11, %eax; ret\n"
        ".globl calls_skipper\n"
        "calls_skipper: call skip_caller; mov $12, %eax; ret\n"
        /* returns 4 bytes behind the call's end: over a 4-byte instruction */
        ".globl skip_ahead\n"
        "skip_ahead: addq $5, (%rsp); ret\n"
        ".globl calls_ahead\n"
        "calls_ahead: mov $1, %eax; call skip_ahead; mov $2, %eax; add $40, %eax; ret\n"
        ".globl via_retpoline\n"
        "via_retpoline: mov %rdi, %rax; mov %rsi, %rdi; jmp retpoline_rax\n"
        /* ret imm16 with arguments on the stack */
        ".globl pops_args\n"
        "pops_args: mov 8(%rsp), %rax; sub 16(%rsp), %rax; ret $16\n"
        ".globl calls_pops\n"
        "calls_pops: push %rsi; push %rdi; call pops_args; ret\n"
        /* the program counter by call and pop */
        ".globl read_pc\n"
        "read_pc: call 1f; 1: pop %rax; lea 1b(%rip), %rcx; sub %rcx, %rax; ret\n"
        /* rep ret, ret through a push of a register, lret */
        ".globl rep_ret\n"
        "rep_ret: mov $5, %eax; rep ret\n"
        ".globl far_ret\n"
        "far_ret: mov %cs, %eax; pop %rcx; push %rax; push %rcx; mov $6, %eax; lretq\n"
        /* a stack of pushed return addresses, unwound by ret after ret */
        ".globl rop\n"
        "rop: lea 3f(%rip), %rcx; push %rcx; lea 2f(%rip), %rcx; push %rcx; lea 1f(%rip), %rcx\n"
        "    push %rcx; mov $1, %eax; ret\n"
        "1:  add %eax, %eax; ret\n"
        "2:  add $3, %eax; ret\n"
        "3:  imul $7, %eax, %eax; ret\n");
long calls_skipper(void), calls_ahead(void), read_pc(void), rep_ret(void), far_ret(void), rop(void);
long via_retpoline(long (*f)(long), long x), calls_pops(long a, long b);

static long twice(long x)
{
    return 2 * x;
}

static __attribute__((noinline)) long deep(long n)
{
    return n ? deep(n - 1) + (n & 3) : 0;
}

static long odd(long n);
static __attribute__((noinline)) long even(long n)
{
    return n ? odd(n - 1) : 1;
}
static __attribute__((noinline)) long odd(long n)
{
    return n ? even(n - 1) : 0;
}

static __attribute__((noinline)) long ack(long m, long n)
{
    return m == 0 ? n + 1 : ack(m - 1, n == 0 ? 1 : ack(m, n - 1));
}

static jmp_buf env;
static __attribute__((noinline)) void jumper(int depth, int value)
{
    if (depth == 0) {
        longjmp(env, value);
    }
    jumper(depth - 1, value);
}

/* a chain of functions, entered at any place, each with its own call site */
#define F(n, m)                                        \
    static __attribute__((noinline)) long f##n(long x) \
    {                                                  \
        return f##m(x * 3 + n) ^ n;                    \
    }
static __attribute__((noinline)) long f0(long x)
{
    return x;
}
/* clang-format off */
F(1, 0) F(2, 1) F(3, 2) F(4, 3) F(5, 4) F(6, 5) F(7, 6) F(8, 7) F(9, 8) F(10, 9) F(11, 10) F(12, 11)

int main(void)
{
    /* clang-format on */
    long sum = 0;
    for (long i = 0; i < 3000; i++) {
        CHECK(calls_skipper() == 11);
        CHECK(calls_ahead() == 41);
        CHECK(via_retpoline(twice, i) == 2 * i);
        CHECK(calls_pops(i, 5) == i - 5);
        CHECK(read_pc() == 0);
        CHECK(rep_ret() == 5 && far_ret() == 6);
        CHECK(rop() == 35);
        sum += f12(i) + f7(i) + f3(i);
    }
    printf("%ld\n", sum);
    printf("%ld %ld %ld %ld\n", deep(50000), even(100001), odd(100001), ack(2, 200));
    volatile long total = 0;
    for (volatile int i = 1; i < 3000; i++) {
        int v = setjmp(env);
        if (v == 0) {
            jumper(i % 50, i);
        }
        total += v;
    }
    printf("%ld\n", total);
    long (*volatile table[])(long) = {f0, f1, f2, f3, f4, f5, f6, f7, f8, f9, f10, f11, f12, labs};
    uint64_t rng = 1;
    for (int i = 0; i < 100000; i++) {
        sum ^= table[rng_next(&rng) % 14](i);
    }
    printf("%ld\n", sum);
    /* pointers to libc's functions, through the PLT and without */
    size_t (*volatile len)(const char *) = strlen;
    int (*volatile cmp)(const char *, const char *) = strcmp;
    printf("%zu %d\n", len("four"), cmp("a", "a"));
    return 0;
}
