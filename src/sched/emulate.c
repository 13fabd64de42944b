/* SPDX-License-Identifier: BSD-2-Clause
 * emulate.c -- instructions done in C.
 * Role:    the guest's FS and GS bases are ours to keep (D1), so whatever loads them comes here;
 *          far branches and iretq, because their target must be translated; xbegin, because a
 *          transaction can't span translated code: it aborts at once, which the ISA allows always.
 * Sources: AMD64 Architecture Programmer's Manual vol. 3. */
#include "sched/emulate.h"

#include "base/hostcpu.h"
#include "base/log.h"
#include "base/safe.h"
#include "guest/aspace.h"
#include "jit/insn.h"
#include "jit/smc.h"
#include "sys/signal.h"
#include "sys/sys.h"

#include <signal.h>

#define TRAP_GP 13
#define TRAP_UD 6
#define TRAP_SS 12
#define TRAP_PF 14
#define TRAP_AC 17
#define EFLAGS_AC 0x40000u
#define PF_PRESENT 1u /* also what the kernel says of all that is not the user's */
#define PF_WRITE 2u
#define PF_USER 4u
#define CS_USER64 0x33
#define DS_USER 0x2b
#define USER_END 0x7ffffffff000ull

static void raise_gp(Thread *t)
{
    signal_raise_sync(t, SIGSEGV, SI_KERNEL, 0, TRAP_GP, 0);
}

/* A selector that can't be loaded. */
static void raise_gp_selector(Thread *t, u64 sel)
{
    signal_raise_sync(t, SIGSEGV, SI_KERNEL, 0, TRAP_GP, sel & 0xfffc);
}

/* Parts of `unit` bytes, a power of two, each must be aligned if the guest has set AC. */
static bool is_aligned(GuestAddr a, u32 unit)
{
    return (mt_cpu.rflags & EFLAGS_AC) == 0 || (a & (unit - 1)) == 0;
}

/* n bytes at a can't be accessed. stack: the address is one of the stack segment's. */
static void raise_access(Thread *t, GuestAddr a, u32 n, u32 unit, bool write, bool stack)
{
    GuestAddr second = (a + n - 1) & ~(GuestAddr)(MT_PAGE_SIZE - 1);
    AspaceInfo info;
    u8 byte;

    if (!cpu_is_canonical(a) || !cpu_is_canonical(a + n - 1)) {
        signal_raise_sync(t, stack ? SIGBUS : SIGSEGV, SI_KERNEL, 0, stack ? TRAP_SS : TRAP_GP, 0);
        return;
    }
    if (!is_aligned(a, unit)) {
        signal_raise_sync(t, SIGBUS, BUS_ADRALN, 0, TRAP_AC, 0);
        return;
    }
    if (second > a && safe_read(&byte, a, 1) == 0 && (!write || smc_safe_write(a, &byte, 1) == 0)) {
        a = second;
    }
    signal_raise_sync(
        t, SIGSEGV, aspace_query(a, &info) ? SEGV_ACCERR : SEGV_MAPERR, a, TRAP_PF,
        PF_USER | (write ? PF_WRITE : 0) |
            (a >= USER_END || (write && safe_read(&byte, a, 1) == 0) ? PF_PRESENT : 0));
}

static void raise_ud(Thread *t)
{
    signal_raise_sync(t, SIGILL, ILL_ILLOPN, mt_cpu.rip, TRAP_UD, 0);
}

/* The address of a memory operand. */
static GuestAddr operand_address(const Insn *in, const MemOp *m)
{
    u64 a = (u64)m->disp;

    if (m->base < MT_NGPR) {
        a += mt_cpu.gpr[m->base];
    }
    if (m->index < MT_NGPR) {
        a += mt_cpu.gpr[m->index] * m->scale;
    }
    if (in->flags & INSN_F_ADDR32) {
        a = (u32)a;
    }
    return a + (m->seg == 1 ? mt_cpu.fs_base : m->seg == 2 ? mt_cpu.gs_base : 0);
}

static bool read_operand(Thread *t, const Insn *in, const MemOp *m, void *out, u32 n, u32 unit)
{
    GuestAddr a = operand_address(in, m);

    if (is_aligned(a, unit) && safe_read(out, a, n) == 0) {
        return true;
    }
    raise_access(t, a, n, unit, false, m->seg == 0 && (m->base == MT_RSP || m->base == MT_RBP));
    return false;
}

