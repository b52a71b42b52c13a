"""How a page of the console is made, served and refused.

Rules
- Each page has the headers of :data:`HEADERS`: nothing runs but the files of this folder, nothing is framed, nothing is
  cached.
- Whatever a page needs is given to its template by name. A missing name is an error, and nothing is sent.
- A table says in each cell which column it is in: on a narrow screen the stylesheet shows its rows as cards.
- A refusal is a page that says what was refused and what to do, with the code and the request's id, and the API's
  status. It is recorded as over the API. Without a session it is the sign-in page.

It may not show a text that no flow returned.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from importlib.resources import files
from typing import Any, Final, NoReturn, Protocol, TypeAlias
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from byokeep.console.visit import (
    HOME,
    SESSION,
    STRANGER,
    PageSet,
    Visitor,
    came_from,
    cookie_of,
    form_of,
    form_word,
    keep,
    next_page,
    visitor_of,
)
from byokeep.core.errors import KINDS, ByokeepError, Conflict, Denied, Rejected, Unauthenticated, Unavailable, refusing
from byokeep.core.policy import Verb
from byokeep.core.secret import Secret
from byokeep.http.emergency import Emergency
from byokeep.http.openapi import LateRoute
from byokeep.http.request import STATUS, Authenticator, Budget, answer, query_of, request_id
from byokeep.kernel.app import WebApp
from byokeep.tenancy import clients
from byokeep.tenancy.schemas import login_from

ENDED: Final = "event: ended\ndata: {}\n\n"  # a stream's last event: its session is over
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self';"
    " img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",  # a form says where it comes from; other sites learn nothing
}
NAV: Final = (
    ("Work", ((HOME, "Needs attention"), (f"{HOME}/clients", "Clients"), (f"{HOME}/alerts", "Alerts"),
              (f"{HOME}/due", "Due"), (f"{HOME}/approvals", "Approvals"), (f"{HOME}/procedures", "Procedures"))),
    ("Stop", ((f"{HOME}/kill", "Kill switch"), (f"{HOME}/incidents", "Incidents"),
              (f"{HOME}/break-glass", "Break glass"))),
    ("Look", ((f"{HOME}/usage", "Usage"), (f"{HOME}/audit", "Audit"), (f"{HOME}/people", "People"),
              (f"{HOME}/checklists", "Checklists"), (f"{HOME}/recovery", "Backups"),
              (f"{HOME}/settings", "Settings"))),
)  # fmt: skip
# Pages that not everybody may open, and whether they cover every client: the menu does not offer what would be refused.
_OPENED_BY: Final = {
    f"{HOME}/audit": (Verb.AUDIT_READ, True), f"{HOME}/people": (Verb.SUBJECT_READ, False),
    f"{HOME}/usage": (Verb.KEY_HISTORY, False), f"{HOME}/checklists": (Verb.CHECKLIST_READ, True),
    f"{HOME}/recovery": (Verb.CHECKLIST_READ, True), f"{HOME}/settings": (Verb.SETTINGS_READ, True),
}  # fmt: skip
# What somebody may do: in words, the page, the verb that it needs, and whether it covers every client.
ACTIONS: Final = (
    ("Stop a client", f"{HOME}/kill", Verb.SWITCH_CLOSE, False),
    ("Release a stop", f"{HOME}/kill", Verb.SWITCH_REQUEST_OPEN, False),
    ("Approve what waits", f"{HOME}/approvals", Verb.SWITCH_APPROVE_OPEN, False),
    ("Approve new rights of people", f"{HOME}/approvals", Verb.SUBJECT_APPROVE, False),
    ("New client", f"{HOME}/new-client", Verb.CLIENT_CREATE, False),
    ("Put in or rotate a key: choose the client", f"{HOME}/clients", Verb.KEY_WRITE, False),
    ("Open an incident", f"{HOME}/incidents/new", Verb.INCIDENT_OPEN, False),
    ("Cut off many keys at once", f"{HOME}/revocations", Verb.INCIDENT_STEP, False),
    ("Ask for break glass", f"{HOME}/break-glass", Verb.GLASS_REQUEST, False),
    ("Verify the whole log", f"{HOME}/audit", Verb.AUDIT_RUN, True),
    ("Go through the daily checklist", f"{HOME}/checklists/daily", Verb.CHECKLIST_SIGN, True),
)  # fmt: skip
CONSOLE: Final = PageSet(
    home=HOME, session=SESSION, package="byokeep.console", nav=NAV, headers=HEADERS, actions=ACTIONS
)
SIGN_IN: Final = CONSOLE.sign_in


class Send(Protocol):
    """Forwards a call to the broker or the kill process (:class:`byokeep.web.forward.Forwarder`)."""

    async def __call__(self, method: str, path: str, headers: dict[str, str], body: Secret, **given: UUID) -> Response:
        """Send one call; ``given`` are the ids of its path."""


Refusal: TypeAlias = Rejected | Conflict  # what a form can correct
Show = Callable[[Request, Visitor], Awaitable[Response]]
Act = Callable[[Request, Visitor, dict[str, str]], Awaitable[Response]]  # with the fields of its query or form
Again = Callable[[Request, Visitor, dict[str, str], Refusal], Awaitable[Response]]  # and what was refused


@cache
def _templates(package: str) -> Environment:
    loader = ChoiceLoader([PackageLoader(package), PackageLoader(CONSOLE.package)])
    made = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, finalize=_printable,
    )  # fmt: skip
    made.filters |= {"at": _at, "words": _words, "said": _said, "title": titled, "seconds": _seconds,
                     "since": _since, "sentence": _sentence,
                     "cut": lambda rows: len(rows) == clients.MAX_ROWS}  # fmt: skip
    made.globals["Verb"] = Verb  # a page links only to what its visitor may open
    return made


def _printable(value: object) -> object:
    """Return text to show, with a replacement character for what cannot be seen or changes the direction of text."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in value)


