/* SPDX-License-Identifier: BSD-2-Clause
 * proc_fds.c -- fork with the descriptor table shared, and fork with no descriptor left. */
#define _GNU_SOURCE
#include "guest.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS = 60, SMALL = 40 };

/* A little code of its own per round, so that parent and child both translate. */
static unsigned work(unsigned n)
{
    char text[64];
    snprintf(text, sizeof(text), "%u %x %o %e", n, n, n, n * 0.5);
    return (unsigned)hash_bytes(n, text, strlen(text));
}

static int status_of(pid_t pid)
{
    int st;
    CHECK(waitpid(pid, &st, __WALL) == pid && WIFEXITED(st));
    return WEXITSTATUS(st);
}

/* What one opens or closes the other sees. */
static void shared_table(int signo)
{
    for (int i = 0; i < ROUNDS; i++) {
        int closed = open("/dev/null", O_RDONLY), opened = fcntl(closed, F_DUPFD, 100);
        CHECK(closed >= 0 && opened >= 100 && close(opened) == 0);
        long pid = syscall(SYS_clone, CLONE_FILES | signo, 0, 0, 0, 0);
        CHECK(pid >= 0);
        if (pid == 0) {
            _exit(close(closed) == 0 && open("/dev/null", O_RDONLY) == closed &&
                          dup2(closed, opened) == opened && work(i)
                      ? 7
                      : 8);
        }
        work(i + 1000);
        CHECK(status_of(pid) == 7 && close(closed) == 0 && close(opened) == 0);
    }
    printf("shared table, signal %d: good\n", signo);
}

static void none_left(void)
{
    struct rlimit lim = {SMALL, SMALL};
    int count = 0;
    CHECK(setrlimit(RLIMIT_NOFILE, &lim) == 0);
    while (open("/dev/null", O_RDONLY) >= 0) {
        count++;
    }
    CHECK(errno == EMFILE && count > 0);
    for (int i = 0; i < 5; i++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            pid = fork();
            if (pid == 0) {
                _exit(work(i + 5000) ? 5 : 6);
            }
            _exit(pid > 0 ? status_of(pid) : 9);
        }
        CHECK(status_of(pid) == 5);
    }
    printf("none left: good\n");
}

int main(void)
{
    setvbuf(stdout, NULL, _IONBF, 0);
    shared_table(SIGCHLD);
    shared_table(0);
    none_left();
    return 0;
}
