/* SPDX-License-Identifier: BSD-2-Clause
 * footprint.c -- see footprint.h. */
#include "base/footprint.h"

#include "base/atomics.h"
#include "base/base.h"

#include <link.h>
#include <sys/mman.h>

static int drop_constants(struct dl_phdr_info *info, size_t size, void *arg)
{
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        u64 lo = info->dlpi_addr + p->p_vaddr;

        if (p->p_type == PT_LOAD && (p->p_flags & PF_W) == 0) {
            madvise((void *)MT_PAGE_DOWN(lo), MT_PAGE_UP(lo + p->p_memsz) - MT_PAGE_DOWN(lo),
                    MADV_DONTNEED);
        }
    }
    return 0;
}

void footprint_drop_constants(void)
{
    static u32 done;
    u32 no = 0;

    if (mt_cas(&done, &no, 1)) {
        dl_iterate_phdr(drop_constants, NULL);
    }
}
