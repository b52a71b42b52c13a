"""Runs of a procedure: which evidence a run has, and whether it belongs together.

Rules
- A run is complete when its records stand in its client's own chain and speak of the same object and version. A key
  (SOP 5.1): the write, a successful verification, a leak check that looked at something and found nothing
  (R5.1-12..15). An account (SOP 5.2): the write of the tokens, an identity check that is not older, the closing event.
  A browser profile (SOP 5.3): the seal, a runner's validation that is not older, the closing event, all of the newest
  generation: one that was sealed since leaves the proof behind (R5.3-20).
- The state of a run is computed from the records each time; a column alone proves nothing.
- Missing, foreign or unreadable evidence makes a run incomplete, never complete.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from byokeep.core.canonical import parse_canonical
from byokeep.core.errors import Conflict
from byokeep.core.events import EventName, Outcome
from byokeep.core.model import Actor, ClientId, Lane, Provider, SopId
from byokeep.core.policy import Verb
from byokeep.kernel.app import App
from byokeep.kernel.command import find
from byokeep.kernel.ports import Tx

WRITE: Final = "vault_write_event"
VERIFICATION: Final = "verification_success"
LEAK_CHECK: Final = "leak_check_pass"
DONE: Final = "onboarding_event"
IDENTITY: Final = "identity_verification"
CONNECTED: Final = "platform_connected"
CONNECT: Final = "connect_account"
VALIDATION: Final = "runner_validation_proof"
CREATED: Final = "browser_profile_created"
PROFILE: Final = "create_profile"
# Item -> event that proves it, the closing one last; by procedure.
ITEMS: Final[Mapping[str, Mapping[str, EventName]]] = {
    "onboard_key": {
        WRITE: EventName.KEY_STORED,
        VERIFICATION: EventName.KEY_VERIFIED,
        LEAK_CHECK: EventName.KEY_LEAK_CHECKED,
        DONE: EventName.KEY_ONBOARDED,
    },
    CONNECT: {
        WRITE: EventName.TOKENS_STORED,
        IDENTITY: EventName.ACCOUNT_VERIFIED,
        CONNECTED: EventName.CONNECTED,
    },
    PROFILE: {
        WRITE: EventName.PROFILE_SEALED,
        VALIDATION: EventName.PROFILE_VALIDATED,
        CREATED: EventName.PROFILE_ONBOARDED,
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SopRun:
    """One run. ``*_seq`` are places in the client's audit chain.

    ``ref_id``: what it is about, a reference (SOP 5.1), an account (5.2) or a profile (5.3); ``version``: of a profile
    the generation; 0 = nothing is stored yet.
    """

    id: SopId
    client_id: ClientId
    sop: str
    provider: Provider
    ref_id: UUID
    version: int = 0
    state: str
    reason: str
    started_at: datetime
    closed_at: datetime | None
    started_by: UUID
    write_seq: int | None
    verify_seq: int | None
    leak_seq: int | None
    done_seq: int | None
    store_request: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceRecord:
    """An audit record as evidence."""

    seq: int
    event: str
    outcome: str
    object_id: UUID | None
    at: datetime
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SopStatus:
    """A run and what is missing.

    ``state`` is ``complete``, ``failed``, ``running`` (not verified yet) or ``incomplete`` (what is missing will not
    come by itself).
    """

    run: SopRun
    state: str
    missing: tuple[str, ...]
    evidence: Mapping[str, EvidenceRecord]


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
    seqs = [seq for seq in (run.write_seq, run.verify_seq, run.leak_seq, run.done_seq) if seq is not None]
    rows = {
        record.seq: record
        for record in await tx.all(EvidenceRecord, "evidence_records", chain=run.client_id, seqs=seqs)
    }
    places = {
        WRITE: run.write_seq, VERIFICATION: run.verify_seq, IDENTITY: run.verify_seq, LEAK_CHECK: run.leak_seq,
        DONE: run.done_seq, CONNECTED: run.done_seq, VALIDATION: run.verify_seq, CREATED: run.done_seq,
    }  # fmt: skip
    newest = run.version
    if run.sop == PROFILE:
        newest = await tx.maybe(int, "profile_generation_now", client_id=run.client_id, id=run.ref_id) or 0
    wanted = ITEMS[run.sop]
    found: dict[str, EvidenceRecord] = {}
    for item, event in wanted.items():
        seq = places[item]
        record = rows.get(seq) if seq is not None else None
        if record is not None and newest == run.version and _proves(run, item, event, record):
            found[item] = record
    missing = tuple(item for item in wanted if item not in found)
    return SopStatus(run=run, state=_state(run, missing), missing=missing, evidence=found)


def _state(run: SopRun, missing: tuple[str, ...]) -> str:
    if run.state == "failed":
        return "failed"
    if not missing:
        return "complete"
    return "running" if run.state == "running" and run.verify_seq is None else "incomplete"


def ready(status: SopStatus) -> bool:
    """Whether only the closing event is missing."""
    return status.run.state == "running" and status.missing == tuple(ITEMS[status.run.sop])[-1:]


def _proves(run: SopRun, item: str, event: EventName, record: EvidenceRecord) -> bool:
    try:
        said: Any = parse_canonical(record.payload)
        fields: Mapping[str, Any] = said["fields"]
        same = (
            said["event"] == record.event == event.value
            and said["outcome"] == record.outcome == Outcome.OK.value
            and said["client"] == str(run.client_id)
            and said["object"] == str(record.object_id) == str(run.ref_id)
            and fields["generation" if run.sop == PROFILE else "version"] == run.version
            and (run.sop == PROFILE or fields["platform" if run.sop == CONNECT else "provider"] == run.provider.value)
        )
        if item != WRITE or run.sop != "onboard_key":  # the write of a key stands for later runs over the same version
            same = same and fields["sop"] == str(run.id)
        if item in (IDENTITY, VALIDATION):
            later = record.seq > (run.write_seq or record.seq)
            same = same and later and fields["expected_id"] == fields["observed_id"]
        if item == VALIDATION:
            same = same and fields["platform"] == run.provider.value and bool(fields["screenshot"])
        if item == LEAK_CHECK:
            same = same and fields["lines"] > 0 and fields["found"] == 0
    except (ValueError, KeyError, TypeError):
        return False
    return bool(same)


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
        where, profile = await tx.one(
            lambda row: (f"{row['platform']}/{row['account']}", row["profile_id"]),
            "account_profile",
            client_id=client_id,
            account_id=account_id,
        )
        step = f"See what is next for it: `byokeep profile show {profile}`."
        if profile is None:
            step = f"Make a profile first: `byokeep profile create {client_id} {where}`."
        raise Conflict("profile_not_proved", missing=missing, next_step=step)
