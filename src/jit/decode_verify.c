/* SPDX-License-Identifier: BSD-2-Clause
 * decode_verify.c -- --verify-decode: every instruction also goes through capstone.
 * Role: two decoders that share no code agree on validity, length and explicit memory operand, or
 *       the difference is reported. What capstone 4.0.2 is known to have wrong is left out; its
 *       tables of accesses, registers and flags are wrong too often to be looked at.
 *       The fast path of decode.c is compared with the slow one on the way. */
#include "jit/decode_capstone.h"
#include "jit/decode_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* VEX: k-register operations, vbroadcasti128, and extensions younger than capstone 4. */
static bool bad_vex(const Insn *in)
{
    u8 op = in->bytes[in->opcode_off];
    bool two_byte = in->opcode_off >= 2 && in->bytes[in->opcode_off - 2] == 0xc5;
    unsigned map = two_byte ? 1 : in->bytes[in->opcode_off - 2] & 31;

    switch (map) {
    case 1:
        return (op >= 0x41 && op <= 0x4b) || (op >= 0x90 && op <= 0x93) || op == 0x98 || op == 0x99;
    case 2:
        return op == 0x49 || op == 0x4b || (op >= 0x50 && op <= 0x53) || op == 0x5a || op == 0x5c ||
               op == 0x5e || op == 0x6c || op == 0x72 || op == 0xb0 || op == 0xb1 || op == 0xb4 ||
               op == 0xb5 || op == 0xcf || (op >= 0xd2 && op <= 0xdf);
    case 3: return (op >= 0x30 && op <= 0x33) || op == 0x44 || op == 0xce || op == 0xcf;
    default: return true;
    }
}

static bool bad_0f(u8 op, const Prefixes *p)
{
    switch (op) {
    case 0x00: /* groups with young members, reserved nops, prefetch */
    case 0x01:
    case 0x0d:
    case 0x18 ... 0x1f:
    case 0xae:
    case 0xb9: /* ud1, ud0: no ModRM */
    case 0xff:
    case 0xc7:
    case 0x20 ... 0x27: /* mod, REX.R */
    case 0x0f:
    case 0xa6:
    case 0xa7: return true;
    case 0x7e: return p->rep && (p->rex & 8);    /* movq taken for movd */
    default: return p->addrsize && (p->rex & 8); /* sees a 66 prefix */
    }
}

static bool bad_legacy(const Insn *in, const Prefixes *p)
{
    u8 op = in->bytes[in->opcode_off];
    unsigned escape = in->opcode_off - p->count;

    if (p->opsize && p->rep) {
        return true; /* 66 before F2 or F3 is lost */
    }
    if (escape == 1) {
        return bad_0f(op, p) || (p->opsize && in->cls == INSN_JCC);
    }
    if (escape == 2) {
        return (p->addrsize && (p->rex & 8)) || op >= 0xc8 || (op >= 0x80 && op <= 0x82);
    }
    switch (op) {
    case 0x8c: /* REX.R on segment registers */
    case 0x8e: return (p->rex & 4) != 0;
    case 0xc2:
    case 0x68: return p->opsize;
    default: return p->opsize && (in->target != 0 || in->cls != INSN_PLAIN);
    }
}

bool decode_capstone_bad(const Insn *in)
{
    Prefixes p;

    if (in->flags & INSN_F_OPAQUE) {
        return true;
    }
    decode_prefixes(&p, in->bytes, sizeof(in->bytes));
    for (unsigned i = p.seg_off; i < p.count; i++) {
        u8 b = in->bytes[i];
        if (b == 0x26 || b == 0x2e || b == 0x36 || b == 0x3e) {
            return true; /* FS or GS is lost */
        }
    }
    if (in->flags & INSN_F_VEX_LIKE) {
        return in->bytes[p.count] == 0x62 || in->bytes[p.count] == 0x8f || bad_vex(in);
    }
    return bad_legacy(in, &p);
}

/* The register's name, "" for none and for the pseudo registers of an empty SIB index. */
static const char *capstone_register(unsigned reg)
{
    const char *name = reg == X86_REG_INVALID ? NULL : decode_capstone_reg_locked(reg);

    return name == NULL || reg == X86_REG_RIZ || reg == X86_REG_EIZ ? "" : name;
}

