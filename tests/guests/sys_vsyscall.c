/* SPDX-License-Identifier: BSD-2-Clause
 * sys_vsyscall.c -- the fixed page of old programs: three calls that the kernel emulates, where it
 * is configured to. */
#define _GNU_SOURCE
#include "guest.h"

#include <setjmp.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define PAGE 0xffffffffff600000ul

static sigjmp_buf back;

static void segv(int sig, siginfo_t *info, void *context)
{
    const ucontext_t *uc = context;
    long rip = uc->uc_mcontext.gregs[REG_RIP];
    printf("  signal %d, code %d, address %p, at %s%lx, error %lld, trap %lld\n", sig,
           info->si_code, info->si_addr, (unsigned long)rip >= PAGE ? "page + " : "",
           (unsigned long)rip >= PAGE ? (unsigned long)rip - PAGE : 0,
           uc->uc_mcontext.gregs[REG_ERR], uc->uc_mcontext.gregs[REG_TRAPNO]);
    siglongjmp(back, 1);
}

static long call2(unsigned long entry, const void *a, const void *b)
{
    return ((long (*)(const void *, const void *))entry)(a, b);
}

/* rcx and r11 are kept, other than by the instruction `syscall`. */
static long keeps_registers(void)
{
    register long r11 __asm__("r11") = 1234567;
    long rcx = 7654321, entry = (long)(PAGE + 0x400), rax;
    __asm__ volatile("sub $128, %%rsp; call *%3; add $128, %%rsp"
                     : "=a"(rax), "+c"(rcx), "+r"(r11)
                     : "r"(entry), "D"(NULL)
                     : "memory", "cc");
    return rax > 1000000000 && rcx == 7654321 && r11 == 1234567;
}

static void bad_stack(void)
{
    __asm__ volatile("mov $8, %%esp; jmp *%0" : : "r"(PAGE + 0x400), "D"(NULL));
}

static void try(const char *what, unsigned long entry, const void *a, const void *b)
{
    printf("%s\n", what);
    fflush(stdout);
    if (sigsetjmp(back, 1) == 0) {
        if (entry == 0) {
            bad_stack();
        }
        long r = call2(entry, a, b);
        printf("  returned %s\n", r == 0 ? "0" : r > 1000000000 ? "the time" : "something else");
    }
}

static int has_page(void)
{
    char line[512];
    int found = 0;
    FILE *f = fopen("/proc/self/maps", "r");
    CHECK(f);
    while (fgets(line, sizeof(line), f)) {
        if (strstr(line, "[vsyscall]")) {
            printf("%s", line);
            found = line[strcspn(line, " ") + 3] == 'x';
        }
    }
    fclose(f);
    return found;
}

int main(void)
{
    static char altstack[65536];
    const stack_t ss = {.ss_sp = altstack, .ss_size = sizeof(altstack)};
    struct sigaction sa = {.sa_sigaction = segv, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    struct timeval tv = {0, 0}, now;
    struct timezone tz = {77, 77};
    time_t t = 0;
    unsigned cpu = 9999, node = 9999;

    sigaltstack(&ss, NULL);
    sigaction(SIGSEGV, &sa, NULL);
    if (!has_page()) {
        puts("no such page that can be run");
        try("time", PAGE + 0x400, NULL, NULL);
        return 0;
    }
    for (int i = 0; i < 1000; i++) {
        CHECK(call2(PAGE, &tv, &tz) == 0);
        CHECK(gettimeofday(&now, NULL) == 0);
        CHECK((now.tv_sec - tv.tv_sec) * 1000000 + now.tv_usec - tv.tv_usec < 60000000);
        time_t before = syscall(SYS_time,
                                NULL); /* of the last tick, which gettimeofday is ahead of */
        CHECK(call2(PAGE + 0x400, &t, NULL) == t && t >= before && t <= syscall(SYS_time, NULL));
        CHECK(call2(PAGE + 0x800, &cpu, &node) == 0 && cpu < 9999 && node < 9999);
    }
    printf("%d %d, registers kept: %ld\n", tz.tz_minuteswest, tz.tz_dsttime, keeps_registers());
    try("NULL", PAGE, NULL, NULL);
    try("time, no pointer", PAGE + 0x400, NULL, NULL);
    try("bad pointer", PAGE, (void *)16, NULL);
    try("bad second pointer", PAGE, &tv, (void *)16);
    try("bad pointer for time", PAGE + 0x400, (void *)16, NULL);
    try("bad pointer for getcpu", PAGE + 0x800, NULL, (void *)16);
    try("the kernel's pointer", PAGE, (void *)0xffff800000000000ul, NULL);
    try("the kernel's pointer, second", PAGE + 0x800, &cpu, (void *)0xffff800000000000ul);
    try("not canonical", PAGE + 0x400, (void *)0x1234567800000000ul, NULL);
    try("no such call", PAGE + 0xc00, NULL, NULL);
    try("behind an entry", PAGE + 1, NULL, NULL);
    try("behind the page", PAGE + 0x1000, NULL, NULL);
    try("no stack", 0, NULL, NULL);
    return 0;
}
