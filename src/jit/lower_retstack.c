/* SPDX-License-Identifier: BSD-2-Clause
 * lower_retstack.c -- calls and returns over the processor's return stack (docs/CHAINING.md).
 * Role:       the host's call pushes the address of a return point, which is right behind it; where
 *             the call leads to replaces that by the guest's return address. The host's return is
 *             predicted to go to the return point, which checks that it is the one that was
 *             wanted. */
#include "jit/lower_int.h"

bool lower_over_retstack(const Lower *l)
{
    return l->return_stack && l->exit_key == 0;
}

bool lower_goes_on(const Lower *l, const Insn *in)
{
    return (in->cls == INSN_CALL || in->cls == INSN_CALL_IND) && lower_over_retstack(l);
}

/* At a return point rcx is in rdi, rdi in slot[0] (not rcx in slot[0]: a chain of returns would
 * wait for that word each time; rdi is mostly overwritten before it is read), slot[1] is the
 * target, which is checked:
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

/* mov %rax, (%rsp); mov slot[3], %rax
 * LIVE: the return address in rax, the guest's rax in slot[3] */
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
        lower_quantum(l, ret, l->exit_key);
    }
}

/* What callees mostly overwrite before they read it is rax.
 * mov %rax, slot[3]; mov $ret, %rax; call stub | target's entry for calls; return point */
void lower_stack_call(Lower *l, const Insn *in)
{
    LowerEdge *d = lower_edge(l, EDGE_CALL, in->target);
    GuestAddr ret = in->pc + in->len;
    PcStep s[16];
    u32 n = 0;

    lower_align_field(l, low_address(ret) ? 15 : 20);
    emit_fs_store(&l->e, MT_RAX, SLOT(3));
    s[n++] = (PcStep){9, PC_SAME};
    s[n++] = (PcStep){(u8)emit_mov_imm(&l->e, MT_RAX, ret), PC_SAME};
    emit_u8(&l->e, 0xe8);
    lower_link_field(l, d);
    s[n++] = (PcStep){5, PC_SPILL | MT_RAX << 4};
    emit_return(l, in, s, n);
}

/* The target is in rcx: call fix; return point          s: the steps before, n of them */
void lower_stack_call_ind(Lower *l, const Insn *in, PcStep *s, u32 n)
{
    LowerFix *f = &l->fixes[l->nfixes++];
    LowerEdge *r;

    MT_ASSERT(l->nfixes <= MT_MAX_FIXES);
    *f = (LowerFix){here(l) + 1, in->pc + in->len};
    emit_u8(&l->e, 0xe8);
    emit_u32(&l->e, 0);
    s[n++] = (PcStep){5, PC_SPILL_RCX};
    r = lower_edge(l, EDGE_RETURN, f->ret);
    r->stub = here(l);
    emit_return(l, in, s, n);
}

/* The near return over the host's return stack: what is popped is the return point's address, if
 * there is one, which is where the host's call predicts it to go.
 *     mov %rdi, slot[0]; mov %rcx, %rdi; mov (%rsp), %rcx; mov %rcx, slot[1]; (index to %rcx);
 *     mov table(, %rcx, 4), %ecx; mov %rcx, (%rsp); ret */
void lower_stack_ret(Lower *l, const Insn *in)
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
    s[n++] = (PcStep){(u8)lower_ib_index(&l->e, mt_cache.ret_mask_at), PC_SWAPPED};
    emit_bytes(&l->e, "\x8b\x0c\x8d", 3);
    emit_u32(&l->e, (u32)(u64)mt_cache.ret);
    s[n++] = (PcStep){7, PC_SWAPPED};
    emit_bytes(&l->e, "\x48\x89\x0c\x24", 4);
    s[n++] = (PcStep){4, PC_RET}; /* the word need not be writable */
    emit_u8(&l->e, 0xc3);
    s[n++] = (PcStep){1, PC_RET};
    pcmap_steps(&l->map, in->len, s, n, 0);
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

/* Where the host call of lower_stack_call_ind() leads: puts the return address right and goes on to
 * the target. */
static void emit_call_fix(Lower *l, const LowerFix *f)
{
    i32 rel = (i32)(here(l) - (f->rel + 4));
    PcStep s[8];
    u32 n;

    memcpy(cache_write_ptr(f->rel), &rel, 4);
    pcmap_again(&l->map, f->ret);
    n = emit_fix(l, f->ret, s);
    n += lower_ib_jump(l, s + n);
    pcmap_steps(&l->map, 0, s, n, 0);
}

void lower_call_fixes(Lower *l)
{
    l->exit_key = 0; /* fixes are made for calls with no other */
    for (u32 i = 0; i < l->nfixes; i++) {
        emit_call_fix(l, &l->fixes[i]);
    }
}
