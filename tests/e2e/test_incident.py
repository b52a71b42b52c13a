"""Runbook 7.2 from detection to open, on a real stack, with the operators' commands alone; acts are a runner's.

And a machine that renewed tokens and is lost; and runbook 4.2, break glass, through the broker and without it.
"""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from byokeep.core.errors import ByokeepError
from tests.support.cli import Shell, ended
from tests.support.owner import Owner
from tests.support.ports import free_port
from tests.support.social import ACCOUNTS
from tests.support.stack import World, running_stack, until

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    async with running_stack() as made:
        yield made


@pytest.fixture
async def owner(world: World) -> AsyncIterator[Owner]:
    async with aiohttp.ClientSession() as http:
        yield Owner(world, Shell(world.home), http, free_port())


async def publish(owner: Owner, client: str, outcomes: list[str]) -> None:
    """One job that publishes once; what came of it."""
    url = f"{owner.world.sim.platform_url}/x/acme"
    try:
        async with (
            owner.world.keep() as keep,
            keep.job(client=client, secrets=["x"], platforms=["x"], effects=["publish"]) as job,
        ):
            await job.secret("x/acme")
            async with job.effect("publish", platform="x", account="acme", key=f"post-{uuid4()}"):
                (await owner.http.post(f"{url}/posts", json={"text": "hello"})).raise_for_status()
        outcomes.append("done")
    except ByokeepError as error:
        outcomes.append(error.code)


async def published(owner: Owner, client: str, number: int = 1) -> list[str]:
    outcomes: list[str] = []
    for _ in range(number):
        await publish(owner, client, outcomes)
    return outcomes


def rows(document: Any, name: str) -> list[dict[str, Any]]:
    """The rows of a list that was printed as JSON."""
    return list(document if isinstance(document, list) else document[name])


async def status(owner: Owner, client: str) -> dict[str, Any]:
    found = await owner.json("incident", "platform", "status", client, who="auditor")
    return dict(found["platforms"][0]) if found["platforms"] else {}


@pytest.mark.req("R7.2-1", "R7.2-3", "R7.2-6")
async def test_a_revoked_account_comes_back_by_commands_alone(owner: Owner) -> None:
    """The owner takes the consent back: found, closed, people told, nothing published. A login, the word of two people,
    one, five and twenty acts lead back; whoever asks for more at once, alone, or too early is refused."""
    client = await owner.world.client()
    await owner.prepare("x")
    assert (await owner.connect(client, "x"))[0].code == 0
    await owner.json("account", "lane", client, "x", "acme", "api")
    assert await published(owner, client) == ["done"]
    # Detection: the platform refuses our token, the renewal finds out why.
    await owner.tell("grants", platform="x", account="acme", event="revoked")
    await owner.run("account", "verify", client, "x", "acme")
    for _ in range(60):
        if (found := await status(owner, client)).get("stage") == "closed":
            break
        await asyncio.sleep(0.5)
    assert (found["stage"], found["cause"]) == ("closed", "compromised")
    listed = await owner.run("alert", "list", "--json")  # it ends with 1: a critical one is among them
    reasons = {one["reason"] for one in rows(listed.document, "alerts")}
    assert {"account_reuse_suspected", "platform_closed"} <= reasons
    state = await owner.json("account", "show", client, "x", "acme")
    assert (state["state"], state["policy"], state["next"]) == ("needs_reauth", "off", "connect")
    assert set(await published(owner, client)) <= {"credential_not_usable", "platform_closed"}
    assert await owner.world.effects() == 1
    # Too early: nothing but a login leads on.
    canary = ("incident", "platform", "canary", client, "x", "--reason", "access_is_ours_again")
    assert (await owner.run(*canary)).code == 6
    assert (await owner.run("account", "lane", client, "x", "acme", "api")).code == 6
    # Another account's login does not.
    assert (await owner.connect(client, "x", account="bravo"))[0].code == 6
    assert (await status(owner, client))["stage"] == "closed"
    await owner.tell("accounts", platform="x", posts=3, **ACCOUNTS["x"][0])
    back = (await owner.connect(client, "x"))[0]
    assert back.code == 0
    for step in (f"account lane {client} x acme api", f"incident platform canary {client} x"):
        assert step in back.err
    assert (await status(owner, client))["stage"] == "permitted"
    await owner.json("account", "lane", client, "x", "acme", "api")
    assert await published(owner, client) == ["platform_closed"]
    asked = await owner.json(*canary)
    approve = ("incident", "platform", "approve", asked["id"])
    assert (await owner.run(*approve)).code == 3
    assert (await owner.json(*approve, who="approver"))["stage"] == "canary"
    assert (await owner.run(*approve, who="approver")).code == 3
    for acts in (1, 5, 20):
        found = await status(owner, client)
        assert (found["stage"], found["acts"], found["done"]) == ("canary", acts, 0)
        assert await published(owner, client, acts) == ["done"] * acts
    assert (await status(owner, client))["stage"] == "open"
    assert await published(owner, client, 2) == ["done"] * 2
    assert await owner.world.effects() == 1 + 1 + 5 + 20 + 2
    listed = await owner.json("audit", "list", "--client", client, "--limit", "500", who="auditor")
    steps = [one for one in rows(listed, "records") if one["event"] == "platform.reenabling_stepped"]
    assert [one["outcome"] for one in steps].count("ok") == 7  # login, two checks, three stages, open
    assert (await owner.run("audit", "verify", who="auditor")).code == 0


