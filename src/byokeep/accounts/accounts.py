"""Accounts as people see and manage them: register, state and next step, lanes, identity check, new name, disconnect.

Rules
- An account is registered with the identity that it must show; runners report what they see to the broker. Text that
  people type must follow the rules for names (R1.1-4).
- A lane policy is exactly one word, and off until it is set, for an account that was verified (R5.2-9) or that a person
  registered. A platform without OAuth has no API lane (R2.1-8).
- A changed name becomes the expected one only when a person says which name they saw (R5.2-5, R5.2-6).
- A disconnect ends a consent that is in progress.
- A disconnect stops the use at once, here; the refresher ends the grant at the platform. From then on nothing about the
  account can be set, because what is asked for while it is *disconnecting* would outlive it.
- The slots of a machine that renews tokens can be read only on that machine. A person declares it gone, on record.
  Another machine then takes over its renewals: it asks the platform once more, or reports the chain as broken.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from byokeep.accounts.model import Connection, PlatformAccount, drop_consent
from byokeep.core import profile as life
from byokeep.core.errors import Conflict, NotFound, Rejected
from byokeep.core.events import EventName
from byokeep.core.identity import shown
from byokeep.core.keystate import KeyState
from byokeep.core.model import LANES_OF, PLATFORMS, Actor, ClientId, Lane, LanePolicy, Provider
from byokeep.core.plain_text import check_name, check_reason, refuse_secret
from byokeep.core.policy import Verb
from byokeep.core.ref import parse_provider
from byokeep.kernel.app import App, WebApp
from byokeep.kernel.command import Said, command, record
from byokeep.kernel.ports import Tx
from byokeep.kernel.sops import require_proof
from byokeep.keys import refs
from byokeep.platforms.descriptor import PLATFORM_DESCRIPTORS
from byokeep.tenancy.clients import MAX_ROWS, refuse_twin, require_active

ACCOUNT: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
_USERNAME: Final = re.compile(r"[A-Za-z0-9_.@-]{1,64}\Z")


def parse_platform(text: str) -> Provider:
    """Parse a platform's name.

    Raises:
        Rejected: ``unknown_provider`` or ``not_a_platform``.
    """
    provider = parse_provider(text)
    if provider not in PLATFORMS:
        raise Rejected("not_a_platform", next_step="Use one of: " + ", ".join(sorted(PLATFORMS)) + ".")
    return provider


async def register_account(
    app: App, actor: Actor, client_id: ClientId, *, platform: str, account: str, username: str, display_name: str
) -> PlatformAccount:
    """Register the identity that an account must show. All lanes are off.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`.
        Rejected: ``not_a_platform``, ``bad_account``, ``bad_username``, ``bad_name``, ``secret_like_content``,
            ``client_not_active``.
        Conflict: The account is already registered; ``name_like_another``.
    """
    registered = EventName.ACCOUNT_REGISTERED
    async with command(
        app, actor, Verb.ACCOUNT_REGISTER, client_id=client_id, refused_as=registered, on_client=True
    ) as tx:
        known = parse_platform(platform)
        await check_new_account(tx, client_id, known, account)
        check_shape("username", username, _USERNAME)
        check_name("display_name", display_name)
        await require_active(tx, client_id)
        row = await tx.one(
            PlatformAccount, "account_insert", id=app.ids.uuid(), client_id=client_id, platform=known.value,
            account=account, username=username, display_name=display_name, created_by=actor.id,
        )  # fmt: skip
        await row.record(tx, registered, actor, lanes=",".join(row.lanes))
    return row


async def list_accounts(app: App, actor: Actor, client_id: ClientId, *, whole: bool = False) -> list[PlatformAccount]:
    """Return a client's accounts.

    Args:
        whole: All of them, not the first :data:`MAX_ROWS`.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`.
    """
    async with command(app, actor, Verb.CLIENT_READ, client_id=client_id) as tx:
        return await tx.all(PlatformAccount, "accounts_list", client_id=client_id, limit=None if whole else MAX_ROWS)


async def check_new_account(tx: Tx, client_id: ClientId, platform: Provider, account: str) -> None:
    """Check a name for a new account. Accounts named before these rules keep their names.

    Raises:
        Rejected: ``bad_account``: ``.`` and ``..`` are steps of a path, and what begins with ``-`` is an option of a
            command; ``secret_like_content``.
        Conflict: ``name_like_another``: it reads like that of another account of the client's there.
    """
    check_shape("account", account, ACCOUNT)
    if account[0] in ".-":
        raise Rejected("bad_account", next_step="Start the name with a letter, a digit or _.")
    await tx.all(None, "account_names_lock", client_id=client_id)
    refuse_twin(account, await tx.all(str, "account_names", client_id=client_id, platform=platform.value))


def check_shape(field: str, text: str, shape: re.Pattern[str]) -> None:
    """Check that a short text has its form and does not look like a secret.

    Raises:
        Rejected: ``bad_`` and the field, ``secret_like_content``.
    """
    refuse_secret(field, text)
    if not shape.match(text):
        raise Rejected(f"bad_{field}", next_step="Use 1 to 64 letters, digits and . _ - (user names: @ too).")


@dataclass(frozen=True, slots=True, kw_only=True)
class LivingProfile:
    """What the browser lane needs to know of an account's living browser profile."""

    id: UUID
    state: life.ProfileState
    proved: bool
    usable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountState(PlatformAccount):
    """An account and what its grant says; without a grant ``login`` is None.

    Attributes:
        said_username, said_display_name: As the platform reports them now; the account's own are the expected ones.
        grant_reason: A code: why the grant has ended or, if it has not, why the last check did not find out whose it
            is.
        ending: Whether a person has disconnected it and the grant has not yet ended at the platform.
        superseded_at: When a consent that was not kept may have ended the tokens; None: none has since they were given.
        obtained_at, access_expires_at, due_at: When the tokens were given, when the access token expires, when the next
            renewal is due.
    """

    profile: LivingProfile | None
    login: str | None
    external_id: str | None
    said_username: str | None
    said_display_name: str | None
    grant_state: str | None
    grant_reason: str = ""
    ending: bool = False
    purposes: tuple[str, ...] = ()
    reauth_at: datetime | None
    obtained_at: datetime | None
    access_expires_at: datetime | None
    due_at: datetime | None
    verified_at: datetime | None
    superseded_at: datetime | None
    connected_seq: int | None
    drift: bool = False

    @property
    def state(self) -> str:
        """``registered`` (by hand, nothing connected), ``not_connected``, ``connected``, ``needs_reauth``,
        ``unverified``, ``disconnecting``, ``disconnected``, ``mismatch``, ``name_changed``.
        """
        if self.grant_state is None:
            return "registered" if self.username else "not_connected"
        if self.ending:
            return "disconnecting"
        if self.grant_state in ("live", "needs_reauth") and self.identity == "mismatch":
            return "mismatch"
        if self.grant_state != "live":
            return {"revoked": "disconnected"}.get(self.grant_state, self.grant_state)
        return "name_changed" if self.drift else "connected"

    @property
    def token_ends_at(self) -> datetime | None:
        """When the access token expires; None if it was destroyed."""
        return None if self.state == "disconnected" else self.access_expires_at

    @property
    def policy(self) -> LanePolicy:
        """Through which lanes it may act, in one word."""
        return _POLICY_OF[frozenset(Lane(lane) for lane in self.lanes)]

    @property
    def verified(self) -> bool:
        """Whether the platform itself has said whose account this is, on record, and nothing contradicts it."""
        proved = self.connected_seq is not None and self.superseded_at is None
        return self.state in ("connected", "name_changed") and proved

    @property
    def next(self) -> str:
        """What a person does next: a command of ``byokeep account``, or one for a profile; empty if nothing."""
        if self.state == "mismatch":  # what a job saw is checked again; what we saw ourselves has ended the grant
            return "verify" if self.grant_state == "live" else "connect"
        if self.state in _NEXT:
            return _NEXT[self.state]
        if self.state == "connected" and self.policy is LanePolicy.OFF:
            return "lane"
        if Lane.BROWSER not in self.lanes:
            return ""
        one = self.profile
        return life.next_for_lane(one.state, proved=one.proved, usable=one.usable) if one else "profile create"


