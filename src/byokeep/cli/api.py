"""Calls to ``byokeep web`` with the caller's own token, and names in the place of ids where a person reads.

Rules
- Errors of the server become the same classes here, by code; bodies are never printed.
- Redirects are not followed. Addresses are https with a verified certificate, or http on loopback.
- What makes the call is imported by the call: a page of help needs none of it.
- ``--json`` gets ids as they came. Names are asked for ids that the server has just sent. A machine's token asks for
  none, because it may not. Without an answer the ids are shown.
- A command that may have ended the token it was given asks with the new one: showing an ended token again is an alarm.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import quote

from byokeep.cli.intake import read_token_file
from byokeep.cli.terminal import again, busy, clean, say, session, show
from byokeep.core.canonical import read_json
from byokeep.core.errors import ByokeepError, Rejected, Unavailable, refusing
from byokeep.core.secret import Secret
from byokeep.process import is_held
from byokeep.settings import check_address

T = TypeVar("T")
Fields = Mapping[str, object]
_KINDS: Final = {
    "open-requests": "request", "approvals": "request",
    "logins": "client", "proof": "client", "evidence": "procedure", "sops": "procedure",
    "refs": "key", "jobs": "job", "alerts": "alert", "tokens": "token", "machines": "machine",
    "operators": "person or machine", "accounts": "account", "clients": "client",
}  # fmt: skip
_AT_ONCE_S: Final = 10.0  # seconds that the kill process has, before `web` is asked
_AT_LAST_S: Final = 15.0  # seconds that `web` has then: it asks the same process, and the broker after it
_ANSWER_S: Final = 60.0  # seconds for anything else
_NAMES_S: Final = 2.0  # seconds for names: without an answer the ids are shown
# What is wrong there is not the caller's: another process may be asked.
_UNHEARD: Final = ("server_unreachable", "server_certificate_refused")
_ON_THE_WAY: Final = (*_UNHEARD, "server_garbage", "server_did_not_answer")
_LIMIT: Final = 64 * 1024 * 1024  # bytes of a reply that is read whole


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end."""
    import asyncio  # noqa: PLC0415 - see the top

    return asyncio.run(work)


def segment(text: str) -> str:
    """Return text as one part of a path."""
    return quote(text, safe="")


def stack(home: Path) -> dict[str, Any]:
    """Read ``home/stack.json``: where the running stack listens. Empty if there is none, or if it was killed: then
    another program may listen there.
    """
    try:
        found: dict[str, Any] = json.loads((home / "stack.json").read_text())
    except (OSError, ValueError):
        return {}
    held = home / "byokeep.pid"
    return {} if os.access(held, os.R_OK) and not is_held(held) else found


def no_stack_here() -> str:
    """Say where a stack was looked for, how to start one, and how else to name one."""
    place, start = clean(str(session().settings.home)), again("up", own_token=False)
    return f"No stack runs in {place}. Start one with `{start}`, or name another home (--home, BYOKEEP_HOME) or "


def web_url() -> str:
    """Return where ``byokeep web`` is.

    Raises:
        Unavailable: ``no_stack`` - nothing named and nothing running.
    """
    settings = session().settings
    url = settings.web_url or str(stack(settings.home).get("web_url", ""))
    if not url:
        raise Unavailable("no_stack", next_step=no_stack_here() + "its address with --url.")
    check_address("web_url", url)
    return url.rstrip("/")


async def call_kill(method: str, path: str, **sent: Any) -> Any:
    """Do as :func:`call` does with the kill process if it is known; if that does not answer, with `byokeep web`."""
    settings = session().settings
    at = settings.killswitch_url or ("" if settings.web_url else str(stack(settings.home).get("killswitch_url", "")))
    return await _first("killswitch", (at,), method, path, sent | ({"within_s": _AT_LAST_S} if at else {}))


