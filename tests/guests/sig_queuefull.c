/* SPDX-License-Identifier: BSD-2-Clause
 * sig_queuefull.c -- the user's queue of real-time signals is full: threads are still created,
 * stopped and cancelled, code still changes, the process still forks.
 * guest: timeout=60 */
#define _GNU_SOURCE
#include "guest.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile int stop;
static volatile long loops[3];

static void *looper(void *arg)
{
    volatile long *n = arg;
    while (!stop) {
        (*n)++;
    }
    return NULL;
}

int main(void)
{
    struct rlimit limit = {20, 20};
    sigset_t s;
    pthread_t th[3];
    int n = 0, status, sum = 0;
    sigfillset(&s);
    sigdelset(&s, SIGCHLD);
    pthread_sigmask(SIG_BLOCK, &s, NULL);
    for (int i = 0; i < 3; i++) {
        CHECK(pthread_create(&th[i], NULL, looper, (void *)&loops[i]) == 0);
    }
    CHECK(setrlimit(RLIMIT_SIGPENDING, &limit) == 0);
    while (sigqueue(getpid(), SIGRTMIN + 3, (union sigval){.sival_int = n}) == 0 && n < 1000) {
        n++;
    }
    printf("queue full: %d\n", n < 1000);
    uint8_t *code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 200; i++) {
        uint8_t text[] = {0xb8, (uint8_t)i, 0, 0, 0, 0xc3};
        memcpy(code, text, sizeof(text));
        sum += ((int (*)(void))code)();
        mprotect(code, 4096, PROT_READ | PROT_EXEC);
        mprotect(code, 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
    }
    printf("sum %d\n", sum);
    fflush(stdout);
    for (int i = 0; i < 5; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            _exit(i);
        }
        CHECK(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == i);
    }
    for (int i = 0; i < 3; i++) {
        while (loops[i] == 0) {
            usleep(1000);
        }
    }
    stop = 1;
    for (int i = 0; i < 3; i++) {
        pthread_join(th[i], NULL);
    }
    int got = 0;
    siginfo_t info;
    struct timespec zero = {0, 0};
    while (sigtimedwait(&s, &info, &zero) == SIGRTMIN + 3) {
        CHECK(info.si_value.sival_int == got);
        got++;
    }
    printf("all there: %d\n", got == n);
    return 0;
}
