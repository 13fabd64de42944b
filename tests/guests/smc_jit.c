/* SPDX-License-Identifier: BSD-2-Clause
 * smc_jit.c -- a small JIT compiler: threads generate, run, free and reuse code in one arena.
 * guest: timeout=40
 * variant: rwx
 * variant: low cflags=-DARENA_FLAGS=MAP_32BIT */
#define _GNU_SOURCE
#include <pthread.h>
#include <sys/mman.h>

#include "guest.h"

#ifndef ARENA_FLAGS
#define ARENA_FLAGS 0
#endif

enum { SLOT = 256, SLOTS = 512 };
static unsigned char *arena;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned char used[SLOTS];

static unsigned char *take(uint64_t *rng)
{
    pthread_mutex_lock(&lock);
    unsigned k = rng_next(rng) % SLOTS;
    while (used[k]) {
        k = (k + 1) % SLOTS;
    }
    used[k] = 1;
    pthread_mutex_unlock(&lock);
    return arena + k * SLOT;
}

static void give(unsigned char *p)
{
    pthread_mutex_lock(&lock);
    used[(p - arena) / SLOT] = 0;
    pthread_mutex_unlock(&lock);
}

/* an expression over %edi: n random steps; returns what it should compute for x */
static uint32_t compile(unsigned char *p, int n, uint64_t *rng, uint32_t x)
{
    uint32_t v = x;
    *p++ = 0x89;
    *p++ = 0xf8; /* mov %edi, %eax */
    for (int i = 0; i < n; i++) {
        uint32_t k = (uint32_t)rng_next(rng);
        switch (rng_next(rng) % 5) {
        case 0:
            *p++ = 0x05;
            memcpy(p, &k, 4);
            p += 4;
            v += k;
            break;
        case 1:
            *p++ = 0x35;
            memcpy(p, &k, 4);
            p += 4;
            v ^= k;
            break;
        case 2:
            *p++ = 0x69;
            *p++ = 0xc0;
            memcpy(p, &k, 4);
            p += 4;
            v *= k;
            break;
        case 3:
            *p++ = 0xc1;
            *p++ = 0xc0;
            *p++ = k & 31;
            v = k & 31 ? v << (k & 31) | v >> (32 - (k & 31)) : v;
            break;
        default: /* test $1,%al; jz over; not %eax */
            memcpy(p, "\xa8\x01\x74\x02\xf7\xd0", 6);
            p += 6;
            v = v & 1 ? ~v : v;
        }
    }
    *p = 0xc3;
    return v;
}

static void *thread(void *arg)
{
    uint64_t rng = (uintptr_t)arg * 1234567 + 1;
    uint64_t sum = 0;
    for (int i = 0; i < 3000; i++) {
        unsigned char *p = take(&rng);
        uint32_t x = (uint32_t)rng_next(&rng);
        uint32_t want = compile(p, 1 + (int)(rng_next(&rng) % 30), &rng, x);
        uint32_t got = 0;
        for (int k = 0; k < 3; k++) {
            got = ((uint32_t(*)(uint32_t))p)(x);
            CHECK(got == want);
        }
        sum += got;
        give(p);
    }
    return (void *)sum;
}

int main(void)
{
    arena = mmap(NULL, SLOT * SLOTS, PROT_READ | PROT_WRITE | PROT_EXEC,
                 MAP_PRIVATE | MAP_ANONYMOUS | ARENA_FLAGS, -1, 0);
    CHECK(arena != MAP_FAILED);
    printf("%lx\n", (unsigned long)thread((void *)99));
    pthread_t t[4];
    for (uintptr_t i = 0; i < 4; i++) {
        CHECK(!pthread_create(&t[i], NULL, thread, (void *)i));
    }
    for (int i = 0; i < 4; i++) {
        void *v;
        pthread_join(t[i], &v);
        printf("%lx\n", (unsigned long)v);
    }
    return 0;
}
