/* SPDX-License-Identifier: BSD-2-Clause
 * test_fd_hide.c -- descriptors moved out of the guest's way.
 * layers: mt_sys mt_sched mt_jit mt_guest mt_base */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sys/sys.h"

/* The range is chosen once per process, so each case has a process of its own. */
static void in_child(void (*f)(void))
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        f();
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

#define REQUIRE(cond)                  \
    do {                               \
        if (!(cond)) {                 \
            _exit(__LINE__ % 255 + 1); \
        }                              \
    } while (0)

static int take_one(void)
{
    return fcntl(0, F_DUPFD, 3);
}

static void set_limit(rlim_t soft)
{
    struct rlimit lim;
    REQUIRE(getrlimit(RLIMIT_NOFILE, &lim) == 0);
    lim.rlim_cur = soft;
    REQUIRE(setrlimit(RLIMIT_NOFILE, &lim) == 0);
}

static void hides_above_soft_limit(void)
{
    struct rlimit before, after;
    set_limit(64);
    REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
    int low = take_one();
    int fd = fd_hide(low);
    REQUIRE(fd >= 64 && fd < 64 + MT_FD_HIDDEN_COUNT && mt_fd_hidden_lo == 64);
    REQUIRE(fd_is_hidden(fd) && !fd_is_hidden(63) && !fd_is_hidden(80) && !fd_is_hidden(-1));
    REQUIRE(fcntl(fd, F_GETFD) == FD_CLOEXEC);
    REQUIRE(fcntl(low, F_GETFD) == -1);
    REQUIRE(getrlimit(RLIMIT_NOFILE, &after) == 0);
    REQUIRE(before.rlim_cur == after.rlim_cur && before.rlim_max == after.rlim_max);
    for (int i = 0; i < MT_FD_HIDDEN_COUNT; i++) {
        REQUIRE(fcntl(64 + i, F_GETFD) == FD_CLOEXEC); /* H1, H2 */
    }
}

static void fills_the_range(void)
{
    int n = 0;
    for (;; n++) {
        int low = take_one();
        int fd = fd_hide(low);
        if (fd < 0) {
            REQUIRE(fd == -EMFILE && close(low) == 0);
            break;
        }
        REQUIRE(n < MT_FD_HIDDEN_COUNT && fd_is_hidden(fd));
    }
    REQUIRE(n == MT_FD_HIDDEN_COUNT - 1);
}

static void avoids_inherited_descriptors(void)
{
    struct rlimit lim;
    REQUIRE(getrlimit(RLIMIT_NOFILE, &lim) == 0);
    lim.rlim_cur = lim.rlim_max = 100; /* no room above: the top of what is allowed */
    REQUIRE(setrlimit(RLIMIT_NOFILE, &lim) == 0 && dup2(0, 90) == 90);
    int fd = fd_hide(take_one());
    REQUIRE(fd >= 0 && mt_fd_hidden_lo == 100 - 2 * MT_FD_HIDDEN_COUNT);
    REQUIRE(fcntl(90, F_GETFD) == 0);
}

static void lives_with_a_tiny_limit(void)
{
    struct rlimit lim;
    REQUIRE(getrlimit(RLIMIT_NOFILE, &lim) == 0);
    lim.rlim_cur = lim.rlim_max = 12;
    REQUIRE(setrlimit(RLIMIT_NOFILE, &lim) == 0);
    int low = take_one();
    REQUIRE(fd_hide(low) == low && fcntl(low, F_GETFD) == FD_CLOEXEC && !fd_is_hidden(low));
}

static void test_above(void **state)
{
    in_child(hides_above_soft_limit);
}

static void test_fills(void **state)
{
    in_child(fills_the_range);
}

static void test_inherited(void **state)
{
    in_child(avoids_inherited_descriptors);
}

static void test_tiny(void **state)
{
    in_child(lives_with_a_tiny_limit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_above),
        cmocka_unit_test(test_fills),
        cmocka_unit_test(test_inherited),
        cmocka_unit_test(test_tiny),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
