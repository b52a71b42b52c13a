"""An account on a real stack, by the command line alone: connected, proved, looked at, ended; over every platform."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.support.cli import Ran, Shell
from tests.support.social import ACCOUNTS, SECRET
from tests.support.stack import World, running_stack

pytestmark = pytest.mark.timeout(600)
ADDRESS = re.compile(r"^http://\S+$", re.MULTILINE)


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    async with running_stack() as made:
        yield made


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@dataclass
class Owner:
    """The person at the platform, and the operator at the command line."""

    world: World
    shell: Shell
    http: aiohttp.ClientSession
    port: int

    async def tell(self, what: str, **spec: Any) -> None:
        async with self.http.post(f"{self.world.sim.url}/_sim/{what}", json=spec) as reply:
            assert reply.status in (200, 201), await reply.text()

    def back(self, login: str) -> str:
        return f"http://127.0.0.1:{self.port}/{login}"

    async def run(self, *words: str, who: str = "operator", stdin: bytes | None = None) -> Ran:
        return await self.shell.run(*words, token=self.world.token_file(who), stdin=stdin)

    async def json(self, *words: str, who: str = "operator", stdin: bytes | None = None) -> Any:
        ran = await self.run(*words, "--json", who=who, stdin=stdin)
        assert ran.code == 0, ran.said
        return ran.document

    async def prepare(self, login: str) -> None:
        """Our app and two accounts, at the platform and here."""
        await self.tell("apps", platform=login, client_id="app", client_secret=SECRET, redirect_uris=[self.back(login)],
                        partner=True)  # fmt: skip
        for account in ACCOUNTS[login]:
            await self.tell("accounts", platform=login, posts=3, **account)
        words = ("account", "app", "set", login, "--app-id", "app", "--redirect-uri", self.back(login))
        assert (await self.json(*words, who="admin", stdin=SECRET.encode()))["secret_version"] >= 1

    async def connect(
        self, client: str, login: str, name: str = "acme", account: str = "acme"
    ) -> tuple[Ran, list[aiohttp.ClientResponse]]:
        """Run the command, be the person and the browser."""
        await self.tell("consent", platform=login, account=account)
        pick = ["--pick", ACCOUNTS[login][0]["id"]] if login == "meta" else []
        words = ("account", "connect", client, login, name, *pick)
        process = await self.shell.start(*words, token=self.world.token_file("operator"))
        assert process.stderr is not None
        url = ""
        while not url:
            line = (await asyncio.wait_for(process.stderr.readline(), 30)).decode()
            assert line, "the command ended before it showed an address"
            url = line.strip() if ADDRESS.match(line.strip()) else ""
        # A stranger on this machine who does not know the state gets nothing.
        async with self.http.get(self.back(login), params={"state": "x" * 43, "code": "stolen"}) as reply:
            assert reply.status == 404
        async with self.http.get(url, allow_redirects=False) as reply:
            assert reply.status == 302, await reply.text()
            where = reply.headers["Location"]
        replies = []
        async with self.http.get(where, allow_redirects=False) as reply:
            await reply.read()
            replies.append(reply)
        async with self.http.get(f"{self.back(login)}/done", allow_redirects=False) as reply:
            page = await reply.text()
            assert "code" not in page
            assert "http" not in page
            replies.append(reply)
        return await self.shell.finish(process, *words, within_s=60), replies


@pytest.fixture
async def owner(world: World) -> AsyncIterator[Owner]:
    async with aiohttp.ClientSession() as http:
        yield Owner(world, Shell(world.home), http, free_port())


@pytest.mark.req("S-OAUTH-13")
async def test_the_page_that_a_browser_comes_back_to_is_clean(owner: Owner) -> None:
    """It sends the browser to an address without code or state, tells no referrer, and holds nothing of others; who
    comes without the state of this consent gets nothing."""
    client = await owner.world.client()
    await owner.prepare("x")
    ran, (first, page) = await owner.connect(client, "x", account="bravo")
    assert ran.code == 0, ran.said
    assert (first.status, first.headers["Location"]) == (303, urlsplit(owner.back("x")).path + "/done")
    assert page.status == 200
    await asyncio.sleep(11)  # younger requests are judged by the next reconciliation
    explained = await owner.run("audit", "reconcile", who="auditor")
    assert explained.code == 0, explained.said  # every write and read at the store has its record
    for reply in (first, page):
        assert reply.headers["Referrer-Policy"] == "no-referrer"
        assert reply.headers["Cache-Control"] == "no-store"
        assert reply.headers["Content-Security-Policy"].startswith("default-src 'none'")


async def test_every_platform_is_connected_by_the_command_line(owner: Owner, tmp_path: Any) -> None:
    """Each is connected, verified, proved by signed evidence, given a lane, looked at again, ended; and no secret
    was printed."""
    client = await owner.world.client()
    keys = tmp_path / "keys.txt"
    assert (await owner.run("audit", "keys", str(keys), who="auditor")).code == 0
    for login in sorted(ACCOUNTS):
        await owner.prepare(login)
        ran, _ = await owner.connect(client, login, f"{login}-acme")
        assert ran.code == 0, ran.said
        assert "connected" in ran.out
        state = await owner.json("account", "show", client, login, f"{login}-acme")
        assert (state["state"], state["external_id"]) == ("connected", ACCOUNTS[login][0]["id"])
        sop = re.search(r"sop +([0-9a-f-]{36})", ran.out)
        assert sop is not None, ran.out
        assert (await owner.json("evidence", "show", sop[1]))["state"] == "complete"
        file = tmp_path / f"{login}.json"
        assert (await owner.run("audit", "checkpoint", who="auditor")).code == 0
        assert (await owner.run("evidence", "export", sop[1], str(file), who="auditor")).code == 0
        checked = await owner.json("evidence", "verify", str(file), "--keys", str(keys))
        assert (checked["state"], checked["missing"]) == ("ok", [])
        assert (await owner.json("account", "lane", client, login, f"{login}-acme", "api"))["lanes"] == ["api"]
        looked = await owner.json("account", "verify", client, login, f"{login}-acme")
        assert (looked["identity"], looked["verified_at"] is not None) == ("match", True)
        await owner.json("account", "disconnect", client, login, f"{login}-acme")
        for _ in range(60):
            state = await owner.json("account", "show", client, login, f"{login}-acme")
            if state["state"] == "disconnected":
                break
            await asyncio.sleep(0.5)
        assert state["state"] == "disconnected"
        assert state["reason"] == ("not_offered" if login == "instagram" else "confirmed")
    listed = await owner.json("account", "list", client)
    assert len(listed["accounts"] if isinstance(listed, dict) else listed) == len(ACCOUNTS)
    assert SECRET not in json.dumps([ran.said for ran in owner.shell.ran])
