#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""lackey's counts and traces against single-stepping.

    tests/lackey_counts.py --mtvg build/mtvg --stepcount build/tests/stepcount

C1. tests/tools/count_guest.c: every count equals the stepped one, in each of several modes.
C2. Signals at random moments change nothing but by what their handlers execute.
C3. --trace-mem has one line for each instruction and access, none torn.
"""
import argparse
import os
import re
import struct
import subprocess
import sys
import tempfile

TESTS = os.path.dirname(os.path.abspath(__file__))
FLAGS = ["-O1", "-nostdlib", "-static", "-no-pie", "-fno-stack-protector", "-fcf-protection=none",
         "-mno-red-zone"]
NAMES = ["guest instrs", "loads", "stores", "conditional branches", "of these taken", "jumps", "calls",
         "returns"]
MODES = [[], ["--chaining=no"], ["--max-insns=1"], ["--code-cache-size=1M"], ["--parallel=no"],
         ["--max-branches=0", "--follow-jumps=no"], ["--ib-inline=no"],
         ["--return-stack=yes"], ["--return-stack=yes", "--parallel=no"],
         ["--stress=flush,regs,preempt,world", "--stress-seed=7"]]
LINE = re.compile(rb"(I | [LSM]) {1,2}[0-9a-f]{8,16},[0-9]+$")


def lackey(mtvg, options, program):
    with tempfile.NamedTemporaryFile() as log:
        done = subprocess.run([mtvg, "--tool=lackey", "--log-file=" + log.name] + options + program,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
        text = log.read()
    counts = {k.decode(): int(v) for k, v in
              re.findall(rb"^==\d+== +([a-z ]+): +(\d+)$", text, re.M)}
    return done, [counts.get(n) for n in NAMES], text


def check_modes(mtvg, stepcount, guest):
    done = subprocess.run([stepcount, guest], stderr=subprocess.PIPE, timeout=300)
    stepped = [int(w) for w in done.stderr.split()]
    failed = len(stepped) != len(NAMES) or done.returncode != 0
    if failed:
        print("stepcount failed: status %d, %r" % (done.returncode, done.stderr))
    for mode in MODES:
        _, counted, _ = lackey(mtvg, mode, [guest])
        for name, want, got in zip(NAMES, stepped, counted):
            if want != got:
                print("%s: %s stepped, %s counted (%s)" % (name, want, got, " ".join(mode)))
                failed = True
    return failed


def check_timer(mtvg, guest):
    seen = set()
    for mode in [[], ["--max-insns=3"], ["--chaining=no"], ["--parallel=no"],
                 ["--return-stack=yes"], []]:
        done, counted, _ = lackey(mtvg, mode, [guest, "timer"])
        signals = struct.unpack("<Q", done.stdout)[0]
        insns, loads, stores = counted[:3]
        seen.add((insns - 4 * signals, loads - 2 * signals, stores - signals))
        print("timer %-14s %6d signals, %d instructions" % (" ".join(mode), signals, insns))
    if len(seen) != 1:
        print("counts depend on when signals arrive: %s" % seen)
    return len(seen) != 1


def check_trace(mtvg, guest):
    _, counted, text = lackey(mtvg, ["--trace-mem=yes"], [guest, "a", "b"])
    lines = [l for l in text.split(b"\n") if l and not l.startswith(b"==")]
    bad = [l for l in lines if not LINE.match(l)]
    kinds = [l[:2].strip() for l in lines]
    got = [kinds.count(b"L") + kinds.count(b"M"), kinds.count(b"S") + kinds.count(b"M")]
    extra = [kinds.count(b"I") - counted[0], got[0] - counted[1], got[1] - counted[2]]
    print("trace: %d lines, %d bad; more than counted: %s" % (len(lines), len(bad), extra))
    for line in bad[:5]:
        print("  torn or wrong: %r" % line)
    return bool(bad) or extra != [0, 0, 0]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--mtvg", required=True)
    parser.add_argument("--stepcount", required=True)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        guest = os.path.join(folder, "count_guest")
        source = os.path.join(TESTS, "tools", "count_guest.c")
        subprocess.run(["gcc"] + FLAGS + ["-o", guest, source], check=True)
        failed = check_modes(args.mtvg, args.stepcount, guest)
        failed |= check_timer(args.mtvg, guest)
        failed |= check_trace(args.mtvg, guest)
    print("failed" if failed else "passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
