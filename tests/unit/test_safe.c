/* SPDX-License-Identifier: BSD-2-Clause
 * test_safe.c -- copies from and to memory that faults. */
/* layers: mt_base */
#include "base/safe.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ucontext.h>
#include <unistd.h>

#include <cmocka.h>

static int faults;

static void on_fault(int sig, siginfo_t *info, void *context)
{
    ucontext_t *uc = context;
    u64 to = safe_fixup((u64)uc->uc_mcontext.gregs[REG_RIP]);
    if (!to) {
        signal(sig, SIG_DFL); /* a fault of the test itself */
        return;
    }
    faults++;
    uc->uc_mcontext.gregs[REG_RIP] = (greg_t)to;
}

/* Two pages, the second of which faults, filled with 'a'. */
static char *pages;

static int setup(void **state)
{
    pages = mmap(NULL, 2 * MT_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                 0);
    if (pages == MAP_FAILED) {
        return -1;
    }
    memset(pages, 'a', 2 * MT_PAGE_SIZE);
    return mprotect(pages + MT_PAGE_SIZE, MT_PAGE_SIZE, PROT_NONE);
}

/* cmocka sets its own handlers before each test, so each test sets ours. */
static void catch_faults(void)
{
    struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    sigaction(SIGSEGV, &sa, NULL);
    sigaction(SIGBUS, &sa, NULL);
}

static char *border(void)
{
    return pages + MT_PAGE_SIZE;
}

static void test_good(void **state)
{
    char src[100], dst[100];
    for (size_t n = 0; n <= sizeof(src); n++) {
        for (size_t i = 0; i < sizeof(src); i++) {
            src[i] = (char)(i + n);
        }
        memset(dst, 0x55, sizeof(dst));
        assert_int_equal(safe_read(dst, (GuestAddr)src, n), 0);
        assert_memory_equal(dst, src, n);
        assert_true(n == sizeof(dst) || dst[n] == 0x55);
        memset(dst, 0x55, sizeof(dst));
        assert_int_equal(safe_write((GuestAddr)dst, src, n), 0);
        assert_memory_equal(dst, src, n);
        assert_true(n == sizeof(dst) || dst[n] == 0x55);
    }
}

static void test_faulting(void **state)
{
    catch_faults();
    static char buf[2 * MT_PAGE_SIZE];
    static const size_t sizes[] = {1, 2, 3, 4, 5, 7, 8, 9, 16, 33, 64, 1000, 4096};
    for (size_t i = 0; i < MT_ARRAY_SIZE(sizes); i++) {
        for (size_t in = 0; in < sizes[i]; in++) {
            faults = 0;
            assert_int_equal(safe_read(buf, (GuestAddr)(border() - in), sizes[i]), -EFAULT);
            assert_int_equal(safe_write((GuestAddr)(border() - in), buf, sizes[i]), -EFAULT);
            assert_int_equal(faults, 2);
            assert_int_equal(safe_read_partial(buf, (GuestAddr)(border() - in), sizes[i]), in);
        }
        assert_int_equal(safe_read(buf, (GuestAddr)(border() - sizes[i]), sizes[i]), 0);
    }
}

static void test_nowhere(void **state)
{
    catch_faults();
    static const GuestAddr bad[] = {
        0, 8, 0x7fffffffe000 + 0x1000, 0x800000000000, 0xffff800000000000, ~0ull - 7, ~0ull};
    char buf[64];
    for (size_t i = 0; i < MT_ARRAY_SIZE(bad); i++) {
        assert_int_equal(safe_read(buf, bad[i], 8), -EFAULT);
        assert_int_equal(safe_read(buf, bad[i], 64), -EFAULT);
        assert_int_equal(safe_write(bad[i], buf, 8), -EFAULT);
        assert_int_equal(safe_read_partial(buf, bad[i], 64), 0);
        assert_int_equal(safe_read_str(buf, bad[i], 64), -EFAULT);
        assert_int_equal(safe_read(buf, bad[i], 0), 0);
    }
}

static void test_read_only(void **state)
{
    catch_faults();
    char *p = mmap(NULL, MT_PAGE_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    u64 v = 1;
    assert_int_equal(safe_read(&v, (GuestAddr)p, 8), 0);
    assert_int_equal(v, 0);
    assert_int_equal(safe_write((GuestAddr)p, &v, 8), -EFAULT);
    munmap(p, MT_PAGE_SIZE);
}

/* A page of a file behind the file's end: SIGBUS. */
static void test_truncated_file(void **state)
{
    catch_faults();
    char name[] = "/tmp/mtvg-safe-XXXXXX", buf[16];
    int fd = mkstemp(name);
    assert_true(fd >= 0);
    unlink(name);
    char *p = mmap(NULL, MT_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_int_equal(safe_read(buf, (GuestAddr)p, 16), -EFAULT);
    assert_int_equal(safe_write((GuestAddr)p, buf, 16), -EFAULT);
    munmap(p, MT_PAGE_SIZE);
    close(fd);
}

static void test_strings(void **state)
{
    catch_faults();
    char buf[64];
    memset(border() - 20, 'a', 20);
    assert_int_equal(safe_read_str(buf, (GuestAddr)(border() - 10), sizeof(buf)), -EFAULT);
    assert_int_equal(safe_read_str(buf, (GuestAddr)(border() - 10), 10), -ENAMETOOLONG);
    border()[-1] = '\0';
    assert_int_equal(safe_read_str(buf, (GuestAddr)(border() - 10), sizeof(buf)), 9);
    assert_string_equal(buf, "aaaaaaaaa");
    assert_int_equal(safe_read_str(buf, (GuestAddr)(border() - 10), 10), 9);
    assert_int_equal(safe_read_str(buf, (GuestAddr)(border() - 10), 9), -ENAMETOOLONG);
    assert_int_equal(safe_read_str(buf, (GuestAddr)(border() - 1), 1), 0);
    assert_int_equal(safe_read_str(buf, (GuestAddr)(border() - 1), 0), -ENAMETOOLONG);
    border()[-1] = 'a';
}

/* The direction flag of whoever was interrupted does not matter. */
static void test_direction_flag(void **state)
{
    char src[16] = "forward", dst[16] = "";
    __asm__ volatile("std");
    int err = safe_read(dst, (GuestAddr)src, sizeof(src));
    __asm__ volatile("cld");
    assert_int_equal(err, 0);
    assert_string_equal(dst, "forward");
}

static void test_fixup_elsewhere(void **state)
{
    assert_int_equal(safe_fixup((u64)(uintptr_t)memcpy), 0);
    assert_int_equal(safe_fixup((u64)(uintptr_t)safe_read), 0);
    assert_int_equal(safe_fixup(0), 0);
    assert_int_equal(safe_fixup(~0ull), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),           cmocka_unit_test(test_faulting),
        cmocka_unit_test(test_nowhere),        cmocka_unit_test(test_read_only),
        cmocka_unit_test(test_truncated_file), cmocka_unit_test(test_strings),
        cmocka_unit_test(test_direction_flag), cmocka_unit_test(test_fixup_elsewhere),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
