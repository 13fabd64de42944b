# SPDX-License-Identifier: BSD-2-Clause
"""For the drivers: start a server under $RUN, wait for it, stop it by its pid."""
import os
import shlex
import signal
import socket
import subprocess
import sys
import time

RUN = shlex.split(os.environ.get("RUN", ""))
DATA = os.environ.get("DATA", "/tmp")
LIMIT = 120         # seconds for anything that is waited for; the harness has its own limit


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start(argv, under=True, **options):
    options.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.Popen((RUN if under else []) + argv, **options)


def wait_port(port, server):
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        if server.poll() is not None:
            sys.exit("the server ended: %d" % server.returncode)
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    server.kill()
    sys.exit("the server does not answer")


def stop(server, signo=signal.SIGTERM):
    """Returns the exit status; a server that does not stop is an error."""
    server.send_signal(signo)
    try:
        return server.wait(LIMIT)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
        return "did not stop"


def call(argv, under=False, **options):
    """Run to the end; returns (status, output)."""
    options.setdefault("stdin", subprocess.DEVNULL)
    done = subprocess.run((RUN if under else []) + argv, stdout=subprocess.PIPE, timeout=LIMIT,
                          **options)
    return done.returncode, done.stdout
