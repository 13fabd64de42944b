/* SPDX-License-Identifier: BSD-2-Clause
 * test_heap.c -- the heap of what a fork's child must be able to change. */
/* layers: mt_base */
#include "base/heap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { PIECES = 400 };

static size_t size_of(u32 i)
{
    return i % 7 == 0 ? i * 401 : i % 3 == 0 ? i * 5 : i;
}

static bool is_filled(const u8 *p, size_t n, u8 with)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] != with) {
            return false;
        }
    }
    return true;
}

/* All sizes: nothing overlaps, what is given back is used again, resizing keeps the contents. */
static void pieces(void **state)
{
    static u8 *p[PIECES];

    for (int round = 0; round < 20; round++) {
        for (u32 i = 0; i < PIECES; i++) {
            p[i] = i % 2 == 0 ? heap_alloc(size_of(i)) : heap_alloc_zeroed(size_of(i));
            assert_non_null(p[i]);
            assert_int_equal((u64)(uintptr_t)p[i] % 8, 0);
            assert_true(i % 2 == 0 || is_filled(p[i], size_of(i), 0));
            memset(p[i], (int)i, size_of(i));
        }
        for (u32 i = 0; i < PIECES; i += 3) {
            p[i] = heap_resize(p[i], 3 * size_of(i) + 1);
            assert_non_null(p[i]);
            assert_true(is_filled(p[i], size_of(i), (u8)i));
            memset(p[i], (int)i, 3 * size_of(i) + 1);
        }
        for (u32 i = 0; i < PIECES; i++) {
            assert_true(is_filled(p[i], i % 3 == 0 ? 3 * size_of(i) + 1 : size_of(i), (u8)i));
            heap_free(p[i]);
        }
    }
}

static void odd_arguments(void **state)
{
    volatile size_t huge = SIZE_MAX - 4;
    char *text = heap_copy_text("some text");

    assert_string_equal(text, "some text");
    heap_free(text);
    heap_free(NULL);
    assert_null(heap_alloc(huge));
    text = heap_resize(NULL, 3);
    assert_non_null(text);
    heap_free(text);
}

static void in_a_child(void **state)
{
    int status = -1;
    pid_t pid;

    heap_before_fork();
    pid = fork();
    heap_after_fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        void *p = heap_alloc(100);

        heap_free(p);
        _exit(p != NULL ? 5 : 6);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WEXITSTATUS(status), 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces),
        cmocka_unit_test(odd_arguments),
        cmocka_unit_test(in_a_child),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
