"""SOP 5.2, the part of ``byokeep web``: our apps at the logins, starting a consent, taking the platform's answer.

Rules
- Two logins never share a redirect address: if a platform names no issuer, the address tells its answers apart.
- An app that accounts are connected under, or that a consent is in progress for, is not replaced with another: ids and
  tokens are valid within one app. Here its secret is only written, never read.
- An operator starts a consent for a named client, login and account. Only that person can bring the answer back, with
  the binding that was handed out beside the address (login CSRF), from the redirect address that was named.
- While the platform is asked to end a grant that a person disconnected, no consent for its account begins and no answer
  is taken: the end revokes what lives there, and destroys what is stored.
- State is unguessable, and valid once and for minutes; with the issuer it decides whose answer this is (S-OAUTH-2, -3).
- Verifier and code are written to the store and cannot be read here. Nothing is exchanged here.
- What ends a consent is on record before the caller is answered.

It may not learn what a platform says about an account: that is for the refresher
(:mod:`byokeep.accounts.connect_finish`).
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from byokeep.accounts.accounts import ACCOUNT, check_new_account, check_shape
from byokeep.accounts.model import Connection, OAuthGrant, OurApp, PlatformAccount, end_consent, record_consent
from byokeep.core.errors import Conflict, Denied, Rejected
from byokeep.core.events import EventName, Outcome
from byokeep.core.evidence import CONNECT
from byokeep.core.model import Actor, ClientId, Provider
from byokeep.core.plain_text import SESSION_STEP
from byokeep.core.policy import Verb
from byokeep.core.ref import AppRef, SecretPart, SecretRef
from byokeep.core.secret import Secret
from byokeep.jobs.jobs import open_custody
from byokeep.kernel.app import WebApp
from byokeep.kernel.command import Said, command, permit, record, recorded
from byokeep.kernel.ports import Tx, Written
from byokeep.kernel.sops import begin_sop
from byokeep.kernel.store_recording import require_recorded
from byokeep.keys.onboard import CUSTODY_S, make_room_for
from byokeep.keys.refs import held, live_at
from byokeep.platforms.consent import PlatformApp, TokenPlace, authorization_url, new_verifier, oauth_of
from byokeep.platforms.descriptor import PLATFORM_DESCRIPTORS, ClientAuth, OAuth, Pkce, PlatformDescriptor, ScopePurpose
from byokeep.tenancy.clients import require_active
from byokeep.tenancy.scopes import while_held

_APP_ID: Final = re.compile(r"[!-~]{1,256}\Z")
_REDIRECT: Final = re.compile(
    r"(https://[A-Za-z0-9.-]+|http://(127\.0\.0\.1|localhost))(:\d{1,5})?/[A-Za-z0-9._~/-]*\Z"
)
_LONGEST: Final = 400  # characters


def find_login(login: str) -> PlatformDescriptor:
    """Return a login.

    Raises:
        Rejected: ``unknown_login``.
    """
    if login not in PLATFORM_DESCRIPTORS:
        raise Rejected("unknown_login", next_step="See `byokeep account logins`.")
    return PLATFORM_DESCRIPTORS[login]


async def list_logins(app: WebApp, actor: Actor) -> Sequence[PlatformDescriptor]:
    """Return what each login can do.

    Raises:
        Denied: ``not_permitted``.
    """
    await permit(app, actor, Verb.APP_READ)
    return tuple(PLATFORM_DESCRIPTORS.values())


async def list_apps(app: WebApp, actor: Actor) -> list[OurApp]:
    """Return our apps.

    Raises:
        Denied: ``not_permitted``.
    """
    async with command(app, actor, Verb.APP_READ) as tx:
        return await tx.all(OurApp, "apps_list")


@dataclass(frozen=True, slots=True, kw_only=True)
class AppSecret:
    """The secret of our app at a login; ``store`` is ``present``, ``missing`` or ``unknown``, as of any key."""

    login: str
    provider: Provider
    version: int
    set_at: datetime
    due_at: datetime
    store: str


async def app_secrets(app: WebApp, actor: Actor) -> list[AppSecret]:
    """Return the secrets of our apps, compared with the store. Raises as :func:`list_apps`."""
    every = timedelta(days=app.limits.app_secret_rotation_days)
    ours = {AppRef(one.provider, one.login): one for one in await list_apps(app, actor) if one.secret_version}
    live = await live_at(app, ours)
    return [
        AppSecret(
            login=one.login, provider=one.provider, version=one.secret_version, set_at=one.set_at,
            due_at=one.set_at + every, store=held(one.secret_version, live[place]),
        )
        for place, one in ours.items()
    ]  # fmt: skip


async def set_app(
    app: WebApp, actor: Actor, *, login: str, app_id: str, redirect_uri: str, secret: Secret | None, session: bool
) -> OurApp:
    """Name our app at a login, and store its secret. Wipes ``secret``.

    Args:
        secret: None for a public app, if the platform supports those.
        session: What was given as the secret is a browser's session; it is refused.

    Raises:
        Denied: ``not_permitted``.
        Rejected: ``unknown_login``, ``platform_without_oauth``, ``bad_app_id``, ``bad_redirect_uri``,
            ``app_without_secret``, ``use_profile_vault``.
        Conflict: ``redirect_uri_taken``, ``app_in_use``, ``stale_version``, ``key_history_full``.
        Unavailable: Store or database; repeating the same call is safe.
    """
    try:
        await permit(app, actor, Verb.APP_SET)
        await require_recorded(app)
        async with recorded(app, actor, Verb.APP_SET, refused_as=EventName.PLATFORM_APP_SET):
            oauth = oauth_of(find_login(login))
            _check_app(oauth, app_id, redirect_uri, secret)
            if session:
                raise Rejected("use_profile_vault", next_step=SESSION_STEP)
            async with app.db.begin(every_client=True) as tx:
                await tx.all(None, "app_lock")
                await _check_others(tx, login, app_id, redirect_uri)
                async with while_held():  # consents wait for the lock, too
                    written = await _store(tx, app, oauth, secret)
                row = await tx.one(
                    OurApp, "app_put", login=login, provider=oauth.provider.value, environment=app.environment.value,
                    app_id=app_id, redirect_uri=redirect_uri, secret_version=written.version, set_by=actor.id,
                )  # fmt: skip
                said: dict[str, Said] = {"login": row.login, "version": row.secret_version}
                if written.version:
                    said |= _written(AppRef(row.provider, row.login).path, written)
                await record(tx, actor, EventName.PLATFORM_APP_SET, said)
        return row
    finally:
        if secret is not None:
            secret.wipe()


def _check_app(oauth: OAuth, app_id: str, redirect_uri: str, secret: Secret | None) -> None:
    if not _APP_ID.match(app_id):
        raise Rejected("bad_app_id", next_step="Use the app's public id as the platform shows it.")
    if len(redirect_uri) > _LONGEST or not _REDIRECT.match(redirect_uri):
        step = "Use https, or http on 127.0.0.1 or localhost, with a path and without query or fragment."
        raise Rejected("bad_redirect_uri", next_step=step)
    if secret is None and oauth.client_auth is not ClientAuth.BASIC_OR_PUBLIC:
        raise Rejected(
            "app_without_secret", next_step="Pipe in the app's secret: this platform does not support public apps."
        )


async def _check_others(tx: Tx, login: str, app_id: str, redirect_uri: str) -> None:
    if await tx.all(str, "app_of_redirect", login=login, redirect_uri=redirect_uri):
        step = "Give each login its own redirect address; a different path is enough."
        raise Conflict("redirect_uri_taken", next_step=step, login=login)
    if await tx.one(int, "app_in_use", login=login, app_id=app_id):
        first = "Accounts are connected, or being connected, through the present app. Disconnect them first."
        raise Conflict("app_in_use", login=login, next_step=first)


async def _store(tx: Tx, app: WebApp, oauth: OAuth, secret: Secret | None) -> Written:
    if secret is None:
        return Written(version=0, request_id="")
    place, ours = AppRef(oauth.provider, oauth.id), await tx.maybe(OurApp, "app_get", login=oauth.id)
    newest = await app.intake.current_version(place)
    await make_room_for(place, newest, (ours and ours.secret_version) or None, app.intake.keep_more)
    return await app.intake.put(place, secret, cas=newest)


LIFE_S: Final = 600  # seconds within which the person must answer
_EXTERNAL: Final = re.compile(r"[!-~]{1,256}\Z")
_AGAIN: Final = "Start the connection again."


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentAnswer:
    """What the person's browser brought back. ``redirect`` = the address that it came to, without its query."""

    state: str = field(repr=False)
    binding: str = field(repr=False)
    redirect: str
    code: str | None = field(default=None, repr=False)
    iss: str | None = None
    error: bool = False
    refused: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    login: OAuth
    account: str
    purposes: tuple[str, ...]
    wanted: str | None


