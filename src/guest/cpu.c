/* SPDX-License-Identifier: BSD-2-Clause
 * cpu.c -- the guest processor's state that C code handles: vector and x87 registers, FS base.
 * Role:       owns mt_cpu, mt_xsave and the xsave areas.
 * Invariants: X1. xstate_saved == 1  <=>  mt_cpu.xsave holds the guest's vector and x87 state and
 *                 the registers are the runtime's; == 0: the registers hold the guest's.
 *             X2. the bytes of the XSAVE header behind XSTATE_BV are zero (XRSTOR would fault).
 * Components: XCR0 less PKRU (the guest's rights to its memory must hold while the runtime reads
 *             for it) and less those that the process has no permission for (AMX tiles: nothing in
 *             the runtime touches them, so they stay in the registers).
 * Signals:    save and restore may be interrupted at any point: xstate_saved is set after saving
 *             and cleared before restoring, so a handler never believes that the area is newer than
 *             it is. Handlers themselves get a frame of their own from the kernel. */
#include "guest/cpu.h"

#include "base/hostcpu.h"

#include "base/atomics.h"

#include <cpuid.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <valgrind/valgrind.h>

#define XFEATURE_X87_SSE 0x3ull
#define XFEATURE_AVX 0x4ull
#define XFEATURE_PKRU (1ull << 9)
#define XFEATURE_AMX (3ull << 17)

#define FXSAVE_BYTES 512u
#define XSAVE_HEADER_BYTES 64u
#define FXSAVE_MXCSR 24
#define FXSAVE_MXCSR_MASK 28

#define FCW_INIT 0x037f
#define MXCSR_INIT 0x1f80u
#define MXCSR_MASK_DEFAULT 0xffbfu /* SDM: what a mask of 0 means */
#define FXSAVE_FIP 8

#define ARCH_SET_GS_CODE 0x1001
#define ARCH_GET_GS_CODE 0x1004
#define ARCH_GET_XCOMP_PERM_CODE 0x1022
#define HWCAP2_FSGSBASE_BIT 2ul
#define TASK_SIZE_47 0x7ffffffff000ull

__thread CpuState mt_cpu __attribute__((tls_model("local-exec"), aligned(64)));

XsaveInfo mt_xsave = {.size = FXSAVE_BYTES + XSAVE_HEADER_BYTES, .mask = 0};

bool mt_tool_gs;
static bool have_fsgsbase;
bool mt_x87_seen, mt_x87_hidden;
static u32 mxcsr_mask = MXCSR_MASK_DEFAULT;

/* Components that may be used now; without the call (before 5.16) there is nothing to ask for. */
static u64 permitted_components(void)
{
    u64 perm = 0;
    if (RUNNING_ON_VALGRIND || syscall(SYS_arch_prctl, ARCH_GET_XCOMP_PERM_CODE, &perm) != 0) {
        return ~XFEATURE_AMX;
    }
    return perm | ~XFEATURE_AMX;
}

/* Standard format: each component has a fixed place (CPUID leaf 0xD, sub-leaf = component; sub-leaf
 * 0: the size for all that XCR0 has). PKRU's eight bytes are not worth a look at each. */
static u32 standard_size(u64 mask, u64 xcr0)
{
    u32 size = FXSAVE_BYTES + XSAVE_HEADER_BYTES;
    u32 a, b, c, d;

    if ((xcr0 & ~mask & ~XFEATURE_PKRU) == 0) {
        __cpuid_count(0xd, 0, a, b, c, d);
        return b;
    }
    for (unsigned i = 2; i < 63; i++) {
        if ((mask >> i & 1) != 0) {
            __cpuid_count(0xd, i, a, b, c, d);
            size = a + b > size ? a + b : size;
        }
    }
    return size;
}

static u32 read_mxcsr_mask(void)
{
    _Alignas(16) u8 area[FXSAVE_BYTES];
    u32 mask;
    memset(area, 0, sizeof(area));
    __asm__ volatile("fxsave64 %0" : "=m"(area));
    memcpy(&mask, area + FXSAVE_MXCSR_MASK, sizeof(mask));
    return mask != 0 ? mask : MXCSR_MASK_DEFAULT;
}

u32 cpu_mxcsr_mask(void)
{
    return mxcsr_mask;
}

static bool hides_x87_address(void)
{
    _Alignas(16) u8 area[FXSAVE_BYTES];
    u64 ip;

    __asm__ volatile("fninit\n\tfld1\n\tfxsave64 %0\n\tfninit" : "=m"(area));
    memcpy(&ip, area + FXSAVE_FIP, sizeof(ip));
    return ip == 0;
}

void cpu_init(void)
{
    if (CPU_FEATURE_PRESENT(OSXSAVE)) {
        u64 xcr0 = hostcpu_xcr0();

        mt_xsave.mask = xcr0 & ~XFEATURE_PKRU & permitted_components();
        mt_xsave.size = standard_size(mt_xsave.mask, xcr0);
    }
    mxcsr_mask = read_mxcsr_mask();
    mt_x87_hidden = hides_x87_address();
    have_fsgsbase = (getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE_BIT) != 0 && !RUNNING_ON_VALGRIND;
}

/* The functions below run with the guest's vector state in the registers: no vector instruction
 * may appear in them but the intended ones. */
