/* SPDX-License-Identifier: BSD-2-Clause
 * test_aspace.c -- the guest's address space against the kernel: the same random calls are made
 * through aspace in one arena and with system calls in another; results, protections and contents
 * must be equal, and the map must agree with /proc/self/maps. */
/* layers: mt_base mt_guest */
#include "guest/aspace.h"
#include "guest/aspace_int.h"
#include "guest/hostmaps.h"
#include "guest/layout.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGES 128
#define ARENA (PAGES * MT_PAGE_SIZE)

static GuestAddr guest, mirror; /* the two arenas */
static int file_fd;
static u64 rng;
static u64 hook_calls;

static u32 rnd(u32 n)
{
    rng = rng * 6364136223846793005ull + 1442695040888963407ull;
    return (u32)((rng >> 33) % n);
}

static void hook(GuestAddr start, GuestAddr end, int new_prot)
{
    assert_true(start < end && new_prot >= -1 && new_prot < 8);
    hook_calls++;
}

static i64 sys(long r)
{
    return r == -1 ? -errno : r;
}

/* --- what /proc/self/maps says of a range, page by page: -1 or PROT_* --- */

typedef struct Picture {
    GuestAddr base;
    signed char page[PAGES];
} Picture;

static bool picture_step(const HostMap *m, void *arg)
{
    Picture *p = arg;
    for (unsigned i = 0; i < PAGES; i++) {
        GuestAddr a = p->base + i * MT_PAGE_SIZE;
        if (a >= m->start && a < m->end) {
            p->page[i] = (signed char)m->prot;
        }
    }
    return true;
}

static bool picture_info(const AspaceInfo *info, void *arg)
{
    const HostMap m = {.start = info->start, .end = info->end, .prot = info->prot};
    return picture_step(&m, arg);
}

static void take_picture(Picture *p, GuestAddr base, bool of_host)
{
    p->base = base;
    memset(p->page, -1, sizeof(p->page));
    if (of_host) {
        assert_int_equal(hostmaps_foreach(picture_step, p), 0);
    } else {
        aspace_foreach(picture_info, p);
    }
}

/* --- which part of a file is mapped, page by page; 0: none --- */

typedef struct FilePicture {
    GuestAddr base;
    u64 at[PAGES]; /* the offset and 1 */
} FilePicture;

static void file_picture_add(FilePicture *p, GuestAddr start, GuestAddr end, u64 offset)
{
    for (unsigned i = 0; i < PAGES; i++) {
        GuestAddr a = p->base + i * MT_PAGE_SIZE;
        if (a >= start && a < end) {
            p->at[i] = offset + (a - start) + 1;
        }
    }
}

static bool file_picture_info(const AspaceInfo *info, void *arg)
{
    if (info->ino != 0) {
        file_picture_add(arg, info->start, info->end, info->offset);
    }
    return true;
}

static void compare_files(void)
{
    static FilePicture a, b, c;
    unsigned long start, end, offset, inode;
    char line[512];
    FILE *f = fopen("/proc/self/maps", "re");
    assert_non_null(f);
    a = (FilePicture){.base = guest};
    b = a;
    c = (FilePicture){.base = mirror};
    aspace_foreach(file_picture_info, &a);
    while (fgets(line, sizeof(line), f) != NULL) {
        /* Shared anonymous memory is a file of the kernel's. */
        if (sscanf(line, "%lx-%lx %*s %lx %*s %lu", &start, &end, &offset, &inode) == 4 &&
            inode != 0 && strstr(line, "/dev/zero") == NULL) {
            file_picture_add(&b, start, end, offset);
            file_picture_add(&c, start, end, offset);
        }
    }
    fclose(f);
    assert_memory_equal(a.at, b.at, sizeof(a.at));
    assert_memory_equal(a.at, c.at, sizeof(a.at));
}

