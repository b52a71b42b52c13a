"""SOP 5.2, the part of ``byokeep refresher``: from a code to a verified account.

Rules
- An answer is taken once, the oldest first. Code and verifier are read and destroyed before the code is shown to the
  platform, once. Many consents are finished in parallel, at most half of them for one login.
- Nothing is stored unless the scopes suffice, the account is known, its posts could be read, and it is nobody else's.
- The first consent sets the fingerprint. A later one must find the same account. So must the first one of an account
  that a person registered, whose name is its id. Another account is quarantined and replaces nothing.
- The grant, the reference, the account's names, the records and the end of the consent are written in one transaction.
  ``platform_connected`` is recorded once, last, and only if the records before it prove the run (R5.2-13).
- A closed platform comes back only through a person's login; its steps are stored here, in order. A consent that was
  started before the platform was closed does not count, and nothing of it is kept.
- Tokens that come after a person disconnected are given back. What a login replaced is ended if that spares the new
  one.
- An account that was verified for the first time may not act yet: lanes that were set before are off again (R5.2-9).
- Whatever fails leaves the store as it was. A platform that keeps one grant may have ended an earlier grant of the
  account that answered. Each such account is marked in its own client; if refresh tokens are one-time, nothing acts
  through it until a renewal has proved that its grant is live. Nobody is told the name of another client's account.

It may not renew a token, or enable an account to act: a person enables a lane.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar
from uuid import UUID

from byokeep.accounts import leftovers
from byokeep.accounts.model import Connection, OAuthGrant, OurApp, PlatformAccount, end_consent, record_consent
from byokeep.accounts.refresh_journal import ends_of
from byokeep.accounts.refresher_app import RefresherApp, UnderWay, asked, each, identified, is_gone, kept, write_tokens
from byokeep.core.errors import ByokeepError, Conflict, Integrity, NotFound, Rejected, Unavailable
from byokeep.core.events import EventName, Outcome
from byokeep.core.evidence import CONNECTED, IDENTITY, WRITE
from byokeep.core.fault import Fault, FaultCause
from byokeep.core.identity import Face, Fingerprint, IdentityVerdict, Why, choose, compare, offer, printable
from byokeep.core.model import Actor, ClientId
from byokeep.core.reenable import IdentityChecked, Reauthorised, ScopesChecked
from byokeep.core.ref import SecretPart, SecretRef
from byokeep.core.refresh import ROTATING
from byokeep.core.secret import Secret
from byokeep.core.tokens import TokenSet, missing_scopes, wider_scopes
from byokeep.jobs import reenabling
from byokeep.kernel import sops
from byokeep.kernel.app import App
from byokeep.kernel.command import Said
from byokeep.kernel.ports import Receipt, Tx, ValueCustody, Written
from byokeep.kernel.sops import SopRun
from byokeep.platforms.client import PlatformClient, Posts
from byokeep.platforms.descriptor import OAuth, ScopePurpose
from byokeep.tenancy import clients
from byokeep.tenancy.clients import TransferRequest, require_active
from byokeep.tenancy.scopes import hold_open

MOST: Final = 16  # consents that are finished in parallel
SHARE: Final = MOST // 2  # of these, for one login
SUPERSEDED: Final = "tokens_maybe_superseded"
_OPEN_TRIES: Final = 5
_WRITE_TRIES: Final = 3
_NAMES: Final = 100  # characters of a list of scopes in a record
_NOT_CHOSEN: Final = {
    Why.NO_ACCOUNT.value: "no_account", Why.SEVERAL_ACCOUNTS.value: "several_accounts",
    Why.OTHER_ID.value: "pick_not_there",
}  # fmt: skip
_PICKABLE: Final = frozenset({"several_accounts", "pick_not_there"})
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedConsent:
    """What the platform said.

    Attributes:
        drift: How many names are not the expected ones.
        wider: Scopes that were never asked for.
        transfer: What must be approved if another client had the account last; None if none had.
    """

    tokens: TokenSet
    face: Face
    posts: Posts
    drift: int
    wider: str
    transfer: TransferRequest | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedTokens:
    """Where the store has the tokens; ``access_version`` 0 = the separate access token is not there."""

    written: Written
    access_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentCase:
    """Everything that is known about a consent before the platform is asked.

    Attributes:
        grant: The grant of the existing tokens; None if none is live.
        past: The grant that somebody ended; None if there is none.
    """

    one: Connection
    account: PlatformAccount
    ours: OurApp
    login: OAuth
    grant: OAuthGrant | None
    past: OAuthGrant | None
    actor: Actor

    @property
    def client_id(self) -> ClientId:
        """Whose consent this is."""
        return self.one.client_id

    @property
    def platform(self) -> str:
        """The platform's name."""
        return self.account.platform.value

    async def record(self, tx: Tx, name: EventName, outcome: Outcome = Outcome.OK, /, **fields: Said) -> Receipt:
        """Append a record about the consent."""
        return await record_consent(tx, name, outcome, self.actor, self.one, self.account, **fields)

    async def record_short(self, tx: Tx, name: EventName, **fields: Said) -> None:
        """Append a record about the account that names only the consent's run."""
        about = {"platform": self.platform, "login": self.one.login}
        await self.one.record(tx, name, Outcome.OK, self.actor, sop=self.one.sop_id, **about, **fields)

    def transfer_of(self, face: Face) -> TransferRequest:
        """Return what must be approved if another client had the account last."""
        return TransferRequest(client_id=self.client_id, login=self.one.login, external_id=face.account_id)


