#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""What -v tells at start: version, tool, command, program, options by their sources, threads. Without it:
nothing."""
import argparse
import os
import re
import subprocess
import sys
import tempfile


def run(argv, cwd, **env):
    """The lines on stderr, without their prefix."""
    done = subprocess.run(argv, cwd=cwd, env={"PATH": os.environ["PATH"], **env}, text=True, timeout=300,
                          stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True)
    return [re.sub(r"^--\d+-- ", "", line) for line in done.stderr.splitlines()]


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--mtvg", required=True)
    mtvg = os.path.abspath(p.parse_args().mtvg)
    version = subprocess.run([mtvg, "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    system = os.uname()
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, ".mtvgrc"), "w", encoding="ascii") as f:
            f.write("--max-insns='40' # fewer\n--stats=no\n")
        said = run([mtvg, "-v", "--parallel=no", "--sched-seed=3", "/bin/sh", "-c", "exit 0"], folder,
                   MTVG_OPTS="--max-branches=2")
        expected = [
            f"{version}, tool none, on {system.sysname} {system.release} {system.machine}",
            "Command: /bin/sh -c exit 0",
            f"Program: {os.path.realpath('/bin/sh')}",
            "Options in $MTVG_OPTS: --max-branches=2",
            "Options in ./.mtvgrc: --max-insns=40 --stats=no",
            "Options: -v --parallel=no --sched-seed=3",
            "Threads: one at a time, turns of 100000 blocks, --fair-sched=yes, --sched-seed=3",
        ]
        silent = run([mtvg, "/bin/sh", "-c", "exit 0"], folder)
        long = run([mtvg, "-v", "/bin/echo", "x" * 20000], folder)
    print("\n".join(said))
    cache = said.pop()  # less than 131072 KB where memory is limited
    cut = [line for line in long if line.startswith("Command: /bin/echo xxx")]
    return said != expected or not re.fullmatch(r"Code cache: \d+ KB", cache) or silent != [] or len(cut) != 1 or not cut[0].endswith("x...")


sys.exit(main())
