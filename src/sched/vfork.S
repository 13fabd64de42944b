/* SPDX-License-Identifier: BSD-2-Clause
 * vfork.S -- i64 vfork_clone(u64 flags, void *stack_top, ChildArgs *args)
 * clone(2) with the flags on the given stack. In the parent: returns the pid or -errno when the
 * child has exec'ed or exited (CLONE_VFORK). In the child: vfork_child_main(args), on the new
 * stack; the parent's stack is not touched. */
#include <sys/syscall.h>

    .text
    .globl vfork_clone
    .type vfork_clone, @function
vfork_clone:
    mov %rdx, %r9
    xor %edx, %edx          /* parent_tid */
    xor %r10d, %r10d        /* child_tid */
    xor %r8d, %r8d          /* tls: shared with the parent */
    mov $SYS_clone, %eax
    syscall
    test %eax, %eax
    jz 1f
    ret
1:  xor %ebp, %ebp
    mov %r9, %rdi
    and $-16, %rsp
    call vfork_child_main
    ud2
    .size vfork_clone, .-vfork_clone
    .section .note.GNU-stack,"",@progbits
