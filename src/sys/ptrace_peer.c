/* SPDX-License-Identifier: BSD-2-Clause
 * ptrace_peer.c -- the tracer's side: finds the tracee's slot, and tells the guest's stops from
 *                  those that are between the kernel and the tracee's runtime (docs/PTRACE.md).
 * Role:       ptrace_peer_stopped() decides on each stop that wait() finds; sys_ptrace.c does
 *             requests.
 * Invariants: E1. a stop that is not the guest's to see is left by PTRACE_CONT at once, its signal
 *                 given to the tracee's runtime, which makes a stop of the guest's of it, if it is
 *                 one.
 *             E2. what can't be looked at (another thread's tracee, another user's) is the kernel's
 *                 affair.
 * Locking:    the table of tracees is one word each, changed by compare-and-swap: it survives a
 *             fork. */
#include "sys/ptrace_peer.h"

#include "base/atomics.h"
#include "base/options.h"
#include "guest/elf.h"
#include "jit/cache.h"
#include "sys/sig_host.h"
#include "sys/sys.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    TABLE_SIZE = 1024,
    TABLE_PROBES = 32,
    EVENT_STOP = 128, /* PTRACE_EVENT_STOP */
    TRAP_CODE_HWBKPT = 4,
};

i64 ptrace_raw(u64 request, pid_t tid, u64 addr, u64 data)
{
    return sys_raw(SYS_ptrace, request, (u64)tid, addr, data, 0, 0);
}

/* ---- what is known of tracees ---- */

/* An entry: tid in the low half, options above, two bits. 0: free. */
#define ENTRY_NATIVE (1ull << 63) /* not a guest */
#define ENTRY_GUEST (1ull << 62)  /* neither: not looked at yet */
#define ENTRY_OPTIONS 0x3fffffffu
static u64 table[TABLE_SIZE];
/* A thread that the kernel has attached because its maker is traced has that one's options: taken
 * to be these. */
static u32 last_options;

/* The entry of tid, or a free one if `make`; NULL: none. */
static u64 *find_entry(pid_t tid, bool make)
{
    for (u32 i = 0; i < TABLE_PROBES; i++) {
        u64 *e = &table[((u32)tid + i) % TABLE_SIZE], expected = 0;
        if ((u32)mt_load_relaxed(e) == (u32)tid) {
            return e;
        }
        if (make && __atomic_compare_exchange_n(e, &expected, (u32)tid, false, __ATOMIC_RELAXED,
                                                __ATOMIC_RELAXED)) {
            return e;
        }
    }
    return NULL;
}

static u64 entry_of(pid_t tid)
{
    const u64 *e = find_entry(tid, false);
    return e != NULL ? mt_load_relaxed(e) : 0;
}

/* Who traces a thread is one thread: nobody else changes its entry. A full table costs time only,
 * and the options. */
static void set_entry(pid_t tid, u64 kind, u32 options)
{
    u64 *e = find_entry(tid, true);
    if (e != NULL) {
        mt_store_relaxed(e, kind | (u64)(options & ENTRY_OPTIONS) << 32 | (u32)tid);
    }
}

void ptrace_peer_gone(pid_t tid)
{
    u64 *e = find_entry(tid, false);
    if (e != NULL) {
        mt_store_relaxed(e, 0);
    }
}

u32 ptrace_peer_options(pid_t tid)
{
    return (u32)(entry_of(tid) >> 32) & ENTRY_OPTIONS;
}

void ptrace_peer_set_options(pid_t tid, u32 options)
{
    mt_store_relaxed(&last_options, options);
    set_entry(tid, entry_of(tid) & (ENTRY_NATIVE | ENTRY_GUEST), options);
}

/* ---- its memory ---- */

bool ptrace_peer_read(pid_t pid, u64 at, void *to, size_t n)
{
    const struct iovec here = {to, n}, there = {(void *)at, n};
    return sys_raw(SYS_process_vm_readv, (u64)pid, (u64)&here, 1, (u64)&there, 1, 0) == (i64)n;
}

