/* SPDX-License-Identifier: BSD-2-Clause
 * sig_threads.c -- signals and threads: who gets a signal for the process; a thread that waits for
 * all signals; cancellation and setuid, for which libc uses signals 32 and 33; threads that end
 * with signals under way.
 * guest: timeout=60 */
#define _GNU_SOURCE
#include "guest.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

static __thread int number;
static volatile int handled_by = -1, handled;
static volatile int stop;

static void handler(int sig, siginfo_t *info, void *uc)
{
    handled_by = number;
    __atomic_add_fetch(&handled, 1, __ATOMIC_SEQ_CST);
}

static void mask_all(int how)
{
    sigset_t s;
    sigfillset(&s);
    pthread_sigmask(how, &s, NULL);
}

static volatile int started;
static void *open_thread(void *arg)
{
    number = (int)(intptr_t)arg;
    mask_all(SIG_UNBLOCK);
    __atomic_add_fetch(&started, 1, __ATOMIC_SEQ_CST);
    while (!stop) {
        usleep(1000);
    }
    return NULL;
}

static void *closed_thread(void *arg)
{
    number = (int)(intptr_t)arg;
    __atomic_add_fetch(&started, 1, __ATOMIC_SEQ_CST);
    while (!stop) {
        for (volatile int i = 0; i < 1000; i++) {
        }
    }
    return NULL;
}

/* All block SIGUSR1 but one. */
static void test_selection(void)
{
    pthread_t th[4];
    mask_all(SIG_BLOCK);
    started = 0;
    for (int i = 0; i < 4; i++) {
        CHECK(!pthread_create(&th[i], NULL, i == 2 ? open_thread : closed_thread,
                              (void *)(intptr_t)(i + 1)));
    }
    while (started < 4) {
        usleep(500);
    }
    for (int i = 1; i <= 100; i++) {
        kill(getpid(), SIGUSR1);
        while (handled < i) {
            sched_yield();
        }
        CHECK(handled_by == 3);
    }
    pthread_kill(th[0], SIGUSR1);
    usleep(10000);
    printf("selected thread 3 each time; blocked one did not handle: %d\n", handled == 100);
    stop = 1;
    for (int i = 0; i < 4; i++) {
        pthread_join(th[i], NULL);
    }
    mask_all(SIG_UNBLOCK);
    stop = 0;
}

static int waited[65];
static void *waiter(void *arg)
{
    sigset_t s;
    int sig;
    sigfillset(&s);
    do {
        CHECK(sigwait(&s, &sig) == 0);
        waited[sig]++;
    } while (sig != SIGTERM);
    return NULL;
}

static void test_waiter(void)
{
    pthread_t th;
    mask_all(SIG_BLOCK);
    CHECK(!pthread_create(&th, NULL, waiter, NULL));
    for (int i = 0; i < 200; i++) {
        CHECK(sigqueue(getpid(), SIGRTMIN + i % 5, (union sigval){.sival_int = i}) == 0);
    }
    kill(getpid(), SIGTERM);
    pthread_join(th, NULL);
    siginfo_t info;
    sigset_t s;
    struct timespec zero = {0, 0};
    sigfillset(&s);
    while (sigtimedwait(&s, &info, &zero) > 0) {
        waited[info.si_signo]++;
    }
    printf("waiter: SIGTERM %d, real-time", waited[SIGTERM]);
    for (int i = 0; i < 5; i++) {
        printf(" %d", waited[SIGRTMIN + i]);
    }
    printf("\n");
    mask_all(SIG_UNBLOCK);
}

static volatile int cleaned;
static void cleanup(void *arg)
{
    __atomic_add_fetch(&cleaned, 1, __ATOMIC_SEQ_CST);
}

static void *sleeper(void *arg)
{
    pthread_cleanup_push(cleanup, NULL);
    started++;
    for (;;) {
        sleep(100);
    }
    pthread_cleanup_pop(0);
    return NULL;
}

static void *spinner(void *arg)
{
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    pthread_cleanup_push(cleanup, NULL);
    started++;
    for (volatile long i = 0;; i++) {
    }
    pthread_cleanup_pop(0);
    return NULL;
}

static void test_cancel(void)
{
    cleaned = 0;
    for (int i = 0; i < 40; i++) {
        pthread_t th;
        void *result;
        started = 0;
        CHECK(!pthread_create(&th, NULL, i & 1 ? spinner : sleeper, NULL));
        while (!started) {
            sched_yield();
        }
        if (i % 3) {
            usleep(200);
        }
        CHECK(pthread_cancel(th) == 0);
        CHECK(pthread_join(th, &result) == 0 && result == PTHREAD_CANCELED);
    }
    printf("cancelled: %d\n", cleaned);
}

static void *idle(void *arg)
{
    while (!stop) {
        usleep(500);
    }
    CHECK(syscall(SYS_getgid) == getgid());
    return NULL;
}

/* setgid() has to be done by every thread: libc sends signal 33 to each. */
static void test_setxid(void)
{
    pthread_t th[4];
    for (int i = 0; i < 4; i++) {
        CHECK(!pthread_create(&th[i], NULL, idle, NULL));
    }
    for (int i = 0; i < 20; i++) {
        CHECK(setgid(getgid()) == 0);
        CHECK(setuid(getuid()) == 0);
    }
    stop = 1;
    for (int i = 0; i < 4; i++) {
        pthread_join(th[i], NULL);
    }
    stop = 0;
    printf("setgid with threads\n");
}

static void *short_life(void *arg)
{
    return arg;
}

/* Signals to the process while threads come and go: each one is handled by somebody. */
static void *sender(void *arg)
{
    for (int i = 0; i < 500; i++) {
        sigqueue(getpid(), SIGRTMIN + 5, (union sigval){.sival_int = i});
        if (i % 16 == 0) {
            usleep(100);
        }
    }
    return NULL;
}

static void test_come_and_go(void)
{
    pthread_t s;
    struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigaction(SIGRTMIN + 5, &sa, NULL);
    handled = 0;
    CHECK(!pthread_create(&s, NULL, sender, NULL));
    for (int i = 0; i < 300; i++) {
        pthread_t th;
        if (pthread_create(&th, NULL, short_life, NULL) == 0) {
            pthread_join(th, NULL);
        }
    }
    pthread_join(s, NULL);
    for (int i = 0; i < 2000 && handled < 500; i++) {
        usleep(1000);
    }
    printf("threads come and go: %d\n", handled);
}

int main(void)
{
    struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    sigaction(SIGUSR1, &sa, NULL);
    test_selection();
    test_waiter();
    test_cancel();
    test_setxid();
    test_come_and_go();
    return 0;
}
