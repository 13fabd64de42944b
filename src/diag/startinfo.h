/* SPDX-License-Identifier: BSD-2-Clause
 * startinfo.h -- what -v tells at start: version, command, where options come from, threads. */
#ifndef MT_STARTINFO_H
#define MT_STARTINFO_H

#include "guest/elf.h"

/* With -v only. `own_argv`: mtvg's own command line; `cache_size`: bytes of the code cache. Lines
 * are cut at 4,000 characters. */
void startinfo_tell(const ExecTarget *program, char *const *own_argv, const char *tool,
                    u64 cache_size);

#endif
