/* SPDX-License-Identifier: BSD-2-Clause
 * diskcache.c -- translations on disk: what is read, and what is to be written.
 * Role:       at the start maps the file that goes with the program (diskcache_save.c writes it at
 *             the end). When code is wanted that there is no translation of, publishes those of its
 *             page whose guest bytes are the same. From then on these are blocks like any other.
 * Invariants: D1. a unit is used only if its guest bytes have been compared with the guest's memory
 *                 after smc_watch(): smc_publish() refuses it if they have changed since.
 *             D2. nothing of the file is believed before the sum of a copy of it was right, and the
 *                 copy's numbers are looked at (unit_view()): the file may change or shrink at any
 *                 time.
 *             D3. a note names the block that was made, and a hash of the bytes that it was made
 *                 from. Who writes a unit finds the block alive, and its bytes still the same.
 * Locking:    none. A page's units are read by the first who sets its byte in `read`; others who
 *             want one of them meanwhile translate it. Notes are appended by an atomic index.
 * Signals:    not called in handlers. */
#include "jit/diskcache_int.h"

#include "base/atomics.h"
#include "base/heap.h"
#include "base/hostcpu.h"
#include "base/log.h"
#include "base/options.h"
#include "base/safe.h"
#include "base/stats.h"
#include "jit/blockmap.h"
#include "jit/decode_shape.h"
#include "jit/diskunit.h"
#include "jit/instr.h"
#include "jit/replace.h"
#include "jit/translate.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MT_NOTES (1u << 19)

bool mt_diskcache_on;
DiskFile mt_disk_file;
DiskKey mt_disk_key;
int mt_disk_writer;
char mt_disk_dir[MT_DISK_PATH];

static DiskNote *notes; /* MT_NOTES of them */
static u32 note_count;  /* atomic; may run ahead of MT_NOTES */
static u32 generation;  /* of the code cache, at the start */

/* --- the start --- */

/* All options that translations depend on, and some more. */
static u64 key_options(void)
{
    const i64 values[] = {mt_opts.chaining,     mt_opts.ib_inline, mt_opts.ib_index,
                          mt_opts.ib_check,     mt_opts.ib_second, mt_opts.return_stack,
                          mt_opts.max_branches, mt_opts.max_insns, mt_opts.follow_jumps,
                          mt_opts.exits,        mt_opts.decoder,   mt_opts.enter_inside,
                          mt_opts.fused_jumps};

    return unit_sum(values, sizeof(values));
}

static bool make_key(const char *program)
{
    DiskKey *k = &mt_disk_key;
    struct stat s;

    if (stat("/proc/self/exe", &s) != 0) {
        return false;
    }
    k->runtime[0] = s.st_dev;
    k->runtime[1] = s.st_ino;
    k->runtime[2] = (u64)s.st_size;
    k->runtime[3] = (u64)s.st_mtim.tv_sec * 1000000000u + (u64)s.st_mtim.tv_nsec;
    k->runtime[4] = (u64)s.st_ctim.tv_sec * 1000000000u + (u64)s.st_ctim.tv_nsec;
    k->program = unit_sum(program, strlen(program));
    k->cache = mt_cache.exec;
    k->tables = (u64)mt_cache.ibt_mask_at << 32 | mt_cache.ret_mask_at;
    k->cpu_state = mt_cpu_tpoff;
    k->processor[0] = (u64)hostcpu_is_amd() << 32 | hostcpu_family();
    k->processor[1] = (u64)mt_cache.fast_loop | (u64)(mt_cache.ibt2 != NULL) << 1 |
                      (u64)decode_has_rtm << 2 | (u64)decode_amd_branches << 3;
    k->processor[2] = __x86_get_cpuid_feature_leaf(CPUID_INDEX_7)->cpuid_array[1];
    k->decoder = ZydisGetVersion();
    k->options = key_options();
    return true;
}

bool diskcache_is_own(const struct stat *s)
{
    return s->st_uid == geteuid() && (s->st_mode & 022) == 0;
}

void diskcache_path(char *path, const char *suffix)
{
    snprintf(path, MT_DISK_PATH, "%.4000s/%016llx%s", mt_disk_dir,
             (unsigned long long)unit_sum(&mt_disk_key, sizeof(mt_disk_key)), suffix);
}

/* Makes the folder with those above it. */
static bool make_dir(void)
{
    struct stat s;
    char *slash = mt_disk_dir;

    while ((slash = strchr(slash + 1, '/')) != NULL) {
        *slash = 0;
        mkdir(mt_disk_dir, 0700);
        *slash = '/';
    }
    mkdir(mt_disk_dir, 0700);
    return stat(mt_disk_dir, &s) == 0 && S_ISDIR(s.st_mode) && diskcache_is_own(&s) &&
           access(mt_disk_dir, W_OK | X_OK) == 0;
}