class ConsentTasks(UnderWay[str]):
    """The consents that this process has taken and not finished, by login.

    Args:
        app: The refresher's ports.
    """

    def __init__(self, app: RefresherApp) -> None:
        super().__init__()
        self._app = app

    async def start_answered(self) -> int:
        """Take the consents that were answered and begin to finish them; returns how many.

        Raises:
            Unavailable: The database cannot be reached.
        """
        started = 0
        while len(self._running) < MOST:
            full = [login for login, count in Counter(self._running.values()).items() if count >= SHARE]
            async with self._app.db.begin(every_client=True) as tx:
                one = await tx.maybe(Connection, "connection_take", full=full)
            if one is None:
                break
            self._start(one.login, self._finish(one))
            started += 1
        return started

    async def _finish(self, one: Connection) -> None:
        await each(self._app, "consent_finish", [one], lambda taken: finish(self._app, taken))


async def finish(app: RefresherApp, one: Connection) -> str:
    """Finish a consent that was taken; returns the state in which it ended, or ``taken`` if nobody can tell."""
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
        grant = await tx.maybe(OAuthGrant, "grant_of", **one.ids)
        login = app.logins.get(one.login)
        if ours is None or login is None:
            await end_consent(tx, actor, one, account, to="failed", reason="unknown_login")
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
            # Try again only if nothing was begun: a code is shown once.
            if attempt == _OPEN_TRIES - 1 or not await _untouched(app, case):
                raise
        await asyncio.sleep(1)


async def _untouched(app: RefresherApp, case: ConsentCase) -> bool:
    """Whether the code is still in the store, so that nothing was sent."""
    place = case.account.place(SecretPart.CODE)
    try:
        async with app.custodian.open(case.one.job_id) as custody:
            (await custody.read(place, await custody.newest(place))).wipe()
    except ByokeepError as error:  # the store or broker cannot be reached: ask again when it can
        return isinstance(error, Unavailable) and not is_gone(error)
    return True


async def _connect(app: RefresherApp, case: ConsentCase, custody: ValueCustody) -> None:
    code, verifier = await _take_secrets(case, custody)
    try:
        ours = replace(case.ours, redirect_uri=case.one.redirect_uri)
        async with asked(app, custody, case.account.platform, ours) as platform:
            with await _exchanged(app, case, platform, code, verifier) as tokens:
                replaced = await _verify_and_store(app, case, custody, platform, tokens)
                if replaced:
                    await leftovers.end_replaced(
                        app, case.login, case.one, case.account, custody, platform, version=replaced
                    )
    finally:
        for value in (code, verifier):
            if value is not None:
                value.wipe()


async def _exchanged(
    app: RefresherApp, case: ConsentCase, platform: PlatformClient, code: Secret, verifier: Secret | None
) -> TokenSet:
    """Return the tokens for a code. If they may have come and nobody has them, the existing ones may have ended."""
    try:
        found = await platform.exchange(code, verifier, by=case.one.started_by)
    except Integrity:
        await _suspect(app, case, platform, None, ())
        raise
    if isinstance(found, Fault) and found.lost:
        await _suspect(app, case, platform, None, ())
    return _got(found, "exchange_refused")


