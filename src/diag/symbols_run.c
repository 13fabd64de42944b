/* SPDX-License-Identifier: BSD-2-Clause
 * symbols_run.c -- runs mtvg-symbols, so that the guest can't tell.
 * A thread of the guest's process
 *   |  clone(VM, VFORK, no exit signal): shares memory; descriptors, limits, children are its own
 *   +--> between: makes pipes, starts the helper, writes and reads, kills it if it takes too long
 *        |  clone(VM, VFORK)
 *        +--> the helper, after exec
 * The guest's process gets no descriptor, no SIGCHLD, no child that a wait() finds, and its tracer
 * no event (CLONE_UNTRACED). Nothing of libc's is used that takes a lock. */
#include "diag/symbols.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define HELPER "mtvg-symbols"
#define FIRST_FREED 3 /* a few descriptors from here on are given up for the pipes */
#define STACK_SIZE (32u << 10)
#define PATIENCE_MS \
    30000 /* broken debug information can be endless; very large one takes seconds */

typedef struct Job {
    const char *text;
    size_t len;
    char *out;
    size_t size, got;
    char path[4096];
    int in, answer; /* the helper's ends of the pipes */
    _Alignas(16) u8 stack[STACK_SIZE];
    _Alignas(16) u8 helper_stack[STACK_SIZE];
} Job;

static bool find_helper(char *path, size_t size)
{
    ssize_t n = readlink("/proc/self/exe", path, size - 1);
    if (n <= 0) {
        return false;
    }
    path[n] = 0;
    char *slash = strrchr(path, '/');
    if (slash == NULL || (size_t)(slash + 1 - path) + sizeof(HELPER) > size) {
        return false;
    }
    strcpy(slash + 1, HELPER);
    return true;
}

/* What the guest has lowered for itself is not for the helper. */
static void raise_limits(void)
{
    static const int which[] = {RLIMIT_AS, RLIMIT_DATA, RLIMIT_STACK, RLIMIT_NOFILE, RLIMIT_CPU};
    struct rlimit lim;
    for (size_t i = 0; i < MT_ARRAY_SIZE(which); i++) {
        if (getrlimit(which[i], &lim) == 0) {
            lim.rlim_cur = lim.rlim_max;
            setrlimit(which[i], &lim);
        }
    }
    lim = (struct rlimit){0, 0};
    setrlimit(RLIMIT_CORE, &lim);
}

static void wait_for(int pid)
{
    while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR) {
    }
}

static int helper_main(void *arg)
{
    Job *job = arg;
    char *argv[] = {job->path, NULL}, *env[] = {NULL};
    u64 none = 0;
    /* 2: where nothing can be written to, if even the loader has something to say. */
    if (dup2(job->in, 0) == 0 && dup2(job->answer, 1) == 1 && dup2(0, 2) == 2) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        syscall(SYS_close_range, 3, ~0u, 0);
        syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, NULL, sizeof(none));
        execve(job->path, argv, env);
    }
    _exit(127);
}

static i64 now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Writes the question and reads the answer, as the pipes allow, until that ends. */
static void talk(Job *job, int to, int from)
{
    i64 end = now_ms() + PATIENCE_MS, left;
    size_t sent = 0;
    while ((left = end - now_ms()) > 0) {
        struct pollfd fds[2] = {{.fd = from, .events = POLLIN}, {.fd = to, .events = POLLOUT}};
        if (poll(fds, 2, (int)left) < 0 && errno != EINTR) {
            return;
        }
        if (to >= 0 && fds[1].revents != 0) {
            ssize_t n = write(to, job->text + sent, job->len - sent);
            sent += n > 0 ? (size_t)n : 0;
            if (sent == job->len || (n < 0 && errno != EAGAIN && errno != EINTR)) {
                close(to);
                to = -1;
            }
        }
        if (fds[0].revents != 0) {
            ssize_t n = read(from, job->out + job->got, job->size - job->got);
            if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
                return;
            }
            job->got += n > 0 ? (size_t)n : 0;
        }
    }
}

/* With both ends above the standard ones, which the guest may have closed. */
static bool make_pipe(int fd[2])
{
    if (pipe2(fd, O_CLOEXEC) != 0) {
        return false;
    }
    for (int i = 0; i < 2; i++) {
        if (fd[i] < FIRST_FREED) {
            int low = fd[i];
            fd[i] = fcntl(low, F_DUPFD_CLOEXEC, FIRST_FREED);
            close(low);
        }
    }
    return fd[0] >= 0 && fd[1] >= 0;
}

/* The process between, whose descriptors are copies: where the guest has left no number free, some
 * of them are closed. */
static int between_main(void *arg)
{
    Job *job = arg;
    int to[2], from[2], pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    raise_limits();
    if (!find_helper(job->path, sizeof(job->path))) {
        _exit(0);
    }
    for (int fd = FIRST_FREED; fd < FIRST_FREED + 8; fd++) {
        close(fd);
    }
    if (!make_pipe(to) || !make_pipe(from)) {
        _exit(0);
    }
    fcntl(to[1], F_SETFL, O_NONBLOCK);
    job->in = to[0];
    job->answer = from[1];
    pid = clone(helper_main, job->helper_stack + STACK_SIZE,
                CLONE_VM | CLONE_VFORK | CLONE_UNTRACED | SIGCHLD, job);
    close(to[0]);
    close(from[1]);
    if (pid > 0) {
        talk(job, to[1], from[0]);
        kill(pid, SIGKILL); /* it has nothing more to say */
        wait_for(pid);
    }
    _exit(0);
}

size_t symbols_run(const char *text, size_t len, char *out, size_t size)
{
    Job job = {.text = text, .len = len, .out = out, .size = size};
    u64 all = ~0ull, mask;
    if (len == 0) {
        return 0;
    }
    /* None of the handlers is for the process between, which has this thread's memory and another's
     * id. */
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, &mask, sizeof(all));
    int pid = clone(between_main, job.stack + STACK_SIZE, CLONE_VM | CLONE_VFORK | CLONE_UNTRACED,
                    &job);
    if (pid > 0) {
        wait_for(pid);
    }
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, sizeof(mask));
    return job.got;
}
