/* SPDX-License-Identifier: BSD-2-Clause
 * test_exec.c -- from a name to an ELF file: PATH, permissions, scripts. Expected results of
 * scripts come from the kernel: each is run natively as well, with a program that prints its
 * arguments. */
/* layers: mt_base mt_guest */
#include "base/heap.h"
#include "guest/elf.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64];

static char *file(const char *name, const char *text, size_t n, int mode)
{
    static char paths[8][256];
    static unsigned next;
    char *path = paths[next++ % 8];
    snprintf(path, 256, "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0700);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, n), n);
    close(fd);
    assert_int_equal(chmod(path, (mode_t)mode), 0);
    return path;
}

static char *script(const char *name, const char *text)
{
    return file(name, text, strlen(text), 0755);
}

static void fails(const char *path, int code, int exit_code, const char *word)
{
    char *argv[] = {(char *)path, NULL};
    ExecTarget t;
    ExecError err = {0};
    assert_int_equal(exec_resolve(path, argv, &t, &err), -1);
    if (err.err != code || err.exit_code != exit_code || strstr(err.msg, word) == NULL) {
        fprintf(stderr, "%s: %d %d '%s'\n", path, err.err, err.exit_code, err.msg);
    }
    assert_int_equal(err.err, code);
    assert_int_equal(err.exit_code, exit_code);
    assert_non_null(strstr(err.msg, word));
    assert_null(strchr(err.msg, '\n'));
}

/* What the kernel makes of it: errno of execve, or the output. */
static int native(const char *path, char *out, size_t n)
{
    int fds[2], status;
    size_t got = 0;
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        char *argv[] = {"zero", "one", "two words", NULL}, *envp[] = {NULL};
        dup2(fds[1], 1);
        execve(path, argv, envp);
        _exit(errno);
    }
    close(fds[1]);
    for (ssize_t r; got < n - 1 && (r = read(fds[0], out + got, n - 1 - got)) > 0;) {
        got += (size_t)r;
    }
    out[got] = '\0';
    close(fds[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WEXITSTATUS(status);
}

/* Scripts' last interpreter is printf '<%s>': it prints what it is given. */
static void same_as_kernel(const char *path)
{
    char *argv[] = {"zero", "one", "two words", NULL};
    char theirs[4096], ours[4096] = "";
    ExecTarget t;
    ExecError err;
    int code = native(path, theirs, sizeof(theirs));
    int r = exec_resolve(path, argv, &t, &err);
    if ((r == 0 ? 0 : err.err) != code) {
        fprintf(stderr, "%s: %d, by the kernel %d\n", path, r == 0 ? 0 : err.err, code);
    }
    assert_int_equal(r == 0 ? 0 : err.err, code);
    if (r == 0) {
        for (char **a = t.argv + 1; *a != NULL; a++) {
            strcat(ours, *a);
            strcat(ours, a[1] != NULL ? " " : "\n");
        }
        assert_string_equal(ours, theirs);
        assert_string_equal(t.execfn, path);
        exec_target_free(&t);
    }
}

static void scripts(void **state)
{
    char long_line[600], deep[256];
    same_as_kernel(script("plain", "#!/bin/echo\nx"));
    same_as_kernel(script("argument", "#!/bin/echo arg\n"));
    same_as_kernel(script("blanks", "#! \t /bin/echo \t  two  words \t \nfoo"));
    same_as_kernel(script("unended", "#!/bin/echo arg"));
    same_as_kernel(script("unended_blanks", "#!/bin/echo arg   "));
    same_as_kernel(script("crlf", "#!/bin/echo\r\n"));
    same_as_kernel(script("empty", "#!\n/bin/echo"));
    same_as_kernel(script("only_blanks", "#!   \t\n"));
    same_as_kernel(script("only_two", "#!"));
    same_as_kernel(file("only_nul", "#!\0\n", 4, 0755));
    same_as_kernel(script("missing", "#!/nonexistent/x\n"));
    same_as_kernel(script("directory", "#!/tmp\n"));
    same_as_kernel(file("nul", "#!/bin/echo\0 more\n", 18, 0755));
    same_as_kernel(file("nul_in_argument", "#!/bin/echo a\0b\nc", 17, 0755));
    for (int n = 230; n < 300; n++) { /* around the kernel's 256 bytes */
        memset(long_line, 'a', sizeof(long_line));
        memcpy(long_line, "#!/bin/echo ", 12);
        memcpy(long_line + n, "\nrest", 6);
        same_as_kernel(script("long_argument", long_line));
        memset(long_line + 2, '/', 240);
        memcpy(long_line + n - 8, "bin/echo\nrest", 14);
        memset(long_line + 2, '/', (size_t)n - 10);
        same_as_kernel(script("long_name", long_line));
        memset(long_line + 2, ' ', (size_t)n - 11);
        same_as_kernel(script("long_blanks", long_line));
    }
    const char *below = "/bin/echo";
    for (int i = 0; i < 8; i++) {
        char text[300], name[16];
        snprintf(text, sizeof(text), "#!%s arg%d\n", below, i);
        snprintf(name, sizeof(name), "deep%d", i);
        snprintf(deep, sizeof(deep), "%s", script(name, text));
        same_as_kernel(deep);
        below = deep;
    }
}

static void errors(void **state)
{
    char path[256];
    fails("/nonexistent/program", ENOENT, 127, "No such file");
    snprintf(path, sizeof(path), "%s/x", script("file", "text\n"));
    fails(path, ENOTDIR, 127, "Not a directory");
    fails("/tmp", EACCES, 126, "directory");
    fails("/dev/null", EACCES, 126, "regular");
    fails(file("no_permission", "#!/bin/echo\n", 12, 0644), EACCES, 126, "denied");
    fails(script("text", "just text\n"), ENOEXEC, 126, "not an executable");
    fails(script("nothing", ""), ENOEXEC, 126, "empty");
    fails(script("new\nline", "x"), ENOEXEC, 126, "not an executable");
    fails(file("elf32", "\177ELF\1\1\1\0\0\0\0\0\0\0\0\0\2\0\3\0", 20, 0755), ENOEXEC, 1, "32-bit");
    fails(file("short", "\177ELF\2\1\1\0\0\0\0\0\0\0\0\0\2\0\3\0", 20, 0755), ENOEXEC, 1, "trunc");
    fails(script("of_missing", "#!/nonexistent/x\n"), ENOENT, 127, "/nonexistent/x");
}

static void resolved(void **state)
{
    char link[256];
    char *argv[] = {"name", NULL}, *none[] = {NULL};
    ExecTarget t;
    ExecError err;
    snprintf(link, sizeof(link), "%s/link", dir);
    assert_int_equal(symlink("/bin/echo", link), 0);
    assert_int_equal(exec_resolve(link, argv, &t, &err), 0);
    char *real = realpath("/bin/echo", NULL);
    assert_string_equal(t.real_path, real);
    assert_string_equal(t.path, link);
    assert_string_equal(t.execfn, link);
    assert_string_equal(t.argv[0], "name");
    assert_false(t.is_setid);
    free(real);
    exec_target_free(&t);
    assert_int_equal(exec_resolve("/bin/echo", none, &t, &err), 0);
    assert_string_equal(t.argv[0], "");
    assert_null(t.argv[1]);
    exec_target_free(&t);
}

static void in_path(void **state)
{
    char path[512];
    ExecError err;
    script("tool", "#!/bin/echo\n");
    file("unusable", "x", 1, 0644);
    snprintf(path, sizeof(path), "/nonexistent:%s:/bin", dir);
    setenv("PATH", path, 1);
    char *p = exec_find("tool", &err);
    assert_non_null(p);
    snprintf(path, sizeof(path), "%s/tool", dir);
    assert_string_equal(p, path);
    heap_free(p);
    p = exec_find("./with/slash", &err);
    assert_string_equal(p, "./with/slash");
    heap_free(p);
    assert_null(exec_find("no_such_tool_anywhere", &err));
    assert_true(err.err == ENOENT && err.exit_code == 127);
    assert_null(exec_find("unusable", &err));
    assert_true(err.err == EACCES && err.exit_code == 126);
    assert_null(exec_find("", &err));
    assert_int_equal(err.exit_code, 127);
    setenv("PATH", "", 1); /* one empty entry: here */
    assert_int_equal(chdir(dir), 0);
    p = exec_find("tool", &err);
    assert_string_equal(p, "./tool");
    heap_free(p);
    unsetenv("PATH");
    p = exec_find("sh", &err);
    assert_non_null(p);
    heap_free(p);
}

static int setup(void **state)
{
    strcpy(dir, "/tmp/mtvg-exec-XXXXXX");
    return mkdtemp(dir) != NULL ? 0 : -1;
}

static int teardown(void **state)
{
    char command[128];
    setenv("PATH", "/usr/bin:/bin", 1);
    snprintf(command, sizeof(command), "rm -rf '%s'", dir);
    return system(command);
}

static bool is_setid(const char *path, int mode, uid_t uid)
{
    char *argv[] = {(char *)path, NULL};
    ExecTarget t;
    ExecError err;
    assert_int_equal(chown(path, uid, (gid_t)-1), 0);
    assert_int_equal(chmod(path, (mode_t)mode), 0);
    assert_int_equal(exec_resolve(path, argv, &t, &err), 0);
    bool r = t.is_setid;
    exec_target_free(&t);
    return r;
}

/* Root's own program gives root nothing new. */
static void set_user_id(void **state)
{
    char path[128], command[256];
    (void)state;
    snprintf(path, sizeof(path), "%s/setid", dir);
    snprintf(command, sizeof(command), "cp /bin/true %s", path);
    assert_int_equal(system(command), 0);
    assert_false(is_setid(path, 04755, getuid()));
    assert_false(is_setid(path, 02755, getuid()));
    if (geteuid() == 0) {
        assert_true(is_setid(path, 04755, 65534));
        assert_false(is_setid(path, 0755, 65534));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scripts), cmocka_unit_test(errors),      cmocka_unit_test(resolved),
        cmocka_unit_test(in_path), cmocka_unit_test(set_user_id),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
