"""SOP 5.1: take in a client's key, and destroy what an interrupted onboarding leaves behind.

Rules
- The order: authorise, check the form, announce (recorded and committed), write to the store, then record in one
  transaction.
- There is one onboarding at a time per client and provider. A second caller is refused, and their value goes nowhere;
  with the same value both are told of the same run.
- If it is interrupted after the write, repeating the same call adopts the version that was written. Otherwise the sweep
  destroys it.
- If a key already serves, a new value waits as its candidate, for its rotation (:mod:`byokeep.keys.rotation`): neither
  a typo nor a provider that cannot be reached takes anything out of service (runbook 6.2). If none serves, the
  reference is unusable until the new value is verified, and a key whose place it takes is ended.
- No write pushes out a version that serves or that a run has yet to end: the store keeps a fixed number of a place, and
  values that were refused, cut off or made use them up, too. It is told to keep more before that.
- The value's leak fingerprints are recorded before it is written, so that everything in the store can be searched for.
- The sweep first ends the run in the database, so that a late end cannot be recorded, and then cleans the store. A
  version is an orphan only if no run wrote or announced it. It is recorded as found before it is destroyed, and as
  destroyed afterwards.
- A version older than a restore is kept, with an alert: the older database may lack its row, so two people decide
  (:mod:`byokeep.keys.orphans`).
- The sweep has no standing right: it works under a custody job of its own.

It may not read a value back: the flow holds a value only on its way in.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, TypeVar
from uuid import UUID

from byokeep.core.errors import ByokeepError, Conflict, Denied, Rejected, refusing
from byokeep.core.events import EventName, Outcome
from byokeep.core.evidence import ONBOARD, VERIFICATION, WRITE
from byokeep.core.keystate import KeyState
from byokeep.core.model import API_PROVIDERS, Actor, ClientId, CredentialRef, Risk, SecretKind, SopId
from byokeep.core.policy import Verb
from byokeep.core.ref import SecretRef, parse_provider
from byokeep.core.sealed_record import KEPT, MOST_KEPT
from byokeep.core.secret import Secret
from byokeep.jobs.jobs import in_custody, open_custody
from byokeep.kernel.app import App, WebApp, WorkerApp
from byokeep.kernel.command import Said, command, hold_chain, open_alert, permit, record, recorded
from byokeep.kernel.ports import Tx, Written
from byokeep.kernel.restored import restored_at, was_before
from byokeep.kernel.sops import SopRun, SopStatus, begin_sop, proved, status_of
from byokeep.kernel.store_recording import require_recorded
from byokeep.keys import rotation
from byokeep.keys.refs import RotationDue, get_ref, ref_from, rotation_due
from byokeep.keys.rotation import RotationRequest
from byokeep.tenancy.clients import require_active
from byokeep_redact.fingerprint import VERSION

P = TypeVar("P")
DEFAULT_DAYS: Final = 90
HISTORY_FULL: Final = "key_history_full"
UNDER_WAY_S: Final = 30  # how long a stored value that is being verified keeps another one waiting
CUSTODY_S: Final = 3600  # life of the custody job, should the worker be late


@dataclass(frozen=True, slots=True, kw_only=True)
class OnboardRequest:
    """What an operator asks for beside the value.

    Attributes:
        risk: ``None`` = the client's own class; a client of high risk cannot be asked down.
        rotation_days: The client's preference in days, ``None`` = none.
        version: The version the caller believes is current; ``None`` = whichever is.
        rotation: Of a key that replaces one that serves.
        place, audience: Of a keyless credential: the ids that are the value, and for whom its identity tokens are.
    """

    risk: Risk | None = None
    rotation_days: int | None = None
    version: int | None = None
    rotation: RotationRequest = field(default_factory=RotationRequest)
    place: str = ""
    audience: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Onboarded:
    """Where the value went, and the run that will verify it.

    ``state`` and ``verification`` are the reference's; ``serves`` is the version that jobs go on getting until the new
    one's rotation has cut over, ``None`` when no version serves; ``rotation`` is that run, ``joined``: it was under
    way before.
    """

    ref_id: UUID
    sop_id: SopId
    version: int
    state: str
    verification: str
    rule: str
    due_at: datetime
    serves: int | None
    rotation: UUID | None
    joined: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _OnboardPlan:
    ref: SecretRef
    run: SopRun
    due: RotationDue
    risk: Risk
    job_id: UUID
    days: int | None
    place: str
    audience: str


async def onboard(
    app: WebApp, actor: Actor, *, client_id: ClientId, provider: str, value: Secret, wish: OnboardRequest,
    problem: Rejected | None = None,
) -> Onboarded:  # fmt: skip
    """Store a key and queue its verification. Wipes ``value``.

    Args:
        provider: The provider's published name.
        problem: What was refused of the value before; it is raised, on record, once the actor is known to be allowed.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`.
        Rejected: ``unknown_provider``, ``not_an_api_provider``, ``client_not_active``,
            ``rotation_days_out_of_range``, ``unchanged``: it is the key in use; ``serves_keyless``;
            ``admin_key_serves``: it administers the client's account; why its form is refused; ``problem``.
        Conflict: ``onboarding_in_progress``, ``rotation_in_flight``, ``stale_version``, ``superseded``,
            ``key_history_full``; the value is stored nowhere or was destroyed.
        Unavailable: Store or database; ``no_custodian``. Repeating the same call is safe.
    """
    with value:
        await permit(app, actor, Verb.KEY_WRITE, client_id=client_id)
        await require_recorded(app)
        async with recorded(
            app, actor, Verb.KEY_WRITE, client_id=client_id, refused_as=EventName.KEY_WRITE, on_client=True
        ):
            known = parse_provider(provider)
            if known not in API_PROVIDERS:
                raise Rejected(
                    "not_an_api_provider", next_step="Connect the account instead: `byokeep account connect`."
                )
            if problem is not None:
                raise problem
            if not wish.place:
                app.check_format(provider, value)
            wish.rotation.facts()
            plan = await _announce(app, actor, SecretRef(client_id, known), value, wish)
        written = await _write(app, actor, plan, value)
    return await _record(app, actor, plan, written, wish.rotation.facts())


async def verify_again(app: WebApp, actor: Actor, ref_id: UUID, *, before: Callable[[ClientId], None]) -> SopRun:
    """Queue another verification of a reference's candidate, else of its current version.

    A run that has ended is followed by a new one.

    Args:
        before: Called with the client once the actor is known to be allowed; may refuse.

    Raises:
        Denied, NotFound: As :func:`byokeep.keys.refs.get_ref`.
        Rejected: ``credential_quarantined``, ``key_retired``, ``client_not_active``.
        Conflict: ``nothing_on_record``: the write has no record.
    """
    ref = await get_ref(app, actor, ref_id, Verb.KEY_VERIFY)
    before(ref.client_id)
    async with command(app, actor, Verb.KEY_VERIFY, client_id=ref.client_id, object_id=ref_id, on_client=True) as tx:
        if ref.verification == "quarantined" and ref.candidate is None:
            raise Rejected("credential_quarantined", next_step="Onboard a new value: this one was seen in a log.")
        if ref.state in ("deactivated", "compromised", "destroyed"):
            raise Rejected("key_retired", next_step="Onboard a new value.", state=ref.state)
        await tx.all(None, "ref_lock", client_id=ref.client_id, provider=ref.provider.value)
        await require_active(tx, ref.client_id)
        version = ref.candidate or ref.version
        run = await tx.maybe(SopRun, "sop_of_version", client_id=ref.client_id, ref_id=ref_id, version=version)
        if ref.candidate is not None:
            await rotation.look_again(tx, app, actor, ref)
        if run is None:
            raise Conflict("nothing_on_record", next_step="Onboard the value again.", ref=ref_id)
        # A rotation would take what such a run has on record for the answer that is asked for now.
        if over := run.state == "running" and ref.candidate is not None and VERIFICATION in run.evidence:
            await end_onboarding(tx, actor, run, "superseded")
        if over or run.state != "running":
            run = await begin_sop(
                tx, app, actor, ONBOARD, client_id=run.client_id, object_id=ref_id, provider=run.provider,
                version=version, after=run,
            )  # fmt: skip
        job_id = await open_custody(tx, app, ref.client_id, ref.provider, actor.request_id, ttl_s=CUSTODY_S)
        await queue_verification(tx, run, job_id, actor.request_id)
    return run


async def run_of(app: App, actor: Actor, ref: CredentialRef) -> SopStatus | None:
    """Return the newest run over a reference's candidate, else over its current version; None: there was none.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`.
    """
    at = {"client_id": ref.client_id, "ref_id": ref.id, "version": ref.candidate or ref.version}
    async with command(app, actor, Verb.SOP_READ, client_id=ref.client_id) as tx:
        run = await tx.maybe(SopRun, "sop_of_version", **at)
        return None if run is None else await status_of(tx, run)


async def _announce(app: WebApp, actor: Actor, ref: SecretRef, value: Secret, wish: OnboardRequest) -> _OnboardPlan:
    """Reserve the place and put the intent on record, committed, before the store is touched."""
    fingerprint = await app.intake.value_fingerprint(value)
    digests = await app.scan_key.digests(value)
    current = await app.intake.current_version(ref)
    await make_room(app, ref, current, app.intake.keep_more)
    async with app.db.begin(client_id=ref.client_id) as tx:
        await tx.all(None, "ref_lock", client_id=ref.client_id, provider=ref.provider.value)
        client = await require_active(tx, ref.client_id)
        job_id = await open_custody(tx, app, ref.client_id, ref.provider, actor.request_id, ttl_s=CUSTODY_S)
        risk = Risk.HIGH if Risk.HIGH in (wish.risk, client.risk) else Risk.STANDARD
        days = app.limits.rotation_default_days.get(ref.provider.value, DEFAULT_DAYS)
        live = await tx.maybe(ref_from, "ref_live", client_id=ref.client_id, provider=ref.provider.value)
        chosen = wish.rotation_days if live is None or wish.rotation_days is not None else live.rotation_days
        due = rotation_due(app.limits, app.clock.now(), days, risk, preference_days=chosen)
        run = await _adopt(tx, ref, fingerprint)
        if run is None:
            passed = live is not None and max(live.version, live.candidate or 0) > current  # one came meanwhile
            if passed or (wish.version is not None and wish.version != current):
                raise Conflict("stale_version", next_step="See `byokeep key show`, then decide again.", version=current)
            if live is not None:
                rotation.refuse_keyless(live, KeyState.ACTIVE)
                await rotation.refuse_unchanged(tx, live, fingerprint)
                await rotation.admit(tx, app, live)
            run = await begin_sop(
                tx, app, actor, ONBOARD, client_id=ref.client_id, object_id=live.id if live else app.ids.uuid(),
                provider=ref.provider, version=current + 1,
            )  # fmt: skip
            await tx.all(None, "fingerprint_put", ref_id=run.object_id, version=run.version, fingerprint=fingerprint)
            if await tx.all(UUID, "fingerprint_administers", ref_id=run.object_id, version=run.version):
                step = "This is the account's administrator key. Have the provider make another key for jobs."
                raise Rejected("admin_key_serves", next_step=step)
            await _say(tx, actor, EventName.KEY_WRITE, run, outcome=Outcome.INTENDED)
        stored = {"client_id": ref.client_id, "ref_id": run.object_id, "version": run.version}
        await tx.one(UUID, "leak_fingerprint_put", **stored, format=VERSION, digests=digests)
    return _OnboardPlan(
        ref=ref, run=run, due=due, risk=risk, job_id=job_id, days=chosen, place=wish.place, audience=wish.audience
    )  # fmt: skip


async def make_room(
    app: App, ref: SecretRef, newest: int, keep_more: Callable[[SecretRef], Awaitable[None]]
) -> None:  # fmt: skip
    """See that the version after ``newest`` pushes out none that is still needed: the store keeps so many of a place.

    Raises:
        Conflict: ``key_history_full``.
        Unavailable: Store or database.
    """
    if newest < KEPT:
        return
    at = {"client_id": ref.client_id, "provider": ref.provider.value, "purpose": ref.part or "default"}
    async with app.db.begin(client_id=ref.client_id) as tx:
        oldest = await tx.maybe(int, "oldest_needed", **at)
    await make_room_for(ref, newest, oldest, keep_more)


async def make_room_for(
    place: P, newest: int, oldest: int | None, keep_more: Callable[[P], Awaitable[None]]
) -> None:  # fmt: skip
    """As :func:`make_room`, of any place, where ``oldest`` is the oldest version that is still needed."""
    if oldest is None or newest + 1 - oldest < KEPT:
        return
    if newest + 1 - oldest >= MOST_KEPT:
        step = "The store holds no more beside the oldest value that is needed. End its rotation, or retire that key."
        raise Conflict(HISTORY_FULL, next_step=step, version=oldest)
    step = "Update the store's set-up: `byokeep up`, or `byokeep init` for your own store."
    with refusing(HISTORY_FULL, Conflict, on=Denied, next_step=step, version=oldest):
        await keep_more(place)


async def _adopt(tx: Tx, ref: SecretRef, fingerprint: str) -> SopRun | None:
    """Return the announced write of this very value that was cut off, None when nobody else is at this place."""
    place = {"client_id": ref.client_id, "provider": ref.provider.value}
    pending = await tx.maybe(SopRun, "sop_open_write", **place)
    if pending is not None:
        known = await tx.maybe(str, "fingerprint_get", ref_id=pending.object_id, version=pending.version)
        if hmac.compare_digest(known or "", fingerprint):
            return pending
    if (other := pending or await tx.maybe(SopRun, "sop_under_way", **place, within_s=UNDER_WAY_S)) is not None:
        step = "A value is being stored for this provider. Look at its result, or wait two minutes."
        raise Conflict("onboarding_in_progress", next_step=step, sop=other.id)
    return None


async def _write(app: WebApp, actor: Actor, plan: _OnboardPlan, value: Secret) -> Written:
    """Write the announced version, or find that an earlier, cut-off call of the same value did."""
    version = plan.run.version
    if plan.place:
        await app.intake.trust(plan.ref, plan.audience)
    if await app.intake.current_version(plan.ref) == version:
        return Written(version=version, request_id="")
    try:
        return await app.intake.put(plan.ref, value, cas=version - 1)
    except (Conflict, Rejected) as error:
        if isinstance(error, Conflict) and await app.intake.current_version(plan.ref) == version:
            return Written(version=version, request_id="")  # the same value was submitted twice at once
        # Surely not stored: the place is free again.
        async with app.db.begin(client_id=plan.ref.client_id) as tx:
            await end_onboarding(tx, actor, plan.run, error.code)
        raise


async def _record(app: WebApp, actor: Actor, plan: _OnboardPlan, written: Written, facts: dict[str, int]) -> Onboarded:
    """Everything that follows from the write, or nothing: a rotation that began meanwhile does not get the value.

    Of two calls with the same value at once the second is told what the first recorded.
    """
    ref, run = plan.ref, plan.run
    async with app.db.begin(client_id=ref.client_id) as tx:
        await tx.all(None, "ref_lock", client_id=ref.client_id, provider=ref.provider.value)
        if WRITE in (await tx.one(SopRun, "sop_get", id=run.id)).evidence:
            row = await tx.one(ref_from, "ref_get", id=run.object_id)
            if written.request_id:  # no other record explains the write to whoever compares the store's log
                await _say_stored(tx, actor, plan, written)
            open_ = await rotation.in_flight(tx, ref.client_id, row.id) if row.candidate == run.version else None
            return _told(plan, row, None if open_ is None else open_.id, joined=open_ is not None)
        if (late := await _too_late(tx, app, run)) is None:
            return await _recorded(tx, app, actor, plan, written, facts)
        await end_onboarding(tx, actor, run, "cut_off")  # the sweep destroys what was written
    raise late


async def _too_late(tx: Tx, app: App, run: SopRun) -> Conflict | None:
    """Why a value that was announced may not come in any more; None: it may."""
    live = await tx.maybe(ref_from, "ref_lock_row", client_id=run.client_id, id=run.object_id)  # before its rotation
    try:
        if live is not None:
            await rotation.admit(tx, app, live)
    except Conflict as error:
        error.on_record = True  # with the end of the onboarding
        return error
    return None


async def _recorded(
    tx: Tx, app: App, actor: Actor, plan: _OnboardPlan, written: Written, facts: dict[str, int]
) -> Onboarded:
    ref, run = plan.ref, plan.run
    live = await tx.maybe(ref_from, "ref_get", id=run.object_id)
    row = await _put_ref(tx, app, actor, plan, live)  # before its record, which says what the row is
    seq = await _say_stored(tx, actor, plan, written)
    waits = row.candidate == run.version
    before = await rotation.in_flight(tx, ref.client_id, row.id) if waits else None
    offer = await rotation.offered(tx, app, actor, row, facts) if waits else None
    if live is not None and not waits:
        await rotation.replaced(tx, app, actor, live, run.id)
    stored = await proved(tx, run, {WRITE: seq}, store_request=written.request_id)
    await tx.all(SopRun, "sop_supersede", client_id=ref.client_id, ref_id=run.object_id, id=run.id)
    await queue_verification(tx, stored, plan.job_id, actor.request_id)
    return _told(plan, row, offer, joined=before is not None)


async def _say_stored(tx: Tx, actor: Actor, plan: _OnboardPlan, written: Written) -> int:
    return await _say(
        tx, actor, EventName.KEY_STORED, plan.run, path=plan.ref.path, rule=plan.due.rule, risk=plan.risk.value,
        due_at=plan.due.due_at.strftime("%Y-%m-%dT%H:%M:%SZ"), store_request=written.request_id,
        mode="keyless" if plan.place else None,
    )  # fmt: skip


def _told(plan: _OnboardPlan, row: CredentialRef, rotation: UUID | None, *, joined: bool) -> Onboarded:
    waits = row.candidate == plan.run.version
    return Onboarded(
        ref_id=row.id, sop_id=plan.run.id, version=plan.run.version, state=row.state,
        verification=row.verification.value, rule=plan.due.rule, due_at=plan.due.due_at,
        serves=row.version if waits and row.state != KeyState.SUSPENDED else None, rotation=rotation, joined=joined,
    )  # fmt: skip


async def _put_ref(
    tx: Tx, app: App, actor: Actor, plan: _OnboardPlan, live: CredentialRef | None
) -> CredentialRef:  # fmt: skip
    same = {"client_id": plan.ref.client_id, "id": plan.run.object_id, "version": plan.run.version,
            "risk": plan.risk.value, "rotation_due_at": plan.due.due_at, "rotation_days": plan.days,
            "place": plan.place,
            "created_at": app.clock.now(), "created_by": actor.id}  # fmt: skip
    stopped = await rotation.stopped_for(tx, live)
    offered_ = await tx.maybe(ref_from, "ref_offer", **same, stopped=stopped, expires_at=None, minted=False)
    if (row := offered_ or await tx.maybe(ref_from, "ref_renew", **same)) is not None:
        return row
    return await tx.one(
        ref_from, "ref_insert", **same, provider=plan.ref.provider.value, kind=SecretKind.PROVIDER_API_KEY.value,
        environment=app.environment.value, secret_ref=str(plan.ref),
    )  # fmt: skip


async def queue_verification(tx: Tx, run: SopRun, job_id: UUID, request_id: UUID) -> None:
    """Hand a stored version to the workers."""
    await tx.defer(
        "verify_key", client_id=str(run.client_id), ref_id=str(run.object_id), version=str(run.version),
        sop_id=str(run.id), job_id=str(job_id), request_id=str(request_id),
    )  # fmt: skip


async def _say(
    tx: Tx, actor: Actor, name: EventName, run: SopRun, *, outcome: Outcome = Outcome.OK, **fields: Said
) -> int:
    said: dict[str, Said] = {"provider": run.provider.value, "version": run.version, "sop": str(run.id), **fields}
    receipt = await record(tx, actor, name, said, outcome=outcome, client_id=run.client_id, object_id=run.object_id)
    return receipt.seq


CUT_OFF_S: Final = 120  # seconds without a record after which an announced write counts as cut off
_AT_ONCE: Final = 100


async def sweep_orphans(app: WorkerApp, *, older_than_s: int = CUT_OFF_S) -> int:
    """End cut-off runs and destroy what they wrote since the last restore; returns the number of versions destroyed.

    A place that cannot be cleaned now raises an alert and is tried again by the next sweep.

    Raises:
        Unavailable: The database is away.
    """
    async with app.db.begin(every_client=True) as tx:
        runs = await tx.all(SopRun, "sops_cut_off", older_than_s=older_than_s, limit=_AT_ONCE)
    places: dict[SecretRef, list[SopRun]] = {}
    for run in runs:
        if run.state == "running":
            async with app.db.begin(client_id=run.client_id) as tx:
                await end_onboarding(tx, app.system(), run, "cut_off")
        places.setdefault(SecretRef(run.client_id, run.provider), []).append(run)
    destroyed, restored = 0, await restored_at(app) if places else None
    for place, ended in places.items():
        try:
            destroyed += await _clean(app, place, ended, restored)
        except ByokeepError:
            async with app.db.begin(client_id=place.client_id) as tx:
                reason, about = "orphan_not_destroyed", ended[-1].object_id
                await open_alert(tx, app, app.system(), reason=reason, client_id=place.client_id, object_id=about)
    return destroyed


async def end_onboarding(tx: Tx, actor: Actor, run: SopRun, reason: str) -> None:
    """End a run that goes on, on record."""
    await hold_chain(tx, run.client_id)
    if await tx.maybe(SopRun, "sop_fail", client_id=run.client_id, id=run.id, reason=reason):
        await _say(tx, actor, EventName.KEY_ONBOARDING_FAILED, run, outcome=Outcome.FAILED, reason=reason)


async def _clean(app: WorkerApp, place: SecretRef, ended: list[SopRun], restored: datetime | None) -> int:
    """Destroy the strange versions of a place; returns how many. ``ended`` = its runs, oldest first."""
    client_id, provider, run, at = place.client_id, place.provider.value, ended[-1], app.custodian
    async with in_custody(app, at.open, at.close, client_id, provider) as custody:
        live = await custody.live_versions(place)
        async with app.db.begin(client_id=client_id) as tx:
            known = set(await tx.all(int, "versions_on_record", client_id=client_id, provider=provider))
            strange = sorted(version for version in live if version not in known)
            for version in strange:
                await _say(tx, app.system(), EventName.ORPHAN_FOUND, run, version=version)
        begun = {one.version: one.started_at for one in ended}
        if kept := [version for version in strange if was_before(restored, begun.get(version))]:
            strange = [version for version in strange if version not in kept]
            async with app.db.begin(client_id=client_id) as tx:
                reason, about = "orphan_kept", run.object_id
                await open_alert(tx, app, app.system(), reason=reason, client_id=client_id, object_id=about)
        if strange:
            await custody.destroy(place, strange)
    async with app.db.begin(client_id=client_id) as tx:
        for version in strange:
            await _say(tx, app.system(), EventName.ORPHAN_DESTROYED, run, version=version)
        for one in ended:
            await tx.all(
                None, "sop_set_reason", client_id=client_id, id=one.id, reason_from="cut_off", reason_to="cut_off_swept"
            )
    return len(strange)
