/* SPDX-License-Identifier: BSD-2-Clause
 * loaderenv.h -- variables that the dynamic loader and the C library act on before main:
 * LD_PRELOAD, LD_LIBRARY_PATH, LD_AUDIT, GLIBC_TUNABLES and so on. They are the guest's, not the
 * runtime's: its libraries would be loaded into the runtime as well. So they travel masked, with
 * another first byte. */
#ifndef MT_LOADERENV_H
#define MT_LOADERENV_H

#include "base/base.h"

/* Enough of a string to tell what it is. */
#define MT_LOADERENV_PREFIX 16

/* First in main: gives masked variables their names back; if there is one that is not masked, the
 * program is started anew with it masked. Returns if nothing is to be done or that fails. */
void loaderenv_init(char **argv);

/* The first byte of such a variable that is masked; 0: it is another variable. */
char loaderenv_mask(const char prefix[MT_LOADERENV_PREFIX]);

#endif
