"""The layers in front of the framework: the guard, the door, and the routes that are served without it.

Rules
- The guard adds the request id, the security headers, the last-resort answer and the access log. A request id sent by
  the caller is not read. Whatever breaks further in, the caller gets a problem document and the log gets its class.
- The log names the route's template, never the path or query, which may hold ids of others or worse: a key of 32 hex
  digits reads as an id, and a method is text of the caller's choice. Both are logged only in our own spelling.
- Refused requests are logged one by one up to a rate and counted beyond it: a flood fills no disk (S-OWASP-16).
- The door limits how many requests of a kind are served at once and how many wait. Only what starts work is counted: a
  kill, a heartbeat, a permit and the end of a job pass. A refused request has done nothing and asked nobody, so it may
  be sent again; the refusal names the limit and the time. The door does not look at who asks.
- The fast router serves the few routes that are called all the time. A route is declared once, to the framework: path,
  dependencies, endpoint and status are read from there. What does not match letter for letter is left to the framework.
  The order is the framework's: the query is refused, the dependencies run as declared (who asks, then the body), then
  the ids of the path are read. A parameter of an unknown kind stops the process at its start, not a request.
- A reply goes out as the endpoint made it. Its model describes it in the OpenAPI document, and tests hold it to that.

It may not decide anything: every check is a dependency or the flow's.
"""

from __future__ import annotations

import asyncio
import inspect
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final
from uuid import UUID, uuid4

from fastapi.params import Depends
from fastapi.routing import APIRoute
from fastapi.telemetry import TelemetryConfig
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from byokeep.core.bucket import Buckets
from byokeep.core.errors import ByokeepError, NotFound, Rejected, Unavailable
from byokeep.http.request import (
    INTERNAL,
    PathId,
    answer,
    bad_path,
    canonical_id,
    no_query,
    problem,
    request_id,
    unserved,
)
from byokeep.telemetry.log import get_log

REFUSED_AT_ONCE: Final = 1200  # lines of refused requests in a burst
REFUSED_PER_MINUTE: Final = 300  # lines that are still written in a flood
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# What others may read as a separator or a step, and we do not: one path, one spelling (R4.1-5).
_ODD_PATH: Final = re.compile(
    rb"%(?:2[d-fD-F]|5[cCfF]|3[bB]|[46][1-9a-fA-F]|[57][0-9aA]|3[0-9]|00)|[\\;]|//|/\.{1,2}(?:/|\Z)"
)
_HOST: Final = re.compile(rb"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?\Z")
_HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"server", b"byokeep"),  # otherwise the HTTP server gives its own name
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"strict-transport-security", b"max-age=31536000"),  # takes effect only behind a reverse proxy's TLS
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)

_ONE_HOST: Final = Rejected("bad_request", next_step="Send one Host header, with a name or address and a port.")

# The framework's own spans would put paths and addresses in our span file; only spans that we open may go there.
NO_TELEMETRY: Final[TelemetryConfig] = {"tracing": False, "metrics": False, "logs": False, "operation_spans": False}


class Guard:
    """ASGI middleware; wrap the finished application in it.

    Args:
        app: What it guards.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._refused = Buckets(per_minute=REFUSED_PER_MINUTE, size=REFUSED_AT_ONCE)
        self._unlogged = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        request_id = uuid4()
        state: dict[str, Any] = {**scope.get("state", {}), "request_id": request_id}
        scope["state"] = state
        started, status = time.perf_counter(), 0

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": _headers(message.get("headers", ()), request_id)}
            await send(message)

        error = ""
        try:
            hosts = [value for name, value in scope.get("headers", ()) if name == b"host"]
            if len(hosts) > 1 or not all(map(_HOST.match, hosts)):
                state["code"] = "bad_request"
                await problem(_ONE_HOST, request_id, status=400)(scope, receive, guarded)
            elif _ODD_PATH.search(scope.get("raw_path", b"").partition(b"?")[0] or scope["path"].encode()):
                reply = await unserved(Request(scope), NotFound("not_found"), 404)
                await reply(scope, receive, guarded)
            else:
                await self._app(scope, receive, guarded)
        except Exception as failure:
            error = type(failure).__name__
            if status == 0:
                await problem(INTERNAL, request_id)(scope, receive, guarded)
        self._write(scope, state, request_id, status, started, error)

    def _write(
        self, scope: Scope, state: dict[str, Any], request_id: UUID, status: int, started: float, error: str
    ) -> None:
        if 400 <= status < 500 and self._refused.take("", time.monotonic()):
            self._unlogged += 1
            return
        unlogged, self._unlogged = self._unlogged, 0
        route = scope.get("route")
        log = get_log()
        write = log.error if error or status >= 500 else log.info
        write(
            "request",
            method=scope["method"] if scope["method"] in _METHODS else "OTHER",
            route=getattr(route, "path", None),
            status=status,
            took_ms=round((time.perf_counter() - started) * 1000, 2),
            request_id=request_id,
            actor=state.get("actor"),
            tenant=state.get("tenant") or _tenant(scope),
            outcome="ok" if status < 400 else "refused" if status < 500 else "failed",
            code=state.get("code"),
            error=error or None,
            count=unlogged or None,
        )


def _tenant(scope: Scope) -> UUID | None:
    """Return the client named in the path, if it is an id as we write it; the room need not repeat it."""
    with suppress(ValueError):
        return canonical_id(str(scope.get("path_params", {}).get("client_id", "")))
    return None


def _headers(found: Any, request_id: UUID) -> list[tuple[bytes, bytes]]:
    """Return the reply's headers plus ours; a room may set its own policy header."""
    kept = [(name, value) for name, value in found if name.lower() not in (b"cache-control", b"server")]
    names = {name.lower() for name, _ in kept}
    kept += [(name, value) for name, value in _HEADERS if name not in names]
    return [*kept, (b"x-request-id", str(request_id).encode())]


