# SPDX-License-Identifier: BSD-2-Clause
"""The modes that every program runs in: options that must not change what it does."""
import random
import re

#   name: (options, factor on the time limit)
MODES = {
    "default": ([], 2),
    "nochain": (["--chaining=no"], 3),
    "cache1m": (["--code-cache-size=1M"], 3),
    "insns1": (["--max-insns=1"], 3),
    "seq": (["--parallel=no"], 3),
    "stress": (["--stress=flush,regs,preempt,world", "--stress-seed={seed}"], 4),
    "noib": (["--ib-inline=no"], 3),
    "short": (["--follow-jumps=no", "--max-branches=0", "--child-code=no"], 3),
    "lackey": (["--tool=lackey"], 4),
    "gs": (["--stress=gs"], 3),
    "word": (["--ib-index=word", "--ib-second=no"], 3),
    "jrcxz": (["--ib-check=jrcxz"], 3),
    "loop": (["--ib-check=loop", "--ib-index=pext"], 3),
    "near": (["--exits=near", "--map-filter=no", "--enter-inside=no", "--fused-jumps=no"], 3),
    "slowcalls": (["--fast-syscalls=no", "--protect-again=no"], 3),
    "decode": (["--decoder=full"], 3),
    "children": (["--trace-children=yes"], 3),
    "rstack": (["--return-stack=yes"], 2),
    "rseq": (["--return-stack=yes", "--parallel=no"], 3),
    "disk": (["--translation-cache={cache}"], 3),
    "dstress": (["--translation-cache={cache}", "--code-cache-size=2M",
                 "--stress=flush,regs,preempt,world", "--stress-seed={seed}"], 4),
    "rstress": (["--return-stack=yes", "--stress=flush,regs,preempt,world", "--stress-seed={seed}"], 4),
}

# What mtvg itself prints: ==PID== messages, --PID-- debug output, **PID** user messages.
OWN_LINE = re.compile(rb"^(==|--|\*\*)\d+\1 ?[^\n]*\n?", re.M)

# Run twice: what the first run has left on disk is there for the second.
TWICE = ("disk", "dstress")


def options(mode, seed, cache):
    return [o.format(seed=seed, cache=cache) for o in MODES[mode][0]]


def pick(declared, wanted, quick, name, seed):
    """The modes for one program: what it allows, of what is wanted, all or two of them."""
    allowed = list(MODES)
    if declared and declared != "all":
        words = [w for w in re.split(r"[,\s]+", declared) if w]
        if all(w.startswith("-") for w in words):
            allowed = [m for m in MODES if "-" + m not in words]
        else:
            allowed = [m for m in MODES if m in words]
    if wanted:
        return [m for m in allowed if m in wanted]
    if not quick or len(allowed) < 2:
        return allowed
    first = "default" if "default" in allowed else allowed[0]
    others = [m for m in allowed if m != first]
    return [first, random.Random("%s %s" % (seed, name)).choice(others)]


def strip_own(data):
    return OWN_LINE.sub(b"", data)


def own_lines(data):
    return [m.group(0).rstrip(b"\n") for m in OWN_LINE.finditer(data)]
