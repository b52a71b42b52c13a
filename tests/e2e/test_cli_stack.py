"""The command line on a real stack: every command, good input and bad, text and JSON; keys come in and never show."""

# ruff: noqa: S608 - statements are put together from made-up values

from __future__ import annotations

import asyncio
import errno
import json
import re
import shlex
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from byokeep.adapters.openbao.login import AppRoleLogin, log_in
from byokeep.adapters.openbao.provisioning import generate_root
from byokeep.core.errors import Denied, Unavailable
from byokeep.processes import installation, platform_secrets, wiring
from byokeep_redact.canary import new_canary
from tests.support.cli import Ran, Shell, Watch, pipe_with
from tests.support.stack import World, environment, running_stack, until

pytestmark = pytest.mark.timeout(300)  # many commands; how long each takes on an idle machine is a benchmark
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@pytest.fixture(scope="module")
async def world() -> AsyncIterator[World]:
    async with running_stack() as made:
        yield made


@pytest.fixture(scope="module")
async def shell(world: World) -> Shell:
    return Shell(world.home)


def done(ran: Ran) -> Ran:
    """A command that went well and printed no traceback."""
    assert ran.code == 0, ran.said
    assert "Traceback" not in ran.said
    return ran


class Desk:
    """The shell with people's tokens at hand."""

    def __init__(self, world: World, shell: Shell) -> None:
        self.world, self.shell = world, shell

    async def ok(self, *words: str, who: str = "operator", stdin: bytes | None = None) -> Ran:
        """Run as a person; must go well as text and print nothing but text."""
        return done(await self.shell.run(*words, token=self.world.token_file(who), stdin=stdin))

    async def json(self, *words: str, who: str = "operator", stdin: bytes | None = None) -> object:
        """Run with --json; standard output is one document and standard error is empty, but for what a page leaves."""
        ran = done(await self.shell.run(*words, "--json", token=self.world.token_file(who), stdin=stdin))
        left = r"(\d+ older records are left: --before \d+\n)?" if words[:2] == ("audit", "list") else ""
        assert re.fullmatch(left, ran.err)
        return ran.document

    async def alerts(self, who: str = "operator") -> Any:
        """The open alerts; the exit code says whether a critical one is among them."""
        ran = await self.shell.run("alert", "list", "--json", token=self.world.token_file(who))
        assert ran.code == int(any(one["severity"] == "critical" for one in ran.document)), ran.said
        return ran.document

    async def no(self, code: int, reason: str, *words: str, who: str = "operator", stdin: bytes | None = None) -> Ran:
        """Run; must end with this exit code and reason, in text and in JSON."""
        ran = await self.shell.run(*words, "--json", token=self.world.token_file(who), stdin=stdin)
        assert (ran.code, ran.document["error"]["code"]) == (code, reason), ran.said
        assert ran.err.count(reason) == 1 or "not found" in ran.err
        assert "Traceback" not in ran.said
        return ran


_WARNINGS = ("--severity", "warning")


@pytest.fixture
def desk(world: World, shell: Shell) -> Desk:
    return Desk(world, shell)


def ids(document: object, name: str = "id") -> str:
    assert isinstance(document, dict)
    assert UUID.fullmatch(document[name]), document
    return str(document[name])


@pytest.mark.req("R5.1-2")
@pytest.mark.parametrize("way", ["stdin", "fd", "prompt"])
async def test_a_key_comes_in_without_being_seen(desk: Desk, way: str) -> None:
    """By each way the key is in no argument, no environment and no output while it is stored, verified and searched."""
    client, key = await desk.world.client(), await desk.world.new_key("openai")
    words, token = ("key", "add", client, "openai"), desk.world.token_file("operator")
    with Watch(key, key[20:44]) as watch:
        if way == "stdin":
            ran = await desk.shell.run(*words, token=token, stdin=key + b"\n")
        elif way == "fd":
            with pipe_with(key) as fd:
                ran = await desk.shell.run(*words, "--fd", str(fd), token=token, fds=[fd])
        else:
            ran = await desk.shell.typed(*words, token=token, prompt="(not shown)", text=key.decode())
    assert watch.saw("byokeep.cli", "add", client), "nobody looked at the command itself"
    assert watch.found == []
    assert "complete" in done(ran).out
    assert key[20:44].decode() not in ran.said
    assert await desk.world.reads(client, "openai", key)


@pytest.mark.req("R5.1-2")
@pytest.mark.parametrize("form", [("{}",), ("--value", "{}"), ("--value={}",), ("--key={}",)])
@pytest.mark.parametrize("provider", ["openai", "kie"])
async def test_a_key_as_an_argument_is_refused_and_not_printed(
    desk: Desk, form: tuple[str, ...], provider: str
) -> None:
    """Exit code 2 with advice, also for one without a mark of its own; nothing was sent, and the key is not in what was
    printed."""
    client, key = await desk.world.client(), await desk.world.new_key(provider)
    words = [word.format(key.decode()) for word in form]
    ran = await desk.shell.run("key", "add", client, provider, *words, token=desk.world.token_file("operator"))
    assert ran.code == 2
    assert "--fd N" in ran.err
    assert key[20:32].decode() not in ran.said
    assert await desk.json("key", "list", client) == []


