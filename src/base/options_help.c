/* SPDX-License-Identifier: BSD-2-Clause
 * options_help.c -- --help, made from options.def: grouped, aligned, with defaults. */
#include "base/options_table.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { HELP_COLUMN = 36, HELP_WIDTH = 80 };

/* "134217728" as "128M". */
static void print_size(char *buf, size_t size, u64 n)
{
    static const char suffix[] = {0, 'K', 'M', 'G'};
    size_t i = 0;
    while (n && n % 1024 == 0 && i + 1 < sizeof(suffix)) {
        n /= 1024;
        i++;
    }
    snprintf(buf, size, "%llu%.1s", (unsigned long long)n, i ? &suffix[i] : "");
}

void options_default_text(const OptRow *row, char *buf, size_t size)
{
    size_t len;
    const char *word;
    switch (row->kind) {
    case OPT_KIND_BOOL:
    case OPT_KIND_ENUM:
        word = options_enum_word(row->meta, (int)row->def, &len);
        snprintf(buf, size, "%.*s", (int)len, word);
        break;
    case OPT_KIND_INT: snprintf(buf, size, "%lld", (long long)row->def); break;
    case OPT_KIND_SIZE: print_size(buf, size, (u64)row->def); break;
    default: snprintf(buf, size, "%s", row->def_str ? row->def_str : "none"); break;
    }
}

/* `text` from HELP_COLUMN on, wrapped at blanks; the cursor is in column `col`. */
static void print_wrapped(FILE *f, size_t col, const char *text)
{
    if (col + 2 > HELP_COLUMN) {
        fprintf(f, "\n");
        col = 0;
    }
    fprintf(f, "%*s", (int)(HELP_COLUMN - col), "");
    col = HELP_COLUMN;
    while (*text) {
        size_t n = strcspn(text, " ");
        if (col > HELP_COLUMN && col + 1 + n > HELP_WIDTH) {
            fprintf(f, "\n%*s", HELP_COLUMN, "");
            col = HELP_COLUMN;
        } else if (col > HELP_COLUMN) {
            fprintf(f, " ");
            col++;
        }
        fprintf(f, "%.*s", (int)n, text);
        col += n;
        text += n + (text[n] == ' ');
    }
    fprintf(f, "\n");
}

static void print_row(FILE *f, const OptRow *row)
{
    char left[128], def[64], help[512];
    int n = snprintf(left, sizeof(left), "    --%s=%s", row->name, row->meta);
    options_default_text(row, def, sizeof(def));
    snprintf(help, sizeof(help), "%s [%s]", row->help, def);
    fprintf(f, "%s", left);
    print_wrapped(f, (size_t)n, help);
}

static void print_plain(FILE *f, const char *left, const char *help)
{
    fprintf(f, "    %s", left);
    print_wrapped(f, strlen(left) + 4, help);
}

const OptGroup mt_opt_groups[] = {
    {"basic", "Basic options"},
    {"threads", "Threads"},
    {"jit", "Translation"},
    {"debug", "Debugging mtvg itself"},
    {"lackey", "Options of --tool=lackey"},
};
const int mt_opt_ngroups = MT_ARRAY_SIZE(mt_opt_groups);

static void print_help(FILE *f)
{
    fprintf(
        f,
        "usage: mtvg [options] program [arguments]\n\n"
        "Runs an unmodified program under dynamic binary instrumentation, its threads at the\n"
        "same time. Defaults are in brackets; \"--name\" alone means \"--name=yes\"; a SIZE is in\n"
        "bytes, or ends in K, M or G.\n");
    for (int g = 0; g < mt_opt_ngroups; g++) {
        fprintf(f, "\n%s:\n", mt_opt_groups[g].title);
        if (g == 0) {
            print_plain(f, "-h, --help", "print this and exit");
            print_plain(f, "--version", "print the version and exit");
            print_plain(f, "-q, -v", "say less, say more");
        }
        for (int i = 0; i < mt_opt_nrows; i++) {
            if (strcmp(mt_opt_rows[i].group, mt_opt_groups[g].group) == 0) {
                print_row(f, &mt_opt_rows[i]);
            }
        }
    }
    fprintf(f,
            "\nOptions are also read from ~/.mtvgrc, $MTVG_OPTS and ./.mtvgrc, in this order; the\n"
            "command line comes last, and the last word counts. There, --lackey:trace-mem=yes is\n"
            "for one tool only. \"--\" ends the options.\n");
}

int options_print_help(int fd)
{
    int copy = dup(fd);
    FILE *f = copy < 0 ? NULL : fdopen(copy, "w");
    if (!f) {
        int err = errno;
        if (copy >= 0) {
            close(copy);
        }
        return -err;
    }
    print_help(f);
    int bad = ferror(f);
    if (fclose(f) != 0) {
        return errno ? -errno : -EIO;
    }
    return bad ? -EIO : 0;
}
