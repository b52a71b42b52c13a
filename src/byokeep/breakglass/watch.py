"""What is done with a grant, seen in the store's own audit log: unwrapped, used, misused; and its end, in time.

Rules
- Each request of the store stands on record once, by the store's own id; what was read is due for a rotation at once.
- The wrapping token shown a second time, or to no effect, is a misuse: somebody else has had it. A critical alert, and
  the grant is ended.
- A log that cannot be read is not a grant that was not used: nobody closes its review meanwhile.

It may not lengthen anything: the store ends the token by itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from byokeep.breakglass import model
from byokeep.breakglass.grants import (
    CREATION_PATH,
    NOT_ALONE,
    about,
    end,
    find,
    grants,
    lapse,
    on_grant,
    procedure_of,
    require_alone,
    review_due,
    say,
    warn,
)
from byokeep.breakglass.model import BREAK_GLASS, Grant
from byokeep.core.errors import Conflict, Unavailable
from byokeep.core.events import EventName, Outcome
from byokeep.core.incident import IncidentKind, IncidentSource
from byokeep.core.model import Actor
from byokeep.core.policy import Verb
from byokeep.core.secret import Secret
from byokeep.kernel import incidents, procedures
from byokeep.kernel.app import BrokerApp
from byokeep.kernel.command import open_alert
from byokeep.kernel.ports import StoreEntry, Tx
from byokeep.kernel.record import record

_BEFORE: Final = timedelta(seconds=5)  # entries of parallel requests are not strictly in order, and clocks differ
_MOST_USES: Final = 500  # put on record of one grant; the store's log has them all
_UNWRAP: Final = "sys/wrapping/unwrap"
_PLACE: Final = re.compile(
    r"kv/(?:data|metadata)/(clients/[0-9a-f-]{36}/providers/[a-z]+(?:/accounts/([0-9a-f-]{36}))?.*)\Z"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GlassUse:
    """One request of the store under a grant, as it is on record; ``path`` of what was asked for."""

    at: datetime
    event: str
    outcome: str
    path: str
    store_request: str


async def uses_of(tx: Tx, grant: Grant) -> list[GlassUse]:
    """Return what is on record of a grant's use."""
    return await tx.all(GlassUse, "glass_uses", client_id=grant.client_id, id=grant.id)


async def look(app: BrokerApp, grant: Grant) -> tuple[Grant, bool]:
    """Put on record what the store's log has of a grant and we have not; returns it, and whether it was misused.

    Raises:
        Unavailable: No file of the store's log could be read.
        Conflict: ``procedure_moved``: another process did at the same time.
    """
    found = await _in_log(app, grant)
    host = app.system()
    async with app.db.begin(client_id=grant.client_id) as tx:
        [grant] = await grants(tx, grant_id=grant.id)
        known = await uses_of(tx, grant)
        seen, misused = {one.store_request for one in known}, any(one.event == EventName.GLASS_MISUSED for one in known)
        new = [one for one in sorted(found.values(), key=lambda one: one.at) if one.store_request not in seen]
        new = new[: max(0, _MOST_USES - len(known))]
        for one in new:
            await _put_down(tx, app, host, grant, one)
            misused = misused or one.event == EventName.GLASS_MISUSED
        if new:
            said = {"seen": len(known) + len(new)}
            await procedures.note(tx, host, procedure_of(grant), grant, **said)
            [grant] = await grants(tx, grant_id=grant.id)
    return grant, misused


async def _misuse(tx: Tx, app: BrokerApp, actor: Actor, grant: Grant) -> None:
    """Tell of a misuse, and open an incident; one is open for a client at most."""
    await warn(tx, app, actor, grant, "break_glass_misused")
    await incidents.opened(
        tx, app, actor, IncidentKind.BREAK_GLASS, client_id=grant.client_id, source=IncidentSource.STORE,
        began_at=grant.issued_at,
    )  # fmt: skip


