/* SPDX-License-Identifier: BSD-2-Clause
 * tempdir.h -- a folder of its own for a test: cmocka's setup and teardown. */
#ifndef TEMPDIR_H
#define TEMPDIR_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[] = "/tmp/mtvg-unit-XXXXXX";

static int make_dir(void **state)
{
    strcpy(dir + strlen(dir) - 6, "XXXXXX");
    return mkdtemp(dir) && chdir(dir) == 0 ? 0 : -1;
}

static int remove_dir(void **state)
{
    char cmd[128];
    snprintf(cmd, sizeof(cmd), "rm -rf '%s'", dir);
    return chdir("/") == 0 ? system(cmd) : -1;
}

#endif
