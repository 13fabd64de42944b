/* SPDX-License-Identifier: BSD-2-Clause
 * aspace_map.h -- the ordered set of mappings behind aspace.h. Private to src/guest/aspace*.c.
 * All functions need aspace_lock. */
#ifndef MT_ASPACE_MAP_H
#define MT_ASPACE_MAP_H

#include "base/base.h"

/* What a mapping is a mapping of; shared by the pieces that it has been split into. */
typedef struct MapObject {
    u32 refs;
    u64 dev, ino;
    char *path;       /* or NULL; of files that are or were executable */
    GuestAddr shm_at; /* address that shmat() returned, else 0 */
    u64 huge_page;    /* a file on hugetlbfs: its page size, else 0 */
} MapObject;

enum MapKind {
    MAP_GUEST,   /* the guest's */
    MAP_NOTED,   /* the runtime lets the guest use it (vDSO), but not change it */
    MAP_FOREIGN, /* the host has (had) something here: only keeps placement away */
    MAP_END      /* the sentinel behind all */
};

typedef struct MapNode {
    GuestAddr start, end;
    int prot, flags;
    u64 offset;        /* file offset of start */
    MapObject *object; /* NULL: plain anonymous memory */
    u8 kind;
    bool dontfork;   /* MADV_DONTFORK */
    bool wipeonfork; /* MADV_WIPEONFORK */
    bool guarded;    /* parts of it may be write-protected on behalf of the translator */

    /* structure: aspace_map.c only, but `next` and `prev` may be read */
    struct MapNode *next, *prev;
    struct MapNode *left, *right;
    u32 priority;
    u64 gap;     /* free bytes between prev's end and start */
    u64 max_gap; /* the largest gap in this subtree */
} MapNode;

void map_init(void);

/* Makes sure that the next n node allocations of map_* succeed. 0 or -ENOMEM. */
int map_prepare(unsigned n);

/* The first node whose end is above addr; the sentinel (kind MAP_END) if there is none. */
MapNode *map_first(GuestAddr addr);
MapNode *map_begin(void);

/* Adds a copy of *proto (taking over the caller's reference to proto->object); the range must be
 * free. Joins it with its neighbours where they are alike. Needs one prepared node. */
MapNode *map_add(const MapNode *proto);

/* Makes addr the border of a node if it lies inside one. Needs one prepared node. */
void map_split(GuestAddr addr);

/* Removes all nodes, of any kind, in [start, end). Needs two prepared nodes. */
void map_remove(GuestAddr start, GuestAddr end);

/* Joins nodes that are alike around and in [start, end), after their attributes changed. */
void map_join(GuestAddr start, GuestAddr end);

/* A mapping grows downwards: moves its start; the range between must be free. */
void map_set_start(MapNode *n, GuestAddr start);

/* The highest aligned range of len bytes in [lo, hi) that no node touches, and that keeps `guard`
 * bytes away below nodes with MAP_GROWSDOWN. 0: none. align is a power of two. O(log n). */
GuestAddr map_hole(GuestAddr lo, GuestAddr hi, u64 len, u64 align, u64 guard);

/* Does any node touch [start, end)? */
bool map_is_free(GuestAddr start, GuestAddr end);

MapObject *map_object_new(u64 dev, u64 ino, const char *path); /* path is copied; NULL: no memory */
MapObject *map_object_ref(MapObject *o);                       /* o may be NULL */
void map_object_unref(MapObject *o);

#endif
