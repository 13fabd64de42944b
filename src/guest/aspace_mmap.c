/* SPDX-License-Identifier: BSD-2-Clause
 * aspace_mmap.c -- mmap and munmap.
 * Role:       the kernel judges the arguments; here only the address is decided. Where an argument
 *             is so wrong that no address can be chosen, the kernel is asked with what the guest
 *             gave, for the right error.
 * Placement:  hints are honoured if free, as by the kernel. Otherwise: files, executable memory,
 *             MAP_32BIT and what looks like a dynamic loader's reservation go to the image window
 *             (D2), the rest to the anon region.
 * Locking:    aspace_lock is taken here. */
#include "guest/aspace_int.h"
#include "guest/layout.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define HUGE_2M (2ul << 20)
#define IMAGE_FILE_MAX (64ul << 20)     /* larger non-executable files don't go to the window */
#define IMAGE_LIBRARY_MAX (512ul << 20) /* unless a loader maps them (MAP_DENYWRITE) */
#define IMAGE_RESERVE_MAX (64ul << 20)  /* nor do larger reservations, */
#define IMAGE_RESERVE_SUM (256ul << 20) /* nor more of them than this together */
#define PLACE_TRIES 16

/* Flags that describe the mapping itself, not how it is to be made. */
#define MAP_LASTING                                                                       \
    (MAP_TYPE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_NORESERVE | MAP_STACK | MAP_HUGETLB | \
     (int)(0x3fu << MAP_HUGE_SHIFT))

static u64 reserved_in_image;

typedef struct MmapCall {
    GuestAddr addr;
    u64 len; /* rounded up */
    int prot, flags, fd;
    u64 off;
    u64 align;
    Region region;
    MapObject *object;
} MmapCall;

/* --- huge pages --- */

static u64 default_huge_page(void)
{
    static u64 size; /* under aspace_lock */
    if (size == 0) {
        unsigned long kib = 0;
        char line[128];
        FILE *f = fopen("/proc/meminfo", "re");
        while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
            if (sscanf(line, "Hugepagesize: %lu kB", &kib) == 1) {
                break;
            }
        }
        if (f != NULL) {
            fclose(f);
        }
        size = kib != 0 ? (u64)kib << 10 : HUGE_2M;
    }
    return size;
}

static u64 file_page(int fd)
{
    struct statfs fs;
    if (fstatfs(fd, &fs) == 0 && (u32)fs.f_type == HUGETLBFS_MAGIC) {
        return (u64)fs.f_bsize;
    }
    return MT_PAGE_SIZE;
}

static u64 anon_page(int flags)
{
    if ((flags & MAP_HUGETLB) == 0) {
        return MT_PAGE_SIZE;
    }
    unsigned shift = (unsigned)flags >> MAP_HUGE_SHIFT & 0x3f;
    return shift == 0 ? default_huge_page() : shift < 47 ? 1ull << shift : MT_PAGE_SIZE;
}

u64 aspace_node_page(const MapNode *n)
{
    if (n->object != NULL && n->object->huge_page != 0) {
        return n->object->huge_page;
    }
    return (n->flags & MAP_ANONYMOUS) != 0 ? anon_page(n->flags) : MT_PAGE_SIZE;
}

/* --- description --- */

/* Most mappings are not of code, and nobody asks for their path, which takes the kernel a while. */
static MapObject *describe_file(int fd, bool exec)
{
    struct stat st;
    char link[64], path[4096];
    ssize_t n = 0;
    if (fstat(fd, &st) != 0) {
        memset(&st, 0, sizeof(st));
    }
    if (exec) {
        snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
        n = readlink(link, path, sizeof(path) - 1);
        path[n > 0 ? n : 0] = '\0';
    }
    return map_object_new(st.st_dev, st.st_ino, n > 0 ? path : NULL);
}

/* Enters what the host has just mapped at `at`. */
static void enter(const MmapCall *c, GuestAddr at)
{
    MapNode n = {.start = at, .end = at + c->len, .prot = aspace_effective_prot(c->prot)};
    n.flags = c->flags & MAP_LASTING;
    if ((n.flags & MAP_TYPE) == MAP_SHARED_VALIDATE) {
        n.flags = (n.flags & ~MAP_TYPE) | MAP_SHARED;
    }
    n.kind = MAP_GUEST;
    n.offset = (n.flags & MAP_ANONYMOUS) != 0 ? 0 : c->off;
    n.object = map_object_ref(c->object);
    aspace_enter(&n);
}

/* --- placement --- */

/* What glibc's loader does for a library whose segments want more than page alignment: it reserves
 * room, then maps the file into it. Allocators use MAP_NORESERVE or larger sizes. */
