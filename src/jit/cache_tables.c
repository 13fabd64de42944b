/* SPDX-License-Identifier: BSD-2-Clause
 * cache_tables.c -- the tables for indirect branches and returns, and the glue that exits jump
 * through.
 * Role:       owns the head of the cache: where it lies, how it is indexed, what it holds when it
 *             is empty. Who enters targets: blockmap.c.
 * Locking:    the tables' words are accessed atomically; masks change with the world stopped. */
#include "jit/cache_int.h"

#include "base/hostcpu.h"
#include "base/options.h"
#include "jit/entry.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

static u32 glue_at;

/* jmp *2(%rip); ud2; .quad target (MT_GLUE_TARGET) */
static u64 glue_jump(const void *target)
{
    u8 *w = cache_write_ptr(glue_at);
    u64 addr = cache_exec_addr(glue_at);
    static const u8 code[8] = {0xff, 0x25, 0x02, 0, 0, 0, 0x0f, 0x0b};

    memcpy(w, code, sizeof(code));
    memcpy(w + MT_GLUE_TARGET, &target, 8);
    glue_at += 16;
    return addr;
}

/* Only as much as is in use is touched; one call is cheaper than a fault for each page, and the
 * second table's pages would be read before they are written (before Linux 5.14: as many
 * faults). */
static void ibt_clear(void)
{
    u32 last = cache_index(~0ull, mt_cache.ibt_mask);

    madvise(mt_cache.ibt, (last + 1) * sizeof(*mt_cache.ibt), MADV_POPULATE_WRITE);
    for (u32 i = 0; i <= last; i++) {
        /* a halted thread may be looking */
        mt_store_relaxed(&mt_cache.ibt[i], mt_cache.glue_ib_miss);
    }
    if (mt_cache.ibt2 != NULL) {
        madvise(mt_cache.ibt2, MT_IBT2_SIZE * sizeof(*mt_cache.ibt2), MADV_DONTNEED);
        madvise(mt_cache.ibt2, MT_IBT2_SIZE * sizeof(*mt_cache.ibt2), MADV_POPULATE_WRITE);
    }
}

static void ret_clear(void)
{
    u32 last = cache_index(~0ull, mt_cache.ret_mask);

    if (mt_cache.return_stack) {
        madvise(mt_cache.ret, (last + 1) * sizeof(*mt_cache.ret), MADV_POPULATE_WRITE);
        for (u32 i = 0; i <= last; i++) {
            mt_store_relaxed(&mt_cache.ret[i], (u32)mt_cache.glue_ret_miss); /* as above */
        }
    }
}

void cache_tables_clear(void)
{
    ibt_clear();
    ret_clear();
}

static bool can_use_return_stack(void)
{
    return mt_opts.ib_inline && mt_cache.ibt2 != NULL;
}

static u32 glue_word(u64 value)
{
    u32 at = glue_at;

    memcpy(cache_write_ptr(at), &value, sizeof(value));
    glue_at += 16;
    return (u32)cache_exec_addr(at);
}

/* pext is microcoded on AMD processors before Zen 3, and loop is slow on Intel's. */
static void choose_instructions(void)
{
    bool amd = hostcpu_is_amd(), pext;

    pext = CPU_FEATURE_PRESENT(BMI2) && mt_opts.ib_index != IB_INDEX_WORD &&
           (!amd || hostcpu_family() >= 0x19 || mt_opts.ib_index == IB_INDEX_PEXT);
    mt_cache.fast_loop = mt_opts.ib_check == IB_CHECK_AUTO ? amd
                                                           : mt_opts.ib_check == IB_CHECK_LOOP;
    mt_cache.ibt_mask = pext ? ((1u << MT_IBT_BITS_MIN) - 1) << MT_IBT_SHIFT : 0xffff;
    mt_cache.ret_mask = pext ? ((1u << MT_RET_BITS_MIN) - 1) << MT_RET_SHIFT : 0xffff;
    mt_cache.ibt_mask_at = pext ? glue_word(mt_cache.ibt_mask) : 0;
    mt_cache.ret_mask_at = pext ? glue_word(mt_cache.ret_mask) : 0;
}

