/* SPDX-License-Identifier: BSD-2-Clause
 * cpu_info.c -- cpuid, xgetbv, rdtsc, rdpid, the vDSO's clock.
 * guest: */
#define _GNU_SOURCE
#include <cpuid.h>
#include <sched.h>
#include <sys/time.h>
#include <time.h>
#include <x86intrin.h>

#include "guest.h"

static void leaf(unsigned n, unsigned sub, unsigned ebx_mask, unsigned edx_mask)
{
    unsigned a = 0, b = 0, c = 0, d = 0;
    __cpuid_count(n, sub, a, b, c, d);
    printf("%08x.%u %08x %08x %08x %08x\n", n, sub, a, b & ebx_mask, c, d & edx_mask);
}

int main(void)
{
    leaf(0, 0, ~0u, ~0u);
    leaf(1, 0, 0x00ffffff, ~0u); /* without the initial APIC id */
    leaf(7, 0, ~0u, ~0u);
    leaf(7, 1, ~0u, ~0u);
    leaf(13, 0, ~0u, ~0u);
    for (unsigned i = 2; i < 10; i++) {
        leaf(13, i, ~0u, ~0u);
    }
    for (unsigned i = 0x80000000; i <= 0x80000008; i++) {
        leaf(i, 0, ~0u, ~0u);
    }
    unsigned lo, hi, aux;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    printf("xcr0 %x %x\n", hi, lo);
    uint64_t last = __rdtsc();
    for (int i = 0; i < 10000; i++) {
        uint64_t now = i & 1 ? __rdtscp(&aux) : __rdtsc();
        CHECK(now >= last || sched_getcpu() >= 0);
        last = now;
    }
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (int i = 0; i < 10000; i++) {
        clock_gettime(CLOCK_MONOTONIC, &b);
        CHECK(b.tv_sec > a.tv_sec || (b.tv_sec == a.tv_sec && b.tv_nsec >= a.tv_nsec));
        a = b;
    }
    struct timeval tv;
    gettimeofday(&tv, NULL);
    CHECK(llabs((long long)tv.tv_sec - time(NULL)) <= 1);
    unsigned cpu, node;
    CHECK(!getcpu(&cpu, &node));
    /* registers that these instructions zero-extend */
    uint64_t rax, rbx, rcx, rdx;
    __asm__ volatile("mov $-1, %%rax; mov $-1, %%rbx; mov $-1, %%rcx; mov $-1, %%rdx\n"
                     "xor %%eax, %%eax; not %%rdx; not %%rdx; mov $0, %%ecx; cpuid"
                     : "=a"(rax), "=b"(rbx), "=c"(rcx), "=d"(rdx));
    CHECK(rax >> 32 == 0 && rbx >> 32 == 0 && rcx >> 32 == 0 && rdx >> 32 == 0);
    printf("features %d%d%d%d%d\n", !!__builtin_cpu_supports("avx"),
           !!__builtin_cpu_supports("avx2"), !!__builtin_cpu_supports("avx512f"),
           !!__builtin_cpu_supports("bmi2"), !!__builtin_cpu_supports("fma"));
    return 0;
}
