/* SPDX-License-Identifier: BSD-2-Clause
 * hostmaps.c -- reads /proc/self/maps.
 * Role:    the one place that knows the file's format.
 * Limits:  the kernel hands the file out in pieces, so a change made meanwhile by another thread
 *          may be seen or missed; callers treat the result as a hint and claim what they want with
 *          MAP_FIXED_NOREPLACE. */
#include "guest/hostmaps.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const char *take_hex(const char *p, u64 *out)
{
    u64 v = 0;
    for (;; p++) {
        unsigned digit;
        if (*p >= '0' && *p <= '9') {
            digit = (unsigned)(*p - '0');
        } else if (*p >= 'a' && *p <= 'f') {
            digit = (unsigned)(*p - 'a' + 10);
        } else {
            break;
        }
        v = v << 4 | digit;
    }
    *out = v;
    return p;
}

/* "start-end rwxp offset major:minor inode   name" */
static bool parse_line(const char *line, HostMap *m)
{
    const char *p = take_hex(line, &m->start);
    if (*p++ != '-') {
        return false;
    }
    p = take_hex(p, &m->end);
    if (*p++ != ' ' || strnlen(p, 5) < 5) {
        return false;
    }
    m->prot = (p[0] == 'r' ? PROT_READ : 0) | (p[1] == 'w' ? PROT_WRITE : 0) |
              (p[2] == 'x' ? PROT_EXEC : 0);
    for (int field = 0; field < 4; field++) {
        p += strcspn(p, " ");
        p += strspn(p, " ");
    }
    m->name = p;
    return true;
}

static ssize_t read_again(int fd, char *buf, size_t n)
{
    ssize_t got;
    do {
        got = read(fd, buf, n);
    } while (got < 0 && errno == EINTR);
    return got;
}

int hostmaps_foreach(bool (*fn)(const HostMap *, void *), void *arg)
{
    char buf[8192];
    size_t have = 0;
    bool go = true, skipping = false;
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    while (go) {
        ssize_t got = read_again(fd, buf + have, sizeof(buf) - 1 - have);
        if (got <= 0) {
            break;
        }
        have += (size_t)got;
        char *line = buf, *nl;
        while (go && (nl = memchr(line, '\n', have - (size_t)(line - buf))) != NULL) {
            HostMap m;
            *nl = '\0';
            if (!skipping && parse_line(line, &m)) {
                go = fn(&m, arg);
            }
            skipping = false;
            line = nl + 1;
        }
        have -= (size_t)(line - buf);
        memmove(buf, line, have);
        if (have == sizeof(buf) - 1) { /* a name longer than the buffer: report what there is */
            HostMap m;
            buf[have] = '\0';
            if (!skipping && parse_line(buf, &m)) {
                go = fn(&m, arg);
            }
            skipping = true;
            have = 0;
        }
    }
    close(fd);
    return 0;
}

/* --- what was mapped at the start --- */

typedef struct KeptMap {
    HostMap map;
    char name[16];
} KeptMap;

/* Before there are threads. */
static KeptMap *kept;
static size_t nkept;

static bool keep_step(const HostMap *m, void *arg)
{
    KeptMap *more = realloc(kept, (nkept + 1) * sizeof(*kept));

    if (more == NULL) {
        hostmaps_forget();
        return false;
    }
    kept = more;
    kept[nkept].map = *m;
    snprintf(kept[nkept++].name, sizeof(kept->name), "%s", m->name);
    return true;
}

void hostmaps_keep(void)
{
    hostmaps_forget();
    hostmaps_foreach(keep_step, NULL);
}

int hostmaps_foreach_kept(bool (*fn)(const HostMap *, void *), void *arg)
{
    if (nkept == 0) {
        return hostmaps_foreach(fn, arg);
    }
    for (size_t i = 0; i < nkept; i++) {
        kept[i].map.name = kept[i].name;
        if (!fn(&kept[i].map, arg)) {
            break;
        }
    }
    return 0;
}

void hostmaps_forget(void)
{
    free(kept);
    kept = NULL;
    nkept = 0;
}
