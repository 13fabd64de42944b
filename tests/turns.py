#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Sequential mode, by --stats: a thread keeps its turn over a call that never waits, and the call is charged
to the turn (docs/CONCURRENCY.md), so how many turns three threads that make such calls have can be reckoned."""
import argparse
import re
import subprocess
import sys

THREADS, CALLS, BLOCKS, QUANTUM = 3, 20000, 200, 100000


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--mtvg", required=True)
    p.add_argument("--busy", required=True, help="the built tests/tools/busy.c")
    args = p.parse_args()
    done = subprocess.run([args.mtvg, "--stats", "--parallel=no", f"--scheduling-quantum={QUANTUM}", args.busy,
                           "syscalls", str(THREADS), str(CALLS)], stdin=subprocess.DEVNULL, text=True,
                          stderr=subprocess.PIPE, timeout=300, check=True)
    turns = int(re.search(r"([\d,]+)  hand-overs", done.stderr)[1].replace(",", ""))
    expected = THREADS * CALLS * BLOCKS // QUANTUM
    print(f"{turns} turns for {THREADS * CALLS} calls, expected some {expected}")
    return not expected // 2 < turns < expected + 60  # some for the threads' beginning and end


sys.exit(main())
