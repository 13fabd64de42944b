/* SPDX-License-Identifier: BSD-2-Clause
 * heap.c -- memory for what the child of any fork must be able to change.
 * Role:    free lists by size, cut from mappings that are never given back; what is large has a
 *          mapping of its own. Under checkers of memory it is libc's, which they watch.
 * Locking: heap_lock. */
#include "base/heap.h"

#include "base/lockorder.h"
#include "base/valgrind_annot.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define MT_HEAP_STEP 16u
#define MT_HEAP_FINE 1024u /* up to here sizes differ by a step, */
#define MT_HEAP_CUT 65536u /* up to here they are powers of 2, above they have a mapping */
#define MT_HEAP_CHUNK (256u << 10)
#define MT_HEAP_CLASSES (MT_HEAP_FINE / MT_HEAP_STEP + 6)

#if defined(__SANITIZE_ADDRESS__)
#define HEAP_IS_WATCHED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HEAP_IS_WATCHED true
#endif
#endif
#ifndef HEAP_IS_WATCHED
#define HEAP_IS_WATCHED (mt_under_valgrind != 0)
#endif

/* Before what the caller is given. */
typedef struct Piece {
    u64 size;           /* with this */
    struct Piece *next; /* in its free list; else the caller's */
} Piece;

#define MT_PIECE_HEAD offsetof(Piece, next)

static MtMutex heap_lock = MT_MUTEX_INIT(RANK_HEAP);
static Piece *heap_lists[MT_HEAP_CLASSES];
static u8 *heap_at, *heap_end; /* what is left of the last chunk */

static u64 piece_size(size_t n)
{
    u64 size = MT_ALIGN_UP((u64)n + MT_PIECE_HEAD, MT_HEAP_STEP), power = 2 * MT_HEAP_FINE;

    if (size <= MT_HEAP_FINE) {
        return size;
    }
    if (size > MT_HEAP_CUT) {
        return MT_PAGE_UP(size);
    }
    while (power < size) {
        power *= 2;
    }
    return power;
}

static Piece **list_of(u64 size)
{
    u32 i = size <= MT_HEAP_FINE
                ? (u32)size / MT_HEAP_STEP - 1
                : MT_HEAP_FINE / MT_HEAP_STEP +
                      (u32)(__builtin_ctzll(size) - __builtin_ctzll(2 * MT_HEAP_FINE));

    return &heap_lists[i];
}

static void *map(u64 size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                   -1, 0);

    return p != MAP_FAILED ? p : NULL;
}

static Piece *take_locked(u64 size)
{
    Piece **list = list_of(size), *p = *list;

    if (p != NULL) {
        *list = p->next;
        return p;
    }
    if ((u64)(heap_end - heap_at) < size) { /* the rest is not worth keeping */
        u8 *chunk = map(MT_HEAP_CHUNK);

        if (chunk == NULL) {
            return NULL;
        }
        heap_at = chunk;
        heap_end = chunk + MT_HEAP_CHUNK;
    }
    p = (Piece *)heap_at;
    heap_at += size;
    return p;
}

void *heap_alloc(size_t n)
{
    u64 size = piece_size(n);
    Piece *p;

    if (n > PTRDIFF_MAX) {
        return NULL;
    }
    if (HEAP_IS_WATCHED) {
        return malloc(n);
    }
    if (size > MT_HEAP_CUT) {
        p = map(size);
    } else {
        mt_mutex_lock(&heap_lock);
        p = take_locked(size);
        mt_mutex_unlock(&heap_lock);
    }
    if (p == NULL) {
        return NULL;
    }
    p->size = size;
    return &p->next;
}

void *heap_alloc_zeroed(size_t n)
{
    void *p = heap_alloc(n);

    return p != NULL ? memset(p, 0, n) : NULL;
}

char *heap_copy_text(const char *text)
{
    size_t n = strlen(text) + 1;
    char *p = heap_alloc(n);

    return p != NULL ? memcpy(p, text, n) : NULL;
}

static Piece *piece_of(void *p)
{
    return (Piece *)((u8 *)p - MT_PIECE_HEAD);
}

void heap_free(void *at)
{
    Piece *p = at != NULL ? piece_of(at) : NULL;

    if (HEAP_IS_WATCHED) {
        free(at);
    } else if (p != NULL && p->size > MT_HEAP_CUT) {
        munmap(p, p->size);
    } else if (p != NULL) {
        mt_mutex_lock(&heap_lock);
        p->next = *list_of(p->size);
        *list_of(p->size) = p;
        mt_mutex_unlock(&heap_lock);
    }
}

void *heap_resize(void *at, size_t n)
{
    u64 old;
    void *p;

    if (HEAP_IS_WATCHED) {
        return realloc(at, n);
    }
    old = at != NULL ? piece_of(at)->size - MT_PIECE_HEAD : 0;
    if (at != NULL && n <= old) {
        return at;
    }
    p = heap_alloc(n);
    if (p != NULL && at != NULL) {
        memcpy(p, at, old);
        heap_free(at);
    }
    return p;
}

void heap_before_fork(void)
{
    mt_mutex_lock(&heap_lock);
}

void heap_after_fork(void)
{
    mt_mutex_unlock(&heap_lock);
}
