/* SPDX-License-Identifier: BSD-2-Clause
 * test_perfmap.c -- whose file a line goes to: a vfork child's translations are its parent's, a
 * forked child has a file of its own. */
/* layers: mt_sched mt_jit mt_guest mt_base */
#include "base/options.h"
#include "jit/perfmap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* Lines in the process's file, -1 if there is none. */
static int lines_of(pid_t pid)
{
    char name[64];
    int n = 0, c;
    snprintf(name, sizeof(name), "/tmp/perf-%d.map", (int)pid);
    FILE *f = fopen(name, "r");
    if (f == NULL) {
        return -1;
    }
    while ((c = getc(f)) != EOF) {
        n += c == '\n';
    }
    fclose(f);
    return n;
}

static void forget(pid_t pid)
{
    char name[64];
    snprintf(name, sizeof(name), "/tmp/perf-%d.map", (int)pid);
    unlink(name);
}

static void one_file_for_the_memory(void **state)
{
    static Block b = {.pc = 0x1234, .host_size = 16};
    mt_opts.perf_map = true;
    perfmap_before_vfork();
    assert_int_equal(lines_of(getpid()), 0);
    pid_t child = vfork();
    if (child == 0) {
        perfmap_add(&b);
        _exit(0);
    }
    assert_int_equal(waitpid(child, NULL, 0), child);
    perfmap_add(&b);
    assert_int_equal(lines_of(child), -1);
    assert_int_equal(lines_of(getpid()), 2);
    child = fork();
    if (child == 0) {
        perfmap_after_fork_child(false);
        perfmap_add(&b);
        _exit(0);
    }
    assert_int_equal(waitpid(child, NULL, 0), child);
    perfmap_add(&b);
    assert_int_equal(lines_of(child), 1);
    assert_int_equal(lines_of(getpid()), 3);
    forget(child);
    forget(getpid());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_file_for_the_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
