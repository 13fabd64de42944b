#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Pages whose code changed often are protected again when it has stopped, by --stats; not with the option off."""
import argparse
import re
import subprocess
import sys


def times(mtvg, guest, *options):
    done = subprocess.run([mtvg, "--stats=yes", *options, guest], stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=300, check=True)
    return int(re.search(r"([\d,]+)  pages protected again", done.stderr)[1].replace(",", ""))


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--mtvg", required=True)
    p.add_argument("--guest", required=True, help="the built tests/guests/smc_again.c")
    args = p.parse_args()
    on, off = times(args.mtvg, args.guest), times(args.mtvg, args.guest, "--protect-again=no")
    print(f"protected again: {on}; with the option off: {off}")
    return on == 0 or off != 0


sys.exit(main())
