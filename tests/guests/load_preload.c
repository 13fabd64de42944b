/* SPDX-License-Identifier: BSD-2-Clause
 * load_preload.c -- variables for the dynamic loader are the program's, and its children's: nothing
 * is loaded or set for mtvg itself.
 * guest: so=preloaded.c env=LD_BIND_NOW=1,LD_LIBRARY_PATH=/nonexistent */
#define _GNU_SOURCE
#include "guest.h"

#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void show(const char *who)
{
    int *calls = dlsym(RTLD_DEFAULT, "preloaded_calls");
    printf("%s: %s\n", who, calls ? "with the library" : "without");
    for (char **e = environ; *e; e++) {
        if (strncmp(*e, "LD_", 3) == 0 || strncmp(*e, "GLIBC_", 6) == 0) {
            const char *base = strrchr(*e, '/');
            printf("  %.20s %s\n", *e, base ? base : "");
        }
    }
    fflush(stdout);
}

static void run(int how, char **argv)
{
    char *const args[] = {argv[0], "child", how == 2 ? "last" : NULL, NULL};
    int status;
    pid_t pid = how == 1 ? vfork() : fork();
    if (pid == 0) {
        execv("/proc/self/exe", args);
        _exit(99);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    printf("status %#x\n", status);
}

int main(int argc, char **argv)
{
    char path[4096];
    show(argc == 1 ? "main" : argv[1]);
    if (argc == 3) {
        return 5;
    }
    if (argc == 2) {
        run(2, argv);
        return 4;
    }
    CHECK(getenv("GUEST_DIR"));
    snprintf(path, sizeof(path), "%s/lib/preloaded.so", getenv("GUEST_DIR"));
    setenv("LD_PRELOAD", path, 1);
    setenv("GLIBC_TUNABLES", "glibc.malloc.perturb=5", 1);
    run(0, argv);
    run(1, argv);
    unsetenv("LD_PRELOAD");
    run(0, argv);
    return 0;
}
