/* SPDX-License-Identifier: BSD-2-Clause
 * log.c -- everything mtvg says.
 * Role:       owns the log's descriptor and the prefixes; knows nothing of who speaks.
 * Invariants: L1. a message is one write(2), so messages of threads and processes do not mix (files
 *                 are opened O_APPEND).
 *             L2. a write never raises SIGPIPE or SIGXFSZ in the guest.
 *             L3. nothing here allocates or takes a lock: a fork's child may log at once.
 *             L4. errno is as before after every message.
 * Locking:    none. What is written after log_init(): `log.error`, relaxed, the first one stays;
 *             and everything in log_after_fork_child(), where there is one thread.
 * Signals:    log_raw() and log_emergency() may be called in host signal handlers. */
#include "base/log.h"

#include "base/options.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 4608, PREFIX_MAX_BYTES = 64 };

static struct {
    int fd;     /* where messages go; -1: nowhere */
    int err_fd; /* a copy of stderr if fd is something else, else -1 */
    int pid;    /* for the prefix */
    bool is_open, is_file, name_has_pid;
    int error;           /* first failed write's errno, 0 if none */
    int refused;         /* errno, if a traced child could not open the log: it goes on without */
    char dir[PATH_MAX];  /* working directory at the start, for a relative name in a child */
    char name[PATH_MAX]; /* the file's name as expanded */
} log = {.fd = STDERR_FILENO, .err_fd = -1};

int (*log_fd_mover)(int fd);

u8 mt_debug_level[LOG_NCHANNELS];
static const char *const channel_names[LOG_NCHANNELS] = {
    [LOG_JIT] = "jit",
    [LOG_SYSCALL] = "syscall",
    [LOG_SIGNAL] = "signal",
};

/* ---- writing ---- */

/* Writes all of it; 0 or an errno value. A full pipe whose reader set O_NONBLOCK is waited for. */
static int write_all(int fd, const char *s, size_t n)
{
    while (n) {
        ssize_t r = write(fd, s, n);
        if (r > 0) {
            s += r;
            n -= (size_t)r;
        } else if (r < 0 && errno == EAGAIN) {
            struct pollfd p = {.fd = fd, .events = POLLOUT};
            poll(&p, 1, -1);
        } else if (r < 0 && errno != EINTR) {
            return errno;
        } else if (r == 0) {
            return EIO;
        }
    }
    return 0;
}

/* L2: the signals that a write may raise are blocked, and taken back if this write raised one.
 * Plain system calls: glibc's would change what the mask says about its own two signals, which are
 * the guest's as well. */
static int write_quietly(int fd, const char *s, size_t n)
{
    u64 quiet = 1ull << (SIGPIPE - 1) | 1ull << (SIGXFSZ - 1);
    u64 before = 0, pending = 0;
    syscall(SYS_rt_sigprocmask, SIG_BLOCK, &quiet, &before, sizeof(quiet));
    syscall(SYS_rt_sigpending, &pending, sizeof(pending));
    int err = write_all(fd, s, n);
    int raised = err == EPIPE ? SIGPIPE : err == EFBIG ? SIGXFSZ : 0;
    u64 one = raised ? 1ull << (raised - 1) : 0;
    if (one & ~pending) {
        struct timespec now = {0, 0};
        while (syscall(SYS_rt_sigtimedwait, &one, NULL, &now, sizeof(one)) < 0 && errno == EINTR) {
        }
    }
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, NULL, sizeof(before));
    return err;
}

void log_raw(const char *s, size_t n)
{
    int saved = errno;
    /* A reader that has gone does not come back; a full disk may get room again. */
    if (log.fd >= 0 && __atomic_load_n(&log.error, __ATOMIC_RELAXED) != EPIPE) {
        int err = write_quietly(log.fd, s, n);
        if (err) {
            /* Relaxed: only the value matters, to log_close(). */
            __atomic_store_n(&log.error, err, __ATOMIC_RELAXED);
        }
    } else if (log.fd < 0 && log.refused != 0) {
        __atomic_store_n(&log.error, log.refused, __ATOMIC_RELAXED);
    }
    errno = saved;
}

