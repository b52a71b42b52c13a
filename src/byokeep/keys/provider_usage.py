"""What a provider counted for a client's account, read with the client's administrator key.

Rules
- A worker asks, for one report. The use of the key is recorded before the call, and the answer by its digest.
- A bucket of time that the provider did not report, or that has not ended, is unknown, never zero.
- The caller waits only briefly. What has not arrived by then is unknown, and nobody keeps asking.

It may not show a key, nor what a provider calls its models where that looks like one.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

from byokeep.core.canonical import parse_canonical
from byokeep.core.errors import Conflict, Rejected
from byokeep.core.events import Outcome
from byokeep.core.model import Actor, ClientId, Provider
from byokeep.core.plain_text import refuse_secret
from byokeep.core.policy import Verb
from byokeep.core.procedure import Fields, Procedure, Run, Step
from byokeep.kernel import procedures
from byokeep.kernel.app import App, WorkerApp
from byokeep.keys import administration, rotation

WAIT_S: Final = 20.0
_LOOK_S: Final = 0.25
MODEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,63}\Z")
UNNAMED: Final = "unnamed"  # a model whose name is not shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What a provider counted: buckets that are over, of ``width``, and what was used in each; the rest is unknown."""

    unit: str
    width: timedelta
    asked_at: datetime
    buckets: frozenset[datetime]
    rows: tuple[tuple[str, datetime, int], ...]

    def why_not(self, hour: datetime) -> str:
        """Return why nobody knows of an hour; empty when it was told."""
        if any(at <= hour < at + self.width for at in self.buckets):
            return ""
        return "not_counted_yet" if hour + self.width > self.asked_at else "hour_missing"


async def ask(
    app: App, actor: Actor, client_id: ClientId, provider: Provider, since: datetime, until: datetime
) -> Run | None:
    """Have a worker ask a provider; None: it tells nobody, or there is no administrator's key."""
    if "usage" not in app.limits.rotation_acts.get(provider.value, ()):
        return None
    async with app.db.begin(client_id=client_id) as tx:
        admin = await administration.admin_of(tx, client_id, provider)
        if admin is None:
            return None
        span = {"since": rotation.stamp(since), "until": rotation.stamp(until)}
        run: Run = await procedures.start_on_record(
            tx, app, actor, PROVIDER_USAGE, client_id=client_id, object_id=admin.id,
            facts={"provider": provider.value, **span},
        )  # fmt: skip
    await procedures.wake(app, run)
    return run


async def told(app: App, actor: Actor, run: Run, *, ends: float) -> Counted | str:
    """Return what came of a question, or why nothing did; then it is over.

    Args:
        ends: Until when it is waited for, on the monotonic clock.
    """
    moved = False
    while True:
        try:
            if (found := await _looked(app, actor, run, over=app.clock.monotonic() > ends)) is not None:
                return found
            await asyncio.sleep(_LOOK_S)
        except Conflict as error:
            if moved or error.code != "procedure_moved":
                raise
            moved = True  # a worker was done just now: what it told is there


async def _looked(app: App, actor: Actor, run: Run, *, over: bool) -> Counted | str | None:
    async with app.db.begin(client_id=run.client_id) as tx:
        run = await tx.one(Run, "procedure_get", id=run.id)
        if run.state == "complete":
            steps = (await procedures.status_of(tx, app, PROVIDER_USAGE, run)).steps
            text = await tx.maybe(str, "provider_usage_told", run_id=run.id, seq=steps[0].seq) if steps else None
            return "procedure_unproved" if text is None else _read(text)
        if run.state == "running" and not over:
            return None
        why = run.reason or "not_answered"
        if run.closed_at is None:
            await procedures.end(tx, actor, PROVIDER_USAGE, run, reason=why)
        return why


def _read(text: str) -> Counted:
    said: Any = parse_canonical(text.encode())
    at = datetime.fromisoformat
    return Counted(
        unit=said["unit"], width=timedelta(seconds=said["width_s"]), asked_at=at(said["asked_at"]),
        buckets=frozenset(map(at, said["buckets"])), rows=tuple((name, at(when), n) for name, when, n in said["rows"]),
    )  # fmt: skip


async def _counted(app: WorkerApp, actor: Actor, run: rotation.KeyRotation) -> Fields | None:
    """Ask, and keep what was told of buckets that are over; the record of the step names it by its digest."""
    since, until = (datetime.fromisoformat(run.facts[name]) for name in ("since", "until"))
    now = app.clock.now()
    async with administration.administering(app, actor, run) as (_, admin, secret):
        await administration.called(app, actor, run, "usage", "", Outcome.INTENDED)
        told = await app.issuer.usage(run.provider.value, secret, admin.place, since, until)
    width = timedelta(seconds=told.width_s)
    over = {at for at in told.buckets if at + width <= now and (not told.back or at >= now - width * told.back)}

    def shown(counted: Mapping[tuple[str, datetime], int]) -> list[list[str | int]]:
        rows = Counter[tuple[str, datetime]]()
        for (model, at), many in counted.items():
            if at in over and since - width < at < until:
                rows[_shown(model), at] += many
        return [[model, rotation.stamp(at), many] for (model, at), many in sorted(rows.items())]

    rows = shown(told.counted)
    stamps = [rotation.stamp(at) for at in sorted(over)]
    text = procedures.as_json({
        "unit": told.unit, "width_s": told.width_s, "asked_at": rotation.stamp(now), "buckets": stamps,
        "rows": rows, **({} if told.cost is None else {"cost": shown(told.cost)}),
    })  # fmt: skip
    said = {"provider": run.provider.value, "count": len(rows), "digest": sha256(text.encode()).hexdigest()}
    async with app.db.begin(client_id=run.client_id) as tx:
        await tx.one(UUID, "provider_usage_insert", run_id=run.id, client_id=run.client_id, told=text)
        await procedures.passed(tx, actor, PROVIDER_USAGE, run, PROVIDER_USAGE.steps[0], said, facts={})
    return None


def _shown(model: str) -> str:
    try:
        refuse_secret("model", model)
    except Rejected:
        return UNNAMED
    return model if MODEL.match(model) else UNNAMED


PROVIDER_USAGE: Final = Procedure(
    name="provider_usage", shape=rotation.KeyRotation, verb=Verb.KEY_HISTORY, abortable=True,
    steps=(Step(name="count", act=_counted),),
)  # fmt: skip
