/* SPDX-License-Identifier: BSD-2-Clause
 * seq_race.c -- a program whose output is the order in which its threads ran: by plain races,
 * mutexes and condition variables, pipes, signals, threads that come and go. For
 * tests/sched_seed.py; it reads no clock and no random numbers. */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

enum { THREADS = 5 };

#include "seq.h"

static volatile uint64_t shared; /* raced on */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static int turn, pipes[2];

static void handler(int sig)
{
    seen(100 + (uint64_t)sig);
}

static void *short_lived(void *arg)
{
    seen(50 + (long)arg);
    return NULL;
}

static void race(long me)
{
    for (int i = 0; i < 3000; i++) {
        uint64_t s = shared;

        for (volatile uint64_t k = 0; k < (s & 7); k++) {
        }
        shared = s + (uint64_t)me + 1;
        seen(me);
    }
}

static void take_turns(long me)
{
    for (int i = 0; i < 30; i++) {
        pthread_mutex_lock(&mutex);
        while (turn % 3 == me % 3 && turn < 100) { /* never all of them: there are all remainders */
            pthread_cond_wait(&cond, &mutex);
        }
        turn++;
        seen(me);
        pthread_cond_broadcast(&cond);
        pthread_mutex_unlock(&mutex);
    }
    pthread_mutex_lock(&mutex);
    turn += 100;
    pthread_cond_broadcast(&cond);
    pthread_mutex_unlock(&mutex);
}

static void pass_on(long me)
{
    for (int i = 0; i < 40; i++) {
        char c = (char)(me * 40 + i);

        if (write(pipes[1], &c, 1) != 1 || read(pipes[0], &c, 1) != 1) {
            _exit(1);
        }
        seen(c);
        if (i % 10 == 0) {
            sched_yield();
        }
    }
}

static void *body(void *arg)
{
    long me = (long)arg;

    pthread_barrier_wait(&barrier);
    race(me);
    take_turns(me);
    pass_on(me);
    pthread_barrier_wait(&barrier);
    for (long i = 0; i < 5; i++) {
        pthread_t t;

        pthread_kill(threads[(me + i) % THREADS], SIGUSR1);
        if (pthread_create(&t, NULL, short_lived, (void *)i) != 0 || pthread_join(t, NULL) != 0) {
            _exit(1);
        }
        seen(me);
    }
    pthread_barrier_wait(&barrier);
    return NULL;
}

int main(void)
{
    signal(SIGUSR1, handler);
    if (pipe(pipes) != 0) {
        return 1;
    }
    if (run_threads(body) != 0) {
        return 1;
    }
    printf("%llx %llx\n", (unsigned long long)shared, (unsigned long long)order);
    return 0;
}