/* By the kernel, because pages behind a file's end (after mremap) give SIGBUS. */
static bool copy(void *own, GuestAddr at, size_t n, bool write)
{
    struct iovec l = {own, n}, g = {(void *)at, n};
    return (write ? process_vm_writev(getpid(), &l, 1, &g, 1, 0)
                  : process_vm_readv(getpid(), &l, 1, &g, 1, 0)) == (ssize_t)n;
}

static void compare(void)
{
    static Picture a, b, c;
    take_picture(&a, guest, false);
    take_picture(&b, guest, true);
    take_picture(&c, mirror, true);
    assert_memory_equal(a.page, b.page, sizeof(a.page));
    assert_memory_equal(a.page, c.page, sizeof(a.page));
    for (unsigned i = 0; i < PAGES; i++) {
        static char x[MT_PAGE_SIZE], y[MT_PAGE_SIZE];
        const u64 off = i * MT_PAGE_SIZE;
        if (a.page[i] >= 0 && (a.page[i] & PROT_READ) != 0) {
            assert_int_equal(copy(x, guest + off, sizeof(x), false),
                             copy(y, mirror + off, sizeof(y), false));
            assert_memory_equal(x, y, sizeof(x));
        }
    }
}

static void scribble(void)
{
    static Picture p;
    take_picture(&p, guest, true);
    for (int i = 0; i < 8; i++) {
        unsigned page = rnd(PAGES);
        u32 v = rnd(1u << 30);
        if (p.page[page] >= 0 && (p.page[page] & PROT_WRITE) != 0) {
            copy(&v, guest + page * MT_PAGE_SIZE + 8, sizeof(v), true);
            copy(&v, mirror + page * MT_PAGE_SIZE + 8, sizeof(v), true);
        }
    }
}

static bool print_info(const AspaceInfo *i, void *arg)
{
    printf("guest %lx-%lx prot %d flags %x offset %lx\n", (long)i->start, (long)i->end, i->prot,
           (unsigned)i->flags, (long)i->offset);
    return true;
}

static bool print_host(const HostMap *m, void *arg)
{
    printf("host %lx-%lx prot %d %s\n", (long)m->start, (long)m->end, m->prot, m->name);
    return true;
}

/* Equal errors, or equal offsets in the arenas. */
static void same_result(const char *what, i64 g, i64 m)
{
    if (g > 0x1000 && m > 0x1000) {
        g -= (i64)guest;
        m -= (i64)mirror;
    }
    if (g != m) {
        aspace_foreach(print_info, NULL);
        hostmaps_foreach(print_host, NULL);
        printf("%s: %ld through aspace, %ld by the kernel\n", what, (long)g, (long)m);
    }
    assert_int_equal(g, m);
}

static void random_mmap(u64 off, u64 len)
{
    int flags = (rnd(4) ? MAP_PRIVATE : MAP_SHARED) | (rnd(3) ? MAP_FIXED : MAP_FIXED_NOREPLACE);
    int prot = (int)rnd(8), fd = -1;
    u64 file_off = 0;
    if (rnd(2)) {
        flags |= MAP_ANONYMOUS;
    } else {
        flags = MAP_PRIVATE | (flags & ~MAP_TYPE); /* shared file pages would tie the arenas */
        fd = rnd(10) ? file_fd : -1;
        file_off = rnd(PAGES) * MT_PAGE_SIZE + (rnd(20) ? 0 : 8);
    }
    if (rnd(16) == 0) {
        off += 16;
    }
    if (rnd(16) == 0) {
        len = rnd(2) ? 0 : ~0ull - rnd(8192);
    }
    if (rnd(16) == 0) {
        flags = (flags & ~MAP_TYPE) | MAP_SHARED_VALIDATE;
    }
    same_result("mmap", aspace_mmap(guest + off, len, prot, flags, fd, file_off),
                sys(syscall(SYS_mmap, mirror + off, len, prot, flags, fd, file_off)));
}

