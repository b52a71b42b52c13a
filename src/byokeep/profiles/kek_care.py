"""What is done about key-encryption keys by the clock: rotations go on, keys are compared, what is due is said.

Rules
- A rotation that nobody works on any more is handed on; what it left over is destroyed a while after it ended.
- Each key is compared with OpenBao at least once an hour, so that what is done outside is noticed in time (R9.2-2).
- Due is told once, overdue as long as it lasts (R6.1-7).
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final
from uuid import UUID

from byokeep.core.errors import ByokeepError
from byokeep.core.kek_life import rotation_due, urgency
from byokeep.core.keystate import KeyState
from byokeep.core.model import Actor, ClientId
from byokeep.kernel.command import open_alert
from byokeep.profiles import kek_book, kek_rewrap, kek_work
from byokeep.profiles.kek_app import KekApp
from byokeep.profiles.vault_check import check_vault

CHECK_EVERY_S: Final = 3600
_AT_ONCE: Final = 50


async def care(app: KekApp) -> int:
    """Do everything that is due; returns how many acts there were.

    Raises:
        Unavailable: The database is away.
    """
    return await go_on(app) + await compare(app) + await tell_due(app)


async def go_on(app: KekApp) -> int:
    """Hand on what open rotations left, and clear up after ended ones; returns how many clients and profiles."""
    handed = 0
    async with app.db.begin(every_client=True) as tx:
        for rotation in (await kek_book.under_way(tx))[:_AT_ONCE]:
            handed += await kek_rewrap.hand_out(tx, rotation, app.system())
        strays = await tx.all(
            lambda row: (ClientId(row["client_id"]), UUID(str(row["profile_id"]))),
            "kek_rotations_to_tidy",
            after_s=kek_rewrap.TIDY_AFTER_S,
            limit=_AT_ONCE,
        )
    for client_id in sorted({client_id for client_id, _ in strays}):
        with suppress(ByokeepError):  # tried again by the next round
            own = [profile_id for whose, profile_id in strays if whose == client_id]
            handed += await kek_rewrap.tidy(app, app.system(), client_id, own)
    return handed


async def compare(app: KekApp) -> int:
    """Compare keys that were not for a while; returns how many."""
    async with app.db.begin(every_client=True) as tx:
        found = await tx.all(
            ClientId,
            "keks_to_check",
            installation=app.installation_id,
            within_s=CHECK_EVERY_S,
            limit=_AT_ONCE,
        )
    for client_id in found:
        with suppress(ByokeepError):  # on record, and tried again
            await kek_work.check(app, app.system(), client_id)
            await check_vault(app, app.system(), client_id)
    return len(found)


async def tell_due(app: KekApp) -> int:
    """Raise alerts about rotations that are due or overdue; returns how many keys."""
    told = 0
    async with app.db.begin(every_client=True) as tx:
        rows = await kek_book.versions(tx)
        newest = {row.kek_id: row for row in rows if row.state is not KeyState.PRE_ACTIVATION}
        for row in newest.values():
            due_at = rotation_due(row.made_at, app.kek_rotation_days, row.protect_until)
            if how := urgency(row.now, due_at, row.protect_until):
                told += 1
                await open_alert(
                    tx, app, app.system(), reason=f"kek_{how}", client_id=row.client_id, object_id=row.client_id,
                    severity="critical" if how == "overdue" else "warning", key=f"kek_{how}:{row.kek_id}:{row.version}",
                )  # fmt: skip
    return told


async def told(app: KekApp, actor: Actor, client_id: ClientId, error: ByokeepError) -> None:
    """Raise an alert about something that was asked for and refused at OpenBao: who asked is gone by then."""
    async with app.db.begin(client_id=client_id) as tx:
        await open_alert(tx, app, actor, reason="kek_not_moved", client_id=client_id, object_id=client_id,
                          key=f"kek_not_moved:{client_id}:{error.code}")  # fmt: skip