def _said(text: str, buttons: Mapping[str, str] | None = None) -> Markup:
    """Return a sentence of ours as markup; in it, commands are between backticks.

    Args:
        buttons: Labels of the buttons beside it, by how their commands begin; the first that matches is named instead
            of the command.
    """
    parts = []
    for at, part in enumerate(text.split("`")):
        fits = (label for command, label in (buttons or {}).items() if at % 2 and part.startswith(command))
        if button := next(fits, ""):
            parts.append(Markup("<strong>{}</strong>").format(button))
        else:
            parts.append(Markup("<code>{}</code>").format(part) if at % 2 else escape(part))
    return Markup("").join(parts)


def _at(at: datetime | str) -> str:
    """Return a time as the command line shows it, in UTC."""
    found = datetime.fromisoformat(at) if isinstance(at, str) else at
    return f"{found.astimezone(UTC):%Y-%m-%d %H:%M}Z"


@pass_context
def _since(context: Context, at: datetime | str) -> Markup:
    """Return a time, and how long before or after the page it is."""
    far = (datetime.fromisoformat(at) if isinstance(at, str) else at) - context["now"]
    minutes = abs(far) // timedelta(minutes=1)
    span = next((f"{minutes // of} {unit}" for unit, of in _UNITS.items() if minutes >= of), "")
    near = (f"in {span}" if far > timedelta() else f"{span} ago") if span else "now"
    return Markup("{} <small>{}</small>").format(_at(at), near)


def _sentence(text: Markup) -> Markup:
    """Return the text after a colon as a sentence of its own."""
    return text[:1].upper() + text[1:]


def _words(code: str) -> str:
    """Return a code of ours as words."""
    said = code.replace("_", " ").replace(".", " ").replace("oauth ", "OAuth ").replace(" api ", " API ")
    return said.replace("breakglass", "break glass")


_UNITS: Final = {"d": 1440, "h": 60, "min": 1}  # in minutes
_TITLES: Final = {  # what people call those whose code reads badly
    "rotate_key": "rotation of a key", "rotate_key_minted": "rotation of a key, made at its provider",
    "rotate_key_cutover": "change to a new key", "rotate_key_leaked": "rotation of a leaked key",
    "end_unused_key": "end of an unused key", "profile_incident": "incident of browser profiles",
    "mass_revoke": "mass revocation", "lower_severity": "lowering a severity",
    "no_playbook": "going without a playbook",
    "rotate_internal": "rotation of a secret of ours", "provider_usage": "asking a provider what it counted",
    "revocation_refused": "no call ended a key at its provider", "key_leak_suspected": "a key may have leaked",
    "pre_empted": "ended by a more urgent run", "kek": "KEK", "sop": "procedure",
    "kill_panic": "stop from the host", "token_reuse": "an ended token was shown again",
}  # fmt: skip


