/* SPDX-License-Identifier: BSD-2-Clause
 * insn.c -- run generated instructions with random operands and print a hash of all they changed.
 * guest: cflags=-O1 -no-pie timeout=40 needs=xsave
 * variant: int gen=insns.py int
 * variant: div gen=insns.py div
 * variant: string gen=insns.py string
 * variant: bmi gen=insns.py bmi
 * variant: x87 gen=insns.py x87
 * variant: mmx gen=insns.py mmx
 * variant: sse gen=insns.py sse
 * variant: avx gen=insns.py avx needs=xsave,avx2
 * variant: avx512 gen=insns.py avx512 needs=xsave,avx512vl
 * variant: crypto gen=insns.py crypto needs=xsave,aes
 *
 * One line per case: hash over all runs, how many ended in a signal, the instructions. With an
 * argument N it runs case N only and prints the state after each run. The program is non-PIE so
 * that every address is the same natively and under mtvg, and may be part of the hash. Left out of
 * it: what the processor says about where the last x87 instruction was. */
#define _GNU_SOURCE
#include <cpuid.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>

#include "guest.h"

struct insn_case {
    void (*code)(void);
    const char *text;
    const char *feature;
    uint16_t ptrs, smalls;
    uint8_t vidx, vidx64, edge, pad;
};
extern const struct insn_case insn_cases[];
extern const uint64_t insn_count;
extern uint64_t literal[32];

enum { RUNS = 6, BUFFER = 8192, MIDDLE = 4096, HASHED = 1024, XSAVE_MAX = 4096 };

/* Two pages and one that cannot be accessed. */
__attribute__((aligned(4096))) unsigned char insn_buffer[BUFFER + 4096];

struct state {
    uint64_t gpr[16]; /* in encoding order; [4] is not used */
    uint64_t flags;
};
struct state insn_in, insn_out;
__attribute__((aligned(64))) unsigned char insn_xin[XSAVE_MAX], insn_xout[XSAVE_MAX];
void (*insn_code)(void);
uint64_t insn_saved_sp;
uint64_t insn_xmask;

void insn_run(void);
__asm__(".text\n"
        ".globl insn_run\n"
        "insn_run:\n"
        "    push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15; push %rax\n"
        "    mov %rsp, insn_saved_sp(%rip)\n"
        "    mov insn_xmask(%rip), %eax\n"
        "    xor %edx, %edx\n"
        "    xrstor64 insn_xin(%rip)\n"
        "    lea insn_in(%rip), %rdi\n"
        "    push 128(%rdi); popf\n"
        "    mov (%rdi), %rax; mov 8(%rdi), %rcx; mov 16(%rdi), %rdx; mov 24(%rdi), %rbx\n"
        "    mov 40(%rdi), %rbp; mov 48(%rdi), %rsi; mov 64(%rdi), %r8\n"
        "    mov 72(%rdi), %r9; mov 80(%rdi), %r10; mov 88(%rdi), %r11; mov 96(%rdi), %r12\n"
        "    mov 104(%rdi), %r13; mov 112(%rdi), %r14; mov 120(%rdi), %r15\n"
        "    mov 56(%rdi), %rdi\n"
        "    call *insn_code(%rip)\n"
        "    mov %rdi, insn_out+56(%rip)\n"
        "    lea insn_out(%rip), %rdi\n"
        "    mov %rax, (%rdi); mov %rcx, 8(%rdi); mov %rdx, 16(%rdi); mov %rbx, 24(%rdi)\n"
        "    mov %rbp, 40(%rdi); mov %rsi, 48(%rdi); mov %r8, 64(%rdi)\n"
        "    mov %r9, 72(%rdi); mov %r10, 80(%rdi); mov %r11, 88(%rdi); mov %r12, 96(%rdi)\n"
        "    mov %r13, 104(%rdi); mov %r14, 112(%rdi); mov %r15, 120(%rdi)\n"
        "    pushf; pop 128(%rdi)\n"
        "    cld\n"
        "    mov insn_xmask(%rip), %eax\n"
        "    xor %edx, %edx\n"
        "    xsave64 insn_xout(%rip)\n"
        "    pop %rax; pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
        "    push $0x1f80; ldmxcsr (%rsp); pop %rcx\n"
        "    fninit\n"
        "    ret\n");

