# SPDX-License-Identifier: BSD-2-Clause
"""What runs the programs: natively, mtvg in its variants, and other tools; their versions."""
import os
import platform
import re
import shutil
import subprocess


class Peer:
    def __init__(self, name, prefix, version, mtvg=False):
        self.name, self.prefix, self.version, self.mtvg = name, prefix, version, mtvg
        self.judged = mtvg or not prefix  # must write what the first native run wrote


def first_line(command):
    try:
        r = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30,
                           stdin=subprocess.DEVNULL, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = [line for line in r.stdout.decode(errors="replace").splitlines() if line.strip()]
    return lines[0].strip() if lines else ""


def lackey_counts(mtvg):
    """Does the tool count instructions in this build?"""
    r = subprocess.run([mtvg, "--tool=lackey", "/bin/true"], stderr=subprocess.PIPE, check=False)
    return re.search(rb"instr[a-z]*:?\s+[\d,]+", r.stderr) is not None


def commit_of(root, mtvg):
    """Of a build in this tree; what others were made from is not known."""
    if not mtvg.startswith(root + os.sep):
        return ""
    line = first_line(["git", "-C", root, "describe", "--always"])
    return f" ({line})" if line else ""


def available(mtvg, other, options, root):
    """All peers that this machine has, and a list of what is missing and why."""
    version = first_line([mtvg, "--version"]) + commit_of(root, mtvg)
    peers, missing = [Peer("native", [], platform.platform())], []
    peers.append(Peer("none", [mtvg, "-q", "--tool=none"], version, True))
    if lackey_counts(mtvg):
        peers.append(Peer("lackey", [mtvg, "-q", "--tool=lackey"], version, True))
    else:
        missing.append("lackey: does not count in this build")
    if other:
        peers.append(Peer("vs", [other, "-q", "--tool=none"], first_line([other, "--version"]), True))
    for option in options:
        peers.append(Peer("none " + option, [mtvg, "-q", "--tool=none"] + option.split(), version,
                          True))
    for name, program, arguments in (("valgrind", "valgrind", ["-q", "--tool=none"]),
                                     ("qemu", "qemu-x86_64", []), ("drrun", "drrun", ["--"])):
        path = shutil.which(program)
        if path:
            argument = "-version" if name == "drrun" else "--version"
            peers.append(Peer(name, [path] + arguments, first_line([path, argument])))
        else:
            missing.append(f"{name}: no {program} in PATH")
    return peers, missing


def program_versions():
    """What the workloads run, from the package system where there is one."""
    versions = {}
    for package in ("pigz", "bzip2", "xz-utils", "python3.11", "perl-base", "sqlite3", "gcc-12",
                    "openssl", "pbzip2", "zstd", "p7zip-full", "libgomp1", "libc6"):
        line = first_line(["dpkg-query", "-W", "-f", "${Version}", package])
        if line and "no packages" not in line:
            versions[package] = line
    return versions


def machine():
    model = "?"
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        m = re.search(r"^model name\s*: (.*)$", f.read(), re.M)
        model = m[1] if m else model
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    load = os.getloadavg()
    return {"cpu": model, "cores": len(os.sched_getaffinity(0)), "memory_gib": round(pages / 2**30),
            "kernel": platform.release(), "load_at_start": [round(x, 1) for x in load]}
