/* SPDX-License-Identifier: BSD-2-Clause
 * sys_table.c -- syscalls.def as an array indexed by number. */
#include "sys/sys.h"

const SysRow mt_sys_table[MT_SYS_MAX] = {
#define SYS_ROW_PASS(nr, name) [nr] = {#name, SYS_PASS, 0, NULL},
#define SYS_ROW_FDS(nr, name, mask) [nr] = {#name, SYS_FDS, mask, NULL},
#define SYS_ROW_HANDLED(nr, name) [nr] = {#name, SYS_HANDLED, 0, sys_##name},
#define SYS_ROW_HANDLED_FDS(nr, name, mask) [nr] = {#name, SYS_HANDLED, mask, sys_##name},
#define SYS_ROW_ENOSYS(nr, name) [nr] = {#name, SYS_ENOSYS, 0, NULL},
#include "sys/syscalls.def"
};
