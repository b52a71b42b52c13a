"""A rotation in which a worker makes the new key at the provider, with the client's administrator key.

Rules
- A key is made under the name of its rotation, so that a key whose value was lost on the way can be found at the
  provider and ended: before another one is made, when the rotation is ended, and when its new key is refused. A key
  that could not be checked, or that a person must decide on, waits.
- A key that has served is ended after the last job that got it.
- Keys of finished rotations that serve nobody are ended as well. A key with any other name is left alone, and so is one
  that was pasted for somebody else and serves there: people are told.
- The call is recorded before it is made. The new value is written, recorded and verified like a pasted one, and like
  that of a pasted one its fingerprints are on record before it is written
  (docs/adr/0103-who-mints-a-key-makes-its-fingerprints.md).
- A worker that cannot put down the key that it was given, or not before its step's time is over, or that stalls while
  another takes the step up, ends it.
- A mint and a revocation are separate steps, and each is retried by itself.

It may not use the administrator key for any other call, nor hand it to a job.
"""

from __future__ import annotations

from asyncio import CancelledError
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from byokeep.core.errors import ByokeepError, Conflict, Rejected, Unavailable
from byokeep.core.events import EventName, Outcome
from byokeep.core.evidence import ONBOARD, WRITE
from byokeep.core.model import Actor, CredentialRef
from byokeep.core.procedure import Fields
from byokeep.core.secret import Secret
from byokeep.jobs.jobs import open_custody
from byokeep.kernel.app import WorkerApp
from byokeep.kernel.command import hold_chain, record
from byokeep.kernel.ports import MintedKey, Tx, ValueCustody
from byokeep.kernel.sops import SopRun, begin_sop, proved
from byokeep.keys import administration, old_version, rotation, rotation_steps
from byokeep.keys.administration import AdminKey, administering, called
from byokeep.keys.onboard import CUSTODY_S, DEFAULT_DAYS, end_onboarding, make_room, queue_verification
from byokeep.keys.refs import ref_from, rotation_due
from byokeep.keys.rotation import KeyRotation
from byokeep_redact.fingerprint import VERSION

SERVES_ELSEWHERE: Final = "serves_elsewhere"
_PREFIX: Final = "byokeep-"
# What a check says of a minted key that serves nobody: all else may end well, so that the key waits.
_REFUSED: Final = frozenset({*rotation.DEAD, "forbidden", "leaked", "wrong_key_kind", "secret_in_logs", "reflected"})


async def minted(app: WorkerApp, actor: Actor, run: KeyRotation) -> Fields | None:
    """Make a key at the provider and store it as the candidate; None if another worker took the step up meanwhile."""
    async with administering(app, actor, run) as (custody, admin, secret):
        if not await _end_strays(app, actor, run, admin, secret):
            return None
        ref, newest = await rotation_steps.ref_of(app, run), await custody.newest(run.place)
        if max(ref.version, ref.candidate or 0) > newest:  # a node that lags: what serves keeps its fingerprints
            raise Unavailable("store_behind", next_step="This is retried automatically.")
        await make_room(app, run.place, newest, custody.keep_more)
        await _may_try(app, actor, run)
        await custody.fingerprints(run.place, secret)  # what would fail fails here, before a key is made in vain
        await called(app, actor, run, "mint", "", Outcome.INTENDED)
        asked_at = app.clock.now()
        name = _PREFIX + f"{run.id}-{app.ids.uuid().hex[:4]}"
        made = await app.issuer.mint(run.provider.value, secret, name, admin.place)
        with made.value:
            ends = None if made.life_s is None else asked_at + timedelta(seconds=made.life_s)
            try:
                version = await _stored(app, actor, run, custody, made, ends)
            except (ByokeepError, CancelledError) as error:  # or the step's time is over
                # Nobody gets it; if it was stored all the same, the next attempt replaces it.
                if isinstance(error, Rejected):
                    await administration.tell(app, actor, run, "minted_key_refused")
                try:
                    await _end(app, actor, run, admin, secret, made.id)
                except ByokeepError:
                    if not isinstance(error, Unavailable):  # else the next attempt ends it
                        await administration.tell(app, actor, run, "revocation_refused")
                raise
            if version is None:
                await _given_up(app, actor, run, admin, secret, made.id)
                return None
        await called(app, actor, run, "mint", made.id, Outcome.OK, version=version)
    return {"provider": run.provider.value, "version": version, "from_version": run.from_version}


