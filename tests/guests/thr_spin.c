/* SPDX-License-Identifier: BSD-2-Clause
 * thr_spin.c -- 200 threads in loops that call nothing, while others fork, create threads, write,
 * run and drop code, and interrupt some of them by signals.
 * guest: timeout=60 modes=default,cache1m,noib,lackey */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

enum { PAGE = 4096, SPINNERS = 200, FORKS = 4, THREADS = 6, CODES = 10, SIGNALS = 100 };

/* Each spinner's own: what a fork's child may see is a - b == 0 or 1. */
static struct Spot {
    _Alignas(64) volatile uint64_t a;
    volatile uint64_t b;
    uint64_t left, check; /* loops of the spinner that were right; of its handler */
    pthread_t thread;
} spots[SPINNERS];

static _Atomic int started, stop, handled;

static uint64_t mix1(uint64_t x)
{
    return x * 0x9e3779b97f4a7c15ull;
}

static uint64_t mix2(uint64_t x)
{
    return x ^ x >> 29;
}

static uint64_t (*const mixes[4])(uint64_t) = {mix1, mix2, mix2, mix1};

static void on_signal(int sig)
{
    atomic_fetch_add(&handled, 1);
}

static void *spinner(void *arg)
{
    struct Spot *s = arg;
    uint64_t want = 0, got = 0;

    atomic_fetch_add(&started, 1);
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        uint64_t x = s->a + 1, y = x;

        s->a = x;
        for (int i = 0; i < 64; i++) {
            x = mixes[i % 4](x); /* indirect calls */
            y = i % 4 == 0 || i % 4 == 3 ? y * 0x9e3779b97f4a7c15ull : y ^ y >> 29;
        }
        s->b = s->a;
        want += x;
        got += y;
        CHECK(want == got);
    }
    s->left = want;
    return NULL;
}

static void child(void)
{
    for (int i = 0; i < SPINNERS; i++) {
        uint64_t b = spots[i].b, a = spots[i].a;

        CHECK(a - b <= 1);
        CHECK(spots[i].a == a && spots[i].b == b); /* nobody else runs here */
    }
    _exit(7);
}

static void *forker(void *arg)
{
    for (int i = 0; i < FORKS; i++) {
        pid_t pid = fork();
        int status;

        if (pid == 0) {
            child();
        }
        CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    }
    return NULL;
}

static void *nothing(void *arg)
{
    return (char *)arg + 1;
}

static void *creator(void *arg)
{
    for (long i = 0; i < THREADS; i++) {
        pthread_t t;
        void *v;

        CHECK(!pthread_create(&t, NULL, nothing, (void *)i));
        CHECK(!pthread_join(t, &v) && (long)v == i + 1);
    }
    return NULL;
}

static void *coder(void *arg)
{
    for (int i = 0; i < CODES; i++) {
        unsigned char *p = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        CHECK(p != MAP_FAILED);
        for (int k = 0; k < 40; k++) {
            int value = i * 100 + k;

            p[k * 64] = 0xb8; /* mov $value, %eax; ret */
            memcpy(p + k * 64 + 1, &value, 4);
            p[k * 64 + 5] = 0xc3;
        }
        for (int k = 0; k < 40; k++) {
            CHECK(((int (*)(void))(p + k * 64))() == i * 100 + k);
        }
        CHECK(!munmap(p, 2 * PAGE));
    }
    return NULL;
}

static void *signaller(void *arg)
{
    for (int i = 0; i < SIGNALS; i++) {
        CHECK(!pthread_kill(spots[i * 7 % SPINNERS].thread, SIGUSR1));
    }
    return NULL;
}

int main(void)
{
    static void *(*const work[])(void *) = {forker, creator, coder, signaller};
    pthread_t t[4];

    signal(SIGUSR1, on_signal);
    for (int i = 0; i < SPINNERS; i++) {
        CHECK(!pthread_create(&spots[i].thread, NULL, spinner, &spots[i]));
    }
    while (atomic_load(&started) < SPINNERS) {
        usleep(1000);
    }
    for (int i = 0; i < 4; i++) {
        CHECK(!pthread_create(&t[i], NULL, work[i], NULL));
    }
    for (int i = 0; i < 4; i++) {
        CHECK(!pthread_join(t[i], NULL));
    }
    atomic_store(&stop, 1);
    for (int i = 0; i < SPINNERS; i++) {
        CHECK(!pthread_join(spots[i].thread, NULL));
        CHECK(spots[i].a == spots[i].b && spots[i].a > 0);
    }
    CHECK(atomic_load(&handled) > 0);
    puts("done");
    return 0;
}
