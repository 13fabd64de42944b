/* SPDX-License-Identifier: BSD-2-Clause
 * thr_returns.c -- a thread that goes in circles by returns alone waits for another one, which must
 * get its turn (--parallel=no).
 * guest: */
#include "guest.h"

#include <pthread.h>
#include <unistd.h>

void circle(const volatile int *flag, const void *stack);
extern const char behind_call[];
__asm__(".text\n"
        ".globl circle\ncircle:\n"
        "  mov %rsp, %r8\n mov %rdi, %r9\n mov %rsi, %r10\n call 2f\n"
        ".globl behind_call\nbehind_call:\n"
        "  cmpl $0, (%r9)\n jne 1f\n mov %r10, %rsp\n ret\n"
        "1: mov %r8, %rsp\n"
        "2: ret\n");

static volatile int flag;
static const void *stack[] = {behind_call, NULL};

static void *run(void *arg)
{
    circle(&flag, stack);
    return arg;
}

int main(void)
{
    pthread_t t;

    CHECK(pthread_create(&t, NULL, run, NULL) == 0);
    usleep(20000);
    flag = 1;
    CHECK(pthread_join(t, NULL) == 0);
    puts("both were served");
    return 0;
}