async def test_the_watcher_finds_what_is_there(desk: Desk) -> None:
    """Positive control: a key in an argument is seen by the watcher while the command refuses it."""
    key = new_canary("openai")
    with Watch(key) as watch:
        ran = await desk.shell.run("key", "add", "x", "openai", f"--value={key.decode()}")
    assert ran.code == 2
    assert watch.found


async def test_clients_keys_and_evidence(desk: Desk, tmp_path: Path) -> None:
    """A client's first day: created, key in, looked at, verified again, suspended, its evidence checked offline."""
    made = await desk.json("client", "create", "Acme Bakery", "--risk", "high", who="admin")
    client = ids(made)
    taken = await desk.no(6, "client_exists", "client", "create", "Acme Bakery", who="admin")
    assert "conflict: client_exists" in taken.err
    await desk.ok("client", "enroll", client, who="admin")
    assert client in (await desk.ok("client", "list", who="admin")).out
    assert (await desk.json("client", "show", client))["risk"] == "high"  # type: ignore[index]
    key = await desk.world.new_key("anthropic")
    sop = ids(await desk.json("key", "add", client, "anthropic", stdin=key))
    listed = await desk.json("key", "list", client)
    assert [(one["state"], one["verification"]) for one in listed] == [("active", "verified")]  # type: ignore[attr-defined]
    ref = ids(listed[0])  # type: ignore[index]
    shown = (await desk.ok("key", "show", ref)).out
    assert f"vault://kv/clients/{client}/providers/anthropic" in shown
    again = await desk.ok("key", "verify", ref)
    assert "client_key_onboarded" in again.out
    assert "Next: byokeep evidence export" in again.err
    assert ref in json.dumps(await desk.json("key", "inventory"))
    await desk.ok("key", "inventory")
    assert "leak check pass" in (await desk.ok("evidence", "show", sop, who="auditor")).out

    keys, file = str(tmp_path / "keys.txt"), str(tmp_path / "evidence.json")
    await desk.ok("audit", "keys", keys, who="auditor")
    await desk.ok("evidence", "export", sop, file, who="auditor")
    assert (await desk.json("evidence", "verify", file, "--keys", keys))["state"] == "ok"  # type: ignore[index]
    Path(file).write_bytes(Path(file).read_bytes().replace(b"A", b"B", 1))
    assert (await desk.shell.run("evidence", "verify", file, "--keys", keys)).code == 5

    await desk.no(2, "bad_reason", "key", "state", ref, "suspended", "--reason", "x")
    assert (await desk.json("key", "state", ref, "suspended", "--reason", "seen_in_chat"))["state"] == "suspended"  # type: ignore[index]
    await desk.no(2, "key_state", "key", "state", ref, "suspended", "--reason", "seen_in_chat")
    assert (await desk.json("client", "suspend", client, who="admin"))["state"] == "suspended"  # type: ignore[index]
    await desk.no(2, "client_not_active", "key", "add", client, "openai", stdin=await desk.world.new_key("openai"))
    await desk.ok("client", "resume", client, who="admin")


@pytest.mark.parametrize(
    ("state", "reason", "step", "goes_on"),
    [
        ("invalid", "invalid_key", "Ask the client for a new one", "key add"),
        ("leaked", "leaked", "runbook, section 7", "key state"),
        ("restricted", "restricted_but_live", "Allow it to list models", "key verify"),
    ],
)
async def test_a_key_that_is_refused_says_why_and_what_next(
    desk: Desk, state: str, reason: str, step: str, goes_on: str
) -> None:
    """A failed verification ends with exit code 2, the reason on record, what to do, and the one command after it."""
    client, provider = await desk.world.client(), "google" if state == "leaked" else "openai"
    key = new_canary(provider)
    if state != "invalid":
        known = {"provider": provider, "key": key.decode(), "state": state}
        async with desk.world.http.post(f"{desk.world.sim.url}/_sim/keys", json=known) as reply:
            reply.raise_for_status()
    ran = await desk.shell.run("key", "add", client, provider, token=desk.world.token_file("operator"), stdin=key)
    assert ran.code == 2
    assert f"not complete: {reason}" in ran.err
    assert step in ran.err
    steps = re.findall(r"byokeep (key \w+|kill \w+ --client) [0-9a-f-]{36}", ran.err)
    if state == "leaked":
        assert steps == ["kill on --client", "key state", "key add", "kill off --client"]
        assert "key verify REF" in ran.err
    else:
        assert steps == [goes_on]
    sop = UUID.findall(ran.err)[0]
    shown = await desk.ok("evidence", "show", sop, who="auditor")
    assert (goes_on in shown.err, "evidence export" in shown.err) == (True, False)
    file = desk.world.home / f"{sop}.json"
    refused = await desk.no(6, "sop_incomplete", "evidence", "export", sop, str(file), who="auditor")
    assert not file.exists()
    assert "evidence show" not in refused.err
    assert "starts a new run" in refused.err
    assert key[20:32].decode() not in ran.said


