/* SPDX-License-Identifier: BSD-2-Clause
 * sys.h -- guest system calls.
 * Every call is a row of syscalls.def: number, name, kind. The run loop calls sys_dispatch() in the
 * slow domain for whatever the fast path (sched/fastpath.c) does not do itself. */
#ifndef MT_SYS_H
#define MT_SYS_H

#include "base/base.h"
#include "base/valgrind_annot.h"
#include "sched/thread.h"
#include "sched/world.h"

/* How a system call is done; column `kind` of syscalls.def. */
typedef enum SysKind {
    SYS_UNKNOWN, /* no row: passed through, one warning */
    SYS_PASS,    /* straight to the kernel; may block; fast path */
    SYS_FDS, /* same, with descriptors among its arguments; not on the fast path if one is ours */
    SYS_HANDLED, /* a C function */
    SYS_ENOSYS,  /* refused */
} SysKind;

/* a[0..5] are the arguments; returns the result for rax, or one of the values below. */
typedef i64 (*SysHandler)(Thread *t, const u64 a[6]);

typedef struct SysRow {
    const char *name;
    u8 kind;
    /* Bit i: argument i is a file descriptor; never one of ours for what does the call. */
    u8 fd_args;
    SysHandler handler;
} SysRow;

#define MT_SYS_MAX 512
extern const SysRow mt_sys_table[MT_SYS_MAX];

/* Results outside the kernel's errno range. */
#define MT_SYS_RESTART (-0x10001)   /* nothing done, a signal is pending: deliver it, then again */
#define MT_SYS_STATE_SET (-0x10002) /* mt_cpu holds the complete new state (sigreturn) */
#define MT_SYS_EXIT (-0x10003)      /* the thread ends: thread->exiting is set */
#define MT_SYS_NO_INT80 (-0x10004)  /* sys_window32(): the kernel has no 32-bit system calls */

/* Does the call that mt_cpu describes (rip = behind the syscall instruction) and updates mt_cpu
 * (rax, rcx, r11, rip). Slow domain; thread outside the world lock unless a handler enters it. */
void sys_dispatch(Thread *t);

/* The one way to do a host system call for the guest that may block: not begun if a signal is
 * pending (MT_SYS_RESTART), interrupted by one without a gap. In src/sys/sys_window.S. */
i64 sys_window_raw(u64 nr, const u64 a[6], const volatile u32 *pending);
extern const char sys_window_begin[], sys_window_insn[], sys_window_end[], sys_window_abort[];

/* By the calling thread. What the kernel does with the guest's memory is no business of an outer
 * tool's. _settled: !world_may_kick(), or world_wait_kicks() has been called, since the thread has
 * been OUTSIDE. */
static inline i64 sys_window_settled(u64 nr, const u64 a[6])
{
    annot_foreign_begin();
    i64 r = sys_window_raw(nr, a, &mt_cpu.pending);
    annot_foreign_end();
    return r;
}

/* Never interrupted by the runtime's kick: what a kick cuts short (a write to a pipe, a timeout) is
 * not to be had back. */
i64 sys_window(u64 nr, const u64 a[6]);

/* The same by int 0x80: a 32-bit call. MT_SYS_NO_INT80: there are none here. */
i64 sys_window32(u64 nr, const u32 a[6], const volatile u32 *pending);
extern const char sys_window32_begin[], sys_window32_insn[], sys_window32_end[],
    sys_window32_abort[], sys_window32_fault[];

/* The guest's int 0x80 at mt_cpu.rip: does the call and updates mt_cpu. Outside the world. */
void sys_int80(Thread *t, u32 insn_len);

/* One call by its number in the table, whatever its kind; tells the tool. Its result. */
i64 sys_call(Thread *t, u32 nr, const u64 a[6]);

/* What the call that c describes means for the thread's turn. INSIDE. */
WorldAway sys_away(const CpuState *c);

/* Host system call without that (never blocks long, or not on behalf of the guest): -errno. */
i64 sys_raw(u64 nr, u64 a0, u64 a1, u64 a2, u64 a3, u64 a4, u64 a5);

/* The process, or with *is_thread (may be NULL) set the thread, that a pidfd stands for; 0:
 * none. */
pid_t sys_pidfd_pid(const Thread *t, int fd, bool *is_thread);

/* A call has returned -EINTR: due to a signal that is the runtime's own, or that the guest has
 * blocked? Then it is to be repeated (but not close: that has been done); otherwise the guest sees
 * it, as after a stop and SIGCONT. */
static inline bool sys_only_disturbed(const Thread *t)
{
    return t->disturbed && !t->pending.full;
}

/* The above for a call made on the guest's behalf, with what belongs to it: done again when only
 * a signal that the guest is not to see interrupted it (Thread.disturbed), and once more when the
 * translator's write protection of code pages made it fail with -EFAULT. Result as of
 * sys_window(). */
i64 sys_pass(Thread *t, u64 nr, const u64 a[6]);

/* Makes write-protected code pages writable that the call `nr` may write to, so that it does not
 * fail with -EFAULT when it has done half of its work. True: there were such pages. *known: false
 * if it is not known where the call writes. */
bool sys_allow_writes(u64 nr, const u64 a[6], bool *known);

/* The call has failed with -EFAULT: due to a page that has become protected since it began, or, of
 * a call that writes we don't know where, before? A call is not repeated for nothing: its first
 * attempt may have taken a message from a queue. `epoch`: smc_write_epoch() before it. */
bool sys_efault_is_ours(Thread *t, u64 nr, const u64 a[6], u32 epoch);