async def _verify_and_store(
    app: RefresherApp, case: ConsentCase, custody: ValueCustody, platform: PlatformClient, tokens: TokenSet
) -> int:
    """Return the version that the tokens replaced, 0 if none was live. If it fails, nothing of them is left."""
    seen: list[Face] = []
    try:
        return await _store(app, case, custody, await _ask(app, case, platform, tokens, seen))
    except Exception:
        await _suspect(app, case, platform, tokens, seen)
        await leftovers.give_back(app, case.one, case.account, platform, tokens)
        raise


async def _suspect(
    app: RefresherApp, case: ConsentCase, platform: PlatformClient, tokens: TokenSet | None, seen: Sequence[Face]
) -> None:
    """Have the account that answered checked: if the platform keeps one grant, this consent has ended its tokens."""
    with suppress(Exception):  # the consent fails with its own error
        faces = seen or (await identified(case.login, platform, tokens) if tokens else ())
        ids = [] if isinstance(faces, Fault) else [face.account_id for face in faces if face.account_id]
        if not ids and case.grant is not None:  # nobody says who answered: most likely the expected account
            ids = [case.grant.external_id]
        if name := await _mark_superseded(app, case, ids):
            await _tell(app, case, held_as=name)


async def _mark_superseded(app: RefresherApp, case: ConsentCase, ids: list[str]) -> str:
    """Mark the live grants of the accounts that answered a consent, by the platform's ids.

    Returns:
        This client's name of an account whose tokens may have ended, other than the one to be connected; empty if there
        is none, or if it is another client's.

    Raises:
        Unavailable: The database.
    """
    ends, name = case.login.refresh_rules.model in ROTATING, ""
    answered = {"login": case.one.login, "app_id": case.ours.app_id, "ids": ids}
    for row in await app.db.read(dict, "grants_answered", answered, every_client=True):
        client_id, account_id = row["client_id"], row["account_id"]
        async with app.db.begin(client_id=client_id) as tx:
            told = await superseded(tx, app, case.actor, client_id, account_id, ends=ends)
        if told and client_id == case.client_id and account_id != case.one.account_id:
            name = str(row["account"])
    return name


async def superseded(tx: Tx, app: App, actor: Actor, client_id: UUID, account_id: UUID, *, ends: bool) -> bool:
    """Have a grant checked whose tokens a consent may have ended; with ``ends`` also renewed, on record and told.

    False: nothing is told, because there is no live grant or nothing of it has ended.
    """
    grant = await tx.maybe(OAuthGrant, "grant_superseded", client_id=client_id, account_id=account_id, ends=ends)
    if grant is None or not ends:
        return False
    await tx.one(PlatformAccount, "account_seen", client_id=client_id, id=account_id, identity="unchecked")
    said = {"verification": "unknown", "cause": "superseded", "reason": SUPERSEDED}
    await grant.record(tx, EventName.ACCOUNT_VERIFIED, Outcome.FAILED, actor, **said)
    await grant.alert(tx, app, reason=SUPERSEDED, actor=actor)
    return True


async def _take_secrets(case: ConsentCase, custody: ValueCustody) -> tuple[Secret, Secret | None]:
    """Read code and verifier, and destroy both, so that they cannot be used again whatever happens from here on."""
    read: list[Secret] = []
    for part in (SecretPart.CODE, SecretPart.VERIFIER):
        place = case.account.place(part)
        if newest := await custody.newest(place):
            with suppress(NotFound):  # a verifier of an earlier consent, if this login has none
                read.append(await custody.read(place, newest))
                await custody.destroy(place, kept(newest))
        if part is SecretPart.CODE and not read:
            raise Integrity("code_missing", next_step="Start the connection again.")
    return read[0], read[1] if len(read) > 1 else None


