/* SPDX-License-Identifier: BSD-2-Clause
 * aspace_map.c -- ordered set of mappings with a fast search for holes.
 * Role:       a treap (a binary tree ordered by address, heap-ordered by random priorities) whose
 *             nodes are also linked in order. Knows nothing about system calls.
 * Invariants: M1. nodes don't overlap; the list is the tree's in-order walk.
 *             M2. n->gap == n->start - n->prev->end (0 in place of a missing prev's end).
 *             M3. n->max_gap is the maximum of gap over n's subtree.
 *             M4. the sentinel is the last node; so "first node above" always exists.
 * Locking:    aspace_lock guards all of it.
 * Memory:     nodes come from a small pool that map_prepare() fills, so that an operation that has
 *             changed the host's mappings can't fail afterwards. */
#include "base/heap.h"
#include "guest/aspace_int.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

/* The last page boundary: whatever range a guest names, a walk towards its end meets the
 * sentinel. */
#define MAP_TOP MT_PAGE_DOWN(~0ull)

static MapNode *root, *pool;
static unsigned pool_size;
static MapNode sentinel;
static u32 random_state = 0x9e3779b9;

static u32 next_priority(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state;
}

/* --- nodes and objects --- */

int map_prepare(unsigned n)
{
    while (pool_size < n) {
        MapNode *node = heap_alloc(sizeof(*node));
        if (node == NULL) {
            return -ENOMEM;
        }
        node->next = pool;
        pool = node;
        pool_size++;
    }
    return 0;
}

static MapNode *take_node(const MapNode *proto)
{
    MapNode *n = pool;
    MT_ASSERT(n != NULL);
    pool = n->next;
    pool_size--;
    *n = *proto;
    n->left = n->right = n->next = n->prev = NULL;
    n->priority = next_priority();
    return n;
}

static void give_node(MapNode *n)
{
    map_object_unref(n->object);
    if (pool_size >= 16) {
        heap_free(n);
        return;
    }
    n->next = pool;
    pool = n;
    pool_size++;
}

MapObject *map_object_new(u64 dev, u64 ino, const char *path)
{
    MapObject *o = heap_alloc_zeroed(sizeof(*o));
    if (o == NULL) {
        return NULL;
    }
    o->refs = 1;
    o->dev = dev;
    o->ino = ino;
    if (path != NULL) {
        o->path = heap_copy_text(path);
        if (o->path == NULL) {
            heap_free(o);
            return NULL;
        }
    }
    return o;
}

MapObject *map_object_ref(MapObject *o)
{
    if (o != NULL) {
        o->refs++;
    }
    return o;
}

void map_object_unref(MapObject *o)
{
    if (o != NULL && --o->refs == 0) {
        heap_free(o->path);
        heap_free(o);
    }
}

/* --- the tree --- */

static void pull(MapNode *n)
{
    u64 m = n->gap;
    if (n->left != NULL && n->left->max_gap > m) {
        m = n->left->max_gap;
    }
    if (n->right != NULL && n->right->max_gap > m) {
        m = n->right->max_gap;
    }
    n->max_gap = m;
}

/* Recomputes max_gap on the way down to the node at `key`. */
static void refresh(MapNode *n, GuestAddr key)
{
    if (n == NULL) {
        return;
    }
    if (key < n->start) {
        refresh(n->left, key);
    } else if (key > n->start) {
        refresh(n->right, key);
    }
    pull(n);
}

static void set_gap(MapNode *n)
{
    n->gap = n->start - (n->prev != NULL ? n->prev->end : 0);
    refresh(root, n->start);
}

/* Splits t into nodes that start below key and the others. */
static void tree_split(MapNode *t, GuestAddr key, MapNode **lower, MapNode **upper)
{
    if (t == NULL) {
        *lower = *upper = NULL;
        return;
    }
    if (t->start < key) {
        tree_split(t->right, key, &t->right, upper);
        *lower = t;
    } else {
        tree_split(t->left, key, lower, &t->left);
        *upper = t;
    }
    pull(t);
}

static MapNode *tree_merge(MapNode *a, MapNode *b)
{
    if (a == NULL || b == NULL) {
        return a != NULL ? a : b;
    }
    if (a->priority > b->priority) {
        a->right = tree_merge(a->right, b);
        pull(a);
        return a;
    }
    b->left = tree_merge(a, b->left);
    pull(b);
    return b;
}

static void insert_before(MapNode *n, MapNode *next)
{
    MapNode *lower, *upper;
    n->next = next;
    n->prev = next->prev;
    if (n->prev != NULL) {
        n->prev->next = n;
    }
    next->prev = n;
    n->gap = n->start - (n->prev != NULL ? n->prev->end : 0);
    pull(n);
    tree_split(root, n->start, &lower, &upper);
    root = tree_merge(tree_merge(lower, n), upper);
    set_gap(next);
}

static MapNode *tree_erase(MapNode *t, MapNode *n)
{
    if (t == n) {
        return tree_merge(t->left, t->right);
    }
    if (n->start < t->start) {
        t->left = tree_erase(t->left, n);
    } else {
        t->right = tree_erase(t->right, n);
    }
    pull(t);
    return t;
}

static void erase(MapNode *n)
{
    MapNode *next = n->next;
    root = tree_erase(root, n);
    next->prev = n->prev;
    if (n->prev != NULL) {
        n->prev->next = next;
    }
    give_node(n);
    set_gap(next);
}

/* --- the interface --- */

