/* SPDX-License-Identifier: BSD-2-Clause
 * cpu_segment.c -- %fs and %gs: every operand form, the base through arch_prctl and fsgsbase; an
 *                  LDT with nothing in it.
 * guest: timeout=30
 * variant: pie
 * variant: static cflags=-static */
#define _GNU_SOURCE
#include <asm/ldt.h>
#include <asm/prctl.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "guest.h"

static uint64_t block[64] __attribute__((aligned(64)));
static __thread uint64_t mine = 0x1122334455667788;

static void forms(void)
{
    uint64_t v, base;
    CHECK(!syscall(SYS_arch_prctl, ARCH_SET_GS, block));
    CHECK(!syscall(SYS_arch_prctl, ARCH_GET_GS, &base) && base == (uint64_t)block);
    for (int i = 0; i < 64; i++) {
        block[i] = (uint64_t)i * 0x0101010101010101;
    }
    __asm__ volatile("mov %%gs:8, %0" : "=r"(v));
    printf("%llx\n", (unsigned long long)v);
    __asm__ volatile("mov %%gs:8(%1,%2,8), %0" : "=r"(v) : "r"(16l), "r"(2l));
    printf("%llx\n", (unsigned long long)v);
    __asm__ volatile("movl $-16, %%ecx; addr32 mov %%gs:32(%%ecx), %0" : "=r"(v)::"rcx");
    printf("%llx\n", (unsigned long long)v);
    __asm__ volatile("addq $5, %%gs:(%0); lock incl %%gs:8(%0); movzwl %%gs:9(%0), %%eax" ::"r"(24l)
                     : "rax", "memory");
    printf("%llx %llx\n", (unsigned long long)block[3], (unsigned long long)block[4]);
    __asm__ volatile("lea %%gs:8(%1), %0" : "=r"(v) : "r"(100l));
    printf("%llx\n", (unsigned long long)v);
    __asm__ volatile("xor %%esi, %%esi; lodsq %%gs:(%%rsi)" : "=a"(v)::"rsi");
    printf("%llx\n", (unsigned long long)v);
    __asm__ volatile("push %%gs:16; pop %0" : "=r"(v));
    printf("%llx\n", (unsigned long long)v);
    __asm__ volatile("movdqu %%gs:16(%1), %%xmm3; movq %%xmm3, %0" : "=r"(v) : "r"(8l) : "xmm3");
    printf("%llx\n", (unsigned long long)v);
    /* %fs: the thread's own */
    char *tp;
    __asm__ volatile("mov %%fs:0, %0" : "=r"(tp));
    uint64_t off = (uint64_t)((char *)&mine - tp);
    __asm__ volatile("mov %%fs:(%1), %0" : "=r"(v) : "r"(off));
    CHECK(v == mine);
    __asm__ volatile("addr32 mov %%fs:(%k1), %0" : "=r"(v) : "r"(0l));
    CHECK(v == (uint64_t)tp);
    __asm__ volatile("addq $1, %%fs:(%0); cmpl $7, %%fs:4(%0)" ::"r"(off) : "memory", "cc");
    CHECK(mine == 0x1122334455667789);
    mine--;
    CHECK(!syscall(SYS_arch_prctl, ARCH_GET_FS, &base) && base == (uint64_t)tp);
    CHECK(syscall(SYS_arch_prctl, ARCH_SET_GS, 1ul << 63) == -1 && errno == EPERM);
}

static void *thread(void *arg)
{
    uint64_t *own = arg, v;
    CHECK(!syscall(SYS_arch_prctl, ARCH_SET_GS, own));
    for (uint64_t i = 0; i < 100000; i++) {
        __asm__ volatile("mov %%gs:0, %0; incq %%gs:8" : "=r"(v)::"memory");
        CHECK(v == own[0]);
    }
    CHECK(own[1] == 100000);
    return NULL;
}

__attribute__((target("fsgsbase"))) static void direct(void)
{
    uint64_t gs, fs, old;
    __asm__ volatile("rdfsbase %0" : "=r"(fs));
    __asm__ volatile("mov %%fs:0, %0" : "=r"(old));
    CHECK(fs == old);
    __asm__ volatile("rdgsbase %0" : "=r"(gs));
    CHECK(gs == (uint64_t)block);
    __asm__ volatile("wrgsbase %0" ::"r"(block + 1));
    __asm__ volatile("mov %%gs:0, %0" : "=r"(gs));
    CHECK(gs == block[1]);
    __asm__ volatile("wrfsbase %1; mov %%fs:8, %0; wrfsbase %2" : "=&r"(gs) : "r"(block), "r"(fs));
    CHECK(gs == block[1]);
    __asm__ volatile("rdgsbase %k0" : "=r"(gs));
    CHECK(gs == (uint32_t)(uintptr_t)(block + 1));
}

/* As User-mode Linux clears what it finds there. The call's results are 32 bits wide. */
static void empty_table(void)
{
    struct user_desc d;
    char entries[64];
    memset(&d, 0, sizeof(d));
    memset(entries, 0xff, sizeof(entries));
    printf("LDT old %lx\n", syscall(SYS_modify_ldt, 1, &d, sizeof(d)));
    d.read_exec_only = d.seg_not_present = 1;
    d.entry_number = 2;
    printf("LDT new %lx\n", syscall(SYS_modify_ldt, 0x11, &d, sizeof(d)));
    d.entry_number = LDT_ENTRIES;
    printf("LDT number %lx\n", syscall(SYS_modify_ldt, 0x11, &d, sizeof(d)));
    d.entry_number = 0;
    d.contents = 3;
    printf("LDT contents %lx\n", syscall(SYS_modify_ldt, 1, &d, sizeof(d)));
    printf("LDT size %lx\n", syscall(SYS_modify_ldt, 0x11, &d, 3));
    printf("LDT pointer %lx\n", syscall(SYS_modify_ldt, 0x11, 8, sizeof(d)));
    long n = syscall(SYS_modify_ldt, 0, entries, sizeof(entries));
    printf("LDT %lx:", n);
    for (long i = 0; i < n; i++) {
        printf(" %d", entries[i]);
    }
    printf("\n");
}

int main(void)
{
    forms();
    empty_table();
    if (__builtin_cpu_supports("sse2")) {
        FILE *f = fopen("/proc/cpuinfo", "r");
        char line[8192];
        while (fgets(line, sizeof line, f)) {
            if (!strncmp(line, "flags", 5) && strstr(line, " fsgsbase")) {
                direct();
                break;
            }
        }
        fclose(f);
    }
    pthread_t t[4];
    static uint64_t own[4][8];
    for (uint64_t i = 0; i < 4; i++) {
        own[i][0] = i * 1000;
        pthread_create(&t[i], NULL, thread, own[i]);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(t[i], NULL);
    }
    puts("done");
    return 0;
}
