/* SPDX-License-Identifier: BSD-2-Clause
 * diskcache_save.c -- writes the file of translations at the end of a process.
 * Role:       puts what was there and what is new together, page by page; keeps the folder small.
 * Invariants: D3 (diskcache.c). A file is complete when it gets its name (rename), and never
 *             changes then.
 * Locking:    smc_lock() while blocks are looked at: no page changes, no block goes meanwhile.
 *             Others publish blocks and link exits all the while; what they change of a block is
 *             not written. */
#include "jit/diskcache_int.h"

#include "base/atomics.h"
#include "base/heap.h"
#include "base/log.h"
#include "guest/aspace.h"
#include "jit/blockmap.h"
#include "jit/diskunit.h"
#include "jit/smc.h"
#include "sched/world.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MT_DISK_DIR_MAX (512ull << 20)
#define MT_DISK_NEW_MIN 32u /* fewer are not worth writing for; nor a small part of what is there */
#define MT_DISK_NEW_PART 16u
#define MT_STALE_SECONDS 3600

/* What is being written. */
typedef struct Out {
    u8 *bytes; /* MT_DISK_FILE_MAX reserved */
    u64 n;
    DiskPage *pages;
    u32 npages, nunits;
    bool full;
} Out;

/* A note whose block lives. */
typedef struct Fresh {
    u32 pc, age;
    u32 size; /* of its unit; 0: it has none */
    u32 at;   /* among `units` */
} Fresh;

typedef struct FreshList {
    Fresh *list;
    u32 n;
    u8 *units;
    u32 bytes;
} FreshList;

static int by_pc(const void *a, const void *b)
{
    const Fresh *x = a, *y = b;

    return x->pc != y->pc ? (x->pc < y->pc ? -1 : 1) : x->age < y->age ? -1 : 1;
}

/* Code of files, mapped privately and not to be written to: others will meet it again. */
static bool is_lasting(GuestAddr pc, AspaceInfo *last)
{
    if (pc < last->start || pc >= last->end) {
        if (!aspace_query(pc, last)) {
            *last = (AspaceInfo){0};
            return false;
        }
    }
    return last->ino != 0 && (last->flags & MAP_PRIVATE) != 0 && (last->prot & PROT_WRITE) == 0;
}

/* D3. Of several notes for a place in memory the newest is of the block that is there now. */
static void encode_notes(FreshList *f)
{
    const DiskNote *notes;
    u32 n = diskcache_notes(&notes);

    for (u32 i = n; i-- > 0 && f->bytes + MT_UNIT_MAX <= MT_DISK_FILE_MAX;) {
        u32 ref = mt_load_acquire(&notes[i].block); /* pairs with diskcache_note() */
        const Block *b = ref != 0 ? blockmap_find(notes[i].pc, 0) : NULL;
        Fresh *fresh = &f->list[f->n];
        u64 hash;

        if (b == NULL || block_ref(b) != ref) {
            continue;
        }
        *fresh = (Fresh){.pc = notes[i].pc, .age = n - i, .at = f->bytes};
        fresh->size = unit_encode(b, f->units + f->bytes, &hash);
        if (fresh->size != 0 && hash != notes[i].hash) {
            fresh->size = 0;
        }
        f->bytes += fresh->size;
        f->n++;
    }
}

/* Without what is not lasting, and of the same pc all but the newest. */
static void sort_fresh(FreshList *f)
{
    AspaceInfo info = {0};
    u32 n = 0, last = 0;

    qsort(f->list, f->n, sizeof(*f->list), by_pc);
    for (u32 i = 0; i < f->n; i++) {
        const Fresh *x = &f->list[i];
        bool newest = x->pc != last;

        last = x->pc;
        if (newest && x->size != 0 && is_lasting(x->pc, &info)) {
            f->list[n++] = *x;
        }
    }
    f->n = n;
}

/* --- putting together --- */

static void begin_page(Out *o, u32 page)
{
    o->pages[o->npages] = (DiskPage){.page = page, .off = (u32)o->n};
}

