/* SPDX-License-Identifier: BSD-2-Clause
 * sig_mask.c -- masks, pending signals, order of delivery, sigwait, signalfd; the temporary masks
 * of sigsuspend, ppoll, pselect and epoll_pwait. */
#define _GNU_SOURCE
#include "guest.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

static char trace[4096];

static void add_set(const sigset_t *set)
{
    for (int i = 1; i < 65; i++) {
        if (sigismember(set, i)) {
            sprintf(trace + strlen(trace), " %d", i);
        }
    }
}

/* Notes signal, value, mask now, mask to be restored. */
static void handler(int sig, siginfo_t *info, void *context)
{
    sigset_t now;
    ucontext_t *uc = context;
    pthread_sigmask(SIG_BLOCK, NULL, &now);
    sprintf(trace + strlen(trace), " [%d", sig);
    if (info->si_code == SI_QUEUE) {
        sprintf(trace + strlen(trace), "=%d", info->si_value.sival_int);
    }
    strcat(trace, "; now");
    add_set(&now);
    strcat(trace, "; then");
    sigset_t saved;
    sigemptyset(&saved);
    memcpy(&saved, &uc->uc_sigmask, 8);
    add_set(&saved);
    strcat(trace, "]");
}

static void say(const char *what, long r)
{
    sigset_t now;
    int e = r < 0 ? errno : 0;
    sigprocmask(SIG_BLOCK, NULL, &now);
    printf("%s: %ld %d%s; mask", what, r, e, trace);
    trace[0] = 0;
    add_set(&now);
    printf("%s", trace);
    trace[0] = 0;
    sigpending(&now);
    add_set(&now);
    printf("; pending%s\n", trace);
    trace[0] = 0;
}

static sigset_t of(int a, int b, int c)
{
    sigset_t s;
    sigemptyset(&s);
    if (a) {
        sigaddset(&s, a);
    }
    if (b) {
        sigaddset(&s, b);
    }
    if (c) {
        sigaddset(&s, c);
    }
    return s;
}

static void set(int sig, int masked)
{
    struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    sa.sa_mask = of(masked, 0, 0);
    CHECK(sigaction(sig, &sa, NULL) == 0);
}

static void mask(int how, int a, int b, int c)
{
    sigset_t s = of(a, b, c);
    CHECK(sigprocmask(how, &s, NULL) == 0);
}

static void queue(int sig, int value)
{
    CHECK(sigqueue(getpid(), sig, (union sigval){.sival_int = value}) == 0);
}

static void test_order(void)
{
    mask(SIG_SETMASK, 0, 0, 0);
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    queue(SIGRTMIN + 3, 1);
    queue(SIGRTMIN + 1, 2);
    queue(SIGRTMIN + 3, 3);
    raise(SIGUSR2);
    raise(SIGUSR1);
    queue(SIGRTMIN + 1, 4);
    raise(SIGUSR1); /* not queued twice */
    queue(SIGRTMIN + 3, 5);
    say("all blocked", 0);
    mask(SIG_SETMASK, 0, 0, 0);
    say("order", 0);
}

