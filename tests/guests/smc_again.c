/* SPDX-License-Identifier: BSD-2-Clause
 * smc_again.c -- code that changes often, then runs long without a change, then changes again: each
 * change is seen, by the thread that makes it and by others that have been told, also where the
 * code writes to its page.
 * guest: timeout=30 */
#include <pthread.h>
#include <sys/mman.h>

#include "guest.h"

enum { PAGE = 4096, ROUNDS = 100000, PHASES = 12, DATA = 2048 };

typedef int fn(int rounds);

/* xor %eax, %eax; 1: add $step, %eax; dec %edi; jne 1b; ret */
static void emit_sum(unsigned char *p, int step)
{
    static const unsigned char code[] = {0x31, 0xc0, 0x05, 0,    0,    0,
                                         0,    0xff, 0xcf, 0x75, 0xf7, 0xc3};

    memcpy(p, code, sizeof(code));
    memcpy(p + 3, &step, 4);
}

/* xor %eax, %eax; 1: add $step, %eax; incl DATA(page); dec %edi; jne 1b; ret */
static void emit_counting(unsigned char *p, int step)
{
    static const unsigned char code[] = {0x31, 0xc0, 0x05, 0, 0,    0,    0,    0xff, 0x05,
                                         0,    0,    0,    0, 0xff, 0xcf, 0x75, 0xf1, 0xc3};
    int to = DATA - 13;

    memcpy(p, code, sizeof(code));
    memcpy(p + 3, &step, 4);
    memcpy(p + 9, &to, 4);
}

static unsigned char *new_page(int flags)
{
    unsigned char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, flags | MAP_ANONYMOUS,
                            -1, 0);

    CHECK(p != MAP_FAILED);
    return p;
}

static int run(unsigned char *p, int rounds)
{
    return ((fn *)p)(rounds);
}

static void changes_seen(unsigned char *p, void (*emit)(unsigned char *, int))
{
    emit(p, 0);
    for (int phase = 0; phase < PHASES; phase++) {
        for (int i = 1; i < 10; i++) { /* often */
            memcpy(p + 3, &i, 4);
            CHECK(run(p, 3) == 3 * i);
        }
        CHECK(run(p, ROUNDS) == 9 * ROUNDS);
        p[3] = 7;
        CHECK(run(p, ROUNDS) == 7 * ROUNDS);
        p[3] = 5; /* only once */
        CHECK(run(p, 100) == 500);
    }
    munmap(p, PAGE);
}

static unsigned char *shared_code;
static int wanted; /* atomic: what the code says now, 0: the end */

static void *runner(void *arg)
{
    int want;

    while ((want = __atomic_load_n(&wanted, __ATOMIC_ACQUIRE)) != 0) {
        CHECK(run(shared_code, 1000) >= 1000 * want); /* it may have gone on meanwhile */
    }
    return arg;
}

/* The number only grows, and is told behind the store. */
static void told_to_others(void)
{
    pthread_t t[2];

    shared_code = new_page(MAP_PRIVATE);
    emit_sum(shared_code, 1);
    wanted = 1;
    for (int i = 0; i < 2; i++) {
        CHECK(!pthread_create(&t[i], NULL, runner, NULL));
    }
    for (int i = 2; i < 120; i++) {
        __atomic_store_n(shared_code + 3, (unsigned char)i, __ATOMIC_SEQ_CST);
        __atomic_store_n(&wanted, i, __ATOMIC_RELEASE);
        CHECK(run(shared_code, i % 20 == 0 ? ROUNDS : 3) == i * (i % 20 == 0 ? ROUNDS : 3));
    }
    __atomic_store_n(&wanted, 0, __ATOMIC_RELEASE);
    for (int i = 0; i < 2; i++) {
        pthread_join(t[i], NULL);
    }
    munmap(shared_code, PAGE);
    puts("told");
}

int main(void)
{
    changes_seen(new_page(MAP_PRIVATE), emit_sum);
    changes_seen(new_page(MAP_PRIVATE), emit_counting);
    puts("private");
    changes_seen(new_page(MAP_SHARED), emit_sum);
    puts("shared");
    told_to_others();
    return 0;
}
