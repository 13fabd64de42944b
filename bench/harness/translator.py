# SPDX-License-Identifier: BSD-2-Clause
"""What the translator does: speed on cold code, size of its code, dispatcher entries, memory."""
import os
import re
import shutil
import statistics
import sys

from harness import measure, workloads

COUNTERS = {"insns": "guest instructions translated", "guest": "guest code bytes translated",
            "host": "host code bytes emitted", "dispatches": "entries into the dispatcher",
            "misses": "indirect branches looked up by the dispatcher"}


def counters(err):
    found = {}
    for key, text in COUNTERS.items():
        m = re.search(rb"([\d,]+)  " + text.encode() + rb"$", err, re.M)
        found[key] = int(m[1].replace(b",", b"")) if m else 0
    return found


def executed(mtvg, workload, cwd):
    """Guest instructions of a run, counted by lackey: mtvg's if it counts, or else Valgrind's."""
    tools = [[mtvg, "--tool=lackey"]]
    if shutil.which("valgrind"):
        tools.append(["/usr/bin/valgrind", "--tool=lackey", "--basic-counts=yes"])
    for prefix in tools:
        s = measure.once(prefix + workload.command, workload.stdin, workload.env, 150, cwd)
        m = re.search(rb"(?:guest )?instr(?:s|uctions)[a-z ]*:?\s+([\d,]+)", s.err)
        if m:
            return int(m[1].replace(b",", b""))
    return None


def cold_programs(context, cwd):
    empty = os.path.join(cwd, "empty.c")
    with open(empty, "w", encoding="ascii") as f:
        f.write("int main(void) { return 0; }\n")
    def cold(name, *command):
        return workloads.Workload("translator", name, list(command))
    return [cold("cc1 -O2, empty main", *workloads.cc1(), "-O2", empty, "-o", "out.s"),
            cold("perl -e 1", "/usr/bin/perl", "-e", "1"),
            cold("python3 -c pass", "/usr/bin/python3", "-c", "pass"),
            cold("/bin/true", "/bin/true")]


def peak_run(context, prefix, workload, cwd):
    """(sample, processor seconds, peak memory in KiB)"""
    log = os.path.join(cwd, "peak")
    s = measure.once([context.exe("peak"), log] + prefix + workload.command, workload.stdin,
                     workload.env, 120, cwd)
    with open(log, encoding="ascii") as f:
        cpu, rss = f.read().split()
    os.remove(log)
    return s, float(cpu), int(rss)


def measure_one(a, context, workload, cwd):
    samples = {"native": [], "mtvg": []}
    last = None
    for _ in range(a.rounds):
        samples["native"].append(peak_run(context, [], workload, cwd)[1:])
        last, cpu, rss = peak_run(context, [a.mtvg, "--tool=none", "--stats=yes"], workload, cwd)
        samples["mtvg"].append((cpu, rss))
    return {"workload": workload.name, "status": last.status, "samples": samples,
            "counters": counters(last.err), "executed": executed(a.mtvg, workload, cwd)}


def measure_all(a, context, cwd, rows, save):
    """Appends to rows; save() keeps what is there so far."""
    small = workloads.Context(context.root, os.path.dirname(context.bin), min(0.1, context.scale))
    found = cold_programs(context, cwd)
    found += [w for w in workloads.real_programs(context) if w.name == "cc1 -O2"]
    for w in workloads.real_programs(small):
        if w.measure == "time":
            w.name += ", small"
            found.append(w)
    for w in found:
        if any(part in w.name for part in a.k.split(",")):
            print("  " + w.name, file=sys.stderr)
            rows.append(measure_one(a, context, w, cwd))
            save()


def print_table(rows, head, line):
    print("\nThe translator. Translated per second: guest instructions translated over the processor"
          "\ntime more than native's, which also counts the start of mtvg and the run itself.\n")
    head(["workload", "instructions translated", "per second", "host bytes per guest byte",
          "dispatcher entries per million instructions", "looked up, of them",
          "peak memory over native, MB"])
    for r in rows:
        c = r["counters"]
        cpu = {k: statistics.median(x[0] for x in v) for k, v in r["samples"].items()}
        rss = {k: statistics.median(x[1] for x in v) for k, v in r["samples"].items()}
        more = cpu["mtvg"] - cpu["native"]
        millions = r["executed"] / 1e6 if r["executed"] else None
        line([r["workload"] + ("" if r["status"] == 0 else " (fails)"), f"{c['insns']:,}",
              f"{c['insns'] / more / 1e6:.2f} M" if more > 0 else "-",
              f"{c['host'] / c['guest']:.2f}" if c["guest"] else "-",
              f"{c['dispatches'] / millions:.1f}" if millions else "-",
              f"{c['misses'] / millions:.1f}" if millions else "-",
              f"{(rss['mtvg'] - rss['native']) / 1024:.1f}"])
