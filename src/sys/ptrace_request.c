/* SPDX-License-Identifier: BSD-2-Clause
 * ptrace_request.c -- requests to tracees that have their own memory.
 * Role:       of a native tracee the kernel's. Of one that runs under mtvg the kernel knows the
 *             runtime's registers and stops: the guest's are read from its memory, and what the
 *             tracer wants is told to its runtime (docs/PTRACE.md).
 * Locking:    none: who traces a thread is one thread, and the tracee is stopped. */
#include "base/safe.h"
#include "sys/ptrace_peer.h"
#include "sys/sys.h"

#include <asm/prctl.h>
#include <elf.h>
#include <errno.h>
#include <linux/audit.h>
#include <stddef.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#define PTRACE_OLDSETOPTIONS 21 /* the kernel still takes it; asm/ptrace-abi.h */
#define PTRACE_ARCH_PRCTL_CODE 30
#define EFLAGS_USER 0x50dd5ull /* what a tracer may change */
#define FXSAVE_BYTES 512
#define FXSAVE_MXCSR 24
#define FXSAVE_MXCSR_MASK 28
#define FXSAVE_SW_BYTES 464 /* the kernel's own words; gdb looks for XCR0 there */
#define XSTATE_BV 512
#define XSTATE_DATA 576
#define USER_SPACE_END 0x7ffffffff000ull

typedef struct user_regs_struct Regs;

/* ---- registers ---- */

/* In translated code the general registers are the guest's, but for the place. */
static Regs guest_regs(const Peer *p)
{
    const u64 *g = p->cpu.gpr;
    Regs r = p->host;
    r.fs_base = p->cpu.fs_base;
    r.gs_base = p->cpu.gs_base;
    r.rip = p->cpu.rip;
    r.orig_rax = p->slot.orig_rax;
    if (p->in_cache) {
        return r;
    }
    r.rax = g[MT_RAX], r.rcx = g[MT_RCX], r.rdx = g[MT_RDX], r.rbx = g[MT_RBX];
    r.rsp = g[MT_RSP], r.rbp = g[MT_RBP], r.rsi = g[MT_RSI], r.rdi = g[MT_RDI];
    r.r8 = g[MT_R8], r.r9 = g[MT_R9], r.r10 = g[MT_R10], r.r11 = g[MT_R11];
    r.r12 = g[MT_R12], r.r13 = g[MT_R13], r.r14 = g[MT_R14], r.r15 = g[MT_R15];
    r.eflags = p->cpu.rflags;
    return r;
}

static i64 set_guest_regs(Peer *p, const Regs *r)
{
    u64 *g = p->cpu.gpr;
    if (p->in_cache || r->fs_base >= USER_SPACE_END || r->gs_base >= USER_SPACE_END) {
        return -EIO;
    }
    g[MT_RAX] = r->rax, g[MT_RCX] = r->rcx, g[MT_RDX] = r->rdx, g[MT_RBX] = r->rbx;
    g[MT_RSP] = r->rsp, g[MT_RBP] = r->rbp, g[MT_RSI] = r->rsi, g[MT_RDI] = r->rdi;
    g[MT_R8] = r->r8, g[MT_R9] = r->r9, g[MT_R10] = r->r10, g[MT_R11] = r->r11;
    g[MT_R12] = r->r12, g[MT_R13] = r->r13, g[MT_R14] = r->r14, g[MT_R15] = r->r15;
    p->cpu.rip = r->rip;
    p->cpu.rflags = (p->cpu.rflags & ~EFLAGS_USER) | (r->eflags & EFLAGS_USER);
    p->cpu.fs_base = r->fs_base;
    p->cpu.gs_base = r->gs_base;
    PTRACE_PEER_SET(p, orig_rax, r->orig_rax);
    PTRACE_PEER_SET(p, changed, 1);
    return ptrace_peer_write_cpu(p) ? 0 : -EIO;
}

static i64 put(u64 at, const void *from, size_t n)
{
    return safe_write(at, from, n) ? -EFAULT : 0;
}

static i64 do_getregs(Peer *p, u64 to, u64 *len)
{
    Regs r = guest_regs(p);
    *len = *len < sizeof(r) ? *len : sizeof(r);
    return put(to, &r, *len);
}

static i64 do_setregs(Peer *p, u64 from, u64 len)
{
    Regs r = guest_regs(p);
    return safe_read(&r, from, len < sizeof(r) ? len : sizeof(r)) ? -EFAULT : set_guest_regs(p, &r);
}

/* Registers by their place in struct user; what lies behind them (debug registers) is the
 * kernel's. */
static i64 do_peekuser(Peer *p, u64 at, u64 to)
{
    Regs r = guest_regs(p);
    return at % 8 ? -EIO : put(to, (u8 *)&r + at, 8);
}

