/* SPDX-License-Identifier: BSD-2-Clause
 * calls.c -- recursive, virtual and indirect calls: returns and indirect branches, little else.
 * Usage: calls ROUNDS */
#include "kernel.h"

#include <string.h>

typedef struct Shape Shape;
typedef struct ShapeMethods {
    uint64_t (*area)(const Shape *s);
    uint64_t (*grow)(Shape *s, uint64_t by);
} ShapeMethods;

struct Shape {
    const ShapeMethods *methods;
    uint64_t a, b;
};

static uint64_t square_area(const Shape *s)
{
    return s->a * s->a;
}

static uint64_t square_grow(Shape *s, uint64_t by)
{
    return s->a += by & 3;
}

static uint64_t box_area(const Shape *s)
{
    return s->a * s->b;
}

static uint64_t box_grow(Shape *s, uint64_t by)
{
    s->a += by & 1;
    return s->b += by & 7;
}

static uint64_t circle_area(const Shape *s)
{
    return s->a * s->a * 355 / 113;
}

static uint64_t circle_grow(Shape *s, uint64_t by)
{
    return s->a ^= by & 5;
}

static const ShapeMethods all_methods[3] = {
    {square_area, square_grow},
    {box_area, box_grow},
    {circle_area, circle_grow},
};

#define SHAPES 256

static uint64_t virtual_calls(unsigned rounds)
{
    static Shape shapes[SHAPES];
    uint64_t seed = 88172645463325252ULL, sum = 0;
    unsigned i, r;

    for (i = 0; i < SHAPES; i++) {
        shapes[i] = (Shape){&all_methods[kernel_random(&seed) % 3], i, i + 1};
    }
    for (r = 0; r < rounds; r++) {
        for (i = 0; i < SHAPES; i++) {
            Shape *s = &shapes[i];

            sum += s->methods->area(s);
            sum ^= s->methods->grow(s, sum + r);
        }
    }
    return sum;
}

__attribute__((noinline)) static uint64_t fibonacci(unsigned n)
{
    return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

__attribute__((noinline)) static uint64_t ackermann(uint64_t m, uint64_t n)
{
    if (m == 0) {
        return n + 1;
    }
    return n == 0 ? ackermann(m - 1, 1) : ackermann(m - 1, ackermann(m, n - 1));
}

typedef uint64_t Operation(uint64_t a, uint64_t b);

static uint64_t op_add(uint64_t a, uint64_t b)
{
    return a + b;
}

static uint64_t op_sub(uint64_t a, uint64_t b)
{
    return a - b;
}

static uint64_t op_mul(uint64_t a, uint64_t b)
{
    return a * (b | 1);
}

static uint64_t op_xor(uint64_t a, uint64_t b)
{
    return a ^ (b >> 3);
}

/* A bytecode-like loop: which function is called next is known to no predictor of returns. */
static uint64_t pointer_calls(unsigned rounds)
{
    static Operation *const operations[4] = {op_add, op_sub, op_mul, op_xor};
    uint8_t program[64];
    uint64_t seed = 42, a = 1;
    unsigned i, r;

    for (i = 0; i < sizeof(program); i++) {
        program[i] = (uint8_t)(kernel_random(&seed) & 3);
    }
    for (r = 0; r < rounds; r++) {
        for (i = 0; i < sizeof(program); i++) {
            a = operations[program[i]](a, r + i);
        }
    }
    return a;
}

static int compare_words(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

static uint64_t sort_calls(unsigned rounds)
{
    static uint32_t words[4096];
    uint64_t seed = 7, sum = 0;
    unsigned i, r;

    for (r = 0; r < rounds; r++) {
        for (i = 0; i < 4096; i++) {
            words[i] = (uint32_t)kernel_random(&seed);
        }
        qsort(words, 4096, sizeof(words[0]), compare_words);
        sum = sum * 31 + words[r % 4096];
    }
    return sum;
}

int main(int argc, char **argv)
{
    unsigned rounds = argc > 1 ? (unsigned)atoi(argv[1]) : 10, r;
    KernelClock c = kernel_begin();
    uint64_t sum = 0;

    for (r = 0; r < rounds; r++) {
        sum = sum * 31 + fibonacci(29);
        sum = sum * 31 + ackermann(2, 300);
        sum = sum * 31 + virtual_calls(6000);
        sum = sum * 31 + pointer_calls(30000);
        sum = sum * 31 + sort_calls(20);
    }
    printf("%llu\n", (unsigned long long)sum);
    kernel_end(c, rounds);
    return 0;
}
