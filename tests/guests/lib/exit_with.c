/* SPDX-License-Identifier: BSD-2-Clause
 * exit_with.c -- run by proc_wait.c: exits with the status that its argument gives. */
#include <stdlib.h>

int main(int argc, char **argv)
{
    return argc > 1 ? atoi(argv[1]) : 99;
}
