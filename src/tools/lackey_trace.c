/* SPDX-License-Identifier: BSD-2-Clause
 * lackey_trace.c -- lackey's --trace-mem: each instruction and its memory accesses, as lines
 *     I  addr,size     L addr,size     S addr,size     M addr,size (load and store)
 * with a blank before L, S and M, addresses in hexadecimal.
 * Role:       lines are gathered by thread and written whole lines at a time, so that none is torn.
 *             Threads' lines are in their own order, not in any order to each other's.
 * Invariants: B1. a buffer is on the list from its thread's start to its end.
 * Locking:    list_lock guards the list. A buffer is written by its thread; by others only while
 *             the world is stopped (finish).
 * Rep:        a string with a rep prefix is traced when it has ended, or is come back to: only then
 *             is it known how many elements it has touched. */
#include "tools/lackey.h"

#include "base/lockorder.h"

#include <stdlib.h>
#include <string.h>

#define BUFFER_BYTES 4096 /* PIPE_BUF: one write is never mixed with another's */
#define LINE_MAX_BYTES 32

typedef struct Buffer {
    u32 used;
    bool rep_open; /* a rep string has begun: */
    u64 rep_pc, rep_rcx;
    int rep_n;
    MtvgAccess rep[MTVG_MAX_MEMS];
    struct Buffer *next, *prev;
    char text[BUFFER_BYTES];
} Buffer;

static __thread Buffer *own;
static MtMutex list_lock = MT_MUTEX_INIT(RANK_TOOL);
static Buffer *list;

static void flush(Buffer *b)
{
    mtvg_write(b->text, b->used);
    b->used = 0;
}

static void put_hex(Buffer *b, u64 v, u32 digits)
{
    for (u32 shift = 4 * digits; shift > 0;) {
        shift -= 4;
        b->text[b->used++] = "0123456789abcdef"[v >> shift & 15];
    }
}

/* At least eight digits, as many as are needed. */
static u32 digits_of(u64 v)
{
    u32 n = 8;

    while (n < 16 && v >> (4 * n) != 0) {
        n++;
    }
    return n;
}

static void put_decimal(Buffer *b, u32 v)
{
    char d[10];
    u32 n = 0;

    do {
        d[n++] = (char)('0' + v % 10);
        v /= 10;
    } while (v != 0);
    while (n > 0) {
        b->text[b->used++] = d[--n];
    }
}

static void put_line(Buffer *b, const char *what, u64 addr, u32 size)
{
    if (b->used + LINE_MAX_BYTES > BUFFER_BYTES) {
        flush(b);
    }
    memcpy(b->text + b->used, what, 3);
    b->used += 3;
    put_hex(b, addr, digits_of(addr));
    b->text[b->used++] = ',';
    put_decimal(b, size);
    b->text[b->used++] = '\n';
}

static void put_access(Buffer *b, const MtvgAccess *a)
{
    put_line(b, a->read && a->write ? " M " : a->write ? " S " : " L ", a->addr, a->size);
}

/* The elements that the open string has touched, rcx being what it is now. */
static void close_rep(Buffer *b, u64 rcx, u64 rflags)
{
    i64 step = rflags & 0x400 ? -1 : 1;

    for (u64 i = b->rep_rcx - rcx; i > 0; i--) {
        for (int k = 0; k < b->rep_n; k++) {
            put_access(b, &b->rep[k]);
            b->rep[k].addr += (u64)(step * (i64)b->rep[k].size);
        }
    }
    b->rep_open = false;
}

static u64 rep_count(const MtvgCall *c)
{
    return c->flags & MTVG_I_ADDR32 ? (u32)c->gpr[1] : c->gpr[1];
}

static void on_insn(const MtvgCall *c)
{
    Buffer *b = own;
    MtvgAccess a[MTVG_MAX_ACCESSES];

    put_line(b, "I  ", c->pc, c->len);
    for (u32 i = 0; i < c->nmems; i++) {
        int n = mtvg_resolve(c, &c->mems[i], a);

        for (int k = 0; k < n; k++) {
            put_access(b, &a[k]);
        }
    }
}

static void on_rep(const MtvgCall *c)
{
    Buffer *b = own;
    MtvgAccess a[MTVG_MAX_ACCESSES];

    if (b->rep_open && b->rep_pc == c->pc && rep_count(c) <= b->rep_rcx) {
        close_rep(b, rep_count(c), c->rflags); /* it was interrupted, and goes on */
    } else {
        put_line(b, "I  ", c->pc, c->len);
    }
    b->rep_open = true;
    b->rep_pc = c->pc;
    b->rep_rcx = rep_count(c);
    b->rep_n = 0;
    for (u32 i = 0; i < c->nmems && mtvg_resolve(c, &c->mems[i], a) > 0; i++) {
        b->rep[b->rep_n++] = a[0];
    }
}

static void on_rep_done(const MtvgCall *c)
{
    close_rep(own, rep_count(c), c->rflags);
}

void lackey_trace(MtvgSb *sb)
{
    u32 n = mtvg_sb_size(sb);

    for (u32 i = 0; i < n; i++) {
        MtvgMem m[MTVG_MAX_MEMS];

        if (mtvg_sb_mems(sb, i, m) > 0 && m[0].kind == MTVG_MEM_STRING && m[0].rep) {
            mtvg_call(sb, i, MTVG_BEFORE, on_rep, 0);
            mtvg_call(sb, i, MTVG_AFTER, on_rep_done, 0);
        } else {
            mtvg_call(sb, i, MTVG_BEFORE, on_insn, 0);
        }
    }
}

/* --- threads ---------------------------------------------------------------------------------- */

void lackey_trace_thread_start(struct Thread *t)
{
    Buffer *b = calloc(1, sizeof(*b));

    MT_ASSERT(b != NULL);
    own = b;
    mt_mutex_lock(&list_lock);
    b->next = list;
    if (list != NULL) {
        list->prev = b;
    }
    list = b;
    mt_mutex_unlock(&list_lock);
}

void lackey_trace_thread_end(struct Thread *t)
{
    Buffer *b = own;

    mt_mutex_lock(&list_lock);
    *(b->prev != NULL ? &b->prev->next : &list) = b->next;
    if (b->next != NULL) {
        b->next->prev = b->prev;
    }
    mt_mutex_unlock(&list_lock);
    flush(b);
    own = NULL;
    free(b);
}

/* The parent writes what there was. */
void lackey_trace_fork_child(struct Thread *t)
{
    mt_mutex_init(&list_lock, RANK_TOOL);
    own->used = 0;
    own->next = own->prev = NULL;
    list = own;
}

void lackey_trace_finish(void)
{
    mt_mutex_lock(&list_lock);
    for (Buffer *b = list; b != NULL; b = b->next) {
        flush(b);
    }
    mt_mutex_unlock(&list_lock);
}
