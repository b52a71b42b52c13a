"""What the store's own audit log shows of a grant: unwrapped, used, misused. It also ends the grant in time.

Rules
- Each request at the store is recorded once, by the store's own id. What was read is due for rotation at once. If there
  are very many, repeats of the same request are only counted, at the review; a misuse or a new path is always recorded.
- It is a misuse if the wrapping token is used a second time, without effect, or in any other way than the one request
  that unwraps it: somebody else has had it. This raises a critical alert and ends the grant.
- If a log cannot be read, or does not cover each node from the opening on, that does not mean that the grant was
  unused: nobody can review it meanwhile.
- A kill switch engaged after the opening ends the grant, and its release does not bring the token back. The same holds
  for anything that takes away the holder's right to ask for a grant.

It may not lengthen anything: the store ends the token by itself.
"""

from __future__ import annotations

import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from byokeep.breakglass import grants, model
from byokeep.breakglass.model import BREAK_GLASS, DRILL, MARKER, Grant
from byokeep.core.errors import Conflict, Denied, Rejected, Unavailable
from byokeep.core.events import EventName, Outcome
from byokeep.core.incident import IncidentKind, IncidentSource
from byokeep.core.model import Actor
from byokeep.core.policy import Verb
from byokeep.core.secret import Secret
from byokeep.kernel import incidents, procedures
from byokeep.kernel.app import BrokerApp
from byokeep.kernel.command import Said, open_alert, record
from byokeep.kernel.ports import TORN, StoreEntry, Tx, node_of
from byokeep.tenancy.scopes import switches_open

