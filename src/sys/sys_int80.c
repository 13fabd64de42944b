/* SPDX-License-Identifier: BSD-2-Clause
 * sys_int80.c -- int 0x80: a 32-bit system call of a 64-bit program.
 * Role:       number in eax, arguments in ebx, ecx, edx, esi, edi, ebp; no register changes but
 *             rax. What touches mappings, signals, threads, descriptors or /proc goes to the
 *             handlers of the 64-bit calls (int80.def), all else to the kernel by an int 0x80 of
 *             ours.
 * Invariants: N1. mt_cpu.rip is behind the instruction while the call is done (a child begins
 *                 there), and back on it only if nothing has been done.
 * Limits:     a handler set by a 32-bit rt_sigaction would run in 32-bit mode: only SIG_DFL and
 *             SIG_IGN can be set.
 * Sources:    the kernel's syscall_32.tbl for the numbers and which have structures of their
 *             own. */
#include "base/log.h"
#include "base/safe.h"
#include "jit/smc.h"
#include "sched/world_inl.h"
#include "sys/procfs.h"
#include "sys/sig_host.h"
#include "sys/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#ifndef SYS_mseal
#define SYS_mseal 462
#endif

#define MAX_ARGS 4096
#define IPC_SHMAT 21
#define NR32_CLOSE 6
#define TRAP_GP 13
#define GP_VECTOR_80 0x402 /* error code: interrupt vector 0x80, in the IDT */

typedef i64 (*Own)(Thread *t, const u64 a[6]);

/* ---- the kernel's ---- */

static i64 pass32(Thread *t, u32 nr, const u64 a[6])
{
    const u32 b[6] = {(u32)a[0], (u32)a[1], (u32)a[2], (u32)a[3], (u32)a[4], (u32)a[5]};
    u32 faults = 0;
    for (;;) {
        t->disturbed = false;
        if (world_may_kick()) {
            world_wait_kicks(t);
        }
        annot_foreign_begin();
        i64 r = sys_window32(nr, b, &mt_cpu.pending);
        annot_foreign_end();
        if (r == -EFAULT && faults < MT_EFAULT_REPEATS && sys_efault_hook && sys_efault_hook(t)) {
            faults++;
        } else if (r != -EINTR || !sys_only_disturbed(t) || nr == NR32_CLOSE) {
            return r;
        }
    }
}

/* ---- those of our own ---- */

static i64 own_open(Thread *t, const u64 a[6])
{
    /* The kernel's differs: no O_LARGEFILE. */
    return procfs_classify(AT_FDCWD, a[0]) == PROC_OTHER ? pass32(t, 5, a)
                                                         : sys_call(t, SYS_open, a);
}

/* The 32-bit vector as one of 64-bit pointers at `out`, or its length if that is NULL; or
 * -errno. */
static i64 widen_vector(u64 from, u64 *out)
{
    for (i64 n = 0; from != 0 && n < MAX_ARGS; n++) {
        u32 p;
        if (safe_read(&p, from + (u64)n * 4, sizeof(p))) {
            return -EFAULT;
        }
        if (out != NULL) {
            out[n] = p;
        }
        if (p == 0) {
            return n + 1;
        }
    }
    return from == 0 ? 0 : -E2BIG;
}

static i64 own_execve(Thread *t, const u64 a[6])
{
    i64 argc = widen_vector(a[1], NULL), envc = widen_vector(a[2], NULL);
    if (argc < 0 || envc < 0) {
        return argc < 0 ? argc : envc;
    }
    size_t len = (size_t)(argc + envc + 1) * 8;
    u64 *v = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (v == MAP_FAILED) {
        return -ENOMEM;
    }
    const u64 b[6] = {a[0], argc ? (u64)v : 0, envc ? (u64)(v + argc) : 0};
    i64 r = -EFAULT; /* if the guest has changed its vectors meanwhile */
    if (widen_vector(a[1], v) == argc && widen_vector(a[2], v + argc) == envc) {
        r = sys_call(t, SYS_execve, b);
    }
    munmap(v, len);
    return r;
}

/* SIG_DFL, SIG_IGN. */
static i64 set_plain_action(Thread *t, int sig, u64 handler, u64 flags, SigMask mask,
                            GuestSigaction *old)
{
    const GuestSigaction act = {.handler = handler, .flags = flags, .mask = mask};
    return handler > (u64)SIG_IGN ? -ENOSYS : signal_action(t, sig, &act, old);
}

static i64 own_signal(Thread *t, const u64 a[6])
{
    GuestSigaction old;
    i64 r = set_plain_action(t, (int)a[0], a[1], SA_RESETHAND | SA_NODEFER, 0, &old);
    return r == 0 ? (i64)(u32)old.handler : r;
}

typedef struct Sigaction32 {
    u32 handler, flags, restorer;
    u32 mask[2];
} Sigaction32;

static i64 own_sigaction(Thread *t, const u64 a[6])
{
    Sigaction32 s;
    GuestSigaction old;
    i64 r;
    if (a[3] != sizeof(SigMask)) {
        return -EINVAL;
    }
    if (a[1] == 0) {
        r = signal_action(t, (int)a[0], NULL, &old);
    } else if (safe_read(&s, a[1], sizeof(s))) {
        return -EFAULT;
    } else {
        r = set_plain_action(t, (int)a[0], s.handler, s.flags, s.mask[0] | (SigMask)s.mask[1] << 32,
                             &old);
    }
    if (r != 0 || a[2] == 0) {
        return r;
    }
    s = (Sigaction32){(u32)old.handler,
                      (u32)old.flags,
                      (u32)old.restorer,
                      {(u32)old.mask, (u32)(old.mask >> 32)}};
    return safe_write(a[2], &s, sizeof(s));
}

