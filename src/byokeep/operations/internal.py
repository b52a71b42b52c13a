"""Rotate the platform's own secrets (runbook 2.2), on the host that holds them, while everything keeps serving.

Rules
- It is a procedure like any other, but the host does its steps, because only the host has the rights at the store. A
  worker, which is asked as well, does nothing.
- Each step can be interrupted anywhere and repeated: old and new both work until the new one is proved.
- An old secret id ends once the new one has logged in. A new signing key of leases is trusted before it signs anything.
- The keys of checkpoints and evidence, whose public halves others keep, are rotated only when a person asks.

It may not touch what keys a digest that is stored (tokens, machines, fingerprints): all of these would end.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from byokeep.core.model import Actor
from byokeep.core.policy import Verb
from byokeep.core.procedure import Fields, Procedure, Run, Step
from byokeep.kernel import procedures
from byokeep.kernel.app import App

EVERY_DAYS: Final = 30  # runbook 6.1: internal service tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class HostApp(App):
    """The host of an installation: may bring together what gives rights at the store, and knows how each step is done.

    Attributes:
        work: For each step of the procedure what does it; returns how many it rotated.
    """

    work: Mapping[str, Callable[[Run], Awaitable[int]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LastRotation:
    """The run that is not over, if any, and when one was complete; before the first, when all of it was made."""

    running: UUID | None
    rotated_at: datetime


def _step(name: str, *, least: int) -> Step:
    async def act(app: App, _actor: Actor, run: Run) -> Fields | None:
        return {"count": await app.work[name](run)} if isinstance(app, HostApp) else None

    return Step(name=name, act=act, proves=lambda _, said: said["count"] >= least)


ROTATE_INTERNAL: Final = Procedure(
    name="rotate_internal",
    steps=(
        _step("secret_ids", least=1),
        _step("signing_keys", least=1),
        _step("database_logins", least=0),
        _step("machine_tokens", least=0),
    ),
    verb=Verb.TOKEN_ISSUE,
)


async def last(app: App) -> LastRotation:
    """Return where the rotation of this installation stands."""
    async with app.db.begin(every_client=True) as tx:
        return await tx.one(LastRotation, "internal_last")


async def rotate(app: HostApp, starter: App, *, public_keys: bool) -> procedures.RunStatus:
    """Rotate everything, or go on with what was cut off.

    Args:
        app: Of the host, over the database role of workers.
        starter: Of a process that may start runs.
        public_keys: Those of checkpoints and evidence, too.

    Raises:
        ByokeepError: What a step meets; the same call goes on from there.
    """
    run_id, host = (await last(app)).running, app.system()
    async with app.db.begin(every_client=True) as tx:  # one that was refused goes on, too
        run = None if run_id is None else await tx.one(Run, "procedure_get", id=run_id)
        if run is not None and run.state == "failed":
            await procedures.revive(tx, host, ROTATE_INTERNAL, run)
    if run_id is None:
        about = app.installation_id
        async with starter.db.begin(every_client=True) as tx:
            facts = {"public_keys": int(public_keys)}
            run = await procedures.start_on_record(
                tx, starter, host, ROTATE_INTERNAL, client_id=None, object_id=about, facts=facts
            )
        run_id = run.id
    return await procedures.resume(app, host, run_id)
