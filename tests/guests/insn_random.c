/* SPDX-License-Identifier: BSD-2-Clause
 * insn_random.c -- random instruction bytes, run one instruction at a time; all that they change
 * and all that their signals say is hashed.
 * guest: cflags=-no-pie -O1 timeout=60 needs=xsave,fsgsbase
 * variant: a args=1
 * variant: b args=2
 *
 * Each case begins with rt_sigreturn and ends with a signal: of the instruction, or of the int3
 * behind it. All addresses are the same natively and under mtvg. One line per 50 cases; with
 * arguments SEED FROM TO those cases are printed one by one. Left out: instructions whose results
 * are not the same in two native runs, system calls, and where an indirect branch to a
 * non-canonical address is reported. */
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <cpuid.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "guest.h"

enum { CASES = 3000, GROUP = 50, PAGE = 4096, DATA_SIZE = 0x10000, MAX_XSAVE = 4096 };

#define CODE ((unsigned char *)0x5000000) /* one page, then one that can't be executed */
#define DATA ((unsigned char *)0x5010000)
#define MIDDLE 0x5018000ull

static uint64_t seed, first, last, number, group_hash;
static int verbose;
static unsigned char *start;
static unsigned char bytes[16];
static int prefixes;   /* of the case */
static int bad_target; /* the branch's target may be non-canonical */
uint64_t own_fs, case_fs = MIDDLE + 0x800;
static const uint64_t case_gs = MIDDLE - 0x900;
static unsigned parts[8][2];
static unsigned char altstack[65536];
static char output[65536];

/* A handler that depends on nothing that the instruction may have changed. */
void entry(void);
void restorer(void);
__asm__(".text\n"
        "entry:\n"
        "    push $2; popf\n"
        "    mov own_fs(%rip), %rax; wrfsbase %rax\n"
        "    sub $8, %rsp\n"
        "    call handler\n"
        "    add $8, %rsp\n"
        "    mov case_fs(%rip), %rax; wrfsbase %rax\n"
        "    ret\n"
        "restorer: mov $15, %eax; syscall\n");

static uint64_t rng;

static uint32_t rnd(uint32_t n)
{
    return (uint32_t)((rng_next(&rng) >> 32) % n);
}

static int is_prefix(unsigned char b)
{
    return b == 0x66 || b == 0x67 || b == 0xf2 || b == 0xf3 || b == 0xf0 || b == 0x2e ||
           b == 0x36 || b == 0x3e || b == 0x26 || b == 0x64 || b == 0x65;
}

/* The memory operand's displacement shall often lead into DATA. */
static void aim(unsigned char *modrm)
{
    unsigned mod = *modrm >> 6, rm = *modrm & 7;
    int32_t d = (int32_t)rnd(512) - 256;

    if (rnd(8) == 0) {
        d = (int32_t)(rng_next(&rng) & 0xfffffff); /* not where the code cache may be */
    }
    if (mod == 0 && rm == 5) {
        d += (int32_t)(MIDDLE - (uint64_t)start);
        memcpy(modrm + 1, &d, 4);
    } else if (mod == 2) {
        memcpy(modrm + 1 + (rm == 4), &d, 4);
    } else if (mod == 0 && rm == 4 && (modrm[1] & 7) == 5) {
        d += (int32_t)MIDDLE;
        memcpy(modrm + 2, &d, 4);
    }
}

/* Opcodes without ModRM of map 0 (but 0f and prefixes), and of map 0f; a bit each. */
static const uint32_t no_modrm[16] = {
    0xf0f0f0f0, 0xf0f0f0f0, 0xffffffff, 0xfffff5f7, 0xffff0000, 0xffffffff, 0x00ffff3c, 0x3f3fffff,
    0x0000dff0, 0xffff00ff, 0x00000000, 0x00800000, 0x0000ffff, 0x000007c7, 0x0000ff00, 0x00000000};

