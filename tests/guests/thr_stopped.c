/* SPDX-License-Identifier: BSD-2-Clause
 * thr_stopped.c -- a tracer stops one thread of another process, mostly in calls that take a moment
 * only; the others run on while it stands still.
 * guest: timeout=60 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

enum { ROUNDS = 40 };

typedef struct Shared {
    _Atomic int tid;
    _Atomic unsigned calls, turns;
} Shared;

static Shared *s;

static void *call(void *arg)
{
    atomic_store(&s->tid, (int)syscall(SYS_gettid));
    for (;;) {
        syscall(SYS_getppid);
        atomic_fetch_add(&s->calls, 1);
    }
    return NULL;
}

static void *count(void *arg)
{
    for (;;) {
        atomic_fetch_add(&s->turns, 1);
    }
    return NULL;
}

static void child(void)
{
    pthread_t a, b;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    CHECK(pthread_create(&a, NULL, call, NULL) == 0 && pthread_create(&b, NULL, count, NULL) == 0);
    pthread_join(a, NULL);
}

static void wait_for_more(_Atomic unsigned *n)
{
    unsigned at = atomic_load(n);

    while (atomic_load(n) - at < 2) {
        sched_yield();
    }
}

int main(void)
{
    pid_t pid;
    int tid, status;

    s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(s != MAP_FAILED);
    pid = fork();
    if (pid == 0) {
        child();
    }
    CHECK(pid > 0);
    while ((tid = atomic_load(&s->tid)) == 0) {
        sched_yield();
    }
    for (int i = 0; i < ROUNDS; i++) {
        if (i % 2 == 0) {
            CHECK(ptrace(PTRACE_ATTACH, tid, 0, 0) == 0);
        } else {
            CHECK(ptrace(PTRACE_SEIZE, tid, 0, 0) == 0);
            CHECK(ptrace(PTRACE_INTERRUPT, tid, 0, 0) == 0);
        }
        CHECK(waitpid(tid, &status, __WALL) == tid && WIFSTOPPED(status));
        wait_for_more(&s->turns);
        CHECK(ptrace(PTRACE_DETACH, tid, 0, 0) == 0);
        wait_for_more(&s->calls);
    }
    CHECK(kill(pid, SIGKILL) == 0 && waitpid(pid, &status, 0) == pid);
    printf("%d stops\n", ROUNDS);
    return 0;
}
