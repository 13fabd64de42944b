/* SPDX-License-Identifier: BSD-2-Clause
 * decode_memops.c -- which memory an instruction accesses, for tools.
 * Role:  Zydis's memory operands with the addresses, sizes and masks that the hardware uses. All
 *        addresses are in terms of the registers before the instruction.
 * Order: loads first, then stores; one that is both counts as a load. */
#include "jit/decode_int.h"

#include <string.h>

static u8 regnum(ZydisRegister r)
{
    return r == ZYDIS_REGISTER_RIP || r == ZYDIS_REGISTER_EIP ? 0xfe : decode_gpr(r);
}

static u8 vector_number(ZydisRegister r)
{
    i8 id = ZydisRegisterGetId(r);

    return id < 0 ? MT_NONE : (u8)id;
}

static bool is_string(const ZydisDecodedInstruction *z)
{
    return z->meta.category == ZYDIS_CATEGORY_STRINGOP ||
           z->meta.category == ZYDIS_CATEGORY_IOSTRINGOP;
}

static bool is_xsave(ZydisMnemonic m)
{
    switch (m) {
    case ZYDIS_MNEMONIC_XSAVE:
    case ZYDIS_MNEMONIC_XSAVE64:
    case ZYDIS_MNEMONIC_XSAVEC:
    case ZYDIS_MNEMONIC_XSAVEC64:
    case ZYDIS_MNEMONIC_XSAVEOPT:
    case ZYDIS_MNEMONIC_XSAVEOPT64:
    case ZYDIS_MNEMONIC_XSAVES:
    case ZYDIS_MNEMONIC_XSAVES64:
    case ZYDIS_MNEMONIC_XRSTOR:
    case ZYDIS_MNEMONIC_XRSTOR64:
    case ZYDIS_MNEMONIC_XRSTORS:
    case ZYDIS_MNEMONIC_XRSTORS64: return true;
    default: return false;
    }
}

/* bt, bts, btr, btc with a register as bit number. */
static bool is_bit_string(const ZydisDecodedInstruction *z)
{
    return z->encoding == ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
           z->opcode_map == ZYDIS_OPCODE_MAP_0F &&
           (z->opcode == 0xa3 || z->opcode == 0xab || z->opcode == 0xb3 || z->opcode == 0xbb);
}

/* Instructions with a mask in a vector register. */
static bool is_vector_masked(ZydisMnemonic m)
{
    switch (m) {
    case ZYDIS_MNEMONIC_VMASKMOVPS:
    case ZYDIS_MNEMONIC_VMASKMOVPD:
    case ZYDIS_MNEMONIC_VPMASKMOVD:
    case ZYDIS_MNEMONIC_VPMASKMOVQ:
    case ZYDIS_MNEMONIC_MASKMOVQ:
    case ZYDIS_MNEMONIC_MASKMOVDQU:
    case ZYDIS_MNEMONIC_VMASKMOVDQU: return true;
    default: return false;
    }
}

static bool is_compress_expand(ZydisMnemonic m)
{
    switch (m) {
    case ZYDIS_MNEMONIC_VCOMPRESSPS:
    case ZYDIS_MNEMONIC_VCOMPRESSPD:
    case ZYDIS_MNEMONIC_VPCOMPRESSB:
    case ZYDIS_MNEMONIC_VPCOMPRESSW:
    case ZYDIS_MNEMONIC_VPCOMPRESSD:
    case ZYDIS_MNEMONIC_VPCOMPRESSQ:
    case ZYDIS_MNEMONIC_VEXPANDPS:
    case ZYDIS_MNEMONIC_VEXPANDPD:
    case ZYDIS_MNEMONIC_VPEXPANDB:
    case ZYDIS_MNEMONIC_VPEXPANDW:
    case ZYDIS_MNEMONIC_VPEXPANDD:
    case ZYDIS_MNEMONIC_VPEXPANDQ: return true;
    default: return false;
    }
}

