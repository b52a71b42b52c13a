"""A command: permission, one transaction, and a record of what was done or refused; alerts, which people look at; and
the end of database sessions that block a kill, a withdrawal or the broker's watch.

Rules
- ``async with command(app, actor, verb, ...) as tx`` checks the permission, opens the transaction and puts every
  :class:`Denied`, :class:`Rejected` and :class:`Conflict` that leaves the block on record. Success is recorded by the
  block itself, in the same transaction.
- A refusal is recorded once, in a short transaction of its own, because the refused one is rolled back. The error is
  marked, so that nothing records it again on its way out. If it cannot be recorded, the refusal still stands: refusing
  needs no permission.
- A denial is recorded on the platform's chain: the caller may not learn whose chain it would have been. Another
  client's object and a missing object get the same answer.
- An actor who is denied again and again within ten minutes raises an alert (R4.1-9). One actor's refusals are recorded
  up to a rate and beyond it counted on an alert, so that no flood fills the log (S-OWASP-16). Callers without a valid
  token share one rate.
- A refusal that no command has recorded gets its one record as it leaves over HTTP: :func:`record_refused_call`.
- A record is appended in a transaction, or is the parameters of a statement that also writes its row. That form is for
  leases and permits, where every round trip counts. The statement appends through the same database function as
  :meth:`byokeep.kernel.ports.Tx.append`, in the same transaction, and accepts only what the event allows.
- The client of a job, lease or permit never changes, so it is cached. What may change is never cached here. The caller
  is authorised for the verb before the id is looked up, and for its client afterwards. So to every role, an id of
  another client looks like an id that does not exist (S-VAULT-7).
- An alert has one open row per key, whose count rises when the same thing happens again. It names a reason and ids,
  never a value. It is put on record, unless the open row that it counts up already is.
- :func:`raise_alert` has its own transaction, because the one that failed has usually been rolled back. It replaces no
  error: the caller still raises.
- An alert about a state, such as an outage, has a key that starts with ``state/``. The round that sees the state end
  closes it, on record. An alert about an event stays open until a person has looked.
- Nothing may block an alert of the broker: a session that holds the platform's chain, or the alert, is ended (ADR
  0034).
- Whoever starts something waits like everybody else; only to stop and to watch are blocking sessions ended. Only those
  that hold, or queue for, what this very transaction waits for are ended, and only after a second: an ordinary
  transaction has ended by then. A kill waits a few hundredths of a second: it would have refused the sessions that it
  ends. The database's function enforces both.
- People are notified afterwards, which holds nothing up.

It may not decide anything: the policy says who may, the block says what is possible.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import datetime
from typing import Final, Literal, Protocol, TypeAlias, TypedDict, TypeVar, Unpack
from uuid import UUID

from byokeep.core import canonical
from byokeep.core.audit import canonical_payload
from byokeep.core.errors import ByokeepError, Conflict, Denied, NotFound, Rejected, Unauthenticated
from byokeep.core.events import Event, EventName, FieldValue, Outcome
from byokeep.core.model import Actor, ClientId
from byokeep.core.policy import Verb, authorise
from byokeep.kernel.app import App, BrokerApp, KillApp
from byokeep.kernel.ports import Receipt, Tx
from byokeep.kernel.rows import Shape


class _OfClient(Protocol):
    @property
    def client_id(self) -> UUID | None: ...


OfClient = TypeVar("OfClient", bound=_OfClient)
Refusal = TypeVar("Refusal", bound=ByokeepError)
Severity = Literal["info", "warning", "critical"]
MANY: Final = 5  # refusals of one actor, or bad tokens of anybody, within ten minutes
MANY_LOGINS: Final = 10  # failed logins of one person, or of names that nobody has, within an hour


class Trail(TypedDict, total=False):
    """How a refusal is put on record.

    Attributes:
        object_id: What it is about; default the client.
        refused_as: The event that a :class:`Rejected` or :class:`Conflict` is recorded as; default ``ACCESS``.
        denied_as: The event that a denial within the block is recorded as; default ``ACCESS``.
        on_client: Record these on the client's chain: the actor is assigned to it and may know.
        fields: More fields of the vocabulary of both events.
    """

    object_id: UUID | None
    refused_as: EventName
    denied_as: EventName
    on_client: bool
    fields: Mapping[str, FieldValue]


@asynccontextmanager
async def command(
    app: App, actor: Actor, verb: Verb, *, client_id: UUID | None = None,
    opened: AbstractAsyncContextManager[Tx] | None = None, **trail: Unpack[Trail],
) -> AsyncIterator[Tx]:  # fmt: skip
    """Let a verb pass and open its transaction; leaving the block commits.

    Args:
        client_id: Whose rows the transaction sees; ``None`` = every client's.
        opened: Another transaction than the default one.
        trail: See :class:`Trail`.

    Raises:
        Denied: ``not_permitted``.
        NotFound: ``not_found``, for a client that is not the actor's or that does not exist.
        ByokeepError: What the block raises.
    """
    await permit(app, actor, verb, client_id=client_id)
    opened = opened or app.db.begin(client_id=client_id, every_client=client_id is None)
    async with recorded(app, actor, verb, client_id=client_id, **trail), opened as tx:
        yield tx


@asynccontextmanager
async def recorded(
    app: App, actor: Actor, verb: Verb, *, client_id: UUID | None = None, **trail: Unpack[Trail]
) -> AsyncIterator[None]:
    """Put what is refused within the block on record; for work that needs no transaction, or several."""
    about = trail.get("object_id") or client_id
    chain = client_id if trail.get("on_client") else None
    denied_as, refused_as = trail.get("denied_as", EventName.ACCESS), trail.get("refused_as", EventName.ACCESS)
    try:
        yield
    except Denied as error:
        if denied_as is EventName.ACCESS:
            await refuse(app, actor, error, object_id=about, verb=verb.value)
        else:
            fields = trail.get("fields")
            await record_refusal(app, actor, denied_as, error, client_id=chain, object_id=about, fields=fields)
        raise
    except (Rejected, Conflict) as error:
        said = {"verb": verb.value} if refused_as is EventName.ACCESS else trail.get("fields")
        about = trail.get("object_id") if chain else about
        await record_refusal(
            app, actor, refused_as, error, client_id=chain, object_id=about, fields=said, outcome=_outcome(error)
        )
        raise


async def find(app: App, actor: Actor, verb: Verb, shape: Shape[OfClient], statement: str, object_id: UUID) -> OfClient:
    """Return an object by its id to somebody who may do ``verb`` for its client; everybody's to people of all clients.

    Raises:
        Denied: ``not_permitted``.
        NotFound: ``not_found``, also for another client's.
    """
    async with command(app, actor, verb, object_id=object_id) as tx:
        found = await tx.one(shape, statement, id=object_id)
        if found.client_id is None and actor.clients is not None:
            raise NotFound("not_found")
    await permit(app, actor, verb, client_id=found.client_id)
    return found


async def open_alert(
    tx: Tx,
    app: App,
    actor: Actor | None,
    *,
    reason: str,
    severity: Severity = "critical",
    client_id: UUID | None = None,
    object_id: UUID | None = None,
    key: str = "",
    at: datetime | None = None,
    code_points: str = "",
) -> None:
    """Open an alert in a transaction, or count one more on the open alert with the same key.

    Args:
        actor: Whose act it is, recorded on the client's chain. ``None`` = nobody's: recorded on the platform's, for the
            client that an alert speaks of may be one that an intruder made up.
        reason: A code; a constant of the program.
        client_id: Whose alert; ``None`` = the platform's.
        object_id: What it is about.
        key: What makes it the same alert; default its reason and what it is about.
        at: When it happened, if not just now.
        code_points: Of a look-alike, the characters that give it away (``0456,0430``).
    """
    about = object_id or client_id
    asked = {"client_id": client_id, "object_id": object_id, "reason": reason, "severity": severity, "at": at}
    asked["dedup_key"] = key or f"{reason}:{about or app.installation_id}"
    row = await tx.one(dict, "alert_raise", id=app.ids.uuid(), **asked, code_points=code_points)
    if row["on_record"]:
        return
    said = {"alert": row["id"], "chain": client_id or app.installation_id, "reason": reason, "severity": severity}
    chain = client_id if actor else None
    name, by = EventName.ALERT_RAISED, actor or app.system()
    await record(tx, by, name, said, client_id=chain, object_id=object_id if actor else about)


async def permit(app: App, actor: Actor, verb: Verb, *, client_id: UUID | None = None) -> None:
    """Let a verb pass, or record that it did not. Raises as :func:`command`."""
    try:
        if client_id is None:
            authorise(actor, verb)
        else:
            await authorise_for(app, actor, verb, client_id)
    except Denied as error:
        await refuse(app, actor, error, object_id=client_id, verb=verb.value)
        raise


async def refuse(app: App, actor: Actor, error: ByokeepError, *, object_id: UUID | None, **said: FieldValue) -> None:
    """Record once that access was refused; many denials raise an alert. The caller raises ``error``.

    Args:
        said: The ``verb``, or the ``route`` of a call over HTTP.
    """
    if error.on_record:
        return
    await record_refusal(
        app, actor, EventName.ACCESS, error, client_id=None, object_id=object_id, fields=said, outcome=_outcome(error)
    )
    if error.code == "bad_token":
        await _alert_many(app, actor, error.code, reason="bad_tokens")
    elif isinstance(error, Denied) and not isinstance(error, Unauthenticated):
        await _alert_many(app, actor, "", reason="repeated_denials")


async def record_refused_call(
    app: App, actor: Actor | None, error: ByokeepError, *, request_id: UUID, route: str, object_id: UUID | None
) -> None:
    """Record a refusal that leaves over HTTP, unless a command has recorded it already.

    Args:
        actor: Who called; ``None`` = nobody whose token was good, so the process's own actor stands there.
        request_id: Of the call.
        route: Which one was called, such as ``keks.end``.
        object_id: The narrowest id of its path, else the client that its body names.
    """
    if isinstance(error, Denied | Rejected | Conflict):
        await refuse(app, actor or app.system(request_id), error, object_id=object_id, route=route)


async def _alert_many(app: App, actor: Actor, denied_for: str, *, reason: str) -> None:
    """Raise an alert when an actor was denied often of late, for one reason or (``""``) for any."""
    counted = {"chain": app.installation_id, "actor_id": actor.id, "reason": denied_for, "many": MANY}
    with suppress(ByokeepError):
        async with app.db.begin(every_client=True) as tx:
            if await tx.one(int, "audit_count_denied", **counted) >= MANY:
                await open_alert(tx, app, actor, reason=reason, severity="warning", object_id=actor.id)


async def refuse_login(app: App, request_id: UUID, error: Refusal, subject_id: UUID | None) -> Refusal:
    """Record a failed login and, when there were many, raise an alert. Returns ``error``, for the caller to raise.

    Args:
        subject_id: Whose name was given; ``None`` = nobody's, which costs the same.
    """
    actor = app.system(request_id)
    await record_refusal(app, actor, EventName.LOGIN, error, client_id=None, object_id=subject_id)
    counted = {"chain": app.installation_id, "object_id": subject_id, "many": MANY_LOGINS}
    with suppress(ByokeepError):
        async with app.db.begin(every_client=True) as tx:
            if await tx.one(int, "audit_count_failed_logins", **counted) >= MANY_LOGINS:
                await open_alert(tx, app, actor, reason="password_guessing", severity="warning", object_id=subject_id)
    return error


async def record_refusal(
    app: App,
    actor: Actor,
    name: EventName,
    error: ByokeepError,
    *,
    client_id: UUID | None,
    object_id: UUID | None,
    fields: Mapping[str, FieldValue] | None = None,
    alerted: str = "",
    outcome: Outcome = Outcome.DENIED,
) -> None:
    """Record that ``name`` was refused to ``actor``, unless ``error`` is on record already.

    Args:
        actor: Who was refused; :meth:`App.system` = somebody without a good token.
        error: Why; its code becomes the reason.
        client_id: Whose chain; ``None`` = the platform's, for an object that is not the actor's to know.
        object_id: What it was about.
        fields: More fields of the event's vocabulary.
        alerted: Raise an alert with this reason as well.
    """
    if error.on_record:
        return
    error.on_record = True
    said = {**(fields or {}), "reason": error.code}
    event = Event(name=name, actor=actor, outcome=outcome, client_id=client_id, object_id=object_id, fields=said)
    with suppress(ByokeepError):
        now = app.clock.monotonic()
        if app.recorded.take(str(actor.id), now):
            if actor.id != app.installation_id or not app.recorded.take("not recorded", now):
                async with app.db.begin(every_client=True) as tx:
                    await open_alert(tx, app, actor, reason="refusals_not_recorded", object_id=actor.id)
            return
        async with app.db.begin(client_id=client_id, every_client=client_id is None) as tx:
            if alerted:
                await open_alert(tx, app, actor, reason=alerted, client_id=client_id, object_id=object_id)
            await tx.append(event)


def _outcome(error: ByokeepError) -> Outcome:
    if isinstance(error, Denied):
        return Outcome.DENIED
    return Outcome.REJECTED if isinstance(error, Rejected) else Outcome.FAILED


Said: TypeAlias = FieldValue | UUID | datetime | bytes | None
stamp = canonical.stamp  # a time as a record carries it


def record_params(event: Event) -> dict[str, object]:
    """Return the parameters ``event, actor, object, request, outcome, payload``; the chain is the row's client."""
    who = {"actor": event.actor.id, "request": event.actor.request_id, "object": event.object_id}
    return {**who, "event": event.name.value, "outcome": event.outcome.value, "payload": canonical_payload(event)}


