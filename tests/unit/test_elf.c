/* SPDX-License-Identifier: BSD-2-Clause
 * test_elf.c -- the ELF loader and the initial stack: real programs are loaded and run natively, in
 * child processes; headers with something wrong are refused with a reason. */
/* layers: mt_base mt_guest */
#include "guest/aspace.h"
#include "guest/elf_int.h"
#include "guest/layout.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* --- real programs --- */

static GuestAddr load(char *const argv[], char *const envp[], ElfImage *img)
{
    ExecTarget t;
    ExecError err;
    GuestAddr sp = 0;
    if (exec_resolve(argv[0], argv, &t, &err) == 0) {
        if (elf_load(&t, img, &err) == 0) {
            sp = elf_make_stack(img, &t, envp, aspace_make_stack(img->exec_stack), &err);
        }
        exec_target_free(&t);
    }
    if (sp == 0) {
        fprintf(stderr, "%s\n", err.msg);
    }
    return sp;
}

/* Runs a loaded program in place of this one. Its C library sets up registers of its own. */
_Noreturn static void run_loaded(const ElfImage *img, GuestAddr sp)
{
    __asm__ volatile("mov %0, %%rsp\n\txor %%edx, %%edx\n\tjmp *%1" : : "a"(sp), "c"(img->entry));
    __builtin_unreachable();
}

static void expect_output(char *const argv[], char *const envp[], const char *expected)
{
    int fds[2], status;
    char out[4096];
    size_t n = 0;
    assert_int_equal(pipe(fds), 0);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        ElfImage img;
        dup2(fds[1], 1);
        close(fds[0]);
        close(fds[1]);
        GuestAddr sp = load(argv, envp, &img);
        if (sp == 0) {
            _exit(99);
        }
        run_loaded(&img, sp);
    }
    close(fds[1]);
    for (ssize_t r; n < sizeof(out) - 1 && (r = read(fds[0], out + n, sizeof(out) - 1 - n)) > 0;) {
        n += (size_t)r;
    }
    close(fds[0]);
    out[n] = '\0';
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_string_equal(out, expected);
}

static void programs_run(void **state)
{
    char *echo[] = {"/bin/echo", "a", "b c", NULL}, *env[] = {"X=1", "Y=", NULL};
    char *env_program[] = {"/usr/bin/env", NULL};
    char *loader[] = {"/lib64/ld-linux-x86-64.so.2", "/bin/echo", "by hand", NULL};
    char *none[] = {NULL};
    expect_output(echo, none, "a b c\n");
    expect_output(env_program, env, "X=1\nY=\n");
    expect_output(loader, none, "by hand\n");
}

/* --- the stack's contents --- */

static u64 aux_of(const u64 *auxv, u64 type)
{
    for (; auxv[0] != AT_NULL; auxv += 2) {
        if (auxv[0] == type) {
            return auxv[1];
        }
    }
    return ~0ull;
}

