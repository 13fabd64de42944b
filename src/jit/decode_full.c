/* SPDX-License-Identifier: BSD-2-Clause
 * decode_full.c -- one instruction from Zydis's full decoding to an Insn.
 * Role:    everything insn.h promises, from Zydis's operand lists plus the corrections in
 *          decode_fixups.def. Some 150 ns; decode.c remembers what it says about common shapes.
 * Rules:   flags_written holds what is certainly overwritten, so that its complement stays live.
 *          gprs_written includes what may be written; that which may also not be, or only in part,
 *          is in gprs_read too. */
#include "jit/decode_int.h"

#include <string.h>

ZydisDecoder decode_zydis;
bool decode_amd_branches, decode_has_rtm;

void decode_prefixes(Prefixes *p, const u8 *code, size_t avail)
{
    *p = (Prefixes){.rex_off = MT_NONE, .seg_off = MT_NONE};
    for (u8 i = 0; i < avail && i < MT_INSN_MAX; i++) {
        u8 b = code[i];

        if ((b & 0xf0) == 0x40) { /* ends the prefixes, if it is in effect at all */
            p->rex_off = i;
            p->rex = b;
            p->count = i + 1;
            continue;
        }
        switch (b) {
        case 0x66: p->opsize = true; break;
        case 0x67: p->addrsize = true; break;
        case 0xf2:
        case 0xf3: p->rep = true; break;
        case 0xf0: p->lock = true; break;
        case 0x64:
        case 0x65:
            p->seg_off = i;
            p->gs = b == 0x65;
            break;
        case 0x26:
        case 0x2e:
        case 0x36:
        case 0x3e: break;
        default: return;
        }
        p->rex_off = MT_NONE;
        p->rex = 0;
        p->count = i + 1;
    }
}

void decode_set_invalid(Insn *out)
{
    out->len = 1;
    out->cls = INSN_INVALID;
    out->gprs_used = out->gprs_read = 0xffff;
    out->flags_read = MT_FL_ALL7;
}

void decode_set_fault(Insn *out, size_t avail)
{
    decode_set_invalid(out);
    out->len = (u8)avail;
    out->cls = INSN_FAULT;
}

/* ---- classes ---- */

/* 0F map. */
static InsnClass class_of_0f(const ZydisDecodedInstruction *z, bool rep)
{
    bool reg_form = z->raw.modrm.mod == 3;

    switch (z->opcode) {
    case 0x05: return INSN_SYSCALL;
    case 0x80 ... 0x8f: return INSN_JCC;
    case 0xa1: /* pop fs */
    case 0xa9: /* pop gs */
    case 0xb2: /* lss */
    case 0xb4: /* lfs */
    case 0xb5: /* lgs */ return INSN_EMULATE;
    case 0xae: /* rdfsbase rdgsbase wrfsbase wrgsbase */
        return rep && reg_form && z->raw.modrm.reg < 4 ? INSN_EMULATE : INSN_PLAIN;
    default: return INSN_PLAIN;
    }
}

/* One-byte opcodes. */
static InsnClass class_of_default(const ZydisDecodedInstruction *z)
{
    switch (z->opcode) {
    case 0x70 ... 0x7f: return INSN_JCC;
    case 0xe0 ... 0xe3: return INSN_JRCXZ;
    case 0xe8: return INSN_CALL;
    case 0xe9:
    case 0xeb: return INSN_JMP;
    case 0xc2:
    case 0xc3: return INSN_RET;
    case 0x8e: /* mov sreg, r/m */
    case 0xca: /* far ret */
    case 0xcb:
    case 0xcf: /* iret */ return INSN_EMULATE;
    case 0xc7:
        if (z->mnemonic == ZYDIS_MNEMONIC_XBEGIN) {
            return decode_has_rtm ? INSN_EMULATE : INSN_INVALID;
        }
        return INSN_PLAIN;
    case 0xcd: return z->raw.imm[0].value.u == 0x80 ? INSN_EMULATE : INSN_PLAIN;
    case 0xff:
        switch (z->raw.modrm.reg) {
        case 2: return INSN_CALL_IND;
        case 4: return INSN_JMP_IND;
        case 3: /* far call and jmp */
        case 5: return INSN_EMULATE;
        default: return INSN_PLAIN;
        }
    default: return INSN_PLAIN;
    }
}

