# SPDX-License-Identifier: BSD-2-Clause
"""Guest programs: tests/guests/*.c, *.cc, *.S; directives, building, running.

Directives stand in the first 60 lines of a source, in comments:

    guest: key=value ...             for every build of it
    variant: NAME key=value ...      one more build (with no variant line there is one, unnamed)

Keys (a value lasts until the next key or the line's or comment's end):
    cflags, libs    for the compiler; every build starts with -O1 -g -pthread
    cc              another compiler (musl-gcc, clang, ...); the build is skipped if it is missing
    gen             script under tests/gen and its arguments; its output is assembled and linked in
    so              sources in tests/guests/lib built as shared objects into $GUEST_DIR/lib
    bin             sources in tests/guests/lib built as programs into $GUEST_DIR/lib
    args, stdin     for the run; stdin is a file under tests
    env             K=V,K=V
    modes           all, or a list of modes, or a list of -mode (all but these)
    timeout         seconds for the native run (20)
    needs           CPU flags as in /proc/cpuinfo, or cmd:NAME, or root, or path:FILE
    compare         all, stdout, status
    skip-native     reason: not run natively; under mtvg it must exit 0 and print no GUEST-FAILED
    skip            reason: not run at all
"""
import hashlib
import os
import re
import shlex
import shutil
import subprocess

KEYS = ("cflags", "libs", "cc", "gen", "so", "bin", "args", "stdin", "env", "modes", "timeout",
        "needs", "compare", "skip-native", "skip")
KEY = re.compile(r"(?:^|\s)(%s)=" % "|".join(KEYS))
BASE_FLAGS = ["-O1", "-g", "-pthread"]


class Guest:
    """One build of one source."""

    def __init__(self, source, variant, keys):
        self.source, self.variant, self.keys = source, variant, keys
        stem = os.path.splitext(os.path.basename(source))[0]
        self.name = stem + ("." + variant if variant else "")
        self.timeout = float(keys.get("timeout", 20))
        self.compare = keys.get("compare", "all")

    def words(self, key):
        return shlex.split(self.keys.get(key, ""))


def _parse(text):
    keys, marks = {}, list(KEY.finditer(text))
    for i, mark in enumerate(marks):
        end = marks[i + 1].start() if i + 1 < len(marks) else len(text)
        keys[mark.group(1)] = text[mark.end():end].strip()
    return keys


def read_guests(folder):
    guests = []
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if os.path.splitext(name)[1] not in (".c", ".cc", ".S") or not os.path.isfile(path):
            continue
        common, variants = {}, []
        with open(path, errors="replace") as f:
            for _, line in zip(range(60), f):
                line = line.split("*/")[0].strip()
                found = re.match(r"^(?:/\*|\*|//|#)?\s*(guest|variant):\s*(.*)$", line)
                if not found and re.search(r"[\w.\]] (guest|variant): *(\w+=|\w+ \w+=|$)", line):
                    raise ValueError(f"{path}: {line!r} must stand on a line of its own")
                if found and found.group(1) == "guest":
                    common.update(_parse(found.group(2)))
                elif found:
                    words = found.group(2).split(None, 1)
                    variants.append((words[0], _parse(words[1] if len(words) > 1 else "")))
        for variant, keys in variants or [("", {})]:
            guests.append(Guest(path, variant, {**common, **keys}))
    return guests


def cpu_flags():
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("flags"):
                return set(line.split(":", 1)[1].split())
    return set()


def missing(guest, flags):
    """Why this guest cannot be run here, or ''."""
    if "skip" in guest.keys:
        return guest.keys["skip"] or "skipped by its source"
    for need in re.split(r"[,\s]+", guest.keys.get("needs", "")):
        if need.startswith("cmd:"):
            if not shutil.which(need[4:]):
                return "command missing: " + need[4:]
        elif need.startswith("path:"):
            if not os.path.exists(need[5:]):
                return "file missing: " + need[5:]
        elif need == "root":
            if os.geteuid() != 0:
                return "needs root"
        elif need and need not in flags:
            return "CPU flag missing: " + need
    compiler = guest.keys.get("cc")
    if compiler and not shutil.which(shlex.split(compiler)[0]):
        return "compiler missing: " + compiler
    return ""


class Builder:
    def __init__(self, tests, build):
        self.tests, self.build = tests, build
        self.lib = os.path.join(build, "lib")
        os.makedirs(self.lib, exist_ok=True)

    def binary(self, guest):
        return os.path.join(self.build, guest.name)

    def _headers(self):
        folder = os.path.join(self.tests, "guests")
        return [os.path.join(folder, n) for n in os.listdir(folder) if n.endswith(".h")]

    def _stale(self, output, inputs, command):
        """Make's rule plus the command itself; the stamp is written after a good build."""
        stamp = output + ".stamp"
        digest = hashlib.sha1(" ".join(command).encode()).hexdigest()
        if not os.path.exists(output) or not os.path.exists(stamp):
            return digest
        with open(stamp) as f:
            if f.read() != digest:
                return digest
        born = os.path.getmtime(output)
        return digest if any(os.path.getmtime(i) > born for i in inputs) else None

    def _make(self, output, inputs, command):
        digest = self._stale(output, inputs, command)
        if digest is None:
            return ""
        partial = "%s.%d.tmp" % (output, os.getpid())
        done = subprocess.run([partial if w == "@OUT@" else w for w in command],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        if done.returncode != 0:
            if os.path.exists(partial):
                os.unlink(partial)
            return done.stdout.decode(errors="replace") + "\nfailed: " + shlex.join(command)
        os.replace(partial, output)
        with open(output + ".stamp", "w") as f:
            f.write(digest)
        return ""

    def _helper(self, name, shared):
        source = os.path.join(self.tests, "guests", "lib", name)
        output = os.path.join(self.lib, os.path.splitext(name)[0] + (".so" if shared else ""))
        flags = ["-shared", "-fPIC"] if shared else []
        command = ["gcc"] + BASE_FLAGS + flags + ["-o", "@OUT@", source]
        return self._make(output, [source] + self._headers(), command)

    def make(self, guest):
        """Build everything the guest needs; returns the compiler's complaint or ''."""
        for key in ("so", "bin"):
            for name in guest.words(key):
                error = self._helper(name, key == "so")
                if error:
                    return error
        inputs = [guest.source] + self._headers()
        sources = [guest.source]
        if "gen" in guest.keys:
            words = guest.words("gen")
            script = os.path.join(self.tests, "gen", words[0])
            generated = os.path.join(self.build, guest.name + ".gen.S")
            error = self._make(generated, [script],
                               ["python3", script] + words[1:] + ["-o", "@OUT@"])
            if error:
                return error
            sources.append(generated)
            inputs.append(generated)
        compiler = guest.words("cc") or (["g++"] if guest.source.endswith(".cc") else ["gcc"])
        command = compiler + BASE_FLAGS + guest.words("cflags") + \
            ["-I", os.path.join(self.tests, "guests"), "-o", "@OUT@"] + sources + \
            guest.words("libs")
        return self._make(self.binary(guest), inputs, command)
