/* SPDX-License-Identifier: BSD-2-Clause
 * lower.c -- guest instructions to host code.
 * Role:       knows encodings; does not know blocks, chaining or where instructions come from.
 * Invariants: L1. between the host code of two guest instructions every guest register is in its
 *             host register and the flags are the guest's.
 *             L2. the flags are never changed but by guest instructions (D3).
 *             L3. a rel32 field that may be patched does not cross an 8-byte boundary.
 *             L4. every host instruction has a step in the pc map. */
#include "jit/lower.h"

#include "base/options.h"
#include "jit/cache.h"
#include "jit/x87ip.h"

#define SLOT(i) MT_TP(slot[i])
#define MT_FIX_BYTES 64     /* of a LowerFix: code */
#define MT_FIX_MAP_BYTES 32 /* records: pcmap_again(), seven steps */

static bool fits32(i64 v)
{
    return v == (i32)v;
}

/* Can an absolute disp32 name it (sign-extended)? */
static bool low_address(GuestAddr a)
{
    return a < 0x80000000u;
}

static CacheOff here(const Lower *l)
{
    return (CacheOff)(l->e.x - mt_cache.exec);
}

bool lower_room(const Lower *l)
{
    return !l->full && l->nedges + 4 < MT_MAX_EDGES && l->nfixes < MT_MAX_FIXES &&
           pcmap_room(&l->map, l->nfixes * MT_FIX_MAP_BYTES) &&
           l->space.hot_end - here(l) >
               3 * MT_LOWER_MAX + lower_stub_bytes(l->nlinks) + l->nfixes * MT_FIX_BYTES &&
           l->space.cold_end - l->space.cold > MT_COLD_ROOM;
}

/* --- exits ------------------------------------------------------------------------------------ */

/* movl $edge, %fs:exit_arg; jmp glue. The edge's number is filled in when the block is made. */
static void emit_exit(Emit *e, u64 glue)
{
    emit_fs_store_imm32(e, MT_TP(exit_arg), 0);
    emit_jmp(e, glue);
}

static LowerEdge *add_edge(Lower *l, EdgeKind kind, GuestAddr target)
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

/* Pads so that a 4-byte field at here + skip lies inside 8 aligned bytes (L3). */
static void align_patch(Lower *l, u32 skip)
{
    static const u8 nops[4][3] = {{0}, {0x90}, {0x66, 0x90}, {0x0f, 0x1f, 0x00}};
    u32 pos = (u32)(l->e.x + skip) & 7;
    u32 pad = pos > 4 ? 8 - pos : 0;

    if (pad > 0) {
        emit_bytes(&l->e, nops[pad], pad);
        pcmap_plain(&l->map, 0, pad);
    }
}

/* The field of an exit that can be linked; lower_finish() fills it in. */
static void emit_link_field(Lower *l, LowerEdge *d)
{
    d->patch = here(l);
    emit_u32(&l->e, 0);
    l->nlinks++;
}

/* jmp rel32 to an exit that can be linked; glen: guest length of the instruction that it ends. */
static void emit_link_jmp(Lower *l, u32 glen, GuestAddr target)
{
    LowerEdge *d = add_edge(l, EDGE_DIRECT, target);

    align_patch(l, 1);
    emit_u8(&l->e, 0xe9);
    emit_link_field(l, d);
    pcmap_plain(&l->map, glen, 5);
}

/* jcc rel32 to an exit that can be linked. */
static void emit_link_jcc(Lower *l, u32 glen, u32 cc, GuestAddr target)
{
    LowerEdge *d = add_edge(l, EDGE_DIRECT, target);

    align_patch(l, 2);
    emit_u8(&l->e, 0x0f);
    emit_u8(&l->e, (u8)(0x80 | cc));
    emit_link_field(l, d);
    pcmap_plain(&l->map, glen, 6);
}

/* --- plain instructions ----------------------------------------------------------------------- */

/* Where the payload of a VEX, EVEX or XOP prefix begins; legacy prefixes may precede it. */
static u32 vex_payload(const u8 *b)
{
    u32 i = 0;

    while (b[i] != 0xc4 && b[i] != 0xc5 && b[i] != 0x62 && b[i] != 0x8f) {
        i++;
    }
    return i + 1;
}

/* Of an unknown instruction: the registers that its fields may name. It is of a newer extension than
 * those that use registers implicitly. */
static u32 opaque_regs(const Insn *in)
{
    u32 used = 1u << (in->bytes[in->modrm_off] >> 3 & 7);

    if (in->flags & INSN_F_VEX_LIKE) {
        const u8 *v = in->bytes + vex_payload(in->bytes);
        u8 vvvv = v[-1] == 0xc5 ? v[0] : v[1];

        used |= 1u << (~vvvv >> 3 & 7);
    }
    return used;
}

/* A low register that the instruction does not use, so that no prefix bit need change. */
static u32 scratch_reg(const Insn *in)
{
    static const u8 candidates[] = {MT_RDI, MT_RSI, MT_RBX, MT_RDX, MT_RCX, MT_RAX};
    u32 used = (in->flags & INSN_F_OPAQUE) ? opaque_regs(in) : in->gprs_used;

    for (u32 i = 0; i < MT_ARRAY_SIZE(candidates) - 1; i++) {
        if (!(used >> candidates[i] & 1)) {
            return candidates[i];
        }
    }
    return MT_RAX; /* no known instruction uses all six */
}