struct part {
    unsigned offset, size;
};
static struct part parts[16]; /* of the XSAVE area, by component */

static void read_cpuid(void)
{
    unsigned a, b, c, d, lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    insn_xmask = lo & 0xe7;
    for (unsigned i = 2; i < 8; i++) {
        if (insn_xmask >> i & 1) {
            __cpuid_count(13, i, a, b, c, d);
            parts[i] = (struct part){b, a};
            CHECK(a + b <= XSAVE_MAX);
        }
    }
}

static uint32_t random_lane(uint64_t *rng)
{
    static const uint32_t special[] = {0,          0x80000000, 0x3f800000, 0x7f800000,
                                       0xff800000, 0x7fc00001, 0x00000001, 0x7fa00000,
                                       0x007fffff, 0xffffffff, 0x3ff00000, 0x7ff80000};
    uint64_t r = rng_next(rng);
    uint32_t w = (uint32_t)(r >> 32);
    switch (r & 7) {
    case 0:
    case 1: return w;
    case 2: return w & 0x3f;
    case 3: return special[w % 12];
    case 4: return 0x40000000 | (w & 0xbfffffff & ~0x3f000000u);
    default: {
        float f = (float)(int32_t)w / 16777216.0f;
        memcpy(&w, &f, 4);
        return w;
    }
    }
}

static uint64_t random_gpr(uint64_t *rng)
{
    uint64_t r = rng_next(rng), v = rng_next(rng);
    switch (r & 7) {
    case 0: return v & 0xff;
    case 1: return (uint64_t)(int64_t)(int8_t)v;
    case 2: return 1ull << (v & 63);
    case 3: return v & 0xffffffff;
    default: return v;
    }
}

/* The XSAVE image that the case starts from, in the standard layout. */
static void random_vectors(uint64_t *rng, const struct insn_case *k)
{
    static const uint16_t control[] = {0x37f, 0x37f, 0x77f, 0xb7f, 0xf7f, 0x27f, 0x07f, 0x37f};
    uint64_t r = rng_next(rng);
    memset(insn_xin, 0, sizeof insn_xin);
    uint16_t cw = control[r & 7], sw = (uint16_t)((r >> 8 & 7) << 11);
    memcpy(insn_xin, &cw, 2);
    memcpy(insn_xin + 2, &sw, 2);
    insn_xin[4] = (r >> 16 & 3) ? 0xff : (unsigned char)(r >> 24);
    uint32_t mxcsr = 0x1f80 | (uint32_t)(r >> 32 & 3) << 13;
    if ((r >> 40 & 7) == 0) {
        mxcsr |= 0x8040;
    }
    memcpy(insn_xin + 24, &mxcsr, 4);
    for (int i = 0; i < 8; i++) {
        long double v = (long double)(int64_t)rng_next(rng) / (1ll << (rng_next(rng) & 62));
        memcpy(insn_xin + 32 + 16 * i, &v, 10);
        if ((rng_next(rng) & 7) == 0) {
            uint64_t bits = rng_next(rng);
            memcpy(insn_xin + 32 + 16 * i, &bits, 8);
            memcpy(insn_xin + 40 + 16 * i, &bits, 2);
        }
    }
    for (unsigned at = 160; at < 416; at += 4) {
        uint32_t w = random_lane(rng);
        memcpy(insn_xin + at, &w, 4);
    }
    for (int i = 2; i < 8; i++) {
        for (unsigned at = 0; at < parts[i].size; at += 4) {
            uint32_t w = i == 5 ? (uint32_t)rng_next(rng) : random_lane(rng);
            memcpy(insn_xin + parts[i].offset + at, &w, 4);
        }
    }
    if (k->vidx != 255) {
        /* where the lanes of zmmN are: xmm in the legacy part, then 16 bytes, then 32; 16..31 */
        unsigned char lanes[64];
        for (unsigned at = 0; at < 64; at += k->vidx64 ? 8 : 4) {
            uint64_t v = rng_next(rng) & 63;
            memcpy(lanes + at, &v, k->vidx64 ? 8 : 4);
        }
        if (k->vidx < 16) {
            memcpy(insn_xin + 160 + 16 * k->vidx, lanes, 16);
            memcpy(insn_xin + parts[2].offset + 16 * k->vidx, lanes + 16, 16);
            if (parts[6].size) {
                memcpy(insn_xin + parts[6].offset + 32 * k->vidx, lanes + 32, 32);
            }
        } else {
            memcpy(insn_xin + parts[7].offset + 64 * (k->vidx - 16), lanes, 64);
        }
    }
    memcpy(insn_xin + 512, &insn_xmask, 8);
}

