/* SPDX-License-Identifier: BSD-2-Clause
 * cache_int.h -- what the files of cache share. Nobody else includes it. */
#ifndef MT_CACHE_INT_H
#define MT_CACHE_INT_H

#include "jit/cache.h"

/* --- cache.c --- */

/* [*lo, *hi): the bytes of chunk i < mt_cache.nchunks that have been given out. False: it is free.
 * World stopped. */
bool cache_used_part(u32 i, CacheOff *lo, CacheOff *hi);
/* In a fork's child: the other threads' chunks have lost their owners. */
void cache_drop_other_owners(void);

/* --- cache_memory.c --- */

/* The code's memory, in its place: mt_cache.exec and size are set, mt_cache.write is set by this. 0
 * or -errno. */
int cache_memory_init(void);
/* Takes the pages inside [from, to), which are hardly written any more, out of the writable view,
 * where they count a second time as resident. Their contents stay. */
void cache_memory_drop_write_view(CacheOff from, u64 to);

/* --- cache_tables.c --- */

/* The tables' memory, at the beginning of the cache. 0 or -errno. */
int cache_tables_map(void);
/* Behind cache_memory_init(): chooses how the tables are indexed, writes the glue, and empties the
 * tables. */
void cache_tables_init(void);
/* World stopped. */
void cache_tables_clear(void);

#endif
