/* SPDX-License-Identifier: BSD-2-Clause
 * sig_lowest.c -- which of several pending signals sigtimedwait takes: the lowest, faults first;
 * also among those that the runtime needs for itself (sig_open.c). */
#define _GNU_SOURCE
#include "guest.h"

#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MANY(sigs) (int)(sizeof(sigs) / sizeof((sigs)[0]))

static const int all[] = {64, SIGUSR2, SIGSYS, 63, SIGSEGV, 34, SIGHUP, 64, SIGILL, SIGBUS, 40};
static const int high[] = {64, 34, 64, 50};
static const int faults[] = {SIGSEGV, SIGFPE, SIGTRAP, SIGILL};
static int order[16], taken;

static sigset_t block(const int *sigs, int n)
{
    sigset_t s;
    sigemptyset(&s);
    for (int i = 0; i < n; i++) {
        sigaddset(&s, sigs[i]);
    }
    sigprocmask(SIG_BLOCK, &s, NULL);
    return s;
}

static void take(const char *name, const int *sigs, int n, int to_process)
{
    const struct timespec zero = {0, 0};
    sigset_t s = block(sigs, n);
    siginfo_t info;
    int sig;
    for (int i = 0; i < n; i++) {
        CHECK((to_process ? kill(getpid(), sigs[i]) : raise(sigs[i])) == 0);
    }
    printf("%s:", name);
    while ((sig = sigtimedwait(&s, &info, &zero)) > 0) {
        CHECK(info.si_signo == sig);
        printf(" %d", sig);
    }
    printf(", then %d\n", errno);
}

static void handler(int sig)
{
    order[taken++] = sig;
}

/* The frames are pushed from the lowest on, so the highest handler runs first. */
static void deliver(const int *sigs, int n)
{
    struct sigaction sa = {.sa_handler = handler};
    sigset_t s = block(sigs, n);
    for (int i = 0; i < n; i++) {
        sigaction(sigs[i], &sa, NULL);
        raise(sigs[i]);
    }
    taken = 0;
    sigprocmask(SIG_UNBLOCK, &s, NULL);
    printf("handled:");
    for (int i = 0; i < taken; i++) {
        printf(" %d", order[i]);
    }
    printf("\n");
}

/* A wrong timeout is found before any signal is taken. */
static void wrong_timeout(int sig)
{
    const struct timespec wrong[] = {{-1, 0}, {0, -1}, {0, 1000000000}}, zero = {0, 0};
    sigset_t s = block(&sig, 1);
    raise(sig);
    printf("%d, wrong timeout:", sig);
    for (int i = 0; i < 3; i++) {
        printf(" %d", sigtimedwait(&s, NULL, &wrong[i]));
        printf(" %d", errno);
    }
    printf(" %ld", syscall(SYS_rt_sigtimedwait, &s, NULL, 1, 8));
    printf(" %d, right: %d\n", errno, sigtimedwait(&s, NULL, &zero));
}

int main(void)
{
    take("all", all, MANY(all), 0);
    take("high", high, MANY(high), 0);
    take("faults", faults, MANY(faults), 0);
    take("all, to the process", all, MANY(all), 1);
    deliver(faults, MANY(faults));
    deliver(high, MANY(high));
    wrong_timeout(64);
    wrong_timeout(SIGSEGV);
    wrong_timeout(SIGUSR1);
    return 0;
}
