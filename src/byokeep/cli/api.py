"""Calls to ``byokeep web`` (and, for runners, the broker) with the caller's own token.

Rules
- Errors of the server become the same classes here, by code; bodies are never printed.
- Redirects are not followed; addresses are https, or http on loopback.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final, TypeVar

import aiohttp

from byokeep.cli.intake import read_token_file
from byokeep.cli.terminal import session
from byokeep.core.errors import (
    ByokeepError,
    Conflict,
    Denied,
    Integrity,
    NotFound,
    RateLimited,
    Rejected,
    Unauthenticated,
    Unavailable,
)
from byokeep.core.secret import Secret
from byokeep.settings import check_address

T = TypeVar("T")
_TIMEOUT: Final = aiohttp.ClientTimeout(total=30, connect=3)
_LIMIT: Final = 64 * 1024 * 1024
_BY_STATUS: Final[dict[int, type[ByokeepError]]] = {
    400: Rejected, 401: Unauthenticated, 403: Denied, 404: NotFound, 405: Rejected, 409: Conflict, 413: Rejected,
    415: Rejected, 422: Rejected, 429: RateLimited,
}  # fmt: skip
_META: Final = frozenset({"type", "title", "status", "code", "next_step", "detail", "instance"})


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end."""
    return asyncio.run(work)


def stack(home: Path) -> dict[str, Any]:
    """Read ``home/stack.json``: where the running stack listens. Empty when there is none."""
    try:
        found: dict[str, Any] = json.loads((home / "stack.json").read_text())
    except (OSError, ValueError):
        return {}
    return found


def web_url() -> str:
    """Where ``byokeep web`` is.

    Raises:
        Unavailable: ``no_stack`` - nothing named and nothing running.
    """
    settings = session().settings
    url = settings.web_url or stack(settings.home).get("web_url", "")
    if not url:
        raise Unavailable("no_stack", next_step="Start one with `byokeep up`, or name one with --url.")
    check_address("web_url", url)
    return str(url).rstrip("/")


def own_token() -> Secret:
    """Return the caller's API token from its file."""
    settings = session().settings
    named = settings.token_file
    return read_token_file(Path(named) if named else settings.home / "credentials" / "cli.token")


async def call(
    method: str,
    path: str,
    *,
    body: Any = None,
    raw: Secret | None = None,
    headers: dict[str, str] | None = None,
    token: Secret | None = None,
    anonymous: bool = False,
    params: dict[str, str] | None = None,
) -> Any:
    """Call the server and return the decoded JSON (``None`` for an empty reply).

    Args:
        body: JSON body.
        raw: Secret to send as the whole body.
        token: Another token than the caller's own.
        anonymous: Send no token.

    Raises:
        ByokeepError: As the server answered, or Unavailable(``server_unreachable``).
    """
    sent = dict(headers or {})
    if not anonymous:
        sent["Authorization"] = "Bearer " + (token or own_token()).reveal().decode()
    data: bytes | None = None
    if raw is not None:
        data = raw.reveal()
        sent["Content-Type"] = "application/octet-stream"
    elif body is not None:
        data = json.dumps(body).encode()
        sent["Content-Type"] = "application/json"
    try:
        async with (
            aiohttp.ClientSession(timeout=_TIMEOUT) as http,
            http.request(
                method, web_url() + path, data=data, headers=sent, params=params, allow_redirects=False
            ) as reply,
        ):
            content = await reply.content.read(_LIMIT)
            status = reply.status
    except (aiohttp.ClientError, TimeoutError, OSError):
        raise Unavailable("server_unreachable", next_step="Is the stack up? Try `byokeep doctor`.") from None
    return _decode(status, content)


def _decode(status: int, content: bytes) -> Any:
    try:
        decoded = json.loads(content) if content else None
    except ValueError:
        raise Unavailable("server_garbage", next_step="This is not a byokeep server.") from None
    if 200 <= status < 300:
        return decoded
    problem = decoded if isinstance(decoded, dict) else {}
    raise error_from(status, problem)


def error_from(status: int, problem: dict[str, Any]) -> ByokeepError:
    """Rebuild the error a server named."""
    kind = _BY_STATUS.get(status, Unavailable)
    code = str(problem.get("code", "server_error"))
    if kind is Conflict and ("integrity" in code or "tamper" in code or problem.get("title") == "Integrity"):
        kind = Integrity
    fields = {name: value for name, value in problem.items() if name not in _META and isinstance(value, str | int)}
    try:
        return kind(code, next_step=str(problem.get("next_step", "")), **fields)
    except ValueError:
        return kind("server_error")
