/* SPDX-License-Identifier: BSD-2-Clause
 * sig_exec.c -- dispositions, masks and pending signals across exec, fork, vfork and posix_spawn.
 * Not under --trace-children=yes: children read /proc/self/status, which tells of the runtime.
 * guest: timeout=60 modes=-children */
#define _GNU_SOURCE
#include "guest.h"

#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static volatile int handled;
static void handler(int sig)
{
    handled++;
}

static int run(const char *what, pid_t pid)
{
    int status;
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
    printf("%s: %x\n", what, status);
    return status;
}

static void show_status(void)
{
    /* What the kernel says of the program that replaces the child. */
    execl("/bin/sh", "sh", "-c",
          "exec grep -E '^(SigBlk|SigIgn|SigCgt|SigPnd|ShdPnd)' /proc/self/status", NULL);
    _exit(127);
}

int main(void)
{
    sigset_t s, old;
    struct sigaction sa = {.sa_handler = handler}, now;
    int status;
    fflush(stdout);
    /* Ignored and blocked signals, and pending ones. */
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGUSR1, SIG_IGN);
        signal(SIGFPE, SIG_IGN);
        signal(SIGTTOU, SIG_IGN);
        signal(64, SIG_IGN);
        sigaction(SIGUSR2, &sa, NULL);
        sigemptyset(&s);
        sigaddset(&s, SIGHUP);
        sigaddset(&s, SIGSEGV);
        sigaddset(&s, SIGALRM);
        sigaddset(&s, 63);
        sigprocmask(SIG_SETMASK, &s, NULL);
        raise(SIGHUP);
        raise(SIGSEGV);
        show_status();
    }
    run("exec", pid);
    fflush(stdout);

    sigaction(SIGUSR1, &sa, NULL);
    sigaction(SIGSEGV, &sa, NULL);
    /* A failed exec changes nothing. */
    CHECK(execl("/does/not/exist", "x", NULL) == -1 && errno == ENOENT);
    raise(SIGUSR1);
    raise(SIGSEGV);
    printf("after a failed exec: handled %d\n", handled);
    fflush(stdout);

    /* A vfork child has dispositions of its own. */
    pid = vfork();
    if (pid == 0) {
        signal(SIGUSR1, SIG_IGN);
        signal(SIGINT, SIG_IGN);
        sigemptyset(&s);
        sigaddset(&s, SIGUSR1);
        sigprocmask(SIG_BLOCK, &s, NULL);
        execl("/bin/true", "true", NULL);
        _exit(127);
    }
    run("vfork", pid);
    CHECK(sigaction(SIGUSR1, NULL, &now) == 0 && now.sa_handler == handler);
    CHECK(sigaction(SIGINT, NULL, &now) == 0 && now.sa_handler == SIG_DFL);
    sigprocmask(SIG_BLOCK, NULL, &old);
    printf("parent: SIGUSR1 blocked %d", sigismember(&old, SIGUSR1));
    raise(SIGUSR1);
    printf(" handled %d\n", handled);
    fflush(stdout);

    /* A signal handled in the vfork child; and one that kills it. */
    pid = vfork();
    if (pid == 0) {
        raise(SIGUSR1);
        _exit(handled);
    }
    run("vfork, handler in the child", pid);
    fflush(stdout);
    pid = vfork();
    if (pid == 0) {
        raise(SIGTERM);
        _exit(1);
    }
    run("vfork, killed", pid);
    fflush(stdout);

    /* posix_spawn with attributes. */
    posix_spawnattr_t attr;
    char *argv[] = {"sh", "-c", "kill -USR1 $$; kill -HUP $$; echo still here", NULL};
    posix_spawnattr_init(&attr);
    sigemptyset(&s);
    sigaddset(&s, SIGUSR1);
    posix_spawnattr_setsigdefault(&attr, &s);
    sigemptyset(&s);
    sigaddset(&s, SIGHUP);
    posix_spawnattr_setsigmask(&attr, &s);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
    signal(SIGUSR1, SIG_IGN);
    CHECK(posix_spawn(&pid, "/bin/sh", NULL, &attr, argv, environ) == 0);
    run("spawn, SIGUSR1 ignored", pid);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    CHECK(posix_spawn(&pid, "/bin/sh", NULL, &attr, argv, environ) == 0);
    run("spawn, SIGUSR1 default", pid);

    /* A fork's child: handlers and mask are there, pending signals are not. */
    sigaction(SIGUSR1, &sa, NULL);
    sigemptyset(&s);
    sigaddset(&s, SIGUSR1);
    sigaddset(&s, SIGSEGV);
    sigprocmask(SIG_BLOCK, &s, NULL);
    raise(SIGUSR1);
    raise(SIGSEGV);
    handled = 0;
    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        sigset_t p;
        sigpending(&p);
        int n = sigismember(&p, SIGUSR1) + sigismember(&p, SIGSEGV);
        sigprocmask(SIG_UNBLOCK, &s, NULL);
        raise(SIGUSR1);
        _exit(n * 16 + handled);
    }
    status = run("fork", pid);
    sigprocmask(SIG_UNBLOCK, &s, NULL);
    printf("parent handled %d\n", handled);
    return status != 0x100;
}
