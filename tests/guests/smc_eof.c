/* SPDX-License-Identifier: BSD-2-Clause
 * smc_eof.c -- code behind the end of its file: a SIGBUS, until the file has grown.
 * guest: */
#define _GNU_SOURCE
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "guest.h"

static sigjmp_buf out;
static unsigned char *code;

static void handler(int sig, siginfo_t *info, void *context)
{
    ucontext_t *u = context;

    printf("signal %d, code %d, at %ld, rip %ld, trap %d\n", sig, info->si_code,
           (long)((unsigned char *)info->si_addr - code),
           (long)(u->uc_mcontext.gregs[REG_RIP] - (long)code),
           (int)u->uc_mcontext.gregs[REG_TRAPNO]);
    siglongjmp(out, 1);
}

static void call(long at)
{
    if (sigsetjmp(out, 1) == 0) {
        printf("result %d\n", ((int (*)(void))(code + at))());
    }
}

int main(void)
{
    static const unsigned char returns_7[] = {0xb8, 7, 0, 0, 0, 0xc3};
    struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    int fd = memfd_create("code", 0);

    sigaction(SIGBUS, &sa, NULL);
    sigaction(SIGSEGV, &sa, NULL);
    code = mmap(NULL, 8192, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    CHECK(code != MAP_FAILED);
    call(0);
    CHECK(pwrite(fd, returns_7, sizeof(returns_7), 0) == sizeof(returns_7));
    call(0);
    CHECK(pwrite(fd, "\x90\x90\x90\xb8", 4, 4092) == 4); /* the last instruction is cut off */
    call(4092);
    CHECK(pwrite(fd, returns_7 + 1, sizeof(returns_7) - 1, 4096) == sizeof(returns_7) - 1);
    call(4092);
    CHECK(ftruncate(fd, 4096) == 0);
    call(4096);
    return 0;
}
