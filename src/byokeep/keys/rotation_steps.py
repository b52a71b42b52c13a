"""What each step of a rotation looks at and does in a worker, from the new value to its service; the noun, and what
people decide of it, are in :mod:`byokeep.keys.rotation`. And its rollback: the old version is pinned, or served,
again.

Rules
- A step passes by what is on record, never by what a run's row says. It waits, or stops with the reason a person reads.
- Not measured is not passed.
- Before a rollback the provider is asked, and only a key that it reports as live serves again. A leaked key, or one
  whose revocation has begun, never does. The new one goes on serving then, and unless the provider says that the old
  key is dead a run of its own ends it: whether it is alive nobody knows.
- The provider is asked a few times; then the run waits for a person, with an alert.

It may not begin or end a rotation, or withdraw the new version: :mod:`byokeep.keys.old_version` does.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

from byokeep.core.errors import Conflict, Rejected, Unavailable
from byokeep.core.events import EventName, Outcome
from byokeep.core.evidence import LEAK_CHECK, VERIFICATION
from byokeep.core.keystate import KeyState
from byokeep.core.model import Actor, CredentialRef
from byokeep.core.procedure import Fields
from byokeep.jobs.dry_runs import MOST
from byokeep.kernel import procedures
from byokeep.kernel.app import App, WorkerApp
from byokeep.kernel.command import Said, record
from byokeep.kernel.ports import CheckOutcome, OutcomeStatus, Tx
from byokeep.kernel.sops import SopRun
from byokeep.keys import administration, rotation
from byokeep.keys.administration import custody_of, say, tell
from byokeep.keys.refs import end_jobs, move, ref_from
from byokeep.keys.rotation import ALIVE, DEAD, KeyRotation, accepted, is_leaked, note_pin, pinned_at, rehearsal_needed

ERROR_BUDGET: Final = 0.02  # of the calls that runners told


async def ref_of(app: App, run: KeyRotation) -> CredentialRef:
    """Return the reference as it stands. Raises Conflict(``reference_ended``)."""
    async with app.db.begin(client_id=run.client_id) as tx:
        ref = await tx.one(ref_from, "ref_get", id=run.object_id)
    if ref.state not in ("active", "suspended"):
        raise Conflict(
            "reference_ended", next_step="The key was retired meanwhile. End this rotation.", state=ref.state
        )
    return ref


async def created(app: App, actor: Actor, run: KeyRotation) -> Fields | None:
    """Wait for the value that a person brings, which puts the step on record itself."""
    step = f"Add the new key: `byokeep key add {run.client_id} {run.provider} < key.txt`."
    raise Conflict("value_awaited", next_step=step)


async def verified(app: App, actor: Actor, run: KeyRotation) -> Fields | None:
    """Take what the verification of the new version came to, and compare the accounts."""
    if not await _good(app, run):
        return None
    asked, both = {"client_id": run.client_id, "ref_id": run.object_id}, [run.from_version, run.version]
    async with app.db.begin(client_id=run.client_id) as tx:
        told = await tx.all(lambda row: (row["version"], row["account"]), "rotation_accounts", **asked, versions=both)
    accounts = dict(told)
    old, new = accounts.get(run.from_version), accounts.get(run.version)
    cause = "other_account" if old != new else "account_not_told" if old is None else "same_account"
    if cause == "other_account" and not await accepted(app, run, cause):
        step = "The new key belongs to another account than the one in use, or the account of only one is known."
        raise Conflict("other_account", next_step=step)
    return {"provider": run.provider.value, "version": run.version, "cause": cause}


async def _good(app: App, found: KeyRotation) -> bool:
    """Whether the newest verification of the version that waits passed; False: it goes on.

    Raises:
        Conflict: It failed; or ``leak_check_unknown``: the key is good, but nobody could search the logs for it, and
            no worker looks again by itself.
    """
    ref = await ref_of(app, found)
    asked = {"client_id": found.client_id, "ref_id": found.object_id}
    async with app.db.begin(client_id=found.client_id) as tx:
        sop = await tx.maybe(SopRun, "sop_of_version", **asked, version=found.version)
    if sop is None or (sop.state == "running" and VERIFICATION not in sop.evidence):
        return False
    if sop.state != "complete" or ref.candidate != found.version:
        again = f"`byokeep key verify {found.object_id}`"
        step = f"See `byokeep evidence show {sop.id}`; then {again}, or add another value."
        open_as = "evidence_missing" if LEAK_CHECK in sop.evidence else "leak_check_unknown"
        why = open_as if sop.state == "running" else sop.reason or "candidate_gone"
        raise Conflict(why, next_step=step)
    return True


async def rehearsed(app: App, actor: Actor, run: KeyRotation) -> Fields | None:
    """Take what the dry runs with the new version came to."""
    about = {"client_id": run.client_id, "provider": run.provider.value}
    async with app.db.begin(client_id=run.client_id) as tx:
        told = await tx.all(dict, "dry_runs_told", **about, run_id=run.id, version=run.version)
        needed = await rehearsal_needed(tx, run)
    if not told:
        mode = app.limits.rotation_modes.get(run.provider.value)
        if mode == "cutover" or (not needed and await accepted(app, run, "not_rehearsed")):
            return {"count": 0, "cause": "skipped"}
        raise Conflict("not_rehearsed", next_step="No dry run with the new version has passed yet.")
    if not all(one["over"] for one in told):
        return None
    async with app.db.begin(client_id=run.client_id) as tx:
        for one in told:
            outcome = Outcome.OK if one["passed"] else Outcome.FAILED
            of = {"version": run.version, "job": one["job_id"], "count": one["number"]}
            await say(tx, actor, run, "dry_run", outcome, **of)
    failed = sum(not one["passed"] for one in told)
    if failed or len(told) > MOST:
        raise Conflict("dry_run_failed", next_step="A dry run with the new version failed.", failed=failed)
    return {"count": len(told), "cause": "passed"}


async def cutting(app: App, actor: Actor, run: KeyRotation) -> Fields | None:
    """See that the new version still waits, and that nothing worse was found of it since it was verified.

    The record says for how long the old one stays good, where the two overlap.
    """
    ref = await ref_of(app, run)
    ends = ref.candidate_expires_at
    if ref.candidate != run.version or (ends is not None and ends <= app.clock.now()):
        step = "The new version was dropped, or has expired, meanwhile. End this rotation."
        raise Conflict("candidate_gone", next_step=step)
    if not await _good(app, run):
        return None
    overlaps = run.procedure in (rotation.ROTATE, rotation.MINTED)
    overlap: Fields = {"grace_s": int(run.facts["grace_s"])} if overlaps else {}
    return {"version": run.version, "from_version": run.from_version, "pinned_at": rotation.stamp(app.clock.now()),
            **overlap}  # fmt: skip


async def pin(tx: Tx, actor: Actor, run: KeyRotation) -> Fields:
    """Cut over: one row, from the next lease on."""
    ref = await tx.one(ref_from, "ref_pin_candidate", **run.at, version=run.version)
    # The new one is good, and making it ended the old one: whoever holds that stops. A wrong value ends nobody's job.
    ended = {"count": await end_jobs(tx, ref, rotation.PAUSE, given=True)} if run.procedure == rotation.CUTOVER else {}
    await note_pin(tx, actor, run, run.version, run.from_version)
    return ended


async def soaked(app: WorkerApp, actor: Actor, run: KeyRotation) -> Fields | None:
    """Judge the overlap by what calls with the new version came to. Nothing measured is unknown, not a pass."""
    asked = {"client_id": run.client_id, "provider": run.provider.value}
    async with app.db.begin(client_id=run.client_id) as tx:
        if await is_leaked(tx, run):
            return {"cause": "not_measured"}
        since = await pinned_at(tx, run)
        told = await tx.one(dict, "rotation_outcomes", **asked, since=since)
    if told["failed"] > told["count"] * ERROR_BUDGET:
        await tell(app, actor, run, "soak_spike")
        raise Conflict("soak_spike", next_step="Calls with the new version fail.", failed=told["failed"])
    if told["count"]:
        return {"count": told["count"], "failed": told["failed"], "cause": "within_budget"}
    if not run.facts["grace_s"] or await accepted(app, run, "soak_unknown"):
        return {"cause": "not_measured"}
    raise Conflict("soak_unknown", next_step="No runner reported how calls with the new version ended.")


async def asked(app: WorkerApp, run: KeyRotation, version: int) -> CheckOutcome | None:
    """Ask the provider about a stored version; None: the store holds it no more, or holds no key."""
    async with custody_of(app, run) as custody:
        if version not in await custody.live_versions(run.place):
            return None
        value = await custody.read(run.place, version)
        try:
            return await app.identify(run.provider, value)
        except Rejected as error:
            if error.code != "json_not_key":  # the ids of a keyless one: there is no key to ask about
                raise
            return None
        finally:
            value.wipe()


async def stopped(app: App, actor: Actor, run: KeyRotation) -> Fields | None:
    """Done where it begins: :func:`byokeep.keys.rotation.start`."""
    raise Conflict("value_awaited")


async def served(app: WorkerApp, actor: Actor, run: KeyRotation) -> Fields | None:
    """Serve the key again, with its new version; how long it was not is on record. What a person suspended stays so."""
    if run.facts.get("was_suspended"):
        return {"version": run.version, "cause": "stays_suspended"}
    if not await serve(app, actor, run):
        return {"version": run.version, "cause": "reference_ended"}
    gap = app.clock.now() - datetime.fromisoformat(run.facts["stopped_at"])
    return {"version": run.version, "took_s": max(0, int(gap.total_seconds()))}


async def say_alive(tx: Tx, actor: Actor, run: KeyRotation, note: CheckOutcome) -> None:
    """Put on record what the provider said of the old version when it was about to serve again."""
    said: dict[str, Said] = {
        "provider": run.provider.value, "version": run.from_version, "verification": note.status.value,
        "endpoint": note.endpoint, "latency_ms": note.latency_ms, "attempts": note.attempts,
        "http_status": note.http_status, "account_hash": note.account_hash,
    }  # fmt: skip
    outcome = Outcome.OK if note.verified else Outcome.FAILED
    await record(
        tx, actor, EventName.KEY_VERIFIED, said, outcome=outcome, client_id=run.client_id, object_id=run.object_id
    )


async def serve(app: WorkerApp, actor: Actor, run: KeyRotation, note: CheckOutcome | None = None) -> bool:
    """Serve a paused key; False: the reference has ended meanwhile.

    Args:
        note: What the provider said a moment ago of the version that is pinned.
    """
    async with app.db.begin(client_id=run.client_id) as tx:
        ref = await tx.one(ref_from, "ref_lock_row", **run.at)
        await rotation.require_open(tx, run)
        if ref.state in rotation.OVER:
            return False
        if note is not None:
            if note.verified and ref.verification in ("failed", "pending"):
                about = {**run.at, "version": ref.version, "verification": "verified"}
                await tx.one(ref_from, "ref_set_verification", **about)
            await say_alive(tx, actor, run, note)
        if ref.state == KeyState.SUSPENDED:
            await move(tx, app, actor, ref, to=KeyState.ACTIVE, reason="rotated")
    return True


_DEAD: Final = "old_key_dead"
_REFUSED: Final = DEAD | {OutcomeStatus.FORBIDDEN, OutcomeStatus.LEAKED}  # such a key serves nobody again
_ASKED_AGAIN: Final = {
    Unavailable: "This is retried automatically.",
    Conflict: "The provider could not be asked. Resume the run when it answers.",
}


async def unpin(app: WorkerApp, actor: Actor, run: KeyRotation) -> Fields | None:
    """Pin the old version again, if the provider says that it is alive."""
    if "pinned_at" not in run.facts:
        return {"cause": "not_cut_over"}
    note = await _asked(app, actor, run)
    if note is None or note.status not in ALIVE:
        if (cause := _ended(note)) != _DEAD:
            await _end_old(app, actor, run, leaked=note is not None and note.status is OutcomeStatus.LEAKED)
        return {"cause": cause, "version": run.version}
    facts = run.facts
    was = {"risk": facts["was_risk"], "created_by": UUID(facts["was_created_by"]),
           "rotation_due_at": datetime.fromisoformat(facts["was_due_at"]),
           "created_at": datetime.fromisoformat(facts["was_created_at"]),
           "expires_at": datetime.fromisoformat(at) if (at := facts.get("was_expires_at")) else None}  # fmt: skip
    async with app.db.begin(client_id=run.client_id) as tx:
        ref = await tx.one(ref_from, "ref_lock_row", **run.at)
        await rotation.require_open(tx, run)
        over = ref.state in rotation.OVER
        back = None if over else await tx.maybe(
            ref_from, "ref_pin_back", **run.at, version=run.from_version, from_version=run.version,
            verified=note.verified, **was,
        )  # fmt: skip
        if back is not None:
            await say_alive(tx, actor, run, note)
            await rotation.note_pin(tx, actor, run, run.from_version, run.version)
    if over:
        await _end_old(app, actor, run)
        return {"version": run.version, "cause": "reference_ended"}
    return {"version": run.from_version, "cause": "pinned_again"}


def _ended(note: CheckOutcome | None) -> str:
    """Return why an old version does not serve again."""
    return _DEAD if note is not None and note.status in DEAD else "old_key_not_proved"


async def _end_old(app: WorkerApp, actor: Actor, run: KeyRotation, *, leaked: bool = False) -> None:
    """Begin the end of an old version that serves nobody again; one that leaked nobody may keep alive."""
    at = run.client_id, run.object_id, run.provider.value, run.from_version
    async with app.db.begin(client_id=run.client_id) as tx:
        facts = {"pinned_at": rotation.stamp(await rotation.pinned_at(tx, run))}
        facts |= {} if leaked else {"rotation": str(run.id)}
        begun = await rotation.end_unused(tx, app, actor, run.id, *at, facts=facts)
    await procedures.wake(app, begun)


async def _asked(app: WorkerApp, actor: Actor, run: KeyRotation) -> CheckOutcome | None:
    """Ask the provider whether the old version may serve again; None: it is not asked, for that was begun to be ended
    or is gone. People are told unless it is alive.

    Raises:
        Unavailable: ``old_key_not_proved``: nobody can tell now.
        Conflict: The same, asked :data:`byokeep.keys.administration.CALLS` times: a person is told, and it is asked
            again when they resume.
    """
    async with app.db.begin(client_id=run.client_id) as tx:
        ended = await rotation.is_leaked(tx, run) or await rotation.revocation_begun(tx, run)
    note = None if ended else await asked(app, run, run.from_version)
    if note is not None and note.status in ALIVE:
        return note
    unknown = note is not None and note.status not in _REFUSED
    if note is None or not note.again:
        await administration.tell(app, actor, run, "old_key_not_proved" if unknown else "rollback_impossible")
    if note is not None and unknown:
        tries = await administration.not_answered(
            app, actor, run, "ask", "old_key_not_proved", version=run.from_version
        )
        error = Unavailable if tries < administration.CALLS else Conflict
        raise error("old_key_not_proved", next_step=_ASKED_AGAIN[error], status=note.status.value)
    return note


async def serve_old(app: WorkerApp, actor: Actor, run: KeyRotation) -> Fields | None:
    """Serve the old version again, if its provider says that it is alive."""
    note = await _asked(app, actor, run)
    if note is None or note.status not in ALIVE:
        return {"cause": _ended(note), "version": run.from_version}
    serves = await serve(app, actor, run, note)
    return {"cause": "serves_again" if serves else "reference_ended", "version": run.from_version}
