"""What is printed past the log: taken off standard output and error, counted, and dropped.

Rules
- A library, a child or a forgotten ``print`` may say anything, a value too; the log keeps how many bytes it was.
- The streams are given back at the end, so that a command can still print its own error.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Final

from byokeep.telemetry.log import get_log

_STREAMS: Final = (1, 2)
_WAIT_S: Final = 1.0  # a child that outlives us may hold the pipe open


@contextmanager
def no_loose_output() -> Iterator[None]:
    """Drop what this process and its children print, by file descriptor. Configure the log first."""
    kept = [os.dup(stream) for stream in _STREAMS]
    reader, writer = os.pipe()
    for stream in _STREAMS:
        os.dup2(writer, stream)
    os.close(writer)
    drain = Thread(target=_drain, args=(reader,), name="loose-output", daemon=True)
    drain.start()
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for stream, before in zip(_STREAMS, kept, strict=True):
            os.dup2(before, stream)
            os.close(before)
        drain.join(_WAIT_S)


def _drain(reader: int) -> None:
    with os.fdopen(reader, "rb", buffering=0) as pipe:
        while chunk := pipe.read(1 << 16):
            get_log().warning("loose_output", size=len(chunk))
