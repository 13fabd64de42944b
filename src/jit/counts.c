/* SPDX-License-Identifier: BSD-2-Clause
 * counts.c -- the numbers of count vectors, the threads' counts, and their correction.
 * Invariants: N1. a vector's number never changes and is never given up; vectors[i] is immutable
 *                 for i < nvectors.
 *             N2. total = folded + for all listed threads: sum of counts[i] * vectors[i].
 *             N3. after a correction the counts are those of the instructions executed.
 * Locking:    counts_lock guards vectors, the list and `folded`. A thread's words are written by
 *             itself only; readers are relaxed: each word stands for itself.
 * Signals:    counts_stop(), counts_interrupted(), counts_insn(), counts_edge_undo(); general
 *             registers only (CMakeLists.txt). */
#include "jit/counts.h"

#include "base/lockorder.h"
#include "base/stats.h"
#include "base/valgrind_annot.h"
#include "guest/cpu.h"

#include <string.h>

__thread u64 mt_counts[MT_NVECTORS] __attribute__((tls_model("local-exec")));
i32 mt_counts_tpoff;

#define NBUCKETS 8192 /* twice MT_NVECTORS at least: a probe always ends */

typedef struct CountSet {
    u64 *counts;
    struct CountSet *next, *prev;
    bool listed;
} CountSet;

static __thread CountSet own;
static MtMutex counts_lock = MT_MUTEX_INIT(RANK_JIT_COUNTS);
static CountSet *sets;
static u64 folded[MT_COUNTERS];
static CountVec vectors[MT_NVECTORS];
static u32 nvectors;
static u16 buckets[NBUCKETS]; /* number + 1 */

static u32 vector_hash(const CountVec *v)
{
    u64 h = 0, w[sizeof(*v) / 8];

    memcpy(w, v, sizeof(w));
    for (u32 i = 0; i < MT_ARRAY_SIZE(w); i++) {
        h = (h ^ w[i]) * 0x9e3779b97f4a7c15ull;
        h ^= h >> 29;
    }
    return (u32)h & (NBUCKETS - 1);
}

static u32 vector_locked(const CountVec *v, bool spare)
{
    u32 at = vector_hash(v);

    for (; buckets[at] != 0; at = (at + 1) & (NBUCKETS - 1)) {
        if (memcmp(&vectors[buckets[at] - 1], v, sizeof(*v)) == 0) {
            return buckets[at] - 1u;
        }
    }
    if (nvectors >= MT_NVECTORS - (spare ? 0 : MT_SPARE_VECTORS)) {
        return MT_NO_VECTOR;
    }
    vectors[nvectors] = *v;
    STAT_INC(COUNT_VECTORS);
    buckets[at] = (u16)++nvectors;
    return nvectors - 1;
}

u32 counts_vector(const CountVec *v, bool spare)
{
    u32 r;

    mt_mutex_lock(&counts_lock);
    r = vector_locked(v, spare);
    mt_mutex_unlock(&counts_lock);
    return r;
}

void counts_init(void)
{
    u64 fs0;

    __asm__("mov %%fs:0, %0" : "=r"(fs0));
    mt_counts_tpoff = (i32)((u64)mt_counts - fs0);
    for (u32 i = 0; i < MT_COUNTERS; i++) {
        CountVec v = {{0}};

        v.amount[i] = 1;
        MT_ASSERT(counts_vector(&v, false) == i);
    }
}

/* --- threads ---------------------------------------------------------------------------------- */

static void add_set_locked(u64 out[MT_COUNTERS], const u64 *counts)
{
    for (u32 i = 0; i < nvectors; i++) {
        u64 n = __atomic_load_n(&counts[i], __ATOMIC_RELAXED);

        for (u32 c = 0; n != 0 && c < MT_COUNTERS; c++) {
            out[c] += n * vectors[i].amount[c];
        }
    }
}

static void fold_own_locked(void)
{
    add_set_locked(folded, mt_counts);
    memset(mt_counts, 0, sizeof(mt_counts));
}

void counts_thread_start(void)
{
    mt_mutex_lock(&counts_lock);
    annot_ignore(mt_counts, sizeof(mt_counts)); /* own; others only sum them */
    own = (CountSet){mt_counts, sets, NULL, true};
    if (sets != NULL) {
        sets->prev = &own;
    }
    sets = &own;
    mt_mutex_unlock(&counts_lock);
}

void counts_thread_end(void)
{
    if (!own.listed) {
        return;
    }
    mt_mutex_lock(&counts_lock);
    *(own.prev != NULL ? &own.prev->next : &sets) = own.next;
    if (own.next != NULL) {
        own.next->prev = own.prev;
    }
    own.listed = false;
    fold_own_locked();
    mt_mutex_unlock(&counts_lock);
}

/* One thread, and the lock is free: who takes it is INSIDE, and the world was stopped; or ends,
 * which is short, and libc's fork may have come in between. */
