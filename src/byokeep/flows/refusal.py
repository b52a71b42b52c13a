"""What is left behind when something is refused: an audit record, and an alert where a person must look.

Rules
- A refusal is recorded once, in its own short transaction, because the refused one is rolled back. Who records it
  marks the error, so that nobody whom it passes on its way out records it again.
- One actor's refusals are recorded up to a rate, beyond it counted on an alert: a flood fills no log (S-OWASP-16).
  Callers without a good token share one rate, and beyond it their count is not kept exactly either.
- If the record can not be written the refusal stands all the same: refusing needs no permission.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, suppress
from uuid import UUID

from byokeep.core.errors import ByokeepError
from byokeep.core.events import Event, EventName, FieldValue, Outcome
from byokeep.core.model import Actor
from byokeep.flows.alarm import Severity, alert_in
from byokeep.flows.app import App
from byokeep.ports import Tx


async def raise_alert(
    tx: Tx,
    app: App,
    actor: Actor,
    *,
    reason: str,
    severity: Severity = "critical",
    client_id: UUID | None = None,
    object_id: UUID | None = None,
    key: str = "",
    code_points: str = "",
) -> None:
    """Open an alert of somebody's act, or count one more on the open alert of the same reason and object.

    Args:
        reason: A code; a constant of the program.
        severity: ``info``, ``warning`` or ``critical``.
        client_id: Whose alert; ``None`` = the platform's.
        object_id: What it is about.
        key: What makes it the same alert; default its reason and what it is about.
        code_points: Of a look-alike, the characters that give it away (``0456,0430``).
    """
    about = object_id or client_id or app.installation_id
    await alert_in(
        tx, app, reason=reason, key=key or f"{reason}:{about}", severity=severity, client_id=client_id,
        object_id=object_id, code_points=code_points, actor=actor,
    )  # fmt: skip


async def record_refusal(
    app: App,
    actor: Actor,
    name: EventName,
    error: ByokeepError,
    *,
    client_id: UUID | None,
    object_id: UUID | None,
    fields: Mapping[str, FieldValue] | None = None,
    alert: str = "",
    outcome: Outcome = Outcome.DENIED,
) -> None:
    """Record that ``name`` was refused to ``actor``, unless ``error`` is on record already.

    Args:
        actor: Who was refused; :meth:`App.system` = somebody without a good token.
        error: Why; its code becomes the reason.
        client_id: Whose chain; ``None`` = the platform's, for an object that is not the actor's to know.
        object_id: What it was about.
        fields: More fields of the event's vocabulary.
        alert: Raise an alert with this reason as well.
    """
    if error.on_record:
        return
    error.on_record = True
    event = Event(
        name=name,
        actor=actor,
        outcome=outcome,
        client_id=client_id,
        object_id=object_id,
        fields={**(fields or {}), "reason": error.code},
    )
    with suppress(ByokeepError):
        now = app.clock.monotonic()
        if app.recorded.take(str(actor.id), now):
            if actor.id != app.installation_id or not app.recorded.take("not recorded", now):
                async with app.db.begin(every_client=True) as tx:
                    await raise_alert(tx, app, actor, reason="refusals_not_recorded", object_id=actor.id)
            return
        async with _begin(app, client_id) as tx:
            if alert:
                await raise_alert(tx, app, actor, reason=alert, client_id=client_id, object_id=object_id)
            await tx.append(event)


def _begin(app: App, client_id: UUID | None) -> AbstractAsyncContextManager[Tx]:
    return app.db.begin(every_client=True) if client_id is None else app.db.begin(client_id=client_id)
