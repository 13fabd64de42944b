/* SPDX-License-Identifier: BSD-2-Clause
 * thr_traced.c -- as leak checkers do: a process that shares the program's memory attaches to all
 * its threads, reads their registers, and lets them go, while they compute, map, wait and run new
 * code; the thread that started it waits by yielding its processor.
 * guest: timeout=60 */
#define _GNU_SOURCE
#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

enum { THREADS = 6, ROUNDS = 12, MAX_TIDS = 64, PAGE = 4096 };

static _Atomic int started, stop, finished, found, failed;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char tracer_stack[256 * 1024] __attribute__((aligned(16)));

/* mov $value, %eax; ret */
static int run_new_code(uint8_t *page, int value)
{
    memcpy(page, (const uint8_t[]){0xb8, 0, 0, 0, 0, 0xc3}, 6);
    memcpy(page + 1, &value, 4);
    return ((int (*)(void))(uintptr_t)page)();
}

static void *work(void *arg)
{
    uintptr_t kind = (uintptr_t)arg;
    uint8_t *code = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(code != MAP_FAILED);
    atomic_fetch_add(&started, 1);
    for (int i = 0; !atomic_load(&stop); i++) {
        switch (kind % 4) {
        case 0: CHECK(run_new_code(code, i) == i); break;
        case 1: {
            void *p = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

            CHECK(p != MAP_FAILED && munmap(p, PAGE) == 0);
            break;
        }
        case 2:
            pthread_mutex_lock(&lock);
            usleep(100);
            pthread_mutex_unlock(&lock);
            break;
        default:
            for (volatile int k = 0; k < 1000; k++) {
            }
        }
    }
    munmap(code, PAGE);
    return NULL;
}

/* No libc calls that take locks: whoever holds them may stand still. */
static int read_tids(pid_t *tids)
{
    char buf[4096];
    long n;
    int count = 0, fd = open("/proc/self/task", O_RDONLY | O_DIRECTORY);

    if (fd < 0) {
        return -1;
    }
    while ((n = syscall(SYS_getdents64, fd, buf, sizeof(buf))) > 0) {
        for (long at = 0; at < n;) {
            struct dirent64 *d = (struct dirent64 *)(buf + at);
            pid_t tid = 0;

            for (const char *c = d->d_name; *c >= '0' && *c <= '9'; c++) {
                tid = tid * 10 + *c - '0';
            }
            if (tid != 0 && count < MAX_TIDS) {
                tids[count++] = tid;
            }
            at += d->d_reclen;
        }
    }
    close(fd);
    return count;
}

static int trace(void *arg)
{
    pid_t *tids = arg;
    int n = 0;

    while (tids[n] != 0) {
        n++;
    }
    for (int i = 0; i < n; i++) {
        int status;

        if (ptrace(PTRACE_ATTACH, tids[i], 0, 0) != 0 ||
            waitpid(tids[i], &status, __WALL) != tids[i] || !WIFSTOPPED(status) ||
            WSTOPSIG(status) != SIGSTOP) {
            atomic_fetch_add(&failed, 1);
        }
    }
    for (int i = 0; i < n; i++) {
        struct user_regs_struct r;

        if (ptrace(PTRACE_GETREGS, tids[i], 0, &r) == 0 && r.rsp != 0 && r.rip != 0) {
            atomic_fetch_add(&found, 1);
        }
        if (ptrace(PTRACE_DETACH, tids[i], 0, 0) != 0) {
            atomic_fetch_add(&failed, 1);
        }
    }
    atomic_store(&finished, 1);
    return 0;
}

int main(void)
{
    pthread_t threads[THREADS];
    pid_t tids[MAX_TIDS + 1];

    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
    for (uintptr_t i = 0; i < THREADS; i++) {
        CHECK(pthread_create(&threads[i], NULL, work, (void *)i) == 0);
    }
    while (atomic_load(&started) < THREADS) {
        sched_yield();
    }
    for (int i = 0; i < ROUNDS; i++) {
        int status, n = read_tids(tids);
        pid_t pid;

        CHECK(n == THREADS + 1);
        tids[n] = 0;
        atomic_store(&finished, 0);
        pid = clone(trace, tracer_stack + sizeof(tracer_stack),
                    CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_UNTRACED, tids);
        CHECK(pid > 0);
        while (!atomic_load(&finished)) {
            sched_yield();
        }
        CHECK(waitpid(pid, &status, __WALL) == pid && status == 0);
    }
    atomic_store(&stop, 1);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    printf("found %d failed %d\n", atomic_load(&found), atomic_load(&failed));
    return 0;
}