/* The r/m operand, if it is a register: its number; -1: memory. */
static int rm_register(const Insn *in)
{
    u8 modrm = in->bytes[in->modrm_off];
    int rex_b = in->rex_off != 0xff ? (in->bytes[in->rex_off] & 1) << 3 : 0;

    return modrm >> 6 == 3 ? (modrm & 7) | rex_b : -1;
}

/* Of a memory operand, which may come with a stack operand. NULL: none. */
static const MemOp *rm_memory(const Insn *in, MemOp ops[MT_MAX_MEMOPS])
{
    int n = decode_memops(in, ops);

    for (int i = 0; i < n; i++) {
        if (ops[i].read && ops[i].base != MT_RSP) {
            return &ops[i];
        }
    }
    return n > 0 ? &ops[0] : NULL;
}

/* Reads n bytes of the r/m operand. False: the fault is pending. */
static bool read_rm(Thread *t, const Insn *in, u64 *out, u32 n)
{
    int reg = rm_register(in);
    MemOp ops[MT_MAX_MEMOPS];
    const MemOp *m;

    *out = 0;
    if (reg >= 0) {
        *out = mt_cpu.gpr[reg];
        if (n < 8) {
            *out &= (1ull << (8 * n)) - 1;
        }
        return true;
    }
    m = rm_memory(in, ops);
    if (m == NULL) {
        raise_ud(t);
        return false;
    }
    return read_operand(t, in, m, out, n, n);
}

static bool pop_bytes(Thread *t, u64 *rsp, u64 *out, u32 n)
{
    *out = 0;
    if (!is_aligned(*rsp, n) || safe_read(out, *rsp, n) != 0) {
        raise_access(t, *rsp, n, n, false, true);
        return false;
    }
    *rsp += n;
    return true;
}

/* n bytes, in parts of `unit`. */
static bool push_bytes(Thread *t, const void *bytes, u32 n, u32 unit)
{
    GuestAddr rsp = mt_cpu.gpr[MT_RSP] - n;

    if (!is_aligned(rsp, unit) || smc_safe_write(rsp, bytes, n) != 0) {
        raise_access(t, rsp, n, unit, true, true);
        return false;
    }
    mt_cpu.gpr[MT_RSP] = rsp;
    return true;
}

static u32 operand_size(const Insn *in, u32 normal)
{
    bool rex_w = in->rex_off != 0xff && (in->bytes[in->rex_off] & 8) != 0;
    bool p66 = false;

    for (u32 i = 0; i < in->opcode_off; i++) {
        p66 |= in->bytes[i] == 0x66;
    }
    return rex_w ? 8 : p66 ? 2 : normal;
}

/* Of the offset in a far pointer in memory: AMD's know none of 64 bits. */
static u32 far_offset_size(const Insn *in)
{
    u32 n = operand_size(in, 4);

    return n == 8 && hostcpu_is_amd() ? 4 : n;
}

/* rd/wrfsbase, rd/wrgsbase: F3 0F AE /0../3 */
static void emulate_base(Thread *t, const Insn *in)
{
    u8 modrm = in->bytes[in->modrm_off];
    u32 reg = (modrm & 7) | (in->rex_off != 0xff ? (in->bytes[in->rex_off] & 1) << 3 : 0);
    bool wide = operand_size(in, 4) == 8;
    u32 op = modrm >> 3 & 7;
    u64 v = wide ? mt_cpu.gpr[reg] : (u32)mt_cpu.gpr[reg];

    if (op < 2) {
        v = op == 0 ? mt_cpu.fs_base : mt_cpu.gs_base;
        mt_cpu.gpr[reg] = wide ? v : (u32)v;
    } else if (op == 2) {
        if (cpu_set_fs_base(v) != 0) {
            raise_gp(t);
            return;
        }
    } else if (!cpu_is_canonical(v)) {
        raise_gp(t);
        return;
    } else {
        mt_cpu.gs_base = v;
    }
    mt_cpu.rip += in->len;
}

/* Of the kernel's descriptor table: the user's code and data segments, and the one that holds the
 * processor's number as its limit. In 64-bit code they are all alike. */
static bool is_loadable(u32 sreg, u16 sel)
{
    if (sreg == 2) {
        return sel == DS_USER;
    }
    return sel < 4 ||
           ((sel & 4) == 0 && (sel >> 3 == 4 || sel >> 3 == 5 || sel >> 3 == 6 || sel >> 3 == 15));
}

