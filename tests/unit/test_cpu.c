/* SPDX-License-Identifier: BSD-2-Clause
 * test_cpu.c -- layout and processor state: regions don't overlap, vector and x87 state survives
 * the runtime, the FS base is checked. */
/* layers: mt_base mt_guest */
#include "guest/cpu.h"
#include "guest/layout.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static void regions_are_apart(void **state)
{
    const Layout *l = &mt_layout;
    assert_int_equal(layout_init(64ul << 20), 0);
    assert_true(l->image_lo >= 0x10000 && l->image_hi <= 0x7fff0000);
    assert_true(l->cache_base >= l->image_lo && l->cache_base + l->cache_size <= l->image_hi);
    assert_int_equal(l->cache_size, 64ul << 20);
    assert_true(l->anon_lo >= 1ul << 31 && l->anon_hi > l->anon_lo);
    assert_true(l->brk_base >= l->anon_lo && l->stack_top <= l->anon_hi);
    assert_int_equal(l->brk_base & 4095, 0);
    /* The cache's place is reserved. */
    assert_int_equal(mprotect((void *)l->cache_base, l->cache_size, PROT_READ), 0);
    munmap((void *)l->cache_base, l->cache_size);
}

static void impossible_cache(void **state)
{
    assert_int_equal(layout_init(4ul << 30), -ENOMEM);
}

/* With little address space allowed, regions are still found. */
static void limited_address_space(void **state)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit lim = {1ul << 30, 1ul << 30};
        _exit(setrlimit(RLIMIT_AS, &lim) == 0 && layout_init(16ul << 20) == 0 ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* they need more */
    assert_int_equal(status, 0);
#endif
}

/* Puts something into vector, MXCSR and x87 registers, as a guest would; saves; lets C code run
 * with them; restores; looks. No C code may run between in() and out(). */
static void state_survives(void **state)
{
    static u8 in[16], out[16];
    u32 mxcsr_in = 0x7f80, mxcsr_out = 0, mxcsr_runtime = 0; /* round to zero */
    u16 fcw_in = 0x0f7f, fcw_out = 0;
    double x87 = 0;
    memset(in, 0x5a, sizeof(in));
    cpu_init();
    assert_true(mt_xsave.size >= 576);
    assert_int_equal(cpu_thread_init(), 0);
    assert_int_equal(mt_cpu.xstate_saved, 1);
    cpu_xstate_restore();
    cpu_xstate_restore();
    __asm__ volatile("movdqu %2, %%xmm7\n\t"
                     "ldmxcsr %3\n\t"
                     "fninit\n\tfldcw %4\n\tfldpi\n\t"
                     "call cpu_xstate_save\n\t"
                     "call cpu_xstate_save\n\t"
                     "stmxcsr %1\n\t"
                     "pxor %%xmm7, %%xmm7\n\t"
                     "call cpu_xstate_restore\n\t"
                     "movdqu %%xmm7, %0\n\t"
                     : "=m"(out), "=m"(mxcsr_runtime)
                     : "m"(in), "m"(mxcsr_in), "m"(fcw_in)
                     : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "xmm7",
                       "memory", "cc");
    __asm__ volatile("stmxcsr %0\n\tfnstcw %1\n\tfstpl %2"
                     : "=m"(mxcsr_out), "=m"(fcw_out), "=m"(x87));
    cpu_xstate_save();
    assert_memory_equal(in, out, sizeof(in));
    assert_int_equal(mxcsr_runtime, 0x1f80);
    assert_int_equal(mxcsr_out & 0xffc0, mxcsr_in);
    assert_int_equal(fcw_out, fcw_in);
    assert_true(x87 > 3.14159 && x87 < 3.1416);
    cpu_thread_fini();
}

static void fs_base(void **state)
{
    u64 base = 0;
    assert_int_equal(cpu_thread_init(), 0);
    assert_int_equal(cpu_set_fs_base(0x123456789000), 0);
    assert_int_equal(mt_cpu.fs_base, 0x123456789000);
    assert_int_equal(syscall(SYS_arch_prctl, 0x1004 /* ARCH_GET_GS */, &base), 0);
    assert_int_equal(base, 0x123456789000);
    assert_int_equal(cpu_set_fs_base(1ull << 47), -EPERM);
    assert_int_equal(cpu_set_fs_base(~0ull), -EPERM);
    assert_int_equal(mt_cpu.fs_base, 0x123456789000);
    assert_int_equal(cpu_set_fs_base(0), 0);
    cpu_thread_fini();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(regions_are_apart),
        cmocka_unit_test(impossible_cache),
        cmocka_unit_test(limited_address_space),
        cmocka_unit_test(state_survives),
        cmocka_unit_test(fs_base),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