_BEFORE: Final = timedelta(seconds=5)  # entries of parallel requests are not strictly in order, and clocks differ
_EACH: Final = 500  # requests of a grant that stand on record each by itself; behind them repeats are counted
_AT_ONCE: Final = 1000  # put on record in one transaction; the next look takes the rest
_UNWRAP, _LOOKUP = "sys/wrapping/unwrap", "sys/wrapping/lookup"
_PLACE: Final = re.compile(
    r"kv/(?:data|metadata)/(clients/[0-9a-f-]{36}/providers/[a-z]+(?:/accounts/([0-9a-f-]{36}))?.*)\Z"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GlassUse:
    """A request of the store under a grant, as it is on record, or ``count`` like it; ``path`` of what it asked for."""

    at: datetime
    event: str
    outcome: str
    path: str
    store_request: str
    count: int = 1

    @property
    def like(self) -> tuple[str, str, str]:
        """What a repeat of it has in common with it."""
        return self.event, self.outcome, self.path


Seen = dict[tuple[UUID, str], datetime]  # grant and device -> from when on its log is read next; only ever a shortcut


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What a look at the store's log came to. ``unread``: of a node without a whole log; or not everything was taken.

    ``repeats``: requests like one that is on record, the last of each kind, with how many they are.
    """

    grant: Grant
    misused: bool
    unwrapped: bool
    unread: bool
    left: bool
    repeats: list[GlassUse]


@dataclass(slots=True)
class _GlassLog:
    """What the log has of a grant, by the store's id of the request; ``ends``: until when it was read."""

    found: dict[str, GlassUse] = field(default_factory=dict)
    ends: Seen = field(default_factory=dict)
    unread: bool = False


async def uses_of(tx: Tx, grant: Grant) -> list[GlassUse]:
    """Return what is on record of a grant's use."""
    return await tx.all(GlassUse, "glass_uses", client_id=grant.client_id, id=grant.id)


async def look(app: BrokerApp, grant: Grant, seen: Seen | None = None) -> Looked:
    """Put on record what the store's log has of a grant and we have not.

    Args:
        seen: Where former looks ended; default: the whole log is read, from the grant's opening on.

    Raises:
        Unavailable: The store was not reached; of a log that cannot be read the answer says so.
        Conflict: ``procedure_moved``: another process did at the same time.
    """
    log = await _in_log(app, grant, seen or {})
    host = app.system()
    async with app.db.begin(client_id=grant.client_id) as tx:
        [grant] = await grants.listed(tx, grant_id=grant.id)
        done = await uses_of(tx, grant)
        known, kinds = {one.store_request for one in done}, {one.like for one in done}
        before, repeats = len(done), Counter[tuple[str, str, str]]()
        new: list[GlassUse] = []
        last: dict[tuple[str, str, str], GlassUse] = {}
        for one in sorted(log.found.values(), key=lambda one: one.at):
            if one.store_request in known:
                continue
            if before + len(new) >= _EACH:
                one = replace(one, path="other") if one.outcome == Outcome.DENIED else one  # noqa: PLW2901
                if one.like in kinds:
                    repeats[one.like] += 1
                    last[one.like] = one
                    continue
            kinds.add(one.like)
            new.append(one)
        new.sort(key=lambda one: one.event != EventName.GLASS_MISUSED)
        left, new = len(new) > _AT_ONCE, new[:_AT_ONCE]
        for one in new:
            await _put_down(tx, app, host, grant, one)
        if new:
            await procedures.note(tx, host, grants.procedure_of(grant), grant, seen=before + len(new))
            [grant] = await grants.listed(tx, grant_id=grant.id)
    if seen is not None and not left:
        seen |= log.ends
    events = {one.event for one in (*done, *new)}
    return Looked(
        grant=grant, misused=EventName.GLASS_MISUSED in events, unwrapped=EventName.GLASS_UNWRAPPED in events,
        unread=log.unread or left, left=left,
        repeats=[replace(last[like], count=count) for like, count in repeats.items()],
    )  # fmt: skip


async def _misuse(tx: Tx, app: BrokerApp, actor: Actor, grant: Grant) -> None:
    """Tell of a misuse, and open an incident; one is open for a client at most."""
    await grants.warn(tx, app, actor, grant, "break_glass_misused")
    await incidents.opened(
        tx, app, actor, IncidentKind.BREAK_GLASS, client_id=grant.client_id, source=IncidentSource.STORE,
        began_at=grant.issued_at,
    )  # fmt: skip


async def _say_use(tx: Tx, host: Actor, grant: Grant, one: GlassUse) -> None:
    said: dict[str, Said] = {"path": one.path} if one.event == EventName.GLASS_USED else {}
    if one.count > 1:
        said["count"] = one.count
    said["store_request"] = one.store_request
    await grants.say(tx, host, EventName(one.event), grant, Outcome(one.outcome), **said)


async def _put_down(tx: Tx, app: BrokerApp, host: Actor, grant: Grant, one: GlassUse) -> None:
    event, outcome = EventName(one.event), Outcome(one.outcome)
    await _say_use(tx, host, grant, one)
    if event is EventName.GLASS_MISUSED:
        await _misuse(tx, app, host, grant)
    if event is not EventName.GLASS_USED:
        return
    drilled = grant.scope == DRILL and outcome is Outcome.OK and one.path == MARKER
    await grants.warn(tx, app, host, grant, grants.DRILLED if drilled else "break_glass_used")
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
        elif await tx.maybe(int, "glass_not_renewed", client_id=grant.client_id, account_id=account) is not None:
            await grants.warn(tx, app, host, grant, "break_glass_not_renewed")


async def _in_log(app: BrokerApp, grant: Grant, seen: Seen) -> _GlassLog:
    """Return what the devices that can be read have of a grant, and whether each node has one whole log since then."""
    log = _GlassLog()
    if grant.issued_at is None:
        return log
    nodes, whole = set(), set()
    for device in await app.store_audit.devices():
        nodes.add(node_of(device.name))
        since = seen.get((grant.id, device.name), grant.issued_at - _BEFORE)
        last, torn = since + _BEFORE, False
        try:
            own = await app.store_audit.hash(device.name, Secret(grant.accessor))
            wrap = await app.store_audit.hash(device.name, Secret(grant.wrap_accessor))
            async for entry in app.store_audit.entries(device.name, since=since):
                torn, last = torn or entry.kind == TORN, max(last, entry.at)
                if (use := _use(entry, own, wrap, grant.wrap_mark.split(","))) is not None:
                    log.found.setdefault(use.store_request, use)
        except (Unavailable, Rejected):  # rejected: a node that is not named, whose files nobody knows
            continue
        if not torn and device.recording_since is not None and device.recording_since <= grant.issued_at:
            whole.add(node_of(device.name))
            log.ends[(grant.id, device.name)] = last - _BEFORE
    log.unread = not nodes or bool(nodes - whole)
    return log


def _not_known() -> Unavailable:
    return Unavailable(
        "store_audit_unreadable",
        next_step="See `byokeep audit health`: each node's log must be complete from the opening of the grant on."
        " If a part is gone for good: `breakglass review GRANT --accept-gaps`, on record.",
    )


def _use(entry: StoreEntry, own: str, wrap: str, marks: list[str]) -> GlassUse | None:
    """Return what an entry says of a grant; None: nothing."""
    shown = entry.wrapped_hash.rpartition(":")[2][:24]
    if entry.path != _LOOKUP and (entry.accessor_hash == wrap or shown in marks):
        if not entry.status_error and entry.kind != "response":
            return None  # whether it worked is said by the response
        own_way = entry.path == _UNWRAP and not entry.status_error
        event, outcome = (EventName.GLASS_UNWRAPPED, "ok") if own_way else (EventName.GLASS_MISUSED, "failed")
    elif entry.accessor_hash == own and entry.kind == "response" and entry.path != grants.CREATION_PATH:
        event, outcome = EventName.GLASS_USED, "denied" if entry.status_error else "ok"
    else:
        return None
    path = entry.path if re.fullmatch(r"[a-z0-9][a-zA-Z0-9_.:/,+-]{0,127}", entry.path) else "other"
    path = path if event is EventName.GLASS_USED else ""
    return GlassUse(at=entry.at, event=event.value, outcome=outcome, path=path, store_request=entry.request_id)


async def watch(app: BrokerApp, seen: Seen | None = None) -> None:
    """Look at every grant that is not closed: its use, its end, and whether its review is overdue.

    Args:
        seen: Where former looks at the store's log ended; default: it is read from the opening of each grant on.

    Raises:
        Unavailable: The database, the store, or its log.
    """
    await grants.lapse(app)
    async with app.db.begin(every_client=True) as tx:
        live = await grants.listed(tx, only_open=True)
    for grant in live:
        if "issue" in grant.evidence and "end" not in grant.evidence:
            with suppress(Conflict):  # the broker and break glass on the host look at the same time
                await _watch_open(app, grant, seen)
        elif grants.review_due(grant):
            async with app.db.begin(every_client=True) as tx:
                key = f"state/break_glass_review/{grant.id}"
                if await tx.maybe(int, "glass_told_today", key=key) is None:
                    await open_alert(
                        tx, app, None, reason="break_glass_review_overdue", client_id=grant.client_id, key=key
                    )


async def _watch_open(app: BrokerApp, grant: Grant, seen: Seen | None) -> None:
    over = grant.expires_at is not None and grant.expires_at <= grant.looked_at
    async with app.db.begin(every_client=True) as tx:
        known = switches_open(await grants.switches(tx, app, grant))
    stopped = "" if known else "switch_unknown" if known is None else "switch_closed"
    told = grant.misused  # and not ended: who told of it was cut off
    if stopped or told or not grant.holder_able:
        await app.glass.revoke(grant.accessor, grant.wrap_accessor)  # at once, whatever the log says
    looked = None
    try:
        looked = await look(app, grant, seen)
        grant = looked.grant
    except Unavailable:
        if not (over or stopped or told) and grant.holder_able:
            raise
    wrapped = looked is None or not (looked.unwrapped or looked.unread)
    void = wrapped and grant.issued_at is not None and grant.looked_at - grant.issued_at > model.WRAPPED
    cause = stopped or ("" if grant.holder_able else "holder_gone")
    if not cause and (told or (looked is not None and looked.misused)):
        cause = "misused"
    if cause:
        await grants.end(app, app.system(), grant, EventName.GLASS_REVOKED, cause=cause)
    elif over or void:
        cause = "time_over" if over else "not_unwrapped"
        await grants.end(app, app.system(), grant, EventName.GLASS_EXPIRED, cause=cause)
    elif looked is not None and looked.unread:
        raise _not_known()


async def watch_role(app: BrokerApp) -> None:
    """See that the store has one break-glass role; what is wrong is an alert. Raises Unavailable."""
    try:
        await grants.require_alone(app)
    except Conflict as error:
        if error.code != grants.NOT_ALONE:
            raise


async def revoke(app: BrokerApp, actor: Actor, grant_id: UUID) -> Grant:
    """End an open grant before its time; what was done with it until now is on record first.

    Raises:
        Denied: ``not_permitted``.
        NotFound: ``not_found``.
        Conflict: ``not_open``.
        Unavailable: The store did not end the token; a kill switch of the client cuts it off, too.
    """
    return await _end_now(app, actor, await grants.find(app, actor, Verb.GLASS_REVOKE, grant_id), "revoked")


async def misused(app: BrokerApp, actor: Actor, grant_id: UUID) -> Grant:
    """End a grant whose wrapping token did not give its holder the token: somebody else had it, or it was replaced."""
    return await _end_now(app, actor, await grants.find(app, actor, Verb.GLASS_REQUEST, grant_id), "misused")


async def _end_now(app: BrokerApp, actor: Actor, grant: Grant, cause: str) -> Grant:
    async with grants.on_grant(app, actor, Verb.GLASS_REVOKE, grant, EventName.GLASS_REVOKED) as tx:
        if cause == "misused" and grant.holder != actor.id:
            raise Denied("not_the_holder", next_step="Only its holder can report this. To end it: `breakglass revoke`.")
        if grant.status != "open":
            raise Conflict("not_open", next_step=f"It is {grant.status}: {model.of(grant.id)}.")
        if cause == "misused":
            await grants.say(tx, actor, EventName.GLASS_MISUSED, grant, Outcome.FAILED, cause="told_by_holder")
            await _misuse(tx, app, app.system(), grant)
    await app.glass.revoke(grant.accessor, grant.wrap_accessor)
    with suppress(Unavailable):  # the review asks again
        grant = (await look(app, grant)).grant
    try:
        await grants.end(app, actor, grant, EventName.GLASS_REVOKED, cause=cause)
    except Conflict:  # a round looked at it in the same moment, and has ended it or not
        grant = await grants.find(app, actor, Verb.GLASS_READ, grant.id)
        if grant.status == "open":
            await grants.end(app, actor, grant, EventName.GLASS_REVOKED, cause=cause)
    return await grants.find(app, actor, Verb.GLASS_READ, grant.id)


async def show(app: BrokerApp, actor: Actor, grant_id: UUID) -> tuple[Grant, list[GlassUse]]:
    """Return a grant and what is on record of its use. Raises Denied, NotFound."""
    grant = await grants.find(app, actor, Verb.GLASS_READ, grant_id)
    async with app.db.begin(client_id=grant.client_id) as tx:
        return grant, await uses_of(tx, grant)


async def review(
    app: BrokerApp, actor: Actor, grant_id: UUID, *, accept_gaps: bool = False
) -> tuple[Grant, list[GlassUse]]:
    """Look at everything that was done with a grant that is over, on record; somebody else closes it then.

    Args:
        accept_gaps: A part of the store's log will never be whole again; that it was accepted is on record.

    Raises:
        Denied: ``not_permitted``.
        NotFound: ``not_found``.
        Conflict: ``not_over``: it is open still; ``procedure_moved``.
        Unavailable: ``store_audit_unreadable``: what was done is not known.
    """
    grant = await grants.find(app, actor, Verb.GLASS_REVIEW, grant_id)
    async with grants.on_grant(app, actor, Verb.GLASS_REVIEW, grant, EventName.GLASS_REVIEWED):
        if grant.status != "to_review":
            step = {"to_close": f"An approver who did not review it closes it: `byokeep breakglass close {grant.id}`.",
                    "closed": "Nothing to do."}.get(grant.status, "End it first: `breakglass revoke`.")  # fmt: skip
            raise Conflict("not_to_review", next_step=f"It is {grant.status}. {step}")
    looked = await look(app, grant)
    grant = looked.grant
    async with grants.on_grant(app, actor, Verb.GLASS_REVIEW, grant, EventName.GLASS_REVIEWED) as tx:
        if looked.left or (looked.unread and not accept_gaps):
            raise _not_known()
        for one in looked.repeats:
            await _say_use(tx, app.system(), grant, one)
        done = await uses_of(tx, grant)
        read = [one for one in done if one.event == EventName.GLASS_USED]
        failed = sum(one.count for one in read if one.outcome != Outcome.OK)
        said = grants.about(grant) | {"count": sum(one.count for one in read), "failed": failed}
        said |= {"cause": "log_not_whole"} if looked.unread else {}
        await procedures.passed(tx, actor, BREAK_GLASS, grant, BREAK_GLASS.step("review"), said, facts={})
    return await grants.find(app, actor, Verb.GLASS_READ, grant_id), done
