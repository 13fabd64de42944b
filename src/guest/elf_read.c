/* SPDX-License-Identifier: BSD-2-Clause
 * elf_read.c -- reads and checks the headers of an ELF executable.
 * Role:       everything that comes out of a file is checked here, once; elf_load.c may then add
 *             and subtract without looking.
 * Invariants: E1. for each PT_LOAD: offset + filesz <= file size, filesz <= memsz,
 *                 vaddr + memsz <= ELF_MAX, vaddr = offset modulo the page size. They may come in
 *                 any order and overlap: the kernel maps a later one over an earlier one.
 * Source:     ELF-64 Object File Format; System V ABI, AMD64 supplement; behaviour of execve(2). */
#include "base/heap.h"
#include "guest/elf_int.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ELF_MAX (1ull << 47)
#define PHDRS_MAX (65536 / sizeof(Elf64_Phdr)) /* execve's limit */

i64 elf_pread(int fd, void *buf, size_t n, u64 off)
{
    size_t done = 0;
    while (done < n) {
        ssize_t r = pread(fd, (char *)buf + done, n - done, (off_t)(off + done));
        if (r < 0 && errno == EINTR) {
            continue;
        }
        if (r < 0) {
            return -errno;
        }
        if (r == 0) {
            break;
        }
        done += (size_t)r;
    }
    return (i64)done;
}

static const char *machine_name(unsigned machine)
{
    switch (machine) {
    case EM_386: return "i386";
    case EM_AARCH64: return "AArch64";
    case EM_ARM: return "ARM";
    case EM_RISCV: return "RISC-V";
    case EM_PPC64: return "PowerPC64";
    case EM_S390: return "s390";
    case EM_MIPS: return "MIPS";
    default: return "another machine";
    }
}

/* "NAME" or "NAME (interpreter of PROGRAM)", and the errno that goes with it. */
static int bad(ExecError *err, const char *name, const char *interp_of, const char *what)
{
    if (interp_of != NULL) {
        return exec_fail(err, ELIBBAD, 1, "%s (interpreter of %s): %s", name, interp_of, what);
    }
    return exec_fail(err, ENOEXEC, 1, "%s: %s", name, what);
}

int elf_check_ident(const void *bytes, size_t n, const char *name, const char *interp_of,
                    ExecError *err)
{
    Elf64_Ehdr h;
    memset(&h, 0, sizeof(h));
    memcpy(&h, bytes, n < sizeof(h) ? n : sizeof(h));
    if (n < EI_NIDENT || memcmp(h.e_ident, ELFMAG, SELFMAG) != 0) {
        return bad(err, name, interp_of, "not an ELF file");
    }
    /* The kernel looks at the machine only. What else is wrong explains why that doesn't fit. */
    bool fits = h.e_machine == EM_X86_64 && h.e_phentsize == sizeof(Elf64_Phdr);
    if (!fits && h.e_ident[EI_CLASS] == ELFCLASS32) {
        return bad(err, name, interp_of, "a 32-bit program; only 64-bit x86-64 is supported");
    }
    if (!fits && h.e_ident[EI_CLASS] != ELFCLASS64) {
        return bad(err, name, interp_of, "corrupt ELF file: unknown class");
    }
    if (!fits && h.e_ident[EI_DATA] == ELFDATA2MSB) {
        return bad(err, name, interp_of, "a big-endian program; only x86-64 is supported");
    }
    if (n < sizeof(h)) {
        return bad(err, name, interp_of, "truncated ELF file: it ends in the header");
    }
    if (h.e_machine != EM_X86_64) {
        char what[80] = "a program for ";
        strcat(what, machine_name(h.e_machine));
        strcat(what, "; only x86-64 is supported");
        return bad(err, name, interp_of, what);
    }
    if (h.e_type != ET_EXEC && h.e_type != ET_DYN) {
        return bad(err, name, interp_of,
                   h.e_type == ET_REL    ? "an object file, not an executable"
                   : h.e_type == ET_CORE ? "a core file, not an executable"
                                         : "corrupt ELF file: unknown type");
    }
    return 0;
}

/* NULL, or what is wrong with this PT_LOAD (E1). */
static const char *check_load(const ElfFile *f, const Elf64_Phdr *p)
{
    if (p->p_filesz > p->p_memsz) {
        return "corrupt ELF file: a segment is larger in the file than in memory";
    }
    if (p->p_vaddr >= ELF_MAX || p->p_memsz >= ELF_MAX || p->p_vaddr + p->p_memsz > ELF_MAX) {
        return "corrupt ELF file: a segment ends outside the address space";
    }
    if (p->p_filesz != 0 && ((p->p_vaddr ^ p->p_offset) & ~MT_PAGE_MASK) != 0) {
        return "corrupt ELF file: a segment's address and offset don't fit together";
    }
    /* The page that the file ends in is there, with zeros behind the end. */
    if (p->p_filesz != 0 &&
        (p->p_offset > f->size || MT_PAGE_UP(f->size) - p->p_offset < p->p_filesz)) {
        return "truncated ELF file: it ends inside a segment";
    }
    return NULL;
}

