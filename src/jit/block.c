/* SPDX-License-Identifier: BSD-2-Clause
 * block.c -- memory for blocks.
 * Role:    one reserved arena, a bump pointer and free lists by size class (8 bytes each).
 * Locking: arena_lock. */
#include "jit/block.h"

#include "base/atomics.h"
#include "base/lockorder.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define MT_CLASSES 512 /* sizes up to 4 KiB */

u8 *mt_block_arena;
static u64 arena_size;
static u64 arena_next, arena_populated;
static void *free_lists[MT_CLASSES];
static MtMutex arena_lock = MT_MUTEX_INIT(RANK_JIT_ARENA);

int block_arena_init(u64 cache_size)
{
    void *p;

    arena_size = cache_size * 4 + (1u << 20);
    p = mmap(NULL, arena_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
             -1, 0);
    if (p == MAP_FAILED) {
        return -ENOMEM;
    }
    mt_block_arena = p;
    arena_next = 64; /* so that reference 0 is nobody's */
    return 0;
}

_Static_assert(sizeof(Block) == 56 && sizeof(Edge) == 12, "grow them with care");

static u64 block_bytes(const BlockShape *s)
{
    u64 edge = sizeof(Edge) + (s->has_tool ? sizeof(EdgeTool) : 0);
    u64 block = sizeof(Block) + (s->has_tool ? sizeof(BlockTool) : 0);
    u64 head = block + s->nedges * edge + s->npages * sizeof(u32);

    return MT_ALIGN_UP((s->has_tool ? MT_ALIGN_UP(head, 8) : head) + s->pcmap_len + s->extra, 8);
}

/* Sixteen pages at a time, which costs less than their faults one by one. If it fails, or another
 * thread is quicker: then they come. Without the lock, since it takes as long as many
 * translations. */
static void populate(u64 from, u64 to)
{
    if (from < to) {
        madvise(mt_block_arena + from, to - from, MADV_POPULATE_WRITE);
    }
}

Block *block_alloc(const BlockShape *shape)
{
    const u64 step = 16 * MT_PAGE_SIZE;
    u64 n = block_bytes(shape);
    u64 cls = n / 8;
    u64 from = 0, to = 0; /* to be populated */
    Block *p = NULL;

    mt_mutex_lock(&arena_lock);
    if (cls < MT_CLASSES && free_lists[cls] != NULL) {
        p = free_lists[cls];
        free_lists[cls] = *(void **)p;
    } else if (arena_next + n <= arena_size) {
        p = (Block *)(mt_block_arena + arena_next);
        arena_next += n;
        if (arena_populated < arena_next) {
            from = arena_populated;
            to = arena_populated = MT_ALIGN_UP(arena_next, step);
            to = to < arena_size ? to : arena_size;
        }
    }
    mt_mutex_unlock(&arena_lock);
    if (p != NULL) {
        populate(from, to);
        memset(p, 0, n);
        p->nedges = (u8)shape->nedges;
        p->npages = (u8)shape->npages;
        p->has_tool = shape->has_tool;
        p->pcmap_len = (u16)shape->pcmap_len;
        if (p->has_tool) {
            block_tool(p)->extra = shape->extra;
        }
    }
    return p;
}

/* The atomic words may become plain ones of another block. */
static void annot_reuse(Block *b)
{
    if (MT_UNLIKELY(mt_under_valgrind)) {
        annot_clean(&b->dead, sizeof(b->dead));
        annot_clean(&b->ind, sizeof(b->ind));
        annot_clean(&b->call, sizeof(b->call));
    }
}

void block_free(Block *b)
{
    const BlockShape shape = {b->nedges, b->npages, b->pcmap_len, block_extra(b), b->has_tool};
    u64 cls = block_bytes(&shape) / 8;

    if (cls >= MT_CLASSES) {
        return; /* regained at the next flush */
    }
    annot_reuse(b);
    mt_mutex_lock(&arena_lock);
    *(void **)b = free_lists[cls];
    free_lists[cls] = b;
    mt_mutex_unlock(&arena_lock);
}

void block_arena_reset_world(void)
{
    mt_mutex_lock(&arena_lock);
    memset(free_lists, 0, sizeof(free_lists));
    /* Give the memory back, then begin anew. */
    madvise(mt_block_arena, arena_next, MADV_DONTNEED);
    annot_clean(mt_block_arena, arena_next);
    arena_next = 64;
    arena_populated = 0;
    mt_mutex_unlock(&arena_lock);
}
