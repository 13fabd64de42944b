/* SPDX-License-Identifier: BSD-2-Clause
 * replace.c -- which guest addresses are functions that the tool does itself.
 * Role:    reads the symbol tables (.dynsym and .symtab) of mapped images through libelf; keeps the
 *          addresses. An IFUNC's symbol names its resolver, which returns an address of ours
 *          instead: the second byte of the resolver, where no instruction begins that is ever run.
 *          So functions with one implementation stay apart, and dladdr() names them.
 * Locking: lock guards the table; wishes are made before guest code runs. Written with aspace_lock
 *          held only, which fork holds: its child finds the table whole. */
#include "jit/replace.h"

#include "base/atomics.h"
#include "base/lockorder.h"

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
    MtvgLightReplacement light;
    MtvgReplacement fn;
    u64 arg;
} Wish;

typedef struct Found {
    GuestAddr pc;
    u32 wish;
    bool resolver;
} Found;

bool mt_replacing;
__thread ReplaceRecent mt_replace_recent[MT_REPLACE_RECENT];
u32 mt_replace_changes;
static Wish wishes[MAX_WISHES];
static u32 wish_count;
static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER; /* RANK_REPLACE */
static Found *found;
static u32 found_count, found_room;
/* Bits for hashes of addresses that have ever been found: most addresses are not asked for further.
 * Atomic; a bit is set before the code there can run, and never cleared. */
static u64 maybe[1024];
/* The same for names that are wished for. */
static u64 maybe_named[16];

static u32 hash_pc(GuestAddr pc)
{
    return (u32)(pc * 0x9e3779b97f4a7c15ull >> 48);
}

/* Of a name without its version. */
static u32 hash_name(const char *name)
{
    u32 h = 0;

    while (*name != '\0' && *name != '@') {
        h = h * 31 + (u8)*name++;
    }
    return (h ^ h >> 10) & 1023;
}

bool mtvg_replace(const char *image, const char *symbol, MtvgReplacement fn, u64 arg)
{
    return mtvg_replace_light(image, symbol, NULL, fn, arg);
}

bool mtvg_replace_light(const char *image, const char *symbol, MtvgLightReplacement light,
                        MtvgReplacement fn, u64 arg)
{
    if (wish_count == MAX_WISHES) {
        return false;
    }
    maybe_named[hash_name(symbol) / 64] |= 1ull << hash_name(symbol) % 64;
    wishes[wish_count++] = (Wish){image, symbol, light, fn, arg};
    mt_replacing = true;
    return true;
}

static void lock_table(int (*take)(pthread_rwlock_t *))
{
    lockorder_check(RANK_REPLACE);
    MT_ASSERT(take(&lock) == 0);
    lockorder_push(RANK_REPLACE);
}

static void unlock_table(void)
{
    lockorder_pop(RANK_REPLACE);
    MT_ASSERT(pthread_rwlock_unlock(&lock) == 0);
}

static Found *find_locked(GuestAddr pc)
{
    for (u32 i = 0; i < found_count; i++) {
        if (found[i].pc == pc) {
            return &found[i];
        }
    }
    return NULL;
}

bool replace_find(GuestAddr pc, Replaced *out)
{
    u32 h = hash_pc(pc);
    const Found *f;

    if (!(mt_load_relaxed(&maybe[h / 64]) >> h % 64 & 1)) {
        return false;
    }
    lock_table(pthread_rwlock_rdlock);
    f = find_locked(pc);
    if (f != NULL && out != NULL) {
        const Wish *w = &wishes[f->wish];

        *out = (Replaced){w->fn, f->resolver ? NULL : w->light, w->arg, f->resolver ? pc + 1 : 0};
        *replace_recent_slot(pc) = (ReplaceRecent){pc, mt_load_relaxed(&mt_replace_changes), *out};
    }
    unlock_table();
    return f != NULL;
}

void replace_after_fork_child(void)
{
    pthread_rwlock_init(&lock, NULL);
}

static void changed_locked(void)
{
    mt_fetch_add(&mt_replace_changes, 1);
}

void replace_forget(GuestAddr start, u64 len)
{
    u32 kept = 0;

    lock_table(pthread_rwlock_wrlock);
    for (u32 i = 0; i < found_count; i++) {
        if (found[i].pc - start >= len) {
            found[kept++] = found[i];
        }
    }
    if (kept != found_count) {
        changed_locked();
    }
    found_count = kept;
    unlock_table();
}

static void add_locked(GuestAddr pc, u32 wish, bool resolver)
{
    u32 h = hash_pc(pc);
    Found *old = find_locked(pc);

    changed_locked();
    if (old != NULL) {
        old->wish = wish < old->wish ? wish : old->wish;
        return;
    }
    if (found_count == found_room) {
        u32 room = found_room * 2 + 64;
        Found *more = realloc(found, room * sizeof(*more));

        if (more == NULL) {
            return;
        }
        found = more;
        found_room = room;
    }
    found[found_count++] = (Found){pc, wish, resolver};
    mt_fetch_or(&maybe[h / 64], 1ull << h % 64);
}