def titled(code: str) -> str:
    """Return a code of ours as people say it, at the beginning of a sentence."""
    said = _TITLES.get(code) or _words(code)
    return said[:1].upper() + said[1:]


def _seconds(took: int | None) -> str:
    """Return how long something took, which may not have ended."""
    return "not known" if took is None else f"{took // 3600} h {took // 60 % 60} min {took % 60} s"


_TABLE: Final = re.compile('<table(?! class="month").*?</table>', re.DOTALL)  # a narrow month lacks days
_TAG: Final = re.compile("<[^>]*>")
_HEADER: Final = re.compile(r"<th\b[^>]*>(.*?)</th>")
_PART: Final = re.compile(r'<(table|thead|tbody|tr|td|th)\b( scope="row")?')
_ROLES: Final = {"thead": "rowgroup", "tbody": "rowgroup", "tr": "row", "td": "cell", "th": "columnheader"}


def _as_cards(table: re.Match[str]) -> str:
    """Add to a table the column's name in each cell, and each part's role, which not every browser keeps where a style
    shows that part as a block.
    """
    columns = [_TAG.sub("", one).strip() for one in _HEADER.findall(table[0].partition("</thead>")[0])]
    left: list[str] = []

    def part(found: re.Match[str]) -> str:
        kind, scope = found.groups("")
        if kind == "tr":
            left[:] = columns
        column = left.pop(0) if kind in ("td", "th") and left else ""
        label = f' data-label="{column}"' if kind == "td" else ""
        return f'<{kind}{scope} role="{"rowheader" if scope else _ROLES.get(kind, kind)}"{label}'

    return _PART.sub(part, table[0])


_UPGRADING: Final = (
    "An upgrade is not over: load this again when it is. If it stays, restart every process with the same release."
)


class _Reply(dict[str, Any]):
    """An object of a reply. What it lacks is unknown: until an upgrade is over, who replied may run another release."""

    def __missing__(self, name: str) -> NoReturn:
        raise Unavailable("other_release", next_step=_UPGRADING)


