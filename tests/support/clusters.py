"""Clusters of PostgreSQL that begin as copies: to make one takes half a second of processor time, to copy it a tenth.

The first of a process is made as in production, and every one where :func:`copied` is not asked for.
"""

from __future__ import annotations

import atexit
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from byokeep.adapters.postgres.embedded import EmbeddedPostgres

_make = EmbeddedPostgres._initialise
_made: dict[object, Path] = {}  # by the user whom the server runs as


@contextmanager
def copied() -> Iterator[None]:
    """Let what a block starts begin as a copy of the cluster that this process made first."""
    with mock.patch.object(EmbeddedPostgres, "_initialise", _initialise):
        yield


def _initialise(self: EmbeddedPostgres) -> None:
    known = _made.get(self._account)
    if known is None:
        _make(self)
        place = Path(tempfile.mkdtemp(prefix="byk-cluster-"))
        atexit.register(shutil.rmtree, place, ignore_errors=True)
        _copy(self._data, place / "data")
        _made[self._account] = place / "data"
        return
    fresh = self._data.with_name("data.new")
    shutil.rmtree(fresh, ignore_errors=True)
    _copy(known, fresh)
    fresh.rename(self._data)


def _copy(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", str(source), str(target)], check=True, timeout=120)
