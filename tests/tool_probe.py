#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The tool interface: what the probe tool is told is what probe_guest.c says it does.

    tests/tool_probe.py --build BUILD/tests

Events: each line that the guest prints must be found in the tool's lines, in this order.
Keys: every superblock has three versions and is always entered by the right one.
Code: random code before and behind instructions computes what it should, and the guest goes on as ever.
Behind: what is put behind instructions that the runtime does runs as often as they do.
Addr: a small checker of addressability finds what addr_guest.c does wrong, no more and no less; real
programs do what they do natively."""
import argparse
import difflib
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
MODES = ([], ["--chaining=no"], ["--max-insns=1"], ["--parallel=no"],
         ["--code-cache-size=1M"], ["--return-stack=yes"],
         ["--stress=flush,regs,preempt,world", "--stress-seed=1"])


def compile_guest(folder, name, flags=()):
    out = os.path.join(folder, os.path.basename(name))
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
    # The tool loads each operand twice: another thread of the guest may have stored in between.
    several = "keys_guest" in guest[0] and "--parallel=no" not in mode
    bad = [line for line in told
           if not re.search(" wrong 0 loads %s .* rsp 0 " % ("[0-2]" if several else "0"), line)]
    return bad if told else ["the tool has said nothing"]


def check_behind(tool, guest, mode):
    done = run([tool, *mode, *guest])
    if done.returncode != 0:
        return ["exit status %d" % done.returncode, *done.stderr.splitlines()[-5:]]
    told = [line for line in done.stderr.splitlines() if line.startswith("probe: ")]
    bad = [line for line in told if not re.search(" emulated 0 of .* calls 0 of .* wrong 0", line)]
    return bad if told else ["the tool has said nothing"]


def check_addr(tool, guest, mode):
    done = run([tool, *mode, guest])
    found = [line[7:] for line in done.stderr.splitlines() if line.startswith("probe: ")]
    if done.returncode != 0:
        return ["exit status %d" % done.returncode, *done.stderr.splitlines()[-5:]]
    return list(difflib.unified_diff(done.stdout.splitlines(), found, "wanted", "found", "", "", 0))


def real_programs(folder):
    """What the checker runs: commands that write to stdout only, or to the folder."""
    data, source = os.path.join(folder, "data"), os.path.join(folder, "source.c")
    with open(data, "w") as out:
        out.writelines("%d %d\n" % (i, i * i % 977) for i in range(30000))
    with open(source, "w") as out:
        out.write("#include <stdio.h>\nint main(int n, char **v) { return printf(\"%d\", n); }\n")
    python = "import json, random, re, zlib; random.seed(1); " \
        "x = [random.random() for i in range(999)]; print(sum(x), zlib.crc32(json.dumps(x).encode())," \
        " len(re.findall('7[0-4]', repr(x))))"
    programs = (["/usr/bin/python3", "-c", python], ["gcc", "-O2", "-S", "-o", "-", source],
                ["pigz", "-p3", "-c", data], ["sort", "-k2n", data])
    return [p for p in programs if shutil.which(p[0])]


def check_same(tool, program, mode):
    def once(command):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=120)
        return done.returncode, done.stdout

    return [] if once(program) == once([tool, *mode, *program]) else ["not as natively"]


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
        segments = compile_guest(folder, "../guests/cpu_segment")
        restart = compile_guest(folder, "../guests/sig_restart")
        addressing = compile_guest(folder, "addr_guest")
        addr = os.path.join(args.build, "mtvg_addr")
        for program in real_programs(folder):
            failed += report(check_same(addr, program, ["--trace-children=yes"]), "addr " + program[0], [])
        for mode in MODES:
            failed += report(check_addr(addr, addressing, mode), "addr", mode)
            failed += report(check_events(os.path.join(args.build, "mtvg_probe"), guest, mode),
                             "events", mode)
            for program in (["/bin/sh", "-c", "echo a | sort"], [segments], [restart]):
                failed += report(check_behind(os.path.join(args.build, "mtvg_behind"), program, mode),
                                 "behind " + os.path.basename(program[0]), mode)
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
