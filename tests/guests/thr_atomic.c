/* SPDX-License-Identifier: BSD-2-Clause
 * thr_atomic.c -- atomics, a lock-free queue, litmus tests: what x86 forbids never happens.
 * guest: timeout=60 libs=-latomic cflags=-mcx16 */
#include <pthread.h>
#include <stdatomic.h>

#include "guest.h"

static _Atomic long counters[4];
static long locked_bits[4];
static _Alignas(16) unsigned __int128 wide;
static _Alignas(64) char split_line[128];

static void *adder(void *arg)
{
    long *split = (long *)(split_line + 60); /* over a cache line's end */
    for (int i = 0; i < 20000; i++) {
        atomic_fetch_add(&counters[0], 1);
        long v = atomic_load(&counters[1]);
        while (!atomic_compare_exchange_weak(&counters[1], &v, v + 2)) {
        }
        __asm__ volatile("lock incq %0" : "+m"(counters[2]));
        long three = 3;
        __asm__ volatile("lock xaddq %1, %0" : "+m"(counters[3]), "+r"(three));
        if (i % 10 == 0) {
            __asm__ volatile("lock addq $1, %0" : "+m"(*split));
        }
        unsigned __int128 w = wide;
        while (!__sync_bool_compare_and_swap(&wide, w, w + 1 + ((unsigned __int128)1 << 64))) {
            w = wide;
        }
        long bit = (i * 7 + (long)arg * 13) & 255;
        __asm__ volatile("lock btcq %1, %0" : "+m"(*locked_bits) : "r"(bit) : "cc", "memory");
    }
    return NULL;
}

/* Treiber stack over indices with a tag against ABA */
enum { NODES = 64 };
static uint32_t next_node[NODES + 1];
static _Atomic uint64_t top;
static _Atomic int owner[NODES + 1];

static uint32_t pop(void)
{
    uint64_t t = atomic_load(&top), n;
    do {
        if ((uint32_t)t == 0) {
            return 0;
        }
        n = ((t >> 32) + 1) << 32 | __atomic_load_n(&next_node[(uint32_t)t], __ATOMIC_RELAXED);
    } while (!atomic_compare_exchange_weak(&top, &t, n));
    return (uint32_t)t;
}

static void push(uint32_t i)
{
    uint64_t t = atomic_load(&top), n;
    do {
        __atomic_store_n(&next_node[i], (uint32_t)t, __ATOMIC_RELAXED);
        n = ((t >> 32) + 1) << 32 | i;
    } while (!atomic_compare_exchange_weak(&top, &t, n));
}

static void *stacker(void *arg)
{
    for (int i = 0; i < 30000; i++) {
        uint32_t a = pop(), b = pop();
        if (a) {
            CHECK(atomic_exchange(&owner[a], 1) == 0);
        }
        if (b) {
            CHECK(atomic_exchange(&owner[b], 1) == 0);
            atomic_store(&owner[b], 0);
            push(b);
        }
        if (a) {
            atomic_store(&owner[a], 0);
            push(a);
        }
    }
    return NULL;
}

/* message passing, load buffering, coherence, store buffering with fences */
enum { LITMUS = 20000 };
struct litmus {
    volatile int x;
    char pad1[60];
    volatile int y;
    char pad2[60];
};
static struct litmus tests[256];
static volatile int r[4][LITMUS];
static pthread_barrier_t barrier;

static void *litmus_thread(void *arg)
{
    long id = (long)arg;
    for (int base = 0; base < LITMUS; base += 256) {
        if (id == 0) {
            memset(tests, 0, sizeof tests);
        }
        pthread_barrier_wait(&barrier);
        for (int i = 0; i < 256 && base + i < LITMUS; i++) {
            struct litmus *t = &tests[i];
            if (id == 0) {
                t->x = 1;
                __asm__ volatile("mfence" ::: "memory");
                r[0][base + i] = t->y;
            } else {
                t->y = 1;
                __asm__ volatile("lock orl $0, (%%rsp)" ::: "memory");
                r[1][base + i] = t->x;
            }
        }
        pthread_barrier_wait(&barrier);
        if (id == 0) {
            memset(tests, 0, sizeof tests);
        }
        pthread_barrier_wait(&barrier);
        for (int i = 0; i < 256 && base + i < LITMUS; i++) {
            struct litmus *t = &tests[i];
            if (id == 0) {
                t->x = 1;
                __asm__ volatile("" ::: "memory");
                t->y = 1;
            } else {
                r[2][base + i] = t->y;
                __asm__ volatile("" ::: "memory");
                r[3][base + i] = t->x;
            }
        }
        pthread_barrier_wait(&barrier);
    }
    return NULL;
}

static void pair(void *(*f)(void *), int n)
{
    pthread_t t[8];
    for (long i = 0; i < n; i++) {
        CHECK(!pthread_create(&t[i], NULL, f, (void *)i));
    }
    for (int i = 0; i < n; i++) {
        pthread_join(t[i], NULL);
    }
}

int main(void)
{
    pair(adder, 4);
    long split;
    memcpy(&split, split_line + 60, 8);
    printf("%ld %ld %ld %ld %ld %lx %lx\n", counters[0], counters[1], counters[2], counters[3],
           split, (long)wide, (long)(wide >> 64));
    printf("%lx %lx %lx %lx\n", locked_bits[0], locked_bits[1], locked_bits[2], locked_bits[3]);
    for (uint32_t i = 1; i <= NODES; i++) {
        push(i);
    }
    pair(stacker, 4);
    int left = 0;
    while (pop()) {
        left++;
    }
    printf("%d nodes\n", left);
    pthread_barrier_init(&barrier, NULL, 2);
    pair(litmus_thread, 2);
    int forbidden_sb = 0, forbidden_mp = 0;
    for (int i = 0; i < LITMUS; i++) {
        forbidden_sb += r[0][i] == 0 && r[1][i] == 0;
        forbidden_mp += r[2][i] == 1 && r[3][i] == 0;
    }
    printf("store buffering with fences: %d, message passing: %d\n", forbidden_sb, forbidden_mp);
    return 0;
}
