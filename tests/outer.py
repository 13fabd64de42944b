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
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path.insert(0, HERE)
from harness import proc  # noqa: E402
from harness.guests import Builder, read_guests  # noqa: E402

BREAKS = ("chain_lock", "publish", "page_lock")
# (outer tool, guest and its arguments): Helgrind can do all of it in a minute each, the others less.
QUICK = [("helgrind", "thr_link"), ("helgrind", "thr_sync 4"), ("helgrind", "thr_cancel"),
         ("memcheck", "thr_link"), ("drd", "load_hello")]
THREADED = ("thr_link", "thr_cancel", "thr_exit_main", "thr_exit_other", "smc_threads", "sig_regs",
            "sig_threads", "flow_exceptions")
FULL = [(tool, guest) for tool in ("helgrind", "memcheck") for guest in THREADED] + [
    ("helgrind", "thr_sync"), ("helgrind", "thr_fork"), ("helgrind", "thr_fresh same 16 2"),
    ("helgrind", "thr_fresh own 16 4"), ("helgrind", "sig_storm"),
    ("memcheck", "thr_sync 10"), ("memcheck", "thr_fork 2"), ("memcheck", "sig_storm"),
    ("drd", "thr_link"), ("drd", "thr_fresh own 3 10")]
# Valgrind itself raises or shows something else than a processor: these are compared with a run of
# their own under Valgrind.
AS_UNDER_VALGRIND = ("sig_regs",)
NESTED = ("thr_sync", "thr_storm", "thr_cancel", "sig_storm", "sig_threads", "smc_threads", "thr_fork")
LACKEY = ("--tool=lackey", "--log-file=/dev/null")
OUTER_MODES = (("--tool=none",), LACKEY, ("--tool=none", "--parallel=no"),
               ("--tool=none", "--return-stack=yes"))
INNER_MODES = (("--tool=none",), LACKEY, ("--tool=none", "--parallel=no"),
               ("--tool=none", "--stress=flush,regs,preempt,world", "--stress-seed=1"))
NESTED_IN_MODES = ("thr_fork", "sig_threads")
PYTHON_THREADS = """
import queue, threading, zlib
todo, done, lock, total = queue.Queue(5), queue.Queue(), threading.Lock(), 0
def work():
    global total
    while (n := todo.get()) is not None:
        done.put(zlib.crc32(bytes(range(n))))
        with lock:
            total += n
threads = [threading.Thread(target=work) for _ in range(6)]
for t in threads: t.start()
for n in range(150): todo.put(n)
for t in threads: todo.put(None)
for t in threads: t.join()
print(total, sum(done.get() for _ in range(150)))
"""
SQL = """pragma threads=4; create table t(a, b);
with recursive c(x) as (values(1) union all select x+1 from c where x<8000)
insert into t select x, abs(x * 7919 % 1000) from c;
create index i on t(b, a); select count(*), sum(a), sum(b) from t where b between 10 and 700;
select b, count(*) from t group by b order by 2 desc, 1 limit 3;"""
PERL_THREADS = """use threads; use threads::shared; my $n :shared = 0;
my @t = map { my $k = $_; threads->create(sub { for (1..50) { lock($n); $n += $k; } $k }) } 1..3;
my $s = 0; $s += $_->join for @t; print "$n $s\n";"""
# {data}: a megabyte or so of a program; {part}: some of it.
PROGRAMS = (["pigz", "-p4", "-c", "{data}"],
            ["xz", "-T2", "--block-size=200000", "-1", "-c", "{data}"],
            ["zstd", "-q", "-T3", "-B100000", "-c", "{data}"],
            ["pbzip2", "-p3", "-b1", "-c", "{part}"],
            ["/usr/lib/p7zip/7z", "a", "-txz", "-mmt=3", "-mx=1", "-si", "-so", "-bd", "x", "<{part}"],
            ["python3", "-c", PYTHON_THREADS],
            ["sqlite3", ":memory:", SQL],
            ["perl", "-e", PERL_THREADS],
            ["git", "grep", "--no-index", "--threads=4", "-c", "e", "{folder}"],
            ["rg", "-j4", "--sort", "path", "-c", "e", "{folder}"])