static bool is_branch_class(unsigned cls)
{
    return cls >= INSN_JCC && cls <= INSN_RET;
}

/* VEX opcodes of another machine (Knights Corner) that Zydis takes for jumps stay plain: they
 * fault. Sets cls, cc, target, ret_pop. */
static void set_class(Insn *out, const ZydisDecodedInstruction *z, const Prefixes *p)
{
    if (z->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY) {
        return;
    }
    if (z->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT) {
        out->cls = class_of_default(z);
    } else if (z->opcode_map == ZYDIS_OPCODE_MAP_0F) {
        out->cls = class_of_0f(z, p->rep);
    }
    if (z->raw.imm[0].is_relative) {
        out->target = out->pc + out->len + (u64)z->raw.imm[0].value.s;
    }
    if (out->cls == INSN_JCC) {
        out->cc = z->opcode & 15;
    } else if (out->cls == INSN_RET && z->opcode == 0xc2) {
        out->ret_pop = (u16)z->raw.imm[0].value.u;
    }
    /* AMD with an operand size of 16 bits: RIP is cut to 16 bits, and call and ret move two bytes
     * only. The target is below the lowest address one can map, so all that counts is that nothing
     * here breaks: direct jumps get their real target, the rest isn't copied. */
    if (decode_amd_branches && p->opsize && !(p->rex & 8) && is_branch_class(out->cls)) {
        out->target &= 0xffff;
        if (out->cls != INSN_JCC && out->cls != INSN_JMP) {
            out->cls = INSN_EMULATE;
        }
    }
}

/* ---- offsets ---- */

static void set_offsets(Insn *out, const ZydisDecodedInstruction *z, const Prefixes *p)
{
    out->rex_off = p->rex_off;
    switch (z->encoding) {
    case ZYDIS_INSTRUCTION_ENCODING_LEGACY:
        out->opcode_off = p->count;
        if (z->opcode_map == ZYDIS_OPCODE_MAP_0F) {
            out->opcode_off += 1;
        } else if (z->opcode_map != ZYDIS_OPCODE_MAP_DEFAULT) {
            out->opcode_off += 2;
        }
        break;
    case ZYDIS_INSTRUCTION_ENCODING_3DNOW: /* 0f 0f modrm [sib] [disp] opcode */
        out->opcode_off = z->length - 1;
        break;
    case ZYDIS_INSTRUCTION_ENCODING_VEX:
        out->opcode_off = z->raw.vex.offset + z->raw.vex.size;
        out->flags |= INSN_F_VEX_LIKE;
        break;
    case ZYDIS_INSTRUCTION_ENCODING_XOP:
        out->opcode_off = z->raw.xop.offset + 3;
        out->flags |= INSN_F_VEX_LIKE;
        break;
    default:
        out->opcode_off = z->raw.evex.offset + 4;
        out->flags |= INSN_F_VEX_LIKE;
        break;
    }
    if (z->attributes & ZYDIS_ATTRIB_HAS_MODRM) {
        out->modrm_off = z->raw.modrm.offset;
    }
    out->disp_size = z->raw.disp.size / 8;
    out->disp_off = out->disp_size ? z->raw.disp.offset : 0;
    out->imm_size = (z->raw.imm[0].size + z->raw.imm[1].size) / 8;
    out->imm_off = out->imm_size ? z->raw.imm[0].offset : 0;
    if (p->addrsize) {
        out->flags |= INSN_F_ADDR32;
    }
    if ((z->attributes & ZYDIS_ATTRIB_HAS_MODRM) && z->raw.modrm.mod == 0 && z->raw.modrm.rm == 5 &&
        out->disp_size == 4) {
        out->flags |= INSN_F_RIPREL;
        out->mem_addr = out->pc + out->len + (u64)z->raw.disp.value;
        if (p->addrsize) {
            out->mem_addr = (u32)out->mem_addr;
        }
    }
}

/* ---- registers, flags, memory ---- */