/* The classes of EVEX instructions that read their whole operand whatever the mask says. */
static bool ignores_mask(const ZydisDecodedInstruction *z)
{
    switch (z->meta.exception_class) {
    case ZYDIS_EXCEPTION_CLASS_E1NF:
    case ZYDIS_EXCEPTION_CLASS_E2NF:
    case ZYDIS_EXCEPTION_CLASS_E3NF:
    case ZYDIS_EXCEPTION_CLASS_E4NF:
    case ZYDIS_EXCEPTION_CLASS_E5NF:
    case ZYDIS_EXCEPTION_CLASS_E6NF:
    case ZYDIS_EXCEPTION_CLASS_E9NF:
    case ZYDIS_EXCEPTION_CLASS_E10NF:
    case ZYDIS_EXCEPTION_CLASS_E11NF: return true;
    default: return false;
    }
}

/* 4 or 8 bytes an index; the mnemonics come in pairs of them. */
static u8 index_size(ZydisMnemonic m)
{
    switch (m) {
    case ZYDIS_MNEMONIC_VGATHERQPS:
    case ZYDIS_MNEMONIC_VGATHERQPD:
    case ZYDIS_MNEMONIC_VPGATHERQD:
    case ZYDIS_MNEMONIC_VPGATHERQQ:
    case ZYDIS_MNEMONIC_VSCATTERQPS:
    case ZYDIS_MNEMONIC_VSCATTERQPD:
    case ZYDIS_MNEMONIC_VPSCATTERQD:
    case ZYDIS_MNEMONIC_VPSCATTERQQ: return 8;
    default: return 4;
    }
}

static u8 data_size(ZydisMnemonic m)
{
    switch (m) {
    case ZYDIS_MNEMONIC_VGATHERDPS:
    case ZYDIS_MNEMONIC_VGATHERQPS:
    case ZYDIS_MNEMONIC_VPGATHERDD:
    case ZYDIS_MNEMONIC_VPGATHERQD:
    case ZYDIS_MNEMONIC_VSCATTERDPS:
    case ZYDIS_MNEMONIC_VSCATTERQPS:
    case ZYDIS_MNEMONIC_VPSCATTERDD:
    case ZYDIS_MNEMONIC_VPSCATTERQD: return 4;
    default: return 8;
    }
}

static unsigned vector_bytes(ZydisRegister r)
{
    return ZydisRegisterGetWidth(ZYDIS_MACHINE_MODE_LONG_64, r) / 8;
}

/* A gather's or scatter's elements: as many as both the index and the data register hold. */
static void set_vsib(MemOp *m, const ZydisDecodedInstruction *z, const ZydisDecodedOperand *ops,
                     const ZydisDecodedOperand *op)
{
    unsigned data = 0;
    unsigned by_index, by_data;

    m->kind = MEM_VSIB;
    m->vsib_reg = vector_number(op->mem.index);
    m->index = MT_NONE;
    m->vsib_width = index_size(z->mnemonic);
    m->elem_size = data_size(z->mnemonic);
    for (unsigned i = 0; i < z->operand_count_visible; i++) {
        const ZydisDecodedOperand *o = &ops[i];
        if (o->type != ZYDIS_OPERAND_TYPE_REGISTER) {
            continue;
        }
        if (o->encoding == ZYDIS_OPERAND_ENCODING_MODRM_REG) {
            data = vector_bytes(o->reg.value);
        } else if (o->encoding == ZYDIS_OPERAND_ENCODING_MASK) {
            m->mask_reg = vector_number(o->reg.value);
        } else if (o->encoding == ZYDIS_OPERAND_ENCODING_NDSNDD) {
            m->mask_reg = vector_number(o->reg.value) | 0x80;
        }
    }
    by_index = vector_bytes(op->mem.index) / m->vsib_width;
    by_data = data / m->elem_size;
    m->elem_count = (u8)(by_index < by_data ? by_index : by_data);
    m->size = (u32)m->elem_size * m->elem_count;
}

