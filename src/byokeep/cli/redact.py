"""``byokeep redact``: a filter that takes secrets out of what a program writes.

Rules
- What comes out was redacted, or it does not come out: a piece that failed is replaced, and the exit code is 4.
- A file is changed only with ``--in-place``, as a whole or not at all.
- The first interrupt is for the program before the pipe: its last words still pass. The second one ends the filter.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cyclopts import App

from byokeep.cli.intake import drain
from byokeep.cli.new_file import new_file
from byokeep.cli.terminal import clean, err, session
from byokeep.core.errors import Conflict, Rejected, Unavailable, refusing
from byokeep.kernel.durable_write import draft

if TYPE_CHECKING:
    from byokeep_redact.engine import Redactor
    from byokeep_redact.hooks.streams import StreamFilter

_MOST_VALUES: Final = 1 << 20  # bytes


def register(app: App, group: Any) -> None:
    """Add the command to the tree."""
    app.command(redact, group=group)


def redact(
    *files: Path, report: bool = False, report_file: Path | None = None, values_fd: int | None = None,
    rules: Path | None = None, in_place: bool = False, replace: bool = False,
) -> int:  # fmt: skip
    """Mask secrets in a stream or in files: API keys, tokens, cookies, private keys, in any encoding.

    Without FILES, standard input is passed to standard output as it arrives: whole lines at once, the start of a line
    if its writer pauses. Each secret becomes [redacted:KIND:FINGERPRINT]; the same value has the same fingerprint
    within one run. With FILES, they are written to standard output one after the other.

    Exit codes: 0 done, 4 a piece could not be redacted and was left out (`redaction_error` is in its place).

    Example: byokeep redact --report < app.log
    Example: app 2>&1 | byokeep redact

    Args:
        files: Read these instead of standard input.
        report: At the end, print on standard error how many were masked, by kind; JSON with --json.
        report_file: Write that report to this new file as JSON.
        values_fd: File descriptor with values to mask whatever they look like, one per line.
        rules: Use this rule file instead of the packaged one.
        in_place: Replace each of FILES with its redacted form.
        replace: Overwrite the file of --report-file if it exists.
    """
    if in_place and not files:
        raise Rejected("nothing_to_redact", next_step="Name the files to redact in place.")
    keep_report = None if report_file is None else new_file(report_file, replace=replace)
    shapes = importlib.import_module("byokeep_redact.rules").Rules.load(rules)
    redactor: Redactor = importlib.import_module("byokeep_redact.engine").Redactor(shapes)
    if values_fd is not None:
        _register_values(redactor, values_fd)
    total: dict[str, Any] = {"bytes": 0, "dropped": 0}
    for source in files or (None,):
        _one(redactor, source, total, in_place=in_place)
    total["masked"] = redactor.counts
    if keep_report is not None:
        keep_report(json.dumps(total, sort_keys=True).encode() + b"\n")
    if report:
        _say_report(total)
    return Unavailable.exit_code if total["dropped"] else 0


def _one(redactor: Redactor, source: Path | None, total: dict[str, Any], *, in_place: bool) -> None:
    stream = importlib.import_module("byokeep_redact.hooks.streams")
    through: StreamFilter = stream.StreamFilter(redactor)
    if source is None:
        with _interrupts() as interrupted:
            total["bytes"] += stream.pump(0, _write_out, through, lambda: len(interrupted) > 1)
    else:
        step = f"Check that {clean(str(source))} exists and is yours."
        with refusing("cannot_read_file", Rejected, on=OSError, next_step=step):
            handle = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if in_place:
                total["bytes"] += _replace(source, handle, through)
            else:
                total["bytes"] += stream.pump(handle, _write_out, through, lambda: False)
        except IsADirectoryError:
            raise Rejected("cannot_read_file", next_step="Name files, not directories.") from None
        finally:
            os.close(handle)
    total["dropped"] += through.failures


def _replace(source: Path, handle: int, through: StreamFilter) -> int:
    """Put the redacted form in a file's place; if a piece failed, or somebody wrote to it meanwhile, leave it."""
    stream = importlib.import_module("byokeep_redact.hooks.streams")
    target, size = source.resolve(), 0
    try:
        with contextlib.suppress(_PieceFailed), draft(target) as beside:
            write = partial(stream.write_all, beside.fileno())
            size = int(stream.pump(handle, write, through, lambda: False))
            if through.failures:
                raise _PieceFailed
            shutil.copymode(target, beside.name)
            now = target.stat()
            if not os.path.samestat(now, os.fstat(handle)) or now.st_size != size:
                step = f"It was written to meanwhile, and stays as it is: stop who writes to {clean(str(source))}."
                raise Conflict("file_changed", next_step=step)
    except IsADirectoryError:
        raise
    except OSError:
        raise Rejected("cannot_write_file", next_step="Check that the file and its directory are yours.") from None
    if through.failures:
        err.print(f"{clean(str(source))} stays as it is: a piece could not be redacted.", markup=False, soft_wrap=True)
    return size


class _PieceFailed(Exception):
    """A piece could not be redacted."""


def _register_values(redactor: Redactor, descriptor: int) -> None:
    data = drain(descriptor, _MOST_VALUES, too_long="Give at most 1 MiB of values.")
    values = [line.rstrip(b"\r") for line in data.split(b"\n") if line.strip()]
    if not values:
        raise Rejected("empty_value", next_step="Write one value per line to the descriptor.")
    for value in values:
        redactor.register(value)


@contextlib.contextmanager
def _interrupts() -> Iterator[list[int]]:
    """Yield a list that grows with each interrupt while the block lasts; a request to end counts as two."""
    seen: list[int] = []
    previous = {
        number: signal.signal(number, lambda signum, _frame: seen.extend([signum] * (1 + (signum == signal.SIGTERM))))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield seen
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _write_out(data: bytes) -> None:
    importlib.import_module("byokeep_redact.hooks.streams").write_all(sys.stdout.fileno(), data)


def _say_report(total: dict[str, Any]) -> None:
    if session().as_json:
        sys.stderr.write(json.dumps(total, sort_keys=True) + "\n")
        return
    masked = ", ".join(f"{kind} {count}" for kind, count in sorted(total["masked"].items())) or "nothing"
    dropped = f"; {total['dropped']} pieces could not be redacted and were left out" if total["dropped"] else ""
    sys.stderr.write(f"masked: {masked} (of {total['bytes']} bytes){dropped}\n")