async def _ask(
    app: RefresherApp, case: ConsentCase, platform: PlatformClient, tokens: TokenSet, seen: list[Face]
) -> VerifiedConsent:
    """Ask the platform everything that the decision needs, read-only; ``seen`` gets the accounts that answered."""
    granted = _got(await platform.granted(tokens), "scopes_unchecked")
    if granted is None:
        raise Rejected("scopes_unknown", cause=FaultCause.MISSING_SCOPE.value)
    tokens = replace(tokens, scopes=granted)
    wanted = frozenset(case.login.scopes_for(ScopePurpose.READ, *case.one.purposes))
    if lacking := missing_scopes(tokens, wanted):
        raise Rejected("missing_scope", cause=FaultCause.MISSING_SCOPE.value, missing=listed(lacking))
    tokens = replace(tokens, consent_expires_at=_got(await platform.consent_end(tokens), "consent_end_unchecked"))
    faces = _got(await identified(case.login, platform, tokens), "identity_unchecked")
    seen += faces
    try:
        face, drift = _who(case, faces)
    except Rejected as error:
        if case.login.identity.several_allowed and _reason(error) in _PICKABLE:
            await _tell(app, case, offered=offer(faces))
        raise
    if not printable(face):
        raise Rejected("name_not_printable", next_step="Ask the owner to change the account's name.")
    posts = _got(await platform.look(tokens, face), "posts_unreadable")
    whose = {"login": case.one.login, "external_id": face.account_id, "client_id": case.client_id}
    async with app.db.begin(every_client=True) as tx:
        taken = await tx.one(dict, "grant_taken", **whose, account_id=case.account.id)
        elsewhere = await tx.one(bool, "grant_elsewhere", **whose)
        if (
            not taken["found"]
            and elsewhere
            and not await tx.one(int, "transfer_live", scope=case.transfer_of(face).scope)
        ):
            raise Conflict("account_was_elsewhere")
    if taken["ours"]:
        await _tell(app, case, held_as=str(taken["ours"]))
    if taken["found"]:
        raise Conflict("already_connected" if taken["ours"] else "account_taken")
    return VerifiedConsent(
        tokens=tokens, face=face, posts=posts, drift=drift, wider=listed(wider_scopes(tokens, wanted)),
        transfer=case.transfer_of(face) if elsewhere else None,
    )  # fmt: skip


async def _tell(app: RefresherApp, case: ConsentCase, *, held_as: str = "", offered: tuple[str, ...] = ()) -> None:
    """Store what whoever started it needs to start differently. It is foreign text, and gets into no record or error.
    """
    said = {"held_as": held_as, "offered": list(offered)}
    async with app.db.begin(client_id=case.client_id) as tx:
        await tx.maybe(UUID, "connection_told", client_id=case.client_id, id=case.one.id, **said)


def _who(case: ConsentCase, faces: tuple[Face, ...]) -> tuple[Face, int]:
    """Return the account, and how many of its names are not the expected ones."""
    expected = _expected(case)
    if expected is None:
        chosen = choose(faces, wanted=case.one.wanted)
        if not isinstance(chosen, Face):
            raise Rejected("account_not_chosen", cause=chosen.value)
        if len(faces) > 1 and not case.login.identity.several_allowed:
            raise Rejected("account_not_chosen", cause="several_accounts")
        expected = case.account.fingerprint(chosen.account_id, case.ours.app_id)
    elif case.one.wanted not in (None, expected.account_id):
        raise Rejected("pick_is_another_account")
    seen = compare(expected, faces, app_id=case.ours.app_id, several_allowed=case.login.identity.several_allowed)
    if seen.verdict is IdentityVerdict.MISMATCH:
        raise Conflict("other_account", cause=seen.why.value, code_points=",".join(seen.code_points) or None)
    face = next(face for face in faces if face.account_id == expected.account_id)
    return face, len(seen.changed)


def _expected(case: ConsentCase) -> Fingerprint | None:
    """Return the account that the platform must name; None if its answer sets the fingerprint."""
    if case.grant is not None:
        return case.account.fingerprint(case.grant.external_id, case.grant.app_id)
    if case.past is None:  # names from a person without a consent: registered by hand, under the platform's id
        by_hand = case.account.fingerprint(case.account.account, case.ours.app_id)
        return by_hand if case.account.username else None
    # An ended grant must come back as the same account; under another login or app of ours its id says nothing.
    same = (case.past.login, case.past.app_id) == (case.one.login, case.ours.app_id)
    return case.account.fingerprint(case.past.external_id, case.ours.app_id) if same else None