/* The instruction's bytes with FS made GS. */
static u32 copy_bytes(u8 *to, const Insn *in)
{
    memcpy(to, in->bytes, in->len);
    if (in->flags & INSN_F_SEG_FS) {
        to[in->seg_off] = 0x65;
    }
    return in->len;
}

/* Makes the base and index fields' extension bits 0, which RIP-relative addressing ignores. */
static void clear_extensions(u8 *b, const Insn *in)
{
    if (in->rex_off != 0xff) {
        b[in->rex_off] &= (u8)~3;
    } else if (in->flags & INSN_F_VEX_LIKE) {
        u32 i = vex_payload(b);

        if (b[i - 1] != 0xc5) {
            b[i] |= 0x60; /* X and B, inverted */
        }
    }
}

/* A RIP-relative operand that the cache can reach (the usual case): another displacement. */
static bool riprel_by_disp(Lower *l, const Insn *in)
{
    u8 b[15];
    u32 n = copy_bytes(b, in);
    i64 disp = (i64)(in->mem_addr - (l->e.x + n));
    i32 d = (i32)disp;

    if (!fits32(disp) || (in->flags & INSN_F_ADDR32)) {
        return false;
    }
    memcpy(b + in->disp_off, &d, 4);
    emit_bytes(&l->e, b, n);
    pcmap_plain(&l->map, in->len, n);
    return true;
}

/* One below 4 GiB named by an address-size prefix: an absolute displacement through a SIB byte. */
static u32 riprel_absolute(u8 *to, const Insn *in)
{
    u8 b[15];
    u32 n = copy_bytes(b, in), at = in->modrm_off;
    u32 addr = (u32)in->mem_addr;

    clear_extensions(b, in);
    memcpy(to, b, at + 1);
    to[at] = (u8)((b[at] & 0x38) | 0x04);
    to[at + 1] = 0x25;
    memcpy(to + at + 2, &addr, 4);
    memcpy(to + at + 6, b + at + 5, n - at - 5);
    return n + 1;
}

/* mov %r, slot[3]; mov $addr, %r; insn with (%r); mov slot[3], %r */
static void riprel_by_register(Lower *l, const Insn *in)
{
    u32 r = scratch_reg(in);
    u8 b[15];
    u32 n = copy_bytes(b, in), at = in->modrm_off;
    u8 spilled, restored;

    spilled = (u8)(PC_SPILL | r << 4);
    restored = (u8)(PC_NEXT_SPILL | r << 4);
    clear_extensions(b, in);
    b[at] = (u8)((b[at] & 0x38) | r);
    memmove(b + at + 1, b + at + 5, n - at - 5);
    emit_fs_store(&l->e, r, SLOT(3));
    emit_mov_imm64(&l->e, r, in->mem_addr);
    emit_bytes(&l->e, b, n - 4);
    emit_fs_load(&l->e, r, SLOT(3));
    pcmap_steps(&l->map, in->len,
                (PcStep[]){{9, PC_SAME}, {10, spilled}, {(u8)(n - 4), spilled}, {9, restored}}, 4,
                0);
}

/* --- FS where GS is the tool's --- */

static bool is_lea(const Insn *in)
{
    return in->bytes[in->opcode_off] == 0x8d && !(in->flags & INSN_F_VEX_LIKE) &&
           (in->opcode_off == 0 || in->bytes[in->opcode_off - 1] != 0x0f);
}

/* Of several segment prefixes the last one counts, but one that is ignored does not undo another. */
static bool other_segment(const Insn *in)
{
    for (u32 i = 0; i < in->opcode_off; i++) {
        if (i != in->seg_off && (in->bytes[i] == 0x64 || in->bytes[i] == 0x65)) {
            return true;
        }
    }
    return false;
}

/* pop (%rsp) computes its address behind the pop. Strings, xlat, maskmov and moffs have no ModRM
 * operand. */
bool lower_fs_inline(const Insn *in)
{
    if (in->cls != INSN_PLAIN || in->modrm_off == 0xff || in->bytes[in->modrm_off] >> 6 == 3 ||
        (in->flags & (INSN_F_RIPREL | INSN_F_ADDR32 | INSN_F_OPAQUE))) {
        return false;
    }
    return is_lea(in) || (in->bytes[in->opcode_off] != 0x8f && !other_segment(in) &&
                          !(in->gprs_used >> scratch_reg(in) & 1));
}

static bool base_extension(const Insn *in)
{
    if (in->rex_off != 0xff) {
        return in->bytes[in->rex_off] & 1;
    }
    if (in->flags & INSN_F_VEX_LIKE) {
        u32 i = vex_payload(in->bytes);

        return in->bytes[i - 1] != 0xc5 && !(in->bytes[i] & 0x20);
    }
    return false;
}

static void clear_base_extension(u8 *b, const Insn *in)
{
    if (in->rex_off != 0xff) {
        b[in->rex_off] &= (u8)~1;
    } else if (in->flags & INSN_F_VEX_LIKE) {
        u32 i = vex_payload(b);

        if (b[i - 1] != 0xc5) {
            b[i] |= 0x20; /* inverted */
        }
    }
}

/* Makes r the base of the instruction's memory operand; returns what it was: 0xff: none. */
static u32 replace_base(u8 *b, const Insn *in, u32 r)
{
    u32 ext = base_extension(in) ? 8 : 0, old;
    u8 *modrm = &b[in->modrm_off], *field = (*modrm & 7) == 4 ? modrm + 1 : modrm;

    old = (*field & 7u) | ext;
    if (field != modrm && *modrm >> 6 == 0 && (*field & 7) == 5) {
        old = 0xff;
        *modrm |= 0x80; /* the 32-bit displacement has a base now */
    }
    *field = (u8)((*field & 0xf8) | r);
    clear_base_extension(b, in);
    return old;
}

