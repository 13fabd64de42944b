/* SPDX-License-Identifier: BSD-2-Clause
 * loaderenv.c -- the loader's variables are for the guest's loader only. */
#include "base/loaderenv.h"

#include "base/valgrind_annot.h"

#include <string.h>
#include <unistd.h>

extern char **environ;

static const struct {
    const char *prefix;
    char mask;
} names[] = {{"LD_", 1}, {"GLIBC_TUNABLES=", 2}};

char loaderenv_mask(const char prefix[MT_LOADERENV_PREFIX])
{
    for (size_t i = 0; i < MT_ARRAY_SIZE(names); i++) {
        if (strncmp(prefix, names[i].prefix, strlen(names[i].prefix)) == 0) {
            return names[i].mask;
        }
    }
    return 0;
}

/* Of a masked variable: its first byte; else 0. */
static char unmasked(const char *s)
{
    for (size_t i = 0; i < MT_ARRAY_SIZE(names); i++) {
        if (s[0] == names[i].mask &&
            strncmp(s + 1, names[i].prefix + 1, strlen(names[i].prefix) - 1) == 0) {
            return names[i].prefix[0];
        }
    }
    return 0;
}

static bool unmask_all(void)
{
    bool any = false;

    for (char **e = environ; *e != NULL; e++) {
        char first = unmasked(*e);

        if (first != 0) {
            **e = first;
            any = true;
        }
    }
    return any;
}

static bool mask_all(void)
{
    bool any = false;

    for (char **e = environ; *e != NULL; e++) {
        char mask = loaderenv_mask(*e);

        if (mask != 0) {
            **e = mask;
            any = true;
        }
    }
    return any;
}

void loaderenv_init(char **argv)
{
    /* An outer Valgrind needs its own, which main takes away from the guest. */
    if (unmask_all() || mt_under_valgrind || !mask_all()) {
        return;
    }
    execve("/proc/self/exe", argv, environ);
    unmask_all();
}
