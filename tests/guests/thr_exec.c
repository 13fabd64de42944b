/* SPDX-License-Identifier: BSD-2-Clause
 * thr_exec.c -- exec from a thread that is not the main one; the process id stays.
 * guest: */
#include <pthread.h>
#include <unistd.h>

#include "guest.h"

static char **arguments;

static void *spins(void *arg)
{
    for (volatile long i = 0;; i++) {
    }
}

static void *executes(void *arg)
{
    char pid[32];
    snprintf(pid, sizeof pid, "%d", getpid());
    char *argv[] = {arguments[0], "again", pid, NULL};
    usleep(10000);
    execv("/proc/self/exe", argv);
    printf("GUEST-FAILED exec: %s\n", strerror(errno));
    exit(1);
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        printf("again, same process: %d\n", atoi(argv[2]) == getpid());
        return 21;
    }
    arguments = argv;
    pthread_t t;
    for (int i = 0; i < 3; i++) {
        pthread_create(&t, NULL, spins, NULL);
    }
    pthread_create(&t, NULL, executes, NULL);
    pause();
    return 1;
}
