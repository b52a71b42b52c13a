"""What comes in, who asks, and how a refusal goes out: strict JSON, canonical ids, one bearer token, problem documents.

Rules
- A body has one meaning. A repeated key, an unknown field, a number that is no integer, deep nesting, another encoding
  or media type is refused, and the refusal repeats nothing of it.
- An id in a path has one spelling (R4.1-5). There is no query.
- The caller is one ``Authorization: Bearer`` header, nothing else.
- An error is a problem document (RFC 9457). A refusal that no flow has recorded is recorded here.
- A budget of calls belongs to one key; nobody can use up another's (S-OWASP-25, S-ASVS-8). Counts live in this process
  and are bounded in number; a restart forgets them.
- Ready means that it answers within the time that the caller has.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Final, Protocol, TypeVar, cast
from uuid import UUID, uuid4

from fastapi import FastAPI, Path
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from byokeep.core.bucket import Buckets
from byokeep.core.canonical import strict_object
from byokeep.core.errors import KINDS, ByokeepError, NotFound, RateLimited, Rejected, Unauthenticated, Unavailable
from byokeep.core.model import Actor, ClientId, Role
from byokeep.kernel.ports import Clock
from byokeep.kernel.probes import ask, passes

MAX_BODY: Final = 16 * 1024  # bytes
MAX_DEPTH: Final = 6
BODY_WITHIN_S: Final = 10.0  # a slower sender holds a place that others, and the kill switch, need
_MAX_INT: Final = 9  # digits
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")
M = TypeVar("M", bound="Strict")


class Strict(BaseModel):
    """A request body: known fields only, no coercion."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


def canonical_id(value: object) -> UUID:
    """Accept a UUID only in its lower-case canonical spelling.

    Raises:
        ValueError: Any other spelling.
    """
    if isinstance(value, UUID):
        return value
    if isinstance(value, str) and len(value) == 36 and _UUID.match(value):
        return UUID(value)
    raise ValueError("not a canonical id")


Id = Annotated[UUID, BeforeValidator(canonical_id)]
PathId = Annotated[UUID, BeforeValidator(canonical_id), Path()]


def _refused(code: str, step: str = "Send one JSON object as the API describes it; see /openapi.json.") -> Rejected:
    return Rejected(code, next_step=step)


async def read_bytes(request: Request, *, limit: int = MAX_BODY) -> bytes:
    """Return the body.

    Raises:
        Rejected: ``body_too_large``, ``content_encoding``, ``body_too_slow``, ``body_cut_off``.
    """
    raw = bytearray()
    with _read(request, "Send the whole body at once."):
        async with asyncio.timeout(BODY_WITHIN_S):
            async for chunk in request.stream():
                raw += chunk
                if len(raw) > limit:
                    raise Rejected("body_too_large", next_step="Send a smaller body.", limit=limit)
    return bytes(raw)


async def stream_bytes(request: Request, *, media: str) -> AsyncIterator[bytes]:
    """Yield a body as it comes, if it is too large to be held; the reader bounds it.

    Raises:
        Rejected: ``unsupported_media_type``, ``content_encoding``, ``body_too_slow``: no byte for ``BODY_WITHIN_S``,
            ``body_cut_off``.
    """
    if request.headers.get("content-type", "") != media:
        raise _refused("unsupported_media_type", f"Send Content-Type: {media}.")
    chunks = request.stream()
    with _read(request, "Send the body without long pauses."):
        while True:
            async with asyncio.timeout(BODY_WITHIN_S):
                chunk = await anext(chunks, None)
            if chunk is None:
                return
            yield chunk


@contextmanager
def _read(request: Request, pace: str) -> Iterator[None]:
    """Refuse a packed body before a byte of it is taken, and name what keeps it from coming whole."""
    if request.headers.get("content-encoding", "identity") != "identity":
        raise _refused("content_encoding", "Send the body as it is, without compression.")
    try:
        yield
    except TimeoutError:
        raise _refused("body_too_slow", pace) from None
    except ClientDisconnect:
        raise _refused("body_cut_off", "Send the whole body.") from None