async def call_broker(method: str, path: str, **sent: Any) -> Any:
    """Do as :func:`call` does with break glass on this host while it is served, else with the broker if it is known.

    What was sent and not answered may have been done: only a kill is asked for twice.
    """
    settings = session().settings
    socket = settings.home.absolute() / "breakglass.sock"
    here = not settings.web_url
    on_host = f"unix://{socket}" if here and socket.exists() else ""
    broker = settings.broker_url or (str(stack(settings.home).get("broker_url", "")) if here else "")
    passed = _ON_THE_WAY if method == "GET" else _UNHEARD
    return await _first("broker", (on_host, broker), method, path, sent, passed=passed)


async def _first(
    who: str, places: Sequence[str], method: str, path: str, sent: Mapping[str, Any], *,
    passed: Collection[str] = _ON_THE_WAY,
) -> Any:  # fmt: skip
    """Return the answer of the first of these places that answers, or that of `byokeep web`; an empty one is none.

    ``passed`` are the codes after which the next one is asked.
    """
    for at in filter(None, places):
        check_address(f"{who}_url", at)
        try:
            return _document(await fetch(method, path, at=at, ca_file=f"{who}_ca_file", **sent))
        except Unavailable as error:
            if error.code not in passed:
                raise
    return await call(method, path, **sent)


def own_token() -> Secret:
    """Return the caller's API token from its file."""
    settings = session().settings
    named = settings.token_file
    return read_token_file(Path(named) if named else settings.home / "credentials" / "cli.token")


async def call(method: str, path: str, **sent: Any) -> Any:
    """Call the server and return the decoded JSON (``None`` for an empty reply). As :func:`fetch`."""
    return _document(await fetch(method, path, **sent))


async def fetch(
    method: str, path: str, *, body: Fields | None = None, raw: Secret | None = None, token: Secret | None = None,
    anonymous: bool = False, params: Fields | None = None, at: str = "",
    ca_file: str = "web_ca_file", within_s: float = _ANSWER_S, take: Callable[[bytes], object] | None = None,
) -> bytes:  # fmt: skip
    """Call the server and return the reply's bytes as they came.

    Args:
        method: HTTP method.
        path: Path of the route.
        body: Members of the JSON body, without what is None; ids as they are.
        raw: Secret to send as the whole body.
        token: A token other than the caller's own.
        anonymous: Send no token.
        params: Query, without what is None; never a value.
        at: Address of another process; empty = that of `byokeep web`, which has ``within_s`` seconds to answer.
        ca_file: The setting that names the issuer of the certificate there.
        take: Gets the reply piece by piece, however long it is; nothing is returned then. ``within_s`` is for a piece.

    Raises:
        ByokeepError: As the server answered, or Unavailable: ``server_unreachable`` if nothing was sent.
    """
    import aiohttp  # noqa: PLC0415 - see the top
    from yarl import URL  # noqa: PLC0415 - see the top

    from byokeep.wire.address import parse_address  # noqa: PLC0415 - see the top
    from byokeep.wire.transport import PIECE, CaFileUnreadable, TooLarge, Transport, read_body  # noqa: PLC0415 - see the top

    socket, base = None, at or web_url()  # first: who has no stack needs one before a token
    if at or base.startswith("unix:"):
        socket, base = parse_address(base, "http://byokeep", "bad_address", "insecure_address")
    data, headers = _sent(body, raw, None if anonymous else own_token() if token is None else token)
    within = _AT_ONCE_S if at else within_s
    timeout = aiohttp.ClientTimeout(total=None if take else within, connect=3, sock_read=within)
    try:
        url = URL(base + path).update_query({name: str(value) for name, value in _given(params or {}).items()})
        async with (
            Transport(socket, ca_file=session().settings.file(ca_file)) as http,
            http.request(method, url, headers=headers, within=timeout, data=data) as reply,
        ):
            status, content = reply.status, b""
            if take is None or not 200 <= status < 300:
                content = await read_body(reply, _LIMIT)
            else:
                async for piece in reply.content.iter_chunked(PIECE):
                    take(piece)
    except CaFileUnreadable:
        raise Rejected("bad_setting", next_step="Give a PEM file.", setting=ca_file) from None
    except TooLarge:
        raise Unavailable("server_garbage", next_step="The reply is too large.") from None
    except aiohttp.ClientSSLError:
        raise Unavailable("server_certificate_refused", next_step=f"Set {ca_file} to the issuer's PEM.") from None
    except (aiohttp.ClientError, OSError) as error:
        unsent = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
        raise _no_answer(sent=not unsent, acts=method != "GET") from None
    if 200 <= status < 300:
        return content
    raise _refusal(status, content, path, body)