async def _store(app: RefresherApp, case: ConsentCase, custody: ValueCustody, found: VerifiedConsent) -> int:
    """Put the tokens into the store, and record them in one transaction; without the record they are destroyed.

    Returns the version that they replaced, 0 if none was live.
    """
    placed = await _place(app, case, custody, found.tokens)
    try:
        return await record(app, case, found, placed)
    except Exception as error:
        if isinstance(error, ByokeepError) and not isinstance(error, Unavailable):
            await _unplace(app, case, custody, placed)
            if isinstance(error, Conflict) and "one_client" in str(error.fields.get("constraint", "")):
                raise Conflict("account_taken") from None
            raise
        # The commit may have happened, or be under way: its lock is waited for. If that cannot be checked, the sweep
        # destroys what has no record.
        async with app.db.begin(client_id=case.client_id) as tx:
            now = await tx.one(Connection, "connection_lock", client_id=case.client_id, id=case.one.id)
        if now.state != "connected":
            await _unplace(app, case, custody, placed)
            raise
        return now.replaces or 0


async def _place(app: RefresherApp, case: ConsentCase, custody: ValueCustody, tokens: TokenSet) -> PlacedTokens:
    place, access = case.account.place(SecretPart.TOKENS), case.account.place(SecretPart.ACCESS)
    written = await _write(custody, place, tokens)
    try:
        opened = await custody.write(access, tokens.access, cas=await custody.newest(access))
    except Exception:
        await _unplace(app, case, custody, PlacedTokens(written=written, access_version=0))
        raise
    return PlacedTokens(written=written, access_version=opened.version)


async def _write(custody: ValueCustody, place: SecretRef, tokens: TokenSet) -> Written:
    """Write the next version, even if a renewal of the replaced grant has written one meanwhile."""
    for _ in range(_WRITE_TRIES - 1):
        with suppress(Conflict):
            return await write_tokens(custody, place, tokens, cas=await custody.newest(place))
    return await write_tokens(custody, place, tokens, cas=await custody.newest(place))


async def _unplace(app: RefresherApp, case: ConsentCase, custody: ValueCustody, placed: PlacedTokens) -> None:
    """Destroy what was placed, or tell people that it stays; the consent ends with its own error."""
    try:
        await custody.destroy(case.account.place(SecretPart.TOKENS), [placed.written.version])
        if placed.access_version:
            await custody.destroy(case.account.place(SecretPart.ACCESS), [placed.access_version])
    except ByokeepError:
        async with app.db.begin(client_id=case.client_id) as tx:
            await case.one.alert(tx, app, reason="orphan_not_destroyed", actor=case.actor)


async def record(app: RefresherApp, case: ConsentCase, found: VerifiedConsent, placed: PlacedTokens) -> int:
    """Record a connected account; returns the version of the tokens that it replaced, 0 if none was live.

    Raises:
        Conflict: ``connection_over``; ``begun_before_close``; ``disconnected``; ``app_changed``; the account is
            another's (a unique index says so); ``account_was_elsewhere``: its transfer is used up or has expired.
        Integrity: ``evidence_missing``.
        Unavailable: Whether it happened is not known.
    """
    one, account, face, version = case.one, case.account, found.face, placed.written.version
    ends = ends_of(case.login, found.tokens, one.account_id, version)
    async with app.db.begin(client_id=case.client_id) as tx:
        replaced, risk, emptied = await _begin(tx, app, case, found)
        run = await tx.one(SopRun, "sop_lock", client_id=case.client_id, id=one.sop_id)
        await _transferred(tx, case, found.transfer)
        write_seq = await _stored(tx, case, placed, ends)
        verify_seq = await _verified(tx, app, case, found, version)
        steps = {WRITE: write_seq, IDENTITY: verify_seq}
        if not await sops.ready(tx, run, steps, version=version):
            raise Integrity("evidence_missing", sop=one.sop_id)
        await _put_grant(tx, case, found, placed, ends)
        await _put_ref(tx, app, case, version, ends, risk)
        await tx.one(
            PlatformAccount, "account_named", client_id=case.client_id, id=account.id,
            username=account.username or face.username or "",
            display_name=account.display_name or face.display_name or "",
        )  # fmt: skip
        # After the rows, which the record describes. The grant names the record, and the gate checks that it exists.
        done = await case.record(tx, EventName.CONNECTED, version=version, account_id=app.digest(face.account_id))
        await tx.one(UUID, "grant_connected", **one.ids, connected_seq=done.seq)
        await sops.proved(
            tx, run, {**steps, CONNECTED: done.seq}, complete=True, version=version,
            store_request=placed.written.request_id,
        )  # fmt: skip
        await tx.all(None, "journal_end", **one.ids)
        ended = {"state": "connected", "reason": "", "code_points": "", "state_from": "taken"}
        if await tx.maybe(Connection, "connection_end", client_id=case.client_id, id=one.id, **ended) is None:
            raise Conflict("connection_over", connection=one.id)
        if emptied:
            await case.record_short(tx, EventName.LANES_SET, lanes="")
        if found.drift:
            await case.record_short(tx, EventName.ACCOUNT_DRIFTED, count=found.drift)
            await one.alert(tx, app, reason="account_name_changed", severity="warning", actor=case.actor)
        if found.wider:
            await one.alert(tx, app, reason="scopes_wider", severity="warning", actor=case.actor)
    return replaced or 0


