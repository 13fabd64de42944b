/* SPDX-License-Identifier: BSD-2-Clause
 * x87ip.c -- the address of the last x87 instruction, which the processor keeps and some
 * instructions store.
 * Role:       it is that of a copy in the code cache. Wherever it may be seen, or the copy may go
 *             away, it is made the guest's: when the vector state has been saved behind translated
 *             code, and in front of each instruction that stores it. What is stored is then right
 *             by itself, in all formats.
 * Invariants: X1. in mt_cpu.xsave and mt_cpu.x87 it is the guest's whenever the run loop runs.
 *             X2. while the thread is INSIDE, the blocks it has executed since it came in stay. So
 *                 an address in the cache names one of them, unless mt_cpu.x87_left says that it
 *                 may be older; then the vector state is saved first (X1), under the pages' lock.
 * Limits:     an address of a block that has been freed while the thread was in a system call reads
 *             as 0 (with an exception pending the call is not a fast one: X1).
 * Compiled for general registers only: x87ip_before_store() runs in the fast domain. */
#include "jit/x87ip.h"

#include "base/atomics.h"
#include "base/safe.h"
#include "guest/cpu.h"
#include "jit/block.h"
#include "jit/cache.h"
#include "jit/entry.h"
#include "jit/pcmap.h"
#include "jit/recover.h"
#include "jit/smc.h"

#include <string.h>

#define FXSAVE_FOP 6
#define FXSAVE_FIP 8
#define FXSAVE_FDP 16
#define SW_PENDING 0x80u
#define FOP_MASK 0x7ffu
#define INSN_MAX 15

/* What the processor keeps. */
typedef struct Pointers {
    u64 ip, dp;
    u32 opcode;
} Pointers;

typedef struct X87Bytes {
    u32 opcode; /* as the processor keeps it: 11 bits */
    u8 segment; /* 0, 0x64, 0x65 */
} X87Bytes;

/* False: there is no x87 instruction. */
static bool parse(X87Bytes *out, GuestAddr pc)
{
    u8 b[INSN_MAX];
    size_t n = safe_read_partial(b, pc, sizeof(b));

    *out = (X87Bytes){0, 0};
    for (size_t i = 0; i + 1 < n; i++) {
        switch (b[i]) {
        case 0x64:
        case 0x65: out->segment = b[i]; break;
        case 0x26:
        case 0x2e:
        case 0x36:
        case 0x3e:
        case 0x66:
        case 0x67:
        case 0xf2:
        case 0xf3:
        case 0x40 ... 0x4f: break;
        case 0xd8 ... 0xdf: out->opcode = (b[i] & 7u) << 8 | b[i + 1]; return true;
        default: return false;
        }
    }
    return false;
}

/* 0: there is no such instruction (any more). */
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

/* The guest's instruction may have another form than its copy: the operand's (lower.c). */
static void make_guest(Pointers *p)
{
    X87Bytes host, guest;
    GuestAddr pc = parse(&host, p->ip) ? guest_address(p->ip) : 0;

    if (pc == 0) {
        *p = (Pointers){0};
        return;
    }
    p->ip = pc;
    if (!parse(&guest, pc)) {
        return; /* overwritten meanwhile */
    }
    if (p->opcode != 0) {
        p->opcode = guest.opcode;
    }
    if (guest.segment == 0x64 && host.segment == 0) {
        p->dp -= mt_cpu.fs_base;
    }
}

static void env_to_guest(X87Env *e)
{
    Pointers p = {e->ip, e->dp, e->cs_opcode >> 16 & FOP_MASK};

    make_guest(&p);
    e->cs_opcode = p.ip == 0 ? 0 : (e->cs_opcode & 0xffff) | p.opcode << 16;
    e->ds = p.ip == 0 ? 0 : e->ds;
    e->ip = (u32)p.ip;
    e->dp = (u32)p.dp;
}

