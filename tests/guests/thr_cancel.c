/* SPDX-License-Identifier: BSD-2-Clause
 * thr_cancel.c -- cancellation, deferred and asynchronous, in and out of blocking calls; cleanup
 * handlers; destructors of thread-specific data.
 * guest: timeout=30
 * variant: pie
 * variant: static cflags=-static */
#define _GNU_SOURCE
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <unistd.h>

#include "guest.h"

static _Atomic int cleaned, destroyed;
static sem_t ready;
static int pipes[2];
static pthread_key_t key;

static void cleanup(void *arg)
{
    atomic_fetch_add(&cleaned, (int)(long)arg);
}

static void destroy(void *value)
{
    atomic_fetch_add(&destroyed, 1);
    if ((long)value > 1) {
        pthread_setspecific(key, (char *)value - 1);
    }
}

static void *blocked_read(void *arg)
{
    char c;
    pthread_cleanup_push(cleanup, (void *)1);
    sem_post(&ready);
    (void)!read(pipes[0], &c, 1);
    pthread_cleanup_pop(0);
    return NULL;
}

static void *blocked_cond(void *arg)
{
    pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t c = PTHREAD_COND_INITIALIZER;
    pthread_mutex_lock(&m);
    pthread_cleanup_push(cleanup, (void *)10);
    sem_post(&ready);
    pthread_cond_wait(&c, &m);
    pthread_cleanup_pop(0);
    return NULL;
}

static void *spinning(void *arg)
{
    int old;
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &old);
    pthread_cleanup_push(cleanup, (void *)100);
    sem_post(&ready);
    for (volatile unsigned long i = 0;; i++) {
    }
    pthread_cleanup_pop(0);
    return NULL;
}

static void *testing(void *arg)
{
    pthread_setspecific(key, (void *)3);
    pthread_cleanup_push(cleanup, (void *)1000);
    sem_post(&ready);
    for (;;) {
        pthread_testcancel();
    }
    pthread_cleanup_pop(0);
    return NULL;
}

static void *disabled(void *arg)
{
    int old;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
    sem_post(&ready);
    usleep(20000);
    return (void *)5;
}

static void *sleeping(void *arg)
{
    pthread_cleanup_push(cleanup, (void *)10000);
    sem_post(&ready);
    sleep(1000);
    pthread_cleanup_pop(0);
    return NULL;
}

static void cancel(const char *name, void *(*f)(void *), int rounds)
{
    for (int i = 0; i < rounds; i++) {
        pthread_t t;
        void *v;
        CHECK(!pthread_create(&t, NULL, f, NULL));
        while (sem_wait(&ready)) {
        }
        if (i & 1) {
            usleep(1000);
        }
        CHECK(!pthread_cancel(t));
        CHECK(!pthread_join(t, &v));
        if (i == 0) {
            printf("%s %d\n", name, v == PTHREAD_CANCELED);
        }
    }
}

static void *exits_deep(void *arg)
{
    pthread_setspecific(key, (void *)2);
    pthread_cleanup_push(cleanup, (void *)100000);
    pthread_exit((void *)77);
    pthread_cleanup_pop(0);
}

int main(void)
{
    sem_init(&ready, 0, 0);
    CHECK(!pipe(pipes));
    CHECK(!pthread_key_create(&key, destroy));
    cancel("read", blocked_read, 20);
    cancel("cond", blocked_cond, 20);
    cancel("spinning", spinning, 20);
    cancel("testing", testing, 20);
    cancel("disabled", disabled, 2);
    cancel("sleeping", sleeping, 20);
    pthread_t t;
    void *v;
    pthread_create(&t, NULL, exits_deep, NULL);
    pthread_join(t, &v);
    printf("%ld cleaned %d destroyed %d\n", (long)v, atomic_load(&cleaned),
           atomic_load(&destroyed));
    return 0;
}
