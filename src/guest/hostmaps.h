/* SPDX-License-Identifier: BSD-2-Clause
 * hostmaps.h -- what the kernel says is mapped: a reader of /proc/self/maps; hostmaps_foreach()
 * allocates nothing. */
#ifndef MT_HOSTMAPS_H
#define MT_HOSTMAPS_H

#include "base/base.h"

typedef struct HostMap {
    u64 start, end;
    int prot;         /* PROT_* */
    const char *name; /* path or [name]; "" if none; cut at some 4,000 bytes */
} HostMap;

/* Calls fn for each mapping in ascending order until it returns false. 0, or -errno if the file
 * can't be read (no /proc, no free descriptor). Needs 8 KiB of stack. */
int hostmaps_foreach(bool (*fn)(const HostMap *, void *), void *arg);

/* The process starts: remembers what is mapped now, so that it is read once (a read takes as long
 * as some 40 other system calls). Called again, reads anew. */
void hostmaps_keep(void);

/* As hostmaps_foreach(), over what was remembered, of whose names only the first 15 bytes are
 * known; over what is mapped if there is nothing. */
int hostmaps_foreach_kept(bool (*fn)(const HostMap *, void *), void *arg);
void hostmaps_forget(void);

#endif
