"""The one place where a flow asks whether its actor may, and where a refusal leaves its trace.

Rules
- A refusal is recorded on the platform's chain: the refused one may not learn whose chain it would have been.
- Who is refused again and again within ten minutes raises an alert (R4.1-9).
- The answer to another client's object and to no object is the same.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Final, TypeVar
from uuid import UUID

from byokeep.core.errors import ByokeepError, Conflict, Denied, NotFound, Rejected
from byokeep.core.events import Event, EventName, FieldValue, Outcome
from byokeep.core.model import Actor
from byokeep.core.policy import Verb, authorise
from byokeep.flows.app import App
from byokeep.flows.refusal import raise_alert, record_refusal
from byokeep.ports import Query

T = TypeVar("T")
MANY: Final = 5  # refusals of one actor within ten minutes
_DENIED: Final = Query("audit_count_denied", lambda row: int(row["found"]))


async def permit(app: App, actor: Actor, verb: Verb, *, client_id: UUID | None = None) -> None:
    """Let a verb pass, or record that it did not.

    Raises:
        Denied: ``not_permitted``.
        NotFound: ``not_found``, for a client that is not the actor's.
    """
    try:
        authorise(actor, verb, client_id=client_id)
    except Denied as error:
        await refuse(app, actor, verb, error, object_id=client_id)
        raise


async def refuse(app: App, actor: Actor, verb: Verb, error: Denied, *, object_id: UUID | None) -> None:
    """Record a refusal and, when there are many, raise an alert. The caller raises ``error``."""
    await record_refusal(
        app, actor, EventName.ACCESS, error, client_id=None, object_id=object_id, fields={"verb": verb.value}
    )
    with suppress(ByokeepError):
        async with app.db.begin(every_client=True) as tx:
            found = await tx.one(_DENIED, chain=app.installation_id, actor_id=actor.id)
            if found >= MANY:
                await raise_alert(tx, app, actor, reason="repeated_denials", severity="warning", object_id=actor.id)


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
        event = Event(
            name=name,
            actor=actor,
            outcome=Outcome.REJECTED if isinstance(error, Rejected) else Outcome.FAILED,
            client_id=client_id,
            object_id=object_id,
            fields={**(fields or {}), "reason": error.code},
        )
        with suppress(ByokeepError):
            door = app.db.begin(every_client=True) if client_id is None else app.db.begin(client_id=client_id)
            async with door as tx:
                await tx.append(event)
        raise