/* Loads a selector. True: done. */
static bool load_selector(Thread *t, u32 sreg, u16 sel)
{
    if (sreg == 1 || sreg > 5 || !is_loadable(sreg, sel)) {
        if (sreg == 1 || sreg > 5) {
            raise_ud(t);
        } else {
            raise_gp_selector(t, sel);
        }
        return false;
    }
    if (sreg == 4) {
        cpu_set_fs_base(0);
    } else if (sreg == 5) {
        mt_cpu.gs_base = 0;
    }
    return true;
}

/* 8E /r */
static void emulate_mov_sreg(Thread *t, const Insn *in)
{
    u64 v;

    if (read_rm(t, in, &v, 2) && load_selector(t, in->bytes[in->modrm_off] >> 3 & 7, (u16)v)) {
        mt_cpu.rip += in->len;
    }
}

/* 0F A1, 0F A9 */
static void emulate_pop_sreg(Thread *t, const Insn *in, u32 sreg)
{
    u64 rsp = mt_cpu.gpr[MT_RSP], v;

    if (pop_bytes(t, &rsp, &v, operand_size(in, 8)) && load_selector(t, sreg, (u16)v)) {
        mt_cpu.gpr[MT_RSP] = rsp;
        mt_cpu.rip += in->len;
    }
}

static bool is_code_selector(Thread *t, u64 cs)
{
    if ((u16)cs != CS_USER64) {
        raise_gp_selector(t, cs);
        return false;
    }
    return true;
}

/* A branch to an address that is not canonical faults itself, before anything else of it is
 * done. */
static bool is_target(Thread *t, GuestAddr ip)
{
    if (!cpu_is_canonical(ip)) {
        raise_gp(t);
        return false;
    }
    return true;
}

static u32 ret_imm(const Insn *in)
{
    u16 n = 0;

    if (in->imm_size == 2) {
        __builtin_memcpy(&n, in->bytes + in->imm_off, 2);
    }
    return n;
}

/* CB, CA iw */
static void emulate_lret(Thread *t, const Insn *in)
{
    u64 rsp = mt_cpu.gpr[MT_RSP], ip, cs;
    u32 n = operand_size(in, 4);

    if (pop_bytes(t, &rsp, &ip, n) && pop_bytes(t, &rsp, &cs, n) && is_code_selector(t, cs) &&
        is_target(t, ip)) {
        mt_cpu.gpr[MT_RSP] = rsp + ret_imm(in);
        mt_cpu.rip = ip;
    }
}

/* With an operand in the guest's GS; or in its FS, where the host's GS base is the tool's. */
static bool has_segment(const Insn *in)
{
    return (in->flags & (mt_tool_gs ? INSN_F_SEG_GS | INSN_F_SEG_FS : INSN_F_SEG_GS)) != 0;
}

/* A 66 prefix without REX.W: the decoder lets only AMD's come here as INSN_EMULATE, but for
 * operands with a segment. */
static u32 near_bytes(const Insn *in)
{
    return in->cls != INSN_EMULATE || has_segment(in) ? 8 : operand_size(in, 8);
}

/* C3, C2 iw; with a 66 prefix, on AMD: a 16-bit instruction pointer. */
static void emulate_ret(Thread *t, const Insn *in)
{
    u64 rsp = mt_cpu.gpr[MT_RSP], ip;

    if (pop_bytes(t, &rsp, &ip, near_bytes(in)) && is_target(t, ip)) {
        mt_cpu.gpr[MT_RSP] = rsp + ret_imm(in);
        mt_cpu.rip = ip;
    }
}

/* E8 cw, likewise. */
static void emulate_call16(Thread *t, const Insn *in)
{
    u16 ret = (u16)(mt_cpu.rip + in->len);

    if (push_bytes(t, &ret, 2, 2)) {
        mt_cpu.rip = in->target;
    }
}

