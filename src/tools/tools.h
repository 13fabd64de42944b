/* SPDX-License-Identifier: BSD-2-Clause
 * tools.h -- the tools that are built in. */
#ifndef MT_TOOLS_H
#define MT_TOOLS_H

#include "mtvg/tool.h"

extern const MtvgTool mt_tool_none;
extern const MtvgTool mt_tool_lackey;

#endif
