/* SPDX-License-Identifier: BSD-2-Clause
 * ptrace_peer.h -- the tracer's view of a tracee that runs under mtvg: private to sys_ptrace.c and
 * ptrace_*.c. */
#ifndef MT_PTRACE_PEER_H
#define MT_PTRACE_PEER_H

#include "sys/ptrace_slot.h"

#include <sys/ptrace.h>
#include <sys/user.h>

/* A stopped tracee. */
typedef struct Peer {
    pid_t tid;
    struct user_regs_struct host; /* what the kernel says */
    u64 tls_at, cpu_at;           /* in its memory */
    u32 level;
    PtraceSlot slot; /* copies */
    CpuState cpu;
    i64 shift;     /* of its program's addresses against ours */
    bool at_guest; /* it stands at a stop that its mtvg made, described by the slot */
    bool in_cache; /* it stands in translated code */
} Peer;

/* 0; -ESRCH: not our tracee, or not stopped; -ENOENT: its own program, not a guest of mtvg's (or
 * not yet). */
int ptrace_peer_load(pid_t tid, Peer *p);

/* The slot's field f := value, here and there. */
#define PTRACE_PEER_SET(p, f, value)                                                             \
    ((p)->slot.f = (value),                                                                      \
     ptrace_peer_write((p)->tid, ptrace_peer_slot_at(p) + offsetof(PtraceSlot, f), &(p)->slot.f, \
                       sizeof((p)->slot.f)))
u64 ptrace_peer_slot_at(const Peer *p);
bool ptrace_peer_read(pid_t pid, u64 at, void *to, size_t n);
bool ptrace_peer_write(pid_t pid, u64 at, const void *from, size_t n);
bool ptrace_peer_write_cpu(Peer *p);

/* Marks the slot if the guest may have written to the tracee's code since the thread went on
 * last. */
void ptrace_peer_tell_writes(Peer *p);
void ptrace_peer_poked(void);

/* PTRACE_O_* */
u32 ptrace_peer_options(pid_t tid);
void ptrace_peer_set_options(pid_t tid, u32 options);

/* Requests by which a stopped tracee goes on. */
static inline bool ptrace_resumes(u64 request)
{
    switch (request) {
    case PTRACE_CONT:
    case PTRACE_SYSCALL:
    case PTRACE_SINGLESTEP:
    case PTRACE_SINGLEBLOCK:
    case PTRACE_SYSEMU:
    case PTRACE_SYSEMU_SINGLESTEP:
    case PTRACE_DETACH: return true;
    default: return false;
    }
}

/* The request itself, of the kernel: its result, or -errno. */
i64 ptrace_raw(u64 request, pid_t tid, u64 addr, u64 data);

#endif