def _no_answer(*, sent: bool, acts: bool) -> Unavailable:
    doubt = "It may have been done all the same: look before you repeat it. " * (sent and acts)
    step = f"{doubt}Check that the stack is up: `{again('doctor')}`."
    return Unavailable("server_did_not_answer" if sent else "server_unreachable", next_step=step)


def _sent(body: Fields | None, raw: Secret | None, token: Secret | None) -> tuple[bytes | None, dict[str, str]]:
    """Return what is sent, and its headers."""
    headers = {} if token is None else {"Authorization": "Bearer " + token.reveal().decode()}
    if raw is not None:
        return raw.reveal(), headers | {"Content-Type": "application/octet-stream"}
    if body is not None:
        return json.dumps(_given(body), default=str).encode(), headers | {"Content-Type": "application/json"}
    return None, headers


def _given(fields: Fields) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None}


def _refusal(status: int, content: bytes, path: str, body: Any) -> ByokeepError:
    from byokeep.client.http import error_from  # noqa: PLC0415 - see the top

    problem = _document(content)
    error = error_from(status, problem if isinstance(problem, dict) else {})
    if error.code == "broker_garbage":
        return Unavailable("server_garbage", next_step="This is not a byokeep server.")
    if error.code == "not_found" and not error.next_step:
        error.next_step = no_such(_asked_for(path, body))
    return error


def no_such(what: str) -> str:
    """Return what to say about an id that leads to nothing; missing and another's get the same answer."""
    if not what:
        return "Nothing has this id, or you are not assigned to its client. Check the id."
    if what == "account":
        return "No account has this name there, or you are not assigned to its client: `byokeep account list CLIENT`."
    article = "an" if what[0] in "aeiou" else "a"
    return f"No {what} has this id, or you are not assigned to it. Check that it is the id of {article} {what}."


def _asked_for(path: str, body: object) -> str:
    """Return what the id in a path, or else in the body, stands for."""
    otherwise = "client" if isinstance(body, dict) and body.get("client_id") else ""
    return next((what for part, what in _KINDS.items() if f"/{part}/" in path), otherwise)


def _document(content: bytes) -> Any:
    with refusing("server_garbage", Unavailable, next_step="This is not a byokeep server."):
        return read_json(content) if content else None


# The fields that hold ids of what has a name.
_NAMED: Final = (
    "client_id", "object_id", "subject_id", "dispatcher_id", "runner_id", "actor", "object", "scope", "clients",
    "client", "by", "acknowledged_by", "approved_by", "asked_by", "changed_by", "closed_by", "confirmed_by",
    "created_by", "holder", "opened_by", "requested_by", "sealed_by", "session_by", "set_by", "settled_by",
    "signed_by", "started_by", "what",
)  # fmt: skip
_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MOST: Final = 300  # ids in one question
OF_MACHINES: Final = (b"bkd_", b"bkr_", b"bkc_")


def tell(
    data: Any, *, title: str = "", columns: Sequence[str] = (), note: str = "", token: Secret | None = None,
    known: Mapping[str, str] | None = None, whole: Any = None,
) -> None:  # fmt: skip
    """Print a result as :func:`byokeep.cli.terminal.show` does, with names. ``columns`` are those of the result.

    Args:
        whole: What programs get in its place; default: the result.
        token: Asks for the names; default: the caller's own.
        known: Names that were already asked for; then nothing is asked.
    """
    if session().as_json:
        show(data if whole is None else whole)
        return
    rows = [data] if isinstance(data, Mapping) else list(data)
    known = names(ids_of(rows), token) if known is None else known
    told = [_named(row, known) for row in rows]
    wanted = tuple(_shown_as(name) for name in columns)
    show(told[0] if isinstance(data, Mapping) else told, title=title, columns=wanted, note=note)


