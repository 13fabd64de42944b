/* SPDX-License-Identifier: BSD-2-Clause
 * mem_brklow.c -- with addresses not randomised, a program that is linked to addresses has its heap
 * right behind its data, and programs rely on that (GNU Common Lisp addresses data and heap by one
 * page number).
 * guest: modes=children
 * variant: nopie cflags=-no-pie
 * variant: static cflags=-static */
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

#define BIG (64ul << 20)

extern char end[];

static void heap_in_maps(const char *start)
{
    FILE *f = fopen("/proc/self/maps", "r");
    char line[512];
    unsigned long lo, hi;
    int found = 0;
    while (fgets(line, sizeof line, f) != NULL) {
        if (strstr(line, "[heap]") != NULL) {
            CHECK(sscanf(line, "%lx-%lx", &lo, &hi) == 2);
            CHECK(lo == (unsigned long)start && hi > lo);
            found++;
        }
    }
    fclose(f);
    CHECK(found == 1);
}

int main(int argc, char **argv)
{
    if ((personality(0xffffffff) & ADDR_NO_RANDOMIZE) == 0) {
        CHECK(personality(ADDR_NO_RANDOMIZE) >= 0);
        execv("/proc/self/exe", argv);
        return 1;
    }
    char *start = (char *)(((unsigned long)end + 4095) & ~4095ul);
    heap_in_maps(start);
    char *now = sbrk(0);
    CHECK(now > start && now < start + (1 << 20)); /* libc has grown it */
    char *more = sbrk(BIG);
    CHECK(more == now);
    memset(more, 7, BIG);
    for (int i = 0; i < 100; i++) {
        char *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(p != MAP_FAILED && (p >= more + BIG || p + (1 << 20) <= start));
        p[5] = 1;
    }
    CHECK(more[BIG - 1] == 7 && sbrk(BIG) == more + BIG);
    pid_t pid = fork();
    if (pid == 0) {
        _exit(more[BIG - 1] == 7 && sbrk(4096) == more + 2 * BIG ? 3 : 4);
    }
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && status == 3 << 8);
    CHECK(sbrk(-(long)BIG) == more + 2 * BIG && brk(start + 4096) == 0);
    printf("argc %d\n", argc);
    fflush(NULL);
    _exit(0); /* libc's heap is cut */
}
