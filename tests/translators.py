#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Many threads in new code at once (tests/guests/thr_fresh.c): who translates what, how often.

T1. A thread wastes at most one translation of a block: it goes on with the block of whoever was first.
    So of a block that T threads come to at once, at most T - 1 copies are dropped, and one is published.
T2. Nothing of a thread's own code is ever dropped.
T3. The same where the first of two runs leaves its translations on disk, and the second one reads them.
No lock is held while a thread translates (debug builds assert it in translate()). How often a lock of
the translator was not free is printed, not judged: that depends on the machine's other work."""
import argparse
import collections
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from harness.guests import Builder, read_guests  # noqa: E402

STEPS = 32  # of a function of the guest


def guest_binary(args):
    builder = Builder(HERE, os.path.join(args.build_dir, "guests"))
    guest = next(g for g in read_guests(os.path.join(HERE, "guests")) if g.name == "thr_fresh.same")
    error = builder.make(guest)
    if error:
        sys.exit(error)
    return builder.binary(guest)


def fresh(mtvg, words, folder):
    """How often each address in the functions was translated and published, read from disk, and dropped;
    the counters by name."""
    log = os.path.join(folder, "log")
    # --return-stack=auto would flush, and all would be published a second time
    done = subprocess.run([mtvg, "--tool=none", "--return-stack=no", "--stats", "--debug=jit:1",
                           f"--log-file={log}", f"--translation-cache={folder}/cache"] + words,
                          stdout=subprocess.PIPE, timeout=240, text=True)
    if done.returncode != 0:
        sys.exit(f"{words}: status {done.returncode}\n{done.stdout}")
    lo, hi = (int(x, 16) for x in re.search(r"code (0x\w+) (0x\w+)", done.stdout).groups())
    with open(log) as f:
        text = f.read()

    def count(what):
        found = (int(a, 16) for a in re.findall(rf"\b{what} (0x\w+)$", text, re.M))
        return collections.Counter(a for a in found if lo <= a < hi)

    counters = {name: int(n.replace(",", ""))
                for n, name in re.findall(r"^==\d+== +([\d,]+)  (.*)$", text, re.M)}
    return count("translated"), count("read"), count("dropped"), counters


def judge(args, binary, kind, threads, rounds, place, folder, again):
    """What is wrong with a run, in words."""
    made, read, dropped, counters = fresh(
        args.mtvg, [binary, kind, str(threads), str(rounds), "where", place], folder)
    functions = rounds * (threads if kind == "own" else 1)
    what = f"{kind} code in {place}, {threads} threads, {rounds} rounds{', again' if again else ''}"
    published = made + read
    print(f"{what}: {sum(made.values())} translations of {functions} functions, {sum(read.values())} read "
          f"from disk, {sum(dropped.values())} dropped; of all {counters['translations made']} a lock was "
          f"not free {counters['times a lock of the translator was not free']} times")
    if not functions <= sum(published.values()) <= functions * (STEPS + 2):
        yield f"{what}: {sum(published.values())} blocks"
    if any(n != 1 for n in published.values()):
        yield f"{what}: a block was published more than once"
    if bool(read) != again:
        yield f"{what}: {sum(read.values())} read"
    if any(n > (0 if kind == "own" and not again else threads - 1) for n in dropped.values()):
        yield f"{what}: a block was dropped {max(dropped.values())} times"


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--mtvg", required=True)
    p.add_argument("--build-dir", required=True, help="where the guests are built")
    args = p.parse_args()
    bad, binary = [], guest_binary(args)
    for kind, threads, rounds, place in (("same", 64, 20, "memory"), ("own", 64, 20, "memory"),
                                         ("same", 2, 200, "memory"), ("same", 64, 20, "file"),
                                         ("own", 64, 20, "file"), ("same", 2, 200, "file")):
        with tempfile.TemporaryDirectory(prefix="mtvg-fresh-") as folder:
            for again in (False, True) if place == "file" else (False,):
                bad += judge(args, binary, kind, threads, rounds, place, folder, again)
    print("\n".join(bad) or "passed")
    return len(bad) != 0


if __name__ == "__main__":
    sys.exit(main())
