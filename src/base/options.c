/* SPDX-License-Identifier: BSD-2-Clause
 * options.c -- the command line: parser.
 * Role:       words to Options. Where words come from is options_init.c's business, --help is
 *             options_help.c's; what an option means is nobody's here.
 * Invariants: O1. parsing depends on its arguments only: no files, no environment, no output.
 *             O2. the tool is known before the first option is applied, so "--lackey:name" and the
 *                 tools' own options can be told apart wherever --tool= stands.
 * Locking:    none; runs before there are threads. */
#include "base/options_table.h"

#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The defaults from the start on, so that modules work in programs that parse no options. */
Options mt_opts = {
#define OPT_BOOL(field, name, def, group, help) .field = (def),
#define OPT_INT(field, name, def, min, max, group, help) .field = (def),
#define OPT_SIZE(field, name, def, min, max, group, help) .field = (def),
#define OPT_STR(field, name, def, meta, group, help) .field = (def),
#define OPT_ENUM(field, name, def, values, group, help) .field = (def),
#include "base/options.def"
    .verbosity = 1,
};

const OptRow mt_opt_rows[] = {
#define OPT_BOOL(field, name, def, group, help) \
    {name, group, help, "no|yes", NULL, offsetof(Options, field), OPT_KIND_BOOL, def, 0, 1},
#define OPT_INT(field, name, def, min, max, group, help) \
    {name, group, help, "N", NULL, offsetof(Options, field), OPT_KIND_INT, def, min, max},
#define OPT_SIZE(field, name, def, min, max, group, help) \
    {name, group, help, "SIZE", NULL, offsetof(Options, field), OPT_KIND_SIZE, def, min, max},
#define OPT_STR(field, name, def, meta, group, help) \
    {name, group, help, meta, def, offsetof(Options, field), OPT_KIND_STR, 0, 0, 0},
#define OPT_ENUM(field, name, def, values, group, help) \
    {name, group, help, values, NULL, offsetof(Options, field), OPT_KIND_ENUM, def, 0, 0},
#include "base/options.def"
};
const int mt_opt_nrows = MT_ARRAY_SIZE(mt_opt_rows);

static char error_line[512];

__attribute__((format(printf, 1, 2))) static int fail(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(error_line, sizeof(error_line), fmt, ap);
    va_end(ap);
    /* One line, whatever the words contained. */
    for (char *p = error_line; *p; p++) {
        if ((unsigned char)*p < ' ' || *p == 127) {
            *p = '?';
        }
    }
    return -1;
}

/* ---- values ---- */

const char *options_enum_word(const char *list, int index, size_t *len)
{
    for (;; index--) {
        *len = strcspn(list, "|");
        if (index == 0) {
            return list;
        }
        if (!list[*len]) {
            return NULL;
        }
        list += *len + 1;
    }
}

/* Position of `word` (n bytes) in "a|b|c", or -1. */
static int enum_index(const char *list, const char *word, size_t n)
{
    size_t len;
    const char *w;
    for (int i = 0; (w = options_enum_word(list, i, &len)); i++) {
        if (len == n && memcmp(w, word, n) == 0) {
            return i;
        }
    }
    return -1;
}

/* A whole number in base 10, 16 (0x) or 8 (0) up to *end. */
static bool parse_u64(const char *s, u64 *out, const char **end)
{
    if (*s < '0' || *s > '9') {
        return false;
    }
    char *stop;
    errno = 0;
    *out = strtoull(s, &stop, 0);
    *end = stop;
    return errno == 0;
}

static bool parse_int(const char *s, i64 *out)
{
    bool negative = *s == '-';
    u64 n;
    const char *end;
    if (!parse_u64(s + negative, &n, &end) || *end || n > (u64)INT64_MAX) {
        return false;
    }
    *out = negative ? -(i64)n : (i64)n;
    return true;
}

