"""The one place where a flow asks whether its actor may, and where a refusal leaves its trace.

Rules
- A refusal is recorded on the platform's chain: the refused one may not learn whose chain it would have been.
- Who is refused again and again within ten minutes raises an alert (R4.1-9).
- The answer to another client's object and to no object is the same.
- What leaves a process over HTTP without a record gets one at the door: :func:`record_refused_call`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Final, TypeVar
from uuid import UUID

from byokeep.core.errors import ByokeepError, Conflict, Denied, NotFound, Rejected, Unauthenticated
from byokeep.core.events import EventName, FieldValue, Outcome
from byokeep.core.model import Actor
from byokeep.core.policy import Verb, authorise
from byokeep.flows.app import App
from byokeep.flows.locate import authorise_for
from byokeep.flows.refusal import raise_alert, record_refusal

T = TypeVar("T")
MANY: Final = 5  # refusals of one actor, or bad tokens of anybody, within ten minutes
MANY_LOGINS: Final = 10  # failed logins of one person, or of names that nobody has, within an hour


async def permit(app: App, actor: Actor, verb: Verb, *, client_id: UUID | None = None) -> None:
    """Let a verb pass, or record that it did not.

    Raises:
        Denied: ``not_permitted``.
        NotFound: ``not_found``, for a client that is not the actor's or that does not exist.
    """
    try:
        if client_id is None:
            authorise(actor, verb)
        else:
            await authorise_for(app, actor, verb, client_id)
    except Denied as error:
        await refuse(app, actor, verb, error, object_id=client_id)
        raise


async def refuse(app: App, actor: Actor, verb: Verb, error: Denied, *, object_id: UUID | None) -> None:
    """Record a refusal and, when there are many, raise an alert. The caller raises ``error``."""
    await record_refusal(
        app, actor, EventName.ACCESS, error, client_id=None, object_id=object_id, fields={"verb": verb.value}
    )
    await _alert_many(app, actor, "", alert="repeated_denials")


async def record_refused_call(
    app: App, actor: Actor | None, error: ByokeepError, *, request_id: UUID, route: str, object_id: UUID | None
) -> None:
    """Record a refusal that leaves over HTTP, unless a flow has recorded it already.

    Args:
        actor: Who called; ``None`` = nobody whose token was good, so the process's own actor stands there.
        request_id: Of the call.
        route: Which one was called, such as ``keks.end``.
        object_id: The narrowest id of its path.
    """
    if error.on_record or not isinstance(error, Denied | Rejected | Conflict):
        return
    who = actor or app.system(request_id)
    await record_refusal(
        app, who, EventName.ACCESS, error, client_id=None, object_id=object_id, fields={"route": route},
        outcome=_outcome(error),
    )  # fmt: skip
    if error.code == "bad_token":
        await _alert_many(app, who, error.code, alert="bad_tokens")
    elif actor is not None and isinstance(error, Denied):
        await _alert_many(app, actor, "", alert="repeated_denials")


async def _alert_many(app: App, actor: Actor, reason: str, *, alert: str) -> None:
    """Raise ``alert`` when an actor was denied often of late, for ``reason`` where there is one."""
    with suppress(ByokeepError):
        async with app.db.begin(every_client=True) as tx:
            if (
                await tx.one(
                    int, "audit_count_denied", chain=app.installation_id, actor_id=actor.id, reason=reason, many=MANY
                )
                >= MANY
            ):
                await raise_alert(tx, app, actor, reason=alert, severity="warning", object_id=actor.id)


async def refuse_login(app: App, request_id: UUID, error: Unauthenticated, subject_id: UUID | None) -> None:
    """Record a failed login and, when there were many, raise an alert. The caller raises ``error``.

    Args:
        subject_id: Whose name was given; ``None`` = nobody's, which costs the same.
    """
    actor = app.system(request_id)
    await record_refusal(app, actor, EventName.LOGIN, error, client_id=None, object_id=subject_id)
    with suppress(ByokeepError):
        async with app.db.begin(every_client=True) as tx:
            counted = {"chain": app.installation_id, "object_id": subject_id, "many": MANY_LOGINS}
            if await tx.one(int, "audit_count_failed_logins", **counted) >= MANY_LOGINS:
                await raise_alert(tx, app, actor, reason="password_guessing", severity="warning", object_id=subject_id)


async def absent(app: App, actor: Actor, verb: Verb, object_id: UUID) -> NotFound:
    """Record that an object was asked for which is not there for this actor; returns the error to raise."""
    error = NotFound("not_found")
    await refuse(app, actor, verb, error, object_id=object_id)
    return error


async def on_record(app: App, actor: Actor, verb: Verb, object_id: UUID | None, work: Awaitable[T]) -> T:
    """Do ``work``, and record it as not done when it is refused; for a flow that does not record its refusals itself.

    Args:
        verb: What is wanted.
        object_id: What it is about; ``None`` = the platform.

    Raises:
        What ``work`` raises.
    """
    try:
        async with recorded_rejections(app, actor, EventName.ACCESS, object_id=object_id, fields={"verb": verb.value}):
            return await work
    except Denied as error:
        await refuse(app, actor, verb, error, object_id=object_id)
        raise


@asynccontextmanager
async def recorded_rejections(
    app: App,
    actor: Actor,
    name: EventName,
    *,
    client_id: UUID | None = None,
    object_id: UUID | None = None,
    fields: Mapping[str, FieldValue] | None = None,
) -> AsyncIterator[None]:
    """Record a :class:`Rejected` or :class:`Conflict` that leaves the block, by its code alone, and let it go on.

    Args:
        name: What was wanted.
        client_id: Whose chain; only a client the actor is assigned to.
        object_id: What it was about.
        fields: More fields of the event's vocabulary.
    """
    try:
        yield
    except (Rejected, Conflict) as error:
        await record_refusal(
            app, actor, name, error, client_id=client_id, object_id=object_id, fields=fields, outcome=_outcome(error)
        )
        raise


def _outcome(error: ByokeepError) -> Outcome:
    if isinstance(error, Denied):
        return Outcome.DENIED
    return Outcome.REJECTED if isinstance(error, Rejected) else Outcome.FAILED
