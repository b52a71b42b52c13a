"""Port StoreAudit: OpenBao's own audit trail, over its file devices.

OpenBao never notices that a log file was deleted or replaced, and never syncs one to disk. So health is proved at each
call: a request is made, and the store's own id of it must appear in every device's file, at the same inode as before,
with room on the disk, and the disk must take a sync.

Each node of a cluster writes its own file of each device, named ``node/device`` here. Each node is asked, and its
answer must appear in its files. A node that passes all requests on to the active one writes nothing meanwhile; its
``records`` is false. An answer that appears in none of the files came from a node that is not named. That is a device
of its own here, ``OTHER_NODE``, which nobody can read.

A file moved away on purpose, to its name and ``.1``, counts as rotated once the store itself writes to the new one
(SIGHUP). What reaches further back is read from the moved one. Until then it reads ``missing`` or ``inode_changed``.

Rules
- Entries keep allow-listed fields only. A whole line that is no entry makes the file unreadable; nothing is skipped.
- A crash or a full disk can tear a line. A line torn at the end of the file is not there yet. For one torn in the
  middle, with a whole entry behind it, an entry of kind ``torn`` stands for what was lost; the other device's file
  has it.
- A line has a limit. A file may be of any size and is searched from ``since`` on.

It may not put anything that it read into an error.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import stat
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from byokeep.adapters.openbao.login import AppRoleLogin
from byokeep.core.errors import ByokeepError, Denied, Rejected, Unavailable, refusing
from byokeep.core.secret import Secret
from byokeep.kernel.ports import HASHED_NAME, LEAST_FREE_BYTES, DeviceHealth, StoreEntry, node_of
from byokeep.process import descriptor
from byokeep.wire.bao_http import BaoHttp, BaoReply

MAX_LINE: Final = 64 << 20  # bytes; a request may have 32 MiB, and each short string in it becomes a hash
LOGIN_PATHS: Final = frozenset({"auth/lease/cel/login", "auth/lease/login"})
ENTITY_PATH: Final = "identity/entity/id/"
UNWRAPS: Final = ("sys/wrapping/unwrap", "sys/wrapping/rewrap")  # each uses up a wrapping token
NAMED_PATH: Final = f"transit/keys/{HASHED_NAME}"
_START: Final = b'{"time":"'
_SLACK: Final = timedelta(seconds=5)  # entries of parallel requests are not strictly in order
_SMALL: Final = 1 << 20  # bytes; a smaller file is read from its start


def _first_offset(file: Any, since: datetime) -> int:
    """Return the offset of a line start before every entry at or after ``since``, but for what a clock wrote that ran
    ahead and was set right before ``since``. Raises Unavailable.
    """
    wanted = since - _SLACK
    low, high = 0, (size := os.fstat(file.fileno()).st_size)
    while high - low > _SMALL:
        # From the end, in steps twice as long each: hours dated into the future are not read again by each round.
        middle = max((low + high) // 2, size - max(_SMALL, 2 * (size - high)))
        file.seek(middle)
        file.readline(MAX_LINE)
        start, line = file.tell(), file.readline(MAX_LINE)
        if start >= high or not line.endswith(b"\n"):
            high = middle
            continue
        if _entries("", line, None)[-1].at < wanted:
            low = start
        else:
            high = middle
    return low


def first_time(path: Path) -> datetime | None:
    """Return when the first entry of a file was written; None if there is no file, no entry or no time in it."""
    try:
        with path.open("rb") as file:
            return _entries("", file.readline(MAX_LINE), None)[0].at
    except (OSError, Unavailable):
        return None


def _rotated(path: Path) -> Path:
    return path.with_name(f"{path.name}.1")


def _unread(path: Path, device: str, since: datetime, read: set[int]) -> Iterator[list[StoreEntry]] | None:
    """Return the entries of a log's next unread file, the one rotated away first. Raises Unavailable."""
    begins = first_time(path)
    reaches = begins is not None and begins <= since - _SLACK
    for name in (path,) if reaches or not _rotated(path).exists() else (_rotated(path), path):
        file = _opened(name)
        inode = os.fstat(file.fileno()).st_ino
        if inode not in read:
            read.add(inode)
            return _batches(file, device, _first_offset(file, since))
        file.close()
    return None


