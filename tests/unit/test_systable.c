/* SPDX-License-Identifier: BSD-2-Clause
 * test_systable.c -- syscalls.def against the kernel's own list of numbers and names. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "sys/sys.h"

#define KERNEL_LIST "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"

typedef struct Row {
    const char *name;
    SysKind kind;
    unsigned fd_args;
} Row;

static const struct {
    int nr;
    Row row;
} rows[] = {
#define SYS_ROW_PASS(nr, name) {nr, {#name, SYS_PASS, 0}},
#define SYS_ROW_FDS(nr, name, mask) {nr, {#name, SYS_FDS, mask}},
#define SYS_ROW_HANDLED(nr, name) {nr, {#name, SYS_HANDLED, 0}},
#define SYS_ROW_HANDLED_FDS(nr, name, mask) {nr, {#name, SYS_HANDLED, mask}},
#define SYS_ROW_ENOSYS(nr, name) {nr, {#name, SYS_ENOSYS, 0}},
#include "sys/syscalls.def"
};

static Row table[MT_SYS_MAX];

static int fill(void **state)
{
    for (size_t i = 0; i < MT_ARRAY_SIZE(rows); i++) {
        assert_in_range(rows[i].nr, 0, MT_SYS_MAX - 1);
        assert_null(table[rows[i].nr].name); /* no number twice */
        table[rows[i].nr] = rows[i].row;
    }
    return 0;
}

static void test_every_number_has_its_name(void **state)
{
    FILE *f = fopen(KERNEL_LIST, "r");
    if (!f) {
        skip();
    }
    char line[256], name[128];
    int nr, n = 0;
    while (fgets(line, sizeof(line), f)) {
        if (sscanf(line, "#define __NR_%127s %d", name, &nr) == 2) {
            assert_in_range(nr, 0, MT_SYS_MAX - 1);
            assert_non_null(table[nr].name);
            assert_string_equal(table[nr].name, name);
            n++;
        }
    }
    fclose(f);
    assert_true(n > 300);
}

static void test_no_name_twice(void **state)
{
    for (size_t i = 0; i < MT_ARRAY_SIZE(rows); i++) {
        for (size_t k = i + 1; k < MT_ARRAY_SIZE(rows); k++) {
            assert_string_not_equal(rows[i].row.name, rows[k].row.name);
        }
    }
}

/* The architectures' common numbers have no gap up to the newest that is named. */
static void test_no_gap(void **state)
{
    int last = MT_SYS_MAX - 1;
    while (!table[last].name) {
        last--;
    }
    assert_true(last >= 462);
    for (int nr = 0; nr <= last; nr++) {
        if (nr <= 336 || nr >= 424) {
            assert_non_null(table[nr].name);
        }
    }
}

static void expect(const char *name, SysKind kind, unsigned fd_args)
{
    for (size_t i = 0; i < MT_ARRAY_SIZE(rows); i++) {
        if (strcmp(rows[i].row.name, name) == 0) {
            assert_int_equal(rows[i].row.kind, kind);
            assert_int_equal(rows[i].row.fd_args, fd_args);
            return;
        }
    }
    fail_msg("%s is missing", name);
}

static void test_kinds(void **state)
{
    expect("read", SYS_FDS, 1);
    expect("close", SYS_FDS, 1);
    expect("dup2", SYS_FDS, 3);
    expect("splice", SYS_FDS, 5);
    expect("epoll_ctl", SYS_FDS, 5);
    expect("perf_event_open", SYS_FDS, 8);
    expect("fanotify_mark", SYS_FDS, 9);
    expect("getpid", SYS_PASS, 0);
    expect("futex", SYS_PASS, 0);
    expect("wait4", SYS_HANDLED, 0);
    expect("mmap", SYS_HANDLED, 16);
    expect("clone3", SYS_HANDLED, 0);
    expect("openat", SYS_HANDLED, 1);
    expect("rt_sigreturn", SYS_HANDLED, 0);
    expect("close_range", SYS_HANDLED, 0);
    expect("rseq", SYS_ENOSYS, 0);
    expect("vserver", SYS_ENOSYS, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_number_has_its_name),
        cmocka_unit_test(test_no_name_twice),
        cmocka_unit_test(test_no_gap),
        cmocka_unit_test(test_kinds),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