static const char *check_phdrs(ElfFile *f)
{
    f->lo = ELF_MAX;
    f->hi = 0;
    f->align = MT_PAGE_SIZE;
    for (unsigned i = 0; i < f->ehdr.e_phnum; i++) {
        const Elf64_Phdr *p = &f->phdrs[i];
        if (p->p_type != PT_LOAD || (p->p_memsz == 0 && p->p_filesz == 0)) {
            continue;
        }
        const char *what = check_load(f, p);
        if (what != NULL) {
            return what;
        }
        u64 lo = MT_PAGE_DOWN(p->p_vaddr), hi = MT_PAGE_UP(p->p_vaddr + p->p_memsz);
        f->lo = lo < f->lo ? lo : f->lo;
        f->hi = hi > f->hi ? hi : f->hi;
        /* As the kernel: what isn't a power of two is ignored. */
        if (p->p_align > f->align && (p->p_align & (p->p_align - 1)) == 0 && p->p_align < ELF_MAX) {
            f->align = p->p_align;
        }
    }
    return f->hi != 0 ? NULL : "corrupt ELF file: nothing to load";
}

static const char *read_headers(ElfFile *f)
{
    const Elf64_Ehdr *h = &f->ehdr;
    if (h->e_phentsize != sizeof(Elf64_Phdr)) {
        return "corrupt ELF file: program headers have a wrong size";
    }
    if (h->e_phnum == 0 || h->e_phnum > PHDRS_MAX) {
        return "corrupt ELF file: none or too many program headers";
    }
    u64 bytes = (u64)h->e_phnum * sizeof(Elf64_Phdr);
    if (h->e_phoff > f->size || f->size - h->e_phoff < bytes) {
        return "truncated ELF file: it ends before or in the program headers";
    }
    f->phdrs = heap_alloc(bytes);
    if (f->phdrs == NULL) {
        return "out of memory";
    }
    if (elf_pread(f->fd, f->phdrs, bytes, h->e_phoff) != (i64)bytes) {
        return "can't read the program headers";
    }
    return check_phdrs(f);
}

int elf_open(int fd, const char *name, const char *interp_of, ElfFile *out, ExecError *err)
{
    struct stat st;
    memset(out, 0, sizeof(*out));
    out->fd = fd;
    out->name = name;
    if (fstat(fd, &st) != 0) {
        return exec_fail(err, errno, 1, "%s: %s", name, strerror(errno));
    }
    out->size = st.st_size > 0 ? (u64)st.st_size : 0;
    i64 n = elf_pread(fd, &out->ehdr, sizeof(out->ehdr), 0);
    if (n < 0) {
        return exec_fail(err, (int)-n, 1, "%s: %s", name, strerror((int)-n));
    }
    if (elf_check_ident(&out->ehdr, (size_t)n, name, interp_of, err) != 0) {
        return -1;
    }
    const char *what = read_headers(out);
    if (what != NULL) {
        elf_close(out);
        return bad(err, name, interp_of, what);
    }
    return 0;
}

void elf_close(ElfFile *f)
{
    heap_free(f->phdrs);
    f->phdrs = NULL;
}

static int read_interp(const ElfFile *f, const Elf64_Phdr *p, char **path, ExecError *err)
{
    if (p->p_filesz < 2 || p->p_filesz > PATH_MAX || p->p_offset > f->size ||
        f->size - p->p_offset < p->p_filesz) {
        return bad(err, f->name, NULL, "corrupt ELF file: its interpreter's name is out of bounds");
    }
    char *s = heap_alloc(p->p_filesz);
    if (s == NULL) {
        return exec_fail(err, ENOMEM, 1, "out of memory");
    }
    if (elf_pread(f->fd, s, p->p_filesz, p->p_offset) != (i64)p->p_filesz ||
        s[p->p_filesz - 1] != '\0') {
        heap_free(s);
        return bad(err, f->name, NULL, "corrupt ELF file: its interpreter's name doesn't end");
    }
    *path = s;
    return 0;
}

int elf_interp_path(const ElfFile *f, char **path, ExecError *err)
{
    *path = NULL;
    for (unsigned i = 0; i < f->ehdr.e_phnum; i++) {
        if (f->phdrs[i].p_type == PT_INTERP) {
            return read_interp(f, &f->phdrs[i], path, err);
        }
    }
    return 0;
}
