/* SPDX-License-Identifier: BSD-2-Clause
 * count_guest.c -- a program without a libc whose every instruction is the same in each run; what
 * tests/lackey_counts.py counts in several ways.
 * Usage:  count_guest            counted by stepcount as well
 *         count_guest a b        the same without faults, signals and code that changes
 *         count_guest timer      with signals at random moments: the exit status tells that it is
 *                                so, and 8 bytes on stdout how many (each costs 4 instructions,
 *                                2 loads and 1 store: incq; ret; mov; syscall) */
#include <asm/prctl.h>
#include <stddef.h>
#include <stdint.h>
#include <asm/unistd.h>

typedef uint64_t u64;

static long call3(long nr, long a, long b, long c, long d)
{
    register long r10 __asm__("r10") = d;
    __asm__ volatile("syscall"
                     : "+a"(nr)
                     : "D"(a), "S"(b), "d"(c), "r"(r10)
                     : "rcx", "r11", "memory");
    return nr;
}

struct action {
    void *handler;
    u64 flags;
    void *restorer;
    u64 mask;
};

/* Leaves 16 bytes at the interrupted rip's end: rip += rdx of the frame (0 if nothing is
 * wanted). */
__asm__(".text\n"
        "skip_handler:\n"
        "    mov 0xa0(%rdx), %rax\n" /* uc_mcontext.rip is at 0xa8, rsp 0xa0 */
        "    mov 0xa8(%rdx), %rax\n"
        "    add skip(%rip), %rax\n"
        "    mov %rax, 0xa8(%rdx)\n"
        "    movq $0, 0x98(%rdx)\n" /* rcx */
        "    ret\n"
        "count_handler:\n"
        "    incq signals(%rip)\n"
        "    ret\n"
        "restorer:\n"
        "    mov $15, %eax\n"
        "    syscall\n");
void skip_handler(void), count_handler(void), restorer(void);
volatile u64 skip __attribute__((used)), signals __attribute__((used));
static char area[8192] __attribute__((aligned(4096))), other[8192];

static void on(int sig, void (*handler)(void))
{
    struct action a = {(void *)handler, 0x4000004 | 0x40000000, (void *)restorer,
                       0}; /* SA_NODEFER */
    call3(__NR_rt_sigaction, sig, (long)&a, 0, 8);
}

static void strings(void)
{
    static const long lengths[] = {0, 1, 7, 100, 3000};
    for (unsigned i = 0; i < 5; i++) {
        long n = lengths[i];
        void *d = area, *s = other;
        __asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n) : : "memory");
        n = lengths[i] / 8, d = area;
        __asm__ volatile("rep stosq" : "+D"(d), "+c"(n) : "a"(0) : "memory");
        n = lengths[i], d = area, s = other;
        __asm__ volatile("repe cmpsb" : "+D"(d), "+S"(s), "+c"(n) : : "memory", "cc");
        n = lengths[i], d = area;
        __asm__ volatile("repne scasb" : "+D"(d), "+c"(n) : "a"(1) : "memory", "cc");
        n = lengths[i] | 0x100000000, s = other;
        __asm__ volatile("addr32 rep lodsb" : "+S"(s), "+c"(n) : : "rax", "memory");
        s = other, d = area;
        __asm__ volatile("movsq; cmpsb; lodsb; stosb" : "+D"(d), "+S"(s) : : "rax", "memory", "cc");
        area[50] = 1;
        n = lengths[i], d = area;
        __asm__ volatile("repne scasb; setz %%al" : "+D"(d), "+c"(n) : "a"(1) : "memory", "cc");
    }
}

static void loops(void)
{
    long n = 17;
    __asm__ volatile("1: nop; loop 1b" : "+c"(n));
    n = 5;
    __asm__ volatile("1: jrcxz 2f; dec %0; jmp 1b; 2:" : "+c"(n));
    n = 4;
    __asm__ volatile("1: cmp $2, %0; loopne 1b" : "+c"(n) : : "cc");
    __asm__ volatile("jmp 1f; 1: jmp 2f; 2: jmp 3f; nop; 3:");
}

static void operands(void)
{
    static u64 m[8];
    __asm__ volatile("mov $77, %edx");
    __asm__ volatile(
        "pushq %0; popq %0; xchg %%rax, %0; lock cmpxchg %%rcx, %0; lock xadd %%rcx, %0\n"
        "addq $1, %0; notq %0; bts %%rdx, %0; btq $3, %0; lea %0, %%rsi; nopl %0\n"
        "pushfq; popfq; movups %0, %%xmm0; movups %%xmm0, %0; prefetcht0 %0"
        : "+m"(m[0])
        :
        : "rax", "rcx", "rdx", "rsi", "memory", "cc", "xmm0");
    __asm__ volatile(
        "push %%rbp; mov %%rsp, %%rbp; enter $16, $2; leave; mov %%rbp, %%rsp; pop %%rbp"
        :
        :
        : "memory");
}

static long depth(long n)
{
    __asm__ volatile("" : "+r"(n));
    return n <= 0 ? 0 : 1 + depth(n - 1);
}

