"""A store that misbehaves as told, in the protocol of the real one: for faults the real one can not be made to have."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import web


class FalseStore:
    """Answers every login; ``mode`` says how it answers a read. ``reads`` counts them."""

    def __init__(self) -> None:
        self.mode = "good"
        self.reads = 0

    async def login(self, _: web.Request) -> web.Response:
        if self.mode == "login_500":
            return web.Response(status=500, text="internal")
        return web.json_response({"request_id": "r", "auth": {"client_token": "b.made-up"}})

    async def read(self, request: web.Request) -> web.StreamResponse:
        self.reads += 1
        version = int(request.query["version"])
        good = {"request_id": "r", "data": {"data": {"value": "made-up-value"}, "metadata": {"version": version}}}
        match self.mode:
            case "flaps" if self.reads % 3:
                return web.Response(status=503, text="x")
            case "slow":
                await asyncio.sleep(30)
            case "403":
                return web.json_response({"errors": ["permission denied"]}, status=403)
            case "500":
                return web.json_response({"errors": ["made-up-value leaked in an error"]}, status=500)
            case "garbage":
                return web.Response(body=b"\x00\xff<html>", content_type="text/html")
            case "truncated":
                return web.Response(text='{"request_id": "r", "data": {"da')
            case "empty":
                good["data"]["data"]["value"] = ""  # type: ignore[index]
            case "no_value":
                good["data"] = {"data": {}, "metadata": {"version": version}}
            case "other_version":
                good["data"]["metadata"]["version"] = version + 1  # type: ignore[index]
            case "deleted":
                gone = {"data": None, "metadata": {"version": version, "destroyed": True}}
                return web.json_response({"request_id": "r", "lease_id": "", "data": gone}, status=404)
            case "redirect":
                return web.Response(status=307, headers={"Location": "http://127.0.0.1:1/"})
        return web.json_response(good)


@contextlib.asynccontextmanager
async def false_store(socket: Path) -> AsyncIterator[tuple[FalseStore, str]]:
    """Run one on a unix socket; yields it and its address."""
    store, app = FalseStore(), web.Application()
    app.router.add_post("/v1/auth/lease/cel/login", store.login)
    app.router.add_get("/v1/kv/data/{path:.*}", store.read)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, str(socket)).start()
    try:
        yield store, f"unix://{socket}"
    finally:
        await runner.cleanup()