static void set_vector_mask(MemOp *m, const ZydisDecodedInstruction *z,
                            const ZydisDecodedOperand *ops)
{
    bool bytes = z->mnemonic == ZYDIS_MNEMONIC_MASKMOVQ ||
                 z->mnemonic == ZYDIS_MNEMONIC_MASKMOVDQU ||
                 z->mnemonic == ZYDIS_MNEMONIC_VMASKMOVDQU;
    ZydisOperandEncoding where = bytes ? ZYDIS_OPERAND_ENCODING_MODRM_RM
                                       : ZYDIS_OPERAND_ENCODING_NDSNDD;

    m->kind = MEM_MASKED;
    m->elem_size = bytes ? 1
                   : z->mnemonic == ZYDIS_MNEMONIC_VMASKMOVPS ||
                           z->mnemonic == ZYDIS_MNEMONIC_VPMASKMOVD
                       ? 4
                       : 8;
    m->elem_count = (u8)(m->size / m->elem_size);
    for (unsigned i = 0; i < z->operand_count_visible; i++) {
        if (ops[i].type == ZYDIS_OPERAND_TYPE_REGISTER && ops[i].encoding == where) {
            m->mask_reg = vector_number(ops[i].reg.value) | 0x80;
        }
    }
}

/* An EVEX mask other than k0. A broadcast element is loaded if any lane wants it: reported as a
 * plain load. */
static void set_opmask(MemOp *m, const ZydisDecodedInstruction *z, const ZydisDecodedOperand *op)
{
    bool masked = z->avx.mask.reg > ZYDIS_REGISTER_K0 && z->avx.mask.reg <= ZYDIS_REGISTER_K7;

    if (!masked || ignores_mask(z) || z->avx.broadcast.mode != ZYDIS_BROADCAST_MODE_INVALID ||
        op->element_size < 8 || op->element_count == 0) {
        if (!masked || !is_compress_expand(z->mnemonic)) {
            return;
        }
    }
    m->kind = is_compress_expand(z->mnemonic) ? MEM_COMPRESSED : MEM_MASKED;
    m->mask_reg = vector_number(z->avx.mask.reg);
    m->elem_size = (u8)(op->element_size / 8);
    m->elem_count = (u8)op->element_count;
}

/* Operands on the stack: Zydis names [rsp], whatever the direction. */
static void fix_stack(MemOp *m, const ZydisDecodedInstruction *z, const ZydisDecodedOperand *op)
{
    bool hidden = op->visibility == ZYDIS_OPERAND_VISIBILITY_HIDDEN;

    if (hidden && m->base == MT_RSP && m->write) {
        m->disp -= m->size;
    }
    /* pop computes its destination's address after it has moved rsp. */
    if (!hidden && z->mnemonic == ZYDIS_MNEMONIC_POP && m->base == MT_RSP) {
        m->disp += op->size / 8;
    }
}