_NO_QUERY: Final = "Leave out the query: this route takes none."


async def no_query(request: Request) -> None:
    """Refuse any query string: nothing here uses one. Async, or each request would visit a thread for it.

    Raises:
        Unauthenticated: ``no_token``, for a caller without the header: it may have meant a token (S-ASVS-14).
        Rejected: ``unexpected_query``.
    """
    if request.scope.get("query_string"):
        if "authorization" not in request.headers:
            raise Unauthenticated("no_token", next_step="Send one header `Authorization: Bearer <token>`.")
        raise Rejected("unexpected_query", next_step=_NO_QUERY)


def parse_object(raw: bytes) -> dict[str, Any]:
    """Parse one JSON object strictly.

    Raises:
        Rejected: ``bad_json``.
    """
    try:
        value = strict_object(raw.decode("utf-8"), whole_numbers=True)
    except ValueError:
        value = None
    if value is None or _deeper(value, MAX_DEPTH):
        raise _refused("bad_json")
    return value


def _deeper(value: object, most: int) -> bool:
    """Whether a value is nested deeper; it looks no deeper than that itself."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return items is not None and (most == 0 or any(_deeper(item, most - 1) for item in items))


def shape(model: type[M], value: dict[str, Any]) -> M:
    """Give an object its type.

    Raises:
        Rejected: ``bad_request``; it names the field only if the field is one of ours.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        known = {"field": name} if name in model.model_fields else {}
        most = first["ctx"]["max_length"] if first["type"] == "string_too_long" else 0
    said = f"It is longer than {most} characters" if most else "Check names and types"
    raise Rejected("bad_request", next_step=f"{said}; see /openapi.json.", **known)


def json_body(model: type[M], *, limit: int = MAX_BODY, optional: bool = False) -> Callable[[Request], Awaitable[M]]:
    """Return the dependency that reads a body as ``model``; ``limit`` in bytes. ``optional``: none = defaults.

    The client that a body names becomes the request's, for log and records.
    """

    async def read(request: Request) -> M:
        if (
            optional
            and request.headers.get("content-length", "0") == "0"
            and "transfer-encoding" not in request.headers
        ):
            return shape(model, {})
        media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media != "application/json":
            raise _refused("unsupported_media_type", "Send Content-Type: application/json.")
        body = shape(model, parse_object(await read_bytes(request, limit=limit)))
        if client_id := getattr(body, "client_id", None):
            request.scope.setdefault("state", {})["tenant"] = client_id
        return body

    return read


def query_of(request: Request, *allowed: str) -> dict[str, str]:
    """Return the query, of which every name is allowed and occurs once, and no text holds what a database cannot.

    Raises:
        Rejected: ``unexpected_query``.
    """
    found = request.query_params.multi_items()
    names = [name for name, _ in found]
    if len(set(names)) != len(names) or not set(names) <= set(allowed) or any("\0" in text for _, text in found):
        takes = f"This route takes: {', '.join(allowed)}; each once." if allowed else _NO_QUERY
        raise Rejected("unexpected_query", next_step=takes)
    return dict(found)


def whole_number(name: str, text: str | None) -> int | None:
    """Parse decimal digits; ``None`` stays ``None``.

    Raises:
        Rejected: ``bad_number`` with the name.
    """
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= _MAX_INT):
        raise Rejected("bad_number", next_step="Use decimal digits.", field=name)
    return int(text)


def instant(text: str, refusal: Rejected) -> datetime:
    """Parse an RFC 3339 time with an offset. Raises ``refusal`` for anything else."""
    with suppress(ValueError, OverflowError):  # the very first and last hours have no time in UTC
        at = datetime.fromisoformat(text)
        if at.tzinfo is not None:
            return at.astimezone(UTC)
    raise refusal


def time_of(name: str, text: str) -> datetime:
    """Parse a time of a query or body as :func:`instant` does. Raises Rejected(``bad_time``) with the name."""
    return instant(text, Rejected("bad_time", next_step="Use a time such as 2026-01-31T12:00:00Z.", field=name))


