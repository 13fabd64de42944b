/* SPDX-License-Identifier: BSD-2-Clause
 * cache_memory.c -- the memory behind the code: one, mapped twice, and its copy for a fork.
 * Role:       does not know what lies in it, but for which parts of it are in use
 *             (cache_used_part()).
 * Locking:    none: `patched` is a count of pages, and wrong by a few at most. */
#include "jit/cache_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define MT_PATCHED_PAGES 96 /* of the writable view, before they are dropped */

/* By page of the writable view: patched since all were dropped. Atomic, relaxed: for the count
 * only. */
static u64 *patched;
static u32 npatched;

/* -EMFILE, -ENFILE, -EFBIG: new_views() may do. The kernel's answer to a file beyond RLIMIT_FSIZE
 * would be SIGXFSZ. */
static int new_memfd(void)
{
    struct rlimit max;
    int fd;

    if (getrlimit(RLIMIT_FSIZE, &max) == 0 && max.rlim_cur < mt_cache.size - MT_IBT_BYTES) {
        return -EFBIG;
    }
    fd = memfd_create("mtvg-code", MFD_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    if (ftruncate(fd, (off_t)(mt_cache.size - MT_IBT_BYTES)) != 0) {
        int e = errno;

        close(fd);
        return -e;
    }
    return fd;
}

/* A second view of shared memory is mremap's with an old size of 0. */
static int new_views(CacheCopy *copy)
{
    u64 size = mt_cache.size - MT_IBT_BYTES;
    u8 *w = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1,
                 0);
    u8 *x = w != MAP_FAILED ? mremap(w, 0, size, MREMAP_MAYMOVE) : MAP_FAILED;

    if (x == MAP_FAILED || mprotect(x, size, PROT_READ | PROT_EXEC) != 0) {
        int e = errno;

        if (w != MAP_FAILED) {
            munmap(w, size);
        }
        if (x != MAP_FAILED) {
            munmap(x, size);
        }
        return -e;
    }
    *copy = (CacheCopy){-1, w, x};
    return 0;
}

/* Memory for the code: behind a descriptor if there may and can be one. */
static int new_memory(CacheCopy *copy, bool by_fd)
{
    int fd = by_fd ? new_memfd() : -EMFILE;

    if (fd == -EMFILE || fd == -ENFILE || fd == -EFBIG) {
        return new_views(copy);
    }
    *copy = (CacheCopy){fd, NULL, NULL};
    return fd < 0 ? fd : 0;
}

static int map_fd(int fd, void *write_at)
{
    u64 size = mt_cache.size - MT_IBT_BYTES;
    void *w = mmap(write_at, size, PROT_READ | PROT_WRITE, MAP_SHARED | (write_at ? MAP_FIXED : 0),
                   fd, 0);

    if (w == MAP_FAILED) {
        return -errno;
    }
    mt_cache.write = (u8 *)w - MT_IBT_BYTES;
    w = mmap((void *)(mt_cache.exec + MT_IBT_BYTES), size, PROT_READ | PROT_EXEC,
             MAP_SHARED | MAP_FIXED, fd, 0);
    return w == MAP_FAILED ? -errno : 0;
}

static int move_view(u8 *view, void *to)
{
    u64 size = mt_cache.size - MT_IBT_BYTES;

    return mremap(view, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, to) == MAP_FAILED ? -errno : 0;
}

/* Makes the memory the cache's: its writable view at write_at, or anywhere if that is NULL. */
static int put_in_place(const CacheCopy *memory, void *write_at)
{
    int r = 0;

    if (memory->fd >= 0) {
        r = map_fd(memory->fd, write_at);
        close(memory->fd);
        return r;
    }
    if (write_at != NULL) {
        r = move_view(memory->write, write_at);
    } else {
        mt_cache.write = memory->write - MT_IBT_BYTES;
    }
    return r != 0 ? r : move_view(memory->exec, (void *)(mt_cache.exec + MT_IBT_BYTES));
}

int cache_memory_init(void)
{
    CacheCopy memory;
    int r;

    patched = calloc(mt_cache.size / MT_PAGE_SIZE / 64 + 1, sizeof(*patched));
    r = patched != NULL ? new_memory(&memory, true) : -ENOMEM;
    return r != 0 ? r : put_in_place(&memory, NULL);
}

void cache_memory_drop_write_view(CacheOff from, u64 to)
{
    u64 lo = MT_PAGE_UP(cache_write_ptr(from)), hi = MT_PAGE_DOWN(mt_cache.write + to);

    madvise((void *)lo, hi - lo, MADV_DONTNEED);
}

static void drop_patched(void)
{
    mt_store_relaxed(&npatched, 0);
    for (u64 i = 0; i < mt_cache.size / MT_PAGE_SIZE / 64 + 1; i++) {
        mt_store_relaxed(&patched[i], 0);
    }
    cache_memory_drop_write_view(mt_cache.code_lo, mt_cache.size);
}

u8 *cache_patch_ptr(CacheOff o)
{
    u64 *word = &patched[o / MT_PAGE_SIZE / 64], bit = 1ull << (o / MT_PAGE_SIZE % 64);

    if ((mt_load_relaxed(word) & bit) == 0 && (mt_fetch_or(word, bit) & bit) == 0 &&
        mt_fetch_add(&npatched, 1) >= MT_PATCHED_PAGES) {
        drop_patched();
    }
    return cache_write_ptr(o);
}

static int write_range(int fd, CacheOff lo, CacheOff hi)
{
    while (lo < hi) {
        ssize_t n = pwrite(fd, mt_cache.write + lo, hi - lo, lo - MT_IBT_BYTES);

        if (n <= 0) {
            return n == 0 ? -EIO : -errno;
        }
        lo += (CacheOff)n;
    }
    return 0;
}

static void copy_to_views(const CacheCopy *copy)
{
    CacheOff lo, hi;

    memcpy(copy->write, mt_cache.write + MT_IBT_BYTES, mt_cache.code_lo - MT_IBT_BYTES);
    for (u32 i = 0; i < mt_cache.nchunks; i++) {
        if (cache_used_part(i, &lo, &hi)) {
            memcpy(copy->write + lo - MT_IBT_BYTES, mt_cache.write + lo, hi - lo);
        }
    }
}

static int copy_to_fd(int fd)
{
    int r = write_range(fd, MT_IBT_BYTES, mt_cache.code_lo);
    CacheOff lo, hi;

    for (u32 i = 0; r == 0 && i < mt_cache.nchunks; i++) {
        if (cache_used_part(i, &lo, &hi)) {
            r = write_range(fd, lo, hi);
        }
    }
    if (r != 0) {
        close(fd);
    }
    return r;
}

int cache_before_fork(CacheCopy *copy, bool shares_fds)
{
    int r = new_memory(copy, !shares_fds);

    if (r == 0 && copy->fd >= 0) {
        return copy_to_fd(copy->fd);
    }
    if (r == 0) {
        copy_to_views(copy);
    }
    return r;
}

void cache_after_fork_parent(const CacheCopy *copy)
{
    if (copy->fd >= 0) {
        close(copy->fd);
    } else {
        munmap(copy->write, mt_cache.size - MT_IBT_BYTES);
        munmap(copy->exec, mt_cache.size - MT_IBT_BYTES);
    }
}

int cache_after_fork_child(const CacheCopy *copy)
{
    int r = put_in_place(copy, mt_cache.write + MT_IBT_BYTES);

    cache_drop_other_owners();
    return r;
}
