"""Our own apps at the platforms' logins: the public half in the database, the secret in the store.

Rules
- Two logins never share a redirect address: where a platform names no issuer, the address tells its answers apart.
- An app that accounts live under, or that a consent is under way for, is not exchanged for another: ids and tokens
  hold within one app.
- The secret is on its way in only; nobody reads it here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from byokeep.core.errors import Conflict, Rejected
from byokeep.core.events import Event, EventName, FieldValue, Outcome
from byokeep.core.model import Actor, Provider
from byokeep.core.policy import Verb
from byokeep.core.ref import app_path
from byokeep.core.secret import Secret
from byokeep.kernel.app import WebApp
from byokeep.kernel.command import command, permit, recorded
from byokeep.kernel.ports import LoginInfo, Tx, Written
from byokeep.kernel.store_recording import require_recorded

_APP_ID: Final = re.compile(r"[!-~]{1,256}\Z")
_REDIRECT: Final = re.compile(
    r"(https://[A-Za-z0-9.-]+|http://(127\.0\.0\.1|localhost))(:\d{1,5})?/[A-Za-z0-9._~/-]*\Z"
)
_LONGEST: Final = 400  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class OurApp:
    """Our app at a login; ``secret_version`` 0 = it has no secret."""

    login: str
    provider: Provider
    app_id: str
    redirect_uri: str
    secret_version: int
    set_at: datetime
    set_by: UUID


def find_login(app: WebApp, login: str) -> LoginInfo:
    """Return a login of the catalog.

    Raises:
        Rejected: ``unknown_login``.
    """
    for one in app.consents.logins():
        if one.id == login:
            return one
    raise Rejected("unknown_login", next_step="See `byokeep account logins`.")


def need_oauth(info: LoginInfo) -> LoginInfo:
    """Return a login that has OAuth.

    Raises:
        Rejected: ``platform_without_oauth`` (R2.1-8).
    """
    if not info.oauth:
        raise Rejected(
            "platform_without_oauth", platform=info.id,
            next_step="This platform has no OAuth. Its accounts are registered with `byokeep account add` and act "
            "through the browser lane.",
        )  # fmt: skip
    return info


async def list_logins(app: WebApp, actor: Actor) -> Sequence[LoginInfo]:
    """Return what each login can do.

    Raises:
        Denied: ``not_permitted``.
    """
    await permit(app, actor, Verb.APP_READ)
    return app.consents.logins()


async def list_apps(app: WebApp, actor: Actor) -> list[OurApp]:
    """Return our apps.

    Raises:
        Denied: ``not_permitted``.
    """
    async with command(app, actor, Verb.APP_READ) as tx:
        return await tx.all(OurApp, "apps_list")


async def set_app(
    app: WebApp, actor: Actor, *, login: str, app_id: str, redirect_uri: str, secret: Secret | None
) -> OurApp:
    """Name our app at a login, and store its secret. Wipes ``secret``.

    Args:
        secret: None for a public app, where the platform knows such.

    Raises:
        Denied: ``not_permitted``.
        Rejected: ``unknown_login``, ``platform_without_oauth``, ``bad_app_id``, ``bad_redirect_uri``,
            ``app_without_secret``.
        Conflict: ``redirect_uri_taken``, ``app_in_use``, ``stale_version``.
        Unavailable: Store or database; repeating the same call is safe.
    """
    try:
        await permit(app, actor, Verb.APP_SET)
        await require_recorded(app)
        async with recorded(app, actor, Verb.APP_SET, refused_as=EventName.PLATFORM_APP_SET):
            info = need_oauth(find_login(app, login))
            _check(info, app_id, redirect_uri, secret)
            async with app.db.begin(every_client=True) as tx:
                await tx.all(None, "app_lock")
                await _check_others(tx, login, app_id, redirect_uri)
                written = await _store(app, info, secret)
                row = await tx.one(
                    OurApp, "app_put", login=login, provider=info.provider.value, environment=app.environment.value,
                    app_id=app_id,
                    redirect_uri=redirect_uri, secret_version=written.version, set_by=actor.id,
                )  # fmt: skip
                await tx.append(_event(actor, row, written))
        return row
    finally:
        if secret is not None:
            secret.wipe()


def _check(info: LoginInfo, app_id: str, redirect_uri: str, secret: Secret | None) -> None:
    if not _APP_ID.match(app_id):
        raise Rejected("bad_app_id", next_step="Use the public id of the app as the platform shows it.")
    if len(redirect_uri) > _LONGEST or not _REDIRECT.match(redirect_uri):
        raise Rejected(
            "bad_redirect_uri",
            next_step="Use https, or http on 127.0.0.1 or localhost, with a path and without query or fragment.",
        )
    if secret is None and not info.secret_optional:
        raise Rejected("app_without_secret", next_step="Pipe the app's secret in; this platform knows no public app.")


async def _check_others(tx: Tx, login: str, app_id: str, redirect_uri: str) -> None:
    if await tx.all(str, "app_of_redirect", login=login, redirect_uri=redirect_uri):
        raise Conflict(
            "redirect_uri_taken", next_step="Give each login an address of its own; another path is enough.",
            login=login,
        )  # fmt: skip
    if await tx.one(int, "app_in_use", login=login, app_id=app_id):
        raise Conflict(
            "app_in_use", login=login,
            next_step="Accounts live under the present app, or are being connected under it; disconnect them first.",
        )  # fmt: skip


async def _store(app: WebApp, info: LoginInfo, secret: Secret | None) -> Written:
    if secret is None:
        return Written(version=0, request_id="")
    current = await app.app_secrets.current(info.provider, info.id)
    return await app.app_secrets.put(info.provider, info.id, secret, cas=current)


def _event(actor: Actor, row: OurApp, written: Written) -> Event:
    fields: dict[str, FieldValue] = {"login": row.login, "version": row.secret_version}
    if written.version:
        fields |= {"path": app_path(row.provider, row.login), "store_request": written.request_id}
    return Event(name=EventName.PLATFORM_APP_SET, actor=actor, outcome=Outcome.OK, fields=fields)
