#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""--sched-seed on programs with threads: two runs with one seed are the same, different seeds differ.

What is compared: what the program prints, its status, and the runtime's own counts of guest system
calls, delivered signals and hand-overs, which tell whether the threads went the same way."""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile

COUNTERS = ("guest system calls", "signals delivered to the guest",
            "hand-overs between threads (sequential mode)")

# Python's interpreter lock changes hands by the clock unless it is told not to; crc32 of much gives it
# away.
PYTHON = """
import queue, sys, threading, zlib
sys.setswitchinterval(1e6)
log, todo, data = [], queue.Queue(3), bytes(20000)
def work(k):
    for i in range(25):
        zlib.crc32(data[:6000 + 7 * k * i])
        log.append((k, i))
        todo.put((k, i))
        log.append(todo.get())
threads = [threading.Thread(target=work, args=(k,)) for k in range(5)]
for t in threads: t.start()
for t in threads: t.join()
print(zlib.crc32(repr(log).encode()), len(log))
"""


def programs(own, data):
    """(name, command, do seeds change what it prints?)"""
    found = [(os.path.basename(path), [os.path.abspath(path)], True) for path in own]
    for name, words, differs in (("python3", ["-S", "-c", PYTHON], True),
                                 ("pigz", ["-n", "-p3", "-b", "32", "-c", data], False)):
        path = shutil.which(name, path="/usr/bin:/bin")
        if path:
            found.append((name, [os.path.realpath(path)] + words, differs))
        else:
            print(f"SKIPPED: {name} is not installed")
    return found


def once(args, seed, command, log):
    """(what was printed, the counters); None: it failed."""
    env = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0"}
    done = subprocess.run([args.mtvg, "--tool=none", "--parallel=no", f"--sched-seed={seed}", "--stats",
                           "--scheduling-quantum=2000", f"--log-file={log}"] + command, env=env,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=200)
    if done.returncode != 0:
        sys.exit(f"{command[0]}: status {done.returncode}")
    with open(log) as f:
        found = {name: n for n, name in re.findall(r"^==\d+== +([\d,]+)  (.*)$", f.read(), re.M)}
    return done.stdout, tuple(found[name] for name in COUNTERS)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--mtvg", required=True)
    p.add_argument("--own", required=True, nargs="+", help="the built tests/tools/seq_*.c")
    p.add_argument("--seeds", type=int, default=4)
    p.add_argument("--runs", type=int, default=2)
    args = p.parse_args()
    bad = []
    with tempfile.TemporaryDirectory(prefix="mtvg-seed-") as folder:
        data, log = os.path.join(folder, "data"), os.path.join(folder, "log")
        with open(args.mtvg, "rb") as f, open(data, "wb") as g:
            g.write(f.read(250000))
        for name, command, differs in programs(args.own, data):
            seen = {}
            for seed in range(1, args.seeds + 1):
                runs = [once(args, seed, command, log) for _ in range(args.runs)]
                if len(set(runs)) != 1:
                    bad.append(f"{name}: seed {seed}: runs differ: "
                               + "; ".join(f"{out[:40]} {counts}" for out, counts in runs))
                seen[seed] = runs[0]
            outputs, ways = len({out for out, _ in seen.values()}), len(set(seen.values()))
            print(f"{name}: {args.seeds} seeds, {ways} ways, {outputs} outputs", flush=True)
            if ways == 1 or (outputs > 1) != differs:
                bad.append(f"{name}: {ways} ways, {outputs} outputs")
    print("\n".join(bad) or "passed")
    return len(bad) != 0


if __name__ == "__main__":
    sys.exit(main())
