/* SPDX-License-Identifier: BSD-2-Clause
 * test_decode_hw.c -- registers and flags as the decoder reports them, against this processor.
 * Every register-only instruction of the one-byte, 0F, 0F38, 0F3A and VEX maps runs with random
 * registers and flags. H1: a register that isn't reported written keeps its value. H2: one that
 * isn't reported read has no influence. H3: nor has a flag that isn't reported read. H4: a flag
 * reported written doesn't show its old value (those the manuals call undefined may). */
/* layers: mt_base mt_jit */
#include "jit/decode_int.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

typedef struct State {
    u64 gpr[16];
    u64 flags;
} State;

/* In the low 2 GiB, so that [disp32] reaches it. */
typedef struct Arena {
    u8 code[512];
    State s;
    u64 host_rsp;
    u64 stack[512];
} Arena;

#define FLAG_BITS 0xcd5u /* CF PF AF ZF SF DF OF */

static Arena *arena;
static sigjmp_buf escape;

static void on_fault(int sig)
{
    siglongjmp(escape, sig);
}

static u8 *emit(u8 *p, const void *bytes, size_t n)
{
    memcpy(p, bytes, n);
    return p + n;
}

/* opcode with /r and [disp32] of a 64-bit register. */
static u8 *emit_move(u8 *p, u8 opcode, unsigned reg, const void *at)
{
    u32 disp = (u32)(uintptr_t)at;
    u8 head[] = {(u8)(0x48 | (reg >> 3 << 2)), opcode, (u8)((reg & 7) << 3 | 4), 0x25};

    return emit(emit(p, head, sizeof(head)), &disp, sizeof(disp));
}

static u8 *emit_stack(u8 *p, u8 opcode, u8 modrm, const void *at)
{
    u32 disp = (u32)(uintptr_t)at;
    u8 head[] = {opcode, modrm, 0x25};

    return emit(emit(p, head, sizeof(head)), &disp, sizeof(disp));
}

static void build(const Insn *in)
{
    u8 *p = arena->code;

    p = emit(p, "\x53\x55\x41\x54\x41\x55\x41\x56\x41\x57", 10); /* push rbx rbp r12..r15 */
    p = emit_move(p, 0x89, MT_RSP, &arena->host_rsp);
    p = emit_move(p, 0x8b, MT_RSP, &arena->s.gpr[MT_RSP]);
    p = emit_stack(p, 0xff, 0x34, &arena->s.flags); /* push; popfq */
    p = emit(p, "\x9d", 1);
    for (unsigned r = 0; r < 16; r++) {
        p = r == MT_RSP ? p : emit_move(p, 0x8b, r, &arena->s.gpr[r]);
    }
    p = emit(p, in->bytes, in->len);
    for (unsigned r = 0; r < 16; r++) {
        p = emit_move(p, 0x89, r, &arena->s.gpr[r]);
    }
    p = emit_move(p, 0x8b, MT_RSP, &arena->host_rsp);
    p = emit(p, "\x9c", 1); /* pushfq; pop */
    p = emit_stack(p, 0x8f, 0x04, &arena->s.flags);
    p = emit(p, "\xfc\x41\x5f\x41\x5e\x41\x5d\x41\x5c\x5d\x5b\xc3", 12);
}

/* The same vector and x87 state for all. */
static void reset_vectors(void)
{
    static struct {
        u8 bytes[512];
    } area __attribute__((aligned(16)));
    static bool ready;

    __asm__ volatile("fninit");
    if (!ready) {
        __asm__ volatile("fxsave %0" : "=m"(area));
        for (unsigned i = 160; i < 416; i++) {
            area.bytes[i] = (u8)(i * 37);
        }
        ready = true;
    }
    if (__builtin_cpu_supports("avx")) {
        __asm__ volatile("vzeroall");
    }
    __asm__ volatile("fxrstor %0" ::"m"(area));
    if (__builtin_cpu_supports("avx512bw")) {
        __asm__ volatile("kxnorq %k0, %k0, %k0; kshiftrq $9, %k0, %k1; kshiftrq $40, %k0, %k2;"
                         "kxorq %k3, %k3, %k3; kshiftlq $5, %k0, %k4; kmovq %k1, %k5;"
                         "kmovq %k2, %k6; kshiftlq $60, %k0, %k7");
    }
}

