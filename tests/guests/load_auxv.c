/* SPDX-License-Identifier: BSD-2-Clause
 * load_auxv.c -- the initial stack: argv, environment, auxiliary vector.
 * guest: args=x yy env=GUEST_A=1,GUEST_B=two
 * variant: pie
 * variant: nopie cflags=-no-pie
 * variant: static cflags=-static
 * variant: staticpie cflags=-static-pie */
#define _GNU_SOURCE
#include <elf.h>
#include <link.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "guest.h"

extern char **environ;
extern void _start(void);

int main(int argc, char **argv)
{
    CHECK(argc == 3 && argv[3] == NULL);
    CHECK(environ == argv + argc + 1);
    int vars = 0;
    while (environ[vars]) {
        vars++;
    }
    printf("%d variables, GUEST_A=%s GUEST_B=%s\n", vars, getenv("GUEST_A"), getenv("GUEST_B"));
    ElfW(auxv_t) *av = (ElfW(auxv_t) *)(environ + vars + 1);
    for (; av->a_type != AT_NULL; av++) {
        unsigned long v = av->a_un.a_val;
        switch (av->a_type) {
        case 27:
        case 28: /* AT_RSEQ_*: mtvg does not give them, as its rseq(2) is ENOSYS */ break;
        case AT_PAGESZ:
        case AT_HWCAP:
        case AT_HWCAP2:
        case AT_CLKTCK:
        case AT_PHENT:
        case AT_PHNUM:
        case AT_FLAGS:
        case AT_UID:
        case AT_EUID:
        case AT_GID:
        case AT_EGID:
        case AT_SECURE:
        case AT_MINSIGSTKSZ: printf("aux %lu = %#lx\n", (unsigned long)av->a_type, v); break;
        default: printf("aux %lu\n", (unsigned long)av->a_type);
        }
    }
    CHECK(getauxval(AT_ENTRY) == (unsigned long)_start);
    CHECK(!strcmp((char *)getauxval(AT_EXECFN), argv[0]));
    CHECK(!strcmp((char *)getauxval(AT_PLATFORM), "x86_64"));
    const ElfW(Phdr) *ph = (void *)getauxval(AT_PHDR);
    for (unsigned i = 0; i < getauxval(AT_PHNUM); i++) {
        if (ph[i].p_type != PT_GNU_PROPERTY && ph[i].p_type != PT_NOTE) {
            printf("phdr %x flags %x\n", ph[i].p_type, ph[i].p_flags);
        }
    }
    const ElfW(Ehdr) *vdso = (void *)getauxval(AT_SYSINFO_EHDR);
    if (vdso) {
        CHECK(!memcmp(vdso->e_ident, ELFMAG, SELFMAG));
    }
    unsigned char *random = (void *)getauxval(AT_RANDOM);
    unsigned sum = 0;
    for (int i = 0; i < 16; i++) {
        sum |= random[i];
    }
    CHECK(sum != 0);
    /* strings lie one behind the other, arguments first, the file name last */
    CHECK(argv[1] == argv[0] + strlen(argv[0]) + 1);
    CHECK(argv[2] == argv[1] + 2);
    CHECK(environ[0] == argv[2] + 3);
    CHECK((char *)getauxval(AT_EXECFN) == environ[vars - 1] + strlen(environ[vars - 1]) + 1);
    CHECK(argv[0] > (char *)av && (char *)random > (char *)av);
    char exe[4096];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    CHECK(n > 0);
    exe[n] = 0;
    CHECK(!strcmp(exe, argv[0]));
    FILE *f = fopen("/proc/self/cmdline", "r");
    char line[4096];
    size_t got = fread(line, 1, sizeof line, f);
    fclose(f);
    CHECK(got == strlen(argv[0]) + 1 + 2 + 3 && !memcmp(line, argv[0], got));
    f = fopen("/proc/self/auxv", "r");
    ElfW(auxv_t) file[64];
    got = fread(file, sizeof file[0], 64, f);
    fclose(f);
    av = (ElfW(auxv_t) *)(environ + vars + 1);
    for (size_t i = 0; i < got && av[i].a_type != AT_NULL; i++) {
        CHECK(file[i].a_type == av[i].a_type && file[i].a_un.a_val == av[i].a_un.a_val);
    }
    printf("done\n");
    return 0;
}
