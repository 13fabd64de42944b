/* SPDX-License-Identifier: BSD-2-Clause
 * sig_trapjump.c -- a trapping instruction with a jump behind it: the signal's frame names the
 * jump, not the place where the jump goes. */
#define _GNU_SOURCE
#include "guest.h"

#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>

static unsigned char *code;
static volatile long seen_at, seen_signal, seen_code;

static void handler(int sig, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    seen_at = uc->uc_mcontext.gregs[REG_RIP] - (long)code;
    seen_signal = sig;
    seen_code = info->si_code;
    if (sig != SIGTRAP) {
        uc->uc_mcontext.gregs[REG_RIP] = (long)code + 64; /* the landing place */
    }
}

static void try(const char *name, const char *bytes, int n)
{
    memset(code, 0xf4, 256);
    memcpy(code, bytes, (size_t)n);
    code[64] = 0xc3;
    code[n] = 0xeb; /* jmp code + 64 */
    code[n + 1] = (unsigned char)(64 - n - 2);
    __builtin___clear_cache((char *)code, (char *)code + 256);
    seen_signal = 0;
    ((void (*)(void))code)();
    printf("%s: signal %ld, code %ld, at +%ld\n", name, seen_signal, seen_code, seen_at);
}

int main(void)
{
    struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};
    code = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(code != MAP_FAILED);
    sigaction(SIGTRAP, &sa, NULL);
    sigaction(SIGSEGV, &sa, NULL);
    for (int i = 0; i < 3; i++) {
        try("int3", "\xcc", 1);
        try("nop, int3", "\x90\xcc", 2);
        try("int3, int3", "\xcc\xcc", 2);
        try("int 3", "\xcd\x03", 2);
        try("int 4", "\xcd\x04", 2);
        try("int 5", "\xcd\x05", 2);
        try("rep int3", "\xf3\xcc", 2);
    }
    return 0;
}
