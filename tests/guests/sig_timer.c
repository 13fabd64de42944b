/* SPDX-License-Identifier: BSD-2-Clause
 * sig_timer.c -- timers of all kinds: signals to the process, to a thread, in a thread; overruns;
 * handlers that run in the middle of computations.
 * guest: libs=-lrt timeout=30 */
#define _GNU_SOURCE
#include "guest.h"

#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

static volatile sig_atomic_t ticks, wrong;
static __thread int is_target;

static void tick(int sig, siginfo_t *info, void *uc)
{
    double x[4];
    for (int i = 0; i < 4; i++) {
        x[i] = sig * 1.5 + i;
    }
    wrong += x[3] != sig * 1.5 + 3;
    ticks++;
}

static volatile int hit_target;
static void to_thread(int sig, siginfo_t *info, void *uc)
{
    wrong += !is_target || info->si_code != SI_TIMER || info->si_value.sival_int != 7;
    hit_target++;
}

static void set(int sig, void (*f)(int, siginfo_t *, void *))
{
    struct sigaction sa = {.sa_sigaction = f, .sa_flags = SA_SIGINFO | SA_RESTART};
    CHECK(sigaction(sig, &sa, NULL) == 0);
}

/* Floating-point and integer work that must not notice. */
static uint64_t work(int rounds)
{
    double a = 1, b = 0.5;
    uint64_t h = 1;
    for (int i = 0; i < rounds; i++) {
        a = a * 1.0000001 + b;
        b = a / (b + 3);
        h = h * 6364136223846793005ull + (uint64_t)(b * 1000);
        h ^= h >> 17;
    }
    return h;
}

static void test_interval(int which, int sig, const char *name)
{
    struct itimerval it = {.it_value = {0, 1000}, .it_interval = {0, 1000}}, off = {{0, 0}, {0, 0}};
    uint64_t good = work(20000);
    int bad = 0;
    ticks = 0;
    set(sig, tick);
    CHECK(setitimer(which, &it, NULL) == 0);
    while (ticks < 100) {
        bad += work(20000) != good;
    }
    setitimer(which, &off, NULL);
    printf("%s: wrong results %d, wrong in handler %d\n", name, bad, (int)wrong);
}

static volatile int stop, ready_tid;
static void *target(void *arg)
{
    is_target = 1;
    __atomic_store_n(&ready_tid, (int)syscall(SYS_gettid), __ATOMIC_SEQ_CST);
    while (!stop) {
        work(100);
    }
    return NULL;
}

static void test_thread_id(void)
{
    pthread_t th;
    timer_t timer;
    struct sigevent ev = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN + 2};
    struct itimerspec its = {.it_value = {0, 1000000}, .it_interval = {0, 1000000}};
    set(SIGRTMIN + 2, to_thread);
    CHECK(pthread_create(&th, NULL, target, NULL) == 0);
    while (!ready_tid) {
        usleep(1000);
    }
    ev.sigev_value.sival_int = 7;
    ev.sigev_notify_thread_id = ready_tid;
    CHECK(timer_create(CLOCK_MONOTONIC, &ev, &timer) == 0);
    CHECK(timer_settime(timer, 0, &its, NULL) == 0);
    while (hit_target < 50) {
        usleep(1000);
    }
    CHECK(timer_delete(timer) == 0);
    stop = 1;
    pthread_join(th, NULL);
    printf("SIGEV_THREAD_ID: wrong %d\n", (int)wrong);
}

static volatile int thread_calls;
static void on_timer(union sigval v)
{
    CHECK(v.sival_int == 11);
    __atomic_add_fetch(&thread_calls, 1, __ATOMIC_SEQ_CST);
}

static void test_sigev_thread(void)
{
    timer_t timer;
    struct sigevent ev = {.sigev_notify = SIGEV_THREAD, .sigev_notify_function = on_timer};
    struct itimerspec its = {.it_value = {0, 2000000}, .it_interval = {0, 2000000}};
    ev.sigev_value.sival_int = 11;
    CHECK(timer_create(CLOCK_MONOTONIC, &ev, &timer) == 0);
    CHECK(timer_settime(timer, 0, &its, NULL) == 0);
    while (thread_calls < 10) {
        usleep(1000);
    }
    CHECK(timer_delete(timer) == 0);
    printf("SIGEV_THREAD works\n");
}

static void test_overrun(void)
{
    timer_t timer;
    sigset_t s;
    siginfo_t info;
    struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    struct itimerspec its = {.it_value = {0, 1000000}, .it_interval = {0, 1000000}};
    sigemptyset(&s);
    sigaddset(&s, SIGUSR1);
    sigprocmask(SIG_BLOCK, &s, NULL);
    CHECK(timer_create(CLOCK_MONOTONIC, &ev, &timer) == 0);
    CHECK(timer_settime(timer, 0, &its, NULL) == 0);
    usleep(30000);
    CHECK(sigwaitinfo(&s, &info) == SIGUSR1);
    printf("overrun: %d code %d\n", info.si_overrun > 5, info.si_code);
    timer_delete(timer);
    printf("alarm: %u", alarm(100));
    printf(" %d\n", alarm(0) > 90);
}

int main(void)
{
    test_interval(ITIMER_REAL, SIGALRM, "ITIMER_REAL");
    test_interval(ITIMER_VIRTUAL, SIGVTALRM, "ITIMER_VIRTUAL");
    test_interval(ITIMER_PROF, SIGPROF, "ITIMER_PROF");
    test_thread_id();
    test_sigev_thread();
    test_overrun();
    return 0;
}