async def _put_down(tx: Tx, app: BrokerApp, host: Actor, grant: Grant, one: GlassUse) -> None:
    event, outcome = EventName(one.event), Outcome(one.outcome)
    path = {"path": one.path} if event is EventName.GLASS_USED else {}
    await say(tx, host, event, grant, outcome, store_request=one.store_request, **path)
    if event is EventName.GLASS_MISUSED:
        await _misuse(tx, app, host, grant)
    if event is not EventName.GLASS_USED:
        return
    await warn(tx, app, host, grant, "break_glass_used")
    place = _PLACE.match(one.path)
    if outcome is not Outcome.OK or place is None:
        return
    where = f"vault://kv/{place.group(1)}"
    await tx.one(int, "glass_rotate_key", client_id=grant.client_id, secret_ref=where)
    if place.group(2):
        account = UUID(place.group(2))
        version = await tx.maybe(int, "glass_renew_account", client_id=grant.client_id, account_id=account)
        if version is not None:
            said = {"platform": place.group(1).split("/")[3], "account": account, "version": version}
            asked = EventName.REFRESH_ASKED
            await record(tx, host, asked, said, client_id=grant.client_id, object_id=account)


async def _in_log(app: BrokerApp, grant: Grant) -> Mapping[str, GlassUse]:
    """Return what the devices that can be read have of a grant, by the store's id of the request."""
    found: dict[str, GlassUse] = {}
    read = False
    if grant.issued_at is None:
        return found
    for device in await app.store_audit.devices():
        own = await app.store_audit.hash(device.name, Secret(grant.accessor))
        wrap = await app.store_audit.hash(device.name, Secret(grant.wrap_accessor))
        try:
            async for entry in app.store_audit.entries(device.name, since=grant.issued_at - _BEFORE):
                if (use := _use(entry, own, wrap, grant.wrap_mark.split(","))) is not None:
                    found.setdefault(use.store_request, use)
            read = True
        except Unavailable:
            continue
    if not read:
        raise Unavailable("store_audit_unreadable", next_step="See `byokeep audit health`: its use is not known.")
    return found


def _use(entry: StoreEntry, own: str, wrap: str, marks: list[str]) -> GlassUse | None:
    """Return what an entry says of a grant; None: nothing."""
    shown = entry.wrapped_hash.rpartition(":")[2][:24]
    if entry.path == _UNWRAP and (entry.accessor_hash == wrap or shown in marks):
        if not entry.status_error and entry.kind != "response":
            return None  # whether it worked is said by the response
        event, outcome = (
            (EventName.GLASS_MISUSED, "failed") if entry.status_error else (EventName.GLASS_UNWRAPPED, "ok")
        )
    elif entry.accessor_hash == own and entry.kind == "response" and entry.path != CREATION_PATH:
        event, outcome = EventName.GLASS_USED, "denied" if entry.status_error else "ok"
    else:
        return None
    path = entry.path if re.fullmatch(r"[a-z0-9][a-zA-Z0-9_.:/,+-]{0,127}", entry.path) else "other"
    return GlassUse(at=entry.at, event=event.value, outcome=outcome, path=path, store_request=entry.request_id)


async def watch(app: BrokerApp) -> None:
    """Look at every grant that is not closed: its use, its end, and whether its review is overdue.

    Raises:
        Unavailable: The database, the store, or its log.
    """
    await lapse(app)
    async with app.db.begin(every_client=True) as tx:
        live = await grants(tx, only_open=True)
    for grant in live:
        if "issue" in grant.evidence and "end" not in grant.evidence:
            await _watch_open(app, grant)
        elif review_due(grant):
            async with app.db.begin(every_client=True) as tx:
                key = f"state/break_glass_review/{grant.id}"
                await open_alert(tx, app, None, reason="break_glass_review_overdue", client_id=grant.client_id, key=key)


async def _watch_open(app: BrokerApp, grant: Grant) -> None:
    over = grant.expires_at is not None and grant.expires_at <= grant.looked_at
    unwrapped = misused = False
    try:
        grant, misused = await look(app, grant)
        async with app.db.begin(client_id=grant.client_id) as tx:
            unwrapped = any(one.event == EventName.GLASS_UNWRAPPED for one in await uses_of(tx, grant))
    except Unavailable:
        if not over:
            raise
    void = not unwrapped and grant.issued_at is not None and grant.looked_at - grant.issued_at > model.WRAPPED
    if misused:
        await end(app, app.system(), grant, EventName.GLASS_REVOKED, cause="misused")
    elif over or void:
        await end(app, app.system(), grant, EventName.GLASS_EXPIRED, cause="time_over" if over else "not_unwrapped")


