/* SPDX-License-Identifier: BSD-2-Clause
 * sys_window.S -- a guest's blocking system call without a gap for signals; the host handlers'
 * return.
 * Signals: a host handler that finds the interrupted pc in [sys_window_begin, sys_window_insn]
 *          moves it to sys_window_abort. Before `begin` the check is still to come; behind the
 *          instruction the call has been done. The kernel sets pc back to `insn` when it would
 *          restart the call.
 * Stack:   not used at all, so the abort label can be entered from anywhere in the window. */

#define MT_SYS_RESTART (-0x10001) /* sys.h */
#define MT_SYS_NO_INT80 (-0x10004)
#define NR_rt_sigreturn 15

    .text

/* i64 sys_window_raw(u64 nr, const u64 a[6], const volatile u32 *pending)
 * LIVE in the window: rax = number, rdi rsi rdx r10 r8 r9 = arguments, rcx = pending. */
    .globl sys_window_raw
    .type sys_window_raw, @function
    .p2align 4
sys_window_raw:
    .cfi_startproc
    mov %rdi, %rax
    mov %rsi, %r11
    mov %rdx, %rcx
    mov 0(%r11), %rdi
    mov 8(%r11), %rsi
    mov 16(%r11), %rdx
    mov 24(%r11), %r10
    mov 32(%r11), %r8
    mov 40(%r11), %r9
    .globl sys_window_begin, sys_window_insn, sys_window_end, sys_window_abort
sys_window_begin:
    cmpl $0, (%rcx)
    jne sys_window_abort
sys_window_insn:
    syscall
sys_window_end:
    ret
sys_window_abort:
    mov $MT_SYS_RESTART, %rax
    ret
    .cfi_endproc
    .size sys_window_raw, . - sys_window_raw

/* i64 sys_window32(u64 nr, const u32 a[6], const volatile u32 *pending): by int 0x80, with the same
 * rules for [sys_window32_begin, sys_window32_insn] and sys_window32_abort. If there is no such
 * gate, the instruction faults, and the handler goes to sys_window32_fault.
 * LIVE in the window: eax = number, ebx ecx edx esi edi ebp = arguments, r8 = pending. */
    .globl sys_window32
    .type sys_window32, @function
    .p2align 4
sys_window32:
    .cfi_startproc
    push %rbx
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset rbx, 0
    push %rbp
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset rbp, 0
    mov %edi, %eax
    mov %rdx, %r8
    mov %rsi, %r9
    mov 0(%r9), %ebx
    mov 4(%r9), %ecx
    mov 8(%r9), %edx
    mov 12(%r9), %esi
    mov 16(%r9), %edi
    mov 20(%r9), %ebp
    .globl sys_window32_begin, sys_window32_insn, sys_window32_end
    .globl sys_window32_abort, sys_window32_fault
sys_window32_begin:
    cmpl $0, (%r8)
    jne sys_window32_abort
sys_window32_insn:
    int $0x80
sys_window32_end:
    pop %rbp
    .cfi_adjust_cfa_offset -8
    .cfi_restore rbp
    pop %rbx
    .cfi_adjust_cfa_offset -8
    .cfi_restore rbx
    ret
    .cfi_adjust_cfa_offset 16
    .cfi_rel_offset rbx, 8
    .cfi_rel_offset rbp, 0
sys_window32_abort:
    mov $MT_SYS_RESTART, %rax
    jmp sys_window32_end
sys_window32_fault:
    mov $MT_SYS_NO_INT80, %rax
    jmp sys_window32_end
    .cfi_endproc
    .size sys_window32, . - sys_window32

/* void ptrace_stop_here(void): a stop of the guest's, as its tracer sees it (ptrace_slot.h). */
    .globl ptrace_stop_here, ptrace_stop_end
    .type ptrace_stop_here, @function
    .p2align 4
ptrace_stop_here:
    int3
ptrace_stop_end:
    ret
    .size ptrace_stop_here, . - ptrace_stop_here

/* sa_restorer of the host's handlers. Debuggers know a signal frame by these very bytes. */
    .globl sig_host_restorer
    .type sig_host_restorer, @function
    .p2align 4
    nop
sig_host_restorer:
    mov $NR_rt_sigreturn, %rax
    syscall
    .size sig_host_restorer, . - sig_host_restorer

    .section .note.GNU-stack, "", @progbits
