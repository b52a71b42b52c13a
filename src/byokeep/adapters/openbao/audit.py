"""Port StoreAudit: OpenBao's own audit trail, over its file devices.

OpenBao never notices that a log file was deleted or replaced, and never syncs one to disk. So health is proven at each
call: a request with a fresh marker is made, and the marker must stand in every device's file, at the same inode as
before, with room on the disk, and the disk must take a sync.

A file that is moved away on purpose (log rotation and SIGHUP) reads ``inode_changed`` until this process starts anew.
"""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import uuid4

from byokeep.adapters.openbao import audit_entries
from byokeep.adapters.openbao.login import AppRoleLogin
from byokeep.core.errors import ByokeepError, Rejected, Unavailable
from byokeep.core.secret import Secret
from byokeep.ports import DeviceHealth, StoreEntry

_POLL_S: Final = 0.02
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
        files: Device name -> its file, on this host.
        deadline_s: Until when a marker must be in the file, and a sync be done, in seconds.
        min_free_bytes: Less free space than this reads ``disk_low``.
    """

    def __init__(
        self,
        login: AppRoleLogin,
        files: Mapping[str, Path],
        *,
        deadline_s: float = 2.0,
        min_free_bytes: int = 256 << 20,
    ) -> None:
        self._login = login
        self._files = dict(files)
        self._deadline_s = deadline_s
        self._min_free = min_free_bytes
        self._first = {name: look.inode for name, look in self._look_all().items() if not look.problem}

    async def devices(self) -> list[DeviceHealth]:
        """Return every declared device's health, proven by a probe written just now.

        ``reason`` is ``missing``, ``unreadable``, ``inode_changed``, ``truncated``, ``not_written``, ``disk_low``,
        ``hung``, or the code for which the probe could not be made at all. No device declared is an empty list, which
        is not health.
        """
        before = await asyncio.to_thread(self._look_all)
        marker = f"probe-{uuid4()}"
        failed = ""
        try:
            await self._login.request("GET", "transit/keys/leases", lease_header=marker, timeout_s=self._deadline_s)
        except ByokeepError as error:
            failed = _REASONS.get(error.code, error.code)
        until = time.monotonic() + self._deadline_s
        checks = (self._device(name, before[name], marker, failed, until) for name in self._files)
        return list(await asyncio.gather(*checks))

    async def hash(self, device: str, value: Secret) -> str:
        """Return the device's keyed hash of a value, as it would stand in its log.

        Raises:
            Rejected: ``unknown_device``.
            Unavailable: Not computed.
        """
        if device not in self._files:
            raise Rejected("unknown_device")
        reply = await self._login.request("POST", f"sys/audit-hash/{device}", body={"input": value})
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
        if device not in self._files:
            raise Rejected("unknown_device")
        path = self._files[device]
        offset = await asyncio.to_thread(audit_entries.first_offset, path, since)
        source = audit_entries.batches(path, device, offset)
        while (batch := await asyncio.to_thread(next, source, None)) is not None:
            for entry in batch.entries:
                if entry.at >= since:
                    yield entry

    def _look_all(self) -> dict[str, _Look]:
        return {name: _look(path) for name, path in self._files.items()}

    async def _device(self, name: str, before: _Look, marker: str, failed: str, until: float) -> DeviceHealth:
        path = self._files[name]
        reason, records = (failed, False) if failed else await self._written(name, before, marker, until)
        after = await asyncio.to_thread(_look, path)
        reason = reason or after.problem or ("disk_low" if after.free < self._min_free else "")
        if records and not await _synced(path, self._deadline_s):
            reason, records = reason or "hung", False
        return DeviceHealth(
            name=name,
            healthy=not reason,
            reason=reason,
            last_write_at=datetime.fromtimestamp(after.written, UTC) if after.written else None,
            size_bytes=after.size,
            disk_free_bytes=after.free,
            records=records,
            recording_since=await asyncio.to_thread(audit_entries.first_time, path),
        )

    async def _written(self, name: str, before: _Look, marker: str, until: float) -> tuple[str, bool]:
        """Return what is wrong, and whether the marker was found behind the size seen before."""
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
            if await asyncio.to_thread(_holds, path, before.size, marker.encode()):
                return moved, True
            if time.monotonic() >= until:
                return moved or "not_written", False
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


def _holds(path: Path, start: int, marker: bytes) -> bool:
    """Whether the marker stands behind ``start``."""
    try:
        with path.open("rb") as file:
            file.seek(start)
            tail = b""
            while chunk := file.read(1 << 20):
                if marker in tail + chunk:
                    return True
                tail = chunk[-len(marker) :]
    except OSError:
        pass
    return False


async def _synced(path: Path, deadline_s: float) -> bool:
    def sync() -> None:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    try:
        await asyncio.wait_for(asyncio.to_thread(sync), deadline_s)
    except (OSError, TimeoutError):
        return False
    return True
