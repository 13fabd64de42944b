/* SPDX-License-Identifier: BSD-2-Clause
 * sys_fds.c -- a program sees its own descriptors and no others, and may close all that it sees. */
#define _GNU_SOURCE
#include "guest.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void list(const char *path)
{
    DIR *d = opendir(path);
    CHECK(d);
    int fds[64], n = 0;
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] != '.' && atoi(e->d_name) != dirfd(d)) {
            CHECK(n < 64);
            fds[n++] = atoi(e->d_name);
        }
    }
    closedir(d);
    printf("%s:", path);
    for (int i = 0; i < n; i++) {
        printf(" %d", fds[i]);
    }
    printf("\n");
}

/* The old call, with a buffer in which few entries find room. */
static void list_slowly(void)
{
    char buf[64]; /* so that few entries are read at a time */
    struct rlimit old, high;
    int fd = open("/proc/self/fd", O_RDONLY | O_DIRECTORY), n = 0;
    long r;
    CHECK(getrlimit(RLIMIT_NOFILE, &old) == 0);
    high = old;
    high.rlim_cur = high.rlim_max;
    CHECK(setrlimit(RLIMIT_NOFILE, &high) == 0);
    (void)!dup2(1, 4500); /* behind what is hidden, if the limit allows */
    while ((r = syscall(SYS_getdents, fd, buf, sizeof(buf))) > 0) {
        for (long at = 0; at < r; n++) {
            at += *(unsigned short *)(buf + at + 16);
        }
    }
    CHECK(r == 0);
    close(4500);
    close(fd);
    CHECK(setrlimit(RLIMIT_NOFILE, &old) == 0);
    printf("old getdents: %d entries\n", n); /* with . and .. and itself */
}

static int count_open(int max)
{
    int n = 0;
    for (int fd = 0; fd < max; fd++) {
        n += fcntl(fd, F_GETFD) >= 0;
    }
    return n;
}

static void closing(void)
{
    int fd = open("/dev/null", O_RDONLY);
    CHECK(fd == 3);
    CHECK(dup2(fd, 200) == 200 && dup3(fd, 1000, O_CLOEXEC) == 1000);
    CHECK(fcntl(fd, F_DUPFD, 500) == 500);
    list("/proc/self/fd");
    CHECK(syscall(SYS_close_range, 300, 100, 0) == -1 && errno == EINVAL);
    CHECK(syscall(SYS_close_range, 3, 100, 64) == -1 && errno == EINVAL);
    CHECK(syscall(SYS_close_range, 3, ~0u, 4) == 0); /* CLOSE_RANGE_CLOEXEC */
    CHECK(fcntl(200, F_GETFD) == FD_CLOEXEC);
    CHECK(syscall(SYS_close_range, 3, ~0u, 0) == 0);
    list("/proc/self/fd");
    list("/dev/fd");
    list("/proc/self/fdinfo");
    CHECK(open("/dev/null", O_RDONLY) == 3 && close(3) == 0);
    CHECK(syscall(SYS_close_range, 3, ~0u, 2) == 0); /* CLOSE_RANGE_UNSHARE */
    for (int i = 3; i < 66000; i++) {
        CHECK(close(i) == -1 && errno == EBADF);
    }
    printf("closed all\n");
}

/* What a daemon or a shell does before it runs a program. */
static void close_what_is_listed(void)
{
    CHECK(open("/dev/null", O_RDONLY) == 3 && open("/dev/null", O_RDONLY) == 4);
    DIR *d = opendir("/proc/self/fd");
    CHECK(d);
    int closed = 0;
    for (struct dirent *e; (e = readdir(d));) {
        int fd = atoi(e->d_name);
        if (fd > 2 && fd != dirfd(d)) {
            CHECK(close(fd) == 0);
            closed++;
        }
    }
    closedir(d);
    printf("closed %d\n", closed);
}

static void limits(void)
{
    struct rlimit lim, got;
    CHECK(getrlimit(RLIMIT_NOFILE, &lim) == 0);
    printf("limits %ld %ld\n", (long)lim.rlim_cur, (long)lim.rlim_max);
    struct rlimit small = {.rlim_cur = 40, .rlim_max = lim.rlim_max};
    CHECK(setrlimit(RLIMIT_NOFILE, &small) == 0 && getrlimit(RLIMIT_NOFILE, &got) == 0);
    CHECK(got.rlim_cur == 40 && got.rlim_max == lim.rlim_max);
    int n = 0;
    while (dup(0) >= 0) {
        n++;
    }
    printf("%d more below the limit, errno %d\n", n, errno);
    CHECK(dup2(0, 40) == -1 && errno == EBADF);
    CHECK(fcntl(0, F_DUPFD, 40) == -1 && errno == EINVAL);
}

static void in_child(void (*f)(void))
{
    fflush(stdout);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        f();
        fflush(stdout);
        _exit(0);
    }
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    printf("child: %d\n", status);
}

static void without_standard_fds(void)
{
    int keep = dup(1);
    CHECK(keep == 3);
    close(0);
    close(1);
    close(2);
    CHECK(open("/dev/null", O_RDONLY) == 0);
    CHECK(dup2(keep, 1) == 1);
    CHECK(count_open(100) == 3);
}

int main(void)
{
    /* What the caller left open is not what this is about. */
    syscall(SYS_close_range, 3, ~0u, 0);
    printf("open below 66000: %d\n", count_open(66000));
    struct stat st;
    printf("fds: %d\n", stat("/proc/self/fd/3", &st) == 0);
    list("/proc/self/fd");
    list("/proc/thread-self/fd");
    list_slowly();
    closing();
    close_what_is_listed();
    in_child(closing);
    in_child(without_standard_fds);
    in_child(limits);
    list("/proc/self/fd");
    return 0;
}