static void put_unit(Out *o, const u8 *unit, u32 size)
{
    DiskPage *p = &o->pages[o->npages];

    if (o->n + size > MT_DISK_FILE_MAX || p->len + size > MT_DISK_PAGE_MAX) {
        o->full |= o->n + size > MT_DISK_FILE_MAX;
        return;
    }
    memcpy(o->bytes + o->n, unit, size);
    o->n += size;
    p->len += size;
    p->n++;
}

static void end_page(Out *o)
{
    DiskPage *p = &o->pages[o->npages];

    p->sum = unit_sum(o->bytes + p->off, p->len);
    o->nunits += p->n;
    o->npages += p->n > 0;
}

static bool has_fresh(const Fresh *f, u32 n, u32 pc)
{
    for (u32 i = 0; i < n; i++) {
        if (f[i].pc == pc) {
            return true;
        }
    }
    return false;
}

/* The page's old units but those that have been made anew. */
static void put_old(Out *o, const DiskPage *p, const Fresh *f, u32 n)
{
    u8 *units = diskcache_units(p);
    UnitView v;
    u32 at = 0;

    while (units != NULL && at < p->len && unit_view(&v, units + at, p->len - at)) {
        if (!has_fresh(f, n, v.unit->pc)) {
            put_unit(o, units + at, v.unit->size);
        }
        at += v.unit->size;
    }
    heap_free(units);
}

static void put_page(Out *o, u32 page, const DiskPage *old, const FreshList *f, u32 from, u32 to)
{
    begin_page(o, page);
    for (u32 i = from; i < to; i++) {
        put_unit(o, f->units + f->list[i].at, f->list[i].size);
    }
    if (old != NULL) {
        put_old(o, old, f->list + from, to - from);
    }
    end_page(o);
}

/* Both lists are sorted by page. */
static void merge(Out *o, const DiskFile *old, const FreshList *f)
{
    u32 i = 0, k = 0;

    while ((i < old->npages || k < f->n) && !o->full) {
        u32 old_page = i < old->npages ? old->pages[i].page : UINT32_MAX;
        u32 new_page = k < f->n ? f->list[k].pc / MT_PAGE_SIZE : UINT32_MAX;
        u32 page = old_page < new_page ? old_page : new_page, from = k;

        while (k < f->n && f->list[k].pc / MT_PAGE_SIZE == page) {
            k++;
        }
        put_page(o, page, old_page == page ? &old->pages[i] : NULL, f, from, k);
        i += old_page == page;
    }
}

/* --- the folder --- */

static bool write_all(int fd, const u8 *p, u64 n)
{
    while (n > 0) {
        ssize_t w = write(fd, p, n);

        if (w < 0 && errno == EINTR) {
            continue;
        }
        if (w <= 0) {
            return false;
        }
        p += w;
        n -= (u64)w;
    }
    return true;
}

/* The head: header and pages in one piece, so that their sum is of what is written. */
static bool write_file(int fd, Out *o)
{
    u64 head = sizeof(DiskHeader) + o->npages * sizeof(DiskPage);
    u8 *buf = calloc(1, head);
    DiskHeader *h = (DiskHeader *)buf;
    bool ok = buf != NULL;

    if (ok) {
        for (u32 i = 0; i < o->npages; i++) {
            o->pages[i].off += (u32)head;
        }
        *h = (DiskHeader){.magic = MT_DISK_MAGIC, .size = head + o->n, .npages = o->npages};
        h->nunits = o->nunits;
        h->key = mt_disk_key;
        memcpy(h + 1, o->pages, o->npages * sizeof(DiskPage));
        h->sum = unit_sum(buf + 16, head - 16);
        ok = write_all(fd, buf, head) && write_all(fd, o->bytes, o->n);
    }
    free(buf);
    return ok;
}

typedef struct Oldest {
    char name[64];
    time_t time;
    u64 all; /* bytes of all files */
} Oldest;

static bool is_ours(const char *name)
{
    return strspn(name, "0123456789abcdef") == 16 &&
           (name[16] == 0 || strncmp(name + 16, ".new-", 5) == 0) &&
           strlen(name) < sizeof(((Oldest *)0)->name);
}

