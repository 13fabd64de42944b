/* SPDX-License-Identifier: BSD-2-Clause
 * sig_window.c -- signals that arrive just before a blocking call, thousands of times at random
 * distances: a lost wake-up hangs. Natively none of these can hang.
 * guest: libs=-lrt timeout=60 */
#define _GNU_SOURCE
#include "guest.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS 1500

static timer_t timer;
static sigjmp_buf back;
static volatile int handled;
static uint64_t state = 4711;
static int fds[2];

static void count(int sig)
{
    handled++;
}

static void jump(int sig)
{
    handled++;
    siglongjmp(back, 1);
}

static void arm(void)
{
    struct itimerspec its = {.it_value = {0, (long)(rng_next(&state) % 120000) + 1000}};
    CHECK(timer_settime(timer, 0, &its, NULL) == 0);
}

static void set(void (*f)(int), int flags)
{
    struct sigaction sa = {.sa_handler = f, .sa_flags = flags};
    CHECK(sigaction(SIGALRM, &sa, NULL) == 0);
    handled = 0;
}

static void block(int how)
{
    sigset_t s;
    sigemptyset(&s);
    sigaddset(&s, SIGALRM);
    CHECK(sigprocmask(how, &s, NULL) == 0);
}

static void test_jump(void)
{
    set(jump, SA_RESTART);
    for (volatile int i = 0; i < ROUNDS; i++) {
        if (!sigsetjmp(back, 1)) {
            char c;
            arm();
            for (volatile int spin = (int)(rng_next(&state) % 3000); spin; spin--) {
            }
            CHECK(read(fds[0], &c, 1) == 1);
        }
    }
    printf("read and siglongjmp: %d\n", handled);
    set(jump, 0);
    for (volatile int i = 0; i < ROUNDS; i++) {
        if (!sigsetjmp(back, 1)) {
            arm();
            for (;;) {
                pause();
            }
        }
    }
    printf("pause and siglongjmp: %d\n", handled);
    for (volatile int i = 0; i < ROUNDS; i++) {
        if (!sigsetjmp(back, 1)) {
            uint32_t word = 0;
            arm();
            for (;;) {
                syscall(SYS_futex, &word, 0, 0, NULL, NULL, 0);
            }
        }
    }
    printf("futex and siglongjmp: %d\n", handled);
}

static void test_mask(void)
{
    sigset_t none;
    siginfo_t info;
    struct timespec ts = {20, 0};
    int bad = 0;
    sigemptyset(&none);
    set(count, SA_RESTART);
    block(SIG_BLOCK);
    for (int i = 1; i <= ROUNDS; i++) {
        arm();
        bad += sigsuspend(&none) != -1 || handled != i;
    }
    printf("sigsuspend: %d bad %d\n", handled, bad);
    handled = 0;
    for (int i = 1; i <= ROUNDS; i++) {
        arm();
        bad += ppoll(NULL, 0, &ts, &none) != -1 || handled != i;
    }
    printf("ppoll: %d bad %d\n", handled, bad);
    handled = 0;
    sigset_t s;
    sigemptyset(&s);
    sigaddset(&s, SIGALRM);
    for (int i = 1; i <= ROUNDS; i++) {
        arm();
        bad += sigwaitinfo(&s, &info) != SIGALRM;
    }
    printf("sigwaitinfo: handled %d bad %d\n", handled, bad);
    for (int i = 1; i <= ROUNDS; i++) {
        arm();
        block(SIG_UNBLOCK);
        block(SIG_BLOCK);
    }
    while (handled < 1) {
        ppoll(NULL, 0, &ts, &none);
    }
    block(SIG_UNBLOCK);
    printf("masks opened and closed\n");
}

/* Blocked means blocked: the handler must never run between SIG_BLOCK and SIG_UNBLOCK. */
static volatile int closed, violations;
static void violation(int sig)
{
    handled++;
    violations += closed;
}

static void test_closed(void)
{
    struct itimerspec its = {.it_value = {0, 30000}, .it_interval = {0, 30000}};
    struct itimerspec off = {.it_value = {0, 0}};
    set(violation, SA_RESTART);
    CHECK(timer_settime(timer, 0, &its, NULL) == 0);
    while (handled < 2000) {
        block(SIG_BLOCK);
        closed = 1;
        for (volatile int i = 0; i < 50; i++) {
        }
        closed = 0;
        block(SIG_UNBLOCK);
    }
    timer_settime(timer, 0, &off, NULL);
    printf("while blocked: %d\n", violations);
}

int main(void)
{
    struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
    CHECK(pipe(fds) == 0);
    CHECK(timer_create(CLOCK_MONOTONIC, &ev, &timer) == 0);
    test_jump();
    test_mask();
    test_closed();
    return 0;
}
