/* SPDX-License-Identifier: BSD-2-Clause
 * thr_link.c -- threads meet new code in the same moments: each common function is found,
 * translated and linked to by several threads, with nothing of the program's between them that
 * orders them but a yield. A race checker around the runtime (tests/outer.py) sees a missing lock
 * or ordering here.
 * guest:
 * variant: pie
 * variant: static cflags=-static */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "guest.h"

enum { STEPS = 48, THREADS = 3 };

typedef long Step(long skip);

/* enter_T[i](skip): 1 if skip, else what common[i] returns, by a branch that no other thread takes;
 * own_T[i](): code that only one thread runs, on the same pages. */
#define TABLES(t) extern Step *const enter_##t[STEPS], *const own_##t[STEPS];
TABLES(0)
TABLES(1)
TABLES(2)

#define ENTRIES(t)                                                  \
    "    .pushsection .data.rel.ro, \"aw\"\n"                       \
    "    .balign 8\n    .globl enter_" t ", own_" t "\n"            \
    "enter_" t ":\n    .set i, 0\n    .rept 48\n    entry enter_" t \
    "_, %i\n    .set i, i + 1\n    .endr\n"                         \
    "own_" t ":\n    .set i, 0\n    .rept 48\n    entry own_" t     \
    "_, %i\n    .set i, i + 1\n    .endr\n"                         \
    "    .popsection\n"
#define CODE(t) \
    "    .set i, 0\n    .rept 48\n    make_enter " t ", %i\n    .set i, i + 1\n    .endr\n"

__asm__("    .altmacro\n"
        "    .macro entry stem, n\n    .quad \\stem\\n\n    .endm\n"
        "    .macro make_common n\n"
        "common_\\n:\n    lea 2(%rdi), %rax\n    ret\n"
        "    .endm\n"
        "    .macro make_enter t, n\n"
        "enter_\\t\\()_\\n:\n    test %rdi, %rdi\n    jz common_\\n\n    mov $1, %eax\n    ret\n"
        "own_\\t\\()_\\n:\n    lea 3(%rdi), %rax\n    ret\n"
        "    .endm\n"
        "    .text\n"
        "    .set i, 0\n    .rept 48\n    make_common %i\n    .set i, i + 1\n    .endr\n" CODE("0")
            CODE("1") CODE("2") ENTRIES("0") ENTRIES("1") ENTRIES("2"));

static atomic_int warm;
static atomic_long sum;

static void *thread(void *arg)
{
    static Step *const *const enters[THREADS] = {enter_0, enter_1, enter_2};
    static Step *const *const owns[THREADS] = {own_0, own_1, own_2};
    long me = (long)arg, n = 0;

    for (int i = 0; i < STEPS; i++) {
        n += enters[me][i](1);
    }
    atomic_fetch_add(&warm, 1);
    while (atomic_load(&warm) < THREADS) {
        sched_yield();
    }
    for (int i = 0; i < STEPS; i++) {
        n += enters[me][i](0);
        sched_yield();
        n += owns[me][i](0);
        sched_yield();
    }
    atomic_fetch_add(&sum, n);
    return NULL;
}

int main(void)
{
    pthread_t t[THREADS];

    for (long i = 0; i < THREADS; i++) {
        CHECK(!pthread_create(&t[i], NULL, thread, (void *)i));
    }
    for (int i = 0; i < THREADS; i++) {
        CHECK(!pthread_join(t[i], NULL));
    }
    CHECK(sum == THREADS * STEPS * (1 + 2 + 3));
    printf("%ld\n", (long)sum);
    return 0;
}