#define GENERAL_REGS __attribute__((target("general-regs-only"), noinline))

GENERAL_REGS void cpu_xstate_save(void)
{
    if (mt_cpu.xstate_saved != 0) {
        return;
    }
    void *area = mt_cpu.xsave;
    if (mt_xsave.mask != 0) {
        __asm__ volatile("xsave64 (%0)"
                         :
                         : "r"(area), "a"((u32)mt_xsave.mask), "d"((u32)(mt_xsave.mask >> 32))
                         : "memory");
    } else {
        __asm__ volatile("fxsave64 (%0)" : : "r"(area) : "memory");
    }
    *(volatile u32 *)&mt_cpu.xstate_saved = 1;
    if (mt_load_relaxed(&mt_x87_seen)) {
        __asm__ volatile("fnstenv %0" : "=m"(mt_cpu.x87));
    }
    /* C code expects an empty x87 stack, masked exceptions, default rounding, clean upper
     * halves. */
    u32 mxcsr = MXCSR_INIT;
    __asm__ volatile("fninit\n\tldmxcsr %0" : : "m"(mxcsr));
    if ((mt_xsave.mask & XFEATURE_AVX) != 0) {
        __asm__ volatile("vzeroupper");
    }
}

/* XRSTOR has made the last x87 instruction's address 0, where XSAVE has not kept it, and the
 * selectors. */
GENERAL_REGS static void restore_x87_address(const u8 *area)
{
    u64 kept[2];
    X87Env e;

    __builtin_memcpy(kept, area + FXSAVE_FIP, sizeof(kept));
    if ((kept[0] | kept[1]) >> 32 != 0) {
        return; /* an environment has no room for such pointers */
    }
    __asm__ volatile("fnstenv %0" : "=m"(e));
    e.ip = mt_cpu.x87.ip;
    e.cs_opcode = mt_cpu.x87.cs_opcode;
    e.dp = mt_cpu.x87.dp;
    e.ds = mt_cpu.x87.ds;
    __asm__ volatile("fldenv %0" : : "m"(e));
}

GENERAL_REGS void cpu_xstate_restore(void)
{
    if (mt_cpu.xstate_saved == 0) {
        return;
    }
    void *area = mt_cpu.xsave;
    *(volatile u32 *)&mt_cpu.xstate_saved = 0;
    mt_cpu.xstate_raw = 0;
    if (mt_xsave.mask != 0) {
        __asm__ volatile("xrstor64 (%0)"
                         :
                         : "r"(area), "a"((u32)mt_xsave.mask), "d"((u32)(mt_xsave.mask >> 32))
                         : "memory");
    } else {
        __asm__ volatile("fxrstor64 (%0)" : : "r"(area) : "memory");
    }
    if (MT_UNLIKELY(mt_cpu.x87.ip != 0)) {
        restore_x87_address(area);
    }
}

int cpu_thread_init(void)
{
    size_t size = MT_ALIGN_UP(mt_xsave.size, 64);
    u8 *area = aligned_alloc(64, size);
    if (area == NULL) {
        return -ENOMEM;
    }
    const u16 fcw = FCW_INIT;
    const u32 mxcsr = MXCSR_INIT;
    const u64 xstate_bv = XFEATURE_X87_SSE & mt_xsave.mask;
    memset(area, 0, size);
    memcpy(area, &fcw, sizeof(fcw));
    memcpy(area + FXSAVE_MXCSR, &mxcsr, sizeof(mxcsr));
    memcpy(area + FXSAVE_MXCSR_MASK, &mxcsr_mask, sizeof(mxcsr_mask));
    memcpy(area + FXSAVE_BYTES, &xstate_bv, sizeof(xstate_bv));
    memset(&mt_cpu, 0, sizeof(mt_cpu));
    mt_cpu.rflags = 0x202;
    mt_cpu.xsave = area;
    mt_cpu.xstate_saved = 1;
    return 0;
}

void cpu_thread_fini(void)
{
    free(mt_cpu.xsave);
    mt_cpu.xsave = NULL;
}

int cpu_set_fs_base(u64 base)
{
    if (base >= TASK_SIZE_47) {
        return -EPERM;
    }
    if (mt_tool_gs) {
        mt_cpu.fs_base = base;
        return 0;
    }
    if (have_fsgsbase) {
        __asm__ volatile("wrgsbase %0" : : "r"(base));
    } else if (syscall(SYS_arch_prctl, ARCH_SET_GS_CODE, base) != 0) {
        return -EPERM;
    }
    mt_cpu.fs_base = base;
    return 0;
}

u64 cpu_host_gs(void)
{
    u64 base = 0;
    if (have_fsgsbase) {
        __asm__ volatile("rdgsbase %0" : "=r"(base));
    } else {
        syscall(SYS_arch_prctl, ARCH_GET_GS_CODE, &base);
    }
    return base;
}

void cpu_set_host_gs(u64 base)
{
    if (!cpu_is_canonical(base)) {
        return;
    }
    if (have_fsgsbase) {
        __asm__ volatile("wrgsbase %0" : : "r"(base));
    } else {
        syscall(SYS_arch_prctl, ARCH_SET_GS_CODE, base);
    }
}