async def start(
    app: WebApp, actor: Actor, client_id: ClientId, *, login: str, account: str, purposes: Sequence[str] | None = None,
    wanted: str | None = None,
) -> tuple[Connection, str, str]:  # fmt: skip
    """Start a consent; returns it, with the address and the binding that are only for whoever started it.

    One that was started for the same account and is not answered ends.

    Args:
        account: Our name for the account; a new one is created, without names until the platform gives them.
        purposes: What the account is for, besides reading; None = what it was for before, or nothing the first time.
        wanted: The platform's id of the account to take, if one consent gives access to several.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`.
        Rejected: ``unknown_login``, ``platform_without_oauth``, ``bad_purpose``, ``bad_account``, ``bad_pick``,
            ``no_app``, ``client_not_active``, ``pick_is_another_account``.
        Conflict: ``other_login``, ``connection_in_progress``, ``disconnecting``, ``stale_version``,
            ``name_like_another``.
        Unavailable: Store or database; ``no_custodian``. Starting again is safe.
    """
    await permit(app, actor, Verb.ACCOUNT_CONNECT, client_id=client_id)
    await require_recorded(app)
    started = EventName.CONNECTION_STARTED
    async with recorded(app, actor, Verb.ACCOUNT_CONNECT, client_id=client_id, refused_as=started, on_client=True):
        info = find_login(login)
        wish = _wish(info, account, purposes or (), wanted)
        state, binding = app.ids.token(), app.ids.token()
        async with app.db.begin(client_id=client_id) as tx:
            await tx.all(None, "connect_lock", client_id=client_id, platform=info.provider.value, account=account)
            await require_active(tx, client_id)
            await tx.all(None, "app_hold")
            ours = await tx.maybe(OurApp, "app_get", login=login)
            if ours is None:
                raise Rejected("no_app", next_step="An admin must set our app first: `byokeep account app set`.")
            known = await _account(tx, app, actor, client_id, wish)
            grant = await tx.maybe(OAuthGrant, "grant_of", client_id=client_id, account_id=known.id)
            _refuse_while_ending(grant)
            if purposes is None:
                wish = replace(wish, purposes=_former(grant, info))
            replaces = await _replaces(tx, actor, known, grant, wish)
            return *await _begin(tx, app, actor, wish, ours, known, replaces, (state, binding)), binding


