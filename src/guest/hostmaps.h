/* SPDX-License-Identifier: BSD-2-Clause
 * hostmaps.h -- what the kernel says is mapped: a reader of /proc/self/maps that allocates nothing. */
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

#endif
