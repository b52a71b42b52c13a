"""The broker's last proof that the secret store records, and what must not proceed without it.

Rules
- Nothing is proved until a probe proves it, and a proof ages: leases and the intake of values fail closed.
- One recording device is enough. Kills, revocations and the end of jobs never depend on this proof.
- The hot path reads a number in memory. ``web``, another process, reads the broker's last proof from the database.
- It recovers by itself, with the next probe that finds its mark in a device's file.

It may not read a value or repair a device.
"""

from __future__ import annotations

from uuid import UUID

from byokeep.kernel.app import RECORDED_FOR_S, App, BrokerApp, not_recording
from byokeep.kernel.ports import DeviceHealth


async def probe(app: BrokerApp) -> list[DeviceHealth]:
    """Probe every audit device of the store and keep what it proves, here and for ``web``.

    Raises:
        Unavailable: The database; what was proved holds in this process all the same.
    """
    began = app.clock.monotonic()
    devices = await app.store_audit.devices()
    if any(device.records for device in devices):
        app.store_recording.proved(began)
        async with app.db.begin() as tx:
            await tx.one(UUID, "store_recording_proved", installation_id=app.installation_id)
    return devices


async def require_recorded(app: App) -> None:
    """Refuse by the broker's last proof in the database, before a value is written. Raises Unavailable."""
    asked = {"installation_id": app.installation_id, "holds_s": RECORDED_FOR_S}
    if await app.db.read(lambda row: row["recording"] is True, "store_recording", asked) != [True]:
        raise not_recording()
