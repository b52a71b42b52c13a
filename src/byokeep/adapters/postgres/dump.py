"""Dumps of the database, by PostgreSQL's own programs, and their way back.

Rules
- The owner's role dumps in one snapshot; it needs no superuser. The set-up, not a dump, makes roles and whatever else
  belongs to the whole server.
- What a program says stays out: an error of it may quote a row.
- A dump is proved by having ``pg_restore`` read all of it.

It may not restore over a database that holds anything of ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from pathlib import Path
from typing import BinaryIO, Final

from psycopg.conninfo import make_conninfo

from byokeep.adapters.postgres.connections import address_of
from byokeep.adapters.postgres.embedded import installed
from byokeep.core.errors import Unavailable

_MOST_S: Final = 3600.0
_PASSED_ON: Final = ("PGPASSFILE", "PGSERVICEFILE", "PGSYSCONFDIR", "HOME")


async def dump(url: str, file: BinaryIO, *, major: str) -> None:
    """Write a dump. Raises Unavailable(``database_not_dumped``): the server is away, or the disk is full.

    Args:
        url: The owner's role's.
        major: The server's major release; an older ``pg_dump`` refuses it.
    """
    options = ("--format=custom", "--compress=gzip:1", "--no-password", f"--dbname={_plain(url)}")
    await asyncio.to_thread(_run, "pg_dump", *options, major=major, out=file)


async def load(url: str, file: Path, *, major: str) -> None:
    """Read a dump into an empty database, all or nothing. Raises Unavailable(``database_not_dumped``)."""
    options = ("--exit-on-error", "--single-transaction", "--no-password", f"--dbname={_plain(url)}", str(file))
    await asyncio.to_thread(_run, "pg_restore", *options, major=major, out=subprocess.DEVNULL)


class DumpProof:
    """Takes a dump piece by piece and has it read to its end. Raises Unavailable(``database_not_dumped``)."""

    def __init__(self, *, major: str) -> None:
        program = str(installed(major) / "bin" / "pg_restore")
        self._process = subprocess.Popen(
            [program, "--file=/dev/null"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=_environment(),
        )  # fmt: skip

    def take(self, piece: bytes) -> None:
        """Take a piece; an empty one is the end."""
        stdin = self._process.stdin
        assert stdin is not None  # noqa: S101 - for the type checker
        with contextlib.suppress(BrokenPipeError):  # it has read all it needs, or its exit says otherwise
            if piece:
                stdin.write(piece)
                return
            stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            if piece or self._process.wait(_MOST_S) == 0:
                return
        raise _failed()

    def close(self) -> None:
        """End the program, whatever it is doing."""
        self._process.kill()
        self._process.wait()


def _run(name: str, *arguments: str, major: str, out: BinaryIO | int) -> None:
    command = [str(installed(major) / "bin" / name), *arguments]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.DEVNULL, timeout=_MOST_S, check=False,
            env=_environment(),
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        raise _failed() from None
    if done.returncode != 0:
        raise _failed()


def _failed() -> Unavailable:
    return Unavailable("database_not_dumped", next_step="Check the database's log and the free disk space.")


def _environment() -> dict[str, str]:
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return passed | {"LC_ALL": "C", "PATH": "/usr/bin:/bin"}


def _plain(url: str) -> str:
    return make_conninfo("", **address_of(url))