def _wish(info: PlatformDescriptor, account: str, purposes: Sequence[str], wanted: str | None) -> _Wish:
    login = oauth_of(info)
    check_shape("account", account, ACCOUNT)
    if len(set(purposes)) != len(purposes) or not set(purposes) <= set(info.purposes):
        raise Rejected("bad_purpose", next_step="This login offers: " + (", ".join(info.purposes) or "none") + ".")
    if wanted is not None and not _EXTERNAL.match(wanted):
        raise Rejected("bad_pick", next_step="Give the id as the platform shows it.")
    return _Wish(login=login, account=account, purposes=tuple(sorted(purposes)), wanted=wanted)


async def _account(tx: Tx, app: WebApp, actor: Actor, client_id: ClientId, wish: _Wish) -> PlatformAccount:
    named = {"client_id": client_id, "platform": wish.login.provider.value, "account": wish.account}
    found = await tx.maybe(PlatformAccount, "account_find", **named)
    if found is not None:
        return found
    await check_new_account(tx, client_id, wish.login.provider, wish.account)
    unnamed = {"username": "", "display_name": "", "created_by": actor.id}
    made = await tx.one(PlatformAccount, "account_insert", id=app.ids.uuid(), **named, **unnamed)
    await made.record(tx, EventName.ACCOUNT_REGISTERED, actor, lanes="")
    return made


