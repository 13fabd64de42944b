/* SPDX-License-Identifier: BSD-2-Clause
 * proc_family.c -- children of all kinds: every way to wait, subreapers, groups and sessions,
 * orphaned groups, death signals, pidfds, clone's flags, name spaces, set*id with threads.
 * guest: timeout=60
 * variant: pie
 * variant: static cflags=-static */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

static volatile int *shared;

/* status: as the call leaves it, or NULL. */
static void show(const char *what, long result, const int *status)
{
    printf("%s: %s %x\n", what,
           result > 0    ? "pid"
           : result == 0 ? "0"
                         : strerrorname_np(errno),
           status ? *status : 0);
    fflush(stdout);
}

static pid_t child(int code)
{
    pid_t pid = fork();
    if (pid == 0) {
        _exit(code);
    }
    return pid;
}

static void show_info(const char *what, int r, pid_t pid, const siginfo_t *i)
{
    printf("%s: %s signo %d code %d status %d own %d\n", what, r ? strerrorname_np(errno) : "0",
           i->si_signo, i->si_code, i->si_status, i->si_pid == pid);
    fflush(stdout);
}

/* ---- waiting ---- */

/* A second stop takes back what is to be told of the end of the first: the child waits with it. */
static void wait_for(int step)
{
    while (shared[2] < step) {
        usleep(1000);
    }
}

static void waits(void)
{
    siginfo_t info;
    struct rusage usage;
    int status = 0;
    pid_t pid = child(3), got;
    CHECK(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) == 0);
    show_info("nowait", 0, pid, &info);
    CHECK(waitid(P_PGID, 0, &info, WEXITED) == 0);
    show_info("group", 0, pid, &info);
    memset(&info, 0x55, sizeof(info));
    int r = waitid(P_PID, (id_t)pid, &info, WEXITED);
    show_info("gone", r, pid, &info);
    pid = fork();
    if (pid == 0) {
        raise(SIGSTOP);
        wait_for(1);
        raise(SIGSTOP);
        wait_for(2);
        _exit(4);
    }
    memset(&info, 0x55, sizeof(info));
    CHECK(waitid(P_ALL, 0, &info, WSTOPPED) == 0);
    show_info("stopped", 0, pid, &info);
    memset(&info, 0x55, sizeof(info));
    r = waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG);
    show_info("not yet", r, pid, &info);
    kill(pid, SIGCONT);
    CHECK(waitid(P_ALL, 0, &info, WCONTINUED) == 0);
    show_info("continued", 0, pid, &info);
    shared[2] = 1;
    got = wait4(pid, &status, WUNTRACED, &usage);
    show("stopped again", got, &status);
    kill(pid, SIGCONT);
    got = wait4(-1, &status, WCONTINUED, NULL);
    show("continued", got, &status);
    shared[2] = 2;
    got = wait4(0, &status, 0, &usage);
    show("exit", got, &status);
    status = 0x1234;
    got = waitpid(-1, &status, 0);
    show("none", got, &status);
    show("bad options", wait4(-1, &status, 0x123, NULL), NULL);
    show("bad id", waitid((idtype_t)77, 0, &info, WEXITED), NULL);
    pid = child(5);
    CHECK(waitpid(pid, NULL, 0) == pid);
    pid = child(6);
    show("bad status address", syscall(SYS_wait4, pid, 8, 0, 0), NULL);
    show("reaped all the same", waitpid(pid, &status, 0), NULL);
}

/* A child that sends no SIGCHLD: __WCLONE and __WALL find it, plain wait does not. */
static void clone_children(void)
{
    int status = 0;
    pid_t pid = (pid_t)syscall(SYS_clone, SIGUSR1, 0, 0, 0, 0);
    if (pid == 0) {
        _exit(7);
    }
    show("plain", waitpid(pid, &status, 0), NULL);
    show("wclone", waitpid(pid, &status, __WCLONE), &status);
    pid = (pid_t)syscall(SYS_clone, 0, 0, 0, 0, 0);
    if (pid == 0) {
        _exit(8);
    }
    show("wall", waitpid(-1, &status, __WALL), &status);
}