/* The old one: signals 1 to 32 only. */
static i64 own_sigprocmask(Thread *t, const u64 a[6])
{
    const SigMask high = 0xffffffff00000000ull;
    u32 set, old = (u32)t->sigmask;
    if (a[1] != 0) {
        if (safe_read(&set, a[1], sizeof(set))) {
            return -EFAULT;
        }
        SigMask all = set | ((int)a[0] == SIG_SETMASK ? t->sigmask & high : 0);
        const u64 b[6] = {a[0], (u64)&all, 0, sizeof(all)};
        i64 r = sys_call(t, SYS_rt_sigprocmask, b);
        if (r != 0) {
            return r;
        }
    }
    return a[2] != 0 ? safe_write(a[2], &old, sizeof(old)) : 0;
}

/* There is no frame of a 32-bit handler to return from. */
static i64 own_sigreturn(Thread *t, const u64 a[6])
{
    signal_raise_sync(t, SIGSEGV, SI_KERNEL, 0, 0, 0);
    return MT_SYS_STATE_SET;
}

/* Without a fixed place the result must fit into 32 bits. */
static i64 map_low(Thread *t, const u64 a[6], u64 offset)
{
    u64 low = a[3] & MAP_FIXED ? 0 : MAP_32BIT;
    const u64 b[6] = {a[0], a[1], a[2], a[3] | low, a[4], offset};
    return sys_call(t, SYS_mmap, b);
}

static i64 own_mmap2(Thread *t, const u64 a[6])
{
    return map_low(t, a, a[5] * MT_PAGE_SIZE);
}

static i64 own_old_mmap(Thread *t, const u64 a[6])
{
    u32 m[6];
    if (safe_read(m, a[0], sizeof(m))) {
        return -EFAULT;
    }
    const u64 b[6] = {m[0], m[1], m[2], m[3], m[4]};
    return m[5] & ~MT_PAGE_MASK ? -EINVAL : map_low(t, b, m[5]);
}

static i64 own_ipc(Thread *t, const u64 a[6])
{
    return (a[0] & 0xffff) == IPC_SHMAT ? -ENOSYS : pass32(t, 117, a);
}

static i64 own_clone(Thread *t, const u64 a[6])
{
    /* TLS would be a segment of the GDT. */
    const u64 b[6] = {a[0], a[1], a[2], a[4], 0};
    return a[0] & CLONE_SETTLS ? -ENOSYS : sys_call(t, SYS_clone, b);
}

/* ---- the call ---- */

enum { MAX_NR32 = 512 };

typedef struct Row32 {
    enum { THE_KERNELS, SAME, FD, OWN, NONE } kind;
    u32 same; /* number of the 64-bit call */
    Own own;
} Row32;

static const Row32 rows[MAX_NR32] = {
#define INT80_SAME(nr, name) [nr] = {SAME, SYS_##name, NULL},
#define INT80_FD(nr) [nr] = {FD, 0, NULL},
#define INT80_OWN(nr, fn) [nr] = {OWN, 0, fn},
#define INT80_NONE(nr) [nr] = {NONE, 0, NULL},
#include "sys/int80.def"
};

static i64 do_call32(Thread *t, u32 nr, const u64 a[6])
{
    static const Row32 unknown;
    const Row32 *row = nr < MAX_NR32 ? &rows[nr] : &unknown;
    switch (row->kind) {
    case SAME: return sys_call(t, row->same, a);
    case FD: {
        const u64 b[6] = {(u32)fd_of_guest(a[0]), a[1], a[2], a[3], a[4], a[5]};
        return pass32(t, nr, b);
    }
    case OWN: return row->own(t, a);
    case NONE: return -ENOSYS;
    case THE_KERNELS: break;
    }
    return pass32(t, nr, a);
}

void sys_int80(Thread *t, u32 insn_len)
{
    CpuState *c = &mt_cpu;
    u32 nr = (u32)c->gpr[MT_RAX];
    const u64 a[6] = {(u32)c->gpr[MT_RBX], (u32)c->gpr[MT_RCX], (u32)c->gpr[MT_RDX],
                      (u32)c->gpr[MT_RSI], (u32)c->gpr[MT_RDI], (u32)c->gpr[MT_RBP]};
    c->rip += insn_len;
    i64 r = do_call32(t, nr, a);
    MT_DEBUG(LOG_SYSCALL, 1, "int 0x80: %" PRIu32 "(%#" PRIx64 ", %#" PRIx64 ", ...) = %" PRId64,
             nr, a[0], a[1], r);
    switch (r) {
    case MT_SYS_RESTART: c->rip -= insn_len; break;
    case MT_SYS_NO_INT80:
        c->rip -= insn_len;
        signal_raise_sync(t, SIGSEGV, SI_KERNEL, 0, TRAP_GP, GP_VECTOR_80);
        break;
    case MT_SYS_STATE_SET: break;
    default: c->gpr[MT_RAX] = (u64)r;
    }
}
