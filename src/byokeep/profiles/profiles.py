"""Browser profiles (SOP 5.3): made, looked at, and what people ask for: a login, a proof, a new key, an end.

Rules
- A profile is made for a client's registered accounts, one for each platform. Its id is random and ours (R5.3-5).
- An account has one living profile. Another is made only after the old one is retired.
- Reading shows which key and which blob, never anything inside them.
- Workers do what is asked for. A profile has at most one piece of work under way, with a custody job of its own whose
  leases reach profiles. Work that nobody does any more ends as failed, and says so.
- A person confirms whose account they are logged in to, by naming what they saw. No process can do it (R5.3-6).
- Destroying for good takes two people: an operator asks, an approver approves (R2.3-6, R4.1-12).

It may not open a profile: a worker or a runner does, on record (:mod:`byokeep.profiles.openings`).
"""

from __future__ import annotations

import hmac
import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from byokeep.accounts.accounts import ACCOUNT, check_shape, parse_platform
from byokeep.accounts.model import PlatformAccount
from byokeep.core import evidence
from byokeep.core import profile as life
from byokeep.core.canonical import parse_canonical
from byokeep.core.errors import Conflict, Denied, NotFound, Rejected
from byokeep.core.events import EventName, FieldValue, Outcome
from byokeep.core.manifest import ExpectedAccount, Packing
from byokeep.core.model import PROFILE, Actor, ClientId, Provider
from byokeep.core.policy import Verb
from byokeep.core.profile import ProfileAct, ProfileState, ProfileTask
from byokeep.jobs.jobs import open_custody
from byokeep.kernel.app import App, WebApp
from byokeep.kernel.command import command, permit, record
from byokeep.kernel.ports import Receipt, Tx
from byokeep.kernel.rows import Row
from byokeep.kernel.sops import SopRun, begin_sop
from byokeep.sealing.generation import Generation
from byokeep.tenancy.clients import MAX_ROWS, require_active

