/* SPDX-License-Identifier: BSD-2-Clause
 * mem_map.c -- mmap, munmap, mremap, mprotect as the kernel has them; huge reservations; hints.
 * guest: */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest.h"

static sigjmp_buf out;
static void *volatile bad;

static void on_segv(int signo, siginfo_t *info, void *context)
{
    bad = info->si_addr;
    siglongjmp(out, info->si_code);
}

/* 0 if readable, else the si_code. */
static int probe(volatile char *p)
{
    int code = sigsetjmp(out, 1);
    if (code == 0) {
        (void)*p;
    } else {
        CHECK(bad == p);
    }
    return code;
}

/* MREMAP_DONTUNMAP: the address is a hint, and what is wrong with it an error all the same. */
static void keep_old(void)
{
    const int keep = MREMAP_DONTUNMAP | MREMAP_MAYMOVE, rw = PROT_READ | PROT_WRITE;
    char *old = mmap(NULL, 4096, rw, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *hint = mmap(NULL, 64 << 12, rw, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(old != MAP_FAILED && hint != MAP_FAILED);
    strcpy(old, "kept");
    CHECK(munmap(hint, 8 << 12) == 0);
    CHECK(mremap(old, 4096, 4096, keep, hint + 1) == MAP_FAILED && errno == EINVAL);
    CHECK(mremap(old, 4096, 4096, keep, old) == MAP_FAILED && errno == EINVAL);
    CHECK(mremap(old, 4096, 4096, keep, hint + (4 << 12)) == hint + (4 << 12));
    CHECK(strcmp(hint + (4 << 12), "kept") == 0 && *old == 0);
    char *away = mremap(hint + (4 << 12), 4096, 4096, keep, hint + (16 << 12)); /* in use */
    CHECK(away != MAP_FAILED && away != hint + (16 << 12) && strcmp(away, "kept") == 0);
    away = mremap(away, 4096, 4096, keep, NULL);
    CHECK(away != MAP_FAILED && strcmp(away, "kept") == 0);
    CHECK(munmap(hint, 64 << 12) == 0 && munmap(old, 4096) == 0);
}

int main(void)
{
    const int rw = PROT_READ | PROT_WRITE, anon = MAP_PRIVATE | MAP_ANONYMOUS;
    struct sigaction act = {.sa_sigaction = on_segv, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &act, NULL);

    char *p = mmap(NULL, 16 << 12, rw, anon, -1, 0);
    CHECK(p != MAP_FAILED);
    for (int i = 0; i < 16; i++) {
        p[i << 12] = (char)i;
    }
    CHECK(!munmap(p + (4 << 12), 4 << 12));
    printf("hole %d, before %d, behind %d\n", probe(p + (5 << 12)), probe(p + (3 << 12)),
           probe(p + (8 << 12)));
    CHECK(!mprotect(p + (8 << 12), 4096, PROT_NONE));
    printf("none %d\n", probe(p + (8 << 12)));
    CHECK(mprotect(p, 16 << 12, PROT_READ) == -1 && errno == ENOMEM);
    CHECK(mmap(p + (4 << 12), 4 << 12, rw, anon | MAP_FIXED_NOREPLACE, -1, 0) == p + (4 << 12));
    CHECK(mmap(p, 4096, rw, anon | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED && errno == EEXIST);
    CHECK(mmap(p, 4096, rw, anon | MAP_FIXED, -1, 0) == p && *p == 0);
    CHECK(mmap(p + 1, 4096, rw, anon | MAP_FIXED, -1, 0) == MAP_FAILED && errno == EINVAL);
    CHECK(mmap(NULL, 0, rw, anon, -1, 0) == MAP_FAILED && errno == EINVAL);
    CHECK(munmap(p + 1, 4096) == -1 && errno == EINVAL);
    CHECK(mmap(NULL, 4096, rw, MAP_PRIVATE, 999, 0) == MAP_FAILED && errno == EBADF);
    CHECK(mmap(NULL, 1ul << 62, rw, anon, -1, 0) == MAP_FAILED && errno == ENOMEM);

    char *q = mmap(NULL, 2 << 12, rw, anon, -1, 0);
    strcpy(q, "moved");
    char *bigger = mremap(q, 2 << 12, 1 << 20, MREMAP_MAYMOVE);
    CHECK(bigger != MAP_FAILED && !strcmp(bigger, "moved") && bigger[(1 << 20) - 1] == 0);
    CHECK(mremap(bigger, 1 << 20, 4096, 0) == bigger);
    printf("shrunk %d\n", probe(bigger + 8192));
    char *fixed = mremap(bigger, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, p);
    CHECK(fixed == p && !strcmp(p, "moved"));
    printf("old place %d\n", probe(bigger));
    char *shared = mmap(NULL, 4096, rw, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    keep_old();
    char *twin = mremap(shared, 0, 4096, MREMAP_MAYMOVE);
    CHECK(twin != MAP_FAILED && twin != shared);
    strcpy(shared, "twin");
    CHECK(!strcmp(twin, "twin"));

    char *huge = mmap(NULL, 16ul << 40, PROT_NONE, anon | MAP_NORESERVE, -1, 0);
    CHECK(huge != MAP_FAILED);
    CHECK(!mprotect(huge + (8ul << 40), 1 << 20, rw));
    huge[8ul << 40] = 1;
    printf("reserved %d, used %d\n", probe(huge), probe(huge + (8ul << 40)));
    CHECK(mmap(huge + (1ul << 40), 1 << 20, rw, anon | MAP_FIXED, -1, 0) == huge + (1ul << 40));
    CHECK(!munmap(huge, 16ul << 40));
    printf("gone %d\n", probe(huge + (8ul << 40)));

    for (int i = 0; i < 10; i++) {
        char *low = mmap(NULL, 1 << 20, rw, anon | MAP_32BIT, -1, 0);
        CHECK(low != MAP_FAILED && (uintptr_t)low + (1 << 20) <= 0x80000000ul);
        low[5] = 1;
    }
    char *const windows = (char *)0x7ffe0000; /* a page of the system's in every Windows program */
    CHECK(mmap(windows, 4096, rw, anon | MAP_FIXED_NOREPLACE, -1, 0) == windows);
    char *const low_hint = (char *)0x50000000, *const high_hint = (char *)0x200000000000;
    CHECK(mmap(low_hint, 1 << 20, rw, anon | MAP_32BIT, -1, 0) == low_hint);
    char *low = mmap(high_hint, 1 << 20, rw, anon | MAP_32BIT, -1, 0);
    CHECK(low != MAP_FAILED && (uintptr_t)low + (1 << 20) <= 0x80000000ul);
    char *hint = (char *)0x200000000000;
    char *got = mmap(hint, 4096, rw, anon, -1, 0);
    CHECK(got == hint);
    char *again = mmap(hint, 4096, rw, anon, -1, 0);
    CHECK(again != MAP_FAILED && again != hint);
    int fd = memfd_create("guest", 0);
    CHECK(!ftruncate(fd, 8192));
    char *file = mmap(NULL, 3 << 12, rw, MAP_SHARED, fd, 0);
    file[0] = 'x';
    char c;
    CHECK(pread(fd, &c, 1, 0) == 1 && c == 'x');
    close(fd);
    CHECK(!madvise(p, 4096, MADV_DONTNEED) && *p == 0);
    unsigned char vec[1];
    CHECK(!mincore(p, 4096, vec));
    CHECK(mincore(bigger, 4096, vec) == -1 && errno == ENOMEM);
    char *grow = mmap(NULL, 1 << 20, rw, anon | MAP_GROWSDOWN | MAP_STACK, -1, 0);
    CHECK(grow != MAP_FAILED);
    grow[100] = 1;
    puts("done");
    return 0;
}
