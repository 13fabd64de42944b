#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""mtvg inside other tools: an outer Valgrind looks for faults in the runtime, an outer mtvg runs it.

A program runs natively, then under mtvg under the outer tool: same output, same status, no error
reported. The deliberately wrong builds (CMakeLists.txt, mtvg_break_*) must be reported by Helgrind.
The outer's flags stand in docs/outer-helgrind.flags. Exit status 0 if all is well; the last line says
how many passed; a missing valgrind is said in a line and is not a failure."""
import argparse
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path.insert(0, HERE)
from harness.guests import Builder, read_guests  # noqa: E402

BREAKS = ("chain_lock", "publish", "page_lock")
QUICK = [("helgrind", "thr_link"), ("helgrind", "thr_sync"), ("helgrind", "thr_cancel"),
         ("memcheck", "thr_link"), ("drd", "load_hello")]
FULL = [(tool, guest) for tool in ("helgrind", "memcheck")
        for guest in ("thr_link", "thr_sync", "thr_cancel", "thr_exit_main", "thr_exit_other",
                      "thr_fork", "smc_threads", "sig_regs", "sig_storm", "sig_threads",
                      "flow_exceptions")] + [("drd", "thr_link"), ("drd", "thr_sync")]
NESTED = ("thr_sync", "thr_storm", "thr_cancel", "sig_storm", "sig_threads", "smc_threads", "thr_fork")
PROGRAMS = ("pigz -p4 -c {data}", "xz -T2 --block-size=200000 -1 -c {data}",
            "python3 -c 'import threading as t; n=[t.Thread(target=print,args=(7,)) for _ in range(8)];"
            " [(x.start(), x.join()) for x in n]'")


def outer_flags():
    with open(os.path.join(ROOT, "docs", "outer-helgrind.flags")) as f:
        return shlex.split(re.search(r"^OUTER_FLAGS=(.*)$", f.read(), re.M).group(1))


def run(command, limit):
    """(status, stdout, stderr); status None: it took too long."""
    with tempfile.TemporaryDirectory(prefix="mtvg-outer-") as folder:
        p = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, cwd=folder, start_new_session=True)
        try:
            out, err = p.communicate(timeout=limit)
            return p.returncode, out, err
        except subprocess.TimeoutExpired:
            return None, b"", b"took too long"
        finally:
            try:
                os.killpg(p.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            p.communicate()


def errors_reported(err):
    """Of all processes; None: the tool did not get as far as its summary."""
    counts = re.findall(rb"ERROR SUMMARY: (\d+) errors", err)
    return sum(map(int, counts)) if counts else None


class Outer:
    def __init__(self, args):
        self.args = args
        self.passed = self.failed = 0
        self.builder = Builder(HERE, os.path.join(args.build_dir, "guests"))
        self.guests = read_guests(os.path.join(HERE, "guests"))

    def binary(self, name):
        guest = next(g for g in self.guests if g.name == name or g.name.startswith(name + "."))
        self.builder.make(guest)
        return [self.builder.binary(guest)]

    def result(self, ok, what, why, begun):
        self.passed, self.failed = self.passed + ok, self.failed + (not ok)
        print(f"{'ok' if ok else 'FAILED'}  {what}  ({time.monotonic() - begun:.1f} s)"
              + ("" if ok else f": {why}"), flush=True)

    def compare(self, what, prefix, program, wants_summary):
        begun = time.monotonic()
        native = run(program, 60)
        status, out, err = run(prefix + program, self.args.timeout)
        errors = errors_reported(err) if wants_summary else 0
        why = ("took too long" if status is None else
               f"status {status}, natively {native[0]}" if status != native[0] else
               "other output than natively" if out != native[1] else
               "no summary" if errors is None else f"{errors} errors" if errors else "")
        self.result(not why, what, why, begun)
        if why:
            sys.stdout.write(err.decode(errors="replace")[:8000])

    def valgrind(self, tool, mtvg):
        return (["valgrind", f"--tool={tool}"] + outer_flags() +
                [mtvg, "-q", "--tool=none", "--parallel"])

    def broken(self, what):
        begun = time.monotonic()
        mtvg = os.path.join(os.path.dirname(self.args.mtvg), "mtvg_break_" + what)
        make = run(["cmake", "--build", os.path.dirname(self.args.mtvg), "--target",
                    os.path.basename(mtvg)], 120)
        if make[0] != 0:
            self.result(False, f"without {what}: building", make[1].decode()[-2000:], begun)
            return
        err = run(self.valgrind("helgrind", mtvg) + self.binary("thr_link"), self.args.timeout)[2]
        self.result(bool(errors_reported(err)), f"helgrind reports the build without {what}",
                    "it does not", begun)

    def run_valgrind(self):
        if shutil.which("valgrind") is None:
            print("SKIPPED: valgrind is not installed: no outer Helgrind, DRD, memcheck")
            return
        for tool, guest in QUICK if self.args.quick else FULL:
            self.compare(f"{guest} under mtvg under {tool}", self.valgrind(tool, self.args.mtvg),
                         self.binary(guest), True)
        for what in BREAKS:
            self.broken(what)
        for line in () if self.args.quick else PROGRAMS:
            program = shlex.split(line.format(data=os.path.realpath(self.args.mtvg)))
            if shutil.which(program[0]) is None:
                print(f"SKIPPED: {program[0]} is not installed")
                continue
            program[0] = os.path.realpath(shutil.which(program[0]))
            self.compare(f"{os.path.basename(program[0])} under mtvg under helgrind",
                         self.valgrind("helgrind", self.args.mtvg), program, True)

    def run_nested(self):
        outer = [self.args.mtvg, "-q", "--tool=none"]
        for guest in NESTED[:3] if self.args.quick else NESTED:
            for tool in "none", "lackey":
                inner = [self.args.mtvg, "-q", f"--tool={tool}"]
                if tool == "lackey":
                    inner.append("--log-file=/dev/null")
                self.compare(f"{guest} under mtvg --tool={tool} under mtvg", outer + inner,
                             self.binary(guest), False)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--mtvg", required=True)
    p.add_argument("--build-dir", required=True, help="where the guests are built")
    p.add_argument("--quick", action="store_true", help="less than a minute")
    p.add_argument("--only", choices=("valgrind", "nested"))
    p.add_argument("--timeout", type=float, default=120)
    args = p.parse_args()
    args.mtvg, args.build_dir = os.path.abspath(args.mtvg), os.path.abspath(args.build_dir)
    o = Outer(args)
    if args.only != "nested":
        o.run_valgrind()
    if args.only != "valgrind":
        o.run_nested()
    print(f"{o.passed} passed, {o.failed} failed")
    return o.failed != 0


if __name__ == "__main__":
    sys.exit(main())
