/* SPDX-License-Identifier: BSD-2-Clause
 * diskcache_int.h -- what the files of diskcache share: the file's format. Nobody else includes it.
 *     DiskHeader, DiskPage pages[npages] (sorted by page), units
 * The units that begin on a guest's page lie together, each a multiple of 8 bytes. */
#ifndef MT_DISKCACHE_INT_H
#define MT_DISKCACHE_INT_H

#include "jit/diskcache.h"

#define MT_DISK_MAGIC 0x3143545654474d54ull
#define MT_DISK_FILE_MAX (64u << 20)
#define MT_DISK_PAGE_MAX (256u << 10) /* bytes of a page's units */
#define MT_DISK_PATH 4096

/* What a translation depends on but for what a unit says. */
typedef struct DiskKey {
    u64 runtime[5]; /* device, inode, size, time of change of mtvg's own file */
    u64 program;    /* sum of the path */
    u64 cache;      /* address */
    u64 tables;     /* of masks */
    i64 cpu_state;  /* mt_cpu from %fs:0 */
    u64 processor[3];
    u64 decoder;
    u64 options;
} DiskKey;

typedef struct DiskPage {
    u32 page, n;
    u32 off, len;
    u64 sum;
} DiskPage;

typedef struct DiskHeader {
    u64 magic;
    u64 sum; /* of what follows it, and the pages */
    u64 size;
    u32 npages, nunits;
    DiskKey key;
} DiskHeader;

/* A translation that this process has made. */
typedef struct DiskNote {
    u64 hash; /* unit_hash_insn() */
    u32 pc;
    u32 block; /* atomic, last: 0: not complete */
} DiskNote;

/* What was there at the start. Immutable. */
typedef struct DiskFile {
    const u8 *map; /* NULL: none */
    u64 size;
    u32 npages, nunits;
    u8 *head;        /* a copy of the header, and of the pages behind it: */
    DiskPage *pages; /* in `head` */
    u8 *read;        /* of each page, atomic: 1: its units have been published, or never will */
} DiskFile;

extern DiskFile mt_disk_file;
extern DiskKey mt_disk_key;
extern int mt_disk_writer; /* the process that has begun; not children that it has forked */
extern char mt_disk_dir[MT_DISK_PATH];

/* Of the file: DIR/name. */
void diskcache_path(char *path, const char *suffix);
/* Is this folder or file the user's own, and nobody else's to write to? */
struct stat;
bool diskcache_is_own(const struct stat *s);
/* The file's units of page p, a copy to be freed; NULL: there is no memory, or they are damaged. */
u8 *diskcache_units(const DiskPage *p);
/* How many notes there are; *notes: the first. */
u32 diskcache_notes(const DiskNote **notes);

#endif