static i64 do_pokeuser(Peer *p, u64 at, u64 value)
{
    Regs r = guest_regs(p);
    if (at % 8) {
        return -EIO;
    }
    memcpy((u8 *)&r + at, &value, 8);
    return set_guest_regs(p, &r);
}

static i64 do_arch_prctl(Peer *p, u64 addr, u64 what)
{
    Regs r = guest_regs(p);
    switch (what) {
    case ARCH_GET_FS: return put(addr, &r.fs_base, 8);
    case ARCH_GET_GS: return put(addr, &r.gs_base, 8);
    case ARCH_SET_FS: r.fs_base = addr; return set_guest_regs(p, &r);
    case ARCH_SET_GS: r.gs_base = addr; return set_guest_regs(p, &r);
    default: return -EINVAL;
    }
}

/* ---- vector and x87 state ---- */

enum { XSTATE_ROOM = 1 << 14 };

/* The guest's state in place of what the kernel has filled in; its own words, and components that
 * the runtime does not touch, stay. */
static void merge_xstate(const u8 *own, size_t size, u8 *kernels, size_t len)
{
    u64 bv, own_bv;
    if (len > XSTATE_DATA && size > XSTATE_DATA) {
        memcpy(&bv, kernels + XSTATE_BV, 8);
        memcpy(&own_bv, own + XSTATE_BV, 8);
        bv = (bv & ~mt_xsave.mask) | (own_bv & mt_xsave.mask);
        memcpy(kernels + XSTATE_BV, &bv, 8);
        memcpy(kernels + XSTATE_DATA, own + XSTATE_DATA, (len < size ? len : size) - XSTATE_DATA);
    }
    memcpy(kernels, own, len < FXSAVE_SW_BYTES ? len : FXSAVE_SW_BYTES);
}

static bool read_xsave(const Peer *p, u8 *buf)
{
    return p->cpu.xstate_saved && mt_xsave.size <= XSTATE_ROOM &&
           ptrace_peer_read(p->tid, (u64)p->cpu.xsave, buf, mt_xsave.size);
}

/* The kernel's answer of len bytes lies at `to`. */
static i64 do_getxstate(const Peer *p, u64 to, u64 len)
{
    u8 own[XSTATE_ROOM], kernels[XSTATE_ROOM];
    if (!read_xsave(p, own) || len > sizeof(kernels)) {
        return 0;
    }
    if (safe_read(kernels, to, len)) {
        return -EFAULT;
    }
    merge_xstate(own, mt_xsave.size, kernels, len);
    return put(to, kernels, len);
}

/* What XRSTOR would refuse never gets into the area. */
static i64 do_setxstate(const Peer *p, u64 from, u64 len)
{
    u8 own[XSTATE_ROOM], given[XSTATE_ROOM];
    u64 bv = 3, own_bv;
    u32 mask, mxcsr;
    if (!read_xsave(p, own) || len > sizeof(given) || len < FXSAVE_BYTES) {
        return -EIO;
    }
    if (safe_read(given, from, len)) {
        return -EFAULT;
    }
    memcpy(&mask, own + FXSAVE_MXCSR_MASK, 4);
    memcpy(&mxcsr, given + FXSAVE_MXCSR, 4);
    if (mxcsr & ~mask) {
        return -EINVAL;
    }
    memcpy(own, given, FXSAVE_MXCSR_MASK);
    memcpy(own + FXSAVE_MXCSR_MASK + 4, given + FXSAVE_MXCSR_MASK + 4, 416 - FXSAVE_MXCSR_MASK - 4);
    if (mt_xsave.size > XSTATE_DATA) {
        memcpy(&own_bv, own + XSTATE_BV, 8);
        if (len > XSTATE_DATA) {
            memcpy(&bv, given + XSTATE_BV, 8);
            memcpy(own + XSTATE_DATA, given + XSTATE_DATA,
                   (len < mt_xsave.size ? len : mt_xsave.size) - XSTATE_DATA);
        } else {
            bv |= own_bv;
        }
        bv &= mt_xsave.mask;
        memcpy(own + XSTATE_BV, &bv, 8);
    }
    return ptrace_peer_write(p->tid, (u64)p->cpu.xsave, own, mt_xsave.size) ? 0 : -EIO;
}

/* ---- register sets ---- */

static i64 do_getregset(Thread *t, Peer *p, const u64 a[6])
{
    struct iovec v;
    if (a[2] == NT_PRSTATUS && safe_read(&v, a[3], sizeof(v)) == 0) {
        u64 len = v.iov_len - v.iov_len % 8;
        i64 r = do_getregs(p, (u64)v.iov_base, &len);
        v.iov_len = len;
        return r ? r : put(a[3], &v, sizeof(v));
    }
    i64 r = sys_pass(t, SYS_ptrace, a);
    if (r == 0 && (a[2] == NT_X86_XSTATE || a[2] == NT_PRFPREG) &&
        safe_read(&v, a[3], sizeof(v)) == 0) {
        return do_getxstate(p, (u64)v.iov_base, v.iov_len);
    }
    return r;
}