static void random_mremap(u64 off, u64 len)
{
    u64 new_len = rnd(3) ? len : (1 + rnd(12)) * MT_PAGE_SIZE;
    u64 to = rnd(PAGES - 12) * MT_PAGE_SIZE;
    int flags = rnd(3) ? MREMAP_MAYMOVE | MREMAP_FIXED : 0;
    if (rnd(8) == 0 && flags != 0) {
        flags |= MREMAP_DONTUNMAP;
    }
    if (rnd(12) == 0) {
        flags ^= 1 << rnd(4);
    }
    if (flags == MREMAP_MAYMOVE || (flags & MREMAP_FIXED) == 0) {
        flags &= ~(MREMAP_MAYMOVE | MREMAP_DONTUNMAP); /* must stay in the arena */
    }
    if (rnd(16) == 0) {
        len = 0;
    }
    if (off + new_len > ARENA || to + new_len > ARENA) {
        return;
    }
    if (getenv("MT_TEST_TRACE") != NULL) {
        printf("mremap(%lx, %lx, %lx, %x, %lx)\n", (long)off, (long)len, (long)new_len, flags,
               (long)to);
    }
    same_result("mremap", aspace_mremap(guest + off, len, new_len, flags, guest + to),
                sys(syscall(SYS_mremap, mirror + off, len, new_len, flags, mirror + to)));
}

static void random_call(void)
{
    static const int advice[] = {MADV_DONTNEED, MADV_WILLNEED, MADV_DONTFORK,
                                 MADV_DOFORK,   12345,         MADV_NORMAL};
    u64 off = rnd(PAGES - 12) * MT_PAGE_SIZE, len = (1 + rnd(12)) * MT_PAGE_SIZE;
    int prot = (int)rnd(rnd(10) ? 8 : 64);
    int adv = advice[rnd(MT_ARRAY_SIZE(advice))];
    switch (rnd(9)) {
    case 0:
    case 1:
    case 2: random_mmap(off, len); break;
    case 3:
        same_result("munmap", aspace_munmap(guest + off, len),
                    sys(syscall(SYS_munmap, mirror + off, len)));
        break;
    case 4:
    case 5:
        same_result("mprotect", aspace_mprotect(guest + off, len, prot, -1),
                    sys(syscall(SYS_mprotect, mirror + off, len, prot)));
        break;
    case 6:
        same_result("madvise", aspace_madvise(guest + off, len, adv),
                    sys(syscall(SYS_madvise, mirror + off, len, adv)));
        break;
    default: random_mremap(off, len);
    }
}

static void same_as_kernel(void **state)
{
    const char *given = getenv("MT_TEST_SEED");
    u64 first = given != NULL ? strtoull(given, NULL, 0) : 1;
    for (u64 seed = first; seed < first + 6; seed++) {
        rng = seed;
        for (int i = 0; i < 1500; i++) {
            random_call();
            scribble();
            compare();
            if (i % 8 == 0) {
                compare_files();
            }
        }
        assert_int_equal(aspace_munmap(guest, ARENA), 0);
        assert_int_equal(munmap((void *)mirror, ARENA), 0);
        compare();
    }
    assert_true(hook_calls > 0);
}

/* --- the runtime's memory --- */

