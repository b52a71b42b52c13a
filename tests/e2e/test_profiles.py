"""A browser profile on a real stack with a real Chromium, by the command line alone: from the login to the end."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import secrets
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from byokeep.browser.ephemeral import shared_place
from byokeep.core.errors import Unavailable
from byokeep_redact.canary import new_canary
from tests.support.cli import Ran, Shell
from tests.support.room_owner import holds, orphan, owner
from tests.support.stack import World, environment, running_stack, until

pytestmark = pytest.mark.timeout(600)
ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+/\S+/")
ACME = {"id": "104000000000001", "username": "acme.bakery", "display_name": "Acme Bakery"}
DATABASE = b"SQLite format 3\0"


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    async with running_stack() as made:
        yield made


@dataclass
class Office:
    """The operator at the command line, and the person who owns the account."""

    world: World
    shell: Shell
    http: aiohttp.ClientSession
    password: str = field(default_factory=lambda: secrets.token_urlsafe(16), repr=False)

    async def run(self, *words: str, who: str = "operator") -> Ran:
        return await self.shell.run(*words, token=self.world.token_file(who), within_s=150)

    async def json(self, *words: str, who: str = "operator", code: int = 0) -> Any:
        ran = await self.run(*words, "--json", who=who)
        assert ran.code == code, ran.said
        return ran.document

    async def tell(self, what: str, **spec: Any) -> None:
        async with self.http.post(f"{self.world.sim.url}/_sim/{what}", json=spec) as reply:
            assert reply.status in (200, 201), await reply.text()

    async def site(self) -> None:
        """The account exists at the platform, and so does its password."""
        await self.tell("accounts", platform="skool", account="acme", **ACME)
        await self.tell("site/accounts", platform="skool", account="acme", password=self.password)

    async def log_in_by_hand(self, said: str) -> None:
        """What the person does: opens the address, types name and password, looks, and presses Done."""
        found = ADDRESS.search(said)
        assert found, said
        address = found[0]
        origin = {"Origin": address.split("/", 3)[0] + "//" + address.split("/", 3)[2]}
        async with self.http.ws_connect(address + "view", headers=origin) as viewer:
            await viewer.receive(timeout=20)
            for text, after in (("", "Tab"), ("acme", "Tab"), (self.password, "Enter")):
                for char in text:
                    await viewer.send_json({"key": "down", "name": char, "text": char})
                    await viewer.send_json({"key": "up", "name": char})
                number = {"Tab": 9, "Enter": 13}[after]
                kind = {"key": "down", "text": "\r"} if after == "Enter" else {"key": "raw"}
                await viewer.send_json({**kind, "name": after, "code": after, "number": number})
                await viewer.send_json({"key": "up", "name": after, "code": after, "number": number})
            await asyncio.sleep(3)
            await viewer.send_json({"done": True})

    async def profile(self, client: str, account: str, *more: str) -> str:
        """A profile that waits for its login."""
        names = ("--username", ACME["username"], "--display-name", ACME["display_name"])
        await self.json("account", "add", client, "skool", account, *names)
        return str((await self.json("profile", "create", client, f"skool/{account}", *more))["profile"])

    async def logged_in(self, profile: str) -> None:
        """The browser is there and the person has logged in."""
        begun = await self.run("profile", "login", profile)
        assert begun.code == 0, begun.said
        await self.log_in_by_hand(begun.err)


@pytest.fixture
async def office(world: World) -> AsyncIterator[Office]:
    async with aiohttp.ClientSession() as http:
        made = Office(world, Shell(world.home), http)
        await made.site()
        yield made


async def test_a_profile_from_the_login_to_the_end(office: Office, tmp_path: Path) -> None:
    """Created, logged in by hand, confirmed, sealed, proved, renewed, restored, destroyed; nothing plain left."""
    client = await office.world.client()
    profile = await office.profile(client, ACME["id"])
    await office.logged_in(profile)
    wrong = await office.run("profile", "confirm", profile, "somebody.else")
    assert wrong.code == 2
    assert "other_account" in wrong.said
    handed = await office.json("profile", "handoff", profile)
    assert ADDRESS.fullmatch(handed["address"])
    printed = await office.run("profile", "handoff", profile)
    assert handed["address"] in printed.out.split()  # as it stands there it can be copied
    assert handed["instructions"].splitlines()[1] in printed.err.splitlines()
    shown = await office.run("profile", "show", profile)
    assert f"byokeep profile confirm {profile} ACCOUNT" in shown.err
    assert "Done was pressed" in shown.err
    assert (await office.run("profile", "confirm", profile)).code == 2
    done = await office.json("profile", "confirm", profile, "skool/acme.bakery")
    assert done["generation"] == 1
    assert (done["state"], done["result"]) == ("done", "sealed"), done
    lane = ("account", "lane", client, "skool", ACME["id"], "browser")
    early = await office.run(*lane)
    assert early.code == 6
    assert "profile_not_proved" in early.said
    assert f"profile show {profile}" in early.said
    effects = (await (await office.http.get(f"{office.world.sim.url}/_sim/effects")).json())["total"]
    valid = await office.run("profile", "validate", profile)
    assert valid.code == 0, valid.said
    assert f"account lane {client} skool {ACME['id']} browser" in valid.err
    (proof,) = (await office.json("profile", "show", profile))["proofs"]
    picture = office.world.home / "proofs" / proof["file"]
    assert str(picture) in valid.out
    assert hashlib.sha256(picture.read_bytes()).hexdigest() == proof["sha256"]
    assert (await (await office.http.get(f"{office.world.sim.url}/_sim/effects")).json())["total"] == effects
    await office.json(*lane)
    (listed,) = await office.json("profile", "list", client)
    assert (listed["profile"], listed["state"], listed["proved"]) == (profile, "valid", True)
    await _evidence(office, listed["sop"], tmp_path)

    assert (await office.json("profile", "rekey", profile))["result"] == "rekeyed"
    shown = await office.json("profile", "show", profile)
    assert (shown["state"], shown["generation"]) == ("valid", 2)
    assert (await office.json("profile", "restore", profile, "1"))["result"] == "restored"
    told = await office.json("profile", "history", profile)
    assert [one["generation"] for one in told["generations"]] == [3, 2, 1]
    assert len({one["key"] for one in told["generations"]}) == 3

    _nothing_plain(office)
    await office.json("profile", "shred", profile)
    agreed = await office.json("profile", "shred", profile, "--approve", who="approver")
    assert (agreed["state"], agreed["result"]) == ("done", "shredded")
    (account,) = await office.json("account", "list", client)
    assert account["next"] == "profile create"
    assert not list((office.world.home / "artifacts" / client).rglob("*.sealed"))
    refused = await office.run("profile", "validate", profile)
    assert refused.code == 6
    _nothing_plain(office)


async def _evidence(office: Office, sop: str, place: Path) -> None:
    """A stranger can check what was done, with public keys alone."""
    assert (await office.json("evidence", "show", sop, who="auditor"))["state"] == "complete"
    bundle, keys = place / "evidence.json", place / "keys.txt"
    assert (await office.run("evidence", "export", sop, str(bundle), who="auditor")).code == 0
    assert (await office.run("audit", "keys", str(keys), who="auditor")).code == 0
    verified = await office.json("evidence", "verify", str(bundle), "--keys", str(keys), who="auditor")
    assert json.dumps(verified).count("create_profile") >= 1


def _nothing_plain(office: Office) -> None:
    """No password, no cookie database and no session document on any disk of the stack."""
    home = office.world.home
    for path in home.rglob("*"):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            assert office.password.encode() not in content, path
            assert DATABASE not in content[:64], path
            assert b"byokeep-browser-state" not in content, path
    assert not list((home / "run").rglob("*.json"))


async def test_a_whole_directory_is_sealed_and_comes_back(office: Office) -> None:
    """The other packing: the browser's directory without its caches; still logged in after a proof and a new key."""
    client = await office.world.client()
    profile = await office.profile(client, ACME["id"], "--packing", "full")
    await office.logged_in(profile)
    done = await office.json("profile", "confirm", profile, "acme.bakery")
    assert (done["state"], done["result"]) == ("done", "sealed"), done
    assert (await office.json("profile", "validate", profile))["result"] == "valid"
    assert (await office.json("profile", "rekey", profile))["result"] == "rekeyed"
    shown = await office.json("profile", "show", profile)
    assert (shown["state"], shown["generation"], shown["packing"]) == ("valid", 2, "full")
    _nothing_plain(office)