MEDIA_TYPE: Final = "application/problem+json"
_TAKEN: Final = frozenset({"type", "title", "status", "code", "request_id", "next_step"})
Recorder = Callable[..., Awaitable[None]]  # byokeep.kernel.command.record_refused_call, of one process
STATUS: Final = {"body_too_large": 413, "unsupported_media_type": 415, "content_encoding": 415}
INTERNAL: Final = Unavailable("internal_error", next_step="Nothing was released. Report the request id.")


def bad_path() -> Rejected:
    """Return the refusal of a path or parameter that is not what the route says."""
    return Rejected("bad_request", next_step="Check the path and the types; see /openapi.json.")


def request_id(request: Request) -> UUID:
    """Return the id that :class:`byokeep.http.guard.Guard` gave this request."""
    found = request.scope.get("state", {}).get("request_id")
    return found if isinstance(found, UUID) else uuid4()


def problem(error: ByokeepError, about: UUID, *, status: int | None = None) -> Response:
    """Build the reply for an error.

    Args:
        error: Ours; its fields are safe by construction.
        about: The request's id.
        status: An HTTP status other than the class's.
    """
    name = next((name for name, kind in KINDS.items() if isinstance(error, kind)), "error")
    status = status or STATUS.get(error.code, error.http_status)
    document: dict[str, object] = {
        "type": f"urn:byokeep:problem:{name}",
        "title": name.replace("_", " "),
        "status": status,
        "code": error.code,
        "request_id": str(about),
        "next_step": error.next_step,
    }
    document |= {field: value for field, value in error.fields.items() if field not in _TAKEN}
    headers: dict[str, str] = {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, RateLimited) or "retry_after_s" in error.fields:
        headers["Retry-After"] = str(error.fields.get("retry_after_s", 1))
    return Response(json.dumps(document).encode(), status, headers, MEDIA_TYPE)


async def answer(request: Request, error: ByokeepError) -> Response:
    """Record a refusal, note its code for the access log, and build the reply."""
    state = request.scope.setdefault("state", {})
    state["code"] = error.code
    if (route := request.scope.get("route")) is not None:  # without one nothing was called
        about, called = _object(request) or state.get("tenant"), f"{next(iter(route.tags), 'process')}.{route.name}"
        await request.app.state.record_refusal(
            state.get("caller"), error, request_id=request_id(request), object_id=about, route=called
        )
    return problem(error, request_id(request))


def _object(request: Request) -> UUID | None:
    """Return the last id in the path that is written as we write one."""
    found = None
    for text in request.scope.get("path_params", {}).values():
        with suppress(ValueError):
            found = canonical_id(text)
    return found


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, ByokeepError)  # noqa: S101 - registered for this class alone
    return await answer(request, error)


async def _framework(request: Request, error: Exception) -> Response:
    """Answer the framework's refusals of routing and protocol: its text is dropped, its status kept."""
    status = error.status_code if isinstance(error, HTTPException) else 400
    if status == 404:
        return await unserved(request, NotFound("not_found", next_step="Nothing is at this address."), status)
    if status >= 500:
        return await _ours(request, INTERNAL)
    codes = {405: "method_not_allowed", 413: "body_too_large", 415: "unsupported_media_type"}
    refusal = Rejected(codes.get(status, "bad_request"))
    reply = await unserved(request, refusal, status)
    if reply.status_code == 405:
        reply.headers["Allow"] = ", ".join(sorted(_methods(request.app.routes, request.scope["path"])))
    return reply


async def unserved(request: Request, error: ByokeepError, status: int) -> Response:
    """Reply when nothing was called: to a browser with a page (``state.lost``, by the first part of the path, ``/`` for
    all others), unless it is below the API.
    """
    request.scope.setdefault("state", {})["code"] = error.code
    pages, first = getattr(request.app.state, "lost", {}), "/" + f"{request.url.path}/".split("/")[1]
    lost = None if first == "/v1" else pages.get(first, pages.get("/"))
    if lost is not None and "text/html" in request.headers.get("accept", ""):
        return cast("Response", await lost(request, status))
    return problem(error, request_id(request), status=status)