bool ptrace_peer_write(pid_t pid, u64 at, const void *from, size_t n)
{
    const struct iovec here = {(void *)from, n}, there = {(void *)at, n};
    return sys_raw(SYS_process_vm_writev, (u64)pid, (u64)&here, 1, (u64)&there, 1, 0) == (i64)n;
}

bool ptrace_peer_write_cpu(Peer *p)
{
    /* But `pending`, which other threads of the tracee's change. */
    return ptrace_peer_write(p->tid, p->cpu_at, &p->cpu, offsetof(CpuState, slot));
}

u64 ptrace_peer_slot_at(const Peer *p)
{
    return p->tls_at + offsetof(PtraceTls, slot) + p->level * sizeof(PtraceSlot);
}

/* Its program is ours. */
static bool runs_mtvg(pid_t pid)
{
    char path[32];
    struct stat own, other;
    snprintf(path, sizeof(path), "/proc/%d/exe", pid);
    return stat(path, &other) == 0 && stat("/proc/self/exe", &own) == 0 &&
           own.st_dev == other.st_dev && own.st_ino == other.st_ino;
}

static bool read_file(pid_t pid, const char *name, void *buf, size_t size, size_t *n)
{
    char path[48];
    snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, buf, size);
    if (fd >= 0) {
        close(fd);
    }
    *n = got > 0 ? (size_t)got : 0;
    return got > 0;
}

/* How far another process's mtvg lies from ours: both have their entry point in the kernel's
 * vector. */
static bool find_shift(pid_t pid, i64 *shift)
{
    ElfW(auxv_t) v[64];
    size_t n;
    if (!read_file(pid, "auxv", v, sizeof(v), &n)) {
        return false;
    }
    for (size_t i = 0; i < n / sizeof(v[0]); i++) {
        if (v[i].a_type == AT_ENTRY) {
            *shift = (i64)(v[i].a_un.a_val - getauxval(AT_ENTRY));
            return true;
        }
    }
    return false;
}

/* A process that has exec'ed since it forked from ours (or never did) runs under an mtvg of its
 * own: that one is ours to look through only if children shall run under mtvg; otherwise it is a
 * program like any other. */
static bool is_family(pid_t pid, i64 shift)
{
    PtraceProc theirs;
    return ptrace_peer_read(pid, (u64)&mt_ptrace_proc + (u64)shift, &theirs, sizeof(theirs)) &&
           theirs.wake != 0 && (mt_opts.trace_children || theirs.family == mt_ptrace_proc.family);
}

bool ptrace_peer_process(pid_t pid)
{
    i64 shift;
    return !mt_under_valgrind && pid > 0 && runs_mtvg(pid) && find_shift(pid, &shift) &&
           is_family(pid, shift);
}

static u64 own_fs_base(void)
{
    u64 base;
    __asm__("mov %%fs:0, %0" : "=r"(base));
    return base;
}

/* Which slot is this thread's. A thread that has just been made by fork has its parent's. */
static u32 find_level(const PtraceTls *tls, pid_t tid)
{
    for (u32 i = 0; i < PTRACE_LEVELS; i++) {
        if (tls->slot[i].tid == tid) {
            return i;
        }
    }
    return (tls->depth + tls->vforking) % PTRACE_LEVELS;
}

/* Takes the slot for this thread, if that has not been done. */
static bool claim(Peer *p)
{
    if (p->slot.tid != p->tid) {
        memset(&p->slot, 0, sizeof(p->slot));
        p->slot.tid = p->tid;
        p->slot.traced = 1;
        return ptrace_peer_write(p->tid, ptrace_peer_slot_at(p), &p->slot, sizeof(p->slot));
    }
    return p->slot.traced != 0 || PTRACE_PEER_SET(p, traced, 1);
}