static i64 do_setregset(Thread *t, Peer *p, const u64 a[6])
{
    struct iovec v;
    if (safe_read(&v, a[3], sizeof(v)) != 0) {
        return -EFAULT;
    }
    switch (a[2]) {
    case NT_PRSTATUS: return do_setregs(p, (u64)v.iov_base, v.iov_len - v.iov_len % 8);
    case NT_PRFPREG:
    case NT_X86_XSTATE: return do_setxstate(p, (u64)v.iov_base, v.iov_len);
    default: return sys_pass(t, SYS_ptrace, a);
    }
}

/* ---- what it stands at ---- */

static bool at_syscall(const Peer *p)
{
    return p->slot.at == PTRACE_AT_ENTRY || p->slot.at == PTRACE_AT_EXIT;
}

static i64 do_getsiginfo(const Peer *p, u64 to)
{
    siginfo_t info = p->slot.info;
    if (at_syscall(p) && !(ptrace_peer_options(p->tid) & PTRACE_O_TRACESYSGOOD)) {
        info.si_code = SIGTRAP;
    }
    return put(to, &info, sizeof(info));
}

static i64 do_syscall_info(const Peer *p, u64 size, u64 to)
{
    struct __ptrace_syscall_info i;
    Regs r = guest_regs(p);
    size_t n = offsetof(struct __ptrace_syscall_info, entry);
    memset(&i, 0, sizeof(i));
    i.arch = AUDIT_ARCH_X86_64;
    i.instruction_pointer = r.rip;
    i.stack_pointer = r.rsp;
    if (p->slot.at == PTRACE_AT_ENTRY) {
        const u64 args[6] = {r.rdi, r.rsi, r.rdx, r.r10, r.r8, r.r9};
        i.op = PTRACE_SYSCALL_INFO_ENTRY;
        i.entry.nr = r.orig_rax;
        memcpy(i.entry.args, args, sizeof(args));
        n = offsetof(struct __ptrace_syscall_info, entry.args) + sizeof(args);
    } else if (p->slot.at == PTRACE_AT_EXIT) {
        i.op = PTRACE_SYSCALL_INFO_EXIT;
        i.exit.rval = (i64)r.rax;
        i.exit.is_error = (i64)r.rax < 0 && (i64)r.rax >= -4095;
        n = offsetof(struct __ptrace_syscall_info, exit.is_error) + 1;
    }
    i64 e = put(to, &i, size < n ? size : n);
    return e ? e : (i64)n;
}

/* The thread's, not that of the host. */
static i64 do_sigmask(Peer *p, const u64 a[6])
{
    u64 mask, at = (u64)p->cpu.thread + offsetof(Thread, sigmask);
    if (a[2] != sizeof(mask)) {
        return -EINVAL;
    }
    if (a[0] == PTRACE_GETSIGMASK) {
        return ptrace_peer_read(p->tid, at, &mask, sizeof(mask)) ? put(a[3], &mask, sizeof(mask))
                                                                 : -EIO;
    }
    if (safe_read(&mask, a[3], sizeof(mask))) {
        return -EFAULT;
    }
    mask &= ~(SIG_BIT(SIGKILL) | SIG_BIT(SIGSTOP));
    PTRACE_PEER_SET(p, changed, 1);
    return ptrace_peer_write(p->tid, at, &mask, sizeof(mask)) ? 0 : -EIO;
}

/* ---- going on ---- */

static PtraceMode mode_of(u64 request)
{
    switch (request) {
    case PTRACE_SYSCALL: return PTRACE_MODE_SYSCALL;
    case PTRACE_SINGLESTEP:
    case PTRACE_SINGLEBLOCK: return PTRACE_MODE_STEP;
    case PTRACE_SYSEMU: return PTRACE_MODE_EMULATE;
    case PTRACE_SYSEMU_SINGLESTEP: return PTRACE_MODE_EMULATE_STEP;
    default: return PTRACE_MODE_CONT;
    }
}

static i64 do_resume(Peer *p, u64 request, u64 sig)
{
    if (sig > 64) {
        return -EIO;
    }
    ptrace_peer_tell_writes(p);
    PTRACE_PEER_SET(p, mode, mode_of(request));
    PTRACE_PEER_SET(p, deliver, (i32)sig);
    PTRACE_PEER_SET(p, at, PTRACE_AT_NOTHING);
    if (request == PTRACE_DETACH) {
        PTRACE_PEER_SET(p, traced, 0);
        ptrace_peer_gone(p->tid);
        return ptrace_raw(PTRACE_DETACH, p->tid, 0, p->at_guest ? 0 : sig);
    }
    return ptrace_raw(PTRACE_CONT, p->tid, 0, 0);
}

