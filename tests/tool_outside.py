#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Tools outside of the tree: what is installed is enough to build them, and they work.

    tests/tool_outside.py --build BUILD

The example of docs/TOOLS.md, built as it says there; and tools/outside.c. What is installed names functions in
stack traces, and has a manual page with all options and the documents."""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
DOCS = os.path.join(os.path.dirname(HERE), "docs", "TOOLS.md")
GUEST = """
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/wait.h>
static void handler(int sig) {}
int main(int argc, char **argv)
{
    long (*volatile call)(long) = labs;
    signal(SIGUSR1, handler);
    raise(SIGUSR1);
    if (fork() == 0) {
        _exit(3);
    }
    wait(NULL);
    printf("%ld\\n", call(-argc));
    return 7;
}
"""
CRASH = "static void crash(void) { __builtin_trap(); }\nint main(void) { crash(); return 0; }\n"
TOLD = ["wrong 0"] + [what + " 1" for what in
                      ("dead", "accesses", "counts", "threads", "maps", "calls", "signals", "replaced")]


def put(path, text):
    with open(path, "w") as f:
        f.write(text)


def example():
    """(source, shell commands) of docs/TOOLS.md."""
    with open(DOCS) as f:
        text = f.read()
    return (re.search(r"^```c\n(.*?)^```", text, re.M | re.S).group(1),
            re.search(r"^```sh\n(.*?)^```", text, re.M | re.S).group(1))


def check(ok, what, detail=""):
    print("%s %s" % ("pass" if ok else "fail", what))
    if not ok:
        print("    " + detail.replace("\n", "\n    "))
    return bool(ok)


def check_installed(prefix, folder, run):
    put(os.path.join(folder, "crash.c"), CRASH)
    done = run("cc -g -O0 -o crash crash.c && mtvg ./crash")
    ok = check(re.search(r"at 0x[0-9A-F]+: crash \(crash\.c:1\)", done.stderr), "names", done.stderr)
    with open(os.path.join(prefix, "share", "man", "man1", "mtvg.1")) as f:
        page = f.read().replace("\\-", "-")
    options = re.findall(r"^    (--[a-z0-9-]+=?)", run("mtvg --help").stdout, re.M)
    missing = [o for o in options if not re.search(r"^\.BI? %s( |$)" % o, page, re.M)]
    ok &= check(len(options) > 20 and not missing, "manual page", " ".join(missing))
    if shutil.which("groff"):
        done = run("groff -man -Tascii -ww -z %s/share/man/man1/mtvg.1" % prefix)
        ok &= check(done.returncode == 0 and not done.stderr, "groff", done.stderr)
    docs = {os.path.relpath(os.path.join(d, n), prefix) for d, _, names in os.walk(prefix) for n in names}
    ok &= check({"share/doc/mtvg/README.md", "share/doc/mtvg/docs/TOOLS.md"} <= docs, "documents",
                "\n".join(sorted(docs)))
    return ok


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--build", required=True)
    args = p.parse_args()
    with tempfile.TemporaryDirectory(prefix="mtvg-tool-") as folder:
        prefix = os.path.join(folder, "usr")
        subprocess.run(["cmake", "--install", args.build, "--prefix", prefix], check=True,
                       stdout=subprocess.DEVNULL)
        pc = next(d for d, _, files in os.walk(prefix) if "mtvg.pc" in files)
        env = dict(os.environ, PKG_CONFIG_PATH=pc, PATH=os.path.join(prefix, "bin") + ":" + os.environ["PATH"])

        def run(command):
            return subprocess.run(command, shell=True, cwd=folder, env=env, text=True, timeout=120,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)

        source, commands = example()
        put(os.path.join(folder, "calls.c"), source)
        done = run("set -e\n" + commands)
        ok = check(done.returncode == 0 and re.search(r"==\d+== [\d]+ instructions, [\d]+ calls", done.stderr),
                   "example", done.stdout + done.stderr)
        put(os.path.join(folder, "guest.c"), GUEST)
        shutil.copy(os.path.join(HERE, "tools", "outside.c"), folder)
        done = run("set -e; cc -o guest guest.c\n"
                   "cc -O2 -Wall -Werror -o outside outside.c $(pkg-config --cflags --libs mtvg)")
        ok &= check(done.returncode == 0, "build", done.stderr)
        for options in ("", "--parallel=no", "--max-insns=1", "--return-stack=yes",
                        "--stress=flush,regs,preempt,world --stress-seed=1"):
            done = run("./outside %s ./guest" % options)
            told = [line[9:] for line in done.stderr.splitlines() if line.startswith("outside: ")]
            ok &= check(done.returncode == 7 and done.stdout == "1\n" and told == ["forked"] + TOLD,
                        "outside " + options, done.stdout + done.stderr)
        done = run("mtvg --version; ./outside --tool=lackey /bin/true")
        ok &= check(done.returncode == 0 and "Counted by lackey" in done.stderr, "--tool=lackey", done.stderr)
        ok &= check_installed(prefix, folder, run)
    return not ok


if __name__ == "__main__":
    sys.exit(main())
