"""Port Tombstones: what was destroyed, revoked or stopped, in a file that only grows, apart from database and store.

Rules
- One id per line. For something that people may give back later: its name, and the record that withdrew it (chain,
  number, hash). Of several lines with one name the last counts.
- Each call reads what others added, so several brokers can share the file.
- A file that lost lines, or holds a line that is not ours, is not believed.

It may hold no key and no person's name: an id tells nothing to somebody without the database.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final
from uuid import UUID

from byokeep.adapters.files.append import AppendOnlyFile
from byokeep.core.audit import ChainHead
from byokeep.core.errors import Integrity, refusing

NAME: Final = "tombstones"
_NEXT: Final = "Put the file back as it was: without it, a restore could bring back destroyed keys."
_WITHDRAWN: Final = re.compile(
    r"((?:switch|subject|client):[a-z0-9_:-]{1,120}) ([0-9a-f-]{36}) ([1-9][0-9]{0,15}) ([0-9a-f]{64})\Z"
)


class TombstoneFile:
    """Implements :class:`byokeep.kernel.ports.Tombstones` in the checkpoint directory, which must exist.

    Raises:
        Integrity, Unavailable: As :class:`AppendOnlyFile`.
    """

    def __init__(self, directory: Path) -> None:
        self._file = AppendOnlyFile(directory / NAME)
        self._read = 0
        self._ids: set[UUID] = set()
        self._withdrawn: dict[str, ChainHead] = {}
        self._one_at_a_time = asyncio.Lock()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    async def all(self) -> frozenset[UUID]:
        """Return every id. Raises Integrity (``tombstones_lost``, ``tombstones_unreadable``), Unavailable."""
        async with self._one_at_a_time:
            await asyncio.to_thread(self._add, frozenset(), {})
            return frozenset(self._ids)

    async def add(self, ids: Iterable[UUID]) -> None:
        """Add what is not there yet, durably: all or none. Raises as :meth:`all`."""
        async with self._one_at_a_time:
            await asyncio.to_thread(self._add, frozenset(ids), {})

    async def withdrawn(self) -> Mapping[str, ChainHead]:
        """Return what was withdrawn, each with the record noted last. Raises as :meth:`all`."""
        async with self._one_at_a_time:
            await asyncio.to_thread(self._add, frozenset(), {})
            return dict(self._withdrawn)

    async def withdraw(self, what: Mapping[str, ChainHead]) -> None:
        """Note what another record than the noted one withdraws, durably: all or none. Raises as :meth:`all`."""
        async with self._one_at_a_time:
            await asyncio.to_thread(self._add, frozenset(), dict(what))

    def _add(self, ids: frozenset[UUID], what: Mapping[str, ChainHead]) -> None:
        with self._file.locked():
            self._catch_up()
            lines = sorted(str(one) for one in ids - self._ids)
            lines += [
                f"{name} {head.chain} {head.seq} {head.hash.hex()}"
                for name, head in sorted(what.items())
                if self._withdrawn.get(name) != head
            ]
            if lines:
                self._file.append([line.encode() for line in lines])
                self._catch_up()

    def _catch_up(self) -> None:
        """Read what was added. A file that is shorter than it was, or holds a foreign line, is not believed."""
        size = self._file.size()
        if size < self._read:
            raise Integrity("tombstones_lost", next_step=_NEXT)
        with refusing("tombstones_unreadable", next_step=_NEXT):
            for line in self._file.lines(self._read) if size > self._read else ():
                self._take(line[:-1].decode("ascii"))
                self._read += len(line)

    def _take(self, line: str) -> None:
        if found := _WITHDRAWN.match(line):
            name, chain, seq, digest = found.groups()
            self._withdrawn[name] = ChainHead(UUID(chain), int(seq), bytes.fromhex(digest))
            return
        one = UUID(line)
        if str(one) != line:
            raise ValueError("not a canonical UUID")
        self._ids.add(one)
