/* SPDX-License-Identifier: BSD-2-Clause
 * sys_rlimitfsize.c -- a process limits the size of the files that it writes: its own files are
 * cut, its children and programs run.
 * guest: */
#define _GNU_SOURCE
#include "guest.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t excess;

static void note(int signal)
{
    (void)signal;
    excess++;
}

static int set(unsigned long soft)
{
    const struct rlimit l = {soft, 1 << 20};

    return setrlimit(RLIMIT_FSIZE, &l);
}

static void write_beyond(void)
{
    char block[4096] = "";
    int fd = memfd_create("file", 0), before = excess;

    CHECK(write(fd, block, sizeof(block)) == sizeof(block));
    CHECK(write(fd, block, sizeof(block)) == -1 && errno == EFBIG);
    CHECK(ftruncate(fd, 8192) == -1 && errno == EFBIG);
    CHECK(excess == before + 2);
    close(fd);
}

static int status_of(pid_t child)
{
    int status = -1;

    CHECK(waitpid(child, &status, 0) == child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void children(const char *self)
{
    pid_t child = fork();

    if (child == 0) {
        write_beyond();
        child = fork();
        if (child == 0) {
            _exit(3);
        }
        _exit(4 + status_of(child));
    }
    printf("fork: %d\n", status_of(child));
    child = vfork();
    if (child == 0) {
        execl(self, self, "again", (char *)NULL);
        _exit(99);
    }
    printf("exec: %d\n", status_of(child));
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_handler = note};

    CHECK(sigaction(SIGXFSZ, &action, NULL) == 0);
    if (argc > 1) {
        write_beyond();
        return 5;
    }
    CHECK(set(4096) == 0);
    write_beyond();
    fflush(stdout);
    children(argv[0]);
    return 0;
}
