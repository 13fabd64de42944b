/* SPDX-License-Identifier: BSD-2-Clause
 * family.c -- see family.h.
 * Role:    walks /proc/PID/task/TID/children, from each of a process's threads on.
 * Locking: none; what is found may be over. */
#include "sched/family.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

typedef struct Walk {
    void (*fn)(void *arg, pid_t tgid, pid_t tid);
    void *arg;
} Walk;

static void visit_process(const Walk *w, pid_t pid, bool itself);

/* `tasks`: the process's folder of threads. */
static void visit_children(const Walk *w, const char *tasks, pid_t tid)
{
    char path[64];
    FILE *f;
    int child;

    snprintf(path, sizeof(path), "%.32s/%d/children", tasks, tid);
    f = fopen(path, "re");
    if (f == NULL) {
        return;
    }
    while (fscanf(f, "%d", &child) == 1) {
        visit_process(w, child, true);
    }
    fclose(f);
}

static void visit_process(const Walk *w, pid_t pid, bool itself)
{
    char path[32];
    struct dirent *e;
    DIR *d;

    /* In a pid name space of its own this process may have another number there. */
    snprintf(path, sizeof(path), pid == 0 ? "/proc/self/task" : "/proc/%d/task", pid);
    d = opendir(path);
    while (d != NULL && (e = readdir(d)) != NULL) {
        pid_t tid = atoi(e->d_name);

        if (tid > 0) {
            if (itself) {
                w->fn(w->arg, pid, tid);
            }
            visit_children(w, path, tid);
        }
    }
    if (d != NULL) {
        closedir(d);
    }
}

bool family_exists(void)
{
    siginfo_t info;

    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) == 0;
}

void family_foreach(pid_t root, void (*fn)(void *arg, pid_t tgid, pid_t tid), void *arg)
{
    Walk w = {fn, arg};

    visit_process(&w, root, false);
}
