/* SPDX-License-Identifier: BSD-2-Clause
 * peak.c -- runs a program and appends "CPU-SECONDS PEAK-KIB" to a file.
 * Usage: peak FILE PROGRAM [ARGUMENT...]
 * A process of its own for it: the peak of a process counts what it was before its exec, and
 * a Python interpreter is larger than many a program. */
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    struct rusage usage;
    int status;
    FILE *f;
    pid_t child;

    if (argc < 3) {
        fprintf(stderr, "usage: peak FILE PROGRAM [ARGUMENT...]\n");
        return 2;
    }
    child = fork();
    if (child == 0) {
        execv(argv[2], argv + 2);
        perror(argv[2]);
        _exit(127);
    }
    if (child < 0 || wait4(child, &status, 0, &usage) != child) {
        perror("peak");
        return 1;
    }
    f = fopen(argv[1], "a");
    if (f == NULL) {
        perror(argv[1]);
        return 1;
    }
    fprintf(f, "%.6f %ld\n",
            (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6,
            usage.ru_maxrss);
    fclose(f);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
