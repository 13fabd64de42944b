/* SPDX-License-Identifier: BSD-2-Clause
 * test_spmove.c -- what tools are told that an instruction does to the stack pointer. */
/* layers: mt_base mt_jit */
#include "jit/instr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SAME = MTVG_SP_SAME, ADD = MTVG_SP_ADD, ANY = MTVG_SP_ANY };

typedef struct Case {
    const char *hex;
    int move;
    i64 delta;
} Case;

static const Case cases[] = {
    {"50", ADD, -8},                 /* push %rax */
    {"54", ADD, -8},                 /* push %rsp */
    {"4154", ADD, -8},               /* push %r12 */
    {"6650", ADD, -2},               /* push %ax */
    {"664850", ADD, -8},             /* REX.W */
    {"6a01", ADD, -8},               /* push $1 */
    {"666a01", ADD, -2},             /* pushw $1 */
    {"6801020304", ADD, -8},         /* push $n */
    {"9c", ADD, -8},                 /* pushf */
    {"669c", ADD, -2},               /* pushfw */
    {"ff30", ADD, -8},               /* push (%rax) */
    {"66ff30", ADD, -2},             /* pushw (%rax) */
    {"0fa0", ADD, -8},               /* push %fs */
    {"660fa8", ADD, -2},             /* pushw %gs */
    {"58", ADD, 8},                  /* pop %rax */
    {"6658", ADD, 2},                /* pop %ax */
    {"5c", ANY, 0},                  /* pop %rsp */
    {"415c", ADD, 8},                /* pop %r12 */
    {"8fc4", ANY, 0},                /* pop %rsp, the long form */
    {"418fc4", ADD, 8},              /* pop %r12, likewise */
    {"8f0424", ADD, 8},              /* pop (%rsp) */
    {"9d", ADD, 8},                  /* popf */
    {"0fa1", ANY, 0},                /* pop %fs */
    {"4883ec28", ADD, -40},          /* sub $40, %rsp */
    {"4883c4f0", ADD, -16},          /* add $-16, %rsp */
    {"4881c400010000", ADD, 256},    /* add $256, %rsp */
    {"83ec08", ANY, 0},              /* sub $8, %esp */
    {"6683ec08", ANY, 0},            /* sub $8, %sp */
    {"4983ec08", SAME, 0},           /* sub $8, %r12 */
    {"4883e4f0", ANY, 0},            /* and $-16, %rsp */
    {"4883fc08", SAME, 0},           /* cmp $8, %rsp */
    {"488d2424", ADD, 0},            /* lea (%rsp), %rsp */
    {"488d642408", ADD, 8},          /* lea 8(%rsp), %rsp */
    {"488da42400ffffff", ADD, -256}, /* lea -256(%rsp), %rsp */
    {"67488d642408", ANY, 0},        /* lea 8(%esp), %rsp */
    {"8d642408", ANY, 0},            /* lea 8(%rsp), %esp */
    {"498d642408", ANY, 0},          /* lea 8(%r12), %rsp */
    {"4c8d642408", SAME, 0},         /* lea 8(%rsp), %r12 */
    {"488d642508", ANY, 0},          /* lea 8(%rbp), %rsp */
    {"488d642408", ADD, 8},          /* lea 8(%rsp), %rsp */
    {"488d6404f8", ANY, 0},          /* lea -8(%rsp,%rax), %rsp */
    {"488d6508", ANY, 0},            /* lea 8(%rbp), %rsp */
    {"4889ec", ANY, 0},              /* mov %rbp, %rsp */
    {"4894", ANY, 0},                /* xchg %rax, %rsp */
    {"48ffc4", ANY, 0},              /* inc %rsp */
    {"48ffcc", ANY, 0},              /* dec %rsp */
    {"c9", ANY, 0},                  /* leave */
    {"c8100000", ANY, 0},            /* enter $16, $0 */
    {"66480f7ec4", ANY, 0},          /* movq %xmm0, %rsp */
    {"c4e1f97ec4", ANY, 0},          /* vmovq %xmm0, %rsp */
    {"480fb7e0", ANY, 0},            /* movzwq %ax, %rsp */
    {"e800000000", ADD, -8},         /* call */
    {"ffd0", ADD, -8},               /* call *%rax */
    {"c3", ADD, 8},                  /* ret */
    {"c21000", ADD, 24},             /* ret $16 */
    {"cb", ANY, 0},                  /* lret */
    {"48cf", ANY, 0},                /* iretq */
    {"90", SAME, 0},                 /* nop */
    {"488b0424", SAME, 0},           /* mov (%rsp), %rax */
};

static void test_moves(void **state)
{
    decode_init();
    for (size_t i = 0; i < MT_ARRAY_SIZE(cases); i++) {
        const Case *c = &cases[i];
        u8 code[15] = {0};
        Insn in;
        MtvgSb sb = {.n = 1, .insns = &in};
        i64 delta = 77;
        size_t n = strlen(c->hex) / 2;

        for (size_t k = 0; k < n; k++) {
            char digits[3] = {c->hex[2 * k], c->hex[2 * k + 1], 0};
            code[k] = (u8)strtoul(digits, NULL, 16);
        }
        decode_insn(&in, 0x400000, code, sizeof(code));
        if (in.len != n || (int)mtvg_sb_sp(&sb, 0, &delta) != c->move || delta != c->delta) {
            fail_msg("%s: length %u, move %d, delta %lld", c->hex, in.len,
                     (int)mtvg_sb_sp(&sb, 0, &delta), (long long)delta);
        }
        assert_int_equal(mtvg_sb_sp(&sb, 1, &delta), MTVG_SP_SAME); /* no such instruction */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_moves)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
