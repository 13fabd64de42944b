/* SPDX-License-Identifier: BSD-2-Clause
 * fuzz_elf.c -- resolves and loads a real ELF file with some bytes changed. Whatever they are, it
 * is loaded or refused with a message of one line, and the host's memory stays as it is.
 * Input: a count, then for each change an offset (2 bytes), what to do (1), a value (1). */
/* layers: mt_base mt_guest */
#include "guest/aspace.h"
#include "guest/elf.h"
#include "guest/layout.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HEADERS 1024 /* where changes matter */
#define FILE_MAX 65536

static u8 original[FILE_MAX];
static size_t original_size;
static int work_fd;
static char work_path[64];

static void start(void)
{
    int fd = open("/bin/true", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, original, sizeof(original)) : -1;
    if (n <= 0 || layout_init(16ul << 20) != 0) {
        abort();
    }
    close(fd);
    original_size = (size_t)n;
    aspace_init(NULL);
    work_fd = memfd_create("elf", MFD_CLOEXEC);
    fchmod(work_fd, 0755);
    snprintf(work_path, sizeof(work_path), "/proc/self/fd/%d", work_fd);
}

static void change(u8 *bytes, const uint8_t *c)
{
    size_t at = (size_t)(c[0] | c[1] << 8) % HEADERS;
    switch (c[2] % 5) {
    case 0: bytes[at] = c[3]; break;
    case 1: bytes[at] ^= (u8)(1u << (c[3] % 8)); break;
    case 2: memset(bytes + (at & ~7ul), c[3] & 1 ? 0xff : 0, 8); break;
    case 3: memset(bytes + (at & ~3ul), c[3] & 1 ? 0xff : 0, 4); break;
    default: bytes[at] += (u8)(c[3] % 3 - 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static u8 bytes[FILE_MAX];
    char *argv[] = {"program", NULL};
    ExecTarget t;
    ExecError err = {0};
    ElfImage img;
    if (original_size == 0) {
        start();
    }
    if (size < 2) {
        return 0;
    }
    size_t file_size = original_size;
    memcpy(bytes, original, original_size);
    for (unsigned i = 0; i <= data[0] % 6u && size >= 2 + 4 * (i + 1); i++) {
        change(bytes, data + 2 + 4 * i);
    }
    if (data[1] < 64) { /* cut off */
        file_size = original_size * data[1] / 64;
    }
    if (ftruncate(work_fd, 0) != 0 || pwrite(work_fd, bytes, file_size, 0) != (ssize_t)file_size) {
        abort();
    }
    int r = exec_resolve(work_path, argv, &t, &err);
    if (r == 0) {
        r = elf_load(&t, &img, &err);
        exec_target_free(&t);
    }
    if (r != 0 && (err.msg[0] == '\0' || strchr(err.msg, '\n') != NULL || err.err == 0)) {
        abort();
    }
    if (aspace_munmap(0, 0x7ffffffff000) != 0) {
        abort();
    }
    return 0;
}