void log_emergency(const char *s, size_t n)
{
    log_raw(s, n);
    if (log.err_fd >= 0) {
        write_quietly(log.err_fd, s, n);
    }
}

/* Writes `text`, each of its lines behind `prefix`, in one write (L1) unless it is very long. */
static void put_lines(const char *prefix, const char *text, size_t len)
{
    char out[LINE_MAX_BYTES + PREFIX_MAX_BYTES];
    size_t plen = strlen(prefix), n = 0;
    do {
        const char *end = memchr(text, '\n', len);
        size_t line = end ? (size_t)(end - text) : len;
        if (n + plen + line + 1 > sizeof(out)) {
            log_raw(out, n);
            n = 0;
        }
        memcpy(out + n, prefix, plen);
        memcpy(out + n + plen, text, line);
        n += plen + line;
        out[n++] = '\n';
        text += end ? line + 1 : line;
        len -= end ? line + 1 : line;
    } while (len);
    log_raw(out, n);
}

static void put_formatted(const char *prefix, const char *fmt, va_list ap)
{
    int saved = errno;
    char text[LINE_MAX_BYTES];
    int n = vsnprintf(text, sizeof(text), fmt, ap);
    if (n >= 0) {
        size_t len = (size_t)n;
        if (len >= sizeof(text)) {
            len = sizeof(text) - 1;
            memcpy(text + len - 3, "...", 3);
        }
        put_lines(prefix, text, len);
    }
    errno = saved;
}

/* ---- messages ---- */

static int prefix_pid(void)
{
    return log.pid ? log.pid : (int)getpid();
}

#define WITH_PREFIX(...)                               \
    do {                                               \
        char prefix[PREFIX_MAX_BYTES];                 \
        snprintf(prefix, sizeof(prefix), __VA_ARGS__); \
        va_list ap;                                    \
        va_start(ap, fmt);                             \
        put_formatted(prefix, fmt, ap);                \
        va_end(ap);                                    \
    } while (0)

void mt_umsg(const char *fmt, ...)
{
    if (mt_opts.verbosity >= 1) {
        WITH_PREFIX("==%d== ", prefix_pid());
    }
}

void mt_umsg_always(const char *fmt, ...)
{
    WITH_PREFIX("==%d== ", prefix_pid());
}

void mt_vmsg(const char *fmt, ...)
{
    if (mt_opts.verbosity >= 2) {
        WITH_PREFIX("--%d-- ", prefix_pid());
    }
}

void log_debug(enum LogChannel c, const char *fmt, ...)
{
    WITH_PREFIX("--%d-- %s[%ld]: ", prefix_pid(), channel_names[c], syscall(SYS_gettid));
}

void mt_die(int code, const char *fmt, ...)
{
    char text[LINE_MAX_BYTES];
    int n = snprintf(text, sizeof(text), "mtvg: ");
    va_list ap;
    va_start(ap, fmt);
    int m = vsnprintf(text + n, sizeof(text) - (size_t)n - 1, fmt, ap);
    va_end(ap);
    size_t room = sizeof(text) - 2;
    size_t len = m < 0 ? (size_t)n : (size_t)n + (size_t)m < room ? (size_t)n + (size_t)m : room;
    text[len++] = '\n';
    write_quietly(log.err_fd >= 0 ? log.err_fd : STDERR_FILENO, text, len);
    exit(code);
}

/* ---- opening ---- */

/* Moves fd out of the guest's way; keeps it where it is if that is impossible. */
static int move_high(int fd)
{
    int high = -1;
    if (log_fd_mover) {
        high = log_fd_mover(fd);
    } else {
        struct rlimit lim;
        if (getrlimit(RLIMIT_NOFILE, &lim) == 0 && lim.rlim_cur > 32) {
            rlim_t top = lim.rlim_cur < (1 << 20) ? lim.rlim_cur : (1 << 20);
            high = fcntl(fd, F_DUPFD_CLOEXEC, (int)top - 16);
        }
        if (high >= 0) {
            close(fd);
        }
    }
    if (high >= 0) {
        return high;
    }
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    return fd;
}

static bool fd_is_writable(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && (flags & O_ACCMODE) != O_RDONLY && !(flags & O_PATH);
}

