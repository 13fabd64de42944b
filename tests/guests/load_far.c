/* SPDX-License-Identifier: BSD-2-Clause
 * load_far.c -- an image at fixed addresses with segments 100 TiB apart, as proot's loader is: what
 * lies between them is free.
 * guest: libs=-Wl,--section-start=.far=0x600000000000
 * variant: nopie cflags=-no-pie -fno-asynchronous-unwind-tables
 * variant: static cflags=-static -fno-asynchronous-unwind-tables */
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest.h"

__attribute__((section(".far"), noinline)) static int twice(int x)
{
    return x * 2;
}

static int (*volatile call)(int) = twice;

int main(void)
{
    CHECK((uintptr_t)call == 0x600000000000);
    CHECK(call(21) == 42);
    void *between = mmap((void *)0x300000000000, 4096, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    CHECK(between == (void *)0x300000000000);
    /* The break's place is another matter natively: behind the last segment. */
    int *heap = sbrk(8192);
    CHECK(heap != (void *)-1);
    heap[100] = 1;
    puts("ok");
    return 0;
}
