/* SPDX-License-Identifier: BSD-2-Clause
 * proc_smallstack.c -- a program whose limit for the stack is small, before or after its start.
 * guest: */
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

static void work(const char *what)
{
    char text[64];

    for (int i = 0; i < 20; i++) {
        snprintf(text, sizeof(text), "%d %f", i, i / 3.0);
        raise(SIGUSR1);
    }
    printf("%s: %s\n", what, text);
    fflush(stdout);
}

static void handler(int sig)
{
}

int main(int argc, char **argv)
{
    struct rlimit small = {64 * 1024, 64 * 1024};
    pid_t pid;
    int status;

    signal(SIGUSR1, handler);
    if (argc > 1) {
        work("executed");
        return 0;
    }
    CHECK(setrlimit(RLIMIT_STACK, &small) == 0);
    work("started before");
    pid = fork();
    if (pid == 0) {
        execl("/proc/self/exe", "again", "again", NULL);
        _exit(9);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    printf("status %x\n", status);
    return 0;
}
