/* SPDX-License-Identifier: BSD-2-Clause
 * layout.h -- where things go in the one address space (ARCHITECTURE.md, "Memory layout"). */
#ifndef MT_LAYOUT_H
#define MT_LAYOUT_H

#include "base/base.h"

typedef struct Layout {
    u64 image_lo, image_hi; /* image window */
    u64 cache_base;         /* executable view of the code cache, inside the image window */
    u64 cache_size;
    u64 anon_lo, anon_hi; /* anonymous guest memory, the heap, the main thread's stack */
    u64 huge_lo, huge_hi; /* huge mappings, and what has no room elsewhere; empty: no such region */
    u64 stack_top;        /* end of the main thread's guest stack */
    u64 brk_base;         /* start of the guest's brk heap (page-aligned) */
    u64 keep_lo,
        keep_hi; /* set before layout_init(): where a program wants to be that is linked there */
} Layout;

extern Layout mt_layout;

/* Chooses all regions by probing what is free; cache_size in bytes. 0 or -ENOMEM. */
int layout_init(u64 cache_size);

#endif
