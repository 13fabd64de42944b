/* SPDX-License-Identifier: BSD-2-Clause
 * mem_implied.c -- protection that is not asked for: all that can be read can be executed after
 * personality(READ_IMPLIES_EXEC); PROT_GROWSDOWN means a stack as far as it has grown. */
#define _GNU_SOURCE
#include "guest.h"

#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <unistd.h>

enum { PAGE = 4096 };

static const unsigned char code[] = {0xb8, 42, 0, 0, 0, 0xc3}; /* mov $42, %eax; ret */
static sigjmp_buf out;

static void on_fault(int sig)
{
    siglongjmp(out, sig);
}

static void call(const char *what, void *at)
{
    int sig = sigsetjmp(out, 1);

    if (sig == 0) {
        printf("%s: %d\n", what, ((int (*)(void))at)());
    } else {
        printf("%s: signal %d\n", what, sig);
    }
}

static void store(const char *what, volatile char *at)
{
    int sig = sigsetjmp(out, 1);

    if (sig == 0) {
        *at = 1;
        printf("%s: stored\n", what);
    } else {
        printf("%s: signal %d\n", what, sig);
    }
}

static void *code_page(int prot)
{
    void *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(p != MAP_FAILED);
    memcpy(p, code, sizeof code);
    CHECK(mprotect(p, PAGE, prot) == 0);
    return p;
}

static void read_implies_exec(void)
{
    void *before = code_page(PROT_READ);
    unsigned char *heap;

    call("before", before);
    CHECK(personality(READ_IMPLIES_EXEC) == 0);
    call("mapped before", before);
    call("readable", code_page(PROT_READ));
    call("writable", code_page(PROT_READ | PROT_WRITE));
    call("not readable", code_page(PROT_NONE));
    heap = sbrk(2 * PAGE);
    memcpy(heap + PAGE, code, sizeof code);
    call("heap", heap + PAGE);
    CHECK(mprotect(before, PAGE, PROT_READ) == 0);
    call("protected again", before);
    CHECK(personality(0xffffffff) == READ_IMPLIES_EXEC && personality(0) == READ_IMPLIES_EXEC);
    call("behind", before);
    call("new one behind", code_page(PROT_READ));
}

static void grown_down(void)
{
    const int anon = MAP_PRIVATE | MAP_ANONYMOUS;
    char *room = mmap(NULL, 1 << 22, PROT_NONE, anon, -1, 0);
    char *top = room + (1 << 22) - 2 * PAGE;

    CHECK(room != MAP_FAILED && munmap(room, 1 << 22) == 0);
    CHECK(mmap(top, 2 * PAGE, PROT_READ | PROT_WRITE, anon | MAP_GROWSDOWN | MAP_FIXED, -1, 0) ==
          top);
    for (int i = 1; i < 20; i++) {
        top[-i * PAGE] = 1;
    }
    CHECK(mprotect(top + PAGE, PAGE, PROT_READ | PROT_GROWSDOWN) == 0);
    store("above", top + PAGE);
    store("at its first start", top);
    store("where it has grown", top - PAGE);
    store("at its end", top - 19 * PAGE);
    CHECK(mprotect(top - 19 * PAGE, 3 * PAGE, PROT_READ | PROT_WRITE | PROT_GROWSDOWN) == 0);
    store("at its end, again", top - 19 * PAGE);
    store("above", top - 16 * PAGE);
}

int main(void)
{
    signal(SIGSEGV, on_fault);
    read_implies_exec();
    grown_down();
    return 0;
}
