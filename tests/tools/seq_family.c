/* SPDX-License-Identifier: BSD-2-Clause
 * seq_family.c -- as seq_race.c, with processes: children of several threads that answer through
 * pipes, write to one pipe, have threads and children of their own, signal their parent, execute a
 * program; waits of all kinds. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 4 };

#include "seq.h"

extern char **environ;
static int common[2];
static volatile uint64_t spun;

static void handler(int sig)
{
    seen(1000 + (uint64_t)sig);
}

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

static void *thread_of_child(void *arg)
{
    for (long i = 0; i < 3; i++) {
        spin(2000 * (i + (long)arg));
        put(common[1], (char)(10 * (long)arg + i));
    }
    return NULL;
}

/* Answers what it is asked, and tells all in between. */
static void child(int in, int out, long me)
{
    pthread_t threads[3];
    int byte;

    for (long i = 0; i < 3 && me % 2 == 0; i++) {
        pthread_create(&threads[i], NULL, thread_of_child, (void *)i);
    }
    while ((byte = get(in)) > 0) {
        spin(1000 * byte);
        put(common[1], (char)(100 + me));
        if (byte % 3 == 0) {
            kill(getppid(), SIGUSR1);
        }
        put(out, (char)(byte + 1));
    }
    for (int i = 0; i < 3 && me % 2 == 0; i++) {
        pthread_join(threads[i], NULL);
    }
    if (me % 2 == 1 && fork() == 0) {
        spin(20000);
        put(common[1], 7);
        _exit(0);
    }
    _exit((int)me + (me % 2 == 1 ? await(-1) : 0));
}

static void talk(long me)
{
    int to[2], from[2];
    pid_t pid;

    if (pipe(to) != 0 || pipe(from) != 0) {
        return;
    }
    pid = fork();
    if (pid == 0) {
        close(to[1]);
        child(to[0], from[1], me);
    }
    for (int i = 1; i < 6; i++) {
        struct pollfd ready = {.fd = from[0], .events = POLLIN};

        put(to[1], (char)i);
        seen((uint64_t)poll(&ready, 1, 0));
        seen((uint64_t)get(from[0]));
    }
    put(to[1], 0);
    seen((uint64_t)await(pid) + 50);
    close(to[0]), close(to[1]), close(from[0]), close(from[1]);
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
    talk((long)arg);
    execute((long)arg);
    return NULL;
}

int main(void)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    int byte;

    sigaction(SIGUSR1, &action, NULL);
    if (pipe(common) != 0 || run_threads(body) != 0) {
        return 1;
    }
    close(common[1]);
    while ((byte = get(common[0])) >= 0) {
        seen((uint64_t)byte + 200);
    }
    printf("%llx\n", (unsigned long long)order);
    return 0;
}