/* Adds the files up; those that a writer has left behind go. */
static bool look_at_folder(DIR *d, Oldest *o)
{
    struct dirent *e;
    struct stat s;

    *o = (Oldest){.time = 0};
    rewinddir(d);
    while ((e = readdir(d)) != NULL) {
        if (!is_ours(e->d_name) || fstatat(dirfd(d), e->d_name, &s, AT_SYMLINK_NOFOLLOW) != 0 ||
            !S_ISREG(s.st_mode)) {
            continue;
        }
        if (e->d_name[16] != 0) {
            if (time(NULL) - s.st_mtime > MT_STALE_SECONDS) {
                unlinkat(dirfd(d), e->d_name, 0);
            }
            continue;
        }
        o->all += (u64)s.st_size;
        if (o->name[0] == 0 || s.st_mtime < o->time) {
            strcpy(o->name, e->d_name);
            o->time = s.st_mtime;
        }
    }
    return o->name[0] != 0;
}

static void keep_small(void)
{
    DIR *d = opendir(mt_disk_dir);
    Oldest o;

    while (d != NULL && look_at_folder(d, &o) && o.all > MT_DISK_DIR_MAX &&
           unlinkat(dirfd(d), o.name, 0) == 0) {
    }
    if (d != NULL) {
        closedir(d);
    }
}

static void write_out(Out *o)
{
    char path[MT_DISK_PATH], temporary[MT_DISK_PATH], suffix[32];
    bool ok;
    int fd;

    snprintf(suffix, sizeof(suffix), ".new-%d", (int)getpid());
    diskcache_path(path, "");
    diskcache_path(temporary, suffix);
    fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        mt_vmsg("translations on disk: can't write %s: %s", temporary, strerror(errno));
        return;
    }
    ok = fchmod(fd, 0600) == 0 && write_file(fd, o);
    close(fd);
    if (!ok || rename(temporary, path) != 0) {
        unlink(temporary);
        mt_vmsg("translations on disk: can't write %s", path);
        return;
    }
    keep_small();
    MT_DEBUG(LOG_JIT, 1, "%u translations on disk, %llu bytes", o->nunits,
             (unsigned long long)o->n);
}

/* --- the end --- */

static void *reserve(u64 n)
{
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
                   0);

    return p != MAP_FAILED ? p : NULL;
}

static void release(void *p)
{
    if (p != NULL) {
        munmap(p, MT_DISK_FILE_MAX);
    }
}

static void collect(Thread *t, FreshList *f)
{
    world_enter(t);
    smc_lock();
    if (!mt_cache.return_stack) {
        encode_notes(f);
    }
    smc_unlock();
    world_leave(t);
    sort_fresh(f);
}

static bool may_write(void)
{
    struct rlimit lim;
    struct stat s;

    return getpid() == mt_disk_writer && getrlimit(RLIMIT_FSIZE, &lim) == 0 &&
           lim.rlim_cur == RLIM_INFINITY && stat(mt_disk_dir, &s) == 0 && S_ISDIR(s.st_mode) &&
           diskcache_is_own(&s);
}

void diskcache_save(Thread *t)
{
    const DiskNote *notes;
    u32 n = diskcache_notes(&notes);
    FreshList f = {0};
    Out o = {0};

    if (n < MT_DISK_NEW_MIN || n < mt_disk_file.nunits / MT_DISK_NEW_PART || !may_write()) {
        return;
    }
    f.list = malloc(n * sizeof(*f.list));
    f.units = reserve(MT_DISK_FILE_MAX);
    o.bytes = reserve(MT_DISK_FILE_MAX);
    if (f.list != NULL && f.units != NULL && o.bytes != NULL) {
        collect(t, &f);
        o.pages = malloc((mt_disk_file.npages + f.n + 1u) * sizeof(DiskPage));
        if (f.n > 0 && o.pages != NULL) {
            merge(&o, &mt_disk_file, &f);
            if (o.full) { /* what is new is more likely to be used */
                const DiskFile none = {0};

                o.n = o.npages = o.nunits = 0;
                o.full = false;
                merge(&o, &none, &f);
            }
            write_out(&o);
        }
    }
    release(f.units);
    release(o.bytes);
    free(f.list);
    free(o.pages);
}