class Listing(NamedTuple):
    """Rows of a reply, as :func:`tell` takes them; None = there is nothing to show."""

    rows: Any
    title: str
    columns: Sequence[str] = ()
    note: str = ""


def tell_all(document: Any, *tables: Listing) -> None:
    """Print a reply: as one document for programs, else its tables with a line between them."""
    if session().as_json:
        show(document)
        return
    for at, table in enumerate(one for one in tables if one.rows is not None):
        if at:
            say("")
        tell(table.rows, title=table.title, columns=table.columns, note=table.note)


def waiting(requests: Sequence[Mapping[str, Any]], approve: str) -> Listing:
    """Return the table of requests that wait for an approver, who types ``approve`` and an id."""
    step = again(f"{approve} {requests[0]['id']}", own_token=False) if requests else ""
    columns = ("id", "scope", "reason", "requested_by", "expires_at")
    return Listing(requests or None, "Waiting for an approver", columns, f"Next, by an approver: {step}")


def steps_of(found: Mapping[str, Any]) -> str:
    """Return the steps of a run that are proved, each with its record, as people read them."""
    proved = [f"{one['step']} (record {one['seq']}, {clean(one['at'])})" for one in found["steps"]]
    return ", ".join(proved) or "nothing yet"


def requested(asked: Mapping[str, Any], approve: str, *, by: str = "an approver") -> None:
    """Print what was asked for, and what the second person types."""
    said = "This was already requested. " if asked["repeated"] else ""
    shown = asked if session().as_json else {name: value for name, value in asked.items() if name != "repeated"}
    tell(shown, title="Request", note=f"{said}Next, by {by}: {again(approve, own_token=False)}")


async def ask_until(path: str, over: Callable[[Any], bool], *, within_s: float, saying: str) -> Any:
    """Ask until an answer is ``over`` or the time is up; return the last answer."""
    import asyncio  # noqa: PLC0415 - see the top

    deadline = time.monotonic() + within_s
    with busy(saying):
        while True:
            if over(found := await call("GET", path)) or time.monotonic() > deadline:
                return found
            await asyncio.sleep(0.2)


def ids_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the ids in rows that may have a name."""
    return [one for row in rows for one in _ids(row)]


def _ids(row: Mapping[str, Any]) -> Iterator[str]:
    for field in _NAMED:
        value = row.get(field)
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str):
                yield from _ID.findall(text)


def names(ids: Sequence[str], token: Secret | None = None) -> Mapping[str, str]:
    """Return the names of those ids that have one for the caller. A name is told by id; :mod:`byokeep.cli.names` finds.

    Args:
        token: Asks; default: the caller's own.
    """
    if not ids:
        return {}
    try:
        asks = own_token() if token is None else token
        if asks.reveal().startswith(OF_MACHINES):
            return {}
        found: dict[str, str] = {}
        every = sorted(set(ids))
        for at in range(0, len(every), _MOST):
            body = {"ids": every[at : at + _MOST]}
            found |= run(call("POST", "/v1/names", body=body, token=asks, within_s=_NAMES_S))["names"]
    except (ByokeepError, TypeError, KeyError):
        return {}
    return found


def _named(row: Mapping[str, Any], known: Mapping[str, str]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for field, value in row.items():
        shown_as = _shown_as(field)
        if field not in _NAMED:
            told[field] = value
        elif shown_as == field or shown_as not in row:
            told[shown_as] = _name(value, known)
    return told


def _shown_as(field: str) -> str:
    return field.removesuffix("_id") if field in _NAMED else field


def _name(value: Any, known: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_name(one, known) for one in value]
    if not isinstance(value, str):
        return value
    # A scope is words with an id in it: client:ID:platform:x
    return _ID.sub(lambda found: known.get(found[0], found[0]), value)
