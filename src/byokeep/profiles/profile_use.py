"""A runner opens a sealed browser profile: one at a time, for as long as the broker says so (ADR 0029).

Rules
- One opener, across machines (:mod:`byokeep.profiles.profile_book`). Who has it open is told as *since when*, never as
  *by whom*.
- A holder asks every ``BEAT_S`` whether it may go on, and closes its browser when it is told no, or nothing at all for
  ``Limits.lease_life_s``. A browser that was told to close keeps its opening until that runs out (R7.3-1).
- What the holder saw of the accounts decides at the end: a session of another's account is quarantined.
- A runner's lease reads no record at the store. It gets the one of the generation that it has open here, while the
  opening is fresh: so it holds the wrapped key of no other profile (ADR 0033). The record is compared with the row
  first; one that is not what was sealed takes the profile out of use, and its text goes nowhere.
- The switches are held open while the store is asked, for a bounded time: a kill that was acknowledged came after the
  reading, or there is none. The opening is on the client's chain before, and explains the entry in the store's log.

It may not read a blob's content or unwrap a key: it passes on ciphertext.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from byokeep.core.artifact import StoredArtifact
from byokeep.core.errors import Conflict, Denied, Integrity, NotFound, Rejected
from byokeep.core.manifest import Packing
from byokeep.core.model import Actor, ClientId, Environment
from byokeep.core.policy import DenyReason, Verb
from byokeep.core.profile import ProfileState, Purpose
from byokeep.jobs.lease import deny
from byokeep.kernel.app import BrokerApp
from byokeep.kernel.command import open_alert
from byokeep.kernel.locate import client_for
from byokeep.kernel.ports import Tx
from byokeep.kernel.rows import Row
from byokeep.profiles import profile_book as book
from byokeep.profiles import profiles
from byokeep.profiles.profile_record import stored
from byokeep.profiles.profiles import Opening, Profile
from byokeep.sealing.generation import Generation, StoredGeneration, key_of
from byokeep.tenancy.scopes import browser_scopes, hold_open, require_open, while_held

_OTHER: Final = f"Wait for the other run's end, or end its job; one that was killed lets go after {book.LIFE_S} s."
BEAT_S: Final = 1.0  # seconds between two questions; with what a browser needs to close, below 5
_QUARANTINE: Final = {  # cause -> alert
    "wrong_account": "profile_quarantined", "logged_out": "profile_quarantined", "challenge": "profile_quarantined",
    "altered": "profile_integrity",
}  # fmt: skip
CAUSES: Final = frozenset({"closed", "crashed", "killed", "stopped", "failed", "not_identified", *_QUARANTINE})
_ALERTS: Final = {"not_identified": "profile_not_identified", "killed": "browser_killed"}
FRESH_S: Final = 30  # seconds from the opening in which its record is handed out; a holder asks for it at once


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedProfile:
    """What the holder of an opening must know.

    Attributes:
        epoch: Counts openings; every later call names it.
        generation: The row of what it opens: with nothing else it goes on, whatever store and artifact store say.
        packing: How it was packed.
        environment: Of this installation: what is sealed is bound to it.
        life_s: Seconds it may go on without an answer.
        beat_s: Seconds between two questions.
    """

    epoch: int
    generation: Generation
    packing: Packing
    environment: Environment
    life_s: int
    beat_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """A sealed blob on its way to who may open it."""

    sha256: bytes
    size: int
    chunks: AsyncIterator[bytes]


async def open_profile(app: BrokerApp, actor: Actor, job_id: UUID, profile_id: UUID, lease_id: UUID) -> OpenedProfile:
    """Let a job have a profile open, and nobody else meanwhile.

    Args:
        lease_id: The job's use lease, for the record.

    Raises:
        NotFound: No such job or profile for this runner.
        Denied: ``switch_closed``, ``client_not_active``, ``job_not_open``, ``job_sealing``, ``lease_expired``,
            ``platform_not_declared``, ``lane_not_declared``, ``profile_not_usable``.
        Conflict: ``profile_in_use``, with ``since``.
    """
    client_id = await whose(app, actor, job_id)
    async with app.db.begin(client_id=client_id) as tx:
        await hold_open(tx, browser_scopes(client_id))
        await tx.all(None, "profile_lock", profile_id=profile_id)
        row = await tx.one(dict, "profile_use_facts", **asked(app, client_id, job_id, profile_id, lease_id))
        own(actor, row)
        may_use(row)
        if row["leased"] is not True:
            raise deny(DenyReason.LEASE_EXPIRED)
        if row["usable"] is not True:
            raise deny(DenyReason.PROFILE_NOT_USABLE)
        held = await tx.maybe(Opening, "opening_of", client_id=client_id, profile_id=profile_id)
        if held is not None and held.open:
            raise Conflict("profile_in_use", since=profiles.stamp(held.opened_at), next_step=_OTHER)
        profile = await tx.one(Profile, "profile_get", client_id=client_id, id=profile_id)
        sealed, taken = await _newest(tx, profile), None
        if await book.rolled_back(tx, client_id, profile_id, profile.generation):
            await book.quarantine(tx, app, actor, profile, cause=book.ROLLED_BACK, alert="profile_integrity",
                                  lanes_off=False)  # fmt: skip
        else:
            taken = await book.take(
                tx, app, actor, profile, purpose=Purpose.USE, job_id=job_id, lease=str(lease_id)
            )  # fmt: skip
    if taken is None:
        raise deny(DenyReason.PROFILE_NOT_USABLE)
    return OpenedProfile(
        epoch=taken.epoch, generation=sealed, packing=profile.packing, environment=app.environment,
        life_s=app.limits.lease_life_s, beat_s=BEAT_S,
    )  # fmt: skip


async def beat(app: BrokerApp, actor: Actor, job_id: UUID, profile_id: UUID, epoch: int) -> int:
    """Tell a holder for how many seconds its browser may stay open. No lock is waited for: it is asked again.

    Raises:
        NotFound: No such job or profile for this runner.
        Denied: It must close: a switch, the client's state, the job's end.
        Conflict: ``opening_lost``: it ended, another one has begun, or the profile was taken out of use.
        Unavailable: Could not be checked.
    """
    client_id = await whose(app, actor, job_id)
    async with app.db.begin(client_id=client_id) as tx:
        row = await tx.one(dict, "profile_use_facts", **asked(app, client_id, job_id, profile_id))
        own(actor, row)
        may_go_on(row)
        _, opening = await held_by(tx, client_id, job_id, profile_id, epoch)
        await book.beat(tx, opening)
    return app.limits.lease_life_s


async def open_now(
    tx: Tx, app: BrokerApp, actor: Actor, client_id: ClientId, job_id: UUID, profile_id: UUID, epoch: int
) -> tuple[Row, Profile]:
    """Return the facts of a job, and the profile that it has open at the generation that it opened.

    Raises:
        NotFound, Denied, Conflict: As :func:`beat`.
    """
    row = await tx.one(dict, "profile_use_facts", **asked(app, client_id, job_id, profile_id))
    own(actor, row)
    may_use(row)
    profile, opening = await held_by(tx, client_id, job_id, profile_id, epoch)
    if opening.generation != profile.generation:
        raise book.lost()
    return row, profile


async def blob(app: BrokerApp, actor: Actor, job_id: UUID, profile_id: UUID, epoch: int) -> Blob:
    """Return the sealed blob of the generation that the job has open.

    Raises:
        NotFound, Denied, Conflict: As :func:`beat`.
        Unavailable: As the artifact store raises; also while the chunks are taken.
    """
    client_id = await whose(app, actor, job_id)
    async with app.db.begin(client_id=client_id) as tx:
        _, profile = await open_now(tx, app, actor, client_id, job_id, profile_id, epoch)
        sealed = await _newest(tx, profile)
    expected = StoredArtifact(size=sealed.blob_size, sha256_hex=sealed.blob_sha256.hex())
    chunks = _looked_at(app, actor, profile, app.artifacts.get(client_id, key_of(sealed), expected))
    return Blob(sha256=sealed.blob_sha256, size=sealed.blob_size, chunks=chunks)


async def end(app: BrokerApp, actor: Actor, job_id: UUID, profile_id: UUID, epoch: int, cause: str) -> None:
    """End an opening: the browser is closed and nothing of the profile is left. Ending it again changes nothing.

    Args:
        cause: One of ``CAUSES``. ``wrong_account``, an account that this job found to be another's, ``logged_out``,
            ``challenge`` and ``altered`` quarantine the profile: nobody opens it again before a person has looked or
            logged in (R5.3-15, R5.3-17).

    Raises:
        NotFound: No such job or profile for this runner.
        Rejected: ``bad_cause``.
    """
    if cause not in CAUSES:
        raise Rejected("bad_cause", next_step="Give one of: " + ", ".join(sorted(CAUSES)) + ".")
    client_id = await whose(app, actor, job_id)
    async with app.db.begin(client_id=client_id) as tx:
        await tx.all(None, "profile_lock", profile_id=profile_id)
        own(actor, await tx.one(dict, "profile_use_facts", **asked(app, client_id, job_id, profile_id)))
        at = {"client_id": client_id, "profile_id": profile_id}
        held = await tx.maybe(Opening, "opening_of", **at)
        if held is None or held.job_id != job_id or held.epoch != epoch:
            return
        profile = await tx.one(Profile, "profile_get", client_id=client_id, id=profile_id)
        if not await book.end(tx, actor, profile, held, cause=cause):
            return
        seen = await tx.all(dict, "profile_use_seen", **at, opened_at=held.opened_at)
        if any(one["since_opened"] and one["identity"] == "mismatch" for one in seen):
            cause = "wrong_account"
        if cause in _QUARANTINE:
            await take_out(tx, app, actor, profile, cause)
        elif cause in _ALERTS:
            await open_alert(
                tx, app, actor, reason=_ALERTS[cause], severity="warning", client_id=client_id, object_id=profile_id
            )


async def whose(app: BrokerApp, actor: Actor, job_id: UUID) -> ClientId:
    """Return the client of a job, if the actor may lease for it at all.

    Raises:
        Denied: ``not_permitted``.
        NotFound: ``not_found``.
    """
    return await client_for(app, actor, Verb.LEASE_USE, "job", job_id)


def asked(
    app: BrokerApp, client_id: ClientId, job_id: UUID, profile_id: UUID, lease_id: UUID | None = None
) -> dict[str, object]:
    """Return the parameters of ``profile_use_facts``."""
    return {
        "client_id": client_id, "job_id": job_id, "profile_id": profile_id, "lease_id": lease_id,
        "scopes": browser_scopes(client_id), "installation_id": app.installation_id,
    }  # fmt: skip


def own(actor: Actor, row: Row) -> None:
    """Let the job's own runner pass; another's job answers like none. Raises NotFound."""
    if row["runner_id"] != actor.id or row["profile_id"] is None:
        raise NotFound("not_found")


def may_go_on(row: Row) -> None:
    """Let pass while a browser, or the sealing of what came of it, may go on.

    Raises:
        Denied: ``switch_closed``, ``switch_unknown``, ``client_not_active``, ``job_not_open``.
    """
    require_open(row)
    if row["client_active"] is not True:
        raise deny(DenyReason.CLIENT_NOT_ACTIVE)
    if row["job_open"] is not True:
        raise deny(DenyReason.JOB_NOT_OPEN)


def may_use(row: Row) -> None:
    """Let a job pass that may have a profile open.

    Raises:
        Denied: As :func:`may_go_on`; ``job_sealing``, ``lane_not_declared``, ``platform_not_declared``.
    """
    may_go_on(row)
    reason = (
        DenyReason.JOB_SEALING if row["sealing"] is not False
        else DenyReason.LANE_NOT_DECLARED if row["declared"] is not True
        else DenyReason.PLATFORM_NOT_DECLARED if row["of_a_declared_platform"] is not True
        else None
    )  # fmt: skip
    if reason is not None:
        raise deny(reason)


async def held_by(tx: Tx, client_id: ClientId, job_id: UUID, profile_id: UUID, epoch: int) -> tuple[Profile, Opening]:
    """Return a profile and the opening that this job still has of it.

    Raises:
        Conflict: ``opening_lost``.
    """
    held = await tx.maybe(Opening, "opening_of", client_id=client_id, profile_id=profile_id)
    profile = await tx.one(Profile, "profile_get", client_id=client_id, id=profile_id)
    mine = held is not None and held.open and held.job_id == job_id and held.epoch == epoch == profile.epoch
    if held is None or not mine or held.purpose is not Purpose.USE or profile.state is not ProfileState.VALID:
        raise book.lost()
    return profile, held


async def _looked_at(
    app: BrokerApp, actor: Actor, profile: Profile, chunks: AsyncIterator[bytes]
) -> AsyncIterator[bytes]:
    """Pass a blob on; one that is gone, or is not what was stored, takes its profile out of use."""
    try:
        async for chunk in chunks:
            yield chunk
    except (Integrity, NotFound):
        async with app.db.begin(client_id=profile.client_id) as tx:
            await tx.all(None, "profile_lock", profile_id=profile.id)
            now = await tx.one(Profile, "profile_get", client_id=profile.client_id, id=profile.id)
            await take_out(tx, app, actor, now, "altered")
        raise


async def take_out(tx: Tx, app: BrokerApp, actor: Actor, profile: Profile, cause: str) -> None:
    """Quarantine a profile for what was found of it; one that is in quarantine stays there, for the reason it has."""
    if profile.state is not ProfileState.QUARANTINED:
        await book.quarantine(tx, app, actor, profile, cause=cause, alert=_QUARANTINE[cause], lanes_off=False)


async def _newest(tx: Tx, profile: Profile) -> Generation:
    found = await tx.maybe(
        Generation, "generation_of", client_id=profile.client_id, profile_id=profile.id, generation=profile.generation
    )
    if found is None:
        raise Denied(DenyReason.PROFILE_NOT_USABLE.value)
    return found


async def sealed_record(app: BrokerApp, actor: Actor, job_id: UUID, profile_id: UUID, epoch: int) -> bytes:
    """Return the record of the generation that the job has open: docs/spec/manifest.md.

    Raises:
        NotFound: No such job or profile for this runner.
        Denied: As :func:`byokeep.profiles.profile_use.may_use`; ``profile_not_usable``.
        Conflict: ``opening_lost``; ``opening_not_fresh``.
        Integrity: ``manifest_missing``, ``dek_missing``, ``superseded``, ``sealed_profile_altered``; the profile is out
            of use then.
        Unavailable: The store; ``store_timeout``.
    """
    client_id, looked_at = await whose(app, actor, job_id), 0
    while True:
        async with app.db.begin(client_id=client_id) as tx:
            await hold_open(tx, browser_scopes(client_id))
            rows = await _open_now(tx, app, actor, client_id, job_id, profile_id, epoch)
            try:
                async with while_held():
                    text = await stored(app.records, rows[0], app.environment, found=StoredGeneration(), others=rows)
                await held_by(tx, client_id, job_id, profile_id, epoch)
            except Integrity as error:
                refused = error
            else:
                return text
        # A key that is wrapped anew meanwhile takes the row to another version, and this one away.
        if refused.code != "manifest_missing" or rows[0].record_version == looked_at:
            break
        looked_at = rows[0].record_version
    async with app.db.begin(client_id=client_id) as tx:
        await tx.all(None, "profile_lock", profile_id=profile_id)
        await take_out(
            tx, app, actor, await tx.one(Profile, "profile_get", client_id=client_id, id=profile_id), "altered"
        )
    raise refused


async def _open_now(
    tx: Tx, app: BrokerApp, actor: Actor, client_id: ClientId, job_id: UUID, profile_id: UUID, epoch: int
) -> list[Generation]:
    """Return the rows of a profile that this job has just opened, the one that it opened first."""
    row, profile = await open_now(tx, app, actor, client_id, job_id, profile_id, epoch)
    at = {"client_id": client_id, "profile_id": profile_id}
    rows = await tx.all(Generation, "generations_of", **at, limit=profiles.KEPT_IN_VIEW)
    if row["usable"] is not True or not rows or rows[0].generation != profile.generation:
        raise deny(DenyReason.PROFILE_NOT_USABLE)
    if not await tx.one(lambda row: row["fresh"] is True, "opening_fresh", **at, within_s=FRESH_S):
        raise Conflict("opening_not_fresh", next_step="Open the profile again and take its record at once.")
    return rows
