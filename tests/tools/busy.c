/* SPDX-License-Identifier: BSD-2-Clause
 * busy.c -- threads that do something again and again, for tests/host_calls.py.
 * Arguments: calls|branches|spin|syscalls THREADS TIMES */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static long times;

__attribute__((noinline)) static uint64_t one(uint64_t x)
{
    __asm__ volatile("" : "+r"(x));
    return x + 1;
}

__attribute__((noinline)) static uint64_t two(uint64_t x)
{
    __asm__ volatile("" : "+r"(x));
    return x ^ 3;
}

static void *calls(void *arg)
{
    uint64_t x = 0;

    for (long i = 0; i < times; i++) {
        x = two(one(x));
    }
    return (void *)x;
}

/* Indirect calls with changing targets. */
static void *branches(void *arg)
{
    static uint64_t (*volatile const f[2])(uint64_t) = {one, two};
    uint64_t x = 0;

    for (long i = 0; i < times; i++) {
        x = f[(x >> 1 ^ (uint64_t)i) & 1](x);
    }
    return (void *)x;
}

static void *spin(void *arg)
{
    static uint64_t shared;

    for (long i = 0; i < times; i++) {
        __atomic_add_fetch(&shared, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

static void *syscalls(void *arg)
{
    for (long i = 0; i < times; i++) {
        syscall(SYS_getppid);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void *(*body)(void *);
    } kinds[] = {{"calls", calls}, {"branches", branches}, {"spin", spin}, {"syscalls", syscalls}};
    pthread_t t[64];
    long threads = argc == 4 ? atol(argv[2]) : 0;

    times = argc == 4 ? atol(argv[3]) : 0;
    for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
        if (threads < 1 || threads > 64 || strcmp(argv[1], kinds[k].name) != 0) {
            continue;
        }
        for (long i = 0; i < threads; i++) {
            if (pthread_create(&t[i], NULL, kinds[k].body, NULL) != 0) {
                return 1;
            }
        }
        for (long i = 0; i < threads; i++) {
            pthread_join(t[i], NULL);
        }
        return 0;
    }
    return 2;
}
