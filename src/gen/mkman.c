/* SPDX-License-Identifier: BSD-2-Clause
 * mkman.c -- writes the manual page mtvg(1) when mtvg is built: its options are those of
 * options.def.
 * Usage:  mkman FILE */
#include "base/options_table.h"

#include <stdio.h>
#include <string.h>

static const char head[] =
    ".TH MTVG 1 \"\" \"mtvg " MT_VERSION "\"\n"
    ".SH NAME\n"
    "mtvg \\- run a program under multithreaded dynamic binary instrumentation\n"
    ".SH SYNOPSIS\n"
    ".B mtvg\n"
    ".RI [ options ]\n"
    ".I program\n"
    ".RI [ arguments ]\n"
    ".SH DESCRIPTION\n"
    "Runs an unmodified x86-64 Linux program, translating its machine code while it runs, so that "
    "a\n"
    "tool can watch it. The program's threads run at the same time, and translated code runs "
    "close\n"
    "to native speed. Input, output, signals and exit status are the program's own.\n"
    ".PP\n"
    "Messages go to standard error,\n"
    ".B \\-\\-log\\-fd\n"
    "or\n"
    ".BR \\-\\-log\\-file ;\n"
    "their lines begin with ==PID==. A program that dies of a signal gets a stack trace.\n"
    ".SH OPTIONS\n"
    "Defaults are in brackets;\n"
    ".BI \\-\\- name\n"
    "alone means\n"
    ".BI \\-\\- name =yes;\n"
    "a SIZE is in bytes, or ends in K, M or G.\n"
    "\\(lq\\-\\-\\(rq ends the options.\n"
    ".TP\n"
    ".BR \\-h \", \" \\-\\-help\n"
    "Print all options, and exit.\n"
    ".TP\n"
    ".B \\-\\-version\n"
    "Print the version, and exit.\n"
    ".TP\n"
    ".BR \\-q \", \" \\-v\n"
    "Say less, say more.\n";

static const char tail[] =
    ".SH EXIT STATUS\n"
    "The program's own. Before it has started: 1 for a wrong option or a log that can't be "
    "written,\n"
    "127 if there is no such program, 126 if it can't be run.\n"
    ".SH ENVIRONMENT\n"
    ".TP\n"
    ".B MTVG_OPTS\n"
    "Options, read after ~/.mtvgrc and before ./.mtvgrc and the command line; the last one "
    "counts.\n"
    ".SH FILES\n"
    ".TP\n"
    ".BR ~/.mtvgrc \", \" ./.mtvgrc\n"
    "Options. Blanks separate words, quotes keep them together, # starts a comment, and\n"
    "\\-\\-lackey:trace\\-mem=yes is for one tool only. A file is read only if it is a regular one "
    "that\n"
    "belongs to the user and that not everybody may write; ./.mtvgrc may not be a symbolic link.\n"
    ".SH EXAMPLES\n"
    ".TP\n"
    "mtvg ./threaded_app\n"
    "All threads at once, no tool.\n"
    ".TP\n"
    "mtvg \\-\\-tool=lackey ./app\n"
    "Counts instructions, loads, stores, branches.\n"
    ".TP\n"
    "mtvg \\-\\-stats \\-\\-log\\-file=log.%p ./app\n"
    "The runtime's counters, messages to a file.\n"
    ".SH SEE ALSO\n"
    ".BR valgrind (1),\n"
    ".BR perf (1)\n"
    ".PP\n"
    "README.md, docs/DIFFERENCES.md (what a program can tell from a native run) and docs/TOOLS.md\n"
    "(tools of one's own) are installed with mtvg's other documents.\n";

/* As text: hyphens can be searched for, and nothing is a request. */
static void put_text(FILE *f, const char *s)
{
    for (; *s != 0; s++) {
        if (*s == '\\') {
            fputs("\\e", f);
        } else if (*s == '-') {
            fputs("\\-", f);
        } else {
            fputc(*s, f);
        }
    }
}

static void put_row(FILE *f, const OptRow *row)
{
    char def[64];
    options_default_text(row, def, sizeof(def));
    fputs(".TP\n.BI \\-\\-", f);
    put_text(f, row->name);
    fputs("= ", f);
    put_text(f, row->meta);
    fputs("\n\\&", f);
    put_text(f, row->help);
    fputs(" [", f);
    put_text(f, def);
    fputs("]\n", f);
}

int main(int argc, char **argv)
{
    FILE *f = argc == 2 ? fopen(argv[1], "w") : NULL;
    if (f == NULL) {
        fprintf(stderr, "usage: mkman FILE\n");
        return 1;
    }
    fputs(head, f);
    for (int g = 0; g < mt_opt_ngroups; g++) {
        fprintf(f, ".SS %s\n", mt_opt_groups[g].title);
        for (int i = 0; i < mt_opt_nrows; i++) {
            if (strcmp(mt_opt_rows[i].group, mt_opt_groups[g].group) == 0) {
                put_row(f, &mt_opt_rows[i]);
            }
        }
    }
    fputs(tail, f);
    bool bad = ferror(f) != 0;
    return fclose(f) != 0 || bad;
}
