/* SPDX-License-Identifier: BSD-2-Clause
 * test_procmaps.c -- /proc/PID/maps and smaps from the kernel's text and a made-up address space.
 * layers: mt_sys mt_base */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "guest/aspace.h"
#include "guest/layout.h"
#include "sys/procfs.h"

enum { R = PROT_READ, RW = PROT_READ | PROT_WRITE, RX = PROT_READ | PROT_EXEC };

/* Stands for aspace.c. */
static AspaceInfo guest[8];
static int guest_count;
static GuestAddr brk_now;
Layout mt_layout;

i64 aspace_brk(GuestAddr addr)
{
    return (i64)brk_now;
}

void aspace_foreach(bool (*fn)(const AspaceInfo *, void *), void *arg)
{
    for (int i = 0; i < guest_count; i++) {
        if (!fn(&guest[i], arg)) {
            return;
        }
    }
}

static void add(GuestAddr start, GuestAddr end, int prot)
{
    guest[guest_count++] = (AspaceInfo){.start = start, .end = end, .prot = prot};
}

static void check(const char *in, GuestAddr sp, const char *expected)
{
    char *copy = strdup(in), *out = NULL;
    size_t len;
    FILE *f = open_memstream(&out, &len);
    assert_int_equal(procmaps_write(f, copy, sp), 0);
    fclose(f);
    assert_string_equal(out, expected);
    free(out);
    free(copy);
}

static int reset(void **state)
{
    guest_count = 0;
    brk_now = 0;
    mt_layout = (Layout){0};
    return 0;
}

#define FILE_PART "                              /usr/bin/x"

static void test_hides_the_runtime(void **state)
{
    add(0x10000, 0x20000, R);
    check("00010000-00020000 r--p 00000000 08:01 77" FILE_PART "\n"
          "55550000-55560000 r-xp 00000000 08:01 88                               /usr/bin/mtvg\n"
          "55570000-55580000 rw-p 00000000 00:00 0                                  [heap]\n"
          "7ff000000000-7ff000001000 rw-p 00000000 00:00 0                          [stack]\n"
          "7ff000002000-7ff000003000 r-xp 00000000 00:00 0                          [vdso]\n",
          0,
          "00010000-00020000 r--p 00000000 08:01 77                                 /usr/bin/x\n"
          "7ff000002000-7ff000003000 r-xp 00000000 00:00 0                          [vdso]\n");
}

/* M2: one page is write-protected because it has translations. */
static void test_joins_what_protection_split(void **state)
{
    add(0x10000, 0x14000, RW | PROT_EXEC);
    check("00010000-00011000 rwxp 00000000 00:00 0 \n"
          "00011000-00012000 r-xp 00000000 00:00 0 \n"
          "00012000-00014000 rwxp 00000000 00:00 0 \n",
          0, "00010000-00014000 rwxp 00000000 00:00 0 \n");
}

static void test_joins_files_only_if_contiguous(void **state)
{
    add(0x10000, 0x12000, RW);
    add(0x12000, 0x13000, RW);
    check("00010000-00011000 rw-p 00005000 08:01 77 /x y\n"
          "00011000-00012000 r--p 00006000 08:01 77 /x y\n"
          "00012000-00013000 rw-p 00009000 08:01 77 /x y\n",
          0,
          "00010000-00012000 rw-p 00005000 08:01 77                                 /x y\n"
          "00012000-00013000 rw-p 00009000 08:01 77                                 /x y\n");
    /* Of one mapping, as remap_file_pages() leaves it. */
    check("00010000-00011000 rw-p 00005000 08:01 77 /x y\n"
          "00011000-00012000 rw-p 00005000 08:01 77 /x y\n",
          0,
          "00010000-00011000 rw-p 00005000 08:01 77                                 /x y\n"
          "00011000-00012000 rw-p 00005000 08:01 77                                 /x y\n");
}

/* The kernel joins neighbours that the guest mapped apart, and host and guest memory. */
static void test_cuts(void **state)
{
    add(0x11000, 0x12000, RW);
    add(0x12000, 0x13000, RW);
    add(0x14000, 0x15000, R);
    check("00010000-00016000 rw-s 00001000 08:01 77 /f\n", 0,
          "00011000-00013000 rw-s 00002000 08:01 77                                 /f\n"
          "00014000-00015000 r--s 00005000 08:01 77                                 /f\n");
}

static void test_names_stack_and_heap(void **state)
{
    add(0x10000, 0x20000, RW);
    add(0x30000, 0x40000, RW);
    add(0x50000, 0x60000, RX);
    mt_layout.brk_base = 0x10000;
    brk_now = 0x1f123;
    check("00010000-00020000 rw-p 00000000 00:00 0 \n"
          "00030000-00040000 rw-p 00000000 00:00 0 \n"
          "00050000-00060000 r-xp 00000000 00:00 0                                  [stack]\n",
          0x3fff0,
          "00010000-00020000 rw-p 00000000 00:00 0                                  [heap]\n"
          "00030000-00040000 rw-p 00000000 00:00 0                                  [stack]\n"
          "00050000-00060000 r-xp 00000000 00:00 0 \n");
}

/* The kernel knows no heap, and joins it with what lies below. */
static void test_heap_begins_a_line(void **state)
{
    add(0xf000, 0x10000, RW);
    add(0x10000, 0x11000, RW);
    mt_layout.brk_base = 0x10000;
    brk_now = 0x11000;
    check("0000f000-00011000 rw-p 00000000 00:00 0 \n", 0,
          "0000f000-00010000 rw-p 00000000 00:00 0 \n"
          "00010000-00011000 rw-p 00000000 00:00 0                                  [heap]\n");
}

static void test_smaps(void **state)
{
    add(0x10000, 0x20000, RW);
    check("00010000-00020000 r--p 00000000 00:00 0 \n"
          "Size:                 64 kB\n"
          "VmFlags: rd wr \n"
          "00020000-00030000 r--p 00000000 00:00 0 \n"
          "Size:                 64 kB\n"
          "VmFlags: rd wr \n",
          0,
          "00010000-00020000 rw-p 00000000 00:00 0 \n"
          "Size:                 64 kB\n"
          "VmFlags: rd wr \n");
}

static void test_odd_input(void **state)
{
    add(0, ~0ull, R);
    check("", 0, "");
    check("no newline", 0, "");
    check("nonsense\n\n-\n", 0, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_hides_the_runtime, reset),
        cmocka_unit_test_setup(test_joins_what_protection_split, reset),
        cmocka_unit_test_setup(test_joins_files_only_if_contiguous, reset),
        cmocka_unit_test_setup(test_cuts, reset),
        cmocka_unit_test_setup(test_names_stack_and_heap, reset),
        cmocka_unit_test_setup(test_heap_begins_a_line, reset),
        cmocka_unit_test_setup(test_smaps, reset),
        cmocka_unit_test_setup(test_odd_input, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