/* mov %r, slot[3]; mov fs_base, %r; lea 0(%base,%r), %r; insn with %r for its base; mov slot[3], %r */
static void lower_fs(Lower *l, const Insn *in)
{
    u32 r = scratch_reg(in), base, n = 2;
    u8 spilled = (u8)(PC_SPILL | r << 4), restored = (u8)(PC_NEXT_SPILL | r << 4);
    PcStep s[5] = {{9, PC_SAME}, {9, spilled}};
    u8 b[15];

    memcpy(b, in->bytes, in->len);
    if (is_lea(in)) {
        emit_bytes(&l->e, b, in->len); /* of segments, lea takes no notice */
        pcmap_plain(&l->map, in->len, in->len);
        return;
    }
    b[in->seg_off] = 0x3e; /* DS: ignored */
    base = replace_base(b, in, r);
    emit_fs_store(&l->e, r, SLOT(3));
    emit_fs_load(&l->e, r, MT_TP(fs_base));
    if (base != 0xff) {
        emit_u8(&l->e, (u8)(0x48 | base >> 3));
        emit_u8(&l->e, 0x8d);
        emit_u8(&l->e, (u8)(0x84 | r << 3));
        emit_u8(&l->e, (u8)(r << 3 | (base & 7)));
        emit_u32(&l->e, 0);
        s[n++] = (PcStep){8, spilled};
    }
    emit_bytes(&l->e, b, in->len);
    s[n++] = (PcStep){in->len, spilled};
    emit_fs_load(&l->e, r, SLOT(3));
    s[n++] = (PcStep){9, restored};
    pcmap_steps(&l->map, in->len, s, n, 0);
}

/* movl $what, call_site; movl $ret, call_return; jmp *x87_entry; ret: */
static void lower_x87_store(Lower *l, u32 what)
{
    emit_fs_store_imm32(&l->e, MT_TP(call_site), what);
    pcmap_plain(&l->map, 0, 12);
    emit_fs_store_imm32(&l->e, MT_TP(call_return), (u32)(l->e.x + 12 + 8));
    pcmap_plain(&l->map, 0, 12);
    emit_bytes(&l->e, "\x64\xff\x24\x25", 4);
    emit_u32(&l->e, MT_TP(x87_entry));
    pcmap_plain(&l->map, 0, 8);
}

static void lower_plain(Lower *l, const Insn *in)
{
    u32 what = x87ip_store_of(in);
    u8 b[16];
    u32 n;

    if (what != X87_STORES_NOT) {
        lower_x87_store(l, what);
    }

    if ((in->flags & INSN_F_SEG_FS) && l->gs_is_tools) {
        lower_fs(l, in);
        return;
    }
    if (!(in->flags & INSN_F_RIPREL)) {
        n = copy_bytes(b, in);
    } else if (riprel_by_disp(l, in)) {
        return;
    } else if (in->len < 15 && (low_address(in->mem_addr) || (in->flags & INSN_F_ADDR32))) {
        n = riprel_absolute(b, in);
    } else {
        riprel_by_register(l, in);
        return;
    }
    emit_bytes(&l->e, b, n);
    pcmap_plain(&l->map, in->len, n);
}

/* ud2 at this guest address: the guest's SIGILL. */
static void lower_invalid(Lower *l, const Insn *in)
{
    emit_u8(&l->e, 0x0f);
    emit_u8(&l->e, 0x0b);
    pcmap_plain(&l->map, in->len, 2);
}

/* insn L1; jmp L2; L1: jmp taken; L2:     (jrcxz and loop have short forms only) */
static void lower_jrcxz(Lower *l, const Insn *in)
{
    u8 b[15];
    u32 n = in->len, pad;
    LowerEdge *d = add_edge(l, EDGE_DIRECT, in->target);

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
    emit_link_field(l, d);
    pcmap_steps(&l->map, in->len,
                (PcStep[]){{(u8)n, PC_SAME}, {(u8)(2 + pad), PC_NEXT}, {5, PC_BRANCH}}, 3,
                in->target);
}

/* --- calls and indirect branches -------------------------------------------------------------- */

/* push $addr; its length. */
static u32 emit_push_address(Lower *l, GuestAddr a)
{
    CacheOff lit;
    i32 disp;

    if (low_address(a)) {
        emit_u8(&l->e, 0x68);
        emit_u32(&l->e, (u32)a);
        return 5;
    }
    lit = cache_take_cold(&l->space, 8);
    MT_ASSERT(lit != 0); /* lower_room() */
    memcpy(cache_write_ptr(lit), &a, 8);
    disp = (i32)(cache_exec_addr(lit) - (l->e.x + 6));
    emit_u8(&l->e, 0xff);
    emit_u8(&l->e, 0x35);
    emit_u32(&l->e, (u32)disp);
    return 6;
}

/* The call without the host's return stack: it pushes and jumps. */
static void lower_plain_call(Lower *l, const Insn *in)
{
    u32 n = emit_push_address(l, in->pc + in->len);

    pcmap_plain(&l->map, in->len, n);
    pcmap_goto(&l->map, in->pc + in->len, in->target);
    emit_link_jmp(l, 0, in->target);
}

