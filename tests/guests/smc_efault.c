/* SPDX-License-Identifier: BSD-2-Clause
 * smc_efault.c -- system calls write into pages that are writable, whatever becomes of the code in
 * them meanwhile: other threads run it, change it, drop it. None fails.
 * guest: timeout=60 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

enum { PAGE = 4096, PAGES = 400, TURNS = 5, DATA = 2048 };

typedef int Fn(void);

static unsigned char *code;
static _Atomic(unsigned char *) now;
static atomic_bool stop;
static int zero;

static unsigned char *map_code(size_t pages)
{
    unsigned char *p = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(p != MAP_FAILED);
    return p;
}

/* mov $7, %eax; ret */
static void write_and_run(unsigned char *p)
{
    memcpy(p, "\xb8\x07\0\0\0\xc3", 6);
    CHECK(((Fn *)(void *)p)() == 7);
}

static void *reader(void *arg)
{
    while (!atomic_load(&stop)) {
        CHECK(read(zero, atomic_load(&now) + DATA, 1) == 1);
    }
    return NULL;
}

/* By way of the kernel's copy of a structure, and of two ranges. */
static void *asker(void *arg)
{
    while (!atomic_load(&stop)) {
        unsigned char *p = atomic_load(&now);

        CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, (struct timespec *)(p + DATA + 64)) == 0);
        CHECK(sigaltstack(NULL, (stack_t *)(p + DATA + 128)) == 0);
    }
    return NULL;
}

static void *runner(void *arg)
{
    while (!atomic_load(&stop)) {
        CHECK(((Fn *)(void *)atomic_load(&now))() == 7);
    }
    return NULL;
}

static void race(void)
{
    void *(*const bodies[])(void *) = {reader, asker, runner};
    pthread_t t[3];

    code = map_code(PAGES);
    write_and_run(code);
    atomic_store(&now, code);
    for (int i = 0; i < 3; i++) {
        CHECK(pthread_create(&t[i], NULL, bodies[i], NULL) == 0);
    }
    for (int i = 0; i < PAGES; i++) {
        unsigned char *p = code + (size_t)i * PAGE;

        write_and_run(p);
        atomic_store(&now, p);
        for (int k = 0; k < TURNS; k++) {
            CHECK(((Fn *)(void *)p)() == 7);
            for (int j = 0; j < 50; j++) {
                *(volatile unsigned char *)(p + DATA + 1024) = 1;
            }
        }
    }
    atomic_store(&stop, 1);
    for (int i = 0; i < 3; i++) {
        pthread_join(t[i], NULL);
    }
}

/* The page's contents go, its protection stays as it is. */
static void dropped(void)
{
    unsigned char *p = map_code(1);
    int status;
    pid_t pid;

    write_and_run(p);
    CHECK(madvise(p, PAGE, MADV_DONTNEED) == 0);
    CHECK(read(zero, p + DATA, 8) == 8);
    write_and_run(p);
    CHECK(madvise(p, PAGE, MADV_FREE) == 0);
    CHECK(read(zero, p + DATA, 8) == 8);
    write_and_run(p);
    CHECK(madvise(p, PAGE, MADV_WIPEONFORK) == 0);
    pid = fork();
    if (pid == 0) {
        CHECK(p[0] == 0 && read(zero, p + DATA, 8) == 8);
        write_and_run(p);
        _exit(0);
    }
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    CHECK(munmap(p, PAGE) == 0);
}

int main(void)
{
    zero = open("/dev/zero", O_RDONLY);
    CHECK(zero >= 0);
    dropped();
    race();
    printf("done\n");
    return 0;
}