static const char *zydis_register(ZydisRegister reg)
{
    return reg == ZYDIS_REGISTER_NONE ? "" : ZydisRegisterGetString(reg);
}

static bool same_operand(const x86_op_mem *c, const ZydisDecodedOperandMem *z, bool addr32)
{
    const char *index = zydis_register(z->index);
    const char *seg = z->segment == ZYDIS_REGISTER_FS   ? "fs"
                      : z->segment == ZYDIS_REGISTER_GS ? "gs"
                                                        : "";
    const char *cseg = capstone_register(c->segment);

    if (strcmp(cseg, "fs") != 0 && strcmp(cseg, "gs") != 0) {
        cseg = "";
    }
    if (z->type == ZYDIS_MEMOP_TYPE_AGEN) {
        seg = cseg; /* lea has no segment, whatever its prefix */
    }
    return strcmp(seg, cseg) == 0 &&
           strcmp(capstone_register(c->base), zydis_register(z->base)) == 0 &&
           strcmp(capstone_register(c->index), index) == 0 &&
           (index[0] == 0 || c->scale == z->scale) &&
           (c->disp == z->disp.value || (addr32 && (u32)c->disp == (u32)z->disp.value));
}

/* The explicit memory operand, NULL if there is none. */
static const ZydisDecodedOperandMem *zydis_operand(const ZydisDecodedInstruction *z,
                                                   const ZydisDecodedOperand *ops)
{
    for (unsigned i = 0; i < z->operand_count_visible; i++) {
        if (ops[i].type == ZYDIS_OPERAND_TYPE_MEMORY &&
            ops[i].visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT) {
            return &ops[i].mem;
        }
    }
    return NULL;
}

static const x86_op_mem *capstone_operand(const cs_insn *c)
{
    for (unsigned i = 0; i < c->detail->x86.op_count; i++) {
        if (c->detail->x86.operands[i].type == X86_OP_MEM) {
            return &c->detail->x86.operands[i].mem;
        }
    }
    return NULL;
}

static bool verify_locked(const Insn *in, const ZydisDecodedInstruction *z,
                          const ZydisDecodedOperand *ops, char *buf, size_t size)
{
    const ZydisDecodedOperandMem *zmem = zydis_operand(z, ops);
    const cs_insn *c = decode_capstone_locked(in);

    if (c == NULL) {
        snprintf(buf, size, "capstone rejects it");
        return false;
    }
    if (c->size != in->len) {
        snprintf(buf, size, "length %u, capstone: %u (%s %s)", in->len, c->size, c->mnemonic,
                 c->op_str);
        return false;
    }
    if (zmem == NULL) {
        return true; /* capstone lists string operands as explicit ones */
    }
    if (capstone_operand(c) == NULL ||
        !same_operand(capstone_operand(c), zmem, in->flags & INSN_F_ADDR32)) {
        snprintf(buf, size, "memory operand differs, capstone: %s %s", c->mnemonic, c->op_str);
        return false;
    }
    return true;
}

static bool is_knc(const ZydisDecodedInstruction *z)
{
    return z->meta.isa_ext == ZYDIS_ISA_EXT_KNC || z->meta.isa_ext == ZYDIS_ISA_EXT_KNCE ||
           z->meta.isa_ext == ZYDIS_ISA_EXT_KNCV;
}

bool decode_verify(const Insn *in, char *buf, size_t size)
{
    ZydisDecodedInstruction z;
    ZydisDecodedOperand ops[ZYDIS_MAX_OPERAND_COUNT];
    Insn slow;
    bool ok = true;
    bool known;

    if (size != 0) {
        buf[0] = 0;
    }
    if (in->cls == INSN_FAULT) {
        return true; /* how much was readable is not recorded */
    }
    known = decode_full(&slow, in->pc, in->bytes, sizeof(in->bytes), &z, ops);
    if (!decode_same(in, &slow) && !(in->cls == INSN_INVALID && slow.cls == INSN_INVALID)) {
        snprintf(buf, size, "the table of shapes differs from Zydis");
        return false;
    }
    /* Capstone accepts much that is invalid, Zydis the instructions of Knights Corner. */
    if (!known || is_knc(&z) || decode_capstone_bad(in)) {
        return true;
    }
    if (decode_capstone_take() != 0) {
        ok = verify_locked(in, &z, ops, buf, size);
    }
    decode_capstone_give();
    return ok;
}
