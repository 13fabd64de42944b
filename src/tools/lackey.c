/* SPDX-License-Identifier: BSD-2-Clause
 * lackey.c -- counts instructions, loads, stores and branches. */
#include "tools/tools.h"

const MtvgTool mt_tool_lackey = {.name = "lackey"};
