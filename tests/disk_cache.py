#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Translations on disk (docs/DISKCACHE.md): what is read and written, by the counters; whatever has
happened to the file or the folder, the program must do the same.

K1. A second run reads what the first has made.
K2. A damaged, truncated, foreign or writable file is not used, and is replaced.
K3. Another program in the same place does not get the old one's code.
K4. Several that write at once leave one good file.
K5. A file that shrinks while it is in use, a folder that can't be written to, a limit on the size of
    files: no cache, and nothing else.
K6. What has been read of a file that is not used is not kept in memory.
K7. Without a name it is in ~/.cache, but a home that does not exist is not made.
K8. A run with another option that shapes code does not read it.
K9. The folder is kept small: the oldest files go, and what a writer has left behind.
K10. Children that are forked write nothing."""
import argparse
import os
import random
import re
import resource
import struct
import subprocess
import sys
import tempfile
import time

READ, MADE = "translations read from disk", "translations made"
SOURCE = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static int cmp(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }
int main(int argc, char **argv)
{
    int v[100];
    char c;
    for (int i = 0; i < 100; i++) { v[i] = (i * 37 + VALUE) % 101; }
    if (argc > 1) { puts("ready"); fflush(stdout); if (read(0, &c, 1) != 1) return 2; }
    qsort(v, 100, sizeof(*v), cmp);
    printf("%d %d %s %g\n", VALUE, v[50], strchr("abcdefg" "VALUE", 'e'), strtod("1.25", 0) * v[3]);
    return v[7] & 7;
}
"""


class Failed(Exception):
    pass


