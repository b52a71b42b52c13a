"""An account on a real stack, by the command line alone: connected, proved, looked at, ended; over every platform."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.support.cli import Shell
from tests.support.owner import Owner
from tests.support.ports import free_port
from tests.support.social import ACCOUNTS, SECRET
from tests.support.stack import World, running_stack

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    async with running_stack() as made:
        yield made


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
