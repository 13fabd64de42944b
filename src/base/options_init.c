/* SPDX-License-Identifier: BSD-2-Clause
 * options_init.c -- the command line: where the words come from.
 * Role:       reads the rc files and the environment, reports errors, prints help and version.
 * Invariants: I1. an rc file counts only if nobody but its owner, the effective user, can have
 *                 written it: a stranger's ./.mtvgrc could otherwise name files to overwrite. */
#include "base/options_table.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { RC_MAX_BYTES = 64 * 1024 };

/* Why the file may not be used, or NULL. */
static const char *rc_distrust(const struct stat *st)
{
    if (!S_ISREG(st->st_mode)) {
        return "it is not a regular file";
    }
    if (st->st_uid != geteuid()) {
        return "it belongs to somebody else";
    }
    if (st->st_mode & S_IWOTH) {
        return "everybody may write it";
    }
    return st->st_size > RC_MAX_BYTES ? "it is too large" : NULL;
}

/* At most RC_MAX_BYTES, NUL-terminated, malloc'ed; NULL and errno. */
static char *read_text(int fd)
{
    char *text = malloc(RC_MAX_BYTES + 1);
    size_t n = 0;
    while (text && n < RC_MAX_BYTES) {
        ssize_t r = read(fd, text + n, RC_MAX_BYTES - n);
        if (r < 0 && errno != EINTR) {
            free(text);
            return NULL;
        }
        if (r == 0) {
            break;
        }
        n += r > 0 ? (size_t)r : 0;
    }
    if (text) {
        /* A NUL byte inside would hide what follows it. */
        for (size_t i = 0; i < n; i++) {
            text[i] = text[i] ? text[i] : '?';
        }
        text[n] = '\0';
    }
    return text;
}

char *options_read_rc(const char *path, bool follow, u64 dev_ino[2], const char **why)
{
    struct stat st;
    *why = NULL;
    int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | (follow ? 0 : O_NOFOLLOW);
    int fd = open(path, flags);
    if (fd < 0) {
        *why = errno == ENOENT  ? NULL
               : errno == ELOOP ? "it is not a regular file"
                                : strerror(errno);
        return NULL;
    }
    char *text = NULL;
    if (fstat(fd, &st)) {
        *why = strerror(errno);
    } else {
        *why = rc_distrust(&st);
        dev_ino[0] = st.st_dev;
        dev_ino[1] = st.st_ino;
        if (!*why && !(text = read_text(fd))) {
            *why = strerror(errno);
        }
    }
    close(fd);
    return text;
}

/* Its texts are part of mt_opts from options_init() on. */
static struct {
    OptSource sources[MT_OPT_MAX_SOURCES];
    int n;
    char warnings[2][4200];
    int nwarnings;
} rc;

/* `other` is the file read before: one that is both is read once. */
static void add_rc(const char *path, bool follow, u64 id[2], const u64 other[2])
{
    const char *why;
    char *text = options_read_rc(path, follow, id, &why);
    if (id[1] && id[0] == other[0] && id[1] == other[1]) {
        free(text);
        return;
    }
    if (why) {
        snprintf(rc.warnings[rc.nwarnings++], sizeof(rc.warnings[0]),
                 "mtvg: warning: %s is ignored: %s\n", path, why);
    }
    if (text) {
        rc.sources[rc.n++] = (OptSource){.name = strdup(path), .text = text};
    }
}

static void gather(void)
{
    u64 home_id[2] = {0, 0}, cwd_id[2] = {0, 0};
    const u64 none[2] = {0, 0};
    const char *home = getenv("HOME");
    char path[4096];
    if (home && *home && (size_t)snprintf(path, sizeof(path), "%s/.mtvgrc", home) < sizeof(path)) {
        add_rc(path, true, home_id, none);
    }
    const char *env = getenv("MTVG_OPTS");
    if (env) {
        rc.sources[rc.n++] = (OptSource){.name = "$MTVG_OPTS", .text = strdup(env)};
    }
    add_rc("./.mtvgrc", false, cwd_id, home_id);
}

static _Noreturn void print_and_exit(const Options *o)
{
    int err;
    if (o->want_help) {
        err = options_print_help(STDOUT_FILENO);
    } else {
        errno = 0;
        err = dprintf(STDOUT_FILENO, "mtvg-%s\n", MT_VERSION) < 0 ? -errno : 0;
    }
    if (err) {
        mt_die(1, "cannot write to stdout: %s", strerror(-err));
    }
    exit(0);
}

void options_each_source(void (*fn)(const char *name, const char *words, int n))
{
    for (int i = 0; i < rc.n; i++) {
        fn(rc.sources[i].name, rc.sources[i].text, rc.sources[i].words);
    }
}

void options_init(int argc, char **argv)
{
    const char *err;
    int bad = options_parse(&mt_opts, argc, argv, &err);
    /* --help and --version work with a broken rc file, too. */
    if (!bad && (mt_opts.want_help || mt_opts.want_version)) {
        print_and_exit(&mt_opts);
    }
    gather();
    for (int i = 0; i < rc.n; i++) {
        if (!rc.sources[i].text || !rc.sources[i].name) {
            mt_die(1, "out of memory");
        }
    }
    bad = options_parse_sources(&mt_opts, rc.sources, rc.n, argc, argv, &err);
    for (int i = 0; i < rc.nwarnings && mt_opts.verbosity >= 2; i++) {
        fputs(rc.warnings[i], stderr);
    }
    if (bad) {
        mt_die(1, "%s", err);
    }
    if (mt_opts.want_help || mt_opts.want_version) {
        print_and_exit(&mt_opts);
    }
}
