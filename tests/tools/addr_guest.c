/* SPDX-License-Identifier: BSD-2-Clause
 * addr_guest.c -- errors of addressing that are known: says on stdout what a checker must find, in
 * this order, and nothing else. Most are made by code of known width. */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static char text[1 << 14];
static size_t used;

#define WANT(...) (used += (size_t)snprintf(text + used, sizeof(text) - used, __VA_ARGS__))
#define HIDE(p) __asm__ volatile("" : "+r"(p)) /* the compiler knows nothing of it */

static void read1(const void *p)
{
    __asm__ volatile("movb (%0), %%al" ::"r"(p) : "rax", "memory");
}

/* Flags, and every register but these, are live across. */
static void read4(const void *p, long index)
{
    __asm__ volatile("stc; movl (%0,%1,4), %%eax; jc 1f; ud2; 1:" ::"r"(p), "r"(index)
                     : "rax", "memory", "cc");
}

static void write8(void *p)
{
    __asm__ volatile("xor %%eax, %%eax; movq $0, 8(%0); jz 1f; ud2; 1:" ::"r"(p)
                     : "rax", "memory", "cc");
}

static void read16(const void *p)
{
    __asm__ volatile("movups (%0), %%xmm0" ::"r"(p) : "xmm0", "memory");
}

static void copy_string(void *to, const void *from, size_t n)
{
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n)::"memory");
}

static void heap(void)
{
    char *p = malloc(40), *q = malloc(13), *r;

    HIDE(p);
    HIDE(q);
    memset(p, 1, 40);
    memset(q, 1, 13);
    read4(p, 9);
    read4(p, 10);
    WANT("invalid read 4: 0 behind a block of 40\n");
    read1(p - 1);
    WANT("invalid read 1: 1 before a block of 40\n");
    write8(p + 24);
    write8(p + 32);
    WANT("invalid write 8: 0 behind a block of 40\n");
    write8(p + 27);
    WANT("invalid write 8: 0 behind a block of 40\n");
    read1(q + 12);
    read1(q + 13);
    WANT("invalid read 1: 0 behind a block of 13\n");
    read4(q + 1, 2);
    read4(q + 2, 2);
    WANT("invalid read 4: 0 behind a block of 13\n");
    read16(p + 24);
    read16(p + 25);
    WANT("invalid read 16: 0 behind a block of 40\n");
    copy_string(q, p, 13);
    copy_string(q, p, 14);
    WANT("invalid write 14: 0 behind a block of 13\n");
    r = realloc(p, 48);
    HIDE(r);
    write8(r + 32);
    read1(p);
    WANT("invalid read 1: 0 inside a freed block of 40\n");
    free(r);
    read4(r, 3);
    WANT("invalid read 4: 12 inside a freed block of 48\n");
    free(r);
    WANT("invalid free\n");
    free(q + 8);
    WANT("invalid free\n");
    free(q);
    p = aligned_alloc(256, 64);
    HIDE(p);
    read16(p + 48);
    read16(p + 64);
    WANT("invalid read 16: 0 behind a block of 64\n");
    free(p);
}

static void strings(void)
{
    char *p = malloc(10), *q = strdup("0123456789");
    size_t (*volatile len)(const char *) = strlen;
    void *(*volatile copy)(void *, const void *, size_t) = memcpy;

    HIDE(p);
    HIDE(q);
    copy(p, q, 10);
    copy(p, q, 11);
    WANT("invalid write 11: 0 behind a block of 10\n");
    free(p);
    len(q);
    free(q);
    len(q);
    WANT("invalid read 11: 0 inside a freed block of 11\n");
}

__attribute__((noipa)) static char *dead_frame(void)
{
    volatile char local[512];
    char *p = (char *)local;

    local[0] = 1;
    HIDE(p);
    return p;
}

/* sub of a register, and back. */
__attribute__((noipa)) static char *dead_array(size_t n)
{
    volatile char local[n];
    char *p = (char *)local;

    local[0] = 1;
    read1(p + n - 1);
    HIDE(p);
    return p;
}