MOST_ACCOUNTS: Final = 3
KEPT_IN_VIEW: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """An account that the profile must be logged in to, as it must show itself. ``external_id`` is the platform's."""

    account_id: UUID
    platform: Provider
    account: str
    external_id: str
    username: str
    display_name: str
    lanes: tuple[str, ...]
    retired: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A profile as it stands. ``generation`` 0: nothing is sealed yet. ``incident``: the open one it belongs to."""

    id: UUID
    client_id: ClientId
    packing: Packing
    state: ProfileState
    reason: str
    generation: int
    epoch: int
    created_at: datetime
    created_by: UUID
    confirmed_at: datetime | None
    confirmed_by: UUID | None
    validated_generation: int
    validated_at: datetime | None
    sealed_at: datetime | None
    due_at: datetime | None
    due_cause: str
    replaces: UUID | None
    sop_id: UUID | None
    incident: UUID | None
    accounts: tuple[Expected, ...]

    @property
    def proved(self) -> bool:
        """Whether the newest generation was validated."""
        return self.state is ProfileState.VALID and 0 < self.generation == self.validated_generation

    @property
    def next_step(self) -> str:
        """What to do next with it, in a sentence."""
        return life.next_step(self.state, profile=str(self.id), due=self.due_cause, incident=str(self.incident or ""),
                              proved=self.proved, sealed=self.generation > 0)  # fmt: skip

    @property
    def at(self) -> dict[str, object]:
        """Its client and id, as statements about what belongs to it expect them."""
        return {"client_id": self.client_id, "profile_id": self.id}

    @property
    def row(self) -> dict[str, object]:
        """Its own row."""
        return {"client_id": self.client_id, "id": self.id}

    @property
    def platforms(self) -> tuple[Provider, ...]:
        """Its platforms, by name."""
        return tuple(one.platform for one in self.accounts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """Who has a profile open, or had it last. ``open`` is as of when it was read."""

    client_id: ClientId
    profile_id: UUID
    epoch: int
    generation: int
    purpose: life.Purpose
    job_id: UUID
    opener_id: UUID
    opened_at: datetime
    until: datetime
    open: bool

    @property
    def at(self) -> dict[str, object]:
        """Its row."""
        return {"client_id": self.client_id, "profile_id": self.profile_id, "epoch": self.epoch}


def _expected(said: Row) -> Expected:
    return Expected(
        account_id=UUID(said["account_id"]), platform=Provider(said["platform"]), account=said["account"],
        external_id=said["external_id"], username=said["username"], display_name=said["display_name"],
        lanes=tuple(said["lanes"]), retired=bool(said["retired"]),
    )  # fmt: skip


def expected_account(one: Expected) -> ExpectedAccount:
    """Return an account as a manifest has it; an unknown name is left out."""
    return ExpectedAccount(
        platform=one.platform, account=one.account, account_id=one.external_id, username=one.username or None,
        display_name=one.display_name or None,
    )  # fmt: skip


async def create(
    app: App, actor: Actor, client_id: ClientId, *, accounts: Sequence[tuple[str, str]],
    packing: Packing = Packing.PORTABLE, replaces: UUID | None = None,
) -> Profile:  # fmt: skip
    """Create a profile for registered accounts; nothing is logged in or sealed yet.

    Args:
        accounts: Platform and account, as registered; one for each platform, 1 to 3.
        packing: Which part of the browser will be sealed.
        replaces: A retired profile whose place it takes.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`.
        Rejected: ``not_a_platform``, ``bad_account``, ``bad_accounts``, ``unknown_account``, ``client_not_active``,
            ``bad_replaced``.
        Conflict: ``account_has_profile``.
    """
    made = EventName.PROFILE_CREATED
    async with command(app, actor, Verb.PROFILE_CREATE, client_id=client_id, refused_as=made, on_client=True) as tx:
        await require_active(tx, client_id)
        return await insert(tx, app, actor, client_id, accounts=accounts, packing=packing, replaces=replaces)


async def insert(
    tx: Tx, app: App, actor: Actor, client_id: ClientId, *, accounts: Sequence[tuple[str, str]], packing: Packing,
    replaces: UUID | None = None,
) -> Profile:  # fmt: skip
    """Do as :func:`create` does, in the caller's transaction and under its permission."""
    found = [await _find(tx, client_id, platform, account) for platform, account in accounts]
    if not 1 <= len(found) <= MOST_ACCOUNTS or len({one.platform for one in found}) != len(found):
        raise Rejected("bad_accounts", next_step="Give 1 to 3 accounts, each on a different platform.")
    if replaces is not None:
        old = await tx.maybe(Profile, "profile_get", client_id=client_id, id=replaces)
        if old is None or life.living(old.state):
            raise Rejected("bad_replaced", next_step="Give a retired profile of this client.")
    found.sort(key=lambda one: one.platform)
    for one in found:
        taken = await tx.maybe(UUID, "profile_taken", client_id=client_id, account_id=one.id)
        if taken is not None:
            raise Conflict(
                "account_has_profile", next_step="Use the existing profile, or retire it first.", profile=taken
            )
    made = await tx.one(
        Profile, "profile_insert", id=app.ids.uuid(), client_id=client_id, packing=packing.value, created_by=actor.id,
        replaces=replaces,
    )  # fmt: skip
    for one in found:
        account = {"account_id": one.id, "platform": one.platform.value}
        await tx.one(UUID, "profile_account_insert", **made.at, **account)
    run = await _begin_run(tx, app, actor, made, found[0].platform)
    if replaces is not None:
        await tx.all(str, "vault_place", client_id=client_id, profile_id=replaces, new_profile_id=made.id)
    await note(
        tx, EventName.PROFILE_CREATED, actor, made, sop=run.id, packing=packing, replaces=replaces,
        platforms=",".join(one.platform for one in found), accounts=",".join(str(one.id) for one in found),
    )  # fmt: skip
    return await tx.one(Profile, "profile_get", client_id=client_id, id=made.id)


async def _find(tx: Tx, client_id: ClientId, platform: str, account: str) -> PlatformAccount:
    known = parse_platform(platform)
    check_shape("account", account, ACCOUNT)
    found = await tx.maybe(PlatformAccount, "account_find", client_id=client_id, platform=known.value, account=account)
    if found is None:
        raise Rejected("unknown_account", next_step="Register or connect the account first: `byokeep account`.",
                       platform=known.value)  # fmt: skip
    return found


async def find(app: App, actor: Actor, verb: Verb, profile_id: UUID) -> Profile:
    """Return a profile by its id alone, to somebody who may do ``verb`` with it.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`; ``not_found``.
    """
    async with command(app, actor, verb, object_id=profile_id) as tx:
        found = await tx.one(Profile, "profile_get", client_id=None, id=profile_id)
    await permit(app, actor, verb, client_id=found.client_id)
    return found


async def locked(tx: Tx, client_id: ClientId, profile_id: UUID) -> Profile:
    """Return a profile as it stands, locked: nobody else moves it until the transaction ends."""
    await tx.all(None, "profile_lock", profile_id=profile_id)
    return await tx.one(Profile, "profile_get", client_id=client_id, id=profile_id)


async def list_profiles(app: App, actor: Actor, client_id: ClientId, *, due: bool = False) -> list[Profile]:
    """Return a client's profiles, or those that are due for a new key.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`.
    """
    async with command(app, actor, Verb.PROFILE_READ, client_id=client_id) as tx:
        return await tx.all(Profile, "profiles_list", client_id=client_id, due=due, limit=MAX_ROWS)


async def history(
    app: App, actor: Actor, profile_id: UUID
) -> tuple[Profile, list[Generation], Opening | None, list[Work]]:
    """Return a profile, its generations (newest first), who had it open last, and the newest work on it.

    Raises as :func:`find`.
    """
    found = await find(app, actor, Verb.PROFILE_READ, profile_id)
    async with app.db.begin(client_id=found.client_id) as tx:
        sealed = await tx.all(Generation, "generations_of", **found.at, limit=KEPT_IN_VIEW)
        opening = await tx.maybe(Opening, "opening_of", **found.at)
        return found, sealed, opening, await tx.all(Work, "work_newest", **found.at, limit=10)


async def move(tx: Tx, profile: Profile, act: ProfileAct, *, reason: str = "") -> None:
    """Move a profile as the table allows. Recording it is the caller's part.

    Raises:
        Conflict: ``profile_state``; ``profile_moved``: somebody else moved it meanwhile.
    """
    moves = {"state": life.after(profile.state, act).value, "state_from": profile.state.value}
    if await tx.maybe(UUID, "profile_move", **profile.row, **moves, reason=reason) is None:
        raise moved(profile)


async def retire(tx: Tx, actor: Actor, profile: Profile, *, cause: str, incident: UUID | None = None) -> None:
    """Take a profile out of use for good, so that its accounts can be given another (R7.3-4).

    Args:
        cause: One of our codes.
        incident: The incident that asks for it.

    Raises:
        Conflict: As :func:`move`.
    """
    await move(tx, profile, ProfileAct.RETIRE, reason=cause)
    await tx.all(UUID, "profile_account_retired", **profile.at)
    await note(tx, EventName.PROFILE_RETIRED, actor, profile, cause=cause, incident=incident)


async def mark_due(tx: Tx, actor: Actor, client_id: ClientId, *, incident: UUID) -> list[UUID]:
    """Make a client's profiles due for a new key now, because of an incident (R6.1-6); returns their ids.

    Args:
        incident: The incident; ending it removes no mark.
    """
    cause = life.DueCause.INCIDENT.value
    marked = await tx.all(dict, "profile_due", client_id=client_id, id=None, cause=cause)
    for row in marked:
        found = await tx.one(Profile, "profile_get", client_id=client_id, id=row["id"])
        await note(tx, EventName.PROFILE_DUE, actor, found, cause=cause, due_at=row["due_at"], incident=incident)
    return [UUID(str(row["id"])) for row in marked]


async def note(
    tx: Tx, name: EventName, actor: Actor, profile: Profile, outcome: Outcome = Outcome.OK, **said: Any
) -> Receipt:
    """Append a record about a profile to its client's chain; its object is the profile."""
    said = {"profile": profile.id, "generation": profile.generation, **said}
    return await record(tx, actor, name, outcome=outcome, client_id=profile.client_id, object_id=profile.id, **said)


