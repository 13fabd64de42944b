#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""mtvg inside other tools: an outer Valgrind looks for faults in the runtime, an outer mtvg runs it.

A program runs natively, then under mtvg under the outer tool: same output, same status, no error
reported. The deliberately wrong builds (CMakeLists.txt, mtvg_break_*) must be reported by Helgrind. The
same for the test of the world lock alone, stress_world.
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

# What is left out, and the guest that shows it.
BREAKS = {"chain_lock": "thr_link", "publish": "thr_link", "page_lock": "thr_link",
          "inside_lock": "thr_link", "version_lock": "smc_threads"}
# stress_world: frees count as writes, so that an object freed under a scan is seen.
WORLD = {"helgrind": ["--free-is-write=yes"], "memcheck": [], "drd": []}
WORLD_BREAKS = (["stress_world", "--break=publish"], ["stress_world", "--break=enter"],
                ["stress_world", "--break=leave"], ["stress_world_break_walk"])
# (outer tool, guest and its arguments): Helgrind can do all of it in a minute each, the others less.
QUICK = [("helgrind", "thr_link"), ("helgrind", "thr_sync 4"), ("helgrind", "thr_cancel"),
         ("memcheck", "thr_link"), ("drd", "load_hello")]
THREADED = ("thr_link", "thr_cancel", "thr_exit_main", "thr_exit_other", "smc_threads", "sig_regs",
            "sig_threads", "flow_exceptions")
FULL = [(tool, guest) for tool in ("helgrind", "memcheck") for guest in THREADED] + [
    ("helgrind", "thr_sync"), ("helgrind", "thr_fork"), ("helgrind", "thr_fresh same 16 2"),
    ("helgrind", "thr_fresh own 16 4"), ("helgrind", "sig_storm"), ("helgrind", "smc_efault"),
    ("memcheck", "thr_sync 10"), ("memcheck", "thr_fork 2"), ("memcheck", "sig_storm"),
    ("drd", "thr_link"), ("drd", "thr_fresh own 3 10")]
# Valgrind itself raises or shows something else than a processor: these are compared with a run of
# their own under Valgrind.
AS_UNDER_VALGRIND = ("sig_regs",)
# Of the runtime's ways of running code, those that share something more or less than usual.
RUNTIME_OPTIONS = ("--return-stack=yes", "--enter-inside=no", "--chaining=no", "--code-cache-size=1M",
                   "--parallel=no", "--stress=flush,world,preempt", "--tool=lackey")
