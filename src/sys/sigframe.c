/* SPDX-License-Identifier: BSD-2-Clause
 * sigframe.c -- builds and reads the kernel's rt_sigframe in guest memory.
 * Role:       layout only; knows nothing of masks, dispositions or host signals.
 * Invariants: F1. what the guest reads equals what the kernel would have written, byte by byte, but
 *                 for what docs/SIGNALS.md lists.
 *             F2. an XSAVE area that was accepted by sigframe_pop() can be loaded by XRSTOR without
 *                 a fault.
 * Signals:    not for host handlers: accesses to guest memory may fault.
 *
 *   high    interrupted rsp (or the alternate stack's end)
 *           128 bytes red zone (not on a fresh alternate stack)
 *           MAGIC2 | XSAVE area, 64-byte aligned      <- mc.fpstate
 *           siginfo | ucontext | restorer             <- rsp in the handler, rsp % 16 == 8
 *   low */
#include "sys/sigframe.h"

#include "base/atomics.h"
#include "base/hostcpu.h"
#include "base/safe.h"
#include "guest/cpu.h"

#include <cpuid.h>
#include <errno.h>
#include <string.h>

#define UC_FP_XSTATE 0x1u
#define UC_SIGCONTEXT_SS 0x2u
#define UC_STRICT_RESTORE_SS 0x4u

#define XSTATE_MAGIC1 0x46505853u
#define XSTATE_MAGIC2 0x46505845u
#define XSTATE_MAGIC2_SIZE 4u

#define XF_X87 1ull
#define XF_SSE 2ull
#define XF_AVX 4ull
#define XF_PKRU (1ull << 9)
#define XF_TILE_DATA (1ull << 18)
#define XF_LAST 62

#define LEGACY_SIZE 512u
#define HEADER_OFF 512u
#define HEADER_SIZE 64u
#define EXTENDED_OFF (HEADER_OFF + HEADER_SIZE)
#define SW_BYTES_OFF 464u
#define MXCSR_OFF 24u
#define MXCSR_MASK_OFF 28u
#define ST_OFF 32u
#define XMM_OFF 160u
#define SW_RESERVED_OFF 416u

#define FCW_INIT 0x37f
#define MXCSR_INIT 0x1f80u
#define PKRU_INIT 0x55555554u /* Linux: all keys but 0 are closed */

#define EFLAGS_TF 0x100ull
#define EFLAGS_DF 0x400ull
#define EFLAGS_RF 0x10000ull
#define EFLAGS_IF 0x200ull
/* What a user may change (kernel: FIX_EFLAGS): AC OF DF TF SF ZF AF PF CF RF. */
#define EFLAGS_USER 0x50dd5ull

#define SS_AUTODISARM_FLAG (1u << 31)
#define SA_RESTORER_FLAG 0x04000000ull

#define REDZONE 128
#define USER_CS 0x33
#define USER_DS 0x2b

/* The kernel's struct _fpx_sw_bytes, at SW_BYTES_OFF. */
typedef struct SwBytes {
    u32 magic1, extended_size;
    u64 xfeatures;
    u32 xstate_size, padding[7];
} SwBytes;
_Static_assert(sizeof(SwBytes) == LEGACY_SIZE - SW_BYTES_OFF, "kernel ABI");

/* Places of the extended components, standard format; filled on first use, always with the same
 * values, so a race between threads is harmless. */
typedef struct XComponent {
    u32 offset, size;
} XComponent;
static XComponent components[XF_LAST + 1];
static u64 frame_features;
static u32 frame_size;
static u32 mxcsr_valid_bits;

static u32 read_pkru(void)
{
    u32 value, edx;
    __asm__ volatile(".byte 0x0f, 0x01, 0xee" : "=a"(value), "=d"(edx) : "c"(0));
    return value;
}

static void write_pkru(u32 value)
{
    __asm__ volatile(".byte 0x0f, 0x01, 0xef" : : "a"(value), "c"(0), "d"(0) : "memory");
}

