/* SPDX-License-Identifier: BSD-2-Clause
 * flow_flags.S -- flags live across every kind of control transfer.
 * guest: cflags=-no-pie
 * Each test leaves flags in a known state, transfers control, and folds the flags that arrive at
 * the other side into %rbx. main prints the result and fails if one of the tests counts wrongly. */
    .globl main
    .text

/* fold the arithmetic flags into %rbx, changing nothing else but the flags */
    .macro fold
    pushf
    pop %rax
    and $0x8d5, %eax
    rol $7, %rbx
    xor %rax, %rbx
    imul $0x1e3779b1, %rbx, %rbx
    .endm

    /* every combination of CF, PF, AF, ZF, SF, OF */
    .macro with_flags
    mov %r12, %rax
    push %rax
    popf
    .endm

ret_plain:
    ret
ret_imm:
    ret $16
leaf_cmp:
    cmp %r13, %r14
    ret
deep3:
    call ret_plain
    ret
deep2:
    call deep3
    jmp deep3
deep1:
    call deep2
    jmp *deep2_ptr(%rip)

main:
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    xor %ebx, %ebx
    mov $2000, %r15d
    mov $0x12345, %r13
    mov $0x12340, %r14
again:
    /* flags from a counter: bits of %r15 spread over the six flags */
    mov %r15, %rax
    mov $0x8d5, %ecx
    pdep_loop:
    xor %r12d, %r12d
    mov $1, %edx
1:  test %rdx, %rcx
    jz 2f
    shr $1, %rax
    jnc 2f
    or %rdx, %r12
2:  add %rdx, %rdx
    cmp $0x1000, %edx
    jb 1b
    or $2, %r12

    with_flags
    call ret_plain
    fold
    with_flags
    call deep1
    fold
    with_flags
    lea -16(%rsp), %rsp
    call ret_imm
    fold
    with_flags
    jmp *ptr_a(%rip)
a:  fold
    with_flags
    lea b(%rip), %rcx
    jmp *%rcx
b:  fold
    with_flags
    mov $2, %ecx
    jmp *table(,%rcx,8)
t0: ud2
t1: ud2
t2: fold
    with_flags
    call *ret_ptr(%rip)
    fold
    with_flags
    mov $ret_plain, %ecx
    call *%rcx
    fold
    /* return to an address that nobody called */
    with_flags
    push $c
    ret
c:  fold
    /* call to the next instruction */
    with_flags
    call 3f
3:  pop %rcx
    fold
    /* pop and jump as a return */
    with_flags
    call 4f
    fold
    jmp 5f
4:  pop %rcx
    jmp *%rcx
5:  /* flags made by the callee, used by the caller */
    call leaf_cmp
    fold
    call leaf_cmp
    jg bad
    call leaf_cmp
    jae bad
    call *leaf_ptr(%rip)
    jl 6f
    jmp bad
6:  /* inc and dec keep CF, over a block boundary */
    with_flags
    jmp 7f
7:  inc %rcx
    jmp 8f
8:  call ret_plain
    dec %rcx
    jmp *ptr_d(%rip)
d:  fold
    /* a conditional jump not taken keeps them all */
    with_flags
    jc 9f
9:  jz 10f
10: js 11f
11: jo 12f
12: jp 13f
13: jg 14f
14: jbe 15f
15: fold
    /* carry chain over calls and jumps */
    with_flags
    adc %r13, %r14
    call ret_plain
    adc %r13, %r14
    jmp *ptr_e(%rip)
e:  sbb %r13, %r14
    push $f
    ret
f:  rcl $1, %r14
    fold
    with_flags
    mov $1, %ecx
    loop 16f
16: fold
    with_flags
    jrcxz 17f
17: fold
    /* a system call keeps the flags */
    with_flags
    mov $39, %eax
    syscall
    fold
    /* lahf, sahf, setcc, cmov */
    with_flags
    call ret_plain
    lahf
    call ret_plain
    setg %cl
    cmovs %r13, %rdx
    call ret_plain
    sahf
    fold
    /* DF over calls */
    with_flags
    std
    call deep1
    pushf
    pop %rax
    cld
    test $0x400, %eax
    jz bad
    mov $0x12345, %r13
    mov $0x12340, %r14
    dec %r15d
    jnz again

    lea format(%rip), %rdi
    mov %rbx, %rsi
    xor %eax, %eax
    call printf
    xor %eax, %eax
    jmp out
bad:
    lea bad_text(%rip), %rdi
    call puts
    mov $1, %eax
out:
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    ret

    .data
ptr_a: .quad a
ptr_d: .quad d
ptr_e: .quad e
ret_ptr: .quad ret_plain
leaf_ptr: .quad leaf_cmp
deep2_ptr: .quad deep2
table: .quad t0, t1, t2
format: .asciz "flags %016lx\n"
bad_text: .asciz "GUEST-FAILED wrong branch"
    .section .note.GNU-stack,"",@progbits
