/* SPDX-License-Identifier: BSD-2-Clause
 * test_stats.c -- per-thread counters and their sums. */
/* layers: mt_base */
#include "base/stats.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { THREADS = 8, COUNT = 10000 };

static pthread_barrier_t counted, looked;

static void *count(void *arg)
{
    stats_thread_start();
    for (int i = 0; i < COUNT; i++) {
        STAT_INC(LINKS);
        STAT_ADD(HOST_BYTES, 3);
    }
    pthread_barrier_wait(&counted);
    pthread_barrier_wait(&looked);
    stats_thread_exit();
    return NULL;
}

/* T2: the same sums while the threads live and after they have gone. */
static void test_sums(void **state)
{
    pthread_t t[THREADS];
    pthread_barrier_init(&counted, NULL, THREADS + 1);
    pthread_barrier_init(&looked, NULL, THREADS + 1);
    stats_thread_start();
    STAT_ADD(LINKS, 7);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&t[i], NULL, count, NULL), 0);
    }
    pthread_barrier_wait(&counted);
    assert_int_equal(stats_total(STAT_LINKS), THREADS * COUNT + 7);
    pthread_barrier_wait(&looked);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(t[i], NULL);
    }
    assert_int_equal(stats_total(STAT_LINKS), THREADS * COUNT + 7);
    assert_int_equal(stats_total(STAT_HOST_BYTES), THREADS * COUNT * 3);
    assert_int_equal(stats_total(STAT_UNLINKS), 0);
}

static void test_start_and_exit_twice(void **state)
{
    u64 before = stats_total(STAT_FORKS);
    stats_thread_start();
    stats_thread_start();
    STAT_INC(FORKS);
    stats_thread_exit();
    stats_thread_exit();
    assert_int_equal(stats_total(STAT_FORKS), before + 1);
    stats_thread_start();
    assert_int_equal(stats_total(STAT_FORKS), before + 1);
}

static void test_fork(void **state)
{
    STAT_INC(SIGNALS);
    pid_t pid = fork();
    if (pid == 0) {
        stats_after_fork_child();
        STAT_ADD(SIGNALS, 5);
        _exit(stats_total(STAT_SIGNALS) == 5 && stats_total(STAT_LINKS) == 0 ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(stats_total(STAT_SIGNALS), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_start_and_exit_twice),
        cmocka_unit_test(test_fork),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
