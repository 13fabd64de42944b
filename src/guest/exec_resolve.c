/* SPDX-License-Identifier: BSD-2-Clause
 * exec_resolve.c -- from a path to the ELF file that runs: scripts, permissions, architecture.
 * Role:       gives for each file the result that execve(2) would, as a message.
 * Scripts:    "#!", blanks, interpreter, blanks, one argument (which may hold blanks) without the
 *             blanks at its end; at most 255 bytes; interpreters may be scripts, five deep. */
#include "base/heap.h"
#include "guest/elf_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define HEAD_BYTES 256 /* what execve looks at */
#define SCRIPT_DEPTH 5

#define EXIT_CANNOT 126
#define EXIT_MISSING 127

static int fail_errno(ExecError *err, int e, const char *path, const char *script)
{
    bool missing = e == ENOENT || e == ENOTDIR;
    int code = missing ? EXIT_MISSING : EXIT_CANNOT;
    if (script != NULL) {
        return exec_fail(err, e, code, "%s: its interpreter %s can't be run: %s", script, path,
                         strerror(e));
    }
    return exec_fail(err, e, code, "%s: %s", path, strerror(e));
}

/* Opens a file that may be executed. */
static int open_program(const char *path, const char *script, struct stat *st, ExecError *err)
{
    if (stat(path, st) != 0) {
        return fail_errno(err, errno, path, script);
    }
    if (S_ISDIR(st->st_mode)) {
        return exec_fail(err, EACCES, EXIT_CANNOT, "%s: is a directory", path);
    }
    if (!S_ISREG(st->st_mode)) {
        return exec_fail(err, EACCES, EXIT_CANNOT, "%s: not a regular file", path);
    }
    if (faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) != 0) {
        return fail_errno(err, errno, path, script);
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == EACCES) {
        return exec_fail(err, EACCES, EXIT_CANNOT, "%s: executable, but not readable", path);
    }
    if (fd < 0) {
        return fail_errno(err, errno, path, script);
    }
    return fd;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_end(char c)
{
    return is_blank(c) || c == '\0';
}

/* A script's first line; head has n bytes, and NULs behind them. Cuts it into interpreter and
 * argument (NULL if there is none). A NUL ends the line too, but no blanks are dropped in front of
 * it. 0, or an errno: no interpreter, or its name is cut off. */
static int parse_script(char *head, size_t n, char **interp, char **arg)
{
    char *p = head + 2;
    char *end = memchr(p, '\n', n - 2);
    if (end == NULL) {
        size_t name = strspn(p, " \t");
        name += strcspn(p + name, " \t");
        if (2 + name >= HEAD_BYTES - 1) {
            return ENOEXEC;
        }
        end = head + HEAD_BYTES - 1;
    }
    while (end > p && is_blank(end[-1])) {
        end--;
    }
    *end = '\0';
    if (p + strspn(p, " \t") == end) {
        return ENOEXEC;
    }
    while (is_blank(*p)) {
        p++;
    }
    *interp = p;
    while (!is_end(*p)) {
        p++;
    }
    *arg = NULL;
    if (*p != '\0') {
        *p++ = '\0';
        while (is_blank(*p)) {
            p++;
        }
        *arg = p < end ? p : NULL; /* empty if a NUL is behind the blanks */
    }
    return **interp != '\0' ? 0 : EACCES; /* execve opens "", finds a directory */
}

static void free_words(char **words)
{
    for (char **w = words; w != NULL && *w != NULL; w++) {
        heap_free(*w);
    }
    heap_free(words);
}

/* interpreter, argument (if any), script path, argv[1...] */
static char **script_argv(char **argv, const char *interp, const char *arg, const char *script)
{
    size_t n = 0, k = 0;
    while (argv[n] != NULL) {
        n++;
    }
    char **out = heap_alloc_zeroed((n + 4) * sizeof(*out));
    bool ok = out != NULL;
    const char *front[] = {interp, arg, script};
    for (size_t i = 0; ok && i < MT_ARRAY_SIZE(front); i++) {
        if (front[i] != NULL) {
            ok = (out[k++] = heap_copy_text(front[i])) != NULL;
        }
    }
    for (size_t i = 1; ok && i < n; i++) {
        ok = (out[k++] = heap_copy_text(argv[i])) != NULL;
    }
    if (!ok) {
        free_words(out);
        return NULL;
    }
    return out;
}

static char **copy_argv(char *const argv[])
{
    size_t n = 0;
    while (argv[n] != NULL) {
        n++;
    }
    /* An empty argv becomes { "" }, as by the kernel. */
    char **out = heap_alloc_zeroed(((n > 0 ? n : 1) + 1) * sizeof(*out));
    for (size_t i = 0; out != NULL && i < (n > 0 ? n : 1); i++) {
        out[i] = heap_copy_text(n > 0 ? argv[i] : "");
        if (out[i] == NULL) {
            free_words(out);
            return NULL;
        }
    }
    return out;
}

