/* SPDX-License-Identifier: BSD-2-Clause
 * sys_order.c -- calls that are wrong in more than one way, or in an argument's upper half, or name
 * a closed descriptor that they don't need: the kernel's answer, whatever the number. */
#define _GNU_SOURCE
#include "guest.h"

#include <asm/prctl.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PAGE = 4096, HIGHEST = 5000 };

static char *page;

static void show(const char *what, long r)
{
    printf("%s: %d\n", what, r == -1 ? errno : 0);
}

/* How many closed descriptors there are for which each call fails, and how. */
static void closed_descriptors(void)
{
    int works[4] = {0}, invalid[4] = {0}, bad[4] = {0};
    struct stat st;

    for (int fd = 3; fd < HIGHEST; fd++) {
        long r[4];
        int e[4];
        if (fcntl(fd, F_GETFD) >= 0) {
            continue;
        }
        r[0] = syscall(SYS_faccessat, fd, "/dev/null", 0), e[0] = errno;
        r[1] = syscall(SYS_newfstatat, fd, "/dev/null", &st, 0), e[1] = errno;
        r[2] = syscall(SYS_unlinkat, fd, "x", 1), e[2] = errno;
        r[3] = syscall(SYS_signalfd4, fd, &st, 8, 1), e[3] = errno;
        for (int i = 0; i < 4; i++) {
            works[i] += r[i] >= 0;
            invalid[i] += r[i] < 0 && e[i] == EINVAL;
            bad[i] += r[i] < 0 && e[i] == EBADF;
        }
        CHECK(syscall(SYS_readlinkat, fd, "x", &st, 8) == -1 && errno == EBADF);
        CHECK(syscall(SYS_openat, fd, "/nothere", 0) == -1 && errno == ENOENT);
        CHECK(syscall(SYS_mmap, NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 1) == -1 &&
              errno == EINVAL);
        CHECK(syscall(SYS_mmap, page, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0) == -1 &&
              errno == EBADF);
        CHECK(syscall(SYS_mmap, page, PAGE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS, fd, 0) == (long)page);
    }
    for (int i = 0; i < 4; i++) {
        printf("%d: %d %d %d\n", i, works[i], invalid[i], bad[i]);
    }
}

static void memory(void)
{
    const unsigned long high = 1ul << 40;

    show("mmap", syscall(SYS_mmap, 0, PAGE, PROT_READ, MAP_PRIVATE | MAP_FIXED, 4999, 0));
    show("mprotect", syscall(SYS_mprotect, page, PAGE, PROT_READ | high));
    show("mremap flags", syscall(SYS_mremap, page, PAGE, PAGE, MREMAP_MAYMOVE | high, 0));
    show("mremap shrinks", syscall(SYS_mremap, page, -8192l, PAGE, 0, 0));
    show("mremap copies", syscall(SYS_mremap, page, 0l, PAGE, 3, 0));
    show("pkey", syscall(SYS_pkey_mprotect, 0, PAGE, PROT_READ, 99));
    show("pkey, nothing", syscall(SYS_pkey_mprotect, page, 0, PROT_READ, 99));
    show("msync", syscall(SYS_msync, page, 1ul << 45, 64));
    static unsigned char there[PAGE];
    char *low = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT | MAP_POPULATE, -1, 0);
    show("mincore", syscall(SYS_mincore, low, 1ul << 46, there));
    printf("in memory: %d\n", there[0]);
    show("mlock2", syscall(SYS_mlock2, page, 1ul << 45, 64));
    show("shmat", syscall(SYS_shmat, 0x7fffff, page + 1, 0));
    show("shadow stack", syscall(SYS_arch_prctl, 0x5001, 0));
}

static void limited(void)
{
    const struct rlimit lim = {1ul << 30, RLIM_INFINITY};

    CHECK(setrlimit(RLIMIT_AS, &lim) == 0);
    show("descriptor", syscall(SYS_mmap, 0, 1ul << 33, PROT_READ, MAP_PRIVATE, 4999, 0));
    show("address", syscall(SYS_mmap, page + 1, 1ul << 33, PROT_READ,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
    show("sharing", syscall(SYS_mmap, 0, 1ul << 33, PROT_READ, MAP_ANONYMOUS, -1, 0));
    show("limit", syscall(SYS_mmap, 0, 1ul << 33, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    show("longer", syscall(SYS_mremap, page, PAGE, 1ul << 33, MREMAP_MAYMOVE, 0));
    show("too long", syscall(SYS_mremap, page, PAGE, 1ul << 50, MREMAP_MAYMOVE, 0));
}

int main(void)
{
    stack_t ss = {0};

    show("altstack as it is", sigaltstack(&ss, NULL));
    page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(page != MAP_FAILED);
    syscall(SYS_close_range, 3, ~0u, 0);
    closed_descriptors();
    memory();
    limited();
    return 0;
}