def _batches(source: Any, device: str, offset: int) -> Iterator[list[StoreEntry]]:
    """Yield the entries of the whole lines from ``offset`` on, about a MiB at a time. Raises Unavailable."""
    with source as file:
        file.seek(offset)
        last: datetime | None = None
        while True:
            found: list[StoreEntry] = []
            until, line = offset + (1 << 20), b""
            while offset < until:
                line = file.readline(MAX_LINE)
                if not line.endswith(b"\n"):
                    break  # the end, or the last line, still being written
                found += _entries(device, line, last)
                last = found[-1].at
                offset += len(line)
            yield found
            if offset < until:
                if len(line) == MAX_LINE:
                    raise Unavailable("store_audit_unreadable", device=device)
                return


def _opened(path: Path) -> Any:
    with refusing("store_audit_unreadable", Unavailable, on=OSError):
        return path.open("rb")


def _entries(device: str, line: bytes, last: datetime | None) -> list[StoreEntry]:
    """Parse one line: one entry, or a torn one and the entry written behind it."""
    for torn in (False, True):  # what only a torn line needs is not done for each of the others
        with suppress(ValueError, TypeError, AttributeError, KeyError, RecursionError):
            whole = _entry(device, line[line.rfind(_START) :] if torn else line)
            if not torn:
                return [whole]
            return [StoreEntry(device=device, at=last or whole.at, kind="torn", status_error=True), whole]
    raise Unavailable("store_audit_unreadable", device=device)


def _entry(device: str, line: bytes) -> StoreEntry:
    document = json.loads(line.decode())
    request, auth, response = document["request"], document.get("auth") or {}, document.get("response") or {}
    answered, said = response.get("auth") or {}, response.get("data") or {}
    headers, data = request.get("headers") or {}, request.get("data") or {}
    path, operation = _text(request.get("path")), _text(request.get("operation"))
    at = datetime.fromisoformat(document["time"])
    if at.tzinfo is None or document["type"] not in ("request", "response"):
        raise ValueError
    return StoreEntry(
        device=device, request_id=_text(request["id"]), at=at, kind=document["type"], operation=operation, path=path,
        entity_id=_text(auth.get("entity_id") or answered.get("entity_id")),
        lease_header=_text(next(iter(headers.get("x-byokeep-lease") or []), "")),
        login_jwt_hash=_text(data.get("jwt")) if path in LOGIN_PATHS else "",
        status_error=bool(document.get("error")) or set(said) == {"error"},  # the store's two ways to refuse
        lets_in=operation == "update" and path.startswith(ENTITY_PATH) and data.get("disabled") is not True,
        name_hash=_text(said.get("name")) if path == NAMED_PATH and operation == "read" else "",
        version=_version(said.get("metadata")) if path.startswith("kv/data/") else 0,
        machine=_machine(auth), accessor_hash=_text(auth.get("accessor")),
        wrapped_hash=_text(data.get("token") or auth.get("client_token")) if path in UNWRAPS else "",
        wrapped=bool(request.get("wrap_ttl") or response.get("wrap_info") or (path in UNWRAPS and said)),
    )  # fmt: skip


