/* SPDX-License-Identifier: BSD-2-Clause
 * seq_family.c -- as seq_race.c, with processes: children of several threads that compute, answer
 * through a pipe, execute a program; waits of all kinds. */
#include <errno.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 4 };

#include "seq.h"

extern char **environ;
static volatile uint64_t spun;

static void spin(long turns)
{
    for (long i = 0; i < turns; i++) {
        spun = spun + 1;
    }
}

static void put(int fd, char byte)
{
    while (write(fd, &byte, 1) < 0 && errno == EINTR) {
    }
}

static int get(int fd)
{
    char byte = 0;
    ssize_t n;

    do {
        n = read(fd, &byte, 1);
    } while (n < 0 && errno == EINTR);
    return n == 1 ? byte : -1;
}

static int await(pid_t pid)
{
    int status;

    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) {
            return -1;
        }
    }
    return WEXITSTATUS(status);
}

static void ask(long me)
{
    int from[2];
    pid_t pid;

    if (pipe(from) != 0) {
        return;
    }
    pid = fork();
    if (pid == 0) {
        spin(3000 * me);
        put(from[1], (char)(me + 1));
        _exit((int)me);
    }
    seen((uint64_t)get(from[0]));
    seen((uint64_t)await(pid) + 50);
    close(from[0]), close(from[1]);
}

static void execute(long me)
{
    char *words[] = {"sh", "-c", "exit 3", NULL};
    pid_t pid;

    if (posix_spawn(&pid, "/bin/sh", NULL, NULL, words, environ) == 0) {
        spin(3000 * me);
        seen((uint64_t)await(pid) + 60);
    }
    pid = fork();
    if (pid == 0) {
        _exit(4);
    }
    while (waitpid(pid, NULL, WNOHANG) == 0) {
        seen(70 + (uint64_t)me);
    }
}

static void *body(void *arg)
{
    pthread_barrier_wait(&barrier);
    ask((long)arg);
    execute((long)arg);
    return NULL;
}

int main(void)
{
    if (run_threads(body) != 0) {
        return 1;
    }
    printf("%llx\n", (unsigned long long)order);
    return 0;
}
