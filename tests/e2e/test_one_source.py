"""A whole stack: one source of secrets, one form of log lines, and in production nothing without a recording audit."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import socket
import sys
from collections.abc import AsyncIterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import pytest
import pytest_asyncio

from byokeep.core.errors import Rejected, Unavailable
from byokeep.settings import load
from byokeep.telemetry.log import EVENTS, REQUIRED
from byokeep.web.forward import ROUTES
from tests.support.forks import forked
from tests.support.postgres import lacks_fixes
from tests.support.stack import ForkedStack, World, environment, new_home, running_stack, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world() -> AsyncIterator[World]:
    async with running_stack() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def production(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ForkedStack]:
    """A stack of production, which the environment told so and where its logs go; it runs where it can."""
    home = new_home()
    with pytest.MonkeyPatch.context() as told:
        told.setenv("BYOKEEP_ENVIRONMENT", "production")
        told.setenv("BYOKEEP_LOG_DIR", str(tmp_path_factory.mktemp("logs") / "other-logs"))
        told.setenv("BYOKEEP_LOG_LEVEL", "DEBUG")
        stack = ForkedStack(load(home=home, web_listen="127.0.0.1:0", broker_listen="127.0.0.1:0"))
    try:
        if not lacks_fixes():
            await stack.start()
        yield stack
    finally:
        await stack.stop()
        shutil.rmtree(home, ignore_errors=True)


async def run(*words: str, cwd: Path, kind: str = "", **variables: str) -> tuple[int, str]:
    """``byokeep ...`` in a directory, with variables; returns exit code and standard error.

    It is an interpreter's start that finds them, unless a ``kind`` of :func:`.forks.forked` is named.
    """
    if kind:
        given = words, environment() | variables, None, 30, kind
        code, _, err = await asyncio.to_thread(partial(forked, *given, cwd=cwd))
        return code, err.decode()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "byokeep.cli", *words, cwd=cwd, env=environment() | variables,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        _, said = await asyncio.wait_for(process.communicate(), 30)
    except TimeoutError:
        process.kill()
        _, said = await process.communicate()
    return process.returncode or 0, said.decode()


async def calls(world: World) -> int:
    """How many calls the simulated vendors have seen."""
    async with world.http.get(f"{world.sim.url}/_sim/requests") as reply:
        return int((await reply.json())["seen"])


@pytest.mark.req("R1.2-4")
async def test_every_line_of_a_full_run_has_its_form(world: World) -> None:
    """Each line of each process is one JSON object of the catalogue, with time, level, actor, tenant and outcome."""
    client = await world.client()
    value = await world.onboard(client)
    await world.account(client, "acme")
    await world.act(client, "acme", "form-of-lines-1", expected=value)
    strange = f"/v1/clients/{client}/refs?a=%0d%0a%1b[31m%e2%80%a8{'x' * 4000}"
    assert (await world.ask("operator", "GET", strange)).status in (400, 404, 422)
    assert (await world.ask("auditor", "PUT", f"/v1/clients/{client}/providers/kie/value", raw=b"x" * 40)).status == 403
    await asyncio.sleep(0.5)
    events, tenants, answered = set(), set(), set()
    for name in ("web", "broker", "worker"):
        raw = (world.home / "logs" / f"{name}.log").read_bytes()
        lines = raw.splitlines(keepends=True)
        assert len(lines) > 1, name
        assert len(raw.decode("ascii").splitlines()) == len(lines), name  # no other line end of Unicode, no escapes
        for line in lines:
            assert line.endswith(b"\n"), name
            assert len(line) < 4096, name
            said = json.loads(line)
            assert {"at", "level", "event", "process", *REQUIRED} <= set(said) <= {
                "at", "level", "event", "process", *REQUIRED, *EVENTS[said["event"]],
            }, said  # fmt: skip
            assert datetime.fromisoformat(said["at"]).utcoffset().total_seconds() == 0  # type: ignore[union-attr]
            assert said["at"].endswith("Z")
            assert said["level"] in ("debug", "info", "warning", "error", "critical")
            assert said["process"] == name
            assert not re.search(r"[\x00-\x1f\x7f]", "".join(str(text) for text in said.values()))
            events.add(said["event"])
            if said["event"] == "request":
                assert UUID(said["request_id"])
                expected = "ok" if said["status"] < 400 else "refused" if said["status"] < 500 else "failed"
                assert said["outcome"] == expected, said
                # Web passes these on and does not look who it is; the broker does, and its line says so.
                passed_on = name == "web" and (said["method"], said["route"]) in ROUTES
                early = said["outcome"] == "refused" and said["status"] in (
                    400,
                    401,
                    422,
                )  # before anybody was asked for
                nobody = said["route"] in ("/healthz", "/readyz", None) or early
                assert said["actor"] or nobody or passed_on, said
                tenants.add(said["tenant"])
                if name == "broker" and said["actor"]:
                    answered.add(said["route"])
    assert {"process_started", "request", "identity_call", "key_verification"} <= events
    assert client in tenants
    assert {"/v1/clients/{client_id}/enroll", "/v1/operators", "/v1/operators/{subject_id}/tokens"} <= answered


@pytest.mark.req("R1.3-1")
async def test_a_key_that_lies_elsewhere_is_never_taken(world: World, tmp_path: Path) -> None:
    """With the store stopped, valid keys in the environment, in dot files and in settings serve nobody anywhere."""
    client = await world.client()
    value = await world.onboard(client)
    text = value.decode()
    known = {
        "OPENAI_API_KEY": text, "ANTHROPIC_API_KEY": text, "GOOGLE_API_KEY": text, "BAO_TOKEN": text,
        "VAULT_TOKEN": text,
    }  # fmt: skip
    for place in (tmp_path, world.home, world.home / "credentials"):
        (place / ".env").write_text("".join(f"{name}={key}\n" for name, key in known.items()))
        (place / ".netrc").write_text(f"machine api.openai.com login x password {text}\n")
        (place / "openai").write_text(text)
    pasted = tmp_path / "config.toml"
    pasted.write_text(
        (world.home / "config.toml").read_text().replace("[provider", f'openai_api_key = "{text}"\n[provider')
    )
    with pytest.raises(Rejected, match="unknown_setting"):
        load(pasted)
    for name in ("BYOKEEP_OPENAI_API_KEY", "BYOKEEP_STORE_TOKEN"):
        code, said = await run(
            "client", "list", "--home", str(world.home), cwd=tmp_path, kind="command", **{name: text}
        )
        assert code == 2, name
        assert text not in said
    words = ("job", "run", "--home", str(world.home), "--client", client, "--secret", "openai", "--", "true")
    assert (await run(*words, cwd=tmp_path, HOME=str(tmp_path), **known))[0] == 0
    before = await calls(world)
    await world.stack.stop_part("store")
    try:
        code, said = await run(*words, cwd=tmp_path, HOME=str(tmp_path), **known)
        assert (code, text in said) == (Unavailable.exit_code, False)
        codes = {
            "runner": await _reason(world, client),
            "cli": "store_unreachable" if "store_unreachable" in said else said,
        }
        answer = await world.put(client, "anthropic", await world.new_key("anthropic"))
        codes["web"] = f"{answer.code}" if answer.status == 503 else f"{answer.status}"
        async with world.http.get(f"{world.stack.web_url}/readyz") as reply:
            told = await reply.json() if reply.status == 503 else {"reason": f"{reply.status}"}
            codes["web ready"] = told["reason"]
        assert set(codes.values()) == {"store_unreachable"}, codes
        assert await calls(world) == before
    finally:
        await world.stack.start_part("store")
        await world.stack.ready()
    for place in (tmp_path, world.home, world.home / "credentials"):
        for name in (".env", ".netrc", "openai"):
            (place / name).unlink()
    assert await world.reads(client, "openai", value)


VENDORS_PACKAGE = """
import sys
from pathlib import Path
from openai import OpenAI, OpenAIError
try:
    OpenAI(base_url=sys.argv[2])  # with what it finds by itself
