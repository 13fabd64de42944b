/* SPDX-License-Identifier: BSD-2-Clause
 * sig_info.c -- what siginfo says, by origin; SA_SIGINFO or not; ignored signals. */
#define _GNU_SOURCE
#include "guest.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static siginfo_t got;
static volatile sig_atomic_t count;
static pid_t me;

static void handler(int sig, siginfo_t *info, void *uc)
{
    CHECK(sig == info->si_signo);
    got = *info;
    count++;
}

static volatile int plain_sig;
static void plain(int sig)
{
    plain_sig = sig;
}

static void say(const char *what)
{
    printf("%s: n=%d sig=%d code=%d errno=%d", what, (int)count, got.si_signo, got.si_code,
           got.si_errno);
    if (got.si_code == SI_USER || got.si_code == SI_QUEUE || got.si_code == SI_TKILL) {
        printf(" pid=%s uid=%s", got.si_pid == me ? "me" : "other",
               got.si_uid == getuid() ? "me" : "other");
    }
    printf("\n");
    count = 0;
}

static void set(int sig, int flags)
{
    struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags};
    sigemptyset(&sa.sa_mask);
    CHECK(sigaction(sig, &sa, NULL) == 0);
}

static void wait_for(int n)
{
    while (count < n) {
        usleep(1000);
    }
}

static void test_actions(void)
{
    struct sigaction sa, old;
    CHECK(sigaction(SIGKILL, NULL, &old) == 0 && old.sa_handler == SIG_DFL);
    memset(&sa, 0, sizeof(sa));
    sa.sa_handler = plain;
    printf("sigaction(SIGKILL): %d", sigaction(SIGKILL, &sa, NULL));
    printf(" %d, SIGSTOP: %d", errno, sigaction(SIGSTOP, &sa, NULL));
    printf(", 65: %ld, 0: %ld", syscall(SYS_rt_sigaction, 65, NULL, &old, 8),
           syscall(SYS_rt_sigaction, 0, NULL, &old, 8));
    printf(", size 4: %ld\n", syscall(SYS_rt_sigaction, 10, NULL, NULL, 4));
    for (int sig = 1; sig <= 64; sig++) {
        unsigned long k[4] = {0}, seen[4] = {0};
        if (sig == SIGKILL || sig == SIGSTOP) {
            continue;
        }
        k[0] = (unsigned long)plain;
        k[1] = 0xfc000007; /* all flags there are but SA_UNSUPPORTED */
        k[2] = 0x1234;
        k[3] = ~0ul;
        CHECK(syscall(SYS_rt_sigaction, sig, k, NULL, 8) == 0);
        CHECK(syscall(SYS_rt_sigaction, sig, NULL, seen, 8) == 0);
        if (sig == 1 || sig == 64) {
            printf("action %d: same=%d flags=%lx mask=%lx\n", sig, seen[0] == k[0], seen[1],
                   seen[3]);
        }
        k[0] = 0;
        CHECK(syscall(SYS_rt_sigaction, sig, k, seen, 8) == 0);
        CHECK(seen[0] == (unsigned long)plain && seen[2] == 0x1234);
    }
}

int main(void)
{
    me = getpid();
    test_actions();

    set(SIGUSR1, 0);
    set(SIGRTMIN + 1, 0);
    kill(me, SIGUSR1);
    say("kill");
    raise(SIGUSR1);
    say("raise");
    CHECK(syscall(SYS_tkill, syscall(SYS_gettid), SIGUSR1) == 0);
    say("tkill");
    CHECK(syscall(SYS_tgkill, me, syscall(SYS_gettid), SIGUSR1) == 0);
    say("tgkill");
    CHECK(sigqueue(me, SIGRTMIN + 1, (union sigval){.sival_int = 4711}) == 0);
    CHECK(got.si_value.sival_int == 4711);
    say("sigqueue");
    CHECK(pthread_sigqueue(pthread_self(), SIGUSR1, (union sigval){.sival_ptr = &got}) == 0);
    CHECK(got.si_value.sival_ptr == &got);
    say("pthread_sigqueue");

    siginfo_t forged = {.si_signo = SIGSEGV, .si_code = SEGV_MAPERR, .si_addr = (void *)0x1234};
    set(SIGSEGV, 0);
    CHECK(syscall(SYS_rt_tgsigqueueinfo, me, syscall(SYS_gettid), SIGSEGV, &forged) == 0);
    printf("address %p\n", got.si_addr);
    say("forged fault");

    set(SIGALRM, 0);
    struct itimerval it = {.it_value = {0, 20000}};
    setitimer(ITIMER_REAL, &it, NULL);
    wait_for(1);
    say("setitimer");

    timer_t timer;
    struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 1};
    ev.sigev_value.sival_int = 99;
    CHECK(timer_create(CLOCK_MONOTONIC, &ev, &timer) == 0);
    struct itimerspec ts = {.it_value = {0, 20000000}};
    CHECK(timer_settime(timer, 0, &ts, NULL) == 0);
    wait_for(1);
    printf("value %d overrun %d\n", got.si_value.sival_int, got.si_overrun);
    say("timer_create");
    timer_delete(timer);

    int fds[2];
    CHECK(pipe(fds) == 0);
    set(SIGIO, 0);
    fcntl(fds[0], F_SETOWN, me);
    fcntl(fds[0], F_SETSIG, SIGRTMIN + 1);
    fcntl(fds[0], F_SETFL, O_ASYNC | O_NONBLOCK);
    CHECK(write(fds[1], "x", 1) == 1);
    wait_for(1);
    printf("fd %d band %lx\n", got.si_fd == fds[0], got.si_band);
    say("SIGIO by F_SETSIG");

    set(SIGPIPE, 0);
    close(fds[0]);
    CHECK(write(fds[1], "x", 1) == -1 && errno == EPIPE);
    say("SIGPIPE");

    signal(SIGUSR2, plain);
    raise(SIGUSR2);
    printf("plain handler: %d\n", plain_sig);
    signal(SIGUSR1, SIG_IGN);
    raise(SIGUSR1);
    raise(SIGCHLD);
    raise(SIGWINCH);
    raise(SIGURG);
    raise(SIGCONT);
    printf("ignored: n=%d\n", (int)count);
    printf("kill 65: %d %d\n", kill(me, 65), errno);
    printf("kill 0: %d\n", kill(me, 0));
    return 0;
}
