/* SPDX-License-Identifier: BSD-2-Clause
 * lower_plain.c -- instructions that go on behind themselves are copied.
 * Role:       changes in the copy what depends on where it is (RIP-relative operands) and on FS,
 *             which is the host's. */
#include "jit/lower_int.h"

#include "jit/x87ip.h"

/* Where the payload of a VEX, EVEX or XOP prefix begins; legacy prefixes may precede it. */
static u32 vex_payload(const u8 *b)
{
    u32 i = 0;

    while (b[i] != 0xc4 && b[i] != 0xc5 && b[i] != 0x62 && b[i] != 0x8f) {
        i++;
    }
    return i + 1;
}

/* Of an unknown instruction: the registers that its fields may name. It is of a newer extension
 * than those that use registers implicitly. */
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

/* One of the first opcodes with register operands only, on which a segment prefix has no effect. */
static bool takes_prefix(const Insn *in, u32 n)
{
    u8 op = in->bytes[in->opcode_off];

    return !(in->flags & (INSN_F_VEX_LIKE | INSN_F_OPAQUE)) && in->modrm_off != 0xff &&
           in->bytes[in->modrm_off] >> 6 == 3 && in->opcode_off + 1 == in->modrm_off &&
           (op < 0x40 || (op >= 0x80 && op <= 0x8b)) &&
           (in->opcode_off == 0 || in->bytes[in->opcode_off - 1] != 0x0f) && in->len + n <= 15;
}

/* Aligns the field behind an instruction of n bytes (lower_field_behind()), by nops before it or by
 * prefixes, which cost the processor nothing. Returns the prefixes' bytes. */
static u32 align_behind(Lower *l, const Insn *in, u32 n)
{
    u32 pad = lower_field_pad(l, n + l->field_behind);

    if (l->field_behind == 0 || pad == 0) {
        return 0;
    }
    if (!takes_prefix(in, pad)) {
        lower_align_field(l, n + l->field_behind);
        return 0;
    }
    for (u32 i = 0; i < pad; i++) {
        emit_u8(&l->e, 0x3e); /* DS */
    }
    return pad;
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
    i32 d;

    if (!fits32(disp) || !fits32(disp - 3) || (in->flags & INSN_F_ADDR32)) {
        return false;
    }
    align_behind(l, in, n); /* by up to 3 bytes */
    d = (i32)(in->mem_addr - (l->e.x + n));
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

/* Of several segment prefixes the last one counts, but one that is ignored does not undo
 * another. */
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

/* mov %r, slot[3]; mov fs_base, %r; lea 0(%base,%r), %r; insn with %r for its base; mov slot[3],
 * %r */
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

/* On AMD's processors the one with REX.B is an exchange. */
static bool is_pause(const Insn *in)
{
    const u8 *op = in->bytes + in->opcode_off;

    return in->opcode_off != 0 && in->opcode_off + 1u == in->len && op[-1] == 0xf3 && op[0] == 0x90;
}

void lower_plain(Lower *l, const Insn *in)
{
    u32 what = x87ip_store_of(in);
    u8 b[16];
    u32 n, prefixes = 0;

    if (what != X87_STORES_NOT) {
        lower_x87_store(l, what);
    }
    if (l->quantum && is_pause(in)) {
        lower_quantum_pause(l);
    }
    if ((in->flags & INSN_F_SEG_FS) && l->gs_is_tools) {
        lower_fs(l, in);
        return;
    }
    if (!(in->flags & INSN_F_RIPREL)) {
        prefixes = align_behind(l, in, in->len);
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
    pcmap_plain(&l->map, in->len, prefixes + n);
}

/* ud2 at this guest address: the guest's SIGILL. */
void lower_invalid(Lower *l, const Insn *in)
{
    emit_u8(&l->e, 0x0f);
    emit_u8(&l->e, 0x0b);
    pcmap_plain(&l->map, in->len, 2);
}