async def test_renewals_of_a_lost_machine_are_taken_up_at_an_admin_s_word(owner: Owner) -> None:
    """The machine and what it left are listed; nobody but an admin may say that it is gone, and not without a reason or
    of one that nobody knows; then the account is renewed within seconds."""
    client, lost, job = await owner.world.client(), uuid4(), uuid4()
    await owner.prepare("x")
    assert (await owner.connect(client, "x", account="bravo"))[0].code == 0
    where = f"client_id = '{client}'"
    await owner.world.sql(
        "INSERT INTO byokeep.job (id, client_id, dispatcher_id, runner_id, kind, secrets, platforms, lanes, effects,"
        f" opened_at, expires_at) SELECT '{job}', '{client}', id, id, 'custody', '{{x}}', '{{}}', '{{}}', '{{}}',"
        " now() - interval '60 minutes', now() - interval '45 minutes' FROM byokeep.subject LIMIT 1;"
        "INSERT INTO byokeep.refresh_journal (id, client_id, account_id, base, phase, sent_at, owner, job_id,"
        f" started_at) SELECT '{uuid4()}', client_id, account_id, version, 'sent', now() - interval '1 hour',"
        f" '{lost}', '{job}', now() - interval '1 hour' FROM byokeep.account_grant WHERE {where};"
        f"UPDATE byokeep.account_grant SET due_at = now() WHERE {where}"
    )
    listed = rows(await owner.json("account", "refreshers", who="admin"), "refreshers")
    assert [(one["owner"], one["renewals"], one["gone"]) for one in listed] == [(str(lost), 1, False)]
    gone = ("account", "refresher-gone", str(lost), "--reason")
    assert (await owner.run(*gone, "machine_lost")).code == 3
    assert (await owner.run(*gone, "It burnt", who="admin")).code == 2
    assert (await owner.run("account", "refresher-gone", str(uuid4()), "--reason", "lost", who="admin")).code == 3
    version = f"SELECT version FROM byokeep.account_grant WHERE {where}"
    await asyncio.sleep(6)  # a round of taking up what was cut off
    assert await owner.world.sql(version) == "1"
    assert (await owner.json(*gone, "machine_lost", who="admin"))["renewals"] == 1
    for _ in range(60):
        if await owner.world.sql(version) == "2":
            break
        await asyncio.sleep(0.5)
    assert await owner.world.sql(version) == "2"
    assert rows(await owner.json("account", "refreshers", who="admin"), "refreshers") == []


async def approved(owner: Owner, client: str, *words: str) -> str:
    """Ask for a grant and have it approved, by commands; returns its id."""
    asked = await owner.json("breakglass", *(words or ("request", "--reason", "runner_down", "--for", "5m")),
                             "--client", client, "--ticket", "INC-42")  # fmt: skip
    assert (await owner.json("breakglass", "approve", asked["id"], who="approver"))["status"] == "approved"
    return str(asked["id"])