static void runtime_is_out_of_reach(void **state)
{
    char *own = mmap(NULL, 2 * MT_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                     -1, 0);
    GuestAddr a = (GuestAddr)own;
    const int anon = MAP_PRIVATE | MAP_ANONYMOUS;
    own[0] = 1;
    assert_int_equal(aspace_mmap(a, MT_PAGE_SIZE, PROT_READ, anon | MAP_FIXED, -1, 0), -ENOMEM);
    assert_int_equal(aspace_mmap(a, MT_PAGE_SIZE, PROT_READ, anon | MAP_FIXED_NOREPLACE, -1, 0),
                     -EEXIST);
    assert_int_equal(aspace_munmap(a, MT_PAGE_SIZE), 0);
    assert_int_equal(aspace_mprotect(a, MT_PAGE_SIZE, PROT_NONE, -1), -ENOMEM);
    assert_int_equal(aspace_madvise(a, MT_PAGE_SIZE, MADV_DONTNEED), -ENOMEM);
    assert_int_equal(aspace_mremap(a, MT_PAGE_SIZE, MT_PAGE_SIZE * 2, MREMAP_MAYMOVE, 0), -EFAULT);
    assert_int_equal(own[0], 1);
    assert_true(aspace_is_runtime(a, 1));
    assert_true(aspace_is_runtime(a - MT_PAGE_SIZE, 3 * MT_PAGE_SIZE));
    assert_false(aspace_query(a, &(AspaceInfo){0}));
    /* The code cache's reservation. */
    assert_int_equal(aspace_mmap(mt_layout.cache_base - MT_PAGE_SIZE, 2 * MT_PAGE_SIZE, PROT_READ,
                                 anon | MAP_FIXED, -1, 0),
                     -ENOMEM);
    assert_false(aspace_is_runtime(mt_layout.cache_base - MT_PAGE_SIZE, MT_PAGE_SIZE));
    assert_true(aspace_is_runtime(mt_layout.cache_base, mt_layout.cache_size));
    /* A hint there is only a hint. */
    i64 r = aspace_mmap(a, MT_PAGE_SIZE, PROT_READ, anon, -1, 0);
    assert_true(r > 0 && (GuestAddr)r != a);
    assert_false(aspace_is_runtime((GuestAddr)r, MT_PAGE_SIZE));
    assert_int_equal(aspace_munmap((GuestAddr)r, MT_PAGE_SIZE), 0);
    munmap(own, 2 * MT_PAGE_SIZE);
}

/* Something of the host's lies in the anon region: new mappings go round it. */
static void foreign_memory_is_avoided(void **state)
{
    const int anon = MAP_PRIVATE | MAP_ANONYMOUS;
    i64 r = aspace_mmap(0, MT_PAGE_SIZE, PROT_READ, anon, -1, 0);
    GuestAddr below = (GuestAddr)r - 16 * MT_PAGE_SIZE;
    assert_true(r > 0);
    assert_int_equal(
        sys(syscall(SYS_mmap, below, MT_PAGE_SIZE, PROT_NONE, anon | MAP_FIXED_NOREPLACE, -1, 0)),
        below);
    i64 r2 = aspace_mmap(0, 64 * MT_PAGE_SIZE, PROT_READ, anon, -1, 0);
    assert_true(r2 > 0 && (GuestAddr)r2 + 64 * MT_PAGE_SIZE <= below);
    assert_true(aspace_is_runtime(below, 1));
    munmap((void *)below, MT_PAGE_SIZE);
    assert_false(aspace_is_runtime(below, 1));
    /* It is gone: the guest may have the place. */
    assert_int_equal(aspace_mmap(below, MT_PAGE_SIZE, PROT_READ, anon | MAP_FIXED, -1, 0), below);
    assert_int_equal(aspace_munmap(below, MT_PAGE_SIZE), 0);
    assert_int_equal(aspace_munmap((GuestAddr)r, MT_PAGE_SIZE), 0);
    assert_int_equal(aspace_munmap((GuestAddr)r2, 64 * MT_PAGE_SIZE), 0);
}

/* --- placement --- */

static bool in_image(i64 a)
{
    return (u64)a >= mt_layout.image_lo && (u64)a < mt_layout.image_hi;
}

static bool in_anon(i64 a)
{
    return (u64)a >= mt_layout.anon_lo && (u64)a < mt_layout.anon_hi;
}

static bool in_huge(i64 a)
{
    return (u64)a >= mt_layout.huge_lo && (u64)a < mt_layout.huge_hi;
}