/* mov %rcx, slot[3]; mov quantum, %rcx; lea -1(%rcx), %rcx; mov %rcx, quantum; jrcxz 1f;
 * mov slot[3], %rcx; ...; 1: (cold) mov slot[3], %rcx; exit
 * At the start of a block, and at return points: a guest may go in circles with returns alone. */
static void emit_quantum(Lower *l, GuestAddr pc, u32 key)
{
    const u8 sp = (u8)(PC_SPILL | MT_RCX << 4);
    LowerEdge *d = add_edge(l, EDGE_QUANTUM, pc);
    CacheOff at;
    Emit c;

    d->key = key;
    emit_fs_store(&l->e, MT_RCX, SLOT(3));
    emit_fs_load(&l->e, MT_RCX, MT_TP(quantum));
    emit_bytes(&l->e, "\x48\x8d\x49\xff", 4);
    emit_fs_store(&l->e, MT_RCX, MT_TP(quantum));
    emit_bytes(&l->e, "\xe3\x02\xeb\x05", 4); /* jrcxz +2; jmp +5 */
    at = cache_take_cold(&l->space, 9 + MT_STUB_BYTES);
    MT_ASSERT(at != 0);
    emit_jmp(&l->e, cache_exec_addr(at));
    emit_fs_load(&l->e, MT_RCX, SLOT(3));
    c.w = cache_write_ptr(at);
    c.x = cache_exec_addr(at);
    emit_fs_load(&c, MT_RCX, SLOT(3));
    d->stub = at + 9;
    emit_exit(&c, mt_cache.glue_quantum);
    pcmap_steps(
        &l->map, 0,
        (PcStep[]){{9, PC_SAME}, {9, sp}, {4, sp}, {9, sp}, {2, sp}, {2, sp}, {5, sp}, {9, sp}}, 8,
        0);
}

/* At a return point rcx is in rdi, rdi in slot[0] (not rcx in slot[0]: a chain of returns would wait for
 * that word each time; rdi is mostly overwritten before it is read), slot[1] is the target, which is checked:
 *     mov slot[1], %rcx; mov %rcx, -8(%rsp); lea 1-ret(%rcx), %rcx; loop 1f;
 *     nop, the last five bytes of which are 1: jmp miss
 *     mov %rdi, %rcx; mov slot[0], %rdi
 * or, where loop is slow, lea -ret(%rcx), %rcx; jrcxz 1f; jmp miss; 1:
 * Above 2 GiB %rdx, spilled to slot[2], holds the constant. lower_return_pc() reads it. */
static u32 emit_return_point(Lower *l, GuestAddr ret, PcStep *s)
{
    const u64 one = mt_cache.fast_loop ? 1 : 0;
    u32 n = 0;

    emit_fs_load(&l->e, MT_RCX, SLOT(1));
    s[n++] = (PcStep){9, PC_TGT_RESTORE};
    emit_bytes(&l->e, "\x48\x89\x4c\x24\xf8", 5);
    s[n++] = (PcStep){5, PC_TGT_RESTORE};
    if (low_address(ret)) {
        emit_bytes(&l->e, "\x48\x8d\x89", 3);
        emit_u32(&l->e, (u32)(one - ret));
        s[n++] = (PcStep){7, PC_TGT_SWAPPED};
    } else {
        emit_fs_store(&l->e, MT_RDX, SLOT(2));
        s[n++] = (PcStep){9, PC_TGT_SWAPPED};
        emit_mov_imm64(&l->e, MT_RDX, one - ret);
        s[n++] = (PcStep){10, PC_TGT_RDX};
        emit_bytes(&l->e, "\x48\x8d\x0c\x11", 4); /* lea (%rcx,%rdx), %rcx */
        s[n++] = (PcStep){4, PC_TGT_RDX};
        emit_fs_load(&l->e, MT_RDX, SLOT(2));
        s[n++] = (PcStep){9, PC_TGT_RDX};
    }
    if (mt_cache.fast_loop) {
        emit_bytes(&l->e, "\xe2\x03\x0f\x1f\x84", 5);
        s[n++] = (PcStep){2, PC_TGT_SWAPPED};
        s[n++] = (PcStep){3, PC_TGT_SWAPPED};
    } else {
        emit_bytes(&l->e, "\xe3\x05", 2);
        s[n++] = (PcStep){2, PC_TGT_SWAPPED};
    }
    emit_jmp(&l->e, mt_cache.glue_ret_other);
    s[n++] = (PcStep){5, PC_TGT_SWAPPED};
    emit_bytes(&l->e, "\x48\x89\xf9", 3);
    s[n++] = (PcStep){3, PC_TGT_SWAPPED};
    emit_fs_load(&l->e, MT_RDI, SLOT(0));
    s[n++] = (PcStep){9, PC_TGT_SWAPPED};
    return n;
}

GuestAddr lower_return_pc(CacheOff point)
{
    const u64 one = mt_cache.fast_loop ? 1 : 0;
    const u8 *p = (const u8 *)cache_exec_addr(point);
    u64 far;
    u32 near;

    if (p[14] == 0x48) { /* the lea */
        memcpy(&near, p + 17, 4);
        return (u32)(one - near);
    }
    memcpy(&far, p + 25, 8);
    return one - far;
}

/* mov %rax, (%rsp); mov slot[3], %rax      LIVE: the return address in rax, the guest's rax in slot[3] */
CacheOff lower_call_entry(Emit *e, u64 body)
{
    CacheOff entry = (CacheOff)(e->x - mt_cache.exec);

    emit_bytes(e, "\x48\x89\x04\x24", 4);
    emit_fs_load(e, MT_RAX, SLOT(3));
    if (body != 0) {
        emit_jmp(e, body);
    }
    return entry;
}

