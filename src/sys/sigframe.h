/* SPDX-License-Identifier: BSD-2-Clause
 * sigframe.h -- the signal frame on the guest's stack, as the kernel lays it out
 * (arch/x86/include/asm/sigframe.h, uapi/asm/sigcontext.h, uapi/asm/ucontext.h). */
#ifndef MT_SIGFRAME_H
#define MT_SIGFRAME_H

#include "base/base.h"
#include "sched/thread.h"
#include "sys/signal.h"

typedef struct SigContext {
    u64 r8, r9, r10, r11, r12, r13, r14, r15;
    u64 rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip;
    u64 rflags;
    u16 cs, gs, fs, ss;
    u64 err, trapno, oldmask, cr2;
    u64 fpstate; /* address of the XSAVE area, or 0 */
    u64 reserved[8];
} SigContext;

/* The kernel's struct ucontext (glibc's ucontext_t has a longer mask). */
typedef struct SigUcontext {
    u64 uc_flags;
    u64 uc_link;
    u64 ss_sp;
    u32 ss_flags, ss_pad;
    u64 ss_size;
    SigContext mc;
    SigMask sigmask;
} SigUcontext;

typedef struct SigFrame {
    u64 pretcode;
    SigUcontext uc;
    siginfo_t info;
} SigFrame;

_Static_assert(sizeof(SigContext) == 256, "kernel ABI");
_Static_assert(sizeof(SigUcontext) == 304, "kernel ABI");
_Static_assert(sizeof(SigFrame) == 440, "kernel ABI");

typedef struct SigFrameArgs {
    const GuestSigaction *act;
    const siginfo_t *info;
    SigMask oldmask;      /* restored by sigreturn */
    u64 trapno, err, cr2; /* of the thread's last fault */
    bool is_fault;        /* raised by the instruction at rip: RF is set in the frame */
} SigFrameArgs;

/* Pushes a frame and makes *cpu what it is at the handler's first instruction (rip, rsp, rdi, rsi,
 * rdx, rax, rflags, initial vector state). cpu's vector state must have been saved. 0, or -EFAULT:
 * frame not writable, no restorer, or it would overflow the alternate stack; *cpu is as before;
 * *bad is then an address of the frame. Does not touch masks, nor *alt. */
int sigframe_push(CpuState *cpu, const GuestAltStack *alt, const SigFrameArgs *args, u64 *bad);

/* The reverse: reads the frame that rsp points into (rt_sigreturn), sets *cpu with its vector
 * state, *mask, and *alt_out to the stack it asks for (flags as in the frame, not validated). 0 or
 * -EFAULT; on failure what the kernel would have restored by then has been: *mask_valid says
 * whether *mask is. *bad_selector: the frame's cs or ss if it can't be loaded (the error code of
 * that fault), else -1. */
int sigframe_pop(CpuState *cpu, SigMask *mask, bool *mask_valid, GuestAltStack *alt_out,
                 i32 *bad_selector);

/* Is sp on *alt (kernel: on_sig_stack)? Never if that is disarmed while it is used. */
bool sigframe_on_altstack(const GuestAltStack *alt, u64 sp);
/* SS_DISABLE, SS_ONSTACK or 0. */
u32 sigframe_altstack_state(const GuestAltStack *alt, u64 sp);

/* Bytes of the XSAVE area in a frame, without MAGIC2. */
u32 sigframe_xstate_size(void);

#endif
