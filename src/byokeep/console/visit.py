"""Who visits the console: the cookie, and whether a form was sent from a page of ours.

Rules
- The cookie is a session's token, of kind ``console`` where the console made it; one of the command line may do here
  what it may do there. The database holds its keyed hash (:mod:`byokeep.tenancy`). The cookie has the prefix
  ``__Host-``: HTTPS or loopback, this host, no script, no other site.
- A form is accepted if the browser says that it comes from this origin (``Sec-Fetch-Site`` or, without that,
  ``Origin``) and if it holds the word derived from the visitor's own cookie. Both are checked before it is read
  further.
- Before there is a session, a cookie with no other meaning takes its place.
- After signing in, somebody is sent only to a page of the console.

It may not decide what somebody may do.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final
from urllib.parse import parse_qsl, unquote_to_bytes, urlsplit

from starlette.requests import Request
from starlette.responses import Response

from byokeep.core.errors import Denied, Rejected, Unauthenticated
from byokeep.core.model import Actor
from byokeep.core.policy import Verb
from byokeep.core.secret import Secret
from byokeep.http.request import Authenticator, read_bytes, request_id
from byokeep.kernel.app import WebApp
from byokeep.tenancy import logins

HOME: Final = "/console"
SESSION: Final = "__Host-byokeep"
STRANGER: Final = "__Host-byokeep-form"


@dataclass(frozen=True, slots=True, kw_only=True)
class PageSet:
    """Pages that belong together, with sessions of their own.

    Attributes:
        home: The address at which they begin, and their first page.
        session: The cookie that holds a session's token.
        package: Where their templates are.
        nav: The pages that each of them links to, with their names, in groups.
        headers: The headers that each page is sent with.
        api: Where the addresses of calls about visitors' sessions begin.
        actions: What can be done: words, page, the verb that it needs, whether it covers every client.
    """

    home: str
    session: str
    package: str
    nav: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    headers: Mapping[str, str]
    api: str = "/v1"
    actions: tuple[tuple[str, str, Verb, bool], ...] = ()

    @property
    def sign_in(self) -> str:
        """The page to sign in."""
        return f"{self.home}/sign-in"


_KEPT: Final = "Path=/; Secure; HttpOnly; SameSite=Strict"
_PAGE: Final = re.compile(r"(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)*(?:\?[A-Za-z0-9_=&.%:+-]*)?\Z")
_MOST: Final = 20  # fields of a form


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """A person with a session.

    Attributes:
        token: The session's, which is forwarded to whoever authenticates it again.
    """

    actor: Actor
    token: str = field(repr=False)

    def may(self, verb: Verb) -> bool:
        """Whether one of their roles has a verb. This is for what a page offers; the flow decides."""
        return bool(self.actor.roles & verb.roles)


async def visitor_of(
    app: WebApp, auth: Authenticator, request: Request, session: str = SESSION, *, used: bool = True
) -> Visitor:
    """Return the visitor, and note that the session is in use; not if ``used`` is False, because a page polls.

    Raises:
        Unauthenticated: ``no_session``, ``session_over``, ``bad_token``.
    """
    token = cookie_of(request, session)
    if not token:
        raise Unauthenticated("no_session", next_step="Sign in.")
    actor = await auth(token, request_id(request), by_itself=not used)
    request.scope["state"] |= {"actor": actor.id, "caller": actor}
    if used:
        await logins.session_seen(app, actor)
    return Visitor(actor=actor, token=token)


def cookie_of(request: Request, name: str) -> str:
    """Return the cookie of exactly this name; empty: there is none, or two.

    The framework also takes a name with blanks around it that are none to a browser (U+00A0): such a cookie, without
    the prefix that binds ours to this host, is any host's of our domain to give.
    """
    pairs = (pair.strip(" ").partition("=") for line in request.headers.getlist("cookie") for pair in line.split(";"))
    found = [value for given, _, value in pairs if given == name]
    return found[0] if len(found) == 1 else ""


def keep(reply: Response, name: str, value: str) -> None:
    """Give the browser a cookie until it is closed; an empty value removes it."""
    reply.headers.append("set-cookie", f"{name}={value}; {_KEPT}" + ("" if value else "; Max-Age=0"))


def form_word(app: WebApp, cookie: str) -> str:
    """Return the word in the forms that are shown to whoever has this cookie."""
    return app.token_key(f"form of the console: {cookie}".encode()).hex()


def browser_of(request: Request, session: str = SESSION) -> str:
    """Return a digest of what only this browser shows us, so that only it can answer a challenge that was given to it.
    """
    return sha256((cookie_of(request, session) or cookie_of(request, STRANGER)).encode()).hexdigest()


def check_origin(request: Request) -> None:
    """Check that this origin sent a form.

    Raises:
        Denied: ``other_site``.
    """
    site, origin = request.headers.get("sec-fetch-site", ""), request.headers.get("origin", "")
    ours = origin.partition("://")[2] == request.headers.get("host", "")
    if site not in ("", "same-origin") or (origin and not ours) or not (site or origin):
        raise Denied("other_site", next_step="Open the page in the console itself, and send it from there.")


async def form_of(app: WebApp, request: Request, *allowed: str, session: str = SESSION) -> dict[str, str]:
    """Read a form that a page of ours sent; a missing field is empty. ``session`` = its site's cookie.

    Raises:
        Denied: ``other_site``, ``old_form``.
        Rejected: ``bad_request``, and what :func:`byokeep.http.request.read_bytes` raises.
    """
    return (await secret_form_of(app, request, "", *allowed, session=session))[0]


async def secret_form_of(
    app: WebApp, request: Request, secret: str, /, *allowed: str, session: str = SESSION
) -> tuple[dict[str, str], Secret]:
    """As :func:`form_of`, and the field ``secret``, which is never text; without the spaces that copying adds."""
    check_origin(request)
    if request.headers.get("content-type", "") != "application/x-www-form-urlencoded":
        raise Rejected("unsupported_media_type", next_step="Send the form as the page does.")
    pairs, value = _taken_apart(await read_bytes(request), secret)
    found = dict(pairs)
    if not pairs or len(found) != len(pairs) or not set(found) <= {"form", *allowed} or "\0" in "".join(found.values()):
        raise Rejected("bad_request", next_step="Send the form as the page does.")
    word = found.pop("form", "").encode()
    cookies = filter(None, (cookie_of(request, session), cookie_of(request, STRANGER)))
    if not any(hmac.compare_digest(form_word(app, cookie).encode(), word) for cookie in cookies):
        raise Denied("old_form", next_step="Load the page again: it was made for another session. Then send it.")
    return dict.fromkeys(allowed, "") | found, value


def _taken_apart(raw: bytes, secret: str) -> tuple[list[tuple[str, str]], Secret]:
    """Return the fields of a form and, separately, the secret one; no fields = not a form. No error holds the secret.
    """
    mark = f"{secret}=".encode()
    parts = raw.split(b"&")
    hidden = [part.removeprefix(mark) for part in parts if secret and part.startswith(mark)]
    open_ = b"&".join(part for part in parts if not (secret and part.startswith(mark)))
    try:
        pairs = parse_qsl(
            open_.decode(), keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=_MOST
        )
    except ValueError:
        pairs = []
    value = unquote_to_bytes(hidden[0].replace(b"+", b" ")).strip() if hidden else b""
    return [] if len(hidden) > 1 else pairs, Secret(value)


def next_page(text: str, home: str = HOME) -> str:
    """Return the page below ``home`` that a text names; for anything else, the first page."""
    return text if text.startswith(home) and _PAGE.match(text.removeprefix(home)) else home


def came_from(request: Request, home: str = HOME) -> str:
    """Return the page of ours from which a form was sent, as the browser says; otherwise the first page."""
    try:
        said = urlsplit(request.headers.get("referer", ""))
    except ValueError:
        return home
    return next_page(said.path + (f"?{said.query}" if said.query else ""), home)
