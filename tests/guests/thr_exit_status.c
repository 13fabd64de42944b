/* SPDX-License-Identifier: BSD-2-Clause
 * thr_exit_status.c -- threads end by exit(2); the last one's status is the process's.
 * guest:
 * variant: other
 * variant: main cflags=-DMAIN_LAST */
#include <pthread.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "guest.h"

/* Does not end before the kernel has ended `tid`. */
static void exit_behind(long tid, int status)
{
    while (syscall(SYS_tgkill, getpid(), tid, 0) == 0) {
        char path[64], text[256] = "";
        FILE *f;

        /* A main thread that has ended stays until the others have, as a zombie. */
        snprintf(path, sizeof(path), "/proc/self/task/%ld/stat", tid);
        f = fopen(path, "r");
        if (f == NULL || fgets(text, sizeof(text), f) == NULL || strstr(text, ") Z") != NULL) {
            break;
        }
        fclose(f);
        usleep(1000);
    }
    syscall(SYS_exit, status);
}

static volatile long other_tid;

static void *run(void *main_tid)
{
    other_tid = syscall(SYS_gettid);
#ifdef MAIN_LAST
    syscall(SYS_exit, 11);
#else
    exit_behind((long)(intptr_t)main_tid, 22);
#endif
    return NULL;
}

int main(void)
{
    pthread_t th;

    CHECK(pthread_create(&th, NULL, run, (void *)(intptr_t)getpid()) == 0);
    while (other_tid == 0) {
        usleep(100);
    }
#ifdef MAIN_LAST
    exit_behind(other_tid, 33);
#else
    syscall(SYS_exit, 44);
#endif
    return 0;
}
