#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Stress for minutes or hours: ./run soak --seconds N or --hours N [--seed N].

Again and again one of these, with a seed that is printed, as is the command that repeats it:
    tests/guests/thr_soak.c   2 to 500 threads do everything to each other: mutexes, condition variables,
                              barriers, rwlocks, spin locks, semaphores, lock-free stacks, futexes with
                              timeouts, signals, forks, threads that come and go, code written by one and
                              run by others, dlopen; in all modes and under storms of stops and flushes
    stress_world              the world lock and grace periods alone
    tests/run.py              a guest, or now and then a real program, in one mode
Exit status 0 if nothing failed; the last line says how many passed."""
import argparse
import os
import random
import shlex
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from harness import guests, modes, proc, programs  # noqa: E402

STORMS = ([], ["--stress=world"], ["--stress=flush"], ["--stress=flush,world,preempt,regs"],
          ["--stress=preempt", "--code-cache-size=1M"], ["--code-cache-size=512K"], ["--chaining=no"],
          ["--parallel=no"], ["--parallel=no", "--scheduling-quantum=50"],
          ["--parallel=no", "--sched-seed={seed}"], ["--tool=lackey", "--log-file=/dev/null"],
          ["--max-insns=1"], ["--stress=gs"], ["--translation-cache={cache}"],
          ["--translation-cache={cache}", "--stress=flush,world", "--code-cache-size=2M"])
TIME_LIMIT = 600    # for one run; only a hang takes that long


def some_threads(rng):
    """2 to 500, as many small numbers as large ones."""
    return int(2 * 250 ** rng.random())


def soak_job(args, rng, seed):
    cache = os.path.join(args.build_dir, "soak-translations")
    options = [o.format(seed=seed, cache=cache) for o in rng.choice(STORMS)]
    if any(o.startswith("--stress") for o in options):
        options.append(f"--stress-seed={seed}")
    threads = some_threads(rng)
    if any(o.startswith("--sched-seed") for o in options):
        threads = min(threads, 24)  # each choice looks at all threads (docs/CONCURRENCY.md)
    slow = "--parallel=no" in options or "--tool=lackey" in options or "--max-insns=1" in options
    rounds = max(1, (200 if slow else 600) // threads)
    words = [str(seed), str(threads), str(rounds)]
    return [args.mtvg, "-q"] + options + [args.soak] + words, f"{threads} threads, {rounds} rounds: right\n"


def world_job(args, rng, seed):
    mode = rng.choice(("parallel", "parallel", "seq", "unfair", "seeded"))
    return [os.path.join(args.build_dir, "stress_world"), f"--seed={seed}", f"--mode={mode}", "--ms=3000",
            f"--threads={rng.choice((2, 4, 8, 32, 100))}"], None


def suite_job(args, rng, seed):
    if rng.random() < 0.2:
        suite, name = "programs", rng.choice(args.programs)
    else:
        suite, name = "guests", rng.choice(args.guests)
    mode = rng.choice(list(modes.MODES))
    return ["/usr/bin/python3", os.path.join(HERE, "run.py"), suite, "--mtvg", args.mtvg, "--build-dir",
            args.build_dir, "-j1", "--timeout-scale", "5", "--seed", str(seed), "--mode", mode,
            "-k", f"^{name}$"], None


JOBS = ((soak_job, 10), (world_job, 1), (suite_job, 5))


def run(command, env):
    """(status or None after a hang, output)"""
    p = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, env=env, start_new_session=True, text=True,
                         errors="replace")
    done = proc.communicate(p, TIME_LIMIT)
    return (p.returncode, done[0]) if done else (None, "took too long")


def build(args):
    """The guest, and its library."""
    folder = os.path.join(args.build_dir, "guests")
    builder = guests.Builder(HERE, folder)
    guest = next(g for g in guests.read_guests(os.path.join(HERE, "guests")) if g.name == "thr_soak.two")
    error = builder.make(guest)
    if error:
        sys.exit(error)
    flags = guests.cpu_flags()
    args.soak = builder.binary(guest)
    args.guests = [g.name.replace(".", r"\.") for g in guests.read_guests(os.path.join(HERE, "guests"))
                   if not guests.missing(g, flags)]
    args.programs = [p.name for p in programs.read_programs(os.path.join(HERE, "programs"))
                     if p.quick and not programs.missing_packages(p)]
    return dict(os.environ, GUEST_DIR=folder)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--mtvg", required=True)
    p.add_argument("--build-dir", required=True, help="where the guests are built")
    p.add_argument("--seconds", type=float, default=0)
    p.add_argument("--hours", type=float, default=0)
    p.add_argument("--seed", type=int, default=None, help="of the choice of everything")
    args = p.parse_args()
    proc.die_by_term()
    args.mtvg, args.build_dir = os.path.abspath(args.mtvg), os.path.abspath(args.build_dir)
    env = build(args)
    if args.seed is None:
        args.seed = random.SystemRandom().randrange(1 << 31)
    print(f"soak seed {args.seed}", flush=True)
    rng = random.Random(args.seed)
    begin, passed, failed = time.monotonic(), 0, 0
    while time.monotonic() - begin < args.seconds + 3600 * args.hours:
        seed = rng.randrange(1, 1 << 31)
        job = rng.choices([j for j, _ in JOBS], [w for _, w in JOBS])[0]
        command, wanted = job(args, rng, seed)
        status, out = run(command, env)
        ok = status == 0 and wanted in (None, out.split("\n", 1)[-1] if "stress seed" in out else out)
        passed, failed = passed + ok, failed + (not ok)
        print(f"{time.monotonic() - begin:8.0f} s  {'ok' if ok else 'FAILED'}  {shlex.join(command)}",
              flush=True)
        if not ok:
            print(f"status {status}\n{out[-6000:]}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
