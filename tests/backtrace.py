#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""The stack trace of a program that dies of a signal, line by line.

    tests/backtrace.py --mtvg build/mtvg

T1. tests/tools/trace_guest.c, built in several ways, dies in several ways: functions, files and lines are those
    of the source, and the process dies of the signal that it dies of natively.
T2. Where names can't be had (no helper, a broken one, limits, filters, a lost stack) there are addresses and
    files, and the same death.
T3. Valgrind prints the same, where it is installed."""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile

TESTS = os.path.dirname(os.path.abspath(__file__))
SOURCES = {"c": os.path.join(TESTS, "tools", "trace_guest.c"),
           "cc": os.path.join(TESTS, "tools", "trace_guest.cc")}
FLAGS = ["-g", "-pthread", "-fno-optimize-sibling-calls", "-fcf-protection=none"]
FRAME = re.compile(r"^==\d+==    (at|by) 0x([0-9A-F]+): (.*)$", re.M)

BUILDS = {
    "pie": ["-O1"],
    "O2": ["-O2", "-fomit-frame-pointer"],
    "nopie": ["-O1", "-no-pie"],
    "static": ["-O1", "-static"],
    "staticpie": ["-O1", "-static-pie"],
    "dwarf4": ["-O1", "-gdwarf-4", "-gz"],
    "debug_frame": ["-O1", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables"],
    # No tables at all, and no lines: by what the stack looks like.
    "pointers": ["-O1", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables", "-g0",
                 "-fno-omit-frame-pointer"],
}

# What is expected, by argument: function and mark of its line, the innermost first. "main" takes the mark
# main_<argument>. A name that begins with "*" stands for any number of frames in libc.
CASES = {
    "plain": ["crash", "outer", "outer:deeper", "main"],
    "inlined": ["inner_inlined", "outer_inlined", "inlining", "main"],
    "qsort": ["crash", "compare", "*", "sorts", "main"],
    "handler": ["crash", "on_trap", "<signal>", "trapped", "with_handler", "main"],
    "altstack": ["crash", "on_trap", "<signal>", "trapped", "with_handler", "main"],
    "assert": ["*", "main"],
    "thread": ["crash", "in_thread", "*"],
    "zero": ["0x0", "calls", "main"],
    "data": ["???", "calls", "main"],
    "aligned": ["crash", "aligned", "main"],
    "noreturn": ["crash", "never_returns", "ends_in_call", "main"],
    "generated": ["crash", "???", "generated", "main"],
    "generated_leaf": ["???", "generated_leaf", "main"],
    "rust": ["crash", "core::fmt::write:rust_legacy", "mycrate::foo:rust_v0", "main"],
}
CXX_CASES = {
    "template": [r"space::Box<std::vector<int, std::allocator<int> >, 7>::store\(.*const&\)@store", "*",
                 r"space::apply\(std::vector<int.*>&, std::function<void \(int\)> const&\)@apply", "*",
                 r"main"],
    "throw": ["*", r"space::thrower\(.*\)@thrower", r"main@main_throw"],
}
# Frames are known, names need not be.
HARD = ["circle", "lost", "lost_high", "filter", "descriptors", "closed", "memory", "processes", "vfork",
        "watched"]


def marks(source):
    with open(source) as f:
        return {m: n for n, line in enumerate(f, 1) for m in re.findall(r"@(\w+)", line)}


def run(words, timeout=240):
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=timeout)
    return done.returncode, done.stderr.decode(errors="replace")


def pattern(case, frame, lines, file, named_only):
    """A regular expression for a frame's text behind its address."""
    if frame == "*":
        return r"(?:\S.* \((?:in /\S*|[\w.+-]+\.(?:c|S|h|cc|tcc):\d+)\)\n)*"
    if frame == "<signal>":
        return r"<signal handler called>\n"
    if frame == "0x0":
        return r"\?\?\?\n"
    if frame == "???":
        return r"\?\?\?(?: \(in /\S+\))?\n"
    name, _, mark = frame.rpartition(":") if ":" in frame else (frame, "", "")
    mark = mark or (name if name != "main" else "main_" + case)
    if named_only:
        return re.escape(name) + r" \(in /\S+\)\n"
    return re.escape(name) + r" \(%s:%d\)\n" % (re.escape(os.path.basename(file)), lines[mark])


def cxx_pattern(frame, lines, file):
    if frame == "*":
        return pattern("", "*", lines, file, False)
    name, _, mark = frame.partition("@")
    line = str(lines[mark]) if mark else r"\d+"
    return name + r" \(%s:%s\)\n" % (re.escape(os.path.basename(file)), line)


