"""Rows that the gate believes and no record explains: found by the broker's rounds, and the gate closed over them.

Rules
- Each row that can open something is what its last record says, or it is a finding (ADR 0039).
- A finding engages the kill switch of its client, or of everything where it is nobody's, on record and at the store as
  any kill. Two people release it as any other. While it is engaged the finding is told and nothing more is done.
- While a row stays what nobody recorded, a release holds until the next round.

It may not mend a row: people do, by the operation that would have changed it.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from typing import Final
from uuid import UUID

from byokeep.core.errors import ByokeepError
from byokeep.jobs.explain import LogFinding
from byokeep.jobs.switches import engage
from byokeep.kernel.app import BrokerApp
from byokeep.kernel.rows import Row
from byokeep.tenancy.scopes import GLOBAL, scope_from_name

REASON: Final = "row_unrecorded"


def _place(row: Row) -> tuple[UUID | None, UUID | None]:
    return row["client_id"], row["id"]


_KINDS: Final = {"switch": "switches", "client": "clients", "job": "jobs", "account": "accounts", "key": "keys"}


async def look(app: BrokerApp, at: datetime) -> list[LogFinding]:
    """Return what stands in the database otherwise than on record, and close the gate over it.

    Raises:
        Unavailable: The database.
    """
    found = []
    for kind, many in _KINDS.items():
        for client_id, row_id in await app.db.read(_place, f"unrecorded_{many}", {}, every_client=True):
            found.append(
                LogFinding(reason=f"{kind}_unrecorded", severity="critical", at=at, client_id=client_id,
                    object_id=row_id)
            )  # fmt: skip
    await close_gates(app, (one.client_id for one in found))
    return found


async def close_gates(app: BrokerApp, clients: Iterable[UUID | None]) -> None:
    """Engage the kill switch of each client that has a finding; ``None`` = of everything.

    One whose cut-off at the store is pending counts as engaged; whatever keeps one from being engaged keeps no other.
    """
    for client_id in dict.fromkeys(clients):
        name = GLOBAL if client_id is None else f"client:{client_id}"
        with suppress(ByokeepError):
            engaged = await app.db.read(
                lambda row: bool(row["closed"]), "switch_read", {"scope": name}, every_client=True
            )
            if engaged != [True]:
                await engage(app, app.system(), scope_from_name(name), REASON)
