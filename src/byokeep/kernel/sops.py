"""The procedures of runbook section 5 as data: what proves that a key, an account or a profile is ready.

Rules
- Flows of the domains do the steps, in several processes. Each one writes the record that proves its step.
- A run is complete when its records are in its client's own chain and are about the same object and version. A key
  (SOP 5.1): the write, a successful verification, a leak check that looked at something and found nothing
  (R5.1-12..15). An account (SOP 5.2): the write of the tokens, an identity check that is not older, the closing event.
  A browser profile (SOP 5.3): the seal, a runner's validation that is not older, the closing event, all of the newest
  generation: one that was sealed since leaves the proof behind (R5.3-20).
- The state of a run is computed from the records each time: a column alone proves nothing.
- Missing, foreign or unreadable evidence always makes a run incomplete.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

from byokeep.core import evidence
from byokeep.core.errors import Conflict
from byokeep.core.events import EventName
from byokeep.core.evidence import AFTER_WRITE, CONNECT, ITEMS_OF, ONBOARD, PROFILE, WRITE, Onboarding
from byokeep.core.model import Actor, ClientId, Lane, Provider, SopId
from byokeep.core.policy import Verb
from byokeep.core.procedure import Procedure, Run, Step
from byokeep.kernel.app import App
from byokeep.kernel.command import find
from byokeep.kernel.ports import Tx
from byokeep.kernel.procedures import StepRecord, as_json, insert_run, proved_steps


@dataclass(frozen=True, slots=True, kw_only=True)
class SopRun(Run):
    """One run. ``object_id``: what it is about, a reference (SOP 5.1), an account (5.2) or a profile (5.3)."""

    id: SopId
    client_id: ClientId

    @property
    def provider(self) -> Provider:
        """Its provider, or the platform."""
        return Provider(self.facts["provider"])

    @property
    def version(self) -> int:
        """Of what is stored; of a profile the generation; 0 = nothing is stored yet."""
        return int(self.facts.get("version", 0))

    @property
    def store_request(self) -> str:
        """The store's own id of the write."""
        return str(self.facts.get("store_request", ""))


def _proves(name: str) -> Callable[[Run, Mapping[str, Any]], bool]:
    """Return whether a record proves an item of a run, as signed evidence of it is verified."""

    def proves(run: Run, fields: Mapping[str, Any]) -> bool:
        about = Onboarding(
            origin="", sop=run.id, client=run.client_id or run.id, ref=run.object_id,
            provider=Provider(run.facts["provider"]), version=int(run.facts["version"]), items={}, kind=run.procedure,
        )  # fmt: skip
        # A write that was cut off and adopted has no request id of the store: the run goes on, its evidence lacks it.
        return evidence.of_version(about, fields) and (name == WRITE or evidence.says(about, name, fields))

    return proves


async def _newest(tx: Tx, run: Run) -> bool:
    """Whether the proved generation of a profile is its newest one."""
    at = {"client_id": run.client_id, "id": run.object_id}
    return (await tx.maybe(int, "profile_generation_now", **at) or 0) == int(run.facts["version"])


def _look(sop_id: UUID) -> str:
    return f"`byokeep evidence show {sop_id}`"


def _sop(name: str, verb: Verb, **more: Any) -> Procedure:
    steps = tuple(
        Step(name=item, evidence=EventName(event), proves=_proves(item), after=WRITE if item in AFTER_WRITE else "",
             own=(name, item) != (ONBOARD, WRITE))  # the write of a key stands for later runs over the same version too
        for item, event in ITEMS_OF[name].items()
    )  # fmt: skip
    return Procedure(name=name, verb=verb, run_field="sop", look=_look, steps=steps, **more)


