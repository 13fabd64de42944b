/* SPDX-License-Identifier: BSD-2-Clause
 * kernel.h -- what the benchmark kernels share: clocks, a random generator, the result line.
 *
 * A kernel does a fixed amount of work, prints a checksum that must be the same under every tool,
 * and "result: WALL CPU", nanoseconds per operation: bench/run.py reads it and leaves the line
 * out when it compares outputs. */
#ifndef BENCH_KERNEL_H
#define BENCH_KERNEL_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

typedef struct KernelClock {
    double wall, cpu;
} KernelClock;

static inline double kernel_seconds(clockid_t id)
{
    struct timespec t;

    clock_gettime(id, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static inline KernelClock kernel_begin(void)
{
    KernelClock c = {kernel_seconds(CLOCK_MONOTONIC), kernel_seconds(CLOCK_PROCESS_CPUTIME_ID)};

    return c;
}

static inline void kernel_end(KernelClock c, double operations)
{
    double wall = kernel_seconds(CLOCK_MONOTONIC) - c.wall;
    double cpu = kernel_seconds(CLOCK_PROCESS_CPUTIME_ID) - c.cpu;

    printf("result: %.3f %.3f\n", wall * 1e9 / operations, cpu * 1e9 / operations);
}

static inline uint64_t kernel_random(uint64_t *state)
{
    uint64_t x = *state;

    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}

static inline void kernel_die(const char *what)
{
    perror(what);
    exit(1);
}

#endif
