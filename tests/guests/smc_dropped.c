/* SPDX-License-Identifier: BSD-2-Clause
 * smc_dropped.c -- code in a page whose contents are dropped (madvise) and written anew, beside and
 * behind the call that does so: the first write meets a page that is not present. And one whose
 * page is brought in for writing.
 * guest: */
#define _GNU_SOURCE
#include <sys/mman.h>

#include "guest.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

enum { PAGE = 4096, ROUNDS = 20 };

static unsigned char *code;

/* lea n(%rdi), %eax; ret */
static void write_code(unsigned char n)
{
    memcpy(code + 64, (unsigned char[]){0x8d, 0x47, n, 0xc3}, 4);
}

/* sub $8, %rsp; mov $fn, %rax; call *%rax; add $8, %rsp; add $n, %eax; ret */
static void write_caller(int (*fn)(void), unsigned char n)
{
    memcpy(code, "\x48\x83\xec\x08\x48\xb8", 6);
    memcpy(code + 6, &fn, 8);
    memcpy(code + 14, "\xff\xd0\x48\x83\xc4\x08", 6);
    memcpy(code + 20, (unsigned char[]){0x83, 0xc0, n, 0xc3}, 4);
}

static unsigned char next;

static int drop_caller(void)
{
    CHECK(madvise(code, PAGE, MADV_DONTNEED) == 0);
    write_caller(drop_caller, next);
    return 1000;
}

static void *new_page(void)
{
    void *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                   0);

    CHECK(p != MAP_FAILED);
    return p;
}

int main(void)
{
    code = new_page();
    for (int i = 0; i < ROUNDS; i++) {
        CHECK(madvise(code, PAGE, MADV_DONTNEED) == 0);
        write_code((unsigned char)i);
        printf("%d", ((int (*)(int))(void *)(code + 64))(100));
        next = (unsigned char)(i + 1);
        write_caller(drop_caller, 0);
        printf(" %d", ((int (*)(void))(void *)code)());
        write_code((unsigned char)(i + 2));
        printf(" %d\n", ((int (*)(int))(void *)(code + 64))(100));
    }
    code = new_page();
    write_code(1);
    printf("%d ", ((int (*)(int))(void *)(code + 64))(100));
    printf("%d\n", madvise(code, PAGE, MADV_POPULATE_WRITE));
    return 0;
}
