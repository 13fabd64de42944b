#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Children of one parent (tests/tools/forks.c): who translates what they run, by the counters.

H1. What two children have translated, the next ones find; with --child-code=no they don't.
H2. What only one child has run is not translated ahead.
H3. A parent that has other code at an address, or none, runs its own; so do its children.
H4. With a seed for hand-overs nothing is translated ahead."""
import argparse
import os
import re
import subprocess
import sys
import tempfile

STEPS = 200  # pieces of code that a child runs, at least a translation each
CHILDREN = 8
MADE, AHEAD = "translations made", "translations made ahead of a fork"


def counters(mtvg, options, words):
    """Of the parent, and of its children, oldest first."""
    with tempfile.TemporaryDirectory(prefix="mtvg-children-") as folder:
        process = subprocess.Popen([mtvg, "--tool=none", "--stats", f"--log-file={folder}/%p"] +
                                   options + words)
        if process.wait(timeout=240) != 0:
            sys.exit(f"{options} {words}: status {process.returncode}")
        found = {}
        for name in os.listdir(folder):
            with open(os.path.join(folder, name)) as f:
                found[int(name)] = {what: int(n.replace(",", "")) for n, what in
                                    re.findall(r"^==\d+== +([\d,]+)  (.*)$", f.read(), re.M)}
        parent = found.pop(process.pid)
        return parent, [found[pid] for pid in sorted(found)]


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--mtvg", required=True)
    p.add_argument("--forks", required=True, help="the built tests/tools/forks.c")
    args = p.parse_args()
    bad = []

    def expect(what, ok):
        print(f"{'ok' if ok else 'NOT'}: {what}", flush=True)
        bad.extend([] if ok else [what])

    def run(kind, *options):
        return counters(args.mtvg, list(options), [args.forks, kind, str(CHILDREN)])

    parent, children = run("same")
    made = [c[MADE] for c in children]
    expect(f"same code: children make {made} translations, the parent {parent[AHEAD]} ahead",
           len(made) == CHILDREN and min(made[:2]) >= STEPS and max(made[3:]) < STEPS // 4 and
           parent[AHEAD] >= STEPS)
    parent, children = run("same", "--child-code=no")
    made = [c[MADE] for c in children]
    expect(f"the same with --child-code=no: {made}, {parent[AHEAD]}",
           min(made) >= STEPS and parent[AHEAD] == 0)
    ahead = run("own")[0][AHEAD]
    expect(f"each another piece: {ahead} translations ahead", ahead < STEPS // 2)
    ahead = run("memory")[0][AHEAD]
    expect(f"code of the children's own: {ahead} translations ahead", ahead < 2 * STEPS)
    parent, children = run("threads")
    expect(f"four threads: {len(children)} children, {parent[AHEAD]} translations ahead",
           len(children) == 4 * CHILDREN)
    ahead = run("same", "--parallel=no", "--sched-seed=7")[0][AHEAD]
    expect(f"with a seed: {ahead} translations ahead", ahead == 0)
    return len(bad) != 0


if __name__ == "__main__":
    sys.exit(main())
