"""The checkpoint directory: signed epochs, and the second copy of the audit log.

Rules
- ``epochs.jsonl`` holds one line for each epoch. The state is their replay. An epoch that does not continue it is
  refused, so whoever restores an older database cannot make this directory forget (S-TLOG-3).
- ``checkpoint`` is the newest signed note as plain text, for anybody's verifier.
- ``copy/audit.jsonl`` holds the export lines of all chains, mixed. It is read once at the start, and checked as it is
  read. After a rebased epoch N a new copy begins, ``copy/audit-N.jsonl``. The one before stays: it holds what was lost.
- Marks in memory show where an earlier record became covered, by reading at most ``MARK_EVERY`` epochs. Each holds the
  heads of all chains, so of an old log only every second, fourth ... is kept, and the newest.

It may hold no key: whoever reads it checks the signatures. Put the directory where the database's user cannot write.
"""

from __future__ import annotations

import asyncio
import re
from bisect import bisect_left
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from uuid import UUID

from byokeep.adapters.files.append import AppendOnlyFile, usable
from byokeep.core.audit import ChainHead, parse_line, parse_lines, verify_log
from byokeep.core.checkpoint import LogState, SignedEpoch, inconsistent, parse_epoch_line, parse_heads, replay
from byokeep.kernel.durable_write import durable_write

EPOCHS = "epochs.jsonl"
NEWEST = "checkpoint"
COPY = "copy/audit.jsonl"
MARK_EVERY = 512  # epochs between two points where a replay can begin
MARKS = 256  # of the whole log at most; and of the newest epochs half as many more
TAIL = 64 * 1024  # bytes from the end of a file that hold its last lines
_COPY = re.compile(r"audit-([1-9][0-9]{0,15})\.jsonl")


def _copy_of(base: int) -> str:
    return f"copy/audit-{base}.jsonl" if base else COPY


class CheckpointDirectory:
    """Implements :class:`byokeep.kernel.ports.CheckpointStore` on a local or mounted directory.

    Args:
        path: The directory; created with mode 0700 if missing.
        origin: Whose log it keeps, ``byokeep/<installation id>``.

    Raises:
        Integrity, Unavailable: As :class:`AppendOnlyFile`.
    """

    def __init__(self, path: Path, *, origin: str) -> None:
        self._path, self._origin = path, origin
        path.mkdir(mode=0o700, exist_ok=True)
        (path / COPY).parent.mkdir(mode=0o700, exist_ok=True)
        self._epochs = AppendOnlyFile(path / EPOCHS)
        self._state, self._note, self._epochs_read = LogState(), b"", 0
        self._marks: list[tuple[int, LogState]] = [(0, self._state)]
        bases = [int(found[1]) for one in (path / COPY).parent.iterdir() if (found := _COPY.fullmatch(one.name))]
        self._base = max(bases, default=0)
        self._copy = AppendOnlyFile(path / _copy_of(self._base))
        self._heads: dict[UUID, ChainHead] = {}
        self._copy_read = 0
        self._one_at_a_time = asyncio.Lock()

    def close(self) -> None:
        """Close both files."""
        self._epochs.close()
        self._copy.close()

    async def newest(self) -> tuple[SignedEpoch | None, list[ChainHead]]:
        """Return the last epoch and the last records copied, read from the ends of the files and not yet checked."""
        async with self._one_at_a_time:
            return await asyncio.to_thread(self._newest)

    async def covering(self, chain: UUID, seq: int) -> tuple[LogState, bytes] | None:
        """Return the state and note of the first epoch that covers a record; None = none does yet."""
        async with self._one_at_a_time:
            return await asyncio.to_thread(self._covering, chain, seq)

    async def latest(self) -> tuple[LogState, bytes]:
        """Return the replayed state and the newest note."""
        async with self._one_at_a_time:
            return await asyncio.to_thread(self._latest)

    async def publish(self, epoch: SignedEpoch) -> None:
        """Store one more epoch, durably."""
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
            if state.base != self._state.base:
                AppendOnlyFile(self._path / _copy_of(state.base)).close()  # first: its name says where the copy goes on
            read = self._epochs.append([epoch.line()])
            self._move_on(state, epoch.note, read)
            with usable():
                durable_write(self._path / NEWEST, epoch.note)

    def _catch_up(self) -> None:
        """Replay what another process added. A file that shrank lost epochs that were published."""
        size = self._epochs.size()
        if size < self._epochs_read:
            raise inconsistent("epochs_lost", epoch=self._state.size)
        if size == self._epochs_read:
            return
        for line in self._epochs.lines(self._epochs_read):
            epoch = parse_epoch_line(line[:-1])
            state = replay(self._state, epoch, origin=self._origin, keys=None)
            self._move_on(state, epoch.note, self._epochs_read + len(line))

    def _move_on(self, state: LogState, note: bytes, read: int) -> None:
        if state.base != self._state.base:
            self._marks = [(self._epochs_read, self._state)]  # nothing from before it counts any more
            self._open_copy(state.base)
        elif state.size % MARK_EVERY == 0:
            apart = MARK_EVERY << (state.size // (MARK_EVERY * MARKS)).bit_length()
            newest = state.size - MARK_EVERY * MARKS // 2
            first, *others = self._marks
            kept = [one for one in others if one[1].size % apart == 0 or one[1].size > newest]
            self._marks = [first, *kept, (read, state)]
        self._state, self._note, self._epochs_read = state, note, read

    def _open_copy(self, base: int) -> None:
        if self._base != base:
            self._copy.close()
            self._copy = AppendOnlyFile(self._path / _copy_of(base))
            self._base, self._heads, self._copy_read = base, {}, 0

    def _newest(self) -> tuple[SignedEpoch | None, list[ChainHead]]:
        with self._epochs.locked():
            lines = list(self._epochs.tail(TAIL))
        with self._copy.locked():
            records = [parse_line(line[:-1]) for line in self._copy.tail(TAIL)]
        heads = {record.chain: ChainHead(record.chain, record.seq, record.hash) for record in records}
        return parse_epoch_line(lines[-1][:-1]) if lines else None, list(heads.values())

    def _covering(self, chain: UUID, seq: int) -> tuple[LogState, bytes] | None:
        self._latest()

        def before(mark: tuple[int, LogState]) -> bool:
            head = mark[1].heads.get(chain)
            return mark[1].base != self._state.base or head is None or head.seq < seq

        offset, state = self._marks[bisect_left(self._marks, True, key=lambda mark: not before(mark)) - 1]
        for line in self._epochs.lines(offset):
            epoch = parse_epoch_line(line[:-1])
            state = state.advance(epoch.leaf, parse_heads(epoch.heads))
            head = state.heads.get(chain)
            if head is not None and head.seq >= seq:
                return state, epoch.note
        return None

    def _copied_heads(self) -> dict[UUID, ChainHead]:
        self._latest()  # which copy it is
        with self._copy.locked():
            self._check_copy()
        return dict(self._heads)

    def _copy_append(self, lines: Sequence[bytes]) -> None:
        self._latest()
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
