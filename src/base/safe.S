/* SPDX-License-Identifier: BSD-2-Clause
 * safe.S -- the only instructions that touch guest memory on the runtime's behalf.
 * Contract: System V calling convention; general registers only; no stack use, so a fixup address
 *           can be entered from any instruction between `begin` and `end`.
 * Faults:   every memory access lies between <name>_begin and <name>_end. The host's signal handler
 *           resumes at <name>_fault, which returns -1.
 * Accesses of 4 and 8 bytes are done by one instruction: atomic if the address is aligned. */

    .text

/* int safe_copy_raw(void *dst, const void *src, size_t n): 0, or -1 on a fault. */
    .globl safe_copy_raw
    .hidden safe_copy_raw
    .type safe_copy_raw, @function
    .p2align 4
safe_copy_raw:
    .cfi_startproc
    cmp $8, %rdx
    je .Leight
    cmp $4, %rdx
    je .Lfour
    cld
    mov %rdx, %rcx
    .globl safe_copy_begin, safe_copy_end, safe_copy_fault
    .hidden safe_copy_begin, safe_copy_end, safe_copy_fault
safe_copy_begin:
    rep movsb
    xor %eax, %eax
    ret
.Leight:
    mov (%rsi), %rax
    mov %rax, (%rdi)
    xor %eax, %eax
    ret
.Lfour:
    mov (%rsi), %eax
    mov %eax, (%rdi)
safe_copy_end:
    xor %eax, %eax
    ret
safe_copy_fault:
    mov $-1, %eax
    ret
    .cfi_endproc
    .size safe_copy_raw, . - safe_copy_raw

/* i64 safe_str_raw(char *dst, const char *src, size_t n): copies up to and including a NUL, at most
 * n bytes. Returns the number of bytes before the NUL, n if there was none, -1 on a fault. */
    .globl safe_str_raw
    .hidden safe_str_raw
    .type safe_str_raw, @function
    .p2align 4
safe_str_raw:
    .cfi_startproc
    xor %eax, %eax
    .globl safe_str_begin, safe_str_end, safe_str_fault
    .hidden safe_str_begin, safe_str_end, safe_str_fault
safe_str_begin:
1:  cmp %rdx, %rax
    jae 2f
    mov (%rsi,%rax), %cl
    mov %cl, (%rdi,%rax)
    test %cl, %cl
    jz 2f
    inc %rax
    jmp 1b
safe_str_end:
2:  ret
safe_str_fault:
    mov $-1, %rax
    ret
    .cfi_endproc
    .size safe_str_raw, . - safe_str_raw

/* int safe_cas_raw(u32 *p, u32 old, u32 new, u32 *seen): 1 if changed, 0 if not, -1 on a fault. */
    .globl safe_cas_raw
    .hidden safe_cas_raw
    .type safe_cas_raw, @function
    .p2align 4
safe_cas_raw:
    .cfi_startproc
    mov %esi, %eax
    .globl safe_cas_begin, safe_cas_end, safe_cas_fault
    .hidden safe_cas_begin, safe_cas_end, safe_cas_fault
safe_cas_begin:
    lock cmpxchg %edx, (%rdi)
safe_cas_end:
    mov %eax, (%rcx)
    sete %al
    movzbl %al, %eax
    ret
safe_cas_fault:
    mov $-1, %eax
    ret
    .cfi_endproc
    .size safe_cas_raw, . - safe_cas_raw

/* void safe_touch_raw(u8 *p, bool write, const u32 *unless): accesses the byte, and changes
 * nothing. Ends at once with *unless set; a handler that sets it while the access waits for its
 * page goes on at safe_touch_end. */
    .globl safe_touch_raw
    .hidden safe_touch_raw
    .type safe_touch_raw, @function
    .p2align 4
safe_touch_raw:
    .cfi_startproc
    .globl safe_touch_begin, safe_touch_end
    .hidden safe_touch_begin, safe_touch_end
safe_touch_begin:
    cmpl $0, (%rdx)
    jne safe_touch_end
    test %esi, %esi
    jnz 1f
    movb (%rdi), %al
    jmp safe_touch_end
1:  lock orb $0, (%rdi)
safe_touch_end:
    ret
    .cfi_endproc
    .size safe_touch_raw, . - safe_touch_raw

    .section .note.GNU-stack, "", @progbits
