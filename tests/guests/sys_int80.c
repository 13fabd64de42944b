/* SPDX-License-Identifier: BSD-2-Clause
 * sys_int80.c -- 32-bit system calls of a 64-bit program: numbers, structures and results are the
 * kernel's; without 32-bit emulation each is a SIGSEGV. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "guest.h"

enum { PAGE = 4096 };

static char *low; /* memory that a 32-bit pointer reaches */
static sigjmp_buf back;
static volatile int handled;
static int pipe_fds[2];

static int64_t call32(uint64_t nr, uint64_t b, uint64_t c, uint64_t d, uint64_t s, uint64_t i,
                      uint64_t bp)
{
    int64_t r;
    const uint64_t in[7] = {nr, b, c, d, s, i, bp};

    __asm__ volatile("push %%rbp\n"
                     "mov 0(%1), %%rax\n"
                     "mov 8(%1), %%rbx\n"
                     "mov 16(%1), %%rcx\n"
                     "mov 24(%1), %%rdx\n"
                     "mov 32(%1), %%rsi\n"
                     "mov 40(%1), %%rdi\n"
                     "mov 48(%1), %%rbp\n"
                     "int $0x80\n"
                     "pop %%rbp"
                     : "=&a"(r)
                     : "r"(in)
                     : "rbx", "rcx", "rdx", "rsi", "rdi", "memory", "cc");
    return r;
}

static uint32_t low_string(int at, const char *text)
{
    strcpy(low + at, text);
    return (uint32_t)(uintptr_t)(low + at);
}

static void on_segv(int sig, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;

    printf("signal %d code %d addr %p err %llx\n", sig, info->si_code, info->si_addr,
           (unsigned long long)uc->uc_mcontext.gregs[REG_ERR]);
    siglongjmp(back, 1);
}

static void on_usr1(int sig)
{
    handled++;
    if (handled == 2) { /* lets the restarted read go on */
        CHECK(write(pipe_fds[1], "later", 5) == 5);
    }
}

static void test_registers(void)
{
    register uint64_t r8 __asm__("r8") = 0x1122334455667788;
    register uint64_t r11 __asm__("r11") = 0x99aabbccddeeff00;
    uint64_t ax = 0xffffffff00000014, cx = 0x1234567890abcdef, dx = ~0ull;

    __asm__ volatile("int $0x80" : "+a"(ax), "+c"(cx), "+d"(dx), "+r"(r8), "+r"(r11)::"memory");
    CHECK(ax == (uint64_t)getpid());
    printf("%llx %llx %llx %llx\n", (unsigned long long)cx, (unsigned long long)dx,
           (unsigned long long)r8, (unsigned long long)r11 & ~0x8d5ull /* flags */);
}

static void test_files(void)
{
    int64_t fd = call32(5, low_string(0, "/dev/zero"), O_RDONLY, 0, 0, 0, 0);

    CHECK(fd >= 0);
    printf("read %lld\n", (long long)call32(3, (uint64_t)fd, low_string(100, "x"), 10, 0, 0, 0));
    CHECK(low[100] == 0 && low[109] == 0);
    printf("read bad %lld\n", (long long)call32(3, (uint64_t)fd, 16, 10, 0, 0, 0));
    printf("lseek %lld\n", (long long)call32(19, (uint64_t)fd, (uint64_t)-5, SEEK_SET, 0, 0, 0));
    printf("fstat64 %lld\n", (long long)call32(197, (uint64_t)fd, low_string(200, ""), 0, 0, 0, 0));
    printf("mode %o\n", *(uint32_t *)(low + 200 + 16));
    printf("close %lld", (long long)call32(6, (uint64_t)fd, 0, 0, 0, 0, 0));
    printf(" %lld\n", (long long)call32(6, (uint64_t)fd, 0, 0, 0, 0, 0));
    printf("exe %lld\n",
           (long long)call32(85, low_string(0, "/proc/self/exe"), low_string(300, ""), 5, 0, 0, 0));
    printf("high pointer %lld\n",
           (long long)call32(4, 1, 0x100000000 | low_string(0, ""), 0, 0, 0, 0));
}

