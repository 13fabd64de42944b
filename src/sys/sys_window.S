/* SPDX-License-Identifier: BSD-2-Clause
 * sys_window.S -- a guest's blocking system call without a gap for signals; the host handlers' return.
 * Signals: a host handler that finds the interrupted pc in [sys_window_begin, sys_window_insn] moves
 *          it to sys_window_abort. Before `begin` the check is still to come; behind the instruction
 *          the call has been done. The kernel sets pc back to `insn` when it would restart the call.
 * Stack:   not used at all, so the abort label can be entered from anywhere in the window. */

#define MT_SYS_RESTART (-0x10001) /* sys.h */
#define NR_rt_sigreturn 15

    .text

/* i64 sys_window(u64 nr, const u64 a[6], const volatile u32 *pending)
 * LIVE in the window: rax = number, rdi rsi rdx r10 r8 r9 = arguments, rcx = pending. */
    .globl sys_window
    .type sys_window, @function
    .p2align 4
sys_window:
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
    .size sys_window, . - sys_window

/* sa_restorer of the host's handlers. Debuggers know a signal frame by these very bytes. */
    .globl sig_host_restorer
    .type sig_host_restorer, @function
    .p2align 4
    nop
sig_host_restorer:
    mov $NR_rt_sigreturn, %rax
    syscall
    .size sig_host_restorer, . - sig_host_restorer

/* The host's handler under an outer Valgrind, which ignores what a handler writes to the mask in its
 * frame. If it has changed the frame, the thread does not return through the kernel (that is, Valgrind)
 * but sets the mask and loads the registers here. Valgrind delivers signals between blocks and behind
 * system calls only: the tail behind the last one is not interrupted.
 * LIVE from `call` on: rbx = ucontext, r12 = vector state, rbp = our frame, r13d = frame has changed. */
#define UC_GREG(n) (40 + 8 * (n))
#define UC_MASK 296
#define NR_rt_sigprocmask 14
    .globl sig_entry_valgrind
    .type sig_entry_valgrind, @function
    .p2align 4
sig_entry_valgrind:
    push %rbx
    push %rbp
    push %r12
    push %r13
    mov %rsp, %rbp
    mov %rdx, %rbx
    mov mt_xsave(%rip), %eax
    sub %rax, %rsp
    and $-64, %rsp
    mov %rsp, %r12
    xor %eax, %eax
    .irp at, 512, 520, 528, 536, 544, 552, 560, 568
    mov %rax, \at(%r12)
    .endr
    mov mt_xsave+8(%rip), %rax
    mov %rax, %rdx
    shr $32, %rdx
    test %rax, %rax
    jz 1f
    xsave64 (%r12)
    jmp 2f
1:  fxsave64 (%r12)
2:  mov %rbx, %rdx
    call sig_handler_valgrind
    mov %eax, %r13d
    mov mt_xsave+8(%rip), %rax
    mov %rax, %rdx
    shr $32, %rdx
    test %rax, %rax
    jz 3f
    xrstor64 (%r12)
    jmp 4f
3:  fxrstor64 (%r12)
4:  test %r13d, %r13d
    jnz 5f
    mov %rbp, %rsp
    pop %r13
    pop %r12
    pop %rbp
    pop %rbx
    ret
5:  mov $NR_rt_sigprocmask, %eax
    mov $2, %edi
    lea UC_MASK(%rbx), %rsi
    xor %edx, %edx
    mov $8, %r10d
    syscall
    mov UC_GREG(15)(%rbx), %rsp
    lea -144(%rsp), %rsp /* the interrupted function's red zone stays as it is */
    mov UC_GREG(16)(%rbx), %rax
    mov %rax, (%rsp)
    pushq UC_GREG(17)(%rbx)
    popfq
    mov UC_GREG(0)(%rbx), %r8
    mov UC_GREG(1)(%rbx), %r9
    mov UC_GREG(2)(%rbx), %r10
    mov UC_GREG(3)(%rbx), %r11
    mov UC_GREG(4)(%rbx), %r12
    mov UC_GREG(5)(%rbx), %r13
    mov UC_GREG(6)(%rbx), %r14
    mov UC_GREG(7)(%rbx), %r15
    mov UC_GREG(8)(%rbx), %rdi
    mov UC_GREG(9)(%rbx), %rsi
    mov UC_GREG(10)(%rbx), %rbp
    mov UC_GREG(12)(%rbx), %rdx
    mov UC_GREG(13)(%rbx), %rax
    mov UC_GREG(14)(%rbx), %rcx
    mov UC_GREG(11)(%rbx), %rbx
    ret $136
    .size sig_entry_valgrind, . - sig_entry_valgrind

    .section .note.GNU-stack, "", @progbits