AT_ONCE: Final = 32  # more would only wait for a database connection, ahead of heartbeats and permits
WAITING: Final = 96  # served within a second or two, before a caller gives up
RETRY_AFTER_S: Final = 1


class Door:
    """ASGI middleware. Put it inside the guard.

    Args:
        app: What is behind it.
        starting: Patterns of ``METHOD /path`` of the requests that are counted.
        at_once: How many of them are served at once.
        waiting: How many more may wait.
    """

    def __init__(
        self, app: ASGIApp, starting: Sequence[re.Pattern[str]], *, at_once: int = AT_ONCE, waiting: int = WAITING
    ) -> None:
        self._app = app
        self._starting = tuple(starting)
        self._room = asyncio.Semaphore(at_once)
        self._here, self._most = 0, at_once + waiting
        self._step = f"The broker serves {at_once} of these at once and queues {waiting}. Try again in a second."

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http" or not self._counts(f"{scope['method']} {scope['path']}"):
            await self._app(scope, receive, send)
            return
        if self._here >= self._most:
            busy = Unavailable("broker_busy", next_step=self._step, limit=self._most, retry_after_s=RETRY_AFTER_S)
            scope.setdefault("state", {})["code"] = busy.code
            await problem(busy, request_id(Request(scope)))(scope, receive, send)
            return
        self._here += 1
        try:
            async with self._room:
                await self._app(scope, receive, send)
        finally:
            self._here -= 1

    def _counts(self, asked: str) -> bool:
        return any(pattern.fullmatch(asked) for pattern in self._starting)


Dependency = Callable[[Request], Awaitable[Any]]
_OK: Final = 200


class FastRouter:
    """ASGI middleware: answers ``routes`` itself and passes on everything else. Put it directly inside the guard.

    Args:
        app: The framework's application.
        routes: Routes of that application; each path part is a word or one id.

    Raises:
        TypeError: A route with a parameter that cannot be filled here.
    """

    def __init__(self, app: ASGIApp, routes: Sequence[APIRoute]) -> None:
        self._app = app
        self._routes: dict[tuple[str, int], list[_Route]] = {}
        for declared in routes:
            route = _Route(declared)
            for method in declared.methods or ():
                self._routes.setdefault((method, len(route.parts)), []).append(route)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http" and not scope.get("root_path"):
            parts = scope["path"].split("/")
            for route in self._routes.get((scope["method"], len(parts)), ()):
                if route.matches(parts):
                    await route.serve(parts, scope, receive, send)
                    return
        await self._app(scope, receive, send)


class _Route:
    """One route: where the words and ids of its path are, and what fills the endpoint's parameters."""

    def __init__(self, declared: APIRoute) -> None:
        self.parts = declared.path.split("/")
        self._declared = declared
        self._words = [(at, part) for at, part in enumerate(self.parts) if not part.startswith("{")]
        self._ids = {part[1:-1]: at for at, part in enumerate(self.parts) if part.startswith("{")}
        self._dependencies: dict[str, Dependency] = {}
        self._of_path: dict[str, int] = {}
        self._request: str | None = None
        for name, parameter in inspect.signature(declared.endpoint, eval_str=True).parameters.items():
            if isinstance(parameter.default, Depends) and parameter.default.dependency is not None:
                self._dependencies[name] = parameter.default.dependency
            elif parameter.annotation is Request:
                self._request = name
            elif parameter.annotation == PathId and name in self._ids:
                self._of_path[name] = self._ids[name]
            else:
                raise TypeError(f"{declared.path}: {name} cannot be filled here")

    def matches(self, parts: list[str]) -> bool:
        """Whether a path is this route's."""
        return all(parts[at] == word for at, word in self._words) and all(parts[at] for at in self._ids.values())

    async def serve(self, parts: list[str], scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        scope["route"] = self._declared
        scope["path_params"] = {name: parts[at] for name, at in self._ids.items()}
        request = Request(scope, receive, send)
        try:
            response = await self._answer(request, parts)
        except ByokeepError as error:
            response = await answer(request, error)
        await response(scope, receive, send)

    async def _answer(self, request: Request, parts: list[str]) -> Response:
        await no_query(request)
        filled: dict[str, Any] = {name: await ask(request) for name, ask in self._dependencies.items()}
        filled |= {name: _id(parts[at]) for name, at in self._of_path.items()}
        if self._request is not None:
            filled[self._request] = request
        found = await self._declared.endpoint(**filled)
        return found if isinstance(found, Response) else JSONResponse(found, self._declared.status_code or _OK)


def _id(text: str) -> UUID:
    try:
        return canonical_id(text)
    except ValueError:
        raise bad_path() from None