class Console:
    """The pages of one site: what they share, and their routes.

    Args:
        app: The ports of ``web``.
        auth: Token and request id to actor.
        send: Forwards a call.
        writes: The budget of a client's writes, as over the API.
        emergency: Frees space on a full disk, so that something can still be stopped.
        site: Which pages.
    """

    def __init__(
        self, app: WebApp, auth: Authenticator, send: Send, writes: Budget, emergency: Emergency,
        site: PageSet = CONSOLE,
    ) -> None:  # fmt: skip
        self.app, self.auth, self._send, self.writes, self.site = app, auth, send, writes, site
        self.emergency = emergency
        home = site.home
        self.router = APIRouter(prefix=home, tags=[home[1:]], route_class=LateRoute, include_in_schema=False)

    async def visitor(self, request: Request, *, used: bool = True) -> Visitor:
        """Return the visitor. Arguments and errors as for :func:`byokeep.console.visit.visitor_of`."""
        return await visitor_of(self.app, self.auth, request, self.site.session, used=used)

    async def ask(
        self, who: Visitor | Request, method: str, path: str, body: Mapping[str, Any] | None = None, *,
        ids: Mapping[str, UUID] | None = None,
    ) -> Any:  # fmt: skip
        """Forward a call with the visitor's own token; returns the content of the reply. ``ids`` are those of the path.

        Args:
            who: The request of somebody without a session, which tells where a login comes from.

        Raises:
            ByokeepError: The refusal of the other process, which has recorded it.
            Unavailable: ``other_release``, later, when something is read that it lacks.
        """
        reply = await self.fetch(who, method, path, body, ids=ids)
        with refusing("broker_unreachable", Unavailable, on=ValueError):
            return json.loads(reply or b"{}", object_hook=_Reply)

    async def fetch(
        self, who: Visitor | Request, method: str, path: str, body: Mapping[str, Any] | None = None, *,
        ids: Mapping[str, UUID] | None = None,
    ) -> bytes:  # fmt: skip
        """As :meth:`ask`, but returns the reply as it came, such as a signed file."""
        sent = {"Authorization": f"Bearer {who.token}"} if isinstance(who, Visitor) else login_from(who)
        if body is not None:
            sent["Content-Type"] = "application/json"
        content = Secret(b"" if body is None else json.dumps(body))
        reply = await self._send(method, path, sent, content, **(ids or {}))
        if reply.status_code < 400:
            return bytes(reply.body)
        with refusing("broker_unreachable", Unavailable, on=(KeyError, TypeError, ValueError)):
            said = json.loads(bytes(reply.body))
            kind = KINDS.get(str(said["type"]).rpartition(":")[2], Unavailable)
            wait = {name: int(said[name]) for name in ("retry_after_s",) if name in said}
            refusal = kind(said["code"], next_step=said["next_step"], **wait)
        refusal.on_record = True
        raise refusal

    def page(
        self, request: Request, template: str, *, status: int = 200, who: Visitor | None = None, **more: Any
    ) -> Response:
        """Make a page. Its forms are valid only for whoever is shown it."""
        cookie = cookie_of(request, self.site.session if who else STRANGER)
        given = "" if cookie else self.app.ids.token()
        nav = [(group, [one for one in links if offered(who, *_OPENED_BY.get(one[0], (None, False)))])
               for group, links in self.site.nav]  # fmt: skip
        palette = [(words, path) for words, path, verb, every in self.site.actions if offered(who, verb, every)]
        text = _templates(self.site.package).get_template(template).render(
            who=who, form=form_word(self.app, cookie or given), here=request.url.path,
            page=came_from(request, self.site.home), status=status, now=self.app.clock.now(), nav=nav, palette=palette,
            **more,
        )  # fmt: skip
        reply = Response(_TABLE.sub(_as_cards, text), status, self.site.headers, "text/html")
        if given and request.headers.get("sec-fetch-mode", "navigate") == "navigate":
            keep(reply, STRANGER, given)  # not by what a page loads: the form of another page would be old
        return reply

    async def form(
        self, request: Request, error: ByokeepError | None, template: str, *, who: Visitor | None = None, **more: Any
    ) -> Response:
        """Show a form; after its refusal, which is recorded, with what to do and without what was secret in it."""
        status = 200
        if error is not None:
            await answer(request, error)
            status = STATUS.get(error.code, error.http_status)
        return self.page(request, template, status=status, who=who, error=error, **more)

    async def refused(self, request: Request, error: ByokeepError, who: Visitor | None) -> Response:
        """Record a refusal, unless it is already recorded, and return its page."""
        if error.code == "no_session":
            return self._to_sign_in(request)
        await answer(request, error)
        if error.code == "session_over" or (error.code == "bad_token" and who is None):
            reply = self._to_sign_in(request)
            if not _is_stream(request):  # of a page that is still open: somebody may have signed in meanwhile
                keep(reply, self.site.session, "")
            return reply
        if error.code == "step_up_required":
            return self._to_sign_in(request)
        return self.page(
            request, "refused.html", status=STATUS.get(error.code, error.http_status), who=who, error=error,
            about=request_id(request), sent=request.method == "POST",
            denied=isinstance(error, Denied) and not isinstance(error, Unauthenticated),
            recorded=error.on_record and isinstance(error, Denied | Rejected | Conflict),  # as `record_refused_call`
        )  # fmt: skip

    async def lost(self, request: Request, status: int) -> Response:
        """Answer a browser at an address that no page has (404), or to which only a form is sent (405).

        Without a session it is the sign-in page, as everywhere, so nobody learns which addresses exist.
        """
        try:
            who = await self.visitor(request)
        except ByokeepError as error:
            return await self.refused(request, error, None)
        return self.page(request, "lost.html", status=status, who=who, home=self.site.home)

    async def stray(self, sites: Sequence[Console], request: Request, status: int) -> Response:
        """Answer a browser at an address of no site, as the first site of which it has a session: ``/`` leads there."""
        at = next((one for one in sites if cookie_of(request, one.site.session)), self)
        if request.url.path == "/":
            return RedirectResponse(at.site.home, 303, at.site.headers)
        return at.page(request, "lost.html", status=status, home=at.site.home)

    def with_session(self, to: str, token: str) -> Response:
        """Lead to a page with another session; an empty token: with none, and nothing is left of the one before."""
        reply = RedirectResponse(to, 303, HEADERS | ({} if token else {"Clear-Site-Data": '"cache", "storage"'}))
        keep(reply, self.site.session, token)  # cookies are removed separately
        keep(reply, STRANGER, "")
        return reply

    def _to_sign_in(self, request: Request) -> Response:
        home = self.site.home
        if _is_stream(request):
            return Response(ENDED, 200, self.site.headers, "text/event-stream")
        if request.method == "GET" and request.headers.get("sec-fetch-site") == "cross-site":
            # The browser withholds our cookie if another site leads here: one more step, from a page of ours.
            return self.page(request, "hop.html", to=next_page(_path_of(request), home))
        back = _path_of(request) if request.method == "GET" else came_from(request, home)
        return RedirectResponse(
            f"{self.site.sign_in}?next={quote(next_page(back, home), safe='')}", 303, self.site.headers
        )

    def add(
        self, method: str, path: str, show: Show, *, query: bool = False, used: bool = True, stops: bool = False
    ) -> None:
        """Add a page for visitors with a session.

        Args:
            method, path, show: The route and its page.
            query: Whether its address may have a query.
            used: Whether a request for it counts as use of the session.
            stops: Whether it may stop something: then the visitor is authenticated on a full disk, too.
        """

        async def visited(request: Request) -> Response:
            who = None
            try:
                coming = partial(self.visitor, request, used=used)
                who = await (self.emergency.stopping(coming) if stops else coming())
                if method == "GET" and not query:
                    query_of(request)
                return await show(request, who)
            except ByokeepError as error:
                return await self.refused(request, error, who)

        self._add(method, path, visited, show.__name__)

    def asking(self, path: str, show: Act, *names: str) -> None:
        """Add a page that reads the query of its address, for visitors with a session.

        Args:
            path, show: As those of :meth:`add`; the page gets what was asked for, without what was left empty.
            names: What may be asked for.
        """

        async def asked(request: Request, who: Visitor) -> Response:
            given = {name: text for name, text in query_of(request, *names).items() if text}
            return await show(request, who, given)

        asked.__name__ = show.__name__
        self.add("GET", path, asked, query=True)

    def post(self, path: str, act: Act, *fields: str, stops: bool = False, again: Again | None = None) -> None:
        """Add what a form does, for visitors with a session. It gets the fields of a form that a page of ours sent.

        Args:
            path, act, stops: As those of :meth:`add`.
            fields: Which the form may have; one that is missing is empty.
            again: The page with the form, which shows what can be corrected there; ``None`` = a page of its own does.
        """

        async def sent(request: Request, who: Visitor) -> Response:
            given = await form_of(self.app, request, *fields, session=self.site.session)
            try:
                return await act(request, who, given)
            except (Rejected, Conflict) as error:
                if again is None:
                    raise
                return await again(request, who, given, error)

        sent.__name__ = act.__name__
        self.add("POST", path, sent, stops=stops)

    def add_open(self, method: str, path: str, show: Callable[[Request], Awaitable[Response]]) -> None:
        """Add a page for anybody."""

        async def visited(request: Request) -> Response:
            try:
                return await show(request)
            except ByokeepError as error:
                who = None
                with suppress(ByokeepError):
                    who = await self.visitor(request)
                return await self.refused(request, error, who)

        self._add(method, path, visited, show.__name__)

    def file(self, name: str, media: str) -> None:
        """Add a file of the site's own folder, for anybody."""

        async def file(_: Request) -> Response:
            return Response(files(self.site.package).joinpath(name).read_bytes(), headers=HEADERS, media_type=media)

        self.add_open("GET", f"/{name}", file)

    def _add(self, method: str, path: str, visited: Callable[[Request], Awaitable[Response]], name: str) -> None:
        visited.__name__ = name
        self.router.add_api_route(path, visited, methods=[method])


def offered(who: Visitor | None, verb: Verb | None, every: bool) -> bool:
    """Whether somebody is offered what needs a verb; with ``every``, only whoever may see all clients."""
    if who is None:
        return False
    return verb is None or (who.may(verb) and not (every and who.actor.clients is not None))


def _is_stream(request: Request) -> bool:
    """Whether a loaded page asks, which cannot be led elsewhere: it is told :data:`ENDED`, and asks no more."""
    return request.headers.get("accept") == "text/event-stream"


def _path_of(request: Request) -> str:
    query = request.url.query
    return request.url.path + (f"?{query}" if query else "")
