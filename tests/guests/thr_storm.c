/* SPDX-License-Identifier: BSD-2-Clause
 * thr_storm.c -- threads are created and joined, detached, and create others.
 * guest: timeout=30
 * variant: pie
 * variant: static cflags=-static
 * variant: musl cc=musl-gcc
 * variant: muslstatic cc=musl-gcc cflags=-static */
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "guest.h"

static _Atomic long started, detached_done;

static void *small(void *arg)
{
    atomic_fetch_add(&started, 1);
    return (char *)arg + 1;
}

static void *spawner(void *arg)
{
    long depth = (long)arg, sum = 1;
    if (depth > 0) {
        pthread_t t[3];
        for (int i = 0; i < 3; i++) {
            CHECK(!pthread_create(&t[i], NULL, spawner, (void *)(depth - 1)));
        }
        for (int i = 0; i < 3; i++) {
            void *v;
            CHECK(!pthread_join(t[i], &v));
            sum += (long)v;
        }
    }
    return (void *)sum;
}

static void *detached(void *arg)
{
    atomic_fetch_add(&detached_done, 1);
    return NULL;
}

int main(void)
{
    for (long i = 0; i < 500; i++) {
        pthread_t t;
        void *v;
        CHECK(!pthread_create(&t, NULL, small, (void *)i));
        CHECK(!pthread_join(t, &v) && (long)v == i + 1);
    }
    for (int round = 0; round < 20; round++) {
        pthread_t t[40];
        for (long i = 0; i < 40; i++) {
            CHECK(!pthread_create(&t[i], NULL, small, (void *)i));
        }
        for (long i = 39; i >= 0; i--) {
            void *v;
            CHECK(!pthread_join(t[i], &v) && (long)v == i + 1);
        }
    }
    void *v = spawner((void *)5);
    printf("%ld %ld\n", atomic_load(&started), (long)v);
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    for (int i = 0; i < 300; i++) {
        pthread_t t;
        CHECK(!pthread_create(&t, &attr, detached, NULL));
    }
    while (atomic_load(&detached_done) < 300) {
        usleep(1000);
    }
    puts("detached done");
    return 0;
}