async def test_another_account_is_never_sealed(office: Office) -> None:
    """The person confirms the wrong browser; the worker looks for itself: nothing is sealed, people are called."""
    client = await office.world.client()
    profile = await office.profile(client, "999000000000009")
    await office.logged_in(profile)
    ended = await office.run("profile", "confirm", profile, "acme.bakery", "--json")
    assert ended.code == 6
    assert ended.document["reason"] == "other_account"
    shown = await office.json("profile", "show", profile)
    assert (shown["state"], shown["generation"]) == ("quarantined", 0)
    assert not list((office.world.home / "artifacts").rglob(f"{client}/**/*.sealed"))
    listed = await office.run("alert", "list", "--json")  # it ends with 1: a critical one is among them
    reasons = [one["reason"] for one in listed.document]
    assert "profile_quarantined" in reasons


async def test_a_worker_sweeps_what_a_killed_owner_and_its_killed_guard_left(world: World, tmp_path: Path) -> None:
    """A room in shared memory of the worker's user: gone within a minute, while one that somebody has stays.

    Where another stack of the same user stands beside this one, its worker may be the one that does it.
    """
    assert world.stack.pid("worker")
    canary_file = tmp_path / "canary"
    canary_file.write_bytes(new_canary("openai"))
    with owner(str(shared_place()), canary_file) as (_, living, _guard):
        left = orphan(str(shared_place()), canary_file)
        assert holds(left, canary_file)
        await until(lambda: not left.exists(), 60, "the room of nobody")
        assert holds(living, canary_file)