REPORTED, ATTEMPTS = 97, 5
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
POOL_CC = """
#include <condition_variable>
#include <cstdio>
#include <functional>
#include <future>
#include <mutex>
#include <queue>
#include <thread>
#include <vector>
class Pool {
    std::mutex m; std::condition_variable cv; std::queue<std::function<void()>> todo; bool over = false;
    std::vector<std::thread> threads;
    void work() {
        for (;;) {
            std::function<void()> f;
            {
                std::unique_lock<std::mutex> l(m);
                cv.wait(l, [this] { return over || !todo.empty(); });
                if (todo.empty()) return;
                f = std::move(todo.front()); todo.pop();
            }
            f();
        }
    }
public:
    explicit Pool(int n) { for (int i = 0; i < n; i++) threads.emplace_back([this] { work(); }); }
    ~Pool() {
        { std::lock_guard<std::mutex> l(m); over = true; }
        cv.notify_all();
        for (auto &t : threads) t.join();
    }
    template <class F> std::future<long> submit(F f) {
        auto p = std::make_shared<std::packaged_task<long()>>(f);
        { std::lock_guard<std::mutex> l(m); todo.emplace([p] { (*p)(); }); }
        cv.notify_one();
        return p->get_future();
    }
};
int main() {
    Pool pool(4);
    std::vector<std::future<long>> done;
    long sum = 0; int thrown = 0;
    for (long i = 0; i < 120; i++)
        done.push_back(pool.submit([i] { if (i % 17 == 0) throw i; return i * i; }));
    for (auto &f : done) try { sum += f.get(); } catch (long) { thrown++; }
    std::printf("%ld %d\\n", sum, thrown);
}
"""
CHANNELS_RS = """
use std::sync::{mpsc, Arc, Mutex};
use std::thread;
fn main() {
    let (tx, rx) = mpsc::channel::<u64>();
    let rx = Arc::new(Mutex::new(rx));
    let sum = Arc::new(Mutex::new(0u64));
    let workers: Vec<_> = (0..4).map(|_| {
        let (rx, sum) = (rx.clone(), sum.clone());
        thread::spawn(move || loop {
            let n = match rx.lock().unwrap().recv() { Ok(n) => n, Err(_) => break };
            *sum.lock().unwrap() += n * n;
        })
    }).collect();
    for n in 0..200 { tx.send(n).unwrap(); }
    drop(tx);
    for w in workers { w.join().unwrap(); }
    println!("{}", sum.lock().unwrap());
}
"""
ROUTINES_GO = """package main

import (
	"fmt"
	"sync"
)

func main() {
	todo, done := make(chan int), make(chan int)
	var group sync.WaitGroup
	for i := 0; i < 4; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for n := range todo {
				done <- n * n
			}
		}()
	}
	go func() {
		for n := 0; n < 200; n++ {
			todo <- n
		}
		close(todo)
		group.Wait()
		close(done)
	}()
	sum := 0
	for n := range done {
		sum += n
	}
	fmt.Println(sum)
}
"""
SOURCES = {"pool.cc": (POOL_CC, ["g++", "-O1", "-pthread", "-o"]),
           "channels.rs": (CHANNELS_RS, ["rustc", "-O", "-o"]),
           "routines.go": (ROUTINES_GO, ["go", "build", "-o"])}
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
        self.built = os.path.dirname(self.args.mtvg)
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
        native = run(list(reference) + program, self.args.timeout, stdin)
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

    def make(self, target):
        status, out, _ = run(["cmake", "--build", self.built, "--target", target], self.args.timeout)
        if status != 0:
            self.result(False, f"building {target}", out.decode()[-2000:], time.monotonic())
        return status == 0

    def must_report(self, what, command, more=lambda attempt: []):
        """Threads have to meet for that: on a busy machine they may not the first time."""
        begun, found = time.monotonic(), False
        at = command.index("valgrind") + 1
        command[at:at] = ["--exit-on-first-error=yes", f"--error-exitcode={REPORTED}"]
        for attempt in range(ATTEMPTS):
            if run(command + more(attempt), self.args.timeout)[0] == REPORTED:
                found = True
                break
        self.result(found, what, "it does not", begun)

    def broken(self, what, guest):
        name = f"helgrind reports the build without {what}"
        if re.search(self.args.k, name) and self.make("mtvg_break_" + what):
            mtvg = os.path.join(self.built, "mtvg_break_" + what)
            self.must_report(name, self.valgrind("helgrind", mtvg) + self.binary(guest))

    def world(self):
        """The world lock's test: plain data that it alone protects."""
        def command(tool, words):
            return (["env", "GLIBC_TUNABLES=glibc.pthread.stack_cache_size=0", "valgrind",
                     f"--tool={tool}"] + WORLD[tool] + outer_flags() +
                    [os.path.join(self.built, "tests", words[0])] + words[1:])
        for tool in ("helgrind",) if self.args.quick else WORLD:
            for mode in ("parallel",) if self.args.quick else ("parallel", "seq", "seeded"):
                name = f"stress_world {mode} under {tool}"
                if re.search(self.args.k, name) and self.make("stress_world"):
                    begun = time.monotonic()
                    status, _, err = run(command(tool, ["stress_world", "--mode=" + mode, "--ms=2000",
                                                        "--threads=6"]), self.args.timeout)
                    errors = errors_reported(err)
                    self.result(status == 0 and errors == 0, name,
                                f"status {status}, {errors} errors", begun)
        for words in () if self.args.quick else WORLD_BREAKS:
            name = f"helgrind reports {' '.join(words)}"
            if re.search(self.args.k, name) and self.make(words[0]):
                self.must_report(name, command("helgrind", words + ["--ms=2000", "--threads=6"]),
                                 lambda attempt: [f"--seed={attempt + 1}", f"--ms={2000 << attempt}"])

    def run_valgrind(self):
        if shutil.which("valgrind") is None:
            print("SKIPPED: valgrind is not installed: no outer Helgrind, DRD, memcheck")
            return
        for tool, guest in QUICK if self.args.quick else FULL:
            alone = ["valgrind", "-q", "--tool=none"] + outer_flags()
            self.compare(f"{guest} under mtvg under {tool}", self.valgrind(tool, self.args.mtvg),
                         self.binary(guest), True,
                         reference=alone if guest in AS_UNDER_VALGRIND else ())
        for what, guest in BREAKS.items():
            if guest == "thr_link" or not self.args.quick:
                self.broken(what, guest)
        self.world()
        if not self.args.quick:
            for option in RUNTIME_OPTIONS:
                self.compare(f"thr_link under mtvg {option} under helgrind",
                             self.valgrind("helgrind", self.args.mtvg) + [option],
                             self.binary("thr_link"), True)
            self.run_programs()
            self.run_sources()

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

    def run_sources(self):
        """The same, with threads of other languages' making; built here."""
        folder = os.path.join(self.args.build_dir, "outer-sources")
        os.makedirs(folder, exist_ok=True)
        for name, (source, compiler) in SOURCES.items():
            found = shutil.which(compiler[0], path="/usr/bin:/bin")
            if found is None:
                print(f"SKIPPED: {compiler[0]} is not installed")
                continue
            path, binary = os.path.join(folder, name), os.path.join(folder, name + ".out")
            with open(path, "w") as f:
                f.write(source)
            env = ["env", "HOME=" + folder, "GOCACHE=" + os.path.join(folder, "go"), "GOFLAGS=-mod=mod"]
            made = run(env + [found] + compiler[1:] + [binary, path], self.args.timeout)
            if made[0] != 0:
                self.result(False, f"building {name}", made[2].decode()[-2000:], time.monotonic())
                continue
            self.compare(f"{name} under mtvg under helgrind",
                         self.valgrind("helgrind", self.args.mtvg), [binary], True)

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
    p.add_argument("--timeout", type=float, default=1800, help="a hang, on a busy machine too")
    args = p.parse_args()
    proc.die_by_term()
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
