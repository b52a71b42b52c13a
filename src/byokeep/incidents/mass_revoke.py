"""Mass revocation: all keys and accounts of an integration, a runner or a span of time are cut off at once and then
ended at each provider (runbook section 7).

Rules
- The local cut is one transaction for all: keys are marked compromised, tokens put out of use, lanes turned off, jobs
  ended, each on its client's record. It takes as many statements for one as for a hundred. It needs no approval.
- Then each is ended at its provider, independently: accounts by the refresher as after any disconnect, keys with the
  client's administrator key, proved by a call that the provider refuses.
- Each version of a key that may be live is an item, including those that a rotation has not ended yet or has made.
- While nobody may act for a client, because of a kill or a suspension, its keys wait. Whoever resumes a run that
  stopped has what failed tried again.
- Each item is *revoked*, *unsupported*, *failed* or *unconfirmed*, with the record that says so. All but the first are
  a person's task and keep their state: only a person's statement on record settles them, and then a key is checked
  again.
- The run is complete when nothing is left. Until then it lists what is left.
- Where a platform ends all that an account's owner consented to, accounts may end that are not listed, and of other
  clients: whoever decides is told before and after which platforms these are.
- Nothing comes back automatically: a client's new key or consent does that.

It may not release anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from byokeep.accounts.accounts import ending_whole_consents
from byokeep.accounts.model import Connection, drop_consent
from byokeep.core.audit import canonical_payload
from byokeep.core.canonical import canonical_json
from byokeep.core.errors import ByokeepError, Conflict, NotFound, Rejected, Unavailable
from byokeep.core.events import Event, EventName, FieldValue, Outcome
from byokeep.core.gate import HELD
from byokeep.core.model import Actor, ClientId, ClientState
from byokeep.core.plain_text import check_reason
from byokeep.core.policy import Verb, require_proof
from byokeep.core.procedure import Fields, Procedure, Run, Step
from byokeep.core.ref import parse_provider
from byokeep.kernel import incidents, procedures
from byokeep.kernel.app import App, WebApp, WorkerApp
from byokeep.kernel.command import Said, command, open_alert, permit, record
from byokeep.kernel.ports import Tx
from byokeep.kernel.procedures import RunStatus
from byokeep.keys import administration, old_version, rotation
from byokeep.keys.rotation import KeyRotation
from byokeep.tenancy.clients import scope_of
from byokeep.tenancy.scopes import client_scopes, require_working

BY_HAND: Final = "revocation_by_hand"
MOST: Final = 20_000
AT_ONCE: Final = 100  # for one statement, so that the database answers each within its time limit
SPAN: Final = timedelta(hours=72)  # used if nobody says since when
_ENDS: Final = {"confirmed": "revoked", "not_offered": "unsupported"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationRequest:
    """What to revoke: all of a provider or platform, what a runner was given, or what anybody was given in a span.

    ``shown``: the digest of the preview on which somebody decided; nothing is cut off if another set matches by then.
    """

    reason: str
    provider: str = ""
    runner_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None
    client_id: UUID | None = None
    incident_id: UUID | None = None
    shown: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationTarget:
    """A key or an account that would be revoked."""

    client_id: UUID
    client_name: str
    object_id: UUID
    kind: str
    provider: str
    version: int
    ref_id: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationPreview:
    """What a revocation would cut off now, and how many open jobs it would end."""

    targets: tuple[RevocationTarget, ...]
    jobs: int

    @property
    def others_end(self) -> list[str]:
        """Where more may end than is listed, as :func:`byokeep.accounts.accounts.ending_whole_consents` returns it."""
        return ending_whole_consents(one.provider for one in self.targets if one.kind == "account")

    @property
    def digest(self) -> str:
        """SHA-256 over the targets, in any order."""
        return _digest(self.targets)


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationItem:
    """One item of a run: ``state``, why, the number of the record that proves it, and who settled it by hand."""

    run_id: UUID
    client_id: UUID
    client_name: str
    object_id: UUID
    kind: str
    provider: str
    account: str
    version: int
    state: str
    cause: str
    seq: int | None
    settled_by: UUID | None
    settled_at: datetime | None
    changed_at: datetime

    @property
    def left(self) -> bool:
        """Whether something still has to be done about it."""
        return self.state != "revoked" and self.settled_by is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """A run with everything that it revokes, what is left first."""

    status: RunStatus
    items: tuple[RevocationItem, ...]

    @property
    def others_end(self) -> list[str]:
        """Where more may end than is listed, as of :class:`RevocationPreview`."""
        return ending_whole_consents(one.provider for one in self.items if one.kind == "account")

    @property
    def left(self) -> int:
        """How many are not known to have ended at their providers."""
        return sum(one.left for one in self.items)


async def preview(app: WebApp, actor: Actor, asked: RevocationRequest) -> RevocationPreview:
    """Return what :func:`begin` would revoke now; nothing is changed. Raises the same."""
    async with _commanded(app, actor, asked) as tx:
        found = await _targets(tx, app, actor, asked)
        jobs = await tx.one(int, "revocation_jobs", **_jobs_of(actor, asked, found))
        await record(tx, actor, EventName.KEY_LISTED, client_id=asked.client_id, count=len(found))
    return RevocationPreview(targets=tuple(found), jobs=jobs)


async def begin(app: WebApp, actor: Actor, asked: RevocationRequest) -> Revocation:
    """Cut off everything that matches, in one transaction, and let workers end it at the providers.

    Raises:
        Denied: ``not_permitted``.
        NotFound: ``not_found``: not one of the actor's clients; every client, asked for by somebody who sees only some;
            an incident of another client.
        Rejected: ``filter_missing``, ``unknown_provider``, ``bad_reason``, ``bad_span``, ``too_many_rows``;
            ``nothing_fits``.
        Conflict: ``targets_changed``: what matches is not what was ``shown``; nothing was cut off.
        Unavailable: The database; then nothing was cut off.
    """
    run_id = app.ids.uuid()
    async with _commanded(app, actor, asked) as tx:
        check_reason(asked.reason, example="provider_breached")
        await incidents.named(tx, actor, asked.incident_id, asked.client_id)
        await tx.all(UUID, "revocation_hold_keys", ids=_ids(actor, asked), provider=asked.provider)
        found = await _targets(tx, app, actor, asked)
        if not found:
            raise Rejected("nothing_fits", next_step="Nothing live matches. Look with --dry-run, or give another span.")
        if asked.shown not in ("", _digest(found)):
            step = "Nothing was cut off, because the list has changed since you looked. Look again, then revoke."
            raise Conflict("targets_changed", next_step=step, count=len(found))
        facts = {"reason": asked.reason, "provider": asked.provider} | {
            name: str(one) for name, one in (("runner", asked.runner_id), ("since", asked.since)) if one is not None
        }
        client_id = None if asked.client_id is None else ClientId(asked.client_id)
        run: Run = await procedures.insert_run(
            tx, app, actor, MASS_REVOKE, client_id=client_id, object_id=run_id, run_id=run_id, facts=facts
        )
        await _cut(tx, actor, asked, run, found)
        await record(
            tx, actor, EventName.PROCEDURE_STARTED, client_id=client_id, object_id=run_id, run=run_id,
            procedure=run.procedure, incident=asked.incident_id,
        )  # fmt: skip
        run = await procedures.passed(
            tx, actor, MASS_REVOKE, run, MASS_REVOKE.step("cut"), {"count": len(found), "reason": asked.reason}
        )
    await procedures.wake(app, run)
    return await status(app, actor, run_id)


def _commanded(app: App, actor: Actor, asked: RevocationRequest) -> Any:
    about = asked.client_id
    return command(app, actor, Verb.KEY_STATE, client_id=about, refused_as=EventName.KEY_STATE_CHANGED,
                   on_client=about is not None)  # fmt: skip


async def _targets(tx: Tx, app: App, actor: Actor, asked: RevocationRequest) -> list[RevocationTarget]:
    if asked.client_id is None and actor.clients is not None:
        raise NotFound("not_found", next_step="You are assigned to some clients only. Give one of them.")
    if not (asked.provider or asked.runner_id or asked.since):
        raise Rejected("filter_missing", next_step="Give a provider or platform, a runner, or a time.")
    if asked.provider:
        parse_provider(asked.provider)
    if asked.until is not None and asked.since is None and asked.runner_id is None:
        raise Rejected("bad_span", next_step="Give the start as well: --since.")
    now = app.clock.now()
    until = min(asked.until or now, now)
    since = until - SPAN if asked.since is None and asked.runner_id else asked.since
    if since is not None and since >= until:
        raise Rejected("bad_span", next_step="Give a start before the end.")
    found = await tx.all(
        RevocationTarget, "revocation_targets", ids=_ids(actor, asked), provider=asked.provider,
        runner_id=asked.runner_id, since=since, until=until, limit=MOST + 1,
    )  # fmt: skip
    if len(found) > MOST:
        raise Rejected("too_many_rows", next_step="Give a client as well.", most=MOST)
    return found


def _digest(found: Sequence[RevocationTarget]) -> str:
    said = sorted([one.kind, str(one.object_id), one.version] for one in found)
    return hashlib.sha256(canonical_json(said)).hexdigest()


def _ids(actor: Actor, asked: RevocationRequest) -> Sequence[UUID] | None:
    return [asked.client_id] if asked.client_id else scope_of(actor)


def _jobs_of(actor: Actor, asked: RevocationRequest, found: Sequence[RevocationTarget]) -> dict[str, Any]:
    pairs = sorted({(one.client_id, one.provider) for one in found}, key=str)
    return {"ids": _ids(actor, asked), "runner_id": asked.runner_id, "clients": [client for client, _ in pairs],
            "providers": [provider for _, provider in pairs]}  # fmt: skip


async def _cut(tx: Tx, actor: Actor, asked: RevocationRequest, run: Run, found: Sequence[RevocationTarget]) -> None:
    """Take everything out of use, and end the jobs that hold it."""
    accounts = [one.object_id for one in found if one.kind == "account"]
    await tx.all(UUID, "revocation_hold_grants", accounts=accounts)
    for consent in await tx.all(Connection, "revocation_consents", accounts=accounts):
        await drop_consent(tx, actor, consent)
    await tx.one(int, "revocation_end_jobs", **_jobs_of(actor, asked, found))
    seqs: dict[UUID, int] = {}
    for at in range(0, len(found), AT_ONCE):
        await _cut_some(tx, actor, asked, run, found[at : at + AT_ONCE], seqs)


async def _cut_some(
    tx: Tx, actor: Actor, asked: RevocationRequest, run: Run, found: Sequence[RevocationTarget], seqs: dict[UUID, int]
) -> None:
    """Take a part out of use; the database compares its rows with their records before the next part.

    Args:
        seqs: The record of each so far; the versions of a key share its record, even across parts.
    """
    accounts = [one.object_id for one in found if one.kind == "account"]
    await tx.all(None, "revocation_rest_grants", accounts=accounts)
    refs = [one.ref_id for one in found if one.ref_id is not None]
    moved = await tx.all(dict, "revocation_end_refs", refs=refs, reason=asked.reason, by=actor.id)
    await tx.all(None, "revocation_lanes_off", accounts=accounts)
    said = [
        _event(actor, EventName.KEY_STATE_CHANGED, ref["client_id"], ref["id"], reason=asked.reason,
               **{name: ref[name] for name in ("state_from", "state_to", "version")})
        for ref in moved
    ] + [
        _event(actor, EventName.LANES_SET, one.client_id, one.object_id, reason=asked.reason, platform=one.provider,
               lanes="")
        for one in found if one.kind == "account"
    ]  # fmt: skip
    said.sort(key=lambda one: str(one.client_id))  # one order for the chains' locks
    rows = await tx.all(
        dict, "revocation_record", actor=actor.id, request=actor.request_id,
        chains=[one.client_id for one in said], objects=[one.object_id for one in said],
        events=[one.name.value for one in said], payloads=[canonical_payload(one).decode() for one in said],
    )  # fmt: skip
    seqs |= {row["id"]: row["seq"] for row in rows}
    await tx.all(
        None, "revocation_insert", run_id=run.id, clients=[one.client_id for one in found],
        objects=[one.object_id for one in found], kinds=[one.kind for one in found],
        providers=[one.provider for one in found], versions=[one.version for one in found],
        seqs=[seqs[one.object_id] for one in found],
    )  # fmt: skip
    await tx.all(None, "revocation_hold")


def _event(actor: Actor, name: EventName, client_id: UUID, object_id: UUID, **fields: FieldValue) -> Event:
    return Event(name=name, actor=actor, outcome=Outcome.OK, client_id=client_id, object_id=object_id, fields=fields)


async def status(app: App, actor: Actor, run_id: UUID) -> Revocation:
    """Return a run with its items.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.procedures.resume`; ``not_found``: it is not a mass revocation.
    """
    found = await procedures.status(app, actor, run_id)
    if found.run.procedure != MASS_REVOKE.name:
        raise NotFound("not_found")
    items = await app.db.read(RevocationItem, "revocation_items", {"run_id": run_id}, every_client=True)
    return Revocation(status=found, items=tuple(items))


async def settle(app: App, actor: Actor, run_id: UUID, object_id: UUID) -> Revocation:
    """Record that a person ended an item at its provider; for a key, all of its versions that are left.

    A key is checked again; what cannot be checked keeps its state.

    Raises:
        Denied, NotFound: As :func:`status`.
        Unauthenticated: ``step_up_required``.
        Conflict: ``nothing_to_settle``: it is revoked, settled or in progress; ``procedure_moved``.
    """
    await permit(app, actor, Verb.KEY_STATE)
    found = await status(app, actor, run_id)
    one = next((one for one in found.items if one.object_id == object_id), None)
    if one is None:
        raise NotFound("not_found")
    await permit(app, actor, Verb.KEY_STATE, client_id=one.client_id)
    opened = app.db.begin(every_client=True)  # the run may be nobody's
    async with command(app, actor, Verb.KEY_STATE, client_id=one.client_id, object_id=object_id, opened=opened) as tx:
        require_proof(actor)
        if not await tx.all(UUID, "revocation_settle", run_id=run_id, object_id=object_id, by=actor.id):
            step = f"Nothing to do: it is revoked, settled or under way. {found.status.look}."
            raise Conflict("nothing_to_settle", next_step=step, state=one.state)
        said = {"run": str(run_id), "stage": "settled", "cause": one.state}
        await record(tx, actor, EventName.PROCEDURE_STEPPED, said, client_id=one.client_id, object_id=object_id)
        counts = await tx.one(dict, "revocation_counts", run_id=run_id)
        run = await tx.one(Run, "procedure_get", id=run_id)
        if goes_on := counts["pending"] or not counts["remaining"]:
            # A worker that is about to stop it, because of what it saw before, is told that it moved.
            run = await procedures.note(tx, actor, MASS_REVOKE, run)
        if not counts["remaining"]:  # a key that still works then raises it again
            for row in await tx.all(dict, "alert_over", key=f"{BY_HAND}:{run_id}", by=actor.id):
                over = {"alert": str(row["id"]), "reason": BY_HAND}
                await record(tx, actor, EventName.ALERT_CLOSED, over, client_id=row["client_id"], object_id=run_id)
    if goes_on and run.state == "failed":
        await procedures.resume(app, actor, run_id)
    elif goes_on:
        await procedures.wake(app, run)
    return await status(app, actor, run_id)


async def _done_at_once(app: App, actor: Actor, run: Run) -> Fields | None:
    """Refuse: :func:`begin` has already done this step."""
    raise Conflict("nothing_cut", run=run.id)


async def _upstream(app: WorkerApp, actor: Actor, run: Run) -> Fields | None:
    """End each item at its provider, as far as possible now; one that cannot be ended holds up no other."""
    async with app.db.begin(every_client=True) as tx:
        await tx.all(None, "revocation_again", run_id=run.id)
    pending = await app.db.read(dict, "revocation_pending", {"run_id": run.id}, every_client=True)
    for row in pending:
        said = _of_account(row) if row["kind"] == "account" else await _of_key(app, actor, run, row)
        if said[0] != "pending":
            await _say(app, actor, run, row, *said)
        elif said[1] != row["cause"]:
            await _tried(app, row, said[1])
    async with app.db.begin(every_client=True) as tx:
        counts = await tx.one(dict, "revocation_counts", run_id=run.id)
        if counts["remaining"]:
            await open_alert(tx, app, actor, reason=BY_HAND, client_id=run.client_id, object_id=run.id)
    if counts["pending"]:
        return None
    if counts["remaining"]:
        step = f"End what is left on the providers' pages, and record it: {MASS_REVOKE.look(run.id)}."
        raise Conflict("revoke_by_hand", next_step=step, count=counts["remaining"])
    return {"count": counts["total"]}


async def _tried(app: WorkerApp, row: Mapping[str, Any], cause: str) -> None:
    async with app.db.begin(client_id=row["client_id"]) as tx:
        about = {name: row[name] for name in ("run_id", "object_id", "version")}
        await tx.all(None, "revocation_tried", **about, cause=cause)


def _of_account(row: Mapping[str, Any]) -> tuple[str, str]:
    """Return the state of the end of an account's grant, and why."""
    if row["grant_state"] is None:
        return "unsupported", "no_grant"
    if row["grant_state"] == "revoked" and row["ended_seq"] is not None:
        return _ENDS.get(row["grant_reason"], "unconfirmed"), row["grant_reason"]
    if row["grant_state"] != "revoked" and row["ends_by_itself"]:
        return "pending", row["cause"]
    return "failed", "not_ended"


async def _of_key(app: WorkerApp, actor: Actor, run: Run, row: Mapping[str, Any]) -> tuple[str, str]:
    """End a key at its provider and prove it by a call; pending if nobody may ask now, or the provider is away."""
    if row["keyless"]:
        return "unsupported", "keyless"
    facts = {"provider": row["provider"], "from_version": row["version"]}
    key = rotation.of(replace(run, client_id=row["client_id"], object_id=row["object_id"], facts=facts))
    try:
        await _require_free(app, key.client_id)
        await _tried(app, row, row["cause"])  # before it hangs: the next look begins with the others
        if row["settled_by"] is None and not await _ended(app, actor, key):
            return await _not_ended(app, key)
        await old_version.proved_dead(app, actor, key, row["version"])
    except ByokeepError as error:
        if isinstance(error, Unavailable) or error.code in HELD:
            return "pending", error.code
        if isinstance(error, Conflict):
            return ("failed" if error.code == "old_key_alive" else "unconfirmed"), error.code
        return "failed", error.code
    return "revoked", "refused_by_provider"


async def _not_ended(app: WorkerApp, key: KeyRotation) -> tuple[str, str]:
    """Return why a key was not ended. That somebody else works with its value is told to the platform's people only."""
    async with app.db.begin(client_id=key.client_id) as tx:
        able = await administration.admin_of(tx, key.client_id, key.provider) is not None
        calls = await administration.calls_of(tx, key, "revoke_call", Outcome.FAILED, version=key.from_version)
    if not able or key.provider not in app.limits.rotation_acts:
        return "unsupported", "no_admin_key"
    return "failed", "provider_refused" if calls else "not_called"


async def _require_free(app: WorkerApp, client_id: ClientId) -> None:
    """See that a worker may act for a client now, before it asks or puts anything on record.

    Raises:
        Denied: ``switch_closed``, ``switch_unknown``, ``client_not_active``.
        Conflict: ``client_closed``: it never may again.
    """
    asked = {"client_id": client_id, "scopes": client_scopes(client_id)}
    async with app.db.begin(client_id=client_id) as tx:
        facts = await tx.one(dict, "job_open_facts", **asked, installation_id=app.installation_id)
    if facts["client_state"] == ClientState.CLOSED:
        raise Conflict("client_closed")
    require_working({**facts, "client_active": facts["client_state"] == ClientState.ACTIVE, "job_open": True})


async def _ended(app: WorkerApp, actor: Actor, key: KeyRotation) -> bool:
    """Whether the provider was told to end a key, now or before an interruption."""
    async with app.db.begin(client_id=key.client_id) as tx:
        if await tx.all(int, "revocation_called", **key.at, run=str(key.id), version=key.from_version):
            return True
    return bool(await old_version.revoke_version(app, actor, key, key.from_version))


async def _say(app: WorkerApp, actor: Actor, run: Run, row: Mapping[str, Any], state: str, cause: str) -> None:
    """Record the state of one item, with its proof; for an account that is the record of its grant's end."""
    about = {"client_id": row["client_id"], "object_id": row["object_id"]}
    async with app.db.begin(client_id=row["client_id"]) as tx:
        said: dict[str, Said] = {"run": run.id, "stage": state, "cause": cause, "version": row["version"]}
        outcome = Outcome.OK if state == "revoked" else Outcome.FAILED
        receipt = await record(tx, actor, EventName.PROCEDURE_STEPPED, said, outcome=outcome, **about)
        seq = row["ended_seq"] or receipt.seq
        await tx.maybe(
            UUID, "revocation_said", run_id=run.id, object_id=row["object_id"], version=row["version"], state=state,
            cause=cause, seq=seq,
        )  # fmt: skip


MASS_REVOKE: Final = Procedure(
    name="mass_revoke", verb=Verb.KEY_STATE, look=lambda run_id: f"`byokeep incident revoke show {run_id}`",
    steps=(
        Step(name="cut", act=_done_at_once, verb=Verb.KEY_STATE, proves=lambda _, said: said["count"] > 0),
        Step(name="upstream", act=_upstream, proves=lambda _, said: said["count"] > 0),
    ),
)  # fmt: skip
