"""SOP 5.2, the part of ``byokeep refresher``: from a code to a verified account.

Rules
- An answer is taken once, the oldest first. Code and verifier are read and destroyed before the code is shown to the
  platform, once. Many consents are finished side by side, at most half of them for one login.
- Nothing is stored before the scopes suffice, the account is known, its posts could be read, and it is nobody else's.
- What a first consent finds is the fingerprint. A later one must find the same account, and so must the first one of an
  account that a person registered, whose name is its id; another is quarantined and replaces nothing.
- The grant, the reference, the account's names, the records and the end of the consent are written in one transaction.
  ``platform_connected`` is said once, last, and only when the records before it prove the run (R5.2-13).
- A person's login is what the way back of a closed platform needs; its steps are stored here, in order. A consent that
  was begun before the platform was closed is none, and nothing of it is kept.
- What comes after a person disconnected is given back; what a login replaced is ended where that spares the new one.
- What a first consent verifies may do nothing yet: lanes that were set before are off again (R5.2-9).
- Whatever fails leaves the store as it was. A platform that keeps one grant may have ended the earlier one of whoever
  answered: each such account is marked in its own client, and where refresh tokens are one-time nothing acts through it
  until a renewal has proved that it lives. Nobody hears the name of another client's account.

It may not renew a token, nor say that an account may act: a lane is enabled by a person.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, TypeVar
from uuid import UUID

from byokeep.accounts import leftovers, model, refresh_journal
from byokeep.accounts.model import Connection, OAuthGrant, OurApp, PlatformAccount
from byokeep.accounts.refresher_app import AccountCustody, AppAt, Login, PlatformMore, Posts, RefresherApp, each
from byokeep.core.errors import ByokeepError, Conflict, Integrity, NotFound, Rejected, Unavailable
from byokeep.core.events import Event, EventName, FieldValue, Outcome
from byokeep.core.fault import Fault, FaultCause
from byokeep.core.identity import Face, Fingerprint, IdentityVerdict, Why, choose, compare, offer, printable
from byokeep.core.model import Actor, ClientId
from byokeep.core.reenable import IdentityChecked, Reauthorised, ScopesChecked
from byokeep.core.ref import SecretPart, SecretRef
from byokeep.core.refresh import ROTATING, alarm_at, due_at, reauth_at
from byokeep.core.secret import Secret
from byokeep.core.tokens import TokenSet, missing_scopes, wider_scopes
from byokeep.jobs import reenabling
from byokeep.kernel import sops
from byokeep.kernel.command import open_alert
from byokeep.kernel.ports import Tx, Written
from byokeep.kernel.rows import Row
from byokeep.kernel.sops import SopRun
from byokeep.tenancy import transfers
from byokeep.tenancy.clients import require_active
from byokeep.tenancy.scopes import hold_open
from byokeep.tenancy.transfers import TransferRequest
from byokeep.wire.tokens import pack_tokens

REASON: Final = "tokens_maybe_superseded"
Held = tuple[ClientId, UUID, str]


def _held(row: Row) -> Held:
    return ClientId(row["client_id"]), row["account_id"], str(row["account"])


async def suspect(
    app: RefresherApp, actor: Actor, one: Connection, login: Login, *, app_id: str, ids: Sequence[str]
) -> str:
    """Mark what lives of the accounts that answered a consent.

    Args:
        ids: Of the platform.

    Returns:
        This client's name of an account whose tokens may have ended, beside the one that was to be connected; empty
        when there is none, or it is another client's.

    Raises:
        Unavailable: The database.
    """
    ends, name = login.rules.model in ROTATING, ""
    async with app.db.begin(every_client=True) as tx:
        held = await tx.all(_held, "grants_answered", login=login.id, app_id=app_id, ids=list(ids))
    for client_id, account_id, account in held:
        async with app.db.begin(client_id=client_id) as tx:
            same = {"client_id": client_id, "account_id": account_id}
            if await tx.maybe(UUID, "grant_superseded", **same, ends=ends) is None or not ends:
                continue
            await tx.one(PlatformAccount, "account_seen", client_id=client_id, id=account_id, identity="unchecked")
            await tx.append(
                Event(name=EventName.ACCOUNT_VERIFIED, actor=actor, outcome=Outcome.FAILED, client_id=client_id,
                      object_id=account_id, fields={"verification": "unknown", "cause": "superseded",
                                                    "reason": REASON})
            )  # fmt: skip
            await open_alert(tx, app, actor, reason=REASON, client_id=client_id, object_id=account_id)
        if client_id == one.client_id and account_id != one.account_id:
            name = account
    return name


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedConsent:
    """What the platform said.

    Attributes:
        drift: How many names are not the expected ones.
        wider: Scopes that were never asked for.
        transfer: What must be approved, for another client had the account last; None where it had not.
    """

    tokens: TokenSet
    face: Face
    posts: Posts
    drift: int
    wider: str
    transfer: TransferRequest | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedTokens:
    """Where the store has them; ``access_version`` 0 = the access token alone is not there."""

    written: Written
    access_version: int


async def record(
    app: RefresherApp,
    one: Connection,
    account: PlatformAccount,
    login: Login,
    found: VerifiedConsent,
    placed: PlacedTokens,
    *,
    first: bool,
) -> int:
    """Write down a connected account; returns the version of the tokens that it replaced, 0 where none lived.

    Raises:
        Conflict: ``connection_over``; ``begun_before_close``; ``disconnected``; ``app_changed``; the account is
            another's (a unique index says so); ``account_was_elsewhere``: its transfer is used up or over.
        Integrity: ``evidence_missing``.
        Unavailable: Whether it happened is not known.
    """
    actor, face, version = app.system(one.request_id), found.face, placed.written.version
    ends = _Ends(login, found.tokens, one.account_id.bytes + version.to_bytes(4, "big"))
    async with app.db.begin(client_id=one.client_id) as tx:
        risk, had, replaced = await _begin(tx, app, actor, one, account, login, found, first=first)
        run = await tx.one(SopRun, "sop_lock", client_id=one.client_id, id=one.sop_id)
        await _transferred(tx, actor, found.transfer)
        write_seq = await _stored(tx, actor, one, account, placed, ends)
        verify_seq = await _verified(tx, app, actor, one, account, login, found, version, first=first)
        run = replace(run, version=version, write_seq=write_seq, verify_seq=verify_seq)
        if not sops.ready(await sops.status_of(tx, run)):
            raise Integrity("evidence_missing", sop=one.sop_id)
        await _put_grant(tx, one, account, found, placed, ends)
        await _put_ref(tx, app, one, account, version, ends, risk=risk)
        await tx.one(
            PlatformAccount, "account_named", client_id=one.client_id, id=account.id,
            username=account.username or face.username or "",
            display_name=account.display_name or face.display_name or "",
        )  # fmt: skip
        # After the rows, which it says; the grant names it, and the gate looks whether it is there.
        said: dict[str, FieldValue] = {"version": version, "account_id": app.digest(face.account_id)}
        done = await tx.append(model.consent_event(EventName.CONNECTED, Outcome.OK, actor, one, account, **said))
        await tx.one(UUID, "grant_connected", client_id=one.client_id, account_id=account.id, connected_seq=done.seq)
        await tx.one(
            sops.SopRun, "sop_connected", client_id=one.client_id, id=one.sop_id, version=version, write_seq=write_seq,
            verify_seq=verify_seq, done_seq=done.seq, store_request=placed.written.request_id,
        )  # fmt: skip
        await tx.all(None, "journal_end", client_id=one.client_id, account_id=account.id)
        await _end(tx, one)
        await _warn(tx, app, actor, one, account, found, emptied=had)
    return replaced or 0


async def _begin(
    tx: Tx, app: RefresherApp, actor: Actor, one: Connection, account: PlatformAccount, login: Login,
    found: VerifiedConsent, *,
    first: bool,
) -> tuple[str, bool, int | None]:  # fmt: skip
    """Take the locks that come before the client's chain.

    Returns:
        The client's risk, whether lanes were emptied, and the version of the tokens that this login replaces.
    """
    # A close waits for this transaction, or this one sees it.
    await hold_open(tx, [f"client:{one.client_id}:platform:{account.platform.value}"])
    if await reenabling.closed_since(tx, one.client_id, account.platform.value, one.started_at):
        raise Conflict("begun_before_close")
    await _same_app(tx, one, found.tokens)
    replaced = await _replaces(tx, one)
    client = await require_active(tx, one.client_id)
    had = await tx.one(int, "account_lanes_anew", client_id=one.client_id, id=account.id) if first else 0
    await _come_back(tx, app, actor, one, account, login, found)
    return client.risk.value, had > 0, replaced


async def _same_app(tx: Tx, one: Connection, tokens: TokenSet) -> None:
    """Let pass what came of our present app; from here on no other one is named.

    Raises:
        Conflict: ``app_changed``: the grant could never be renewed or ended.
    """
    await tx.all(None, "app_hold")
    ours = await tx.maybe(OurApp, "app_get", login=one.login)
    if ours is None or ours.app_id != tokens.app_id:
        raise Conflict("app_changed", next_step="Start the connection again.", login=one.login)


async def _replaces(tx: Tx, one: Connection) -> int | None:
    """Write down which version this login replaces. From here on nobody disconnects the account.

    Raises:
        Conflict: ``disconnected``: a person did so while the platform was asked.
    """
    held = await tx.maybe(
        refresh_journal.RenewableGrant, "refresh_grant_hold", client_id=one.client_id, account_id=one.account_id
    )
    now = await tx.one(Connection, "connection_lock", client_id=one.client_id, id=one.id)
    if now.reason == "disconnected":
        raise Conflict("disconnected", next_step="Start the connection again.", connection=one.id)
    version = None if held is None or held.state == "revoked" else held.version
    await tx.one(UUID, "connection_replaces", client_id=one.client_id, id=one.id, version=version)
    return version


async def _end(tx: Tx, one: Connection) -> None:
    ended = await tx.maybe(
        Connection, "connection_end", client_id=one.client_id, id=one.id, state="connected", reason="", code_points="",
        state_from="taken",
    )  # fmt: skip
    if ended is None:
        raise Conflict("connection_over", connection=one.id)


async def _transferred(tx: Tx, actor: Actor, wish: TransferRequest | None) -> None:
    """Use up the approvals of a transfer, where one is needed."""
    if wish is None:
        return
    used = await tx.all(UUID, "transfer_use", scope=wish.scope)
    if not used:
        raise Conflict("account_was_elsewhere")
    for approval in used:
        await tx.append(transfers.event(actor, wish.client_id, wish.login, approval, Outcome.OK))


class _Ends:
    """The times that follow from a token set."""

    def __init__(self, login: Login, tokens: TokenSet, seed: bytes) -> None:
        self.due: datetime | None = due_at(login.rules, tokens, seed=seed)
        self.reauth: datetime | None = reauth_at(login.rules, tokens)
        self.alarm: datetime | None = alarm_at(login.rules, tokens)


async def _stored(
    tx: Tx, actor: Actor, one: Connection, account: PlatformAccount, placed: PlacedTokens, ends: _Ends
) -> int:
    place = SecretRef(one.client_id, account.platform, SecretPart.TOKENS, account.id)
    fields: dict[str, FieldValue] = {
        "version": placed.written.version, "path": place.path, "store_request": placed.written.request_id,
    }  # fmt: skip
    fields |= {name: _stamp(at) for name, at in (("due_at", ends.due), ("reauth_at", ends.reauth)) if at is not None}
    event = model.consent_event(EventName.TOKENS_STORED, Outcome.OK, actor, one, account, **fields)
    return (await tx.append(event)).seq


async def _verified(
    tx: Tx, app: RefresherApp, actor: Actor, one: Connection, account: PlatformAccount, login: Login,
    found: VerifiedConsent,
    version: int, *, first: bool,
) -> int:  # fmt: skip
    observed = app.digest(found.face.account_id)
    fields: dict[str, FieldValue] = {
        "version": version, "verification": "drift" if found.drift else "first" if first else "match",
        "endpoint": login.endpoint, "observed_id": observed, "expected_id": observed, "count": found.posts.count,
    }  # fmt: skip
    if found.posts.newest_id is not None:
        fields["newest"] = app.digest(found.posts.newest_id)
    if found.wider:
        fields["wider"] = found.wider
    verified = model.consent_event(EventName.ACCOUNT_VERIFIED, Outcome.OK, actor, one, account, **fields)
    return (await tx.append(verified)).seq


async def _put_grant(
    tx: Tx, one: Connection, account: PlatformAccount, found: VerifiedConsent, placed: PlacedTokens, ends: _Ends
) -> None:
    tokens, face = found.tokens, found.face
    await tx.one(
        model.OAuthGrant, "grant_put", client_id=one.client_id, account_id=account.id,
        provider=account.platform.value, login=one.login,
        app_id=tokens.app_id, external_id=face.account_id, username=face.username, display_name=face.display_name,
        link=face.link, version=placed.written.version, access_version=placed.access_version,
        purposes=list(one.purposes), scopes=list(tokens.scopes or ()), obtained_by=one.started_by,
        obtained_at=tokens.obtained_at, access_expires_at=tokens.access_expires_at,
        refresh_expires_at=tokens.refresh_expires_at, consent_expires_at=tokens.consent_expires_at,
        reauth_at=ends.reauth, alarm_at=ends.alarm, due_at=ends.due, drift=bool(found.drift),
    )  # fmt: skip


async def _put_ref(
    tx: Tx, app: RefresherApp, one: Connection, account: PlatformAccount, version: int, ends: _Ends, *, risk: str
) -> None:
    same: dict[str, Any] = {"client_id": one.client_id, "version": version, "due_at": ends.reauth}
    live = await tx.maybe(
        lambda row: UUID(str(row["id"])), "account_ref_live", client_id=one.client_id, account_id=account.id
    )
    if live is not None:
        await tx.one(lambda row: UUID(str(row["id"])), "account_ref_renew", id=live, **same)
        return
    place = SecretRef(one.client_id, account.platform, SecretPart.TOKENS, account.id)
    await tx.one(
        lambda row: UUID(str(row["id"])), "account_ref_insert", id=app.ids.uuid(), provider=account.platform.value,
        environment=app.environment.value,
        secret_ref=str(place), risk=risk, created_by=one.started_by, account_id=account.id, **same,
    )  # fmt: skip


async def _warn(
    tx: Tx,
    app: RefresherApp,
    actor: Actor,
    one: Connection,
    account: PlatformAccount,
    found: VerifiedConsent,
    *,
    emptied: bool,
) -> None:
    if emptied:
        await tx.append(_off(actor, one, account))
    if found.drift:
        fields: dict[str, FieldValue] = {
            "platform": account.platform.value, "login": one.login, "count": found.drift, "sop": str(one.sop_id),
        }  # fmt: skip
        await tx.append(
            Event(name=EventName.ACCOUNT_DRIFTED, actor=actor, outcome=Outcome.OK, client_id=one.client_id,
                  object_id=account.id, fields=fields)
        )  # fmt: skip
    for reason, holds in (("account_name_changed", found.drift), ("scopes_wider", found.wider)):
        if holds:
            await open_alert(
                tx, app, actor, reason=reason, severity="warning", client_id=one.client_id, object_id=account.id
            )


async def _lacking(tx: Tx, one: Connection, login: Login, found: VerifiedConsent) -> frozenset[str]:
    """Return what the account was for before and can not do with what was granted now."""
    before = await tx.maybe(OAuthGrant, "grant_of", client_id=one.client_id, account_id=one.account_id)
    granted = frozenset(found.tokens.scopes or ())
    return frozenset(what for what in (before.purposes if before else ()) if not set(login.needed[what]) <= granted)


def _off(actor: Actor, one: Connection, account: PlatformAccount) -> Event:
    fields: dict[str, FieldValue] = {
        "platform": account.platform.value, "login": one.login, "sop": str(one.sop_id), "lanes": "",
    }  # fmt: skip
    return Event(
        name=EventName.LANES_SET, actor=actor, outcome=Outcome.OK, client_id=one.client_id, object_id=account.id,
        fields=fields,
    )  # fmt: skip


async def _come_back(
    tx: Tx,
    app: RefresherApp,
    actor: Actor,
    one: Connection,
    account: PlatformAccount,
    login: Login,
    found: VerifiedConsent,
) -> None:
    """Take the steps that a person's login is on the way back of a closed platform, if it is the last one missing."""
    platform = account.platform.value
    person = await reenabling.is_person(tx, one.client_id, one.started_by)
    if await tx.one(int, "grants_without_person", client_id=one.client_id, provider=platform, account_id=account.id):
        await reenabling.refuse_machine(tx, one.client_id, platform, by_person=person)
        return
    lacking = await _lacking(tx, one, login, found)
    steps = (Reauthorised(by_person=person), IdentityChecked(matches=True), ScopesChecked(missing=lacking))
    for step in steps:
        await reenabling.step(tx, app, actor, one.client_id, platform, step, account_id=account.id)


