"""How the old version of a key ends.

Rules
- It is revoked once no job holds it: by a call if the provider has one, otherwise by a person. A call proves that it is
  dead; one that the provider takes just after it was told is asked again. Then its value is destroyed, with every other
  earlier value that nobody needs any longer. Silence is no proof.
- A leaked key ends before its successor comes. If no call can end it, it waits for a person, who confirms its end.
- A version that serves, or is about to, is never revoked or destroyed, under any reference.
- If the administration is unreachable it is asked a few times; if it refuses, only once. Then people are notified.

It may not decide which version serves: :mod:`byokeep.keys.rotation` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from contextlib import ExitStack
from datetime import datetime
from typing import Final
from uuid import UUID

from byokeep.core.errors import ByokeepError, Conflict, Rejected, Unavailable
from byokeep.core.events import EventName, Outcome
from byokeep.core.keystate import KeyState
from byokeep.core.model import Actor
from byokeep.core.procedure import Fields
from byokeep.kernel.app import App, WorkerApp
from byokeep.kernel.command import Said, open_alert, record
from byokeep.keys import administration, rotation, rotation_steps
from byokeep.keys.refs import ref_from
from byokeep.keys.rotation import KeyRotation

LATE_S: Final = 120  # how long a provider may still take a key that it has ended


async def revoked(app: WorkerApp, actor: Actor, run: KeyRotation) -> Fields | None:
    """Revoke the old key by the provider's call, if it has one and the client gave an administrator's key.

    Waits (None) while a job is open that was given the old version, unless that leaked.
    """
    about = {"client_id": run.client_id, "provider": run.provider.value}
    async with app.db.begin(client_id=run.client_id) as tx:
        since = await rotation.pinned_at(tx, run)
        held = await tx.one(int, "rotation_jobs_on_old", **about, until=since)
        leaked = await rotation.is_leaked(tx, run)
        if held and not leaked:
            return None
    if await rotation.accepted(app, run, "revoke_by_hand"):
        return {"cause": "by_hand"}
    ended = await revoke_version(app, actor, run, run.from_version)
    if ended:
        return {"cause": "by_api", "from_version": run.from_version}
    if leaked and ended is not None:
        await administration.tell(app, actor, run, "revocation_refused")
    step = "A person revokes the old key on the provider's page."
    raise Conflict("revoke_by_hand", next_step=step, cause=await _why_by_hand(app, run, [run.from_version]))


async def revoked_at_once(app: WorkerApp, actor: Actor, run: KeyRotation) -> dict[str, str | int]:
    """Revoke a leaked key before there is another one; what no call ends waits for a person, unless it is dead."""
    said: dict[str, str | int] = {"from_version": run.from_version}
    if await rotation.accepted(app, run, "revoke_by_hand"):
        return {"cause": "by_hand", **said}
    ended = {version: await revoke_version(app, actor, run, version) for version in run.old}
    if all(ended.values()):
        return {"cause": "by_api", **said}
    notes = [await rotation_steps.asked(app, run, version) for version, done in ended.items() if not done]
    if all(note is not None and note.status in rotation.DEAD for note in notes):
        return {"cause": "dead_already", **said}
    if None not in ended.values():
        await administration.tell(app, actor, run, "revocation_refused")
    step = "A person ends the leaked key on the provider's page, at once."
    raise Conflict("revoke_by_hand", next_step=step, cause=await _why_by_hand(app, run, run.old))


async def revoke_version(app: WorkerApp, actor: Actor, run: KeyRotation, version: int) -> bool | None:
    """End a version's key at the provider.

    Returns:
        False: it serves elsewhere, no call can end it, or nobody can tell it apart. None: refused; people were told.
    """
    await _not_in_use(app, run, version, or_paused=run.procedure == rotation.LEAKED)
    if await serves_elsewhere(app, actor, run, version):
        return False
    try:
        return await _revoke_version(app, actor, run, version)
    except (Conflict, Rejected, Unavailable) as error:
        await not_ended(app, actor, run, error, version=version)
        return None


async def not_ended(app: WorkerApp, actor: Actor, run: KeyRotation, error: ByokeepError, **said: Said) -> None:
    """Put on record that a provider ended no key, and tell people. Raises what is tried again, a few times."""
    away = isinstance(error, Unavailable)
    if away and error.code != "provider_admin_unreachable":
        raise error
    if await administration.not_answered(app, actor, run, "revoke", error.code, **said) < administration.CALLS and away:
        raise error
    await administration.tell(app, actor, run, "revocation_refused")


async def _revoke_version(app: WorkerApp, actor: Actor, run: KeyRotation, version: int) -> bool:
    provider, key_id = run.provider.value, ""
    async with app.db.begin(client_id=run.client_id) as tx:
        missing = await administration.admin_of(tx, run.client_id, run.provider) is None
        key_id = await tx.maybe(str, "rotation_key_id", **run.at, version=version) or ""
        ref = await tx.one(ref_from, "ref_get", id=run.object_id)
    if missing or provider not in app.limits.rotation_acts:
        return False
    async with administration.administering(app, actor, run) as (custody, admin, secret):
        if not key_id:
            live = await custody.live_versions(run.place)
            if version not in live:  # its value is gone, by which it would be found
                return False
            kept = set(live).intersection({ref.version, ref.candidate}) - {version}
            with ExitStack() as read:
                values = [read.enter_context(await custody.read(run.place, one)) for one in (version, *sorted(kept))]
                key_id = await app.issuer.find(provider, secret, values[0], admin.place, values[1:])
        if not key_id:
            return False
        await administration.called(app, actor, run, "revoke", key_id, Outcome.INTENDED, version=version)
        await app.issuer.revoke(provider, secret, key_id, admin.place)
    await administration.called(app, actor, run, "revoke", key_id, Outcome.OK, version=version)
    return True


async def _not_in_use(app: WorkerApp, run: KeyRotation, version: int, *, or_paused: bool = False) -> None:
    """See that nobody gets a version, now or next. Raises Conflict(``version_in_use``)."""
    async with app.db.begin(client_id=run.client_id) as tx:
        ref = await tx.one(ref_from, "ref_get", id=run.object_id)
    paused = or_paused and ref.state == KeyState.SUSPENDED
    if ref.state in rotation.OVER:
        return  # nobody gets any version of it
    if version == ref.candidate or (version == ref.version and not paused):
        step = "This version serves, or is about to. Find out what happened to the key, then end this rotation."
        raise Conflict("version_in_use", next_step=step, version=version)


async def serves_elsewhere(app: WorkerApp, actor: Actor, run: KeyRotation, version: int) -> bool:
    """Whether the value of a version is that of another one that serves or waits; only the platform's people hear."""
    async with app.db.begin(every_client=True) as tx:
        found = await tx.all(UUID, "fingerprint_serves", ref_id=run.object_id, version=version)
        if found:
            await open_alert(tx, app, actor, reason="shared_value", object_id=run.object_id)
    return bool(found)


