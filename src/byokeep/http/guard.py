"""The outermost layer of a surface: request id, security headers, last-resort answer, access log.

Rules
- The request id is ours; one sent by the caller is not read.
- The log names the route's template, never the path or query, which may hold ids of others or worse: a key of 32 hex
  digits reads as an id, and a method is text of the caller's choice. Both stand there only in our own spelling.
- Refused requests are logged one by one up to a rate, beyond it counted: a flood fills no disk (S-OWASP-16).
- Whatever breaks further in, the caller gets a problem document and the log the exception's class.
"""

from __future__ import annotations

import re
import time
from contextlib import suppress
from typing import Any, Final
from uuid import UUID, uuid4

from fastapi.telemetry import TelemetryConfig
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from byokeep.core.bucket import Buckets
from byokeep.core.errors import NotFound
from byokeep.http.body import canonical_id
from byokeep.http.problems import INTERNAL, problem
from byokeep.telemetry.log import get_log

REFUSED_AT_ONCE: Final = 1200  # lines of refused requests in a burst
REFUSED_PER_MINUTE: Final = 300  # and as many go on being written in a flood
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# What somebody may take for a separator or a step where nobody here does: one path, one spelling (R4.1-5).
_ODD_PATH: Final = re.compile(
    rb"%(?:2[d-fD-F]|5[cCfF]|3[bB]|[46][1-9a-fA-F]|[57][0-9aA]|3[0-9]|00)|[\\;]|//|/\.{1,2}(?:/|\Z)"
)
_HEADERS: Final = (
    (b"cache-control", b"no-store"),
    (b"server", b"byokeep"),  # or the HTTP server puts its own name
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"strict-transport-security", b"max-age=31536000"),  # counts behind the TLS of a reverse proxy only
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)

# The framework's own spans would carry paths and addresses into our span file; only spans that we open may go there.
NO_TELEMETRY: Final[TelemetryConfig] = {"tracing": False, "metrics": False, "logs": False, "operation_spans": False}


class Guard:
    """ASGI middleware; wrap the finished application in it.

    Args:
        app: What it guards.
        log: Write an access log line for each request.
    """

    def __init__(self, app: ASGIApp, *, log: bool = True) -> None:
        self._app = app
        self._log = log
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
            if _ODD_PATH.search(scope.get("raw_path", b"").partition(b"?")[0] or scope["path"].encode()):
                await problem(NotFound("not_found"), request_id)(scope, receive, guarded)
            else:
                await self._app(scope, receive, guarded)
        except Exception as failure:
            error = type(failure).__name__
            if status == 0:
                await problem(INTERNAL, request_id)(scope, receive, guarded)
        if self._log:
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
    """The client named in the path, when it is an id as we write it: the room need not say it again."""
    with suppress(ValueError):
        return canonical_id(str(scope.get("path_params", {}).get("client_id", "")))
    return None


def _headers(found: Any, request_id: UUID) -> list[tuple[bytes, bytes]]:
    """The reply's headers plus ours; a room may set its own policy header."""
    kept = [(name, value) for name, value in found if name.lower() not in (b"cache-control", b"server")]
    names = {name.lower() for name, _ in kept}
    kept += [(name, value) for name, value in _HEADERS if name not in names]
    return [*kept, (b"x-request-id", str(request_id).encode())]
