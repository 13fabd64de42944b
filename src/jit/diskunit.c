/* SPDX-License-Identifier: BSD-2-Clause
 * diskunit.c -- see diskunit.h.
 * Role:       knows what of a translation depends on where it lies, and moves it. Knows no files.
 * Invariants: U1. what unit_lower() yields is what lower.c would have, had it had the same
 *                 instructions and the same place (unit_diskunit compares them).
 *             U2. a unit's parts lie inside it: unit_view() has looked at every number.
 * A translation's code depends on its place by 32-bit displacements only: of operands relative to
 * rip, and of jumps to the glue. The jumps that are linked, stubs and entries are made anew. Code
 * that has more to it (literals, edges to C code but for system calls, x87) is not encoded. */
#include "jit/diskunit.h"

#include "base/atomics.h"
#include "base/safe.h"
#include "jit/x87ip.h"

#include <string.h>

#define PC_END 0x80000000u /* behind all code that is encoded */

u64 unit_sum(const void *p, size_t n)
{
    const u64 k = 0x9e3779b97f4a7c15ull;
    u64 h[4] = {k, k + 1, k + 2, k + 3}, w[4];
    const u8 *b = p;
    u64 all = n * k;

    for (; n >= sizeof(w); n -= sizeof(w), b += sizeof(w)) {
        memcpy(w, b, sizeof(w));
        for (u32 i = 0; i < 4; i++) {
            h[i] = (h[i] ^ w[i]) * k;
            h[i] ^= h[i] >> 29;
        }
    }
    memset(w, 0, sizeof(w));
    memcpy(w, b, n);
    for (u32 i = 0; i < 4; i++) {
        h[i] = (h[i] ^ w[i]) * k;
        all = (all ^ h[i] ^ h[i] >> 29) * k;
        all ^= all >> 32;
    }
    return all;
}

u64 unit_hash_insn(u64 h, const Insn *in)
{
    const u64 k = 0x9e3779b97f4a7c15ull;
    u64 w[2] = {0, 0};

    memcpy(w, in->bytes, in->len);
    h = (h ^ in->pc) * k;
    h = (h ^ h >> 32 ^ w[0]) * k;
    h = (h ^ h >> 32 ^ w[1]) * k;
    return h ^ h >> 32;
}

/* --- from bytes --- */

static bool fits(const Unit *u, size_t n)
{
    size_t want = sizeof(Unit) + u->nedges * sizeof(UnitEdge) + u->nranges * sizeof(UnitRange) +
                  u->npages * sizeof(UnitPage) + u->nfields * sizeof(u16) + u->map + u->body +
                  (size_t)u->source;

    return u->size <= n && u->size <= MT_UNIT_MAX && u->size == MT_ALIGN_UP(want, 8) &&
           u->nedges <= MT_MAX_EDGES && u->nranges > 0 && u->nranges <= MT_UNIT_RANGES &&
           u->npages > 0 && u->npages <= MT_BLOCK_PAGES && u->map <= MT_PCMAP_MAX && u->body >= 4 &&
           u->body <= MT_UNIT_BODY_MAX && u->source <= MT_UNIT_SOURCE_MAX && u->pc < PC_END &&
           u->ninsns > 0;
}

static bool has_page(const UnitView *v, u32 page)
{
    for (u32 i = 0; i < v->unit->npages; i++) {
        if (v->pages[i].page == page) {
            return true;
        }
    }
    return false;
}

static bool ranges_agree(const UnitView *v)
{
    u32 bytes = 0;

    for (u32 i = 0; i < v->unit->nranges; i++) {
        const UnitRange *r = &v->ranges[i];

        if (r->len == 0 || r->len > v->unit->source || r->start >= PC_END - r->len ||
            !has_page(v, r->start / MT_PAGE_SIZE) ||
            !has_page(v, (r->start + r->len - 1) / MT_PAGE_SIZE)) {
            return false;
        }
        bytes += r->len;
    }
    return bytes == v->unit->source;
}

