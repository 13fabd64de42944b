/* SPDX-License-Identifier: BSD-2-Clause
 * test_cfi.c -- call frame information: the test's own stack, compared with what the compiler's
 * unwinder makes of it; expressions; tables that are nonsense. */
/* layers: mt_base mt_guest mt_diag */
#include "base/safe.h"
#include "diag/cfi.h"

#include <dwarf.h>
#include <link.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unwind.h>

#include <cmocka.h>

#define FRAMES 64

static void on_fault(int sig, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    u64 to = safe_fixup((u64)uc->uc_mcontext.gregs[REG_RIP]);
    if (to == 0) {
        signal(sig, SIG_DFL);
        return;
    }
    uc->uc_mcontext.gregs[REG_RIP] = (greg_t)to;
}

static void catch_faults(void)
{
    struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_NODEFER};
    sigaction(SIGSEGV, &sa, NULL);
    sigaction(SIGBUS, &sa, NULL);
}

/* --- own stack --- */

typedef struct Lookup {
    GuestAddr pc;
    CfiTables tables;
} Lookup;

static int find_tables(struct dl_phdr_info *info, size_t size, void *arg)
{
    Lookup *l = arg;
    GuestAddr hdr = 0;
    bool inside = false;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        GuestAddr at = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
        if (info->dlpi_phdr[i].p_type == PT_GNU_EH_FRAME) {
            hdr = at;
        } else if (info->dlpi_phdr[i].p_type == PT_LOAD) {
            inside = inside || l->pc - at < info->dlpi_phdr[i].p_memsz;
        }
    }
    if (inside) {
        l->tables = (CfiTables){.hdr = hdr};
    }
    return inside;
}

typedef struct Trace {
    u64 pc[FRAMES];
    unsigned n;
} Trace;

static _Unwind_Reason_Code note_frame(struct _Unwind_Context *c, void *arg)
{
    Trace *t = arg;
    t->pc[t->n++] = _Unwind_GetIP(c);
    return t->n == FRAMES ? _URC_END_OF_STACK : _URC_NO_REASON;
}

static bool signal_frame_seen;

/* uc: the caller's registers. Frame 0 of libgcc's trace is this function, 1 the caller. */
static void __attribute__((noinline)) compare_with(const ucontext_t *uc)
{
    static const u8 greg[] = {REG_RAX, REG_RDX, REG_RCX, REG_RBX, REG_RSI, REG_RDI,
                              REG_RBP, REG_RSP, REG_R8,  REG_R9,  REG_R10, REG_R11,
                              REG_R12, REG_R13, REG_R14, REG_R15, REG_RIP};
    Trace want = {.n = 0};
    CfiRegs regs;
    bool exact = true;
    for (int i = 0; i < CFI_REGS; i++) {
        regs.r[i] = (u64)uc->uc_mcontext.gregs[greg[i]];
    }
    _Unwind_Backtrace(note_frame, &want);
    assert_true(want.n > 5);
    for (unsigned i = 2; i < want.n; i++) {
        CfiRule rule;
        Lookup l = {.pc = regs.r[CFI_PC] - (exact ? 0 : 1)};
        assert_true(dl_iterate_phdr(find_tables, &l) != 0);
        if (!cfi_find(&l.tables, l.pc, &rule) || !cfi_step(&rule, &regs)) {
            assert_int_equal(i, want.n - 1); /* _start has no caller; libgcc says: 0 */
            assert_int_equal(want.pc[i], 0);
            return;
        }
        exact = rule.signal_frame;
        signal_frame_seen = signal_frame_seen || exact;
        assert_int_equal(regs.r[CFI_PC], want.pc[i]);
    }
}

static void __attribute__((noinline)) compare_traces(void)
{
    ucontext_t uc;
    getcontext(&uc);
    compare_with(&uc);
}

static int by_sort(const void *a, const void *b)
{
    compare_traces();
    return *(const int *)a - *(const int *)b;
}

static void by_signal(int sig)
{
    compare_traces();
}

static void test_own_stack(void **state)
{
    int v[] = {3, 1, 2};
    compare_traces();
    qsort(v, 3, sizeof(v[0]), by_sort);
    signal(SIGUSR1, by_signal);
    assert_false(signal_frame_seen);
    raise(SIGUSR1);
    assert_true(signal_frame_seen);
}

/* --- expressions --- */

typedef struct Expression {
    u8 code[16];
    u8 len;
    bool ok;
    u64 want;
} Expression;

static void test_expressions(void **state)
{
    static const Expression list[] = {
        {{DW_OP_lit5, DW_OP_lit3, DW_OP_minus}, 3, true, 2},
        {{DW_OP_const1s, 0xff, DW_OP_lit2, DW_OP_div}, 4, true, 0},
        {{DW_OP_const1s, 0xf8, DW_OP_lit2, DW_OP_div}, 4, true, (u64)-4},
        {{DW_OP_lit1, DW_OP_lit0, DW_OP_div}, 3, true, 0},
        {{DW_OP_const8u, 0, 0, 0, 0, 0, 0, 0, 0x80, DW_OP_const1s, 0xff, DW_OP_div},
         12,
         true,
         1ull << 63},
        {{DW_OP_breg7, 0x78}, 2, true, 992}, /* rsp - 8 */
        {{DW_OP_breg16, 0, DW_OP_lit15, DW_OP_and, DW_OP_lit11, DW_OP_ge}, 6, true, 1},
        {{DW_OP_lit1, DW_OP_lit2, DW_OP_lit3, DW_OP_rot}, 4, true, 2},
        {{DW_OP_lit1, DW_OP_bra, 1, 0, DW_OP_lit31, DW_OP_lit7}, 6, true, 7},
        {{DW_OP_skip, 0xfd, 0xff}, 3, false, 0},  /* for ever */
        {{DW_OP_skip, 0x10, 0x00}, 3, false, 0},  /* out of it */
        {{DW_OP_drop, DW_OP_drop}, 2, false, 0},  /* nothing left */
        {{DW_OP_lit8, DW_OP_deref}, 2, false, 0}, /* no memory */
        {{DW_OP_reg0}, 1, false, 0},
        {{DW_OP_const4u, 1, 2}, 3, false, 0},
    };
    CfiRegs regs = {{0}};
    u64 v;
    catch_faults();
    regs.r[CFI_RSP] = 1000;
    regs.r[CFI_PC] = 0x40100b;
    for (size_t i = 0; i < MT_ARRAY_SIZE(list); i++) {
        bool ok = cfi_expression((u64)list[i].code, list[i].len, &regs, 0, &v);
        assert_int_equal(ok, list[i].ok);
        if (ok) {
            assert_int_equal(v, list[i].want);
        }
    }
}

