/* SPDX-License-Identifier: BSD-2-Clause
 * layout.c -- chooses where guest images, the code cache and anonymous guest memory go.
 * Role:       computes mt_layout once, at start, from what is already mapped (ARCHITECTURE.md, D2).
 * Invariants: L1. the code cache's range is reserved (PROT_NONE) from layout_init() on.
 *             L2. the regions don't overlap. None is reserved: something of the host's may lie or
 *                 appear in them, and aspace claims every range it hands out.
 * Adapts to:  an outer Valgrind (user space ends at 128 GiB, low memory partly used), an outer mtvg
 *             (its own regions hold our heap and libraries), RLIMIT_AS (the anon region is only a
 *             range of addresses), the legacy bottom-up mmap layout. */
#include "guest/layout.h"
#include "guest/hostmaps.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

Layout mt_layout;

#define IMAGE_LO 0x10000ul
#define IMAGE_HI \
    0x7ffe0000ul /* Windows programs have a page of the system here; ASan: 0x7fff7000 */
#define NONPIE_HI 0x20000000ul /* below: left to programs with fixed addresses */
#define CACHE_TOP 0x68000000ul /* the cache's end, if nothing is in the way */
#define CACHE_STEP 0x200000ul
#define ANON_MIN (1ul << 30)

/* In order of preference. The first lies below any place that the kernel gives to a
 * position-independent program (0x5555_5555_4000 and up), and is memory of the program's own to the
 * runtimes of all sanitizers: AddressSanitizer's takes what is above 0x1000_7fff_8000,
 * ThreadSanitizer's 0x5500_... to 0x5680_..., MemorySanitizer's 0x5100_... to 0x6000_...
 * (compiler-rt, their x86-64 mappings). The last two are for an outer Valgrind, whose client memory
 * ends at 64 or 128 GiB. */
typedef struct Candidate {
    u64 lo, hi;
} Candidate;

static const Candidate anon_candidates[] = {
    {0x550000000000, 0x555500000000}, {0x110000000000, 0x500000000000},
    {0x010000000000, 0x100000000000}, {0x000800000000, 0x008000000000},
    {0x000400000000, 0x000f00000000}, {0x000100000000, 0x000800000000},
};

/* Begins above 0x1000_7fff_8000, where AddressSanitizer's shadow ends. */
static const Candidate huge_candidate = {0x110000000000, 0x500000000000};

static u64 mmap_min_addr(void)
{
    unsigned long v = 65536;
    FILE *f = fopen("/proc/sys/vm/mmap_min_addr", "re");
    if (f != NULL) {
        if (fscanf(f, "%lu", &v) != 1) {
            v = 65536;
        }
        fclose(f);
    }
    return MT_PAGE_UP(v);
}

/* Reserves [addr, addr + len) if it is free. The result is compared too: kernels before 4.17 and
 * Valgrind take the address for a hint. */
static bool reserve(u64 addr, u64 len)
{
    long r = syscall(SYS_mmap, addr, len, PROT_NONE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    if (r == -1) {
        return false;
    }
    if ((u64)r != addr) {
        syscall(SYS_munmap, r, len);
        return false;
    }
    return true;
}

static bool can_map(u64 addr)
{
    if (!reserve(addr, MT_PAGE_SIZE)) {
        return false;
    }
    syscall(SYS_munmap, addr, MT_PAGE_SIZE);
    return true;
}

/* The highest place in [lo, hi) that is free; 0 if there is none. */
static u64 reserve_topdown(u64 lo, u64 hi, u64 size)
{
    if (hi < lo || hi - lo < size) {
        return 0;
    }
    for (u64 base = (hi - size) & ~(CACHE_STEP - 1); base >= lo && base != 0; base -= CACHE_STEP) {
        bool keep = base < mt_layout.keep_hi && base + size > mt_layout.keep_lo;
        if (!keep && reserve(base, size)) {
            return base;
        }
    }
    return 0;
}

static u64 place_cache(u64 size)
{
    u64 base = reserve_topdown(NONPIE_HI, CACHE_TOP, size);
    if (base == 0) {
        base = reserve_topdown(NONPIE_HI, IMAGE_HI, size);
    }
    if (base == 0) {
        base = reserve_topdown(CACHE_STEP, IMAGE_HI, size);
    }
    return base;
}

/* The largest gap between mappings inside [lo, hi). */
typedef struct GapSearch {
    u64 lo, hi;
    u64 at; /* end of what has been seen */
    u64 best_lo, best_hi;
} GapSearch;

static void gap_until(GapSearch *g, u64 end)
{
    u64 stop = end < g->hi ? end : g->hi;
    if (stop > g->at && stop - g->at > g->best_hi - g->best_lo) {
        g->best_lo = g->at;
        g->best_hi = stop;
    }
}

static bool gap_step(const HostMap *m, void *arg)
{
    GapSearch *g = arg;
    gap_until(g, m->start);
    if (m->end > g->at) {
        g->at = m->end;
    }
    return g->at < g->hi;
}

/* Where the gap's border is a mapping of the host's, that mapping may grow (heap up, mmap area
 * down), so a quarter of the gap is left to it. */
static bool find_region(const Candidate *c, u64 *region_lo, u64 *region_hi)
{
    u64 lo = c->lo, hi = c->hi;
    GapSearch g = {.lo = lo, .hi = hi, .at = lo};
    if (hostmaps_foreach_kept(gap_step, &g) != 0) {
        g.at = lo; /* no /proc: take it all, every use is checked anyway */
    }
    gap_until(&g, hi);
    u64 margin = (g.best_hi - g.best_lo) / 4;
    u64 a = g.best_lo + (g.best_lo == lo ? 0 : margin);
    u64 b = g.best_hi - (g.best_hi == hi ? 0 : margin);
    a = MT_ALIGN_UP(a, 1ul << 21);
    b &= ~((1ul << 21) - 1);
    if (b < a + ANON_MIN || !can_map(a) || !can_map(b - MT_PAGE_SIZE)) {
        return false;
    }
    *region_lo = a;
    *region_hi = b;
    return true;
}

static bool place_anon(void)
{
    Layout *l = &mt_layout;
    for (size_t i = 0; i < MT_ARRAY_SIZE(anon_candidates); i++) {
        if (find_region(&anon_candidates[i], &l->anon_lo, &l->anon_hi)) {
            l->brk_base = l->anon_lo;
            l->stack_top = l->anon_hi - 16 * MT_PAGE_SIZE;
            l->huge_lo = l->huge_hi = 0;
            if (i == 0) {
                find_region(&huge_candidate, &l->huge_lo, &l->huge_hi);
            }
            return true;
        }
    }
    return false;
}

int layout_init(u64 cache_size)
{
    u64 min = mmap_min_addr();
    mt_layout.image_lo = min > IMAGE_LO ? min : IMAGE_LO;
    mt_layout.image_hi = IMAGE_HI;
    mt_layout.cache_size = MT_PAGE_UP(cache_size);
    mt_layout.cache_base = place_cache(mt_layout.cache_size);
    if (mt_layout.cache_base == 0 && mt_layout.keep_hi != 0) { /* perhaps between its segments */
        mt_layout.keep_lo = mt_layout.keep_hi = 0;
        mt_layout.cache_base = place_cache(mt_layout.cache_size);
    }
    if (mt_layout.cache_base == 0) {
        return -ENOMEM;
    }
    hostmaps_keep();
    if (place_anon()) {
        return 0;
    }
    syscall(SYS_munmap, mt_layout.cache_base, mt_layout.cache_size);
    mt_layout.cache_base = 0;
    return -ENOMEM;
}