def outer_flags():
    with open(os.path.join(ROOT, "docs", "outer-helgrind.flags")) as f:
        return shlex.split(re.search(r"^OUTER_FLAGS=(.*)$", f.read(), re.M).group(1))


def run(command, limit, stdin=os.devnull):
    """(status, stdout, stderr); status None: it took too long."""
    with tempfile.TemporaryDirectory(prefix="mtvg-outer-") as folder, open(stdin, "rb") as inp:
        p = subprocess.Popen(command, stdin=inp, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             cwd=folder, start_new_session=True)
        done = proc.communicate(p, limit)
        return (p.returncode, *done) if done else (None, b"", b"took too long")


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

    def binary(self, words):
        name, *args = words.split()
        guest = next(g for g in self.guests if g.name == name or g.name.startswith(name + "."))
        self.builder.make(guest)
        return [self.builder.binary(guest)] + args

    def result(self, ok, what, why, begun):
        self.passed, self.failed = self.passed + ok, self.failed + (not ok)
        print(f"{'ok' if ok else 'FAILED'}  {what}  ({time.monotonic() - begun:.1f} s)"
              + ("" if ok else f": {why}"), flush=True)

    def compare(self, what, prefix, program, wants_summary, stdin=os.devnull, reference=()):
        if not re.search(self.args.k, what):
            return
        begun = time.monotonic()
        native = run(list(reference) + program, 60, stdin)
        status, out, err = run(prefix + program, self.args.timeout, stdin)
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
        if not re.search(self.args.k, f"without {what}"):
            return
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
            alone = ["valgrind", "-q", "--tool=none"] + outer_flags()
            self.compare(f"{guest} under mtvg under {tool}", self.valgrind(tool, self.args.mtvg),
                         self.binary(guest), True,
                         reference=alone if guest in AS_UNDER_VALGRIND else ())
        for what in BREAKS:
            self.broken(what)
        if not self.args.quick:
            self.run_programs()

    def run_programs(self):
        """Real programs under Helgrind."""
        part = os.path.join(self.args.build_dir, "outer-part")
        with open(self.args.mtvg, "rb") as f, open(part, "wb") as g:
            g.write(f.read(150000))
        places = {"data": os.path.realpath(self.args.mtvg), "part": part,
                  "folder": os.path.join(HERE, "guests")}
        for words in PROGRAMS:
            path = shutil.which(words[0], path="/usr/bin:/bin")
            if path is None:
                print(f"SKIPPED: {words[0]} is not installed")
                continue
            words = [w if " " in w else w.format(**places) for w in words[1:]]
            stdin = words.pop()[1:] if words[-1].startswith("<") else os.devnull
            self.compare(f"{os.path.basename(path)} under mtvg under helgrind",
                         self.valgrind("helgrind", self.args.mtvg), [os.path.realpath(path)] + words,
                         True, stdin)

    def nested(self, guest, outer, inner):
        self.compare(f"{guest} under mtvg {' '.join(inner)} under mtvg {' '.join(outer)}",
                     [self.args.mtvg, "-q", *outer, self.args.mtvg, "-q", *inner],
                     self.binary(guest), False)

    def run_nested(self):
        for guest in NESTED[:3] if self.args.quick else NESTED:
            for inner in INNER_MODES[:2]:
                self.nested(guest, OUTER_MODES[0], inner)
        for guest in () if self.args.quick else NESTED_IN_MODES:
            for outer in OUTER_MODES:
                for inner in INNER_MODES:
                    self.nested(guest, outer, inner)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--mtvg", required=True)
    p.add_argument("--build-dir", required=True, help="where the guests are built")
    p.add_argument("--quick", action="store_true", help="less than a minute")
    p.add_argument("--only", choices=("valgrind", "nested"))
    p.add_argument("-k", metavar="REGEX", default="", help="only what is named so")
    p.add_argument("--timeout", type=float, default=300)
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
