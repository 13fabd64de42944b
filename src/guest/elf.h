/* SPDX-License-Identifier: BSD-2-Clause
 * elf.h -- finds and loads a guest program: ELF executables, their interpreter, scripts. */
#ifndef MT_ELF_H
#define MT_ELF_H

#include "base/base.h"

/* Why a program can't be run; `msg` is one line for the user, `exit_code` 1, 126 or 127. */
typedef struct ExecError {
    int err; /* errno as execve(2) would give */
    int exit_code;
    char msg[512];
} ExecError;

/* A program resolved as execve(2) would: scripts followed, architecture and permissions checked. */
typedef struct ExecTarget {
    int fd;          /* the ELF file, open for reading; owned by the caller */
    char *path;      /* path of the ELF file as opened (AT_EXECFN for non-scripts) */
    char *real_path; /* absolute, symlinks resolved: what /proc/self/exe shows */
    char *execfn;    /* AT_EXECFN */
    char **argv;     /* with a script's interpreter and argument put in front; NULL-ended */
    bool is_setid;   /* set-user-ID or set-group-ID, to others than the caller's */
} ExecTarget;

/* Looks `name` up in PATH if it has no slash. Returns a path of the heap, or NULL and *err. */
char *exec_find(const char *name, ExecError *err);

/* Resolves and checks. 0, or -1 and *err. */
int exec_resolve(const char *path, char *const argv[], ExecTarget *out, ExecError *err);
void exec_target_free(ExecTarget *t);

/* What has been loaded. */
typedef struct ElfImage {
    GuestAddr entry;      /* where execution begins (the interpreter's entry if there is one) */
    GuestAddr prog_entry; /* AT_ENTRY */
    GuestAddr phdr;       /* AT_PHDR */
    u16 phnum, phent;
    GuestAddr interp_base; /* AT_BASE; 0 if none */
    GuestAddr brk_start;   /* page after the program's highest segment */
    bool fixed;            /* linked to addresses (ET_EXEC) */
    bool exec_stack;       /* PT_GNU_STACK asks for it */
    GuestAddr load_lo, load_hi;
} ElfImage;

/* The addresses that the program is linked to; false if to none, or if it can't be loaded
 * anyway. */
bool elf_fixed_range(const ExecTarget *t, GuestAddr *lo, GuestAddr *hi);

/* Maps program and interpreter through aspace. 0, or -1 and *err; never leaves the process in a
 * state that matters after an error (the caller exits). */
int elf_load(const ExecTarget *t, ElfImage *out, ExecError *err);

/* Builds the initial stack as the kernel does (argc, argv, envp, auxv, strings, random bytes,
 * platform). Returns the initial rsp, or 0 and *err (-E2BIG). */
GuestAddr elf_make_stack(const ElfImage *img, const ExecTarget *t, char *const envp[],
                         GuestAddr stack_top, ExecError *err);

/* The auxiliary vector given to the guest (for /proc/self/auxv and PR_GET_AUXV). */
enum { MT_GUEST_AUXV_WORDS = 64 };
extern u64 mt_guest_auxv[MT_GUEST_AUXV_WORDS];
extern size_t mt_guest_auxv_bytes;

#endif
