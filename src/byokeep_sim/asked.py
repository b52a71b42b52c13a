"""Reads the body of a control call.

Rules
- Bad input is answered by 400 with one sentence; a submitted secret is never repeated in it.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from aiohttp import web

from byokeep_sim.book import BookFullError
from byokeep_sim.faults import BadControlError, text

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
LONGEST_SECRET: Final = 8192


async def object_of(request: web.Request, *known: str) -> dict[str, Any]:
    """Return the JSON object of the body; with ``known`` no other field is allowed. Raises BadControlError."""
    try:
        value = json.loads(await request.read())
    except (ValueError, RecursionError):
        raise BadControlError("the body must be JSON") from None
    if not isinstance(value, dict):
        raise BadControlError("the body must be a JSON object")
    if known and set(value) - set(known):
        raise BadControlError(f"known fields: {', '.join(known)}")
    return value


def needed(spec: Mapping[str, Any], name: str, longest: int) -> str:
    """Return a text field that may not be empty. Raises BadControlError."""
    value = text(spec, name, longest)
    if not value:
        raise BadControlError(f"{name} is missing")
    return value


def flag(spec: Mapping[str, Any], name: str) -> bool:
    """Return an optional truth value. Raises BadControlError."""
    value = spec.get(name, False)
    if not isinstance(value, bool):
        raise BadControlError(f"{name} must be true or false")
    return value


def texts(spec: Mapping[str, Any], name: str, longest: int, most: int) -> tuple[str, ...] | None:
    """Return an optional list of texts, None when it is absent. Raises BadControlError."""
    values = spec.get(name)
    if values is None:
        return None
    if not isinstance(values, list) or len(values) > most:
        raise BadControlError(f"{name} must be a list of at most {most} texts")
    return tuple(needed({name: value}, name, longest) for value in values)


def guarded(handler: Handler) -> Handler:
    """Answer a refusal of the handler with 400."""

    async def answered(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except (BadControlError, BookFullError) as problem:
            return web.json_response({"error": str(problem)}, status=400)

    return answered
