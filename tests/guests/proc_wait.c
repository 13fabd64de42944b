/* SPDX-License-Identifier: BSD-2-Clause
 * proc_wait.c -- how children end, as the parent sees it; vfork, posix_spawn, popen, system.
 * guest: timeout=30 bin=exit_with.c
 * variant: pie
 * variant: static cflags=-static */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

extern char **environ;

static void show(const char *what, pid_t pid)
{
    int status;
    struct rusage usage;
    CHECK(pid > 0 && wait4(pid, &status, 0, &usage) == pid);
    if (WIFEXITED(status)) {
        printf("%s: exit %d\n", what, WEXITSTATUS(status));
    } else {
        printf("%s: signal %d core %d\n", what, WTERMSIG(status), !!WCOREDUMP(status));
    }
    fflush(stdout);
}

static void deaths(void)
{
    int signals[] = {SIGTERM, SIGKILL, SIGUSR1, SIGABRT, SIGSEGV, SIGRTMIN + 3, SIGPIPE, SIGALRM};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            raise(signals[i]);
            _exit(1);
        }
        show("raise", pid);
        pid = fork();
        if (pid == 0) {
            for (;;) {
                pause();
            }
        }
        kill(pid, signals[i]);
        show("kill", pid);
    }
    pid_t pid = fork();
    if (pid == 0) {
        *(volatile int *)8 = 1;
    }
    show("store to 8", pid);
    if ((pid = fork()) == 0) {
        __asm__ volatile("ud2");
    }
    show("ud2", pid);
    if ((pid = fork()) == 0) {
        volatile int zero = 0;
        _exit(10 / zero);
    }
    show("division", pid);
    if ((pid = fork()) == 0) {
        ((void (*)(void))16)();
    }
    show("jump to 16", pid);
    if ((pid = fork()) == 0) {
        signal(SIGABRT, SIG_IGN);
        abort();
    }
    show("abort", pid);
}

static void stops(void)
{
    int status, seen[2];
    char byte;
    CHECK(pipe(seen) == 0);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        close(seen[1]);
        raise(SIGSTOP);
        _exit(read(seen[0], &byte, 1) == 0 ? 8 : 9); /* its end would hide that it was continued */
    }
    CHECK(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status));
    printf("stopped by %d\n", WSTOPSIG(status));
    CHECK(waitpid(pid, &status, WNOHANG) == 0);
    kill(pid, SIGCONT);
    CHECK(waitpid(pid, &status, WCONTINUED) == pid && WIFCONTINUED(status));
    close(seen[0]);
    close(seen[1]);
    show("continued", pid);
}

static void vforks(void)
{
    volatile int shared = 1;
    for (int i = 0; i < 50; i++) {
        pid_t pid = vfork();
        if (pid == 0) {
            shared++;
            _exit(i & 7);
        }
        int status;
        CHECK(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == (i & 7));
    }
    printf("vfork: %d\n", shared);
    char path[4096];
    snprintf(path, sizeof path, "%s/lib/exit_with", getenv("GUEST_DIR"));
    pid_t pid = vfork();
    if (pid == 0) {
        execl(path, "exit_with", "27", (char *)NULL);
        _exit(127);
    }
    show("vfork exec", pid);
    pid = vfork();
    if (pid == 0) {
        execl("/nonexistent/program", "x", (char *)NULL);
        _exit(errno == ENOENT ? 44 : 45);
    }
    show("vfork exec fails", pid);
}

static void spawns(void)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/lib/exit_with", getenv("GUEST_DIR"));
    pid_t pid;
    char *argv[] = {"exit_with", "5", NULL};
    printf("spawn: %d\n", posix_spawn(&pid, path, NULL, NULL, argv, environ));
    show("spawned", pid);
    printf("missing: %d\n", posix_spawn(&pid, "/nonexistent", NULL, NULL, argv, environ) == ENOENT);
    printf("directory: %d\n", posix_spawn(&pid, "/tmp", NULL, NULL, argv, environ) == EACCES);
    printf("not found: %d\n",
           posix_spawnp(&pid, "no-such-program-x", NULL, NULL, argv, environ) == ENOENT);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, "out", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawnattr_t attr;
    posix_spawnattr_init(&attr);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
    char *echo[] = {"echo", "into a file", NULL};
    CHECK(!posix_spawnp(&pid, "echo", &actions, &attr, echo, environ));
    show("echo", pid);
    FILE *f = fopen("out", "r");
    char line[100];
    CHECK(f && fgets(line, sizeof line, f));
    fputs(line, stdout);
    fclose(f);
}

static void scripts(void)
{
    FILE *f = fopen("script", "w");
    fputs("#!/bin/sh -e\necho \"script $0 $1 $#\"\nexit 9\n", f);
    fclose(f);
    chmod("script", 0700);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        execl("./script", "ignored", "one", "two", (char *)NULL);
        _exit(127);
    }
    show("script", pid);
    f = fopen("empty", "w");
    fputs("not a program\n", f);
    fclose(f);
    chmod("empty", 0700);
    pid = fork();
    if (pid == 0) {
        execl("./empty", "empty", (char *)NULL);
        _exit(errno == ENOEXEC ? 50 : 51);
    }
    show("no program", pid);
    f = popen("read x; echo got $x; exit 4", "w");
    fputs("words\n", f);
    printf("pclose %d\n", WEXITSTATUS(pclose(f)));
    f = popen("echo from the shell; kill -TERM $$", "r");
    char line[100];
    CHECK(fgets(line, sizeof line, f));
    fputs(line, stdout);
    int status = pclose(f);
    printf("%d %d\n", WIFSIGNALED(status), WTERMSIG(status));
    fflush(stdout);
    printf("system %d\n", WEXITSTATUS(system("exit 12")));
    int fd = open("/bin/true", O_RDONLY | O_CLOEXEC);
    pid = fork();
    if (pid == 0) {
        char *argv[] = {"true", NULL};
        fexecve(fd, argv, environ);
        _exit(127);
    }
    show("fexecve", pid);
    close(fd);
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    deaths();
    stops();
    vforks();
    spawns();
    scripts();
    CHECK(wait(NULL) == -1 && errno == ECHILD);
    return 0;
}
