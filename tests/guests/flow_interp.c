/* SPDX-License-Identifier: BSD-2-Clause
 * flow_interp.c -- interpreters: switch tables, computed goto, function tables, tail calls.
 * guest:
 * variant: o2 cflags=-O2
 * variant: o0 cflags=-O0
 * variant: retpoline cflags=-O2 -mindirect-branch=thunk -mfunction-return=thunk
 * variant: cet cflags=-O2 -fcf-protection=full
 * variant: static cflags=-O2 -static -fno-jump-tables */
#include "guest.h"

enum { PUSH, ADD, SUB, MUL, DUP, SWAP, DROP, JNZ, DEC, XOR, ROT, SHR, HALT, OPS };

static unsigned char program[] = {PUSH,         0,   PUSH, 200, /* sum n */
                                  /* 4: */ DUP, ROT, ADD,  SWAP, PUSH, 3,    XOR, PUSH, 3,
                                  XOR,          DEC, DUP,  JNZ,  4,    DROP, HALT};

static long by_switch(int rounds)
{
    long total = 0;
    for (int r = 0; r < rounds; r++) {
        long s[64];
        int sp = 0, pc = 0;
        long t;
        for (int run = 1; run;) {
            switch (program[pc++]) {
            case PUSH: s[sp++] = program[pc++]; break;
            case ADD:
                sp--;
                s[sp - 1] += s[sp];
                break;
            case SUB:
                sp--;
                s[sp - 1] -= s[sp];
                break;
            case MUL:
                sp--;
                s[sp - 1] *= s[sp];
                break;
            case DUP:
                s[sp] = s[sp - 1];
                sp++;
                break;
            case SWAP:
                t = s[sp - 1];
                s[sp - 1] = s[sp - 2];
                s[sp - 2] = t;
                break;
            case DROP: sp--; break;
            case JNZ:
                t = s[sp - 1];
                sp--;
                pc = t ? program[pc] : pc + 1;
                break;
            case DEC: s[sp - 1]--; break;
            case XOR:
                sp--;
                s[sp - 1] ^= s[sp];
                break;
            case ROT:
                t = s[sp - 3];
                s[sp - 3] = s[sp - 2];
                s[sp - 2] = s[sp - 1];
                s[sp - 1] = t;
                break;
            case SHR: s[sp - 1] >>= 1; break;
            case HALT: run = 0; break;
            }
        }
        total = total * 31 + s[0] + sp;
    }
    return total;
}

static long by_goto(int rounds)
{
    static void *labels[] = {&&push, &&add, &&sub, &&mul, &&dup, &&swap, &&drop,
                             &&jnz,  &&dec, &&xor, &&rot, &&shr, &&halt};
    long total = 0;
    for (int r = 0; r < rounds; r++) {
        long s[64], t;
        int sp = 0, pc = 0;
#define NEXT goto *labels[program[pc++]]
        NEXT;
push:
        s[sp++] = program[pc++];
        NEXT;
add:
        sp--;
        s[sp - 1] += s[sp];
        NEXT;
sub:
        sp--;
        s[sp - 1] -= s[sp];
        NEXT;
mul:
        sp--;
        s[sp - 1] *= s[sp];
        NEXT;
dup:
        s[sp] = s[sp - 1];
        sp++;
        NEXT;
swap:
        t = s[sp - 1];
        s[sp - 1] = s[sp - 2];
        s[sp - 2] = t;
        NEXT;
drop:
        sp--;
        NEXT;
jnz:
        t = s[sp - 1];
        sp--;
        pc = t ? program[pc] : pc + 1;
        NEXT;
dec:
        s[sp - 1]--;
        NEXT;
        xor : sp--;
        s[sp - 1] ^= s[sp];
        NEXT;
rot:
        t = s[sp - 3];
        s[sp - 3] = s[sp - 2];
        s[sp - 2] = s[sp - 1];
        s[sp - 1] = t;
        NEXT;
shr:
        s[sp - 1] >>= 1;
        NEXT;
halt:
        total = total * 31 + s[0] + sp;
    }
    return total;
}

struct vm {
    long s[64];
    int sp, pc;
};
typedef void op_fn(struct vm *);
static op_fn *const ops[];
#define TAIL return ops[program[v->pc++]](v)
static void o_push(struct vm *v)
{
    v->s[v->sp++] = program[v->pc++];
    TAIL;
}
static void o_add(struct vm *v)
{
    v->sp--;
    v->s[v->sp - 1] += v->s[v->sp];
    TAIL;
}
static void o_dup(struct vm *v)
{
    v->s[v->sp] = v->s[v->sp - 1];
    v->sp++;
    TAIL;
}
static void o_swap(struct vm *v)
{
    long t = v->s[v->sp - 1];
    v->s[v->sp - 1] = v->s[v->sp - 2];
    v->s[v->sp - 2] = t;
    TAIL;
}
static void o_drop(struct vm *v)
{
    v->sp--;
    TAIL;
}
static void o_jnz(struct vm *v)
{
    long t = v->s[--v->sp];
    v->pc = t ? program[v->pc] : v->pc + 1;
    TAIL;
}
static void o_dec(struct vm *v)
{
    v->s[v->sp - 1]--;
    TAIL;
}
static void o_xor(struct vm *v)
{
    v->sp--;
    v->s[v->sp - 1] ^= v->s[v->sp];
    TAIL;
}
static void o_rot(struct vm *v)
{
    long t = v->s[v->sp - 3];
    v->s[v->sp - 3] = v->s[v->sp - 2];
    v->s[v->sp - 2] = v->s[v->sp - 1];
    v->s[v->sp - 1] = t;
    TAIL;
}
static void o_halt(struct vm *v)
{
}
static op_fn *const ops[] = {o_push, o_add, 0,     0,     o_dup, o_swap, o_drop,
                             o_jnz,  o_dec, o_xor, o_rot, 0,     o_halt};

static long by_tail_call(int rounds)
{
    long total = 0;
    for (int r = 0; r < rounds; r++) {
        struct vm v = {.sp = 0};
        ops[program[v.pc++]](&v);
        total = total * 31 + v.s[0] + v.sp;
    }
    return total;
}

/* a switch with hundreds of targets */
#define C4(n)                       \
    case n: x = x * 5 + n; break;   \
    case n + 1: x ^= x >> 3; break; \
    case n + 2: x += n; break;      \
    case n + 3:                     \
        x = ~x;                     \
        break;
#define C16(n) C4(n) C4(n + 4) C4(n + 8) C4(n + 12)
#define C64(n) C16(n) C16(n + 16) C16(n + 32) C16(n + 48)
static unsigned long wide(int rounds)
{
    unsigned long x = 1;
    for (int i = 0; i < rounds; i++) {
        switch ((x ^ (unsigned long)i) & 255) {
            C64(0) C64(64) C64(128) C64(192)
        }
    }
    return x;
}

int main(void)
{
    printf("%ld %ld %ld %lx\n", by_switch(300), by_goto(300), by_tail_call(300), wide(300000));
    return 0;
}
