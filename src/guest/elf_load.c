/* SPDX-License-Identifier: BSD-2-Clause
 * elf_load.c -- maps a program and its interpreter as execve(2) does.
 * Role:       all mappings go through aspace; position-independent images into the image window.
 * Relies on:  elf_read.c's E1.
 * Differs:    a program at fixed addresses that are not free (the runtime lies there) is refused. A
 *             file that is cut off is refused instead of dying by SIGBUS. */
#include "base/heap.h"
#include "base/safe.h"
#include "guest/aspace.h"
#include "guest/aspace_int.h"
#include "guest/elf_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct LoadedFile {
    u64 bias;
    GuestAddr lo, hi;
    GuestAddr end; /* highest byte of a segment + 1 */
} LoadedFile;

static int segment_prot(const Elf64_Phdr *p)
{
    return ((p->p_flags & PF_R) != 0 ? PROT_READ : 0) |
           ((p->p_flags & PF_W) != 0 ? PROT_WRITE : 0) | ((p->p_flags & PF_X) != 0 ? PROT_EXEC : 0);
}

static int map_error(const ElfFile *f, i64 r, GuestAddr at, ExecError *err)
{
    if (at == 0) {
        return exec_fail(err, (int)-r, 1, "%s: no room for it below 2 GiB or elsewhere: %s",
                         f->name, strerror((int)-r));
    }
    return exec_fail(err, (int)-r, 1, "%s: cannot map a segment at 0x%lx: %s", f->name, (long)at,
                     r == -EEXIST ? "the address is in use" : strerror((int)-r));
}

/* A file that shrinks meanwhile is an error and not a SIGBUS. */
static bool zero_guest(GuestAddr at, u64 n)
{
    static const char zeros[MT_PAGE_SIZE];
    return safe_write(at, zeros, n) == 0;
}

/* What is behind the file's part: the rest of its last page is zeroed, whole pages are anonymous.
 * Like the kernel, leaves the rest of a page alone that isn't writable. */
static i64 map_bss(const Elf64_Phdr *p, GuestAddr start, GuestAddr file_end, GuestAddr end)
{
    GuestAddr pages = p->p_filesz != 0 ? MT_PAGE_UP(file_end) : MT_PAGE_DOWN(start);
    if (end > pages) {
        int prot = PROT_READ | PROT_WRITE | (segment_prot(p) & PROT_EXEC);
        i64 r = aspace_mmap(pages, MT_PAGE_UP(end) - pages, prot,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        if (r < 0) {
            return r;
        }
    }
    if (file_end < pages && (p->p_flags & PF_W) != 0 && !zero_guest(file_end, pages - file_end)) {
        return -EFAULT;
    }
    return 0;
}

static i64 map_segment(const ElfFile *f, const Elf64_Phdr *p, u64 bias)
{
    GuestAddr start = p->p_vaddr + bias, file_end = start + p->p_filesz;
    GuestAddr page = MT_PAGE_DOWN(start);
    if (p->p_filesz != 0) {
        i64 r = aspace_mmap(page, MT_PAGE_UP(file_end) - page, segment_prot(p),
                            MAP_PRIVATE | MAP_FIXED, f->fd, MT_PAGE_DOWN(p->p_offset));
        if (r < 0) {
            return r;
        }
    }
    return p->p_memsz > p->p_filesz ? map_bss(p, start, file_end, start + p->p_memsz) : 0;
}

/* The pages of a PT_LOAD, before relocation. */
typedef struct Range {
    GuestAddr lo, hi;
} Range;

static int by_address(const void *a, const void *b)
{
    const Range *x = a, *y = b;
    return (x->lo > y->lo) - (x->lo < y->lo);
}

static bool is_load(const Elf64_Phdr *p)
{
    return p->p_type == PT_LOAD && p->p_memsz != 0;
}

/* Sorted by address, of the heap; NULL: no memory. */
static Range *sorted_ranges(const ElfFile *f, u32 *count)
{
    Range *r = heap_alloc(f->ehdr.e_phnum * sizeof(*r));
    u32 n = 0;
    for (unsigned i = 0; r != NULL && i < f->ehdr.e_phnum; i++) {
        const Elf64_Phdr *p = &f->phdrs[i];
        if (is_load(p)) {
            r[n++] = (Range){MT_PAGE_DOWN(p->p_vaddr), MT_PAGE_UP(p->p_vaddr + p->p_memsz)};
        }
    }
    if (r != NULL) {
        qsort(r, n, sizeof(*r), by_address);
    }
    *count = n;
    return r;
}

/* Of an image at fixed addresses each segment: what lies between may be anything, and larger than
 * the address space has room for. */
static i64 reserve_fixed(const ElfFile *f, const Range *ranges, u32 n, GuestAddr *at)
{
    GuestAddr done = 0;
    for (u32 i = 0; i < n; i++) {
        GuestAddr lo = ranges[i].lo, hi = ranges[i].hi;
        *at = lo < done ? done : lo;
        i64 r = hi <= *at
                    ? 0
                    : aspace_mmap(*at, hi - *at, PROT_NONE,
                                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE,
                                  -1, 0);
        if (r < 0) {
            return r;
        }
        done = hi > done ? hi : done;
    }
    return (i64)f->lo;
}

/* Room for the image, so that segments can be mapped over it one by one; the address, or -errno and
 * the place that isn't free (0: none is). */
static i64 reserve(const ElfFile *f, const Range *ranges, u32 n, GuestAddr *at)
{
    *at = 0;
    if (f->ehdr.e_type != ET_DYN) {
        return reserve_fixed(f, ranges, n, at);
    }
    i64 r = aspace_reserve_image(f->hi - f->lo, f->align);
    return r == -EEXIST ? -ENOMEM : r;
}

/* The kernel leaves no reservation between segments. */
static void free_gaps(const Range *ranges, u32 n, u64 bias)
{
    GuestAddr done = ranges[0].lo;
    for (u32 i = 0; i < n; i++) {
        if (ranges[i].lo > done) {
            aspace_munmap(done + bias, ranges[i].lo - done);
        }
        done = ranges[i].hi > done ? ranges[i].hi : done;
    }
}

static int load_ranges(const ElfFile *f, const Range *ranges, u32 n, LoadedFile *out,
                       ExecError *err)
{
    GuestAddr taken;
    i64 at = reserve(f, ranges, n, &taken);
    if (at < 0) {
        return map_error(f, at, taken, err);
    }
    *out = (LoadedFile){.bias = (u64)at - f->lo, .lo = (u64)at, .hi = (u64)at - f->lo + f->hi};
    for (unsigned i = 0; i < f->ehdr.e_phnum; i++) {
        const Elf64_Phdr *p = &f->phdrs[i];
        if (!is_load(p)) {
            continue;
        }
        i64 r = map_segment(f, p, out->bias);
        if (r < 0) {
            return map_error(f, r, MT_PAGE_DOWN(p->p_vaddr + out->bias), err);
        }
        GuestAddr end = p->p_vaddr + p->p_memsz + out->bias;
        out->end = end > out->end ? end : out->end;
    }
    if (f->ehdr.e_type == ET_DYN) {
        free_gaps(ranges, n, out->bias);
    }
    return 0;
}

static int load_file(const ElfFile *f, LoadedFile *out, ExecError *err)
{
    u32 n;
    Range *ranges = sorted_ranges(f, &n);
    int r = ranges != NULL ? load_ranges(f, ranges, n, out, err)
                           : exec_fail(err, ENOMEM, 1, "%s: out of memory", f->name);
    heap_free(ranges);
    return r;
}

/* Where the program headers are in memory: the last segment that holds them counts; if none does,
 * where the image's address 0 would be (the kernel adds the bias all the same). */
static GuestAddr find_phdr(const ElfFile *f, u64 bias)
{
    GuestAddr at = 0;
    for (unsigned i = 0; i < f->ehdr.e_phnum; i++) {
        const Elf64_Phdr *p = &f->phdrs[i];
        if (p->p_type == PT_LOAD && p->p_offset <= f->ehdr.e_phoff &&
            f->ehdr.e_phoff - p->p_offset < p->p_filesz) {
            at = f->ehdr.e_phoff - p->p_offset + p->p_vaddr;
        }
    }
    return at + bias;
}

/* Without PT_GNU_STACK the stack of a 64-bit program isn't executable (Linux 5.8 and later). */
static bool wants_exec_stack(const ElfFile *f)
{
    for (unsigned i = 0; i < f->ehdr.e_phnum; i++) {
        if (f->phdrs[i].p_type == PT_GNU_STACK) {
            return (f->phdrs[i].p_flags & PF_X) != 0;
        }
    }
    return false;
}

static int open_interp(const char *path, const char *program, ExecError *err)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        return exec_fail(err, errno, 1, "%s: its interpreter %s can't be opened: %s", program, path,
                         strerror(errno));
    }
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) ||
        faccessat(AT_FDCWD, path, X_OK, AT_EACCESS)) {
        close(fd);
        return exec_fail(err, EACCES, 1, "%s: its interpreter %s is not an executable file",
                         program, path);
    }
    return fd;
}