static void test_memory(void)
{
    const uint64_t anon = MAP_PRIVATE | MAP_ANONYMOUS;
    int64_t p = call32(192, 0, 2 * PAGE, PROT_READ | PROT_WRITE, anon, (uint64_t)-1, 0);
    uint32_t *old = (uint32_t *)(low + 512);

    CHECK(p > 0 && p < 1ll << 32);
    memset((void *)p, 1, 2 * PAGE);
    printf("mprotect %lld\n", (long long)call32(125, (uint64_t)p, PAGE, PROT_READ, 0, 0, 0));
    printf("munmap %lld\n", (long long)call32(91, (uint64_t)p, 2 * PAGE, 0, 0, 0, 0));
    memcpy(old, (uint32_t[]){(uint32_t)p, PAGE, PROT_READ, (uint32_t)anon | MAP_FIXED, ~0u, 0}, 24);
    CHECK(call32(90, low_string(0, "") + 512, 0, 0, 0, 0, 0) == p);
    CHECK(*(volatile char *)p == 0);
    CHECK(munmap((void *)p, PAGE) == 0);
}

static void test_signals(void)
{
    struct sigaction sa = {.sa_handler = on_usr1, .sa_flags = SA_RESTART}, old;
    sigset_t set, now;
    pid_t parent = getpid();
    int64_t pid;

    sigaction(SIGUSR1, &sa, NULL);
    CHECK(call32(37, (uint64_t)parent, SIGUSR1, 0, 0, 0, 0) == 0 && handled == 1);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    memcpy(low, &set, 8);
    printf("rt_sigprocmask %lld\n",
           (long long)call32(175, SIG_BLOCK, low_string(8, "") - 8, low_string(16, ""), 8, 0, 0));
    sigprocmask(SIG_SETMASK, NULL, &now);
    printf("blocked %d\n", sigismember(&now, SIGUSR2));
    CHECK(call32(48, SIGHUP, (uint64_t)(uintptr_t)SIG_IGN, 0, 0, 0, 0) == 0);
    sigaction(SIGHUP, NULL, &old);
    printf("ignored %d\n", old.sa_handler == SIG_IGN);
    /* A read that is interrupted and goes on. */
    CHECK(pipe(pipe_fds) == 0);
    pid = call32(2, 0, 0, 0, 0, 0, 0);
    CHECK(pid >= 0);
    if (pid == 0) {
        usleep(50000);
        kill(parent, SIGUSR1);
        call32(1, 7, 0, 0, 0, 0, 0);
    }
    printf("read %lld ",
           (long long)call32(3, (uint64_t)pipe_fds[0], low_string(0, ""), 10, 0, 0, 0));
    printf("%.5s\n", low);
    CHECK(call32(7, (uint64_t)pid, low_string(64, ""), 0, 0, 0, 0) == pid);
    printf("status %x\n", *(uint32_t *)(low + 64));
}

static void test_exec(void)
{
    uint32_t *v = (uint32_t *)(low + 1024);
    pid_t pid = fork();

    if (pid == 0) {
        v[0] = low_string(0, "sh");
        v[1] = low_string(8, "-c");
        v[2] = low_string(16, "echo $A $0; exit 3");
        v[3] = low_string(80, "zero");
        v[4] = 0;
        v[8] = low_string(100, "A=b");
        v[9] = 0;
        fflush(stdout);
        call32(11, low_string(120, "/bin/sh"), low_string(200, "") - 200 + 1024,
               low_string(200, "") - 200 + 1024 + 32, 0, 0, 0);
        _exit(1);
    }
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    printf("status %x\n", status);
    printf("exec %lld\n", (long long)call32(11, low_string(0, "/none"), 0, 0, 0, 0, 0));
}

int main(void)
{
    struct sigaction sa = {.sa_sigaction = on_segv, .sa_flags = SA_SIGINFO};

    setvbuf(stdout, NULL, _IONBF, 0);
    sigaction(SIGSEGV, &sa, NULL);
    low = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    CHECK(low != MAP_FAILED);
    if (sigsetjmp(back, 1)) {
        return 0;
    }
    test_registers();
    test_files();
    test_memory();
    test_signals();
    test_exec();
    printf("unknown %lld\n", (long long)call32(99999, 0, 0, 0, 0, 0, 0));
    return 0;
}
