/* SPDX-License-Identifier: BSD-2-Clause
 * sig_open.c -- what the runtime needs for itself, used by the guest: signal 64, and SIGSEGV and
 * its like sent by kill: blocked, pending, waited for, ignored, queued. */
#define _GNU_SOURCE
#include "guest.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int handled, values;
static sigjmp_buf back;

static void handler(int sig, siginfo_t *info, void *uc)
{
    handled++;
    if (info->si_code == SI_QUEUE) {
        values = values * 10 + info->si_value.sival_int;
    }
    if (info->si_code > 0) {
        siglongjmp(back, 1);
    }
}

static sigset_t one(int sig)
{
    sigset_t s;
    sigemptyset(&s);
    sigaddset(&s, sig);
    return s;
}

static int pending(int sig)
{
    sigset_t s;
    sigpending(&s);
    return sigismember(&s, sig);
}

static void test(int sig)
{
    sigset_t s = one(sig), none, old;
    siginfo_t info;
    struct timespec zero = {0, 0}, little = {0, 10000000}, second = {20, 0};
    struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    sigemptyset(&none);
    sigaction(sig, &sa, NULL);
    handled = values = 0;
    printf("%d:", sig);
    raise(sig);
    kill(getpid(), sig);
    printf(" handled %d", handled);
    sigprocmask(SIG_BLOCK, &s, NULL);
    raise(sig);
    raise(sig);
    printf(", blocked %d pending %d", handled, pending(sig));
    sigprocmask(SIG_UNBLOCK, &s, &old);
    printf(", unblocked %d was %d pending %d", handled, sigismember(&old, sig), pending(sig));
    sigprocmask(SIG_BLOCK, &s, NULL);
    CHECK(sigqueue(getpid(), sig, (union sigval){.sival_int = 7}) == 0);
    memset(&info, 0, sizeof(info));
    printf(", wait %d", sigtimedwait(&s, &info, &zero));
    printf(" value %d, none %d", info.si_value.sival_int, sigtimedwait(&s, &info, &little));
    printf(" %d", errno);
    handled = 0;
    raise(sig);
    printf(", suspend %d", sigsuspend(&none));
    printf(" %d handled %d", errno, handled);
    raise(sig);
    printf(", ppoll %d", ppoll(NULL, 0, &second, &none));
    printf(" %d handled %d pending %d", errno, handled, pending(sig));
    raise(sig);
    signal(sig, SIG_IGN);
    printf(", ignored pending %d", pending(sig));
    sigaction(sig, &sa, NULL);
    sigprocmask(SIG_UNBLOCK, &s, NULL);
    printf(" handled %d", handled);
    signal(sig, SIG_IGN);
    raise(sig);
    struct timespec ts = {0, 1000000};
    printf(", sleep %d\n", nanosleep(&ts, NULL));
    signal(sig, SIG_DFL);
}

static volatile pid_t main_tid;
static int sig_to_send;
static void *send_later(void *arg)
{
    usleep(30000);
    syscall(SYS_tgkill, getpid(), main_tid, sig_to_send);
    return NULL;
}

/* A signal that arrives while sigwait waits, and while sigsuspend does. */
static void test_later(int sig)
{
    pthread_t th;
    sigset_t s = one(sig), none;
    int got = 0;
    struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    sigemptyset(&none);
    sigaction(sig, &sa, NULL);
    sigprocmask(SIG_BLOCK, &s, NULL);
    main_tid = (pid_t)syscall(SYS_gettid);
    sig_to_send = sig;
    handled = 0;
    pthread_create(&th, NULL, send_later, NULL);
    CHECK(sigwait(&s, &got) == 0);
    pthread_join(th, NULL);
    pthread_create(&th, NULL, send_later, NULL);
    int r = sigsuspend(&none);
    pthread_join(th, NULL);
    printf("%d later: sigwait %d, sigsuspend %d handled %d\n", sig, got, r, handled);
    sigprocmask(SIG_UNBLOCK, &s, NULL);
    signal(sig, SIG_DFL);
}

int main(void)
{
    const int sigs[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS, 64, SIGUSR1};
    sigset_t s;
    for (int i = 0; i < 8; i++) {
        test(sigs[i]);
        test_later(sigs[i]);
    }
    struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    sigaction(64, &sa, NULL);
    s = one(64);
    sigprocmask(SIG_BLOCK, &s, NULL);
    values = 0;
    for (int i = 1; i < 6; i++) {
        sigqueue(getpid(), 64, (union sigval){.sival_int = i});
    }
    sigprocmask(SIG_UNBLOCK, &s, NULL);
    printf("queued in order: %d\n", values);
    /* Everything that can be blocked is; a fault that is repaired by nobody else still works. */
    sigaction(SIGSEGV, &sa, NULL);
    sigfillset(&s);
    sigdelset(&s, SIGSEGV);
    sigprocmask(SIG_SETMASK, &s, NULL);
    handled = 0;
    if (!sigsetjmp(back, 1)) {
        *(volatile int *)8 = 1;
    }
    printf("fault with the others blocked: %d\n", handled);
    return 0;
}
