/* SPDX-License-Identifier: BSD-2-Clause
 * sys_clone.c -- clone, clone3, fork, vfork by hand: what each refuses, what each leaves where. */
#define _GNU_SOURCE
#include "guest.h"

#include <linux/sched.h> /* before <sched.h>: struct clone_args */

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static long clone3(struct clone_args *a, size_t size)
{
    return syscall(SYS_clone3, a, size);
}

static int finish(pid_t pid, int options)
{
    int status;
    CHECK(pid > 0 && waitpid(pid, &status, options) == pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* A refused clone3: nothing may have been made. */
static void refuse(const char *what, struct clone_args a, size_t size)
{
    long r = clone3(&a, size);
    if (r == 0) {
        _exit(0);
    }
    printf("%s: %ld, errno %d\n", what, r, errno);
    CHECK(r == -1);
}

static void errors(void)
{
    struct {
        struct clone_args a;
        unsigned long more[2];
    } longer = {{.exit_signal = SIGCHLD}, {0, 1}};
    CHECK(clone3((struct clone_args *)8, 64) == -1 && errno == EFAULT);
    CHECK(clone3(&longer.a, 63) == -1 && errno == EINVAL);
    CHECK(clone3(&longer.a, 4097) == -1 && errno == E2BIG);
    CHECK(clone3(&longer.a, sizeof(longer)) == -1 && errno == E2BIG);
#define REFUSE(...) \
    refuse(#__VA_ARGS__, (struct clone_args){__VA_ARGS__}, sizeof(struct clone_args))
    REFUSE(.flags = CLONE_DETACHED);
    REFUSE(.flags = 17);
    REFUSE(.flags = 1ull << 40);
    REFUSE(.flags = CLONE_THREAD);
    REFUSE(.flags = CLONE_SIGHAND);
    REFUSE(.flags = CLONE_THREAD | CLONE_SIGHAND);
    REFUSE(.flags = CLONE_FS | CLONE_NEWNS);
    REFUSE(.flags = CLONE_FS | CLONE_NEWUSER);
    REFUSE(.flags = CLONE_VM | CLONE_SIGHAND | CLONE_CLEAR_SIGHAND);
    REFUSE(.flags = CLONE_THREAD | CLONE_SIGHAND | CLONE_VM, .exit_signal = SIGCHLD);
    REFUSE(.flags = CLONE_PARENT, .exit_signal = SIGCHLD);
    REFUSE(.exit_signal = 65);
    REFUSE(.exit_signal = 0x100);
    REFUSE(.stack = 0x1000);
    REFUSE(.stack_size = 0x1000);
    REFUSE(.stack = ~0ull - 0xfff, .stack_size = 0x1000);
    REFUSE(.set_tid = 0x1000);
    REFUSE(.set_tid_size = 1);
    REFUSE(.set_tid = 0x1000, .set_tid_size = 33);
    REFUSE(.flags = CLONE_INTO_CGROUP, .cgroup = 1ull << 32);
    REFUSE(.flags = CLONE_PIDFD | CLONE_PARENT_SETTID, .pidfd = 8, .parent_tid = 8);
    refuse("cgroup, short", (struct clone_args){.flags = CLONE_INTO_CGROUP, .cgroup = 3}, 80);
    CHECK(syscall(SYS_clone, CLONE_THREAD, 0, 0, 0, 0) == -1 && errno == EINVAL);
    CHECK(syscall(SYS_clone, CLONE_SIGHAND, 0, 0, 0, 0) == -1 && errno == EINVAL);
    int fd;
    CHECK(syscall(SYS_clone, CLONE_PIDFD | CLONE_PARENT_SETTID, 0, &fd, 0, 0) == -1 &&
          errno == EINVAL);
    CHECK(waitpid(-1, NULL, __WALL) == -1 && errno == ECHILD);
}

static void forms(void)
{
    static pid_t ptid, ctid;
    int pidfd = -1;

    long pid = syscall(SYS_fork);
    if (pid == 0) {
        _exit(1);
    }
    printf("fork: %d\n", finish(pid, 0));

    pid = syscall(SYS_clone, SIGCHLD | CLONE_PARENT_SETTID | CLONE_CHILD_SETTID, 0, &ptid, &ctid,
                  0);
    if (pid == 0) {
        _exit(ctid == getpid() && ctid == syscall(SYS_gettid) ? 2 : 99);
    }
    CHECK(ptid == pid && ctid == 0);
    printf("clone: %d\n", finish(pid, 0));

    /* No signal at the end: only __WCLONE or __WALL finds it. */
    pid = syscall(SYS_clone, 0, 0, 0, 0, 0);
    if (pid == 0) {
        _exit(3);
    }
    CHECK(waitpid(pid, NULL, 0) == -1 && errno == ECHILD);
    printf("clone, no signal: %d\n", finish(pid, __WCLONE));

    struct clone_args a = {
        .flags = CLONE_PIDFD | CLONE_PARENT_SETTID | CLONE_CHILD_SETTID,
        .pidfd = (unsigned long)&pidfd,
        .parent_tid = (unsigned long)&ptid,
        .child_tid = (unsigned long)&ctid,
        .exit_signal = SIGCHLD,
    };
    pid = clone3(&a, sizeof(a));
    if (pid == 0) {
        _exit(ctid == getpid() ? 4 : 99);
    }
    CHECK(pid > 0 && ptid == pid && pidfd >= 3 && fcntl(pidfd, F_GETFD) == FD_CLOEXEC);
    struct pollfd p = {.fd = pidfd, .events = POLLIN};
    CHECK(poll(&p, 1, 10000) == 1);
    siginfo_t info;
    CHECK(waitid(P_PIDFD, pidfd, &info, WEXITED) == 0 && info.si_pid == pid);
    printf("clone3: %d\n", info.si_status);
    close(pidfd);

    static volatile int shared;
    pid = vfork();
    if (pid == 0) {
        shared = 5;
        _exit(shared);
    }
    CHECK(shared == 5);
    printf("vfork: %d\n", finish(pid, 0));

    /* CLONE_VFORK without CLONE_VM: the parent waits, memory is its own. */
    int fds[2];
    CHECK(pipe(fds) == 0);
    pid = syscall(SYS_clone, CLONE_VFORK | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) {
        shared = 6;
        usleep(20000);
        CHECK(write(fds[1], "x", 1) == 1);
        _exit(6);
    }
    char c;
    CHECK(fcntl(fds[0], F_SETFL, O_NONBLOCK) == 0 && read(fds[0], &c, 1) == 1 && shared == 5);
    printf("clone, CLONE_VFORK: %d\n", finish(pid, 0));
    close(fds[0]);
    close(fds[1]);
}

/* A child on a stack of its own, sharing memory while the parent waits: what posix_spawn does. */
static int on_own_stack(void *arg)
{
    *(volatile int *)arg = getpid();
    return 8;
}

static void own_stack(void)
{
    int seen = 0;
    char *stack = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(stack != MAP_FAILED);
    pid_t pid = clone(on_own_stack, stack + 65536, CLONE_VM | CLONE_VFORK | SIGCHLD, &seen);
    CHECK(pid > 0 && seen == pid);
    printf("clone, own stack: %d\n", finish(pid, 0));
    munmap(stack, 65536);
}

/* Addresses for thread numbers that can't be written, or that are in code: no error, nobody is
 * hurt. */
static int clone_main(void *arg)
{
    syscall(SYS_exit, 7);
    return 0;
}

static void bad_words(void)
{
    static const int kinds[] = {SIGCHLD, CLONE_VM | CLONE_VFORK | SIGCHLD, CLONE_VM | SIGCHLD,
                                CLONE_VM | CLONE_SIGHAND | CLONE_THREAD};
    static char stack[65536] __attribute__((aligned(16)));
    unsigned char *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const unsigned char ret[] = {0xb8, 42, 0, 0, 0, 0xc3};
    void *const words[] = {(void *)8, (void *)0x800000000000, code + 64, stack};

    CHECK(code != MAP_FAILED);
    memcpy(code, ret, sizeof ret);
    for (int w = 0; w < 4; w++) {
        for (int k = 0; k < 4; k++) {
            const int flags = kinds[k] | CLONE_CHILD_SETTID | CLONE_PARENT_SETTID;
            CHECK(((int (*)(void))code)() == 42);
            pid_t pid = clone(clone_main, stack + sizeof stack,
                              flags | (kinds[k] & CLONE_THREAD ? CLONE_CHILD_CLEARTID : 0), NULL,
                              words[w], NULL, words[w]);
            CHECK(pid > 0);
            if (kinds[k] & CLONE_THREAD) {
                while (syscall(SYS_tgkill, getpid(), pid, 0) == 0) {
                    sched_yield();
                }
                printf("word %d, thread\n", w);
            } else {
                printf("word %d, kind %d: %d\n", w, k, finish(pid, 0));
            }
        }
    }
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    errors();
    forms();
    own_stack();
    bad_words();
    printf("done\n");
    return 0;
}