static void regions(void **state)
{
    const int anon = MAP_PRIVATE | MAP_ANONYMOUS;
    i64 a = aspace_mmap(0, MT_PAGE_SIZE, PROT_READ, anon, -1, 0);
    i64 b = aspace_mmap(0, MT_PAGE_SIZE, PROT_READ | PROT_EXEC, anon, -1, 0);
    i64 c = aspace_mmap(0, MT_PAGE_SIZE, PROT_READ, MAP_PRIVATE, file_fd, 0);
    i64 d = aspace_mmap(0, MT_PAGE_SIZE, PROT_READ, anon | MAP_32BIT, -1, 0);
    i64 e = aspace_mmap(0, 8ul << 20, PROT_READ, anon, -1, 0);
    i64 f = aspace_mmap(0, 4ul << 40, PROT_NONE, anon | MAP_NORESERVE, -1, 0);
    assert_true(in_anon(a) && in_image(b) && in_image(c) && in_image(d) && in_anon(e) &&
                in_huge(f));
    assert_int_equal(e & ((2l << 20) - 1), 0);
    assert_int_equal(aspace_munmap((GuestAddr)f, 4ul << 40), 0);
    assert_int_equal(aspace_munmap((GuestAddr)e, 8ul << 20), 0);
    AspaceInfo info;
    assert_true(aspace_query((GuestAddr)c, &info));
    assert_true(info.ino != 0 && info.path == NULL && (info.flags & MAP_ANONYMOUS) == 0);
    assert_true(aspace_is_exec((GuestAddr)b) && !aspace_is_exec((GuestAddr)a));
    const i64 all[] = {a, b, c, d};
    for (size_t i = 0; i < MT_ARRAY_SIZE(all); i++) {
        assert_int_equal(aspace_munmap((GuestAddr)all[i], MT_PAGE_SIZE), 0);
        assert_false(aspace_query((GuestAddr)all[i], &info));
    }
    /* As AddressSanitizer lays out its shadow. */
    const u64 shadow = 0x7fff8000, shadow_len = 0x10007fff8000 - shadow;
    if (!aspace_is_runtime(shadow, shadow_len)) { /* this test may itself be run so */
        i64 s = aspace_mmap(shadow, shadow_len, PROT_NONE, anon | MAP_FIXED | MAP_NORESERVE, -1, 0);
        assert_int_equal(s, shadow);
        assert_int_equal(aspace_munmap(shadow, shadow_len), 0);
    }
    assert_int_equal(aspace_mmap(0, 1ull << 47, PROT_NONE, anon | MAP_NORESERVE, -1, 0), -ENOMEM);
    assert_int_equal(aspace_mmap(0, MT_PAGE_SIZE, PROT_READ, MAP_PRIVATE, -1, 0), -EBADF);
    assert_int_equal(aspace_mmap(0x10, MT_PAGE_SIZE, PROT_READ, anon | MAP_FIXED, -1, 0), -EINVAL);
}

