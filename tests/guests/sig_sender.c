/* SPDX-License-Identifier: BSD-2-Clause
 * sig_sender.c -- a signal that ends the process by default does so before its sender goes on,
 * whichever thread takes it; the sender has it blocked.
 * guest: */
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

static volatile int ready;

static void *sleeps(void *arg)
{
    ready = 1;
    for (;;) {
        pause();
    }
}

static void *spins(void *arg)
{
    ready = 1;
    for (;;) {
    }
}

static void *calls(void *arg)
{
    ready = 1;
    for (;;) {
        getppid();
    }
}

static void child(int way, void *(*other)(void *))
{
    char *argv[] = {"true", NULL};
    union sigval value = {0};
    sigset_t term;
    pthread_t th;

    CHECK(setpgid(0, 0) == 0);
    CHECK(pthread_create(&th, NULL, other, NULL) == 0);
    while (!ready) {
        usleep(100);
    }
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &term, NULL);
    switch (way) {
    case 0: kill(getpid(), SIGTERM); break;
    case 1: kill(0, SIGTERM); break;
    case 2: kill(-getpid(), SIGTERM); break;
    case 3: sigqueue(getpid(), SIGTERM, value); break;
    case 4: pthread_kill(th, SIGTERM); break;
    case 5:
        syscall(SYS_pidfd_send_signal, syscall(SYS_pidfd_open, getpid(), 0), SIGTERM, NULL, 0);
        break;
    }
    execv("/bin/true", argv);
    _exit(9);
}

int main(void)
{
    void *(*const others[])(void *) = {sleeps, spins, calls};

    for (int i = 0; i < 3; i++) {
        for (int way = 0; way < 6; way++) {
            int status;
            pid_t pid = fork();

            if (pid == 0) {
                child(way, others[i]);
            }
            CHECK(waitpid(pid, &status, 0) == pid);
            printf("%d, %d: signal %d\n", i, way, WIFSIGNALED(status) ? WTERMSIG(status) : 0);
        }
    }
    return 0;
}