@pytest.mark.parametrize(
    ("value", "code", "reason"),
    [(b"", 2, "empty_value"), (b"sk-proj-abc", 2, "too_short"), (b"x" * 9000, 2, "too_long"),
     (b'{"key": "sk-proj-abcdefghijklmnop"}', 2, "json_not_key"), (b"```\nsk-proj-abcdefghijk\n```", 2, "code_fence")],
)  # fmt: skip
async def test_what_is_no_key_is_refused_before_it_is_stored(desk: Desk, value: bytes, code: int, reason: str) -> None:
    """The reason is told, the value is not."""
    client = await desk.world.client()
    ran = await desk.no(code, reason, "key", "add", client, "openai", stdin=value)
    assert ran.document["error"]["next_step"]
    assert "abc" not in ran.said.replace(client, "")
    assert await desk.json("key", "list", client) == []


async def test_people_machines_and_tokens(desk: Desk, tmp_path: Path) -> None:
    """Accounts are made and changed; a token is shown once, or saved; a password logs in; a revoked token ends."""
    person = ids(await desk.json("operator", "create", "anna", "--role", "operator", "--all-clients", who="admin"))
    listed = await desk.ok("operator", "list", who="admin")
    assert person in listed.out
    shown = await desk.ok("operator", "token", person, who="admin")
    assert re.search(r"^bko_[A-Za-z0-9_-]{43}$", shown.err, re.MULTILINE)
    assert "bko_" not in shown.out
    assert "Older tokens of this person, if there are any, end now." in shown.err
    assert (await desk.json("operator", "token", person, who="admin"))["token"].startswith("bko_")  # type: ignore[index]
    file = tmp_path / "deep" / "anna.token"
    await desk.no(2, "cannot_write_file", "operator", "token", person, "--save", str(file), who="admin")
    file.parent.mkdir()
    issued = await desk.json("operator", "token", person, "--days", "2", "--save", str(file), who="admin")
    assert "token" not in issued  # type: ignore[operator]
    assert file.stat().st_mode & 0o777 == 0o600
    before = file.read_bytes()
    await desk.no(2, "file_exists", "operator", "token", person, "--save", str(file), who="admin")
    assert file.read_bytes() == before
    done(await desk.shell.run("operator", "whoami", token=file))  # nothing was issued, so this one did not end
    invited = await desk.shell.run("client", "list", token=file)
    assert (invited.code, "not_permitted" in invited.err) == (3, True), invited.said
    issued = await desk.json("operator", "token", person, "--save", str(file), "--replace", who="admin")
    assert file.read_bytes() != before
    await desk.ok("operator", "revoke", ids(issued), who="admin")
    refused = await desk.shell.run("operator", "whoami", token=file)
    assert refused.code == 3
    await desk.no(2, "bad_token_days", "operator", "token", person, "--days", "4000", who="admin")

    lone = tmp_path / "lone.token"
    unassigned = ids(await desk.json("operator", "create", "lone", "--role", "operator", who="admin"))
    await desk.ok("operator", "token", unassigned, "--save", str(lone), who="admin")
    await signed_in(desk, "lone", lone)
    assert "No client is assigned to you" in done(await desk.shell.run("client", "list", token=lone)).err
    await desk.ok("operator", "token", person, "--save", str(file), "--replace", who="admin")
    done(await desk.shell.run("operator", "password", token=file, stdin=b"a long enough pass phrase 7\n"))
    wrong = await desk.shell.run("operator", "login", "anna", stdin=b"not that one at all\n")
    assert wrong.code == 3
    own = desk.world.home / "credentials" / "cli.token"
    assert not own.exists()
    logged = done(await desk.shell.run("operator", "login", "anna", stdin=b"a long enough pass phrase 7\n"))
    assert str(own) in logged.out
    assert own.stat().st_mode & 0o777 == 0o600
    done(await desk.shell.run("client", "list"))  # by the saved session, without naming it
    told = done(await desk.shell.run("operator", "whoami"))
    assert "A credential of yours (invitation) was issued by first-admin at" in told.err
    mine = done(await desk.shell.run("operator", "token", "--json")).document
    assert (mine["kind"], mine["token"][:4]) == ("api", "bko_")
    own.chmod(0o644)
    assert (await desk.shell.run("client", "list")).code == 2
    own.unlink()

    assert (await desk.json("operator", "change", person, "--state", "disabled", who="admin"))["state"] == "disabled"  # type: ignore[index]
    machine = ids(await desk.json("operator", "machine", "runner-9", "--role", "runner", "--all-clients", who="admin"))
    token = await desk.json("operator", "token", machine, "--machine", who="admin")
    assert token["token"].startswith("bkr_")  # type: ignore[index]
    client = await desk.world.client()
    await desk.ok("key", "add", client, "openai", stdin=await desk.world.new_key("openai"))
    second = ids(await desk.json("operator", "create", "eva", "--role", "admin", "--all-clients", who="admin"))
    await desk.ok("operator", "token", second, "--save", str(tmp_path / "eva.token"), who="admin")
    await signed_in(desk, "eva", tmp_path / "eva.token")
    lost = done(await desk.shell.run("operator", "recover", "first-admin", "--save", str(tmp_path / "not yet")))
    assert ("byokeep approve " in lost.err, (tmp_path / "not yet").exists()) == (True, False), lost.said
    asked = await desk.ok("operator", "machine", "runner-8", "--role", "runner", "--all-clients", who="admin")
    request = UUID.findall(asked.err.partition("byokeep approve ")[2])[0]
    waiting = done(await desk.shell.run("approve", token=tmp_path / "eva.token"))
    assert ("runner-8" in waiting.out, request in waiting.out) == (True, True)
    await desk.no(3, "same_person", "approve", request, who="admin")
    held = await desk.shell.run("approve", request, token=tmp_path / "eva.token")
    assert (held.code, "approval_held" in held.err) == (3, True), held.said
    await desk.ok("operator", "change", second, "--state", "disabled", who="admin")
    alone = ("operator", "machine", "runner-8", "--role", "runner")
    stopped = await desk.no(3, "second_admin_needed", *alone, who="admin")
    assert "The other admin was stopped: enable them again, or do it alone after 20" in stopped.err
    refused = await desk.no(3, "not_permitted", "operator", "list", who="approver")
    assert "one of these roles: admin, auditor." in refused.err
    gone = await desk.no(3, "not_found", "key", "show", machine)
    assert "No key has this id, or you are not assigned to it." in gone.err


