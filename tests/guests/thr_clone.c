/* SPDX-License-Identifier: BSD-2-Clause
 * thr_clone.c -- clone and clone3 by hand: CLEARTID, SETTID, SETTLS, CHILD_SETTID, no libc inside.
 * guest:
 * variant: pie
 * variant: static cflags=-static */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

static volatile int child_tid, parent_tid, child_saw;
static volatile uint64_t tls_block[16], fs_word;

/* raw_clone(flags, stack, ptid, ctid, tls, fn): fn runs on the new stack; then exit(0) */
long raw_clone(long flags, void *stack, volatile int *ptid, volatile int *ctid, void *tls,
               void (*fn)(void));
long raw_clone3(struct clone_args *args, size_t size, void (*fn)(void));
__asm__(".text\n"
        "raw_clone:\n"
        "    mov %r9, -8(%rsi); sub $16, %rsi\n"
        "    mov %rcx, %r10\n"
        "    mov $56, %eax; syscall\n"
        "    test %rax, %rax; jnz 1f\n"
        "    xor %ebp, %ebp; mov 8(%rsp), %rax; call *%rax\n"
        "    mov $60, %eax; xor %edi, %edi; syscall\n"
        "1:  ret\n"
        "raw_clone3:\n"
        "    mov %rdx, %r8\n"
        "    mov $435, %eax; syscall\n"
        "    test %rax, %rax; jnz 1f\n"
        "    xor %ebp, %ebp; call *%r8\n"
        "    mov $60, %eax; xor %edi, %edi; syscall\n"
        "1:  ret\n");

/* no libc calls here: %fs may be anything */
static void body(void)
{
    uint64_t word;
    __asm__ volatile("mov %%fs:8, %0" : "=r"(word));
    fs_word = word;
    child_saw = child_tid;
}

static void body_plain(void)
{
    child_saw = 4711;
}

static void futex_wait_zero(volatile int *p)
{
    int v;
    while ((v = *p) != 0) {
        syscall(SYS_futex, p, FUTEX_WAIT, v, NULL, NULL, 0);
    }
}

int main(void)
{
    enum { STACK = 65536 };
    char *stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const long thread = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
                        CLONE_SYSVSEM | CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_SETTID |
                        CLONE_CHILD_CLEARTID;
    tls_block[1] = 0x1234567890;
    for (int i = 0; i < 200; i++) {
        child_tid = -1;
        fs_word = 0;
        long tid = raw_clone(thread, stack + STACK, &parent_tid, &child_tid, (void *)tls_block,
                             body);
        CHECK(tid > 0 && parent_tid == tid);
        futex_wait_zero(&child_tid);
        CHECK(child_saw == tid && fs_word == 0x1234567890);
    }
    puts("clone thread");
    for (int i = 0; i < 50; i++) {
        struct clone_args args = {.flags = (uint64_t)thread,
                                  .child_tid = (uintptr_t)&child_tid,
                                  .parent_tid = (uintptr_t)&parent_tid,
                                  .stack = (uintptr_t)stack,
                                  .stack_size = STACK,
                                  .tls = (uintptr_t)tls_block};
        child_tid = -1;
        long tid = raw_clone3(&args, sizeof args, body);
        if (tid < 0) {
            printf("clone3 %ld\n", tid); /* ENOSYS would be honest; it shows in the diff */
            break;
        }
        CHECK(parent_tid == tid);
        futex_wait_zero(&child_tid);
        CHECK(child_saw == tid && fs_word == 0x1234567890);
    }
    puts("clone3 thread");
    int status;
    /* a process that shares memory */
    child_saw = 0;
    long pid = raw_clone(CLONE_VM | SIGCHLD, stack + STACK, NULL, NULL, NULL, body_plain);
    CHECK(pid > 0 && waitpid((pid_t)pid, &status, 0) == pid);
    printf("vm process: %d status %#x\n", child_saw, status);
    /* one that does not */
    child_saw = 0;
    pid = raw_clone(SIGCHLD, stack + STACK, NULL, NULL, NULL, body_plain);
    CHECK(pid > 0 && waitpid((pid_t)pid, &status, 0) == pid);
    printf("process: %d status %#x\n", child_saw, status);
    /* as fork, with no stack given; another exit signal */
    signal(SIGUSR1, SIG_IGN);
    pid = syscall(SYS_clone, SIGUSR1, 0, 0, 0, 0);
    if (pid == 0) {
        _exit(5);
    }
    CHECK(waitpid((pid_t)pid, &status, __WCLONE) == pid);
    printf("as fork: status %#x\n", status);
    /* pidfd */
    int pidfd = -1;
    struct clone_args args = {
        .flags = CLONE_PIDFD, .pidfd = (uintptr_t)&pidfd, .exit_signal = SIGCHLD};
    pid = syscall(SYS_clone3, &args, sizeof args);
    if (pid == 0) {
        _exit(6);
    }
    siginfo_t info = {0};
    CHECK(pid > 0 && pidfd >= 0);
    CHECK(!waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED));
    printf("pidfd: %d %d\n", info.si_code, info.si_status);
    /* what must be refused */
    CHECK(syscall(SYS_clone, CLONE_THREAD, 0, 0, 0, 0) == -1 && errno == EINVAL);
    CHECK(syscall(SYS_clone, CLONE_SIGHAND, 0, 0, 0, 0) == -1 && errno == EINVAL);
    CHECK(syscall(SYS_clone3, &args, 8) == -1 && errno == EINVAL);
    puts("done");
    return 0;
}
