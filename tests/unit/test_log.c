/* SPDX-License-Identifier: BSD-2-Clause
 * test_log.c -- prefixes, log files, errors, internal errors. Each case runs in a child process,
 * because the log is opened once in a process. */
/* layers: mt_base */
#include "base/log.h"
#include "base/options.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tempdir.h"

static char err_text[16384]; /* what the child wrote to stderr */
static pid_t child;
static int status;

static const char *slurp(const char *path)
{
    static char text[16384];
    int fd = open(path, O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (n < 0) {
        return NULL;
    }
    close(fd);
    text[n] = '\0';
    return text;
}

/* Runs fn in a child with its stderr in the file "stderr". */
static void in_child(void (*fn)(void))
{
    fflush(NULL);
    child = fork();
    if (child == 0) {
        int fd = open("stderr", O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
        dup2(fd, STDERR_FILENO);
        close(fd);
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        fn();
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    const char *text = slurp("stderr");
    assert_non_null(text);
    strcpy(err_text, text);
}

/* `format` with the child's pid for each @. Two results may be in use at a time. */
static const char *expected(const char *format)
{
    static char texts[2][4096];
    static int turn;
    char *text = texts[turn ^= 1];
    char pid[16];
    snprintf(pid, sizeof(pid), "%d", (int)child);
    size_t n = 0;
    for (const char *p = format; *p; p++) {
        if (*p == '@') {
            n += (size_t)sprintf(text + n, "%s", pid);
        } else {
            text[n++] = *p;
        }
    }
    text[n] = '\0';
    return text;
}

/* ---- prefixes and levels ---- */

static void say_all(void)
{
    log_init();
    errno = EBADMSG;
    mt_umsg("one %d", 1);
    mt_umsg_always("a\nb\n");
    mt_umsg("%s", "");
    mt_vmsg("verbose");
    MT_DEBUG(LOG_JIT, 2, "no");
    log_raw("raw\n", 4);
    if (errno != EBADMSG) {
        _exit(9);
    }
}

static void test_prefix(void **state)
{
    in_child(say_all);
    assert_int_equal(status, 0);
    assert_string_equal(err_text, expected("==@== one 1\n==@== a\n==@== b\n==@== \nraw\n"));
    mt_opts.verbosity = 0;
    in_child(say_all);
    assert_string_equal(err_text, expected("==@== a\n==@== b\nraw\n"));
    mt_opts.verbosity = 2;
    mt_opts.debug = "jit:2,elf";
    in_child(say_all);
    assert_string_equal(err_text, expected("==@== one 1\n==@== a\n==@== b\n==@== \n--@-- verbose\n"
                                           "--@-- jit[@]: no\nraw\n"));
    mt_opts.verbosity = 1;
    mt_opts.debug = NULL;
}

static void say_long(void)
{
    char word[10001];
    memset(word, 'x', 10000);
    word[10000] = '\0';
    log_init();
    mt_umsg("%s", word);
    char lines[4001];
    memset(lines, '\n', 4000);
    lines[4000] = '\0';
    mt_umsg("%s", lines);
    mt_die(1, "%s", word);
}

static void test_long(void **state)
{
    in_child(say_long);
    assert_int_equal(WEXITSTATUS(status), 1);
    assert_true(strlen(err_text) > 8000);
    const char *end = strchr(err_text, '\n');
    assert_memory_equal(end - 4, "x...", 4);
    size_t prefix = strlen(expected("==@== "));
    assert_memory_equal(end + 1, expected("==@== \n==@== \n"), 2 * prefix + 2);
}

/* ---- names ---- */

static void test_names(void **state)
{
    char out[32];
    const char *why = NULL;
    setenv("MTVG_TEST_VAR", "va/lue", 1);
    assert_int_equal(log_expand_name("a%p.%%%q{MTVG_TEST_VAR}", 12, out, sizeof(out), &why), 0);
    assert_string_equal(out, "a12.%va/lue");
    static const char *const wrong[] = {"%",   "a%",   "%z",    "%q",
                                        "%qx", "%q{}", "%q{AB", "%q{NO_SUCH_VARIABLE_HERE}"};
    for (size_t i = 0; i < MT_ARRAY_SIZE(wrong); i++) {
        why = NULL;
        assert_int_equal(log_expand_name(wrong[i], 12, out, sizeof(out), &why), -1);
        assert_non_null(why);
    }
    assert_int_equal(log_expand_name("1234567890123456789012345678901", 1, out, sizeof(out), &why),
                     0);
    assert_int_equal(log_expand_name("12345678901234567890123456789012", 1, out, sizeof(out), &why),
                     -1);
    assert_int_equal(
        log_expand_name("123456789012345678901234567890%p", 123, out, sizeof(out), &why), -1);
}

static void say_in_file(void)
{
    log_init();
    int flags = fcntl(log_fd(), F_GETFD);
    if (log_fd() < 10 || !(flags & FD_CLOEXEC)) {
        _exit(9);
    }
    mt_umsg("in file");
    log_close();
}

static void test_file(void **state)
{
    mt_opts.log_file = "log.%p";
    in_child(say_in_file);
    assert_int_equal(status, 0);
    assert_string_equal(err_text, "");
    assert_string_equal(slurp(expected("log.@")), expected("==@== in file\n"));
    mt_opts.log_file = "no/such/folder";
    in_child(say_in_file);
    assert_int_equal(WEXITSTATUS(status), 1);
    assert_string_equal(err_text,
                        "mtvg: cannot write to the log file 'no/such/folder': No such file "
                        "or directory\n");
    mt_opts.log_file = "%q{NO_SUCH_VARIABLE_HERE}";
    in_child(say_in_file);
    assert_int_equal(WEXITSTATUS(status), 1);
    assert_string_equal(err_text,
                        "mtvg: bad --log-file '%q{NO_SUCH_VARIABLE_HERE}': the environment "
                        "variable NO_SUCH_VARIABLE_HERE is not set\n");
    mt_opts.log_file = NULL;
}

static void say_twice(void)
{
    log_init();
    mt_umsg("lost");
    mt_umsg("lost, too");
    log_close();
    log_close();
}

static void say_nothing(void)
{
    log_init();
    log_close();
}

/* Where a traced program can't open the log, it runs nevertheless. */
static void test_refused(void **state)
{
    mt_opts.exec_argv0 = "program";
    mt_opts.log_file = "no/such/folder";
    in_child(say_twice);
    assert_int_equal(status, 0);
    assert_string_equal(err_text, "mtvg: warning: messages are lost, cannot write to "
                                  "no/such/folder: No such file or directory\n");
    in_child(say_nothing);
    assert_int_equal(status, 0);
    assert_string_equal(err_text, "");
    mt_opts.log_file = "%q{NO_SUCH_VARIABLE_HERE}";
    in_child(say_nothing);
    assert_int_equal(status, 0);
    mt_opts.log_file = NULL;
    mt_opts.log_fd = 77;
    in_child(say_nothing);
    assert_int_equal(status, 0);
    mt_opts.log_fd = STDERR_FILENO;
    mt_opts.exec_argv0 = NULL;
}

static rlim_t fork_limit; /* 0: as it is; else the child opens its log under this one */

static void fork_and_say(void)
{
    log_init();
    mt_umsg("parent");
    mkdir("elsewhere", 0700);
    if (chdir("elsewhere")) {
        _exit(9);
    }
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit lim;
        getrlimit(RLIMIT_NOFILE, &lim);
        lim.rlim_cur = fork_limit != 0 ? fork_limit : lim.rlim_cur;
        setrlimit(RLIMIT_NOFILE, &lim);
        log_after_fork_child();
        getrlimit(RLIMIT_NOFILE, &lim);
        if (fork_limit != 0 && lim.rlim_cur != fork_limit) {
            _exit(9);
        }
        mt_umsg("child");
        _exit(fcntl(log_fd(), F_GETFD) & FD_CLOEXEC ? 0 : 9);
    }
    int s;
    waitpid(pid, &s, 0);
    mt_umsg("parent again %d", pid);
    _exit(s ? 9 : 0);
}

static void test_fork(void **state)
{
    mt_opts.log_file = "forked";
    in_child(fork_and_say);
    assert_int_equal(status, 0);
    const char *text = slurp("forked");
    const char *again = strstr(text, "parent again ");
    char want[256];
    int grandchild = atoi(again + 13);
    snprintf(want, sizeof(want), "==%d== parent\n==%d== child\n==%d== parent again %d\n", child,
             grandchild, child, grandchild);
    assert_string_equal(text, want);

    mt_opts.log_file = "forked.%p";
    in_child(fork_and_say);
    assert_int_equal(status, 0);
    text = slurp(expected("forked.@"));
    again = strstr(text, "parent again ");
    grandchild = atoi(again + 13);
    snprintf(want, sizeof(want), "==%d== parent\n==%d== parent again %d\n", child, child,
             grandchild);
    assert_string_equal(text, want);
    char name[64];
    snprintf(name, sizeof(name), "forked.%d", grandchild);
    snprintf(want, sizeof(want), "==%d== child\n", grandchild);
    assert_string_equal(slurp(name), want);

    /* The program has lowered its limit below the log's descriptor. */
    mt_opts.log_file = "limited.%p";
    fork_limit = 20;
    in_child(fork_and_say);
    fork_limit = 0;
    assert_int_equal(status, 0);
    again = strstr(slurp(expected("limited.@")), "parent again ");
    assert_non_null(again);
    grandchild = atoi(again + 13);
    snprintf(name, sizeof(name), "limited.%d", grandchild);
    snprintf(want, sizeof(want), "==%d== child\n", grandchild);
    assert_string_equal(slurp(name), want);
    mt_opts.log_file = NULL;
}

/* ---- errors ---- */

static void test_disk_full(void **state)
{
    mt_opts.log_file = "/dev/full";
    in_child(say_twice);
    assert_int_equal(status, 0);
    assert_string_equal(err_text, "mtvg: warning: messages are lost, cannot write to /dev/full: No "
                                  "space left on device\n");
    mt_opts.log_file = NULL;
}

/* L2: no SIGPIPE, neither now nor later. */
static void say_to_broken_pipe(void)
{
    int fds[2];
    if (pipe(fds)) {
        _exit(9);
    }
    mt_opts.log_fd = fds[1];
    log_init();
    close(fds[0]);
    close(fds[1]);
    mt_umsg("lost");
    mt_umsg("lost, too");
    log_close();
}

static void test_broken_pipe(void **state)
{
    in_child(say_to_broken_pipe);
    assert_int_equal(status, 0);
    assert_string_equal(err_text,
                        "mtvg: warning: messages are lost, cannot write to the log: Broken "
                        "pipe\n");
}

/* A SIGPIPE that was pending before stays pending. */
static void say_with_pending(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    sigprocmask(SIG_BLOCK, &set, NULL);
    raise(SIGPIPE);
    say_to_broken_pipe();
    sigpending(&set);
    _exit(sigismember(&set, SIGPIPE) ? 0 : 9);
}

static void test_pending_signal(void **state)
{
    in_child(say_with_pending);
    assert_int_equal(status, 0);
}

static void say_beyond_limit(void)
{
    struct rlimit small = {20, 20};
    log_init();
    setrlimit(RLIMIT_FSIZE, &small);
    for (int i = 0; i < 5; i++) {
        mt_umsg("line %d", i);
    }
}

static void test_file_size_limit(void **state)
{
    mt_opts.log_file = "limited";
    in_child(say_beyond_limit);
    assert_int_equal(status, 0);
    assert_int_equal(strlen(slurp("limited")), 20);
    mt_opts.log_file = NULL;
}

static void say_to_bad_fd(void)
{
    mt_opts.log_fd = 77;
    log_init();
}

static void say_to_read_only(void)
{
    mt_opts.log_fd = open("/dev/null", O_RDONLY);
    log_init();
}

static void say_without_stderr(void)
{
    close(STDERR_FILENO);
    log_init();
    mt_umsg("nobody hears");
    log_close();
    _exit(log_fd() == -1 ? 0 : 9);
}

static void test_bad_fd(void **state)
{
    in_child(say_to_bad_fd);
    assert_int_equal(WEXITSTATUS(status), 1);
    assert_string_equal(err_text,
                        "mtvg: cannot write to --log-fd=77: it is not open for writing\n");
    in_child(say_to_read_only);
    assert_int_equal(WEXITSTATUS(status), 1);
    in_child(say_without_stderr);
    assert_int_equal(status, 0);
}

/* The program may close or reuse descriptor 2: the log is a copy. */
static void say_after_close(void)
{
    log_init();
    close(STDERR_FILENO);
    int fd = open("data", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    mt_umsg("still here");
    _exit(fd == STDERR_FILENO ? 0 : 9);
}

static void test_closed_later(void **state)
{
    in_child(say_after_close);
    assert_int_equal(status, 0);
    assert_string_equal(err_text, expected("==@== still here\n"));
    assert_string_equal(slurp("data"), "");
}

/* ---- internal errors ---- */

static void handler(int sig)
{
    _exit(42);
}

static void fail_assertion(void)
{
    signal(SIGABRT, handler);
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    log_init();
    MT_ASSERT(child == 77);
}

static void test_assertion(void **state)
{
    MT_ASSERT(state != NULL);
    in_child(fail_assertion);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    assert_non_null(strstr(err_text, "\nmtvg: internal error at "));
    assert_non_null(strstr(err_text, "child == 77\n"));
    assert_non_null(strstr(err_text, expected("process @, thread @")));
    mt_opts.log_file = "asserted";
    in_child(fail_assertion);
    mt_opts.log_file = NULL;
    assert_non_null(strstr(err_text, "internal error"));
    assert_string_equal(slurp("asserted"), err_text);
}

#define FILE_TEST(f) cmocka_unit_test_setup_teardown(f, make_dir, remove_dir)

int main(void)
{
    const struct CMUnitTest tests[] = {
        FILE_TEST(test_prefix),         FILE_TEST(test_long),
        FILE_TEST(test_names),          FILE_TEST(test_file),
        FILE_TEST(test_refused),        FILE_TEST(test_fork),
        FILE_TEST(test_disk_full),      FILE_TEST(test_broken_pipe),
        FILE_TEST(test_pending_signal), FILE_TEST(test_file_size_limit),
        FILE_TEST(test_bad_fd),         FILE_TEST(test_closed_later),
        FILE_TEST(test_assertion),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