/* mov $imm, %rax; its length. */
static u32 emit_mov_imm(Emit *e, u32 reg, u64 imm)
{
    if (!low_address(imm) || reg >= 8) {
        emit_mov_imm64(e, reg, imm);
        return 10;
    }
    emit_u8(e, (u8)(0xb8 | reg));
    emit_u32(e, (u32)imm);
    return 5;
}

/* The return point of a call of n steps so far. */
static void emit_return(Lower *l, const Insn *in, PcStep *s, u32 n)
{
    GuestAddr ret = in->pc + in->len;

    n += emit_return_point(l, ret, s + n);
    pcmap_steps(&l->map, in->len, s, n, 0);
    if (l->quantum) {
        emit_quantum(l, ret, l->exit_key);
    }
}

/* What callees mostly overwrite before they read it is rax.
 * mov %rax, slot[3]; mov $ret, %rax; call stub | target's entry for calls; return point */
static void lower_direct_call(Lower *l, const Insn *in)
{
    LowerEdge *d = add_edge(l, EDGE_CALL, in->target);
    GuestAddr ret = in->pc + in->len;
    PcStep s[16];
    u32 n = 0;

    align_patch(l, low_address(ret) ? 15 : 20);
    emit_fs_store(&l->e, MT_RAX, SLOT(3));
    s[n++] = (PcStep){9, PC_SAME};
    s[n++] = (PcStep){(u8)emit_mov_imm(&l->e, MT_RAX, ret), PC_SAME};
    emit_u8(&l->e, 0xe8);
    emit_link_field(l, d);
    s[n++] = (PcStep){5, PC_SPILL | MT_RAX << 4};
    emit_return(l, in, s, n);
}

/* The target is in rcx: call fix; return point          s: the steps before, n of them */
static void emit_indirect_call(Lower *l, const Insn *in, PcStep *s, u32 n)
{
    LowerFix *f = &l->fixes[l->nfixes++];
    LowerEdge *r;

    MT_ASSERT(l->nfixes <= MT_MAX_FIXES);
    *f = (LowerFix){here(l) + 1, in->pc + in->len};
    emit_u8(&l->e, 0xe8);
    emit_u32(&l->e, 0);
    s[n++] = (PcStep){5, PC_SPILL_RCX};
    r = add_edge(l, EDGE_RETURN, f->ret);
    r->stub = here(l);
    emit_return(l, in, s, n);
}

static bool over_return_stack(const Lower *l)
{
    return l->return_stack && l->exit_key == 0;
}

/* The index of rcx in the first table, to rcx: movzx %cx, %ecx or pext mask, %rcx, %rcx. Its length. */
static u32 emit_ib_index(Emit *e, u32 mask_at)
{
    if (mask_at == 0) {
        emit_bytes(e, "\x0f\xb7\xc9", 3);
        return 3;
    }
    emit_bytes(e, "\xc4\xe2\xf2\xf5\x0c\x25", 6);
    emit_u32(e, mask_at);
    return 10;
}

/* mov %rcx, slot[1]; (index to %rcx); jmp *table(, %rcx, 8)      LIVE: rcx = target */
static u32 emit_ib_jump(Lower *l, PcStep *steps)
{
    emit_fs_store(&l->e, MT_RCX, SLOT(1));
    steps[0] = (PcStep){9, PC_TGT_RCX};
    if (l->exit_key != 0) {
        /* movl $key, exit_arg; jmp glue: the tables know version 0 only */
        emit_fs_store_imm32(&l->e, MT_TP(exit_arg), l->exit_key);
        emit_jmp(&l->e, mt_cache.glue_ib_key);
        steps[1] = (PcStep){12, PC_TGT_SLOT};
        steps[2] = (PcStep){5, PC_TGT_SLOT};
        return 3;
    }
    if (!mt_opts.ib_inline) {
        emit_jmp(&l->e, mt_cache.glue_ib_miss);
        steps[1] = (PcStep){5, PC_TGT_SLOT};
        return 2;
    }
    steps[1] = (PcStep){(u8)emit_ib_index(&l->e, mt_cache.ibt_mask_at), PC_TGT_SLOT};
    emit_bytes(&l->e, "\xff\x24\xcd", 3);
    emit_u32(&l->e, (u32)mt_cache.exec);
    steps[2] = (PcStep){7, PC_TGT_SLOT};
    return 3;
}

/* The near return over the host's return stack: what is popped is the return point's address, if there
 * is one, which is where the host's call predicts it to go.
 *     mov %rdi, slot[0]; mov %rcx, %rdi; mov (%rsp), %rcx; mov %rcx, slot[1]; (index to %rcx);
 *     mov table(, %rcx, 4), %ecx; mov %rcx, (%rsp); ret */