BROKEN = {
    "worker": "from byokeep.sealing import sealer; sealer._STREAM = b'another key'",
    "refresher": "from byokeep.adapters.files import slots; slots.urlsafe_b64decode = lambda _: bytes(31) + b'x'",
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_process_whose_sealing_is_broken_does_not_start(world: World, name: str) -> None:
    """Its library derives another key or answers otherwise: it ends with one code before it takes up any work."""
    program = f"import runpy\n{BROKEN[name]}\nrunpy.run_module('byokeep.cli', run_name='__main__')"
    counted = "SELECT count(*) FROM procrastinate.procrastinate_workers"
    workers = await world.sql(counted)
    before = sorted((world.home / "slots").rglob("*"))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, name, "--config", str(world.home / "run-settings.toml"), env=environment(),
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, said = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == Unavailable.exit_code
    assert b"sealing_self_test_failed" in said
    assert await world.sql(counted) == workers
    assert sorted((world.home / "slots").rglob("*")) == before


async def test_the_way_out_of_an_incident_by_what_is_printed_next(office: Office) -> None:
    """Runbook 7.3 led by the printed commands alone: each ends with 0, and the next one is the one that is needed."""
    client = await office.world.client()
    profile = await office.profile(client, ACME["id"])
    await office.logged_in(profile)
    assert (await office.json("profile", "confirm", profile, "acme.bakery"))["result"] == "sealed"
    assert (await office.json("profile", "validate", profile))["result"] == "valid"
    ran = await office.run("incident", "vault", "open", "--client", client, "--cause", "drill")
    assert ran.code == 0, ran.said
    done: list[str] = []
    for _ in range(40):
        first = next(line for line in ran.err.splitlines() if line.startswith("Next: "))
        words = first.removeprefix("Next: ").split(" --home")[0].split()[1:]
        who = "approver" if first.endswith("(an approver)") else "operator"
        if words[0] == "kill":
            break
        if words[:2] == ["profile", "login"]:
            await office.logged_in(words[2])
            ran = await office.run("profile", "confirm", words[2], "skool/acme.bakery")
        else:
            ran = await office.run(*words, who=who)
        status = words[:3] == ["incident", "vault", "status"]
        assert ran.code in ((0, 6) if status else (0,)), ran.said
        done += words[1:3] if words[0] == "profile" else words[2:3]
        await asyncio.sleep(2)
    assert [one for at, one in enumerate(done) if one not in done[:at] and len(one) < 20] == [
        "lane-off", "sessions", "recreate", "login", "status", "rekey", "approve", "validate", "close",
    ]  # fmt: skip
    assert "vault_incident_opened" in ran.err
    assert "byokeep alert close " in ran.err
