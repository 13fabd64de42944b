/* SPDX-License-Identifier: BSD-2-Clause
 * thr_grow.c -- a program becomes large while its threads, more than there are processors, run: the
 * translator changes how calls and returns are translated (--return-stack=auto), and throws all
 * code away.
 * guest: timeout=60 modes=default,nochain,near,loop,rstack
 * variant: pie */
#define _GNU_SOURCE
#include "guest.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>
#include <sys/mman.h>

#define FUNCTIONS 44000u
#define STRIDE 16u
#define THREADS 6

typedef unsigned (*Function)(unsigned);

static volatile int stop;
static int signalled; /* threads whose handler has run */

static void on_signal(int sig)
{
    (void)sig;
    __atomic_fetch_add(&signalled, 1, __ATOMIC_RELAXED);
}

static unsigned __attribute__((noinline, noclone)) add(unsigned a)
{
    __asm__ volatile("");
    return a * 3 + 1;
}

static unsigned __attribute__((noinline, noclone)) twice(unsigned a)
{
    return add(add(a)) ^ a;
}

/* Calls and returns all the time; each result is compared with what the calls give inlined. */
static void *spin(void *arg)
{
    unsigned a = (unsigned)(size_t)arg, b, wrong = 0;

    while (!stop) {
        b = ((a * 3 + 1) * 3 + 1) ^ a;
        a = twice(a);
        wrong += a != b;
    }
    return (void *)(size_t)wrong;
}

/* Leaves its one block neither through the run loop nor through a table. */
static void *spin_alone(void *arg)
{
    unsigned a = (unsigned)(size_t)arg;

    while (!stop) {
        a = a * 3 + 1;
    }
    return NULL;
}

/* lea i(%rdi), %eax; ret */
static void write_function(unsigned char *at, unsigned i)
{
    memcpy(at, "\x8d\x87", 2);
    memcpy(at + 2, &i, 4);
    at[6] = 0xc3;
}

int main(void)
{
    unsigned char *code = mmap(NULL, FUNCTIONS * STRIDE, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pthread_t t[THREADS];
    unsigned sum = 0;
    void *wrong;

    CHECK(code != MAP_FAILED);
    CHECK(signal(SIGUSR1, on_signal) != SIG_ERR);
    for (unsigned i = 0; i < FUNCTIONS; i++) {
        write_function(code + i * STRIDE, i);
    }
    CHECK(mprotect(code, FUNCTIONS * STRIDE, PROT_READ | PROT_EXEC) == 0);
    for (size_t i = 0; i < THREADS; i++) {
        CHECK(pthread_create(&t[i], NULL, i % 2 ? spin : spin_alone, (void *)i) == 0);
    }
    for (int round = 0; round < 2; round++) {
        for (unsigned i = 0; i < FUNCTIONS; i++) {
            sum += ((Function)(void *)(code + i * STRIDE))(sum);
        }
    }
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_kill(t[i], SIGUSR1) == 0);
    }
    while (__atomic_load_n(&signalled, __ATOMIC_RELAXED) < THREADS) {
        usleep(1000);
    }
    stop = 1;
    for (int i = 0; i < THREADS; i++) {
        CHECK(pthread_join(t[i], &wrong) == 0);
        CHECK(wrong == NULL);
    }
    printf("%u\n", sum);
    return 0;
}
