/* SPDX-License-Identifier: BSD-2-Clause
 * smc_nested.c -- trampolines on an executable stack (nested functions), and on the heap.
 * guest: cflags=-z execstack -Wno-trampolines */
#include <pthread.h>

#include "guest.h"

static long apply(long (*f)(long), long n)
{
    long sum = 0;
    for (long i = 0; i < n; i++) {
        sum += f(i);
    }
    return sum;
}

static __attribute__((noinline)) long with_closure(long a, int depth)
{
    long calls = 0;
    long inner(long x)
    {
        calls++;
        return x * a + depth;
    }
    long v = apply(inner, 10);
    if (depth > 0) {
        v += with_closure(a + 1, depth - 1);
        v += apply(inner, 3);
    }
    return v + calls;
}

static void *thread(void *arg)
{
    long v = 0;
    for (int i = 0; i < 300; i++) {
        v = v * 3 + with_closure((long)arg + i, i % 6);
    }
    return (void *)v;
}

int main(void)
{
    pthread_t t[4];
    printf("%ld\n", (long)thread((void *)9));
    for (long i = 0; i < 4; i++) {
        pthread_create(&t[i], NULL, thread, (void *)i);
    }
    for (int i = 0; i < 4; i++) {
        void *v;
        pthread_join(t[i], &v);
        printf("%ld\n", (long)v);
    }
    return 0;
}