async def _why_by_hand(app: WorkerApp, run: KeyRotation, versions: Iterable[int]) -> str:
    """Return ``shared`` if no call was made because a value may serve elsewhere: there it would end by hand, too."""
    async with app.db.begin(every_client=True) as tx:
        found = [await tx.all(UUID, "fingerprint_serves", ref_id=run.object_id, version=one) for one in versions]
    return "shared" if any(found) else ""


async def dead(app: WorkerApp, actor: Actor, run: KeyRotation) -> Fields | None:
    """Prove by a call that the old version is dead: only a refusal of that key counts."""
    said = [await proved_dead(app, actor, run, version) for version in run.old]
    for also in said[1:]:  # the step's own record is of the first
        async with app.db.begin(client_id=run.client_id) as tx:
            await administration.say(tx, actor, run, "prove_dead", **also)
    return said[0]


async def proved_dead(app: WorkerApp, actor: Actor, found: KeyRotation, version: int) -> dict[str, str | int]:
    """Prove that a version is dead, and return what is said of it.

    Raises:
        Conflict: ``old_key_alive``; ``old_key_not_proved``: the answer says nothing; ``old_value_gone``: nobody can
            ask, until a person accepts that.
        Unavailable: ``old_key_not_proved``: the provider did not answer, or has just said that it ends the key.
    """
    note = await rotation_steps.asked(app, found, version)
    if note is None and await rotation.accepted(app, found, rotation.VALUE_GONE):
        return {"from_version": version, "cause": rotation.VALUE_GONE}
    if note is None:
        await administration.tell(app, actor, found, "old_key_not_proved")
        step = "The old value is gone from the store, so the provider cannot be asked. Make sure that the key is dead."
        raise Conflict(rotation.VALUE_GONE, next_step=step, version=version)
    again = Unavailable("old_key_not_proved", next_step="This is retried automatically.", status=note.status.value)
    if note.again:
        raise again
    if note.status not in rotation.DEAD:
        code = "old_key_alive" if note.status in rotation.ALIVE else "old_key_not_proved"
        async with app.db.begin(client_id=found.client_id) as tx:
            just = await tx.one(bool, "rotation_told_lately", **found.at, version=version, within_s=LATE_S)
        if just and note.status in rotation.ALIVE:
            raise again
        await administration.tell(app, actor, found, code)
        step = "Revoke the old key at the provider, then resume."
        raise Conflict(code, next_step=step, status=note.status.value, version=version)
    endpoint = note.endpoint.replace(".", "_")
    said: dict[str, str | int] = {"from_version": version, "endpoint": endpoint, "cause": note.status.value}
    return said | ({} if note.http_status is None else {"http_status": note.http_status})


