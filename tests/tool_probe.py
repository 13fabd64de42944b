#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The tool interface: what the probe tool is told is what probe_guest.c says it does.

    tests/tool_probe.py --probe BUILD/tests/mtvg_probe

Each line that the guest prints must be found in the tool's lines, in this order."""
import argparse
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
MODES = ([], ["--chaining=no"], ["--max-insns=1"], ["--parallel=no"],
         ["--stress=flush,regs,preempt,world", "--stress-seed=1"])


def compile_guest(folder, name, flags=()):
    out = os.path.join(folder, name)
    subprocess.run(["gcc", "-O1", "-g", "-pthread", *flags, "-o", out,
                    os.path.join(HERE, "tools", name + ".c")], check=True)
    return out


def run(command, env=None):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120,
                          text=True, env=dict(os.environ, **(env or {})))


def check_events(probe, guest, mode):
    done = run([probe, *mode, guest])
    if done.returncode != 0:
        return ["exit status %d" % done.returncode, *done.stderr.splitlines()[-5:]]
    told = [line[7:] for line in done.stderr.splitlines() if line.startswith("probe: ")]
    at = 0
    for want in done.stdout.splitlines():
        found = next((i for i in range(at, len(told)) if told[i].startswith(want)), None)
        if found is None:
            return ["not told: " + want, "behind: " + (told[at - 1] if at else "the start")]
        at = found + 1
    return []


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--probe", required=True)
    args = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        guest = compile_guest(folder, "probe_guest")
        for mode in MODES:
            lines = check_events(args.probe, guest, mode)
            print("%s events %s" % ("fail" if lines else "pass", " ".join(mode)))
            for line in lines:
                print("    " + line)
            failed += bool(lines)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