/* Reads its TLS. False: that is not mtvg's, or not there yet. */
static bool read_tls(Peer *p, PtraceTls *tls)
{
    u64 own = own_fs_base();
    p->tls_at = (u64)&mt_ptrace - own + p->host.fs_base;
    p->cpu_at = (u64)&mt_cpu - own + p->host.fs_base;
    if (p->host.fs_base == 0 || !ptrace_peer_read(p->tid, p->tls_at, tls, sizeof(*tls)) ||
        tls->magic != PTRACE_SLOT_MAGIC ||
        !ptrace_peer_read(p->tid, p->cpu_at, &p->cpu, sizeof(p->cpu))) {
        return false;
    }
    p->shift = (i64)((u64)tls->proc - (u64)&mt_ptrace_proc);
    return true;
}

/* Is it the int3 of ptrace_stop_here() that it stands behind? Other stops are possible there,
 * too. */
static bool stands_at_stop(const Peer *p)
{
    siginfo_t info;
    return p->slot.at != PTRACE_AT_NOTHING && p->host.rip == (u64)ptrace_stop_end + (u64)p->shift &&
           ptrace_raw(PTRACE_GETSIGINFO, p->tid, 0, (u64)&info) == 0 && info.si_signo == SIGTRAP &&
           info.si_code == SI_KERNEL;
}

/* At its first stop. Its slot is its own already if it has asked to be traced itself. */
static u32 first_options(pid_t tid, bool asked)
{
    bool known = entry_of(tid) != 0;
    return known || asked ? ptrace_peer_options(tid) : mt_load_relaxed(&last_options);
}

/* Where it stands. */
static void look_at_place(Peer *p)
{
    Cache cache;
    u64 rip = p->host.rip;
    p->at_guest = stands_at_stop(p);
    p->in_cache = !p->at_guest &&
                  ptrace_peer_read(p->tid, (u64)&mt_cache + (u64)p->shift, &cache, sizeof(cache)) &&
                  rip - cache.exec < cache.size;
}

int ptrace_peer_load(pid_t tid, Peer *p)
{
    PtraceTls tls;
    u64 entry = entry_of(tid);
    p->tid = tid;
    if ((entry & ENTRY_NATIVE) || mt_under_valgrind) {
        return -ENOENT;
    }
    if (ptrace_raw(PTRACE_GETREGS, tid, 0, (u64)&p->host) < 0) {
        return -ESRCH;
    }
    bool is_mtvg = (entry & ENTRY_GUEST) || runs_mtvg(tid);
    if (is_mtvg && !read_tls(p, &tls)) {
        return -ENOENT;
    }
    if (!(entry & ENTRY_GUEST)) {
        bool guest = is_mtvg && is_family(tid, p->shift);
        bool asked = guest && tls.slot[find_level(&tls, tid)].tid == tid;
        set_entry(tid, guest ? ENTRY_GUEST : ENTRY_NATIVE, first_options(tid, asked));
        if (!guest) {
            return -ENOENT;
        }
    }
    p->level = find_level(&tls, tid);
    p->slot = tls.slot[p->level];
    look_at_place(p);
    return claim(p) ? 0 : -ENOENT;
}

/* ---- writes to code ---- */

static u64 write_epoch = 1;
static bool mem_opened;

void ptrace_peer_poked(void)
{
    mt_fetch_add(&write_epoch, 1);
}

void ptrace_peer_mem_opened(void)
{
    mt_store_relaxed(&mem_opened, true);
}

void ptrace_peer_tell_writes(Peer *p)
{
    u64 epoch = mt_load_relaxed(&write_epoch);
    if (mt_load_relaxed(&mem_opened) || p->slot.epoch != epoch) {
        PTRACE_PEER_SET(p, epoch, epoch);
        PTRACE_PEER_SET(p, dirty, 1);
    }
}

/* ---- stops ---- */

static void go_on(pid_t tid, int sig)
{
    ptrace_raw(PTRACE_CONT, tid, 0, (u64)sig);
}

/* Has the process a handler for it in the kernel? Its runtime's, then. */
static bool is_caught(pid_t tid, int sig)
{
    char buf[4096];
    size_t n;
    if (!read_file(tid, "status", buf, sizeof(buf) - 1, &n)) {
        return false;
    }
    buf[n] = '\0';
    const char *p = strstr(buf, "\nSigCgt:\t");
    return p != NULL && (strtoull(p + 9, NULL, 16) & SIG_BIT(sig)) != 0;
}

