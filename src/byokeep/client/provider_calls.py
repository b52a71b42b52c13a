"""The calls that a job makes with a credential, reported by the HTTP client that makes them.

Rules
- A call's report has its method, the first word of its path and how it ended. Of the words after that it has only those
  that providers call their endpoints, because any other may be a name, an id or a secret. What follows such a word, the
  query, headers and bodies are not looked at.
- A call that raised before an answer is ``failed`` if nobody was reached, and ``unknown`` if somebody may have been.
- A call is made exactly as it would be without this. What cannot be reported is dropped.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

import aiohttp

from byokeep.core.errors import Rejected
from byokeep.core.usage import CallResult, check_tool

if TYPE_CHECKING:
    from types import SimpleNamespace

Told = Callable[[str, CallResult | int], None]  # what was called, and how it ended
_WORD: Final = re.compile(r"[a-z]+(?:_[a-z]+)*\Z")
_VERSION: Final = re.compile(r"v[0-9]+(?:beta[0-9]*)?\Z")
_MOST_WORDS: Final = 4
_LONGEST: Final = 20  # characters of a word
_ENDPOINTS: Final = {
    "account", "accounts", "api", "assistants", "audio", "batches", "cancel", "chat", "completions", "content",
    "count_tokens", "credit", "credits", "edits", "embeddings", "files", "fine_tuning", "generate", "generation",
    "generations", "images", "jobs", "key", "keys", "media", "messages", "models", "moderations", "oauth",
    "organization", "organizations", "parts", "posts", "projects", "realtime", "responses", "runs", "search",
    "sessions", "speech", "status", "steps", "submit", "templates", "threads", "token", "tokens", "tools",
    "transcriptions", "translations", "upload", "uploads", "usage", "users", "variations", "vector_stores", "video",
    "videos", "voices", "youtube"
}  # that may follow the first  # fmt: skip


class Sender(Protocol):
    """What httpx sends with, as far as it is used here."""

    async def handle_async_request(self, request: Any) -> Any:
        """Send a request; returns the response."""

    async def aclose(self) -> None:
        """Close the connections."""


def tool_of(method: str, path: str) -> str:
    """Return the name of a call: ``post.chat.completions``; for ``/repos/alice/diary``: ``get.repos``."""
    words = [method.lower() if _WORD.match(method.lower()) else "call"]
    for part in path.strip("/").split("/"):
        if _VERSION.match(part):
            continue
        plain = len(part) <= _LONGEST and _WORD.match(part) and (len(words) == 1 or part in _ENDPOINTS)
        if not plain or len(words) > _MOST_WORDS:
            break
        words.append(part)
    try:
        return check_tool(".".join(words)[:64].rstrip("._"))
    except Rejected:
        return "call"


def aiohttp_trace(told: Told) -> aiohttp.TraceConfig:
    """Return what an ``aiohttp.ClientSession`` takes as ``trace_configs``."""
    trace = aiohttp.TraceConfig()

    async def ended(_: object, __: SimpleNamespace, said: aiohttp.TraceRequestEndParams) -> None:
        told(tool_of(said.method, said.url.path), said.response.status)

    async def raised(_: object, __: SimpleNamespace, said: aiohttp.TraceRequestExceptionParams) -> None:
        nobody = isinstance(said.exception, aiohttp.ClientConnectorError)
        told(tool_of(said.method, said.url.path), CallResult.FAILED if nobody else CallResult.UNKNOWN)

    trace.on_request_end.append(ended)
    trace.on_request_exception.append(raised)
    return trace


class ToldTransport:
    """An httpx transport that reports each request and leaves the rest to the inner one.

    Args:
        inner: The transport that sends, such as ``httpx.AsyncHTTPTransport()``.
        told: Called with each call.
    """

    def __init__(self, inner: Sender, told: Told) -> None:
        self._inner, self._told = inner, told

    async def handle_async_request(self, request: Any) -> Any:
        """Send a request, and report it."""
        tool = tool_of(str(request.method), str(request.url.path))
        try:
            response = await self._inner.handle_async_request(request)
        except BaseException as error:
            nobody = type(error).__name__ in ("ConnectError", "ConnectTimeout")
            self._told(tool, CallResult.FAILED if nobody else CallResult.UNKNOWN)
            raise
        self._told(tool, int(response.status_code))
        return response

    async def aclose(self) -> None:
        """Close the inner one."""
        await self._inner.aclose()

    async def __aenter__(self) -> ToldTransport:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