static u64 load_ip(const u8 *image)
{
    u64 ip;

    memcpy(&ip, image + FXSAVE_FIP, sizeof(ip));
    return ip;
}

/* image: 64-bit FXSAVE. */
static void image_to_guest(u8 *image)
{
    Pointers p = {.ip = load_ip(image)};
    u16 opcode;

    memcpy(&opcode, image + FXSAVE_FOP, sizeof(opcode));
    memcpy(&p.dp, image + FXSAVE_FDP, sizeof(p.dp));
    p.opcode = opcode;
    make_guest(&p);
    opcode = (u16)p.opcode;
    memcpy(image + FXSAVE_FOP, &opcode, sizeof(opcode));
    memcpy(image + FXSAVE_FIP, &p.ip, sizeof(p.ip));
    memcpy(image + FXSAVE_FDP, &p.dp, sizeof(p.dp));
}

void x87ip_to_guest(void)
{
    u8 *image = mt_cpu.xsave;

    mt_cpu.x87_left = 0;
    if (!mt_load_relaxed(&mt_x87_seen) ||
        (!cache_contains(mt_cpu.x87.ip) && !cache_contains(load_ip(image)))) {
        return;
    }
    smc_lock();
    if (cache_contains(mt_cpu.x87.ip)) {
        env_to_guest(&mt_cpu.x87);
    }
    if (cache_contains(load_ip(image))) {
        image_to_guest(image);
    }
    smc_unlock();
}

static bool exception_pending(void)
{
    u16 sw;

    __asm__ volatile("fnstsw %0" : "=a"(sw));
    return (sw & SW_PENDING) != 0;
}

bool x87ip_is_pending(void)
{
    return mt_load_relaxed(&mt_x87_seen) && exception_pending();
}

/* With 32-bit pointers and selectors. */
static void fix_env(void)
{
    X87Env e;

    __asm__ volatile("fnstenv %0" : "=m"(e));
    if (cache_contains(e.ip)) {
        env_to_guest(&e);
        __asm__ volatile("fldenv %0" : : "m"(e));
    } else {
        __asm__ volatile("fldcw %0" : : "m"(e.cw)); /* fnstenv has masked the exceptions */
    }
}

/* With 64-bit pointers, without selectors. */
static void fix_image(u8 *image)
{
    image_to_guest(image);
    __asm__ volatile("fxrstor64 (%0)" : : "r"(image) : "memory");
}

static u64 env_ip(void)
{
    X87Env e;

    __asm__ volatile("fnstenv %0\n\tfldcw %0" : "=m"(e));
    return e.ip;
}

/* From x87ip_entry. 0, or how to leave. */
u32 x87ip_before_store(void);
u32 x87ip_before_store(void)
{
    u32 what = (u32)mt_cpu.call_site;
    u8 *image = mt_cpu.xsave; /* free: the state is in the registers */
    bool hidden = mt_x87_hidden && !exception_pending();
    u64 ip, dp = 0;

    mt_cpu.slot[7] = mt_cpu.x87_at = mt_cpu.call_return;
    mt_cpu.resume = 0;
    if (((what & X87_STORES_MASKED) && !(mt_cpu.gpr[MT_RAX] & 1)) ||
        (hidden && what != X87_STORES_ENV)) {
        return 0;
    }
    if (hidden && mt_cpu.x87_left == 0) {
        fix_env();
        return 0;
    }
    if (hidden) {
        ip = env_ip();
    } else {
        __asm__ volatile("fxsave64 (%0)" : : "r"(image) : "memory");
        ip = load_ip(image);
        memcpy(&dp, image + FXSAVE_FDP, sizeof(dp));
    }
    if (!cache_contains(ip)) {
        return 0;
    }
    if (mt_cpu.x87_left != 0) {
        recover_in_front(mt_cpu.x87_at);
        return MT_EXIT_SIGNAL;
    }
    if ((what & X87_STORES_WIDE) && dp >> 32 != 0) {
        fix_image(image);
    } else {
        fix_env();
    }
    return 0;
}