except OpenAIError:
    pass
else:
    sys.exit(9)
with OpenAI(api_key=Path(sys.argv[1]).read_text(), base_url=sys.argv[2], max_retries=0) as vendor:
    vendor.models.list()
"""


@pytest.mark.req("R3.3-10")
async def test_a_vendors_package_uses_the_key_of_the_vault_alone(world: World, tmp_path: Path) -> None:
    """A valid key under the name that the package reads by itself is never sent by a job, and the guard reports it."""
    client = await world.client()
    value = await world.onboard(client)
    other = await world.new_key("openai")
    (tmp_path / "call.py").write_text(VENDORS_PACKAGE)
    before, known = await calls(world), {"OPENAI_API_KEY": other.decode(), "MOTTO": other.decode()}
    base = f"{world.sim.base_url('openai')}/v1"
    words = ("job", "run", "--home", str(world.home), "--client", client, "--secret", "openai", "--", sys.executable)
    code, said = await run(*words, str(tmp_path / "call.py"), "{openai}", base, cwd=tmp_path, **known)
    assert code == 0, said
    book = world.sim.book
    sent = [one["auth"]["hash"] for one in book.log.entries if one["seq"] > before and one["auth"]]
    assert sent.count(book.keys.digest(value.decode())) >= 1
    assert book.keys.digest(other.decode()) not in sent
    for name, key in known.items():
        code, said = await run("env", "check", "--environment", cwd=tmp_path, kind="command", **{name: key})
        assert (code, key in said) == (1, False)


async def _reason(world: World, client: str) -> str:
    try:
        async with world.keep(attempts=1) as keep, keep.job(client=client, secrets=["openai"]) as job:
            await job.secret("openai")
    except Unavailable as error:
        return error.code
    return "served"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.req("S-ASVS-31")
async def test_production_is_production_in_every_process(production: ForkedStack) -> None:
    """What the stack was told, every process is told too; in production nothing describes or debugs itself."""
    if lacks_fixes():
        with pytest.raises(Rejected, match="postgres_too_old"):
            await production.start()
        return
    settings = production.settings
    place = settings.path("log_dir")
    assert place.name == "other-logs"
    names = ("web", "broker", "worker", "refresher")
    await until(lambda: all((place / f"{name}.log").exists() for name in names), 20)
    assert 'environment = "production"' in (settings.home / "run-settings.toml").read_text()
    async with aiohttp.ClientSession() as http:
        for url in (production.web_url, production.broker_url):
            for hidden in ("docs", "redoc", "openapi.json", "metrics", "debug", "_sim/faults"):
                assert (await http.get(f"{url}/{hidden}")).status == 404, (url, hidden)


@pytest.mark.req("R3.1-3", "R1.4-2")
async def test_production_starts_with_a_recording_audit_or_not_at_all(production: ForkedStack, tmp_path: Path) -> None:
    """Record 1 is the bootstrap; a production broker serves with a recording device and exits without one."""
    if lacks_fixes():
        return
    home = production.settings.home
    async with aiohttp.ClientSession() as http:
        world = World(home, production, None, http)  # type: ignore[arg-type]
        await world.people()
        headers = {"Authorization": f"Bearer {world.tokens['auditor']}"}
        async with http.post(f"{production.web_url}/v1/audit/export", json={}, headers=headers) as reply:
            first = json.loads((await reply.text()).splitlines()[0])
        assert first["seq"] == 1
        assert json.loads(first["payload"])["event"] == "installation.created"
        await _refused_without_audit(home, tmp_path)


def written(home: Path, tmp_path: Path, **changed: Any) -> str:
    """The settings the stack's own broker runs with, changed; returns the file."""
    text, _, _ = (home / "run-settings.toml").read_text().partition("[sources]")  # a person's own file has none
    for name, value in {"broker_listen": f"127.0.0.1:{free_port()}", "log_dir": str(tmp_path), **changed}.items():
        line = f"{name} = {json.dumps(value)}\n"
        text, found = re.subn(rf"(?m)^{name} = .*\n", lambda _, line=line: line, text)
        text = text if found else line + text
    path = tmp_path / "broker.toml"
    path.write_text(text)
    return str(path)


async def _refused_without_audit(home: Path, tmp_path: Path) -> None:
    sock = f"unix://{next(iter(home.rglob('bao.sock')))}"
    for changed, code, reason in (
        ({"store_audit_files": f"a={tmp_path}/missing.jsonl"}, 4, "audit_not_recording"),
        ({"store_address": sock}, 4, "no_audit_device"),  # a store of one's own, and no device named
        ({"audit": False}, 2, "unknown_setting"),
    ):  # fmt: skip
        found, said = await run("broker", "--config", written(home, tmp_path, **changed), cwd=tmp_path, kind="part")
        assert (found, reason in said) == (code, True), (changed, said)
