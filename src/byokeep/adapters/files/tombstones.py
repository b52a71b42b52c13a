"""Port Tombstones: which data keys were destroyed, in a file that only grows, apart from database and store.

Rules
- One id a line. It is read again at each call, so that several brokers can share the file.
- A file that lost lines, or holds one that is none of ours, is not believed.

It may hold no key and no name: an id says nothing to who has no database.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Final
from uuid import UUID

from byokeep.adapters.files.append import AppendOnlyFile
from byokeep.core.errors import Integrity

NAME: Final = "tombstones"
_NEXT: Final = "Put the file back as it was; without it a restore could bring destroyed keys back."


class TombstoneFile:
    """Implements :class:`byokeep.ports.Tombstones` in the checkpoint directory, which must exist.

    Raises:
        Integrity, Unavailable: As :class:`AppendOnlyFile`.
    """

    def __init__(self, directory: Path) -> None:
        self._file = AppendOnlyFile(directory / NAME)
        self._read = 0
        self._one_at_a_time = asyncio.Lock()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    async def all(self) -> frozenset[UUID]:
        """Return every id. Raises Integrity (``tombstones_lost``, ``tombstones_unreadable``), Unavailable."""
        async with self._one_at_a_time:
            return await asyncio.to_thread(self._all)

    async def add(self, ids: Iterable[UUID]) -> None:
        """Add what is not there yet, durably: all or none. Raises as :meth:`all`."""
        async with self._one_at_a_time:
            await asyncio.to_thread(self._add, frozenset(ids))

    def _all(self) -> frozenset[UUID]:
        with self._file.locked():
            return self._ids()

    def _add(self, ids: frozenset[UUID]) -> None:
        with self._file.locked():
            missing = sorted(str(one) for one in ids - self._ids())
            if missing:
                self._read = self._file.append([one.encode() for one in missing])

    def _ids(self) -> frozenset[UUID]:
        size = self._file.size()
        if size < self._read:
            raise Integrity("tombstones_lost", next_step=_NEXT)
        try:
            found = [line[:-1].decode("ascii") for line in self._file.lines()]
            ids = frozenset(UUID(one) for one in found)
        except ValueError:
            raise Integrity("tombstones_unreadable", next_step=_NEXT) from None
        if {str(one) for one in ids} != set(found):
            raise Integrity("tombstones_unreadable", next_step=_NEXT)
        self._read = size
        return ids