/* Children of another thread. */
static void *nothread_wait(void *arg)
{
    int status = 0;
    show("nothread", waitpid(*(pid_t *)arg, &status, __WNOTHREAD), NULL);
    show("thread", waitpid(*(pid_t *)arg, &status, 0), &status);
    return NULL;
}

static void in_thread(void *(*fn)(void *), void *arg)
{
    pthread_t th;
    CHECK(pthread_create(&th, NULL, fn, arg) == 0 && pthread_join(th, NULL) == 0);
}

/* ---- who is whose parent ---- */

static void subreaper(void)
{
    int status = 0;
    CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        pid_t parent = getpid();
        if (fork() == 0) {
            while (getppid() == parent) {
                usleep(1000);
            }
            _exit(9);
        }
        _exit(10);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    show("middle", pid, &status);
    show("grandchild", wait(&status), &status);
    CHECK(prctl(PR_SET_CHILD_SUBREAPER, 0) == 0);
}

static void clone_parent(void)
{
    int status = 0;
    pid_t self = getpid(), pid = fork();
    if (pid == 0) {
        if (syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0) == 0) {
            _exit(getppid() == self ? 11 : 12);
        }
        _exit(0);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    show("sister", wait(&status), &status);
}

static void *thread_that_forks(void *arg)
{
    pid_t *pid = arg;
    *pid = fork();
    if (*pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGUSR2);
        signal(SIGUSR2, SIG_DFL);
        shared[0] = 1;
        for (;;) {
            pause();
        }
    }
    while (!shared[0]) {
        usleep(1000);
    }
    return NULL; /* the parent is the thread: its end is the death of the parent */
}

static void death_signal(void)
{
    pid_t pid;
    int status = 0;
    shared[0] = 0;
    in_thread(thread_that_forks, &pid);
    CHECK(waitpid(pid, &status, 0) == pid);
    show("death signal", pid, &status);
}

/* ---- groups and sessions ---- */

static volatile sig_atomic_t hups, conts;
static void on_hup(int sig)
{
    *(sig == SIGHUP ? &hups : &conts) += 1;
}

/* A stopped group that is orphaned gets SIGHUP and SIGCONT. */
static void orphans(void)
{
    int fds[2], status = 0;
    char c = 0;
    CHECK(pipe(fds) == 0);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        pid_t stopped = fork();
        if (stopped == 0) {
            signal(SIGHUP, on_hup);
            signal(SIGCONT, on_hup);
            setpgid(0, 0);
            raise(SIGSTOP);
            c = hups == 1 && conts == 1 ? 'y' : 'n';
            _exit(write(fds[1], &c, 1) != 1);
        }
        CHECK(waitpid(stopped, &status, WUNTRACED) == stopped && WIFSTOPPED(status));
        _exit(0); /* now its group has nobody outside in the session */
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(read(fds[0], &c, 1) == 1);
    printf("orphaned: %c\n", c);
    close(fds[0]);
    close(fds[1]);
}

static void groups(void)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        CHECK(setsid() == getpid() && getpgrp() == getpid() && getsid(0) == getpid());
        CHECK(setsid() == -1 && errno == EPERM);
        pid_t a = fork();
        if (a == 0) {
            pause();
        }
        pid_t b = fork();
        if (b == 0) {
            pause();
        }
        CHECK(setpgid(a, a) == 0 && setpgid(b, a) == 0 && getpgid(b) == a);
        CHECK(kill(-a, SIGTERM) == 0);
        CHECK(waitpid(-a, &status, 0) > 0 && WTERMSIG(status) == SIGTERM);
        CHECK(waitpid(-a, &status, 0) > 0 && WTERMSIG(status) == SIGTERM);
        CHECK(waitpid(-a, &status, 0) == -1 && errno == ECHILD);
        CHECK(setpgid(0, 1) == -1 && errno == EPERM);
        _exit(13);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    show("session", pid, &status);
}

/* ---- pidfds ---- */

