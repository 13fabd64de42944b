#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""System calls that the runtime makes itself, by strace -f -c.

Each guest runs N times and 10 N times its loop. In parallel mode the host's system calls must be the same
in both, but for those that the guest makes more of, and for a few whose number depends on timing (a join
that finds its thread gone already does not wait): so none per guest call, indirect branch, signal check or
quantum. The bound on the rest, SLACK, is a thousandth of what one per thousand rounds would be."""
import argparse
import re
import shutil
import subprocess
import sys
import tempfile

N = 2000000
SLACK = 60          # of 9 N * threads more rounds
SYSCALLS = 2000     # rounds of the guest that makes system calls
THREADS = 3


def counts(mtvg, words):
    """{system call: how many}, of the whole process."""
    with tempfile.NamedTemporaryFile(prefix="mtvg-strace-") as log:
        done = subprocess.run(["strace", "-f", "-c", "-o", log.name, mtvg, "-q", "--tool=none"] + words,
                              stdin=subprocess.DEVNULL, timeout=250)
        if done.returncode != 0:
            sys.exit(f"{words}: status {done.returncode}")
        text = log.read().decode()
    found = {}
    for line in text.splitlines():
        m = re.match(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", line)
        if m and m.group(2) != "total":
            found[m.group(2)] = int(m.group(1))
    return found


def may_trace():
    return shutil.which("strace") is not None and subprocess.run(
        ["strace", "-o", "/dev/null", "true"], stderr=subprocess.DEVNULL).returncode == 0


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--mtvg", required=True)
    p.add_argument("--busy", required=True, help="the built tests/tools/busy.c")
    args = p.parse_args()
    if not may_trace():
        print("SKIPPED: strace is missing or may not trace")
        return 77
    bad = []
    for kind in "calls", "branches", "spin", "syscalls":
        n = SYSCALLS if kind == "syscalls" else N
        few, many = (counts(args.mtvg, [args.busy, kind, str(THREADS), str(k)]) for k in (n, 10 * n))
        more = {name: many.get(name, 0) - few.get(name, 0) for name in {*few, *many}}
        own = more.pop("getppid", 0)
        rest = sum(abs(v) for v in more.values())
        print(f"{kind}: {sum(few.values())} calls for {n} rounds, {sum(many.values())} for {10 * n}; "
              f"getppid {own} more, others {rest} off", flush=True)
        if own != (9 * n * THREADS if kind == "syscalls" else 0):
            bad.append(f"{kind}: getppid {own} more")
        if rest > SLACK:
            bad.append(f"{kind}: {more}")
    print("\n".join(bad) or "passed")
    return len(bad) != 0


if __name__ == "__main__":
    sys.exit(main())
