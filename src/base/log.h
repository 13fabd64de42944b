/* SPDX-License-Identifier: BSD-2-Clause
 * log.h -- everything mtvg says. Slow domain only, but for log_raw().
 * Lines go to the log (stderr, --log-fd, --log-file) with Valgrind's prefixes, one write(2) a line,
 * so that lines of several threads and processes don't mix. A failed write is remembered and said
 * once on stderr at exit. */
#ifndef MT_LOG_H
#define MT_LOG_H

#include "base/base.h"

#include <stdarg.h>

/* Opens the log as the options ask (--log-file with %p %q{VAR} %% expanded, --log-fd). The fd is
 * moved high and is close-on-exec. On failure prints one line and exits 1. */
void log_init(void);

/* "==PID== text": for users; dropped with -q unless important (mt_umsg_always). */
void mt_umsg(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void mt_umsg_always(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* "--PID-- text": with -v only. */
void mt_vmsg(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* "mtvg: text" to stderr, then exit(code). For bad input, before the guest runs. */
_Noreturn void mt_die(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Debug channels: --debug=jit:2,signal or --debug=all. */
enum LogChannel {
    LOG_JIT,     /* 1: translations, 2: their instructions as well */
    LOG_SYSCALL, /* 1: the guest's system calls; none takes the fast path then */
    LOG_SIGNAL,  /* 1: signals delivered to the guest */
    LOG_NCHANNELS
};
extern u8 mt_debug_level[LOG_NCHANNELS];
void log_debug(enum LogChannel c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#define MT_DEBUG(c, level, ...)                          \
    do {                                                 \
        if (MT_UNLIKELY(mt_debug_level[c] >= (level))) { \
            log_debug(c, __VA_ARGS__);                   \
        }                                                \
    } while (0)

/* Async-signal-safe: writes the bytes to the log fd. */
void log_raw(const char *s, size_t n);

/* Async-signal-safe: writes to the log and, if that is elsewhere, to stderr. Internal errors
 * only. */
void log_emergency(const char *s, size_t n);

/* The log's file descriptor (hidden from the guest); -1 if there is none (stderr was closed). */
int log_fd(void);

/* Moves a descriptor out of the guest's way: closes the old one and returns the new one
 * (close-on-exec), or returns -errno and leaves the old one. Set before log_init(); without it the
 * log moves its descriptors below the soft RLIMIT_NOFILE itself. */
extern int (*log_fd_mover)(int fd);

/* At the end of the run, once: reports on stderr if anything could not be written. */
void log_close(void);

/* Expands %p, %q{VAR} and %% of --log-file's pattern into out. 0, or -1 with *why set to a line
 * (static buffer). */
int log_expand_name(const char *pattern, int pid, char *out, size_t size, const char **why);

/* Sets the levels that a --debug specification names. 0, or -1 if it is malformed; levels of
 * channels not named are left alone. */
int log_parse_debug(const char *spec, u8 levels[LOG_NCHANNELS]);

/* In a fork's child: the new pid goes into the prefix; a --log-file with %p is reopened. */
void log_after_fork_child(void);

#endif