static void prepare(const struct insn_case *k, uint64_t *rng)
{
    static uint64_t literal_start[32];
    static int saved;
    if (!saved) {
        memcpy(literal_start, literal, sizeof literal);
        saved = 1;
    }
    memcpy(literal, literal_start, sizeof literal);
    for (int i = MIDDLE - HASHED; i < MIDDLE + HASHED; i += 4) {
        uint32_t w = random_lane(rng);
        memcpy(insn_buffer + i, &w, 4);
    }
    memset(insn_buffer, 0x11, 512);
    memset(insn_buffer + BUFFER - 64, 0x3c, 64);
    for (int i = 0; i < 16; i++) {
        insn_in.gpr[i] = random_gpr(rng);
        if (k->smalls >> i & 1) {
            insn_in.gpr[i] &= 15;
        }
        if (k->ptrs >> i & 1) {
            insn_in.gpr[i] = (uintptr_t)insn_buffer + MIDDLE;
        }
    }
    if (k->edge) {
        insn_in.gpr[7] = (uintptr_t)insn_buffer + BUFFER - 16;
    }
    insn_in.flags = 2 | (rng_next(rng) & 0x8d5); /* OF SF ZF AF PF CF */
    random_vectors(rng, k);
    insn_code = k->code;
}

static uint64_t hash_state(uint64_t h)
{
    insn_out.gpr[4] = 0;
    insn_out.flags &= 0xcd7;
    h = hash_bytes(h, &insn_out, sizeof insn_out);
    h = hash_bytes(h, insn_xout, 5);
    h = hash_bytes(h, insn_xout + 24, 4);
    for (int i = 0; i < 8; i++) {
        h = hash_bytes(h, insn_xout + 32 + 16 * i, 10);
    }
    h = hash_bytes(h, insn_xout + 160, 256);
    for (int i = 2; i < 8; i++) {
        h = hash_bytes(h, insn_xout + parts[i].offset, parts[i].size);
    }
    h = hash_bytes(h, literal, 256);
    h = hash_bytes(h, insn_buffer, 512);
    h = hash_bytes(h, insn_buffer + MIDDLE - HASHED, 2 * HASHED);
    return hash_bytes(h, insn_buffer + BUFFER - 64, 64);
}

static void hex(const char *name, const unsigned char *p, int n)
{
    printf("  %s", name);
    for (int i = n - 1; i >= 0; i--) {
        printf("%02x", p[i]);
    }
    printf("\n");
}