async def signed_in(desk: Desk, name: str, file: Path) -> None:
    """Turn an invitation's file into that of a session, as its holder would."""
    done(await desk.shell.run("operator", "password", token=file, stdin=b"a long enough pass phrase 8\n"))
    file.unlink()
    done(await desk.shell.run("operator", "login", name, "--save", str(file), stdin=b"a long enough pass phrase 8\n"))


async def test_accounts_and_kill_switch(desk: Desk) -> None:
    """An account is registered; the switch stops the client until two people lift it."""
    client, key = await desk.world.client(), await desk.world.new_key("openai")
    await desk.ok("key", "add", client, "openai", stdin=key)
    add = await desk.ok("account", "add", client, "x", "acme", "--username", "acme", "--display-name", "Acme Bakery")
    assert f"Next: byokeep account lane {client} x acme api" in add.err
    assert (await desk.json("account", "lane", client, "x", "acme", "api"))["lanes"] == ["api"]  # type: ignore[index]
    assert "acme" in (await desk.ok("account", "list", client)).out

    job = ("job", "run", "--client", client, "--secret", "openai", "--", "true")
    done(await desk.shell.run(*job))
    named = await desk.shell.run(*job, token=desk.world.token_file("operator"))
    assert (named.code, "--token-file is used here only" in named.err) == (0, True), named.said
    closed = await desk.json("kill", "on", "--client", client, "--reason", "suspected_leak")
    assert closed["closed"] is True  # type: ignore[index]
    assert closed["store_cut_off"] is True  # type: ignore[index]
    stopped = await desk.shell.run(*job)
    assert (stopped.code, "switch_closed" in stopped.err) == (3, True)
    new = await desk.world.new_key("openai")
    add = ("key", "add", client, "openai", "--skip-rehearsal")
    late = await desk.shell.run(*add, token=desk.world.token_file("operator"), stdin=new)
    assert (late.code, "Verify it once the kill switch is released" in late.err) == (7, True), late.said
    held = await desk.json("key", "list", client)
    serves = [(one["version"], one["candidate"], one["verification"]) for one in held]  # type: ignore[attr-defined,index]
    assert serves == [(1, 2, "verified")]
    asked = await desk.ok("kill", "off", "--client", client, "--reason", "key_replaced")
    request = UUID.findall(asked.err)[0]
    assert f"byokeep kill approve {request} --home {desk.world.home}" in asked.err
    again = await desk.ok("kill", "off", "--client", client, "--reason", "key_replaced")
    assert "repeated" not in again.out
    assert (f"kill approve {request}" in again.err, "already requested" in again.err) == (True, True)
    status = (await desk.ok("kill", "status")).out
    assert request in status
    assert client not in status, "a name stands in the place of the client's id"
    assert [one["id"] for one in (await desk.json("kill", "status"))["requests"]] == [request]  # type: ignore[index]
    await desk.no(3, "not_permitted", "kill", "approve", request)
    await desk.ok("kill", "approve", request, who="approver")
    await desk.no(6, "switch_not_closed", "kill", "off", "--client", client, "--reason", "x")
    done(await desk.shell.run(*job))
    await desk.ok("key", "verify", held[0]["id"])  # type: ignore[index]
    await until(lambda: cut_over(desk, client), 30)
    held = await desk.json("key", "list", client)
    assert [(one["version"], one["candidate"]) for one in held] == [(2, None)]  # type: ignore[attr-defined,index]
    done(await desk.shell.run(*job))


async def cut_over(desk: Desk, client: str) -> bool:
    held = await desk.json("key", "list", client)
    return bool(held[0]["candidate"] is None)  # type: ignore[index]


