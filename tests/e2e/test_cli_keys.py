"""The keys that guard browser profiles, and the browser lane of everybody, on a real stack by the command line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.cli import Ran, Shell
from tests.support.openbao import ISSUER
from tests.support.stack import World, running_stack

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    async with running_stack() as made:
        yield made


class Desk:
    """The shell with people's tokens at hand."""

    def __init__(self, world: World) -> None:
        self.world, self.shell = world, Shell(world.home)

    async def run(self, *words: str, who: str = "operator") -> Ran:
        ran = await self.shell.run(*words, token=self.world.token_file(who))
        assert "Traceback" not in ran.said
        return ran

    async def json(self, *words: str, who: str = "operator", code: int = 0) -> Any:
        ran = await self.run(*words, "--json", who=who)
        assert ran.code == code, ran.said
        return ran.document

    async def text(self, *words: str, who: str = "operator", code: int = 0) -> str:
        ran = await self.run(*words, who=who)
        assert ran.code == code, ran.said
        return ran.said

    async def versions(self, code: int | None = None) -> list[tuple[int, str, str]]:
        ran = await self.run("kek", "status", "--json")
        assert code is None or ran.code == code, ran.said
        return [(one["version"], one["state"], one["check"]) for one in ran.document["keks"]]

    async def until(self, *wanted: tuple[int, str, str]) -> None:
        """Wait for what a worker does."""
        found: list[tuple[int, str, str]] = []
        for _ in range(60):
            found = await self.versions()
            if found == list(wanted):
                return
            await asyncio.sleep(0.5)
        raise AssertionError(found)


async def test_a_client_needs_no_key_by_command(world: World) -> None:
    """Told what to enter at the provider, entered, declared: the stack's own worker proves it; nothing to rotate."""
    desk, client = Desk(world), await world.client()
    told = await desk.json("key", "trust", client, "openai")
    assert told["issuer"] == f"{ISSUER}/v1/identity/oidc"
    assert "--at identity_provider_id=ID,service_account_id=ID" in await desk.text("key", "trust", client, "openai")
    ids = {"identity_provider_id": "idp_1", "service_account_id": "svc_1"}
    rule = {"provider": "openai", "ids": ids, "keys_url": f"{world.stack.web_url}/v1/identity/oidc/.well-known/keys"}
    rule |= {name: told[name] for name in ("issuer", "audience", "subject")}
    async with world.http.post(f"{world.sim.url}/_sim/trust", json=rule) as reply:
        assert reply.status == 200, await reply.text()
    at = ",".join(f"{name}={one}" for name, one in ids.items())
    for wrong in (("--at", at), ("--keyless",), ("--keyless", "--at", "sk-proj-" + "a" * 40)):
        assert (await desk.run("key", "add", client, "openai", *wrong)).code == 2
    done = await desk.json("key", "add", client, "openai", "--keyless", "--at", at)
    assert (done["state"], done["verification"]) == ("complete", "verified")
    assert "no stored key to rotate" in await desk.text("rotate", "start", done["ref"], code=2)
    due = await desk.json("rotate", "due", "--kind", "key")
    [row] = [one for one in due["items"] if one["item"] == done["ref"]]
    assert (row["state"], row["due_at"]) == ("keyless", None)
    assert (await desk.json("key", "show", done["ref"]))["rotation_due_at"] is None
    assert [one["rotation_due_at"] for one in await desk.json("key", "list", client)] == [None]


async def test_a_key_s_life_by_command(world: World) -> None:
    """Made, compared, rotated, ended by another person: each as text and as JSON, done by the stack's own worker."""
    desk = Desk(world)
    client = await world.client()
    assert await desk.versions(0) == []
    name = await world.sql(f"SELECT name FROM byokeep.client WHERE id = '{client}'")  # noqa: S608
    assert (await desk.json("key", "list", name.swapcase())) == []
    near = (await desk.json("key", "list", name + "x", code=3))["error"]
    assert near["code"] == "no_such_name"
    assert f"{name} ({client})" in near["next_step"]
    assert f"Suspended: {name} ({client})" in await desk.text("client", "suspend", name, who="admin")
    await desk.text("client", "resume", name, who="admin")
    assert (await desk.json("key", "inventory"))["result"] == "match"
    await desk.text("kek", "rotate", client)  # there is none: the first is made
    await desk.until((1, "active", "unknown"))
    assert (await desk.run("kek", "status")).code == 4  # not compared is no match
    await desk.text("kek", "check", client)
    await desk.until((1, "active", "match"))
    assert "active" in await desk.text("kek", "status")
    name = f"development-{client}"
    await desk.json("kek", "rotate", client, "--reason", "drill")
    await desk.until((1, "deactivated", "match"), (2, "active", "match"))
    found = await desk.json("kek", "status")
    assert [(one["from_version"], one["to_version"], one["state"]) for one in found["rotations"]] == [(1, 2, "done")]
    assert (await desk.json("kek", "dependents", name, "1"))["count"] == 0
    assert "deactivated" in await desk.text("kek", "history", name, "1")
    refused = await desk.json("kek", "disable", name, "1", code=3)
    assert refused["error"]["code"] == "not_permitted"
    assert (await desk.json("kek", "disable", name, "2", who="approver", code=2))["error"]["code"] == "key_state"
    await desk.text("kek", "disable", name, "1", who="approver")
    await desk.until((1, "destroyed", "match"), (2, "active", "match"))
    assert (await desk.json("kek", "plan", name, "2", code=6))["error"]["code"] == "kek_not_compromised"
    listed = await desk.json("key", "inventory")
    assert [(one["class"], one["state"]) for one in listed["keys"]] == [("kek", "destroyed"), ("kek", "active")]
    assert (listed["result"], [one["check"] for one in listed["checked"]]) == ("match", ["match"])
    assert (await desk.json("kek", "dependents", "development-nobody", code=3))["error"]["code"] == "not_found"
    assert (await desk.json("kek", "compromise", name, "2", "--reason", "drill"))["done"] is True
    assert await desk.versions() == [(1, "destroyed", "match"), (2, "compromised", "match")]


async def test_the_browser_lane_of_everybody_by_command(world: World) -> None:
    """One word stops it, two people open it; a lane that has no such switch, and half a scope, are refused."""
    desk = Desk(world)
    client = await world.client()
    for words in (("--lane", "api"), ("--lane", "browser", "--everything"), ("--platform", "x", "--lane", "browser")):
        assert (await desk.json("kill", "on", *words, code=2))["error"]["code"] == "bad_scope", words
    assert (await desk.json("kill", "on", "--lane", "browser"))["scope"] == "lane:browser"
    assert "lane:browser" in await desk.text("kill", "status")
    asked = await desk.json("kill", "off", "--lane", "browser")
    assert (await desk.json("kill", "approve", asked["id"], who="approver"))["closed"] is False
    for words, code in (
        ((), "scope_missing"),
        (("--everybody",), "nothing_sealed"),
        (("--client", client), "nothing_sealed"),
    ):
        assert (await desk.json("incident", "vault", "open", *words, code=2))["error"]["code"] == code, words
    assert await desk.json("incident", "vault", "list") == {"incidents": []}
