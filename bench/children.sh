#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# children.sh -- what configure scripts do: $1 times a program, a command substitution and a subshell.
for ((i = 0; i < $1; i++)); do
    /bin/true
    word=$(echo "$i")
    (test "$word" = "$i") || exit 1
done
echo "$word"
