# SPDX-License-Identifier: BSD-2-Clause
"""Compare two results, and say clearly what differs."""
import difflib

from . import modes

DIFF_LINES = 30


def _text(data):
    return data.decode("utf-8", "backslashreplace").splitlines()


def _diff(what, native, ours, other):
    if native == ours:
        return []
    lines = list(difflib.unified_diff(_text(native), _text(ours), "native " + what, other + " " + what,
                                      lineterm="", n=1))
    if not lines:
        lines = ["%s differs in line ends or at its end" % what]
    if len(lines) > DIFF_LINES:
        lines = lines[:DIFF_LINES] + ["... %d more lines" % (len(lines) - DIFF_LINES)]
    return lines


def compare(native, ours, what="all", other="mtvg"):
    """The differences as lines, empty if none. what: all, stdout (and status), status."""
    lines = []
    if native.status != ours.status:
        lines.append("native: %s; %s: %s" % (native.ending(), other, ours.ending()))
    if what in ("all", "stdout"):
        lines += _diff("stdout", native.out, ours.out, other)
    if what == "all":
        lines += _diff("stderr", native.err, modes.strip_own(ours.err), other)
    if lines:
        own = modes.own_lines(ours.err)
        if own:
            lines.append("mtvg's own messages:")
            lines += ["  " + l.decode("utf-8", "backslashreplace") for l in own[-15:]]
    return lines


def check_native(result):
    """A program must pass by itself: a wrong native run would hide every other failure."""
    if result.status is None:
        return ["native: " + result.ending()] + _text(result.err)[-10:]
    if b"GUEST-FAILED" in result.out or b"GUEST-FAILED" in result.err:
        return ["native: failed by its own check"] + \
            (_text(result.out) + _text(result.err))[-DIFF_LINES:]
    return []
