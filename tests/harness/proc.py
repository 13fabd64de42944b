# SPDX-License-Identifier: BSD-2-Clause
"""Run one command with a limit, and leave nothing behind.

P1. A worker process runs one command at a time and is the reaper of orphans
    (PR_SET_CHILD_SUBREAPER), so whatever is a child of the worker after the command
    ended is that command's leftover, also if it left the session.
P2. Leftovers are killed one by one, by pid, until there are none.
P3. A worker dies with the main process (PR_SET_PDEATHSIG) and then does P2 first.
"""
import ctypes
import os
import resource
import signal
import subprocess
import sys
import time

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
OUTPUT_LIMIT = 64 << 20


class Result:
    """How a command ended: status as Popen.returncode has it, None after a timeout."""

    def __init__(self, status, out, err, seconds):
        self.status, self.out, self.err, self.seconds = status, out, err, seconds

    def ending(self):
        if self.status is None:
            return "timeout after %.0f s" % self.seconds
        if self.status < 0:
            try:
                return "killed by " + signal.Signals(-self.status).name
            except ValueError:
                return "killed by signal %d" % -self.status
        return "exit status %d" % self.status


def worker_init():
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _terminated)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def _terminated(signo, frame):
    kill_leftovers()
    os._exit(1)


def _children():
    try:
        pids = []
        for tid in os.listdir("/proc/self/task"):
            with open("/proc/self/task/%s/children" % tid) as f:
                pids += [int(p) for p in f.read().split()]
        return pids
    except OSError:
        return []


def kill_leftovers():
    """P2; returns how many living ones there were."""
    killed = set()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        pids = _children()
        if not pids:
            break
        for pid in pids:
            try:
                done, _ = os.waitpid(pid, os.WNOHANG)
                if done == 0:
                    killed.add(pid)
                    os.kill(pid, signal.SIGKILL)
            except (ChildProcessError, ProcessLookupError):
                pass
        time.sleep(0.005)
    return len(killed)


def _read(path):
    with open(path, "rb") as f:
        return f.read(OUTPUT_LIMIT)


def _limits():
    """In the child: signals as a shell would hand them down."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def die_by_term():
    """SIGTERM ends this process as an exception does: what it has started is ended first."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def _signal_group(pid, sig):
    try:
        os.killpg(pid, sig)
        return True
    except (ProcessLookupError, PermissionError):
        return False


def communicate(p, limit):
    """(stdout, stderr) of a process that leads a session; None: it took longer than the limit, in seconds.
    Its process group is ended in any case: a moment before it is killed it may end its own (P3)."""
    over = False
    try:
        done = p.communicate(timeout=limit)
        over = True
        return done
    except subprocess.TimeoutExpired:
        return None
    finally:
        if not over and _signal_group(p.pid, signal.SIGTERM):
            end = time.monotonic() + 10
            while time.monotonic() < end and _signal_group(p.pid, 0):
                p.poll()
                time.sleep(0.05)
        _signal_group(p.pid, signal.SIGKILL)
        p.communicate()


def run(argv, env, cwd, timeout, scratch, stdin=None):
    """Output goes through files: a pipe would stay open as long as any grandchild lives."""
    out_path, err_path = os.path.join(scratch, "stdout"), os.path.join(scratch, "stderr")
    begin = time.monotonic()
    with open(out_path, "wb") as out, open(err_path, "wb") as err, \
            open(stdin or os.devnull, "rb") as inp:
        try:
            child = subprocess.Popen(argv, stdin=inp, stdout=out, stderr=err, cwd=cwd, env=env,
                                     start_new_session=True, preexec_fn=_limits)
        except OSError as e:
            return Result(127, b"", ("cannot run %s: %s\n" % (argv[0], e)).encode(), 0.0)
        try:
            status = child.wait(timeout)
        except subprocess.TimeoutExpired:
            status = None
        seconds = time.monotonic() - begin
        _signal_group(child.pid, signal.SIGKILL)
        if status is None:
            child.wait()
        kill_leftovers()
    return Result(status, _read(out_path), _read(err_path), seconds)
