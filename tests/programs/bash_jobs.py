# SPDX-License-Identifier: BSD-2-Clause
# program: packages=bash quick=yes what=job control under a pseudo-terminal: stop, fg, bg, interrupt
import os
import pty
import re
import select
import sys
import time

from support import LIMIT, RUN

pid, fd = pty.fork()
if pid == 0:
    os.environ["PS1"] = "READY> "
    os.execvp((RUN + ["bash"])[0], RUN + ["bash", "--norc", "--noprofile", "--noediting", "-i"])

seen = b""


def expect(text):
    """Everything up to the text, which must come."""
    global seen
    deadline = time.monotonic() + LIMIT
    while text not in seen:
        ready, _, _ = select.select([fd], [], [], max(0, deadline - time.monotonic()))
        if not ready:
            print("no %r after %r" % (text, seen))
            os.kill(pid, 9)
            sys.exit(1)
        try:
            seen += os.read(fd, 4096)
        except OSError:
            print("terminal closed, waiting for %r after %r" % (text, seen))
            sys.exit(1)
    at = seen.index(text) + len(text)
    before, seen = seen[:at], seen[at:]
    return before


def send(text):
    os.write(fd, text.encode())


def command(text):
    """Its output without the echo, process numbers and prompt."""
    send(text + "\n")
    out = expect(b"READY> ").decode(errors="replace").replace("\r", "")
    out = re.sub(r"==\d+== [^\n]*\n", "", out)     # mtvg's own, which come to the terminal too
    lines = [l for l in out.split("\n") if l != text and not l.startswith("READY>")]
    print("%-28s %s" % (text, re.sub(r"(\[\d\]) \d+", r"\1 PID", " | ".join(lines))))


expect(b"READY> ")
command("stty -echo 2>/dev/null; echo on")
command("echo $-")
command("tty > /dev/null && echo a terminal")
send("sleep 300\n")
time.sleep(1)
send("\x1a")                    # ^Z
print("stopped:", b"Stopped" in expect(b"READY> "))
command("jobs")
command("bg; sleep 0.2; jobs")
command("kill %1; sleep 0.5; jobs") # not `wait`: what it prints depends on who is first
send("cat\n")
time.sleep(1)
send("one line\n")
expect(b"one line")
send("\x03")                    # ^C
expect(b"READY> ")
command("echo status $?")
send("sleep 300 | cat\n")
time.sleep(1)
send("\x1a")
expect(b"READY> ")
send("fg\n")
time.sleep(1)
send("\x03")
expect(b"READY> ")
command("echo after fg $?")
command("(sleep 0.2; echo late) & wait")
command("set -m; sleep 0.1 & fg >/dev/null; echo $?")
send("exit 5\n")
deadline = time.monotonic() + LIMIT
while time.monotonic() < deadline:
    done, status = os.waitpid(pid, os.WNOHANG)
    if done:
        print("exit", os.waitstatus_to_exitcode(status))
        break
    time.sleep(0.05)
else:
    print("bash did not exit")
    os.kill(pid, 9)