async def test_the_next_command_works_as_it_is_printed(desk: Desk, tmp_path: Path) -> None:
    """It carries the home and, for the same person, the token file; an account without clients says how to get some."""
    client = await desk.world.client()
    add = await desk.ok("account", "add", client, "x", "acme", "--username", "acme", "--display-name", "Acme Bakery")
    made = await desk.ok("operator", "create", "ole", "--role", "operator", who="admin")
    assign = next(line for line in made.err.splitlines() if line.startswith("byokeep operator change"))
    issue = made.err.partition("Next: ")[2].replace("FILE", str(tmp_path / "ole.token"))
    for line in (add.err.partition("Next: ")[2], assign.replace(" CLIENT", f" {client}"), issue):
        program, *words = shlex.split(line)
        ran = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "byokeep.cli", *words, env=environment(), stdout=asyncio.subprocess.DEVNULL
        )
        assert (program, await ran.wait()) == ("byokeep", 0), line
    await signed_in(desk, "ole", tmp_path / "ole.token")
    mine = done(await desk.shell.run("client", "list", "--json", token=tmp_path / "ole.token")).document
    assert [one["id"] for one in mine] == [client]


async def test_the_audit_from_the_outside(desk: Desk, tmp_path: Path) -> None:
    """Read, verified online and offline, proven for one client, searched by hash; a removed line is found."""
    client = await desk.world.client()
    await desk.ok("key", "add", client, "openai", stdin=await desk.world.new_key("openai"))
    assert (await desk.json("audit", "health", who="auditor"))[0]["state"] == "healthy"  # type: ignore[index]
    await desk.ok("audit", "checkpoint", who="auditor")
    ran = await desk.shell.run(
        "audit", "list", "--client", client, "--limit", "3", "--json", token=desk.world.token_file("auditor")
    )
    assert (len(ran.document), "older records are left: --before " in ran.err) == (3, True)
    await desk.ok("audit", "list", who="auditor")
    assert (await desk.json("audit", "verify", who="auditor"))["state"] == "ok"  # type: ignore[index]
    await desk.no(3, "not_permitted", "audit", "list", who="operator")
    await desk.no(2, "bad_time", "audit", "list", "--since", "yesterday", who="auditor")

    keys, chain, proof, epochs = (str(tmp_path / name) for name in ("keys.txt", "chain.jsonl", "proof.json", "epochs"))
    await desk.ok("audit", "keys", keys, who="auditor")
    await desk.ok("audit", "proof", client, proof, who="auditor")
    Path(epochs).write_bytes((desk.world.home / "checkpoints" / "epochs.jsonl").read_bytes())  # first, then the log
    await desk.ok("audit", "export", chain, "--client", client, who="auditor")
    await desk.ok("audit", "export", str(tmp_path / "platform.jsonl"), who="auditor")
    offline = ("audit", "verify", chain, "--keys", keys, "--epochs", epochs, "--chain", client)
    assert done(await desk.shell.run(*offline, "--json")).document["state"] == "ok"
    alone = await desk.shell.run(*offline[:-2])
    assert (alone.code, f"add --chain {client}" in alone.err) == (2, True)
    wrong = await desk.shell.run("evidence", "verify", proof, "--keys", keys)
    assert (wrong.code, "byokeep audit check-proof" in wrong.err) == (2, True)
    done(await desk.shell.run("audit", "check-proof", proof, "--keys", keys))
    lines = Path(chain).read_bytes().splitlines(keepends=True)
    Path(chain).write_bytes(b"".join(lines[:2] + lines[3:]))
    assert (await desk.shell.run(*offline)).code == 5
    Path(proof).write_bytes(Path(proof).read_bytes().replace(b"1", b"2", 1))
    assert (await desk.shell.run("audit", "check-proof", proof, "--keys", keys)).code in (2, 5)

    hashed = await desk.json("audit", "hash", who="auditor", stdin=b"some value to look for")
    assert "hmac-sha256:" in json.dumps(hashed)
    missing = await desk.shell.run("audit", "export", "/nonexistent/x", token=desk.world.token_file("auditor"))
    assert (missing.code, "cannot_write_file" in missing.err) == (2, True)
    range_ = await desk.no(2, "bad_minutes", "audit", "reconcile", "--minutes", "2881", who="auditor")
    assert "1 to 2880 minutes" in range_.err
    report = await desk.json("audit", "reconcile", "--minutes", "60", who="auditor")
    assert report["state"] == "clean"  # type: ignore[index]


