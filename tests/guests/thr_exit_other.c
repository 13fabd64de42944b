/* SPDX-License-Identifier: BSD-2-Clause
 * thr_exit_other.c -- exit() and _exit() by another thread than main, while some run, some block.
 * guest:
 * variant: exit
 * variant: quick cflags=-DHOW=_exit(33)
 * variant: abort cflags=-DHOW=abort()
 * variant: kill cflags=-DHOW=raise(SIGKILL)
 * variant: main cflags=-DFROM_MAIN */
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <unistd.h>

#include "guest.h"

#ifndef HOW
#define HOW exit(33)
#endif

static sem_t never, ready;
static volatile long counter;

static void *spins(void *arg)
{
    sem_post(&ready);
    for (;;) {
        counter++;
    }
}

static void *blocks(void *arg)
{
    sem_post(&ready);
    while (sem_wait(&never)) {
    }
    return NULL;
}

static void *reads(void *arg)
{
    int p[2];
    char c;
    CHECK(!pipe(p));
    sem_post(&ready);
    (void)!read(p[0], &c, 1);
    return NULL;
}

static void *allocates(void *arg)
{
    sem_post(&ready);
    for (;;) {
        free(malloc(100000 + (size_t)counter % 1000000));
    }
}

static void *ends(void *arg)
{
    puts("ending");
    fflush(stdout);
    HOW;
    return NULL;
}

int main(void)
{
    void *(*kinds[])(void *) = {spins, blocks, reads, allocates, spins, blocks};
    sem_init(&never, 0, 0);
    sem_init(&ready, 0, 0);
    for (int i = 0; i < 6; i++) {
        pthread_t t;
        CHECK(!pthread_create(&t, NULL, kinds[i], NULL));
    }
    for (int i = 0; i < 6; i++) {
        sem_wait(&ready);
    }
#ifdef FROM_MAIN
    return 12;
#else
    pthread_t t;
    CHECK(!pthread_create(&t, NULL, ends, NULL));
    pause();
    return 1;
#endif
}