class Checker:
    def __init__(self, mtvg):
        self.mtvg, self.failed, self.passed = mtvg, 0, 0

    def say(self, ok, what, text=""):
        if ok:
            self.passed += 1
        else:
            self.failed += 1
            print("FAILED: %s\n%s" % (what, text), flush=True)

    def trace(self, program, how, options=(), mtvg=None):
        """Exit status and trace text under mtvg; checks the status against the native one."""
        native, _ = run([program, how])
        status, text = run([mtvg or self.mtvg, *options, program, how])
        self.say(status == native and "Process terminating with default action" in text,
                 "%s %s: status %d, natively %d" % (program, how, status, native), text)
        frames = FRAME.findall(text)
        words = ["at"] + ["by"] * (len(frames) - 1)
        self.say([f[0] for f in frames] == words, "%s %s: at, by, ..." % (program, how), text)
        return "".join(f[2] + "\n" for f in frames), text

    def check(self, program, how, want, options=()):
        got, text = self.trace(program, how, options)
        self.say(re.fullmatch(want, got) is not None,
                 "%s %s %s: expected\n%s" % (" ".join(options), program, how, want), text)


def compile_all(folder):
    built = {}
    for name, flags in BUILDS.items():
        built[name] = os.path.join(folder, "c_" + name)
        subprocess.run(["gcc", *FLAGS, *flags, SOURCES["c"], "-o", built[name]], check=True)
    if shutil.which("clang"):
        built["clang"] = os.path.join(folder, "c_clang")
        subprocess.run(["clang", *FLAGS[:3], "-O1", SOURCES["c"], "-o", built["clang"]], check=True,
                       stderr=subprocess.DEVNULL)
    # The same with its debug information in a file of its own.
    built["debuglink"] = os.path.join(folder, "c_debuglink")
    debug = built["debuglink"] + ".debug"
    shutil.copy(built["pie"], built["debuglink"])
    subprocess.run(["objcopy", "--only-keep-debug", built["debuglink"], debug], check=True)
    subprocess.run(["objcopy", "--strip-all", "--add-gnu-debuglink=" + debug, built["debuglink"]],
                   check=True)
    stripped = os.path.join(folder, "c_stripped")
    subprocess.run(["objcopy", "--strip-all", built["pie"], stripped], check=True)
    cxx = os.path.join(folder, "cc_pie")
    subprocess.run(["g++", *FLAGS, "-O1", SOURCES["cc"], "-o", cxx], check=True)
    return built, stripped, cxx


def check_traces(c, built, cxx):
    lines = marks(SOURCES["c"])
    for build, program in built.items():
        for how, frames in CASES.items():
            if build == "pointers" and how in ("inlined", "aligned"):
                continue # nothing tells of inlining, and where a frame is that was aligned
            want = "".join(pattern(how, f, lines, SOURCES["c"], build == "pointers") for f in frames)
            c.check(program, how, want)
    lines = marks(SOURCES["cc"])
    for how, frames in CXX_CASES.items():
        c.check(cxx, how, "".join(cxx_pattern(f, lines, SOURCES["cc"]) for f in frames))


def check_modes(c, program):
    lines = marks(SOURCES["c"])
    for options in (["--parallel=no"], ["--max-insns=1"], ["--return-stack=yes"], ["--ib-inline=no"]):
        for how in ("plain", "handler", "zero", "qsort"):
            c.check(program, how, "".join(pattern(how, f, lines, SOURCES["c"], False)
                                          for f in CASES[how]), options)


def check_depth(c, program):
    lines = marks(SOURCES["c"])
    deep = r"endless \(trace_guest\.c:(?:%d|%d)\)\n" % (lines["endless_touch"], lines["endless_call"])
    for options, n in (([], 12), (["--num-callers=1"], 1), (["--num-callers=500"], 500)):
        c.check(program, "endless", "(?:%s){%d}" % (deep, n), options)


def check_hard(c, folder, program, stripped):
    for how in HARD:
        got, text = c.trace(program, how) if how != "vfork" else ("", "")
        if how == "vfork":
            native, _ = run([program, how])
            status, text = run([c.mtvg, program, how])
            c.say(status == native, "vfork: status %d, natively %d" % (status, native), text)
            got = "".join(f[2] + "\n" for f in FRAME.findall(text))
        if how in ("closed", "vfork", "watched", "memory"):
            c.say(got.startswith("crash (trace_guest.c:"), how + ": has names", text)
        elif how in ("filter", "descriptors"):
            c.say(re.match(r"(\?\?\?|crash) \((in /|trace_guest)", got) is not None, how + ": has files", text)
        c.say("SIGCHLD" not in text and "a child" not in text, how + ": nobody sees a child", text)
    got, text = c.trace(stripped, "plain")
    c.say(re.fullmatch(r"(\?\?\? \(in /\S+\)\n){4}\(below main\) \(.*\)\n", got) is not None, "stripped",
          text)
    # Helpers that are missing, crash, say nothing, say nonsense, or half of it.
    copy = os.path.join(folder, "mtvg")
    helper = os.path.join(folder, "mtvg-symbols")
    real = os.path.join(os.path.dirname(os.path.abspath(c.mtvg)), "mtvg-symbols")
    shutil.copy(c.mtvg, copy)
    for script in (None, "kill -SEGV $$", "exit 0", "echo nonsense; yes | head -c 5000000",
                   "cat >/dev/null; head -c 5000000 /dev/urandom", "printf 'half\\thalf.c:1\\n'",
                   real + " | head -c 30"):
        if script is not None:
            with open(helper, "w") as f:
                f.write("#!/bin/sh\nPATH=/usr/bin:/bin\n" + script + "\n")
            os.chmod(helper, 0o755)
        _, text = c.trace(program, "plain", mtvg=copy)
        c.say(len(FRAME.findall(text)) >= 4, "helper %r: frames" % script, text)