static bool code_agrees(const UnitView *v)
{
    const Unit *u = v->unit;

    for (u32 i = 0; i < u->nedges; i++) {
        u32 patch = v->edges[i].patch;
        i64 far = (i64)(v->edges[i].target - u->pc);

        if (patch > u->body - 4u || (patch == 0 && u->body < MT_STUB_BYTES) ||
            far < -MT_EDGE_REACH / 2 || far >= MT_EDGE_REACH / 2) {
            return false;
        }
    }
    for (u32 i = 0; i < u->nfields; i++) {
        if (v->fields[i] > u->body - 4u) {
            return false;
        }
    }
    for (u32 i = 0; i < u->npages; i++) {
        if (v->pages[i].page >= PC_END / MT_PAGE_SIZE || v->pages[i].lo > MT_PAGE_SIZE ||
            v->pages[i].hi >= MT_PAGE_SIZE) {
            return false;
        }
    }
    return true;
}

bool unit_view(UnitView *v, const u8 *p, size_t n)
{
    const Unit *u = (const Unit *)p;

    if (n < sizeof(Unit) || !fits(u, n)) {
        return false;
    }
    v->unit = u;
    v->edges = (const UnitEdge *)(u + 1);
    v->ranges = (const UnitRange *)(v->edges + u->nedges);
    v->pages = (const UnitPage *)(v->ranges + u->nranges);
    v->fields = (const u16 *)(v->pages + u->npages);
    v->map = (const u8 *)(v->fields + u->nfields);
    v->body = v->map + u->map;
    v->source = v->body + u->body;
    return has_page(v, u->pc / MT_PAGE_SIZE) && ranges_agree(v) && code_agrees(v);
}

static bool move_fields(const UnitView *v, u8 *w, i64 delta)
{
    for (u32 i = 0; i < v->unit->nfields; i++) {
        i32 disp;
        i64 moved;

        memcpy(&disp, w + v->fields[i], 4);
        moved = disp - delta;
        disp = (i32)moved;
        if (disp != moved) {
            return false;
        }
        memcpy(w + v->fields[i], &disp, 4);
    }
    return true;
}

static void lower_edges(const UnitView *v, Lower *l, CacheOff body)
{
    l->nedges = v->unit->nedges;
    for (u32 i = 0; i < l->nedges; i++) {
        const UnitEdge *e = &v->edges[i];
        LowerEdge *d = &l->edges[i];

        *d = (LowerEdge){.target = e->target, .back = e->back != 0};
        if (e->patch != 0) {
            d->kind = EDGE_DIRECT;
            d->patch = body + e->patch;
            l->nlinks++;
        } else {
            d->kind = EDGE_SYSCALL;
            d->stub = body + v->unit->body - MT_STUB_BYTES;
        }
    }
}

bool unit_lower(const UnitView *v, Lower *l)
{
    const Unit *u = v->unit;

    /* L3: the fields that are patched are aligned as they were. An entry aligns itself. */
    if (!u->has_ind) {
        l->space.hot += (u->at - (u32)cache_exec_addr(l->space.hot)) & 7;
    }
    lower_begin(l, u->pc, u->has_ind ? ENTRY_IND : ENTRY_NONE, false);
    if (((l->e.x ^ u->at) & 7) != 0) {
        return false;
    }
    memcpy(l->e.w, v->body, u->body);
    if (!move_fields(v, l->e.w, (i64)(l->e.x - u->at))) {
        return false;
    }
    lower_edges(v, l, l->host);
    memcpy(l->map.bytes, v->map, u->map);
    l->map.len = u->map;
    l->e.w += u->body;
    l->e.x += u->body;
    lower_finish(l);
    return true;
}

/* --- to bytes --- */

#define INSN_MAX 15u

typedef struct Encoder {
    const Block *block;
    u64 begin, end; /* of the code */
    Unit unit;
    UnitEdge edges[MT_MAX_EDGES];
    UnitRange ranges[MT_UNIT_RANGES];
    UnitPage pages[MT_BLOCK_PAGES];
    u16 fields[255];
    u8 body[MT_UNIT_BODY_MAX + INSN_MAX];
    u8 source[MT_UNIT_SOURCE_MAX];
} Encoder;