/* Would the kernel give the program other rights than the caller's? Root's own programs run as
 * root. */
static bool changes_rights(int fd, const struct stat *st)
{
    struct statvfs vfs;
    bool uid_bit = (st->st_mode & S_ISUID) != 0;
    bool gid_bit = (st->st_mode & (S_ISGID | S_IXGRP)) == (S_ISGID | S_IXGRP);
    if ((fstatvfs(fd, &vfs) == 0 && (vfs.f_flag & ST_NOSUID) != 0) ||
        prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1) {
        return false;
    }
    return (uid_bit && (st->st_uid != getuid() || st->st_uid != geteuid())) ||
           (gid_bit && (st->st_gid != getgid() || st->st_gid != getegid()));
}

static int out_of_memory(ExecError *err)
{
    return exec_fail(err, ENOMEM, 1, "out of memory");
}

/* One file: 0: it is the ELF file (t->fd is open); 1: a script, t->path and t->argv are now its
 * interpreter's; -1 and *err. */
static int resolve_step(ExecTarget *t, const char *script, ExecError *err)
{
    char head[HEAD_BYTES + 1] = {0};
    struct stat st;
    char *interp, *arg;
    int fd = open_program(t->path, script, &st, err);
    if (fd < 0) {
        return -1;
    }
    i64 n = elf_pread(fd, head, HEAD_BYTES, 0);
    if (n < 0) {
        close(fd);
        return fail_errno(err, (int)-n, t->path, script);
    }
    if (n >= 2 && head[0] == '#' && head[1] == '!') {
        close(fd);
        int bad = parse_script(head, (size_t)n, &interp, &arg);
        if (bad != 0) {
            return exec_fail(err, bad, EXIT_CANNOT, "%s: bad interpreter line", t->path);
        }
        char **argv = script_argv(t->argv, interp, arg, t->path);
        char *path = heap_copy_text(interp);
        if (argv == NULL || path == NULL) {
            free_words(argv);
            heap_free(path);
            return out_of_memory(err);
        }
        free_words(t->argv);
        heap_free(t->path);
        t->argv = argv;
        t->path = path;
        return 1;
    }
    if (n < SELFMAG || memcmp(head, ELFMAG, SELFMAG) != 0) {
        close(fd);
        return exec_fail(err, ENOEXEC, EXIT_CANNOT,
                         n == 0 ? "%s: not an executable (the file is empty)"
                                : "%s: not an executable (neither ELF nor a #! script)",
                         t->path);
    }
    if (elf_check_ident(head, (size_t)n, t->path, NULL, err) != 0) {
        close(fd);
        return -1;
    }
    t->fd = fd;
    t->is_setid = changes_rights(fd, &st);
    return 0;
}

static char *real_path_of(const ExecTarget *t)
{
    char link[64], buf[4096];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", t->fd);
    ssize_t n = readlink(link, buf, sizeof(buf) - 1);
    if (n > 0 && buf[0] == '/') {
        buf[n] = '\0';
        return heap_copy_text(buf);
    }
    return heap_copy_text(realpath(t->path, buf) != NULL ? buf : t->path);
}

static int resolve(ExecTarget *t, ExecError *err)
{
    char *script = NULL; /* the file whose "#!" line named t->path */
    int r = 1;
    for (int depth = 0; r == 1; depth++) {
        if (depth > SCRIPT_DEPTH) {
            r = exec_fail(err, ELOOP, EXIT_CANNOT, "%s: too many scripts run each other",
                          t->execfn);
            break;
        }
        char *current = heap_copy_text(t->path);
        r = current != NULL ? resolve_step(t, script, err) : out_of_memory(err);
        heap_free(script);
        script = current;
    }
    heap_free(script);
    if (r == 0) {
        t->real_path = real_path_of(t);
        r = t->real_path != NULL ? 0 : out_of_memory(err);
    }
    return r;
}

int exec_resolve(const char *path, char *const argv[], ExecTarget *out, ExecError *err)
{
    memset(out, 0, sizeof(*out));
    out->fd = -1;
    out->path = heap_copy_text(path);
    out->execfn = heap_copy_text(path);
    out->argv = copy_argv(argv);
    int r = -1;
    if (out->path == NULL || out->execfn == NULL || out->argv == NULL) {
        out_of_memory(err);
    } else {
        r = resolve(out, err);
    }
    if (r != 0) {
        exec_target_free(out);
    }
    return r;
}

void exec_target_free(ExecTarget *t)
{
    if (t->fd >= 0) {
        close(t->fd);
    }
    heap_free(t->path);
    heap_free(t->real_path);
    heap_free(t->execfn);
    free_words(t->argv);
    memset(t, 0, sizeof(*t));
    t->fd = -1;
}
