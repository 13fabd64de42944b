# SPDX-License-Identifier: BSD-2-Clause
"""The workloads. A workload is data: how to start it, what of a run is its measure.

measure: "time"        of the process, start-up included
         "result"      nanoseconds per operation, from the program's own "result:" line
         "throughput"  from `openssl speed`: bytes per second (more is better)
repeat:  for short ones: runs per sample, of which the mean is taken"""
import os
import re
import subprocess

from harness import inputs


class Workload:
    def __init__(self, table, name, command, measure="time", stdin=None, env=None, repeat=1,
                 threads=None, compare=True, outputs=()):
        self.table, self.name, self.command, self.measure = table, name, command, measure
        self.stdin, self.env, self.repeat, self.threads = stdin, env, repeat, threads
        self.compare, self.outputs = compare, outputs


def throughput(out):
    m = re.search(rb"^\S+\s+([\d.]+)k$", out, re.M)
    return float(m[1]) * 1000 if m else None


def gcc_says(option):
    return subprocess.run(["gcc", option], stdout=subprocess.PIPE, text=True,
                          check=True).stdout.strip()


def cc1():
    """The compiler proper, without the driver, which would start it as another process."""
    return [gcc_says("-print-prog-name=cc1"), "-imultiarch", gcc_says("-print-multiarch"), "-quiet"]


class Context:
    """Where things lie and how much work is done: scale 1 is 0.6 to 2 s of native run time."""
    def __init__(self, root, folder, scale):
        self.scale, self.root = scale, root
        self.bin = os.path.join(folder, "bin")
        self.inputs = os.path.join(folder, "inputs")
        self.bench = os.path.join(root, "bench")
        os.makedirs(self.inputs, exist_ok=True)

    def n(self, count):
        return str(max(1, round(count * self.scale)))

    def number(self, count):
        return max(1, round(count * self.scale))

    def exe(self, name):
        return os.path.join(self.bin, name)

    def script(self, name):
        return os.path.join(self.bench, name)


def real_programs(c):
    """Table 1. Start-up and cold code count, as they do for users."""
    def speed(*what):
        return ["/usr/bin/openssl", "speed", "-seconds", "1", "-bytes", "16384",
                *what]
    text = inputs.text(c.inputs, c.number(32))
    shorter = inputs.text(c.inputs, c.number(12))
    return [
        Workload("programs", "pigz -p1", ["/usr/bin/pigz", "-n", "-p1", "-c"], stdin=text),
        Workload("programs", "bzip2", ["/usr/bin/bzip2", "-c"], stdin=shorter),
        Workload("programs", "xz -1", ["/usr/bin/xz", "-1", "-T1", "-c"], stdin=shorter),
        Workload("programs", "python3 loop", ["/usr/bin/python3", c.script("loop.py"), c.n(500)],
                 env={"PYTHONHASHSEED": "0"}),
        Workload("programs", "perl loop", ["/usr/bin/perl", c.script("loop.pl"), c.n(400)],
                 env={"PERL_HASH_SEED": "0"}),
        Workload("programs", "sqlite3", ["/usr/bin/sqlite3", ":memory:"],
                 stdin=inputs.sql(c.inputs, c.number(40000))),
        Workload("programs", "cc1 -O2", cc1() + ["-O2", "-w", inputs.c_source(c.inputs, c.number(110)),
                                                   "-o", "out.s"], outputs=["out.s"]),
        Workload("programs", "openssl sha256", speed("sha256"), "throughput", compare=False),
        Workload("programs", "openssl aes", speed("-evp", "aes-128-cbc"), "throughput",
                 compare=False),
        Workload("programs", "C calls", [c.exe("calls"), c.n(50)]),
    ]


def events(c):
    """Table 2: what one event costs."""
    def event(label, name, count, *threads):
        return Workload("events", label, [c.exe("events"), name, c.n(count), *threads], "result")
    return [
        event("malloc/free, 1 thread", "malloc", 40000000, "1"),
        event("malloc/free, 2 threads", "malloc", 40000000, "2"),
        event("create and join a thread", "thread", 20000),
        event("mutex, 64 threads", "mutex", 20000000, "64"),
        event("getppid", "getppid", 4000000),
        event("signal to self", "signal", 200000),
        Workload("events", "fuzz loop", [c.exe("fuzz"), c.n(160)], "result"),
        Workload("events", "OpenMP matrix and stencil, 1 thread", [c.exe("omp"), "both", c.n(12)],
                 "result", env={"OMP_NUM_THREADS": "1"}),
        Workload("events", "OpenMP matrix and stencil, 2 threads", [c.exe("omp"), "both", c.n(24)],
                 "result", env={"OMP_NUM_THREADS": "2"}),
        Workload("events", "/bin/true", ["/bin/true"], repeat=max(3, c.number(20))),
        event("fork and wait", "fork", 2000),
        Workload("events", "shell script with children",
                 ["/bin/bash", c.script("children.sh"), c.n(300)]),
        event("pipe, there and back", "pipe", 60000),
        event("hand-over of a contended mutex", "handover", 100000),
    ]


def scaling(c, counts):
    """Table 3: the same work with more threads."""
    text = inputs.text(c.inputs, c.number(32))
    shorter = inputs.text(c.inputs, c.number(12))
    found = []
    for n in counts:
        t = str(n)
        kernel = {"cpu": 1200000, "lock": 4000000, "syscall": 4000000, "alloc": 16000000,
                  "queue": 120000, "translate": 20000}
        programs = [
            ("pigz", ["/usr/bin/pigz", "-n", "-p" + t, "-c"], text, None, True),
            ("pbzip2", ["/usr/bin/pbzip2", "-q", "-p" + t, "-c"], shorter, None, True),
            ("xz -T", ["/usr/bin/xz", "-1", "-T" + t, "--block-size=1MiB", "-c"], shorter, None,
             True),
            ("zstd -T", ["/usr/bin/zstd", "-q", "-9", "-T" + t, "-c"], shorter, None, False),
            ("7z", ["/usr/bin/7z", "a", "-bd", "-m0=lzma2:c=1m", "-mx=2", "-mmt=" + t, "-si", "-so",
                    "-txz", "x"], shorter, None, False),
            ("OpenMP stencil", [c.exe("omp"), "stencil", c.n(24)], None, {"OMP_NUM_THREADS": t},
             True),
        ]
        for name, command, stdin, env, compare in programs:
            found.append(Workload("scaling", name, command, stdin=stdin, env=env, threads=n,
                                  compare=compare))
        for name, work in kernel.items():
            found.append(Workload("scaling", name + "-bound" if name != "queue" else
                                  "mutex/condvar queue", [c.exe("scaling"), name, t, c.n(work)],
                                  "result", threads=n))
    return found