static bool choose_dir(void)
{
    const char *name = mt_opts.translation_cache, *base = getenv("XDG_CACHE_HOME");

    if (name[0] == '/') {
        snprintf(mt_disk_dir, sizeof(mt_disk_dir), "%s", name);
        return strlen(name) < 4000;
    }
    if (strcmp(name, "yes") != 0) {
        mt_die(1, "--translation-cache: '%s' is neither yes, no, nor an absolute path", name);
    }
    if (base != NULL && base[0] == '/') {
        snprintf(mt_disk_dir, sizeof(mt_disk_dir), "%.3900s/mtvg", base);
        return true;
    }
    base = getenv("HOME");
    if (base == NULL || base[0] != '/' || access(base, X_OK) != 0) {
        return false; /* a home that is not there ("/nonexistent") is not made */
    }
    snprintf(mt_disk_dir, sizeof(mt_disk_dir), "%.3900s/.cache/mtvg", base);
    return true;
}

static bool read_at(int fd, void *to, size_t n, u64 off)
{
    return pread(fd, to, n, (off_t)off) == (ssize_t)n;
}

static bool page_agrees(const DiskFile *f, u32 i)
{
    const DiskPage *p = &f->pages[i];

    return p->len <= MT_DISK_PAGE_MAX && p->off <= f->size && p->len <= f->size - p->off &&
           p->off % 8 == 0 && (i == 0 || p->page > f->pages[i - 1].page);
}

/* The header and the pages; the caller frees them, also if they are of no use. */
static bool read_head(int fd, DiskFile *f)
{
    DiskHeader h;
    struct stat s;
    size_t n;
    bool ok;

    if (fstat(fd, &s) != 0 || !S_ISREG(s.st_mode) || !diskcache_is_own(&s) ||
        !read_at(fd, &h, sizeof(h), 0) || h.magic != MT_DISK_MAGIC || h.size != (u64)s.st_size ||
        h.size > MT_DISK_FILE_MAX || memcmp(&h.key, &mt_disk_key, sizeof(h.key)) != 0 ||
        h.npages > h.size / sizeof(DiskPage)) {
        return false;
    }
    n = sizeof(h) + h.npages * sizeof(DiskPage);
    f->head = malloc(n);
    f->read = calloc(h.npages + 1u, 1);
    if (f->head == NULL || f->read == NULL || !read_at(fd, f->head, n, 0)) {
        return false;
    }
    ok = h.sum == unit_sum(f->head + 16, n - 16);
    f->size = h.size;
    f->npages = h.npages;
    f->nunits = h.nunits;
    f->pages = (DiskPage *)(f->head + sizeof(h));
    for (u32 i = 0; ok && i < f->npages; i++) {
        ok = page_agrees(f, i);
    }
    return ok;
}

static void open_file(void)
{
    DiskFile f = {0};
    char path[MT_DISK_PATH];
    void *map = MAP_FAILED;
    int fd;

    diskcache_path(path, "");
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        return;
    }
    if (read_head(fd, &f)) {
        map = mmap(NULL, f.size, PROT_READ, MAP_PRIVATE, fd, 0);
    }
    close(fd);
    if (map == MAP_FAILED) {
        free(f.head);
        free(f.read);
        mt_vmsg("translations on disk: %s is of no use", path);
        return;
    }
    f.map = map;
    mt_disk_file = f;
}

/* With these, translations are of another form. */
static bool is_usable(void)
{
    return mt_opts.parallel && mt_instrument == NULL && mt_block_key == NULL && !mt_tool_gs &&
           !mt_replacing && !mt_under_valgrind;
}

void diskcache_init(const char *program)
{
    void *p;

    if (strcmp(mt_opts.translation_cache, "no") == 0) {
        return;
    }
    if (!choose_dir() || !is_usable() || !make_key(program) || !make_dir()) {
        mt_vmsg("no translations on disk for this run");
        return;
    }
    p = mmap(NULL, MT_NOTES * sizeof(DiskNote), PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
        return;
    }
    notes = p;
    mt_disk_writer = getpid();
    generation = mt_cache.generation;
    open_file();
    blockmap_expect(mt_disk_file.nunits);
    mt_diskcache_on = true;
}

bool diskcache_has_file(void)
{
    return mt_disk_file.map != NULL;
}

void diskcache_off(void)
{
    mt_store_relaxed(&mt_diskcache_on, false); /* a hint: the caller sees it himself */
}

/* --- reading --- */