static bool is_loader_reservation(const MmapCall *c)
{
    return c->prot == PROT_NONE && c->flags == (MAP_PRIVATE | MAP_ANONYMOUS) &&
           c->len <= IMAGE_RESERVE_MAX && reserved_in_image + c->len <= IMAGE_RESERVE_SUM;
}

static Region choose_region(const MmapCall *c)
{
    if ((c->flags & MAP_32BIT) != 0) {
        return REGION_LOW;
    }
    if ((c->flags & (MAP_ABOVE4G | MAP_HUGETLB)) != 0) {
        return REGION_ANON;
    }
    if ((c->prot & PROT_EXEC) != 0) {
        return REGION_IMAGE;
    }
    if ((c->flags & MAP_ANONYMOUS) == 0) {
        u64 max = (c->flags & MAP_DENYWRITE) != 0 ? IMAGE_LIBRARY_MAX : IMAGE_FILE_MAX;
        return c->len <= max ? REGION_IMAGE : REGION_ANON;
    }
    return is_loader_reservation(c) ? REGION_IMAGE : REGION_ANON;
}

/* Tells why nothing was found: the kernel's own reason if it has one, else -ENOMEM. */
static i64 ask_kernel(const MmapCall *c, int flags)
{
    i64 r = host_mmap(c->addr, c->len, c->prot, flags, c->fd, c->off);
    if (r >= 0) {
        host_munmap((u64)r, c->len);
        return -ENOMEM;
    }
    return r;
}

/* Some files choose the place themselves, and refuse every address as io_uring does. */
static i64 map_as_file_wants(const MmapCall *c)
{
    i64 r = host_mmap(0, c->len, c->prot, c->flags, c->fd, c->off);
    if (r >= 0) {
        enter(c, (u64)r);
    }
    return r;
}

static i64 map_somewhere(const MmapCall *c)
{
    for (int i = 0; i < PLACE_TRIES; i++) {
        GuestAddr at = place_find(c->len, c->align, c->region);
        if (at == 0) {
            break;
        }
        i64 r = place_map(at, c->len, c->prot, c->flags, c->fd, c->off);
        if (r >= 0) {
            if (c->region == REGION_IMAGE && is_loader_reservation(c)) {
                reserved_in_image += c->len;
            }
            enter(c, at);
            return r;
        }
        if (r == -EINVAL && (c->flags & MAP_ANONYMOUS) == 0) {
            return map_as_file_wants(c);
        }
        if (r != -EEXIST || !place_learn(at, at + c->len)) {
            return r == -EEXIST ? -ENOMEM : r;
        }
    }
    MmapCall any = *c;
    any.addr = 0;
    return ask_kernel(&any, c->flags & ~(MAP_FIXED | MAP_FIXED_NOREPLACE));
}

static bool is_in_low_2g(const MmapCall *c)
{
    return c->len <= 1ull << 31 && c->addr <= (1ull << 31) - c->len;
}

/* The kernel rounds a hint down to a page, and takes it if the range is free. */
static i64 map_at_hint(const MmapCall *c)
{
    GuestAddr at = MT_PAGE_DOWN(c->addr);
    if (at < mt_layout.image_lo) {
        at = mt_layout.image_lo;
    }
    if ((at & (c->align - 1)) != 0 && (c->flags & MAP_HUGETLB) != 0) {
        at = MT_ALIGN_UP(at, c->align);
    }
    if (at + c->len < at) {
        return -ENOMEM;
    }
    aspace_sync_growth(at, at + c->len);
    const MapNode *above = map_first(at + c->len);
    u64 guard = (above->flags & MAP_GROWSDOWN) != 0 ? ASPACE_STACK_GUARD : 0;
    if (!place_may_be_free(at, at + c->len) || at + c->len + guard > above->start) {
        return -EEXIST;
    }
    i64 r = place_map(at, c->len, c->prot, c->flags, c->fd, c->off);
    if (r >= 0) {
        enter(c, at);
    }
    return r;
}

static i64 map_fixed(const MmapCall *c)
{
    GuestAddr end = c->addr + c->len;
    if ((c->addr & ~MT_PAGE_MASK) != 0 || end <= c->addr) {
        return ask_kernel(c, c->flags); /* can't succeed */
    }
    aspace_sync_growth(c->addr, end);
    if ((c->flags & MAP_FIXED_NOREPLACE) !=
        0) { /* where it is unknown it must not mean MAP_FIXED */
        i64 r = host_mmap(c->addr, c->len, c->prot, c->flags & ~MAP_FIXED, c->fd, c->off);
        if (r >= 0 && (u64)r != c->addr) {
            host_munmap((u64)r, c->len);
            return -EEXIST;
        }
        if (r >= 0) {
            enter(c, c->addr);
        }
        return r;
    }
    if (place_may_be_free(c->addr, end)) {
        i64 r = place_map(c->addr, c->len, c->prot, c->flags, c->fd, c->off);
        if (r >= 0) {
            enter(c, c->addr);
        }
        return r == -EEXIST ? -ENOMEM : r;
    }
    i64 r = place_claim(c->addr, end);
    if (r < 0) {
        return -ENOMEM;
    }
    r = host_mmap(c->addr, c->len, c->prot, c->flags, c->fd, c->off);
    if (r < 0) {
        place_unclaim(c->addr, end);
        place_resync(c->addr, end);
        return r;
    }
    enter(c, c->addr);
    return r;
}