static void check_stack(void)
{
    char *argv[] = {"/bin/echo", "", "two", NULL}, *envp[] = {"A=1", "B=22", NULL};
    ElfImage img;
    const u64 *sp = (const u64 *)load(argv, envp, &img);
    assert_non_null(sp);
    assert_int_equal((u64)sp & 15, 0);
    assert_int_equal(sp[0], 3);
    assert_string_equal((char *)sp[1], "/bin/echo");
    assert_string_equal((char *)sp[2], "");
    assert_string_equal((char *)sp[3], "two");
    assert_int_equal(sp[4], 0);
    assert_string_equal((char *)sp[5], "A=1");
    assert_string_equal((char *)sp[6], "B=22");
    assert_int_equal(sp[7], 0);
    /* The strings are one block, in order. */
    assert_int_equal(sp[2], sp[1] + strlen("/bin/echo") + 1);
    assert_int_equal(sp[5], sp[3] + strlen("two") + 1);
    const u64 *auxv = sp + 8;
    assert_memory_equal(auxv, mt_guest_auxv, mt_guest_auxv_bytes);
    assert_string_equal((char *)aux_of(auxv, AT_EXECFN), "/bin/echo");
    assert_string_equal((char *)aux_of(auxv, AT_PLATFORM), "x86_64");
    assert_int_equal(aux_of(auxv, AT_PAGESZ), 4096);
    assert_int_equal(aux_of(auxv, AT_ENTRY), img.prog_entry);
    assert_int_equal(aux_of(auxv, AT_PHDR), img.phdr);
    assert_int_equal(aux_of(auxv, AT_PHENT), sizeof(Elf64_Phdr));
    assert_int_equal(aux_of(auxv, AT_BASE), img.interp_base);
    assert_int_equal(aux_of(auxv, AT_UID), getuid());
    assert_int_equal(aux_of(auxv, AT_SECURE), 0);
    assert_int_equal(aux_of(auxv, AT_HWCAP2), getauxval(AT_HWCAP2));
    u64 vdso = getauxval(AT_SYSINFO_EHDR);
    if (vdso != 0) {
        assert_int_equal(aux_of(auxv, AT_SYSINFO_EHDR), vdso);
        assert_true(aspace_is_exec(vdso));
    }
    /* Everything is in the image window; the header is where AT_PHDR says. */
    assert_true(img.load_lo >= mt_layout.image_lo && img.load_hi <= mt_layout.image_hi);
    assert_true(img.interp_base >= mt_layout.image_lo && img.interp_base < mt_layout.image_hi);
    assert_true(img.phdr > img.load_lo && img.phdr < img.load_hi);
    assert_memory_equal((void *)img.load_lo, ELFMAG, SELFMAG);
}

