/* SPDX-License-Identifier: BSD-2-Clause
 * sys_exec.c -- execve and execveat.
 * Role:       --trace-children=no: the kernel's own exec of the guest's program, which then runs
 *             natively. --trace-children=yes: an exec of mtvg with its own options in front.
 * Invariants: E1. if the program cannot be run, the guest gets the kernel's own error: whatever
 *                 exec_resolve() refuses goes to the kernel unchanged.
 *             E2. nothing but scratch memory is left behind by an exec that succeeds in a vfork
 *                 child, and that is freed by the parent (sys_exec_release).
 * Locking:    `left_behind` is pushed to by compare-and-swap and taken as a whole.
 * Signals:    dispositions are the guest's from signal_before_exec() on. The call is made in the
 *             window: a signal that comes before the kernel has begun is the old program's, one
 *             that comes later is pending for the new one. */
#include "base/loaderenv.h"
#include "base/log.h"
#include "base/options.h"
#include "base/safe.h"
#include "guest/elf.h"
#include "sys/procfs.h"
#include "sys/signal.h"
#include "sys/sys.h"
#include "sys/sys_events.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    ARG_STRLEN_MAX = 32 * 4096, /* the kernel's limit for one argument */
    ARGS_MAX = 1 << 22,         /* no argument vector the kernel accepts is longer */
};

#define OPT_ARGV0 "--exec-argv0="
#define OPT_FD "--exec-fd="
#define OPT_LIMITS "--exec-limits="

char **mt_own_argv;

/* One guest request; path is the guest's string, or what stands for it. */
typedef struct ExecRequest {
    int dirfd;
    u64 path, argv, envp;
    int flags; /* AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW */
} ExecRequest;

/* In the window: MT_SYS_RESTART if a signal is to be handled first. Returns only if it fails. */
static i64 kernel_exec(Thread *t, u64 nr, const u64 a[6])
{
    sys_events_exec(t, true);
    signal_before_exec(t);
    i64 r = sys_window(nr, a);
    signal_after_failed_exec(t);
    sys_events_exec(t, false);
    return r;
}

/* ---- native ---- */

static i64 exec_native(Thread *t, const ExecRequest *q)
{
    const u64 a[6] = {(u64)(i64)q->dirfd, q->path, q->argv, q->envp, (u64)q->flags};
    const u64 b[6] = {q->path, q->argv, q->envp};
    /* a filter may forbid the other, and a tracer sees it */
    bool plain = q->dirfd == AT_FDCWD && q->flags == 0;
    SysRlimitSaved limits;
    sys_rlimit_before_exec(t, q->dirfd, q->path, q->flags, &limits);
    i64 r = plain ? kernel_exec(t, SYS_execve, b) : kernel_exec(t, SYS_execveat, a);
    sys_rlimit_after_failed_exec(&limits);
    return r;
}

/* ---- memory for the new argument vector ---- */

typedef struct Scratch {
    struct Scratch *next;
    i64 pid;
    size_t size;
    char **argv;
    u64 *env; /* with masked variables: env_size bytes; NULL: the guest's */
    size_t env_size;
    char *argv0_option; /* ARG_STRLEN_MAX + sizeof(OPT_ARGV0) bytes */
    char fd_option[32];
    char limits_option[128];
    char path[PATH_MAX + 64]; /* of the program, as the new mtvg gets it */
} Scratch;

static _Atomic(Scratch *) left_behind;

static Scratch *scratch_take(size_t argc)
{
    size_t words = argc + (size_t)mt_opts.argc_own + 6; /* 3 options, --, path, NULL */
    size_t size = sizeof(Scratch) + words * sizeof(char *) + ARG_STRLEN_MAX + sizeof(OPT_ARGV0);
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        return NULL;
    }
    Scratch *s = p;
    s->size = size;
    s->argv = (char **)(s + 1);
    s->argv0_option = (char *)(s->argv + words);
    return s;
}

static void scratch_free(Scratch *s)
{
    if (s->env != NULL) {
        munmap(s->env, s->env_size);
    }
    munmap(s, s->size);
}

