/* SPDX-License-Identifier: BSD-2-Clause
 * procmaps.c -- /proc/PID/maps and smaps as the guest sees them.
 * Role:       intersects the kernel's text with the guest's address space: devices, inodes, names
 *             and statistics are the kernel's; what is there, and its permissions, is aspace's (the
 *             kernel knows pages with translations as write-protected).
 * Invariants: M1. lines are in order and disjoint, as the kernel's.
 *             M2. a mapping that the runtime split by protecting pages is one line in maps; smaps
 *                 keeps the kernel's parts, as its statistics are per part. */
#include "guest/aspace.h"
#include "guest/layout.h"
#include "sys/procfs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { NAME_COLUMN = 73 };

typedef struct GuestRange {
    GuestAddr start, end;
    int prot;
} GuestRange;

/* One line to be written. */
typedef struct MapLine {
    GuestAddr start, end;
    char perms[5];
    u64 offset, inode;
    char dev[16];
    const char *name;
    const GuestRange *range; /* where it comes from: */
    const char *source;      /* the kernel's line */
} MapLine;

typedef struct MapWriter {
    FILE *out;
    GuestRange *ranges;
    size_t n, cap;
    bool no_memory;
    GuestAddr initial_sp, brk_end;
    MapLine held; /* maps only: may still grow; start == end: none */
} MapWriter;

static bool add_range(const AspaceInfo *m, void *arg)
{
    MapWriter *w = arg;
    if (w->n == w->cap) {
        size_t cap = w->cap ? 2 * w->cap : 256;
        GuestRange *p = realloc(w->ranges, cap * sizeof(*p));
        if (!p) {
            w->no_memory = true;
            return false;
        }
        w->ranges = p;
        w->cap = cap;
    }
    w->ranges[w->n++] = (GuestRange){m->start, m->end, m->prot};
    return true;
}

/* The first range that ends behind addr; w->n if there is none. */
static size_t first_range(const MapWriter *w, GuestAddr addr)
{
    size_t lo = 0, hi = w->n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (w->ranges[mid].end <= addr) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

static bool is_shared_with_host(const char *name)
{
    return strncmp(name, "[vdso", 5) == 0 || strncmp(name, "[vvar", 5) == 0 ||
           strncmp(name, "[vsyscall", 9) == 0;
}

static void write_line(MapWriter *w, const MapLine *l)
{
    const char *name = l->name;
    if (strcmp(name, "[stack]") == 0 || strcmp(name, "[heap]") == 0) {
        name = ""; /* the runtime's */
    }
    if (w->initial_sp >= l->start && w->initial_sp < l->end) {
        name = "[stack]";
    } else if (!l->inode && !*name && l->start < w->brk_end && l->end > mt_layout.brk_base) {
        name = "[heap]";
    }
    int n = fprintf(w->out, "%08llx-%08llx %s %08llx %s %llu ", (unsigned long long)l->start,
                    (unsigned long long)l->end, l->perms, (unsigned long long)l->offset, l->dev,
                    (unsigned long long)l->inode);
    if (*name) {
        fprintf(w->out, "%*s%s", n < NAME_COLUMN ? NAME_COLUMN - n : 0, "", name);
    }
    fputc('\n', w->out);
}

static void flush_held(MapWriter *w)
{
    if (w->held.start != w->held.end) {
        write_line(w, &w->held);
        w->held.end = w->held.start;
    }
}

/* M2. */
static bool continues(const MapLine *a, const MapLine *b)
{
    return a->start != a->end && a->end == b->start && b->start != mt_layout.brk_base &&
           (a->range == b->range || a->source == b->source) && strcmp(a->perms, b->perms) == 0 &&
           strcmp(a->dev, b->dev) == 0 && a->inode == b->inode && strcmp(a->name, b->name) == 0 &&
           (!a->inode || b->offset == a->offset + (a->end - a->start));
}

static void put_line(MapWriter *w, const MapLine *l, const char *details, size_t details_len)
{
    if (details_len) {
        write_line(w, l);
        fwrite(details, 1, details_len, w->out);
    } else if (continues(&w->held, l)) {
        w->held.end = l->end;
    } else {
        flush_held(w);
        w->held = *l;
    }
}

/* The part of the kernel's line that the guest mapped as `r`. */
static MapLine cut_line(const MapLine *line, const GuestRange *r)
{
    MapLine l = *line;
    l.range = r;
    l.start = l.start > r->start ? l.start : r->start;
    l.end = l.end < r->end ? l.end : r->end;
    l.offset += l.inode ? l.start - line->start : 0;
    l.perms[0] = r->prot & PROT_READ ? 'r' : '-';
    l.perms[1] = r->prot & PROT_WRITE ? 'w' : '-';
    l.perms[2] = r->prot & PROT_EXEC ? 'x' : '-';
    return l;
}

static bool parse_line(char *text, MapLine *l)
{
    unsigned long long start, end, offset, inode;
    int name = 0;
    *l = (MapLine){.source = text};
    if (sscanf(text, "%llx-%llx %4s %llx %15s %llu %n", &start, &end, l->perms, &offset, l->dev,
               &inode, &name) != 6) {
        return false;
    }
    l->start = start;
    l->end = end;
    l->offset = offset;
    l->inode = inode;
    l->name = text + name;
    return true;
}

/* One mapping of the kernel's with its statistics (smaps). */
static void put_mapping(MapWriter *w, const MapLine *line, const char *details, size_t details_len)
{
    if (is_shared_with_host(line->name)) {
        put_line(w, line, details, details_len);
        return;
    }
    for (size_t i = first_range(w, line->start); i < w->n && w->ranges[i].start < line->end; i++) {
        MapLine l = cut_line(line, &w->ranges[i]);
        put_line(w, &l, details, details_len);
    }
}

/* smaps: a mapping's statistics go up to the next line that starts like an address. */
static char *details_end(char *p)
{
    while (*p && !((*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'f'))) {
        char *nl = strchr(p, '\n');
        p = nl ? nl + 1 : p + strlen(p);
    }
    return p;
}

int procmaps_write(FILE *out, char *in, GuestAddr initial_sp)
{
    MapWriter w = {.out = out, .initial_sp = initial_sp};
    w.brk_end = (GuestAddr)aspace_brk(0);
    aspace_foreach(add_range, &w);
    while (*in && !w.no_memory) {
        char *nl = strchr(in, '\n');
        if (!nl) {
            break;
        }
        *nl = '\0';
        MapLine line;
        bool good = parse_line(in, &line);
        char *next = details_end(nl + 1);
        if (good) {
            put_mapping(&w, &line, nl + 1, (size_t)(next - (nl + 1)));
        }
        in = next;
    }
    flush_held(&w);
    free(w.ranges);
    return w.no_memory ? -ENOMEM : 0;
}