async def watch_role(app: BrokerApp) -> None:
    """See that the store has one break-glass role; what is wrong is an alert. Raises Unavailable."""
    try:
        await require_alone(app)
    except Conflict as error:
        if error.code != NOT_ALONE:
            raise


async def revoke(app: BrokerApp, actor: Actor, grant_id: UUID) -> Grant:
    """End an open grant before its time; what was done with it until now is on record first.

    Raises:
        Denied: ``not_permitted``.
        NotFound: ``not_found``.
        Conflict: ``not_open``.
        Unavailable: The store did not end the token; a kill switch of the client cuts it off, too.
    """
    return await _end_now(app, actor, await find(app, actor, Verb.GLASS_REVOKE, grant_id), "revoked")


async def misused(app: BrokerApp, actor: Actor, grant_id: UUID) -> Grant:
    """End a grant whose wrapping token did not give its holder the token: somebody else had it, or it was replaced."""
    return await _end_now(app, actor, await find(app, actor, Verb.GLASS_REQUEST, grant_id), "misused")


async def _end_now(app: BrokerApp, actor: Actor, grant: Grant, cause: str) -> Grant:
    async with on_grant(app, actor, Verb.GLASS_REVOKE, grant, EventName.GLASS_REVOKED) as tx:
        if grant.status != "open":
            raise Conflict("not_open", next_step=f"It is {grant.status}: {model.of(grant.id)}.")
        if cause == "misused":
            await say(tx, actor, EventName.GLASS_MISUSED, grant, Outcome.FAILED, cause="told_by_holder")
            await _misuse(tx, app, app.system(), grant)
    await app.glass.revoke(grant.accessor, grant.wrap_accessor)
    with suppress(Unavailable):  # the review asks again
        grant, _ = await look(app, grant)
    await end(app, actor, grant, EventName.GLASS_REVOKED, cause=cause)
    return await find(app, actor, Verb.GLASS_READ, grant.id)


async def show(app: BrokerApp, actor: Actor, grant_id: UUID) -> tuple[Grant, list[GlassUse]]:
    """Return a grant and what is on record of its use. Raises Denied, NotFound."""
    grant = await find(app, actor, Verb.GLASS_READ, grant_id)
    async with app.db.begin(client_id=grant.client_id) as tx:
        return grant, await uses_of(tx, grant)


async def review(app: BrokerApp, actor: Actor, grant_id: UUID) -> tuple[Grant, list[GlassUse]]:
    """Look at everything that was done with a grant that is over, on record; somebody else closes it then.

    Raises:
        Denied: ``not_permitted``.
        NotFound: ``not_found``.
        Conflict: ``not_over``: it is open still; ``procedure_moved``.
        Unavailable: ``store_audit_unreadable``: what was done is not known.
    """
    grant = await find(app, actor, Verb.GLASS_REVIEW, grant_id)
    async with on_grant(app, actor, Verb.GLASS_REVIEW, grant, EventName.GLASS_REVIEWED):
        if grant.status != "to_review":
            step = "Nothing to do." if grant.status in ("to_close", "closed") else "End it first: `breakglass revoke`."
            raise Conflict("not_to_review", next_step=f"It is {grant.status}. {step}")
    grant, _ = await look(app, grant)
    async with app.db.begin(client_id=grant.client_id) as tx:
        done = await uses_of(tx, grant)
        read = [one for one in done if one.event == EventName.GLASS_USED]
        said = about(grant) | {"count": len(read), "failed": sum(one.outcome != "ok" for one in read)}
        await procedures.passed(tx, actor, BREAK_GLASS, grant, BREAK_GLASS.step("review"), said, facts={})
    return await find(app, actor, Verb.GLASS_READ, grant_id), done