static void scratch_push(Scratch *first, Scratch *last)
{
    Scratch *head = atomic_load_explicit(&left_behind, memory_order_relaxed);
    do {
        last->next = head;
        /* REL pairs with the ACQ in sys_exec_release: the block is complete when it is seen. */
    } while (!atomic_compare_exchange_weak_explicit(&left_behind, &head, first,
                                                    memory_order_release, memory_order_relaxed));
}

/* Takes the list, frees the blocks of `pid`, puts the others back. */
void sys_exec_release(i64 pid)
{
    sys_rlimit_forget(pid);
    if (pid <= 0 || !atomic_load_explicit(&left_behind, memory_order_relaxed)) {
        return;
    }
    Scratch *s = atomic_exchange_explicit(&left_behind, NULL, memory_order_acquire);
    while (s) {
        Scratch *next = s->next;
        if (s->pid == pid) {
            scratch_free(s);
        } else {
            scratch_push(s, s);
        }
        s = next;
    }
}

/* ---- the program's path ---- */

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* /proc/self/fd/N, /dev/fd/N: N, else -1. */
static int fd_of_path(const char *path)
{
    static const char *const dirs[] = {"/proc/self/fd/", "/dev/fd/", "/proc/thread-self/fd/"};
    for (size_t i = 0; i < MT_ARRAY_SIZE(dirs); i++) {
        size_t n = strlen(dirs[i]);
        if (strncmp(path, dirs[i], n) == 0 && path[n] >= '0' && path[n] <= '9') {
            char *end;
            long fd = strtol(path + n, &end, 10);
            return *end == '\0' && fd <= INT_MAX ? (int)fd : -1;
        }
    }
    return -1;
}

/* A path for the file that descriptor `fd` refers to, valid after exec. If it has none (deleted, a
 * memfd), a copy of the descriptor that survives exec, returned in *kept. 0 or -errno. */
static i64 path_of_fd(int fd, char *out, size_t size, int *kept)
{
    char link[PROC_LINK_MAX];
    struct stat by_fd, by_name;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, out, size - 1);
    if (n < 0 || fstat(fd, &by_fd)) {
        return -errno;
    }
    out[n] = '\0';
    if (out[0] == '/' && stat(out, &by_name) == 0 && same_file(&by_fd, &by_name)) {
        return 0;
    }
    *kept = fcntl(fd, F_DUPFD, 3);
    if (*kept < 0) {
        return -errno;
    }
    snprintf(out, size, "/proc/self/fd/%d", *kept);
    return 0;
}

/* Turns the request into one path string that needs no descriptor of the guest's. 0 or -errno. */
static i64 plain_path(const ExecRequest *q, const char *path, char *out, size_t size, int *kept)
{
    int fd = fd_of_path(path);
    if (fd < 0 && !path[0] && (q->flags & AT_EMPTY_PATH)) {
        fd = q->dirfd;
    }
    if (fd >= 0) {
        return path_of_fd(fd, out, size, kept);
    }
    if (path[0] == '/' || q->dirfd == AT_FDCWD) {
        snprintf(out, size, "%s", path);
        return 0;
    }
    char full[PATH_MAX + 64];
    snprintf(full, sizeof(full), "/proc/self/fd/%d/%s", q->dirfd, path);
    int file = open(full, O_PATH | O_CLOEXEC);
    if (file < 0) {
        return -errno;
    }
    i64 r = path_of_fd(file, out, size, kept);
    close(file);
    return r;
}

/* ---- traced ---- */

/* Length of the guest's vector, or -errno. */
static i64 count_args(u64 argv)
{
    u64 word = 1;
    for (i64 n = 0; argv && n < ARGS_MAX; n++) {
        if (safe_read(&word, argv + (u64)n * 8, sizeof(word))) {
            return -EFAULT;
        }
        if (!word) {
            return n;
        }
    }
    return argv ? -E2BIG : 0;
}

static bool is_exec_option(const char *word)
{
    return strncmp(word, OPT_ARGV0, sizeof(OPT_ARGV0) - 1) == 0 ||
           strncmp(word, OPT_FD, sizeof(OPT_FD) - 1) == 0 ||
           strncmp(word, OPT_LIMITS, sizeof(OPT_LIMITS) - 1) == 0;
}