void map_init(void)
{
    while (root != NULL && map_begin() != &sentinel) {
        erase(map_begin());
    }
    memset(&sentinel, 0, sizeof(sentinel));
    sentinel.kind = MAP_END;
    sentinel.start = sentinel.end = MAP_TOP;
    sentinel.priority = next_priority();
    sentinel.gap = sentinel.max_gap = MAP_TOP;
    root = &sentinel;
}

MapNode *map_first(GuestAddr addr)
{
    MapNode *best = &sentinel;
    for (MapNode *n = root; n != NULL;) {
        if (n->end > addr) {
            best = n;
            n = n->left;
        } else {
            n = n->right;
        }
    }
    return best;
}

MapNode *map_begin(void)
{
    return map_first(0);
}

bool map_is_free(GuestAddr start, GuestAddr end)
{
    return map_first(start)->start >= end;
}

/* Two mmaps of one file have two objects. */
static bool same_object(const MapObject *a, const MapObject *b)
{
    if (a == b) {
        return true;
    }
    return a != NULL && b != NULL && a->dev == b->dev && a->ino == b->ino && a->shm_at == b->shm_at;
}

/* A growing mapping stays alone: its start is its identity (PROT_GROWSDOWN, /proc/self/maps). */
static bool alike(const MapNode *a, const MapNode *b)
{
    if (a->end != b->start || a->kind != b->kind || a->prot != b->prot || a->flags != b->flags ||
        a->dontfork != b->dontfork || a->wipeonfork != b->wipeonfork ||
        (a->flags & MAP_GROWSDOWN) != 0 || !same_object(a->object, b->object)) {
        return false;
    }
    return (a->flags & MAP_ANONYMOUS) != 0 || a->offset + (a->end - a->start) == b->offset;
}

/* Joins n with the node behind it if they are alike; n stays. */
static bool join_next(MapNode *n)
{
    MapNode *b = n->next;
    if (b == NULL || b == &sentinel || !alike(n, b)) {
        return false;
    }
    GuestAddr end = b->end;
    n->guarded = n->guarded || b->guarded;
    erase(b);
    n->end = end;
    set_gap(n->next);
    return true;
}

static void tell(AspaceEvent what, const MapNode *n)
{
    if (n->kind == MAP_GUEST || n->kind == MAP_NOTED) {
        aspace_tell(what, n->start, n->end, n->prot, 0);
    }
}

MapNode *map_add(const MapNode *proto)
{
    MapNode *next = map_first(proto->start);
    MT_ASSERT(proto->start < proto->end && next->start >= proto->end);
    MapNode *n = take_node(proto);
    insert_before(n, next);
    tell(ASPACE_MAPPED, n);
    join_next(n);
    if (n->prev != NULL) {
        MapNode *prev = n->prev;
        if (join_next(prev)) {
            return prev;
        }
    }
    return n;
}

void map_split(GuestAddr addr)
{
    MapNode *n = map_first(addr);
    if (n->start >= addr) {
        return;
    }
    MapNode *upper = take_node(n);
    map_object_ref(upper->object);
    upper->start = addr;
    if ((n->flags & MAP_ANONYMOUS) == 0) {
        upper->offset += addr - n->start;
    }
    n->end = addr;
    insert_before(upper, n->next);
}

void map_remove(GuestAddr start, GuestAddr end)
{
    map_split(start);
    map_split(end);
    for (MapNode *n = map_first(start); n->start < end;) {
        MapNode *next = n->next;
        tell(ASPACE_UNMAPPED, n);
        erase(n);
        n = next;
    }
}

void map_join(GuestAddr start, GuestAddr end)
{
    MapNode *n = map_first(start);
    if (n->prev != NULL) {
        n = n->prev;
    }
    while (n != &sentinel && n->start <= end) {
        if (!join_next(n)) {
            n = n->next;
        }
    }
}

void map_set_start(MapNode *n, GuestAddr start)
{
    MT_ASSERT(start < n->end && (n->prev == NULL || n->prev->end <= start));
    if (start < n->start) {
        aspace_tell(ASPACE_MAPPED, start, n->start, n->prot, 0);
    }
    n->start = start;
    set_gap(n);
}

typedef struct HoleQuery {
    GuestAddr lo, hi;
    u64 len, align, guard;
} HoleQuery;

static GuestAddr hole_before(const MapNode *n, const HoleQuery *q)
{
    GuestAddr bottom = n->start - n->gap, top = n->start;
    if ((n->flags & MAP_GROWSDOWN) != 0) {
        top = top > q->guard ? top - q->guard : 0;
    }
    bottom = bottom > q->lo ? bottom : q->lo;
    top = top < q->hi ? top : q->hi;
    if (top < bottom || top - bottom < q->len) {
        return 0;
    }
    GuestAddr at = (top - q->len) & ~(q->align - 1);
    return at >= bottom ? at : 0;
}

static GuestAddr hole_in(const MapNode *n, const HoleQuery *q)
{
    if (n == NULL || n->max_gap < q->len) {
        return 0;
    }
    /* Holes right of n begin at n's end or above; holes left of it end below its start. */
    GuestAddr at = n->end < q->hi ? hole_in(n->right, q) : 0;
    if (at == 0) {
        at = hole_before(n, q);
    }
    if (at == 0 && n->start > q->lo) {
        at = hole_in(n->left, q);
    }
    return at;
}

GuestAddr map_hole(GuestAddr lo, GuestAddr hi, u64 len, u64 align, u64 guard)
{
    HoleQuery q = {.lo = lo, .hi = hi, .len = len, .align = align, .guard = guard};
    return hole_in(root, &q);
}