/* --- nonsense --- */

static u64 random_state = 88172645463325252ull;

static u64 next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* The test's own tables with bytes changed, and bytes alone: some answer, at once. */
static void test_nonsense(void **state)
{
    enum { SIZE = 16384 };
    Lookup l = {.pc = (u64)test_nonsense};
    u8 *copy = malloc(SIZE);
    CfiRule rule;
    catch_faults();
    assert_non_null(copy);
    assert_true(dl_iterate_phdr(find_tables, &l) != 0);
    for (int round = 0; round < 3000; round++) {
        size_t n = safe_read_partial(copy, l.tables.hdr, SIZE);
        memset(copy + n, 0, SIZE - n);
        for (u64 i = next_random() % 64; i > 0; i--) {
            copy[next_random() % (round % 2 != 0 ? 64 : n)] = (u8)next_random();
        }
        CfiTables t = {.hdr = (GuestAddr)copy};
        if (round % 3 != 0) {
            t = (CfiTables){.debug = (GuestAddr)copy + round % 16,
                            .debug_end = (GuestAddr)copy + SIZE};
        } else if (round % 5 == 0) {
            t = (CfiTables){.eh = (GuestAddr)copy + 20, .eh_end = (GuestAddr)copy + SIZE};
        }
        CfiRegs regs;
        for (int i = 0; i < CFI_REGS; i++) {
            regs.r[i] = next_random() % 4 == 0 ? (u64)copy : next_random();
        }
        if (cfi_find(&t, (GuestAddr)copy + next_random() % SIZE, &rule)) {
            (void)cfi_step(&rule, &regs);
        }
    }
    free(copy);
}

/* Memory that never ends, a page of which is what `head` says: each look-up ends soon. */
static bool find_in_sparse(const u8 *head, size_t n, bool has_end)
{
    size_t size = 1ull << 40;
    CfiRule rule;
    u8 *p;
    while ((p = mmap(NULL, size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) == MAP_FAILED) {
        size /= 2; /* TSan leaves less room */
        assert_true(size >= 1ull << 34);
    }
    memcpy(p, head, n);
    CfiTables t = {.debug = (GuestAddr)p, .debug_end = has_end ? (GuestAddr)p + size : ~0ull};
    bool found = cfi_find(&t, 0x1000, &rule);
    munmap(p, size);
    return found;
}

static void test_endless(void **state)
{
    /* A CIE, and a function from 0 to 0x10000000 whose program is 2^39 bytes of DW_CFA_nop. */
    static const u8 wide[] = {
        12,   0,    0,    0,    0xff, 0xff, 0xff, 0xff, 1,    0, 1, 0x78, 16, 0, 0, 0, /* CIE */
        0xff, 0xff, 0xff, 0xff, 0,    0,    0,    0,    0x80, 0, 0, 0,                 /* length */
        0,    0,    0,    0,    0,    0,    0,    0,                                   /* its CIE */
        0,    0,    0,    0,    0,    0,    0,    0,    0,    0, 0, 0x10, 0,  0, 0, 0, /* range */
    };
    catch_faults();
    assert_false(find_in_sparse(wide, sizeof(wide), true));
    assert_false(find_in_sparse(wide, 0, true)); /* entries of no length */
    assert_false(find_in_sparse(wide, 0, false));
}

/* A CIE that can't be used is not used for a second function either. */
static void test_bad_cie(void **state)
{
    static u8 eh[] = {
        12, 0, 0, 0, 0,  0, 0, 0, 1, 0, 1, 0x78, 200, 0, 0, 0, /* register 200 */
        20, 0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0,    0,   0, 0, 0,
        0,  1, 0, 0, 0,  0, 0, 0, /* 0...0xff */
        20, 0, 0, 0, 44, 0, 0, 0, 0, 1, 0, 0,    0,   0, 0, 0,
        0,  1, 0, 0, 0,  0, 0, 0,
    };
    CfiTables t = {.eh = (GuestAddr)eh, .eh_end = (GuestAddr)eh + sizeof(eh)};
    CfiRule rule;
    catch_faults();
    assert_false(cfi_find(&t, 0x10, &rule));
    assert_false(cfi_find(&t, 0x110, &rule));
    eh[12] = 16; /* the return address's own */
    assert_true(cfi_find(&t, 0x10, &rule));
    assert_true(cfi_find(&t, 0x110, &rule));
    assert_int_equal(rule.ra, CFI_PC);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_stack), cmocka_unit_test(test_expressions),
        cmocka_unit_test(test_nonsense),  cmocka_unit_test(test_endless),
        cmocka_unit_test(test_bad_cie),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
