/* SPDX-License-Identifier: BSD-2-Clause
 * keys_guest.c -- calls through pointers, returns, threads, system calls, signals and faults. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int compare(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

static void *sort(void *arg)
{
    static __thread int v[500];
    unsigned x = 1;

    for (int i = 0; i < 500; i++) {
        v[i] = (int)((x = x * 1103515245u + 12345) >> 8);
    }
    qsort(v, 500, sizeof(v[0]), compare);
    return (void *)(long)v[250];
}

static sigjmp_buf back;
static volatile int handled;

static void handler(int sig)
{
    handled++;
    if (sig == SIGSEGV) {
        siglongjmp(back, 1);
    }
}

int main(void)
{
    pthread_t t[3];
    void *r;

    signal(SIGUSR1, handler);
    signal(SIGSEGV, handler);
    for (int i = 0; i < 3; i++) {
        pthread_create(&t[i], NULL, sort, NULL);
    }
    for (int i = 0; i < 100; i++) {
        raise(SIGUSR1);
        if (sigsetjmp(back, 1) == 0) {
            *(volatile int *)8 = 1;
        }
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(t[i], &r);
        printf("%ld\n", (long)r);
    }
    printf("%d\n", handled);
    return 0;
}
