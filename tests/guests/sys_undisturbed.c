/* SPDX-License-Identifier: BSD-2-Clause
 * sys_undisturbed.c -- what may cut a system call short: not a signal that is dropped when it is
 * sent (the SIGCHLD of a thread that forks), nor anything of the runtime's; a stop and SIGCONT end
 * some calls with EINTR.
 * guest: timeout=60 */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/random.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "guest.h"

/* ---- transfers are whole ---- */

enum { BIG = 200000, FORKS = 400 };

static int pipe_fds[2], sockets[2], event;
static volatile int done;
static char zeros[BIG];

static void *write_pipe(void *arg)
{
    while (!done) {
        CHECK(write(pipe_fds[1], zeros, BIG) == BIG);
    }
    close(pipe_fds[1]);
    return NULL;
}

static void *read_pipe(void *arg)
{
    static char to[65536];
    while (read(pipe_fds[0], to, sizeof(to)) > 0) {
    }
    return NULL;
}

static void *send_whole(void *arg)
{
    while (!done) {
        CHECK(send(sockets[0], zeros, BIG, 0) == BIG);
    }
    shutdown(sockets[0], SHUT_WR);
    return NULL;
}

static void *receive_whole(void *arg)
{
    static char to[BIG];
    ssize_t n;
    while ((n = recv(sockets[1], to, BIG, MSG_WAITALL)) > 0) {
        CHECK(n == BIG);
    }
    return NULL;
}

static void *take_random(void *arg)
{
    static char to[40000];
    while (!done) {
        CHECK(getrandom(to, sizeof(to), 0) == sizeof(to));
    }
    return NULL;
}

/* What has been taken has been given: nothing is lost, or had twice. */
static void *count_events(void *arg)
{
    uint64_t n, *sum = arg;
    do {
        CHECK(read(event, &n, sizeof(n)) == sizeof(n));
        *sum += n & ~(1ull << 40);
    } while (!(n >> 40));
    return NULL;
}

static void *sleep_short(void *arg)
{
    const struct timespec ts = {0, 2000000};
    struct pollfd p = {.fd = -1};
    while (!done) {
        CHECK(nanosleep(&ts, NULL) == 0 && poll(&p, 1, 1) == 0);
    }
    return NULL;
}

static void transfers(void)
{
    void *(*const fns[])(void *) = {write_pipe,  read_pipe,    send_whole, receive_whole,
                                    take_random, count_events, sleep_short};
    pthread_t th[sizeof(fns) / sizeof(fns[0])];
    uint64_t sum = 0, one = 1, last = 1ull << 40;
    CHECK(pipe(pipe_fds) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0);
    CHECK((event = eventfd(0, 0)) >= 0);
    for (size_t i = 0; i < sizeof(fns) / sizeof(fns[0]); i++) {
        CHECK(pthread_create(&th[i], NULL, fns[i], &sum) == 0);
    }
    for (int i = 0; i < FORKS; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            _exit(0);
        }
        CHECK(write(event, &one, sizeof(one)) == sizeof(one));
        CHECK(waitpid(pid, NULL, 0) == pid);
    }
    CHECK(write(event, &last, sizeof(last)) == sizeof(last));
    done = 1;
    for (size_t i = 0; i < sizeof(fns) / sizeof(fns[0]); i++) {
        CHECK(pthread_join(th[i], NULL) == 0);
    }
    CHECK(sum == FORKS);
    printf("transfers are whole\n");
}

/* ---- a stop in a call ---- */

static int sem, queue, epfd;

static long in_epoll(void)
{
    struct epoll_event e;
    return epoll_wait(epfd, &e, 1, -1);
}

static long in_semop(void)
{
    struct sembuf b = {0, -1, 0};
    return semop(sem, &b, 1);
}

static long in_msgrcv(void)
{
    long to[4];
    return msgrcv(queue, to, sizeof(long), 0, 0);
}

static long in_sigtimedwait(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    return sigtimedwait(&set, NULL, NULL);
}

static long in_pause(void)
{
    return pause();
}

/* Is it in the call? The kernel shows its number. */
static int is_in(pid_t pid, long nr)
{
    char path[64], line[256] = "";
    snprintf(path, sizeof(path), "/proc/%d/syscall", pid);
    FILE *f = fopen(path, "r");
    int found = f && fgets(line, sizeof(line), f) && line[0] >= '0' && line[0] <= '9' &&
                strtol(line, NULL, 10) == nr;
    if (f) {
        fclose(f);
    }
    return found;
}

/* ends: by the stop. */
static void stop_in(const char *name, long nr, long (*fn)(void), int ends)
{
    int status;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        long r = fn();
        _exit(r == -1 ? errno : 99);
    }
    while (!is_in(pid, nr)) {
        usleep(1000);
    }
    CHECK(kill(pid, SIGSTOP) == 0 && waitpid(pid, &status, WUNTRACED) == pid);
    CHECK(WIFSTOPPED(status) && kill(pid, SIGCONT) == 0);
    if (!ends) {
        CHECK(waitpid(pid, &status, WCONTINUED) == pid && WIFCONTINUED(status));
        while (!is_in(pid, nr)) {
            usleep(1000);
        }
        kill(pid, SIGTERM);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    printf("%s: %s\n", name,
           WIFEXITED(status) ? strerrorname_np(WEXITSTATUS(status)) : strsignal(WTERMSIG(status)));
}

static void stops(void)
{
    CHECK((sem = semget(IPC_PRIVATE, 1, 0600)) >= 0);
    CHECK((queue = msgget(IPC_PRIVATE, 0600)) >= 0);
    CHECK((epfd = epoll_create1(0)) >= 0);
    stop_in("epoll_wait", SYS_epoll_wait, in_epoll, 1);
    stop_in("semop", SYS_semtimedop, in_semop, 1);
    stop_in("sigtimedwait", SYS_rt_sigtimedwait, in_sigtimedwait, 1);
    stop_in("msgrcv", SYS_msgrcv, in_msgrcv, 0);
    stop_in("pause", SYS_pause, in_pause, 0);
    CHECK(semctl(sem, 0, IPC_RMID) == 0 && msgctl(queue, IPC_RMID, NULL) == 0);
}

int main(void)
{
    transfers();
    stops();
    return 0;
}