static void lower_stack_ret(Lower *l, const Insn *in)
{
    PcStep s[8];
    u32 n = 0;

    emit_fs_store(&l->e, MT_RDI, SLOT(0));
    s[n++] = (PcStep){9, PC_SAME};
    emit_bytes(&l->e, "\x48\x89\xcf", 3);
    s[n++] = (PcStep){3, PC_SAME};
    emit_bytes(&l->e, "\x48\x8b\x0c\x24", 4);
    s[n++] = (PcStep){4, PC_SWAPPED};
    emit_fs_store(&l->e, MT_RCX, SLOT(1));
    s[n++] = (PcStep){9, PC_SWAPPED};
    s[n++] = (PcStep){(u8)emit_ib_index(&l->e, mt_cache.ret_mask_at), PC_SWAPPED};
    emit_bytes(&l->e, "\x8b\x0c\x8d", 3);
    emit_u32(&l->e, (u32)(u64)mt_cache.ret);
    s[n++] = (PcStep){7, PC_SWAPPED};
    emit_bytes(&l->e, "\x48\x89\x0c\x24", 4);
    s[n++] = (PcStep){4, PC_RET}; /* the word need not be writable */
    emit_u8(&l->e, 0xc3);
    s[n++] = (PcStep){1, PC_RET};
    pcmap_steps(&l->map, in->len, s, n, 0);
}

/* The near return without it. */
static void lower_ret(Lower *l, const Insn *in)
{
    PcStep s[8];
    u32 n = 0;

    emit_fs_store(&l->e, MT_RCX, SLOT(0));
    s[n++] = (PcStep){9, PC_SAME};
    if (in->ret_pop == 0) {
        emit_u8(&l->e, 0x59); /* pop %rcx */
        s[n++] = (PcStep){1, PC_SAME};
    } else {
        emit_bytes(&l->e, "\x48\x8b\x0c\x24", 4); /* mov (%rsp), %rcx */
        s[n++] = (PcStep){4, PC_SAME};
        emit_bytes(&l->e, "\x48\x8d\xa4\x24", 4); /* lea 8+pop(%rsp), %rsp */
        emit_u32(&l->e, 8u + in->ret_pop);
        s[n++] = (PcStep){8, PC_SPILL_RCX};
    }
    n += emit_ib_jump(l, s + n);
    pcmap_steps(&l->map, in->len, s, n, 0);
}

/* mov r/m, %rcx, from the bytes of jmp/call r/m. Returns the number of steps. */
static u32 emit_load_target(Lower *l, const Insn *in, PcStep *steps)
{
    u8 b[20];
    u32 n = 0, at = in->modrm_off;
    u8 rex = in->rex_off != 0xff ? in->bytes[in->rex_off] & 3 : 0;
    u32 tail = (u32)in->len - at - 1;
    i64 disp;

    if (in->flags & INSN_F_SEG_FS) {
        b[n++] = 0x65;
    }
    if (in->flags & INSN_F_ADDR32) {
        b[n++] = 0x67;
    }
    b[n++] = (u8)(0x48 | rex);
    b[n++] = 0x8b;
    b[n++] = (u8)((in->bytes[at] & 0xc7) | MT_RCX << 3);
    memcpy(b + n, in->bytes + at + 1, tail);
    disp = (i64)(in->mem_addr - (l->e.x + n + 4));
    if (!(in->flags & INSN_F_RIPREL)) {
        n += tail;
    } else if (fits32(disp) && !(in->flags & INSN_F_ADDR32)) {
        i32 d = (i32)disp;

        memcpy(b + n, &d, 4);
        n += 4;
    } else {
        /* mov $addr, %rcx; mov (%rcx), %rcx */
        emit_mov_imm64(&l->e, MT_RCX, in->mem_addr);
        b[n - 3] = 0x48;
        b[n - 1] = 0x09;
        emit_bytes(&l->e, b, n);
        steps[0] = (PcStep){10, PC_SPILL_RCX};
        steps[1] = (PcStep){(u8)n, PC_SPILL_RCX};
        return 2;
    }
    emit_bytes(&l->e, b, n);
    steps[0] = (PcStep){(u8)n, PC_SPILL_RCX};
    return 1;
}

static void lower_indirect(Lower *l, const Insn *in)
{
    PcStep s[16];
    u32 n = 0;

    emit_fs_store(&l->e, MT_RCX, SLOT(0));
    s[n++] = (PcStep){9, PC_SAME};
    n += emit_load_target(l, in, s + n);
    if (in->cls == INSN_CALL_IND && over_return_stack(l)) {
        emit_indirect_call(l, in, s, n);
        return;
    }
    if (in->cls == INSN_CALL_IND) {
        u32 k = emit_push_address(l, in->pc + in->len);

        s[n++] = (PcStep){(u8)k, PC_SPILL_RCX};
    }
    n += emit_ib_jump(l, s + n);
    pcmap_steps(&l->map, in->len, s, n, 0);
}

bool lower_goes_on(const Lower *l, const Insn *in)
{
    return (in->cls == INSN_CALL || in->cls == INSN_CALL_IND) && over_return_stack(l);
}

static void lower_call(Lower *l, const Insn *in)
{
    if (!over_return_stack(l)) {
        lower_plain_call(l, in);
    } else {
        lower_direct_call(l, in);
    }
}

/* movq $ret, (%rsp)
 * or mov %rcx, slot[1]; mov $ret, %rcx; mov %rcx, (%rsp); mov slot[1], %rcx
 * LIVE: the return point's address at (%rsp), the target in rcx */
