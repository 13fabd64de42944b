#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The tool interface: what the probe tool is told is what probe_guest.c says it does.

    tests/tool_probe.py --build BUILD/tests

Events: each line that the guest prints must be found in the tool's lines, in this order.
Keys: every superblock has three versions and is always entered by the right one.
Code: random code before and behind instructions computes what it should, and the guest goes on as ever."""
import argparse
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
MODES = ([], ["--chaining=no"], ["--max-insns=1"], ["--parallel=no"],
         ["--code-cache-size=1M"],
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


def check_keys(keys, guest, mode):
    native, done = run(guest), run([keys, *mode, *guest])
    if done.returncode != native.returncode or done.stdout != native.stdout:
        return ["exit status %d" % done.returncode, *done.stderr.splitlines()[-5:]]
    told = [line for line in done.stderr.splitlines() if line.startswith("probe: ")]
    return told if set(told) != {"probe: keys entries 1 asked 1 wrong 0 0 0"} else []


def check_code(tool, guest, mode):
    native, done = run(guest), run([tool, *mode, *guest])
    if done.returncode != native.returncode or done.stdout != native.stdout:
        return ["exit status %d" % done.returncode, *done.stderr.splitlines()[-5:]]
    told = [line for line in done.stderr.splitlines() if line.startswith("probe: ")]
    bad = [line for line in told if not re.search(" wrong 0 loads 0 .* rsp 0 ", line)]
    return bad if told else ["the tool has said nothing"]


def report(lines, what, mode):
    print("%s %s %s" % ("fail" if lines else "pass", what, " ".join(mode)))
    for line in lines:
        print("    " + line)
    return bool(lines)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True)
    args = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        guest = compile_guest(folder, "probe_guest")
        sorting = compile_guest(folder, "keys_guest")
        for mode in MODES:
            failed += report(check_events(os.path.join(args.build, "mtvg_probe"), guest, mode),
                             "events", mode)
            for program in ([sorting], ["/bin/sh", "-c", "echo a | sort"]):
                failed += report(check_keys(os.path.join(args.build, "mtvg_keys"), program, mode),
                                 "keys " + os.path.basename(program[0]), mode)
                for tool in ("code", "codelax"):
                    failed += report(check_code(os.path.join(args.build, "mtvg_" + tool), program,
                                                mode),
                                     tool + " " + os.path.basename(program[0]), mode)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