def _text(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError
    return value


def _machine(auth: Any) -> str:
    """Return the AppRole that a token belongs to; a token made without a login gets another name."""
    return _text((auth.get("metadata") or {}).get("role_name")) if auth.get("display_name") == "approle" else ""


def _version(metadata: object) -> int:
    """Return the version that an answer names; numbers appear in the log as they are."""
    version = metadata.get("version") if isinstance(metadata, dict) else None
    return version if type(version) is int and 0 < version < 2**31 else 0


OTHER_NODE: Final = "other-node"
_POLL_S: Final = 0.02
_ASKED: Final = NAMED_PATH  # the answer shows which key a device hashes with
_BEHIND_S: Final = (0.02, 0.1)  # seconds before each new attempt at a node that may not know our token yet
_MARK: Final = re.compile(r"[0-9a-f-]{36}\Z")  # the store's id of a request
_REASONS: Final = {"store_timeout": "hung", "store_audit_failed": "not_written"}


@dataclass(frozen=True, slots=True)
class _Look:
    """A file as seen before the probe; ``problem`` is a code."""

    problem: str
    inode: int = 0
    size: int = 0
    written: float = 0.0
    free: int = 0


class FileStoreAudit:
    """The trail in the files of the declared devices.

    Args:
        login: The broker's identity.
        files: Device name -> its file on this host; in a cluster ``node/device`` -> the node's file.
        nodes: Returns every node of the store's cluster; default: only one.
        deadline_s: Seconds within which a marker must be in the file, and a sync done.
        min_free_bytes: With less free space a device reads ``disk_low``.
    """

    def __init__(
        self, login: AppRoleLogin, files: Mapping[str, Path], *,
        nodes: Callable[[], Awaitable[Sequence[BaoHttp]]] | None = None, deadline_s: float = 2.0,
        min_free_bytes: int = LEAST_FREE_BYTES,
    ) -> None:  # fmt: skip
        self._login = login
        self._files = dict(files)
        self._nodes = nodes
        self._deadline_s = deadline_s
        self._min_free = min_free_bytes
        self._first = {name: look.inode for name, look in self._look_all().items() if not look.problem}
        self._syncs: dict[str, asyncio.Future[None]] = {}

    async def devices(self) -> list[DeviceHealth]:
        """Return every declared device's health, proved by a probe written just now.

        ``reason`` is ``missing``, ``unreadable``, ``inode_changed``, ``truncated``, ``not_written``, ``disk_low``,
        ``hung``, ``node_not_named``, or the code why the probe could not be made at all. With no device declared the
        list is empty, which is not health.
        """
        before = await asyncio.to_thread(self._look_all)
        marks, failed, several = await self._probe()
        until = time.monotonic() + self._deadline_s
        looks = (self._written(name, before[name], marks, failed, until) for name in self._files)
        written = dict(zip(self._files, await asyncio.gather(*looks), strict=True))
        if several and marks and self._files:
            strange = await self._in_no_file(before, marks, until)
            recording = {node_of(name) for name, (_, records) in written.items() if records}
            for name, (reason, _) in written.items():
                if not strange and reason == "not_written" and node_of(name) not in recording:
                    written[name] = "", False  # it passed everything on to the active node
        else:
            strange = False
        found = list(await asyncio.gather(*(self._device(name, *written[name]) for name in self._files)))
        if strange:
            found.append(
                DeviceHealth(name=OTHER_NODE, healthy=False, reason="node_not_named", last_write_at=None, size_bytes=0,
                             disk_free_bytes=0)
            )  # fmt: skip
        return found

    async def hash(self, device: str, value: Secret) -> str:
        """Return the device's keyed hash of a value, as it would stand in its log.

        Raises:
            Rejected: ``unknown_device``.
            Unavailable: Not computed.
        """
        if device not in self._files:
            raise Rejected("unknown_device")
        own = device.rpartition("/")[2]  # the nodes of a cluster share the key of a device
        reply = await self._login.request("POST", f"sys/audit-hash/{own}", body={"input": value})
        digest = reply.data.get("hash")
        if not isinstance(digest, str) or not digest.startswith("hmac-sha256:"):
            raise Unavailable("store_garbage")
        return digest

    async def entries(self, device: str, *, since: datetime) -> AsyncIterator[StoreEntry]:
        """Yield entries in file order: requests and responses, and ``torn`` for a line that a crash cut off.

        Raises:
            Rejected: ``unknown_device``.
            Unavailable: ``store_audit_unreadable``.
        """
        if device == OTHER_NODE:
            raise Unavailable("store_audit_unreadable", device=device)
        if device not in self._files:
            raise Rejected("unknown_device")
        path, read = self._files[device], set[int]()
        while (source := await asyncio.to_thread(_unread, path, device, since, read)) is not None:
            while (batch := await asyncio.to_thread(next, source, None)) is not None:
                for entry in batch:
                    if entry.at >= since:
                        yield entry

    def _look_all(self) -> dict[str, _Look]:
        return {name: _look(path) for name, path in self._files.items()}

    async def _probe(self) -> tuple[list[bytes], str, bool]:
        """Return the store's ids of the answered requests, why one was not answered, and whether more nodes exist."""
        nodes: Sequence[BaoHttp] = ()
        failed, marks = "", []
        try:
            nodes = await self._nodes() if self._nodes else ()
        except ByokeepError as error:
            failed = error.code
        if several := len(nodes) > 1:
            asks = [self._ask(node) for node in nodes]
        else:
            asks = [self._login.request("GET", _ASKED, timeout_s=self._deadline_s)]
        for answer in await asyncio.gather(*asks, return_exceptions=True):
            if isinstance(answer, ByokeepError):
                failed = _REASONS.get(answer.code, answer.code)
            elif isinstance(answer, BaseException):
                raise answer
            elif _MARK.match(answer.request_id):
                marks.append(answer.request_id.encode())
            else:
                failed = "store_garbage"
        return marks, failed, several

    async def _ask(self, node: BaoHttp) -> BaoReply:
        for pause_s in _BEHIND_S:
            try:
                return await self._at(node)
            except Denied:
                await asyncio.sleep(pause_s)
        return await self._at(node)

    async def _at(self, node: BaoHttp) -> BaoReply:
        return await node.request("GET", _ASKED, token=await self._login.token(), timeout_s=self._deadline_s)

    async def _in_no_file(self, before: Mapping[str, _Look], marks: Sequence[bytes], until: float) -> bool:
        """Whether an answer is in none of the files, after waiting for it."""
        while True:
            for name, path in self._files.items():
                held = [mark for mark in marks if await asyncio.to_thread(_holds, path, before[name].size, [mark])]
                marks = [mark for mark in marks if mark not in held]
            if not marks or time.monotonic() >= until:
                return bool(marks)
            await asyncio.sleep(_POLL_S)

    async def _device(self, name: str, reason: str, records: bool) -> DeviceHealth:
        path = self._files[name]
        after = await asyncio.to_thread(_look, path)
        reason = reason or after.problem or ("disk_low" if after.free < self._min_free else "")
        if records and not await self._synced(name):
            reason, records = reason or "hung", False
        return DeviceHealth(
            name=name, healthy=not reason, reason=reason, size_bytes=after.size, disk_free_bytes=after.free,
            last_write_at=datetime.fromtimestamp(after.written, UTC) if after.written else None, records=records,
            recording_since=await asyncio.to_thread(lambda: first_time(_rotated(path)) or first_time(path)),
        )  # fmt: skip

    async def _synced(self, name: str) -> bool:
        """Whether the disk takes a sync in time. One that hangs keeps a thread, so others wait for it."""
        sync = self._syncs.get(name)
        if sync is None or sync.done():
            sync = self._syncs[name] = asyncio.ensure_future(asyncio.to_thread(_sync, self._files[name]))
        await asyncio.wait({sync}, timeout=self._deadline_s)
        return sync.done() and sync.exception() is None

    async def _written(
        self, name: str, before: _Look, marks: Sequence[bytes], failed: str, until: float
    ) -> tuple[str, bool]:
        """Return what is wrong, and whether one of the marks was found beyond the size seen before."""
        if not marks:
            return failed, False
        if before.problem:
            return before.problem, False
        moved = "inode_changed" if self._first.setdefault(name, before.inode) != before.inode else ""
        path = self._files[name]
        while True:
            now = await asyncio.to_thread(_look, path)
            if now.problem or now.inode != before.inode:
                return now.problem or "inode_changed", False
            if now.size < before.size:
                return "truncated", False
            if await asyncio.to_thread(_holds, path, before.size, marks):
                self._first[name] = before.inode  # the store itself writes to it
                return "", True
            if time.monotonic() >= until:
                return moved or failed or "not_written", False
            await asyncio.sleep(_POLL_S)


def _look(path: Path) -> _Look:
    try:
        found = path.lstat()
        room = os.statvfs(path)
    except FileNotFoundError:
        return _Look("missing")
    except OSError:
        return _Look("unreadable")
    problem = "" if stat.S_ISREG(found.st_mode) else "unreadable"
    return _Look(problem, found.st_ino, found.st_size, found.st_mtime, room.f_bavail * room.f_frsize)


def _holds(path: Path, start: int, marks: Sequence[bytes]) -> bool:
    """Whether one of the marks is found after ``start``."""
    try:
        with path.open("rb") as file:
            file.seek(start)
            tail = b""
            while chunk := file.read(1 << 20):
                if any(mark in tail + chunk for mark in marks):
                    return True
                tail = chunk[-max(map(len, marks)) :]
    except OSError:
        pass
    return False


def _sync(path: Path) -> None:
    with descriptor(path, os.O_RDONLY) as file:
        os.fsync(file)
