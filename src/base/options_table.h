/* SPDX-License-Identifier: BSD-2-Clause
 * options_table.h -- options.def as a table, for the files that options.c is split into, and for
 * the manual page (src/gen/mkman.c). */
#ifndef MT_OPTIONS_TABLE_H
#define MT_OPTIONS_TABLE_H

#include "base/options.h"

enum { OPT_KIND_BOOL, OPT_KIND_INT, OPT_KIND_SIZE, OPT_KIND_STR, OPT_KIND_ENUM };
enum { MT_OPT_MAX_SOURCES = 3 };

typedef struct OptRow {
    const char *name, *group, *help;
    const char *meta;    /* what stands behind '=' in --help; enums: the list of values */
    const char *def_str; /* strings */
    size_t offset;       /* of the field in Options */
    int kind;            /* OPT_KIND_* */
    i64 def, min, max;
} OptRow;

extern const OptRow mt_opt_rows[];
extern const int mt_opt_nrows;

/* The groups that --help shows, in its order. */
typedef struct OptGroup {
    const char *group, *title;
} OptGroup;

extern const OptGroup mt_opt_groups[];
extern const int mt_opt_ngroups;

/* The default value, as a user would write it ("128M"; "none" for no string), cut at `size`
 * bytes. */
void options_default_text(const OptRow *row, char *buf, size_t size);

/* Word number `index` of "a|b|c" and its length, or NULL. */
const char *options_enum_word(const char *list, int index, size_t *len);

#endif