static void make_wake(const Peer *p, siginfo_t *info)
{
    PtraceProc theirs = {0};
    ptrace_peer_read(p->tid, (u64)&mt_ptrace_proc + (u64)p->shift, &theirs, sizeof(theirs));
    memset(info, 0, sizeof(*info));
    info->si_signo = MT_SIG_KICK;
    info->si_code = SI_QUEUE;
    info->si_value.sival_ptr = (void *)theirs.wake;
}

/* Puts it onto the thread's list. False: that is full. */
static bool add_request(Peer *p, u32 at, const siginfo_t *info)
{
    u32 n = p->slot.nrequests;
    if (n >= PTRACE_REQUESTS) {
        return false;
    }
    PTRACE_PEER_SET(p, request[n].info, *info);
    PTRACE_PEER_SET(p, request[n].at, at);
    return PTRACE_PEER_SET(p, nrequests, n + 1);
}

/* The signal that it has stopped for becomes a request; a wake-up comes in its place. */
static void signal_to_request(Peer *p, const siginfo_t *info)
{
    siginfo_t wake;
    int sig = info->si_signo;
    if (add_request(p, PTRACE_AT_SIGNAL, info)) {
        make_wake(p, &wake);
        ptrace_raw(PTRACE_SETSIGINFO, p->tid, 0, (u64)&wake);
        sig = MT_SIG_KICK;
    }
    go_on(p->tid, sig);
}

/* PTRACE_INTERRUPT, or the first stop of a new tracee: not a signal that could be replaced. */
static void event_to_request(Peer *p, i32 code)
{
    char buf[4096], *tgid;
    siginfo_t wake, info;
    size_t n;
    memset(&info, 0, sizeof(info));
    info.si_signo = code;
    make_wake(p, &wake);
    if (read_file(p->tid, "status", buf, sizeof(buf) - 1, &n) &&
        add_request(p, PTRACE_AT_EVENT, &info)) {
        buf[n] = '\0';
        tgid = strstr(buf, "\nTgid:\t");
        sys_raw(SYS_rt_tgsigqueueinfo, tgid ? strtoull(tgid + 7, NULL, 10) : 0, (u64)p->tid,
                MT_SIG_KICK, (u64)&wake, 0, 0);
    }
    go_on(p->tid, 0);
}

/* The tracee's runtime's own, or one that it can tell the guest's from. */
static bool is_runtimes(const Peer *p, const siginfo_t *info)
{
    siginfo_t wake;
    int sig = info->si_signo;
    if (sig == MT_SIG_KICK && info->si_code == SI_QUEUE) {
        make_wake(p, &wake);
        return info->si_value.sival_ptr == wake.si_value.sival_ptr ||
               info->si_value.sival_ptr == (void *)~(u64)wake.si_value.sival_ptr;
    }
    if (sig == SIGTRAP && info->si_code == TRAP_CODE_HWBKPT) {
        return false;
    }
    return (SIG_BIT(sig) & SIG_FAULTS) && info->si_code > 0;
}

/* A signal is about to be delivered. True: shown as the kernel has it. */
static bool signal_stopped(Peer *p, int sig, i32 *code)
{
    siginfo_t info;
    if (p->at_guest) {
        *code = p->slot.code;
        if ((p->slot.at == PTRACE_AT_ENTRY || p->slot.at == PTRACE_AT_EXIT) &&
            (ptrace_peer_options(p->tid) & PTRACE_O_TRACESYSGOOD)) {
            *code |= 0x80;
        }
        return true;
    }
    if (ptrace_raw(PTRACE_GETSIGINFO, p->tid, 0, (u64)&info) < 0) {
        return true; /* the process has been stopped */
    }
    if (is_runtimes(p, &info)) {
        go_on(p->tid, sig);
    } else if (p->slot.approved == sig) {
        PTRACE_PEER_SET(p, approved, 0);
        go_on(p->tid, sig);
    } else if (is_caught(p->tid, sig) && info.si_code != TRAP_CODE_HWBKPT) {
        go_on(p->tid, sig);
    } else {
        signal_to_request(p, &info);
    }
    return false;
}

