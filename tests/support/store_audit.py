"""A simulator of the StoreAudit port: devices with a key each, entries as a test writes them."""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime

from byokeep.core.errors import Unavailable
from byokeep.core.secret import Secret
from byokeep.kernel.ports import DeviceHealth, StoreEntry


@dataclass
class SimulatedStoreAudit:
    """Two devices unless told otherwise. ``unreadable`` names those whose log can not be read."""

    names: tuple[str, ...] = ("a", "b")
    logs: dict[str, list[StoreEntry]] = field(default_factory=dict)
    unreadable: set[str] = field(default_factory=set)
    down: bool = False
    since: datetime | None = None  # when its logs begin; None = before all that is asked
    made_anew: int = 0  # how often the devices were: each time they hash with another key

    async def devices(self) -> list[DeviceHealth]:
        """Return the devices, healthy when readable."""
        if self.down:
            raise Unavailable("store_unavailable")
        return [
            DeviceHealth(
                name=name, healthy=name not in self.unreadable,
                records=name not in self.unreadable, reason="", last_write_at=None, size_bytes=1,
                disk_free_bytes=1, recording_since=self.since,
            )
            for name in self.names
        ]  # fmt: skip

    async def hash(self, device: str, value: Secret) -> str:
        """Hash as a device does: keyed, another key for each; the nodes of a cluster share it."""
        key = device.rpartition("/")[2] + "'" * self.made_anew
        return "hmac-sha256:" + hmac.digest(key.encode(), value.reveal(), "sha256").hex()

    async def entries(self, device: str, *, since: datetime) -> AsyncIterator[StoreEntry]:
        """Yield what was written."""
        if device in self.unreadable:
            raise Unavailable("store_audit_unreadable")
        for entry in self.logs.get(device, []):
            if entry.at >= since:
                yield entry

    def write(self, request_id: str, at: datetime, operation: str, path: str, *, entity: str = "", lease: str = "",
              hashes: dict[str, str] | None = None, error: bool = False, lets_in: bool = False,
              only: tuple[str, ...] = (), names: dict[str, str] | None = None, machine: str = "",
              wrapped: bool = False) -> None:  # fmt: skip
        """Record a request and its response on all devices, or on ``only`` these."""
        for name in only or self.names:
            for kind in ("request", "response"):
                self.logs.setdefault(name, []).append(
                    StoreEntry(
                        device=name, request_id=request_id, at=at, kind=kind, operation=operation, path=path,
                        entity_id=entity, lease_header=lease, login_jwt_hash=(hashes or {}).get(name, ""),
                        status_error=error and kind == "response", lets_in=lets_in, machine=machine, wrapped=wrapped,
                        name_hash=(names or {}).get(name, "") if kind == "response" else "",
                    )
                )  # fmt: skip
