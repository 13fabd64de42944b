/* SPDX-License-Identifier: BSD-2-Clause
 * load_bss.c -- a large .bss, touched here and there; data beside it; the break behind it.
 * guest: cflags=-mcmodel=medium
 * variant: pie
 * variant: nopie cflags=-no-pie
 * variant: static cflags=-static */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "guest.h"

char big[300 << 20];
int data[1000] = {1, 2, 3};
char tail[5000];

int main(void)
{
    struct rlimit limit;
    uint64_t sum = 0;
    for (size_t i = 0; i < sizeof big; i += 4096 * 7 + 13) {
        sum += (unsigned char)big[i];
        big[i] = (char)i;
    }
    printf("%llu\n", (unsigned long long)sum);
    printf("%llx\n", (unsigned long long)hash_bytes(0, big, 32 << 20));
    CHECK(data[2] == 3 && data[999] == 0 && tail[4999] == 0);
    char *start = sbrk(0);
    CHECK(start >= tail);
    CHECK(sbrk(100000) == start);
    start[99999] = 1;
    CHECK(start[0] == 0 && start[50000] == 0);
    CHECK(sbrk(-100000) == start + 100000);
    CHECK(sbrk(0) == start);
    CHECK(sbrk(8192) == start && start[8191] == 0);
    /* No room for data: mappings may be made all the same, but the break stays. */
    CHECK(getrlimit(RLIMIT_DATA, &limit) == 0);
    limit.rlim_cur = 0;
    CHECK(setrlimit(RLIMIT_DATA, &limit) == 0);
    CHECK(sbrk(8192) == (void *)-1);
    CHECK(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
          MAP_FAILED);
    return 0;
}