static void probe(void)
{
    if (mt_load_acquire(&frame_size)) { /* pairs with the store below */
        return;
    }
    u32 size = LEGACY_SIZE;
    u64 features = XF_X87 | XF_SSE;
    mxcsr_valid_bits = cpu_mxcsr_mask();
    if (mt_xsave.mask) {
        /* AMX tile data come into the kernel's frames only once a program has asked for them. */
        features = (hostcpu_xcr0() & ~XF_TILE_DATA) | mt_xsave.mask;
        size = EXTENDED_OFF;
        for (u32 i = 2; i <= XF_LAST; i++) {
            u32 a, b, c, d;
            if (!(features >> i & 1) || !__get_cpuid_count(0xd, i, &a, &b, &c, &d)) {
                continue;
            }
            components[i] = (XComponent){.offset = b, .size = a};
            size = a + b > size ? a + b : size;
        }
    }
    frame_features = features;
    mt_store_release(&frame_size, size);
}

u32 sigframe_xstate_size(void)
{
    probe();
    return frame_size;
}

/* ---- alternate stack ---- */

/* Kernel: __on_sig_stack. */
static bool in_stack(const GuestAltStack *alt, u64 sp)
{
    return sp > alt->sp && sp - alt->sp <= alt->size;
}

bool sigframe_on_altstack(const GuestAltStack *alt, u64 sp)
{
    return !(alt->flags & SS_AUTODISARM_FLAG) && in_stack(alt, sp);
}

u32 sigframe_altstack_state(const GuestAltStack *alt, u64 sp)
{
    if (!alt->size) {
        return SS_DISABLE;
    }
    return sigframe_on_altstack(alt, sp) ? SS_ONSTACK : 0;
}

/* ---- writing ---- */

static u64 xstate_bv(const CpuState *cpu)
{
    u64 bv = XF_X87 | XF_SSE;
    if (mt_xsave.mask) {
        memcpy(&bv, (const u8 *)cpu->xsave + HEADER_OFF, sizeof(bv));
        bv &= mt_xsave.mask;
    }
    return bv;
}

/* The first 512 bytes; components that are in their initial state are written as such. */
static void fill_legacy(u8 *legacy, const CpuState *cpu, u64 bv)
{
    memcpy(legacy, cpu->xsave, SW_RESERVED_OFF);
    memset(legacy + SW_RESERVED_OFF, 0, LEGACY_SIZE - SW_RESERVED_OFF);
    memcpy(legacy + MXCSR_MASK_OFF, &mxcsr_valid_bits, sizeof(mxcsr_valid_bits));
    if (!(bv & XF_X87)) {
        const u16 fcw = FCW_INIT;
        memset(legacy, 0, MXCSR_OFF);
        memcpy(legacy, &fcw, sizeof(fcw));
        memset(legacy + ST_OFF, 0, XMM_OFF - ST_OFF);
    }
    if (!(bv & XF_SSE)) {
        memset(legacy + XMM_OFF, 0, SW_RESERVED_OFF - XMM_OFF);
    }
    if (mt_xsave.mask) {
        const SwBytes sw = {
            .magic1 = XSTATE_MAGIC1,
            .extended_size = frame_size + XSTATE_MAGIC2_SIZE,
            .xfeatures = frame_features,
            .xstate_size = frame_size,
        };
        memcpy(legacy + SW_BYTES_OFF, &sw, sizeof(sw));
    }
}

static int write_component(u64 fp, const CpuState *cpu, u32 i, bool in_use)
{
    static const u8 zeros[8192];
    const XComponent *c = &components[i];
    const u8 *from = in_use ? (const u8 *)cpu->xsave + c->offset : zeros;
    if (!in_use && c->size > sizeof(zeros)) {
        return -EFAULT;
    }
    return safe_write(fp + c->offset, from, c->size);
}

/* Writes the whole XSAVE area at fp. */
static int write_xstate(u64 fp, const CpuState *cpu, u32 pkru)
{
    u8 legacy[LEGACY_SIZE];
    u64 header[HEADER_SIZE / 8] = {0};
    u64 bv = xstate_bv(cpu);
    const u32 magic2 = XSTATE_MAGIC2;
    int bad;

    fill_legacy(legacy, cpu, bv);
    bad = safe_write(fp, legacy, sizeof(legacy));
    if (!mt_xsave.mask) {
        return bad;
    }
    header[0] = bv | XF_X87 | XF_SSE; /* the kernel sets these two always */
    for (u32 i = 2; i <= XF_LAST && !bad; i++) {
        if (!(frame_features >> i & 1)) {
            continue;
        }
        if (1ull << i == XF_PKRU) {
            header[0] |= pkru ? XF_PKRU : 0;
            const u64 wide = pkru;
            bad = safe_write(fp + components[i].offset, &wide, components[i].size < 8 ? 4 : 8);
        } else {
            bad = write_component(fp, cpu, i, bv >> i & 1);
        }
    }
    return bad || safe_write(fp + HEADER_OFF, header, sizeof(header)) ||
                   safe_write(fp + frame_size, &magic2, sizeof(magic2))
               ? -EFAULT
               : 0;
}

