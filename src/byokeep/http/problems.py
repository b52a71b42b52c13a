"""Errors as problem documents (RFC 9457)."""

from __future__ import annotations

import json
from typing import Final
from uuid import UUID, uuid4

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from byokeep.core.errors import (
    KINDS,
    ByokeepError,
    NotFound,
    RateLimited,
    Rejected,
    Unavailable,
)

MEDIA_TYPE: Final = "application/problem+json"
_TAKEN: Final = frozenset({"type", "title", "status", "code", "request_id", "next_step"})
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
    status = status or error.http_status
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
    if isinstance(error, RateLimited):
        headers["Retry-After"] = str(error.fields.get("retry_after_s", 1))
    return Response(json.dumps(document).encode(), status, headers, MEDIA_TYPE)


def answer(request: Request, error: ByokeepError) -> Response:
    """Build the reply for an error and note its code for the access log."""
    request.scope.setdefault("state", {})["code"] = error.code
    return problem(error, request_id(request))


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, ByokeepError)  # noqa: S101 - registered for this class alone
    return answer(request, error)


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
    return problem(refusal, request_id(request), status=status)


async def _validation(request: Request, _error: Exception) -> Response:
    return answer(request, bad_path())  # the framework's own reply would echo what was sent


async def _last(request: Request, _error: Exception) -> Response:
    return await _ours(request, INTERNAL)


def install(app: FastAPI) -> None:
    """Make every error of ``app`` leave as a problem document."""
    app.add_exception_handler(ByokeepError, _ours)
    app.add_exception_handler(HTTPException, _framework)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(Exception, _last)