SOPS: Final[Mapping[str, Procedure]] = {
    ONBOARD: _sop(ONBOARD, Verb.KEY_WRITE),
    CONNECT: _sop(CONNECT, Verb.ACCOUNT_CONNECT),
    PROFILE: _sop(PROFILE, Verb.PROFILE_CREATE, stands=_newest),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SopStatus:
    """A run and what is missing.

    ``state`` is ``complete``, ``failed``, ``running`` (not verified yet) or ``incomplete`` (what is missing will not
    come by itself).
    """

    run: SopRun
    state: str
    missing: tuple[str, ...]
    evidence: Mapping[str, StepRecord]


async def begin_sop(
    tx: Tx, app: App, actor: Actor, name: str, *, client_id: ClientId, object_id: UUID, provider: Provider,
    after: SopRun | None = None, version: int = 0,
) -> SopRun:  # fmt: skip
    """Begin a run; ``after`` another over the same write, whose record it takes."""
    facts: dict[str, Any] = {"provider": provider.value, "version": version}
    if after is not None:
        facts["store_request"] = after.store_request
    return await insert_run(
        tx, app, actor, SOPS[name], client_id=client_id, object_id=object_id, facts=facts, shape=SopRun,
        evidence={} if after is None else {WRITE: after.evidence[WRITE]},
    )  # fmt: skip


async def proved(
    tx: Tx, run: SopRun, steps: Mapping[str, int], *, complete: bool = False, again: bool = False, **facts: int | str
) -> SopRun:
    """Say which records prove steps of a run.

    Args:
        complete: These were the last ones.
        again: A complete run is proved anew.

    Raises:
        Conflict: ``superseded``: the run is over, or somebody else moved it on.
    """
    moved: SopRun | None = None
    if run.state == "running" or (again and run.state == "complete"):
        moved = await tx.maybe(
            SopRun, "procedure_move", id=run.id, revision=run.revision, evidence=as_json({**run.evidence, **steps}),
            facts=as_json({**run.facts, **facts}), state="complete" if complete else run.state, reason="", wait_s=None,
            asked_by=run.asked_by, over=complete, by=None,
        )  # fmt: skip
    if moved is None:
        raise Conflict("superseded", next_step="This run was ended meanwhile. Start again.", sop=run.id)
    return moved


async def sop_status(app: App, actor: Actor, sop_id: UUID) -> SopStatus:
    """Return a run with the evidence it has and lacks.

    Raises:
        Denied: ``not_permitted``.
        NotFound: ``not_found``, also for another client's run.
    """
    run = await find(app, actor, Verb.SOP_READ, SopRun, "sop_get", sop_id)
    async with app.db.begin(client_id=run.client_id) as tx:
        return await status_of(tx, run)


async def status_of(tx: Tx, run: SopRun) -> SopStatus:
    """Compute a run's state from the records themselves."""
    procedure = SOPS[run.procedure]
    found = {one.name: one for one in await proved_steps(tx, run.client_id, procedure, run)}
    missing = tuple(step.name for step in procedure.steps if step.name not in found)
    return SopStatus(run=run, state=_state(run, missing), missing=missing, evidence=found)


def _state(run: SopRun, missing: tuple[str, ...]) -> str:
    if run.state == "failed":
        return "failed"
    if not missing:
        return "complete"
    looked = SOPS[run.procedure].steps[1].name in run.evidence
    return "running" if run.state == "running" and not looked else "incomplete"


async def ready(tx: Tx, run: SopRun, steps: Mapping[str, int], **facts: int | str) -> bool:
    """Whether only the closing event is missing, with these records and facts."""
    run = replace(run, evidence={**run.evidence, **steps}, facts={**run.facts, **facts})
    status = await status_of(tx, run)
    return run.state == "running" and status.missing == (SOPS[run.procedure].steps[-1].name,)


async def require_proof(tx: Tx, client_id: ClientId, account_id: UUID, lanes: frozenset[Lane]) -> None:
    """Let lanes be enabled; the browser lane needs a proved profile.

    Raises:
        Conflict: ``profile_not_proved``, with what is missing.
    """
    if Lane.BROWSER not in lanes:
        return
    run = await tx.maybe(SopRun, "sop_of_account_profile", client_id=client_id, account_id=account_id)
    status = None if run is None else await status_of(tx, run)
    if status is None or status.state != "complete":
        missing = "profile" if status is None else ", ".join(status.missing)
        row = await tx.one(dict, "account_profile", client_id=client_id, account_id=account_id)
        where, profile = f"{row['platform']}/{row['account']}", row["profile_id"]
        step = f"See what is next for it: `byokeep profile show {profile}`."
        if profile is None:
            step = f"Create a profile first: `byokeep profile create {client_id} {where}`."
        raise Conflict("profile_not_proved", missing=missing, next_step=step)
