/* SPDX-License-Identifier: BSD-2-Clause
 * thr_fork.c -- fork from threads while others run; atfork handlers; threads in the child.
 * Argument: forks per thread (15), fewer for slow outer tools.
 * guest: timeout=40 */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

static int forks = 15;
static _Atomic int prepares, parents, children, stop;

static void prepare(void)
{
    prepares++;
}
static void parent(void)
{
    parents++;
}
static void child(void)
{
    children++;
}

static void *busy(void *arg)
{
    while (!atomic_load(&stop)) {
        free(malloc(1000));
    }
    return NULL;
}

static void *in_child(void *arg)
{
    return (char *)arg + 1;
}

static void *forker(void *arg)
{
    for (int i = 0; i < forks; i++) {
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            pthread_t t;
            void *v;
            if (atomic_load(&children) != 1 || pthread_create(&t, NULL, in_child, (void *)40) ||
                pthread_join(t, &v) || (long)v != 41) {
                _exit(1);
            }
            pid_t grand = fork();
            if (grand == 0) {
                _exit(3);
            }
            int status;
            if (waitpid(grand, &status, 0) != grand || WEXITSTATUS(status) != 3) {
                _exit(2);
            }
            _exit(10 + i);
        }
        int status;
        CHECK(waitpid(pid, &status, 0) == pid);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 10 + i);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        forks = atoi(argv[1]);
    }
    pthread_atfork(prepare, parent, child);
    pthread_t b[2], f[3];
    for (int i = 0; i < 2; i++) {
        pthread_create(&b[i], NULL, busy, NULL);
    }
    for (int i = 0; i < 3; i++) {
        pthread_create(&f[i], NULL, forker, NULL);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(f[i], NULL);
    }
    atomic_store(&stop, 1);
    for (int i = 0; i < 2; i++) {
        pthread_join(b[i], NULL);
    }
    printf("%d %d %d\n", prepares, parents, children);
    /* output that was buffered before fork is printed by both, as natively */
    printf("twice ");
    pid_t pid = fork();
    if (pid == 0) {
        printf("child\n");
        exit(0);
    }
    waitpid(pid, NULL, 0);
    printf("parent\n");
    return 0;
}
