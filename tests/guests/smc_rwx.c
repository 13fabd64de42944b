/* SPDX-License-Identifier: BSD-2-Clause
 * smc_rwx.c -- code that changes: rewritten in an RWX page, toggled RW/RX, double-mapped, replaced
 * by another mapping, patched call targets, the next instruction, one page of code and data.
 * guest: timeout=30 */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <unistd.h>

#include "guest.h"

typedef int fn(void);

enum { PAGE = 4096 };

/* mov $value, %eax; ret */
static size_t emit_const(unsigned char *p, int value)
{
    p[0] = 0xb8;
    memcpy(p + 1, &value, 4);
    p[5] = 0xc3;
    return 6;
}

static int run(void *p)
{
    return ((fn *)p)();
}

static void rewrite_in_place(void)
{
    unsigned char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    for (int i = 0; i < 2000; i++) {
        emit_const(p, i);
        CHECK(run(p) == i);
        p[1] ^= 0x55;
        CHECK(run(p) == (i ^ 0x55));
    }
    /* many functions on the page, one changes, all are called */
    int value[100];
    for (int i = 0; i < 100; i++) {
        emit_const(p + i * 32, value[i] = i);
    }
    uint64_t rng = 5;
    for (int i = 0; i < 3000; i++) {
        unsigned k = rng_next(&rng) % 100;
        value[k] = (int)rng_next(&rng);
        memcpy(p + k * 32 + 1, &value[k], 4);
        for (int j = 0; j < 100; j += 7) {
            CHECK(run(p + j * 32) == value[j]);
        }
        CHECK(run(p + k * 32) == value[k]);
    }
    /* data that is not code, on the same page */
    volatile int *counter = (int *)(p + 4000);
    for (int i = 0; i < 5000; i++) {
        *counter += run(p + (i % 100) * 32) == value[i % 100];
    }
    CHECK(*counter == 5000);
    munmap(p, PAGE);
    puts("in place");
}

static void toggle(void)
{
    unsigned char *p = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                            0);
    for (int i = 0; i < 1000; i++) {
        CHECK(!mprotect(p, 4 * PAGE, PROT_READ | PROT_WRITE));
        for (int k = 0; k < 4; k++) {
            emit_const(p + k * PAGE + 64 * (i % 8), i * 4 + k);
        }
        CHECK(!mprotect(p, 4 * PAGE, PROT_READ | PROT_EXEC));
        for (int k = 0; k < 4; k++) {
            CHECK(run(p + k * PAGE + 64 * (i % 8)) == i * 4 + k);
        }
    }
    munmap(p, 4 * PAGE);
    puts("toggled");
}