void cache_tables_init(void)
{
    glue_at = MT_IBT_BYTES;
    choose_instructions();
    mt_cache.glue_direct = glue_jump(exit_direct);
    mt_cache.glue_ib_exit = glue_jump(exit_ib_miss);
    mt_cache.glue_ib_miss = mt_cache.ibt2 != NULL ? glue_jump(ib_probe_begin)
                                                  : mt_cache.glue_ib_exit;
    mt_cache.glue_syscall = glue_jump(exit_syscall);
    mt_cache.glue_emulate = glue_jump(exit_emulate);
    mt_cache.glue_quantum = glue_jump(exit_quantum);
    mt_cache.glue_gs = glue_jump(exit_gs);
    mt_cache.glue_ib_key = glue_jump(exit_ib_key);
    mt_cache.glue_ret_miss = glue_jump(ib_ret_miss);
    mt_cache.glue_ret_other = glue_jump(ib_ret_other);
    mt_cache.return_stack = mt_opts.return_stack == RETURN_STACK_YES && can_use_return_stack();
    cache_tables_clear();
}

/* Private memory: a fork's child gets its copy from the kernel. */
int cache_tables_map(void)
{
    void *p = mmap((void *)mt_cache.exec, MT_IBT_BYTES, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);

    if (p == MAP_FAILED) {
        return -errno;
    }
    annot_ignore(p, MT_IBT_BYTES); /* words that are only accessed atomically */
    mt_cache.ibt = p;
    if (CPU_FEATURE_PRESENT(SSE4_2) && mt_opts.ib_second) {
        mt_cache.ibt2 = (u32 *)(mt_cache.ibt + MT_IBT_SIZE);
    }
    mt_cache.ret = (u32 *)(mt_cache.ibt + MT_IBT_SIZE) + MT_IBT2_SIZE;
    return 0;
}

/* A mask of more bits until there are `want` entries, and its copy for pext, if there is one. */
static u32 grow_mask(u32 mask, u32 copy_at, u32 want, u32 size)
{
    const u32 shift = (u32)__builtin_ctz(mask);
    u32 last = mask >> shift;

    if (copy_at == 0) {
        return mask;
    }
    while (last < want && last < size - 1) {
        last = last << 1 | 1;
    }
    mt_store_relaxed((u64 *)cache_write_ptr(cache_off(copy_at)), (u64)last << shift);
    return last << shift;
}

/* Where returns have a table of their own, few blocks have an indirect entry. There is much
 * room for return points: those that share a slot are mispredicted (CHAINING.md). */
void cache_size_tables_world(u32 blocks)
{
    const bool apart = mt_cache.return_stack;

    /* A thread in the fast domain may use the old one once more: what it finds is checked. */
    mt_store_relaxed(&mt_cache.ibt_mask, grow_mask(mt_cache.ibt_mask, mt_cache.ibt_mask_at,
                                                   apart ? 2 * blocks : 8 * blocks, MT_IBT_SIZE));
    mt_store_relaxed(&mt_cache.ret_mask, grow_mask(mt_cache.ret_mask, mt_cache.ret_mask_at,
                                                   16 * blocks, apart ? MT_RET_SIZE : 1));
    cache_tables_clear();
}

/* The tables begin as small as they can be. About half as many blocks will do as without the return
 * stack, since they go on behind calls. */
void cache_use_return_stack_world(u32 blocks)
{
    mt_cache.return_stack = true;
    madvise(mt_cache.ibt, MT_IBT_SIZE * sizeof(*mt_cache.ibt), MADV_DONTNEED);
    if (mt_cache.ibt_mask_at != 0) {
        mt_store_relaxed(&mt_cache.ibt_mask, ((1u << MT_IBT_BITS_MIN) - 1) << MT_IBT_SHIFT);
    }
    cache_size_tables_world(blocks / 2);
}

bool cache_may_use_return_stack(void)
{
    return mt_opts.return_stack == RETURN_STACK_AUTO && !mt_cache.return_stack &&
           mt_opts.parallel && can_use_return_stack();
}
