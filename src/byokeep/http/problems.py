"""Errors as problem documents (RFC 9457), and the door where a refusal is put on record that no flow has recorded."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, Final
from uuid import UUID, uuid4

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from byokeep.core.errors import KINDS, ByokeepError, NotFound, RateLimited, Rejected, Unavailable
from byokeep.http.body import canonical_id

MEDIA_TYPE: Final = "application/problem+json"
_TAKEN: Final = frozenset({"type", "title", "status", "code", "request_id", "next_step"})
Recorder = Callable[..., Awaitable[None]]  # byokeep.kernel.command.record_refused_call, of one process
STATUS: Final = {"body_too_large": 413, "unsupported_media_type": 415, "content_encoding": 415}
INTERNAL: Final = Unavailable("internal_error", next_step="Nothing was released. Tell us the request id.")


def bad_path() -> Rejected:
    """A path or parameter that is not what the route says."""
    return Rejected("bad_request", next_step="Check the path and the types; see /openapi.json.")


def request_id(request: Request) -> UUID:
    """Return the id this request was given by :class:`byokeep.http.guard.Guard`."""
    found = request.scope.get("state", {}).get("request_id")
    return found if isinstance(found, UUID) else uuid4()


def problem(error: ByokeepError, about: UUID, *, status: int | None = None) -> Response:
    """Build the reply for an error.

    Args:
        error: Ours; its fields are safe by construction.
        about: The request's id.
        status: Another HTTP status than the class's.
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
    """Put a refusal on record, note its code for the access log, and build the reply."""
    state = request.scope.setdefault("state", {})
    state["code"] = error.code
    if (route := request.scope.get("route")) is not None:  # without one nothing was called
        about, called = _object(request) or state.get("tenant"), f"{next(iter(route.tags), 'process')}.{route.name}"
        await request.app.state.record_refusal(
            state.get("caller"), error, request_id=request_id(request), object_id=about, route=called
        )
    return problem(error, request_id(request))


def _object(request: Request) -> UUID | None:
    """The last id in the path that is written as we write one."""
    found = None
    for text in request.scope.get("path_params", {}).values():
        with suppress(ValueError):
            found = canonical_id(text)
    return found


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, ByokeepError)  # noqa: S101 - registered for this class alone
    return await answer(request, error)


async def _framework(request: Request, error: Exception) -> Response:
    """Routing and protocol refusals: the framework's text is dropped, its status kept."""
    status = error.status_code if isinstance(error, HTTPException) else 400
    if status == 404:
        return await _ours(request, NotFound("not_found"))
    if status >= 500:
        return await _ours(request, INTERNAL)
    codes = {405: "method_not_allowed", 413: "body_too_large", 415: "unsupported_media_type"}
    refusal = Rejected(codes.get(status, "bad_request"))
    request.scope.setdefault("state", {})["code"] = refusal.code
    reply = problem(refusal, request_id(request), status=status)
    if status == 405:
        reply.headers["Allow"] = ", ".join(sorted(_methods(request.app.routes, request.scope["path"])))
    return reply


def _methods(routes: Iterable[Any], path: str) -> set[str]:
    """What the routes of a path allow; the framework tells of the first one alone."""
    found: set[str] = set()
    for route in routes:
        inner = getattr(getattr(route, "original_router", route), "routes", None)
        if inner is not None:
            found |= _methods(inner, path)
        elif isinstance(route, Route) and route.path_regex.match(path):
            found |= route.methods or set()
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
