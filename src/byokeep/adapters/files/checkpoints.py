"""The checkpoint directory: signed epochs, and the second copy of the audit log.

Rules
- ``epochs.jsonl`` holds one line for each epoch; the state is its replay, and an epoch that does not continue it is
  refused: who restores an older database can not make this directory forget (S-TLOG-3).
- ``checkpoint`` is the newest signed note as plain text, for anybody's verifier.
- ``copy/audit.jsonl`` holds the export lines of all chains, mixed. It is read once at the start, checked as it is read.

It may hold no key: signatures are checked by who reads. Put the directory where the database's user can not write.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from uuid import UUID

from byokeep.adapters.files.append import AppendOnlyFile, write_whole
from byokeep.core.audit import ChainHead, parse_lines, verify_log
from byokeep.core.epoch import LogState, SignedEpoch, inconsistent, parse_epoch_line, replay

EPOCHS = "epochs.jsonl"
NEWEST = "checkpoint"
COPY = "copy/audit.jsonl"


class CheckpointDirectory:
    """Implements :class:`byokeep.ports.CheckpointStore` on a local or mounted directory.

    Args:
        path: The directory; created with mode 0700 when missing.
        origin: Whose log it keeps, ``byokeep/<installation id>``.

    Raises:
        Integrity, Unavailable: As :class:`AppendOnlyFile`.
    """

    def __init__(self, path: Path, *, origin: str) -> None:
        self._path, self._origin = path, origin
        path.mkdir(mode=0o700, exist_ok=True)
        (path / COPY).parent.mkdir(mode=0o700, exist_ok=True)
        self._epochs = AppendOnlyFile(path / EPOCHS)
        self._copy = AppendOnlyFile(path / COPY)
        self._state, self._note, self._epochs_read = LogState(), b"", 0
        self._heads: dict[UUID, ChainHead] = {}
        self._copy_read = 0
        self._one_at_a_time = asyncio.Lock()

    def close(self) -> None:
        """Close both files."""
        self._epochs.close()
        self._copy.close()

    async def latest(self) -> tuple[LogState, bytes]:
        """Return the replayed state and the newest note."""
        async with self._one_at_a_time:
            return await asyncio.to_thread(self._latest)

    async def publish(self, epoch: SignedEpoch) -> None:
        """Keep one more epoch, durably."""
        async with self._one_at_a_time:
            await asyncio.to_thread(self._publish, epoch)

    async def epochs(self) -> AsyncIterator[SignedEpoch]:
        """Yield all epochs, oldest first."""
        for line in self._epochs.lines():
            yield parse_epoch_line(line[:-1])

    async def copied_heads(self) -> dict[UUID, ChainHead]:
        """Return where the copy of each chain ends, after checking what was added since the last call."""
        async with self._one_at_a_time:
            return await asyncio.to_thread(self._copied_heads)

    async def copy_append(self, lines: Sequence[bytes]) -> None:
        """Add export lines to the copy, durably: all of them or none."""
        async with self._one_at_a_time:
            await asyncio.to_thread(self._copy_append, lines)

    def _latest(self) -> tuple[LogState, bytes]:
        with self._epochs.locked():
            self._catch_up()
        return self._state, self._note

    def _publish(self, epoch: SignedEpoch) -> None:
        with self._epochs.locked():
            self._catch_up()
            state = replay(self._state, epoch, origin=self._origin, keys=None)
            self._epochs_read = self._epochs.append([epoch.line()])
            self._state, self._note = state, epoch.note
            write_whole(self._path / NEWEST, epoch.note)

    def _catch_up(self) -> None:
        """Replay what another process added. A file that shrank lost epochs that were published."""
        size = self._epochs.size()
        if size < self._epochs_read:
            raise inconsistent("epochs_lost", epoch=self._state.size)
        if size == self._epochs_read:
            return
        for line in self._epochs.lines(self._epochs_read):
            epoch = parse_epoch_line(line[:-1])
            self._state = replay(self._state, epoch, origin=self._origin, keys=None)
            self._note = epoch.note
            self._epochs_read += len(line)

    def _copied_heads(self) -> dict[UUID, ChainHead]:
        with self._copy.locked():
            self._check_copy()
        return dict(self._heads)

    def _copy_append(self, lines: Sequence[bytes]) -> None:
        with self._copy.locked():
            self._check_copy()
            heads = verify_log(parse_lines(line + b"\n" for line in lines), starts=self._heads)
            self._copy_read = self._copy.append(lines)
            self._heads = heads

    def _check_copy(self) -> None:
        size = self._copy.size()
        if size < self._copy_read:
            raise inconsistent("copy_lost")
        if size > self._copy_read:
            self._heads = verify_log(parse_lines(self._copy.lines(self._copy_read)), starts=self._heads)
            self._copy_read = size