static bool parse_size(const char *s, u64 *out)
{
    const char *end;
    if (!parse_u64(s, out, &end)) {
        return false;
    }
    int shift = 0;
    switch (*end) {
    case 'k':
    case 'K': shift = 10; break;
    case 'm':
    case 'M': shift = 20; break;
    case 'g':
    case 'G': shift = 30; break;
    default: break;
    }
    if (end[shift != 0] || *out > UINT64_MAX >> shift) {
        return false;
    }
    *out <<= shift;
    return true;
}

/* ---- string options with a grammar of their own ---- */

static bool check_debug(const char *s)
{
    u8 levels[LOG_NCHANNELS];
    return log_parse_debug(s, levels) == 0;
}

static bool check_stress(const char *s)
{
    for (;;) {
        size_t n = strcspn(s, ",");
        if (enum_index("flush|regs|preempt|world|gs", s, n) < 0) {
            return false;
        }
        if (!s[n]) {
            return true;
        }
        s += n + 1;
    }
}

static bool check_number(const char *s)
{
    u64 n;
    const char *end;
    return parse_u64(s, &n, &end) && !*end;
}

static bool check_seed(const char *s)
{
    return strcmp(s, "random") == 0 || check_number(s);
}

static const struct {
    size_t offset;
    bool (*valid)(const char *);
} checks[] = {
    {offsetof(Options, debug), check_debug},
    {offsetof(Options, stress), check_stress},
    {offsetof(Options, stress_seed), check_number},
    {offsetof(Options, sched_seed), check_seed},
};

static bool str_is_valid(const OptRow *row, const char *value)
{
    for (size_t i = 0; i < MT_ARRAY_SIZE(checks); i++) {
        if (checks[i].offset == row->offset) {
            return checks[i].valid(value);
        }
    }
    return true;
}

/* ---- options ---- */

static void set_defaults(Options *o)
{
    memset(o, 0, sizeof(*o));
    o->verbosity = 1;
    for (int i = 0; i < mt_opt_nrows; i++) {
        const OptRow *row = &mt_opt_rows[i];
        void *field = (char *)o + row->offset;
        switch (row->kind) {
        case OPT_KIND_BOOL: *(bool *)field = row->def != 0; break;
        case OPT_KIND_INT: *(i64 *)field = row->def; break;
        case OPT_KIND_SIZE: *(u64 *)field = (u64)row->def; break;
        case OPT_KIND_STR: *(const char **)field = row->def_str; break;
        case OPT_KIND_ENUM: *(int *)field = (int)row->def; break;
        }
    }
}

/* A word of the command line or of a source, on its way into Options. */
typedef struct Word {
    const char *text;
    const char *source; /* NULL: the command line */
} Word;

static const char *where(const Word *w, char buf[128])
{
    buf[0] = '\0';
    if (w->source) {
        snprintf(buf, 128, " in %s", w->source);
    }
    return buf;
}

static int fail_value(const Word *w, const OptRow *row, const char *value)
{
    char in[128];
    char range[64] = "";
    if (row->kind == OPT_KIND_INT || row->kind == OPT_KIND_SIZE) {
        snprintf(range, sizeof(range), ", N from %lld to %lld", (long long)row->min,
                 (long long)row->max);
    }
    const char *meta = row->kind == OPT_KIND_SIZE ? "N[K|M|G]" : row->meta;
    if (!value) {
        return fail("option '--%s'%s needs a value: --%s=%s%s", row->name, where(w, in), row->name,
                    meta, range);
    }
    return fail("bad value '%.100s'%s: --%s=%s%s", value, where(w, in), row->name, meta, range);
}