static void in_child(void (*fn)(void))
{
    int status;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        setenv("CMOCKA_TEST_ABORT", "1",
               1); /* a failed assertion ends the child, not only the test */
        fn();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void stack_is_as_the_kernel_makes_it(void **state)
{
    in_child(check_stack);
}

static void check_too_big(void)
{
    ExecTarget t = {.fd = -1, .path = "p", .execfn = "p"};
    ElfImage img = {0};
    ExecError err = {0};
    char *none[] = {NULL};
    char *big = malloc(200000);
    memset(big, 'x', 199999);
    big[199999] = '\0';
    char *argv[] = {"p", big, NULL};
    t.argv = argv;
    GuestAddr top = aspace_make_stack(false);
    assert_int_equal(elf_make_stack(&img, &t, none, top, &err), 0);
    assert_int_equal(err.err, E2BIG);
    big[131071] = '\0';
    assert_int_not_equal(elf_make_stack(&img, &t, none, top, &err), 0);
    free(big);
}

static void too_long_arguments(void **state)
{
    in_child(check_too_big);
}

/* --- segments --- */

typedef struct TestElf {
    Elf64_Ehdr e;
    Elf64_Phdr p[3];
} TestElf;

/* A program of two segments: text, and data of 16 bytes in the file and 10,000 in memory. */
static TestElf good_elf(void)
{
    TestElf t = {.e = {.e_type = ET_EXEC, .e_machine = EM_X86_64, .e_version = EV_CURRENT}};
    memcpy(t.e.e_ident, ELFMAG, SELFMAG);
    t.e.e_ident[EI_CLASS] = ELFCLASS64;
    t.e.e_ident[EI_DATA] = ELFDATA2LSB;
    t.e.e_entry = 0x400100;
    t.e.e_phoff = sizeof(Elf64_Ehdr);
    t.e.e_phentsize = sizeof(Elf64_Phdr);
    t.e.e_phnum = 3;
    t.p[0] = (Elf64_Phdr){.p_type = PT_LOAD, .p_flags = PF_R | PF_X, .p_offset = 0};
    t.p[0].p_vaddr = 0x400000;
    t.p[0].p_filesz = t.p[0].p_memsz = 0x1000;
    t.p[1] = (Elf64_Phdr){.p_type = PT_LOAD, .p_flags = PF_R | PF_W, .p_offset = 0x1100};
    t.p[1].p_vaddr = 0x405100;
    t.p[1].p_filesz = 16;
    t.p[1].p_memsz = 10000;
    t.p[2] = (Elf64_Phdr){.p_type = PT_GNU_STACK, .p_flags = PF_R | PF_W | PF_X};
    return t;
}

static int write_elf(const TestElf *t, size_t size)
{
    static char fill[0x2000];
    int fd = memfd_create("elf", MFD_CLOEXEC);
    memset(fill, 0xcc, sizeof(fill));
    memcpy(fill, t, sizeof(*t));
    assert_int_equal(write(fd, fill, size), size);
    return fd;
}

static void check_segments(void)
{
    TestElf elf = good_elf();
    ExecTarget t = {.path = "test", .execfn = "test"};
    ElfImage img;
    ExecError err;
    AspaceInfo info;
    t.fd = write_elf(&elf, 0x2000);
    assert_int_equal(elf_load(&t, &img, &err), 0);
    assert_int_equal(img.entry, 0x400100);
    assert_int_equal(img.phdr, 0x400040);
    assert_int_equal(img.brk_start, 0x408000);
    assert_true(img.exec_stack);
    assert_true(aspace_query(0x400000, &info) && info.prot == (PROT_READ | PROT_EXEC));
    assert_false(aspace_query(0x401000, &info)); /* nothing is left between segments */
    assert_true(aspace_query(0x405000, &info) && info.prot == (PROT_READ | PROT_WRITE));
    const u8 *data = (const u8 *)0x405000;
    assert_int_equal(data[0x10f], 0xcc);
    for (unsigned i = 0x110; i < 0x3000; i++) {
        assert_int_equal(data[i], 0);
    }
    /* The addresses are in use now. */
    assert_int_equal(elf_load(&t, &img, &err), -1);
    assert_int_equal(err.err, EEXIST);
    assert_non_null(strstr(err.msg, "in use"));
    /* Position-independent, so room is reserved for all of it first. */
    elf.e.e_type = ET_DYN;
    t.fd = write_elf(&elf, 0x2000);
    assert_int_equal(elf_load(&t, &img, &err), 0);
    assert_true(aspace_query(img.load_lo, &info) && aspace_query(img.load_lo + 0x5000, &info));
    assert_false(aspace_query(img.load_lo + 0x1000, &info));
}

static void segments(void **state)
{
    in_child(check_segments);
}

static void refused(const TestElf *elf, size_t size, int code, const char *word)
{
    ElfFile f;
    ExecError err = {0};
    char *interp = NULL;
    int fd = write_elf(elf, size);
    int r = elf_open(fd, "bad", NULL, &f, &err);
    if (r == 0) {
        r = elf_interp_path(&f, &interp, &err);
        elf_close(&f);
    }
    close(fd);
    assert_int_equal(r, -1);
    assert_int_equal(err.err, code);
    assert_int_equal(err.exit_code, 1);
    if (strstr(err.msg, word) == NULL) {
        fprintf(stderr, "'%s' is not about '%s'\n", err.msg, word);
    }
    assert_non_null(strstr(err.msg, word));
}

#define REFUSED(change, word)                 \
    do {                                      \
        TestElf elf = good_elf();             \
        elf.change;                           \
        refused(&elf, 0x2000, ENOEXEC, word); \
    } while (0)

/* The identification counts only if the rest does not fit. */
static void refused_ident(int machine, int phentsize, int at, int value, const char *word)
{
    TestElf elf = good_elf();
    elf.e.e_machine = (Elf64_Half)machine;
    elf.e.e_phentsize = (Elf64_Half)phentsize;
    elf.e.e_ident[at] = (unsigned char)value;
    refused(&elf, 0x2000, ENOEXEC, word);
}

static void bad_headers(void **state)
{
    TestElf good = good_elf();
    refused(&good, 0, ENOEXEC, "not an ELF");
    refused(&good, 10, ENOEXEC, "not an ELF");
    refused(&good, 40, ENOEXEC, "truncated");
    refused(&good, 100, ENOEXEC, "truncated");
    refused(&good, 0x1000, ENOEXEC, "truncated");
    REFUSED(e.e_ident[0] = 0, "not an ELF");
    refused_ident(EM_386, 32, EI_CLASS, ELFCLASS32, "32-bit");
    refused_ident(EM_X86_64, 32, EI_CLASS, ELFCLASS32, "32-bit"); /* x32 */
    refused_ident(EM_386, 56, EI_CLASS, 9, "class");
    refused_ident(EM_S390, 56, EI_DATA, ELFDATA2MSB, "big-endian");
    REFUSED(e.e_machine = EM_AARCH64, "AArch64");
    REFUSED(e.e_machine = 12345, "another machine");
    REFUSED(e.e_type = ET_REL, "object file");
    REFUSED(e.e_type = ET_CORE, "core");
    REFUSED(e.e_type = 77, "type");
    REFUSED(e.e_phentsize = 55, "size");
    REFUSED(e.e_phnum = 0, "program headers");
    REFUSED(e.e_phnum = 0xffff, "program headers");
    REFUSED(e.e_phoff = 0x1fff, "truncated");
    REFUSED(e.e_phoff = ~0ull - 10, "truncated");
    REFUSED(p[0].p_filesz = 0x1001, "larger in the file");
    REFUSED(p[0].p_offset = 8, "don't fit");
    REFUSED(p[1].p_vaddr = ~0ull - 0xeff, "address space");
    REFUSED(p[1].p_memsz = ~0ull, "address space");
    REFUSED(p[1].p_memsz = 1ull << 47, "address space");
    REFUSED(p[1].p_offset = ~0ull - 0xeff, "truncated");
    REFUSED(p[0].p_memsz = 0, "larger in the file");
    TestElf none = good_elf();
    none.p[0].p_type = none.p[1].p_type = PT_NOTE;
    refused(&none, 0x2000, ENOEXEC, "nothing to load");
}

static void bad_interpreters(void **state)
{
    TestElf elf = good_elf();
    elf.p[2].p_type = PT_INTERP;
    elf.p[2].p_offset = 0x1000;
    elf.p[2].p_filesz = 1;
    refused(&elf, 0x2000, ENOEXEC, "interpreter");
    elf.p[2].p_filesz = 5000;
    refused(&elf, 0x2000, ENOEXEC, "interpreter");
    elf.p[2].p_filesz = 100; /* 0xcc, no NUL */
    refused(&elf, 0x2000, ENOEXEC, "doesn't end");
    elf.p[2].p_offset = ~0ull - 50;
    refused(&elf, 0x2000, ENOEXEC, "interpreter");
}

static void interp_error(const char *interp, int code, const char *word)
{
    TestElf elf = good_elf();
    ExecTarget t = {.path = "test", .execfn = "test"};
    ElfImage img;
    ExecError err;
    elf.p[2].p_type = PT_INTERP;
    elf.p[2].p_offset = 0x1800;
    elf.p[2].p_filesz = strlen(interp) + 1;
    t.fd = write_elf(&elf, 0x2000);
    assert_int_equal(pwrite(t.fd, interp, strlen(interp) + 1, 0x1800), strlen(interp) + 1);
    assert_int_equal(elf_load(&t, &img, &err), -1);
    assert_int_equal(err.err, code);
    assert_int_equal(err.exit_code, 1);
    assert_non_null(strstr(err.msg, interp));
    assert_non_null(strstr(err.msg, word));
    close(t.fd);
    aspace_munmap(0x400000, 0x10000);
}

static void check_missing_interpreter(void)
{
    interp_error("/nonexistent/ld.so", ENOENT, "No such file");
    interp_error("/etc/passwd", EACCES, "not an executable");
    interp_error("/tmp", EACCES, "not an executable");
}

static void missing_interpreter(void **state)
{
    in_child(check_missing_interpreter);
}

static int setup(void **state)
{
    assert_int_equal(layout_init(32ul << 20), 0);
    aspace_init(NULL);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(programs_run),        cmocka_unit_test(stack_is_as_the_kernel_makes_it),
        cmocka_unit_test(too_long_arguments),  cmocka_unit_test(segments),
        cmocka_unit_test(bad_headers),         cmocka_unit_test(bad_interpreters),
        cmocka_unit_test(missing_interpreter),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
