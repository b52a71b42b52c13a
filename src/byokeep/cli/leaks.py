"""``byokeep leaks``: search files and processes for values that must not be there."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Final

from cyclopts import App

from byokeep.cli.intake import read_secret
from byokeep.cli.terminal import session, show
from byokeep.core.errors import Integrity, Rejected, Unavailable

app: Final = App(name="leaks", help="Search files and processes for values that must not be there.")


@app.command
def sweep(*paths: Path, fd: int | None = None, processes: bool = True) -> int:
    """Search for one value in every encoding: base64, hex, URL, JSON, UTF-16, in archives and databases.

    The value is read from standard input, --fd or a prompt. Exit code 0 means searched and clean, 5 found,
    4 not everything could be read.

    Example: byokeep leaks sweep /var/log /srv/app < suspected-key.txt

    Args:
        processes: Search command lines and environments of processes too.
    """
    if not paths and not processes:
        raise Rejected("nothing_to_sweep", next_step="Name files or directories.")
    value = read_secret(prompt="Value", fd=fd)
    scan = importlib.import_module("byokeep.redact.scan")
    sweep = scan.Sweep([scan.Canary("value", value.reveal())])
    value.wipe()
    report = sweep.scan_paths(list(paths))
    if processes:
        report = report + sweep.scan_proc()
    found = [{"source": item.source, "offset": item.offset, "encoding": str(item.encoding)} for item in report.findings]
    unread = [{"source": str(item.source), "reason": str(item.reason)} for item in report.unreadable]
    show({"found": len(found), "sources": report.sources_scanned, "bytes": report.bytes_scanned,
          "unreadable": len(unread)} if not session().as_json else
         {"findings": found, "unreadable": unread, "sources": report.sources_scanned, "bytes": report.bytes_scanned},
         title="Sweep")  # fmt: skip
    if found:
        return int(Integrity.exit_code)
    return 0 if report.clean else Unavailable.exit_code
