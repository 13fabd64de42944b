/* SPDX-License-Identifier: BSD-2-Clause
 * sig_init.c -- the first process of a pid name space is spared the default actions of signals that
 * are sent to it from inside, its children are not.
 * guest: needs=root */
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

static void show(const char *who, pid_t pid)
{
    int status;

    CHECK(waitpid(pid, &status, 0) == pid);
    printf("%s: status %d, signal %d\n", who, WIFEXITED(status) ? WEXITSTATUS(status) : -1,
           WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    fflush(stdout);
}

static void init(void)
{
    static const int sent[] = {SIGTERM, SIGUSR1, SIGSEGV, SIGKILL, SIGALRM};
    pid_t pid;

    CHECK(getpid() == 1);
    for (size_t i = 0; i < sizeof(sent) / sizeof(sent[0]); i++) {
        CHECK(kill(1, sent[i]) == 0);
        CHECK(raise(sent[i]) == 0);
    }
    pid = fork();
    if (pid == 0) {
        kill(1, SIGTERM);
        kill(getpid(), SIGTERM);
        _exit(1);
    }
    show("child of init", pid);
    _exit(5);
}

int main(void)
{
    pid_t pid;

    CHECK(unshare(CLONE_NEWPID) == 0);
    pid = fork();
    if (pid == 0) {
        init();
    }
    show("init", pid);
    return 0;
}
