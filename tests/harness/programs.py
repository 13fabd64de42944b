# SPDX-License-Identifier: BSD-2-Clause
"""Real programs: tests/programs/*.sh (bash) and *.py, each run natively and under mtvg.

A script runs the programs that it tests as `$RUN program args`; RUN is empty or a command that
starts mtvg. It runs in an empty folder, finds fixed input in $DATA and its helpers in $PROGRAMS,
prints only what must be equal in both runs, and stops everything that it started.

Directives, in the first 20 lines:
    # program: key=value ...      keys: packages, quick (yes), timeout, modes, what, needs, compare
"""
import os
import random
import re
import shlex
import subprocess
import zlib

KEYS = ("packages", "quick", "timeout", "modes", "what", "needs", "compare")
KEY = re.compile(r"(?:^|\s)(%s)=" % "|".join(KEYS))


class Program:
    def __init__(self, source, keys):
        self.source = source
        self.name = os.path.splitext(os.path.basename(source))[0]
        self.packages = [p for p in re.split(r"[,\s]+", keys.get("packages", "")) if p]
        self.quick = keys.get("quick") == "yes"
        self.timeout = float(keys.get("timeout", 60))
        self.modes = keys.get("modes", "all")
        self.what = keys.get("what", "")
        self.compare = keys.get("compare", "all")

    def command(self):
        return ["/usr/bin/python3" if self.source.endswith(".py") else "bash", self.source]


def read_programs(folder):
    programs = []
    for name in sorted(os.listdir(folder)):
        if not name.endswith((".sh", ".py")):
            continue
        path, keys = os.path.join(folder, name), {}
        with open(path) as f:
            for _, line in zip(range(20), f):
                if line.startswith("# program:"):
                    text = line[len("# program:"):].strip()
                    marks = list(KEY.finditer(text))
                    for i, mark in enumerate(marks):
                        end = marks[i + 1].start() if i + 1 < len(marks) else len(text)
                        keys[mark.group(1)] = text[mark.end():end].strip()
        if keys:
            programs.append(Program(path, keys))
    return programs


def installed_version(package):
    done = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", package],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    words = done.stdout.split()
    return words[1] if done.returncode == 0 and words[:1] == ["installed"] else None


def missing_packages(program):
    return [p for p in program.packages if not installed_version(p)]


def install(packages):
    """With the services left stopped (policy-rc.d's own escape: runlevel 1)."""
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive", RUNLEVEL="1")
    root = [] if os.geteuid() == 0 else ["sudo", "-n", "-E"]
    for command in (["update", "-qq"], ["install", "-y", "--no-install-recommends"] + packages):
        try:
            subprocess.run(root + ["apt-get"] + command, env=env, stdin=subprocess.DEVNULL,
                           stdout=subprocess.DEVNULL, check=False)
        except OSError:
            return          # no apt-get or no sudo: what is missing is skipped


def make_data(folder):
    """Input that is the same everywhere: text, noise, a small tree of files."""
    done = os.path.join(folder, "done")
    if os.path.exists(done):
        return
    os.makedirs(os.path.join(folder, "tree"), exist_ok=True)
    rng = random.Random(1)
    words = ["".join(rng.choice("etaoinshrdlu") for _ in range(rng.randint(2, 9)))
             for _ in range(2000)]
    lines = [" ".join(rng.choice(words) for _ in range(rng.randint(3, 14))) for _ in range(30000)]
    with open(os.path.join(folder, "text"), "w") as f:
        f.write("\n".join(lines) + "\n")
    with open(os.path.join(folder, "noise"), "wb") as f:
        f.write(rng.randbytes(1 << 20))
    for i in range(60):
        sub = os.path.join(folder, "tree", "d%d" % (i % 7))
        os.makedirs(sub, exist_ok=True)
        path = os.path.join(sub, "file%d.txt" % i)
        with open(path, "w") as f:
            f.write("\n".join(lines[i * 20:i * 20 + 20]) + "\n")
        os.utime(path, (1000000000 + i, 1000000000 + i))
    with open(done, "w") as f:
        f.write(str(zlib.crc32("\n".join(lines).encode())))


def run_prefix(mtvg, options):
    if not mtvg:
        return ""
    return shlex.join([mtvg, "-q", "--trace-children=yes"] + options)
