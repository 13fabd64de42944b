/* SPDX-License-Identifier: BSD-2-Clause
 * sig_alignemul.c -- with the AC flag set: unaligned operands of instructions that load selectors
 * or branch by them, at every misalignment, in memory that can't be read too.
 * guest: cflags=-O1 needs=fsgsbase */
#define _GNU_SOURCE
#include "guest.h"

#include <asm/prctl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define AC 0x40000

enum { PAGE = 4096 };

static char altstack[65536];
static ucontext_t start;
static volatile int begun;
uint64_t own_fs;

/* Neither AC nor what an instruction does to FS may reach the handler. */
void entry(void);
__asm__(".text\n"
        "entry: push $2; popf; mov own_fs(%rip), %rax; wrfsbase %rax; jmp handler\n");

static const struct {
    const char *name;
    unsigned char code[8];
} cases[] = {
    {"mov es", {0x8e, 0x03}},
    {"mov fs", {0x8e, 0x23}},
    {"lfs", {0x0f, 0xb4, 0x03}},
    {"lfs 16", {0x66, 0x0f, 0xb4, 0x03}},
    {"lgs 64", {0x48, 0x0f, 0xb5, 0x03}},
    {"lss", {0x0f, 0xb2, 0x03}},
    {"pop fs", {0x0f, 0xa1}},
    {"pop fs 16", {0x66, 0x0f, 0xa1}},
    {"far jmp", {0xff, 0x2b}},
    {"far jmp 16", {0x66, 0xff, 0x2b}},
    {"far call", {0xff, 0x1b}},
    {"far call 64", {0x48, 0xff, 0x1b}},
    {"lret", {0xcb}},
    {"lret 64", {0x48, 0xcb}},
    {"iret", {0xcf}},
    {"iret 64", {0x48, 0xcf}},
    {"gs jmp", {0x65, 0xff, 0x23}},
    {"gs call", {0x65, 0xff, 0x13}},
};
enum { CASES = sizeof(cases) / sizeof(*cases), PLACES = 8, KINDS = 4 };

static unsigned char *code, *data;
static int number;

/* Behind: what is read lies over the border to a page that can't be. */
static greg_t place(int kind, int at)
{
    static const int bases[KINDS] = {256, PAGE - 8, PAGE, -1};
    return kind == 3 ? (greg_t)0x8000000000000000 + at : (greg_t)data + bases[kind] + at;
}

static void begin(ucontext_t *uc)
{
    greg_t *g = uc->uc_mcontext.gregs;
    int c = number / (PLACES * KINDS), kind = number / PLACES % KINDS, at = number % PLACES;

    memcpy(code, cases[c].code, sizeof(cases[c].code));
    memset(code + 8, 0xcc, 16);
    memset(data, 0x7f, PAGE);
    memcpy(g, start.uc_mcontext.gregs, sizeof(start.uc_mcontext.gregs));
    g[REG_RBX] = g[REG_RSP] = place(kind, at);
    g[REG_RIP] = (greg_t)code;
    g[REG_EFL] |= AC;
}

void handler(int sig, siginfo_t *info, void *context);
void handler(int sig, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    greg_t *g = uc->uc_mcontext.gregs;

    if (!begun) {
        start = *uc;
        begun = 1;
    } else {
        int c = number / (PLACES * KINDS), kind = number / PLACES % KINDS;
        printf("%s %d %d: %d %d %d at %ld trap %lld %llx\n", cases[c].name, kind, number % PLACES,
               sig, info->si_code, info->si_addr == NULL, (long)g[REG_RIP] - (long)code,
               g[REG_TRAPNO], g[REG_ERR]);
        if (++number == CASES * PLACES * KINDS) {
            fflush(stdout);
            _exit(0);
        }
    }
    begin(uc);
}

int main(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGTRAP};
    const stack_t ss = {.ss_sp = altstack, .ss_size = sizeof(altstack)};
    struct sigaction sa = {.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER};

    code = mmap(NULL, PAGE, 7, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    data = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(code != MAP_FAILED && data != MAP_FAILED);
    CHECK(mprotect(data + PAGE, PAGE, PROT_NONE) == 0);
    __asm__("rdfsbase %0" : "=r"(own_fs));
    sa.sa_sigaction = (void (*)(int, siginfo_t *, void *))(uintptr_t)entry;
    CHECK(sigaltstack(&ss, NULL) == 0);
    for (int i = 0; i < 4; i++) {
        CHECK(sigaction(signals[i], &sa, NULL) == 0);
    }
    __asm__ volatile("int3");
    return 1;
}