_POLICY_OF: Final = {frozenset(lanes): policy for policy, lanes in LANES_OF.items()}
_NEXT: Final = {
    **dict.fromkeys(("not_connected", "needs_reauth", "unverified", "disconnected"), "connect"),
    "name_changed": "confirm-name",
}


async def list_states(app: WebApp, actor: Actor, client_id: ClientId) -> list[AccountState]:
    """Return a client's accounts.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`.
    """
    async with command(app, actor, Verb.CLIENT_READ, client_id=client_id) as tx:
        every = {"account": None, "platform": None}
        return await tx.all(AccountState, "accounts_states", client_id=client_id, **every, limit=MAX_ROWS)


async def get_state(app: WebApp, actor: Actor, client_id: ClientId, *, where: str, account: str) -> AccountState:
    """Return one account.

    Args:
        where: A platform's name or a login's.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`; ``not_found``.
        Rejected: ``unknown_platform``.
    """
    return await _find(app, actor, Verb.CLIENT_READ, client_id, where, account)


async def set_policy(
    app: WebApp, actor: Actor, client_id: ClientId, *, where: str, account: str, policy: LanePolicy
) -> AccountState:
    """Set through which lanes an account may act.

    Raises:
        Denied, NotFound: As :func:`get_state`.
        Rejected: ``lane_not_offered``: the platform has no such lane.
        Conflict: ``disconnecting``; ``account_not_verified``; ``profile_not_proved``; ``connected_meanwhile``: what was
            asked for does not outlive the first verification.
    """
    found = await _find(app, actor, Verb.ACCOUNT_REGISTER, client_id, where, account)
    async with command(
        app, actor, Verb.ACCOUNT_REGISTER, client_id=client_id, object_id=found.id, refused_as=EventName.LANES_SET,
        on_client=True,
    ) as tx:  # fmt: skip
        before, found = found, await _steady(tx, found)
        if before.login is None and found.login is not None:
            raise Conflict("connected_meanwhile", next_step="See `byokeep account show`, then set its lanes again.")
        _allow(found, frozenset(LANES_OF[policy]))
        await require_proof(tx, client_id, found.id, frozenset(LANES_OF[policy]))
        await _set_lanes(tx, actor, found, policy)
    return await _find(app, actor, Verb.ACCOUNT_REGISTER, client_id, where, account)