/* Bytes of immediate. */
static int immediate(int map, unsigned char op, unsigned reg, int p66, int w)
{
    int z = p66 && !w ? 2 : 4;

    if (map == 1) {
        return (op & 0xf0) == 0x80 ? z
               : (op >= 0x70 && op <= 0x73) || op == 0xa4 || op == 0xac || op == 0xba ||
                       op == 0xc2 || (op >= 0xc4 && op <= 0xc6)
                   ? 1
                   : 0;
    }
    if (map > 1) {
        return map == 3;
    }
    if (op < 0x40) {
        return (op & 7) == 4 ? 1 : (op & 7) == 5 ? z : 0;
    }
    switch (op) {
    case 0x68:
    case 0x69:
    case 0x81:
    case 0xa9:
    case 0xc7: return z;
    case 0xe8:
    case 0xe9: return z;
    case 0x6a:
    case 0x6b:
    case 0x70 ... 0x80:
    case 0x83:
    case 0xa8:
    case 0xb0 ... 0xb7:
    case 0xc0:
    case 0xc1:
    case 0xc6:
    case 0xcd:
    case 0xe0 ... 0xe7:
    case 0xeb: return 1;
    case 0xb8 ... 0xbf: return w ? 8 : z;
    case 0xc2:
    case 0xca: return 2;
    case 0xc8: return 3;
    case 0xa0 ... 0xa3: return 8;
    case 0xf6: return reg < 2 ? 1 : 0;
    case 0xf7: return reg < 2 ? z : 0;
    default: return 0;
    }
}

/* op: the opcode of that map. What follows the instruction is to be int3. A mistake here costs
 * little. */
static void end_bytes(unsigned char *op, int map, int vex)
{
    unsigned char *b = op + 1;
    int p66 = 0, w = op > bytes && (op[-1] & 0xf8) == 0x48;
    unsigned reg = 0;

    for (unsigned char *p = bytes; p < op; p++) {
        p66 |= *p == 0x66;
    }
    if (map > 1 || vex || !(no_modrm[map * 8 + (*op >> 5)] >> (*op & 31) & 1)) {
        unsigned mod = *b >> 6, rm = *b & 7;
        reg = *b >> 3 & 7;
        aim(b++);
        if (mod != 3 && rm == 4) {
            rm = *b++ & 7;
        }
        b += mod == 1 ? 1 : mod == 2 || (mod == 0 && rm == 5) ? 4 : 0;
    }
    if ((map == 0 && (*op == 0xe8 || *op == 0xe9)) || (map == 1 && (*op & 0xf0) == 0x80)) {
        b[3] &= 0x1f; /* to where nothing is */
    } else if (map == 0 && (*op & 0xfc) == 0xa0) {
        uint64_t address = MIDDLE + rnd(DATA_SIZE);
        memcpy(b, &address, 8);
    }
    b += immediate(map, *op, reg, p66, w);
    for (; b < bytes + 16; b++) {
        *b = 0xcc;
    }
}

static void make_bytes(void)
{
    static const unsigned char prefix[] = {0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x2e,
                                           0x36, 0x3e, 0x26, 0x64, 0x65};
    unsigned char *b = bytes;
    uint32_t kind = rnd(100);

    for (int i = 0; i < 16; i++) {
        bytes[i] = (unsigned char)rnd(256);
    }
    for (uint32_t n = rnd(2) ? 0 : 1 + rnd(rnd(16) ? 2 : 5); n > 0; n--) {
        *b++ = prefix[rnd(sizeof prefix)];
    }
    if (rnd(3) == 0 && b < bytes + 12) {
        *b++ = (unsigned char)(0x40 | rnd(16));
        if (rnd(30) == 0) {
            *b++ = prefix[rnd(sizeof prefix)];
        }
    }
    if (kind < 35) {
        end_bytes(b, 0, 0);
    } else if (kind < 62) {
        *b = 0x0f;
        end_bytes(b + 1, 1, 0);
    } else if (kind < 72) {
        int map = 2 + (int)rnd(2);
        *b++ = 0x0f;
        *b++ = map == 2 ? 0x38 : 0x3a;
        end_bytes(b, map, 0);
    } else if (kind < 77) {
        *b = 0xc5;
        end_bytes(b + 2, 1, 1);
    } else if (kind < 85) {
        int map = 1 + (int)rnd(3);
        b[0] = 0xc4;
        b[1] = (unsigned char)((b[1] & 0xe0) | map);
        end_bytes(b + 3, map, 1);
    } else if (kind < 97) {
        int map = 1 + (int)rnd(rnd(4) ? 3 : 7);
        b[0] = 0x62;
        b[1] = (unsigned char)((b[1] & 0xf0) | map);
        b[2] |= 4;
        end_bytes(b + 4, map, 1);
    } else {
        int map = 8 + (int)rnd(3);
        b[0] = 0x8f;
        b[1] = (unsigned char)((b[1] & 0xe0) | map);
        end_bytes(b + 3, map == 8 ? 3 : 2, 1);
    }
}

