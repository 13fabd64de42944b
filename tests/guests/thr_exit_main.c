/* SPDX-License-Identifier: BSD-2-Clause
 * thr_exit_main.c -- the main thread leaves first; the process ends with the last thread.
 * guest:
 * variant: pie
 * variant: raw cflags=-DRAW_EXIT
 * variant: static cflags=-static */
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "guest.h"

static pthread_t main_thread;

static void *worker(void *arg)
{
    long n = (long)arg;
#ifndef RAW_EXIT
    if (n == 0) {
        CHECK(!pthread_join(main_thread, NULL));
        puts("main is gone");
    }
#endif
    usleep(20000 * (unsigned)(n + 1));
    printf("worker %ld\n", n);
    return NULL;
}

static void at_exit(void)
{
    puts("atexit");
    fflush(stdout);
}

int main(void)
{
    atexit(at_exit);
    main_thread = pthread_self();
    for (long i = 0; i < 4; i++) {
        pthread_t t;
        CHECK(!pthread_create(&t, NULL, worker, (void *)i));
    }
#ifdef RAW_EXIT
    setvbuf(stdout, NULL, _IONBF, 0);
    syscall(SYS_exit, 9);
#else
    pthread_exit(NULL);
#endif
}
