/* SPDX-License-Identifier: BSD-2-Clause
 * image.c -- finds an image's program headers in guest memory, and section headers in its file.
 * Every number in them may be wrong: all are checked, or lead to reads that may fail. */
#include "diag/image.h"

#include "base/safe.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEADERS_MAX 128
#define SECTIONS_MAX 65536

static bool is_ours(const Elf64_Ehdr *h)
{
    return memcmp(h->e_ident, ELFMAG, SELFMAG) == 0 && h->e_ident[EI_CLASS] == ELFCLASS64 &&
           h->e_machine == EM_X86_64;
}

/* In two rounds: the first loaded segment says where the image lies, with it the others are
 * known. */
static bool read_headers(Image *image, GuestAddr pc)
{
    GuestAddr base = image->file.header;
    Elf64_Ehdr h;
    Elf64_Phdr p;
    bool placed = false;
    if (base == 0 || safe_read(&h, base, sizeof(h)) != 0 || !is_ours(&h) ||
        h.e_phentsize != sizeof(p) || h.e_phnum > HEADERS_MAX) {
        return false;
    }
    for (unsigned i = 0; i < h.e_phnum; i++) {
        if (safe_read(&p, base + h.e_phoff + i * sizeof(p), sizeof(p)) != 0) {
            return false;
        }
        if (p.p_type == PT_LOAD && !placed) {
            image->tables.bias = base - (p.p_vaddr - p.p_offset);
            placed = true;
        }
    }
    for (unsigned i = 0; placed && i < h.e_phnum; i++) {
        if (safe_read(&p, base + h.e_phoff + i * sizeof(p), sizeof(p)) != 0) {
            return false;
        }
        GuestAddr at = image->tables.bias + p.p_vaddr;
        if (p.p_type == PT_LOAD && (p.p_flags & PF_X) != 0 && pc - at < p.p_memsz) {
            image->lo = at;
            image->hi = at + p.p_memsz;
        } else if (p.p_type == PT_GNU_EH_FRAME) {
            image->tables.hdr = at;
        }
    }
    return image->lo < image->hi;
}

void image_forget(Image *image)
{
    if (image->debug_frame != NULL) {
        munmap(image->debug_frame, image->debug_frame_size);
    }
    memset(image, 0, offsetof(Image, file));
}

bool image_find(Image *image, GuestAddr pc)
{
    if (image->lo <= pc && pc < image->hi) {
        return true;
    }
    image_forget(image);
    if (!aspace_image(pc, &image->file) || !read_headers(image, pc)) {
        image_forget(image);
        return false;
    }
    return true;
}

/* --- the file --- */

static bool read_at(int fd, void *to, size_t n, u64 at)
{
    ssize_t got;
    do {
        got = pread(fd, to, n, (off_t)at);
    } while (got < 0 && errno == EINTR);
    return got == (ssize_t)n;
}

static void map_debug_frame(Image *image, int fd, const Elf64_Shdr *s, u64 file_size)
{
    u64 from = MT_PAGE_DOWN(s->sh_offset), size = s->sh_offset - from + s->sh_size;
    if (s->sh_type == SHT_NOBITS || (s->sh_flags & SHF_COMPRESSED) != 0 || s->sh_size == 0 ||
        s->sh_offset > file_size || s->sh_size > file_size - s->sh_offset) {
        return;
    }
    void *p = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, (off_t)from);
    if (p == MAP_FAILED) {
        return;
    }
    image->debug_frame = p;
    image->debug_frame_size = size;
    image->tables.debug = (GuestAddr)p + (s->sh_offset - from);
    image->tables.debug_end = image->tables.debug + s->sh_size;
}

static void read_sections(Image *image, int fd, u64 file_size)
{
    Elf64_Ehdr h;
    Elf64_Shdr names, s;
    char name[16];
    if (!read_at(fd, &h, sizeof(h), 0) || !is_ours(&h) || h.e_shentsize != sizeof(s) ||
        !read_at(fd, &names, sizeof(names), h.e_shoff + h.e_shstrndx * sizeof(s))) {
        return;
    }
    for (unsigned i = 1; i < h.e_shnum && i < SECTIONS_MAX; i++) {
        if (!read_at(fd, &s, sizeof(s), h.e_shoff + i * sizeof(s))) {
            return;
        }
        memset(name, 0, sizeof(name));
        if (s.sh_name > names.sh_size ||
            pread(fd, name, sizeof(name) - 1, (off_t)(names.sh_offset + s.sh_name)) <= 0) {
            continue;
        }
        if (strcmp(name, ".eh_frame") == 0 && (s.sh_flags & SHF_ALLOC) != 0 &&
            image->tables.hdr == 0) {
            image->tables.eh = image->tables.bias + s.sh_addr;
            image->tables.eh_end = image->tables.eh + s.sh_size;
        } else if (strcmp(name, ".debug_frame") == 0 && image->debug_frame == NULL) {
            map_debug_frame(image, fd, &s, file_size);
        }
    }
}

bool image_look_into_file(Image *image)
{
    struct stat st;
    if (image->looked_into_file || image->file.path[0] != '/') {
        return false;
    }
    image->looked_into_file = true;
    int fd = open(image->file.path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        return false;
    }
    /* Its path may lead to another file by now. */
    if (fstat(fd, &st) == 0 && st.st_dev == image->file.dev && st.st_ino == image->file.ino) {
        read_sections(image, fd, (u64)st.st_size);
    }
    close(fd);
    return image->tables.eh != 0 || image->tables.debug != 0;
}
