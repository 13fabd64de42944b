/* SPDX-License-Identifier: BSD-2-Clause
 * keys_guest.c -- calls through pointers, returns, threads, system calls, signals and faults. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
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

static int sort_elsewhere(void *arg)
{
    int v[50];

    for (int i = 0; i < 50; i++) {
        v[i] = (i * 37) % 50;
    }
    qsort(v, 50, sizeof(v[0]), compare);
    *(volatile int *)arg = v[17];
    return 0;
}

/* A process that shares the memory, and runs at the same time. */
static void share(void)
{
    static char stack[65536];
    int result = 0;
    pid_t pid = clone(sort_elsewhere, stack + sizeof(stack), CLONE_VM | SIGCHLD, &result);

    waitpid(pid, NULL, 0);
    printf("%d\n", result);
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
    share();
    return 0;
}
