/* SPDX-License-Identifier: BSD-2-Clause
 * tool_api.c -- what mtvg/tool.h offers besides instrumentation (jit/instr.c, toolcode.c,
 * replace.c): the log, and the guest's memory. */
#include "base/log.h"
#include "base/safe.h"
#include "mtvg/tool.h"

#include <stdarg.h>
#include <stdio.h>

void mtvg_message(const char *fmt, ...)
{
    char text[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    mt_umsg("%s", text);
}

void mtvg_write(const char *text, u64 n)
{
    log_raw(text, n);
}

int mtvg_read_memory(void *to, u64 from, u64 n)
{
    return safe_read(to, from, n);
}