static void pidfds(void)
{
    int fd = -1, status = 0, fds[2];
    siginfo_t info;
    CHECK(pipe(fds) == 0);
    pid_t pid = (pid_t)syscall(SYS_clone, CLONE_PIDFD | SIGCHLD, 0, &fd, 0, 0);
    if (pid == 0) {
        for (;;) {
            pause();
        }
    }
    CHECK(fd >= 0 && (fcntl(fd, F_GETFD) & FD_CLOEXEC));
    int copy = (int)syscall(SYS_pidfd_getfd, fd, fds[1], 0);
    CHECK(copy >= 0 && write(copy, "x", 1) == 1);
    close(copy);
    CHECK(syscall(SYS_pidfd_send_signal, fd, SIGSTOP, NULL, 0) == 0);
    CHECK(waitid(P_PIDFD, (id_t)fd, &info, WSTOPPED) == 0);
    show_info("pidfd", 0, pid, &info);
    CHECK(syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0) == 0);
    CHECK(waitid(P_PIDFD, (id_t)fd, &info, WEXITED) == 0);
    show_info("pidfd", 0, pid, &info);
    CHECK(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0) == -1 && errno == ESRCH);
    close(fd);
    CHECK(syscall(SYS_pidfd_open, pid, 0) == -1 && errno == ESRCH);
    CHECK((fd = (int)syscall(SYS_pidfd_open, getpid(), 0)) >= 0);
    signal(SIGUSR1, SIG_IGN);
    CHECK(syscall(SYS_pidfd_send_signal, fd, SIGUSR1, NULL, 0) == 0);
    close(fd);
    close(fds[0]);
    close(fds[1]);
    (void)status;
}

/* ---- name spaces ---- */

static void name_spaces(void)
{
    int status = 0;
    pid_t pid = (pid_t)syscall(SYS_clone, CLONE_NEWUSER | CLONE_NEWPID | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) {
        CHECK(getpid() == 1 && getppid() == 0);
        pid_t p = child(14), got;
        CHECK(p == 2 && (got = waitpid(p, &status, 0)) == p && WEXITSTATUS(status) == 14);
        in_thread(nothread_wait, &p);
        raise(SIGTERM); /* an init process is spared */
        _exit(15);
    }
    if (pid < 0) {
        printf("no name spaces here\n");
        return;
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    show("init", pid, &status);
    pid = fork();
    if (pid == 0) {
        CHECK(unshare(CLONE_NEWUSER) == 0 && unshare(CLONE_NEWPID) == 0);
        pid_t p = fork();
        if (p == 0) {
            _exit(getpid() == 1 ? 16 : 17);
        }
        CHECK(waitpid(p, &status, 0) == p);
        _exit(WEXITSTATUS(status));
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    show("unshared", pid, &status);
}

/* ---- set*id ---- */

static void *wait_and_look(void *arg)
{
    while (!shared[1]) {
        usleep(1000);
    }
    *(uid_t *)arg = (uid_t)syscall(SYS_getuid);
    return NULL;
}

/* libc sets the number in all threads, by signal 33. */
static void ids(void)
{
    int status = 0;
    shared[1] = 0;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        pthread_t th[8];
        uid_t seen[8];
        uid_t want = getuid() == 0 ? 12345 : getuid();
        for (int i = 0; i < 8; i++) {
            CHECK(pthread_create(&th[i], NULL, wait_and_look, &seen[i]) == 0);
        }
        CHECK(setgid(getuid() == 0 ? 12345 : getgid()) == 0 && setuid(want) == 0);
        shared[1] = 1;
        for (int i = 0; i < 8; i++) {
            CHECK(pthread_join(th[i], NULL) == 0 && seen[i] == want);
        }
        _exit(18);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    show("ids", pid, &status);
}

int main(void)
{
    shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED);
    signal(SIGUSR1, SIG_IGN);
    waits();
    clone_children();
    pid_t pid = child(19);
    in_thread(nothread_wait, &pid);
    subreaper();
    clone_parent();
    death_signal();
    orphans();
    groups();
    pidfds();
    name_spaces();
    ids();
    return 0;
}