/* movl $edge, %fs:exit_arg; jmp glue: at the end of a block that does a system call. */
static bool encode_syscall(Encoder *x, UnitEdge *e)
{
    static const u8 movl[4] = {0x64, 0xc7, 0x04, 0x25};
    u8 *p = x->body + x->unit.body - MT_STUB_BYTES;

    if (x->unit.body < MT_STUB_BYTES || memcmp(p, movl, sizeof(movl)) != 0) {
        return false;
    }
    memset(p + 8, 0, 4);
    e->patch = 0;
    return true;
}

static bool encode_edges(Encoder *x)
{
    const Block *b = x->block;

    x->unit.nedges = b->nedges;
    for (u32 i = 0; i < b->nedges; i++) {
        const Edge *e = &block_edges(b)[i];
        UnitEdge *u = &x->edges[i];

        *u = (UnitEdge){.target = edge_target(e), .back = e->back};
        if (e->patch != 0) {
            u->patch = (u16)(edge_patch(e) - block_host(b));
            memset(x->body + u->patch, 0, 4);
        } else if (edge_kind(e) != EDGE_SYSCALL || i + 1 != b->nedges || !encode_syscall(x, u)) {
            return false;
        }
    }
    return true;
}

static bool is_link(const Encoder *x, u32 field)
{
    for (u32 i = 0; i < x->unit.nedges; i++) {
        if (x->edges[i].patch == field) {
            return true;
        }
    }
    return false;
}

static bool add_field(Encoder *x, u32 at)
{
    if (x->unit.nfields == MT_ARRAY_SIZE(x->fields)) {
        return false;
    }
    x->fields[x->unit.nfields++] = (u16)at;
    return true;
}

static bool in_glue(u64 a)
{
    return a - (mt_cache.exec + MT_IBT_BYTES) < MT_GLUE_BYTES;
}

/* `at`: of the host instruction, from the code's beginning. False: it can't be moved. */
static bool encode_host_insn(Encoder *x, const Insn *in, u32 at)
{
    if (in->flags & INSN_F_OPAQUE) {
        return false;
    }
    switch (in->cls) {
    case INSN_PLAIN:
    case INSN_JMP_IND:
        if (!(in->flags & INSN_F_RIPREL)) {
            return true;
        }
        return !(in->flags & INSN_F_ADDR32) && in->disp_size == 4 &&
               (!cache_contains(in->mem_addr) || in_glue(in->mem_addr)) &&
               add_field(x, at + in->disp_off);
    case INSN_JMP:
    case INSN_JCC:
    case INSN_JRCXZ:
        if (in->imm_size == 4 && is_link(x, at + in->imm_off)) {
            return true;
        }
        if (in->target >= x->begin && in->target < x->end) {
            return true;
        }
        return in->imm_size == 4 && in_glue(in->target) && add_field(x, at + in->imm_off);
    default: return false;
    }
}

static bool encode_code(Encoder *x)
{
    const Block *b = x->block;
    u32 at = 0, n = b->host_size - b->entry_size;
    Insn in;

    if (n == 0 || n > MT_UNIT_BODY_MAX) {
        return false;
    }
    x->begin = cache_exec_addr(block_host(b));
    x->end = x->begin + n;
    x->unit.at = (u32)x->begin;
    x->unit.body = (u16)n;
    memcpy(x->body, (const void *)x->begin, n);
    memset(x->body + n, 0xcc, INSN_MAX);
    if (!encode_edges(x)) {
        return false;
    }
    while (at < n) {
        decode_insn(&in, x->begin + at, x->body + at, INSN_MAX);
        if (!encode_host_insn(x, &in, at)) {
            return false;
        }
        at += in.len;
    }
    return at == n;
}

/* The page of pc, where an instruction begins if `start`. */
static bool add_page(Encoder *x, u32 pc, bool start)
{
    u16 at = pc % MT_PAGE_SIZE;
    UnitPage *p = x->pages;

    while (p < x->pages + x->unit.npages && p->page != pc / MT_PAGE_SIZE) {
        p++;
    }
    if (p == x->pages + MT_BLOCK_PAGES) {
        return false;
    }
    if (p == x->pages + x->unit.npages) {
        *p = (UnitPage){pc / MT_PAGE_SIZE, MT_PAGE_SIZE, 0};
        x->unit.npages++;
    }
    if (start) {
        p->lo = at < p->lo ? at : p->lo;
        p->hi = at > p->hi ? at : p->hi;
    }
    return true;
}

