/* SPDX-License-Identifier: BSD-2-Clause
 * lower_indirect.c -- indirect jumps, calls and returns through the table of targets (D3), and the
 * entries where they arrive.
 * Role:       also the calls that push and jump; those over the processor's return stack:
 *             lower_retstack.c. */
#include "jit/lower_int.h"

#include "base/options.h"

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
void lower_plain_call(Lower *l, const Insn *in)
{
    u32 n = emit_push_address(l, in->pc + in->len);

    pcmap_plain(&l->map, in->len, n);
    pcmap_goto(&l->map, in->pc + in->len, in->target);
    lower_link_jmp(l, 0, in->target);
}

/* The index of rcx in the first table, to rcx: movzx %cx, %ecx or pext mask, %rcx, %rcx. Its
 * length. */
u32 lower_ib_index(Emit *e, u32 mask_at)
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
u32 lower_ib_jump(Lower *l, PcStep *steps)
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
    steps[1] = (PcStep){(u8)lower_ib_index(&l->e, mt_cache.ibt_mask_at), PC_TGT_SLOT};
    emit_bytes(&l->e, "\xff\x24\xcd", 3);
    emit_u32(&l->e, (u32)mt_cache.exec);
    steps[2] = (PcStep){7, PC_TGT_SLOT};
    return 3;
}

/* The near return without it. */
void lower_ret(Lower *l, const Insn *in)
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
    n += lower_ib_jump(l, s + n);
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

void lower_indirect(Lower *l, const Insn *in)
{
    PcStep s[16];
    u32 n = 0;

    emit_fs_store(&l->e, MT_RCX, SLOT(0));
    s[n++] = (PcStep){9, PC_SAME};
    n += emit_load_target(l, in, s + n);
    if (in->cls == INSN_CALL_IND && lower_over_retstack(l)) {
        lower_stack_call_ind(l, in, s, n);
        return;
    }
    if (in->cls == INSN_CALL_IND) {
        u32 k = emit_push_address(l, in->pc + in->len);

        s[n++] = (PcStep){(u8)k, PC_SPILL_RCX};
    }
    n += lower_ib_jump(l, s + n);
    pcmap_steps(&l->map, in->len, s, n, 0);
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
