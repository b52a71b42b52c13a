"""Start, by the clock, what is due and needs no person: keys of browser profiles, and the keys that guard them.

Rules
- An item is started within the day before its date, at its own moment, so that items made together are not started
  together. After a time in which nothing ran, the earliest date comes first.
- A round starts few items, and a provider sees few per hour, whoever asks: the database counts. An item that did not
  finish is tried again after six hours.
- It is started as a person would start it, and recorded as the service's own act. What an incident made due is left to
  a person.

It may not do the work itself: tasks and procedures do.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from types import MappingProxyType
from typing import Final
from uuid import UUID

from byokeep.core.errors import ByokeepError
from byokeep.core.events import EventName, Outcome
from byokeep.core.model import ClientId
from byokeep.core.profile import ProfileTask
from byokeep.kernel.app import App
from byokeep.kernel.command import record
from byokeep.kernel.ports import Tx
from byokeep.operations.due import DueItem, DueKind, read_due
from byokeep.profiles import kek_requests, profiles
from byokeep.profiles.profiles import Profile
from byokeep.tenancy.clients import require_active

PER_ROUND: Final = 5
PER_HOUR: Final = 30  # starts at one provider, and of what has none
_SPREAD: Final = timedelta(days=1)
_MOST: Final = 10_000
_BY_CLOCK: Final = frozenset({"", "interval"})
Starter = Callable[[Tx, App, DueItem, ClientId], Awaitable[None]]


async def _rekey(tx: Tx, app: App, item: DueItem, client_id: ClientId) -> None:
    await require_active(tx, client_id)
    found = await tx.one(Profile, "profile_get", client_id=client_id, id=UUID(item.item))
    await profiles.insert_work(tx, app, app.system(), found, ProfileTask.REKEY)


async def _rotate_kek(tx: Tx, app: App, _: DueItem, client_id: ClientId) -> None:
    await kek_requests.hand_rotation(tx, app.system(), client_id, reason="scheduled")


STARTERS: Final[Mapping[DueKind, Starter]] = MappingProxyType({DueKind.PROFILE: _rekey, DueKind.KEK: _rotate_kek})


def needs_nobody(item: DueItem, kinds: Collection[DueKind]) -> bool:
    """Whether the clock begins an item by itself, of the kinds that can be begun here."""
    return item.kind in kinds and item.client_id is not None and item.cause in _BY_CLOCK


def begins_at(item: DueItem, due_at: datetime) -> datetime:
    """Return when an item is begun: its own moment of the day before its date."""
    drawn = int.from_bytes(sha256(f"{item.kind}/{item.item}/{due_at}".encode()).digest()[:4], "big") / 2**32
    return due_at - _SPREAD * drawn


async def start_due(app: App, starters: Mapping[DueKind, Starter] = STARTERS) -> int:
    """Begin what is due and needs nobody, the earliest date first; returns how many were begun.

    Raises:
        Unavailable: The database is away.
    """
    now, begun = app.clock.now(), 0
    async with app.db.begin(every_client=True) as tx:
        found = await read_due(tx, app.limits, now, until=now + _SPREAD, limit=_MOST)
    for item in found.items:
        if begun >= PER_ROUND:
            break
        if item.client_id is None or item.due_at is None or item.state == "under_way":
            continue
        if needs_nobody(item, starters.keys()) and now >= begins_at(item, item.due_at):
            begun += await _start(app, item, item.client_id, starters[item.kind])
    return begun


async def _start(app: App, item: DueItem, client_id: ClientId, starter: Starter) -> bool:
    """Begin an item in the transaction that claims it; what refuses it is on record, and counts as a try."""
    try:
        async with app.db.begin(every_client=True) as tx:
            if not await _claim(tx, app, item, client_id):
                return False
            await starter(tx, app, item, client_id)
            await _note(tx, app, item, client_id, "")
    except ByokeepError as error:
        async with app.db.begin(every_client=True) as tx:
            if await _claim(tx, app, item, client_id):
                await _note(tx, app, item, client_id, error.code)
        return False
    return True


async def _claim(tx: Tx, app: App, item: DueItem, client_id: ClientId) -> bool:
    now = app.clock.now()
    if await tx.one(int, "due_start_budget", provider=item.provider, now=now) >= PER_HOUR:
        return False
    named = {"kind": item.kind, "item": item.item, "client_id": client_id, "provider": item.provider}
    return bool(await tx.all(int, "due_start_claim", **named, due_at=item.due_at, now=now))


async def _note(tx: Tx, app: App, item: DueItem, client_id: ClientId, refused: str) -> None:
    await record(
        tx, app.system(), EventName.DUE_STARTED, outcome=Outcome.FAILED if refused else Outcome.OK, client_id=client_id,
        object_id=client_id if item.kind is DueKind.KEK else UUID(item.item), kind=item.kind.value, due_at=item.due_at,
        reason=refused or None,
    )  # fmt: skip
