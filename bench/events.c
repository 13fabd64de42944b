/* SPDX-License-Identifier: BSD-2-Clause
 * events.c -- what one event costs: system calls, signals, threads, locks, processes.
 * Usage: events NAME COUNT [THREADS] */
#include "kernel.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static long count, threads;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turned = PTHREAD_COND_INITIALIZER;
static long counter;

/* Runs a body in N threads and waits for them. */
static void in_threads(long n, void *(*body)(void *))
{
    pthread_t *t = calloc((size_t)n, sizeof(*t));
    long i;

    for (i = 0; i < n; i++) {
        if (pthread_create(&t[i], NULL, body, (void *)i) != 0) {
            kernel_die("pthread_create");
        }
    }
    for (i = 0; i < n; i++) {
        pthread_join(t[i], NULL);
    }
    free(t);
}

static void *malloc_body(void *arg)
{
    void *live[64] = {NULL};
    uint64_t seed = 12345 + (uintptr_t)arg;
    long i;

    for (i = 0; i < count / threads; i++) {
        uint64_t r = kernel_random(&seed);
        unsigned slot = r & 63;

        free(live[slot]);
        live[slot] = malloc(16 + (r >> 8) % 496);
        *(volatile char *)live[slot] = 1;
    }
    for (i = 0; i < 64; i++) {
        free(live[i]);
    }
    return NULL;
}

static double event_malloc(void)
{
    if (threads == 1) {
        malloc_body(NULL);
    } else {
        in_threads(threads, malloc_body);
    }
    return (double)count;
}

static void *empty_body(void *arg)
{
    counter++;
    return arg;
}

static double event_thread(void)
{
    long i;

    for (i = 0; i < count; i++) {
        in_threads(1, empty_body);
    }
    return (double)count;
}

static void *mutex_body(void *arg)
{
    long i;

    for (i = 0; i < count / threads; i++) {
        pthread_mutex_lock(&mutex);
        counter++;
        pthread_mutex_unlock(&mutex);
    }
    return arg;
}

static double event_mutex(void)
{
    in_threads(threads, mutex_body);
    return (double)counter;
}

/* Two threads take turns: every turn is one wake-up. */
static void *handover_body(void *arg)
{
    long me = (long)arg, i;

    for (i = 0; i < count / 2; i++) {
        pthread_mutex_lock(&mutex);
        while ((counter & 1) != me) {
            pthread_cond_wait(&turned, &mutex);
        }
        counter++;
        pthread_cond_signal(&turned);
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

static double event_handover(void)
{
    in_threads(2, handover_body);
    return (double)counter;
}

static double event_getppid(void)
{
    long i, bad = 0, parent = syscall(SYS_getppid);

    for (i = 0; i < count; i++) {
        bad += syscall(SYS_getppid) != parent;
    }
    counter = bad;
    return (double)count;
}

static void on_signal(int number)
{
    counter += number == SIGUSR1;
}

static double event_signal(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    long i;

    sigaction(SIGUSR1, &action, NULL);
    for (i = 0; i < count; i++) {
        kill(getpid(), SIGUSR1);
    }
    return (double)counter;
}

static double event_fork(void)
{
    long i;
    int status;

    for (i = 0; i < count; i++) {
        pid_t child = fork();

        if (child == 0) {
            _exit((int)(i & 63));
        }
        if (child < 0 || waitpid(child, &status, 0) != child) {
            kernel_die("fork");
        }
        counter += WEXITSTATUS(status);
    }
    return (double)count;
}

static int there[2], back[2];

static void *echo_body(void *arg)
{
    char c;

    while (read(there[0], &c, 1) == 1 && c != 0) {
        c++;
        if (write(back[1], &c, 1) != 1) {
            kernel_die("write");
        }
    }
    return arg;
}

static double event_pipe(void)
{
    pthread_t t;
    char c = 0;
    long i;

    if (pipe(there) != 0 || pipe(back) != 0 || pthread_create(&t, NULL, echo_body, NULL) != 0) {
        kernel_die("pipe");
    }
    for (i = 0; i < count; i++) {
        c = (char)(1 + i % 100);
        if (write(there[1], &c, 1) != 1 || read(back[0], &c, 1) != 1) {
            kernel_die("pipe");
        }
        counter += c;
    }
    c = 0;
    if (write(there[1], &c, 1) != 1) {
        kernel_die("pipe");
    }
    pthread_join(t, NULL);
    return (double)count;
}

static const struct {
    const char *name;
    double (*run)(void);
} events[] = {
    {"malloc", event_malloc},   {"thread", event_thread},     {"mutex", event_mutex},
    {"getppid", event_getppid}, {"signal", event_signal},     {"fork", event_fork},
    {"pipe", event_pipe},       {"handover", event_handover},
};

int main(int argc, char **argv)
{
    size_t i;

    count = argc > 2 ? atol(argv[2]) : 1000;
    threads = argc > 3 ? atol(argv[3]) : 1;
    for (i = 0; argc > 1 && i < sizeof(events) / sizeof(events[0]); i++) {
        if (strcmp(argv[1], events[i].name) == 0) {
            KernelClock c = kernel_begin();
            double done = events[i].run();

            printf("%s %ld %ld\n", argv[1], count, counter);
            kernel_end(c, done);
            return 0;
        }
    }
    fprintf(stderr, "usage: events NAME COUNT [THREADS]\n");
    return 2;
}