def moved(profile: Profile) -> Conflict:
    """Return the refusal of an act on a profile that somebody else has moved meanwhile."""
    return Conflict("profile_moved", next_step="Look again: `byokeep profile show`.", profile=profile.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofPicture:
    """A recorded screenshot of one element of the account's page: its SHA-256 in hex, and its file."""

    platform: str
    generation: int
    sha256: str
    file: str


async def look(app: App, actor: Actor, profile_id: UUID) -> tuple[Profile, list[ProofPicture], Work | None]:
    """Return a profile, the screenshots that prove it, one for each platform, and the newest work on it.

    The screenshots are of the newest generation that was validated. Raises as :func:`find`.
    """
    found = await find(app, actor, Verb.PROFILE_READ, profile_id)
    work = await app.db.read(Work, "work_newest", {**found.at, "limit": 1}, client_id=found.client_id)
    proofs = await proofs_of(app, found.client_id, [found])
    return found, proofs[profile_id], work[0] if work else None


async def proofs_of(app: App, client_id: ClientId, shown: Sequence[Profile]) -> dict[UUID, list[ProofPicture]]:
    """Return the screenshots that prove profiles of a client, by profile, as :func:`look` does.

    Args:
        shown: The profiles that the caller may see.
    """
    wanted = {"client_id": client_id, "profiles": [one.id for one in shown]}
    kept: list[Row] = await app.db.read(dict, "profile_proofs", wanted, client_id=client_id)
    validated = {one.id: one.validated_generation for one in shown}
    newest: dict[UUID, dict[str, ProofPicture]] = {one.id: {} for one in shown}
    for row in reversed(kept):
        record: Any = parse_canonical(bytes(row["payload"]))
        said, profile_id = record["fields"], row["object_id"]
        if said["generation"] == validated[profile_id]:
            newest[profile_id][said["platform"]] = ProofPicture(
                platform=said["platform"], generation=said["generation"], sha256=said["screenshot"],
                file=f"{client_id}/{profile_id}/{said['generation']}-{said['screenshot']}.png",
            )  # fmt: skip
    return {one: [found[platform] for platform in sorted(found)] for one, found in newest.items()}


WORK_TASK: Final = "profile_work"
LOGIN_S: Final = 3600  # seconds in which a person must log in and confirm
WORK_S: Final = 900
DEAD_S: Final = 60  # seconds without a sign of life after which a worker counts as dead


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A piece of work: ``asked``, ``running``, ``waiting`` (for a person), ``confirmed``, or an end."""

    id: UUID
    client_id: ClientId
    profile_id: UUID
    job_id: UUID | None
    incident_id: UUID | None
    generation: int | None
    kind: ProfileTask
    state: str
    reason: str
    result: str
    owner: UUID | None
    asked_by: UUID
    asked_at: datetime
    confirmed_by: UUID | None
    confirmed_at: datetime | None
    ended_at: datetime | None

    @property
    def at(self) -> dict[str, object]:
        """Its row."""
        return {"client_id": self.client_id, "id": self.id}


async def ask_work(
    app: App, actor: Actor, found: Profile, kind: ProfileTask, *, generation: int | None = None,
    incident: UUID | None = None,
) -> Work:  # fmt: skip
    """Ask for work on a profile; a worker does it.

    Args:
        generation: For a restore: which one comes back.
        incident: For a destruction: the open incident that needs this profile, named explicitly.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`; ``not_found``.
        Rejected: ``client_not_active``, ``no_such_generation``, ``already_newest``.
        Conflict: ``profile_state``, ``nothing_sealed``, ``work_under_way``, ``generation_gone``, ``key_not_usable``,
            ``incident_needs_profile``.
        Unavailable: ``no_custodian``.
    """
    async with _decided(app, actor, Verb.PROFILE_WORK, found, EventName.PROFILE_WORK_ASKED, kind=kind.value) as tx:
        await require_active(tx, found.client_id)
        needed = await _not_needed(tx, found, named=incident) if kind is ProfileTask.SHRED else None
        return await insert_work(tx, app, actor, found, kind, generation=generation, incident=needed)


def _decided(
    app: App, actor: Actor, verb: Verb, found: Profile, refused_as: EventName, **fields: FieldValue
) -> AbstractAsyncContextManager[Tx]:
    """Open a command about a profile; a refusal is recorded on its client's chain."""
    return command(
        app, actor, verb, client_id=found.client_id, object_id=found.id, on_client=True, refused_as=refused_as,
        fields=fields,
    )  # fmt: skip


async def insert_work(
    tx: Tx, app: App, actor: Actor, profile: Profile, kind: ProfileTask, *, generation: int | None = None,
    incident: UUID | None = None,
) -> Work:  # fmt: skip
    """Do as :func:`ask_work` does, in the caller's transaction and under its permission; a shred waits for the second
    person.
    """
    now = await locked(tx, profile.client_id, profile.id)
    other = await tx.maybe(Work, "work_open", **now.at)
    if other is not None:
        raise Conflict("work_under_way", work=other.id, kind=other.kind.value, next_step=_meanwhile(other))
    life.check_kind(now.state, kind, generation=now.generation)
    if kind is ProfileTask.RESTORE:
        await check_restorable(tx, now, generation or 0)
    if kind is ProfileTask.LOGIN:
        last = await tx.maybe(SopRun, "sop_of_profile", **now.at)
        if last is None or last.state == "failed":  # the procedure begins anew
            await _begin_run(tx, app, actor, now, min(now.platforms))
    ttl_s = LOGIN_S + WORK_S if kind in (ProfileTask.LOGIN, ProfileTask.SHRED) else WORK_S
    job_id = await open_custody(tx, app, profile.client_id, PROFILE, actor.request_id, ttl_s=ttl_s)
    made = await tx.one(
        Work, "work_insert", id=app.ids.uuid(), **now.at, job_id=job_id, incident_id=incident, kind=kind.value,
        generation=generation if kind is ProfileTask.RESTORE else None, asked_by=actor.id,
    )  # fmt: skip
    await _note_work(tx, EventName.PROFILE_WORK_ASKED, actor, now, made)
    if kind is ProfileTask.SHRED:
        return await tx.one(Work, "work_wait", **made.at)
    await queue_work(tx, made)
    return made


def _meanwhile(work: Work) -> str:
    cancel = f"end it: `byokeep profile cancel {work.profile_id}`"
    if work.kind is ProfileTask.LOGIN:
        return f"A login is waiting: `byokeep profile handoff {work.profile_id}` shows where. Or {cancel}."
    return f"Wait until it ends, or {cancel}."


async def _not_needed(tx: Tx, profile: Profile, *, named: UUID | None) -> UUID | None:
    """Refuse to destroy what an open incident needs, unless the request names it; returns that incident.

    An old profile's keys must be marked compromised before they are destroyed: only the incident does that.
    """
    need = await tx.maybe(dict, "vault_needs", **profile.at)
    if need is None or profile.state is life.ProfileState.SHREDDED:
        return None
    incident, old = UUID(str(need["id"])), bool(need["old"])
    if old or named != incident:
        step = (
            f"The incident destroys it: `byokeep incident vault status {incident}` says how far it is." if old else
            f"If you are sure: `byokeep profile shred {profile.id} --incident {incident}`. Another must take its place."
        )  # fmt: skip
        raise Conflict("incident_needs_profile", next_step=step, incident=incident)
    return incident


async def queue_work(tx: Tx, work: Work) -> None:
    """Hand work to whichever worker is free."""
    await tx.defer(WORK_TASK, delay_s=0, client_id=str(work.client_id), work_id=str(work.id))


async def confirm(app: WebApp, actor: Actor, found: Profile, *, seen: Mapping[str, str]) -> Work:
    """Confirm, as the person who looked, which accounts the waiting browser is logged in to.

    Args:
        seen: Platform -> the user name or id that the person saw there; one for each of the profile's platforms.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`; ``not_found``.
        Rejected: ``other_account``, ``platform_not_named``: nothing is confirmed.
        Conflict: ``nothing_to_confirm``.
    """
    async with _decided(app, actor, Verb.PROFILE_CONFIRM, found, EventName.PROFILE_CONFIRMED) as tx:
        now = await locked(tx, found.client_id, found.id)
        work = await tx.maybe(Work, "work_open", **now.at)
        if work is None or work.kind is not ProfileTask.LOGIN or work.state != "waiting":
            raise Conflict("nothing_to_confirm", next_step="Start with `byokeep profile login`, then log in there.")
        _check_seen(now, seen)
        done = await tx.maybe(Work, "work_confirm", **work.at, confirmed_by=actor.id)
        moves = {"state": life.after(now.state, ProfileAct.CONFIRM).value, "state_from": now.state.value}
        same = await tx.maybe(datetime, "profile_confirmed", **now.row, **moves, confirmed_by=actor.id)
        if done is None or same is None:
            raise moved(now)
        for one in now.accounts:
            said = _plain(seen[one.platform.value])
            await _note_work(
                tx, EventName.PROFILE_CONFIRMED, actor, now, done, platform=one.platform, account=one.account_id,
                expected_id=_face(app, one, _named(one, said) or ""), observed_id=_face(app, one, said),
            )  # fmt: skip
    return done


async def approve_shred(app: App, actor: Actor, found: Profile) -> Work:
    """Approve, as a second person, that a profile is destroyed for good; a worker then does it.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`; ``not_found``; ``same_person``.
        Conflict: ``nothing_to_confirm``; ``incident_needs_profile``.
    """
    shred = ProfileTask.SHRED.value
    async with _decided(app, actor, Verb.PROFILE_SHRED, found, EventName.PROFILE_WORK_ASKED, kind=shred) as tx:
        await tx.all(None, "profile_lock", profile_id=found.id)
        work = await tx.maybe(Work, "work_open", **found.at)
        if work is None or work.kind is not ProfileTask.SHRED or work.state != "waiting":
            raise Conflict("nothing_to_confirm", next_step="An operator must ask first: `byokeep profile shred`.")
        if work.asked_by == actor.id:
            raise Denied("same_person", next_step="Another approver must confirm.")
        if work.incident_id is None:  # an incident may have been opened since it was asked for
            await _not_needed(tx, found, named=None)
        done = await agree(tx, actor, found, work)
        if done is None:
            raise moved(found)
    return done


async def agree(tx: Tx, actor: Actor, profile: Profile, work: Work) -> Work | None:
    """Agree to a shred that waits, as the second person, on record, and hand it to a worker; None: it waits no more."""
    done = await tx.maybe(Work, "work_confirm", **work.at, confirmed_by=actor.id)
    if done is not None:
        await _note_work(tx, EventName.PROFILE_WORK_ASKED, actor, profile, done)
        await queue_work(tx, done)
    return done


async def cancel_work(app: App, actor: Actor, found: Profile) -> Work:
    """End what is under way for a profile. A worker that is doing it stops and leaves the last good generation.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`; ``not_found``.
        Conflict: ``nothing_under_way``.
    """
    async with app.db.begin(client_id=found.client_id) as tx:
        work = await tx.maybe(Work, "work_open", **found.at)
        done = work and await tx.maybe(Work, "work_cancel", **work.at, reason="cancelled")
        if done is None:
            raise Conflict("nothing_under_way", next_step="See `byokeep profile show`.")
        await _note_work(
            tx, EventName.PROFILE_WORK_ENDED, actor, found, done, outcome=Outcome.FAILED, cause="cancelled"
        )
    return done


async def get_work(app: App, actor: Actor, profile_id: UUID, work_id: UUID) -> Work:
    """Return a piece of work as it stands. Raises as :func:`find`."""
    profile = await find(app, actor, Verb.PROFILE_READ, profile_id)
    async with app.db.begin(client_id=profile.client_id) as tx:
        found = await tx.one(Work, "work_get", client_id=profile.client_id, id=work_id)
    if found.profile_id != profile_id:
        raise NotFound("not_found")
    return found


async def finish_work(
    tx: Tx, actor: Actor, profile: Profile, work: Work, *, to: str, reason: str = "", result: str = ""
) -> bool:
    """End a piece of work, on record; False if it had already ended.

    Args:
        to: ``done``, ``failed`` or ``expired``.
        reason: Why it did not succeed; one of our codes.
        result: What came of it; a code.
    """
    if await tx.maybe(Work, "work_end", **work.at, state=to, reason=reason, result=result) is None:
        return False
    await _note_work(
        tx, EventName.PROFILE_WORK_ENDED, actor, profile, work, cause=reason or None, result=result or None,
        outcome=Outcome.OK if to == "done" else Outcome.FAILED,
    )  # fmt: skip
    return True


async def _begin_run(tx: Tx, app: App, actor: Actor, profile: Profile, platform: Provider) -> SopRun:
    return await begin_sop(
        tx, app, actor, evidence.PROFILE, client_id=profile.client_id, object_id=profile.id, provider=platform
    )


async def check_restorable(tx: Tx, now: Profile, number: int) -> None:
    """Let an older generation come back as a new one.

    Raises:
        Rejected: ``no_such_generation``, ``already_newest``.
        Conflict: ``generation_gone``, ``key_not_usable``.
    """
    old = await tx.maybe(Generation, "generation_of", **now.at, generation=number)
    life.check_restorable(wanted=number, newest=now.generation, key_state=None if old is None else old.key_state,
                          gone=old is not None and old.gone_at is not None)  # fmt: skip


def _check_seen(now: Profile, seen: Mapping[str, str]) -> None:
    wanted = {one.platform.value: one for one in now.accounts}
    if set(seen) != set(wanted):
        raise Rejected("platform_not_named", next_step="Give what you saw on each platform: " + ", ".join(wanted) + ".")
    for platform, one in wanted.items():
        if _named(one, seen[platform]) is None:
            step = "Nothing was confirmed. Log out there, and log in as the right account."
            raise Rejected("other_account", platform=platform, next_step=step)


def _named(one: Expected, said: str) -> str | None:
    """Return which of an account's names was given; None for another account's."""
    plain = _plain(said)
    names = [_plain(name) for name in (one.username, one.external_id, one.account) if name]
    return next((name for name in names if plain and hmac.compare_digest(name.encode(), plain.encode())), None)


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text).removeprefix("@")


def _face(app: WebApp, one: Expected, name: str) -> str:
    return app.token_key(f"profile-face:{one.platform.value}:{name}".encode("utf-8", "replace")).hex()


async def _note_work(tx: Tx, name: EventName, actor: Actor, profile: Profile, work: Work, **said: Any) -> None:
    said |= {"work": work.id, "job": work.job_id}
    if name is not EventName.PROFILE_CONFIRMED:
        said |= {"kind": work.kind, "incident": work.incident_id}
    await note(tx, name, actor, profile, **said)