/* E0..E3: loopne, loope, loop, jrcxz, likewise if taken. */
static void emulate_loop16(const Insn *in)
{
    const u64 zf = 0x40;
    u32 op = in->bytes[in->opcode_off] & 3;
    u64 mask = (in->flags & INSN_F_ADDR32) ? 0xffffffffu : ~0ull;
    u64 count = (mt_cpu.gpr[MT_RCX] - (op != 3)) & mask;
    bool taken = op == 3 ? count == 0 : count != 0;

    if (op != 3) {
        mt_cpu.gpr[MT_RCX] = count;
    }
    if (op < 2) {
        taken = taken && ((mt_cpu.rflags & zf) != 0) == (op == 1);
    }
    mt_cpu.rip = taken ? in->target : mt_cpu.rip + in->len;
}

/* CF */
static void emulate_iret(Thread *t, const Insn *in)
{
    const u64 user_flags = 0x254dd5; /* CF PF AF ZF SF TF DF OF NT AC ID */
    u64 rsp = mt_cpu.gpr[MT_RSP], ip, cs, fl, sp, ss;
    u32 n = operand_size(in, 4);

    if (pop_bytes(t, &rsp, &ip, n) && pop_bytes(t, &rsp, &cs, n) && pop_bytes(t, &rsp, &fl, n) &&
        pop_bytes(t, &rsp, &sp, n) && pop_bytes(t, &rsp, &ss, n) && is_code_selector(t, cs) &&
        is_target(t, ip)) {
        if ((u16)ss != DS_USER) {
            raise_gp_selector(t, ss);
            return;
        }
        mt_cpu.gpr[MT_RSP] = sp;
        mt_cpu.rflags = (mt_cpu.rflags & ~user_flags) | (fl & user_flags);
        mt_cpu.rip = ip;
    }
}

/* FF /3, FF /5: m16:16, m16:32, m16:64 */
static void emulate_far_indirect(Thread *t, const Insn *in, bool call)
{
    MemOp ops[MT_MAX_MEMOPS];
    u32 n = operand_size(in, 4), in_memory = far_offset_size(in);
    u8 buf[10] = {0};
    u64 ip = 0, cs = 0;

    if (decode_memops(in, ops) == 0) {
        raise_ud(t);
        return;
    }
    if (!read_operand(t, in, &ops[0], buf, in_memory + 2, in_memory)) {
        return;
    }
    __builtin_memcpy(&ip, buf, in_memory);
    __builtin_memcpy(&cs, buf + in_memory, 2);
    if (!is_code_selector(t, cs) || !is_target(t, ip)) {
        return;
    }
    if (call) {
        u64 frame[2] = {mt_cpu.rip + in->len, CS_USER64};
        u8 out[16];

        __builtin_memcpy(out, &frame[0], n);
        __builtin_memcpy(out + n, &frame[1], n);
        if (!push_bytes(t, out, 2 * n, n)) {
            return;
        }
    }
    mt_cpu.rip = ip;
}

/* jmp/call r/m64 through guest GS, or under TF; with a 66 prefix on AMD: 16 bits */
static void emulate_near_indirect(Thread *t, const Insn *in, bool call)
{
    u64 target, ret = mt_cpu.rip + in->len;
    u32 n = near_bytes(in);

    if (read_rm(t, in, &target, n) && is_target(t, target) &&
        (!call || push_bytes(t, &ret, n, n))) {
        mt_cpu.rip = target;
    }
}

static void emulate_xbegin(const Insn *in)
{
    i32 rel = 0;

    __builtin_memcpy(&rel, in->bytes + in->imm_off, in->imm_size == 2 ? 2 : 4);
    mt_cpu.gpr[MT_RAX] = 0; /* aborted, no reason given: the program must take its fallback */
    mt_cpu.rip += in->len + (u64)(i64)(in->imm_size == 2 ? (i16)rel : rel);
}

static void emulate_group_ff(Thread *t, const Insn *in)
{
    switch (in->bytes[in->modrm_off] >> 3 & 7) {
    case 2: emulate_near_indirect(t, in, true); break;
    case 3: emulate_far_indirect(t, in, true); break;
    case 4: emulate_near_indirect(t, in, false); break;
    case 5: emulate_far_indirect(t, in, false); break;
    default: raise_ud(t);
    }
}

/* lfs, lgs, lss: a far pointer with a flat selector is of no use to anyone. */
static void emulate_load_far(Thread *t, const Insn *in)
{
    MemOp ops[MT_MAX_MEMOPS];
    u32 n = far_offset_size(in);
    u8 buf[10];
    u16 sel;

    if (decode_memops(in, ops) == 0) {
        raise_ud(t);
    } else if (read_operand(t, in, &ops[0], buf, n + 2, n)) {
        __builtin_memcpy(&sel, buf + n, 2);
        raise_gp_selector(t, sel);
    }
}

