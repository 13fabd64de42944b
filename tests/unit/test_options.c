/* SPDX-License-Identifier: BSD-2-Clause
 * test_options.c -- the options parser, rc files and who may have written them, --help. */
/* layers: mt_base */
#include "base/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tempdir.h"

static Options o;
static const char *err;

/* Parses `words`, separated by blanks, as mtvg's arguments. */
static int parse(const char *words)
{
    static char text[512];
    static char *argv[64];
    int argc = 0;
    snprintf(text, sizeof(text), "mtvg %s", words);
    for (char *p = strtok(text, " "); p; p = strtok(NULL, " ")) {
        argv[argc++] = p;
    }
    argv[argc] = NULL;
    return options_parse(&o, argc, argv, &err);
}

static void good(const char *words)
{
    if (parse(words)) {
        fail_msg("'%s': %s", words, err);
    }
    assert_null(err);
}

static void bad(const char *words, const char *message)
{
    assert_int_equal(parse(words), -1);
    assert_string_equal(err, message);
}

/* Parses with `text` as the rc file's content. */
static int parse_rc(const char *text, const char *words)
{
    static char copy[512], cmd[512];
    static char *argv[64];
    int argc = 0;
    snprintf(copy, sizeof(copy), "%s", text);
    snprintf(cmd, sizeof(cmd), "mtvg %s", words);
    for (char *p = strtok(cmd, " "); p; p = strtok(NULL, " ")) {
        argv[argc++] = p;
    }
    argv[argc] = NULL;
    OptSource source = {.name = "rc", .text = copy};
    return options_parse_sources(&o, &source, 1, argc, argv, &err);
}

static void test_defaults(void **state)
{
    good("prog");
    assert_int_equal(o.tool, TOOL_NONE);
    assert_true(o.parallel);
    assert_int_equal(o.fair_sched, FAIR_YES);
    assert_int_equal(o.quantum, 100000);
    assert_int_equal(o.code_cache_size, 128 << 20);
    assert_int_equal(o.log_fd, 2);
    assert_null(o.log_file);
    assert_int_equal(o.verbosity, 1);
}

static void test_program(void **state)
{
    good("-v --stats prog --parallel=no -q");
    assert_int_equal(o.argc_own, 3);
    assert_string_equal(o.guest_argv[0], "prog");
    assert_string_equal(o.guest_argv[2], "-q");
    assert_null(o.guest_argv[3]);
    assert_true(o.parallel);
    good("-v -- --odd-name");
    assert_string_equal(o.guest_argv[0], "--odd-name");
    assert_int_equal(o.argc_own, 3);
    bad("", "no program given (see mtvg --help)");
    bad("--parallel --", "no program given (see mtvg --help)");
    char *none[] = {NULL};
    assert_int_equal(options_parse(&o, 0, none, &err), -1);
}

static void test_bool(void **state)
{
    good("--parallel=no x");
    assert_false(o.parallel);
    good("--parallel=no --parallel x");
    assert_true(o.parallel);
    good("--stats=yes x");
    assert_true(o.stats);
    bad("--stats=on x", "bad value 'on': --stats=no|yes");
    bad("--stats= x", "bad value '': --stats=no|yes");
    bad("--no-stats x", "unknown option '--no-stats' (see mtvg --help)");
}

static void test_numbers(void **state)
{
    good("--max-insns=0x10 --scheduling-quantum=010 x");
    assert_int_equal(o.max_insns, 16);
    assert_int_equal(o.quantum, 8);
    good("--max-branches=0 x");
    assert_int_equal(o.max_branches, 0);
    bad("--max-insns=129 x", "bad value '129': --max-insns=N, N from 1 to 128");
    assert_int_equal(parse("--max-insns=-1 x"), -1);
    assert_int_equal(parse("--max-insns=+1 x"), -1);
    assert_int_equal(parse("--max-insns=1x x"), -1);
    assert_int_equal(parse("--max-insns=0x x"), -1);
    assert_int_equal(parse("--max-insns= x"), -1);
    assert_int_equal(parse("--max-insns=18446744073709551617 x"), -1);
    bad("--max-insns 5 x", "option '--max-insns' needs a value: --max-insns=N, N from 1 to 128");
}