async def _begin(tx: Tx, app: RefresherApp, case: ConsentCase, found: VerifiedConsent) -> tuple[int | None, str, bool]:
    """Take the locks that come before the client's chain.

    Returns:
        The version of the tokens that this login replaces, the client's risk, and whether lanes were turned off.

    Raises:
        Conflict: ``begun_before_close``; ``app_changed``: the grant could never be renewed or ended; ``disconnected``:
            a person did so while the platform was asked. From here on nobody can.
    """
    one = case.one
    # A close waits for this transaction, or this transaction sees the close.
    await hold_open(tx, [f"client:{case.client_id}:platform:{case.platform}"])
    if await reenabling.closed_since(tx, case.client_id, case.platform, one.started_at):
        raise Conflict("begun_before_close")
    await tx.all(None, "app_hold")
    ours = await tx.maybe(OurApp, "app_get", login=one.login)
    if ours is None or ours.app_id != found.tokens.app_id:
        raise Conflict("app_changed", next_step="Start the connection again.", login=one.login)
    held = await tx.maybe(OAuthGrant, "refresh_grant_hold", **one.ids)
    now = await tx.one(Connection, "connection_lock", client_id=case.client_id, id=one.id)
    if now.reason == "disconnected":
        raise Conflict("disconnected", next_step="Start the connection again.", connection=one.id)
    replaced = None if held is None or held.state == "revoked" else held.version
    await tx.one(UUID, "connection_replaces", client_id=case.client_id, id=one.id, version=replaced)
    client = await require_active(tx, case.client_id)
    first = case.grant is None
    had = await tx.one(int, "account_lanes_anew", client_id=case.client_id, id=case.account.id) if first else 0
    await _come_back(tx, app, case, found, held)
    return replaced, client.risk.value, had > 0


async def _transferred(tx: Tx, case: ConsentCase, wish: TransferRequest | None) -> None:
    """Use up the approvals of a transfer, if one is needed."""
    if wish is None:
        return
    used = await tx.all(UUID, "transfer_use", scope=wish.scope)
    if not used:
        raise Conflict("account_was_elsewhere")
    for approval in used:
        await tx.append(clients.event(case.actor, wish.client_id, wish.login, approval, Outcome.OK))


async def _stored(tx: Tx, case: ConsentCase, placed: PlacedTokens, ends: dict[str, Any]) -> int:
    written, path = placed.written, case.account.place(SecretPart.TOKENS).path
    stored: dict[str, Said] = {"version": written.version, "path": path, "store_request": written.request_id}
    times = {name: ends[name] for name in ("due_at", "reauth_at")}
    return (await case.record(tx, EventName.TOKENS_STORED, **stored, **times)).seq


async def _verified(tx: Tx, app: RefresherApp, case: ConsentCase, found: VerifiedConsent, version: int) -> int:
    observed, newest = app.digest(found.face.account_id), found.posts.newest_id
    fields: dict[str, Said] = {
        "version": version, "verification": "drift" if found.drift else "match" if case.grant else "first",
        "endpoint": case.login.identity.call.name, "observed_id": observed, "expected_id": observed,
        "count": found.posts.count, "newest": None if newest is None else app.digest(newest),
        "wider": found.wider or None,
    }  # fmt: skip
    return (await case.record(tx, EventName.ACCOUNT_VERIFIED, **fields)).seq


