/* SPDX-License-Identifier: BSD-2-Clause
 * flow_prefixed.c -- branches in rare clothes: far returns that pop arguments, loops with an
 * operand-size prefix (which AMD's processors obey) that are not taken, calls through the stack
 * pointer. */
#include "guest.h"

static unsigned long far_return(void)
{
    unsigned long before, after;

    __asm__ volatile("sub $128, %%rsp\n\t"
                     "mov %%rsp, %0\n\t"
                     "sub $24, %%rsp\n\t"
                     "xor %%eax, %%eax\n\t"
                     "mov %%cs, %%ax\n\t"
                     "lea 1f(%%rip), %%rcx\n\t"
                     "push %%rax\n\t"
                     "push %%rcx\n\t"
                     "rex.W lret $24\n"
                     "1:\n\t"
                     "mov %%rsp, %1\n\t"
                     "mov %0, %%rsp\n\t"
                     "add $128, %%rsp"
                     : "=&r"(before), "=&r"(after)
                     :
                     : "rax", "rcx", "memory");
    return after - before;
}

static unsigned long not_taken(void)
{
    unsigned long count = 1, marks = 0;

    __asm__ volatile(".byte 0x66, 0xe2, 0x10\n\t" /* data16 loop */
                     "inc %1\n\t"
                     "mov $5, %%ecx\n\t"
                     ".byte 0x66, 0xe3, 0x10\n\t" /* data16 jrcxz */
                     "inc %1\n\t"
                     "test %%ecx, %%ecx\n\t"      /* not zero */
                     ".byte 0x66, 0xe1, 0x10\n\t" /* data16 loope */
                     "inc %1\n\t"
                     "xor %%eax, %%eax\n\t"
                     ".byte 0x66, 0xe0, 0x10\n\t" /* data16 loopne */
                     "inc %1"
                     : "+c"(count), "+r"(marks)
                     :
                     : "rax", "cc");
    return marks * 100 + count;
}

static long through_stack(void)
{
    long r;

    __asm__ volatile("sub $128, %%rsp\n\t"
                     "lea 1f(%%rip), %%rax\n\t"
                     "push %%rax\n\t"
                     "push $7\n\t"
                     "call *8(%%rsp)\n\t"
                     "jmp 2f\n"
                     "1:\n\t"
                     "mov 8(%%rsp), %0\n\t"
                     "ret\n"
                     "2:\n\t"
                     "add $16 + 128, %%rsp"
                     : "=&r"(r)
                     :
                     : "rax", "memory");
    return r;
}

int main(void)
{
    printf("far return: %lu\n", far_return());
    printf("loops not taken: %lu\n", not_taken());
    printf("call through the stack: %ld\n", through_stack());
    return 0;
}
