"""The stored way back of a platform: how it was lost, how far it has come, how many acts its canary has given.

Rules
- Call these before the transaction appends its first audit record. Everywhere the order of locks is: the platform's
  scope, its row, the client's chain. Any other order would deadlock.
- Every change is a compare-and-set on the revision. All rules are in :mod:`byokeep.core.reenable`.
- Losing a platform waits until no decision that still saw it open is uncommitted. After that nothing can start.
- What cannot be read counts as closed.

It may not open anything: only a person's login and the acts of the canary do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from byokeep.core import reenable
from byokeep.core.errors import Conflict, Integrity, refusing
from byokeep.core.events import EventName, FieldValue, Outcome
from byokeep.core.incident import IncidentKind, IncidentSource
from byokeep.core.model import Actor, Role
from byokeep.core.reenable import EffectResult, Event, RecoveryCause, Reenable, Stage
from byokeep.kernel import incidents
from byokeep.kernel.app import App
from byokeep.kernel.command import open_alert, record
from byokeep.kernel.ports import Tx
from byokeep.kernel.rows import Row

# Losses that open an incident (runbook 6.3): not those that a check or a canary on the way back found.
_INCIDENTS: Final = {
    RecoveryCause.LOCKOUT: IncidentKind.LOCKOUT, RecoveryCause.REVOKED: IncidentKind.TOKEN_REVOKED,
    RecoveryCause.COMPROMISED: IncidentKind.TOKEN_COMPROMISED,
    RecoveryCause.IDENTITY_MISMATCH: IncidentKind.TOKEN_COMPROMISED,
    RecoveryCause.CHAIN_BROKEN: IncidentKind.TOKEN_COMPROMISED,
}  # fmt: skip
_LONGEST: Final = 128  # characters of a field of a record


@dataclass(frozen=True, slots=True)
class Taken:
    """Where a canary's act was taken: on which way back, and in which of its stages."""

    way: int
    number: int


def state_of(row: Row) -> Reenable:
    """Return the state in a row.

    Raises:
        Integrity: ``reenabling_unreadable`` - it contradicts itself or holds an unknown word.
    """
    numbers = {name: int(row[name]) for name in ("number", "taken", "done", "way", "revision")}
    with refusing("reenabling_unreadable", next_step="Close the platform again: that repairs its state."):
        return Reenable(
            cause=RecoveryCause(row["cause"]), stage=Stage(row["stage"]), stages=tuple(row["stages"]), **numbers
        )


async def lose(
    tx: Tx, app: App, actor: Actor, client_id: UUID, platform: str, cause: RecoveryCause, *,
    account_id: UUID | None = None,
    locked: bool = True,
) -> Reenable:  # fmt: skip
    """Close a platform of a client, on record and with an alert. Losing it again for the same cause changes nothing.

    Args:
        tx: The caller's transaction, which has not yet appended to the audit log.
        account_id: The account whose grant it was, if known.
        locked: Wait for decisions in progress; False if the caller waits for them itself.
    """
    if locked:
        await tx.all(None, "switch_lock_exclusive", scope=f"client:{client_id}:platform:{platform}")
    state = Reenable(cause=cause)
    if await tx.maybe(int, "reenabling_begin", client_id=client_id, platform=platform, **_columns(state)) is None:
        seen = await _hold(tx, client_id, platform, cause)
        if (seen.stage, seen.cause) == (Stage.CLOSED, cause):
            return seen
        state = reenable.next_state(seen, reenable.Lost(cause))
        await _store(tx, client_id, platform, seen, state)
    await _tell_closed(tx, app, actor, client_id, platform, state, account_id)
    return state


async def step(
    tx: Tx, app: App, actor: Actor, client_id: UUID, platform: str, event: Event, *, account_id: UUID | None = None
) -> Reenable | None:
    """Take a step on the way back, on record; None if the platform is open or was never closed.

    A check that fails is not an error: it leads back to *closed*, with an alert, and the caller looks at ``stage``.

    Args:
        tx: The caller's transaction, which has not yet appended to the audit log.
        event: ``Reauthorised``, ``IdentityChecked``, ``ScopesChecked`` or ``CanaryStarted``.
        account_id: Whose login or check it was.

    Raises:
        Denied: ``reauth_needs_a_person``.
        Conflict: ``reenable_out_of_order``.
        Integrity: ``reenabling_unreadable``.
    """
    seen = await _way_back(tx, client_id, platform)
    if seen is None:
        return None
    state = reenable.next_state(seen, event)
    await _store(tx, client_id, platform, seen, state)
    failed = state.stage is Stage.CLOSED
    fields = _fields(platform, state, account_id, stage=state.stage.value, number=state.number)
    if failed:
        fields["cause"] = state.cause.value
        if isinstance(event, reenable.ScopesChecked) and event.missing:
            fields["missing"] = _listed(event.missing)
        await _alert(tx, app, actor, client_id, platform, "reenabling_failed")
    stepped, outcome = EventName.PLATFORM_STEPPED, Outcome.FAILED if failed else Outcome.OK
    await record(tx, actor, stepped, fields, client_id=client_id, object_id=account_id, outcome=outcome)
    return state


async def refuse_machine(tx: Tx, client_id: UUID, platform: str, *, by_person: bool) -> None:
    """Refuse a login that may not lead back, before it is known whether it is the last one missing.

    Raises:
        Denied: ``reauth_needs_a_person``.
        Integrity: ``reenabling_unreadable``.
    """
    if (seen := await _way_back(tx, client_id, platform)) is not None:
        reenable.next_state(seen, reenable.Reauthorised(by_person=by_person))


