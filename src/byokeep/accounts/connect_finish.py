"""SOP 5.2, the part of ``byokeep refresher``: from a code to a verified account.

Rules
- An answer is taken once. Code and verifier are read and destroyed before the code is shown to the platform, once.
- Nothing is stored before the scopes suffice, the account is known, its posts could be read, and it is nobody else's.
- What a first consent finds is the fingerprint. A later one must find the same account, and so must the first one of an
  account that a person registered, whose name is its id; another is quarantined and replaces nothing.
- A consent ends on its own, whatever is raised in it; who runs several is :mod:`.consents`.
- What comes after a person disconnected is given back; what a login replaced is ended where that spares the new one.
- Whatever fails leaves the store as it was. Whether the platform still honours the tokens that were there is another
  matter: :mod:`.superseded`.

It may not renew a token, nor say that an account may act: a lane is enabled by a person.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, TypeVar
from uuid import UUID

from byokeep.accounts import connect_record, connect_replaced, connections, superseded
from byokeep.accounts.accounts import PlatformAccount
from byokeep.accounts.apps import OurApp
from byokeep.accounts.connect_record import PlacedTokens, VerifiedConsent
from byokeep.accounts.connections import Connection, OAuthGrant
from byokeep.accounts.refresher_app import AccountCustody, AppAt, Login, PlatformMore, RefresherApp
from byokeep.core.errors import ByokeepError, Conflict, Integrity, NotFound, Rejected, Unavailable
from byokeep.core.events import EventName, FieldValue, Outcome
from byokeep.core.fault import Fault, FaultCause
from byokeep.core.identity import Face, Fingerprint, IdentityVerdict, Why, choose, compare, offer, printable
from byokeep.core.model import Actor
from byokeep.core.ref import SecretPart, SecretRef
from byokeep.core.secret import Secret
from byokeep.core.tokens import TokenSet, missing_scopes, wider_scopes
from byokeep.kernel.command import open_alert
from byokeep.kernel.ports import Written
from byokeep.tenancy.transfers import TransferRequest
from byokeep.wire.tokens import pack_tokens

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
            await connections.end(tx, actor, one, account, to="failed", reason="unknown_login")
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
                await connect_replaced.give_back(app, case.one, case.account, platform, tokens)
                raise
            if replaced:
                await connect_replaced.end_replaced(
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
        name = await superseded.suspect(app, case.actor, case.one, case.login, app_id=case.ours.app_id, ids=ids)
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
        return await connect_record.record(
            app, case.one, case.account, case.login, found, placed, first=case.grant is None
        )
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
        if not await connections.end(tx, case.actor, case.one, case.account, to=to, reason=_reason(error), **said):
            now = await tx.one(Connection, "connection_get", client_id=case.one.client_id, id=case.one.id)
            return now.state
        if quarantine:
            fields = {name: said[name] for name in ("cause", "code_points") if name in said}
            await tx.append(
                connections.event(
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