/* Which arguments of a call point to what it writes: bits 0 to 5, and MT_WRITES_DEEP: through a
 * structure. Calls that are not known: all. For the fast path. */
#define MT_WRITES_DEEP 0x80u
extern u8 mt_sys_writes[MT_SYS_MAX];
void sys_mem_init(void);

/* Set by the translator: a call returned -EFAULT; true if that may have been a write-protected code
 * page, which is writable now. */
extern bool (*sys_efault_hook)(Thread *t);

/* Hidden descriptors: the runtime's own fds (fd_hide.c). MT_FD_HIDDEN_COUNT numbers from
 * mt_fd_hidden_lo on; all are always in use, so the kernel gives none of them to the guest. */
#define MT_FD_HIDDEN_COUNT 16
bool fd_is_hidden(int fd);
/* The guest's argument; one of ours becomes a number that is never open, so that the kernel's own
 * checks come in their order, and a descriptor that the call ignores does no harm. */
u64 fd_of_guest(u64 fd);
/* Moves a descriptor into the hidden range (close-on-exec); closes the old one. New fd or -errno.
 * The first call chooses the range. */
int fd_hide(int fd);
/* Lowest hidden number; the guest's RLIMIT_NOFILE as it sees it does not change. */
extern int mt_fd_hidden_lo;

/* What /proc says about the guest instead of about mtvg (procfs.c). Once, by main, when the initial
 * stack is complete; keeps a (hidden) copy of target->fd. 0 or -errno. */
struct ExecTarget;
struct ElfImage;
int procfs_init(const struct ExecTarget *target, const struct ElfImage *image,
                GuestAddr initial_sp);

/* main's own argument vector, for --trace-children=yes; set by main (mt_opts.argc_own words of it
 * are used). The new mtvg gets up to three options more. mt_opts.exec_argv0: the program is
 * executed by exactly the given path (no look-up in PATH) and finds this string in argv[0].
 * mt_opts.exec_fd: main closes this descriptor when the program is loaded (its path may be
 * /proc/self/fd/<exec_fd>). mt_opts.exec_limits: for sys_rlimit_start(). */
extern char **mt_own_argv;

/* The parent of a vfork child, after it: frees what the child's execve() left in the shared memory.
 * `pid` as returned by sched_vfork(); nothing if it is no pid. */
void sys_exec_release(i64 pid);

/* The guest's RLIMIT_AS and RLIMIT_DATA (sys_rlimit.c). May it map len bytes, of which replaced_len
 * at `replaced` take the place of what is there? Change the protection of what is mapped there? */
bool sys_rlimit_allows_map(GuestAddr replaced, u64 replaced_len, u64 len, int prot, int flags);
bool sys_rlimit_allows_protect(GuestAddr start, u64 len, int prot);
/* May its break be that many bytes above where it began? A limit of nothing means that here. */
bool sys_rlimit_allows_heap(u64 bytes);
/* At the start, before memory is reserved; `told` is mt_opts.exec_limits. */
void sys_rlimit_start(const char *told);
/* For the next mtvg: what sys_rlimit_start() understands, empty if there is nothing to tell. */
void sys_rlimit_text(const Thread *t, char *out, size_t size);
/* Around a native exec. */
typedef struct SysRlimitSaved {
    bool changed[2];
    u64 limit[2][2];
} SysRlimitSaved;
void sys_rlimit_before_exec(const Thread *t, int dirfd, u64 path, int flags, SysRlimitSaved *saved);
void sys_rlimit_after_failed_exec(const SysRlimitSaved *saved);
/* The vfork child is done. */
void sys_rlimit_forget(i64 vforked);

/* Has the calling thread this capability (CAP_*), in effect? */
bool sys_has_capability(int cap);

/* Has the guest set a seccomp filter (which is the runtime's as well)? Inherited ones don't count:
 * the runtime could start under them. */
bool sys_is_filtered(void);

/* Families (each in its own file, prototypes generated from syscalls.def). */
#define SYS_ROW_PASS(nr, name)
#define SYS_ROW_FDS(nr, name, mask)
#define SYS_ROW_HANDLED(nr, name) i64 sys_##name(Thread *t, const u64 a[6]);
#define SYS_ROW_HANDLED_FDS(nr, name, mask) SYS_ROW_HANDLED(nr, name)
#define SYS_ROW_ENOSYS(nr, name)
#include "sys/syscalls.def"

/* Done by sched (thread.c, process.c). clone, fork, vfork: the arguments are clone(2)'s, the result
 * is the system call's. */
i64 sched_clone(Thread *t, u64 flags, u64 stack, u64 ptid, u64 ctid, u64 tls, int exit_signal);
i64 sched_fork(Thread *t, u64 flags, u64 ptid, u64 ctid, u64 stack, u64 tls, int exit_signal);
i64 sched_vfork(Thread *t, u64 flags, u64 ptid, u64 ctid, u64 stack, u64 tls, int exit_signal);
/* Calls fn while every other thread is OUTSIDE, with its state complete, and holds no lock of the
 * runtime, as a fork does: what fn stops can stand still for as long as it likes. Caller OUTSIDE;
 * fn's result. */
i64 sched_quiesce(Thread *t, i64 (*fn)(Thread *, void *), void *arg);
_Noreturn void sched_exit_group(Thread *t, int code);
/* One thread ends the process: for others than the first to call this it does not return. Called
 * before what is to be said of the end. Not for a vfork child. */
void sched_claim_end(Thread *t);
/* Dies of `sig` with its default action (core limits apply), after the end-of-run reports. */
_Noreturn void sched_die_of_signal(Thread *t, int sig);

#endif
