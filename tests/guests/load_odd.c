/* SPDX-License-Identifier: BSD-2-Clause
 * load_odd.c -- programs that the kernel runs though their headers are odd: segments in any order
 * and one over the other, headers in two segments or none, class and byte order that it doesn't
 * look at, the end missing.
 * guest: modes=children */
#define _GNU_SOURCE
#include "guest.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PAGE = 4096, CODE = PAGE, DATA = 2 * PAGE, SIZE = 3 * PAGE };

/* The program: exits with the byte at the begin of the page behind it, plus 16 times the number of
 * pages from AT_PHDR to its code. */
extern const char program[], program_end[];
__asm__(".pushsection .rodata\n"
        "program:\n"
        "    movzbl program + 4096(%rip), %edi\n"
        "    mov (%rsp), %rcx\n"
        "    lea 16(%rsp, %rcx, 8), %rsi\n"
        "1:  lodsq\n" /* the environment */
        "    test %rax, %rax\n"
        "    jnz 1b\n"
        "2:  lodsq\n" /* the auxiliary vector */
        "    mov %rax, %rdx\n"
        "    lodsq\n"
        "    cmp $3, %rdx\n"
        "    jne 2b\n"
        "    lea program(%rip), %rdx\n"
        "    sub %rax, %rdx\n"
        "    add $4095, %rdx\n"
        "    shr $12, %edx\n"
        "    and $7, %edx\n"
        "    shl $4, %edx\n"
        "    add %edx, %edi\n"
        "    mov $231, %eax\n"
        "    syscall\n"
        "program_end:\n"
        ".popsection");

typedef struct Image {
    Elf64_Ehdr h;
    Elf64_Phdr p[3];
} Image;

static Elf64_Phdr segment(uint64_t at, unsigned flags)
{
    return (Elf64_Phdr){.p_type = PT_LOAD,
                        .p_flags = flags,
                        .p_offset = at,
                        .p_vaddr = at,
                        .p_filesz = PAGE,
                        .p_memsz = PAGE,
                        .p_align = PAGE};
}

static Image plain(int type, const char *order)
{
    Image i = {.h = {.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
                     .e_type = (Elf64_Half)type,
                     .e_machine = EM_X86_64,
                     .e_version = EV_CURRENT,
                     .e_entry = CODE,
                     .e_phoff = sizeof(Elf64_Ehdr),
                     .e_ehsize = sizeof(Elf64_Ehdr),
                     .e_phentsize = sizeof(Elf64_Phdr),
                     .e_phnum = 3}};

    for (int k = 0; k < 3; k++) {
        i.p[k] = order[k] == 'h'   ? segment(0, PF_R)
                 : order[k] == 'c' ? segment(CODE, PF_R | PF_X)
                                   : segment(DATA, PF_R | PF_W);
    }
    return i;
}

static void run_cut(const char *what, Image i, size_t size)
{
    char file[SIZE] = {0}, *argv[] = {"odd", NULL}, name[] = "odd-program";
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0700), status;
    pid_t pid;

    if (i.h.e_type == ET_EXEC) {
        i.h.e_entry += 0x10000000;
        for (int k = 0; k < 3; k++) {
            i.p[k].p_vaddr += 0x10000000;
        }
    }
    memcpy(file, &i, sizeof i);
    memcpy(file + CODE, program, (size_t)(program_end - program));
    file[DATA] = 5;
    CHECK(write(fd, file, size) == (ssize_t)size && close(fd) == 0);
    pid = fork();
    if (pid == 0) {
        execv(name, argv);
        _exit(99);
    }
    CHECK(waitpid(pid, &status, 0) == pid && unlink(name) == 0);
    printf("%s, type %d: %s %d\n", what, i.h.e_type, WIFEXITED(status) ? "exit" : "signal",
           WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
}

static void run(const char *what, Image i)
{
    run_cut(what, i, SIZE);
}

int main(void)
{
    static const char *const orders[] = {"hcd", "hdc", "chd", "cdh", "dhc", "dch"};

    for (int type = ET_EXEC; type <= ET_DYN; type++) {
        Image i;

        for (int k = 0; k < 6; k++) {
            run(orders[k], plain(type, orders[k]));
        }
        run_cut("without the last page's end", plain(type, "hcd"), DATA + 1);
        i = plain(type, "hcd");
        i.p[1].p_memsz = 2 * PAGE;
        run("data over the code's end", i);
        i = plain(type, "hdc");
        i.p[2].p_memsz = 2 * PAGE;
        run("the code's end over data", i);
        i = plain(type, "hcd");
        i.p[2].p_offset = 0;
        run("headers twice", i);
        i = plain(type, "hcd");
        i.p[0].p_filesz = 1;
        run("headers in no segment", i);
        for (int k = EI_CLASS; k < EI_NIDENT; k++) {
            i = plain(type, "hcd");
            i.h.e_ident[k] = 2 - (k == EI_CLASS);
            run("identification", i);
        }
        i = plain(type, "hcd");
        i.h.e_version = 7, i.h.e_flags = 7, i.h.e_ehsize = 7, i.h.e_shoff = 7, i.h.e_shnum = 7;
        run("other fields", i);
    }
    return 0;
}