#define G(r) (1u << MT_##r)
#define ENCODED_REG 0x10000u
#define ENCODED_RM 0x20000u
static const Fixup fixups[] = {
    {0}, /* index 0: none */
#define FIXUP(m, map, gr, gw, fr, fk)                                                       \
    {ZYDIS_MNEMONIC_##m,     ZYDIS_OPCODE_MAP_##map, fr,       fk, ((gr)&ENCODED_REG) != 0, \
     ((gr)&ENCODED_RM) != 0, (u16)((gr)&0xffff),     (u16)(gw)},
#include "jit/decode_fixups.def"
#undef FIXUP
};

enum {
    FIX_NONE,
#define FIXUP(m, map, gr, gw, fr, fk) FIX_##m,
#include "jit/decode_fixups.def"
#undef FIXUP
};

static const u8 fixup_index[ZYDIS_MNEMONIC_MAX_VALUE + 1] = {
#define FIXUP(m, map, gr, gw, fr, fk) [ZYDIS_MNEMONIC_##m] = FIX_##m,
#include "jit/decode_fixups.def"
#undef FIXUP
};

const Fixup *decode_fixup(const ZydisDecodedInstruction *z)
{
    const Fixup *f = &fixups[fixup_index[z->mnemonic]];

    return f->mnemonic != 0 && f->map == z->opcode_map ? f : NULL;
}

static void apply_fixup(Insn *out, const ZydisDecodedInstruction *z, const Prefixes *p)
{
    const Fixup *f = decode_fixup(z);

    if (f == NULL) {
        return;
    }
    out->gprs_read |= f->gprs_read;
    out->gprs_written |= f->gprs_written;
    out->flags_read |= f->flags_read;
    out->flags_written |= f->flags_killed;
    if (f->reads_reg) {
        out->gprs_read |= (u16)(1u << (z->raw.modrm.reg | (p->rex & 4 ? 8 : 0)));
    }
    if (f->reads_rm && z->raw.modrm.mod == 3) {
        out->gprs_read |= (u16)(1u << (z->raw.modrm.rm | (p->rex & 1 ? 8 : 0)));
    }
}

static u8 flags_of(ZydisAccessedFlagsMask m)
{
    return (u8)((m & 1) | (m >> 1 & MT_FL_PF) | (m >> 2 & MT_FL_AF) | (m >> 3 & MT_FL_ZF) |
                (m >> 3 & MT_FL_SF) | (m >> 6 & MT_FL_OF) | (m >> 4 & MT_FL_DF));
}

bool decode_hidden_address(ZydisMnemonic m)
{
    return m == ZYDIS_MNEMONIC_CLZERO || m == ZYDIS_MNEMONIC_MONITOR ||
           m == ZYDIS_MNEMONIC_MONITORX || m == ZYDIS_MNEMONIC_UMONITOR;
}

static bool is_nop(const ZydisDecodedInstruction *z)
{
    return z->meta.category == ZYDIS_CATEGORY_NOP || z->meta.category == ZYDIS_CATEGORY_WIDENOP;
}

/* Their operand is a place, not data. */
static bool is_hint(const ZydisDecodedInstruction *z)
{
    switch (z->mnemonic) {
    case ZYDIS_MNEMONIC_CLFLUSH:
    case ZYDIS_MNEMONIC_CLFLUSHOPT:
    case ZYDIS_MNEMONIC_CLWB:
    case ZYDIS_MNEMONIC_CLDEMOTE:
    case ZYDIS_MNEMONIC_INVLPG:
    case ZYDIS_MNEMONIC_UD0:
    case ZYDIS_MNEMONIC_UD1:
    case ZYDIS_MNEMONIC_BNDMK:
    case ZYDIS_MNEMONIC_BNDCL:
    case ZYDIS_MNEMONIC_BNDCU:
    case ZYDIS_MNEMONIC_BNDCN:
    case ZYDIS_MNEMONIC_VGATHERPF0DPS:
    case ZYDIS_MNEMONIC_VGATHERPF0DPD:
    case ZYDIS_MNEMONIC_VGATHERPF0QPS:
    case ZYDIS_MNEMONIC_VGATHERPF0QPD:
    case ZYDIS_MNEMONIC_VGATHERPF1DPS:
    case ZYDIS_MNEMONIC_VGATHERPF1DPD:
    case ZYDIS_MNEMONIC_VGATHERPF1QPS:
    case ZYDIS_MNEMONIC_VGATHERPF1QPD:
    case ZYDIS_MNEMONIC_VSCATTERPF0DPS:
    case ZYDIS_MNEMONIC_VSCATTERPF0DPD:
    case ZYDIS_MNEMONIC_VSCATTERPF0QPS:
    case ZYDIS_MNEMONIC_VSCATTERPF0QPD:
    case ZYDIS_MNEMONIC_VSCATTERPF1DPS:
    case ZYDIS_MNEMONIC_VSCATTERPF1DPD:
    case ZYDIS_MNEMONIC_VSCATTERPF1QPS:
    case ZYDIS_MNEMONIC_VSCATTERPF1QPD: return true;
    default:
        return z->meta.category == ZYDIS_CATEGORY_PREFETCH ||
               z->meta.category == ZYDIS_CATEGORY_PREFETCHWT1;
    }
}

