/* SPDX-License-Identifier: BSD-2-Clause
 * toolcall.S -- from translated code to a function and back: a tool's (docs/TOOLS.md), or
 * x87ip.c's. Register contract: on entry everything is the guest's, vector state included;
 * call_site and call_return are set. The code is entered again through the window of cache_enter,
 * which looks at `pending` first; if it is set, cache_enter returns to the run loop instead, with
 * mt_cpu.resume naming the call.
 * Signals: the runtime's code, as any C function: mt_cpu is complete before the window. */
#include "jit/cpu_offsets.h"

    .macro SAVE_ALL
    mov %rsp, GPR(4)
    mov CPU(CPU_HOST_RSP), %rsp
    pushfq
    mov %rax, GPR(0)
    mov %rcx, GPR(1)
    pop %rcx
    SAVE_MOST_GPRS
    mov %rcx, CPU(CPU_RFLAGS)
    push $2                 /* AC, NT, DF, TF must not reach C code; aligns the stack as well */
    popfq
    sub $8, %rsp            /* host_rsp is 8 behind a multiple of 16 (six pushes behind a call) */
    .endm

    .text
    .globl toolcall_entry
    .type toolcall_entry, @function
toolcall_entry:
    SAVE_ALL
    call toolcall_light     /* the vector state is the guest's: general registers only */
    test %eax, %eax
    jnz 1f
    call cpu_xstate_save
    call toolcall_run
    call cpu_xstate_restore
1:  add $8, %rsp
/* LIVE: rsp = host_rsp, slot[7] = where to go on, mt_cpu complete. */
    jmp cache_entering_begin
    .size toolcall_entry, .-toolcall_entry

/* In front of an instruction that stores the x87 environment: the same, but the vector state is
 * left alone. */
    .globl x87ip_entry
    .type x87ip_entry, @function
x87ip_entry:
    SAVE_ALL
    call x87ip_before_store
    add $8, %rsp
    test %eax, %eax
    jz cache_entering_begin
    jmp exit_leave
    .size x87ip_entry, .-x87ip_entry

    .section .note.GNU-stack,"",@progbits
