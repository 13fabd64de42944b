/* SPDX-License-Identifier: BSD-2-Clause
 * elf_int.h -- shared by exec_*.c and elf_*.c. Private to src/guest. */
#ifndef MT_ELF_INT_H
#define MT_ELF_INT_H

#include "guest/elf.h"

#include <elf.h>

/* Fills *err; control characters in the message become '?'. Returns -1. */
int exec_fail(ExecError *err, int code, int exit_code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* What the header and the program headers of a file say, checked: numbers are in bounds, sums don't
 * overflow, offsets lie in the file. */
typedef struct ElfFile {
    int fd;
    const char *name; /* for messages */
    u64 size;
    Elf64_Ehdr ehdr;
    Elf64_Phdr *phdrs; /* ehdr.e_phnum of them, of the heap */
    u64 lo, hi;        /* pages that the PT_LOADs cover, before relocation */
    u64 align;         /* largest p_align of them, at least a page */
} ElfFile;

/* Reads and checks. `interp_of`: NULL, or the program whose interpreter this is (for messages and
 * errno: ELIBBAD in place of ENOEXEC). 0, or -1 and *err. */
int elf_open(int fd, const char *name, const char *interp_of, ElfFile *out, ExecError *err);
void elf_close(ElfFile *f); /* frees the headers; the descriptor stays open */

/* PT_INTERP's string, of the heap; *path = NULL if there is none. 0, or -1 and *err. */
int elf_interp_path(const ElfFile *f, char **path, ExecError *err);

/* Looks at a file's first bytes only: is it an ELF file for this machine? 0, or -1 and *err. */
int elf_check_ident(const void *bytes, size_t n, const char *name, const char *interp_of,
                    ExecError *err);

/* pread until n bytes or the end; bytes read or -errno. */
i64 elf_pread(int fd, void *buf, size_t n, u64 off);

#endif
