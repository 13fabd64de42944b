/* SPDX-License-Identifier: BSD-2-Clause
 * perfmap.c -- the perf map file.
 * Locking: one write(2) a line on an O_APPEND descriptor; opening is guarded by open_lock. */
#include "jit/perfmap.h"

#include "base/lockorder.h"
#include "base/log.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static MtMutex open_lock = MT_MUTEX_INIT(RANK_PERFMAP);
static int map_fd = -1;
static pid_t map_pid;

static int map_open(void)
{
    char name[64];

    mt_mutex_lock(&open_lock);
    if (map_pid != getpid()) {
        map_pid = getpid();
        snprintf(name, sizeof(name), "/tmp/perf-%d.map", (int)map_pid);
        map_fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
        if (map_fd >= 0 && log_fd_mover != NULL) {
            map_fd = log_fd_mover(map_fd);
        }
    }
    mt_mutex_unlock(&open_lock);
    return map_fd;
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