void counts_after_fork_child(void)
{
    annot_clean(&sets, sizeof(sets));
    annot_clean(folded, sizeof(folded));
    annot_clean(&own, sizeof(own));
    mt_mutex_init(&counts_lock, RANK_JIT_COUNTS);
    own.next = own.prev = NULL;
    sets = own.listed ? &own : NULL;
    memset(folded, 0, sizeof(folded));
    memset(mt_counts, 0, sizeof(mt_counts));
}

void counts_vfork_save(void)
{
    mt_mutex_lock(&counts_lock);
    fold_own_locked();
    mt_mutex_unlock(&counts_lock);
}

void counts_vfork_drop(void)
{
    memset(mt_counts, 0, sizeof(mt_counts));
}

void counts_total(u64 out[MT_COUNTERS])
{
    mt_mutex_lock(&counts_lock);
    memcpy(out, folded, sizeof(folded));
    for (CountSet *s = sets; s != NULL; s = s->next) {
        add_set_locked(out, s->counts);
    }
    mt_mutex_unlock(&counts_lock);
}

/* --- corrections ------------------------------------------------------------------------------ */

typedef struct Side {
    u32 nrecs, nreps, ninsns;
    const CountRec *recs;
    const RepRec *reps;
    const u8 *insns;
} Side;

static Side side_read(const u8 *p)
{
    Side s = {.nrecs = p[0] | (u32)p[1] << 8, .nreps = p[2], .ninsns = p[3]};

    s.recs = (const CountRec *)(p + 4);
    s.reps = (const RepRec *)(s.recs + s.nrecs);
    s.insns = (const u8 *)(s.reps + s.nreps);
    return s;
}

static u32 entry_pairs(u8 head)
{
    return (head & 7u) + (head >> 3 & 7u);
}

static const u8 *entry_next(const u8 *e)
{
    return e + 1 + 2 * entry_pairs(*e);
}

static const u8 *entry_find(const Side *s, u32 insn)
{
    const u8 *e = s->insns;

    for (u32 i = 0; i < insn; i++) {
        e = entry_next(e);
    }
    return e;
}

/* Pairs [from, to) of an entry; `only`: this counter, or MT_NO_VECTOR for all. */
static void add_pairs(const u8 *e, u32 from, u32 to, u32 only, i64 sign)
{
    for (u32 i = from; i < to; i++) {
        u32 counter = e[1 + 2 * i];

        if (only == MT_NO_VECTOR || only == counter) {
            mt_counts[counter] += (u64)(sign * e[2 + 2 * i]);
        }
    }
}

/* The segment's addition has been made: take back what has not been executed. Or it hasn't: add
 * what has. */
static void stop_segment(const Side *s, const CountRec *r, u32 off, u32 next)
{
    u32 only = r->vec < MT_COUNTERS ? r->vec : MT_NO_VECTOR;
    bool added = off >= r->off;
    u32 from = added && next > r->first ? next : r->first;
    u32 to = added || next > r->end ? r->end : next;
    const u8 *e = entry_find(s, r->first);

    if (!added && next >= r->first) {
        add_pairs(e, *e & 7u, entry_pairs(*e), only, 1); /* the edge that led here */
    }
    for (u32 i = r->first; i < to; i++, e = entry_next(e)) {
        if (i >= from) {
            add_pairs(e, 0, *e & 7u, only, added ? -1 : 1);
        }
    }
}

static void stop_rep(const RepRec *r, u32 off)
{
    if (off >= r->begin && off < r->commit) {
        u64 n = mt_cpu.rep_start - mt_cpu.gpr[MT_RCX];

        mt_counts[r->vec] += r->addr32 ? (u32)n : n;
    }
}

void counts_stop(const u8 *side, u32 off, u32 next)
{
    Side s = side_read(side);

    for (u32 i = 0; i < s.nrecs; i++) {
        stop_segment(&s, &s.recs[i], off, next);
    }
    for (u32 i = 0; i < s.nreps; i++) {
        stop_rep(&s.reps[i], off);
    }
}

/* A followed jump has no code: it is done together with what is before it. */
void counts_interrupted(const u8 *side, u32 off, u32 index, bool behind)
{
    Side s = side_read(side);
    const u8 *e = s.insns;
    u32 next = 0;

    for (u32 left = index + behind; next < s.ninsns; e = entry_next(e), next++) {
        if (*e & MT_SIDE_NOCODE) {
            continue;
        }
        if (left-- == 0) {
            break;
        }
    }
    counts_stop(side, off, next);
}

void counts_insn(const u8 *side, u32 insn, i64 sign)
{
    Side s = side_read(side);
    const u8 *e = entry_find(&s, insn);

    add_pairs(e, 0, *e & 7u, MT_NO_VECTOR, sign);
}

void counts_pairs(const u8 *side, u32 insn, u8 out[15])
{
    Side s = side_read(side);
    const u8 *e = entry_find(&s, insn);

    out[0] = *e & 7;
    memcpy(out + 1, e + 1, 2u * out[0]);
}

void counts_edge_undo(u64 pairs)
{
    for (u32 i = 0; i < MT_EDGE_PAIRS; i++, pairs >>= 16) {
        if ((pairs & 0xff) < MT_COUNTERS) {
            mt_counts[pairs & 0xff] -= pairs >> 8 & 0xff;
        }
    }
}