def check_still(c, folder, program):
    """While names are looked for, no other thread of the guest runs: the helper looks twice."""
    counter, seen = os.path.join(folder, "counter"), os.path.join(folder, "seen")
    with open(counter, "wb") as f:
        f.write(bytes(4096))
    copy, helper = os.path.join(folder, "mtvg"), os.path.join(folder, "mtvg-symbols")
    shutil.copy(c.mtvg, copy)
    look = "od -An -tu8 -N8 %s\n" % counter
    with open(helper, "w") as f:
        f.write("#!/bin/sh\nPATH=/usr/bin:/bin\n{ %ssleep 0.2\n%s} >%s\n" % (look, look, seen))
    os.chmod(helper, 0o755)
    for options in ([], ["--parallel=no"]):
        _, text = run([copy, *options, program, "counted", counter])
        with open(seen) as f:
            first, second = f.read().split()
        c.say(first == second, "others run on: %s, %s" % (first, second), text)


def check_unlinked(c, folder, program):
    copy = os.path.join(folder, "c_unlinked")
    shutil.copy(program, copy)
    native, _ = run([copy, "unlinked"])
    shutil.copy(program, copy)
    status, text = run([c.mtvg, copy, "unlinked"])
    got = "".join(f[2] + "\n" for f in FRAME.findall(text))
    c.say(status == native and got.startswith("??? (in " + copy), "a program without a file", text)


def check_corrupt(c, folder, program):
    """Tables and debug information with bytes changed: any trace, but the same death."""
    with open(program, "rb") as f:
        data = f.read()
    sections = {}
    text = subprocess.run(["readelf", "-SW", program], check=True, stdout=subprocess.PIPE,
                          text=True).stdout
    for name, at, size in re.findall(r"\] (\S+) +\S+ +[0-9a-f]+ ([0-9a-f]+) ([0-9a-f]+)", text):
        sections[name] = (int(at, 16), int(size, 16))
    for seed, name in enumerate([".eh_frame", ".eh_frame_hdr", ".debug_info", ".debug_line", ".debug_abbrev",
                                 ".eh_frame", ".debug_info", ".symtab", ".strtab"]):
        at, size = sections[name]
        changed = bytearray(data)
        state = seed + 1
        for _ in range(max(8, size // 16)):
            state = (state * 6364136223846793005 + 1442695040888963407) % 2 ** 64
            changed[at + (state >> 33) % size] = state >> 17 & 0xff
        path = os.path.join(folder, "corrupt%d" % seed)
        with open(path, "wb") as f:
            f.write(changed)
        os.chmod(path, 0o755)
        c.trace(path, "plain")


def check_valgrind(c, program):
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        return
    # Not "zero" and "generated_leaf": Valgrind goes by a frame pointer that isn't one.
    for how in ("plain", "aligned", "noreturn", "generated"):
        _, theirs = run([valgrind, "--tool=none", program, how])
        want = "".join(f[2] + "\n" for f in FRAME.findall(theirs))
        got, text = c.trace(program, how)
        c.say(got == want, "valgrind's trace of %s" % how, theirs + text)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--mtvg", required=True)
    args = p.parse_args()
    c = Checker(os.path.abspath(args.mtvg))
    with tempfile.TemporaryDirectory(prefix="mtvg-backtrace-") as folder:
        built, stripped, cxx = compile_all(folder)
        check_traces(c, built, cxx)
        check_modes(c, built["pie"])
        check_depth(c, built["O2"])
        check_hard(c, folder, built["pie"], stripped)
        check_still(c, folder, built["pie"])
        check_unlinked(c, folder, built["pie"])
        check_corrupt(c, folder, built["pie"])
        check_valgrind(c, built["pie"])
    print("%d passed, %d failed" % (c.passed, c.failed))
    return 1 if c.failed else 0


if __name__ == "__main__":
    sys.exit(main())
