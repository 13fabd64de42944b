/* SPDX-License-Identifier: BSD-2-Clause
 * thr_bareclone.c -- a process whose threads come and go forks by the bare system call, so that the
 * child finds libc's locks as they were, taken perhaps, and does what needs none of them: it maps
 * and runs new code, changes dispositions, forks, executes a program.
 * guest: timeout=60 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

enum { MAKERS = 30, AT_ONCE = 4, ROUNDS = 60, PAGES = 20, PAGE = 4096 };

static _Atomic int stop;

static void *nothing(void *arg)
{
    return NULL;
}

static void *make_threads(void *arg)
{
    while (!atomic_load(&stop)) {
        pthread_t t[AT_ONCE];

        for (int i = 0; i < AT_ONCE; i++) {
            CHECK(pthread_create(&t[i], NULL, nothing, NULL) == 0);
        }
        for (int i = 0; i < AT_ONCE; i++) {
            pthread_join(t[i], NULL);
        }
    }
    return NULL;
}

/* mov $1, %eax; ret: in many places. */
static int run_new_code(void)
{
    int sum = 0;

    for (int k = 0; k < PAGES; k++) {
        uint8_t *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        if (p == MAP_FAILED) {
            return -1;
        }
        for (int i = 0; i < PAGE; i += 64) {
            memcpy(p + i, "\xb8\1\0\0\0\xc3", 6);
            sum += ((int (*)(void))(void *)(p + i))();
        }
    }
    return sum;
}

static void child(int round)
{
    static char *const argv[] = {"true", NULL};
    struct sigaction act = {.sa_handler = SIG_IGN};
    int status = 0;
    long pid;

    if (run_new_code() != PAGES * (PAGE / 64) || sigaction(SIGUSR1, &act, NULL) != 0) {
        _exit(1);
    }
    pid = syscall(SYS_clone, 0L, 0L, 0L, 0L, 0L);
    if (pid == 0) {
        _exit(2);
    }
    if (pid < 0 || waitpid((pid_t)pid, &status, __WALL) != pid || status != 2 << 8) {
        _exit(3);
    }
    if (round % 2 == 0) {
        execve("/bin/true", argv, NULL);
    }
    _exit(0);
}

int main(void)
{
    pthread_t makers[MAKERS];

    for (int i = 0; i < MAKERS; i++) {
        CHECK(pthread_create(&makers[i], NULL, make_threads, NULL) == 0);
    }
    for (int i = 0; i < ROUNDS; i++) {
        long pid = syscall(SYS_clone, 0L, 0L, 0L, 0L, 0L);
        int status = -1;

        if (pid == 0) {
            child(i);
        }
        CHECK(pid > 0 && waitpid((pid_t)pid, &status, __WALL) == pid);
        CHECK(status == 0);
    }
    atomic_store(&stop, 1);
    for (int i = 0; i < MAKERS; i++) {
        pthread_join(makers[i], NULL);
    }
    printf("%d children\n", ROUNDS);
    return 0;
}