static void test_procmask(void)
{
    unsigned long m = ~0ul, old = 0;
    CHECK(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &m, &old, 8) == 0);
    CHECK(syscall(SYS_rt_sigprocmask, SIG_SETMASK, NULL, &old, 8) == 0);
    printf("all: %lx\n", old);
    m = 0;
    CHECK(syscall(SYS_rt_sigprocmask, SIG_SETMASK, &m, &old, 8) == 0);
    printf("errors:");
    printf(" %ld", syscall(SYS_rt_sigprocmask, 7, &m, NULL, 8));
    printf(" %d", errno);
    printf(" %ld", syscall(SYS_rt_sigprocmask, 0, &m, NULL, 4));
    printf(" %d", errno);
    printf(" %ld", syscall(SYS_rt_sigprocmask, 0, 8, NULL, 8));
    printf(" %d", errno);
    printf(" %ld", syscall(SYS_rt_sigprocmask, 7, NULL, NULL, 8));
    printf(" %ld", syscall(SYS_rt_sigprocmask, SIG_BLOCK, &m, 8, 8));
    printf(" %d\n", errno);
    printf("pending, sizes:");
    for (size_t n = 0; n < 10; n++) {
        memset(&old, 0xee, sizeof(old));
        printf(" %ld", syscall(SYS_rt_sigpending, &old, n));
        printf(" %lx", old);
    }
    printf("\n");
    mask(SIG_BLOCK, SIGUSR1, SIGUSR2, 0);
    mask(SIG_UNBLOCK, SIGUSR2, 0, 0);
    raise(SIGUSR1);
    say("SIGUSR1 blocked", 0);
    mask(SIG_UNBLOCK, SIGUSR1, 0, 0);
    say("unblocked", 0);
    mask(SIG_BLOCK, SIGUSR1, 0, 0);
    raise(SIGUSR1);
    signal(SIGUSR1, SIG_IGN);
    say("ignoring drops it", 0);
    set(SIGUSR1, 0);
    mask(SIG_UNBLOCK, SIGUSR1, 0, 0);
    say("nothing", 0);
}

static void test_wait(void)
{
    siginfo_t info;
    sigset_t s = of(SIGUSR1, SIGRTMIN + 1, SIGRTMIN + 2);
    struct timespec zero = {0, 0}, little = {0, 20000000};
    sigprocmask(SIG_BLOCK, &s, NULL);
    queue(SIGRTMIN + 2, 10);
    queue(SIGRTMIN + 2, 11);
    queue(SIGRTMIN + 1, 12);
    raise(SIGUSR1);
    for (int i = 0; i < 5; i++) {
        memset(&info, 0, sizeof(info));
        int r = sigtimedwait(&s, &info, &zero);
        printf("  got %d %d value %d code %d\n", r, r < 0 ? errno : 0, info.si_value.sival_int,
               info.si_code);
    }
    say("waited", sigtimedwait(&s, &info, &little));
    mask(SIG_SETMASK, 0, 0, 0);
    set(SIGALRM, 0);
    struct itimerval it = {.it_value = {0, 20000}};
    s = of(SIGUSR1, 0, 0);
    sigprocmask(SIG_BLOCK, &s, NULL);
    setitimer(ITIMER_REAL, &it, NULL);
    say("interrupted", sigwaitinfo(&s, &info));
    mask(SIG_SETMASK, 0, 0, 0);
}

static void test_signalfd(void)
{
    sigset_t s = of(SIGUSR1, SIGRTMIN + 1, 0);
    struct signalfd_siginfo si[4];
    int fd = signalfd(-1, &s, SFD_NONBLOCK | SFD_CLOEXEC);
    CHECK(fd >= 0);
    sigprocmask(SIG_BLOCK, &s, NULL);
    CHECK(read(fd, si, sizeof(si)) == -1 && errno == EAGAIN);
    queue(SIGRTMIN + 1, 20);
    queue(SIGRTMIN + 1, 21);
    raise(SIGUSR1);
    long n = read(fd, si, sizeof(si));
    printf("signalfd: %ld:", n / (long)sizeof(si[0]));
    for (int i = 0; i < n / (long)sizeof(si[0]); i++) {
        printf(" %u code %d int %d me %d,", si[i].ssi_signo, si[i].ssi_code, si[i].ssi_int,
               si[i].ssi_pid == (uint32_t)getpid());
    }
    printf("\n");
    s = of(SIGUSR2, 0, 0);
    CHECK(signalfd(fd, &s, 0) == fd);
    printf("signalfd errors: %d", signalfd(0x7777, &s, 0));
    printf(" %d", errno);
    printf(" %ld", syscall(SYS_signalfd4, -1, &s, 4, 0));
    printf(" %d\n", errno);
    close(fd);
    mask(SIG_SETMASK, 0, 0, 0);
}