/* mtvg, what it must know about this exec, its own options, the program and its arguments. */
static i64 build_argv(const Thread *t, Scratch *s, const ExecRequest *q, i64 argc, int kept)
{
    size_t n = 0;
    u64 guest_argv0 = 0;
    if (argc && safe_read(&guest_argv0, q->argv, sizeof(guest_argv0))) {
        return -EFAULT;
    }
    s->argv[n++] = mt_own_argv && mt_opts.argc_own ? mt_own_argv[0] : (char *)"mtvg";
    memcpy(s->argv0_option, OPT_ARGV0, sizeof(OPT_ARGV0));
    if (guest_argv0) {
        i64 len = safe_read_str(s->argv0_option + sizeof(OPT_ARGV0) - 1, guest_argv0,
                                ARG_STRLEN_MAX);
        if (len < 0) {
            return len == -ENAMETOOLONG ? -E2BIG : len;
        }
    }
    s->argv[n++] = s->argv0_option;
    if (kept >= 0) {
        snprintf(s->fd_option, sizeof(s->fd_option), OPT_FD "%d", kept);
        s->argv[n++] = s->fd_option;
    }
    memcpy(s->limits_option, OPT_LIMITS, sizeof(OPT_LIMITS));
    char *limits = s->limits_option + sizeof(OPT_LIMITS) - 1;
    sys_rlimit_text(t, limits, sizeof(s->limits_option) - sizeof(OPT_LIMITS));
    if (limits[0] != '\0') {
        s->argv[n++] = s->limits_option;
    }
    for (int i = 1; mt_own_argv && i < mt_opts.argc_own; i++) {
        if (!is_exec_option(mt_own_argv[i]) && strcmp(mt_own_argv[i], "--") != 0) {
            s->argv[n++] = mt_own_argv[i];
        }
    }
    if (sys_is_filtered() && strcmp(mt_opts.translation_cache, "no") != 0) {
        /* Files may be what the filter forbids. */
        s->argv[n++] = (char *)"--translation-cache=no";
    }
    s->argv[n++] = (char *)"--"; /* the program's name may begin with a dash */
    s->argv[n++] = s->path;
    if (argc > 1 && safe_read(s->argv + n, q->argv + 8, ((size_t)argc - 1) * 8)) {
        return -EFAULT;
    }
    n += argc > 1 ? (size_t)argc - 1 : 0;
    s->argv[n] = NULL;
    return 0;
}

/* Is the variable at `at` for the loader? */
static char mask_of(u64 at)
{
    char prefix[MT_LOADERENV_PREFIX] = {0};
    safe_read_partial(prefix, at, sizeof(prefix) - 1);
    return loaderenv_mask(prefix);
}

