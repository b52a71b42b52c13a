"""SOP 5.3, the worker's part: work is done under a lease and ended on record; what is due is done by the clock.

Rules
- One worker does a piece of work. If it gives no more signs of life, another takes over and says what a person must do
  again. The queue retries nothing: the outcome is on record, and people ask again.
- The opening lasts from the first step to the last, and is ended whatever happens.
- What is wrong with a profile's own things decides: altered, replayed or missing takes it out of use at once, with
  whatever else was found in its place (R5.3-4, R5.3-15, R5.3-24).
- A rekey makes a new key and a new blob. It never rewraps the old key: whoever has that key would keep access (R7.3-5).
  No browser runs for it. An older generation comes back as the newest, with a new number; one whose key was in doubt
  does not. What was sealed is proved next, before anybody acts with it (runbook 6.1).
- A shred takes two people. Nothing brings the profile back, not even old backups: its row says so, and an opening looks
  there first. Keys go before blobs: once no record is left, a blob is noise. One that was cut off is finished by the
  clock: nobody can ask for it again.
- Due is reported once, overdue as long as it lasts. An overdue profile is not used (R6.1-5). A replaced key protects
  nothing from the next round on. The last few generations stay restorable; older keys and blobs are destroyed.
- A seal that was announced and never recorded is fenced first, so that its late end cannot be recorded any more. Then
  what it wrote is destroyed, on record.
- A session is revoked only if it was the profile's account's and the platform refused its old cookie afterwards
  (R7.3-3). The outcome for each platform is kept at once, so that a cut loses no answer.
- A profile that cannot be opened ends no session: a person does.
- The probe asks the platform's page for another account under the same names. If that passes, no proof counts.

It may not act without a lease of a custody job: it has no standing right.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from procrastinate import App as Queue

from byokeep.core import profile as life
from byokeep.core.canonical import parse_canonical
from byokeep.core.errors import ByokeepError, Conflict, Integrity, Unavailable
from byokeep.core.events import EventName, Outcome
from byokeep.core.keystate import KeyState
from byokeep.core.manifest import ExpectedAccount
from byokeep.core.model import HUMAN_ROLES, PROFILE, Actor, ClientId
from byokeep.core.profile import ProfileAct, ProfileTask, Purpose
from byokeep.core.ref import ProfileRef
from byokeep.core.sealed_record import blob_key, parse_record
from byokeep.core.vault_incident import ENDED, SessionEnd
from byokeep.jobs.jobs import in_custody
from byokeep.kernel.app import EVERY_MINUTE
from byokeep.kernel.asking import require_asked
from byokeep.kernel.command import open_alert
from byokeep.kernel.restored import restored_at, was_before
from byokeep.kernel.rows import Row
from byokeep.kernel.sops import SopRun
from byokeep.profiles import kek, openings, profiles
from byokeep.profiles.incident import told
from byokeep.profiles.kek import ProfileCustody
from byokeep.profiles.login import Bench, ProfileApp, log_in, open_into, reseal, validate
from byokeep.profiles.profiles import DEAD_S, WORK_TASK, Opening, Profile, Work, locked
from byokeep.sealing.generation import Generation, key_of
from byokeep.telemetry.log import get_log
from byokeep.telemetry.spans import span

if TYPE_CHECKING:
    from byokeep.browser.rooms import RoomBrowser

Doing = Callable[[Bench], Awaitable[str]]
_CAUGHT: Final = frozenset({"other_id", "look_alike"})  # how another account was told from the right one
_PROVED_AFTER: Final = frozenset({ProfileTask.REKEY, ProfileTask.RESTORE})


async def do_work(app: ProfileApp, client_id: ClientId, work_id: UUID) -> str:
    """Do a piece of work; returns what came of it: a result, a reason, or ``not_ours``.

    Raises:
        Unavailable: Something could not be asked before anything was begun; after an hour the work is over.
    """
    async with app.db.begin(client_id=client_id) as tx:
        before = await tx.maybe(Work, "work_get", client_id=client_id, id=work_id)
        work = await tx.maybe(Work, "work_take", client_id=client_id, id=work_id, owner=app.owner, dead_s=DEAD_S)
        if before is None or work is None or work.job_id is None:
            return "not_ours"
        profile = await tx.one(Profile, "profile_get", client_id=client_id, id=work.profile_id)
    if (
        before.state not in ("asked", "confirmed") and work.kind is ProfileTask.LOGIN
    ):  # a person was in the middle of it
        return await _failed(app, profile, work, Conflict("worker_died"))
    try:
        await _require_asked(app, work)
        result = await _under_lease(app, profile, work, life.purpose_of(work.kind), _DOING[work.kind])
    except ByokeepError as error:
        return await _failed(app, profile, work, error)
    reason = ""
    if work.kind in _PROVED_AFTER:  # the new generation stands either way
        try:
            await _under_lease(app, profile, work, Purpose.VALIDATE, validate)
        except ByokeepError as error:
            reason = error.code
    await _end(app, work, to="done", result=result, reason=reason)
    return result


async def _require_asked(app: ProfileApp, work: Work) -> None:
    """Let pass what the people named in its row asked for on record; for a shred, both of them."""
    said = {"work": work.id, "kind": work.kind.value}
    for person in {work.asked_by, work.confirmed_by if work.kind is ProfileTask.SHRED else work.asked_by}:
        await require_asked(
            app, work.client_id, work.profile_id, by=person, roles=HUMAN_ROLES, said=said,
            name=EventName.PROFILE_WORK_ASKED, outcome=Outcome.OK, clock=work.kind is ProfileTask.REKEY,
        )  # fmt: skip


async def _under_lease(app: ProfileApp, profile: Profile, work: Work, purpose: Purpose, doing: Doing) -> str:
    actor = app.system()
    job_id = work.job_id or work.id
    async with app.custodian.open_profile(job_id, profile.id) as custody:
        async with app.db.begin(client_id=profile.client_id) as tx:
            now = await locked(tx, profile.client_id, profile.id)
            opening = await openings.take(
                tx, app, actor, now, purpose=purpose, job_id=job_id, lease=custody.lease_id, work=work.id,
                anything=work.kind is ProfileTask.SHRED,
            )  # fmt: skip
        bench = Bench(app=app, actor=actor, work=work, profile=now, opening=opening, custody=custody)
        cause = "closed"
        try:
            return await bench.while_alive(doing(bench))
        except ByokeepError as error:
            cause = error.code
            raise
        finally:
            with suppress(ByokeepError):  # it ends by itself
                async with app.db.begin(client_id=profile.client_id) as tx:
                    await openings.end(tx, actor, now, opening, cause=cause)


async def _failed(app: ProfileApp, profile: Profile, work: Work, error: ByokeepError) -> str:
    to = "expired" if error.code == "login_not_confirmed" else "failed"
    await _end(app, work, to=to, reason=error.code)
    if work.kind is ProfileTask.LOGIN and profile.generation == 0:
        await _fail_run(app, profile, work, error.code)
    if isinstance(error, Unavailable | Integrity):
        with suppress(ByokeepError):
            async with app.db.begin(client_id=profile.client_id) as tx:
                await open_alert(tx, app, app.system(), reason="profile_work_failed", severity="warning",
                                 client_id=profile.client_id, object_id=profile.id)  # fmt: skip
    return error.code


async def _fail_run(app: ProfileApp, profile: Profile, work: Work, cause: str) -> None:
    """Nothing was ever sealed: the procedure has failed, and the next login begins another run."""
    async with app.db.begin(client_id=profile.client_id) as tx:
        now = await tx.one(Profile, "profile_get", client_id=profile.client_id, id=profile.id)
        run = await tx.maybe(SopRun, "sop_of_profile", **now.at)
        if run is None or not await tx.maybe(SopRun, "sop_fail", client_id=profile.client_id, id=run.id, reason=cause):
            return
        said = {"sop": run.id, "work": work.id}
        failed = EventName.PROFILE_ONBOARDING_FAILED
        await profiles.note(tx, failed, app.system(), now, Outcome.FAILED, **said, cause=cause)


async def _end(app: ProfileApp, work: Work, *, to: str, reason: str = "", result: str = "") -> None:
    async with app.db.begin(client_id=work.client_id) as tx:
        now = await tx.one(Profile, "profile_get", client_id=work.client_id, id=work.profile_id)
        await profiles.finish_work(tx, app.system(), now, work, to=to, reason=reason, result=result)
    if work.job_id is not None:
        with suppress(ByokeepError):  # an open job ends by itself
            await app.custodian.close(work.job_id)


async def end_lost(app: ProfileApp) -> int:
    """End work that nobody does any more, or took within an hour; returns how many pieces."""
    lost = await app.db.read(Work, "works_lost", {"asked_s": 3600, "dead_s": 4 * DEAD_S}, every_client=True)
    for one in lost:
        if one.kind is ProfileTask.SHRED and one.state == "waiting":
            await _end(app, one, to="expired", reason="not_confirmed")
            continue
        await _end(app, one, to="failed", reason="worker_died" if one.owner else "not_taken_up")
    return len(lost)


async def rekey(bench: Bench) -> str:
    """Seal the newest generation under a new key; returns ``rekeyed``.

    Raises:
        Conflict, Integrity, Rejected, Unavailable: As opening and sealing do; the last generation stays.
    """
    async with bench.app.rooms.enter(bench.profile.packing) as room:
        generation, _ = await open_into(bench, room, bench.profile.generation)
        await reseal(bench, room, generation.browser_version)
    return "rekeyed"


async def restore(bench: Bench) -> str:
    """Make an older generation the newest again; returns ``restored``. Raises as :func:`rekey`."""
    number = bench.work.generation or 0
    async with bench.begin() as tx:
        await profiles.check_restorable(tx, bench.profile, number)
    async with bench.app.rooms.enter(bench.profile.packing) as room:
        old, _ = await open_into(bench, room, number)
        sealed = await reseal(bench, room, old.browser_version, base=number)
    async with bench.begin() as tx:
        await profiles.note(tx, EventName.PROFILE_RESTORED, bench.actor, sealed, number=number,
                            work=bench.work.id, job=bench.opening.job_id)  # fmt: skip
    return "restored"


async def shred(bench: Bench) -> str:
    """Destroy a profile; returns ``shredded``.

    Raises:
        Conflict: ``profile_state``.
        Unavailable: Something could not be destroyed now; the profile is out of use already, and :func:`care` does the
            rest.
    """
    async with bench.begin() as tx:
        now = await bench.now(tx)
        await profiles.move(tx, now, ProfileAct.SHRED, reason="shredded")
        await tx.all(UUID, "profile_account_retired", client_id=now.client_id, profile_id=now.id)
        await profiles.note(tx, EventName.PROFILE_SHREDDED, bench.actor, now, Outcome.INTENDED, work=bench.work.id)
    count = await destroy_all(bench.app, bench.actor, bench.custody, now)
    async with bench.app.db.begin(client_id=now.client_id) as tx:
        await profiles.note(tx, EventName.PROFILE_SHREDDED, bench.actor, now, count=count, work=bench.work.id)
    return "shredded"


async def destroy_all(app: ProfileApp, actor: Actor, custody: ProfileCustody, profile: Profile) -> int:
    """Destroy every record, blob and picture of a profile; returns how many generations."""
    ref = ProfileRef(profile.client_id, profile.id)
    live = await custody.live_versions(ref)
    if live:
        await custody.destroy(ref, live)
    rows = await app.db.read(Generation, "generations_of", {**profile.at, "limit": 10_000}, client_id=profile.client_id)
    left = [row for row in rows if row.gone_at is None]
    await app.proofs.remove(profile.client_id, profile.id)  # before the last row that says that something is left
    for row in left:
        await _destroy_blob(app, actor, row)
    return len(left)


async def _destroy_blob(app: ProfileApp, actor: Actor, row: Generation) -> None:
    async with app.db.begin(client_id=row.client_id) as tx:
        await kek.destroy_key(tx, app, actor, row)
    await app.artifacts.delete(row.client_id, key_of(row))
    async with app.db.begin(client_id=row.client_id) as tx:
        await tx.maybe(UUID, "generation_gone", **row.at)


async def log_out(bench: Bench) -> str:
    """End the session at every platform of a profile; returns ``revoked`` if all were ended, else ``not_all_revoked``.

    Raises:
        Rejected, Denied, Integrity, Unavailable: It could not be opened or no browser ran, so no session was ended.
    """
    incident = _incident(bench)
    ends: list[SessionEnd] = []
    async with bench.app.rooms.enter(bench.profile.packing) as room:
        await open_into(bench, room, bench.profile.generation)
        async with room.browser() as browser:
            for one in bench.profile.accounts:
                try:
                    ended = await browser.log_out(profiles.expected_account(one))
                except ByokeepError:
                    ended = SessionEnd.FAILED
                ends.append(ended)
                await told(bench.app, bench.actor, incident, bench.profile.client_id, bench.profile.id,
                           one.platform.value, ended)  # fmt: skip
    return "revoked" if ends and all(one in ENDED for one in ends) else "not_all_revoked"


async def prove(bench: Bench) -> str:
    """Prove a profile's newest generation; for an incident, also that a wrong account is caught. Returns ``valid``.

    Raises:
        As :func:`byokeep.profiles.login.validate` and :func:`probe`.
    """
    if bench.work.incident_id is None:
        return await validate(bench)
    result = await validate(bench, before=probe)
    async with bench.begin() as tx:
        for one in bench.profile.accounts:
            await tx.all(str, "vault_proved", incident_id=_incident(bench), **bench.profile.at,
                         platform=one.platform.value)  # fmt: skip
    return result


async def probe(bench: Bench, browser: RoomBrowser, expected: list[ExpectedAccount]) -> None:
    """Check that another account would not pass for any of these.

    Raises:
        Integrity: ``wrong_account_not_caught``: the check of accounts cannot be relied on; on record.
    """
    async with bench.begin() as tx:
        await tx.all(str, "vault_unproved", incident_id=_incident(bench), **bench.profile.at)
    for one in expected:
        seen = await browser.look(replace(one, account_id=f"{one.account_id[:100]}0"))  # otherwise the same
        caught = seen.verdict == "mismatch" and seen.cause in _CAUGHT
        async with bench.begin() as tx:
            await profiles.note(
                tx, EventName.PROFILE_VALIDATED, bench.actor, bench.profile,
                Outcome.REJECTED if caught else Outcome.FAILED, platform=one.platform, verification="wrong_account",
                cause=seen.cause, endpoint=seen.endpoint, work=bench.work.id,
            )  # fmt: skip
        if not caught:
            raise Integrity("wrong_account_not_caught", platform=one.platform.value,
                            next_step="Keep the lane off: the check cannot tell the accounts apart.")  # fmt: skip


def _incident(bench: Bench) -> UUID:
    if bench.work.incident_id is None:
        raise Integrity("work_without_incident", work=bench.work.id)
    return bench.work.incident_id


_DOING: Final[Mapping[ProfileTask, Doing]] = {
    ProfileTask.LOGIN: log_in, ProfileTask.VALIDATE: prove, ProfileTask.REKEY: rekey, ProfileTask.RESTORE: restore,
    ProfileTask.SHRED: shred, ProfileTask.LOGOUT: log_out,
}  # fmt: skip


CUT_OFF_S: Final = 120  # seconds without a record after which an announced seal counts as cut off
_AT_ONCE: Final = 200
RETIRED_AT_ONCE: Final = 100  # profiles


def _pair(row: Row) -> tuple[ClientId, UUID]:
    return ClientId(row["client_id"]), UUID(str(row["id"]))


async def care(app: ProfileApp, *, cut_off_s: int = CUT_OFF_S) -> int:
    """Do everything that is due; returns how many acts.

    Raises:
        Unavailable: The database is away.
    """
    return (
        await tell_due(app)
        + await end_lost(app)
        + await retire_keys(app)
        + await sweep_seals(app, older_than_s=cut_off_s)
    )


async def tell_due(app: ProfileApp) -> int:
    """Mark what came due, and raise alerts about it and about what is overdue; returns how many."""
    async with app.db.begin(every_client=True) as tx:
        due = await tx.all(_pair, "profiles_come_due")
        overdue = await tx.all(_pair, "profiles_overdue", days=life.MAX_REKEY_DAYS)
    for client_id, profile_id in due:
        async with app.db.begin(client_id=client_id) as tx:
            cause = life.DueCause.INTERVAL.value
            at = await tx.maybe(datetime, "profile_marked_due", client_id=client_id, id=profile_id, cause=cause)
            if at is None:
                continue
            now = await tx.one(Profile, "profile_get", client_id=client_id, id=profile_id)
            await profiles.note(tx, EventName.PROFILE_DUE, app.system(), now, cause=cause, due_at=at)
            await open_alert(tx, app, app.system(), reason="profile_due", severity="warning", client_id=client_id,
                              object_id=profile_id)  # fmt: skip
    for client_id, profile_id in overdue:
        async with app.db.begin(client_id=client_id) as tx:
            await open_alert(tx, app, app.system(), reason="profile_overdue", client_id=client_id, object_id=profile_id)
    return len(due) + len(overdue)


async def retire_keys(app: ProfileApp) -> int:
    """Stop replaced keys from protecting, destroy those kept no longer, finish shreds; returns how many profiles."""
    asked = {"retained": life.RETAINED, "limit": RETIRED_AT_ONCE}
    found = await app.db.read(_pair, "profiles_with_old_keys", asked, every_client=True)
    for client_id, profile_id in found:
        with suppress(ByokeepError):  # tried again by the next round
            await _retire(app, client_id, profile_id)
    return len(found)


async def _retire(app: ProfileApp, client_id: ClientId, profile_id: UUID) -> None:
    actor = app.system()
    async with app.db.begin(client_id=client_id) as tx:
        now = await locked(tx, client_id, profile_id)
        rows = await tx.all(Generation, "generations_of", **now.at, limit=_AT_ONCE)
        for row in rows:
            if row.generation < now.generation and row.key_state is KeyState.ACTIVE:
                await kek.move_key(tx, app, actor, row, to=KeyState.DEACTIVATED, reason="superseded")
    if now.state is life.ProfileState.SHREDDED:
        async with _custody(app, client_id, profile_id) as custody:
            count = await destroy_all(app, actor, custody, now)
        async with app.db.begin(client_id=client_id) as tx:
            await profiles.note(tx, EventName.PROFILE_SHREDDED, actor, now, count=count)
        return
    old = [
        row for row in rows
        if (row.generation < now.generation - life.RETAINED and row.key_state is not KeyState.COMPROMISED)
        or row.key_state is KeyState.DESTROYED
    ]  # fmt: skip
    old = [row for row in old if row.gone_at is None]
    if old:
        async with _custody(app, client_id, profile_id) as custody:
            ref = ProfileRef(client_id, profile_id)
            live = await custody.live_versions(ref)
            if gone := [row.record_version for row in old if row.record_version in live]:
                await custody.destroy(ref, gone)
            for row in old:
                await _destroy_blob(app, actor, row)


async def sweep_seals(app: ProfileApp, *, older_than_s: int = CUT_OFF_S) -> int:
    """Destroy what cut-off seals left; returns how many seals."""
    cut = await app.db.read(dict, "seals_cut_off", {"older_than_s": older_than_s, "limit": _AT_ONCE}, every_client=True)
    restored, swept = await restored_at(app) if cut else None, 0
    for row in cut:
        with suppress(ByokeepError):  # tried again by the next round
            swept += await _sweep(app, row, older=was_before(restored, row["at"]))
    return swept


async def _sweep(app: ProfileApp, row: Row, *, older: bool) -> bool:
    client_id, profile_id = ClientId(row["client_id"]), UUID(str(row["profile_id"]))
    said: Any = parse_canonical(bytes(row["payload"]))
    async with app.db.begin(client_id=client_id) as tx:
        now = await locked(tx, client_id, profile_id)
        plan = openings.plan_from(said["fields"], now)
        held = await tx.maybe(Opening, "opening_of", **now.at)
        if held is not None and held.open and held.epoch == plan.epoch:
            return False  # it goes on
        if await tx.maybe(UUID, "dek_known", dek_id=plan.dek_id) is not None:
            return False  # it was recorded after this round had asked
        if now.epoch <= plan.epoch:  # fenced: its late end is refused, as a newer opening already sees to
            await tx.one(int, "opening_epoch", client_id=client_id, id=profile_id)
        if older:  # it may have ended well, after this database was dumped
            reason = "orphan_kept"
            await open_alert(tx, app, app.system(), reason=reason, client_id=client_id, object_id=profile_id)
            await openings.give_up(tx, app.system(), plan, reason=reason)
            return False
    async with _custody(app, client_id, profile_id) as custody:
        await _destroy_record(custody, now, plan.dek_id)
        await app.artifacts.delete(client_id, blob_key(client_id, profile_id, plan.generation, plan.dek_id))
    async with app.db.begin(client_id=client_id) as tx:
        await openings.give_up(tx, app.system(), plan, reason="cut_off")
    return True


async def _destroy_record(custody: ProfileCustody, profile: Profile, dek_id: UUID) -> None:
    ref = ProfileRef(profile.client_id, profile.id)
    strange = []
    for version in await custody.live_versions(ref):
        with suppress(ByokeepError):
            if parse_record(await custody.read(ref, version)).dek_id == dek_id:
                strange.append(version)
    if strange:
        await custody.destroy(ref, strange)


def _custody(
    app: ProfileApp, client_id: ClientId, profile_id: UUID
) -> AbstractAsyncContextManager[ProfileCustody]:
    """Hold a custody lease of a job of its own."""
    opened = partial(app.custodian.open_profile, profile_id=profile_id)
    return in_custody(app, opened, app.custodian.close, client_id, PROFILE)


def register(queue: Queue, app: ProfileApp) -> None:
    """Make the tasks known to a queue that is not yet opened."""

    @queue.task(name=WORK_TASK)
    async def profile_work(*, client_id: str, work_id: str) -> None:
        with span("profile_work", work=UUID(work_id)):
            result = await do_work(app, ClientId(UUID(client_id)), UUID(work_id))
        get_log().info("profile_work_ended", tenant=UUID(client_id), work=UUID(work_id), outcome=result)

    @queue.periodic(cron=EVERY_MINUTE)
    @queue.task(name="profile_care", queueing_lock="profile_care", lock="profile_care")
    async def profile_care(timestamp: int) -> None:
        with span("profile_care", epoch=timestamp):
            done = await care(app)
        if done:
            get_log().info("profiles_cared_for", count=done)