static void double_mapping(void)
{
    int fd = memfd_create("code", 0);
    CHECK(!ftruncate(fd, 2 * PAGE));
    unsigned char *w = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    unsigned char *x = mmap(NULL, 2 * PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    CHECK(w != MAP_FAILED && x != MAP_FAILED);
    for (int i = 0; i < 2000; i++) {
        emit_const(w + (i & 3) * 100, i);
        CHECK(run(x + (i & 3) * 100) == i);
    }
    /* written through the descriptor */
    unsigned char code[6];
    for (int i = 0; i < 200; i++) {
        emit_const(code, 7000 + i);
        CHECK(pwrite(fd, code, 6, 0) == 6);
        CHECK(run(x) == 7000 + i);
    }
    /* a second view made late */
    unsigned char *late = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    emit_const(late, 42);
    CHECK(run(x) == 42);
    close(fd);
    munmap(w, 2 * PAGE);
    munmap(x, 2 * PAGE);
    munmap(late, PAGE);
    puts("double mapping");
}

static void replaced(void)
{
    char name[] = "codeXXXXXX";
    int fd = mkstemp(name);
    unsigned char page[PAGE] = {0};
    emit_const(page, 1111);
    CHECK(write(fd, page, PAGE) == PAGE);
    emit_const(page, 2222);
    CHECK(write(fd, page, PAGE) == PAGE);
    void *at = NULL;
    for (int i = 0; i < 300; i++) {
        void *p = mmap(at, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE | (at ? MAP_FIXED : 0), fd,
                       (i & 1) * PAGE);
        CHECK(p != MAP_FAILED && (!at || p == at));
        at = p;
        CHECK(run(p) == (i & 1 ? 2222 : 1111));
        if (i % 3 == 0) {
            CHECK(!munmap(p, PAGE));
        }
    }
    munmap(at, PAGE);
    unsigned char *a = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned char *b = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    emit_const(a, 1);
    emit_const(b, 2);
    CHECK(run(a) == 1 && run(b) == 2);
    CHECK(mremap(b, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, a) == a);
    CHECK(run(a) == 2);
    /* a system call writes the code */
    int pipes[2];
    unsigned char code[6];
    CHECK(!pipe(pipes));
    for (int i = 0; i < 200; i++) {
        emit_const(code, i);
        CHECK(write(pipes[1], code, 6) == 6);
        CHECK(read(pipes[0], a, 6) == 6);
        CHECK(run(a) == i);
    }
    CHECK(!madvise(a, PAGE, MADV_DONTNEED) && a[0] == 0);
    emit_const(a, 77);
    CHECK(run(a) == 77);
    close(fd);
    close(pipes[0]);
    close(pipes[1]);
    unlink(name);
    puts("replaced");
}

/* Changed pages of a file are dropped, or move away: the file's contents are there again, without a
 * write. */
static void dropped_changes(void)
{
    const int prot = PROT_READ | PROT_WRITE | PROT_EXEC;
    unsigned char page[PAGE] = {0}, *p, *moved;
    int fd = memfd_create("code", 0);
    emit_const(page, 1111);
    CHECK(write(fd, page, PAGE) == PAGE && pwrite(fd, page, PAGE, PAGE) == PAGE);
    p = mmap(NULL, 2 * PAGE, prot, MAP_PRIVATE, fd, 0);
    CHECK(p != MAP_FAILED && run(p) == 1111);
    emit_const(p, 2222);
    CHECK(run(p) == 2222);
    CHECK(!madvise(p, 2 * PAGE, MADV_DONTNEED) && run(p) == 1111);
    emit_const(p, 3333);
    CHECK(run(p) == 3333);
    moved = mremap(p, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
    CHECK(moved != MAP_FAILED && run(moved) == 3333 && run(p) == 1111);
    munmap(p, 2 * PAGE);
    munmap(moved, 2 * PAGE);
    /* Another part of a file, at the same place. */
    emit_const(page, 4444);
    CHECK(pwrite(fd, page, PAGE, PAGE) == PAGE);
    p = mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    CHECK(p != MAP_FAILED && run(p) == 1111);
    CHECK(!remap_file_pages(p, PAGE, 0, 1, 0) && run(p) == 4444);
    munmap(p, PAGE);
    close(fd);
    puts("dropped changes");
}

static void patched_calls(void)
{
    unsigned char *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 10; i++) {
        emit_const(p + 1024 + i * 16, i * 100);
    }
    /* sub $8,%rsp; call rel32; add $8,%rsp; ret */
    memcpy(p, "\x48\x83\xec\x08\xe8\0\0\0\0\x48\x83\xc4\x08\xc3", 14);
    for (int i = 0; i < 2000; i++) {
        int rel = 1024 + (i % 10) * 16 - 9;
        memcpy(p + 5, &rel, 4);
        CHECK(run(p) == (i % 10) * 100);
    }
    /* the same with a jump that turns into straight code and back */
    for (int i = 0; i < 1000; i++) {
        if (i & 1) {
            memcpy(p + 256, "\xb8\x05\0\0\0\xc3", 6);
        } else {
            int rel = 1024 - 256 - 5;
            p[256] = 0xe9;
            memcpy(p + 257, &rel, 4);
        }
        CHECK(run(p + 256) == (i & 1 ? 5 : 0));
    }
    munmap(p, PAGE);
    puts("patched");
}

static void next_instruction(void)
{
    unsigned char *p = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    /* movb %dil, imm byte of the next instruction; mov $0, %eax; ret */
    static const unsigned char code[] = {0x40, 0x88, 0x3d, 0x01, 0, 0,   0, /* mov %dil, 1(%rip) */
                                         0xb8, 0,    0,    0,    0, 0xc3};
    memcpy(p, code, sizeof code);
    for (int i = 0; i < 2000; i++) {
        CHECK(((int (*)(int))p)(i & 255) == (i & 255));
    }
    /* The same, the instruction that writes in two pages, the second of which it writes to. */
    memcpy(p + PAGE - 3, code, sizeof code);
    for (int i = 0; i < 2000; i++) {
        CHECK(((int (*)(int))(p + PAGE - 3))(i & 255) == (i & 255));
    }
    /* a loop that counts by rewriting its own increment:
     * mov $10,%ecx; xor %eax,%eax; 1: add $1,%eax (imm8); incb imm8; dec %ecx; jnz 1b; ret */
    static const unsigned char loop[] = {0xb9, 10,   0,    0,    0,    0x31, 0xc0,
                                         0x83, 0xc0, 1,    0xfe, 0x05, 0xf9, 0xff,
                                         0xff, 0xff, 0xff, 0xc9, 0x75, 0xf3, 0xc3};
    for (int i = 0; i < 50; i++) {
        memcpy(p + 128, loop, sizeof loop);
        CHECK(run(p + 128) == 55);
    }
    /* rep movsb copies code over what follows it:
     * push..: rdi, rsi, ecx given: mov %edx,%ecx; rep movsb; then 6 bytes to be replaced */
    static const unsigned char copy[] = {0x89, 0xd1, 0xf3, 0xa4, 0xb8, 1, 0, 0, 0, 0xc3};
    unsigned char replacement[6];
    for (int i = 0; i < 500; i++) {
        memcpy(p + 512, copy, sizeof copy);
        emit_const(replacement, i);
        CHECK(((int (*)(void *, void *, int))(p + 512))(p + 516, replacement, 6) == i);
    }
    munmap(p, 2 * PAGE);
    puts("next instruction");
}

int main(void)
{
    rewrite_in_place();
    toggle();
    double_mapping();
    replaced();
    dropped_changes();
    patched_calls();
    next_instruction();
    return 0;
}
