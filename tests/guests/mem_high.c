/* SPDX-License-Identifier: BSD-2-Clause
 * mem_high.c -- memory calls about addresses that no program can have: the kernel's half, the hole
 * between the halves, the end of the address space, lengths that wrap round. */
#define _GNU_SOURCE
#include "guest.h"

#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { PAGE = 4096 };

static const unsigned long places[] = {
    0x7ffffffff000,     0x800000000000,     0x0100000000000000, 0x7ffffffffffff000,
    0x8000000000000000, 0x80000011d4aa2000, 0xffff800000000000, 0xffffffffff000000,
    0xffffffffffffe000, 0xfffffffffffff000,
};
static const unsigned long lengths[] = {PAGE, 2 * PAGE, 1ul << 40, 1ul << 62, -2ul * PAGE, -1ul};

static void calls(unsigned long at, unsigned long len)
{
    static unsigned char vec[16];
    char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(page != MAP_FAILED);
    printf("%#lx + %#lx\n", at, len);
    SAY_RESULT(syscall(SYS_msync, at, len, MS_ASYNC));
    SAY_RESULT(syscall(SYS_mlock, at, len));
    SAY_RESULT(syscall(SYS_munlock, at, len));
    if (len <= 2 * PAGE) {
        SAY_RESULT(syscall(SYS_mincore, at, len, vec));
    }
    SAY_RESULT(syscall(SYS_madvise, at, len, MADV_NORMAL));
    SAY_RESULT(syscall(SYS_madvise, at, len, MADV_DONTNEED));
    SAY_RESULT(syscall(SYS_madvise, at, len, MADV_DONTFORK));
    SAY_RESULT(syscall(SYS_mprotect, at, len, PROT_READ));
    SAY_RESULT(syscall(SYS_mprotect, at, len, PROT_READ | PROT_GROWSDOWN));
    SAY_RESULT(syscall(SYS_munmap, at, len));
    SAY_RESULT(syscall(SYS_mremap, at, len, PAGE, MREMAP_MAYMOVE, 0));
    SAY_RESULT(syscall(SYS_mremap, at, PAGE, len, MREMAP_MAYMOVE, 0));
    SAY_RESULT(syscall(SYS_mremap, page, PAGE, len, MREMAP_MAYMOVE | MREMAP_FIXED, at));
    SAY_RESULT(
        syscall(SYS_mmap, at, len, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
    SAY_RESULT(syscall(SYS_mmap, at, len, PROT_READ,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
    SAY_RESULT(syscall(SYS_mmap, at, len, PROT_READ,
                       MAP_SHARED_VALIDATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
    SAY_RESULT(syscall(SYS_remap_file_pages, at, len, 0, 0, 0));
    SAY_RESULT(syscall(SYS_shmat, -1, at, 0));
    SAY_RESULT(syscall(SYS_shmdt, at));
    munmap(page, PAGE);
}

int main(void)
{
    for (unsigned i = 0; i < sizeof(places) / sizeof(*places); i++) {
        for (unsigned k = 0; k < sizeof(lengths) / sizeof(*lengths); k++) {
            calls(places[i], lengths[k]);
        }
    }
    unsigned long before = syscall(SYS_brk, 0);
    for (unsigned i = 0; i < sizeof(places) / sizeof(*places); i++) {
        CHECK(syscall(SYS_brk, places[i]) == (long)before);
    }
    char *p = mmap((void *)0x8000000000000000, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED); /* a hint only */
    printf("done\n");
    return 0;
}