def _refuse_while_ending(grant: OAuthGrant | None) -> None:
    if grant is not None and grant.state != "revoked" and grant.reason == "revoking":
        step = "Wait until that has ended (`byokeep account show`), then connect again."
        raise Conflict("disconnecting", next_step=step)


def _former(grant: OAuthGrant | None, info: PlatformDescriptor) -> tuple[str, ...]:
    """Return what an account was for when it was last connected by this login."""
    if grant is None or grant.login != info.id:
        return ()
    return tuple(sorted(set(grant.purposes) & set(info.purposes)))


async def _replaces(
    tx: Tx, actor: Actor, account: PlatformAccount, grant: OAuthGrant | None, wish: _Wish
) -> int | None:
    """End what was started before and not answered; returns the version of the existing tokens."""
    for other in await tx.all(Connection, "connections_of", client_id=account.client_id, account_id=account.id):
        if other.state != "started":
            wait = "An answer is being processed. Look again in a minute."
            raise Conflict("connection_in_progress", next_step=wait, connection=other.id)
        await end_consent(tx, actor, other, account, to="expired", reason="superseded")
    if grant is None or grant.state == "revoked":
        _picked(wish, account.account if grant is None and account.username else None)
        return None
    if grant.login != wish.login.id:
        step = f"An account of {grant.login} has this name. Choose another one."
        raise Conflict("other_login", next_step=step, login=grant.login)
    _picked(wish, grant.external_id)
    return grant.version


def _picked(wish: _Wish, known: str | None) -> None:
    """Refuse to pick another account under a name that is already taken: only the known account could result."""
    if wish.wanted is not None and known is not None and wish.wanted != known:
        step = "Another account has this name. Connect the picked account under a name of its own."
        raise Rejected("pick_is_another_account", next_step=step)


async def _begin(
    tx: Tx, app: WebApp, actor: Actor, wish: _Wish, ours: OurApp, account: PlatformAccount, replaces: int | None,
    secrets: tuple[str, str],
) -> tuple[Connection, str]:  # fmt: skip
    client_id, login = account.client_id, wish.login
    state, binding = secrets
    job_id = await open_custody(tx, app, client_id, login.provider, actor.request_id, ttl_s=CUSTODY_S)
    same = {"client_id": client_id, "account_id": account.id, "started_by": actor.id}
    run = await begin_sop(tx, app, actor, CONNECT, client_id=client_id, object_id=account.id, provider=login.provider)
    verifier = None if login.pkce is Pkce.NONE else new_verifier()
    us = PlatformApp(client_id=ours.app_id, client_secret=None, redirect_uri=ours.redirect_uri)
    scopes, at = login.scopes_for(ScopePurpose.READ, *wish.purposes), TokenPlace(base=app.platform_urls.get(login.id))
    url = authorization_url(login, us, at, state=state, verifier=verifier, scopes=scopes)
    made = await tx.one(
        Connection, "connection_insert", **same, id=app.ids.uuid(), job_id=job_id, sop_id=run.id, login=login.id,
        purposes=list(wish.purposes), state_hash=_digest(app, "state", state),
        binding_hash=_digest(app, "binding", binding), redirect_uri=ours.redirect_uri, wanted=wish.wanted,
        replaces=replaces, life_s=LIFE_S, request_id=actor.request_id,
    )  # fmt: skip
    place, fields = account.place(SecretPart.VERIFIER), {}
    if verifier is not None:
        fields = _written(place.path, await _put(app, place, verifier))
    asked = ",".join(wish.purposes)
    await record_consent(tx, EventName.CONNECTION_STARTED, Outcome.OK, actor, made, account, purposes=asked, **fields)
    return made, url