static u32 emit_fix(Lower *l, GuestAddr ret, PcStep *s)
{
    if (low_address(ret)) {
        emit_bytes(&l->e, "\x48\xc7\x04\x24", 4);
        emit_u32(&l->e, (u32)ret);
        s[0] = (PcStep){8, PC_CALL_FIX};
        return 1;
    }
    emit_fs_store(&l->e, MT_RCX, SLOT(1));
    s[0] = (PcStep){9, PC_CALL_FIX};
    emit_mov_imm64(&l->e, MT_RCX, ret);
    s[1] = (PcStep){10, PC_CALL_FIX};
    emit_bytes(&l->e, "\x48\x89\x0c\x24", 4);
    s[2] = (PcStep){4, PC_CALL_FIX_SLOT};
    emit_fs_load(&l->e, MT_RCX, SLOT(1));
    s[3] = (PcStep){9, PC_TGT_SLOT};
    return 4;
}

/* Where the host call of emit_indirect_call() leads: puts the return address right and goes on to the
 * target. */
static void emit_call_fix(Lower *l, const LowerFix *f)
{
    i32 rel = (i32)(here(l) - (f->rel + 4));
    PcStep s[8];
    u32 n;

    memcpy(cache_write_ptr(f->rel), &rel, 4);
    pcmap_again(&l->map, f->ret);
    n = emit_fix(l, f->ret, s);
    n += emit_ib_jump(l, s + n);
    pcmap_steps(&l->map, 0, s, n, 0);
}

static void emit_fixes(Lower *l)
{
    l->exit_key = 0; /* fixes are made for calls with no other */
    for (u32 i = 0; i < l->nfixes; i++) {
        emit_call_fix(l, &l->fixes[i]);
    }
}

/* An instruction of 3 bytes and a displacement whose operand is a field of mt_cpu; `more` bytes follow. By rip,
 * which is one byte shorter than an absolute displacement; the segment's base is added all the same. */
static void emit_fs_by_rip(Emit *e, const char *op, u32 field, u32 more)
{
    emit_bytes(e, op, 3);
    emit_u32(e, field - (u32)(e->x + 4 + more));
}

/* The stubs of n links: notb exit_steps + n-1; ...; notb exit_steps + 1; movl $block, exit_arg; jmp glue. Each
 * link enters at its own, the first one at the movl: the highest step that is not 0 tells which it was. Flags and
 * registers stay the guest's. */
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