async def _may_try(app: WorkerApp, actor: Actor, run: KeyRotation) -> None:
    """Stop a rotation whose calls make keys that never arrive. Raises Conflict(``mint_gave_up``)."""
    async with app.db.begin(client_id=run.client_id) as tx:
        if await administration.calls_of(tx, run, "mint_call", Outcome.INTENDED) < administration.CALLS:
            return
    await administration.tell(app, actor, run, "mint_gave_up")
    step = f"Check the keys on the provider's page, and end this rotation: `byokeep rotate abort {run.id}`."
    raise Conflict("mint_gave_up", next_step=step)


async def _stored(
    app: WorkerApp, actor: Actor, run: KeyRotation, custody: ValueCustody, made: MintedKey, ends: datetime | None
) -> int | None:
    """Write a minted value and put it on record; an attempt that was cut off ends first, for the sweep to clean up.

    Returns its version; None: the run moved.
    """
    place, client_id = run.place, run.client_id
    version = await custody.newest(place) + 1
    fingerprint, digests = await custody.fingerprints(place, made.value)
    stored = {"ref_id": run.object_id, "version": version}
    said: dict[str, Any] = {"provider": run.provider.value, "version": version}
    async with app.db.begin(client_id=client_id) as tx:
        if await _held(tx, run) is None:
            return None
        if before := await tx.maybe(SopRun, "sop_open_write", client_id=client_id, provider=run.provider.value):
            await end_onboarding(tx, actor, before, "cut_off")
        sop = await begin_sop(
            tx, app, actor, ONBOARD, client_id=client_id, object_id=run.object_id, provider=run.provider,
            version=version,
        )  # fmt: skip
        await tx.all(None, "fingerprint_put", **stored, fingerprint=fingerprint)
        await tx.one(UUID, "leak_fingerprint_put", client_id=client_id, **stored, format=VERSION, digests=digests)
        await record(
            tx, actor, EventName.KEY_WRITE, said, outcome=Outcome.INTENDED, client_id=client_id,
            object_id=run.object_id, sop=str(sop.id),
        )  # fmt: skip
    written = await custody.write(place, made.value, cas=version - 1)
    async with app.db.begin(client_id=client_id) as tx:
        if (ref := await _held(tx, run)) is None:
            return None
        days = app.limits.rotation_default_days.get(run.provider.value, DEFAULT_DAYS)
        due = rotation_due(app.limits, app.clock.now(), days, ref.risk, preference_days=ref.rotation_days)
        offered = await tx.maybe(
            ref_from, "ref_offer", **run.at, version=version, risk=ref.risk.value, rotation_due_at=due.due_at,
            rotation_days=None, created_at=app.clock.now(), created_by=run.started_by, stopped=False, place="",
            expires_at=ends, minted=True,
        )  # fmt: skip
        if offered is None:
            raise Rejected("nothing_serves", next_step="The key in use was retired meanwhile. End this rotation.")
        receipt = await record(
            tx, actor, EventName.KEY_STORED, said, client_id=client_id, object_id=run.object_id, sop=str(sop.id),
            path=place.path, rule=due.rule, risk=ref.risk.value, due_at=due.due_at, store_request=written.request_id,
        )  # fmt: skip
        seq = receipt.seq
        sop = await proved(tx, sop, {WRITE: seq}, store_request=written.request_id)
        await tx.all(SopRun, "sop_supersede", client_id=client_id, ref_id=run.object_id, id=sop.id)
        job_id = await open_custody(tx, app, client_id, run.provider, actor.request_id, ttl_s=CUSTODY_S)
        await queue_verification(tx, sop, job_id, actor.request_id)
    return version


async def _held(tx: Tx, run: KeyRotation) -> CredentialRef | None:
    """Return a run's reference, held with its chain and the run, in the order of all who end a key; None: it moved."""
    await tx.all(None, "ref_lock", client_id=run.client_id, provider=run.provider.value)
    ref = await tx.one(ref_from, "ref_lock_row", **run.at)
    await hold_chain(tx, run.client_id)
    return ref if await tx.maybe(UUID, "procedure_hold", id=run.id, revision=run.revision) else None


