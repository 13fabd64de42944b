/* SPDX-License-Identifier: BSD-2-Clause
 * symbols.c -- prints stack traces.
 * What is asked and answered is text (src/symbols/main.c): a line for each address, for which come
 * lines of function and place, the innermost of inlined ones first, and an empty line. */
#include "diag/symbols.h"

#include "base/log.h"
#include "base/valgrind_annot.h"
#include "diag/image.h"
#include "diag/unwind.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define QUESTION_MAX (2u << 20)
#define ANSWER_MAX (2u << 20)

/* Shared memory: the process that runs the helper writes into it. */
typedef struct Talk {
    char question[QUESTION_MAX];
    char answer[ANSWER_MAX];
} Talk;

typedef struct Printer {
    char *answer; /* what is left of it */
    bool any;
    bool done; /* main() has been printed: what called it interests nobody */
} Printer;

static const char *const below_main[] = {"_start", "__libc_start_main", "__libc_start_call_main",
                                         "generic_start_main"};

static void print_line(Printer *p, GuestAddr pc, const char *name, const char *place)
{
    for (size_t i = 0; i < MT_ARRAY_SIZE(below_main); i++) {
        if (strcmp(name, below_main[i]) == 0) {
            name = "(below main)";
            p->done = true;
        }
    }
    p->done = p->done || strcmp(name, "main") == 0;
    mt_umsg("   %s 0x%" PRIX64 ": %s%s%s%s", p->any ? "by" : "at", pc, name,
            place[0] != 0 ? " (" : "", place, place[0] != 0 ? ")" : "");
    p->any = true;
}

/* The text up to `end`, which becomes a zero. NULL: there is none. */
static char *take(char **text, char end)
{
    char *s = *text, *stop = strchr(s, end);
    if (stop == NULL) {
        return NULL;
    }
    *stop = 0;
    *text = stop + 1;
    return s;
}

/* What has been answered for one address. False: nothing. */
static bool print_answer(Printer *p, GuestAddr pc, const char *file)
{
    char where[4200], *line, *name;
    bool any = false;
    while ((line = take(&p->answer, '\n')) != NULL && line[0] != 0) {
        name = take(&line, '\t');
        if (name == NULL || p->done) {
            continue;
        }
        snprintf(where, sizeof(where), "in %s", file);
        print_line(p, pc, name[0] != 0 ? name : "???", line[0] != 0 ? line : where);
        any = true;
    }
    return any;
}

static void print_frame(Printer *p, Image *image, GuestAddr pc)
{
    char where[4200] = "";
    if (unwind_is_sigreturn(pc)) {
        print_line(p, pc, "<signal handler called>", "");
        return;
    }
    bool found = image_find(image, pc);
    if (found && print_answer(p, pc, image->file.path)) {
        return;
    }
    if (found || aspace_image(pc, &image->file)) {
        snprintf(where, sizeof(where), "in %s", image->file.path);
    }
    print_line(p, pc, "???", where);
}

/* A line for each address that is in a file. */
static size_t ask(char *text, size_t size, Image *image, const GuestAddr *pcs, unsigned n)
{
    size_t len = 0;
    for (unsigned i = 0; i < n && len < size; i++) {
        if (!unwind_is_sigreturn(pcs[i]) && image_find(image, pcs[i])) {
            len += (size_t)snprintf(text + len, size - len,
                                    "%" PRIx64 " %" PRIx64 " %" PRIx64 " %" PRIx64 " %s\n", pcs[i],
                                    image->tables.bias, image->file.dev, image->file.ino,
                                    strchr(image->file.path, '\n') == NULL ? image->file.path : "");
        }
    }
    return len < size ? len : 0;
}

void symbols_print_trace(const GuestAddr *pcs, unsigned n, bool names)
{
    char none[1] = "";
    Image image = {0};
    Printer p = {.answer = none};
    Talk *talk = MAP_FAILED;
    if (names && !mt_under_valgrind) {
        talk = mmap(NULL, sizeof(*talk), PROT_READ | PROT_WRITE,
                    MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    }
    if (talk != MAP_FAILED) {
        size_t len = ask(talk->question, sizeof(talk->question), &image, pcs, n);
        talk->answer[symbols_run(talk->question, len, talk->answer, sizeof(talk->answer) - 1)] = 0;
        p.answer = talk->answer;
    }
    for (unsigned i = 0; i < n && !p.done; i++) {
        print_frame(&p, &image, pcs[i]);
    }
    image_forget(&image);
    if (talk != MAP_FAILED) {
        munmap(talk, sizeof(*talk));
    }
}
