/* SPDX-License-Identifier: BSD-2-Clause
 * fuzz_options.c -- the options parser takes any words and any text. */
/* layers: mt_base */
#include "base/log.h"
#include "base/options.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Random bytes hardly ever make an option, so bytes from 0x80 on stand for pieces of real ones. */
static const char *const pieces[] = {
    "--tool=",
    "none",
    "lackey",
    "--lackey:",
    "trace-mem",
    "=yes",
    "=no",
    "--",
    "--stats",
    "--debug=",
    "jit:2",
    ",",
    "all",
    "--stress=",
    "flush",
    "regs",
    "--log-fd=",
    "0x10",
    "99999999999999999999",
    "K",
    "G",
    "M",
    "--code-cache-size=",
    "--max-insns=",
    "-1",
    "-q",
    "-v",
    "-h",
    "--log-file=",
    "%p",
    "%q{HOME}",
    "%q{",
    "%%",
    "'",
    "\"",
    "#",
    "\n",
    " ",
    "=",
    ":",
    "--sched-seed=",
    "random",
    "--fair-sched=",
    "try",
    "--memcheck:leak-check=yes",
    "--version",
    "--help",
    "prog",
};

static char *expand(const uint8_t *data, size_t size)
{
    char *text = malloc(size * 32 + 1), *p = text;
    if (!text) {
        abort();
    }
    for (size_t i = 0; i < size; i++) {
        if (data[i] >= 0x80) {
            p = stpcpy(p, pieces[data[i] % MT_ARRAY_SIZE(pieces)]);
        } else if (data[i]) {
            *p++ = (char)data[i];
        } else {
            *p++ = '\n';
        }
    }
    *p = '\0';
    return text;
}

static void check(int rc, const Options *o, const char *err, int argc)
{
    if ((rc != 0) != (err != NULL) || (err && (!*err || strchr(err, '\n')))) {
        abort();
    }
    if (rc == 0 && (o->argc_own > argc || o->verbosity < 0 || o->max_insns < 1 ||
                    (!o->guest_argv && !o->want_help && !o->want_version))) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = expand(data, size), *copy = strdup(text);
    char *argv[68] = {"mtvg"};
    int argc = 1;
    const char *err;
    Options o;
    if (!copy) {
        abort();
    }
    /* As an rc file... */
    char *fixed[] = {"mtvg", "prog", NULL};
    OptSource source = {.name = "rc", .text = copy};
    int rc = options_parse_sources(&o, &source, 1, 2, fixed, &err);
    check(rc, &o, err, 2);
    /* ...and as a command line: one word a line. */
    for (char *p = text; argc < 66; p++) {
        argv[argc++] = p;
        p += strcspn(p, "\n");
        if (!*p) {
            break;
        }
        *p = '\0';
    }
    argv[argc] = NULL;
    rc = options_parse(&o, argc, argv, &err);
    check(rc, &o, err, argc);
    if (!err && o.log_file) {
        char name[64];
        const char *why = NULL;
        if (log_expand_name(o.log_file, 1234, name, sizeof(name), &why) && !why) {
            abort();
        }
    }
    free(copy);
    free(text);
    return 0;
}