def _methods(routes: Iterable[Any], path: str) -> set[str]:
    """Return what the routes of a path allow; the framework names only the first one's."""
    found: set[str] = set()
    for route in routes:
        if isinstance(route, Route):
            found |= (route.methods or set()) if route.path_regex.match(path) else set()
        elif inner := getattr(getattr(route, "original_router", route), "routes", None):
            found |= _methods(inner, path)
    return found


async def _validation(request: Request, _error: Exception) -> Response:
    return await answer(request, bad_path())  # the framework's own reply would echo what was sent


async def _last(request: Request, _error: Exception) -> Response:
    return await _ours(request, INTERNAL)


def install(app: FastAPI, record_refusal: Recorder) -> None:
    """Make every error of ``app`` leave as a problem document, and every refusal leave a record."""
    app.state.record_refusal = record_refusal
    app.add_exception_handler(ByokeepError, _ours)
    app.add_exception_handler(HTTPException, _framework)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(Exception, _last)


class Authenticator(Protocol):
    """Token and request id to actor (:func:`byokeep.tenancy.authenticate.authenticate`)."""

    async def __call__(self, token: str, request_id: UUID, *, by_itself: bool = False) -> Actor:
        """Return who a token stands for."""


MAX_HEADER: Final = 256  # characters


def bearer(request: Request) -> str:
    """Return the token of a request.

    Raises:
        Unauthenticated: ``no_token`` - none, two, or not a bearer token.
    """
    found = request.headers.getlist("authorization")
    if len(found) == 1 and len(found[0]) <= MAX_HEADER:
        scheme, _, token = found[0].partition(" ")
        if scheme.lower() == "bearer" and token:
            return token
    raise Unauthenticated("no_token", next_step="Send one header `Authorization: Bearer <token>`.")


def caller(auth: Authenticator) -> Callable[[Request], Awaitable[Actor]]:
    """Return the dependency that yields who asks."""

    async def current(request: Request) -> Actor:
        actor = await auth(bearer(request), request_id(request))
        request.scope["state"] |= {"actor": actor.id, "caller": actor}
        return actor

    return current


READY_WITHIN_S: Final = 2.0  # a load balancer or `byokeep doctor` waits three


async def ready(**checks: Awaitable[object]) -> dict[str, str]:
    """Run the checks in parallel; return the reply of a process that is ready.

    Raises:
        Unavailable: ``not_ready``, with the first part that did not answer in time, or raised, and why.
    """
    looks = (ask(name, partial(passes, name, check), within=READY_WITHIN_S) for name, check in checks.items())
    for found in await asyncio.gather(*looks):
        if not found.ok:
            step = found.next_step or f"Run `byokeep doctor` on the server's host, for the {found.name}."
            raise Unavailable("not_ready", next_step=step, part=found.name, reason=found.code)
    return {"status": "ready"}


class Budget:
    """A token bucket per key.

    Args:
        per_minute: How many calls per minute, and how many at once.
    """

    def __init__(self, clock: Clock, *, per_minute: int) -> None:
        self._clock = clock
        self._buckets = Buckets(per_minute=per_minute)

    def spend(self, key: str) -> None:
        """Take one call from a key's budget.

        Raises:
            RateLimited: ``too_many_requests`` with ``retry_after_s``.
        """
        if wait := self._buckets.take(key, self._clock.monotonic()):
            raise RateLimited("too_many_requests", next_step="Wait, then retry.", retry_after_s=max(1, int(wait) + 1))


def spend(request: Request, budget: Budget, actor: Actor, client_id: ClientId) -> None:
    """Take one write from a client's budget; who is not assigned to it, or writes nothing, cannot use it up.

    Raises:
        RateLimited: ``too_many_requests``.
    """
    request.scope["state"]["tenant"] = client_id
    if Role.OPERATOR in actor.roles and (actor.clients is None or client_id in actor.clients):
        budget.spend(str(client_id))
