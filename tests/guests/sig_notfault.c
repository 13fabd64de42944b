/* SPDX-License-Identifier: BSD-2-Clause
 * sig_notfault.c -- the signals of faults, sent by the kernel for other reasons: as a child's exit
 * signal, with codes above 0 as those of faults, and for a descriptor (F_SETSIG). */
#define _GNU_SOURCE
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS};
enum { SIGNALS = sizeof(signals) / sizeof(*signals) };

static volatile int got, code;
static volatile pid_t from;

static void handler(int sig, siginfo_t *info, void *context)
{
    got = sig;
    code = info->si_code;
    from = info->si_pid;
}

static void show(const char *what, int sig)
{
    printf("%s %d: %d code %d\n", what, sig, got, code);
    got = code = 0;
}

static pid_t child_with(int exit_signal)
{
    pid_t pid = (pid_t)syscall(SYS_clone, exit_signal, 0, 0, 0, 0);
    if (pid == 0) {
        _exit(3);
    }
    return pid;
}

static void wait_for(pid_t pid)
{
    int status = 0;
    pid_t r;
    while ((r = waitpid(pid, &status, __WALL)) < 0 && errno == EINTR) {
    }
    CHECK(r == pid && WIFEXITED(status) && WEXITSTATUS(status) == 3);
    CHECK(got == 0 || from == pid);
}

/* In a system call, in the program's code, and blocked. */
static void exit_signal(int sig)
{
    sigset_t set, old;
    pid_t pid;

    wait_for(child_with(sig));
    show("child", sig);
    pid = child_with(sig);
    while (got == 0) {
    }
    wait_for(pid);
    show("busy", sig);
    sigemptyset(&set);
    sigaddset(&set, sig);
    sigprocmask(SIG_BLOCK, &set, &old);
    wait_for(child_with(sig));
    CHECK(got == 0);
    sigprocmask(SIG_SETMASK, &old, NULL);
    show("blocked", sig);
}

static void descriptor(int sig)
{
    char c = 0;
    int ends[2];

    CHECK(pipe(ends) == 0);
    CHECK(fcntl(ends[0], F_SETOWN, getpid()) == 0 && fcntl(ends[0], F_SETSIG, sig) == 0 &&
          fcntl(ends[0], F_SETFL, O_ASYNC) == 0);
    CHECK(write(ends[1], &c, 1) == 1);
    show("pipe", sig);
    close(ends[0]);
    close(ends[1]);
}

/* Nobody handles it: the parent dies of it. */
static void deadly(int sig)
{
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        signal(sig, SIG_DFL);
        wait_for(child_with(sig));
        _exit(1);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    printf("default %d: %x\n", sig, status & 0x7f);
}

int main(void)
{
    for (int i = 0; i < SIGNALS; i++) {
        const struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
        CHECK(sigaction(signals[i], &sa, NULL) == 0);
        exit_signal(signals[i]);
        descriptor(signals[i]);
        fflush(stdout);
        deadly(signals[i]);
    }
    return 0;
}