__attribute__((noipa)) static void deep(int n)
{
    volatile char local[300];

    local[0] = local[299] = (char)n;
    if (n > 0) {
        deep(n - 1);
    }
    read1((char *)local);
    read1((char *)local + 299);
}

static void stacks(void)
{
    char *p = dead_frame();

    read1(p);
    WANT("invalid read 1: no block\n");
    p = dead_array(4096);
    read1(p);
    WANT("invalid read 1: no block\n");
    deep(20);
    read1(dead_frame());
    WANT("invalid read 1: no block\n");
}

static void *thread(void *arg)
{
    deep(5);
    read4(arg, 2);
    return NULL;
}

static sigjmp_buf back;

static void on_usr(int sig)
{
    deep(3);
}

static void on_segv(int sig, siginfo_t *info, void *context)
{
    siglongjmp(back, info->si_addr == (void *)16 ? 1 : 2);
}

/* Functions that are replaced fault as the guest's would; and they write code that has been run. */
static void replaced_faults(void)
{
    static const unsigned char code[2][6] = {{0xb8, 7, 0, 0, 0, 0xc3}, {0xb8, 9, 0, 0, 0, 0xc3}};
    void *(*volatile copy)(void *, const void *, size_t) = memcpy;
    size_t (*volatile len)(const char *) = strlen;
    unsigned char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int (*volatile run)(void) = (int (*)(void))(uintptr_t)page;
    int how = sigsetjmp(back, 1);

    if (how == 0) {
        copy((void *)16, code, 6);
    }
    if (how != 1) {
        _exit(7);
    }
    how = sigsetjmp(back, 1);
    if (how == 0) {
        len((char *)16);
    }
    if (how != 1) {
        _exit(8);
    }
    for (int i = 0; i < 20; i++) {
        copy(page, code[i & 1], 6);
        if (run() != 7 + (i & 1) * 2) {
            _exit(9);
        }
    }
}

/* Addresses without shadow: the guest's own faults, and no findings. */
static void faults(void)
{
    struct sigaction sa = {.sa_sigaction = on_segv, .sa_flags = SA_SIGINFO};
    int how;

    sigaction(SIGSEGV, &sa, NULL);
    how = sigsetjmp(back, 1);
    if (how == 0) {
        read1((void *)16);
    }
    if (how != 1) {
        _exit(4);
    }
    how = sigsetjmp(back, 1);
    if (how == 0) {
        read1((void *)0x8000000000000000);
    }
    if (how != 2) {
        _exit(5);
    }
    how = sigsetjmp(back, 1);
    if (how == 0) {
        read1((void *)0xffffffffff000000);
    }
    if (how != 2) {
        _exit(6);
    }
    replaced_faults();
}

static void others(void)
{
    stack_t alt = {.ss_sp = malloc(65536), .ss_size = 65536};
    struct sigaction sa = {.sa_handler = on_usr, .sa_flags = SA_ONSTACK};
    char *p = malloc(8);
    pthread_t t;
    pid_t pid;

    HIDE(p);
    for (int i = 0; i < 20; i++) {
        pthread_create(&t, NULL, thread, p);
        pthread_join(t, NULL);
        WANT("invalid read 4: 0 behind a block of 8\n");
    }
    sigaction(SIGUSR1, &sa, NULL);
    raise(SIGUSR1);
    sigaltstack(&alt, NULL);
    raise(SIGUSR1);
    deep(3);
    pid = fork();
    if (pid == 0) {
        free(p);
        deep(3);
        read1(p);
        _exit(0);
    }
    waitpid(pid, NULL, 0);
    WANT("invalid read 1: 0 inside a freed block of 8\n");
    read1(p);
    free(p);
}

int main(void)
{
    heap();
    strings();
    stacks();
    faults();
    others();
    return write(1, text, used) != (ssize_t)used;
}