static void moving(void **state)
{
    const int anon = MAP_PRIVATE | MAP_ANONYMOUS;
    i64 a = aspace_mmap(0, 4 * MT_PAGE_SIZE, PROT_READ | PROT_WRITE, anon, -1, 0);
    strcpy((char *)a, "kept");
    i64 b = aspace_mremap((GuestAddr)a, 4 * MT_PAGE_SIZE, 64ul << 20, MREMAP_MAYMOVE, 0);
    assert_true(in_anon(b));
    assert_string_equal((char *)b, "kept");
    i64 c = aspace_mremap((GuestAddr)b, 64ul << 20, 64ul << 20, MREMAP_MAYMOVE | MREMAP_DONTUNMAP,
                          0);
    assert_true(in_anon(c) && c != b);
    assert_string_equal((char *)c, "kept");
    assert_string_equal((char *)b, "");
    assert_true(aspace_query((GuestAddr)b, &(AspaceInfo){0}));
    assert_int_equal(aspace_mremap((GuestAddr)c, 64ul << 20, MT_PAGE_SIZE, 0, 0), c);
    assert_false(aspace_query((GuestAddr)c + MT_PAGE_SIZE, &(AspaceInfo){0}));
    assert_int_equal(aspace_munmap((GuestAddr)c, MT_PAGE_SIZE), 0);
    assert_int_equal(aspace_munmap((GuestAddr)b, 64ul << 20), 0);
    /* Pages of a file, moved within their mapping. */
    AspaceInfo info;
    i64 m = aspace_mmap(0, 4 * MT_PAGE_SIZE, PROT_READ, MAP_SHARED, file_fd, 0);
    assert_true(m > 0);
    assert_int_equal(aspace_remap_file_pages((GuestAddr)m + MT_PAGE_SIZE, MT_PAGE_SIZE, 0, 3, 0),
                     0);
    assert_true(aspace_query((GuestAddr)m + MT_PAGE_SIZE, &info));
    assert_int_equal(info.offset, 3 * MT_PAGE_SIZE);
    assert_true(aspace_query((GuestAddr)m, &info));
    assert_int_equal(info.end, m + MT_PAGE_SIZE);
    assert_int_equal(aspace_munmap((GuestAddr)m, 4 * MT_PAGE_SIZE), 0);
    /* A copy of a shared mapping. */
    i64 s = aspace_mmap(0, MT_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    i64 t = aspace_mremap((GuestAddr)s, 0, MT_PAGE_SIZE, MREMAP_MAYMOVE, 0);
    assert_true(t > 0 && t != s);
    strcpy((char *)s, "both");
    assert_string_equal((char *)t, "both");
    assert_int_equal(aspace_munmap((GuestAddr)s, MT_PAGE_SIZE), 0);
    assert_int_equal(aspace_munmap((GuestAddr)t, MT_PAGE_SIZE), 0);
}

/* --- brk, stack, shared memory, notes, fork --- */

static void program_break(void **state)
{
    GuestAddr start = (GuestAddr)aspace_brk(0);
    assert_int_equal(start, mt_layout.brk_base);
    assert_int_equal(aspace_brk(start + 100), start + 100);
    *(char *)start = 1;
    assert_int_equal(aspace_brk(start + (1 << 20)), start + (1 << 20));
    *(char *)(start + (1 << 20) - 1) = 1;
    assert_int_equal(aspace_brk(start - 1), start + (1 << 20));
    assert_int_equal(aspace_brk(start + 10), start + 10);
    assert_int_equal(*(char *)start, 1);
    assert_false(aspace_query(start + MT_PAGE_SIZE, &(AspaceInfo){0}));
    /* Another mapping is in the way. */
    i64 r = aspace_mmap(start + 4 * MT_PAGE_SIZE, MT_PAGE_SIZE, PROT_READ,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    assert_int_equal(r, start + 4 * MT_PAGE_SIZE);
    assert_int_equal(aspace_brk(start + 16 * MT_PAGE_SIZE), start + 10);
    assert_int_equal(aspace_munmap((GuestAddr)r, MT_PAGE_SIZE), 0);
    struct rlimit old, small = {.rlim_cur = 1 << 20, .rlim_max = RLIM_INFINITY};
    getrlimit(RLIMIT_DATA, &old);
    small.rlim_max = old.rlim_max;
    setrlimit(RLIMIT_DATA, &small);
    assert_int_equal(aspace_brk(start + (8 << 20)), start + 10);
    setrlimit(RLIMIT_DATA, &old);
    assert_int_equal(aspace_brk(start), start);
}

static void stack_grows(void **state)
{
    GuestAddr top = aspace_make_stack(false);
    AspaceInfo info;
    assert_int_equal(top, mt_layout.stack_top);
    assert_true(aspace_query(top - 1, &info));
    GuestAddr deep = top - (2ul << 20);
    assert_false(aspace_query(deep, &info));
    *(volatile char *)deep = 1; /* the kernel grows it */
    assert_true(aspace_query(deep, &info));
    assert_true(info.end == top && info.start <= deep);
    /* PROT_GROWSDOWN reaches to the stack's start. */
    assert_int_equal(aspace_mprotect(top - MT_PAGE_SIZE, MT_PAGE_SIZE,
                                     PROT_READ | PROT_WRITE | PROT_EXEC | PROT_GROWSDOWN, -1),
                     0);
    assert_true(aspace_is_exec(deep));
    assert_int_equal(aspace_munmap(info.start, top - info.start), 0);
}

static void shared_memory(void **state)
{
    int id = shmget(IPC_PRIVATE, 3 * MT_PAGE_SIZE + 5, IPC_CREAT | 0600);
    AspaceInfo info;
    if (id < 0) {
        skip();
    }
    i64 a = aspace_shmat(id, 0, 0);
    i64 b = aspace_shmat(id, 0, SHM_RDONLY);
    shmctl(id, IPC_RMID, NULL);
    assert_true(in_anon(a) && in_anon(b));
    *(char *)a = 7;
    assert_int_equal(*(char *)b, 7);
    assert_true(aspace_query((GuestAddr)b, &info));
    assert_int_equal(info.prot, PROT_READ);
    assert_int_equal(info.end - info.start, 4 * MT_PAGE_SIZE);
    assert_int_equal(aspace_shmdt((GuestAddr)a + MT_PAGE_SIZE), -EINVAL);
    assert_int_equal(aspace_shmdt((GuestAddr)a), 0);
    assert_int_equal(aspace_shmdt((GuestAddr)a), -EINVAL);
    assert_false(aspace_query((GuestAddr)a, &info));
    assert_true(aspace_query((GuestAddr)b, &info));
    assert_int_equal(aspace_shmdt((GuestAddr)b), 0);
    assert_int_equal(aspace_shmat(id, 0, 0), -EINVAL);
}

static void notes(void **state)
{
    void *own = mmap(NULL, MT_PAGE_SIZE, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    aspace_note((GuestAddr)own, MT_PAGE_SIZE, PROT_READ | PROT_EXEC, MAP_PRIVATE, "[vdso]");
    assert_true(aspace_is_exec((GuestAddr)own));
    assert_int_equal(aspace_munmap((GuestAddr)own, MT_PAGE_SIZE), 0);
    assert_true(aspace_is_exec((GuestAddr)own));
    assert_int_equal(aspace_mmap((GuestAddr)own, MT_PAGE_SIZE, PROT_READ,
                                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
                     -ENOMEM);
    assert_int_equal(aspace_mprotect((GuestAddr)own, MT_PAGE_SIZE, PROT_NONE, -1), -ENOMEM);
    assert_false(aspace_is_runtime((GuestAddr)own, MT_PAGE_SIZE));
}

/* The translator's write protection is invisible, and in nobody's way. */
static void write_protection(void **state)
{
    const int anon = MAP_PRIVATE | MAP_ANONYMOUS, rwx = PROT_READ | PROT_WRITE | PROT_EXEC;
    GuestAddr a = (GuestAddr)aspace_mmap(0, 4 * MT_PAGE_SIZE, rwx, anon, -1, 0);
    AspaceInfo info;
    aspace_lock();
    assert_int_equal(aspace_host_protect_locked(a + MT_PAGE_SIZE, MT_PAGE_SIZE, false), 0);
    aspace_unlock();
    assert_true(aspace_query(a + MT_PAGE_SIZE, &info));
    assert_int_equal(info.prot, rwx);
    assert_int_equal(info.end - info.start, 4 * MT_PAGE_SIZE);
    u64 before = hook_calls;
    i64 b = aspace_mremap(a, 4 * MT_PAGE_SIZE, 8 * MT_PAGE_SIZE, MREMAP_MAYMOVE, 0);
    assert_true(b > 0 && hook_calls > before);
    *(char *)(b + MT_PAGE_SIZE) = 1;
    assert_int_equal(aspace_munmap((GuestAddr)b, 8 * MT_PAGE_SIZE), 0);
}

static void dontfork(void **state)
{
    const int anon = MAP_PRIVATE | MAP_ANONYMOUS;
    GuestAddr a = (GuestAddr)aspace_mmap(0, 3 * MT_PAGE_SIZE, PROT_READ, anon, -1, 0);
    int status;
    assert_int_equal(aspace_madvise(a + MT_PAGE_SIZE, MT_PAGE_SIZE, MADV_DONTFORK), 0);
    aspace_lock();
    pid_t pid = fork();
    if (pid == 0) {
        AspaceInfo info;
        aspace_after_fork_child();
        _exit(aspace_query(a, &info) && !aspace_query(a + MT_PAGE_SIZE, &info) &&
                      aspace_query(a + 2 * MT_PAGE_SIZE, &info)
                  ? 0
                  : 1);
    }
    aspace_unlock();
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(aspace_munmap(a, 3 * MT_PAGE_SIZE), 0);
}

static int setup(void **state)
{
    assert_int_equal(layout_init(32ul << 20), 0);
    aspace_init(hook);
    file_fd = memfd_create("arena", MFD_CLOEXEC);
    for (u32 i = 0; i < 2 * PAGES; i++) {
        char page[MT_PAGE_SIZE];
        memset(page, (int)i, sizeof(page));
        assert_int_equal(write(file_fd, page, sizeof(page)), sizeof(page));
    }
    /* Two free places with free pages around them. */
    guest = mt_layout.huge_lo + (8ull << 40);
    mirror = mt_layout.huge_lo + (9ull << 40);
    return 0;
}

static bool find_step(const HostMap *m, void *arg)
{
    HostMap *found = arg;

    if (m->start <= found->start && found->start < m->end) {
        found->end = m->end;
        snprintf((char *)found->name, 16, "%s", m->name);
    }
    return true;
}

/* End of the mapping at addr by what was kept; 0: none. */
static u64 kept_end(void *addr, char *name)
{
    HostMap found = {.start = (u64)addr, .name = name};

    assert_int_equal(hostmaps_foreach_kept(find_step, &found), 0);
    return found.end;
}

static void kept_maps(void **state)
{
    char name[16] = "";
    void *p = mmap(NULL, MT_PAGE_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    hostmaps_keep();
    assert_int_not_equal(kept_end(p, name), 0);
    assert_int_not_equal(kept_end(&p, name), 0);
    assert_string_equal(name, "[stack]");
    assert_int_equal(munmap(p, MT_PAGE_SIZE), 0);
    assert_int_not_equal(kept_end(p, name), 0);
    hostmaps_forget(); /* from now on the kernel is asked */
    assert_int_equal(kept_end(p, name), 0);
    assert_int_not_equal(kept_end(&p, name), 0);
}

/* Only code's paths are looked up. */
static void paths(void **state)
{
    int fd = open("/bin/true", O_RDONLY);
    AspaceInfo info;

    for (int exec = 0; exec < 2; exec++) {
        i64 at = aspace_mmap(0, MT_PAGE_SIZE, PROT_READ | (exec ? PROT_EXEC : 0), MAP_PRIVATE, fd,
                             0);

        assert_true(at > 0);
        aspace_lock();
        assert_true(aspace_query_locked((GuestAddr)at, &info) && info.ino != 0);
        assert_true(exec ? strstr(info.path, "/bin/true") != NULL : info.path == NULL);
        aspace_unlock();

        /* what becomes code later has a path from then on */
        assert_int_equal(aspace_mprotect((GuestAddr)at, MT_PAGE_SIZE, PROT_READ | PROT_EXEC, -1),
                         0);
        aspace_lock();
        assert_true(aspace_query_locked((GuestAddr)at, &info) &&
                    strstr(info.path, "/bin/true") != NULL);
        aspace_unlock();
        assert_int_equal(aspace_munmap((GuestAddr)at, MT_PAGE_SIZE), 0);
    }
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kept_maps),
        cmocka_unit_test(paths),
        cmocka_unit_test(same_as_kernel),
        cmocka_unit_test(runtime_is_out_of_reach),
        cmocka_unit_test(foreign_memory_is_avoided),
        cmocka_unit_test(regions),
        cmocka_unit_test(moving),
        cmocka_unit_test(program_break),
        cmocka_unit_test(stack_grows),
        cmocka_unit_test(shared_memory),
        cmocka_unit_test(notes),
        cmocka_unit_test(write_protection),
        cmocka_unit_test(dontfork),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