def _stamp(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


_OPEN_TRIES: Final = 5
_WRITE_TRIES: Final = 3
_NAMES: Final = 100  # characters of a list of scopes on record
_NOT_CHOSEN: Final = {
    Why.NO_ACCOUNT.value: "no_account", Why.SEVERAL_ACCOUNTS.value: "several_accounts",
    Why.OTHER_ID.value: "pick_not_there",
}  # fmt: skip
_PICKABLE: Final = frozenset({"several_accounts", "pick_not_there"})
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentCase:
    """Everything that is known of a consent before the platform is asked.

    Attributes:
        grant: What the tokens that are there came by; None where none live.
        past: The grant that somebody ended, None where there is none.
    """

    one: Connection
    account: PlatformAccount
    ours: OurApp
    login: Login
    grant: OAuthGrant | None
    past: OAuthGrant | None
    actor: Actor

    def place(self, part: SecretPart) -> SecretRef:
        """Return a part of the account."""
        return SecretRef(self.one.client_id, self.account.platform, part, self.account.id)


async def finish(app: RefresherApp, one: Connection) -> str:
    """Finish a consent that was taken; returns the state it ended in, or ``taken`` when nobody can tell."""
    case = await _case(app, one)
    if case is None:
        return "failed"
    try:
        await _with_custody(app, case)
        state = "connected"
    except ByokeepError as error:
        state = await _failed(app, case, error)
    except Exception:
        await _failed(app, case, Integrity("failed_unforeseen"))
        raise
    with suppress(ByokeepError):  # an open job ends by itself
        await app.custodian.close(one.job_id)
    return state


async def _case(app: RefresherApp, one: Connection) -> ConsentCase | None:
    actor = app.system(one.request_id)
    async with app.db.begin(client_id=one.client_id) as tx:
        account = await tx.one(PlatformAccount, "account_of", client_id=one.client_id, id=one.account_id)
        ours = await tx.maybe(OurApp, "app_get", login=one.login)
        grant = await tx.maybe(OAuthGrant, "grant_of", client_id=one.client_id, account_id=one.account_id)
        login = app.logins.get(one.login)
        if ours is None or login is None:
            await model.end_consent(tx, actor, one, account, to="failed", reason="unknown_login")
            return None
    live = grant is not None and grant.state != "revoked"
    return ConsentCase(
        one=one, account=account, ours=ours, login=login, grant=grant if live else None, past=None if live else grant,
        actor=actor,
    )  # fmt: skip


async def _with_custody(app: RefresherApp, case: ConsentCase) -> None:
    for attempt in range(_OPEN_TRIES):
        try:
            async with app.custodian.open(case.one.job_id) as custody:
                await _connect(app, case, custody)
                return
        except Unavailable:
            # Only what was never begun may begin again: a code is shown once.
            if attempt == _OPEN_TRIES - 1 or not await _untouched(app, case):
                raise
        await asyncio.sleep(1)


async def _untouched(app: RefresherApp, case: ConsentCase) -> bool:
    """Whether the code still lies in the store, so that nothing was sent."""
    try:
        async with app.custodian.open(case.one.job_id) as custody:
            place = case.place(SecretPart.CODE)
            (await custody.read(place, await custody.newest(place))).wipe()
    except Unavailable:
        return True  # the store or broker is away: ask again when it is back
    except ByokeepError:
        return False
    return True


async def _connect(app: RefresherApp, case: ConsentCase, custody: AccountCustody) -> None:
    code, verifier = await _take_secrets(case, custody)
    version, secret = case.ours.secret_version, None
    try:
        if version:
            secret = await custody.app_secret(case.account.platform, case.one.login, version)
        at = AppAt(
            login=case.one.login, app_id=case.ours.app_id, redirect_uri=case.one.redirect_uri, secret_version=version
        )
        platform = app.platform(at, secret)
        tokens = _got(await platform.exchange(code, verifier, by=case.one.started_by), "exchange_refused")
        seen: list[Face] = []
        try:
            try:
                found = await _ask(app, case, platform, tokens, seen)
                replaced = await _store(app, case, custody, found)
            except Exception:
                await _suspect(app, case, platform, tokens, seen)
                await leftovers.give_back(app, case.one, case.account, platform, tokens)
                raise
            if replaced:
                await leftovers.end_replaced(
                    app, case.login, case.one, case.account, custody, platform, version=replaced
                )
        finally:
            tokens.wipe()
    finally:
        for value in (code, verifier, secret):
            if value is not None:
                value.wipe()


async def _suspect(
    app: RefresherApp, case: ConsentCase, platform: PlatformMore, tokens: TokenSet, seen: Sequence[Face]
) -> None:
    """Have the account looked at that answered: where a platform keeps one grant, this consent has ended its tokens."""
    with suppress(Exception):  # the consent fails by what it failed by
        faces = seen or await platform.identify(tokens)
        ids = [] if isinstance(faces, Fault) else [face.account_id for face in faces if face.account_id]
        if not ids and case.grant is not None:  # nobody says who answered: most likely who was meant
            ids = [case.grant.external_id]
        name = await suspect(app, case.actor, case.one, case.login, app_id=case.ours.app_id, ids=ids)
        if name:
            await _tell(app, case, held_as=name)


async def _take_secrets(case: ConsentCase, custody: AccountCustody) -> tuple[Secret, Secret | None]:
    """Read code and verifier, and destroy both: whatever happens from here on, they open nothing again."""
    read: list[Secret] = []
    for part in (SecretPart.CODE, SecretPart.VERIFIER):
        place = case.place(part)
        newest = await custody.newest(place)
        if newest:
            with suppress(NotFound):  # a verifier of an earlier consent, where this login has none
                read.append(await custody.read(place, newest))
                await custody.destroy(place, list(range(max(1, newest - 9), newest + 1)))
        if part is SecretPart.CODE and not read:
            raise Integrity("code_missing", next_step="Start the connection again.")
    return read[0], read[1] if len(read) > 1 else None


async def _ask(
    app: RefresherApp, case: ConsentCase, platform: PlatformMore, tokens: TokenSet, seen: list[Face]
) -> VerifiedConsent:
    """Ask the platform everything that decides, read-only; ``seen`` gets the accounts that answered."""
    granted = _got(await platform.granted(tokens), "scopes_unchecked")
    if granted is None:
        raise Rejected("scopes_unknown", cause=FaultCause.MISSING_SCOPE.value)
    tokens = replace(tokens, scopes=granted)
    asked = case.login.scopes_for(case.one.purposes)
    if lacking := missing_scopes(tokens, asked):
        raise Rejected("missing_scope", cause=FaultCause.MISSING_SCOPE.value, missing=listed(lacking))
    tokens = replace(tokens, consent_expires_at=_got(await platform.consent_end(tokens), "consent_end_unchecked"))
    faces = _got(await platform.identify(tokens), "identity_unchecked")
    seen += faces
    try:
        face, drift = _who(case, faces)
    except Rejected as error:
        if case.login.several_allowed and _reason(error) in _PICKABLE:
            await _tell(app, case, offered=offer(faces))
        raise
    if not printable(face):
        raise Rejected("name_not_printable", next_step="Have its owner change the name of the account.")
    posts = _got(await platform.look(tokens, face), "posts_unreadable")
    async with app.db.begin(every_client=True) as tx:
        taken, ours = await tx.one(
            lambda row: (int(row["found"]), str(row["ours"] or "")), "grant_taken", login=case.one.login,
            external_id=face.account_id, client_id=case.one.client_id,
            account_id=case.account.id,
        )  # fmt: skip
        elsewhere = await tx.one(
            bool, "grant_elsewhere", login=case.one.login, external_id=face.account_id, client_id=case.one.client_id
        )
        if not taken and elsewhere and not await tx.one(int, "transfer_live", scope=_wish(case, face).scope):
            raise Conflict("account_was_elsewhere")
    if ours:
        await _tell(app, case, held_as=ours)
    if taken:
        raise Conflict("already_connected" if ours else "account_taken")
    return VerifiedConsent(
        tokens=tokens, face=face, posts=posts, drift=drift, wider=listed(wider_scopes(tokens, asked)),
        transfer=_wish(case, face) if elsewhere else None,
    )  # fmt: skip


async def _tell(app: RefresherApp, case: ConsentCase, *, held_as: str = "", offered: tuple[str, ...] = ()) -> None:
    """Keep for who began it what he needs to begin otherwise. It is foreign text, and gets into no record or error."""
    async with app.db.begin(client_id=case.one.client_id) as tx:
        await tx.maybe(
            UUID, "connection_told", client_id=case.one.client_id, id=case.one.id, held_as=held_as,
            offered=list(offered)
        )  # fmt: skip


def _wish(case: ConsentCase, face: Face) -> TransferRequest:
    return TransferRequest(client_id=case.one.client_id, login=case.one.login, external_id=face.account_id)


def _who(case: ConsentCase, faces: tuple[Face, ...]) -> tuple[Face, int]:
    """Return the account, and how many of its names are not the expected ones."""
    expected = _expected(case)
    if expected is None:
        chosen = choose(faces, wanted=case.one.wanted)
        if not isinstance(chosen, Face):
            raise Rejected("account_not_chosen", cause=chosen.value)
        if len(faces) > 1 and not case.login.several_allowed:
            raise Rejected("account_not_chosen", cause="several_accounts")
        expected = replace(_named(case), account_id=chosen.account_id)
    elif case.one.wanted not in (None, expected.account_id):
        raise Rejected("pick_is_another_account")
    seen = compare(expected, faces, app_id=case.ours.app_id, several_allowed=case.login.several_allowed)
    if seen.verdict is IdentityVerdict.MISMATCH:
        raise Conflict("other_account", cause=seen.why.value, code_points=",".join(seen.code_points) or None)
    face = next(face for face in faces if face.account_id == expected.account_id)
    return face, len(seen.changed)


def _named(case: ConsentCase) -> Fingerprint:
    account = case.account
    return Fingerprint(
        account_id="", username=account.username or None, display_name=account.display_name or None,
        app_id=case.ours.app_id,
    )  # fmt: skip


def _expected(case: ConsentCase) -> Fingerprint | None:
    """Return whom the platform must name; None where its answer is what the fingerprint is taken of."""
    named = _named(case)
    if case.grant is not None:
        return replace(named, account_id=case.grant.external_id, app_id=case.grant.app_id)
    if case.past is None:  # a person's names without a consent: registered by hand, under the platform's id
        return replace(named, account_id=case.account.account) if named.username else None
    # One that was ended comes back as itself; under another login or app of ours its id says nothing.
    same = (case.past.login, case.past.app_id) == (case.one.login, case.ours.app_id)
    return replace(named, account_id=case.past.external_id) if same else None


async def _store(app: RefresherApp, case: ConsentCase, custody: AccountCustody, found: VerifiedConsent) -> int:
    """Put the tokens into the store, and on record in one transaction; without the record they are destroyed.

    Returns the version that they replaced, 0 where none lived.
    """
    placed = await _place(case, custody, found.tokens)
    try:
        return await record(app, case.one, case.account, case.login, found, placed, first=case.grant is None)
    except Exception as error:
        if isinstance(error, ByokeepError) and not isinstance(error, Unavailable):
            await _unplace(case, custody, placed)
            if isinstance(error, Conflict) and "one_client" in str(error.fields.get("constraint", "")):
                raise Conflict("account_taken") from None
            raise
        # The commit may have happened. Who can not look leaves it to the sweep, which destroys what has no record.
        async with app.db.begin(client_id=case.one.client_id) as tx:
            now = await tx.one(Connection, "connection_get", client_id=case.one.client_id, id=case.one.id)
        if now.state != "connected":
            await _unplace(case, custody, placed)
            raise
        return now.replaces or 0


async def _place(case: ConsentCase, custody: AccountCustody, tokens: TokenSet) -> PlacedTokens:
    place, access = case.place(SecretPart.TOKENS), case.place(SecretPart.ACCESS)
    packed = pack_tokens(tokens)
    try:
        written = await _write(custody, place, packed)
    finally:
        packed.wipe()
    try:
        opened = await custody.write(access, tokens.access, cas=await custody.newest(access))
    except Exception:
        await _unplace(case, custody, PlacedTokens(written=written, access_version=0))
        raise
    return PlacedTokens(written=written, access_version=opened.version)


async def _write(custody: AccountCustody, place: SecretRef, value: Secret) -> Written:
    """Write the next version, whatever a renewal of the grant that this one replaces did meanwhile."""
    for _ in range(_WRITE_TRIES - 1):
        with suppress(Conflict):
            return await custody.write(place, value, cas=await custody.newest(place))
    return await custody.write(place, value, cas=await custody.newest(place))


async def _unplace(case: ConsentCase, custody: AccountCustody, placed: PlacedTokens) -> None:
    await custody.destroy(case.place(SecretPart.TOKENS), [placed.written.version])
    if placed.access_version:
        await custody.destroy(case.place(SecretPart.ACCESS), [placed.access_version])


async def _failed(app: RefresherApp, case: ConsentCase, error: ByokeepError) -> str:
    """End the consent, on record; where another account answered, for people to look at."""
    quarantine = error.code == "other_account"
    said: dict[str, FieldValue] = {}
    for name in ("cause", "code_points", "http_status", "missing"):
        value = error.fields.get(name)
        if value is not None:
            said[name] = value
    async with app.db.begin(client_id=case.one.client_id) as tx:
        to = "quarantined" if quarantine else "failed"
        if not await model.end_consent(tx, case.actor, case.one, case.account, to=to, reason=_reason(error), **said):
            now = await tx.one(Connection, "connection_get", client_id=case.one.client_id, id=case.one.id)
            return now.state
        if quarantine:
            fields = {name: said[name] for name in ("cause", "code_points") if name in said}
            await tx.append(
                model.consent_event(
                    EventName.ACCOUNT_QUARANTINED, Outcome.FAILED, case.actor, case.one, case.account, **fields
                )
            )
        if quarantine or error.code in ("account_taken", "account_was_elsewhere"):
            await open_alert(
                tx, app, case.actor, reason=error.code, client_id=case.one.client_id, object_id=case.account.id,
                code_points=str(said.get("code_points", "")),
            )  # fmt: skip
    return to


def _reason(error: ByokeepError) -> str:
    """Return the reason as people read it: what there was to choose from differs in what to do."""
    if error.code != "account_not_chosen":
        return error.code
    return _NOT_CHOSEN.get(str(error.fields.get("cause", "")), error.code)


def _got(found: T | Fault, code: str) -> T:
    """Return what was asked for, or refuse with what the platform's refusal means."""
    if isinstance(found, Fault):
        raise Rejected(code, cause=found.cause.value, http_status=found.http_status)
    return found


def listed(scopes: frozenset[str]) -> str:
    """Return scopes as a record may carry them: the last part of each, at most 100 characters, then ``+``."""
    names = sorted({"".join(c for c in scope.rpartition("/")[2] if c.isalnum() or c in "_.:-") for scope in scopes})
    text = ",".join(name for name in names if name).lower().lstrip("_.:-,")
    return text if len(text) <= _NAMES else text[:_NAMES].rpartition(",")[0] + ",+"


MOST: Final = 16  # consents that are finished side by side
SHARE: Final = MOST // 2  # of these, for one login


class ConsentTasks:
    """What this process has taken and not finished.

    Args:
        app: The refresher's ports.
    """

    def __init__(self, app: RefresherApp) -> None:
        self._app = app
        self._running: dict[asyncio.Task[None], str] = {}

    async def start_answered(self) -> int:
        """Take the consents that were answered and begin to finish them; returns how many.

        Raises:
            Unavailable: The database is away.
        """
        started = 0
        while len(self._running) < MOST:
            full = [login for login, count in Counter(self._running.values()).items() if count >= SHARE]
            async with self._app.db.begin(every_client=True) as tx:
                one = await tx.maybe(model.Connection, "connection_take", full=full)
            if one is None:
                break
            task = asyncio.create_task(self._finish(one))
            self._running[task] = one.login
            task.add_done_callback(self._running.pop)
            started += 1
        return started

    async def settle(self) -> None:
        """Wait until nothing is under way."""
        while self._running:
            await asyncio.wait(self._running)

    async def drain(self, within_s: float) -> int:
        """Wait for what is under way; returns how many did not end in time."""
        if self._running:
            await asyncio.wait(self._running, timeout=within_s)
        return len(self._running)

    async def _finish(self, one: Connection) -> None:
        await each(self._app, self._app.apart, "consent_finish", [one], lambda taken: finish(self._app, taken))
