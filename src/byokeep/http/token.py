"""The caller: one ``Authorization: Bearer`` header, nothing else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID

from starlette.requests import Request

from byokeep.core.errors import Unauthenticated
from byokeep.core.model import Actor
from byokeep.http.problems import request_id

Authenticator = Callable[[str, UUID], Awaitable[Actor]]
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
