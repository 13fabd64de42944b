# SPDX-License-Identifier: BSD-2-Clause
"""Markdown tables from raw data: medians over rounds, ratios over native."""
import json
import math
import os
import statistics

from harness import translator


def save(data, path):
    with open(path + ".new", "w", encoding="utf-8") as f:
        json.dump(data, f, indent=1)
    os.rename(path + ".new", path)


# Of the events: those that are measured from outside, in seconds.
WHOLE_PROCESSES = ("/bin/true", "shell script with children")


def value(r, metric):
    """What is measured of a record: less is better, in ns per operation or seconds."""
    if not r["ok"]:
        return None
    if r["throughput"]:
        return 1.0 / r["throughput"]
    own = r["value_" + metric]
    return own if own is not None and r["table"] != "programs" else r[metric]


def medians(data, table, metric):
    """{(workload, threads): {peer: (median, number of rounds)}} in the order of the runs."""
    found = {}
    for r in data["records"]:
        if r["table"] == table:
            row = found.setdefault((r["workload"], r["threads"]), {})
            row.setdefault(r["peer"], []).append(value(r, metric))
    return {key: {peer: None if None in values else statistics.median(values)
                  for peer, values in row.items()} for key, row in found.items()}


def line(cells):
    print("| " + " | ".join(cells) + " |")


def head(cells):
    line(cells)
    line(["---"] * len(cells))


def ratio(row, peer, base="native"):
    if row.get(peer) is None or not row.get(base):
        return None
    return row[peer] / row[base]


def shown(number, digits=2):
    return "-" if number is None else f"{number:.{digits}f}"


def geometric_mean(numbers):
    numbers = [n for n in numbers if n is not None]
    return math.exp(sum(map(math.log, numbers)) / len(numbers)) if numbers else None


def duration(seconds):
    for unit, size in (("s", 1), ("ms", 1e-3), ("µs", 1e-6)):
        if abs(seconds) >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def peers_of(rows):
    order = []
    for row in rows.values():
        order += [p for p in row if p not in order]
    return order


def cell(row, peer, different):
    if peer in row and row[peer] is None:
        return "fails"
    return shown(ratio(row, peer)) + ("*" if peer in different else "")


def differing(data, table):
    """{(workload, threads): peers whose output is not native's}"""
    found = {}
    for r in data["records"]:
        if r["table"] == table and not r.get("same", True):
            found.setdefault((r["workload"], r["threads"]), set()).add(r["peer"])
    return found


def print_ratios(rows, different, title, absolutes, unit):
    """different: from differing(). absolutes: also native's own time, and how much longer mtvg takes.
    unit: seconds of 1."""
    order = [p for p in peers_of(rows) if p != "native"]
    print(f"\n{title}\n")
    extra = ["native", "none: more"] if absolutes else []
    versus = ["none / vs"] if "vs" in order else []
    head(["workload"] + extra + order + versus)
    for key, row in rows.items():
        name = key[0]
        cells = [name]
        if absolutes:
            scale = 1 if name in WHOLE_PROCESSES else unit
            native, none = row.get("native"), row.get("none")
            odd = native is None or native < 1e-6 and unit == 1
            cells += ["-" if odd else duration(native * scale),
                      "-" if odd or none is None else duration((none - native) * scale)]
        line(cells + [cell(row, p, different.get(key, ())) for p in order] +
             [shown(ratio(row, "none", "vs"), 3) for _ in versus])
    means = [geometric_mean([ratio(row, p) for row in rows.values()]) for p in order]
    versus_mean = [geometric_mean([ratio(row, "none", "vs") for row in rows.values()])
                   for _ in versus]
    line(["**geometric mean**"] + [""] * len(extra) + [f"**{shown(m)}**" for m in means] +
         [f"**{shown(m, 3)}**" for m in versus_mean])
    if different:
        print("\n\\* the output differs from native's")


def print_scaling(rows):
    """Speed-up over one thread; mtvg's as a share of native's."""
    order = peers_of(rows)
    counts = sorted({n for _, n in rows if n != 1})
    names = list(dict.fromkeys(name for name, _ in rows))
    print("\nSpeed-up from 1 thread to n threads; in brackets, as a share of native's own\n")
    head(["workload"] + [f"{p}, {n}" for n in counts for p in order])
    for name in names:
        cells = [name]
        for n in counts:
            up = {p: ratio({"one": rows[name, 1].get(p), "n": rows[name, n].get(p)}, "one", "n")
                  if (name, 1) in rows and (name, n) in rows else None for p in order}
            for p in order:
                share = up[p] / up["native"] if up[p] and up.get("native") else None
                cells.append(shown(up[p]) + ("" if p == "native" or share is None
                                             else f" ({share:.2f})"))
        line(cells)


def print_all(data, metric, ratios_only):
    m = data["machine"]
    print(f"Machine: {m['cpu']}, {m['cores']} cores, {m['memory_gib']} GiB, Linux {m['kernel']}"
          f" (load at start {m['load_at_start'][0]}).")
    print("Tools: " + "; ".join(f"{k}: {v}" for k, v in data.get("peers", {}).items()) + ".")
    if data.get("missing"):
        print("Not measured: " + "; ".join(data["missing"]) + ".")
    print("Programs: " + ", ".join(f"{k} {v}" for k, v in data["programs"].items()) + ".")
    what = "wall time" if metric == "wall" else "processor time (user and system)"
    print(f"Medians of {data['rounds']} interleaved rounds, {what}, amount of work "
          f"{data['scale']:g}.")
    for table, title, unit in (("programs", f"Programs: {what} over native", 1),
                               ("events", f"Events: {what} over native", 1e-9)):
        rows = medians(data, table, metric)
        if rows:
            print_ratios(rows, differing(data, table), title, not ratios_only, unit)
    rows = medians(data, "scaling", "wall")
    if rows:
        print_scaling(rows)
    if data.get("translator"):
        translator.print_table(data["translator"], head, line)