def plain(fields: Mapping[str, Said]) -> dict[str, FieldValue]:
    """Return fields as a record carries them: ids and times as text, digests in hex; what is None is left out."""
    return {name: _plain(value) for name, value in fields.items() if value is not None}


def _plain(value: FieldValue | UUID | datetime | bytes) -> FieldValue:
    if isinstance(value, datetime):
        return stamp(value)
    if isinstance(value, bytes):
        return value.hex()
    return str(value) if isinstance(value, UUID) else value


async def record(
    tx: Tx, actor: Actor, name: EventName, said: Mapping[str, Said] = {}, *, outcome: Outcome = Outcome.OK,
    client_id: UUID | None = None, object_id: UUID | None = None, commit: bool = False, **fields: Said,
) -> Receipt:  # fmt: skip
    """Append a record to the chain of ``client_id``, or to the platform's.

    Args:
        said: Fields of the event's vocabulary, as :func:`plain` takes them; ``fields`` are more of them.
        object_id: What it is about.
        commit: As :meth:`byokeep.kernel.ports.Tx.last`.
    """
    told = plain({**said, **fields})
    event = Event(name=name, actor=actor, outcome=outcome, client_id=client_id, object_id=object_id, fields=told)
    return await tx.append(event, commit=commit)


async def hold_chain(tx: Tx, client_id: UUID | None) -> None:
    """Hold a chain as whoever appends to it does, before a row that others touch after their record of it."""
    await tx.all(None, "audit_hold", client_id=client_id)


