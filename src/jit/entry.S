/* SPDX-License-Identifier: BSD-2-Clause
 * entry.S -- entering and leaving translated code.
 * Register contract: outside [cache_entering_begin, cache_entering_end) and the exits below, the
 * System V ABI; inside translated code all sixteen registers and the flags are the guest's.
 * Signals: in the entering window nothing of the guest has run and mt_cpu is complete; the handler
 * sends the thread to cache_enter_abort. The exits run to their end: they are short, and the run
 * loop looks at `pending` behind them. */
#include "jit/cpu_offsets.h"
#include "jit/entry.h"

    .text
    .globl cache_enter, cache_entering_begin, cache_entering_end, cache_enter_abort
    .type cache_enter, @function
cache_enter:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, CPU(CPU_HOST_RSP)
    mov %rdi, CPU(CPU_SLOT + 56)
cache_entering_begin:
    cmpl $0, CPU(CPU_PENDING)
    jne cache_enter_abort
    pushq CPU(CPU_RFLAGS)
    popfq
    mov GPR(0), %rax
    mov GPR(1), %rcx
    mov GPR(2), %rdx
    mov GPR(3), %rbx
    mov GPR(5), %rbp
    mov GPR(6), %rsi
    mov GPR(7), %rdi
    mov GPR(8), %r8
    mov GPR(9), %r9
    mov GPR(10), %r10
    mov GPR(11), %r11
    mov GPR(12), %r12
    mov GPR(13), %r13
    mov GPR(14), %r14
    mov GPR(15), %r15
    mov GPR(4), %rsp
    jmp *CPU(CPU_SLOT + 56)
cache_entering_end:
    ud2

/* LIVE: %rsp = host_rsp. Nothing else. Flags are arbitrary user flags with AC clear (the handler or
 * the code above made them so; DF as well, but an outer Valgrind does not take the flags from a
 * frame). */
cache_enter_abort:
    cld
    mov CPU(CPU_HOST_RSP), %rsp
    xor %eax, %eax
    jmp leave
    .size cache_enter, .-cache_enter

/* An exit: everything is the guest's. Saves it and returns from cache_enter with the reason. */
    .macro EXIT name, reason
    .globl \name
    .type \name, @function
\name:
    mov %rax, GPR(0)
    mov $\reason, %eax
    jmp save_and_leave
    .endm

    EXIT exit_direct, MT_EXIT_DIRECT
    EXIT exit_ib_miss, MT_EXIT_IB_MISS
    EXIT exit_syscall, MT_EXIT_SYSCALL
    EXIT exit_emulate, MT_EXIT_EMULATE
    EXIT exit_quantum, MT_EXIT_QUANTUM
    EXIT exit_gs, MT_EXIT_GS
    EXIT exit_ib_key, MT_EXIT_IB_KEY

/* LIVE: all guest registers but rax, which is saved; eax = reason. */
save_and_leave:
    mov %rsp, GPR(4)
    mov CPU(CPU_HOST_RSP), %rsp
    pushfq
    mov %rcx, GPR(1)
    pop %rcx
    SAVE_MOST_GPRS
    mov %rcx, CPU(CPU_RFLAGS)
    test $0x44500, %ecx     /* AC, NT, DF, TF must not reach C code */
    jz leave
    push $2
    popfq
/* LIVE: eax = result, rsp = host_rsp. */
leave:
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret

/* The second look-up of an indirect branch. Slot[0]: the guest's rcx, slot[1]: the target, rcx:
 * free. The entry found has its guest address in the 8 bytes before it. The flags are the guest's
 * throughout: only mov, movz, crc32, not, lea and jrcxz are used.
 * Signals: recover.c (apply_ib_probe) relies on the two labels behind the spills. */
    .globl ib_ret_miss, ib_ret_other, ib_ret_unswapped
    .globl ib_probe_begin, ib_probe_rax, ib_probe_rdx, ib_probe_end
/* A return that the returns' table knows nothing of: the guest's rcx is in rdi, rdi in slot[0]. The
 * word below the stack pointer was the guest's return address, and is to be it again. */
ib_ret_miss:
    mov CPU(CPU_SLOT + 8), %rcx
    mov %rcx, -8(%rsp)
/* A return point was not the one that was wanted. */
ib_ret_other:
    mov %rdi, %rcx
    mov CPU(CPU_SLOT), %rdi
ib_ret_unswapped:
    mov %rcx, CPU(CPU_SLOT)
ib_probe_begin:
    mov %rax, CPU(CPU_SLOT + 32)
ib_probe_rax:
    mov %rdx, CPU(CPU_SLOT + 40)
ib_probe_rdx:
    mov CPU(CPU_SLOT + 8), %rdx
    mov mt_cache+MT_CACHE_IBT2(%rip), %rcx
    mov $0, %eax
    crc32q %rdx, %rax
    movzwl %ax, %eax
    mov (%rcx,%rax,4), %eax
    mov %rax, %rcx
    jrcxz 1f
    mov -8(%rax), %rcx
    not %rcx
    lea 1(%rcx,%rdx), %rcx
    mov %rax, CPU(CPU_SLOT + 48)
    jrcxz 2f
1:  mov CPU(CPU_SLOT + 40), %rdx
    mov CPU(CPU_SLOT + 32), %rax
    jmp exit_ib_miss
2:  mov CPU(CPU_SLOT + 40), %rdx
    mov CPU(CPU_SLOT + 32), %rax
    jmp *CPU(CPU_SLOT + 48)
ib_probe_end:

/* From recover_leave_cache(): mt_cpu is complete, rsp = host_rsp, flags are clean. */
    .globl exit_signal, exit_leave
exit_signal:
    cld /* as at cache_enter_abort */
    mov $MT_EXIT_SIGNAL, %eax
    jmp leave
/* LIVE: eax = reason, rsp = host_rsp; mt_cpu is complete. */
exit_leave:
    jmp leave

    .section .note.GNU-stack,"",@progbits