bool decode_is_memory(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *op)
{
    return op->type == ZYDIS_OPERAND_TYPE_MEMORY && op->mem.type != ZYDIS_MEMOP_TYPE_AGEN &&
           !is_nop(z);
}

bool decode_accesses(const ZydisDecodedInstruction *z, const ZydisDecodedOperand *op)
{
    return decode_is_memory(z, op) && !is_hint(z);
}

static void add_memory(Insn *out, const ZydisDecodedInstruction *z, const ZydisDecodedOperand *op,
                       const Prefixes *p)
{
    u8 base = decode_gpr(op->mem.base);
    u8 index = decode_gpr(op->mem.index);

    if (base != MT_NONE) {
        out->gprs_read |= (u16)(1u << base);
    }
    if (index != MT_NONE) {
        out->gprs_read |= (u16)(1u << index);
    }
    if (!decode_is_memory(z, op)) {
        return;
    }
    if (!is_hint(z)) {
        if (op->actions & ZYDIS_OPERAND_ACTION_MASK_READ) {
            out->flags |= INSN_F_READS_MEM;
        }
        if (op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) {
            out->flags |= INSN_F_WRITES_MEM;
        }
    }
    if (p->seg_off != MT_NONE &&
        (op->mem.segment == ZYDIS_REGISTER_FS || op->mem.segment == ZYDIS_REGISTER_GS)) {
        out->flags |= p->gs ? INSN_F_SEG_GS : INSN_F_SEG_FS;
        out->seg_off = p->seg_off;
    }
}

void decode_register_effect(const ZydisDecodedOperand *op, bool *reads, bool *writes)
{
    *reads = (op->actions & ZYDIS_OPERAND_ACTION_MASK_READ) != 0;
    *writes = (op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) != 0;
    if (*writes && (!(op->actions & ZYDIS_OPERAND_ACTION_WRITE) || decode_partial(op->reg.value))) {
        *reads = true; /* something of the old value may be left */
    }
}

static void add_register(Insn *out, const ZydisDecodedOperand *op)
{
    u8 r = decode_gpr(op->reg.value);
    bool reads, writes;

    if (r == MT_NONE) {
        return;
    }
    decode_register_effect(op, &reads, &writes);
    out->gprs_read |= (u16)((unsigned)reads << r);
    out->gprs_written |= (u16)((unsigned)writes << r);
}

/* A count that is zero after masking leaves the flags alone; Zydis doesn't look at it. The mask is
 * 63 for 64 bits, else 31, also for 8 bits with REX.W. */
static bool is_shift_by_zero(const ZydisDecodedInstruction *z, const Prefixes *p)
{
    u8 mask = (p->rex & 8) && z->opcode != 0xc0 ? 63 : 31;

    if (z->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY || z->raw.imm[0].value.u & mask) {
        return false;
    }
    if (z->opcode_map == ZYDIS_OPCODE_MAP_DEFAULT) {
        return z->opcode == 0xc0 || z->opcode == 0xc1;
    }
    return z->opcode_map == ZYDIS_OPCODE_MAP_0F && (z->opcode == 0xa4 || z->opcode == 0xac);
}

