/* SPDX-License-Identifier: BSD-2-Clause
 * demo.c -- a threaded program to look at: counts primes in slices, one slice after the other taken
 * by whichever thread is free. Prints the count and the seconds that it took.
 *     demo [threads [limit]] */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { SLICE = 2000, MAX_THREADS = 256 };

static long limit = 3000000;
static atomic_long next_slice, primes;

static int is_prime(long n)
{
    if (n < 4) {
        return n > 1;
    }
    if (n % 2 == 0) {
        return 0;
    }
    for (long d = 3; d * d <= n; d += 2) {
        if (n % d == 0) {
            return 0;
        }
    }
    return 1;
}

static void *work(void *arg)
{
    long found = 0, from;
    while ((from = atomic_fetch_add(&next_slice, 1) * SLICE) < limit) {
        for (long n = from; n < from + SLICE && n < limit; n++) {
            found += is_prime(n);
        }
    }
    atomic_fetch_add(&primes, found);
    return NULL;
}

int main(int argc, char **argv)
{
    long n = argc > 1 ? atol(argv[1]) : sysconf(_SC_NPROCESSORS_ONLN);
    pthread_t threads[MAX_THREADS];
    struct timespec a, b;
    limit = argc > 2 ? atol(argv[2]) : limit;
    if (n < 1 || limit < 1 || argc > 3) {
        fprintf(stderr, "usage: demo [threads [limit]]\n");
        return 2;
    }
    n = n > MAX_THREADS ? MAX_THREADS : n;
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (long i = 0; i < n; i++) {
        if (pthread_create(&threads[i], NULL, work, NULL)) {
            perror("pthread_create");
            return 1;
        }
    }
    for (long i = 0; i < n; i++) {
        pthread_join(threads[i], NULL);
    }
    clock_gettime(CLOCK_MONOTONIC, &b);
    double seconds = (double)(b.tv_sec - a.tv_sec) + (double)(b.tv_nsec - a.tv_nsec) / 1e9;
    printf("%ld threads: %ld primes below %ld in %.3f s\n", n, (long)primes, limit, seconds);
    return 0;
}
