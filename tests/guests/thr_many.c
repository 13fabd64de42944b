/* SPDX-License-Identifier: BSD-2-Clause
 * thr_many.c -- two thousand threads alive at the same time.
 * guest: timeout=60 */
#include <pthread.h>
#include <stdatomic.h>

#include "guest.h"

enum { COUNT = 2000 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t go = PTHREAD_COND_INITIALIZER, all = PTHREAD_COND_INITIALIZER;
static int arrived, released;
static __thread long own;

static void *thread(void *arg)
{
    own = (long)arg * 3;
    pthread_mutex_lock(&lock);
    if (++arrived == COUNT) {
        pthread_cond_signal(&all);
    }
    while (!released) {
        pthread_cond_wait(&go, &lock);
    }
    pthread_mutex_unlock(&lock);
    CHECK(own == (long)arg * 3);
    return (void *)own;
}

int main(void)
{
    static pthread_t t[COUNT];
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 32768);
    for (long i = 0; i < COUNT; i++) {
        int r = pthread_create(&t[i], &attr, thread, (void *)i);
        if (r) {
            printf("GUEST-FAILED thread %ld: %s\n", i, strerror(r));
            return 1;
        }
    }
    pthread_mutex_lock(&lock);
    while (arrived < COUNT) {
        pthread_cond_wait(&all, &lock);
    }
    released = 1;
    pthread_cond_broadcast(&go);
    pthread_mutex_unlock(&lock);
    long sum = 0;
    for (int i = 0; i < COUNT; i++) {
        void *v;
        pthread_join(t[i], &v);
        sum += (long)v;
    }
    printf("%ld\n", sum);
    return 0;
}
