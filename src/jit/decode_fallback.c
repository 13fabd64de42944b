/* SPDX-License-Identifier: BSD-2-Clause
 * decode_fallback.c -- instructions of extensions that Zydis doesn't know.
 * Role: x86's newer encoding spaces are regular, so an instruction's length follows from its map,
 *       ModRM and a rule for the immediate. That is enough to copy it: nothing in these spaces
 *       transfers control. If the processor doesn't know it either, the copy faults as it should.
 * Rules: map 0F38, VEX/EVEX 2, 5, 6   ModRM
 *        map 0F3A, VEX/EVEX 3         ModRM, imm8
 *        VEX/EVEX 1                   ModRM (but vzeroupper's 77), imm8 for some opcodes
 *        VEX/EVEX 7                   ModRM, imm32 (user-level MSR access)
 *        EVEX 4                       ModRM, and the immediate of the one-byte opcode
 *        XOP 8, 9, 10                 ModRM, and imm8, none, imm32 */
#include "jit/decode_int.h"

typedef enum Space { SPACE_LEGACY, SPACE_VEX, SPACE_EVEX, SPACE_XOP } Space;

/* Immediate bytes, -1 if the map doesn't exist. */
static int imm_bytes(Space space, unsigned map, u8 opcode, unsigned pp)
{
    if (space == SPACE_XOP) {
        return map == 8 ? 1 : map == 9 ? 0 : map == 10 ? 4 : -1;
    }
    switch (map) {
    case 1:
        return (opcode >= 0x70 && opcode <= 0x73) || opcode == 0xc2 ||
               (opcode >= 0xc4 && opcode <= 0xc6);
    case 2: return 0;
    case 3: return 1;
    case 4:
        if (space != SPACE_EVEX) {
            return -1;
        }
        switch (opcode) {
        case 0x24: /* shld, shrd */
        case 0x2c:
        case 0x6b:
        case 0x80:
        case 0x83:
        case 0xc0:
        case 0xc1: return 1;
        case 0x69:
        case 0x81: return pp == 1 ? 2 : 4;
        default: return 0; /* f6, f7 /0 and /1 have one: see below */
        }
    case 5:
    case 6: return space == SPACE_EVEX ? 0 : -1;
    case 7: return 4;
    default: return -1;
    }
}

typedef struct Cursor {
    const u8 *code;
    size_t avail;
    unsigned pos;
    bool cut; /* a byte beyond avail was wanted */
} Cursor;

static u8 take(Cursor *c)
{
    if (c->pos >= c->avail) {
        c->cut = true;
        return 0;
    }
    return c->code[c->pos++];
}

/* ModRM, SIB, displacement; returns ModRM. */
static u8 take_modrm(Cursor *c, Insn *out)
{
    u8 modrm, mod, rm;

    out->modrm_off = (u8)c->pos;
    modrm = take(c);
    mod = modrm >> 6;
    rm = modrm & 7;
    if (mod == 3) {
        return modrm;
    }
    if (rm == 4) {
        u8 sib = take(c);
        if (mod == 0 && (sib & 7) == 5) {
            out->disp_size = 4;
        }
    } else if (mod == 0 && rm == 5) {
        out->disp_size = 4;
        out->flags |= INSN_F_RIPREL;
    }
    if (mod == 1) {
        out->disp_size = 1;
    } else if (mod == 2) {
        out->disp_size = 4;
    }
    if (out->disp_size != 0) {
        out->disp_off = (u8)c->pos;
        c->pos += out->disp_size;
    }
    return modrm;
}

/* The opcode's map; moves to the opcode. False: not of a regular space. */
static bool take_map(Cursor *c, const Prefixes *p, Space *space, unsigned *map, unsigned *pp)
{
    u8 b = take(c);
    u8 b1 = take(c);

    if (b == 0x0f) {
        *space = SPACE_LEGACY;
        *map = b1 == 0x38 ? 2 : b1 == 0x3a ? 3 : 0;
        *pp = 0;
        return c->cut || *map != 0;
    }
    if (b != 0xc5 && b != 0xc4 && b != 0x62 && b != 0x8f) {
        return false;
    }
    if (p->opsize || p->rep || p->lock || p->rex_off != MT_NONE) {
        return false; /* #UD on every processor */
    }
    if (b == 0xc5) {
        *space = SPACE_VEX;
        *map = 1;
        *pp = b1 & 3;
        return true;
    }
    *space = b == 0xc4 ? SPACE_VEX : b == 0x62 ? SPACE_EVEX : SPACE_XOP;
    *map = b1 & (b == 0x62 ? 7 : 31);
    *pp = take(c) & 3;
    if (b == 0x62) {
        take(c);
    }
    return true;
}

void decode_fallback(Insn *out, const u8 *code, size_t avail)
{
    Cursor c = {.code = code, .avail = avail};
    Prefixes p;
    Space space;
    unsigned map, pp;
    u8 opcode, modrm = 0xc0;
    int imm;

    decode_prefixes(&p, code, avail);
    c.pos = p.count;
    if (!take_map(&c, &p, &space, &map, &pp)) {
        decode_set_invalid(out);
        return;
    }
    out->opcode_off = (u8)c.pos;
    opcode = take(&c);
    imm = imm_bytes(space, map, opcode, pp);
    if (!c.cut && imm < 0) {
        decode_set_invalid(out);
        return;
    }
    if (!(map == 1 && opcode == 0x77)) {
        modrm = take_modrm(&c, out);
    }
    if (space == SPACE_EVEX && map == 4 && (modrm >> 3 & 7) < 2) {
        imm = opcode == 0xf6 ? 1 : opcode == 0xf7 ? (pp == 1 ? 2 : 4) : imm;
    }
    if (imm > 0) {
        out->imm_off = (u8)c.pos;
        out->imm_size = (u8)imm;
        c.pos += (unsigned)imm;
    }
    if (c.cut || c.pos > avail) { /* or longer than an instruction can be */
        Insn blank = {.pc = out->pc, .rex_off = MT_NONE, .modrm_off = MT_NONE, .seg_off = MT_NONE};
        __builtin_memcpy(blank.bytes, out->bytes, sizeof(blank.bytes));
        *out = blank;
        if (avail < MT_INSN_MAX) {
            decode_set_fault(out, avail);
        } else {
            decode_set_invalid(out);
        }
        return;
    }
    out->len = (u8)c.pos;
    out->cls = INSN_PLAIN;
    out->rex_off = p.rex_off;
    out->flags |= INSN_F_OPAQUE | (space == SPACE_LEGACY ? 0 : INSN_F_VEX_LIKE);
    if (p.addrsize) {
        out->flags |= INSN_F_ADDR32;
    }
    if (modrm >> 6 != 3) {
        out->flags |= INSN_F_READS_MEM | INSN_F_WRITES_MEM;
        if (p.seg_off != MT_NONE) {
            out->flags |= p.gs ? INSN_F_SEG_GS : INSN_F_SEG_FS;
            out->seg_off = p.seg_off;
        }
    }
    if (out->flags & INSN_F_RIPREL) {
        i32 disp;
        __builtin_memcpy(&disp, code + out->disp_off, sizeof(disp));
        out->mem_addr = out->pc + out->len + (u64)(i64)disp;
        if (p.addrsize) {
            out->mem_addr = (u32)out->mem_addr;
        }
    }
    out->gprs_used = out->gprs_read = out->gprs_written = 0xffff;
    out->flags_read = MT_FL_ALL7;
}