void lower_finish(Lower *l)
{
    const u32 n = lower_stub_bytes(l->nlinks);
    CacheOff stub;

    emit_fixes(l);
    l->end = here(l);
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

/* Guest address below 2 GiB, where loop is cheap (a branch that is not taken costs nothing):
 *     1: jmp miss; .quad pc; entry: mov slot[1], %rcx; lea 1-pc(%rcx), %rcx; loop 1b;
 *     mov slot[0], %rcx
 * elsewhere:
 *     .quad pc; entry: mov slot[1], %rcx; lea -pc(%rcx), %rcx; jrcxz 1f; jmp miss; 1:
 *     mov slot[0], %rcx
 * Otherwise %rdx, spilled to slot[2], holds -pc.
 * LIVE: rcx in slot[0], target in slot[1]; all else the guest's. */
CacheOff lower_ind_entry(Emit *e, GuestAddr pc, u64 body)
{
    const u32 one = mt_cache.fast_loop ? 1 : 0;
    u64 miss = e->x;
    CacheOff entry;

    if (mt_cache.fast_loop) {
        emit_jmp(e, mt_cache.glue_ib_miss);
    }
    while ((e->x & 7) != 0) { /* the guest may have alignment checked */
        emit_u8(e, 0xcc);
    }
    emit_u64(e, pc);
    entry = (CacheOff)(e->x - mt_cache.exec);
    emit_fs_load(e, MT_RCX, SLOT(1));
    if (low_address(pc)) {
        emit_bytes(e, "\x48\x8d\x89", 3);
        emit_u32(e, one - (u32)pc);
    } else {
        emit_fs_store(e, MT_RDX, SLOT(2));
        emit_mov_imm64(e, MT_RDX, one - pc);
        emit_bytes(e, "\x48\x8d\x0c\x11", 4); /* lea (%rcx,%rdx), %rcx */
        emit_fs_load(e, MT_RDX, SLOT(2));
    }
    if (mt_cache.fast_loop) {
        emit_u8(e, 0xe2);
        emit_u8(e, (u8)(miss - (e->x + 1)));
    } else {
        emit_bytes(e, "\xe3\x05", 2);
        emit_jmp(e, mt_cache.glue_ib_miss);
    }
    emit_fs_load(e, MT_RCX, SLOT(0));
    if (body != 0) {
        emit_jmp(e, body);
    }
    return entry;
}

/* --- blocks ----------------------------------------------------------------------------------- */

void lower_begin(Lower *l, GuestAddr pc, LowerEntry entry, bool quantum)
{
    l->pc = pc;
    l->start = l->space.hot;
    l->e.w = cache_write_ptr(l->start);
    l->e.x = cache_exec_addr(l->start);
    l->nedges = l->nlinks = l->nfixes = 0;
    l->map.len = 0;
    l->full = false;
    l->gs_is_tools = l->return_stack = false;
    l->key = l->exit_key = 0;
    l->ind = l->call = 0;
    if (entry == ENTRY_IND) {
        l->ind = lower_ind_entry(&l->e, pc, 0);
    } else if (entry == ENTRY_CALL) {
        l->call = lower_call_entry(&l->e, 0);
    }
    l->host = here(l);
    l->quantum = quantum;
    if (quantum) {
        emit_quantum(l, pc, l->key);
    }
}

void lower_version(Lower *l, u32 key)
{
    l->key = l->exit_key = key;
    for (u32 i = 0; i < l->nedges; i++) { /* the quantum's */
        l->edges[i].key = key;
    }
}

void lower_insn(Lower *l, const Insn *in)
{
    switch (in->cls) {
    case INSN_JCC: emit_link_jcc(l, in->len, in->cc, in->target); break;
    case INSN_JRCXZ: lower_jrcxz(l, in); break;
    case INSN_INVALID: lower_invalid(l, in); break;
    case INSN_CALL: lower_call(l, in); break;
    case INSN_CALL_IND: lower_indirect(l, in); break;
    default: lower_plain(l, in);
    }
}

void lower_follow(Lower *l, const Insn *in, GuestAddr to)
{
    pcmap_goto(&l->map, in->pc, to);
}

void lower_end_exit(Lower *l, const Insn *in, EdgeKind kind, GuestAddr target)
{
    u64 glue = kind == EDGE_SYSCALL                 ? mt_cache.glue_syscall
               : kind == EDGE_GS || kind == EDGE_FS ? mt_cache.glue_gs
                                                    : mt_cache.glue_emulate;
    LowerEdge *d = add_edge(l, kind, target);

    d->stub = here(l);
    emit_exit(&l->e, glue);
    pcmap_steps(&l->map, in->len, (PcStep[]){{12, PC_SAME}, {5, PC_SAME}}, 2, 0);
}

void lower_exit_at(Lower *l, CacheOff at, EdgeKind kind, GuestAddr target)
{
    Emit c = {cache_write_ptr(at), cache_exec_addr(at)};

    add_edge(l, kind, target)->stub = at;
    emit_exit(&c, mt_cache.glue_emulate);
}

void lower_end_insn(Lower *l, const Insn *in)
{
    switch (in->cls) {
    case INSN_JMP: emit_link_jmp(l, in->len, in->target); break;
    case INSN_CALL: lower_call(l, in); break;
    case INSN_RET:
        if (over_return_stack(l) && in->ret_pop == 0) {
            lower_stack_ret(l, in);
        } else {
            lower_ret(l, in);
        }
        break;
    case INSN_JMP_IND:
    case INSN_CALL_IND: lower_indirect(l, in); break;
    case INSN_SYSCALL: lower_end_exit(l, in, EDGE_SYSCALL, in->pc + in->len); break;
    default: lower_end_exit(l, in, EDGE_EMULATE, in->pc);
    }
    if (lower_goes_on(l, in)) {
        lower_end_at(l, in->pc + in->len);
    }
}

void lower_end_at(Lower *l, GuestAddr pc)
{
    emit_link_jmp(l, 0, pc);
}

/* Loads 4 (or 1) guest bytes into ecx, subtracts what is expected, leaves if the rest is not 0:
 *     [mov $addr, %rcx;] mov addr, %ecx; lea -bytes(%rcx), %ecx; jrcxz 1f; jmp stale; 1: */
static u32 emit_check_word(Lower *l, GuestAddr addr, u32 want, bool word, u64 stale, PcStep *steps)
{
    const u8 sp = (u8)(PC_SPILL | MT_RCX << 4);
    u32 n = 0;
    u64 begin;

    if (!low_address(addr)) {
        emit_mov_imm64(&l->e, MT_RCX, addr);
        steps[n++] = (PcStep){10, sp};
    }
    begin = l->e.x;
    if (!word) {
        emit_u8(&l->e, 0x0f);
    }
    emit_u8(&l->e, word ? 0x8b : 0xb6);
    if (low_address(addr)) {
        emit_u8(&l->e, 0x0c);
        emit_u8(&l->e, 0x25);
        emit_u32(&l->e, (u32)addr);
    } else {
        emit_u8(&l->e, 0x09);
    }
    steps[n++] = (PcStep){(u8)(l->e.x - begin), sp};
    emit_bytes(&l->e, "\x8d\x89", 2);
    emit_u32(&l->e, 0u - want);
    steps[n++] = (PcStep){6, sp};
    emit_bytes(&l->e, "\xe3\x05", 2);
    steps[n++] = (PcStep){2, sp};
    emit_jmp(&l->e, stale);
    steps[n++] = (PcStep){5, sp};
    return n;
}

void lower_check_bytes(Lower *l, const u8 *bytes, u32 n)
{
    const u8 sp = (u8)(PC_SPILL | MT_RCX << 4);
    PcStep steps[5 * MT_CHECKED_BYTES / 4 + 24];
    LowerEdge *d = add_edge(l, EDGE_STALE, l->pc);
    u32 k = 0, i = 0, want;
    CacheOff at = cache_take_cold(&l->space, 9 + MT_STUB_BYTES);
    u64 stale = cache_exec_addr(at);
    Emit c = {cache_write_ptr(at), stale};

    MT_ASSERT(at != 0 && n <= MT_CHECKED_BYTES);
    emit_fs_load(&c, MT_RCX, SLOT(3));
    d->stub = at + 9;
    emit_exit(&c, mt_cache.glue_emulate);
    emit_fs_store(&l->e, MT_RCX, SLOT(3));
    steps[k++] = (PcStep){9, PC_SAME};
    for (; i + 4 <= n; i += 4) {
        memcpy(&want, bytes + i, 4);
        k += emit_check_word(l, l->pc + i, want, true, stale, steps + k);
    }
    for (; i < n; i++) {
        k += emit_check_word(l, l->pc + i, bytes[i], false, stale, steps + k);
    }
    emit_fs_load(&l->e, MT_RCX, SLOT(3));
    steps[k++] = (PcStep){9, sp};
    pcmap_steps(&l->map, 0, steps, k, 0);
}
