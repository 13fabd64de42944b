/* SPDX-License-Identifier: BSD-2-Clause
 * sig_restart.c -- system calls interrupted by a handler: EINTR or restarted, with and without
 * SA_RESTART; what the frame says about rip and rax; ignored signals disturb nothing.
 * guest: timeout=60 */
#define _GNU_SOURCE
#include "guest.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

static int pipe_fds[2], ep;
static volatile int handled;
static volatile int answer; /* after this many signals the handler makes the call succeed */
static volatile int at_syscall, result_eintr;
static uint32_t futex_word;

/* Is rip at a syscall instruction (the call will be restarted), or behind it? */
static void handler(int sig, siginfo_t *info, void *context)
{
    greg_t *g = ((ucontext_t *)context)->uc_mcontext.gregs;
    const uint8_t *rip = (const uint8_t *)g[REG_RIP];
    int e = errno;
    if (handled == 0) { /* later ones may come when the call is over */
        at_syscall = rip[0] == 0x0f && rip[1] == 0x05;
        result_eintr = rip[-2] == 0x0f && rip[-1] == 0x05 && g[REG_RAX] == -EINTR;
    }
    if (++handled == answer) {
        CHECK(write(pipe_fds[1], "x", 1) == 1);
        futex_word = 1;
    }
    errno = e;
}

static void set(int flags)
{
    struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags};
    CHECK(sigaction(SIGALRM, &sa, NULL) == 0);
}

static long do_read(void)
{
    char c;
    return read(pipe_fds[0], &c, 1);
}

static long do_poll(void)
{
    struct pollfd p = {.fd = pipe_fds[0], .events = POLLIN};
    return poll(&p, 1, 5000);
}

static long do_poll_forever(void)
{
    struct pollfd p = {.fd = pipe_fds[0], .events = POLLIN};
    return poll(&p, 1, -1);
}

static long do_select(void)
{
    fd_set r;
    struct timeval tv = {5, 0};
    FD_ZERO(&r);
    FD_SET(pipe_fds[0], &r);
    return select(pipe_fds[0] + 1, &r, NULL, NULL, &tv);
}

static long do_epoll(void)
{
    struct epoll_event ev;
    return epoll_wait(ep, &ev, 1, 5000);
}

static long do_nanosleep(void)
{
    struct timespec ts = {2, 0}, rem = {9, 9};
    long r = nanosleep(&ts, &rem);
    CHECK(r == 0 || (rem.tv_sec < 2 && rem.tv_nsec > 0));
    return r;
}

static long do_clock_nanosleep(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    ts.tv_sec += 2;
    int r = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
    errno = r;
    return r ? -1 : 0;
}

static long do_futex(void)
{
    futex_word = 0;
    return syscall(SYS_futex, &futex_word, FUTEX_WAIT, 0, NULL, NULL, 0);
}

static long do_futex_timeout(void)
{
    struct timespec ts = {5, 0};
    futex_word = 0;
    return syscall(SYS_futex, &futex_word, FUTEX_WAIT, 0, &ts, NULL, 0);
}

static pid_t child;
static long do_wait(void)
{
    int status;
    return waitpid(child, &status, 0) == child;
}

static int listener;
static long do_accept(void)
{
    return accept(listener, NULL, NULL);
}

static int pair[2];
static long do_recv(void)
{
    char c;
    return recv(pair[0], &c, 1, 0);
}

static long do_sem(void)
{
    sem_t s;
    sem_init(&s, 0, 0);
    return sem_wait(&s);
}

typedef struct Call {
    const char *name;
    long (*f)(void);
    int ends; /* it ends when the handler answers */
} Call;

static const Call calls[] = {
    {"read", do_read, 1},
    {"poll", do_poll, 1},
    {"poll forever", do_poll_forever, 1},
    {"select", do_select, 1},
    {"epoll_wait", do_epoll, 1},
    {"nanosleep", do_nanosleep, 0},
    {"clock_nanosleep", do_clock_nanosleep, 0},
    {"futex", do_futex, 1},
    {"futex with timeout", do_futex_timeout, 1},
    {"accept", do_accept, 0},
    {"recv", do_recv, 0},
    {"sem_wait", do_sem, 0},
    {"wait", do_wait, 0},
};

/* The timer fires every 20 ms until the call has returned. */
static void test(const Call *c, int flags)
{
    struct itimerval it = {.it_value = {0, 20000}, .it_interval = {0, 20000}};
    struct itimerval off = {{0, 0}, {0, 0}};
    char junk[16];
    handled = 0;
    answer = c->ends && flags ? 3 : 0;
    set(flags);
    setitimer(ITIMER_REAL, &it, NULL);
    errno = 0;
    long r = c->f();
    int e = errno;
    setitimer(ITIMER_REAL, &off, NULL);
    int enough = answer ? answer : 1; /* a busy machine lets more of them come */
    printf("%s%s: %ld %d signals %d, at syscall %d, EINTR %d\n", c->name,
           flags ? " SA_RESTART" : "", r, r < 0 ? e : 0, handled < enough ? handled : enough,
           at_syscall, result_eintr);
    fcntl(pipe_fds[0], F_SETFL, O_NONBLOCK);
    while (read(pipe_fds[0], junk, sizeof(junk)) > 0) {
    }
    fcntl(pipe_fds[0], F_SETFL, 0);
}

/* An ignored signal, a stop and a continue: the call goes on. */
static void test_undisturbed(void)
{
    pid_t me = getpid();
    int status;
    signal(SIGUSR1, SIG_IGN);
    pid_t pid = fork();
    if (pid == 0) {
        for (int i = 0; i < 10; i++) {
            kill(me, SIGUSR1);
            kill(me, SIGCHLD);
            kill(me, SIGWINCH);
            usleep(1000);
        }
        _exit(0);
    }
    struct timespec ts = {0, 100000000};
    int r = nanosleep(&ts, NULL);
    CHECK(waitpid(pid, &status, 0) == pid);
    printf("nanosleep with ignored signals: %d\n", r);
    pid = fork();
    if (pid == 0) {
        struct pollfd p = {.fd = pipe_fds[0], .events = POLLIN};
        ts.tv_nsec = 200000000;
        r = nanosleep(&ts, NULL) | poll(&p, 1, 200);
        _exit(r);
    }
    for (int i = 0; i < 4; i++) {
        usleep(60000);
        kill(pid, SIGSTOP);
        CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
        kill(pid, SIGCONT);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    printf("stopped and continued: %x\n", status);
}

int main(void)
{
    CHECK(pipe(pipe_fds) == 0);
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    ep = epoll_create1(0);
    struct epoll_event ev = {.events = EPOLLIN};
    epoll_ctl(ep, EPOLL_CTL_ADD, pipe_fds[0], &ev);
    listener = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(bind(listener, &(struct sockaddr){.sa_family = AF_UNIX}, sizeof(sa_family_t)) == 0);
    CHECK(listen(listener, 1) == 0);
    fflush(stdout);
    child = fork();
    if (child == 0) {
        for (;;) {
            pause();
        }
    }
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        test(&calls[i], 0);
    }
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        if (calls[i].ends || calls[i].f == do_nanosleep || calls[i].f == do_clock_nanosleep) {
            test(&calls[i], SA_RESTART);
        }
    }
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    test_undisturbed();
    return 0;
}