static void fill_context(SigContext *mc, const CpuState *cpu, const SigFrameArgs *args, u64 fp)
{
    const u64 *g = cpu->gpr;
    *mc = (SigContext){
        .r8 = g[MT_R8],
        .r9 = g[MT_R9],
        .r10 = g[MT_R10],
        .r11 = g[MT_R11],
        .r12 = g[MT_R12],
        .r13 = g[MT_R13],
        .r14 = g[MT_R14],
        .r15 = g[MT_R15],
        .rdi = g[MT_RDI],
        .rsi = g[MT_RSI],
        .rbp = g[MT_RBP],
        .rbx = g[MT_RBX],
        .rdx = g[MT_RDX],
        .rax = g[MT_RAX],
        .rcx = g[MT_RCX],
        .rsp = g[MT_RSP],
        .rip = cpu->rip,
        .rflags = cpu->rflags | EFLAGS_IF | 2 | (args->is_fault ? EFLAGS_RF : 0),
        .cs = USER_CS,
        .ss = USER_DS,
        .err = args->err,
        .trapno = args->trapno,
        .oldmask = args->oldmask,
        .cr2 = args->cr2,
        .fpstate = fp,
    };
}

/* The frame less what the kernel leaves as it was: padding, sigcontext.reserved, and siginfo for a
 * handler without SA_SIGINFO. */
static int write_frame(u64 at, const SigFrame *f, bool with_info)
{
    static const struct {
        u16 begin, end;
    } parts[] = {
        {0, offsetof(SigFrame, uc.ss_pad)},
        {offsetof(SigFrame, uc.ss_size), offsetof(SigFrame, uc.mc.reserved)},
        {offsetof(SigFrame, uc.sigmask), offsetof(SigFrame, info)},
        {offsetof(SigFrame, info), sizeof(SigFrame)},
    };
    for (size_t i = 0; i < MT_ARRAY_SIZE(parts) - !with_info; i++) {
        if (safe_write(at + parts[i].begin, (const u8 *)f + parts[i].begin,
                       parts[i].end - parts[i].begin)) {
            return -EFAULT;
        }
    }
    return 0;
}

/* Vector and x87 registers as at a handler's start. */
static void init_xstate(CpuState *cpu)
{
    u8 *x = cpu->xsave;
    const u16 fcw = FCW_INIT;
    const u32 mxcsr = MXCSR_INIT;
    cpu->x87.ip = 0;
    memset(x, 0, EXTENDED_OFF);
    memcpy(x, &fcw, sizeof(fcw));
    memcpy(x + MXCSR_OFF, &mxcsr, sizeof(mxcsr));
    memcpy(x + MXCSR_MASK_OFF, &mxcsr_valid_bits, sizeof(mxcsr_valid_bits));
}

/* Where the frame goes (kernel: get_sigframe); 0 if it does not fit onto the alternate stack. */
static u64 place_frame(const CpuState *cpu, const GuestAltStack *alt, u64 flags, u64 *fp)
{
    u64 sp = cpu->gpr[MT_RSP];
    bool bounded = sigframe_on_altstack(alt, sp);
    sp -= REDZONE;
    if ((flags & SA_ONSTACK) && sigframe_altstack_state(alt, sp) == 0) {
        sp = alt->sp + alt->size;
        bounded = true;
    }
    *fp = (sp - frame_size - (mt_xsave.mask ? XSTATE_MAGIC2_SIZE : 0)) & ~63ull;
    u64 frame = ((*fp - sizeof(SigFrame)) & ~15ull) - 8;
    return bounded && !in_stack(alt, frame) ? 0 : frame;
}