/* A branch into itself might go on for ever. */
static int is_loop(const unsigned char *b)
{
    int32_t rel = (int8_t)b[1];

    if ((*b & 0xf0) != 0x70 && (*b & 0xfc) != 0xe0 && *b != 0xeb) {
        if (*b == 0xe8 || *b == 0xe9) {
            memcpy(&rel, b + 1, 4);
        } else if (*b == 0x0f && (b[1] & 0xf0) == 0x80) {
            memcpy(&rel, b + 2, 4);
        } else {
            return 0;
        }
    }
    return (int16_t)rel > -32 && (int16_t)rel < 16;
}

/* Not the same in two runs, or a system call. */
static int is_unwanted(void)
{
    const unsigned char *b = bytes, *end = bytes + 15;
    int locked = 0;

    for (int i = 0; i < 15; i++) {
        if ((b[i] == 0x0f && (b[i + 1] == 0x05 || b[i + 1] == 0x34)) ||
            (b[i] == 0xcd && b[i + 1] == 0x80)) {
            return 1;
        }
    }
    bad_target = 0;
    while (b < end && (is_prefix(*b) || (*b & 0xf0) == 0x40)) {
        locked |= *b++ == 0xf0;
    }
    prefixes = (int)(b - bytes);
    bad_target = *b == 0xff || *b == 0xc2 || *b == 0xc3 || *b == 0xcf;
    if (is_loop(b)) {
        return 1;
    }
    if (*b != 0x0f) {
        /* Far returns read more than they need; with 66 and f2, loope on Zen 4 is not taken. */
        return *b == 0xca || *b == 0xcb || (*b & 0xfc) == 0xe0;
    }
    switch (b[1]) {
    case 0x01: return b[2] >= 0xf9 && b[2] != 0xfc; /* rdtscp, monitorx, mwaitx, rdpru */
    case 0x31:
    case 0x33: /* rdtsc, rdpmc */
    case 0xa2: return 1;
    case 0xae: return (b[2] >> 3 & 7) == 6 && b[2] < 0xc0; /* xsaveopt: by what has been before */
    case 0xc7: return (b[2] >> 3 & 7) >= 3;                /* xsavec, rdrand, rdseed, rdpid */
    case 0x00: return locked;                              /* reads its operand first */
    default: return 0;
    }
}

static uint64_t random_register(void)
{
    switch (rnd(8)) {
    case 0: return rnd(64);
    case 1: return rng_next(&rng) & 0xffffffff03ffffff;
    case 2: return rng_next(&rng) & 0x3ffffff; /* nowhere near the code cache, with a scale too */
    case 3: return (uint64_t) - (int64_t)rnd(64);
    case 4: return rnd(4) ? 0 : (1ull << rnd(64)) & ~0x7c000000ull;
    default: return MIDDLE + rnd(1024) - 512;
    }
}