/* Sets one option; `value` is NULL if there was no '='. */
static int apply(Options *o, const OptRow *row, const Word *w, const char *value)
{
    void *field = (char *)o + row->offset;
    i64 n = 0;
    u64 size = 0;
    bool good = value && *value;
    switch (row->kind) {
    case OPT_KIND_BOOL:
        n = value ? enum_index(row->meta, value, strlen(value)) : 1;
        good = n >= 0;
        break;
    case OPT_KIND_ENUM:
        n = good ? enum_index(row->meta, value, strlen(value)) : -1;
        good = n >= 0;
        break;
    case OPT_KIND_INT: good = good && parse_int(value, &n) && n >= row->min && n <= row->max; break;
    case OPT_KIND_SIZE:
        good = good && parse_size(value, &size) && size >= (u64)row->min && size <= (u64)row->max;
        break;
    case OPT_KIND_STR:
        /* An argv[0] may be empty. */
        good = (good || (value && field == &o->exec_argv0)) && str_is_valid(row, value);
        break;
    }
    if (!good) {
        return fail_value(w, row, value);
    }
    switch (row->kind) {
    case OPT_KIND_BOOL: *(bool *)field = n != 0; break;
    case OPT_KIND_ENUM: *(int *)field = (int)n; break;
    case OPT_KIND_INT: *(i64 *)field = n; break;
    case OPT_KIND_SIZE: *(u64 *)field = size; break;
    case OPT_KIND_STR: *(const char **)field = value; break;
    }
    if (row->offset == offsetof(Options, log_fd)) {
        o->log_file = NULL; /* the last one says where messages go */
    }
    return 0;
}

static const OptRow *find_row(const char *name, size_t n)
{
    for (int i = 0; i < mt_opt_nrows; i++) {
        if (strlen(mt_opt_rows[i].name) == n && memcmp(mt_opt_rows[i].name, name, n) == 0) {
            return &mt_opt_rows[i];
        }
    }
    return NULL;
}

static const char *tool_list(void)
{
    return find_row("tool", 4)->meta;
}

/* Is the option for this run? "--lackey:name=value" is for --tool=lackey only. Moves *name behind
 * the prefix. Returns 1, 0 (not for this run), or -1 with an error. */
static int strip_prefix(const Options *o, const Word *w, const char **name)
{
    size_t n = strcspn(*name, ":=");
    if ((*name)[n] != ':') {
        return 1;
    }
    int tool = enum_index(tool_list(), *name, n);
    if (tool < 0 && !w->source) {
        return fail("unknown tool '%.*s' in option '%.100s' (see mtvg --help)",
                    (int)(n < 40 ? n : 40), *name, w->text);
    }
    *name += n + 1;
    return tool == o->tool;
}

/* Options in a tool's group are that tool's. */
static int check_owner(const Options *o, const Word *w, const OptRow *row)
{
    int owner = enum_index(tool_list(), row->group, strlen(row->group));
    char in[128];
    if (owner >= 0 && owner != o->tool) {
        return fail("option '--%s'%s is for --tool=%s (see mtvg --help)", row->name, where(w, in),
                    row->group);
    }
    return 0;
}

static int apply_word(Options *o, const Word *w)
{
    const char *s = w->text;
    char in[128];
    if (strcmp(s, "-q") == 0 || strcmp(s, "--quiet") == 0) {
        o->verbosity -= o->verbosity > 0;
    } else if (strcmp(s, "-v") == 0 || strcmp(s, "--verbose") == 0) {
        o->verbosity += o->verbosity < 9;
    } else if (strcmp(s, "-h") == 0 || strcmp(s, "--help") == 0) {
        o->want_help = true;
    } else if (strcmp(s, "--version") == 0) {
        o->want_version = true;
    } else if (s[0] == '-' && s[1] == '-' && s[2]) {
        const char *name = s + 2;
        int mine = strip_prefix(o, w, &name);
        if (mine <= 0) {
            return mine;
        }
        size_t n = strcspn(name, "=");
        const OptRow *row = find_row(name, n);
        if (!row) {
            return fail("unknown option '%.100s'%s (see mtvg --help)", s, where(w, in));
        }
        if (row->offset == offsetof(Options, tool) && name[n]) {
            return 0; /* O2: apply_tool() has done it */
        }
        int err = check_owner(o, w, row);
        return err ? err : apply(o, row, w, name[n] ? name + n + 1 : NULL);
    } else if (s[0] == '-') {
        return fail("unknown option '%.100s'%s (see mtvg --help)", s, where(w, in));
    } else {
        return fail("'%.100s'%s is not an option (see mtvg --help)", s, where(w, in));
    }
    return 0;
}