/* ---- the calls ---- */

/* What the kernel would say of the runtime. MT_SYS_RESTART: it is to be asked. */
static i64 guest_request(Thread *t, Peer *p, const u64 a[6])
{
    u64 all = sizeof(Regs);
    if (ptrace_resumes(a[0])) {
        return do_resume(p, a[0], a[3]);
    }
    switch (a[0]) {
    case PTRACE_GETREGS: return do_getregs(p, a[3], &all);
    case PTRACE_SETREGS: return do_setregs(p, a[3], sizeof(Regs));
    case PTRACE_PEEKUSER: return a[2] < sizeof(Regs) ? do_peekuser(p, a[2], a[3]) : MT_SYS_RESTART;
    case PTRACE_POKEUSER: return a[2] < sizeof(Regs) ? do_pokeuser(p, a[2], a[3]) : MT_SYS_RESTART;
    case PTRACE_ARCH_PRCTL_CODE: return do_arch_prctl(p, a[2], a[3]);
    case PTRACE_GETREGSET: return do_getregset(t, p, a);
    case PTRACE_SETREGSET: return do_setregset(t, p, a);
    case PTRACE_GETFPREGS: {
        i64 r = sys_pass(t, SYS_ptrace, a);
        return r ? r : do_getxstate(p, a[3], FXSAVE_BYTES);
    }
    case PTRACE_SETFPREGS: return do_setxstate(p, a[3], FXSAVE_BYTES);
    case PTRACE_GETSIGMASK:
    case PTRACE_SETSIGMASK: return do_sigmask(p, a);
    default: break;
    }
    if (!p->at_guest) {
        return MT_SYS_RESTART;
    }
    switch (a[0]) {
    case PTRACE_GETSIGINFO: return do_getsiginfo(p, a[3]);
    case PTRACE_SETSIGINFO:
        return safe_read(&p->slot.info, a[3], sizeof(p->slot.info)) ? -EFAULT
               : PTRACE_PEER_SET(p, info, p->slot.info)             ? 0
                                                                    : -EIO;
    case PTRACE_GETEVENTMSG: return put(a[3], &p->slot.message, sizeof(p->slot.message));
    case PTRACE_GET_SYSCALL_INFO: return do_syscall_info(p, a[2], a[3]);
    case PTRACE_LISTEN:
        return -EIO; /* only of a process that has been stopped; then it is the kernel's */
    default: return MT_SYS_RESTART;
    }
}

static i64 kernel_request(Thread *t, const u64 a[6])
{
    i64 r = sys_pass(t, SYS_ptrace, a);
    if (r < 0) {
        return r;
    }
    switch (a[0]) {
    case PTRACE_TRACEME: ptrace_traceme(t); break;
    case PTRACE_SEIZE:
    case PTRACE_SETOPTIONS:
    case PTRACE_OLDSETOPTIONS: ptrace_peer_set_options((pid_t)a[1], (u32)a[3]); break;
    case PTRACE_ATTACH: ptrace_peer_set_options((pid_t)a[1], 0); break;
    case PTRACE_DETACH: ptrace_peer_gone((pid_t)a[1]); break;
    case PTRACE_POKETEXT:
    case PTRACE_POKEDATA: ptrace_peer_poked(); break;
    default: break;
    }
    return r;
}

/* Requests that the tracee's registers and stops have nothing to do with. */
static bool is_kernels(u64 request)
{
    switch (request) {
    case PTRACE_TRACEME:
    case PTRACE_PEEKTEXT:
    case PTRACE_PEEKDATA:
    case PTRACE_POKETEXT:
    case PTRACE_POKEDATA:
    case PTRACE_KILL:
    case PTRACE_ATTACH:
    case PTRACE_SEIZE:
    case PTRACE_INTERRUPT:
    case PTRACE_SETOPTIONS:
    case PTRACE_OLDSETOPTIONS: return true;
    default: return false;
    }
}

i64 ptrace_request(Thread *t, const u64 a[6])
{
    Peer p;
    if (is_kernels(a[0]) || ptrace_peer_load((pid_t)a[1], &p) != 0) {
        return kernel_request(t, a);
    }
    i64 r = guest_request(t, &p, a);
    return r == MT_SYS_RESTART ? kernel_request(t, a) : r;
}

i64 sys_process_vm_writev(Thread *t, const u64 a[6])
{
    ptrace_peer_poked();
    return sys_pass(t, SYS_process_vm_writev, a);
}