static bool add_source(Encoder *x, const Insn *in)
{
    UnitRange *r = &x->ranges[x->unit.nranges];
    u32 pc = (u32)in->pc;

    if (x->unit.nranges == 0 || r[-1].start + r[-1].len != pc) {
        if (x->unit.nranges == MT_UNIT_RANGES) {
            return false;
        }
        *r = (UnitRange){pc, 0};
        x->unit.nranges++;
    } else {
        r--;
    }
    if (x->unit.source + in->len > MT_UNIT_SOURCE_MAX) {
        return false;
    }
    memcpy(x->source + x->unit.source, in->bytes, in->len);
    x->unit.source = (u16)(x->unit.source + in->len);
    r->len += in->len;
    return add_page(x, pc, true) && add_page(x, pc + in->len - 1, false);
}

/* What invalid and emulated instructions are depends on more than their bytes; of x87 ones note is
 * taken when they are translated (x87ip.h). */
static bool is_source(const Insn *in)
{
    return in->cls < INSN_EMULATE && in->pc < PC_END - INSN_MAX &&
           !(in->flags & (INSN_F_OPAQUE | INSN_F_SEG_GS)) && !x87ip_concerns(in);
}

/* The block's instructions, as plan.c took them: jumps but the last are those that were
 * followed. */
static bool encode_source(Encoder *x, u64 *hash)
{
    GuestAddr pc = x->block->pc;
    u8 code[INSN_MAX];
    size_t n;
    Insn in;

    *hash = 0;
    for (u32 i = 0; i < x->block->ninsns; i++) {
        n = safe_read_partial(code, pc, sizeof(code));
        if (n == 0) {
            return false;
        }
        decode_insn(&in, pc, code, n);
        if (!is_source(&in) || !add_source(x, &in)) {
            return false;
        }
        *hash = unit_hash_insn(*hash, &in);
        pc = in.cls == INSN_JMP ? in.target : pc + in.len;
    }
    return true;
}

static u8 *put(u8 *to, const void *from, size_t n)
{
    memcpy(to, from, n);
    return to + n;
}

u32 unit_encode(const Block *b, u8 *out, u64 *hash)
{
    Encoder x;
    u8 *p = out + sizeof(Unit);

    if (b->pc >= PC_END || b->has_tool || b->ninsns == 0 ||
        (b->entry_size != 0 && !block_has(b, b->ind))) {
        return 0;
    }
    x.block = b;
    memset(&x.unit, 0, sizeof(x.unit));
    if (!encode_code(&x) || !encode_source(&x, hash)) {
        return 0;
    }
    x.unit.pc = (u32)b->pc;
    x.unit.map = b->pcmap_len;
    x.unit.ninsns = b->ninsns;
    x.unit.has_ind = b->entry_size != 0;
    p = put(p, x.edges, x.unit.nedges * sizeof(UnitEdge));
    p = put(p, x.ranges, x.unit.nranges * sizeof(UnitRange));
    p = put(p, x.pages, x.unit.npages * sizeof(UnitPage));
    p = put(p, x.fields, x.unit.nfields * sizeof(u16));
    p = put(p, block_pcmap(b), x.unit.map);
    p = put(p, x.body, x.unit.body);
    p = put(p, x.source, x.unit.source);
    while ((p - out) % 8 != 0) {
        *p++ = 0;
    }
    x.unit.size = (u32)(p - out);
    memcpy(out, &x.unit, sizeof(Unit));
    return x.unit.size;
}

_Static_assert(sizeof(Unit) == 24 && sizeof(Unit) + MT_MAX_EDGES * sizeof(UnitEdge) +
                                             MT_UNIT_RANGES * sizeof(UnitRange) +
                                             MT_BLOCK_PAGES * sizeof(UnitPage) + 255 * sizeof(u16) +
                                             MT_PCMAP_MAX + MT_UNIT_BODY_MAX + MT_UNIT_SOURCE_MAX +
                                             8 <=
                                         MT_UNIT_MAX,
               "a unit has room for all its parts");
