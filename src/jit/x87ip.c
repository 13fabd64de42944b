/* SPDX-License-Identifier: BSD-2-Clause
 * x87ip.c -- the address of the last x87 instruction, for who handles its exception.
 * Role:    XSAVE keeps it (AMD's processors: while an exception is pending); it is that of a copy.
 * Locking: the pages' lock keeps the block from being freed while its map is read. If it has been freed
 *          before, the answer may name another instruction. */
#include "jit/x87ip.h"

#include "guest/cpu.h"
#include "jit/block.h"
#include "jit/cache.h"
#include "jit/pcmap.h"
#include "jit/smc.h"

#include <string.h>

#define FIP_AT 8 /* in the FXSAVE image: 64 bits */

static GuestAddr guest_address(u64 host_pc)
{
    ChunkKind kind;
    BlockRef ref = cache_find_block(host_pc, &kind);
    const Block *b = block_of(ref);
    PcState s;

    if (ref == 0 || kind != CHUNK_BLOCKS || cache_off(host_pc) < block_host(b) ||
        !pcmap_find(block_pcmap(b), b->pcmap_len, b->pc, cache_off(host_pc) - block_host(b), &s)) {
        return 0;
    }
    return s.pc;
}

void x87ip_to_guest(void)
{
    u8 *at = (u8 *)mt_cpu.xsave + FIP_AT;
    u64 ip;

    memcpy(&ip, at, sizeof(ip));
    if (!cache_contains(ip)) {
        return;
    }
    smc_lock();
    ip = guest_address(ip);
    smc_unlock();
    memcpy(at, &ip, sizeof(ip));
}
