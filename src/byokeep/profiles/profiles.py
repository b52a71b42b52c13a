"""SOP 5.3, what there is: profiles are created and looked at; what was sealed is told as history.

Rules
- A profile is made for a client's registered accounts, one for each platform; its id is random and ours (R5.3-5).
- An account has one living profile. Another is made only when the old one is retired.
- Reading tells which key and which blob, never anything of what is in them.

It may not open anything: a worker or a runner does, on record (:mod:`byokeep.profiles.profile_book`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from byokeep.accounts.accounts import ACCOUNT, check_shape, parse_platform
from byokeep.accounts.model import PlatformAccount
from byokeep.core import profile as life
from byokeep.core.canonical import parse_canonical
from byokeep.core.errors import Conflict, Rejected
from byokeep.core.events import Event, EventName, FieldValue, Outcome
from byokeep.core.manifest import ExpectedAccount, Packing
from byokeep.core.model import Actor, ClientId, Provider
from byokeep.core.policy import Verb
from byokeep.core.profile import ProfileAct, ProfileState
from byokeep.kernel import sops
from byokeep.kernel.app import App
from byokeep.kernel.command import command, permit
from byokeep.kernel.ports import Tx
from byokeep.kernel.rows import Row
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
    """A profile as it stands. ``generation`` 0: nothing is sealed yet. ``incident``: the open one it is of."""

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
    def platforms(self) -> tuple[Provider, ...]:
        """Its platforms, by name."""
        return tuple(one.platform for one in self.accounts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """Who has a profile open, or had it last. ``open`` is as of the reading."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """A profile, its generations (newest first) and who had it open last."""

    profile: Profile
    generations: tuple[Generation, ...]
    opening: Opening | None


def _expected(said: Row) -> Expected:
    return Expected(
        account_id=UUID(said["account_id"]), platform=Provider(said["platform"]), account=said["account"],
        external_id=said["external_id"], username=said["username"], display_name=said["display_name"],
        lanes=tuple(said["lanes"]), retired=bool(said["retired"]),
    )  # fmt: skip


def expected_account(one: Expected) -> ExpectedAccount:
    """Return an account as a manifest has it; a name that nobody told is none."""
    return ExpectedAccount(
        platform=one.platform, account=one.account, account_id=one.external_id, username=one.username or None,
        display_name=one.display_name or None,
    )  # fmt: skip


async def create(
    app: App,
    actor: Actor,
    client_id: ClientId,
    *,
    accounts: Sequence[tuple[str, str]],
    packing: Packing = Packing.PORTABLE,
    replaces: UUID | None = None,
) -> Profile:
    """Create a profile for registered accounts; nothing is logged in or sealed yet.

    Args:
        accounts: Platform and account, as they were registered; one for each platform, 1 to 3.
        packing: What of the browser will be sealed.
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
    """As :func:`create`, inside a caller's transaction and by its permission."""
    found = [await _find(tx, client_id, platform, account) for platform, account in accounts]
    if not 1 <= len(found) <= MOST_ACCOUNTS or len({one.platform for one in found}) != len(found):
        raise Rejected("bad_accounts", next_step="Name 1 to 3 accounts, each on another platform.")
    if replaces is not None:
        old = await tx.maybe(Profile, "profile_get", client_id=client_id, id=replaces)
        if old is None or life.living(old.state):
            raise Rejected("bad_replaced", next_step="Name a retired profile of this client.")
    found.sort(key=lambda one: one.platform)
    for one in found:
        taken = await tx.maybe(UUID, "profile_taken", client_id=client_id, account_id=one.id)
        if taken is not None:
            raise Conflict("account_has_profile", next_step="Use that one, or retire it first.", profile=taken)
    made = await tx.one(
        Profile,
        "profile_insert",
        id=app.ids.uuid(),
        client_id=client_id,
        packing=packing.value,
        created_by=actor.id,
        replaces=replaces,
    )
    for one in found:
        await tx.one(
            UUID,
            "profile_account_insert",
            client_id=client_id,
            profile_id=made.id,
            account_id=one.id,
            platform=one.platform.value,
        )
    run = await tx.one(
        sops.SopRun, "sop_insert_profile", id=app.ids.uuid(), client_id=client_id, provider=found[0].platform.value,
        profile_id=made.id,
        started_by=actor.id,
    )  # fmt: skip
    fields: dict[str, FieldValue] = {
        "sop": str(run.id), "packing": packing.value, "platforms": ",".join(one.platform.value for one in found),
        "accounts": ",".join(str(one.id) for one in found),
    }  # fmt: skip
    if replaces is not None:
        fields["replaces"] = str(replaces)
        await tx.all(str, "vault_place", client_id=client_id, profile_id=replaces, new_profile_id=made.id)
    await tx.append(event(EventName.PROFILE_CREATED, Outcome.OK, actor, made, **fields))
    return await tx.one(Profile, "profile_get", client_id=client_id, id=made.id)


async def _find(tx: Tx, client_id: ClientId, platform: str, account: str) -> PlatformAccount:
    known = parse_platform(platform)
    check_shape("account", account, ACCOUNT)
    found = await tx.maybe(PlatformAccount, "account_find", client_id=client_id, platform=known.value, account=account)
    if found is None:
        raise Rejected("unknown_account", next_step="Register or connect the account first: `byokeep account`.",
                       platform=known.value)  # fmt: skip
    return found


async def get(app: App, actor: Actor, client_id: ClientId, profile_id: UUID) -> Profile:
    """Return a profile.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`; ``not_found``.
    """
    return await find(app, actor, Verb.PROFILE_READ, client_id, profile_id)


