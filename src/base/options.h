/* SPDX-License-Identifier: BSD-2-Clause
 * options.h -- the command line. options.def is the one table: parser, help and struct come from it.
 * Sources in order: ~/.mtvgrc, $MTVG_OPTS, ./.mtvgrc, the command line; the last wins. */
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
    int verbosity; /* 1; -q lowers it, -v raises it */
    char **guest_argv; /* program and its arguments, NULL-ended */
    int argc_own;      /* how many of argv's words are mtvg's own (incl. argv[0]) */
} Options;

extern Options mt_opts;

/* Values of enum options, in the order of their "a|b|c" lists. */
enum { TOOL_NONE, TOOL_LACKEY };
enum { FAIR_NO, FAIR_YES, FAIR_TRY };

/* Parses all sources; prints help or version and exits 0, or one line and exits 1. */
void options_init(int argc, char **argv);

/* The same without exits and without files, for tests and fuzzing: 0, or -1 with *err set to a line
 * (static buffer). */
int options_parse(Options *o, int argc, char **argv, const char **err);

#endif