/* The environment for the new mtvg, if it has variables that the loader would act on. */
static i64 build_env(Scratch *s, u64 envp)
{
    i64 n = count_args(envp), masked = 0;
    u64 at;
    for (i64 i = 0; i < n; i++) {
        masked += safe_read(&at, envp + (u64)i * 8, sizeof(at)) == 0 && mask_of(at) != 0;
    }
    if (n < 0 || masked == 0) {
        return n < 0 ? n : 0;
    }
    size_t words = ((size_t)n + 1) * sizeof(u64);
    s->env_size = words + (size_t)masked * ARG_STRLEN_MAX;
    s->env = mmap(NULL, s->env_size, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (s->env == MAP_FAILED) {
        s->env = NULL;
        return -ENOMEM;
    }
    char *copy = (char *)s->env + words, *end = (char *)s->env + s->env_size;
    for (i64 i = 0; i < n; i++) {
        if (safe_read(&s->env[i], envp + (u64)i * 8, sizeof(u64))) {
            return -EFAULT;
        }
        char mask = s->env[i] && copy < end ? mask_of(s->env[i]) : 0;
        if (mask != 0) {
            i64 len = safe_read_str(copy, s->env[i], ARG_STRLEN_MAX);
            if (len < 0) {
                return len == -ENAMETOOLONG ? -E2BIG : len;
            }
            copy[0] = mask;
            s->env[i] = (u64)copy;
            copy += ARG_STRLEN_MAX;
        }
    }
    return 0;
}

/* Can the program run under mtvg? If not, the kernel shall say why, or run it (E1). */
static bool runs_traced(const char *path, bool *is_script)
{
    char *const argv[] = {(char *)path, NULL};
    ExecTarget target;
    ExecError err = {0};
    if (exec_resolve(path, argv, &target, &err)) {
        mt_vmsg("%s is left to the kernel: %s", path, err.msg);
        return false;
    }
    bool is_setid = target.is_setid;
    *is_script = strcmp(target.path, path) != 0;
    if (is_setid) {
        mt_umsg("Warning: %s is set-user-ID or set-group-ID: it runs natively.", path);
    }
    exec_target_free(&target);
    return !is_setid;
}

/* The same for the request. A script that is named by a descriptor has that name for its
 * interpreter, as the kernel would have it; if exec closes the descriptor, the kernel refuses. */
static bool is_traced(Scratch *s, const ExecRequest *q, const char *path, int *kept)
{
    bool is_script;
    if (!runs_traced(s->path, &is_script)) {
        return false;
    }
    if (!is_script || path[0] == '/' || q->dirfd == AT_FDCWD) {
        return true;
    }
    snprintf(s->path, sizeof(s->path), "/dev/fd/%d%s%s", q->dirfd, path[0] ? "/" : "", path);
    if (*kept >= 0) {
        close(*kept);
        *kept = -1;
    }
    return !(fcntl(q->dirfd, F_GETFD) & FD_CLOEXEC);
}

/* Does not return if it succeeds. */
static i64 exec_scratch(Thread *t, Scratch *s, const ExecRequest *q)
{
    s->pid = getpid();
    if (t->is_vfork_child) {
        scratch_push(s, s);
    }
    const u64 a[6] = {(u64) "/proc/self/exe", (u64)s->argv, s->env ? (u64)s->env : q->envp};
    i64 r = kernel_exec(t, SYS_execve, a);
    if (t->is_vfork_child) {
        sys_exec_release(s->pid);
    } else {
        scratch_free(s);
    }
    return r;
}

static i64 exec_traced(Thread *t, const ExecRequest *q, const char *path)
{
    i64 argc = count_args(q->argv);
    if (argc < 0) {
        return argc;
    }
    Scratch *s = scratch_take((size_t)argc);
    if (!s) {
        return -ENOMEM;
    }
    int kept = -1;
    i64 r = plain_path(q, path, s->path, sizeof(s->path), &kept);
    bool traced = r == 0 && is_traced(s, q, path, &kept);
    r = traced ? build_argv(t, s, q, argc, kept) : 0;
    r = traced && r == 0 ? build_env(s, q->envp) : r;
    if (traced && r == 0) {
        r = exec_scratch(t, s, q);
        /* The program is there, so it is mtvg that can't be found: another root, no /proc. */
        traced = r != -ENOENT;
    } else {
        scratch_free(s);
    }
    if (kept >= 0) {
        close(kept);
    }
    return traced ? r : exec_native(t, q);
}

/* ---- the system calls ---- */

static i64 do_exec(Thread *t, ExecRequest *q)
{
    char path[PATH_MAX];
    if ((q->flags & ~(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW)) ||
        safe_read_str(path, q->path, sizeof(path)) < 0) {
        return exec_native(t, q);
    }
    ProcKind kind = procfs_classify_path(q->dirfd, path);
    if (kind == PROC_HIDDEN_FD) {
        return -ENOENT;
    }
    bool follows = !(q->flags & AT_SYMLINK_NOFOLLOW);
    if (kind == PROC_EXE && follows) {
        procfs_exe_path(path, sizeof(path)); /* the new process is named after it */
        q->path = (u64)path;
        q->dirfd = AT_FDCWD;
    }
    if (!mt_opts.trace_children || !follows) {
        return exec_native(t, q);
    }
    return exec_traced(t, q, path);
}

i64 sys_execve(Thread *t, const u64 a[6])
{
    ExecRequest q = {.dirfd = AT_FDCWD, .path = a[0], .argv = a[1], .envp = a[2]};
    return do_exec(t, &q);
}

i64 sys_execveat(Thread *t, const u64 a[6])
{
    ExecRequest q = {
        .dirfd = (int)a[0], .path = a[1], .argv = a[2], .envp = a[3], .flags = (int)a[4]};
    return do_exec(t, &q);
}
