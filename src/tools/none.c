/* SPDX-License-Identifier: BSD-2-Clause
 * none.c -- the tool that does nothing: the program runs as it would natively. */
#include "tools/tools.h"

const MtvgTool mt_tool_none = {.name = "none"};