Kind = Literal["client", "job", "lease", "permit"]
_MAX: Final = 20_000  # ids remembered by one process


def remember(app: App, object_id: UUID, client_id: ClientId) -> None:
    """Keep what was just written, so that the next call need not ask."""
    app.owners[object_id] = client_id
    if len(app.owners) > _MAX:
        app.owners.popitem(last=False)


async def authorise_for(app: App, actor: Actor, verb: Verb, client_id: UUID) -> None:
    """Let a verb pass for a client that there is; who is assigned to all clients may name one that there is not.

    Raises:
        Denied: ``not_permitted``.
        NotFound: ``not_found``: no such client, or not the actor's.
    """
    authorise(actor, verb, client_id=client_id)
    if actor.clients is None:
        await _client_of(app, "client", client_id)


async def client_for(app: App, actor: Actor, verb: Verb, kind: Kind, object_id: UUID) -> ClientId:
    """Return the client an object belongs to, if the actor may do ``verb`` there.

    Raises:
        Denied: ``not_permitted``, whether there is such an object or not.
        NotFound: ``not_found``; another client's object is none either.
    """
    authorise(actor, verb)
    client_id = await _client_of(app, kind, object_id)
    authorise(actor, verb, client_id=client_id)
    return client_id


async def _client_of(app: App, kind: Kind, object_id: UUID) -> ClientId:
    if (known := app.owners.get(object_id)) is not None:
        return known
    found = await app.db.read(ClientId, f"auth_client_of_{kind}", {"id": object_id}, every_client=True)
    if not found:
        raise NotFound("not_found")
    remember(app, object_id, found[0])
    return found[0]


