"""Who seals a profile learns in time that cut-off seals use its record's history up, and people learn it with him.

Rules
- From half of the room on an alert is open; it is committed before anything of the seal is written, so that a process
  which dies again and again at the same place has said so long before no seal may begin any more.
- A seal that is refused for want of room raises an alert of its own: the profile needs a person now.

It may not ask a store, and frees nothing: a rotation of the client's key does (:mod:`.kek_rewrap`).
"""

from __future__ import annotations

from typing import Final
from uuid import UUID

from byokeep.core.errors import Conflict
from byokeep.core.model import Actor, ClientId
from byokeep.core.record_room import FULL, check_seal, is_low
from byokeep.flows.app import App
from byokeep.flows.command import open_alert
from byokeep.flows.profiles import Profile
from byokeep.ports import Tx

LOW: Final = "record_history_low"


async def check_room(tx: Tx, app: App, actor: Actor, profile: Profile, *, newest: int, stays: int) -> None:
    """Let a seal begin that still has room for its record, and tell people when little is left.

    Args:
        newest: The newest version of the record in the store.
        stays: The oldest version that must stay; 0 = none.

    Raises:
        Conflict: ``record_history_full``; who rolls back for it calls :func:`tell_full`.
    """
    check_seal(newest=newest, stays=stays)
    if is_low(newest=newest, stays=stays):
        await open_alert(
            tx, app, actor, reason=LOW, severity="warning", client_id=profile.client_id, object_id=profile.id
        )


async def tell_full(app: App, actor: Actor, client_id: ClientId, profile_id: UUID, error: Conflict) -> None:
    """Raise the alert about a seal that was refused for want of room; any other conflict says nothing of that."""
    if error.code != FULL:
        return
    async with app.db.begin(client_id=client_id) as tx:
        await open_alert(tx, app, actor, reason=FULL, client_id=client_id, object_id=profile_id)
