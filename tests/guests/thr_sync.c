/* SPDX-License-Identifier: BSD-2-Clause
 * thr_sync.c -- mutexes of every kind, condition variables, barriers, rwlocks, spin locks,
 * semaphores, once; robust and priority-inheriting mutexes.
 * Argument: how many times less work (1), for slow outer tools.
 * guest: timeout=40
 * variant: pie
 * variant: static cflags=-static */
#define _GNU_SOURCE
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "guest.h"

enum { THREADS = 4, LOOPS = 5000 };
static int less = 1;

static pthread_mutex_t mutex[4];
static long guarded[8];
static pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_spinlock_t spin;
static pthread_barrier_t barrier;
static sem_t sem;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int initialised;

static void init_once(void)
{
    initialised++;
}

static void *worker(void *arg)
{
    pthread_once(&once, init_once);
    CHECK(initialised == 1);
    for (int i = 0; i < LOOPS / less; i++) {
        for (int k = 0; k < 4; k++) {
            CHECK(!pthread_mutex_lock(&mutex[k]));
            guarded[k]++;
            CHECK(!pthread_mutex_unlock(&mutex[k]));
        }
        if (i % 8 == 0) {
            pthread_rwlock_wrlock(&rwlock);
            guarded[4]++;
        } else {
            pthread_rwlock_rdlock(&rwlock);
        }
        pthread_rwlock_unlock(&rwlock);
        pthread_spin_lock(&spin);
        guarded[5]++;
        pthread_spin_unlock(&spin);
        while (sem_wait(&sem)) {
        }
        guarded[6]++;
        sem_post(&sem);
        if (i % 500 == 0) {
            int serial = pthread_barrier_wait(&barrier);
            CHECK(serial == 0 || serial == PTHREAD_BARRIER_SERIAL_THREAD);
        }
    }
    return NULL;
}

/* producer and consumers over a bounded queue */
static pthread_mutex_t qlock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t not_empty = PTHREAD_COND_INITIALIZER, not_full = PTHREAD_COND_INITIALIZER;
static int queue[8], head, tail, finished;
static _Atomic long consumed;

static void *consumer(void *arg)
{
    for (;;) {
        pthread_mutex_lock(&qlock);
        while (head == tail && !finished) {
            pthread_cond_wait(&not_empty, &qlock);
        }
        if (head == tail) {
            pthread_mutex_unlock(&qlock);
            return NULL;
        }
        int v = queue[tail++ % 8];
        pthread_cond_signal(&not_full);
        pthread_mutex_unlock(&qlock);
        atomic_fetch_add(&consumed, v);
    }
}

static void queue_test(void)
{
    pthread_t t[3];
    for (int i = 0; i < 3; i++) {
        pthread_create(&t[i], NULL, consumer, NULL);
    }
    for (int i = 1; i <= 20000 / less; i++) {
        pthread_mutex_lock(&qlock);
        while (head - tail == 8) {
            pthread_cond_wait(&not_full, &qlock);
        }
        queue[head++ % 8] = i;
        pthread_cond_signal(&not_empty);
        pthread_mutex_unlock(&qlock);
    }
    pthread_mutex_lock(&qlock);
    finished = 1;
    pthread_cond_broadcast(&not_empty);
    pthread_mutex_unlock(&qlock);
    for (int i = 0; i < 3; i++) {
        pthread_join(t[i], NULL);
    }
    printf("consumed %ld\n", atomic_load(&consumed));
}

static pthread_mutex_t robust;

static void *dies_holding(void *arg)
{
    CHECK(!pthread_mutex_lock(&robust));
    return NULL;
}

static void *waits_for_robust(void *arg)
{
    int r = pthread_mutex_lock(&robust);
    if (r == EOWNERDEAD) {
        pthread_mutex_consistent(&robust);
    }
    pthread_mutex_unlock(&robust);
    return (void *)(long)r;
}

static void *dies_later(void *arg)
{
    CHECK(!pthread_mutex_lock(&robust));
    sem_post(&sem);
    usleep(20000);
    pthread_exit(NULL);
}

static void robust_test(void)
{
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&robust, &attr);
    pthread_t t, u;
    pthread_create(&t, NULL, dies_holding, NULL);
    pthread_join(t, NULL);
    int r = pthread_mutex_lock(&robust);
    printf("after death: %d\n", r == EOWNERDEAD);
    CHECK(!pthread_mutex_consistent(&robust) && !pthread_mutex_unlock(&robust));
    while (!sem_trywait(&sem)) {
    }
    pthread_create(&t, NULL, dies_later, NULL);
    sem_wait(&sem);
    pthread_create(&u, NULL, waits_for_robust, NULL);
    void *v;
    pthread_join(t, NULL);
    pthread_join(u, &v);
    printf("waiter: %d\n", (long)v == EOWNERDEAD);
}

static void timeouts(void)
{
    struct timespec ts;
    pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t c = PTHREAD_COND_INITIALIZER;
    pthread_mutex_lock(&m);
    clock_gettime(CLOCK_REALTIME, &ts);
    ts.tv_nsec += 20000000;
    if (ts.tv_nsec >= 1000000000) {
        ts.tv_sec++;
        ts.tv_nsec -= 1000000000;
    }
    printf("cond %d\n", pthread_cond_timedwait(&c, &m, &ts) == ETIMEDOUT);
    printf("mutex %d\n", pthread_mutex_timedlock(&m, &ts) == ETIMEDOUT);
    while (!sem_trywait(&sem)) {
    }
    printf("sem %d\n", sem_timedwait(&sem, &ts) == -1 && errno == ETIMEDOUT);
    printf("try %d\n", pthread_mutex_trylock(&m) == EBUSY);
    pthread_mutex_unlock(&m);
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        less = atoi(argv[1]);
    }
    int kinds[] = {PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_ERRORCHECK,
                   PTHREAD_MUTEX_ADAPTIVE_NP};
    for (int k = 0; k < 4; k++) {
        pthread_mutexattr_t attr;
        pthread_mutexattr_init(&attr);
        pthread_mutexattr_settype(&attr, kinds[k]);
        if (k == 1) {
            pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT);
        }
        CHECK(!pthread_mutex_init(&mutex[k], &attr));
    }
    pthread_spin_init(&spin, 0);
    sem_init(&sem, 0, 1);
    pthread_barrier_init(&barrier, NULL, THREADS);
    pthread_t t[THREADS];
    for (int i = 0; i < THREADS; i++) {
        CHECK(!pthread_create(&t[i], NULL, worker, NULL));
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(t[i], NULL);
    }
    for (int i = 0; i < 7; i++) {
        printf("%ld\n", guarded[i]);
    }
    CHECK(pthread_mutex_unlock(&mutex[2]) == EPERM);
    queue_test();
    robust_test();
    timeouts();
    return 0;
}
