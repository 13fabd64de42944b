/* SPDX-License-Identifier: BSD-2-Clause
 * sig_steprep.c -- TF and repeated string instructions: a SIGTRAP behind each turn, with the
 * registers of that moment; counts of none and one, comparisons that end early, 32-bit counts,
 * faults in the middle. */
#define _GNU_SOURCE
#include "guest.h"

#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#define TF 0x100

enum { PAGE = 4096, MOST = 40 };

static const struct {
    const char *name;
    unsigned char code[5];
    long rcx, from, to, df; /* rsi and rdi: offsets */
} cases[] = {
    {"movsb", {0xf3, 0xa4}, 3, 0, 100, 0},
    {"movsq", {0xf3, 0x48, 0xa5}, 3, 0, 100, 0},
    {"movsb down", {0xf3, 0xa4}, 3, 50, 100, 1},
    {"stosl", {0xf3, 0xab}, 1, 0, 0, 0},
    {"stosl none", {0xf3, 0xab}, 0, 0, 0, 0},
    {"lodsw", {0xf2, 0x66, 0xad}, 2, 0, 0, 0},
    {"repe cmpsb", {0xf3, 0xa6}, 9, 0, 200, 0},
    {"repe cmpsb differ", {0xf3, 0xa6}, 9, 0, 204, 0},
    {"repne scasb", {0xf2, 0xae}, 9, 0, 2, 0},
    {"repne scasb, last", {0xf2, 0xae}, 3, 0, 5, 0},
    {"repe scasb", {0xf3, 0xae}, 4, 0, 5, 0},
    {"both prefixes", {0xf2, 0xf3, 0xa6}, 4, 0, 200, 0},
    {"32 bits", {0x67, 0xf3, 0xa4}, 0x500000002, 0, 100, 0},
    {"32 bits, none", {0x67, 0xf3, 0xa4}, 0x500000000, 0, 100, 0},
    {"fault", {0xf3, 0xa5}, 4, 0, PAGE - 8, 0},
    {"fault at once", {0xf3, 0xa5}, 4, 0, PAGE, 0},
    {"once", {0xa4}, 4, 0, 100, 0},
};
enum { CASES = sizeof(cases) / sizeof(*cases) };

static unsigned char *code, *data;
static ucontext_t start;
static int number = -1, traps;

static void begin(greg_t *g)
{
    memcpy(code, cases[number].code, sizeof(cases[number].code));
    for (size_t n = 0; n < sizeof(cases[number].code); n++) {
        code[n] = code[n] != 0 ? code[n] : 0x90;
    }
    memset(code + sizeof(cases[number].code), 0x90, 8);
    memset(data, 7, PAGE);
    memset(data, 'a', 8);
    memset(data + 200, 'a', 6);
    data[206] = data[208] = 'b';
    memcpy(g, start.uc_mcontext.gregs, sizeof(start.uc_mcontext.gregs));
    g[REG_RAX] = 7;
    g[REG_RCX] = cases[number].rcx;
    g[REG_RSI] = (greg_t)data + cases[number].from;
    g[REG_RDI] = (greg_t)data + cases[number].to;
    g[REG_EFL] = 0x202 | TF | (cases[number].df ? 0x400 : 0);
    g[REG_RIP] = (greg_t)code;
    traps = 0;
}

static void handler(int sig, siginfo_t *info, void *context)
{
    greg_t *g = ((ucontext_t *)context)->uc_mcontext.gregs;

    if (number < 0) {
        start = *(ucontext_t *)context;
    } else {
        printf("%s: %d %d at %ld rcx %llx rsi %ld rdi %ld flags %llx\n", cases[number].name, sig,
               info->si_code, (long)g[REG_RIP] - (long)code, g[REG_RCX],
               (long)g[REG_RSI] - (long)data, (long)g[REG_RDI] - (long)data, g[REG_EFL]);
        if (sig == SIGTRAP && g[REG_RIP] < (greg_t)code + 6 && ++traps < MOST) {
            return;
        }
    }
    if (++number == CASES) {
        fflush(stdout);
        _exit(0);
    }
    begin(g);
}

int main(void)
{
    const struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO};

    code = mmap(NULL, PAGE, 7, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    data = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1,
                0);
    CHECK(code != MAP_FAILED && data != MAP_FAILED);
    CHECK(mprotect(data + PAGE, PAGE, PROT_NONE) == 0);
    CHECK(sigaction(SIGTRAP, &sa, NULL) == 0 && sigaction(SIGSEGV, &sa, NULL) == 0);
    __asm__ volatile("int3");
    return 1;
}