static DiskPage *find_page(u32 page)
{
    u32 lo = 0, hi = mt_disk_file.npages;

    while (lo < hi) {
        u32 mid = (lo + hi) / 2;

        if (mt_disk_file.pages[mid].page < page) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo < mt_disk_file.npages && mt_disk_file.pages[lo].page == page ? &mt_disk_file.pages[lo]
                                                                           : NULL;
}

u8 *diskcache_units(const DiskPage *p)
{
    u8 *copy = heap_alloc(p->len + 1u);

    if (copy != NULL && (safe_read(copy, (u64)(mt_disk_file.map + p->off), p->len) != 0 ||
                         unit_sum(copy, p->len) != p->sum)) {
        heap_free(copy);
        copy = NULL;
    }
    return copy;
}

/* A page's units being made blocks. */
typedef struct Reading {
    PageWatch page;         /* the page that they begin on */
    u8 guest[MT_PAGE_SIZE]; /* its bytes, read behind smc_watch() */
    u32 guest_n;
    bool full;
    Block *blocks[256]; /* to be linked */
    u32 n;
    u32 all; /* published */
} Reading;

/* When most of those that the exits lead to are there. */
static void link_blocks(Reading *r)
{
    for (u32 i = 0; i < r->n; i++) {
        translate_link(r->blocks[i]);
    }
    r->all += r->n;
    r->n = 0;
}

static bool is_same(const Reading *r, const UnitRange *range, const u8 *want)
{
    u32 skip = range->start % MT_PAGE_SIZE;
    u8 other[MT_UNIT_SOURCE_MAX];

    if (range->start / MT_PAGE_SIZE == r->page.page && skip + range->len <= MT_PAGE_SIZE) {
        return skip + range->len <= r->guest_n && memcmp(r->guest + skip, want, range->len) == 0;
    }
    return safe_read(other, range->start, range->len) == 0 && memcmp(other, want, range->len) == 0;
}

/* Watches the unit's pages, then compares its bytes (D1). */
static bool is_valid(const Reading *r, const UnitView *v, PageWatch *pages)
{
    const u8 *want = v->source;

    for (u32 i = 0; i < v->unit->npages; i++) {
        const UnitPage *p = &v->pages[i];

        pages[i] = r->page;
        if (p->page != r->page.page && !smc_watch((GuestAddr)p->page * MT_PAGE_SIZE, &pages[i])) {
            return false;
        }
        if (pages[i].checked) {
            return false;
        }
        pages[i].lo = p->lo;
        pages[i].hi = p->hi;
    }
    for (u32 i = 0; i < v->unit->nranges; i++) {
        if (!is_same(r, &v->ranges[i], want)) {
            return false;
        }
        want += v->ranges[i].len;
    }
    return true;
}

static void read_unit(Reading *r, const UnitView *v)
{
    PageWatch pages[MT_BLOCK_PAGES];
    Block *b;

    if (blockmap_find(v->unit->pc, 0) != NULL) {
        return;
    }
    if (is_valid(r, v, pages)) {
        b = translate_from_disk(v, pages, &r->full);
        if (b != NULL) {
            r->blocks[r->n++] = b;
        }
        if (r->n == MT_ARRAY_SIZE(r->blocks)) {
            link_blocks(r);
        }
    }
}

static void read_units(Reading *r, const u8 *units, u32 len)
{
    u32 at = 0;
    UnitView v;

    while (at < len && !r->full) {
        if (!unit_view(&v, units + at, len - at) || v.unit->pc / MT_PAGE_SIZE != r->page.page) {
            return;
        }
        read_unit(r, &v);
        at += v.unit->size;
    }
    link_blocks(r);
}

bool diskcache_load(GuestAddr pc)
{
    DiskPage *p = find_page((u32)(pc / MT_PAGE_SIZE));
    Reading r;
    u8 *units;

    if (pc >> 31 != 0 || p == NULL || mt_cache.return_stack || mt_cache.generation != generation ||
        !is_usable()) {
        return false;
    }
    if (mt_exchange(&mt_disk_file.read[p - mt_disk_file.pages], 1) != 0 ||
        !smc_watch(pc, &r.page) || r.page.checked) {
        return false;
    }
    r.guest_n = (u32)safe_read_partial(r.guest, pc & ~(u64)(MT_PAGE_SIZE - 1), MT_PAGE_SIZE);
    r.full = false;
    r.n = r.all = 0;
    units = diskcache_units(p);
    if (units != NULL) {
        read_units(&r, units, p->len);
        heap_free(units);
    }
    STAT_ADD(TRANSLATIONS_READ, r.all);
    return r.all > 0;
}

/* --- what is new --- */

void diskcache_note(const Block *b, const Insn *insns, u32 n)
{
    u64 hash = 0;
    u32 i;

    if (b->pc >> 31 != 0 || b->has_tool || mt_cache.return_stack ||
        mt_load_relaxed(&note_count) >= MT_NOTES || !is_usable()) {
        return;
    }
    i = mt_fetch_add(&note_count, 1);
    if (i < MT_NOTES) {
        for (u32 k = 0; k < n; k++) {
            hash = unit_hash_insn(hash, &insns[k]);
        }
        notes[i].hash = hash;
        notes[i].pc = (u32)b->pc;
        mt_store_release(&notes[i].block, block_ref(b)); /* pairs with who writes: complete */
    }
}

u32 diskcache_notes(const DiskNote **first)
{
    u32 n = mt_load_relaxed(&note_count);

    *first = notes;
    return n < MT_NOTES ? n : MT_NOTES;
}
