/* SPDX-License-Identifier: BSD-2-Clause
 * smc_threads.c -- code changed by one thread while others run it.
 * guest: timeout=40
 * A value is patched by one aligned store, as JIT compilers do; a runner may see the old or the
 * new one, never anything else, and the new one at the latest after it was told by a message. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest.h"

enum { PAGE = 4096, RUNNERS = 3, ROUNDS = 1500 };

static unsigned char *code, *view;
static _Atomic int published, seen[RUNNERS], stop;

static void *runner(void *arg)
{
    long id = (long)arg;
    int (*f)(void) = (int (*)(void))(code + 3);
    while (!atomic_load(&stop)) {
        int before = atomic_load(&published);
        int got = f();
        int after = atomic_load(&published);
        CHECK(got >= before && got <= after + 1);
        atomic_store(&seen[id], got);
    }
    return NULL;
}

static void *churn(void *arg)
{
    /* a neighbour that maps, writes, runs and unmaps code all the time */
    long id = (long)arg;
    for (int i = 0; i < 400; i++) {
        unsigned char *p = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                                -1, 0);
        for (int k = 0; k < 20; k++) {
            int value = i * 100 + k + (int)id * 1000000;
            p[k * 64] = 0xb8;
            memcpy(p + k * 64 + 1, &value, 4);
            p[k * 64 + 5] = 0xc3;
        }
        CHECK(!mprotect(p, 2 * PAGE, PROT_READ | PROT_EXEC));
        for (int k = 0; k < 20; k++) {
            CHECK(((int (*)(void))(p + k * 64))() == i * 100 + k + (int)id * 1000000);
        }
        CHECK(!munmap(p, 2 * PAGE));
    }
    return NULL;
}

static void rounds(int shared)
{
    atomic_store(&stop, 0);
    atomic_store(&published, 0);
    if (shared) {
        int fd = memfd_create("code", 0);
        CHECK(fd >= 0);
        static unsigned char page[PAGE];
        CHECK(write(fd, page, PAGE) == PAGE);
        view = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        code = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    } else {
        code = view = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }
    /* at 3: mov $imm, %eax, the immediate is aligned; ret */
    view[3] = 0xb8;
    view[8] = 0xc3;
    pthread_t t[RUNNERS], c[2];
    for (long i = 0; i < RUNNERS; i++) {
        atomic_store(&seen[i], -1);
        CHECK(!pthread_create(&t[i], NULL, runner, (void *)i));
    }
    for (long i = 0; i < 2; i++) {
        CHECK(!pthread_create(&c[i], NULL, churn, (void *)i));
    }
    for (int v = 1; v <= ROUNDS; v++) {
        atomic_store((_Atomic int *)(view + 4), v);
        atomic_store(&published, v);
        if (v % 50 == 0) {
            for (int i = 0; i < RUNNERS; i++) {
                while (atomic_load(&seen[i]) < v) {
                    sched_yield();
                }
            }
        }
    }
    atomic_store(&stop, 1);
    for (int i = 0; i < RUNNERS; i++) {
        pthread_join(t[i], NULL);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(c[i], NULL);
    }
    munmap(code, PAGE);
}

int main(void)
{
    rounds(0);
    puts("in place");
    rounds(1);
    puts("through another mapping");
    return 0;
}
