/* SPDX-License-Identifier: BSD-2-Clause
 * exec_find.c -- finds a program by name, as a shell would. */
#include "base/heap.h"
#include "guest/elf_int.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_PATH "/usr/local/bin:/usr/bin:/bin"

int exec_fail(ExecError *err, int code, int exit_code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
    va_end(ap);
    for (char *p = err->msg; *p != '\0'; p++) { /* one line, whatever a file's name holds */
        if ((unsigned char)*p < ' ' || *p == 0x7f) {
            *p = '?';
        }
    }
    err->err = code;
    err->exit_code = exit_code;
    return -1;
}

static char *no_memory(ExecError *err)
{
    exec_fail(err, ENOMEM, 1, "out of memory");
    return NULL;
}

/* dir/name; an empty dir is the current directory. */
static char *join(const char *dir, size_t dir_len, const char *name)
{
    size_t n = dir_len + strlen(name) + 3;
    char *p = heap_alloc(n);
    if (p != NULL) {
        snprintf(p, n, "%.*s/%s", dir_len == 0 ? 1 : (int)dir_len, dir_len == 0 ? "." : dir, name);
    }
    return p;
}

char *exec_find(const char *name, ExecError *err)
{
    const char *path = getenv("PATH"), *denied = NULL;
    char *found = NULL;
    if (name[0] == '\0') {
        exec_fail(err, ENOENT, 127, "the program's name is empty");
        return NULL;
    }
    if (strchr(name, '/') != NULL) {
        found = heap_copy_text(name);
        return found != NULL ? found : no_memory(err);
    }
    for (const char *dir = path != NULL ? path : DEFAULT_PATH; dir != NULL;) {
        struct stat st;
        const char *colon = strchrnul(dir, ':');
        found = join(dir, (size_t)(colon - dir), name);
        if (found == NULL) {
            return no_memory(err);
        }
        if (stat(found, &st) == 0 && S_ISREG(st.st_mode)) {
            if (access(found, X_OK) == 0) {
                return found;
            }
            denied = "found, but not executable";
        }
        heap_free(found);
        dir = *colon != '\0' ? colon + 1 : NULL;
    }
    if (denied != NULL) {
        exec_fail(err, EACCES, 126, "%s: %s", name, denied);
    } else {
        exec_fail(err, ENOENT, 127, "%s: command not found", name);
    }
    return NULL;
}
