"""The due list: what must be rotated, renewed or consented to again, for every kind of credential, by date.

Rules
- One statement covers every kind, with a branch for each. To add a kind, add a branch; nothing else lists due work.
  Kinds without a date of their own get one from the installation's policy.
- Items that are overdue or have no date are always on the list. It says how many rows did not fit.
- A list has a digest over its content, except the days left, so that people can sign off the list that they saw. That
  somebody read a list is recorded with its digest; a page about something else, which takes a few rows of it, is no
  reading of the list.

It may not do what is due.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from byokeep.audit.disclosure import PURPOSE
from byokeep.audit.log import origin
from byokeep.core import evidence
from byokeep.core.backup import QUARTER
from byokeep.core.canonical import canonical_json
from byokeep.core.events import EventName
from byokeep.core.model import Actor, ClientId
from byokeep.core.policy import Verb, require_proof
from byokeep.kernel.app import App, BrokerApp, ServiceLimits
from byokeep.kernel.command import command, open_alert, record, stamp
from byokeep.kernel.ports import Tx
from byokeep.kernel.rows import reader
from byokeep.keys.rotation import ASKS, DUAL_PERIOD
from byokeep.operations.internal import EVERY_DAYS
from byokeep.tenancy.clients import MAX_ROWS, scope_of

AHEAD: Final = timedelta(days=14)  # what is listed unless somebody asks for more, and when the first reminder goes out


class DueKind(StrEnum):
    """Whose turn it is: every kind that has a date."""

    KEY = "key"
    UNUSED_KEY = "unused_key"
    ADMIN_KEY = "admin_key"
    WEBHOOK_SECRET = "webhook_secret"  # noqa: S105
    OAUTH = "oauth"
    PROFILE = "profile"
    KEK = "kek"
    MACHINE_TOKEN = "machine_token"  # noqa: S105
    PERSON_TOKEN = "person_token"  # noqa: S105
    APP_SECRET = "app_secret"  # noqa: S105
    PLATFORM_SECRET = "platform_secret"  # noqa: S105
    BREAK_GLASS = "break_glass"
    BACKUP = "backup"
    BACKUP_PROOF = "backup_proof"
    RECOVERY_DRILL = "recovery_drill"


_ENDS: Final = {DueKind.MACHINE_TOKEN: "machine_token_ends", DueKind.PERSON_TOKEN: "person_token_ends"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DueItem:
    """Something with a date.

    Attributes:
        item: Its id, or its name where it has none; unique within its kind.
        client_id: Whose; ``None`` = the platform's own.
        provider: At whom it is renewed; empty = at nobody.
        due_at: ``None`` = nobody can say.
        cause: Why it is due before its date; a code, as a rule empty.
        state: ``overdue``, ``due``, ``under_way``, ``unknown``; ``keyless``: there is nothing to rotate.
        days: Until then, of the calendar (UTC): 0 = today; negative when the day is over.
        words: The command that does it.
    """

    kind: DueKind
    item: str
    client_id: ClientId | None
    client: str | None
    provider: str
    name: str
    due_at: datetime | None
    cause: str
    state: str
    days: int | None
    words: tuple[str, ...]

    @property
    def command(self) -> str:
        """The command as it is typed."""
        return "byokeep " + shlex.join(self.words)


@dataclass(frozen=True, slots=True, kw_only=True)
class DueList:
    """What is due until a time; ``more`` rows did not fit."""

    items: Sequence[DueItem]
    more: int
    until: datetime
    digest: str


async def list_due(
    app: App, actor: Actor, *, client_id: ClientId | None = None, kind: DueKind | None = None,
    until: datetime | None = None, reads: bool = True,
) -> DueList:  # fmt: skip
    """Return what is due until a time, by default within 14 days.

    Args:
        reads: Whether somebody is shown the list, which is then on record.

    Raises:
        Denied: ``not_permitted``.
        NotFound: ``not_found``: the client is not the actor's.
    """
    async with command(app, actor, Verb.DUE_READ, client_id=client_id) as tx:
        ids = scope_of(actor) if client_id is None else [client_id]
        now = app.clock.now()
        found = await read_due(tx, app.limits, now, ids=ids, kind=kind, until=until or now + AHEAD)
        if reads:
            count = len(found.items) + found.more
            await record(tx, actor, EventName.DUE_LISTED, client_id=client_id, count=count, digest=found.digest)
    return found


async def ending(tx: Tx, limits: ServiceLimits, now: datetime, kind: DueKind) -> Sequence[DueItem]:
    """Return the tokens of a kind that end within 14 days, or ended as long ago."""
    return (await read_due(tx, limits, now, kind=kind, since=now - AHEAD, until=now + AHEAD)).items


async def watch_ends(app: BrokerApp) -> int:
    """Raise the alerts of tokens that end within 14 days, or ended as long ago; returns for how many.

    Raises:
        Unavailable: The database could not be asked.
    """
    told = 0
    async with app.db.begin(every_client=True) as tx:
        for kind, reason in _ENDS.items():
            for item in await ending(tx, app.limits, app.clock.now(), kind):
                about = UUID(item.item)
                await open_alert(tx, app, None, reason=reason, key=f"{reason}/{about}", severity="warning",
                                 object_id=about)  # fmt: skip
                told += 1
    return told


async def sign_due(
    app: BrokerApp, actor: Actor, *, client_id: ClientId | None = None, kind: DueKind | None = None,
    until: datetime | None = None,
) -> bytes:  # fmt: skip
    """Return the list as a signed document, which names who asked for it.

    Raises:
        Unauthenticated: ``step_up_required``.
        Unavailable: And as :func:`list_due`.
    """
    require_proof(actor)
    found = await list_due(app, actor, client_id=client_id, kind=kind, until=until)
    said = {
        "v": 1, "origin": origin(app), "made_at": stamp(app.clock.now()), "made_by": str(actor.id),
        "made_by_name": actor.name, "client": str(client_id or ""), "kind": str(kind or ""),
        "until": stamp(found.until), "digest": found.digest, "more": found.more,
        "items": [_said(one) for one in found.items],
    }  # fmt: skip
    payload = evidence.due_statement(said)
    signature, key_id = await app.signer.sign(PURPOSE, evidence.pae(payload))
    return evidence.envelope(payload, signature=signature, key_id=key_id)


def _said(one: DueItem) -> dict[str, str | None]:
    at = None if one.due_at is None else stamp(one.due_at)
    return {
        "kind": one.kind.value, "item": one.item, "client": str(one.client_id or ""), "client_name": one.client,
        "provider": one.provider, "name": one.name, "due_at": at, "state": one.state, "cause": one.cause,
    }  # fmt: skip


async def read_due(
    tx: Tx, limits: ServiceLimits, now: datetime, *, ids: Sequence[UUID] | None = None, kind: DueKind | None = None,
    since: datetime | None = None, until: datetime, limit: int = MAX_ROWS,
) -> DueList:  # fmt: skip
    """Return what is due until a time, the earliest first; after ``since`` where it is given."""
    rows = await tx.all(
        lambda row: (reader(DueItem)(row), int(row["total"])), "due_list", ids=ids, kind=kind, since=since,
        until=until, limit=limit, now=now, kek_days=limits.kek_rotation_days, app_days=limits.app_secret_rotation_days,
        internal_days=EVERY_DAYS, backup_hours=limits.backup_hours, drills=limits.drills,
        quarter_days=QUARTER.days, asks=sorted(ASKS), dual_days=DUAL_PERIOD.days,
        mints=[name for name, acts in limits.rotation_acts.items() if "mint" in acts],
    )  # fmt: skip
    items = [item for item, _ in rows]
    return DueList(items=items, more=rows[0][1] - len(rows) if rows else 0, until=until, digest=digest_of(items))


def digest_of(items: Sequence[DueItem]) -> str:
    """Return the SHA-256, in hex, of what a list says of each item: what, whose, when, and how it stands."""
    said = [
        [one.kind.value, one.item, str(one.client_id or ""), stamp(one.due_at) if one.due_at else "", one.state]
        for one in items
    ]
    return hashlib.sha256(canonical_json(said)).hexdigest()