static void print_state(int run, int signo)
{
    static const char *names[] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
                                  "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15"};
    char label[32];
    printf("run %d signal %d\n", run, signo);
    for (int i = 0; i < 16; i++) {
        printf("  %-4s%016llx -> %016llx\n", names[i], (unsigned long long)insn_in.gpr[i],
               (unsigned long long)insn_out.gpr[i]);
    }
    printf("  flags %03llx -> %03llx\n", (unsigned long long)insn_in.flags,
           (unsigned long long)insn_out.flags);
    hex("cw sw tag ", insn_xout, 5);
    hex("mxcsr ", insn_xout + 24, 4);
    for (int i = 0; i < 8; i++) {
        snprintf(label, sizeof label, "st%d ", i);
        hex(label, insn_xout + 32 + 16 * i, 10);
    }
    for (int i = 0; i < 16; i++) {
        snprintf(label, sizeof label, "xmm%d ", i);
        hex(label, insn_xout + 160 + 16 * i, 16);
        snprintf(label, sizeof label, "  upper ymm%d ", i);
        hex(label, insn_xout + parts[2].offset + 16 * i, parts[2].size ? 16 : 0);
        snprintf(label, sizeof label, "  upper zmm%d ", i);
        hex(label, insn_xout + parts[6].offset + 32 * i, parts[6].size ? 32 : 0);
        snprintf(label, sizeof label, "zmm%d ", i + 16);
        hex(label, insn_xout + parts[7].offset + 64 * i, parts[7].size ? 64 : 0);
    }
    hex("k7..k0 ", insn_xout + parts[5].offset, (int)parts[5].size);
    printf("  literal %016llx buffer %016llx\n", (unsigned long long)hash_bytes(0, literal, 256),
           (unsigned long long)hash_bytes(0, insn_buffer + MIDDLE - HASHED, 2 * HASHED));
}

static sigjmp_buf faulted;

static void on_fault(int signo)
{
    siglongjmp(faulted, signo);
}

static char cpu_flags[8192];

static int has_feature(const char *name)
{
    char wanted[64];
    if (!*name) {
        return 1;
    }
    snprintf(wanted, sizeof wanted, " %s ", name);
    return strstr(cpu_flags, wanted) != NULL;
}

static void read_flags(void)
{
    FILE *f = fopen("/proc/cpuinfo", "r");
    CHECK(f);
    while (fgets(cpu_flags, sizeof cpu_flags, f)) {
        if (!strncmp(cpu_flags, "flags", 5)) {
            break;
        }
    }
    fclose(f);
    char *end = strchr(cpu_flags, '\n');
    CHECK(end);
    *end = ' ';
}

int main(int argc, char **argv)
{
    long only = argc > 1 ? atol(argv[1]) : -1;
    read_flags();
    read_cpuid();
    CHECK(mprotect(insn_buffer + BUFFER, 4096, PROT_NONE) == 0);
    static char stack[65536];
    stack_t alt = {.ss_sp = stack, .ss_size = sizeof stack};
    CHECK(sigaltstack(&alt, NULL) == 0);
    struct sigaction act = {.sa_handler = on_fault, .sa_flags = SA_ONSTACK};
    sigaction(SIGFPE, &act, NULL);
    sigaction(SIGSEGV, &act, NULL);
    sigaction(SIGBUS, &act, NULL);
    sigaction(SIGILL, &act, NULL);
    for (long i = 0; i < (long)insn_count; i++) {
        const struct insn_case *k = &insn_cases[i];
        if ((only >= 0 && i != only) || !has_feature(k->feature)) {
            continue;
        }
        uint64_t rng = 0x1234567 + (uint64_t)i * 0x9e3779b97f4a7c15ull;
        volatile uint64_t h = 0;
        volatile int faults = 0;
        for (volatile int run = 0; run < RUNS; run++) {
            prepare(k, &rng);
            int signo = sigsetjmp(faulted, 1);
            if (signo == 0) {
                insn_run();
                h = hash_state(h);
            } else {
                __asm__ volatile("cld; fninit; push $0x1f80; ldmxcsr (%%rsp); pop %%rax" ::
                                     : "rax", "memory");
                h = hash_bytes(h, &signo, sizeof signo);
                faults++;
            }
            if (only >= 0) {
                print_state(run, signo);
            }
        }
        printf("%4ld %016llx %d %s\n", i, (unsigned long long)h, faults, k->text);
    }
    return 0;
}