async def raise_alert(
    app: App, *, reason: str, key: str, severity: Severity, client_id: UUID | None = None, object_id: UUID | None = None
) -> None:
    """Open an alert, or count up the open one with the same ``key``.

    Raises:
        Unavailable: The database did not take it.
    """
    async with unblocked(app) as tx:
        await open_alert(
            tx, app, None, reason=reason, key=key, severity=severity, client_id=client_id, object_id=object_id
        )


@asynccontextmanager
async def unblocked(app: App) -> AsyncIterator[Tx]:
    """A transaction for every client that nothing blocks for long; a session that does is ended, and reported in it.

    Only the broker and the kill process may end sessions. For any other process it is an ordinary transaction.
    """
    ended: Ended = []
    async with app.db.begin(every_client=True) as tx:
        if not isinstance(app, KillApp):
            yield tx
            return
        async with ending_blockers(app, tx, ended):
            yield tx
        if await how_many(ended):
            async with ending_blockers(app, tx, ended):
                await open_alert(tx, app, None, reason="audit_chain_held", key="audit/chain")


def tell_later(app: KillApp, scope: str, ended: Ended) -> None:
    """Raise the alert ``switch_lock_held`` if sessions were ended for this scope; a kill's answer does not wait for it.

    The app keeps the task, and its lifespan awaits it.
    """
    if ended:
        task = asyncio.create_task(_tell(app, scope, ended))
        app.telling.add(task)
        task.add_done_callback(app.telling.discard)