/* The flags and many registers are live where the counts must go in. */
static void live(void)
{
    for (long i = 0; i < 50; i++) {
        __asm__ volatile(
            "cmp $25, %0; mov %1, %%rax; jl 1f; mov %%rax, %1; 1: setl %%al; jg 2f; nop\n"
            "2: adc $0, %%rdx; ja 3f; nop; 3:"
            : "+r"(i)
            : "m"(area[0])
            : "rax", "rdx", "cc", "memory");
    }
}

/* Each faults in the middle of a straight run of instructions, and is skipped. */
static void faults(void)
{
    static char *const hole = (char *)0x10;
    char *page_end = area + 4096;
    long n;
    void *d, *s;

    on(11, skip_handler);
    on(4, skip_handler);
    on(8, skip_handler);
    for (int i = 0; i < 20; i++) {
        skip = 2;
        __asm__ volatile("nop; inc %%ecx; mov (%0), %%al; mov %%ecx, %%ecx; inc %%ecx"
                         :
                         : "d"(hole)
                         : "rax", "rcx", "cc");
        __asm__ volatile("inc %%ecx; mov $1, %%ebx; ud2; inc %%ecx; add %%ebx, %%ecx"
                         :
                         :
                         : "rbx", "rcx", "cc");
        __asm__ volatile("xor %%edx, %%edx; mov $5, %%eax; xor %%ebx, %%ebx; div %%ebx; inc %%ebx"
                         :
                         :
                         : "rax", "rbx", "rcx", "rdx", "cc");
    }
    call3(__NR_mprotect, (long)page_end, 4096, 0, 0);
    n = 100, d = page_end - 40, s = other;
    __asm__ volatile("inc %%eax; rep movsb; inc %%eax"
                     : "+D"(d), "+S"(s), "+c"(n)
                     :
                     : "rax", "memory");
    n = 100, d = page_end - 40;
    __asm__ volatile("repne scasb; inc %%eax" : "+D"(d), "+c"(n) : "a"(77) : "memory", "cc");
    call3(__NR_mprotect, (long)page_end, 4096, 3, 0);
}

static void calls(void)
{
    on(10, count_handler);
    for (int i = 0; i < 10; i++) {
        long pid = call3(__NR_getpid, 0, 0, 0, 0);
        call3(__NR_write, 1, 8, 4, 0); /* EFAULT or EBADF */
        call3(__NR_kill, pid, 10, 0, 0);
        call3(__NR_sched_yield, 0, 0, 0, 0);
    }
}

static void segments(void)
{
    static u64 block[4] = {1, 2, 3, 4};
    call3(__NR_arch_prctl, ARCH_SET_FS, (long)block, 0, 0);
    call3(__NR_arch_prctl, ARCH_SET_GS, (long)block, 0, 0);
    for (int i = 0; i < 5; i++) {
        __asm__ volatile(
            "mov %%fs:8, %%rax; mov %%gs:16, %%rcx; incq %%gs:0; mov %%rax, %%fs:0; nop"
            :
            :
            : "rax", "rcx", "memory", "cc");
    }
    __asm__ volatile("push $0x33; lea 1f(%%rip), %%rax; push %%rax; lretq; 1: nop"
                     :
                     :
                     : "rax", "memory");
}

/* Code that is written while it runs. */
static void changing(void)
{
    static unsigned char code[64]
        __attribute__((aligned(4096))) = {0xb8, 1, 0, 0, 0, 0xff, 0xc0, 0xc3};
    call3(__NR_mprotect, (long)code & -4096, 4096, 7, 0);
    for (int i = 0; i < 30; i++) {
        code[1] = (unsigned char)i;
        ((void (*)(void))(void *)code)();
    }
}

static void work(void)
{
    for (volatile long i = 0; i < 4000000; i++) {
        __asm__ volatile("test $3, %0; jnz 1f; nop; nop; 1: movzbl area(%%rip), %%eax"
                         :
                         : "r"(i)
                         : "rax", "cc");
    }
    for (int i = 0; i < 200; i++) {
        long n = sizeof(area);
        void *d = area, *s = other;
        __asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n) : : "memory");
    }
}

static void timer(void)
{
    static const long every[4] = {0, 300, 0, 300}, never[4];
    on(14, count_handler);
    call3(__NR_setitimer, 0, (long)every, 0, 0);
    work();
    call3(__NR_setitimer, 0, (long)never, 0, 0);
    call3(__NR_write, 1, (long)&signals, 8, 0);
    call3(__NR_exit_group, 3, 0, 0, 0);
}

__attribute__((used)) static void start(long *sp)
{
    if (sp[0] == 2) {
        timer();
    }
    strings();
    loops();
    operands();
    depth(20);
    live();
    if (sp[0] < 3) {
        faults();
        calls();
        segments();
        changing();
    }
    call3(__NR_exit_group, 0, 0, 0, 0);
}

__asm__(".globl _start\n_start: mov %rsp, %rdi; and $-16, %rsp; call start; hlt\n");
