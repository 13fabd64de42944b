/* SPDX-License-Identifier: BSD-2-Clause
 * perfmap.c -- the perf map file.
 * Role:    one file for the memory of a process: a vfork child's translations are its parent's.
 * Locking: one write(2) a line on an O_APPEND descriptor; opening is guarded by open_lock. */
#include "jit/perfmap.h"

#include "base/lockorder.h"
#include "base/log.h"
#include "base/options.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static MtMutex open_lock = MT_MUTEX_INIT(RANK_PERFMAP);
/* Guarded by open_lock. */
static int map_fd = -1;
static enum { MAP_UNOPENED, MAP_OPEN, MAP_FAILED_TO_OPEN } map_state;

/* A forked child has its parent's descriptor: the new file takes its number. */
static void open_locked(void)
{
    char name[64];
    int fd;

    snprintf(name, sizeof(name), "/tmp/perf-%d.map", (int)getpid());
    fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
    map_state = fd >= 0 ? MAP_OPEN : MAP_FAILED_TO_OPEN;
    if (fd >= 0 && map_fd >= 0) {
        map_state = dup3(fd, map_fd, O_CLOEXEC) >= 0 ? MAP_OPEN : MAP_FAILED_TO_OPEN;
        close(fd);
    } else if (fd >= 0) {
        map_fd = log_fd_mover != NULL ? log_fd_mover(fd) : fd;
    }
}

static int map_open(void)
{
    int fd;

    mt_mutex_lock(&open_lock);
    if (map_state == MAP_UNOPENED) {
        open_locked();
    }
    fd = map_state == MAP_OPEN ? map_fd : -1;
    mt_mutex_unlock(&open_lock);
    return fd;
}

void perfmap_before_vfork(void)
{
    if (mt_opts.perf_map) {
        map_open();
    }
}

void perfmap_after_fork_child(bool shares_fds)
{
    mt_mutex_init(&open_lock, RANK_PERFMAP); /* a thread that begins a vfork takes it OUTSIDE */
    map_state = MAP_UNOPENED;
    map_fd = shares_fds ? -1 : map_fd;
}

void perfmap_add(const Block *b)
{
    char line[96];
    int fd = map_open();
    int n = snprintf(line, sizeof(line), "%llx %x guest_%llx\n",
                     (unsigned long long)cache_exec_addr(b->host_start), b->host_size,
                     (unsigned long long)b->pc);

    if (fd >= 0 && write(fd, line, (size_t)n) < 0) {
        MT_DEBUG(LOG_JIT, 1, "perf map: write failed");
    }
}
