#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The regression tests: every program runs natively and under mtvg, and must do the same.

    tests/run.py                         guest programs and real programs, all modes
    tests/run.py --quick                 each in two modes; of the real programs the quick ones
    tests/run.py guests -k thread --mode default,seq
    tests/run.py programs --install --table docs/PROGRAMS.md
    tests/run.py --native-only           are the tests themselves right?

Exit status: 0 if nothing failed. See harness/guests.py and harness/programs.py for the
directives in the sources.
"""
import argparse
import concurrent.futures
import os
import random
import re
import shlex
import shutil
import signal
import sys
import time

from harness import guests, modes, proc, programs, report

TESTS = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(TESTS)
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# One line of the summary: kind is pass, fail or skip.
class Outcome:
    def __init__(self, kind, name, mode, lines=(), command="", seconds=0.0, native_seconds=0.0):
        self.kind, self.name, self.mode, self.lines = kind, name, mode, list(lines)
        self.command, self.seconds, self.native_seconds = command, seconds, native_seconds


def environment(home, extra):
    env = {"PATH": PATH, "HOME": home, "TMPDIR": home, "LANG": "C.UTF-8", "TERM": "dumb",
           "USER": "tester", "SHELL": "/bin/sh", "TZ": "UTC"}
    env.update(extra)
    return env


def fresh(folder):
    """An empty folder; its path is the same for the native and every other run."""
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(os.path.join(folder, "home"))
    return os.path.join(folder, "home")


def guest_job(config, guest):
    """Build, run natively once, then in each mode. Runs in a worker."""
    builder = guests.Builder(TESTS, config.guest_build)
    error = builder.make(guest)
    if error:
        return [Outcome("fail", guest.name, "build", error.splitlines()[-30:])]
    binary = [builder.binary(guest)] + guest.words("args")
    scratch = os.path.join(config.scratch, guest.name)
    extra = {"GUEST_DIR": config.guest_build}
    extra.update(p.split("=", 1) for p in guest.keys.get("env", "").split(",") if "=" in p)
    stdin = guest.keys.get("stdin") and os.path.join(TESTS, guest.keys["stdin"])

    def once(prefix, factor):
        home = fresh(scratch)
        return proc.run(prefix + binary, environment(home, extra), home,
                        guest.timeout * factor * config.timeout_scale, scratch, stdin)

    outcomes, native = [], None
    if "skip-native" not in guest.keys:
        native = once([], 1)
        lines = report.check_native(native)
        if lines:
            return [Outcome("fail", guest.name, "native", lines, shlex.join(binary))]
        if config.native_only:
            for _ in range(config.repeat - 1):
                lines = report.compare(native, once([], 1), guest.compare, "again")
                if lines:
                    return [Outcome("fail", guest.name, "native, repeated", lines)]
            return [Outcome("pass", guest.name, "native", seconds=native.seconds)]
    elif config.native_only:
        return [Outcome("skip", guest.name, "native", [guest.keys["skip-native"]])]
    for mode in modes.pick(guest.keys.get("modes"), config.modes, config.quick, guest.name,
                           config.seed):
        cache = scratch + "-cache"
        prefix = [config.mtvg] + modes.options(mode, config.seed, cache)
        for _ in range(2 if mode in modes.TWICE else 1):
            ours = once(prefix, modes.MODES[mode][1])
            if native:
                lines = report.compare(native, ours, guest.compare)
            else:
                lines = [] if ours.status == 0 and b"GUEST-FAILED" not in ours.out + ours.err else \
                    [ours.ending()] + ours.out.decode(errors="replace").splitlines()[-20:] + \
                    ours.err.decode(errors="replace").splitlines()[-20:]
            if lines:
                break
        shutil.rmtree(cache, ignore_errors=True)
        outcomes.append(Outcome("fail" if lines else "pass", guest.name, mode, lines,
                                shlex.join(prefix + binary), ours.seconds,
                                native.seconds if native else 0.0))
    if not config.keep:
        shutil.rmtree(scratch, ignore_errors=True)
    return outcomes


def program_job(config, program):
    scratch = os.path.join(config.scratch, "program-" + program.name)

    def once(mtvg, options, factor):
        home = fresh(scratch)
        extra = {"RUN": programs.run_prefix(mtvg, options), "DATA": config.data,
                 "PROGRAMS": os.path.join(TESTS, "programs")}
        return proc.run(program.command(), environment(home, extra), home,
                        program.timeout * factor * config.timeout_scale, scratch)

    native = once(None, [], 1)
    lines = report.check_native(native)
    if native.status != 0 and not lines:
        lines = ["native: " + native.ending()] + \
            (native.out + native.err).decode(errors="replace").splitlines()[-20:]
    if lines:
        return [Outcome("fail", program.name, "native", lines, shlex.join(program.command()))]
    if config.native_only:
        for _ in range(config.repeat - 1):
            lines = report.compare(native, once(None, [], 1), program.compare, "again")
            if lines:
                return [Outcome("fail", program.name, "native, repeated", lines)]
        return [Outcome("pass", program.name, "native", seconds=native.seconds)]
    outcomes = []
    for mode in modes.pick(program.modes, config.modes or ["default"], False, program.name, 0):
        cache = scratch + "-cache"
        options = modes.options(mode, config.seed, cache)
        for _ in range(2 if mode in modes.TWICE else 1):
            ours = once(config.mtvg, options, max(4, 2 * modes.MODES[mode][1]))
            lines = report.compare(native, ours, program.compare)
            if lines:
                break
        shutil.rmtree(cache, ignore_errors=True)
        command = "RUN=%s %s" % (shlex.quote(programs.run_prefix(config.mtvg, options)),
                                 shlex.join(program.command()))
        outcomes.append(Outcome("fail" if lines else "pass", program.name, mode, lines, command,
                                ours.seconds, native.seconds))
    if not config.keep:
        shutil.rmtree(scratch, ignore_errors=True)
    return outcomes


def selected(config, names):
    return [n for n in names if not config.pattern or
            any(re.search(p, n.name) for p in config.pattern)]


def collect(config):
    """[(function, argument)] to run, and the outcomes that are known already."""
    jobs, known = [], []
    if config.suite in ("guests", "all"):
        flags = guests.cpu_flags()
        for guest in selected(config, guests.read_guests(os.path.join(TESTS, "guests"))):
            reason = guests.missing(guest, flags)
            if reason:
                known.append(Outcome("skip", guest.name, "", [reason]))
            else:
                jobs.append((guest_job, guest))
    if config.suite in ("programs", "all"):
        wanted = [p for p in selected(config, programs.read_programs(
            os.path.join(TESTS, "programs"))) if p.quick or not config.quick]
        if config.install:
            packages = sorted({m for p in wanted for m in programs.missing_packages(p)})
            if packages:
                print("installing: " + " ".join(packages), flush=True)
                programs.install(packages)
        for program in wanted:
            lost = programs.missing_packages(program)
            if lost:
                known.append(Outcome("skip", program.name, "", ["package missing: " +
                                                               " ".join(lost)]))
            else:
                jobs.append((program_job, program))
        if any(f is program_job for f, _ in jobs):
            programs.make_data(config.data)
    return jobs, known


def show(outcome, verbose):
    label = outcome.name + (" [%s]" % outcome.mode if outcome.mode else "")
    if outcome.kind == "skip":
        print("skipped: %s: %s" % (label, "; ".join(outcome.lines)))
    elif outcome.kind == "fail":
        print("FAILED:  %s" % label)
        if outcome.command:
            print("    $ " + outcome.command)
        for line in outcome.lines:
            print("    " + line)
    elif verbose:
        print("passed:  %s  %.2f s (native %.2f s)" %
              (label, outcome.seconds, outcome.native_seconds))
    sys.stdout.flush()


def run_jobs(config, jobs, verbose):
    outcomes = []
    pool = concurrent.futures.ProcessPoolExecutor(config.jobs, initializer=proc.worker_init)
    try:
        pending = [pool.submit(f, config, a) for f, a in jobs]
        for future in concurrent.futures.as_completed(pending):
            for outcome in future.result():
                show(outcome, verbose)
                outcomes.append(outcome)
    except KeyboardInterrupt:
        for pid in list(pool._processes):
            os.kill(pid, signal.SIGTERM)
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    pool.shutdown()
    return outcomes


def write_table(path, outcomes):
    """docs/PROGRAMS.md: what was run, which versions, what came out. What the file has behind its first
    "## " heading, written by hand, stays."""
    rest = ""
    if os.path.exists(path):
        with open(path) as f:
            rest = re.search(r"(^## .*)?\Z", f.read(), re.M | re.S).group(0)
    by_name = {}
    for o in outcomes:
        by_name.setdefault(o.name, []).append(o)
    rows = []
    for program in programs.read_programs(os.path.join(TESTS, "programs")):
        found = by_name.get(program.name)
        if not found:
            continue
        versions = ", ".join("%s %s" % (p, programs.installed_version(p) or "missing")
                             for p in program.packages)
        if found[0].kind == "skip":
            result = "not run (package missing)"
        else:
            bad = [o.mode for o in found if o.kind == "fail"]
            result = "fails (%s)" % ", ".join(bad) if bad else \
                "passes (%s)" % ", ".join(o.mode for o in found)
        times = "; ".join("%.1f / %.1f" % (o.native_seconds, o.seconds) for o in found
                          if o.kind == "pass")
        rows.append("| %s | %s | %s | %s | %s |" %
                    (program.name, program.what, versions, result, times))
    with open(path, "w") as f:
        f.write("# Real programs under mtvg\n\n"
                "Each is run natively and under `mtvg --trace-children=yes`; output and exit status "
                "must be equal.\nThe table is written by `tests/run.py programs --table`. Times are "
                "those of the whole script, native\n/ mtvg, in seconds.\n\n"
                "| program | what is run | packages | result | seconds |\n"
                "| --- | --- | --- | --- | --- |\n" + "\n".join(rows) + "\n")
        f.write("\n" + rest if rest else "")


def parse_args():
    p = argparse.ArgumentParser(description="Run the regression tests.")
    p.add_argument("suite", nargs="?", default="all", choices=("guests", "programs", "all"))
    p.add_argument("--quick", action="store_true", help="two modes each, quick programs only")
    p.add_argument("-k", dest="pattern", action="append", metavar="REGEX",
                   help="only programs whose name matches")
    p.add_argument("--mode", action="append", help="only these modes (comma-separated): " +
                   ", ".join(modes.MODES))
    p.add_argument("--mtvg", default=os.path.join(ROOT, "build", "mtvg"), metavar="PATH")
    p.add_argument("--build-dir", default=os.path.join(ROOT, "build", "tests"), metavar="DIR")
    p.add_argument("--native-only", action="store_true", help="do not run mtvg at all")
    p.add_argument("--repeat", type=int, default=1, help="with --native-only: runs to compare")
    p.add_argument("--install", action="store_true", help="install missing Debian packages")
    p.add_argument("--table", metavar="FILE", help="write the programs' results as markdown")
    p.add_argument("--seed", type=int, default=None, help="for --stress and for --quick's choice")
    p.add_argument("-j", dest="jobs", type=int, default=2)
    p.add_argument("--timeout-scale", type=float, default=1.0)
    p.add_argument("--keep", action="store_true", help="keep the runs' folders")
    p.add_argument("--list", action="store_true")
    p.add_argument("-v", "--verbose", action="store_true")
    config = p.parse_args()
    if config.mode:
        config.modes = [m for part in config.mode for m in part.split(",")]
        unknown = [m for m in config.modes if m not in modes.MODES]
        if unknown:
            p.error("unknown mode: " + ", ".join(unknown))
    else:
        config.modes = None
    config.mtvg = os.path.abspath(config.mtvg)
    config.build_dir = os.path.abspath(config.build_dir)
    config.guest_build = os.path.join(config.build_dir, "guests")
    config.data = os.path.join(config.build_dir, "data")
    config.scratch = os.path.join(config.build_dir, "run-%d" % os.getpid())
    if config.seed is None:
        config.seed = random.SystemRandom().randrange(1, 1 << 31)
    return config


def main():
    config = parse_args()
    os.environ["PATH"] = PATH
    jobs, known = collect(config)
    if config.list:
        for _, item in jobs:
            print(item.name)
        return 0
    if not config.native_only and not os.access(config.mtvg, os.X_OK):
        print("no mtvg at %s; build it, or use --mtvg or --native-only" % config.mtvg)
        return 1
    os.makedirs(config.guest_build, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda s, f: (_ for _ in ()).throw(KeyboardInterrupt()))
    print("seed %d" % config.seed, flush=True)
    for outcome in known:
        show(outcome, config.verbose)
    begin = time.monotonic()
    try:
        outcomes = known + run_jobs(config, jobs, config.verbose)
    except KeyboardInterrupt:
        print("interrupted")
        return 130
    finally:
        if not config.keep:
            shutil.rmtree(config.scratch, ignore_errors=True)
    if config.table:
        write_table(config.table, outcomes)
    count = {k: sum(o.kind == k for o in outcomes) for k in ("pass", "fail", "skip")}
    failed = sorted({"%s [%s]" % (o.name, o.mode) for o in outcomes if o.kind == "fail"})
    if failed:
        print("failed: " + ", ".join(failed))
    print("%d passed, %d failed, %d skipped in %.0f s (seed %d)" %
          (count["pass"], count["fail"], count["skip"], time.monotonic() - begin, config.seed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
