"""`byokeep leaks pack` against servers that leak, accept, break or can not be searched."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from byokeep_redact.selftest import live
from tests.support.cli import Ran, Shell

THING = "#/components/schemas/Thing"
DESCRIPTION = {
    "openapi": "3.1.0",
    "paths": {
        "/v1/things": {
            "get": {},
            "post": {"requestBody": {"content": {"application/json": {"schema": {"$ref": THING}}}}},
        },
        "/v1/things/{thing}": {
            "delete": {"parameters": [{"name": "thing", "in": "path", "schema": {"type": "string", "format": "uuid"}}]}
        },
    },
    "components": {
        "schemas": {
            "Thing": {
                "required": ["name"],
                "properties": {
                    "name": {"type": "string"}, "tags": {"type": "array"}, "either": {"anyOf": [{"type": "integer"}]},
                },
            }
        }
    },
}  # fmt: skip
Handler = Callable[[web.Request], Any]


@asynccontextmanager
async def server(home: Path, answer: Handler) -> AsyncIterator[Shell]:
    """A server that describes itself as above and answers everything else as told, with a home as of a stack."""

    async def route(request: web.Request) -> web.StreamResponse:
        if request.path == "/openapi.json":
            return web.json_response(DESCRIPTION)
        response: web.StreamResponse = await answer(request)
        return response

    application = web.Application()
    application.router.add_route("*", "/{rest:.*}", route)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    (home / "stack.json").write_text(json.dumps({"web_url": url}))
    for name in ("logs", "postgres", "openbao", "store-audit", "checkpoints", "credentials"):
        (home / name).mkdir(mode=0o700)
        (home / name / "some.log").write_text("started\n")
    token = home / "credentials" / "cli.token"
    token.touch(mode=0o600)
    token.write_text("bko_" + "a1B2c3D4" * 5 + "\n")
    try:
        yield Shell(home)
    finally:
        await runner.cleanup()


async def refused(request: web.Request) -> web.Response:
    await request.read()
    return web.json_response({"code": "refused"}, status=422)


async def pack(shell: Shell) -> Ran:
    return await shell.run("leaks", "pack", "--json", token=shell.home / "credentials" / "cli.token", within_s=120)


def states(ran: Ran) -> dict[str, str]:
    return {place["place"]: place["state"] for place in ran.document["places"]}


async def test_a_server_that_refuses_quietly_is_clean(tmp_path: Path) -> None:
    """Every request is refused without an echo and every place can be searched: exit 0, and requests were made."""
    async with server(tmp_path, refused) as shell:
        ran = await pack(shell)
    assert ran.code == 0, ran.said
    assert set(states(ran).values()) == {"clean"}
    assert next(one["looked_at"] for one in ran.document["places"] if one["place"] == "answers") >= 15


async def test_what_a_server_says_and_keeps_is_found(tmp_path: Path) -> None:
    """A server that repeats bodies as hex and writes requests into its log and its database: exit 1, places named."""

    async def leak(request: web.Request) -> web.Response:
        for place in ("logs", "postgres"):
            with (tmp_path / place / "some.log").open("ab") as file:
                file.write(repr(request.raw_headers).encode() + b"\n")
        return web.json_response({"got": (await request.read()).hex()}, status=422)

    async with server(tmp_path, leak) as shell:
        ran = await pack(shell)
    assert ran.code == 1, ran.said
    assert [name for name, state in states(ran).items() if state == "found"] == [
        "answers", "logs and spans", "database"
    ]  # fmt: skip
    assert any("POST /v1/things body field name" in one["detail"] for one in ran.document["details"])
    assert "sk-" not in ran.said


@pytest.mark.req("R8.3-9")
async def test_what_can_not_be_known_is_unknown(tmp_path: Path) -> None:
    """No server, no logs, a request that is accepted, a server that breaks: exit 4 each, never 0."""
    async with server(tmp_path, refused) as shell:
        for file in (tmp_path / "logs").iterdir():
            file.unlink()
        ran = await pack(shell)
    assert (ran.code, states(ran)["logs and spans"]) == (4, "unknown"), ran.said
    gone = await pack(shell)
    assert (gone.code, states(gone)) == (4, {"server": "unknown"}), gone.said


@pytest.mark.parametrize("status", [0, 201, 302, 500])
def test_a_request_that_is_not_refused_leaves_the_answer_unknown(status: int) -> None:
    """No answer, accepted, sent elsewhere or broken: nothing is proved by it; all refused is clean."""
    made = live.probes(DESCRIPTION)
    search = live.search_for(made)
    sent = [(probe, 422, b"refused") for probe in made]
    assert live.evaluate_replies(sent, search).verdict == "clean"
    sent[-1] = (made[-1], status, b"something")
    assert live.evaluate_replies(sent, search).verdict == "unknown"


def test_nothing_that_could_act_goes_out_with_a_token() -> None:
    """With the token go reads, ids that are none, and bodies of which each is wrong; every input has its canary."""
    made = live.probes(DESCRIPTION)
    for probe in made:
        assert probe.canary.value in probe.path.encode() + repr(probe.headers).encode() + (probe.body or b"")
        if probe.with_token and probe.method != "GET":
            assert probe.label.split(" ", 2)[2].startswith(("body ", "path "))
    labels = {probe.label for probe in made}
    assert {f"POST /v1/things body field {name}" for name in ("name", "tags", "either")} <= labels
    assert "DELETE /v1/things/{thing} path thing" in labels
    assert live.probes({"not": "a description"}) == []
    assert live.evaluate_replies([], live.search_for(made)).verdict == live.overall([]) == "unknown"
