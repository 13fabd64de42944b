/* SPDX-License-Identifier: BSD-2-Clause
 * sig_storm.c -- signals as fast as they go, against threads in tight loops that check all
 * registers, in system calls, in malloc, in vector code, in string instructions; nothing may be
 * disturbed, and no queued signal lost.
 * guest: timeout=60 */
#define _GNU_SOURCE
#include "guest.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#define VICTIMS 5
#define SIGNALS 3000

static pthread_t victims[VICTIMS];
static volatile int ready[VICTIMS], finished;
static __thread int self = -1;
static int handled[VICTIMS];
static uint64_t value_sum[VICTIMS];

static void handler(int sig, siginfo_t *info, void *uc)
{
    volatile double x = sig;
    CHECK(self >= 0);
    x = x * 3 + 1;
    CHECK(x == sig * 3 + 1);
    value_sum[self] += (uint64_t)info->si_value.sival_int;
    __atomic_add_fetch(&handled[self], 1, __ATOMIC_SEQ_CST);
    __asm__ volatile("pcmpeqd %%xmm0, %%xmm0\n movdqa %%xmm0, %%xmm7\n movdqa %%xmm0, %%xmm15\n"
                     "fld1\n fstp %%st(0)\n std\n cld\n"
                     :
                     :
                     : "xmm0", "xmm7", "xmm15");
}

/* Loads every register and the flags with constants and checks them again and again; 0 if fine. */
long check_registers(long rounds);
__asm__(".text\n.globl check_registers\n"
        "check_registers:\n"
        "  push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n push %rdi\n"
        "  mov $0x1111, %eax\n mov $0x2222, %ebx\n mov $0x3333, %ecx\n mov $0x4444, %edx\n"
        "  mov $0x5555, %esi\n mov $0x6666, %edi\n mov $0x7777, %ebp\n mov $0x8888, %r8d\n"
        "  mov $0x9999, %r9d\n mov $0xaaaa, %r10d\n mov $0xbbbb, %r11d\n mov $0xcccc, %r12d\n"
        "  mov $0xdddd, %r13d\n mov $0xeeee, %r14d\n mov $0xffff, %r15d\n"
        "  movq %rax, %xmm0\n movq %rbx, %xmm7\n movq %rcx, %xmm15\n"
        "1: movq %r15, -8(%rsp)\n movq %r14, -128(%rsp)\n" /* red zone */
        "  cmp $0x1111, %eax\n jne 9f\n cmp $0x2222, %ebx\n jne 9f\n cmp $0x3333, %ecx\n jne 9f\n"
        "  cmp $0x4444, %edx\n jne 9f\n cmp $0x5555, %esi\n jne 9f\n cmp $0x6666, %edi\n jne 9f\n"
        "  cmp $0x7777, %ebp\n jne 9f\n cmp $0x8888, %r8d\n jne 9f\n cmp $0x9999, %r9d\n jne 9f\n"
        "  cmp $0xaaaa, %r10d\n jne 9f\n cmp $0xbbbb, %r11d\n jne 9f\n"
        "  cmp $0xcccc, %r12d\n jne 9f\n cmp $0xdddd, %r13d\n jne 9f\n"
        "  cmp $0xeeee, %r14d\n jne 9f\n cmp $0xffff, %r15d\n jne 9f\n"
        "  movq %xmm0, %rax\n movq %xmm7, %rbx\n movq %xmm15, %rcx\n"
        "  cmp %r15, -8(%rsp)\n jne 9f\n cmp %r14, -128(%rsp)\n jne 9f\n"
        "  stc\n call 2f\n jnc 9f\n clc\n call 2f\n jc 9f\n"
        "  lea 1b(%rip), %rbx\n"
        "  decq (%rsp)\n jz 8f\n"
        "  mov $0x2222, %r10d\n xchg %rbx, %r10\n push %r10\n mov $0xaaaa, %r10d\n"
        "  ret\n" /* to 1b */
        "2: ret\n"
        "8: xor %eax, %eax\n jmp 7f\n"
        "9: mov $1, %eax\n"
        "7: cld\n pop %rdi\n pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n"
        "  ret\n");

static void do_registers(void)
{
    CHECK(check_registers(1000) == 0);
}

static void do_syscalls(void)
{
    static int fds[2];
    char c = 5;
    if (!fds[1]) {
        CHECK(pipe(fds) == 0);
    }
    for (int i = 0; i < 50; i++) {
        CHECK(write(fds[1], &c, 1) == 1);
        CHECK(read(fds[0], &c, 1) == 1 && c == 5);
        CHECK(syscall(SYS_getpid) == getpid());
        CHECK(sched_yield() == 0);
        CHECK(syscall(SYS_lseek, fds[0], 0, 0) == -1 && errno == ESPIPE);
    }
}

static void do_malloc(void)
{
    static uint64_t state = 77;
    static void *held[64];
    for (int i = 0; i < 200; i++) {
        unsigned n = rng_next(&state) & 63;
        size_t size = rng_next(&state) % 3000 + 8;
        if (held[n]) {
            CHECK(*(uint64_t *)held[n] == n);
        }
        free(held[n]);
        held[n] = malloc(size);
        memset(held[n], (int)n, size);
        *(uint64_t *)held[n] = n;
    }
}

static void do_vector(void)
{
    double a[64], s = 0;
    for (int i = 0; i < 64; i++) {
        a[i] = i * 0.25;
    }
    for (int k = 0; k < 50; k++) {
        for (int i = 0; i < 64; i++) {
            s += a[i] * (long double)a[63 - i];
        }
    }
    CHECK(s == 50 * 2604.0);
}

static void do_string(void)
{
    static uint8_t from[5000], to[5000];
    for (int i = 0; i < 5000; i++) {
        from[i] = (uint8_t)(i * 13);
    }
    void *d = to;
    const void *s = from;
    size_t n = 5000;
    __asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n) : : "memory");
    CHECK(n == 0 && !memcmp(from, to, 5000));
    memset(to, 0, sizeof(to));
}

static void (*const jobs[VICTIMS])(void) = {do_registers, do_syscalls, do_malloc, do_vector,
                                            do_string};

static void *victim(void *arg)
{
    self = (int)(intptr_t)arg;
    ready[self] = 1;
    while (!finished) {
        jobs[self]();
    }
    return NULL;
}

int main(void)
{
    struct sigaction sa = {.sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART};
    uint64_t expected = 0;
    sigaction(SIGRTMIN, &sa, NULL);
    sigaction(SIGUSR1, &sa, NULL);
    for (int i = 0; i < VICTIMS; i++) {
        CHECK(pthread_create(&victims[i], NULL, victim, (void *)(intptr_t)i) == 0);
        while (!ready[i]) {
            usleep(100);
        }
    }
    for (int i = 0; i < SIGNALS; i++) {
        expected += (uint64_t)i;
        for (int v = 0; v < VICTIMS; v++) {
            union sigval value = {.sival_int = i};
            while (pthread_sigqueue(victims[v], SIGRTMIN, value) == EAGAIN) {
                sched_yield();
            }
        }
        if (i % 64 == 0) {
            usleep(200);
        }
    }
    for (int v = 0; v < VICTIMS; v++) {
        while (__atomic_load_n(&handled[v], __ATOMIC_SEQ_CST) < SIGNALS) {
            usleep(1000);
        }
    }
    finished = 1;
    for (int v = 0; v < VICTIMS; v++) {
        pthread_join(victims[v], NULL);
        printf("thread %d: %d signals, sum %s\n", v, handled[v],
               value_sum[v] == expected ? "right" : "wrong");
    }
    return 0;
}
