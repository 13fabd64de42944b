# SPDX-License-Identifier: BSD-2-Clause
"""Runs one command once: times, memory, a hash of what it wrote."""
import hashlib
import os
import re
import signal
import subprocess
import threading
import time

RESULT = re.compile(rb"^(?:result|slice): .*\n", re.M)
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
               "LC_ALL": "C", "HOME": "/nonexistent"}


class Sample:
    """wall and cpu in seconds, rss in KiB; value_*: what the program measured itself."""
    def __init__(self, wall, cpu, rss, status, out, err):
        self.wall, self.cpu, self.rss, self.status = wall, cpu, rss, status
        self.out, self.err = out, err
        self.digest = hashlib.sha256(RESULT.sub(b"", out)).hexdigest()
        m = re.search(rb"^result: (\S+) (\S+)$", out, re.M)
        self.value_wall, self.value_cpu = (float(m[1]), float(m[2])) if m else (None, None)


def _kill_group(process, late):
    late.append(True)
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def once(command, stdin=None, env=None, timeout=300, cwd=None):
    """A Sample; its status is the exit status, or "timeout"."""
    out_path, err_path = os.path.join(cwd, ".out"), os.path.join(cwd, ".err")
    with open(stdin or os.devnull, "rb") as source, open(out_path, "wb") as out, \
            open(err_path, "wb") as err:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdin=source, stdout=out, stderr=err, cwd=cwd,
                                   env={**ENVIRONMENT, **(env or {})}, start_new_session=True)
        late = []
        timer = threading.Timer(timeout, _kill_group, (process, late))
        timer.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        timer.cancel()
        process.returncode = status = os.waitstatus_to_exitcode(status)
    with open(out_path, "rb") as out, open(err_path, "rb") as err:
        return Sample(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss,
                      "timeout" if late else status, out.read(), err.read())


def digest_file(path):
    """Hash of a file that the program wrote, which is then removed; "-" if there is none."""
    try:
        with open(path, "rb") as f:
            digest = hashlib.sha256(f.read()).hexdigest()
        os.remove(path)
        return digest
    except FileNotFoundError:
        return "-"