async def test_alerts_leaks_doctor_and_gate(desk: Desk, tmp_path: Path) -> None:
    """Alerts are listed and closed; a planted value is found with exit code 5; the doctor finds what is wrong."""
    client = await desk.world.client()
    shared = await desk.world.new_key("openai")
    for one in (client, await desk.world.client()):
        await desk.ok("key", "add", one, "openai", stdin=shared)
    found = next(one for one in await desk.alerts() if one["reason"] == "shared_value")
    assert "shared_value: the same key is stored for two references" in (await desk.ok("alert", "list", *_WARNINGS)).err
    assert f"alert close {found['id']}" in (await desk.ok("alert", "show", found["id"])).err
    await desk.no(2, "filter_missing", "alert", "close")
    taken: Any = await desk.json("alert", "ack", found["id"])
    assert (bool(taken["acknowledged_by"]), taken["closed_at"]) == (True, None)
    bulk: Any = await desk.json("alert", "close", "--reason", "shared_value")
    assert (found["id"] in [one["id"] for one in bulk["alerts"]], bulk["left"]) == (True, 0)
    assert found["id"] not in (await desk.ok("alert", "list", *_WARNINGS)).out
    history: Any = await desk.json("alert", "history", "--since", "1h")
    assert next(bool(one["closed_by"]) for one in history if one["id"] == found["id"])
    beats: Any = await desk.json("audit", "list", "--event", "checkpoint.", "--limit", "1", who="auditor")
    assert [one["event"] for one in beats] == ["checkpoint.signed"]
    folded = await desk.ok("audit", "list", "--limit", "500", who="auditor")
    assert "checkpoint.signed" not in folded.out
    assert "records that the installation writes by itself" in folded.err
    page = await desk.ok("audit", "list", "--since", "1h", "--limit", "2", "--outcome", "ok", who="auditor")
    onward = re.search(r"([0-9]+) older records are left: \S+ (audit list .*?) --home", page.err)
    assert onward is not None, page.err
    rest = await desk.ok(*shlex.split(onward[2].replace("--limit 2", f"--limit {onward[1]}")), who="auditor")
    assert "older records are left" not in rest.err

    value = new_canary("openrouter")
    (tmp_path / "a.log").write_bytes(b"x" * 100)
    sweep = ("leaks", "sweep", str(tmp_path), "--no-processes")
    done(await desk.shell.run(*sweep, stdin=value))
    (tmp_path / "b.log").write_bytes(b"key=" + value.hex().encode())
    caught = await desk.shell.run(*sweep, "--json", stdin=value)
    assert caught.code == 1
    assert caught.document["findings"][0]["source"].endswith("b.log")
    assert (await desk.shell.run("leaks", "sweep", "--no-processes", stdin=value)).code == 2

    rows = {row["check"]: row["state"] for row in done(await desk.shell.run("doctor", "--json")).document}
    told = done(await desk.shell.run("doctor"))
    assert str(desk.world.home) in told.out
    assert re.search(rf"^{len(rows)} ok, 0 failed, 0 unknown; [1-9]\d* of those ok advise\.$", told.err, re.MULTILINE)
    assert rows["alerts"] == rows["kill switches"] == rows["last recovery drill"] == "ok"
    assert rows["core dumps"] == rows["worker rounds"] == rows["web"] == rows["broker"] == rows["secret store"] == "ok"
    place = desk.world.home / "credentials"
    place.chmod(0o755)
    try:
        ill = await desk.shell.run("doctor", "--json")
    finally:
        place.chmod(0o700)
    assert ill.code == 4
    assert {row["check"] for row in ill.document if row["state"] == "failed"} == {"credentials directory"}
    (tmp_path / "none").mkdir()
    nowhere = await Shell(tmp_path / "none").run("doctor", "--json")
    assert nowhere.code == 4
    assert {row["state"] for row in nowhere.document if row["check"] in ("web", "processes")} == {"unknown"}