static void emulate_0f(Thread *t, const Insn *in)
{
    switch (in->bytes[in->opcode_off]) {
    case 0xae: emulate_base(t, in); break;
    case 0xa1: emulate_pop_sreg(t, in, 4); break;
    case 0xa9: emulate_pop_sreg(t, in, 5); break;
    default: emulate_load_far(t, in);
    }
}

static void emulate_decoded(Thread *t, const Insn *in)
{
    u8 op = in->bytes[in->opcode_off];

    if (in->opcode_off > 0 && in->bytes[in->opcode_off - 1] == 0x0f) {
        emulate_0f(t, in);
        return;
    }
    switch (op) {
    case 0x8e: emulate_mov_sreg(t, in); break;
    case 0xca:
    case 0xcb: emulate_lret(t, in); break;
    case 0xc2:
    case 0xc3: emulate_ret(t, in); break;
    case 0xe8: emulate_call16(t, in); break;
    case 0xe0:
    case 0xe1:
    case 0xe2:
    case 0xe3: emulate_loop16(in); break;
    case 0xcf: emulate_iret(t, in); break;
    case 0xff: emulate_group_ff(t, in); break;
    case 0xc7: emulate_xbegin(in); break;
    case 0xcd: sys_int80(t, in->len); break;
    default: raise_gp(t);
    }
}

static bool is_indirect(const Insn *in)
{
    return in->cls == INSN_JMP_IND || in->cls == INSN_CALL_IND || in->cls == INSN_RET;
}

/* Is this a near indirect call that goes to `target`? */
static bool calls(const Insn *in, u64 target)
{
    int reg;
    MemOp ops[MT_MAX_MEMOPS];
    const MemOp *m;
    u64 v;

    if (in->cls != INSN_CALL_IND) {
        return false;
    }
    reg = rm_register(in);
    if (reg >= 0) {
        return mt_cpu.gpr[reg] == target;
    }
    m = rm_memory(in, ops);
    return m != NULL && safe_read(&v, operand_address(in, m), 8) == 0 && v == target;
}

/* Where the near indirect call to `target` is that ends at `end`; 0: there is none. Of two that it
 * could be, with and without REX, the one with it: more likely than that the instruction in front
 * ends with such a byte. */
static GuestAddr call_in_front(GuestAddr end, u64 target)
{
    GuestAddr found = 0;
    u8 code[15];

    for (u32 len = 2; len <= sizeof(code) && safe_read(code, end - len, len) == 0; len++) {
        bool extends = (code[0] & 0xf0) == 0x40 && (code[0] & 3) != 0;
        Insn in;

        decode_insn(&in, end - len, code, len);
        if ((found == 0 || extends) && in.len == len && calls(&in, target)) {
            found = in.pc;
        }
    }
    return found;
}

void emulate_undo_call(void)
{
    u64 ret, rsp = mt_cpu.gpr[MT_RSP];
    GuestAddr call;

    if (cpu_is_canonical(mt_cpu.rip) || safe_read(&ret, rsp, 8) != 0) {
        return;
    }
    mt_cpu.gpr[MT_RSP] = rsp + 8;
    call = call_in_front(ret, mt_cpu.rip);
    if (call != 0) {
        mt_cpu.rip = call;
    } else {
        mt_cpu.gpr[MT_RSP] = rsp;
    }
}

bool emulate_insn(Thread *t)
{
    u8 code[16];
    Insn in;
    size_t n = safe_read_partial(code, mt_cpu.rip, 15);

    decode_insn(&in, mt_cpu.rip, code, n);
    if (in.cls == INSN_FAULT) {
        signal_raise_sync(t, SIGSEGV, SEGV_MAPERR, mt_cpu.rip + n, 14, 0x14);
        return false;
    }
    if (in.cls != INSN_EMULATE && !is_indirect(&in) && !has_segment(&in)) {
        return false; /* changed by another thread meanwhile: translated anew */
    }
    emulate_decoded(t, &in);
    if (in.cls == INSN_EMULATE && in.bytes[in.opcode_off] == 0xcd && mt_cpu.rip == in.pc) {
        return false; /* int 0x80, which is to be repeated */
    }
    return !(t->pending.full && t->pending.synchronous);
}
