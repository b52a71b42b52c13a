"""Vercel's API as `byokeep env check` asks it: a project's variables in pages, its team's policy, and faults."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.support.loopback import answering

TOKEN = "vcp_" + "made0up1" * 7
Row = dict[str, Any]


def row(key: str, target: str | list[str], kind: str = "sensitive", **more: Any) -> Row:
    """A variable as the API lists it."""
    made = {"id": f"env_{key}", "key": key, "type": kind, "target": target, "updatedAt": 1_790_000_000_000, **more}
    return made | ({"value": more.get("value", "ciphertext")} if kind != "sensitive" else {"value": ""})


@dataclass
class Vercel:
    """What it holds. ``fault``: path ending -> (status, body) instead; ``asked``: calls, without their headers."""

    rows: list[Row] = field(default_factory=list)
    shared: list[Row] = field(default_factory=list)
    deployed: list[Row] = field(default_factory=list)
    policy: str = "on"
    page: int = 100
    fault: dict[str, tuple[int, Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    url: str = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path_qs)
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return web.json_response({"error": {"code": "forbidden", "invalidToken": True}}, status=403)
        for ending, (status, body) in self.fault.items():
            if request.path_qs.endswith(ending):
                return web.json_response(body, status=status) if status else web.Response(text="<html>")
        if request.path.startswith("/v2/teams/"):
            return web.json_response({"id": "team_1", "sensitiveEnvironmentVariablePolicy": self.policy})
        if request.path == "/v6/deployments":
            wanted = {name: request.query[name] for name in ("target", "state") if name in request.query}
            found = [one for one in self.deployed if not isinstance(one, dict) or self._is(one, wanted)]
            found = found[: int(request.query.get("limit", 20))]
            return web.json_response({"deployments": found, "pagination": {"count": len(found)}})
        whole, holds = (self.shared, "data") if request.path == "/v1/env" else (self.rows, "envs")
        first = int(request.query.get("until", 0))
        more = first + self.page if first + self.page < len(whole) else None
        rows = whole[first : first + self.page]
        return web.json_response({holds: rows, "pagination": {"count": len(rows), "next": more}})

    @staticmethod
    def _is(deployment: Row, wanted: dict[str, str]) -> bool:
        """Whether it is what was asked for; where it does not say, it is a Production that serves."""
        said = {"target": "production", "state": "READY"} | deployment
        return all(said[name] == value for name, value in wanted.items())


@asynccontextmanager
async def vercel(**given: Any) -> AsyncIterator[Vercel]:
    """The API on loopback while a block runs."""
    made = Vercel(**given)
    async with answering(made.answer) as made.url:
        yield made