static void test_sizes(void **state)
{
    good("--code-cache-size=512K x");
    assert_int_equal(o.code_cache_size, 512 << 10);
    good("--code-cache-size=1g x");
    assert_int_equal(o.code_cache_size, 1 << 30);
    good("--code-cache-size=0x100000 x");
    assert_int_equal(o.code_cache_size, 1 << 20);
    assert_int_equal(parse("--code-cache-size=1T x"), -1);
    assert_int_equal(parse("--code-cache-size=1MB x"), -1);
    assert_int_equal(parse("--code-cache-size=17179869185G x"), -1);
    assert_int_equal(parse("--code-cache-size=-1M x"), -1);
    assert_int_equal(parse("--code-cache-size=1K x"), -1);
}

static void test_enums(void **state)
{
    good("--fair-sched=try --tool=lackey x");
    assert_int_equal(o.fair_sched, FAIR_TRY);
    assert_int_equal(o.tool, TOOL_LACKEY);
    bad("--fair-sched=maybe x", "bad value 'maybe': --fair-sched=no|yes|try");
    bad("--fair-sched x", "option '--fair-sched' needs a value: --fair-sched=no|yes|try");
    bad("--tool=memchick x", "unknown tool 'memchick' (known: none|lackey)");
    assert_int_equal(parse("--tool= x"), -1);
    assert_int_equal(parse("--tool x"), -1);
    assert_int_equal(parse("--tool=none|lackey x"), -1);
}

static void test_strings(void **state)
{
    good("--log-file=a=b x");
    assert_string_equal(o.log_file, "a=b");
    assert_int_equal(parse("--log-file= x"), -1);
    assert_int_equal(parse("--log-file x"), -1);
    good("--log-file=a --log-fd=5 x");
    assert_null(o.log_file);
    good("--log-fd=5 --log-file=a x");
    assert_string_equal(o.log_file, "a");
    good("--debug=jit:2,signal,all:0 --stress=flush,world --stress-seed=7 --sched-seed=random x");
    assert_int_equal(parse("--debug=jot x"), -1);
    assert_int_equal(parse("--debug=jit: x"), -1);
    assert_int_equal(parse("--debug=jit:10 x"), -1);
    assert_int_equal(parse("--debug=jit,, x"), -1);
    assert_int_equal(parse("--stress=flush,foo x"), -1);
    assert_int_equal(parse("--stress-seed=random x"), -1);
    assert_int_equal(parse("--sched-seed=x x"), -1);
}

static void test_short(void **state)
{
    good("-v -v -q x");
    assert_int_equal(o.verbosity, 2);
    good("-q -q -q x");
    assert_int_equal(o.verbosity, 0);
    bad("-d x", "unknown option '-d' (see mtvg --help)");
    bad("-qv x", "unknown option '-qv' (see mtvg --help)");
    bad("- x", "unknown option '-' (see mtvg --help)");
    good("-h");
    assert_true(o.want_help);
    good("--help");
    good("--version");
    assert_true(o.want_version);
    bad("--foo", "unknown option '--foo' (see mtvg --help)");
    bad("--=x y", "unknown option '--=x' (see mtvg --help)");
    bad("--\x01 y", "unknown option '--?' (see mtvg --help)");
}

/* O2: the tool counts wherever it is named. */
static void test_tool_options(void **state)
{
    good("--trace-mem=yes --tool=lackey x");
    assert_true(o.trace_mem);
    bad("--trace-mem=yes x", "option '--trace-mem' is for --tool=lackey (see mtvg --help)");
    good("--lackey:trace-mem=yes x");
    assert_false(o.trace_mem);
    good("--lackey:trace-mem=yes --tool=lackey x");
    assert_true(o.trace_mem);
    good("--lackey:no-such-thing x");
    bad("--lackey:no-such-thing --tool=lackey x",
        "unknown option '--lackey:no-such-thing' (see mtvg --help)");
    bad("--lucky:trace-mem=yes x",
        "unknown tool 'lucky' in option '--lucky:trace-mem=yes' (see mtvg --help)");
}