int sigframe_push(CpuState *cpu, const GuestAltStack *alt, const SigFrameArgs *args, u64 *bad)
{
    probe();
    u64 fp;
    u64 at = place_frame(cpu, alt, args->act->flags, &fp);
    *bad = 0;
    if (!at || !(args->act->flags & SA_RESTORER_FLAG)) {
        return -EFAULT;
    }
    SigFrame f = {
        .pretcode = args->act->restorer,
        .uc =
            {
                .uc_flags = (mt_xsave.mask ? UC_FP_XSTATE : 0) | UC_SIGCONTEXT_SS |
                            UC_STRICT_RESTORE_SS,
                .ss_sp = alt->sp,
                .ss_flags = alt->flags,
                .ss_size = alt->size,
                .sigmask = args->oldmask,
            },
        .info = *args->info,
    };
    fill_context(&f.uc.mc, cpu, args, fp);

    bool has_pkru = frame_features & XF_PKRU;
    u32 pkru = has_pkru ? read_pkru() : 0;
    if (has_pkru) {
        write_pkru(0); /* the kernel too writes the frame with its own rights */
    }
    if (write_frame(at, &f, args->act->flags & SA_SIGINFO) || write_xstate(fp, cpu, pkru)) {
        if (has_pkru) {
            write_pkru(pkru);
        }
        *bad = at;
        return -EFAULT;
    }
    if (has_pkru) {
        write_pkru(PKRU_INIT);
    }
    init_xstate(cpu);
    cpu->rip = args->act->handler;
    cpu->gpr[MT_RSP] = at;
    cpu->gpr[MT_RDI] = (u64)args->info->si_signo;
    cpu->gpr[MT_RSI] = at + offsetof(SigFrame, info);
    cpu->gpr[MT_RDX] = at + offsetof(SigFrame, uc);
    cpu->gpr[MT_RAX] = 0;
    cpu->rflags &= ~(EFLAGS_DF | EFLAGS_RF | EFLAGS_TF);
    return 0;
}

/* ---- reading ---- */

/* kernel: check_xstate_in_sigframe. *fx_only: there is an FXSAVE image only. */
static int check_sw_bytes(u64 fp, u64 *features, bool *fx_only)
{
    SwBytes sw;
    u32 magic2;
    *fx_only = true;
    *features = XF_X87 | XF_SSE;
    if (!mt_xsave.mask) {
        return 0;
    }
    if (safe_read(&sw, fp + SW_BYTES_OFF, sizeof(sw))) {
        return -EFAULT;
    }
    if (sw.magic1 != XSTATE_MAGIC1 || sw.xstate_size < EXTENDED_OFF ||
        sw.xstate_size > frame_size || sw.xstate_size > sw.extended_size) {
        return 0;
    }
    if (safe_read(&magic2, fp + sw.xstate_size, sizeof(magic2))) {
        return -EFAULT;
    }
    if (magic2 == XSTATE_MAGIC2) {
        *fx_only = false;
        *features = sw.xfeatures & frame_features;
    }
    return 0;
}

/* What XRSTOR checks in the header (SDM vol. 1, 13.8): no bits outside XCR0, and bytes 8..23 are
 * zero (the top bit of XCOMP_BV there would mean the compacted format). */
static bool header_ok(const u64 header[HEADER_SIZE / 8])
{
    if (header[1] || header[2]) {
        return false;
    }
    return (header[0] & ~(frame_features | mt_xsave.mask)) == 0;
}

static int read_components(CpuState *cpu, u64 fp, u64 bv)
{
    for (u32 i = 2; i <= XF_LAST; i++) {
        const XComponent *c = &components[i];
        if ((bv & mt_xsave.mask) >> i & 1 &&
            safe_read((u8 *)cpu->xsave + c->offset, fp + c->offset, c->size)) {
            return -EFAULT;
        }
    }
    return 0;
}

static int read_pkru_component(u64 fp, u64 features, u64 bv)
{
    u32 pkru = 0;
    if (!(features & frame_features & XF_PKRU)) {
        return 0;
    }
    if ((bv & XF_PKRU) && safe_read(&pkru, fp + components[9].offset, sizeof(pkru))) {
        return -EFAULT;
    }
    write_pkru(pkru);
    return 0;
}

