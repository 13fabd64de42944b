/* SPDX-License-Identifier: BSD-2-Clause
 * symbols.h -- code addresses to names, files and lines.
 * Another program does it, mtvg-symbols beside mtvg, which is started when there is something to be
 * told: debug information that is broken or endless, files that can't be opened, and libraries that
 * are needed for it are no matter of the guest's process then. docs/BACKTRACES.md. */
#ifndef MT_SYMBOLS_H
#define MT_SYMBOLS_H

#include "base/base.h"

/* Prints a stack trace as Valgrind does, down to main(). `names`: a process may be started for
 * names; without it (or if that fails) there are addresses and files only. Slow domain, OUTSIDE. */
void symbols_print_trace(const GuestAddr *pcs, unsigned n, bool names);

/* Runs mtvg-symbols: `text` is its input, `out` takes what it has written, `size` bytes at most.
 * Returns how many; 0 if it could not be run. All three lie in shared memory. In symbols_run.c. */
size_t symbols_run(const char *text, size_t len, char *out, size_t size);

#endif