async def answer(
    app: WebApp, actor: Actor, client_id: ClientId, connection_id: UUID, said: ConsentAnswer
) -> Connection:
    """Take the answer of a platform; returns the consent's new state (``answered`` or ``failed``).

    Raises:
        Denied: ``not_permitted``, ``another_persons_connection``.
        NotFound: ``not_found``, also for another client's.
        Rejected: ``wrong_binding``, ``wrong_state``, ``wrong_redirect``: nothing is changed; the right answer may still
            come. ``connection_over``: it was answered, or its time is up. ``wrong_issuer``, ``bad_code``: the consent
            has ended.
        Conflict: ``disconnecting``: nothing is changed; the same answer may be sent once that has ended.
        Unavailable: Store or database; the same answer may be sent again.
    """
    await permit(app, actor, Verb.ACCOUNT_CONNECT, client_id=client_id)
    await require_recorded(app)
    bad: Rejected | None = None
    async with recorded(
        app, actor, Verb.ACCOUNT_CONNECT, client_id=client_id, object_id=connection_id,
        refused_as=EventName.CONNECTION_ANSWERED, on_client=True,
    ):  # fmt: skip
        async with app.db.begin(client_id=client_id) as tx:
            ids = (await tx.one(Connection, "connection_get", client_id=client_id, id=connection_id)).ids
            grant = await tx.maybe(OAuthGrant, "refresh_grant_hold", **ids)  # from here on no end begins
            one = await tx.one(Connection, "connection_lock", client_id=client_id, id=connection_id)
            if one.started_by != actor.id:
                raise Denied(
                    "another_persons_connection", next_step="Only the person who started the connection can finish it."
                )
            _check(app, one, said)
            account = await tx.one(PlatformAccount, "account_of", client_id=client_id, id=one.account_id)
            try:
                if not said.error:
                    login = oauth_of(find_login(one.login))
                    login.check_issuer(said.iss)
                    _refuse_while_ending(grant)
                    return await _accept(tx, app, actor, one, account, login.clean_code(said.code))
            except Rejected as error:
                bad = error
            reason = bad.code if bad else "consent_refused" if said.refused else "platform_said_error"
            await end_consent(tx, actor, one, account, to="failed", reason=reason)
        if bad is not None:
            raise bad
    return await look(app, actor, client_id, connection_id)


def _check(app: WebApp, one: Connection, said: ConsentAnswer) -> None:
    """Check that an answer belongs to this consent, comes from whoever started it, and is in time."""
    if not hmac.compare_digest(_digest(app, "binding", said.binding), one.binding_hash):
        raise Rejected("wrong_binding", next_step=_AGAIN, connection=one.id)
    if not hmac.compare_digest(_digest(app, "state", said.state), one.state_hash):
        raise Rejected("wrong_state", next_step=_AGAIN, connection=one.id)
    if said.redirect != one.redirect_uri:
        raise Rejected("wrong_redirect", next_step=_AGAIN, connection=one.id)
    if one.state != "started" or one.over:
        raise Rejected("connection_over", next_step=_AGAIN, connection=one.id, state=one.state)


async def _accept(
    tx: Tx, app: WebApp, actor: Actor, one: Connection, account: PlatformAccount, code: Secret
) -> Connection:
    place = account.place(SecretPart.CODE)
    written = await _put(app, place, code)  # under the row's lock, so that the newest code belongs to this consent
    answered = await tx.maybe(Connection, "connection_answered", client_id=one.client_id, id=one.id)
    if answered is None:
        raise Conflict("connection_over", next_step=_AGAIN, connection=one.id)
    fields = _written(place.path, written)
    await record_consent(tx, EventName.CONNECTION_ANSWERED, Outcome.OK, actor, one, account, **fields)
    await tx.all(None, "connection_notify")
    return answered


async def look(app: WebApp, actor: Actor, client_id: ClientId, connection_id: UUID) -> Connection:
    """Return the current state of a consent.

    Raises:
        Denied, NotFound: As :func:`byokeep.kernel.command.permit`; ``not_found``.
    """
    async with command(app, actor, Verb.ACCOUNT_CONNECT, client_id=client_id, object_id=connection_id) as tx:
        return await tx.one(Connection, "connection_get", client_id=client_id, id=connection_id)


async def _put(app: WebApp, place: SecretRef, value: Secret) -> Written:
    with value:
        return await app.intake.put(place, value, cas=await app.intake.current_version(place))


def _written(path: str, written: Written) -> dict[str, Said]:
    return {"path": path, "version": written.version, "store_request": written.request_id}


def _digest(app: WebApp, what: str, text: str) -> bytes:
    return app.token_key(f"connect-{what}:{text}".encode("utf-8", "replace"))
