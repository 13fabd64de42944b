/* SPDX-License-Identifier: BSD-2-Clause
 * replace.c -- which guest addresses are functions that the tool does itself.
 * Role:    reads the symbol tables (.dynsym and .symtab) of mapped images through libelf; keeps the
 *          addresses. An IFUNC's symbol names its resolver: those are left alone.
 * Locking: lock guards the table; wishes are made before guest code runs. Written with aspace_lock held
 *          only, which fork holds: its child finds the table whole. */
#include "jit/replace.h"

#include <fcntl.h>
#include <fnmatch.h>
#include <gelf.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAX_WISHES 256

typedef struct Wish {
    const char *image, *symbol;
    MtvgReplacement fn;
    u64 arg;
} Wish;

typedef struct Found {
    GuestAddr pc;
    u32 wish;
} Found;

bool mt_replacing;
static Wish wishes[MAX_WISHES];
static u32 wish_count;
static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
static Found *found;
static u32 found_count, found_room;

bool mtvg_replace(const char *image, const char *symbol, MtvgReplacement fn, u64 arg)
{
    if (wish_count == MAX_WISHES) {
        return false;
    }
    wishes[wish_count++] = (Wish){image, symbol, fn, arg};
    mt_replacing = true;
    return true;
}

bool replace_find(GuestAddr pc, MtvgReplacement *fn, u64 *arg)
{
    bool is = false;

    pthread_rwlock_rdlock(&lock);
    for (u32 i = 0; i < found_count && !is; i++) {
        if (found[i].pc == pc) {
            *fn = wishes[found[i].wish].fn;
            *arg = wishes[found[i].wish].arg;
            is = true;
        }
    }
    pthread_rwlock_unlock(&lock);
    return is;
}

void replace_after_fork_child(void)
{
    pthread_rwlock_init(&lock, NULL);
}

void replace_forget(GuestAddr start, u64 len)
{
    u32 kept = 0;

    pthread_rwlock_wrlock(&lock);
    for (u32 i = 0; i < found_count; i++) {
        if (found[i].pc - start >= len) {
            found[kept++] = found[i];
        }
    }
    found_count = kept;
    pthread_rwlock_unlock(&lock);
}

static void add(GuestAddr pc, u32 wish)
{
    pthread_rwlock_wrlock(&lock);
    if (found_count == found_room) {
        u32 room = found_room * 2 + 64;
        Found *more = realloc(found, room * sizeof(*more));

        if (more == NULL) {
            pthread_rwlock_unlock(&lock);
            return;
        }
        found = more;
        found_room = room;
    }
    found[found_count++] = (Found){pc, wish};
    pthread_rwlock_unlock(&lock);
}

/* Where the mapping has the address that the file calls vaddr; 0: not in it. */
static GuestAddr place(Elf *elf, const AspaceInfo *m, u64 vaddr)
{
    size_t n = 0;
    GElf_Phdr p;

    elf_getphdrnum(elf, &n);
    for (size_t i = 0; i < n && gelf_getphdr(elf, (int)i, &p) != NULL; i++) {
        u64 off = vaddr - p.p_vaddr + p.p_offset;

        if (p.p_type == PT_LOAD && vaddr - p.p_vaddr < p.p_filesz &&
            off - m->offset < m->end - m->start) {
            return m->start + (off - m->offset);
        }
    }
    return 0;
}

static void scan_symbols(Elf *elf, Elf_Scn *scn, const GElf_Shdr *sh, const AspaceInfo *m,
                         const char *image)
{
    Elf_Data *data = elf_getdata(scn, NULL);
    GElf_Sym sym;

    for (int i = 0; data != NULL && gelf_getsym(data, i, &sym) != NULL; i++) {
        const char *name = elf_strptr(elf, sh->sh_link, sym.st_name);

        if (GELF_ST_TYPE(sym.st_info) != STT_FUNC || sym.st_shndx == SHN_UNDEF || name == NULL) {
            continue;
        }
        for (u32 w = 0; w < wish_count; w++) {
            if (strcmp(name, wishes[w].symbol) == 0 && fnmatch(wishes[w].image, image, 0) == 0) {
                GuestAddr pc = place(elf, m, sym.st_value);

                if (pc != 0) {
                    add(pc, w);
                }
            }
        }
    }
}

static const char *soname(Elf *elf)
{
    Elf_Scn *scn = NULL;
    GElf_Shdr sh;
    GElf_Dyn dyn;

    while ((scn = elf_nextscn(elf, scn)) != NULL) {
        Elf_Data *data;

        if (gelf_getshdr(scn, &sh) == NULL || sh.sh_type != SHT_DYNAMIC) {
            continue;
        }
        data = elf_getdata(scn, NULL);
        for (int i = 0; data != NULL && gelf_getdyn(data, i, &dyn) != NULL; i++) {
            if (dyn.d_tag == DT_SONAME) {
                return elf_strptr(elf, sh.sh_link, dyn.d_un.d_val);
            }
        }
    }
    return NULL;
}

static void scan_image(const AspaceInfo *m)
{
    int fd = open(m->path, O_RDONLY | O_CLOEXEC);
    Elf *elf = NULL;
    Elf_Scn *scn = NULL;
    GElf_Shdr sh;
    const char *image;

    if (fd >= 0 && elf_version(EV_CURRENT) != EV_NONE) {
        elf = elf_begin(fd, ELF_C_READ, NULL);
    }
    if (elf != NULL && elf_kind(elf) == ELF_K_ELF) {
        image = soname(elf);
        if (image == NULL) {
            image = strrchr(m->path, '/') != NULL ? strrchr(m->path, '/') + 1 : m->path;
        }
        while ((scn = elf_nextscn(elf, scn)) != NULL) {
            if (gelf_getshdr(scn, &sh) != NULL &&
                (sh.sh_type == SHT_DYNSYM || sh.sh_type == SHT_SYMTAB)) {
                scan_symbols(elf, scn, &sh, m, image);
            }
        }
    }
    elf_end(elf);
    if (fd >= 0) {
        close(fd);
    }
}

typedef struct Range {
    GuestAddr start, end;
} Range;

static bool look_at(const AspaceInfo *m, void *arg)
{
    const Range *r = arg;

    if (m->end > r->start && m->start < r->end && (m->prot & PROT_EXEC) != 0 && m->path != NULL &&
        m->path[0] == '/') {
        replace_forget(m->start, m->end - m->start);
        scan_image(m);
    }
    return true;
}

void replace_look(GuestAddr start, u64 len)
{
    Range r = {start, start + len};

    aspace_foreach(look_at, &r);
}
