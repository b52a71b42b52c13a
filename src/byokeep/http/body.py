"""What comes in: strict JSON of bounded size, canonical ids, no query.

Rules
- A body has one meaning: a repeated key, an unknown field, a number that is no integer, deep nesting, another
  encoding or media type is refused. Nothing of it stands in the refusal.
- An id in a path has one spelling (R4.1-5).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeVar
from uuid import UUID

from fastapi import Path
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError
from starlette.requests import ClientDisconnect, Request

from byokeep.core.errors import Rejected, Unauthenticated
from byokeep.core.strict_json import strict_object

MAX_BODY: Final = 16 * 1024  # bytes
MAX_DEPTH: Final = 6
BODY_WITHIN_S: Final = 10.0  # who sends slower keeps a place that others, and the kill switch, need
_MAX_INT: Final = 9  # digits
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")
M = TypeVar("M", bound="Strict")


class Strict(BaseModel):
    """A request body: known fields only, no coercion."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)


def canonical_id(value: object) -> UUID:
    """Accept a UUID in its lower-case canonical spelling only.

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
    if request.headers.get("content-encoding", "identity") != "identity":
        raise _refused("content_encoding", "Send the body as it is, without compression.")
    raw = bytearray()
    try:
        async with asyncio.timeout(BODY_WITHIN_S):
            async for chunk in request.stream():
                raw += chunk
                if len(raw) > limit:
                    raise Rejected("body_too_large", next_step="Send less.", limit=limit)
    except TimeoutError:
        raise _refused("body_too_slow", "Send the whole body at once.") from None
    except ClientDisconnect:
        raise _refused("body_cut_off", "Send the whole body.") from None
    return bytes(raw)


async def stream_bytes(request: Request, *, media: str) -> AsyncIterator[bytes]:
    """Yield a body as it comes, for one that is too large to be held; who reads it bounds it.

    Raises:
        Rejected: ``unsupported_media_type``, ``content_encoding``, ``body_too_slow``: no byte for ``BODY_WITHIN_S``,
            ``body_cut_off``.
    """
    if request.headers.get("content-type", "") != media:
        raise _refused("unsupported_media_type", f"Send Content-Type: {media}.")
    if request.headers.get("content-encoding", "identity") != "identity":
        raise _refused("content_encoding", "Send the body as it is, without compression.")
    chunks = request.stream()
    try:
        while True:
            async with asyncio.timeout(BODY_WITHIN_S):
                chunk = await anext(chunks, None)
            if chunk is None:
                return
            yield chunk
    except TimeoutError:
        raise _refused("body_too_slow", "Send the body without long pauses.") from None
    except ClientDisconnect:
        raise _refused("body_cut_off", "Send the whole body.") from None


async def no_query(request: Request) -> None:
    """Refuse any query string: nothing here is asked by one. Async, or each request would visit a thread for it.

    Raises:
        Unauthenticated: ``no_token``, for a caller without the header: a token may have been meant (S-ASVS-14).
        Rejected: ``unexpected_query``.
    """
    if request.scope.get("query_string"):
        if "authorization" not in request.headers:
            raise Unauthenticated("no_token", next_step="Send one header `Authorization: Bearer <token>`.")
        raise Rejected("unexpected_query", next_step="This route takes no query.")


def parse_object(raw: bytes) -> dict[str, Any]:
    """Parse one JSON object strictly.

    Raises:
        Rejected: ``bad_json``.
    """
    try:
        value = strict_object(raw.decode("utf-8"), whole_numbers=True)
    except ValueError:
        value = None
    if value is None or _depth(value) > MAX_DEPTH:
        raise _refused("bad_json")
    return value


def _depth(value: object) -> int:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + max((_depth(item) for item in items), default=0) if isinstance(value, dict | list) else 0


def shape(model: type[M], value: dict[str, Any]) -> M:
    """Give an object its type.

    Raises:
        Rejected: ``bad_request``; it names the field only where the field is one of ours.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]["loc"]
        name = str(first[0]) if first else ""
        known = {"field": name} if name in model.model_fields else {}
    raise Rejected("bad_request", next_step="Check names and types; see /openapi.json.", **known)


def json_body(model: type[M], *, limit: int = MAX_BODY, optional: bool = False) -> Callable[[Request], Awaitable[M]]:
    """Return the dependency that reads a body as ``model``; ``limit`` in bytes. ``optional``: none = defaults."""

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
        return shape(model, parse_object(await read_bytes(request, limit=limit)))

    return read


def query_of(request: Request, *allowed: str) -> dict[str, str]:
    """Return the query, of which every name is allowed and stands once.

    Raises:
        Rejected: ``unexpected_query``.
    """
    found = request.query_params.multi_items()
    names = [name for name, _ in found]
    if len(set(names)) != len(names) or not set(names) <= set(allowed):
        raise Rejected("unexpected_query", next_step="This route takes: " + ", ".join(allowed) + "; each once.")
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


def instant(name: str, text: str | None) -> datetime | None:
    """Parse an RFC 3339 time with an offset; ``None`` stays ``None``.

    Raises:
        Rejected: ``bad_time`` with the name.
    """
    if text is None:
        return None
    with suppress(ValueError, OverflowError):  # the first and last hours that there are have no time in UTC
        at = datetime.fromisoformat(text)
        if at.tzinfo is not None:
            return at.astimezone(UTC)
    raise Rejected("bad_time", next_step="Use a time such as 2026-01-31T12:00:00Z.", field=name)
