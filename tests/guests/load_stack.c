/* SPDX-License-Identifier: BSD-2-Clause
 * load_stack.c -- the main stack grows as the kernel lets it; beyond its limit is SIGSEGV.
 * guest: */
#include <alloca.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/resource.h>

#include "guest.h"

static sigjmp_buf out;
static volatile int depth;

static void on_segv(int signo)
{
    siglongjmp(out, 1);
}

static __attribute__((noinline)) int descend(int n)
{
    volatile char pad[4096];
    pad[0] = (char)n;
    depth = n;
    return descend(n + 1) + pad[0];
}

int main(void)
{
    volatile char *far = alloca(6 << 20);
    for (int i = (6 << 20) - 1; i >= 0; i -= 4096) {
        CHECK(far[i] == 0);
        far[i] = 1;
    }
    far[0] = 2; /* the farthest first would do as well */
    struct rlimit limit;
    CHECK(!getrlimit(RLIMIT_STACK, &limit));
    printf("soft limit %lu\n", (unsigned long)limit.rlim_cur);
    if (limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur <= (64 << 20)) {
        static char alt[65536];
        stack_t ss = {.ss_sp = alt, .ss_size = sizeof alt};
        sigaltstack(&ss, NULL);
        struct sigaction act = {.sa_handler = on_segv, .sa_flags = SA_ONSTACK};
        sigaction(SIGSEGV, &act, NULL);
        if (!sigsetjmp(out, 1)) {
            descend(0);
        }
        long bytes = depth * 4096l + (6 << 20);
        CHECK(bytes > (long)limit.rlim_cur * 8 / 10 && bytes < (long)limit.rlim_cur);
    }
    puts("overflow caught");
    return 0;
}