static void test_rc_words(void **state)
{
    assert_int_equal(parse_rc("  --stats=yes\n# --parallel=no\n\t--log-file='a b'c\"'\" #x\n", "p"),
                     0);
    assert_true(o.stats);
    assert_true(o.parallel);
    assert_string_equal(o.log_file, "a bc'");
    assert_int_equal(parse_rc("--max-insns=7 --max-insns=8", "--max-insns=9 p"), 0);
    assert_int_equal(o.max_insns, 9);
    assert_int_equal(parse_rc("", "p"), 0);
    assert_int_equal(parse_rc("--memcheck:leak-check=yes --lackey:trace-mem", "p"), 0);
    assert_int_equal(parse_rc("--tool=lackey --lackey:trace-mem", "p"), 0);
    assert_true(o.trace_mem);
    assert_int_equal(parse_rc("--tool=lackey --lackey:trace-mem", "--tool=none p"), 0);
    assert_false(o.trace_mem);
    assert_int_equal(parse_rc("--foo", "p"), -1);
    assert_string_equal(err, "unknown option '--foo' in rc (see mtvg --help)");
    assert_int_equal(parse_rc("foo", "p"), -1);
    assert_string_equal(err, "'foo' in rc is not an option (see mtvg --help)");
    assert_int_equal(parse_rc("''", "p"), -1);
    assert_int_equal(parse_rc("--", "p"), -1);
    assert_int_equal(parse_rc("--log-file='a", "p"), -1);
    assert_string_equal(err, "a quote is not closed in rc");
    assert_int_equal(parse_rc("--tool=foo", "p"), -1);
}

/* ---- files; each test has a folder of its own ---- */

static void put(const char *path, const char *text, mode_t mode)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    assert_int_equal(chmod(path, mode), 0);
}

static void test_rc_trust(void **state)
{
    const char *why;
    u64 id[2];
    assert_null(options_read_rc("none", true, id, &why));
    assert_null(why);
    put("rc", "--stats", 0644);
    char *text = options_read_rc("rc", false, id, &why);
    assert_string_equal(text, "--stats");
    assert_null(why);
    free(text);
    chmod("rc", 0666);
    assert_null(options_read_rc("rc", true, id, &why));
    assert_string_equal(why, "everybody may write it");
    chmod("rc", 0664);
    text = options_read_rc("rc", true, id, &why);
    assert_non_null(text);
    free(text);
    if (geteuid() == 0) {
        assert_int_equal(chown("rc", 12345, 0), 0);
        assert_null(options_read_rc("rc", true, id, &why));
        assert_string_equal(why, "it belongs to somebody else");
        assert_int_equal(chown("rc", 0, 0), 0);
    }
    assert_int_equal(symlink("rc", "link"), 0);
    text = options_read_rc("link", true, id, &why);
    assert_non_null(text);
    free(text);
    assert_null(options_read_rc("link", false, id, &why));
    assert_string_equal(why, "it is not a regular file");
    assert_int_equal(mkdir("folder", 0755), 0);
    assert_null(options_read_rc("folder", true, id, &why));
    assert_string_equal(why, "it is not a regular file");
    assert_int_equal(mkfifo("fifo", 0600), 0);
    assert_null(options_read_rc("fifo", true, id, &why));
    assert_string_equal(why, "it is not a regular file");
}

static void test_rc_size(void **state)
{
    const char *why;
    u64 id[2];
    put("big", "", 0600);
    assert_int_equal(truncate("big", 65537), 0);
    assert_null(options_read_rc("big", true, id, &why));
    assert_string_equal(why, "it is too large");
    assert_int_equal(truncate("big", 65536), 0);
    char *text = options_read_rc("big", true, id, &why);
    assert_int_equal(strlen(text), 65536);
    free(text);
}

/* Runs options_init() in a child and prints what came out; returns what it printed, and its exit
 * status. */
static const char *run_init(int *status, char **argv)
{
    static char out[16384];
    int argc = 0, fds[2];
    while (argv[argc]) {
        argc++;
    }
    assert_int_equal(pipe(fds), 0);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(fds[1], 1);
        dup2(fds[1], 2);
        close(fds[0]);
        options_init(argc, argv);
        dprintf(1, "insns %d branches %d quantum %d stats %d\n", (int)mt_opts.max_insns,
                (int)mt_opts.max_branches, (int)mt_opts.quantum, mt_opts.stats);
        _exit(0);
    }
    close(fds[1]);
    size_t n = 0;
    ssize_t r;
    while (n < sizeof(out) - 1 && (r = read(fds[0], out + n, sizeof(out) - 1 - n)) > 0) {
        n += (size_t)r;
    }
    out[n] = '\0';
    close(fds[0]);
    assert_int_equal(waitpid(pid, status, 0), pid);
    return out;
}