async def _steady(tx: Tx, found: AccountState) -> AccountState:
    """Return an account's current state; until the transaction ends, it is not connected first or disconnected."""
    if not await tx.all(UUID, "grant_steady", client_id=found.client_id, account_id=found.id):
        await tx.one(PlatformAccount, "account_hold", **found.named)
    now = await tx.one(AccountState, "accounts_states", **found.named, limit=2)
    if now.state == "disconnecting":
        step = "Wait until that has ended (`byokeep account show`), then connect again."
        raise Conflict("disconnecting", next_step=step)
    return now


def _allow(found: AccountState, lanes: frozenset[Lane]) -> None:
    """Check that the platform has these lanes, and that the account was verified, or registered by a person."""
    offered = {lane for one in PLATFORM_DESCRIPTORS.values() if one.provider is found.platform for lane in one.lanes}
    if not lanes <= offered:
        raise Rejected("lane_not_offered", next_step="This platform has: " + ", ".join(sorted(offered)) + ".")
    if lanes and found.state != "registered" and not found.verified:
        raise _not_verified(found)


async def _set_lanes(tx: Tx, actor: Actor, found: AccountState, policy: LanePolicy) -> None:
    lanes = sorted(lane.value for lane in LANES_OF[policy])
    await tx.one(PlatformAccount, "account_set_lanes", **found.named, lanes=lanes)
    await _record(tx, EventName.LANES_SET, actor, found, lanes=",".join(lanes))