/* A private copy of a descriptor, out of the guest's way; -1 if there is nothing to copy. */
static int private_copy(int fd)
{
    int copy = fd_is_writable(fd) ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;
    return copy < 0 ? -1 : move_high(copy);
}

/* Appends n bytes of s, keeping room for a NUL. */
static bool append(char *out, size_t size, size_t *pos, const char *s, size_t n)
{
    if (n >= size - *pos) {
        return false;
    }
    memcpy(out + *pos, s, n);
    *pos += n;
    out[*pos] = '\0';
    return true;
}

/* Expands the specifier behind a '%' at p. Returns how many characters of the pattern it took, or 0
 * with *why set. */
static size_t expand_one(const char *p, int pid, char *out, size_t size, size_t *pos,
                         const char **why)
{
    static char line[256];
    static const char too_long[] = "the name is too long";
    char buf[128];
    if (*p == '%' || *p == 'p') {
        int n = *p == '%' ? snprintf(buf, sizeof(buf), "%%")
                          : snprintf(buf, sizeof(buf), "%d", pid);
        *why = too_long;
        return append(out, size, pos, buf, (size_t)n) ? 1 : 0;
    }
    const char *end = p[0] == 'q' && p[1] == '{' ? strchr(p, '}') : NULL;
    if (!end || end == p + 2 || (size_t)(end - p - 2) >= sizeof(buf)) {
        snprintf(line, sizeof(line), "%%%.20s: only %%p, %%q{VARIABLE} and %%%% are known", p);
        *why = line;
        return 0;
    }
    memcpy(buf, p + 2, (size_t)(end - p - 2));
    buf[end - p - 2] = '\0';
    const char *value = getenv(buf);
    if (!value) {
        snprintf(line, sizeof(line), "the environment variable %s is not set", buf);
        *why = line;
        return 0;
    }
    *why = too_long;
    return append(out, size, pos, value, strlen(value)) ? (size_t)(end - p) + 1 : 0;
}

int log_expand_name(const char *pattern, int pid, char *out, size_t size, const char **why)
{
    size_t pos = 0;
    out[0] = '\0';
    while (*pattern) {
        if (*pattern == '%') {
            size_t n = expand_one(pattern + 1, pid, out, size, &pos, why);
            if (!n) {
                return -1;
            }
            pattern += n + 1;
        } else {
            if (!append(out, size, &pos, pattern, 1)) {
                *why = "the name is too long";
                return -1;
            }
            pattern++;
        }
    }
    return 0;
}

static bool has_pid_specifier(const char *pattern)
{
    for (const char *p = strchr(pattern, '%'); p && p[1]; p = strchr(p + 2, '%')) {
        if (p[1] == 'p') {
            return true;
        }
    }
    return false;
}

static int open_file(const char *name)
{
    return open(name, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOCTTY, 0666);
}

/* A program that a traced one executes may have other rights, another root, or no such variable or
 * descriptor. It runs, as natively; log_close() says so if there were messages. */
static bool may_be_refused(void)
{
    return mt_opts.exec_argv0 != NULL;
}

static void init_file(const char *pattern)
{
    const char *why;
    bool bad = log_expand_name(pattern, log.pid, log.name, sizeof(log.name), &why) != 0;
    if (bad && !may_be_refused()) {
        mt_die(1, "bad --log-file '%s': %s", pattern, why);
    }
    int fd = bad ? -1 : open_file(log.name);
    log.refused = bad ? EINVAL : fd < 0 ? errno : 0;
    if (fd < 0 && !may_be_refused()) {
        mt_die(1, "cannot write to the log file '%s': %s", log.name, strerror(errno));
    }
    if (!getcwd(log.dir, sizeof(log.dir))) {
        log.dir[0] = '\0';
    }
    log.err_fd = private_copy(STDERR_FILENO);
    log.fd = fd >= 0 ? move_high(fd) : -1;
    log.is_file = true;
    log.name_has_pid = has_pid_specifier(pattern);
}