static int load_interp(const char *path, const char *program, ElfImage *out, ExecError *err)
{
    ElfFile f;
    LoadedFile loaded;
    int fd = open_interp(path, program, err);
    if (fd < 0) {
        return -1;
    }
    int r = elf_open(fd, path, program, &f, err);
    if (r == 0) {
        r = load_file(&f, &loaded, err);
        if (r == 0) {
            out->entry = f.ehdr.e_entry + loaded.bias;
            out->interp_base = loaded.bias;
        }
        elf_close(&f);
    }
    close(fd);
    return r;
}

static int load_program(const ElfFile *f, ElfImage *out, ExecError *err)
{
    LoadedFile loaded;
    char *interp;
    if (elf_interp_path(f, &interp, err) != 0) {
        return -1;
    }
    int r = load_file(f, &loaded, err);
    if (r == 0) {
        out->prog_entry = out->entry = f->ehdr.e_entry + loaded.bias;
        out->phdr = find_phdr(f, loaded.bias);
        out->phnum = f->ehdr.e_phnum;
        out->phent = f->ehdr.e_phentsize;
        out->brk_start = MT_PAGE_UP(loaded.end);
        out->fixed = f->ehdr.e_type == ET_EXEC;
        out->exec_stack = wants_exec_stack(f);
        out->load_lo = loaded.lo;
        out->load_hi = loaded.hi;
        if (interp != NULL) {
            r = load_interp(interp, f->name, out, err);
        }
    }
    heap_free(interp);
    return r;
}

bool elf_fixed_range(const ExecTarget *t, GuestAddr *lo, GuestAddr *hi)
{
    ElfFile f;
    ExecError err;
    if (elf_open(t->fd, t->path, NULL, &f, &err) != 0) {
        return false;
    }
    bool fixed = f.ehdr.e_type == ET_EXEC;
    if (fixed) {
        *lo = f.lo;
        *hi = f.hi;
    }
    elf_close(&f);
    return fixed;
}

int elf_load(const ExecTarget *t, ElfImage *out, ExecError *err)
{
    ElfFile f;
    memset(out, 0, sizeof(*out));
    if (elf_open(t->fd, t->path, NULL, &f, err) != 0) {
        return -1;
    }
    int r = load_program(&f, out, err);
    elf_close(&f);
    return r;
}