async def ask_look(app: WebApp, actor: Actor, client_id: ClientId, *, where: str, account: str) -> AccountState:
    """Ask for an identity check now; the refresher makes it.

    Raises:
        Denied, NotFound: As :func:`get_state`.
        Conflict: ``account_not_connected``, ``disconnecting``.
    """
    found = await _find(app, actor, Verb.ACCOUNT_CONNECT, client_id, where, account)
    async with app.db.begin(client_id=client_id) as tx:
        found = await _steady(tx, found)
        if not await tx.maybe(UUID, "grant_ask_look", client_id=client_id, account_id=found.id):
            raise _not_connected(found)
        await tx.all(None, "connection_notify")
    return found


async def confirm_name(
    app: WebApp, actor: Actor, client_id: ClientId, *, where: str, account: str, username: str, display_name: str
) -> AccountState:
    """Make the names that the platform says now the expected ones.

    Args:
        username, display_name: The names that the person saw, as :func:`byokeep.core.identity.shown` prints them.

    Raises:
        Denied, NotFound: As :func:`get_state`.
        Conflict: ``nothing_to_confirm``; ``other_name``: the platform says another one by now.
    """
    found = await _find(app, actor, Verb.ACCOUNT_CONNECT, client_id, where, account)
    confirming = command(app, actor, Verb.ACCOUNT_CONNECT, client_id=client_id, object_id=found.id, on_client=True)
    async with confirming as tx:
        if not found.drift:
            raise Conflict("nothing_to_confirm", next_step="Nothing to do: the names are as expected.")
        said = (found.said_username, found.said_display_name)
        if (username, display_name) != tuple(shown(name) for name in said):
            raise Conflict("other_name", next_step="Run `byokeep account show` and confirm the names that it shows.")
        same = {"client_id": client_id, "username": said[0], "display_name": said[1]}
        if not await tx.maybe(UUID, "grant_confirm", account_id=found.id, **same):
            raise Conflict("other_name", next_step="Look again: `byokeep account show`.")
        names = {"username": said[0] or "", "display_name": said[1] or ""}
        await tx.one(PlatformAccount, "account_confirm", client_id=client_id, id=found.id, **names)
        await _record(tx, EventName.DRIFT_CONFIRMED, actor, found)
    return await _find(app, actor, Verb.ACCOUNT_CONNECT, client_id, where, account)


async def disconnect(
    app: WebApp, actor: Actor, client_id: ClientId, *, where: str, account: str, also: bool = False
) -> AccountState:
    """Stop the use of an account now; the refresher ends its grant at the platform and destroys its tokens.

    Args:
        also: Accounts that the same owner connected may end, too, if the platform ends all or nothing.

    Raises:
        Denied, NotFound: As :func:`get_state`.
        Conflict: ``account_not_connected``; ``others_end_too``, with their names in ``accounts``.
    """
    found = await _find(app, actor, Verb.ACCOUNT_CONNECT, client_id, where, account)
    async with app.db.begin(client_id=client_id) as tx:
        if not also:
            await _alone(tx, found)
        if not await tx.maybe(UUID, "grant_rest", client_id=client_id, account_id=found.id):
            raise _not_connected(found)
        for one in await tx.all(Connection, "connections_of", client_id=client_id, account_id=found.id):
            await drop_consent(tx, actor, one)
        for ref in await tx.all(refs.ref_from, "account_ref_any", client_id=client_id, account_id=found.id):
            await refs.move(tx, app, actor, ref, to=KeyState.DEACTIVATED, reason="disconnected")
        await _set_lanes(tx, actor, found, LanePolicy.OFF)
        await refs.tell_of_client(tx, app, actor, client_id, found.id)
        await tx.all(None, "connection_notify")
    return await _find(app, actor, Verb.ACCOUNT_CONNECT, client_id, where, account)