#define RUN_INIT(...) run_init(&status, (char *[]){"mtvg", __VA_ARGS__, NULL})

/* The order: ~/.mtvgrc, $MTVG_OPTS, ./.mtvgrc, the command line. */
static void test_order(void **state)
{
    int status;
    mkdir("home", 0700);
    mkdir("work", 0700);
    put("home/.mtvgrc", "--max-insns=1 --max-branches=1 --scheduling-quantum=1 --stats", 0600);
    put("work/.mtvgrc", "--scheduling-quantum=3", 0600);
    char home[64];
    snprintf(home, sizeof(home), "%s/home", dir);
    setenv("HOME", home, 1);
    setenv("MTVG_OPTS", "--max-branches=2 --scheduling-quantum=2", 1);
    assert_int_equal(chdir("work"), 0);
    assert_string_equal(RUN_INIT("p"), "insns 1 branches 2 quantum 3 stats 1\n");
    assert_string_equal(RUN_INIT("--scheduling-quantum=4", "p"),
                        "insns 1 branches 2 quantum 4 stats 1\n");
    /* In the home folder its file is read once, so the environment wins. */
    assert_int_equal(chdir(home), 0);
    assert_string_equal(RUN_INIT("p"), "insns 1 branches 2 quantum 2 stats 1\n");
    /* One that is not trusted is ignored; with -v that is said. */
    assert_int_equal(chdir("../work"), 0);
    chmod(".mtvgrc", 0666);
    assert_string_equal(RUN_INIT("p"), "insns 1 branches 2 quantum 2 stats 1\n");
    assert_string_equal(RUN_INIT("-v", "p"),
                        "mtvg: warning: ./.mtvgrc is ignored: everybody may write it\n"
                        "insns 1 branches 2 quantum 2 stats 1\n");
    unsetenv("HOME");
    unsetenv("MTVG_OPTS");
    assert_string_equal(RUN_INIT("p"), "insns 48 branches 4 quantum 100000 stats 0\n");
}

static void test_exits(void **state)
{
    int status;
    unsetenv("HOME");
    unsetenv("MTVG_OPTS");
    assert_string_equal(RUN_INIT("--version"), "mtvg-" MT_VERSION "\n");
    assert_int_equal(status, 0);
    assert_string_equal(RUN_INIT("--foo"), "mtvg: unknown option '--foo' (see mtvg --help)\n");
    assert_int_equal(WEXITSTATUS(status), 1);
    setenv("MTVG_OPTS", "--bar", 1);
    assert_string_equal(RUN_INIT("p"),
                        "mtvg: unknown option '--bar' in $MTVG_OPTS (see mtvg --help)\n");
    assert_int_equal(WEXITSTATUS(status), 1);
    const char *help = RUN_INIT("--help");
    assert_int_equal(status, 0);
    assert_non_null(
        strstr(help, "    --code-cache-size=SIZE          room for translated code [128M]\n"));
    assert_non_null(strstr(help, "--fair-sched=no|yes|try"));
    /* No line is wider than a terminal, none ends in a blank. */
    for (const char *p = help; *p; p += strcspn(p, "\n") + 1) {
        size_t n = strcspn(p, "\n");
        assert_true(n <= 85);
        assert_true(n == 0 || p[n - 1] != ' ');
    }
    unsetenv("MTVG_OPTS");
}

#define FILE_TEST(f) cmocka_unit_test_setup_teardown(f, make_dir, remove_dir)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_program),
        cmocka_unit_test(test_bool),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_enums),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_short),
        cmocka_unit_test(test_tool_options),
        cmocka_unit_test(test_rc_words),
        FILE_TEST(test_rc_trust),
        FILE_TEST(test_rc_size),
        FILE_TEST(test_order),
        FILE_TEST(test_exits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