/* ---- sources ---- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}

/* Cuts the next word out of *text in place: blanks separate, quotes ('', "") keep blanks, '#' at a
 * word's beginning starts a comment up to the line's end. NULL at the end; *bad is set if a quote
 * is not closed. */
static char *next_word(char **text, bool *bad)
{
    char *p = *text;
    while (is_blank(*p) || *p == '#') {
        p = *p == '#' ? p + strcspn(p, "\n") : p + 1;
    }
    if (!*p) {
        *text = p;
        return NULL;
    }
    char *word = p, *out = p, quote = '\0';
    for (; *p && (quote || !is_blank(*p)); p++) {
        if (quote ? *p == quote : *p == '"' || *p == '\'') {
            quote = quote ? '\0' : *p;
        } else {
            *out++ = *p;
        }
    }
    *bad = quote != '\0';
    *text = *p ? p + 1 : p;
    *out = '\0';
    return word;
}

/* Turns a source's text into a sequence of NUL-terminated words, in place; returns how many, or -1
 * (a quote is not closed). The words lie one behind the other from the text's beginning. */
static int cut_words(OptSource *src)
{
    char *in = src->text, *out = src->text, *word;
    bool bad = false;
    int n = 0;
    while ((word = next_word(&in, &bad))) {
        size_t len = strlen(word) + 1;
        memmove(out, word, len);
        out += len;
        n++;
        if (bad) {
            return -1;
        }
    }
    return n;
}

/* Calls fn for every word of every source and then of the command line's options. */
static int foreach_word(Options *o, const OptSource *sources, int nsources, char **argv,
                        int (*fn)(Options *, const Word *))
{
    for (int i = 0; i < nsources; i++) {
        const char *p = sources[i].text;
        for (int k = 0; k < sources[i].words; k++) {
            int err = fn(o, &(Word){p, sources[i].name});
            if (err) {
                return err;
            }
            p += strlen(p) + 1;
        }
    }
    for (int i = 1; i < o->argc_own; i++) {
        if (strcmp(argv[i], "--") != 0) {
            int err = fn(o, &(Word){argv[i], NULL});
            if (err) {
                return err;
            }
        }
    }
    return 0;
}

/* O2: looks at --tool= only. */
static int apply_tool(Options *o, const Word *w)
{
    if (strncmp(w->text, "--tool=", 7) != 0) {
        return 0;
    }
    const char *value = w->text + 7;
    char in[128];
    o->tool = enum_index(tool_list(), value, strlen(value));
    if (o->tool < 0) {
        return fail("unknown tool '%.100s'%s (known: %s)", value, where(w, in), tool_list());
    }
    return 0;
}

/* How many of argv's words are ours: up to the first that is no option, or up to "--". */
static int count_own(int argc, char **argv)
{
    int i = 1;
    while (i < argc && argv[i][0] == '-') {
        if (strcmp(argv[i++], "--") == 0) {
            break;
        }
    }
    return i < argc ? i : argc;
}

int options_parse_sources(Options *o, OptSource *sources, int nsources, int argc, char **argv,
                          const char **err)
{
    *err = error_line;
    set_defaults(o);
    o->argc_own = count_own(argc, argv);
    MT_ASSERT(nsources <= MT_OPT_MAX_SOURCES);
    for (int i = 0; i < nsources; i++) {
        sources[i].words = cut_words(&sources[i]);
        if (sources[i].words < 0) {
            return fail("a quote is not closed in %s", sources[i].name);
        }
    }
    int rc = foreach_word(o, sources, nsources, argv, apply_tool);
    if (!rc) {
        rc = foreach_word(o, sources, nsources, argv, apply_word);
    }
    if (rc) {
        return rc;
    }
    if (o->argc_own < argc) {
        o->guest_argv = argv + o->argc_own;
    } else if (!o->want_help && !o->want_version) {
        return fail("no program given (see mtvg --help)");
    }
    *err = NULL;
    return 0;
}

int options_parse(Options *o, int argc, char **argv, const char **err)
{
    return options_parse_sources(o, NULL, 0, argc, argv, err);
}
