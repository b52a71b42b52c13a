"""The leak search as the rest of the system uses it, and as a command.

    python -m byokeep_redact.scan --canaries-fd N PATH...

reads canaries from an open file descriptor (a line each: label, tab, value; values are never arguments), runs the
positive control, searches the paths, and prints a JSON report. Exit code 0 clean, 1 found, 4 not known (something could
not be read, nothing was there to search, bad input, or the control failed).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from byokeep_redact.canary import Canary, marker_of, new_canary
from byokeep_redact.control import positive_control
from byokeep_redact.sweep import ControlResult, Finding, Limits, Report, Sweep, Unreadable, scan_bytes

__all__ = [
    "Canary",
    "ControlResult",
    "Finding",
    "Limits",
    "Report",
    "Sweep",
    "Unreadable",
    "marker_of",
    "new_canary",
    "positive_control",
    "scan_bytes",
]

CLEAN, FOUND, UNKNOWN = 0, 1, 4


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(UNKNOWN, "usage_error\n")


def read_canaries(descriptor: int) -> list[Canary]:
    """Read label and value lines from an open file descriptor and close it.

    Raises OSError if it cannot be read and ValueError for a line without a tab or with too short a value.
    """
    with os.fdopen(descriptor, "rb") as lines:
        pairs = [line.rstrip(b"\r\n").split(b"\t", 1) for line in lines if line.strip()]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError("line_without_tab")
    return [Canary(label.decode("utf-8", "backslashreplace"), value) for label, value in pairs]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    parser = _Parser(prog="byokeep_redact.scan", description="Search paths for known values in any encoding.")
    parser.add_argument("--canaries-fd", type=int, required=True, help="descriptor with label<TAB>value lines")
    parser.add_argument("paths", nargs="+", metavar="PATH")
    chosen = parser.parse_args(arguments)
    try:
        sweep = Sweep(read_canaries(chosen.canaries_fd))
        control = positive_control(lambda: new_canary("anthropic"))
    except (OSError, ValueError) as error:
        code = str(error) if isinstance(error, ValueError) else "canaries_unreadable"
        print(json.dumps({"clean": False, "error": code}))
        return UNKNOWN
    report = dataclasses.replace(sweep.scan_paths(chosen.paths), control=control)
    shown = dataclasses.asdict(report) | {"clean": report.clean, "void": report.void}
    print(json.dumps(shown, indent=2))
    return exit_code(report)


def exit_code(report: Report) -> int:
    """Return 1 if anything was found, 0 if the report is clean, else 4."""
    if report.findings:
        return FOUND
    return CLEAN if report.clean else UNKNOWN


if __name__ == "__main__":
    sys.exit(main())