async def find(app: App, actor: Actor, verb: Verb, client_id: ClientId, profile_id: UUID) -> Profile:
    """Return a profile to somebody who may do ``verb`` with it. Raises as :func:`get`."""
    async with command(app, actor, verb, client_id=client_id, object_id=profile_id) as tx:
        return await tx.one(Profile, "profile_get", client_id=client_id, id=profile_id)


async def owner_of(app: App, actor: Actor, verb: Verb, profile_id: UUID) -> ClientId:
    """Return whose a profile is, to somebody who may do ``verb`` with it. Raises as :func:`get`."""
    async with command(app, actor, verb, object_id=profile_id) as tx:
        client_id = await tx.one(ClientId, "profile_find", id=profile_id)
    await permit(app, actor, verb, client_id=client_id)
    return client_id


async def list_profiles(app: App, actor: Actor, client_id: ClientId, *, due: bool = False) -> list[Profile]:
    """Return a client's profiles, or those that are due for a new key.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`.
    """
    async with command(app, actor, Verb.PROFILE_READ, client_id=client_id) as tx:
        return await tx.all(Profile, "profiles_list", client_id=client_id, due=due, limit=MAX_ROWS)


async def history(app: App, actor: Actor, client_id: ClientId, profile_id: UUID) -> History:
    """Return a profile with everything that was sealed of it.

    Raises:
        Denied, NotFound: As :func:`get`.
    """
    found = await find(app, actor, Verb.PROFILE_READ, client_id, profile_id)
    at = {"client_id": client_id, "profile_id": profile_id}
    async with app.db.begin(client_id=client_id) as tx:
        generations = await tx.all(Generation, "generations_of", **at, limit=KEPT_IN_VIEW)
        opening = await tx.maybe(Opening, "opening_of", **at)
    return History(profile=found, generations=tuple(generations), opening=opening)


async def move(tx: Tx, profile: Profile, act: ProfileAct, *, reason: str = "") -> ProfileState:
    """Move a profile as the table says; returns where it is then. The record is the caller's.

    Raises:
        Conflict: ``profile_state``; ``profile_moved``: somebody else moved it meanwhile.
    """
    to = life.after(profile.state, act)
    at = {"client_id": profile.client_id, "id": profile.id}
    if (
        await tx.maybe(UUID, "profile_move", **at, state=to.value, reason=reason, state_from=profile.state.value)
        is None
    ):
        raise moved(profile)
    return to


async def retire(tx: Tx, actor: Actor, profile: Profile, *, cause: str, incident: UUID | None = None) -> None:
    """Take a profile out of use for good, so that its accounts may be given another (R7.3-4).

    Args:
        cause: A code of ours.
        incident: The incident that asks for it.

    Raises:
        Conflict: As :func:`move`.
    """
    await move(tx, profile, ProfileAct.RETIRE, reason=cause)
    await tx.all(UUID, "profile_account_retired", client_id=profile.client_id, profile_id=profile.id)
    fields: dict[str, FieldValue] = {"cause": cause}
    if incident is not None:
        fields["incident"] = str(incident)
    await tx.append(event(EventName.PROFILE_RETIRED, Outcome.OK, actor, profile, **fields))


async def mark_due(
    tx: Tx, actor: Actor, client_id: ClientId, *, incident: UUID, profile_id: UUID | None = None
) -> list[UUID]:
    """Make profiles due for a new key now, because of an incident (R6.1-6); returns which.

    Args:
        incident: The incident; ending it takes no mark off.
        profile_id: One profile; None = every one of the client's.
    """
    marked = await tx.all(
        lambda row: (UUID(str(row["id"])), row["due_at"]),
        "profile_due",
        client_id=client_id,
        id=profile_id,
        cause=life.DueCause.INCIDENT.value,
    )
    for one, due_at in marked:
        found = await tx.one(Profile, "profile_get", client_id=client_id, id=one)
        await tx.append(
            event(EventName.PROFILE_DUE, Outcome.OK, actor, found, cause=life.DueCause.INCIDENT.value,
                  due_at=stamp(due_at), incident=str(incident))
        )  # fmt: skip
    return [one for one, _ in marked]


def event(name: EventName, outcome: Outcome, actor: Actor, profile: Profile, **fields: FieldValue) -> Event:
    """Return a record about a profile; its object is the profile."""
    about: dict[str, FieldValue] = {"profile": str(profile.id), "generation": profile.generation}
    return Event(
        name=name, actor=actor, outcome=outcome, client_id=profile.client_id, object_id=profile.id,
        fields=about | fields,
    )  # fmt: skip


def stamp(at: datetime) -> str:
    """Return a time as a record carries it."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def moved(profile: Profile) -> Conflict:
    """Return the refusal of an act on a profile that somebody else moved meanwhile."""
    return Conflict("profile_moved", next_step="Look again: `byokeep profile show`.", profile=profile.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofPicture:
    """A screenshot of one element of the account's page, as it is on record: its SHA-256 in hex."""

    platform: str
    generation: int
    sha256: str


def _proof_from(row: Row) -> ProofPicture:
    said: Any = parse_canonical(bytes(row["payload"]))
    told = said["fields"]
    return ProofPicture(platform=told["platform"], generation=told["generation"], sha256=told["screenshot"])


async def proofs(app: App, actor: Actor, client_id: ClientId, profile_id: UUID) -> list[ProofPicture]:
    """Return the screenshots that prove the newest generation that was validated; one for each platform.

    Raises:
        Denied, NotFound: As :func:`get`.
    """
    found = await find(app, actor, Verb.PROFILE_READ, client_id, profile_id)
    async with app.db.begin(client_id=client_id) as tx:
        kept = await tx.all(_proof_from, "profile_proofs", client_id=client_id, profile_id=profile_id)
    newest = {one.platform: one for one in reversed(kept) if one.generation == found.validated_generation}
    return [newest[platform] for platform in sorted(newest)]
