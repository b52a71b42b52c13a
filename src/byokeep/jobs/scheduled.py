"""Scheduled effects: announced by a dispatcher, held while they may not happen, never dropped.

Rules
- An announcement does nothing by itself. When its time comes, the job asks the gate like any other, under the same key.
  While it is *held*, *missed* or *cancelled*, the gate denies that key.
- It is held while its platform, lane or client is closed, and continues automatically if that opens before its time. If
  its time passes meanwhile, it is *missed*, with an alert: only a person can requeue it with a new time, or cancel it.
- Every change of state is on record.

It may not cause an effect.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from byokeep.core.act_key import is_key
from byokeep.core.errors import Conflict, Rejected
from byokeep.core.events import EventName, FieldValue
from byokeep.core.model import MACHINE_ROLES, PLATFORMS, Actor, ClientId, EffectKind, Lane
from byokeep.core.policy import Verb, authorise
from byokeep.kernel.app import BrokerApp
from byokeep.kernel.command import authorise_for, open_alert, record
from byokeep.kernel.ports import Tx
from byokeep.kernel.rows import Row

MAX_LISTED: Final = 500
ACCOUNT_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
_CAN_BE_PUT_BACK: Final = frozenset({"scheduled", "held", "missed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledEffect:
    """One announced act."""

    id: UUID
    client_id: UUID
    platform: str
    account: str
    lane: str
    effect: str
    due_at: datetime
    state: str
    reason: str
    created_at: datetime
    created_by: UUID
    changed_at: datetime
    account_id: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectPlan:
    """What a dispatcher announces. Built from untrusted input, checked by :func:`schedule`."""

    client_id: ClientId
    platform: str
    account: str
    lane: str
    effect: str
    idempotency_key: str
    due_at: datetime


async def schedule(app: BrokerApp, actor: Actor, plan: EffectPlan) -> ScheduledEffect:
    """Announce an act. Announcing the same act again under the same key returns the first one.

    Raises:
        Rejected: ``bad_effect``, ``bad_due_at``, ``unknown_account``.
        Conflict: ``idempotency_key_reused``, ``client_not_active``.
        NotFound: The client is not one of the actor's.
    """
    authorise(actor, Verb.EFFECT_SCHEDULE, client_id=plan.client_id)
    _check(plan)
    named = {name: getattr(plan, name) for name in ("platform", "account", "lane", "effect")}
    async with app.db.begin(client_id=plan.client_id) as tx:
        place = {"client_id": plan.client_id, "due_at": plan.due_at}
        facts = await tx.one(dict, "scheduled_facts", **place, platform=plan.platform, account=plan.account)
        by_key = {"client_id": plan.client_id, "idempotency_key": plan.idempotency_key}
        if (seen := await tx.maybe(ScheduledEffect, "scheduled_by_key", **by_key)) is not None:
            if all(getattr(seen, name) == value for name, value in named.items()) and seen.due_at == plan.due_at:
                return seen
            raise Conflict("idempotency_key_reused", next_step="Use a different key for each effect.")
        if facts["client_active"] is not True:
            raise Conflict("client_not_active", next_step="An admin must first enrol or resume the client.")
        if facts["in_time"] is not True:
            raise Rejected("bad_due_at", next_step="Give a time in the future, within 400 days.")
        if facts["account_known"] is not True:
            raise Rejected("unknown_account", next_step="Give the platform and account as they were registered.")
        made = await tx.maybe(
            ScheduledEffect, "scheduled_insert", id=app.ids.uuid(), **by_key, due_at=plan.due_at, created_by=actor.id,
            **named,
        )  # fmt: skip
        if made is None:
            raise Conflict(
                "idempotency_key_reused", next_step="Somebody just announced an effect under this key. Look at it."
            )
        await _say(tx, app, EventName.EFFECT_SCHEDULED, actor, made, plan.idempotency_key)
    return made


async def list_scheduled(app: BrokerApp, actor: Actor, client_id: ClientId) -> list[ScheduledEffect]:
    """Return what a client has announced, what is due next first; for a dispatcher, what it announced itself."""
    await authorise_for(app, actor, Verb.EFFECT_LIST, client_id)
    machine = actor.id if actor.roles & MACHINE_ROLES else None
    async with app.db.begin(client_id=client_id) as tx:
        return await tx.all(ScheduledEffect, "scheduled_list", client_id=client_id, machine=machine, limit=MAX_LISTED)


async def move_by_person(
    app: BrokerApp, actor: Actor, client_id: ClientId, effect_id: UUID, due_at: datetime | None
) -> ScheduledEffect:
    """Requeue an act with a new time; without one, cancel it.

    Raises:
        NotFound: No such announcement for this actor.
        Conflict: ``already_done``, ``effect_cancelled``.
        Rejected: ``bad_due_at``.
    """
    await authorise_for(app, actor, Verb.EFFECT_MOVE, client_id)
    async with app.db.begin(client_id=client_id) as tx:
        row = await tx.one(dict, "scheduled_hold", client_id=client_id, id=effect_id)
        if row["state"] not in _CAN_BE_PUT_BACK:
            code = "already_done" if row["state"] == "done" else "effect_cancelled"
            raise Conflict(code, next_step="This one has ended. Announce another one under another key.")
        state, name = "cancelled", EventName.EFFECT_CANCELLED
        if due_at is not None:
            state, name = "scheduled", EventName.EFFECT_REQUEUED
            named = {"platform": row["platform"], "account": row["account"], "due_at": due_at}
            if (await tx.one(dict, "scheduled_facts", client_id=client_id, **named))["in_time"] is not True:
                raise Rejected("bad_due_at", next_step="Give a time in the future, within 400 days.")
        at = {"client_id": client_id, "id": effect_id, "seen": row["state"], "due_at": due_at}
        moved = await tx.one(ScheduledEffect, "scheduled_move", **at, state=state, reason="")
        await _say(tx, app, name, actor, moved, row["idempotency_key"])
    return moved


async def move_scheduled(app: BrokerApp) -> int:
    """Hold, requeue or miss effects as the switches, the platform's way back and the clock say; returns how many moved.

    Raises:
        Unavailable: The database; nothing is lost, and the next run continues.
    """
    rows = await app.db.read(dict, "scheduled_to_move", {"installation_id": app.installation_id}, every_client=True)
    actor, moved = app.system(), 0
    for row in rows:
        state, name, reason = _next(row)
        async with app.db.begin(client_id=row["client_id"]) as tx:
            at = {"client_id": row["client_id"], "id": row["id"], "seen": row["state"], "due_at": None}
            one = await tx.maybe(ScheduledEffect, "scheduled_move", **at, state=state, reason=reason)
            if one is None:
                continue
            if state == "missed":
                why, key = "effect_missed", f"effect_missed:{row['client_id']}/{row['platform']}"
                await open_alert(tx, app, actor, reason=why, severity="warning", client_id=row["client_id"], key=key)
            await _say(tx, app, name, actor, one, row["idempotency_key"], reason=reason)
            moved += 1
    return moved


def _next(row: Row) -> tuple[str, EventName, str]:
    if row["passed"]:
        return "missed", EventName.EFFECT_MISSED, "time_passed"
    if row["shut"]:
        return "held", EventName.EFFECT_HELD, "closed"
    return "scheduled", EventName.EFFECT_SCHEDULED, "open_again"


def well_formed(platform: str, account: str, lane: str, effect: str, key: str) -> bool:
    """Whether an act has published names, a possible account name, and a well-formed key."""
    published = platform in PLATFORMS and lane in set(Lane) and effect in set(EffectKind)
    return published and ACCOUNT_NAME.match(account) is not None and is_key(key)


def _check(plan: EffectPlan) -> None:
    if not well_formed(plan.platform, plan.account, plan.lane, plan.effect, plan.idempotency_key):
        step = "Use published names, a registered account and a key of 8 to 64 characters."
        raise Rejected("bad_effect", next_step=step)


async def _say(
    tx: Tx, app: BrokerApp, name: EventName, actor: Actor, one: ScheduledEffect, key: str, **why: FieldValue
) -> None:
    """Record a change. The idempotency key may say anything, so a keyed digest stands for it, as in a permit's record.
    """
    await record(
        tx, actor, name, why, client_id=one.client_id, object_id=one.id, platform=one.platform,
        account=str(one.account_id or ""), lane=one.lane, effect=one.effect,
        idempotency=app.token_key(f"idempotency/{one.client_id}/{key}".encode()).hex(),
        due_at=one.due_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )  # fmt: skip