async def closed_since(tx: Tx, client_id: UUID, platform: str, since: datetime) -> bool:
    """Whether a platform was closed at or after a moment.

    Args:
        tx: Has appended to the client's chain, as a close does, so that no uncommitted close is missed.
    """
    return await tx.one(bool, "reenabling_closed_since", client_id=client_id, platform=platform, since=since)


async def take(tx: Tx, client_id: UUID, platform: str) -> Taken | None:
    """Take one act of a canary's stage for the permit that this transaction issues; None if the platform is open.

    Raises:
        Denied: ``platform_closed``, ``canary_stage_full``.
        NotFound, Integrity: There is no way back of this platform, or it cannot be read.
    """
    seen = await tx.one(state_of, "reenabling_hold", client_id=client_id, platform=platform)
    state = reenable.next_state(seen, reenable.Take())
    if state == seen:
        return None
    await _store(tx, client_id, platform, seen, state)
    return Taken(state.way, state.number)


async def ended(tx: Tx, app: App, actor: Actor, client_id: UUID, platform: str, event: EffectResult) -> Reenable | None:
    """Count the end of an act that a canary took; a failed or unknown one closes the platform again, with an alert."""
    try:
        seen = await tx.maybe(state_of, "reenabling_hold", client_id=client_id, platform=platform)
    except Integrity:  # then it is already closed
        return None
    if seen is None or (state := reenable.next_state(seen, event)) == seen:
        return seen
    await _store(tx, client_id, platform, seen, state)
    if state.stage is Stage.CLOSED:
        await _tell_closed(tx, app, actor, client_id, platform, state, None)
    elif (state.stage, state.number) != (seen.stage, seen.number):
        fields = _fields(platform, state, None, stage=state.stage.value, number=state.number)
        await record(tx, actor, EventName.PLATFORM_STEPPED, fields, client_id=client_id)
    return state


async def is_person(tx: Tx, client_id: UUID, subject_id: UUID) -> bool:
    """Whether a login of this subject counts as a person's: an active operator of this client, not a machine."""
    return await tx.maybe(UUID, "reenabling_person", client_id=client_id, id=subject_id) is not None


async def lost_by(tx: Tx, client_id: UUID, platform: str) -> RecoveryCause | None:
    """Return why a closed platform was lost; None if it is open, or was never closed.

    Args:
        tx: Has not yet appended to the audit log.
    """
    state = await _way_back(tx, client_id, platform)
    return None if state is None else state.cause


async def _way_back(tx: Tx, client_id: UUID, platform: str) -> Reenable | None:
    """Lock the row and return its state; None if the platform is open or was never closed."""
    state = await tx.maybe(state_of, "reenabling_hold", client_id=client_id, platform=platform)
    return None if state is None or state.stage is Stage.OPEN else state


async def _hold(tx: Tx, client_id: UUID, platform: str, cause: RecoveryCause) -> Reenable:
    """Lock the row and return its state; one that cannot be read counts as open, about to be closed."""
    row = await tx.one(dict, "reenabling_hold", client_id=client_id, platform=platform)
    try:
        return state_of(row)
    except Integrity:
        broken = Reenable(cause=cause, stage=Stage.OPEN)
        return replace(broken, way=max(int(row["way"]), 1), revision=max(int(row["revision"]), 0))


async def _store(tx: Tx, client_id: UUID, platform: str, seen: Reenable, state: Reenable) -> None:
    at = {"client_id": client_id, "platform": platform, "seen": seen.revision}
    if await tx.maybe(int, "reenabling_move", **at, **_columns(state)) is None:
        raise Conflict("reenable_changed", next_step="Somebody else was first. Look at it again.")


def _columns(state: Reenable) -> dict[str, Any]:
    return {
        "cause": state.cause.value, "stage": state.stage.value, "stages": list(state.stages), "number": state.number,
        "taken": state.taken, "done": state.done, "way": state.way, "revision": state.revision,
    }  # fmt: skip


def _fields(platform: str, state: Reenable, account_id: UUID | None, **more: FieldValue) -> dict[str, FieldValue]:
    named: dict[str, FieldValue] = {} if account_id is None else {"account": str(account_id)}
    return {"platform": platform, "way": state.way, **named, **more}


def _listed(names: frozenset[str]) -> str:
    text = ""
    for name in sorted(names):
        longer = f"{text},{name}" if text else name
        if len(longer) > _LONGEST:
            break
        text = longer
    return text or "several"


async def _tell_closed(
    tx: Tx, app: App, actor: Actor, client_id: UUID, platform: str, state: Reenable, account_id: UUID | None
) -> None:
    if kind := _INCIDENTS.get(state.cause):
        by_person = Role.SYSTEM not in actor.roles
        await incidents.opened(
            tx, app, actor, kind, client_id=client_id, platform=platform,
            source=IncidentSource.PERSON if by_person else IncidentSource.PLATFORM,
            object_kind="account" if account_id else "", object_id=account_id,
        )  # fmt: skip
    await _alert(tx, app, actor, client_id, platform, "platform_closed")
    fields = _fields(platform, state, account_id, cause=state.cause.value)
    await record(tx, actor, EventName.PLATFORM_CLOSED, fields, client_id=client_id, object_id=account_id)


async def _alert(tx: Tx, app: App, actor: Actor, client_id: UUID, platform: str, reason: str) -> None:
    await open_alert(tx, app, actor, reason=reason, client_id=client_id, key=f"{reason}:{client_id}/{platform}")
