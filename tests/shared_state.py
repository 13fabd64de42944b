#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Every static variable that is written after it has been initialised is named in docs/CONCURRENCY.md,
where its readers, its writers and why that is enough are said. By the symbol tables of the layers'
libraries; constants and thread-local variables are in other sections."""
import argparse
import os
import re
import subprocess
import sys

DOCS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "docs",
                    "CONCURRENCY.md")


def variables(library):
    """(object file, name) of what lies in .data and .bss."""
    text = subprocess.run(["objdump", "-t", library], check=True, stdout=subprocess.PIPE,
                          text=True).stdout
    for part in re.split(r"^(?=\S+:\s+file format)", text, flags=re.M)[1:]:
        for section, name in re.findall(r"^[0-9a-f]+ .{7} (\S+)\t[0-9a-f]+\s+(\S+)$", part, re.M):
            if re.match(r"\.(data|bss)($|\.(?!rel\.ro))", section) and not name.startswith("."):
                yield part.split(":")[0], re.sub(r"\.\d+$|^\w+\.(?=\D)", "", name)


def described():
    """The same of the page: `name`s behind the file's, in the section of all variables."""
    with open(DOCS) as f:
        section = re.search(r"^## Every static variable$(.*?)^## ", f.read(), re.M | re.S).group(1)
    file = None
    for name, variable in re.findall(r"(\w+\.c)\b|`(\w+)`", section):
        if name:
            file = name
        elif file:
            yield file, variable


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("library", nargs="+")
    args = p.parse_args()
    found = {(file[:-2], name) for library in args.library for file, name in variables(library)}
    told = set(described())
    for file, name in sorted(found - told):
        print(f"{file}: `{name}` is not in docs/CONCURRENCY.md, \"Every static variable\"")
    for file, name in sorted(told - found):  # no failure: the compiler may have done without it
        print(f"{file}: there is no `{name}` in this build")
    print(f"{len(found)} variables")
    return not found or not found <= told


if __name__ == "__main__":
    sys.exit(main())