/* An exec has been done. True: a native program. False: mtvg starts, and stops before the guest
 * does. */
static bool exec_stopped(pid_t tid, i32 code)
{
    i64 shift;
    u64 message = 0, at;
    bool guest = mt_opts.trace_children && runs_mtvg(tid) && find_shift(tid, &shift);
    set_entry(tid, guest ? ENTRY_GUEST : ENTRY_NATIVE, ptrace_peer_options(tid));
    if (!guest) {
        return true;
    }
    ptrace_raw(PTRACE_GETEVENTMSG, tid, 0, (u64)&message);
    at = (u64)&mt_ptrace_proc + (u64)shift;
    ptrace_peer_write(tid, at + offsetof(PtraceProc, start_message), &message, sizeof(message));
    ptrace_peer_write(tid, at + offsetof(PtraceProc, start_code), &code, sizeof(code));
    go_on(tid, 0);
    return false;
}

/* The kernel's SIGTRAP behind an exec, which nobody asked to be an event. */
static bool is_exec_trap(pid_t tid, i32 code)
{
    siginfo_t info;
    struct user_regs_struct r;
    return code == SIGTRAP && ptrace_raw(PTRACE_GETSIGINFO, tid, 0, (u64)&info) == 0 &&
           info.si_code == 0 && ptrace_raw(PTRACE_GETREGS, tid, 0, (u64)&r) == 0 &&
           r.fs_base == 0 && r.orig_rax != ~0ull;
}

bool ptrace_peer_stopped(pid_t tid, i32 *code)
{
    Peer p;
    int event = *code >> 8, sig = *code & 0x7f;
    if (ptrace_shares_memory(tid)) {
        return true;
    }
    if (event == PTRACE_EVENT_EXEC || is_exec_trap(tid, *code)) {
        return exec_stopped(tid, *code);
    }
    if (ptrace_peer_load(tid, &p) != 0) {
        return true;
    }
    if (event == EVENT_STOP && sig == SIGTRAP) {
        event_to_request(&p, *code);
        return false;
    }
    if (event == PTRACE_EVENT_FORK || event == PTRACE_EVENT_CLONE) {
        /* The runtime has more to do before it could be left there: it holds locks, and the new
         * thread waits for it. A vfork's parent does not: it sleeps until its child, which may be
         * stopped too, is done. */
        u64 message = 0;
        ptrace_raw(PTRACE_GETEVENTMSG, tid, 0, (u64)&message);
        PTRACE_PEER_SET(&p, event_message, message);
        PTRACE_PEER_SET(&p, event, *code);
        go_on(tid, 0);
        return false;
    }
    return event != 0 || signal_stopped(&p, sig, code);
}

/* ---- its files ---- */

/* Of a process that we trace. */
static bool find_guest(pid_t pid, i64 *shift)
{
    return (entry_of(pid) & ENTRY_GUEST) && find_shift(pid, shift);
}

int ptrace_peer_exe(pid_t pid)
{
    PtraceProc theirs;
    i64 shift;
    bool ok = find_guest(pid, &shift) &&
              ptrace_peer_read(pid, (u64)&mt_ptrace_proc + (u64)shift, &theirs, sizeof(theirs));
    return ok ? theirs.exe_fd - 1 : -1;
}

size_t ptrace_peer_auxv(pid_t pid, u64 *out, size_t size)
{
    size_t n;
    i64 shift;
    bool ok = find_guest(pid, &shift) &&
              ptrace_peer_read(pid, (u64)&mt_guest_auxv_bytes + (u64)shift, &n, sizeof(n)) &&
              n <= size && ptrace_peer_read(pid, (u64)mt_guest_auxv + (u64)shift, out, n);
    return ok ? n : 0;
}
