"""What is written down when an account was connected: everything in one transaction, or nothing.

Rules
- The grant, the reference, the account's names, the records and the end of the consent stand or fall together.
- ``platform_connected`` is said once, last, and only when the records before it prove the run (R5.2-13).
- A person's login is what the way back of a closed platform needs; its steps are stored here, in order. A consent that
  was begun before the platform was closed is none, and nothing of it is kept.
- What a person disconnected meanwhile is not recorded any more.
- What a first consent verifies may do nothing yet: lanes that were set before are off again (R5.2-9).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from byokeep.accounts import connections, refresh_book
from byokeep.accounts.accounts import PlatformAccount
from byokeep.accounts.apps import OurApp
from byokeep.accounts.connections import Connection, OAuthGrant
from byokeep.accounts.refresher_app import Login, Posts, RefresherApp
from byokeep.core.errors import Conflict, Integrity
from byokeep.core.events import Event, EventName, FieldValue, Outcome
from byokeep.core.identity import Face
from byokeep.core.model import Actor
from byokeep.core.reenable import IdentityChecked, Reauthorised, ScopesChecked
from byokeep.core.ref import SecretPart, SecretRef
from byokeep.core.refresh import alarm_at, due_at, reauth_at
from byokeep.core.tokens import TokenSet
from byokeep.jobs import reenabling
from byokeep.kernel import sops
from byokeep.kernel.command import open_alert
from byokeep.kernel.ports import Tx, Written
from byokeep.kernel.sops import SopRun
from byokeep.tenancy import transfers
from byokeep.tenancy.clients import require_active
from byokeep.tenancy.scopes import hold_open
from byokeep.tenancy.transfers import TransferRequest


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
        done = await tx.append(connections.event(EventName.CONNECTED, Outcome.OK, actor, one, account, **said))
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
        refresh_book.RenewableGrant, "refresh_grant_hold", client_id=one.client_id, account_id=one.account_id
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
    event = connections.event(EventName.TOKENS_STORED, Outcome.OK, actor, one, account, **fields)
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
    verified = connections.event(EventName.ACCOUNT_VERIFIED, Outcome.OK, actor, one, account, **fields)
    return (await tx.append(verified)).seq


async def _put_grant(
    tx: Tx, one: Connection, account: PlatformAccount, found: VerifiedConsent, placed: PlacedTokens, ends: _Ends
) -> None:
    tokens, face = found.tokens, found.face
    await tx.one(
        connections.OAuthGrant, "grant_put", client_id=one.client_id, account_id=account.id,
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