/* Loads the vector state at fp into cpu's area; on failure the area is the initial state. */
static int read_xstate(CpuState *cpu, u64 fp)
{
    u8 legacy[LEGACY_SIZE];
    u64 header[HEADER_SIZE / 8] = {XF_X87 | XF_SSE};
    u64 features;
    u32 mxcsr;
    bool fx_only;

    init_xstate(cpu);
    if (!fp) {
        return 0;
    }
    if (check_sw_bytes(fp, &features, &fx_only) || (fp & (fx_only ? 15 : 63)) != 0 ||
        safe_read(legacy, fp, sizeof(legacy)) ||
        (!fx_only && safe_read(header, fp + HEADER_OFF, sizeof(header)))) {
        return -EFAULT;
    }
    memcpy(&mxcsr, legacy + MXCSR_OFF, sizeof(mxcsr));
    bool has_mxcsr = features & (XF_SSE | XF_AVX);
    if (!header_ok(header) || (has_mxcsr && (mxcsr & ~mxcsr_valid_bits))) {
        return -EFAULT;
    }
    u64 bv = header[0] & features;
    if (read_components(cpu, fp, bv)) {
        return -EFAULT;
    }
    if (!fx_only && read_pkru_component(fp, features, bv)) {
        return -EFAULT;
    }
    u8 *x = cpu->xsave;
    memcpy(x, legacy, SW_RESERVED_OFF);
    if (!has_mxcsr) {
        mxcsr = MXCSR_INIT;
    }
    memcpy(x + MXCSR_OFF, &mxcsr, sizeof(mxcsr));
    memcpy(x + MXCSR_MASK_OFF, &mxcsr_valid_bits, sizeof(mxcsr_valid_bits));
    if (mt_xsave.mask) {
        bv &= mt_xsave.mask;
        memcpy(x + HEADER_OFF, &bv, sizeof(bv));
    }
    return 0;
}

static void load_context(CpuState *cpu, const SigContext *mc)
{
    u64 *g = cpu->gpr;
    g[MT_R8] = mc->r8, g[MT_R9] = mc->r9, g[MT_R10] = mc->r10, g[MT_R11] = mc->r11;
    g[MT_R12] = mc->r12, g[MT_R13] = mc->r13, g[MT_R14] = mc->r14, g[MT_R15] = mc->r15;
    g[MT_RDI] = mc->rdi, g[MT_RSI] = mc->rsi, g[MT_RBP] = mc->rbp, g[MT_RBX] = mc->rbx;
    g[MT_RDX] = mc->rdx, g[MT_RAX] = mc->rax, g[MT_RCX] = mc->rcx, g[MT_RSP] = mc->rsp;
    cpu->rip = mc->rip;
    /* RF makes no sense in front of copied code. */
    cpu->rflags = (cpu->rflags & ~EFLAGS_USER) | (mc->rflags & EFLAGS_USER);
    cpu->rflags = (cpu->rflags | EFLAGS_IF | 2) & ~EFLAGS_RF;
}

/* The kernel returns with RPL 3, and takes ss only if the frame says so. */
static i32 find_bad_selector(const SigUcontext *uc)
{
    u16 cs = uc->mc.cs | 3, ss = uc->mc.ss | 3;
    bool has_ss = uc->uc_flags & UC_STRICT_RESTORE_SS;
    return cs != USER_CS ? cs & ~3 : has_ss && ss != USER_DS ? ss & ~3 : -1;
}

int sigframe_pop(CpuState *cpu, SigMask *mask, bool *mask_valid, GuestAltStack *alt_out,
                 i32 *bad_selector)
{
    probe();
    SigUcontext uc;
    u64 at = cpu->gpr[MT_RSP]; /* the restorer's address has been popped by the handler's ret */
    *mask_valid = false;
    if (safe_read(&uc, at, sizeof(uc))) {
        return -EFAULT;
    }
    *mask = uc.sigmask;
    *mask_valid = true;
    load_context(cpu, &uc.mc);
    cpu->xstate_saved = 1;
    cpu->xstate_raw = 1;
    cpu->x87.ip = 0; /* as XRSTOR leaves it */
    *alt_out = (GuestAltStack){.sp = uc.ss_sp, .flags = uc.ss_flags, .size = uc.ss_size};
    *bad_selector = find_bad_selector(&uc);
    return read_xstate(cpu, uc.mc.fpstate);
}