static void random_xstate(ucontext_t *uc)
{
    unsigned char *x = (unsigned char *)uc->uc_mcontext.fpregs;
    uint64_t bv = 0xe7;
    uint32_t mxcsr = 0x1f80 | rnd(4) << 13;

    memset(x, 0, 464);
    x[0] = 0x7f, x[1] = (unsigned char)(3 | rnd(4) << 2);
    x[3] = (unsigned char)(rnd(8) << 3);
    x[4] = rnd(2) ? 0xff : (unsigned char)rnd(256);
    if (rnd(16) == 0) {
        mxcsr &= ~(uint32_t)(rnd(64) << 7);
    }
    memcpy(x + 24, &mxcsr, 4);
    for (int i = 32; i < 416; i++) {
        x[i] = (unsigned char)rnd(256);
    }
    for (int i = 0; i < 8; i++) { /* ordinary numbers */
        uint16_t e = (uint16_t)(0x3ff0 + rnd(32));
        memcpy(x + 32 + 16 * i + 8, &e, 2);
        x[32 + 16 * i + 7] |= 0x80;
    }
    memcpy(x + 512, &bv, 8);
    for (int c = 2; c < 8; c++) {
        for (unsigned i = 0; i < parts[c][1]; i += 8) {
            uint64_t w = rng_next(&rng);
            memcpy(x + parts[c][0] + i, &w, 8);
        }
    }
}

static void next_case(ucontext_t *uc)
{
    greg_t *g = uc->uc_mcontext.gregs;

    rng = (seed << 32 | number) * 0x9e3779b97f4a7c15ull | 1;
    rng_next(&rng);
    start = rnd(10) ? CODE + 16 * rnd(64) : CODE + PAGE - 1 - rnd(8);
    do {
        make_bytes();
    } while (is_unwanted());
    memset(CODE, 0xcc, 2 * PAGE);
    memcpy(start, bytes, 15);
    for (int i = 0; i < DATA_SIZE; i += 8) {
        uint64_t w = (uint64_t)i * 0x9e3779b97f4a7c15ull ^ rng;
        memcpy(DATA + i, &w, 8);
    }
    for (int i = REG_R8; i <= REG_RCX; i++) {
        g[i] = (greg_t)random_register();
    }
    g[REG_RSP] = (greg_t)(MIDDLE + 0x2000 + 8 * rnd(64));
    g[REG_EFL] = (greg_t)(0x202 | (rng_next(&rng) & 0x8d5) | (rnd(8) ? 0 : 0x400));
    g[REG_RIP] = (greg_t)start;
    g[REG_CR2] = g[REG_ERR] = g[REG_TRAPNO] = 0;
    random_xstate(uc);
    syscall(SYS_arch_prctl, ARCH_SET_GS, case_gs);
}

static uint64_t hash_xstate(const ucontext_t *uc)
{
    const unsigned char *x = (const unsigned char *)uc->uc_mcontext.fpregs;
    static const unsigned char zeros[MAX_XSAVE];
    uint64_t bv, h = hash_bytes(0, x, 416);

    memcpy(&bv, x + 512, 8);
    for (int c = 2; c < 8; c++) {
        h = hash_bytes(h, (bv >> c & 1) ? x + parts[c][0] : zeros, parts[c][1]);
    }
    return h;
}

/* What comes first, an invalid opcode, too many prefixes, or a page that can't be executed, is the
 * processor's own secret. */
static int is_unsure(int sig, const siginfo_t *info, const greg_t *g)
{
    int border = start + 15 > CODE + PAGE, many = prefixes > 1;

    return (sig == SIGILL && (border || many)) ||
           (sig == SIGSEGV && info->si_code == SI_KERNEL && many) ||
           (border && g[REG_TRAPNO] == 14 && g[REG_ERR] == 0x15);
}

static void finish(void)
{
    fflush(stdout);
    _exit(0);
}