class Bench:
    def __init__(self, mtvg, folder):
        self.mtvg, self.folder = mtvg, folder
        self.cache, self.program = os.path.join(folder, "cache"), os.path.join(folder, "program")
        with open(os.path.join(folder, "p.c"), "w") as f:
            f.write(SOURCE)
        for value in (5, 6):
            subprocess.run(["cc", "-O1", f"-DVALUE={value}", "-o", f"{folder}/p{value}",
                            f"{folder}/p.c"], check=True)
        self.use(5)

    def use(self, value):
        with open(f"{self.folder}/p{value}", "rb") as f:
            data = f.read()
        with open(self.program, "wb") as f: # in place
            f.write(data)
        os.chmod(self.program, 0o755)
        self.native = subprocess.run([self.program], stdout=subprocess.PIPE)

    def file(self):
        names = os.listdir(self.cache)
        if len(names) != 1:
            raise Failed(f"files: {names}")
        return os.path.join(self.cache, names[0])

    def start(self, *words, cache=None, options=(), **more):
        return subprocess.Popen(
            [self.mtvg, "--stats", "-v", f"--translation-cache={cache or self.cache}", *options,
             self.program, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)

    def check(self, process, out, err):
        out = out.replace(b"ready\n", b"")
        if process.returncode != self.native.returncode or out != self.native.stdout:
            raise Failed(f"status {process.returncode}, {out}, {err}")
        text = err.decode()
        found = {what: int(n.replace(",", "")) for n, what in
                 re.findall(r"^==\d+== +([\d,]+)  (.*)$", text, re.M)}
        return found[READ], found[MADE], text

    def run(self, **more):
        p = self.start(**more)
        return self.check(p, *p.communicate(timeout=240))


def warm(b):
    read, made, _ = b.run()
    if read != 0 or made < 500:
        raise Failed(f"cold: {read} read, {made} made")
    read, again, _ = b.run()
    if read < made * 0.95 or again > made * 0.05:
        raise Failed(f"warm: {made} made, then {read} read, {again} made")
    return read


def damages(b, rng, least):
    """Whatever is damaged: the same output; a bad head: nothing is read, and the file is replaced."""
    with open(b.file(), "rb") as f:
        good = f.read()

    def with_file(data):
        with open(b.file(), "wb") as f:
            f.write(data)
        return b.run()

    for name, data in (("empty", b""), ("header only", good[:64]), ("half", good[:len(good) // 2]),
                       ("longer", good + b"x"), ("zeroes", bytes(len(good))),
                       ("other magic", b"\1" + good[1:]), ("other sum", good[:8] + b"\1\2\3" + good[11:]),
                       ("other key", good[:48] + bytes([good[48] ^ 1]) + good[49:])):
        read, _, text = with_file(data)
        if read != 0 or "is of no use" not in text:
            raise Failed(f"{name}: {read} read")
        read = b.run()[0]
        if read < least * 0.9:
            raise Failed(f"behind {name}: {read} read")
    for i in range(40):
        data = bytearray(good)
        for _ in range(rng.choice((1, 10, 1000))):
            data[rng.randrange(len(data))] = rng.randrange(256)
        with_file(bytes(data))
    for mode in (0o620, 0o602):
        with_file(good)
        os.chmod(b.file(), mode)
        if b.run()[0] != 0:
            raise Failed(f"mode {mode:o} was read")
        if os.stat(b.file()).st_mode & 0o777 != 0o600:
            raise Failed("it was not replaced")
    os.chmod(b.cache, 0o777)
    if b.run()[0] != 0:
        raise Failed("a folder that all can write to was used")
    os.chmod(b.cache, 0o700)
    if b.run()[0] < least * 0.9:
        raise Failed("the file is of no use any more")


def refused_is_forgotten(b):
    """A header that names as many pages as a file can have, with the sum of other ones."""
    size, page = 64 << 20, 24
    with open(b.file(), "rb") as f:
        good = f.read(4096)
    with open(b.file(), "wb") as f:
        f.write(good[:16] + struct.pack("<QI", size, size // page - 10) + good[28:])
        f.truncate(size)
    os.environ["ASAN_OPTIONS"] = "quarantine_size_mb=1"  # it keeps what has been given back
    p = b.start("wait")
    if p.stdout.readline() != b"ready\n":
        raise Failed("not ready")
    with open(f"/proc/{p.pid}/status") as f:
        kept = int(re.search(r"RssAnon:\s+(\d+)", f.read())[1]) << 10
    if "is of no use" not in b.check(p, *p.communicate(b"x", timeout=240))[2]:
        raise Failed("it was read")
    if kept > size // 2:
        raise Failed(f"{kept} bytes of memory")


def other_program(b):
    for value in (6, 5, 6):
        b.use(value)
        b.run()
        if b.run()[0] == 0:
            raise Failed("nothing is read")


def writers(b):
    os.unlink(b.file())
    several = [b.start() for _ in range(8)]
    for p in several:
        b.check(p, *p.communicate(timeout=240))
    read = b.run()[0]
    if read < 500:
        raise Failed(f"{read} read")
    return b.file()


def shrinking(b):
    for size in (0, 5000, os.path.getsize(b.file()) // 2):
        b.run()
        b.run()
        p = b.start("wait")
        if p.stdout.readline() != b"ready\n":
            raise Failed("not ready")
        os.truncate(b.file(), size)
        b.check(p, *p.communicate(b"x", timeout=240))


def unwritable(b):
    text = b.run(cache=b.program + "/under/a/file")[2]
    if "no translations on disk" not in text:
        raise Failed("it doesn't say so")
    os.unlink(b.file())
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    b.run(preexec_fn=limit)
    if os.listdir(b.cache) != []:
        raise Failed(f"{os.listdir(b.cache)} in spite of a limit")


def home(b):
    env = {k: v for k, v in os.environ.items() if k != "XDG_CACHE_HOME"}
    for name, there in (("none", False), ("home", True)):
        path = os.path.join(b.folder, name)
        if there:
            os.mkdir(path)
        text = b.run(cache="yes", env=dict(env, HOME=path))[2]
        if os.path.isdir(path + "/.cache/mtvg") != there or \
                ("no translations on disk" in text) == there:
            raise Failed(f"{name}: {text}")
        if not there and os.path.exists(path):
            raise Failed("a home has been made")


def other_options(b):
    b.run()
    for option in ("chaining=no", "ib-inline=no", "ib-index=word", "ib-check=jrcxz", "ib-check=loop",
                   "ib-second=no", "max-branches=1", "max-insns=20", "follow-jumps=no", "exits=near",
                   "decoder=full", "enter-inside=no", "fused-jumps=no"):
        if b.run(options=["--" + option])[0] != 0:
            raise Failed(f"read with --{option}")
    for name in os.listdir(b.cache):
        os.unlink(os.path.join(b.cache, name))


def small_folder(b):
    old, young, left, other = (os.path.join(b.cache, name) for name in (
        "0" * 16, "1" * 16, "2" * 16 + ".new-1", "something else"))
    for path, size, age in ((old, 600 << 20, 9000), (young, 1 << 20, 60), (left, 1, 9000),
                            (other, 1, 9999)):
        with open(path, "wb") as f:
            f.truncate(size)
        os.utime(path, (time.time() - age,) * 2)
    b.run()
    there = [os.path.exists(path) for path in (old, young, left, other)]
    if there != [False, True, False, True] or len(os.listdir(b.cache)) != 3:
        raise Failed(f"{there}, {os.listdir(b.cache)}")


def forked(b):
    with tempfile.TemporaryDirectory(dir=b.folder) as cache:
        done = subprocess.run([b.mtvg, "-q", "--translation-cache=" + cache, "/bin/sh", "-c",
                               "(echo $(ls /)) >/dev/null; kill -9 $$"], timeout=240)
        if done.returncode != -9 or os.listdir(cache) != []:
            raise Failed(f"status {done.returncode}, {os.listdir(cache)}")


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--mtvg", required=True)
    p.add_argument("--seed", type=int, default=1)
    args = p.parse_args()
    bad = 0
    with tempfile.TemporaryDirectory(prefix="mtvg-disk-") as folder:
        b = Bench(args.mtvg, folder)
        least = warm(b)
        for what in (lambda b: damages(b, random.Random(args.seed), least), refused_is_forgotten,
                     other_program, writers, shrinking, unwritable, home,
                     other_options, small_folder, forked):
            name = getattr(what, "__name__").replace("<lambda>", "damages")
            try:
                what(b)
                print(f"ok: {name}", flush=True)
            except Failed as e:
                print(f"NOT: {name}: {e}", flush=True)
                bad += 1
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
