/* SPDX-License-Identifier: BSD-2-Clause
 * lower_check.c -- what a block checks before it goes on: the quantum, its own guest bytes.
 * Role:       code that compares by lea and jrcxz, with rcx in slot[3], and so leaves the flags
 *             alone (L2). */
#include "jit/lower_int.h"

#include "base/options.h"

/* mov %rcx, slot[3]; mov quantum, %rcx; jrcxz 1f; lea -1(%rcx), %rcx; mov %rcx, quantum;
 * mov slot[3], %rcx; ...; 1: (cold) mov slot[3], %rcx; exit
 * At the start of a block, and at return points: a guest may go in circles with returns alone. */
void lower_quantum(Lower *l, GuestAddr pc, u32 key)
{
    const u8 sp = (u8)(PC_SPILL | MT_RCX << 4);
    LowerEdge *d = lower_edge(l, EDGE_QUANTUM, pc);
    CacheOff at;
    Emit c;

    d->key = key;
    emit_fs_store(&l->e, MT_RCX, SLOT(3));
    emit_fs_load(&l->e, MT_RCX, MT_TP(quantum));
    emit_bytes(&l->e, "\xe3\x02\xeb\x05", 4); /* jrcxz +2; jmp +5 */
    at = cache_take_cold(&l->space, 9 + MT_STUB_BYTES);
    MT_ASSERT(at != 0);
    emit_jmp(&l->e, cache_exec_addr(at));
    emit_bytes(&l->e, "\x48\x8d\x49\xff", 4);
    emit_fs_store(&l->e, MT_RCX, MT_TP(quantum));
    emit_fs_load(&l->e, MT_RCX, SLOT(3));
    c.w = cache_write_ptr(at);
    c.x = cache_exec_addr(at);
    emit_fs_load(&c, MT_RCX, SLOT(3));
    d->stub = at + 9;
    lower_emit_exit(&c, mt_cache.glue_quantum);
    pcmap_steps(
        &l->map, 0,
        (PcStep[]){{9, PC_SAME}, {9, sp}, {2, sp}, {2, sp}, {5, sp}, {4, sp}, {9, sp}, {9, sp}}, 8,
        0);
}

/* movb $0, quantum */
void lower_quantum_pause(Lower *l)
{
    emit_bytes(&l->e, "\x64\xc6\x04\x25", 4);
    emit_u32(&l->e, MT_TP(quantum));
    emit_u8(&l->e, 0);
    pcmap_plain(&l->map, 0, 9);
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

/* Counts the checks of all blocks that this thread runs, and leaves, as if stale, when the count
 *     comes to 0: movzwl checks, %ecx; lea -1(%rcx), %ecx; mov %cx, checks; jrcxz 1f; jmp 2f; 1:
 *     jmp stale; 2: */
static u32 emit_count_check(Lower *l, u64 stale, PcStep *steps)
{
    static const u8 hlen[] = {9, 3, 9, 2, 2, 5};

    emit_bytes(&l->e, "\x64\x0f\xb7\x0c\x25", 5);
    emit_u32(&l->e, MT_TP(checks));
    emit_bytes(&l->e, "\x8d\x49\xff\x66\x64\x89\x0c\x25", 8);
    emit_u32(&l->e, MT_TP(checks));
    emit_bytes(&l->e, "\xe3\x02\xeb\x05", 4);
    emit_jmp(&l->e, stale);
    for (u32 i = 0; i < sizeof(hlen); i++) {
        steps[i] = (PcStep){hlen[i], (u8)(PC_SPILL | MT_RCX << 4)};
    }
    return sizeof(hlen);
}

void lower_check_bytes(Lower *l, const u8 *bytes, u32 n)
{
    const u8 sp = (u8)(PC_SPILL | MT_RCX << 4);
    PcStep steps[5 * MT_CHECKED_BYTES / 4 + 24];
    LowerEdge *d = lower_edge(l, EDGE_STALE, l->pc);
    u32 k = 0, i = 0, want;
    CacheOff at = cache_take_cold(&l->space, 9 + MT_STUB_BYTES);
    u64 stale = cache_exec_addr(at);
    Emit c = {cache_write_ptr(at), stale};

    MT_ASSERT(at != 0 && n <= MT_CHECKED_BYTES);
    emit_fs_load(&c, MT_RCX, SLOT(3));
    d->stub = at + 9;
    lower_emit_exit(&c, mt_cache.glue_emulate);
    emit_fs_store(&l->e, MT_RCX, SLOT(3));
    steps[k++] = (PcStep){9, PC_SAME};
    if (mt_opts.protect_again) {
        k += emit_count_check(l, stale, steps + k);
    }
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
