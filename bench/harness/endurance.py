# SPDX-License-Identifier: BSD-2-Clause
"""One process that parses 650 small inputs again and again: does it slow down, does it grow?"""
import subprocess
import sys
import time

SLICE_PASSES = 100


def resident_kib(pid):
    try:
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            for line in f:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1])
    except OSError:
        pass
    return 0


def run(a, fuzz):
    """Exit status 1 if the last tenth is over 5 % slower than the first, or grew by over 1 MB."""
    process = subprocess.Popen([a.mtvg, "-q", "--tool=none", fuzz, str(SLICE_PASSES), "100000000"],
                               stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    start, slices = time.monotonic(), []
    try:
        for line in process.stdout:
            slices.append((int(line.split()[2]), resident_kib(process.pid)))
            if time.monotonic() - start > a.endurance:
                break
    finally:
        process.kill()
        process.wait()
    slices = slices[1:]
    tenth = len(slices) // 10
    if tenth == 0:
        print("too short", file=sys.stderr)
        return 1
    print("| part | ns of processor time per input | resident KiB |\n| --- | --- | --- |")
    parts = []
    for i in range(10):
        part = sorted(slices[i * tenth:(i + 1) * tenth])
        parts.append((part[len(part) // 2][0], max(r for _, r in part)))
        print(f"| {i + 1} | {parts[-1][0]} | {parts[-1][1]} |")
    slower, growth = parts[9][0] / parts[0][0], parts[9][1] - parts[0][1]
    print(f"\n{len(slices) * SLICE_PASSES * 650:,} inputs; last tenth over first: {slower:.3f} times "
          f"the time, {growth} KiB more")
    return 1 if slower > 1.05 or growth > 1024 else 0
