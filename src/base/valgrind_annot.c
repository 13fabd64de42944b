/* SPDX-License-Identifier: BSD-2-Clause
 * valgrind_annot.c -- are we under an outer Valgrind? */
#include "base/valgrind_annot.h"

u32 mt_under_valgrind;

/* Before main(), hence before there is a second thread: plain reads are enough from then on. */
__attribute__((constructor)) static void look_for_valgrind(void)
{
    mt_under_valgrind = RUNNING_ON_VALGRIND;
}