/* Each call with SIGUSR1 pending and blocked, and a temporary mask of SIGUSR2 only. SIGUSR1's
 * handler blocks SIGALRM too. */
static void test_temporary(void)
{
    sigset_t temp = of(SIGUSR2, 0, 0);
    struct timespec second = {10, 0}, zero = {0, 0};
    struct epoll_event ev;
    int ep = epoll_create1(0), fds[2];
    CHECK(ep >= 0 && pipe(fds) == 0);
    set(SIGUSR1, SIGALRM);
    for (int i = 0; i < 5; i++) {
        mask(SIG_SETMASK, SIGUSR1, SIGHUP, 0);
        raise(SIGUSR1);
        switch (i) {
        case 0: say("sigsuspend", sigsuspend(&temp)); break;
        case 1: say("ppoll", ppoll(NULL, 0, &second, &temp)); break;
        case 2: say("pselect", pselect(0, NULL, NULL, NULL, &second, &temp)); break;
        case 3: say("epoll_pwait", epoll_pwait(ep, &ev, 1, 10000, &temp)); break;
        case 4: say("epoll_pwait2", epoll_pwait2(ep, &ev, 1, &second, &temp)); break;
        }
    }
    /* Both are pending and both get through: one after the other, frames on top of each other. */
    mask(SIG_SETMASK, SIGUSR1, SIGUSR2, SIGHUP);
    raise(SIGUSR2);
    raise(SIGUSR1);
    temp = of(0, 0, 0);
    say("sigsuspend, two", sigsuspend(&temp));
    /* Not interrupted: the mask is the old one at once. */
    mask(SIG_SETMASK, SIGUSR1, 0, 0);
    temp = of(SIGUSR1, 0, 0);
    raise(SIGUSR1);
    say("ppoll, nothing", ppoll(NULL, 0, &zero, &temp));
    CHECK(write(fds[1], "x", 1) == 1);
    struct pollfd pf = {.fd = fds[0], .events = POLLIN};
    temp = of(0, 0, 0);
    say("ppoll, ready", ppoll(&pf, 1, &second, &temp) >= 1 || errno == EINTR);
    mask(SIG_SETMASK, 0, 0, 0);
    printf("errors:");
    printf(" %ld", syscall(SYS_ppoll, NULL, 0, &zero, &temp, 4));
    printf(" %d", errno);
    printf(" %ld", syscall(SYS_ppoll, NULL, 0, &zero, 8, 8));
    printf(" %d", errno);
    printf(" %ld", syscall(SYS_rt_sigsuspend, &temp, 4));
    printf(" %d", errno);
    printf(" %ld", syscall(SYS_rt_sigsuspend, 8, 8));
    printf(" %d", errno);
    printf(" %ld", syscall(SYS_rt_sigtimedwait, 8, 0, 0, 8));
    printf(" %d\n", errno);
    /* A signal that comes while waiting. */
    set(SIGALRM, 0);
    struct itimerval it = {.it_value = {0, 20000}};
    mask(SIG_SETMASK, SIGALRM, 0, 0);
    setitimer(ITIMER_REAL, &it, NULL);
    say("sigsuspend, waiting", sigsuspend(&temp));
    setitimer(ITIMER_REAL, &it, NULL);
    say("pselect, waiting", pselect(0, NULL, NULL, NULL, NULL, &temp));
    mask(SIG_SETMASK, 0, 0, 0);
    setitimer(ITIMER_REAL, &it, NULL);
    say("pause", pause());
    close(ep);
}

int main(void)
{
    const int sigs[] = {SIGUSR1, SIGUSR2, SIGRTMIN + 1, SIGRTMIN + 3};
    for (int i = 0; i < 4; i++) {
        set(sigs[i], 0);
    }
    test_order();
    test_procmask();
    test_wait();
    test_signalfd();
    test_temporary();
    return 0;
}
