/* SPDX-License-Identifier: BSD-2-Clause
 * load_sanitizer.c -- programs built with a sanitizer: its runtime wants its own layout of the
 * address space, and maps tens of terabytes at fixed places.
 * guest: compare=all modes=-stress,-insns1 timeout=60
 * variant: gcc cflags=-fsanitize=thread needs=path:/usr/lib/x86_64-linux-gnu/libtsan.so.2
 * variant: clang cc=clang cflags=-fsanitize=thread
 * variant: memory cc=clang cflags=-fsanitize=memory
 * variant: address cflags=-fsanitize=address
 * variant: leak cflags=-fsanitize=leak
 * variant: leaking cflags=-fsanitize=address args=leak compare=status
 */
#define _GNU_SOURCE
#include "guest.h"

#include <pthread.h>
#include <sys/mman.h>

enum { THREADS = 4, ROUNDS = 2000 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t barrier;
static __thread uint64_t mine;
static uint64_t sum;

static void *work(void *arg)
{
    uint64_t rng = (uintptr_t)arg + 1;

    pthread_barrier_wait(&barrier);
    for (int i = 0; i < ROUNDS; i++) {
        size_t n = rng_next(&rng) % 5000 + 1;
        char *p = malloc(n);

        CHECK(p != NULL);
        memset(p, i, n);
        mine += (uint8_t)p[n / 2];
        free(p);
    }
    pthread_mutex_lock(&lock);
    sum += mine;
    pthread_mutex_unlock(&lock);
    return arg;
}

/* Memory that the program maps itself, and what the kernel puts where it likes. */
static void test_mappings(void)
{
    const size_t len = 4ul << 20;
    char *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *q;

    CHECK(p != MAP_FAILED);
    memset(p, 7, len);
    q = mremap(p, len, 4 * len, MREMAP_MAYMOVE);
    CHECK(q != MAP_FAILED && q[len - 1] == 7);
    memset(q + len, 8, 3 * len);
    CHECK(munmap(q, 4 * len) == 0);
}

/* The leak checker's own process, which shares the memory, stops all threads and reads their
 * registers. What `kept` points to is named by the stack only. */
static void test_leak(int leak)
{
    void *volatile kept = malloc(100);
    void *volatile lost = leak ? malloc(200) : NULL;

    CHECK(kept != NULL);
    lost = NULL;
    printf("%d\n", lost == NULL);
    exit(leak && kept == NULL);
}

int main(int argc, char **argv)
{
    pthread_t t[THREADS];
    char *end = NULL;

    pthread_barrier_init(&barrier, NULL, THREADS);
    for (uintptr_t i = 0; i < THREADS; i++) {
        CHECK(pthread_create(&t[i], NULL, work, (void *)i) == 0);
    }
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_join(t[i], NULL) == 0);
    }
    test_mappings();
    CHECK(strtol("4711", &end, 10) == 4711 && *end == 0);
    printf("%llu\n", (unsigned long long)sum);
    test_leak(argc > 1);
    return 0;
}