static void add(GuestAddr pc, u32 wish, bool ifunc)
{
    lock_table(pthread_rwlock_wrlock);
    if (ifunc) {
        add_locked(pc + 1, wish, false); /* first: the other one leads here */
    }
    add_locked(pc, wish, ifunc);
    unlock_table();
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

/* The versions of .dynsym's symbols. */
typedef struct Versions {
    Elf *elf;
    Elf_Data *of, *defs; /* NULL: it has none */
    Elf64_Word strings;
} Versions;

static Versions find_versions(Elf *elf)
{
    Versions v = {.elf = elf};
    Elf_Scn *scn = NULL;
    GElf_Shdr sh;

    while ((scn = elf_nextscn(elf, scn)) != NULL) {
        if (gelf_getshdr(scn, &sh) != NULL && sh.sh_type == SHT_GNU_versym) {
            v.of = elf_getdata(scn, NULL);
        } else if (gelf_getshdr(scn, &sh) != NULL && sh.sh_type == SHT_GNU_verdef) {
            v.defs = elf_getdata(scn, NULL);
            v.strings = sh.sh_link;
        }
    }
    return v;
}

/* Of symbol i; NULL: none. */
static const char *version_name(const Versions *v, int i)
{
    GElf_Versym number;
    GElf_Verdef def;
    GElf_Verdaux aux;

    if (v->of == NULL || v->defs == NULL || gelf_getversym(v->of, i, &number) == NULL) {
        return NULL;
    }
    for (size_t at = 0; at <= INT32_MAX && gelf_getverdef(v->defs, (int)at, &def) != NULL;
         at += def.vd_next) {
        size_t first = at + def.vd_aux;

        if (def.vd_ndx == (number & 0x7fff)) {
            return first <= INT32_MAX && gelf_getverdaux(v->defs, (int)first, &aux) != NULL
                       ? elf_strptr(v->elf, v->strings, aux.vda_name)
                       : NULL;
        }
        if (def.vd_next == 0) {
            break;
        }
    }
    return NULL;
}

/* wish: "name", or "name@VERSION". name: the symbol's, perhaps with @ or @@ and its version
 * (.symtab); else the version is number i of v (NULL: not known). */
static bool is_wished(const char *wish, const char *name, const Versions *v, int i)
{
    size_t n = strcspn(name, "@");
    const char *version = name[n] == '@' ? name + n + strspn(name + n, "@") : NULL;

    if (strncmp(wish, name, n) != 0 || (wish[n] != '\0' && wish[n] != '@')) {
        return false;
    }
    if (wish[n] == '\0') {
        return true;
    }
    if (version == NULL && v != NULL) {
        version = version_name(v, i);
    }
    return version != NULL && strcmp(wish + n + 1, version) == 0;
}

static void scan_symbols(Elf *elf, Elf_Scn *scn, const GElf_Shdr *sh, const AspaceInfo *m,
                         const char *image, const Versions *v)
{
    Elf_Data *data = elf_getdata(scn, NULL);
    GElf_Sym sym;

    for (int i = 0; data != NULL && gelf_getsym(data, i, &sym) != NULL; i++) {
        const char *name = elf_strptr(elf, sh->sh_link, sym.st_name);
        u32 type = GELF_ST_TYPE(sym.st_info);

        if ((type != STT_FUNC && type != STT_GNU_IFUNC) || sym.st_shndx == SHN_UNDEF ||
            name == NULL || !(maybe_named[hash_name(name) / 64] >> hash_name(name) % 64 & 1)) {
            continue;
        }
        for (u32 w = 0; w < wish_count; w++) {
            if (is_wished(wishes[w].symbol, name, v, i) &&
                fnmatch(wishes[w].image, image, 0) == 0) {
                GuestAddr pc = place(elf, m, sym.st_value);

                if (pc != 0) {
                    add(pc, w, type == STT_GNU_IFUNC);
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
    Versions versions;

    if (fd >= 0 && elf_version(EV_CURRENT) != EV_NONE) {
        elf = elf_begin(fd, ELF_C_READ, NULL);
    }
    if (elf != NULL && elf_kind(elf) == ELF_K_ELF) {
        image = soname(elf);
        if (image == NULL) {
            image = strrchr(m->path, '/') != NULL ? strrchr(m->path, '/') + 1 : m->path;
        }
        versions = find_versions(elf);
        while ((scn = elf_nextscn(elf, scn)) != NULL) {
            if (gelf_getshdr(scn, &sh) != NULL &&
                (sh.sh_type == SHT_DYNSYM || sh.sh_type == SHT_SYMTAB)) {
                scan_symbols(elf, scn, &sh, m, image, sh.sh_type == SHT_DYNSYM ? &versions : NULL);
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
        scan_image(m);
    }
    return true;
}

void replace_look(GuestAddr start, u64 len)
{
    Range r = {start, start + len};

    aspace_foreach(look_at, &r);
}
