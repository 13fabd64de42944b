/* SPDX-License-Identifier: BSD-2-Clause
 * heap.h -- memory for what the child of any fork must be able to change.
 * libc makes its own allocator fit for the child in fork(3) only. The child of a bare clone system
 * call may find one of its locks taken for ever, by a thread that it does not have; natively it
 * does without, if all that it does is async-signal-safe, and here it still has code to translate.
 * Locking: a lock of its own, innermost, which forks hold (heap_before_fork()). */
#ifndef MT_HEAP_H
#define MT_HEAP_H

#include "base/base.h"

#include <stddef.h>

/* n bytes, aligned to 8; NULL: no memory. */
void *heap_alloc(size_t n);
/* The same, all zeroes. */
void *heap_alloc_zeroed(size_t n);
/* As realloc. */
void *heap_resize(void *p, size_t n);
/* As strdup. */
char *heap_copy_text(const char *text);
/* p may be NULL. */
void heap_free(void *p);

void heap_before_fork(void);
void heap_after_fork(void); /* in both processes */

#endif