static i64 mmap_locked(MmapCall *c)
{
    bool anon = (c->flags & MAP_ANONYMOUS) != 0;
    u64 page = anon ? anon_page(c->flags) : file_page(c->fd);
    u64 len = MT_ALIGN_UP(c->len, page);
    if (c->len == 0 || len < c->len) {
        return ask_kernel(c, c->flags); /* EBADF, EINVAL or ENOMEM */
    }
    c->len = len;
    c->align = page;
    if (map_prepare(ASPACE_NODES) != 0) {
        return -ENOMEM;
    }
    if (!anon) {
        c->object = describe_file(c->fd, (c->prot & PROT_EXEC) != 0);
        if (c->object == NULL) {
            return -ENOMEM;
        }
        c->object->huge_page = page != MT_PAGE_SIZE ? page : 0;
    } else if (len >= 2 * HUGE_2M && page < HUGE_2M) {
        c->align = HUGE_2M; /* as recent kernels do, for transparent huge pages */
    }
    if ((c->flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) != 0) {
        return map_fixed(c);
    }
    c->region = choose_region(c);
    i64 r = -EEXIST;
    if (c->addr != 0 && ((c->flags & MAP_32BIT) == 0 || is_in_low_2g(c))) {
        r = map_at_hint(c);
    }
    return r == -EEXIST || r == -ENOMEM ? map_somewhere(c) : r;
}

i64 aspace_mmap(GuestAddr addr, u64 len, int prot, int flags, int fd, u64 off)
{
    MmapCall c = {.addr = addr, .len = len, .prot = prot, .flags = flags, .fd = fd, .off = off};
    aspace_lock();
    i64 r = mmap_locked(&c);
    map_object_unref(c.object);
    aspace_unlock();
    return r;
}

i64 aspace_map_named(GuestAddr addr, u64 len, int prot, int flags, const char *name)
{
    MmapCall c = {.addr = addr, .len = len, .prot = prot, .flags = flags, .fd = -1};
    c.object = map_object_new(0, 0, name);
    if (c.object == NULL) {
        return -ENOMEM;
    }
    i64 r = place_map(addr, len, prot, flags, -1, 0);
    if (r >= 0) {
        enter(&c, addr);
    }
    map_object_unref(c.object);
    return r;
}

i64 aspace_reserve_image(u64 len, u64 align)
{
    MmapCall c = {.len = MT_PAGE_UP(len), .align = align, .prot = PROT_NONE, .fd = -1};
    c.flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    c.region = REGION_IMAGE;
    i64 r = -ENOMEM;
    aspace_lock();
    if (c.len >= len && map_prepare(ASPACE_NODES) == 0) {
        r = map_somewhere(&c);
    }
    aspace_unlock();
    return r;
}

/* --- munmap --- */

/* Unmaps the guest's memory in [start, end), one host call per contiguous piece. */
i64 aspace_unmap_locked(GuestAddr start, GuestAddr end)
{
    i64 r = 0;
    MapNode *n = map_first(start);
    while (n->start < end && r == 0) {
        if (!node_is_guest(n)) {
            n = n->next;
            continue;
        }
        GuestAddr from = n->start > start ? n->start : start;
        GuestAddr to = n->end;
        while (node_is_guest(n->next) && n->next->start == to && to < end) {
            n = n->next;
            to = n->end;
        }
        to = to < end ? to : end;
        r = host_munmap(from, to - from);
        if (r < 0) {
            return r;
        }
        map_remove(from, to);
        aspace_changed(from, to, -1);
        if (map_prepare(ASPACE_NODES) != 0) {
            return -ENOMEM;
        }
        n = map_first(to);
    }
    return r;
}

i64 aspace_munmap(GuestAddr addr, u64 len)
{
    GuestAddr end = MT_PAGE_UP(addr + len);
    if ((addr & ~MT_PAGE_MASK) != 0 || len == 0 || len > aspace_task_size || end <= addr ||
        end > aspace_task_size) {
        return -EINVAL;
    }
    aspace_lock();
    i64 r = map_prepare(ASPACE_NODES);
    if (r == 0) {
        aspace_sync_growth(addr, end);
        r = aspace_unmap_locked(addr, end);
    }
    aspace_unlock();
    return r;
}