static void set_effects(Insn *out, const ZydisDecodedInstruction *z, const ZydisDecodedOperand *ops,
                        const Prefixes *p)
{
    bool certain = false; /* the flags register is written in any case */

    for (unsigned i = 0; i < z->operand_count; i++) {
        const ZydisDecodedOperand *op = &ops[i];

        if (op->type == ZYDIS_OPERAND_TYPE_MEMORY) {
            add_memory(out, z, op, p);
        } else if (op->type == ZYDIS_OPERAND_TYPE_REGISTER) {
            if (op->reg.value >= ZYDIS_REGISTER_FLAGS && op->reg.value <= ZYDIS_REGISTER_RFLAGS) {
                certain = (op->actions & ZYDIS_OPERAND_ACTION_WRITE) != 0;
            } else {
                add_register(out, op);
            }
        }
    }
    if (z->cpu_flags != NULL) {
        const ZydisAccessedFlags *f = z->cpu_flags;

        out->flags_read = flags_of(f->tested);
        if (certain && !is_shift_by_zero(z, p)) {
            out->flags_written = flags_of(f->modified | f->set_0 | f->set_1 | f->undefined);
        }
    }
    if (z->mnemonic == ZYDIS_MNEMONIC_CLZERO) {
        out->flags |= INSN_F_WRITES_MEM;
    }
    if (z->mnemonic == ZYDIS_MNEMONIC_ENTER && (z->raw.imm[1].value.u & 31) > 1) {
        out->flags |= INSN_F_READS_MEM; /* the outer frames' pointers */
    }
    if (p->seg_off != MT_NONE && decode_hidden_address(z->mnemonic)) {
        out->flags |= p->gs ? INSN_F_SEG_GS : INSN_F_SEG_FS;
        out->seg_off = p->seg_off;
    }
    if (z->mnemonic == ZYDIS_MNEMONIC_PAUSE && (p->rex & 1)) {
        out->gprs_read |= 1u << MT_RAX | 1u << MT_R8; /* xchg on AMD, pause on Intel */
        out->gprs_written |= 1u << MT_RAX | 1u << MT_R8;
    }
    apply_fixup(out, z, p);
    if (out->cls == INSN_SYSCALL) {
        out->flags_written = 0; /* sysret restores them */
    }
    if (out->cls == INSN_EMULATE) { /* done in C on the whole state */
        out->gprs_read = 0xffff;
        out->flags_read = MT_FL_ALL7;
        out->flags_written = 0;
    }
    out->gprs_used = out->gprs_read | out->gprs_written;
}

bool decode_full(Insn *out, GuestAddr pc, const u8 *code, size_t avail, ZydisDecodedInstruction *z,
                 ZydisDecodedOperand *ops)
{
    Prefixes p;
    ZyanStatus st;

    if (avail > MT_INSN_MAX) {
        avail = MT_INSN_MAX;
    }
    *out = (Insn){.pc = pc, .rex_off = MT_NONE, .modrm_off = MT_NONE, .seg_off = MT_NONE};
    memcpy(out->bytes, code, avail);
    st = ZydisDecoderDecodeFull(&decode_zydis, code, avail, z, ops);
    if (!ZYAN_SUCCESS(st)) {
        if (st == ZYDIS_STATUS_NO_MORE_DATA && avail < MT_INSN_MAX) {
            decode_set_fault(out, avail);
        } else if (st == ZYDIS_STATUS_INSTRUCTION_TOO_LONG || st == ZYDIS_STATUS_NO_MORE_DATA) {
            decode_set_invalid(out);
            out->cls = INSN_EMULATE; /* more than 15 bytes: #GP, which emulate.c raises */
        } else {
            decode_fallback(out, code, avail);
        }
        return false;
    }
    out->len = z->length;
    out->mnemonic = (u16)z->mnemonic;
    decode_prefixes(&p, code, avail);
    set_offsets(out, z, &p);
    set_class(out, z, &p);
    set_effects(out, z, ops, &p);
    return true;
}

void decode_slow(Insn *out, GuestAddr pc, const u8 *code, size_t avail)
{
    ZydisDecodedInstruction z;
    ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];

    decode_full(out, pc, code, avail, &z, ops);
}