static void fill(MemOp *m, const ZydisDecodedInstruction *z, const ZydisDecodedOperand *ops,
                 const ZydisDecodedOperand *op, const Insn *in)
{
    *m = (MemOp){
        .base = regnum(op->mem.base),
        .index = decode_gpr(op->mem.index),
        .scale = op->mem.scale,
        .seg = op->mem.segment == ZYDIS_REGISTER_FS   ? 1
               : op->mem.segment == ZYDIS_REGISTER_GS ? 2
                                                      : 0,
        .read = (op->actions & ZYDIS_OPERAND_ACTION_MASK_READ) != 0,
        .write = (op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0,
        .vsib_reg = MT_NONE,
        .mask_reg = MT_NONE,
        .disp = op->mem.disp.value,
        .size = op->size / 8,
    };
    if (m->base == 0xfe) {
        m->disp = (i64)in->mem_addr;
    } else if ((in->flags & INSN_F_ADDR32) && m->base == MT_NONE && m->index == MT_NONE) {
        m->disp = (u32)m->disp;
    }
    if (op->mem.type == ZYDIS_MEMOP_TYPE_VSIB) {
        set_vsib(m, z, ops, op);
    } else if (op->mem.type == ZYDIS_MEMOP_TYPE_MIB) {
        m->size = 0; /* tables, tiles */
    } else if (is_string(z)) {
        m->kind = MEM_STRING;
        m->rep = (z->attributes &
                  (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE | ZYDIS_ATTRIB_HAS_REPNE)) != 0;
    } else if (is_xsave(z->mnemonic)) {
        m->kind = MEM_XSAVE;
        m->size = 0;
    } else if (is_vector_masked(z->mnemonic)) {
        set_vector_mask(m, z, ops);
    } else if (is_bit_string(z)) {
        m->kind = MEM_BITS;
        m->vsib_reg = (u8)(decode_gpr(ops[1].reg.value));
        m->vsib_width = (u8)m->size;
    } else if (z->mnemonic == ZYDIS_MNEMONIC_XLAT) {
        m->kind = MEM_XLAT;
        m->index = MT_RAX;
        m->scale = 1;
    } else if (z->mnemonic == ZYDIS_MNEMONIC_MOVDIR64B && m->write) {
        m->seg = 0; /* the destination's can't be overridden */
    } else {
        set_opmask(m, z, op);
    }
    fix_stack(m, z, op);
}

/* enter n, level: pushes rbp, then level - 1 frame pointers of outer frames, then its own. */
static int enter_memops(const ZydisDecodedInstruction *z, MemOp out[MT_MAX_MEMOPS])
{
    unsigned level = z->raw.imm[1].value.u & 31;
    u32 size = z->operand_width / 8;
    MemOp blank = {.index = MT_NONE, .vsib_reg = MT_NONE, .mask_reg = MT_NONE};
    int n = 0;

    if (level > 1) {
        out[n] = blank;
        out[n].base = MT_RBP;
        out[n].read = 1;
        out[n].size = size * (level - 1);
        out[n].disp = -(i64)out[n].size;
        n++;
    }
    out[n] = blank;
    out[n].base = MT_RSP;
    out[n].write = 1;
    out[n].size = size * (level + 1);
    out[n].disp = -(i64)out[n].size;
    return n + 1;
}

int decode_memops(const Insn *in, MemOp out[MT_MAX_MEMOPS])
{
    ZydisDecodedInstruction z;
    ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
    int n = 0;

    if (in->cls == INSN_INVALID || in->cls == INSN_FAULT || (in->flags & INSN_F_OPAQUE) ||
        !ZYAN_SUCCESS(
            ZydisDecoderDecodeFull(&decode_zydis, in->bytes, sizeof(in->bytes), &z, ops))) {
        return 0;
    }
    if (z.mnemonic == ZYDIS_MNEMONIC_ENTER) {
        return enter_memops(&z, out);
    }
    if (z.mnemonic == ZYDIS_MNEMONIC_CLZERO) { /* the cache line, wherever rax is in it */
        out[0] = (MemOp){.base = MT_RAX,
                         .index = MT_NONE,
                         .seg = in->flags & INSN_F_SEG_FS   ? 1
                                : in->flags & INSN_F_SEG_GS ? 2
                                                            : 0,
                         .write = 1,
                         .vsib_reg = MT_NONE,
                         .mask_reg = MT_NONE,
                         .size = 64};
        return 1;
    }
    for (int stores = 0; stores < 2; stores++) {
        for (unsigned i = 0; i < z.operand_count && n < MT_MAX_MEMOPS; i++) {
            const ZydisDecodedOperand *op = &ops[i];
            bool loads = (op->actions & ZYDIS_OPERAND_ACTION_MASK_READ) != 0;
            if (decode_accesses(&z, op) && op->actions != 0 && loads == !stores) {
                fill(&out[n++], &z, ops, op, in);
            }
        }
    }
    return n;
}
