/* SPDX-License-Identifier: BSD-2-Clause
 * lower_exit.c -- a block's exits: edges, the jumps that are linked, their stubs.
 * Role:       notes each exit as an edge, for which the block map finds the target later.
 * Invariants: L3 (lower.c): lower_align_field(). */
#include "jit/lower_int.h"

/* movl $edge, %fs:exit_arg; jmp glue. The edge's number is filled in when the block is made. */
void lower_emit_exit(Emit *e, u64 glue)
{
    emit_fs_store_imm32(e, MT_TP(exit_arg), 0);
    emit_jmp(e, glue);
}

LowerEdge *lower_edge(Lower *l, EdgeKind kind, GuestAddr target)
{
    LowerEdge *d = &l->edges[l->nedges++];

    MT_ASSERT(l->nedges <= MT_MAX_EDGES);
    d->target = target;
    d->kind = (u8)kind;
    d->key = kind == EDGE_QUANTUM || kind == EDGE_STALE || kind == EDGE_AFTER ? l->key
                                                                              : l->exit_key;
    d->patch = 0;
    d->back = false;
    return d;
}

u32 lower_field_pad(const Lower *l, u32 skip)
{
    u32 pos = (u32)(l->e.x + skip) & 7;

    return pos > 4 ? 8 - pos : 0;
}

void lower_align_field(Lower *l, u32 skip)
{
    static const u8 nops[4][3] = {{0}, {0x90}, {0x66, 0x90}, {0x0f, 0x1f, 0x00}};
    u32 pad = lower_field_pad(l, skip);

    if (pad > 0) {
        emit_bytes(&l->e, nops[pad], pad);
        pcmap_plain(&l->map, 0, pad);
    }
}

/* The field of an exit that can be linked; lower_finish() fills it in. */
void lower_link_field(Lower *l, LowerEdge *d)
{
    d->patch = here(l);
    emit_u32(&l->e, 0);
    l->nlinks++;
}

/* jmp rel32 to an exit that can be linked; glen: guest length of the instruction that it ends. */
void lower_link_jmp(Lower *l, u32 glen, GuestAddr target)
{
    LowerEdge *d = lower_edge(l, EDGE_DIRECT, target);

    lower_align_field(l, 1);
    emit_u8(&l->e, 0xe9);
    lower_link_field(l, d);
    pcmap_plain(&l->map, glen, 5);
}

/* jcc rel32 to an exit that can be linked. */
void lower_link_jcc(Lower *l, u32 glen, u32 cc, GuestAddr target)
{
    LowerEdge *d = lower_edge(l, EDGE_DIRECT, target);

    lower_align_field(l, 2);
    emit_u8(&l->e, 0x0f);
    emit_u8(&l->e, (u8)(0x80 | cc));
    lower_link_field(l, d);
    pcmap_plain(&l->map, glen, 6);
}

/* insn L1; jmp L2; L1: jmp taken; L2:     (jrcxz and loop have short forms only) */
void lower_link_jrcxz(Lower *l, const Insn *in)
{
    u8 b[15];
    u32 n = in->len, pad;
    LowerEdge *d = lower_edge(l, EDGE_DIRECT, in->target);

    memcpy(b, in->bytes, n);
    /* L3 for the jump at L1: its field is at here + n + 2 + pad + 1. */
    pad = (u32)(l->e.x + n + 3) & 7;
    pad = pad > 4 ? 8 - pad : 0;
    b[n - 1] = (u8)(2 + pad);
    emit_bytes(&l->e, b, n);
    emit_u8(&l->e, 0xeb);
    emit_u8(&l->e, (u8)(5 + pad));
    for (u32 i = 0; i < pad; i++) {
        emit_u8(&l->e, 0x90);
    }
    emit_u8(&l->e, 0xe9);
    lower_link_field(l, d);
    pcmap_steps(&l->map, in->len,
                (PcStep[]){{(u8)n, PC_SAME}, {(u8)(2 + pad), PC_NEXT}, {5, PC_BRANCH}}, 3,
                in->target);
}

void lower_end_exit(Lower *l, const Insn *in, EdgeKind kind, GuestAddr target)
{
    u64 glue = kind == EDGE_SYSCALL                 ? mt_cache.glue_syscall
               : kind == EDGE_GS || kind == EDGE_FS ? mt_cache.glue_gs
                                                    : mt_cache.glue_emulate;
    LowerEdge *d = lower_edge(l, kind, target);

    d->stub = here(l);
    lower_emit_exit(&l->e, glue);
    pcmap_steps(&l->map, in->len, (PcStep[]){{12, PC_SAME}, {5, PC_SAME}}, 2, 0);
}

void lower_exit_at(Lower *l, CacheOff at, EdgeKind kind, GuestAddr target)
{
    Emit c = {cache_write_ptr(at), cache_exec_addr(at)};

    lower_edge(l, kind, target)->stub = at;
    lower_emit_exit(&c, mt_cache.glue_emulate);
}

/* An instruction of 3 bytes and a displacement whose operand is a field of mt_cpu; `more` bytes
 * follow. By rip, which is one byte shorter than an absolute displacement; the segment's base is
 * added all the same. */
static void emit_fs_by_rip(Emit *e, const char *op, u32 field, u32 more)
{
    emit_bytes(e, op, 3);
    emit_u32(e, field - (u32)(e->x + 4 + more));
}

/* The stubs of n links: notb exit_steps + n-1; ...; notb exit_steps + 1; movl $block, exit_arg; jmp
 * glue. Each link enters at its own, the first one at the movl: the highest step that is not 0
 * tells which it was. Flags and registers stay the guest's. */
static void write_stubs(u32 n, CacheOff at)
{
    Emit e = {cache_write_ptr(at), cache_exec_addr(at)};

    for (u32 i = n; i-- > 1;) {
        emit_fs_by_rip(&e, "\x64\xf6\x15", MT_TP(exit_steps) + i, 0);
    }
    emit_fs_by_rip(&e, "\x64\xc7\x05", MT_TP(exit_arg), 4);
    emit_u32(&e, 0);
    emit_jmp(&e, mt_cache.glue_direct);
}

void lower_stubs(Lower *l)
{
    const u32 n = lower_stub_bytes(l->nlinks);
    CacheOff stub;

    if (n == 0) {
        return;
    }
    if (mt_opts.exits == EXITS_NEAR) {
        l->stubs = l->end;
        l->e.w += n;
        l->e.x += n;
    } else {
        l->stubs = cache_take_cold(&l->space, n);
        MT_ASSERT(l->stubs != 0); /* lower_room() */
    }
    write_stubs(l->nlinks, l->stubs);
    stub = l->stubs + l->nlinks * MT_STUB_STEP;
    for (u32 i = 0; i < l->nedges; i++) {
        LowerEdge *d = &l->edges[i];
        u32 rel;

        if (d->patch != 0) {
            stub -= MT_STUB_STEP;
            d->stub = stub;
            rel = stub - (d->patch + 4);
            memcpy(cache_write_ptr(d->patch), &rel, 4);
        }
    }
}