async def destroy(app: WorkerApp, actor: Actor, run: KeyRotation, versions: Set[int]) -> None:
    """Destroy values, but for what serves or waits; of those that a try destroyed and was cut off, say so."""
    async with administration.custody_of(app, run) as custody:
        live, said = set(await custody.live_versions(run.place)), {**run.at, "path": run.place.path}
        async with app.db.begin(client_id=run.client_id) as tx:
            begun = set(await tx.all(int, "rotation_destroyed_untold", **said))
        for version in sorted(versions & (live | begun)):
            async with app.db.begin(client_id=run.client_id) as tx:
                ref = await tx.one(ref_from, "ref_get", id=run.object_id)
                of = await tx.maybe(UUID, "ref_of_version", **run.at, version=version) or run.object_id
            if version in (ref.version, ref.candidate) and ref.state not in rotation.OVER:
                continue
            about: dict[str, Said] = {"provider": run.provider.value, "version": version, "path": run.place.path}
            for outcome in (Outcome.INTENDED, Outcome.OK) if version in live else (Outcome.OK,):
                if outcome is Outcome.OK and version in live:
                    await custody.destroy(run.place, [version])
                async with app.db.begin(client_id=run.client_id) as tx:
                    await record(
                        tx, actor, EventName.KEY_DESTROYED, about, outcome=outcome, client_id=run.client_id,
                        object_id=of,
                    )  # fmt: skip


async def given_to_jobs(app: App, run: KeyRotation) -> bool:
    """Whether an open job was given the new version before it was taken back."""
    async with app.db.begin(client_id=run.client_id) as tx:
        ref = await tx.one(ref_from, "ref_get", id=run.object_id)
        if "pinned_at" not in run.facts or ref.version == run.version:
            return False
        about = {"client_id": run.client_id, "provider": run.provider.value, "ref_id": run.object_id}
        since = datetime.fromisoformat(run.facts["pinned_at"])
        return bool(await tx.one(int, "rotation_jobs_on_new", **about, since=since))


async def dropped(app: WorkerApp, actor: Actor, run: KeyRotation, *, keep: bool = False) -> Fields | None:
    """Take the new version away; where there was no way back it serves, and stays.

    Args:
        keep: Leave the value in the store, until its provider says that it is dead.
    """
    if run.version not in (0, *run.old):
        async with app.db.begin(client_id=run.client_id) as tx:
            if await tx.maybe(ref_from, "ref_drop_candidate", **run.at, version=run.version):
                await administration.say(tx, actor, run, "drop", version=run.version)
        if not keep:
            await destroy(app, actor, run, {run.version} - await _of_others(app, run))
    return {"version": run.version}


async def _of_others(app: WorkerApp, run: KeyRotation) -> set[int]:
    async with app.db.begin(client_id=run.client_id) as tx:
        return set(await tx.all(int, "rotation_versions_of_others", **run.at, run=run.id))


async def destroyed(app: WorkerApp, actor: Actor, run: KeyRotation) -> Fields | None:
    """Destroy the old value and, at the end of a rotation, every other one before the new that nobody needs any more.

    These are values that were replaced, dropped or taken back; what another run has yet to end it destroys itself. The
    value of a retired key stays while nothing proves that it is dead: it may turn out to have leaked.
    """
    for version in run.old:
        await _not_in_use(app, run, version)
    left = set(range(1, run.version)) - await _of_others(app, run)
    await destroy(app, actor, run, {*run.old, *left})
    return {"from_version": run.from_version}