async def _tell(app: KillApp, scope: str, ended: Ended) -> None:
    if await how_many(ended):
        with suppress(ByokeepError):  # the switch holds, whoever keeps the alert out
            await raise_alert(app, reason="switch_lock_held", key=f"switch/{scope}", severity="critical")


async def tell_state(
    app: BrokerApp, lasts: object, *, reason: str, key: str, severity: Severity = "critical",
    object_id: UUID | None = None,
) -> None:  # fmt: skip
    """Raise the alert about a state while it lasts, and close it once it is over. Raises as these do."""
    if lasts:
        await raise_alert(app, reason=reason, key=key, severity=severity, object_id=object_id)
    else:
        await state_over(app, key)


async def state_over(app: BrokerApp, key: str) -> None:
    """Close the alert about a state that has ended.

    Args:
        app: The broker.
        key: As it was raised; it begins with ``state/``.

    Raises:
        Unavailable: The database did not take it.
    """
    if not await app.db.read(UUID, "alert_open_of", {"key": key}, every_client=True):
        return
    async with unblocked(app) as tx:
        await close_over(tx, app, "alert_over", key=key, by=app.installation_id)


async def close_over(tx: Tx, app: App, statement: str, **asked: object) -> None:
    """Close the alerts whose cause is gone, by the statement that finds them; each is on record."""
    for row in await tx.all(dict, statement, **asked):
        await record(
            tx, app.system(), EventName.ALERT_CLOSED, object_id=row["object_id"] or row["client_id"],
            alert=str(row["id"]), reason=row["reason"],
        )  # fmt: skip


PATIENCE_S: Final = 1.0  # the lock timeout is three times as long
_AGAIN_S: Final = 0.4
Ended = list[asyncio.Task[int]]  # of each watch, how many sessions it ended


@asynccontextmanager
async def ending_blockers(app: App, tx: Tx, ended: Ended, *, patience_s: float = PATIENCE_S) -> AsyncIterator[None]:
    """End the sessions that keep ``tx`` waiting in the block.

    Args:
        app: Its database lends another connection.
        tx: The transaction that must not wait.
        ended: Takes the watch; :func:`how_many` awaits it. The block does not, for what it stops is stopped by then.
        patience_s: How long it waits first. The database makes sure that the broker waits for half a second at least.
    """
    over = asyncio.Event()
    ended.append(asyncio.create_task(_watch(app, tx, over, patience_s)))
    try:
        yield
    finally:
        over.set()


async def how_many(ended: Ended) -> int:
    """Return how many sessions were ended, once every watch is over."""
    return sum(await asyncio.gather(*ended))


async def _watch(app: App, waits: Tx, over: asyncio.Event, pause_s: float) -> int:
    count = 0
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await over.wait()
                return count
        with suppress(ByokeepError):
            async with app.db.begin() as tx:
                count += sum(await tx.all(int, "end_blockers", waiting=waits.pid))
        pause_s = min(pause_s, _AGAIN_S)