void handler(int sig, siginfo_t *info, void *context);
void handler(int sig, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    greg_t *g = uc->uc_mcontext.gregs;
    uint64_t h, x, m, gh;

    if (start != NULL) {
        uint64_t where[6] = {(uint64_t)sig,        (uint64_t)info->si_code, (uint64_t)info->si_addr,
                             (uint64_t)g[REG_RIP], (uint64_t)g[REG_TRAPNO], (uint64_t)g[REG_ERR]};
        int skip = bad_target && sig == SIGSEGV && info->si_code == SI_KERNEL;

        if (is_unsure(sig, info, g)) {
            sig = 0;
            memset(where, 0, sizeof where);
            g[REG_TRAPNO] = g[REG_ERR] = g[REG_CR2] = 0;
        }

        g[REG_EFL] &= ~0x10000; /* RF */
        gh = hash_bytes(0, g, 17 * 8);
        x = hash_xstate(uc);
        m = hash_bytes(0, DATA, DATA_SIZE);
        h = skip ? 0 : hash_bytes(hash_bytes(hash_bytes(x, &m, 8), where, sizeof where), &gh, 8);
        h = hash_bytes(h, &g[REG_EFL], 8);
        h = hash_bytes(h, CODE, 2 * PAGE);
        group_hash = skip ? group_hash : hash_bytes(group_hash, &h, 8);
        if (verbose) {
            printf("%llu", (unsigned long long)number);
            for (int i = 0; i < 15; i++) {
                printf(" %02x", bytes[i]);
            }
            if (skip) {
                printf(" skipped\n");
            } else {
                printf(
                    " at %p: %d %d %p rip %llx trap %lld err %llx cr2 %llx fl %llx gpr %llx x %llx "
                    "mem %llx\n",
                    (void *)start, sig, sig ? info->si_code : 0, sig ? info->si_addr : NULL,
                    g[REG_RIP], g[REG_TRAPNO], g[REG_ERR], g[REG_TRAPNO] == 14 ? g[REG_CR2] : 0,
                    g[REG_EFL], (unsigned long long)gh, (unsigned long long)x,
                    (unsigned long long)m);
                if (verbose > 1) {
                    for (int i = 0; i < 17; i++) {
                        printf("   %d:%llx", i, g[i]);
                    }
                    printf("\n");
                    for (int i = 0; i < 416; i++) {
                        printf("%02x", ((unsigned char *)uc->uc_mcontext.fpregs)[i]);
                    }
                    printf("\n");
                }
            }
        } else if (number % GROUP == GROUP - 1) {
            printf("%llu: %016llx\n", (unsigned long long)number, (unsigned long long)group_hash);
        }
        number++;
    }
    if (number >= last) {
        finish();
    }
    next_case(uc);
}

int main(int argc, char **argv)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};
    struct {
        void (*handler)(void);
        unsigned long flags;
        void (*restorer)(void);
        uint64_t mask;
    } sa = {entry, SA_SIGINFO | SA_ONSTACK | SA_NODEFER | 0x04000000, restorer, 0};
    const stack_t ss = {.ss_sp = altstack, .ss_size = sizeof altstack};

    seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
    first = argc > 2 ? strtoull(argv[2], NULL, 0) : 0;
    last = argc > 3 ? strtoull(argv[3], NULL, 0) : CASES;
    verbose = argc > 2 ? argc > 4 ? 2 : 1 : 0;
    number = first;
    for (unsigned c = 2; c < 8; c++) {
        unsigned a, b, x, d;
        __cpuid_count(13, c, a, b, x, d);
        parts[c][0] = b, parts[c][1] = a;
        CHECK(a + b <= MAX_XSAVE);
    }
    CHECK(mmap(CODE, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == CODE);
    CHECK(mmap(CODE + PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
               -1, 0) == CODE + PAGE);
    CHECK(mmap(DATA, DATA_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
               0) == DATA);
    __asm__("rdfsbase %0" : "=r"(own_fs));
    sigaltstack(&ss, NULL);
    for (unsigned i = 0; i < sizeof signals / sizeof *signals; i++) {
        CHECK(syscall(SYS_rt_sigaction, signals[i], &sa, NULL, 8) == 0);
    }
    setvbuf(stdout, output, _IOFBF, sizeof output); /* no heap: it could be where a case looks */
    __asm__ volatile("int3");
    return 1;
}
