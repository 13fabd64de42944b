/* SPDX-License-Identifier: BSD-2-Clause
 * seq.h -- what the programs of tests/sched_seed.py have in common. THREADS is defined before it is
 * included. */
#ifndef SEQ_H
#define SEQ_H

#include <pthread.h>
#include <stdint.h>

static volatile uint64_t order; /* raced on: what was seen, in the order in which it was */
static pthread_barrier_t barrier;
static pthread_t threads[THREADS];

static void seen(uint64_t what)
{
    order = order * 31 + what + 1;
}

/* All THREADS, each with its number, from start to end. 0, or 1: could not be done. */
static int run_threads(void *(*body)(void *))
{
    pthread_barrier_init(&barrier, NULL, THREADS);
    for (long i = 0; i < THREADS; i++) {
        if (pthread_create(&threads[i], NULL, body, (void *)i) != 0) {
            return 1;
        }
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    return 0;
}

#endif