async def _put_grant(
    tx: Tx, case: ConsentCase, found: VerifiedConsent, placed: PlacedTokens, ends: dict[str, Any]
) -> None:
    one, tokens, face = case.one, found.tokens, found.face
    await tx.one(
        OAuthGrant, "grant_put", **one.ids, **ends, provider=case.platform, login=one.login, app_id=tokens.app_id,
        external_id=face.account_id, username=face.username, display_name=face.display_name, link=face.link,
        version=placed.written.version, access_version=placed.access_version, purposes=list(one.purposes),
        scopes=list(tokens.scopes or ()), obtained_by=one.started_by, drift=bool(found.drift),
    )  # fmt: skip


async def _put_ref(tx: Tx, app: RefresherApp, case: ConsentCase, version: int, ends: dict[str, Any], risk: str) -> None:
    one, due = case.one, {"version": version, "due_at": ends["reauth_at"]}
    live = await tx.maybe(dict, "account_ref_live", **one.ids)
    if live is not None:
        await tx.one(dict, "account_ref_renew", client_id=case.client_id, id=live["id"], **due)
        return
    await tx.one(
        dict, "account_ref_insert", **one.ids, **due, id=app.ids.uuid(), provider=case.platform,
        environment=app.environment.value, secret_ref=str(case.account.place(SecretPart.TOKENS)), risk=risk,
        created_by=one.started_by,
    )  # fmt: skip


async def _come_back(
    tx: Tx, app: RefresherApp, case: ConsentCase, found: VerifiedConsent, before: OAuthGrant | None
) -> None:
    """Take the steps by which a person's login brings a closed platform back, if it is the last login missing."""
    person = await reenabling.is_person(tx, case.client_id, case.one.started_by)
    if await tx.one(int, "grants_without_person", **case.one.ids, provider=case.platform):
        await reenabling.refuse_machine(tx, case.client_id, case.platform, by_person=person)
        return
    granted = frozenset(found.tokens.scopes or ())
    purposes = before.purposes if before else ()  # what it was for before; it may lack scopes for that now
    needed = case.login.scopes.items()
    lacking = frozenset(what for what, scopes in needed if what in purposes and not set(scopes) <= granted)
    steps = (Reauthorised(by_person=person), IdentityChecked(matches=True), ScopesChecked(missing=lacking))
    for step in steps:
        await reenabling.step(tx, app, case.actor, case.client_id, case.platform, step, account_id=case.account.id)


async def _failed(app: RefresherApp, case: ConsentCase, error: ByokeepError) -> str:
    """End the consent, on record, with an alert if another account answered."""
    quarantine = error.code == "other_account"
    said = {name: error.fields.get(name) for name in ("cause", "code_points", "http_status", "missing")}
    async with app.db.begin(client_id=case.client_id) as tx:
        to = "quarantined" if quarantine else "failed"
        if not await end_consent(tx, case.actor, case.one, case.account, to=to, reason=_reason(error), **said):
            now = await tx.one(Connection, "connection_get", client_id=case.client_id, id=case.one.id)
            return now.state
        if quarantine:
            fields = {name: said[name] for name in ("cause", "code_points")}
            await case.record(tx, EventName.ACCOUNT_QUARANTINED, Outcome.FAILED, **fields)
        if quarantine or error.code in ("account_taken", "account_was_elsewhere"):
            points = str(said["code_points"] or "")
            await case.one.alert(tx, app, reason=error.code, actor=case.actor, code_points=points)
    return to


def _reason(error: ByokeepError) -> str:
    """Return the reason for people: what to do depends on what there was to choose from."""
    if error.code != "account_not_chosen":
        return error.code
    return _NOT_CHOSEN.get(str(error.fields.get("cause", "")), error.code)


def _got(found: T | Fault, code: str) -> T:
    """Return what was asked for, or raise the cause of the platform's refusal."""
    if isinstance(found, Fault):
        raise Rejected(code, cause=found.cause.value, http_status=found.http_status)
    return found


def listed(scopes: frozenset[str]) -> str:
    """Return scopes as a record may hold them: the last part of each, at most 100 characters, then ``+``."""
    names = sorted({"".join(c for c in scope.rpartition("/")[2] if c.isalnum() or c in "_.:-") for scope in scopes})
    text = ",".join(name for name in names if name).lower().lstrip("_.:-,")
    return text if len(text) <= _NAMES else text[:_NAMES].rpartition(",")[0] + ",+"
