/* SPDX-License-Identifier: BSD-2-Clause
 * thr_forkcode.c -- fork while other threads write code, run it and drop it: the child's code is
 * what it was at the fork, and the child goes on changing it. One page with code is not inherited
 * at all.
 * guest: timeout=60 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

enum { PAGE = 4096, WRITERS = 3, FORKS = 60 };

static volatile int stop;

static unsigned char *new_code(void)
{
    unsigned char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(p != MAP_FAILED);
    return p;
}

/* n functions that call the next, in reverse: links between blocks. */
static void write_code(unsigned char *p, int value, int n)
{
    for (int i = 0; i < n; i++) {
        unsigned char *f = p + 16 * i;

        if (i + 1 < n) {
            int rel = 16 - 5;
            f[0] = 0xe9;
            memcpy(f + 1, &rel, 4);
        } else {
            f[0] = 0xb8;
            memcpy(f + 1, &value, 4);
            f[5] = 0xc3;
        }
    }
}

static int run(unsigned char *p)
{
    return ((int (*)(void))p)();
}

static void *writer(void *arg)
{
    unsigned seed = (unsigned)(long)arg;

    while (!stop) {
        unsigned char *p = new_code();

        for (int i = 0; i < 5; i++) {
            int value = (int)(seed = seed * 1103515245 + 12345);

            write_code(p, value, 8);
            CHECK(run(p) == value);
        }
        CHECK(!munmap(p, PAGE));
    }
    return NULL;
}

static void child(unsigned char *kept, unsigned char *gone, int value)
{
    CHECK(run(kept) == value);
    for (int i = 0; i < 300; i++) {
        unsigned char *p = new_code();

        write_code(p, i, 8);
        CHECK(run(p) == i);
        write_code(p, i + 1, 5);
        CHECK(run(p) == i + 1);
        CHECK(!munmap(p, PAGE));
    }
    CHECK(mmap(gone, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == gone);
    write_code(gone, value + 1, 3);
    CHECK(run(gone) == value + 1);
    CHECK(run(kept) == value);
    _exit(7);
}

int main(void)
{
    unsigned char *kept = new_code(), *gone = new_code();
    pthread_t t[WRITERS];

    CHECK(!madvise(gone, PAGE, MADV_DONTFORK));
    for (long i = 0; i < WRITERS; i++) {
        CHECK(!pthread_create(&t[i], NULL, writer, (void *)(i + 1)));
    }
    for (int i = 0; i < FORKS; i++) {
        int status;
        pid_t pid;

        write_code(kept, i, 8);
        write_code(gone, i, 8);
        CHECK(run(kept) == i && run(gone) == i);
        pid = fork();
        if (pid == 0) {
            child(kept, gone, i);
        }
        CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
        CHECK(status == 7 << 8);
        CHECK(run(kept) == i && run(gone) == i);
    }
    stop = 1;
    for (int i = 0; i < WRITERS; i++) {
        CHECK(!pthread_join(t[i], NULL));
    }
    puts("done");
    return 0;
}