async def at_store(where: str, path: str, token: str) -> tuple[int, Any]:
    """Whoever holds a token reads at the store itself, by an address that the command printed."""
    connector = aiohttp.UnixConnector(where.removeprefix("unix://"))
    async with (
        aiohttp.ClientSession(connector=connector) as http,
        http.get(f"http://store/v1/{path}", headers={"X-Vault-Token": token}) as reply,
    ):
        return reply.status, await reply.json()


async def over(owner: Owner, grant: str, status: str = "to_review") -> dict[str, Any]:
    """Wait until a grant has come to a status; returns it."""
    found: dict[str, Any] = {}

    async def reached() -> bool:
        found.update(await owner.json("breakglass", "show", grant, who="auditor"))
        return bool(found["status"] == status)

    await until(reached, 30, f"{grant}: {status}")
    return found


async def reviewed(owner: Owner, grant: str) -> list[str]:
    """The way from the end of a grant to its close, by commands; returns what was done with it."""
    review = await owner.json("breakglass", "review", grant)
    assert (await owner.run("breakglass", "close", grant)).code == 3  # the holder's own
    assert (await owner.json("breakglass", "close", grant, who="approver"))["status"] == "closed"
    return [f"{one['event']}:{one['outcome']}" for one in review["uses"]]


@pytest.mark.req("R4.2-6", "R4.2-7")
async def test_break_glass_by_commands_alone(owner: Owner, tmp_path: Path) -> None:
    """Asked for, approved, unwrapped, read, over, reviewed. A wrapping token that is shown again ends the grant and its
    token, and opens an incident, which its holder does not close. The value is nowhere but where it was read."""
    client = await owner.world.client()
    value = await owner.world.onboard(client)
    grant = await approved(owner, client)
    assert (
        await owner.run("breakglass", "request", "--client", client, "--reason", "again", "--ticket", "T")
    ).code == 6
    files = [tmp_path / name for name in ("glass.json", "token", "again.json", "again", "third", "fourth")]
    assert (await owner.run("breakglass", "open", grant, "--save", str(files[0]), who="approver")).code == 3
    assert (await owner.run("breakglass", "open", grant, "--save", str(files[0]))).code == 0
    assert (await owner.run("breakglass", "open", grant, "--save", str(files[2]))).code == 3
    opened = json.loads(files[0].read_text())
    assert opened["wrapping_token"] not in "".join(ran.said for ran in owner.shell.ran)
    told = await owner.json("breakglass", "unwrap", str(files[0]), "--save", str(files[1]))
    assert told["grant"] == grant
    token = files[1].read_text().strip()
    place = f"kv/data/clients/{client}/providers/openai"
    status, read = await at_store(opened["store_address"], place, token)
    assert (status, read["data"]["data"]["value"]) == (200, value.decode())
    # Somebody else tries the same wrapping token with the command, which tells of it before anybody looks at a log.
    assert (await owner.run("breakglass", "unwrap", str(files[0]), "--save", str(files[3]))).code == 5
    assert (await at_store(opened["store_address"], place, token))[0] == 403
    await over(owner, grant)
    incidents = rows(await owner.json("incident", "list", who="auditor"), "incidents")
    [incident] = [one for one in incidents if one["client_id"] == client]
    assert incident["kind"] == "break_glass"
    assert (await owner.run("incident", "postmortem", incident["id"], "--link", "wiki/42")).code == 0
    assert (await owner.run("incident", "close", incident["id"])).code == 3  # the holder's own
    assert (await owner.json("incident", "close", incident["id"], who="approver"))["state"] == "closed"
    assert {"break_glass_opened", "break_glass_used", "break_glass_misused"} <= await owner.world.alerts()
    done = await reviewed(owner, grant)
    assert {"breakglass.unwrapped:ok", "breakglass.used:ok"} <= set(done)
    # And one that ends by its time, at the store and here.
    grant = await approved(owner, client, "request", "--ref", "openai", "--reason", "late", "--for", "2s")
    assert (await owner.run("breakglass", "open", grant, "--save", str(files[4]))).code == 0
    assert (await owner.run("breakglass", "unwrap", str(files[4]), "--save", str(files[5]))).code == 0
    await over(owner, grant)
    assert (await at_store(opened["store_address"], place, files[5].read_text().strip()))[0] == 403
    assert "breakglass.misused:failed" not in await reviewed(owner, grant)
    sweep = ("leaks", "sweep", "--no-processes")
    (tmp_path / "control").write_bytes(value)
    assert (await owner.run(*sweep, str(tmp_path), stdin=value)).code == 1
    (tmp_path / "control").unlink()
    swept = await owner.run(*sweep, str(owner.world.home), str(tmp_path), stdin=value)
    assert swept.code == 0, swept.said
    assert value.decode() not in "".join(ran.said for ran in owner.shell.ran)


