# SPDX-License-Identifier: BSD-2-Clause
"""The parts of tests/run.py: proc (run a command), modes, guests, programs, report."""
