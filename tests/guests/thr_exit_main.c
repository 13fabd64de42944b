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

static pthread_t main_thread, workers[4];

/* Each joins the one before it, so that the order of the output is fixed. */
static void *worker(void *arg)
{
    long n = (long)arg;
    usleep(20000);
    if (n > 0) {
        CHECK(!pthread_join(workers[n - 1], NULL));
    }
#ifndef RAW_EXIT
    if (n == 0) {
        CHECK(!pthread_join(main_thread, NULL));
        puts("main is gone");
    }
#endif
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
        CHECK(!pthread_create(&workers[i], NULL, worker, (void *)i));
    }
#ifdef RAW_EXIT
    setvbuf(stdout, NULL, _IONBF, 0);
    syscall(SYS_exit, 9);
#else
    pthread_exit(NULL);
#endif
}