@pytest.mark.req("R10.3-2")
async def test_the_platforms_own_secrets_are_rotated_under_load(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Not one request fails, and what was replaced is refused; one that is cut off fails, is listed, and goes on.

    Each step is on record, and no root is left.
    """
    world, credentials = desk.world, desk.world.home / "credentials"
    client = await world.client()
    value = await world.onboard(client)
    names = ("web", "broker", "killswitch", "provisioner")
    before = {name: (credentials / f"{name}.approle").read_bytes() for name in names}
    machines = {file: file.read_bytes() for file in (credentials / f"{name}.token" for name in installation.MACHINES)}
    shown = done(await desk.shell.run("rotate", "internal", "--dry-run", "--json")).document
    listed = {row["secret"]: row for row in shown}
    assert listed["secret id of broker"]["due_at"] > listed["secret id of broker"]["rotated_at"]
    assert listed["database roles"]["how"].startswith("none: ")
    over, failed = asyncio.Event(), list[str]()

    async def serve() -> int:
        count = 0
        while not over.is_set():
            if not await world.reads(client, "openai", value):
                failed.append("read")
            if (answer := await world.ask("operator", "GET", "/v1/clients")).status != 200:
                failed.append(f"{answer.status} {answer.code}")
            count += 1
            await asyncio.sleep(0.1)  # without a pause it costs two processors for as long as a rotation takes
        return count

    serving = [asyncio.create_task(serve()) for _ in range(3)]

    async def gone(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, "cut off")

    monkeypatch.setattr(platform_secrets, "rotate_signing_keys", gone)
    with pytest.raises(OSError, match="cut off"):
        await platform_secrets.rotate_internal(world.stack.settings)
    monkeypatch.undo()
    assert (world.home / "keys" / "openbao.root-live").exists()
    assert platform_secrets.was_cut_off(world.stack.settings)
    assert {name: (credentials / f"{name}.approle").read_bytes() for name in names}.items().isdisjoint(before.items())
    with platform_secrets._rotating(world.stack.settings):
        assert not platform_secrets.was_cut_off(world.stack.settings)
        await desk.no(6, "rotation_running", "rotate", "internal", who="admin")
    await world.stack._hourly()  # what `byokeep up` does with it
    assert not (world.home / "keys" / "openbao.root-live").exists()
    rotated = (await desk.shell.run("rotate", "internal", "--json")).document
    steps = ["secret_ids", "signing_keys", "database_logins", "machine_tokens"]
    assert (rotated["state"], rotated["done"]) == ("complete", steps)
    assert [file.name for file, token in machines.items() if file.read_bytes() == token] == []
    over.set()
    assert sum(await asyncio.gather(*serving)) > 5
    assert failed == []
    runs = "FROM byokeep.procedure_run WHERE procedure = 'rotate_internal'"
    assert await world.sql(f"SELECT count(*), count(closed_at) {runs}") == "2|2"
    async with wiring.store_http(world.stack.settings) as http:
        for name in names:
            old = tmp_path / f"{name}.approle"
            old.touch(mode=0o600)
            old.write_bytes(before[name])
            with pytest.raises(Unavailable, match="credentials_refused"):
                await AppRoleLogin(http, old).write()
            await AppRoleLogin(http, credentials / old.name).write()
    between = (credentials / "web.approle").read_bytes()
    (credentials / "backup.approle").chmod(0o644)  # after three machines have new secret ids the fourth's is not read
    await desk.no(4, "credentials_unsafe", "rotate", "internal", who="admin")
    assert (credentials / "web.approle").read_bytes() != between
    listed = await desk.json("procedure", "list", who="admin")
    assert [one["state"] for one in listed if one["procedure"] == "rotate_internal" and one["state"] != "complete"]
    monthly = await desk.shell.run("checklist", "monthly", "--json", token=world.token_file("auditor"))
    assert (monthly.code, [one["code"] for one in monthly.document["items"] if one["name"] == "internal_tokens"]) == (
        1, ["rotation_not_done"],
    )  # fmt: skip
    (credentials / "backup.approle").chmod(0o600)
    rotated = done(await desk.shell.run("rotate", "internal", "--json")).document
    assert (rotated["state"], rotated["done"]) == ("complete", steps)
    assert await world.sql(f"SELECT count(*), count(closed_at) {runs}") == "3|3"
    found = await world.must("auditor", "GET", "/v1/due?kind=platform_secret&until=2100-01-01T00:00:00Z")
    assert {one["name"] for one in found["items"]} == {"secret_ids", "signing_keys"}
    assert all(one["days"] == 30 and one["command"] == "byokeep rotate internal" for one in found["items"])
    await world.sql("UPDATE byokeep.procedure_run SET closed_at = closed_at - interval '31 days'"
                    " WHERE procedure = 'rotate_internal';"
                    " UPDATE byokeep.installation SET created_at = created_at - interval '31 days'")  # fmt: skip
    await world.stack._hourly()  # by itself, when it is due
    assert await world.sql(f"SELECT count(*), count(closed_at) {runs}") == "4|4"
    await world.must("auditor", "POST", "/v1/audit/reconcile", {})
    assert not {one for one in await world.alerts() if one.startswith(("store_", "login_", "cut_off"))}


OPEN_ALERTS = (
    "SELECT count(*) FROM byokeep.alert WHERE reason = 'machine_token_not_renewed' AND severity = 'critical'"
    " AND closed_at IS NULL"
)


async def days_pass(desk: Desk, days: int, *, kinds: str = "'api'") -> None:
    """Tokens are as old as if so many days had gone by; no clock of this machine is touched."""
    ago = f"created_at = created_at - interval '{days} days', expires_at = expires_at - interval '{days} days'"
    await desk.world.sql(f"UPDATE byokeep.api_token SET {ago} WHERE kind IN ({kinds})")


def no_room(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, "no room")


async def test_messages_reach_their_targets(desk: Desk) -> None:
    """The worker's own rounds carry a message to a webhook; the due list is there as well."""
    got: list[bytes] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    place = desk.world.home / "notify"
    place.mkdir(mode=0o700, exist_ok=True)
    file = place / "oncall.url"
    file.touch(mode=0o600)
    file.write_text(f"json://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook")
    told: Any = await desk.json("notify", "test")
    assert [(one["target"], one["state"]) for one in told] == [("oncall", "sent")]
    assert b"POST /hook " in got[0]
    server.close()
    file.unlink()
    listed: Any = await desk.json("rotate", "due", "--until", "400d")
    assert {"kek", "key", "machine_token"} & {one["kind"] for one in listed["items"]}


async def test_nobody_is_locked_out(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixty days untouched the stack still serves; when nobody can sign in any more the host lets an admin in again."""
    place, world = desk.world.home / "credentials", desk.world
    files = [place / f"{name}.token" for name in ("worker", "dispatcher", "runner")]
    old = [file.read_text().strip() for file in files]
    await world.stack._hourly()
    assert [file.read_text().strip() for file in files] == old  # none was due
    client = await world.client()
    value = await world.onboard(client)
    told: dict[str, Any] = {}
    for day in range(0, 60, 10):  # it looks every hour; here every ten days is enough
        await days_pass(desk, 10)
        if day == 10:
            rows = {row["check"]: row for row in (await desk.shell.run("doctor", "--json")).document}
            told = rows["worker token"]
            with monkeypatch.context() as full:  # nothing is issued then; the old go on, and people are told
                full.setattr(installation, "durable_write", no_room)
                await world.stack._hourly()
            assert [file.read_text().strip() for file in files] == old
            assert await world.sql(OPEN_ALERTS) == "3"
        before = [file.read_text().strip() for file in files]
        await world.stack._hourly()
        assert await world.reads(client, "openai", value), day
        if day == 10:
            new = [file.read_text().strip() for file in files]
            assert not set(before) & set(new)
            for token in (*before, *new):  # who has read the file goes on for days
                headers = {"Authorization": f"Bearer {token}"}
                async with world.http.get(f"{world.stack.broker_url}/v1/self", headers=headers) as reply:
                    assert reply.status == 200
    assert (told["figures"], told["next_step"]) == ({"days_left": 9}, "It renews itself.")
    assert await world.onboard(client, "anthropic")  # the worker has read its file
    assert await world.sql(OPEN_ALERTS) == "0"
    for file in files:  # one from long ago, with the time of today: the database knows better
        file.write_text(old[files.index(file)] + "\n")
    await world.stack._hourly()
    assert not {file.read_text().strip() for file in files} & set(old)
    await world.sql(  # as the first admin was before there was a password
        "UPDATE byokeep.subject s SET password_phc = NULL, password_mark = '', record_seq = (SELECT r.seq FROM"
        " byokeep.audit_record r WHERE r.object_id = s.id AND r.event = 'operator.created') WHERE name = 'first-admin'"
    )
    await days_pass(desk, 100, kinds="'api', 'session', 'invitation'")
    await world.stack._hourly()
    rows = {row["check"]: row for row in (await desk.shell.run("doctor", "--json")).document}
    assert (rows["admins"]["state"], "byokeep operator recover" in rows["admins"]["detail"]) == ("failed", True)
    assert (await desk.shell.run("operator", "list", token=world.token_file("admin"))).code == 3

    away = tmp_path / "back.token"
    lost = await desk.shell.run("operator", "recover", "nobody", "--save", str(away))
    assert (lost.code, "no_such_admin" in lost.err, away.exists()) == (3, True, False), lost.said
    done(await desk.shell.run("operator", "recover", "first-admin", "--save", str(away)))
    await signed_in(desk, "first-admin", away)
    assert done(await desk.shell.run("operator", "list", "--json", token=away)).document
    me = await desk.shell.run("operator", "whoami", token=away)
    assert "a recovery on the host let you in" in me.err, me.said
    assert ("first-admin" in me.out, "all clients" in me.out) == (True, True), me.said
    alerts = (await desk.shell.run("alert", "list", "--json", token=away)).document
    own = next(one for one in alerts if one["reason"] == "admin_recovered")
    assert own["severity"] == "critical"
    no = await desk.shell.run("alert", "close", str(own["id"]), token=away)
    assert (no.code, "same_person" in no.err) == (3, True), no.said
    issued = await world.sql(
        "SELECT count(*) FROM byokeep.audit_record WHERE event = 'token.issued' AND outcome = 'ok'"
        f" AND actor_id = (SELECT id FROM byokeep.installation) AND object_id = '{own['object_id']}'"
    )
    assert issued == "2", "the first token and the recovery"
    world.tokens["admin"] = away.read_text().strip()
    world.token_file("admin").write_text(world.tokens["admin"] + "\n")
    auditor = next(one for one in await desk.json("operator", "list", who="admin") if "auditor" in one["roles"])  # type: ignore[attr-defined]
    file = tmp_path / "auditor.token"
    await desk.ok("operator", "token", auditor["name"], "--save", str(file), who="admin")
    await signed_in(desk, auditor["name"], file)
    file.rename(world.token_file("auditor"))


async def test_the_answer_to_a_stolen_broker_is_one_command(desk: Desk) -> None:
    """It comes last here, for no lease logs in for two minutes after it: on record, no root left. One that is killed
    leaves a root, which the stack ends by itself; while another rotates, it waits."""
    rotated = await desk.json("incident", "rotate-leases", who="admin")
    assert rotated.keys() == {"version"}
    assert rotated["version"] > 1  # how many rotations came before depends on the tests that ran
    listed = json.dumps(await desk.json("audit", "list", who="auditor"))
    assert "lease-key" in listed
    settings, live = desk.world.stack.settings, desk.world.home / "keys" / "openbao.root-live"
    assert not live.exists()
    async with wiring.store_http(settings) as http:
        provisioner, _ = await log_in(http, wiring.credentials(settings, "provisioner.approle"))
        live.touch(mode=0o600)
        root = await generate_root(http, provisioner, wiring.embedded_store(settings).recovery_keys())
        await http.request("POST", "transit/keys/leases/rotate", token=root, body={})
        with platform_secrets._rotating(settings):
            await desk.no(6, "rotation_running", "incident", "rotate-leases", who="admin")
        await http.request("GET", "auth/token/lookup-self", token=root)
        assert platform_secrets.was_cut_off(settings)
        await platform_secrets.rotate_if_due(settings)
        with pytest.raises(Denied):
            await http.request("GET", "auth/token/lookup-self", token=root)
        told = (await http.request("GET", "kv/metadata/platform/provisioning", token=provisioner)).data
        assert told["custom_metadata"]["leases_from"] == str(rotated["version"] + 1), "it is accepted before it signs"
    assert not live.exists()
    assert not platform_secrets.was_cut_off(settings)