/* False: it faults. */
static bool run(const State *before, State *after)
{
    arena->s = *before;
    arena->s.gpr[MT_RSP] = (u64)(uintptr_t)&arena->stack[256];
    if (sigsetjmp(escape, 1) != 0) {
        __asm__ volatile("cld");
        return false;
    }
    reset_vectors();
    ((void (*)(void))(uintptr_t)arena->code)();
    __asm__ volatile("fninit" ::: "memory");
    *after = arena->s;
    after->flags &= FLAG_BITS;
    return true;
}

static u64 random_state = 0x2545f4914f6cdd1dull;

static u64 random64(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static u64 rflags_of(u8 mt)
{
    return (mt & MT_FL_CF) | (mt & MT_FL_PF) << 1 | (mt & MT_FL_AF) << 2 | (mt & MT_FL_ZF) << 3 |
           (mt & MT_FL_SF) << 3 | (u64)(mt & MT_FL_OF) << 6 | (u64)(mt & MT_FL_DF) << 4;
}

/* Results that differ from run to run, or that must not run. */
static bool is_excluded(const Insn *in)
{
    switch (in->mnemonic) {
    case ZYDIS_MNEMONIC_CPUID:
    case ZYDIS_MNEMONIC_RDTSC:
    case ZYDIS_MNEMONIC_RDTSCP:
    case ZYDIS_MNEMONIC_RDPMC:
    case ZYDIS_MNEMONIC_RDPRU:
    case ZYDIS_MNEMONIC_RDPID:
    case ZYDIS_MNEMONIC_RDRAND:
    case ZYDIS_MNEMONIC_RDSEED:
    case ZYDIS_MNEMONIC_SYSENTER:
    case ZYDIS_MNEMONIC_WRPKRU:
    case ZYDIS_MNEMONIC_VMCALL:
    case ZYDIS_MNEMONIC_VMMCALL:
    case ZYDIS_MNEMONIC_MWAITX:
    case ZYDIS_MNEMONIC_TPAUSE:
    case ZYDIS_MNEMONIC_UMWAIT:
    case ZYDIS_MNEMONIC_XEND:
    case ZYDIS_MNEMONIC_INT: return true;
    default:
        return in->cls != INSN_PLAIN ||
               (in->flags & (INSN_F_OPAQUE | INSN_F_READS_MEM | INSN_F_WRITES_MEM)) ||
               (in->gprs_used & 1u << MT_RSP);
    }
}

static u8 undefined_flags(const Insn *in)
{
    ZydisDecodedInstruction z;
    ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
    u32 m;

    if (!ZYAN_SUCCESS(
            ZydisDecoderDecodeFull(&decode_zydis, in->bytes, sizeof(in->bytes), &z, ops)) ||
        z.cpu_flags == NULL) {
        return 0;
    }
    m = z.cpu_flags->undefined;
    return (u8)((m & 1) | (m >> 1 & 2) | (m >> 2 & 4) | (m >> 3 & 8) | (m >> 3 & 16) |
                (m >> 6 & 32));
}

static size_t ran, wrong;

static void complain(const Insn *in, const char *rule, unsigned which)
{
    char text[128], hex[48];
    int n = 0;

    wrong++;
    for (unsigned i = 0; i < in->len; i++) {
        n += snprintf(hex + n, sizeof(hex) - (size_t)n, "%02x", in->bytes[i]);
    }
    decode_text(in, text, sizeof(text));
    print_message("%s %s: %s, %u\n", hex, text, rule, which);
}

/* One instruction, one random state; false: it faults or there was a complaint. */
static bool check_once(const Insn *in, u64 undefined)
{
    u64 read = rflags_of(in->flags_read), killed = rflags_of(in->flags_written);
    State a, b, ra, rb;
    unsigned r;

    for (unsigned i = 0; i < 16; i++) {
        /* small numbers, too, so that counts and divisors are met */
        a.gpr[i] = random64() >> (random64() & 1 ? 0 : random64() & 63);
    }
    a.flags = (random64() & FLAG_BITS) | 0x202;
    if (!run(&a, &ra)) {
        return false;
    }
    for (r = 0; r < 16; r++) {
        if (r != MT_RSP && !(in->gprs_written >> r & 1) && ra.gpr[r] != a.gpr[r]) {
            return complain(in, "H1: written register", r), false;
        }
    }
    r = (unsigned)(random64() & 15);
    if (r != MT_RSP && !(in->gprs_read >> r & 1)) {
        b = a;
        b.gpr[r] = random64();
        if (!run(&b, &rb)) {
            return complain(in, "H2: register decides about a fault", r), false;
        }
        for (unsigned i = 0; i < 16; i++) {
            bool own = i == r && !(in->gprs_written >> r & 1);
            if (ra.gpr[i] != rb.gpr[i] && !own) {
                return complain(in, "H2: read register", r), false;
            }
        }
        if ((ra.flags ^ rb.flags) & ~undefined) {
            return complain(in, "H2: read register, seen in the flags", r), false;
        }
    }
    b = a;
    b.flags ^= FLAG_BITS & ~read;
    if (!run(&b, &rb)) {
        return complain(in, "H3: flag decides about a fault", 0), false;
    }
    for (unsigned i = 0; i < 16; i++) {
        if (ra.gpr[i] != rb.gpr[i]) {
            return complain(in, "H3: read flag, seen in register", i), false;
        }
    }
    if ((ra.flags ^ rb.flags) & killed & ~undefined) {
        return complain(in, "H4: flag kept", (unsigned)((ra.flags ^ rb.flags) & killed)), false;
    }
    return true;
}

static void check(const u8 *code)
{
    u64 undefined;
    Insn in;

    decode_insn(&in, 0x1000, code, 15);
    if (is_excluded(&in)) {
        return;
    }
    undefined = rflags_of(undefined_flags(&in));
    build(&in);
    ran++;
    for (int i = 0; i < 6; i++) {
        if (!check_once(&in, undefined)) {
            return;
        }
    }
}

/* All opcodes and ModRM.reg of a map, whose prefix is in code[0..n). */
static void check_map(u8 *code, unsigned n)
{
    for (unsigned op = 0; op < 256; op++) {
        for (unsigned reg = 0; reg < 8; reg++) {
            u64 tail = random64();
            memcpy(code + n + 2, &tail, 8);
            code[n] = (u8)op;
            code[n + 1] = (u8)(0xc0 | reg << 3 | (random64() & 7));
            if (random64() % 8 == 0) {
                code[n + 2] &= 0xe0; /* an immediate that is zero after masking */
            }
            check(code);
        }
    }
}

/* In each test, since cmocka sets its own before it. */
static void catch_faults(void)
{
    static const int signals[] = {SIGSEGV, SIGILL, SIGFPE, SIGTRAP, SIGBUS};
    struct sigaction sa = {.sa_handler = on_fault, .sa_flags = SA_ONSTACK | SA_NODEFER};

    for (unsigned i = 0; i < MT_ARRAY_SIZE(signals); i++) {
        sigaction(signals[i], &sa, NULL);
    }
}

static void test_legacy(void **state)
{
    static const u8 prefixes[] = {0, 0x66, 0xf2, 0xf3};
    static const char *const maps[] = {"", "\x0f", "\x0f\x38", "\x0f\x3a"};

    catch_faults();
    for (unsigned p = 0; p < 4; p++) {
        for (unsigned rex = 0; rex < 4; rex++) { /* none, 40, REX.W, REX.WRB */
            for (unsigned map = 0; map < 4; map++) {
                u8 code[32] = {0};
                unsigned n = 0;
                if (prefixes[p]) {
                    code[n++] = prefixes[p];
                }
                if (rex) {
                    code[n++] = rex == 1 ? 0x40 : rex == 2 ? 0x48 : 0x4d;
                }
                memcpy(code + n, maps[map], strlen(maps[map]));
                n += (unsigned)strlen(maps[map]);
                check_map(code, n);
            }
        }
    }
    print_message("%zu instructions\n", ran);
    assert_int_equal(wrong, 0);
}

static void test_vex(void **state)
{
    catch_faults();
    for (unsigned map = 1; map <= 3; map++) {
        for (unsigned rest = 0; rest < 16; rest++) { /* W, L, pp */
            for (unsigned v = 0; v < 3; v++) {
                u8 code[32] = {
                    0xc4, (u8)(0xe0 | map),
                    (u8)((rest & 8) << 4 | (v == 0 ? 15 : random64() & 15) << 3 | (rest & 7))};
                check_map(code, 3);
            }
        }
    }
    print_message("%zu instructions\n", ran);
    assert_int_equal(wrong, 0);
}

static int setup(void **state)
{
    static u8 stack[65536];
    stack_t alt = {.ss_sp = stack, .ss_size = sizeof(stack)};

    decode_init();
    arena = mmap(NULL, sizeof(*arena), PROT_READ | PROT_WRITE | PROT_EXEC,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    assert_ptr_not_equal(arena, MAP_FAILED);
    sigaltstack(&alt, NULL);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_legacy), cmocka_unit_test(test_vex)};
    return cmocka_run_group_tests(tests, setup, NULL);
}
