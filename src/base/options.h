/* SPDX-License-Identifier: BSD-2-Clause
 * options.h -- the command line. options.def is the one table: parser, help and struct come from
 * it. Sources in order: ~/.mtvgrc, $MTVG_OPTS, ./.mtvgrc, the command line; the last wins. */
#ifndef MT_OPTIONS_H
#define MT_OPTIONS_H

#include "base/base.h"

typedef struct Options {
#define OPT_BOOL(field, name, def, group, help) bool field;
#define OPT_INT(field, name, def, min, max, group, help) i64 field;
#define OPT_SIZE(field, name, def, min, max, group, help) u64 field;
#define OPT_STR(field, name, def, meta, group, help) const char *field;
#define OPT_ENUM(field, name, def, values, group, help) int field;
#include "base/options.def"
    int verbosity;     /* 1; -q lowers it, -v raises it */
    char **guest_argv; /* program and its arguments, NULL-ended */
    int argc_own;      /* how many of argv's words are mtvg's own (incl. argv[0]) */
    bool want_help, want_version;
} Options;

extern Options mt_opts;

/* Values of enum options, in the order of their "a|b|c" lists. */
enum { TOOL_NONE, TOOL_LACKEY };
enum { FAIR_NO, FAIR_YES, FAIR_TRY };
enum { IB_INDEX_AUTO, IB_INDEX_PEXT, IB_INDEX_WORD };
enum { IB_CHECK_AUTO, IB_CHECK_LOOP, IB_CHECK_JRCXZ };
enum { EXITS_COLD, EXITS_NEAR };
enum { DECODER_SHAPES, DECODER_FULL };
enum { RETURN_STACK_NO, RETURN_STACK_YES, RETURN_STACK_AUTO };

/* Parses all sources; prints help or version and exits 0, or one line and exits 1. */
void options_init(int argc, char **argv);

/* The same without exits and without files, for tests and fuzzing: 0, or -1 with *err set to a line
 * (static buffer). Strings in *o point into argv. */
int options_parse(Options *o, int argc, char **argv, const char **err);

/* A list of words that come before the command line: $MTVG_OPTS or the text of an rc file. */
typedef struct OptSource {
    const char *name; /* for messages */
    char *text;       /* words are cut out of it in place, and strings in Options point into it */
    int words;        /* how many have been cut out */
} OptSource;

/* options_parse() with sources read earlier, weakest first. */
int options_parse_sources(Options *o, OptSource *sources, int nsources, int argc, char **argv,
                          const char **err);

/* Reads an rc file if it may be trusted: a regular file of the effective user that is not
 * world-writable; a symbolic link is one only if `follow`. Returns its text (malloc'ed), or NULL
 * with *why telling what is wrong with it (static buffer), or NULL and *why NULL if there is none.
 * *dev_ino tells which file it is. */
char *options_read_rc(const char *path, bool follow, u64 dev_ino[2], const char **why);

/* Calls fn for each source that options_init() has read, weakest first: n words, one behind the
 * other, each ended by a NUL. */
void options_each_source(void (*fn)(const char *name, const char *words, int n));

/* Prints --help to `fd`; 0, or -errno. */
int options_print_help(int fd);

#endif
