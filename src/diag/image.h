/* SPDX-License-Identifier: BSD-2-Clause
 * image.h -- the ELF image that holds a piece of guest code, and its tables for unwinding.
 * What is in memory is read from there; only objects without .eh_frame_hdr (static programs), and
 * code that .eh_frame says nothing about, make it open the file. */
#ifndef MT_IMAGE_H
#define MT_IMAGE_H

#include "diag/cfi.h"
#include "guest/aspace.h"

typedef struct Image {
    GuestAddr lo, hi; /* the executable segment that was asked for; lo == hi: none */
    CfiTables tables;
    bool looked_into_file;
    void *debug_frame; /* a mapping of the host's, with .debug_frame in it */
    u64 debug_frame_size;
    AspaceImage file;
} Image;

/* The image that holds pc; `image` is zero-initialised or has been filled before (and is asked for
 * many addresses). False: none; an image found before is forgotten. */
bool image_find(Image *image, GuestAddr pc);

/* Adds the tables that only the file tells of. False: there are none, or they are known already. */
bool image_look_into_file(Image *image);

void image_forget(Image *image);

#endif
