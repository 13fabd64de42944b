/* SPDX-License-Identifier: BSD-2-Clause
 * ptrace_slot.h -- what a traced thread and its tracer, both under mtvg, tell each other
 * (docs/PTRACE.md).
 * The tracer finds the slots of a stopped thread at a fixed distance from its FS base, which is the
 * host's TLS, and reads and writes them like any of the tracee's memory.
 * Owner: the thread; the tracer while the thread is stopped. */
#ifndef MT_PTRACE_SLOT_H
#define MT_PTRACE_SLOT_H

#include "base/base.h"
#include "sched/thread.h"

#include <signal.h>

#define PTRACE_SLOT_MAGIC 0x6d747667u

enum {
    PTRACE_LEVELS = 4, /* a vfork child runs on its parent's TLS: nested ones, each has its slot */
    PTRACE_REQUESTS = 4, /* signals that the kernel would not give to a handler, and interrupts */
};

/* What the thread stands at. */
typedef enum PtraceAt {
    PTRACE_AT_NOTHING,
    PTRACE_AT_SIGNAL, /* about to be delivered */
    PTRACE_AT_ENTRY,  /* of a system call */
    PTRACE_AT_EXIT,
    PTRACE_AT_EVENT,
} PtraceAt;

/* How the tracer lets it go on. */
typedef enum PtraceMode {
    PTRACE_MODE_CONT,
    PTRACE_MODE_SYSCALL,
    PTRACE_MODE_STEP,
    PTRACE_MODE_EMULATE, /* PTRACE_SYSEMU: stops at entries, the calls are not done */
    PTRACE_MODE_EMULATE_STEP,
} PtraceMode;

/* Something that the tracer wants the thread to stop for. */
typedef struct PtraceRequest {
    siginfo_t info; /* of the signal; of an event: si_signo is its code */
    u32 at;         /* PtraceAt */
} PtraceRequest;

typedef struct PtraceSlot {
    i32 tid;     /* whose it is; 0: nobody's yet */
    u32 traced;  /* by a tracer that knows of this */
    u32 mode;    /* PtraceMode */
    u32 at;      /* PtraceAt */
    i32 code;    /* what wait() says of the stop, less its low byte */
    i32 deliver; /* AT_SIGNAL, set by the tracer: the signal instead, or 0 */
    u32 changed; /* by the tracer: mask or FS base */
    u32 dirty;   /* by the tracer: it may have written to code */
    /* By the tracer: a child has been made, to be reported when the call is done; else 0. */
    i32 event;
    i32 approved; /* this signal is the kernel's to do now: the tracer has seen it */
    u32 nrequests;
    u64 event_message;
    u64 message; /* PTRACE_GETEVENTMSG */
    u64 orig_rax;
    u64 epoch; /* the tracer's own: which of its writes the thread knows of */
    siginfo_t info;
    PtraceRequest request[PTRACE_REQUESTS];
} PtraceSlot;

/* In a struct of their own: one distance from the FS base for all. */
typedef struct PtraceTls {
    u32 magic;
    u32 depth;    /* which slot the thread uses */
    u32 vforking; /* a child that will use the next one is being made */
    const struct PtraceProc *proc;
    PtraceSlot slot[PTRACE_LEVELS];
} PtraceTls;
extern __thread PtraceTls mt_ptrace __attribute__((tls_model("local-exec")));

/* What is said of the process. Its distance to the tracer's own is that of the two programs. */
typedef struct PtraceProc {
    u64 family; /* a secret: processes that come of each other by fork, without exec */
    u64 wake;   /* si_value of signal 64 that makes a thread look at its requests */
    i32 exe_fd; /* of the guest's program, and 1; 0: not yet */
    /* Set by the tracer when it sees an exec: the stop before the first instruction. */
    i32 start_code;
    u64 start_message;
} PtraceProc;
extern PtraceProc mt_ptrace_proc;

static inline PtraceSlot *ptrace_slot(void)
{
    return &mt_ptrace.slot[mt_ptrace.depth];
}

static inline bool ptrace_is_traced(void)
{
    return MT_UNLIKELY(ptrace_slot()->traced != 0);
}

/* One instruction, then a SIGTRAP: as with TF set, but nobody sees TF. */
static inline bool ptrace_steps(void)
{
    return MT_UNLIKELY(ptrace_slot()->mode == PTRACE_MODE_STEP ||
                       ptrace_slot()->mode == PTRACE_MODE_EMULATE_STEP);
}

/* ---- the tracee (ptrace_tracee.c). Slow domain, OUTSIDE. ---- */

/* Main thread, before guest code runs: a stop for the exec, if there is a tracer. */
void ptrace_start(Thread *t);

/* A signal is about to be delivered: the tracer may change *info. False: it has taken it away. */
bool ptrace_before_signal(Thread *t, siginfo_t *info);

/* A handler's frame has been pushed. */
void ptrace_after_frame(Thread *t);

/* At the system call instruction, registers as the guest gave them; rip is behind it. False: the
 * call is not to be done. */
bool ptrace_before_syscall(Thread *t);
/* Behind it, result in rax. */
void ptrace_after_syscall(Thread *t);

/* Run loop: MT_PEND_PTRACE is set, or the slot is dirty. */
void ptrace_serve(Thread *t);

/* The calling thread's PTRACE_TRACEME has been granted. */
void ptrace_traceme(Thread *t);

/* In the child, which has the parent's TLS: a copy (fork), or the very same (vfork: one level more
 * until ptrace_vfork_done(what depth was)). ptrace_vfork_begin: false: too many levels. */
void ptrace_fork_child(void);
bool ptrace_vfork_begin(void);
void ptrace_vfork_child(void);
void ptrace_vfork_done(u32 depth);

/* The instruction whose SIGTRAP is a stop of the guest's; a thread that is in fact not traced comes
 * to the handler, which calls ptrace_nobody_sig(). */
void ptrace_stop_here(void);
extern const char ptrace_stop_end[];
void ptrace_nobody_sig(void);

/* ---- the tracer (ptrace_peer.c, ptrace_request.c, sys_ptrace.c, sys_wait.c) ---- */

/* ptrace(2), of a process that does not share our memory. */
i64 ptrace_request(Thread *t, const u64 a[6]);
/* Is it a thread of our memory? Then its stops are the kernel's (sys_ptrace.c). */
bool ptrace_shares_memory(pid_t tid);

/* Does the process run under an mtvg that may be talked to? */
bool ptrace_peer_process(pid_t pid);

/* wait() has found this traced child stopped. True: the guest's to see, *code is what wait says of
 * it (status >> 8); false: it goes on, look again. */
bool ptrace_peer_stopped(pid_t tid, i32 *code);
/* It has ended. */
void ptrace_peer_gone(pid_t tid);

/* Number of the descriptor in process `pid`, if that is a tracee under mtvg, that is open on its
 * program; else -1. And its auxiliary vector: bytes, 0 if there is none. */
int ptrace_peer_exe(pid_t pid);
size_t ptrace_peer_auxv(pid_t pid, u64 *out, size_t size);
/* The guest has opened the memory of another process for writing. */
void ptrace_peer_mem_opened(void);

#endif
