/* SPDX-License-Identifier: BSD-2-Clause
 * load_raw.S -- no libc: the state at the entry point, write, exit_group.
 * guest: cflags=-nostdlib -static args=a b
 * Prints "ok" if the registers, the flags and the stack are as the kernel leaves them. */
    .globl _start
    .text
_start:
    pushf
    pop %r15
    mov %rsp, %r14
    test $15, %r14b
    jnz bad
    test $0x400, %r15d      /* DF */
    jnz bad
    cmpq $3, (%r14)         /* argc */
    jne bad
    cmpq $0, 32(%r14)       /* argv's end */
    jne bad
    or %rax, %rbx
    or %rcx, %rbx
    or %rsi, %rbx
    or %rdi, %rbx
    or %rbp, %rbx
    or %r8, %rbx
    or %r9, %rbx
    or %r10, %rbx
    or %r11, %rbx
    or %r12, %rbx
    or %r13, %rbx
    jnz bad
    sub $16, %rsp
    stmxcsr (%rsp)
    cmpl $0x1f80, (%rsp)
    jne bad
    fnstcw (%rsp)
    cmpw $0x37f, (%rsp)
    jne bad
    lea good_text(%rip), %rsi
    jmp out
bad:
    lea bad_text(%rip), %rsi
out:
    mov $1, %eax
    mov $1, %edi
    mov $4, %edx
    syscall
    cmp $4, %rax
    jne 1f
    mov $231, %eax
    mov $7, %edi
    syscall
1:  hlt
    .section .rodata
good_text: .ascii "ok.\n"
bad_text:  .ascii "bad\n"
    .section .note.GNU-stack,"",@progbits