async def _end_strays(app: WorkerApp, actor: Actor, run: KeyRotation, admin: AdminKey, secret: Secret) -> bool:
    """End keys at the provider that a rotation made and that serve nobody, also not under another reference; False: the
    run moved, and none was.
    """
    listed = await app.issuer.keys(run.provider.value, secret, admin.place)
    async with app.db.begin(client_id=run.client_id) as tx:
        if await _held(tx, run) is None:
            return False  # a key in the list may be another worker's; while the run stands, all are older than that
    for key in listed:
        name = key.name.removeprefix(_PREFIX)[:36]
        made = run if name == str(run.id) else await _over(app, run, name)
        if made is None or not key.name.startswith(_PREFIX):
            continue
        async with app.db.begin(client_id=run.client_id) as tx:
            version = await tx.maybe(int, "rotation_version_of", **made.at, key_id=key.id)
        if version is None or not await old_version.serves_elsewhere(app, actor, made, version):
            await _end(app, actor, run, admin, secret, key.id)
    return True


async def _end(app: WorkerApp, actor: Actor, run: KeyRotation, admin: AdminKey, secret: Secret, key_id: str) -> None:
    await called(app, actor, run, "stray", key_id, Outcome.INTENDED)
    await app.issuer.revoke(run.provider.value, secret, key_id, admin.place)
    await called(app, actor, run, "stray", key_id, Outcome.OK)


async def _given_up(
    app: WorkerApp, actor: Actor, run: KeyRotation, admin: AdminKey, secret: Secret, key_id: str
) -> None:  # fmt: skip
    """End a made key of a run that moved, or tell people that it lives: no other attempt looks for it."""
    try:
        await _end(app, actor, run, admin, secret, key_id)
    except (ByokeepError, CancelledError):
        await administration.tell(app, actor, run, "revocation_refused")
        raise


async def _over(app: WorkerApp, run: KeyRotation, name: str) -> KeyRotation | None:
    try:
        run_id = UUID(name)
    except ValueError:
        return None
    async with app.db.begin(client_id=run.client_id) as tx:
        return await tx.maybe(KeyRotation, "rotation_of_name", client_id=run.client_id, run_id=run_id)


async def _ended(app: WorkerApp, actor: Actor, run: KeyRotation) -> None:
    """End what this rotation made at the provider, and what others left there."""
    async with administering(app, actor, run) as (_, admin, secret):
        await _end_strays(app, actor, run, admin, secret)


async def take_back(app: WorkerApp, actor: Actor, run: KeyRotation) -> Fields | None:
    """End the minted key at the provider, unless it serves or a job still holds it, and take the candidate away.

    Raises:
        Conflict: The provider was away time and again: people are told, and it is asked again when somebody resumes.
            ``serves_elsewhere``: somebody pasted it for another reference, under which no call ends it.
    """
    if await old_version.given_to_jobs(app, run):
        return None
    async with app.db.begin(client_id=run.client_id) as tx:
        ref = await tx.one(ref_from, "ref_get", id=run.object_id)
    if ref.version != run.version or ref.state in rotation.OVER:
        if run.version and await old_version.serves_elsewhere(app, actor, run, run.version):
            raise Conflict(SERVES_ELSEWHERE, next_step="A person decides what becomes of the key at its provider.")
        try:
            await _ended(app, actor, run)
        except Unavailable as error:
            await old_version.not_ended(app, actor, run, error)
            step = "The key made there is not ended yet. Resume the run when the provider answers."
            raise Conflict("provider_admin_unreachable", next_step=step) from None
    return await old_version.dropped(app, actor, run)


async def verified(app: WorkerApp, actor: Actor, run: KeyRotation) -> Fields | None:
    """As of a pasted key; one that is refused is ended at the provider, and people are told."""
    try:
        return await rotation_steps.verified(app, actor, run)
    except Conflict as error:
        if error.code not in _REFUSED:
            raise
        try:
            await take_back(app, actor, run)
            await administration.tell(app, actor, run, "minted_key_refused")
        except Conflict as left:
            if left.code != SERVES_ELSEWHERE:
                raise
        raise


async def revoked(app: WorkerApp, actor: Actor, run: KeyRotation) -> Fields | None:
    """As of any leaked key; and what the rotation made that the leak took the place of is ended as well."""
    if run.facts.get("minted_before"):
        try:
            await _ended(app, actor, run)
        except (Conflict, Rejected, Unavailable) as error:
            await old_version.not_ended(app, actor, run, error)
    return await old_version.revoked_at_once(app, actor, run)
