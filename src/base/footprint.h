/* SPDX-License-Identifier: BSD-2-Clause
 * footprint.h -- memory that the runtime's own image takes. */
#ifndef MT_FOOTPRINT_H
#define MT_FOOTPRINT_H

/* Code and constants of the runtime and its libraries that only the start needed (each fault maps
 * 16 pages of a file) go; they come again when they are used. Once, for a program that turns out
 * not to be a short one: some twenty system calls, and as many faults. */
void footprint_drop_constants(void);

#endif
