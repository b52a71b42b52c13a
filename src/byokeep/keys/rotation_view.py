"""Rotations as people see them: which ones exist, their progress, how they ended, and their records.

It may not change one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from byokeep.core import next_steps
from byokeep.core.model import Actor, ClientId
from byokeep.core.policy import Verb
from byokeep.kernel import procedures
from byokeep.kernel.app import App
from byokeep.kernel.command import command
from byokeep.kernel.procedures import RunStatus
from byokeep.keys.rotation import ASKS, CUTOVER, LEAKED, MINTED, STAYS_ALIVE, UNUSED, VALUE_GONE, KeyRotation, find, of
from byokeep.tenancy.clients import MAX_ROWS, scope_of


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationRecord:
    """A record of a run."""

    seq: int
    at: datetime
    event: str
    stage: str | None
    outcome: str
    cause: str | None
    by: UUID


# How a credential is rotated, the best first: renewed all along, no key, by us, with help, with a gap, by hand.
GRADES: Final = ("continuous", "keyless", "full", "assisted", "cutover", "manual")


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationShare:
    """How many of a client's credentials are rotated in one way, and their share in percent."""

    mode: str
    count: int
    percent: int


async def grade(app: App, actor: Actor, client_id: ClientId) -> list[RotationShare]:
    """Return a client's credentials by how they are rotated, the best first.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`.
    """
    modes = app.limits.rotation_modes
    async with command(app, actor, Verb.KEY_LIST, client_id=client_id) as tx:
        rows = await tx.all(
            dict, "rotation_grade", client_id=client_id, providers=list(modes), modes=list(modes.values())
        )
    rows.sort(key=lambda row: GRADES.index(row["mode"]))
    total = sum(row["count"] for row in rows)
    return [RotationShare(**row, percent=round(100 * row["count"] / total)) for row in rows]


def old_name(run: KeyRotation) -> str:
    """Return how people know the versions that a run ends; where one of them was found alive, that one."""
    since = str(run.facts.get("was_created_at", ""))[:10]
    named = {one: f"version {one}" for one in run.old}
    named[run.from_version] += f" of {since}" if since else ""
    if run.reason == "old_key_alive":
        return named[run.facts.get("refused_version", run.from_version)]
    return " and ".join(named.values())


def ended(run: KeyRotation) -> str:
    """Return how a run ended, empty while it goes on.

    ``replaced``, ``aborted``, ``rolled_back``, ``old_key_dead`` and ``old_key_not_proved`` (there was no way back),
    ``pre_empted``; of a key that was taken back ``dead``, ``stays_alive``, ``brought_again``, ``old_value_gone``.
    """
    if run.state == "complete":
        kept = {STAYS_ALIVE, "brought_again", VALUE_GONE}.intersection([run.facts.get("cause")])
        return "replaced" if run.procedure != UNUSED else kept.pop() if kept else "dead"
    undone = run.facts.get("undone_cutover", "")
    stays = undone if undone in ("old_key_dead", "old_key_not_proved") else "aborted"
    how = "rolled_back" if undone == "pinned_again" else stays
    return "" if run.closed_at is None else run.reason or how


def told(app: App, actor: Actor, status: RunStatus, *, held: int = 0) -> dict[str, str]:
    """Return how a rotation stands: ``state``, ``waits_for``, ``next_step``, ``ended``.

    One that stopped for a person is ``waiting``. That another client may have the same key is told to whoever acts for
    all of them, as the alert about it is (R1.3-4).

    Args:
        held: By how many jobs the old key is held, as :func:`held_by` says.
    """
    found = of(status.run)
    asks = found.state == "failed" and found.reason in ASKS
    by_hand = found.reason == "revoke_by_hand" and actor.clients is None
    shared = by_hand and found.facts.get("refused_cause") == "shared"
    step = next_steps.of_rotation(
        found.state, "shared_key" if shared else found.reason, status.missing, unused=found.procedure == UNUSED,
        held=held > 0, leaked=found.procedure == LEAKED, minted=found.procedure == MINTED,
    ).format(
        held=held, id=found.id, ref=found.object_id, client=found.client_id, provider=found.provider.value,
        old=old_name(found), page=app.limits.provider_pages.get(found.provider.value, "the provider's page"),
    )  # fmt: skip
    return {"state": "waiting" if asks else found.state, "waits_for": "person" if asks else status.waits_for,
            "next_step": step, "ended": ended(found)}  # fmt: skip


async def held_by(app: App, status: RunStatus) -> int:
    """Return how many jobs hold a key that is paused until its client makes the one that ends it; else 0."""
    run = of(status.run)
    if run.procedure != CUTOVER or run.state != "running" or "create" in run.evidence:
        return 0
    about = {"client_id": run.client_id, "provider": run.provider.value}
    async with app.db.begin(client_id=run.client_id) as tx:
        return await tx.one(int, "rotation_jobs_on_old", **about, until=app.clock.now())


async def list_rotations(app: App, actor: Actor, ref_id: UUID | None = None) -> list[RunStatus]:
    """Return the rotations of the actor's clients, or of one reference; those that are not over first.

    Raises:
        Denied: ``not_permitted``.
    """
    async with command(app, actor, Verb.KEY_LIST) as tx:
        found = await tx.all(KeyRotation, "rotations_list", ids=scope_of(actor), ref_id=ref_id, limit=MAX_ROWS)
        return [await procedures.status_of(tx, app, app.procedures[run.procedure], run) for run in found]


async def running(app: App, actor: Actor, client_id: ClientId) -> dict[UUID, KeyRotation]:
    """Return a client's rotations that are not over, by their references. Raises as :func:`grade`."""
    async with command(app, actor, Verb.KEY_LIST, client_id=client_id) as tx:
        found = await tx.all(KeyRotation, "rotations_running", client_id=client_id)
    return {run.object_id: run for run in found}


async def show(app: App, actor: Actor, run_id: UUID) -> tuple[RunStatus, list[RotationRecord]]:
    """Return how far a rotation is, and what is on record of it, newest first. Raises as :func:`find`."""
    run = await find(app, actor, run_id, Verb.KEY_METADATA)
    async with app.db.begin(client_id=run.client_id) as tx:
        told = await tx.all(RotationRecord, "rotation_history", **run.at, run=str(run_id), limit=MAX_ROWS)
        return await procedures.status_of(tx, app, app.procedures[run.procedure], run), told