void log_init(void)
{
    log.pid = (int)getpid();
    if (mt_opts.debug) {
        log_parse_debug(mt_opts.debug, mt_debug_level);
    }
    if (mt_opts.log_file) {
        init_file(mt_opts.log_file);
    } else {
        int from = (int)mt_opts.log_fd;
        log.fd = private_copy(from);
        /* A program started with stderr closed runs on without messages. */
        log.refused = log.fd < 0 && from != STDERR_FILENO ? EBADF : 0;
        if (log.refused != 0 && !may_be_refused()) {
            mt_die(1, "cannot write to --log-fd=%d: it is not open for writing", from);
        }
        if (from != STDERR_FILENO) {
            log.err_fd = private_copy(STDERR_FILENO);
        }
    }
    log.is_open = true;
}

int log_fd(void)
{
    return log.fd;
}

void log_close(void)
{
    int err = __atomic_exchange_n(&log.error, 0, __ATOMIC_RELAXED);
    if (err && log.is_open) {
        char text[PATH_MAX + 256];
        int n = snprintf(text, sizeof(text),
                         "mtvg: warning: messages are lost, cannot write to %s: %s\n",
                         log.is_file ? log.name : "the log", strerror(err));
        write_quietly(log.err_fd >= 0 ? log.err_fd : log.fd, text, (size_t)n);
    }
}

/* Puts fd in place of the log's descriptor, which may lie above the soft limit (or above what the
 * guest has made of it): the limit is raised for the moment. There is one thread. */
static void replace_fd(int fd)
{
    struct rlimit lim;
    if (dup3(fd, log.fd, O_CLOEXEC) < 0 && getrlimit(RLIMIT_NOFILE, &lim) == 0) {
        struct rlimit raised = {.rlim_cur = (rlim_t)log.fd + 1, .rlim_max = lim.rlim_max};
        if (setrlimit(RLIMIT_NOFILE, &raised) == 0) {
            dup3(fd, log.fd, O_CLOEXEC);
            setrlimit(RLIMIT_NOFILE, &lim);
        }
    }
    close(fd);
}

/* Opens the child's own file in place of the parent's: same descriptor number, so it stays
 * hidden. */
static void reopen_for_child(void)
{
    char path[2 * PATH_MAX + 1];
    const char *why;
    if (log_expand_name(mt_opts.log_file, log.pid, log.name, sizeof(log.name), &why) ||
        (log.name[0] != '/' && !log.dir[0])) {
        return;
    }
    /* The program may have changed its working directory. */
    snprintf(path, sizeof(path), "%s%s%s", log.name[0] == '/' ? "" : log.dir,
             log.name[0] == '/' ? "" : "/", log.name);
    int fd = open_file(path); /* if it can't be, the parent's is written to */
    if (fd >= 0 && log.fd >= 0) {
        replace_fd(fd);
    } else if (fd >= 0) {
        log.fd = move_high(fd);
    }
}

void log_after_fork_child(void)
{
    int saved = errno;
    log.pid = (int)getpid();
    log.error = 0;
    if (log.is_file && log.name_has_pid) {
        reopen_for_child();
    }
    errno = saved;
}

/* ---- --debug ---- */

/* One "channel" or "channel:level" of n characters. */
static bool parse_channel(const char *s, size_t n, u8 levels[LOG_NCHANNELS])
{
    const char *colon = memchr(s, ':', n);
    size_t name = colon ? (size_t)(colon - s) : n;
    u8 level = 1;
    if (colon) {
        if (n != name + 2 || colon[1] < '0' || colon[1] > '9') {
            return false;
        }
        level = (u8)(colon[1] - '0');
    }
    bool all = name == 3 && memcmp(s, "all", 3) == 0;
    bool found = all;
    for (int i = 0; i < LOG_NCHANNELS; i++) {
        if (all || (strlen(channel_names[i]) == name && memcmp(s, channel_names[i], name) == 0)) {
            levels[i] = level;
            found = true;
        }
    }
    return found;
}

int log_parse_debug(const char *spec, u8 levels[LOG_NCHANNELS])
{
    for (;;) {
        size_t n = strcspn(spec, ",");
        if (!parse_channel(spec, n, levels)) {
            return -1;
        }
        if (!spec[n]) {
            return 0;
        }
        spec += n + 1;
    }
}
