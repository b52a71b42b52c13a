"""What the HTTP client of a job tells of its calls by itself."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import httpx2
import pytest
from aiohttp import web

from byokeep.client.provider_calls import ToldTransport, aiohttp_trace, tool_of
from byokeep.core.usage import CallResult

Seen = list[tuple[str, Any]]


@pytest.mark.parametrize(
    ("method", "path", "tool"),
    [
        ("POST", "/v1/chat/completions", "post.chat.completions"),
        ("GET", "/v1beta/models/gemini-pro", "get.models"),
        ("POST", "/v1/threads/thread_abc123/runs", "post.threads"),
        ("GET", "/bot123456:AAH-secret/getMe", "get"),
        ("GET", "/users/alice@example.com", "get.users"),
        ("GET", "/", "get"),
        ("BREW-IT", "/tea", "call.tea"),
        ("GET", "/" + "/".join(["files"] * 9), "get.files.files.files.files"),
        ("GET", "/word/word", "get.word"),
        ("GET", "/repos/alice/diary", "get.repos"),
        ("GET", "/users/alice/files", "get.users"),
        ("POST", "/api/v1/chat/completions", "post.api.chat.completions"),
        ("POST", "/v1/messages/count_tokens", "post.messages.count_tokens"),
        ("GET", "/abcdefghijklmnopqrstuvwxyzabcdef", "get"),
    ],
)
def test_a_call_is_called_by_the_plain_words_of_its_path(method: str, path: str, tool: str) -> None:
    """The first word, and then those of endpoints alone: what could be an id, a name or a secret ends it."""
    assert tool_of(method, path) == tool


async def test_httpx_tells_of_each_call(caplog: pytest.LogCaptureFixture) -> None:
    """Its status as an outcome; no answer is unknown, nobody reached is failed; the query and the body are not told."""
    seen: Seen = []

    async def answer(request: httpx2.Request) -> httpx2.Response:
        match request.url.path:
            case "/v1/gone":
                raise httpx2.ConnectError("no")
            case "/v1/lost":
                raise httpx2.ReadTimeout("no")
        return httpx2.Response(int(request.url.params["status"]), json={"said": "canary-of-a-body"})

    transport = ToldTransport(httpx2.MockTransport(answer), lambda tool, outcome: seen.append((tool, outcome)))
    async with httpx2.AsyncClient(transport=transport, base_url="https://provider.example") as http:  # type: ignore[arg-type]
        for status in (200, 401, 429, 500):
            reply = await http.post("/v1/responses", params={"status": status}, json={"input": "canary-of-a-body"})
            assert (reply.status_code, reply.json()) == (status, {"said": "canary-of-a-body"})
        for path in ("/v1/gone", "/v1/lost"):
            with pytest.raises(httpx2.TransportError):
                await http.get(path)
    assert seen == [("post.responses", status) for status in (200, 401, 429, 500)] + [
        ("get.gone", CallResult.FAILED), ("get.lost", CallResult.UNKNOWN)
    ]  # fmt: skip
    assert "canary" not in repr(seen) + caplog.text


async def test_aiohttp_tells_of_each_call() -> None:
    """As httpx does, by a trace of its session."""
    seen: Seen = []

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/v1/lost":
            assert request.transport is not None
            request.transport.abort()
        return web.Response(status=int(request.query["status"]))

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    trace = aiohttp_trace(lambda tool, outcome: seen.append((tool, outcome)))
    async with aiohttp.ClientSession(trace_configs=[trace]) as http:
        for status in (200, 429):
            async with http.post(f"{base}/v1/chat/completions?status={status}&key=abc") as reply:
                assert reply.status == status
        with pytest.raises(aiohttp.ClientError):
            await http.post(f"{base}/v1/lost")
        await runner.cleanup()
        await asyncio.sleep(0)
        with pytest.raises(aiohttp.ClientConnectorError):
            await http.get(f"{base}/v1/gone")
    assert seen == [
        ("post.chat.completions", 200), ("post.chat.completions", 429), ("post.lost", CallResult.UNKNOWN),
        ("get.gone", CallResult.FAILED),
    ]  # fmt: skip