async def _alone(tx: Tx, found: AccountState) -> None:
    """Check that no other account of the client can end with this one."""
    known = PLATFORM_DESCRIPTORS.get(found.login or "")
    if known is None or known.oauth is None or not known.oauth.revokes_all:
        return
    same = {"client_id": found.client_id, "account_id": found.id}
    beside = await tx.all(str, "grants_beside", **same, login=known.id)
    if beside and found.state != "disconnected":
        step = "The platform ends the owner's whole consent. If the same person connected these accounts, they end too."
        raise Conflict("others_end_too", next_step=f"{step} If that is fine, add `--also`.", accounts=",".join(beside))


def ending_whole_consents(platforms: Iterable[str]) -> list[str]:
    """Return those of some platforms where the end of one account ends all that its owner consented to with our app."""
    whole = {one.provider.value for one in PLATFORM_DESCRIPTORS.values() if one.oauth and one.oauth.revokes_all}
    return sorted(whole & set(platforms))


async def _find(app: WebApp, actor: Actor, verb: Verb, client_id: ClientId, where: str, account: str) -> AccountState:
    async with command(app, actor, verb, client_id=client_id) as tx:
        named = {"client_id": client_id, "platform": platform_of(where).value, "account": account}
        return await tx.one(AccountState, "accounts_states", **named, limit=2)


def platform_of(where: str) -> Provider:
    """Return the platform that a word names: its own name, or a login's.

    Raises:
        Rejected: ``unknown_platform``.
    """
    if where in PLATFORM_DESCRIPTORS:
        return PLATFORM_DESCRIPTORS[where].provider
    if where in PLATFORMS:
        return Provider(where)
    known = sorted({*PLATFORM_DESCRIPTORS, *PLATFORMS})
    raise Rejected("unknown_platform", next_step="Name a platform or a login: " + ", ".join(known) + ".")


def _not_verified(found: AccountState) -> Conflict:
    step = "Connect the account first: `byokeep account connect`."
    if found.state == "connected" and found.superseded_at is not None:
        step = "Another consent may have ended its tokens. Check first: `byokeep account verify`."
    return Conflict("account_not_verified", next_step=step, state=found.state)


def _not_connected(found: AccountState) -> Conflict:
    step = "Connect the account first: `byokeep account connect`."
    return Conflict("account_not_connected", next_step=step, state=found.state)


async def _record(tx: Tx, name: EventName, actor: Actor, found: AccountState, **fields: Said) -> None:
    await found.record(tx, name, actor, login=found.login or None, **fields)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refresher:
    """A machine that has renewals in progress; ``gone`` = declared gone by a person, and nobody has taken them over."""

    owner: UUID
    renewals: int
    oldest_at: datetime
    newest_at: datetime
    gone: bool


async def list_refreshers(app: WebApp, actor: Actor) -> list[Refresher]:
    """Return the machines that have renewals in progress.

    Raises:
        Denied: ``not_permitted``.
    """
    async with command(app, actor, Verb.REFRESHER_READ) as tx:
        return await tx.all(Refresher, "refreshers_list")


async def declare_gone(app: WebApp, actor: Actor, owner: UUID, reason: str) -> int:
    """Declare that a machine will not come back, so that another takes over its renewals; returns how many there are.

    Args:
        owner: The owner of its slots, as :func:`list_refreshers` returns it.
        reason: A code, ``[a-z][a-z0-9_]*``.

    Raises:
        Denied: ``not_permitted``.
        NotFound: ``not_found``: it has nothing in progress.
        Rejected: ``bad_reason``.
        Conflict: ``refresher_alive``: it began a renewal within the last 15 minutes.
    """
    gone = EventName.REFRESHER_GONE
    async with command(app, actor, Verb.REFRESHER_GONE, object_id=owner, refused_as=gone) as tx:
        check_reason(reason, example="machine_lost")
        fresh = await tx.all(bool, "refresher_gone", owner=owner)
        if not fresh:
            raise NotFound("not_found", next_step="See `byokeep account refreshers`.")
        if any(fresh):
            raise Conflict("refresher_alive", next_step="Stop that machine, wait 15 minutes, then run this again.")
        await record(tx, actor, gone, object_id=owner, count=len(fresh), reason=reason)
    return len(fresh)
