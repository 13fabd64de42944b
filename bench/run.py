#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Measures mtvg against native runs and other tools: ./run bench [options].

    bench/run.py                          everything; raw data in build/bench/*.json
    bench/run.py --quick -k pigz          a third of the work, 3 rounds, one workload
    bench/run.py --tables programs,events --tools native,none,valgrind
    bench/run.py --mtvg A --vs B          two builds of mtvg, next to each other
    bench/run.py --option=--chaining=no   a column for mtvg with an option
    bench/run.py --report FILE            the tables again, from raw data
    bench/run.py --endurance 3600         the fuzz loop for an hour: does it slow down or grow?

The runs of a workload are interleaved (A B C A B C ...), the tables show medians. Outputs are
compared with the native run's. Noise: on a machine that others use, --metric cpu (user and system
time) says more than wall time about anything but waiting."""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

from harness import endurance, measure, peers, report, translator, workloads

BENCH = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(BENCH)
KERNELS = {"calls": [], "omp": ["-fopenmp"], "fuzz": [], "events": ["-pthread"],
           "scaling": ["-pthread"], "peak": []}
TABLES = ["programs", "events", "scaling", "translator"]


def arguments():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--mtvg", default=os.path.join(ROOT, "build/mtvg"))
    p.add_argument("--vs", help="another build of mtvg, measured as well")
    p.add_argument("--option", action="append", default=[],
                   help="a further run of mtvg with these options (may be repeated)")
    p.add_argument("--quick", action="store_true", help="a third of the work, 3 rounds")
    p.add_argument("--rounds", type=int)
    p.add_argument("--scale", type=float, help="amount of work; 1: 0.6 to 2 s natively")
    p.add_argument("-k", metavar="PATTERN", default="",
                   help="only workloads that contain this, or one of these (a,b)")
    p.add_argument("--tables", default=",".join(TABLES), help="of: " + ",".join(TABLES))
    p.add_argument("--tools", help="of: native,none,lackey,vs,valgrind,qemu,drrun")
    p.add_argument("--metric", choices=["wall", "cpu"], default="wall")
    p.add_argument("--ratios-only", action="store_true", help="print no absolute times")
    p.add_argument("--out", default=os.path.join(ROOT, "build/bench"), help="folder for data")
    p.add_argument("--report", metavar="FILE", help="print the tables of an earlier run")
    p.add_argument("--endurance", type=int, metavar="SECONDS")
    a = p.parse_args()
    a.rounds = a.rounds or (3 if a.quick else 5)
    a.scale = a.scale or (0.33 if a.quick else 1.0)
    a.mtvg = os.path.abspath(a.mtvg)
    a.vs = os.path.abspath(a.vs) if a.vs else None
    return a


def build_kernels(folder):
    os.makedirs(os.path.join(folder, "bin"), exist_ok=True)
    for name, flags in KERNELS.items():
        source, target = os.path.join(BENCH, name + ".c"), os.path.join(folder, "bin", name)
        newest = max(os.path.getmtime(source), os.path.getmtime(os.path.join(BENCH, "kernel.h")))
        if not os.path.exists(target) or os.path.getmtime(target) < newest:
            subprocess.run(["gcc", "-O2", "-g", "-std=gnu11", "-Wall", "-Wextra", source, "-o",
                            target, *flags], check=True)


def chosen_peers(a):
    found, missing = peers.available(a.mtvg, a.vs, a.option, ROOT)
    if a.tools:
        wanted = set(a.tools.split(",")) | {"native"}
        found = [p for p in found if p.name in wanted or p.name.startswith("none ")]
    return found, missing


def thread_counts():
    cores, counts, n = len(os.sched_getaffinity(0)), [1], 2
    while n < cores:
        counts.append(n)
        n *= 2
    return counts + [n for n in (cores, 8 * cores) if n not in counts]


def record(workload, peer, number, sample, cwd):
    """A sample as a record of the raw data, with a digest of what the program wrote."""
    files = "".join(measure.digest_file(os.path.join(cwd, f)) for f in workload.outputs)
    return {"table": workload.table, "workload": workload.name, "threads": workload.threads,
            "peer": peer.name, "round": number, "wall": sample.wall, "cpu": sample.cpu,
            "rss_kib": sample.rss, "value_wall": sample.value_wall, "value_cpu": sample.value_cpu,
            "throughput": workloads.throughput(sample.out), "status": sample.status,
            "digest": sample.digest + files}


def run_one(workload, peer, number, cwd, timeout):
    samples = [measure.once(peer.prefix + workload.command, workload.stdin, workload.env, timeout,
                            cwd) for _ in range(workload.repeat)]
    last = record(workload, peer, number, samples[-1], cwd)
    for key in ("wall", "cpu"):
        last[key] = sum(getattr(s, key) for s in samples) / len(samples)
    return last, samples[-1]


def run_group(group, found, rounds, cwd, results):
    """The rounds of one workload (with all its numbers of threads). A tool that fails is left out
    of further rounds."""
    failed, expected = set(), {}
    for number in range(rounds):
        for w in group:
            for peer in found:
                if peer.name in failed:
                    continue
                last, sample = run_one(w, peer, number, cwd, 60 if peer.name == "native" else 240)
                digest = expected.setdefault(w.threads, last["digest"])
                last["same"] = not w.compare or last["digest"] == digest
                # Valgrind computes with 64-bit long doubles: its other output is only noted.
                last["ok"] = last["status"] == 0 and (last["same"] or not peer.judged)
                results.append(last)
                if not last["ok"]:
                    failed.add(peer.name)
                    why = "other output" if last["status"] == 0 else f"status {last['status']}"
                    tail = sample.err.decode(errors="replace").strip().splitlines()[-3:]
                    print(f"{w.name} {w.threads or ''}: {peer.name}: {why} {tail}", file=sys.stderr)


def all_groups(a, context):
    """Workloads of one name belong together; a list of lists."""
    tables, found = a.tables.split(","), []
    if "programs" in tables:
        found += workloads.real_programs(context)
    if "events" in tables:
        found += workloads.events(context)
    if "scaling" in tables:
        found += workloads.scaling(context, thread_counts())
    groups = {}
    for w in found:
        if any(part in w.name for part in a.k.split(",")):
            groups.setdefault((w.table, w.name), []).append(w)
    return list(groups.values())


def measure_all(a, data, path):
    found, data["missing"] = chosen_peers(a)
    context = workloads.Context(ROOT, a.out, a.scale)
    data["peers"] = {p.name: p.version for p in found}
    groups = all_groups(a, context)
    cwd = tempfile.mkdtemp(prefix="mtvg-bench-")
    try:
        for i, group in enumerate(groups):
            print(f"[{i + 1}/{len(groups)}] {group[0].table}: {group[0].name}", file=sys.stderr)
            # Scaling is told of native, mtvg and Valgrind: the others add nothing but time.
            here = [p for p in found if group[0].table != "scaling" or a.tools or p.mtvg and
                    p.name != "lackey" or p.name == "native" or p.name == "valgrind" and not a.quick]
            run_group(group, here, a.rounds, cwd, data["records"])
            report.save(data, path)
        if "translator" in a.tables.split(","):
            print("translator", file=sys.stderr)
            data["translator"] = []
            translator.measure_all(a, context, cwd, data["translator"],
                                   lambda: report.save(data, path))
    finally:
        shutil.rmtree(cwd, ignore_errors=True)


def main():
    a = arguments()
    if a.report:
        with open(a.report, encoding="utf-8") as f:
            report.print_all(json.load(f), a.metric, a.ratios_only)
        return 0
    build_kernels(a.out)
    if a.endurance:
        return endurance.run(a, os.path.join(a.out, "bin", "fuzz"))
    path = os.path.join(a.out, time.strftime("%Y%m%d-%H%M%S.json"))
    data = {"started": time.strftime("%Y-%m-%d %H:%M"), "arguments": sys.argv[1:],
            "rounds": a.rounds, "scale": a.scale, "machine": peers.machine(),
            "programs": peers.program_versions(), "records": []}
    measure_all(a, data, path)
    report.print_all(data, a.metric, a.ratios_only)
    print(f"\nRaw data: {os.path.relpath(path, ROOT)}")
    return 0 if all(r["ok"] or not r["peer"].startswith(("native", "none"))
                    for r in data["records"]) else 1


if __name__ == "__main__":
    sys.exit(main())