@contextlib.asynccontextmanager
async def on_host(owner: Owner) -> AsyncIterator[None]:
    """Break glass served on the host by its command, ended as a person does."""
    process, socket = await owner.shell.start("breakglass", "host"), owner.world.home / "breakglass.sock"
    try:
        await until(socket.exists, 60, "break glass on the host")
        yield
        process.send_signal(signal.SIGINT)
        ran = await owner.shell.finish(process, "breakglass", "host")
        assert ran.code == 0, ran.said
        assert not socket.exists()
    finally:
        await ended(process)


@pytest.mark.req("R4.2-8")
async def test_the_door_on_the_host_opens_while_nothing_else_of_ours_answers(owner: Owner, tmp_path: Path) -> None:
    """Web, broker, kill process and worker hang: the same two people, the same rules, and others are told. The drill
    proves it, by itself on record. Without the database nothing opens."""
    client = await owner.world.client()
    value = await owner.world.onboard(client)
    for who in ("operator", "approver", "auditor"):
        owner.world.token_file(who)
    with contextlib.ExitStack() as stopped:
        for name in ("web", "broker", "killswitch", "worker", "refresher"):
            stopped.enter_context(owner.world.frozen(name))
        async with on_host(owner):
            drill = await approved(owner, client, "drill")
            ran = await owner.run("breakglass", "drill", drill)
            assert ran.code == 0, ran.said
            listed = await owner.json("breakglass", "list", who="auditor")
            assert listed["last_host_drill_at"] == listed["last_drill_at"] is not None
            seen = (await owner.run("doctor", "--json")).out
            assert f"on the host {listed['last_host_drill_at'][:10]}" in seen
            asked = await owner.json(
                "breakglass", "request", "--client", client, "--reason", "all_down", "--ticket", "I-1"
            )
            assert (await owner.run("breakglass", "approve", asked["id"])).code == 3
            file, token = tmp_path / "glass.json", tmp_path / "token"
            assert (await owner.run("breakglass", "open", asked["id"], "--save", str(file))).code == 3
            assert (await owner.run("breakglass", "approve", asked["id"], who="approver")).code == 0
            assert (await owner.run("breakglass", "open", asked["id"], "--save", str(file))).code == 0
            assert (await owner.run("breakglass", "unwrap", str(file), "--save", str(token))).code == 0
            opened, place = json.loads(file.read_text()), f"kv/data/clients/{client}/providers/openai"
            status, read = await at_store(opened["store_address"], place, token.read_text().strip())
            assert (status, read["data"]["data"]["value"]) == (200, value.decode())
            assert (await owner.run("breakglass", "unwrap", str(file), "--save", str(tmp_path / "more"))).code == 5
            assert (await at_store(opened["store_address"], place, token.read_text().strip()))[0] == 403
            await over(owner, asked["id"])
            assert "breakglass.used:ok" in await reviewed(owner, asked["id"])
    where = "SELECT count(*) FROM byokeep.audit_record WHERE event IN ('breakglass.issued', 'breakglass.drilled')"
    said = " AND convert_from(payload, 'UTF8')::jsonb #>> '{fields,component}' = 'host'"
    assert await owner.world.sql(where + said) == "3"
    told = "SELECT count(*) FROM byokeep.audit_record WHERE event = 'alert.raised' AND convert_from(payload, 'UTF8')"
    assert await owner.world.sql(f"{told} LIKE '%break_glass_on_host%'") == "1"
    await owner.world.sound()
    alone = Shell(tmp_path / "other")  # a home whose database does not answer
    shutil.copytree(owner.world.home / "credentials", alone.home / "credentials")
    (alone.home / "config.toml").write_text(
        f'database_url = "postgresql://127.0.0.1:{free_port()}/byokeep"\nstore_address = "{opened["store_address"]}"\n'
    )
    refused = await alone.run("breakglass", "host")
    assert (refused.code, "database" in refused.err) == (4, True), refused.said
