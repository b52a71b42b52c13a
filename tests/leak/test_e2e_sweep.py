"""Every flow of the release with canaries, at log level DEBUG; then a search of everything that is left of it.

The canaries go in where they belong and where they do not: as values, in paths, queries, headers, JSON, with a wrong
content type, to a provider that echoes them, while the store is down and while a job is killed. Afterwards they may
stand nowhere but in OpenBao, encrypted.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from byokeep.client import ClientSettings, Keep
from byokeep.core.errors import ByokeepError
from byokeep.processes.supervisor import Stack
from byokeep.settings import load
from byokeep_redact.canary import PROVIDERS, Canary, new_canary
from byokeep_redact.fingerprint import LIVE_VALUE as LIVE
from byokeep_redact.fingerprint import fingerprints_from, fingerprints_of
from byokeep_redact.leaks import Scanner
from byokeep_redact.search import Report, Sweep
from byokeep_sim import start
from tests.support.cli import Shell, ended
from tests.support.overheard import CLASSES, accounts
from tests.support.playbook import leaked_key
from tests.support.stack import World, configure, family, new_home, until

pytestmark = pytest.mark.timeout(600)

FAULTS: list[dict[str, Any]] = [
    {"kind": "status", "status": 401}, {"kind": "status", "status": 403}, {"kind": "status", "status": 404},
    {"kind": "status", "status": 429}, {"kind": "status", "status": 500}, {"kind": "reset"}, {"kind": "garbage"},
    {"kind": "html"}, {"kind": "empty"}, {"kind": "huge"}, {"kind": "truncated"},
    {"kind": "redirect", "location": "http://127.0.0.1:9/elsewhere"},
    {"kind": "echo_key", "place": "body", "encoding": "raw"},
    {"kind": "echo_key", "place": "body", "encoding": "base64"},
    {"kind": "echo_key", "place": "body", "encoding": "url"},
    {"kind": "echo_key", "place": "header", "encoding": "raw"},
]  # fmt: skip


@dataclass
class Flows:
    """What was done, and everything that came back."""

    world: World
    shell: Shell
    canaries: list[Canary] = field(default_factory=list)
    replies: list[bytes] = field(default_factory=list)
    statuses: set[int] = field(default_factory=set)
    children: Report = field(default_factory=Report)
    incident: str = ""
    out: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="byk-out-")))

    @property
    def temporary(self) -> Path:
        """Where every process of the stack and every command puts its temporary files."""
        return self.world.home / "tmp"

    def canary(self, provider: str, label: str) -> bytes:
        value = new_canary(provider)
        self.canaries.append(Canary(label, value))
        return value

    async def known(self, provider: str, label: str, state: str = "valid") -> bytes:
        value = self.canary(provider, label)
        body = {"provider": provider, "key": value.decode(), "state": state}
        async with self.world.http.post(f"{self.world.sim.url}/_sim/keys", json=body) as reply:
            reply.raise_for_status()
        return value

    async def send(self, method: str, url: str, **sent: Any) -> int:
        """One request as somebody wrote it; keeps what came back, headers too."""
        try:
            async with self.world.http.request(method, url, allow_redirects=False, **sent) as reply:
                content = await reply.read()
                self.replies.append(repr(sorted(reply.headers.items())).encode() + b"\n" + content)
                self.statuses.add(reply.status)
                return reply.status
        except aiohttp.ClientError as error:
            self.replies.append(type(error).__name__.encode())
            return 0

    async def command(self, *words: str, who: str = "operator", stdin: bytes | None = None) -> int:
        ran = await self.shell.run(*words, token=self.world.token_file(who), stdin=stdin, TMPDIR=str(self.temporary))
        return ran.code


@pytest.fixture(scope="module")
async def flows() -> AsyncIterator[Flows]:
    """A stack at DEBUG on which all flows were run once; its processes still run."""
    home, sim = new_home(), await start()
    (home / "tmp").mkdir(mode=0o1777)
    (home / "tmp").chmod(0o1777)
    outer = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = str(home / "tmp")
    configure(home, sim)
    stack = Stack(load(home=home, web_listen="127.0.0.1:0", broker_listen="127.0.0.1:0", log_level="DEBUG"))
    made: Flows | None = None
    watch: asyncio.Task[None] | None = None
    try:
        await stack.start()
        async with aiohttp.ClientSession() as http:
            world = World(home, stack, sim, http)
            await world.people()
            made = Flows(world, Shell(home))
            client = await onboardings(made)
            await bad_requests(made, client)
            made.incident = await leaked_key(made)
            await verifications(made)
            await jobs(made, client)
            await accounts(made)
            await store_down(made, client)
            watch = asyncio.create_task(stack.run())  # from here on what ended with the database is started again
            await outputs(made, client)
            yield made
    finally:
        stack.ask_to_stop()
        if watch is not None:
            await asyncio.wait({watch}, timeout=30)
        os.environ.pop("TMPDIR") if outer is None else os.environ.update(TMPDIR=outer)
        await stack.stop()
        await sim.stop()
        shutil.rmtree(home, ignore_errors=True)
        if made is not None:
            shutil.rmtree(made.out, ignore_errors=True)


async def onboardings(flows: Flows) -> str:
    """Good keys of all providers by HTTP and by the command line; wrong shapes; wrong slots; keys as arguments."""
    world = flows.world
    client = await world.client()
    for provider in PROVIDERS:
        value = await flows.known(provider, f"good-{provider}")
        assert await flows.command("key", "add", client, provider, stdin=value + b"\n") == 0
    shapes = (b"%s\n%s", b'{"key": "%s", "x": "%s"}', b"```%s %s```", b"Bearer %s%s", b"\xe2\x80\x8b%s%s")
    for at, shape in enumerate(shapes):
        value = flows.canary("openai", f"misshapen-{at}")
        answer = await world.put(client, "openai", shape % (value, value))
        assert answer.status == 422
        flows.replies.append(json.dumps(answer.document).encode())
        assert await flows.command("key", "add", client, "openai", stdin=shape % (value, value)) == 2
    wrong = flows.canary("anthropic", "wrong-slot")
    assert await flows.command("key", "add", client, "heygen", stdin=wrong) == 2
    for words in (("{}",), ("--value={}",), ("--value", "{}"), ("--fd={}",)):
        value = flows.canary("openrouter", "argument").decode()
        assert await flows.command("key", "add", client, "openrouter", *(word.format(value) for word in words)) == 2
    return client


async def bad_requests(flows: Flows, client: str) -> None:
    """A key where none belongs: path, query, header, cookie, JSON, wrong content type; to web and to the broker."""
    world = flows.world
    auth = {"Authorization": f"Bearer {world.tokens['operator']}"}
    raw = {"Content-Type": "application/octet-stream"}
    for base in (world.stack.web_url, world.stack.broker_url):
        for provider in ("openai", "kie", "google"):
            key = flows.canary(provider, f"misplaced-{provider}").decode()
            slot = f"{base}/v1/clients/{client}/providers"
            tries: list[tuple[str, str, dict[str, Any]]] = [
                ("PUT", f"{slot}/{key}/value", {"headers": auth | raw, "data": key}),
                ("GET", f"{base}/v1/clients/{key}", {"headers": auth}),
                ("GET", f"{base}/{key}", {}),
                ("PUT", f"{slot}/openai/value?value={key}", {"headers": auth | raw, "data": key}),
                ("PUT", f"{slot}/openai/value?{key}=1", {"headers": auth | raw, "data": key}),
                ("PUT", f"{slot}/openai/value", {"headers": auth | raw | {"X-Value": key, "Cookie": f"v={key}"}}),
                ("PUT", f"{slot}/openai/value", {"headers": auth, "json": {"value": key}}),
                ("PUT", f"{slot}/openai/value", {"headers": auth | {"Content-Type": key}, "data": key}),
                ("PUT", f"{slot}/openai/value", {"headers": raw, "data": key}),
                ("PUT", f"{slot}/openai/value", {"headers": raw | {"Authorization": f"Bearer {key}"}, "data": key}),
                ("PUT", f"{slot}/openai/value", {"headers": raw | {"Authorization": key}, "data": key}),
                ("POST", f"{base}/v1/clients", {"headers": auth, "json": {"name": key, "risk": key}}),
                ("POST", f"{base}/v1/clients", {"headers": auth, "data": f'{{"name": "{key}'}),
                ("POST", f"{base}/v1/clients", {"headers": auth, "json": {key: key}}),
                ("POST", f"{base}/v1/session", {"json": {"name": key, "password": key}}),
                ("POST", f"{base}/v1/switches/close", {"headers": auth, "json": {"client_id": key, "reason": key}}),
                ("POST", f"{base}/v1/jobs", {"headers": auth, "json": {"client_id": client, "secrets": [key]}}),
                ("POST", f"{base}/v1/audit/hash", {"headers": auth | raw, "data": key}),
                (re.sub(r"[^A-Za-z0-9]", "", key)[-20:], f"{slot}/openai/value", {"headers": auth, "data": key}),
                ("PUT", f"{slot}/openai/value", {"headers": auth | raw, "data": key * 9000}),
            ]  # fmt: skip
            for method, url, sent in tries:
                assert await flows.send(method, url, **sent) not in (200, 201, 202), (method, url)


async def verifications(flows: Flows) -> None:
    """Every way in which a provider can answer wrongly, a provider that echoes the key among them."""
    world = flows.world
    runs: list[str] = []
    for first in range(0, len(FAULTS), 4):
        some = zip(range(first, first + 4), ("openai", "anthropic", "openrouter", "heygen"), strict=True)
        runs += await asyncio.gather(*(verification(flows, at, FAULTS[at], provider) for at, provider in some))
        async with world.http.delete(f"{world.sim.url}/_sim/faults") as reply:
            reply.raise_for_status()
    for state in ("leaked", "disabled", "no_credit"):
        value = await flows.known("google", f"state-{state}", state)
        await flows.command("key", "add", await world.client(), "google", stdin=value)
    failed = [(await world.ask("operator", "GET", f"/v1/sops/{sop}")).document for sop in runs]
    flows.replies.append(json.dumps(failed).encode())
    assert {one["reason"] for one in failed} >= {"invalid_key", "reflected"}


async def verification(flows: Flows, at: int, fault: dict[str, Any], provider: str) -> str:
    """One key whose provider answers wrongly; returns the run once the provider was asked."""
    world = flows.world
    client = await world.client()
    script = {"provider": provider, "times": 3, **fault}
    async with world.http.post(f"{world.sim.url}/_sim/faults", json=script) as reply:
        assert reply.status == 201, await reply.text()
    value = await flows.known(provider, f"verify-{at}-{fault['kind']}")
    answer = await world.put(client, provider, value)
    assert answer.status == 202
    await until(partial(looked_at, flows, answer.document["sop"], provider), 30, f"nobody asked: {fault}")
    return str(answer.document["sop"])


async def looked_at(flows: Flows, sop: str, provider: str) -> bool:
    """Whether the provider was asked for this run: it ended, or it waits to be tried again."""
    answer = await flows.world.ask("operator", "GET", f"/v1/sops/{sop}")
    if answer.document["state"] != "running":
        return True
    async with flows.world.http.get(f"{flows.world.sim.url}/_sim/faults") as reply:
        left = [one["left"] for one in (await reply.json())["faults"] if one["provider"] == provider]
    return not left or left[0] < 3


async def jobs(flows: Flows, client: str) -> None:
    """A job that works, one that fails, one that is killed while its command runs; children looked at meanwhile."""
    world, shell = flows.world, flows.shell
    await world.account(client, "acme")
    job = ("job", "run", "--client", client, "--secret", "openai", "--")
    assert await flows.command(*job, "sh", "-c", "test -s {openai}") == 0
    fault = ("job", "run", "--client", client, "--secret", "openai", "--secret", "google", "--")
    assert await flows.command(*fault, "sh", "-c", "cat {openai} >/dev/null; kill -ABRT $$") == 134
    mark = flows.out / "pid"
    words = (*fault, "sh", "-c", f"cp {{openai}} /dev/null; echo $$ > {mark}; exec sleep 60")
    process = await shell.start(*words)
    try:
        await until(lambda: mark.exists() and mark.read_text().strip(), 20, "the command did not start")
        flows.children = Sweep(flows.canaries).scan_proc(family(process.pid))
        assert flows.children.sources_scanned >= 4
        closed = await flows.command("kill", "on", "--client", client, "--reason", "drill")
        assert closed == 0
        assert (await shell.finish(process, *words)).code == 3
    finally:
        await ended(process)
    refused = await flows.command(*words)
    assert refused == 3
    asked = await world.must("operator", "POST", "/v1/switches/open-requests", {"client_id": client, "reason": "drill"})
    assert await flows.command("kill", "approve", str(asked["id"]), who="approver") == 0
    settings = ClientSettings(
        broker_url=world.stack.broker_url, runner_token_file=world.home / "credentials" / "runner.token",
        dispatcher_token_file=world.home / "credentials" / "dispatcher.token",
    )  # fmt: skip
    async with Keep(settings) as keep, keep.job(client=client, secrets=["openai"]) as job:
        secret = await job.secret("openai")
        flows.replies.append(f"{secret!r} {job!r} {job.lease!r} {keep!r}".encode())
        try:
            await job.secret("anthropic")
        except ByokeepError as error:
            flows.replies.append(f"{error!r} {error} {error.next_step} {error.fields}".encode())


async def store_down(flows: Flows, client: str) -> None:
    """With the store stopped, and with the database stopped: a key comes in, a job asks."""
    world = flows.world
    await world.stack.stop_part("store")
    try:
        value = flows.canary("heygen", "store-down")
        assert await flows.command("key", "add", client, "heygen", stdin=value) == 4
        assert await flows.command("job", "run", "--client", client, "--secret", "openai", "--", "true") == 4
        url = f"{world.stack.web_url}/v1/clients/{client}/providers/openai/value"
        auth = {"Authorization": f"Bearer {world.tokens['operator']}", "Content-Type": "application/octet-stream"}
        key = flows.canary("openai", "store-down-http")
        assert await flows.send("PUT", url, headers=auth, data=key) == 503
        await flows.command("doctor")
    finally:
        await world.stack.start_part("store")
    await world.stack.stop_part("database")
    try:
        key = flows.canary("openai", "database-down-http")
        assert await flows.send("PUT", url, headers=auth, data=key) == 503
        value = flows.canary("heygen", "database-down")
        assert await flows.command("key", "add", client, "heygen", stdin=value) == 4
    finally:
        await world.stack.start_part("database")


async def outputs(flows: Flows, client: str) -> None:
    """Everything that can be asked for is asked for and kept: evidence, exports, proofs, lists, inventory."""
    out = flows.out
    for words, who in (
        (("audit", "keys", str(out / "keys.txt")), "auditor"),
        (("audit", "export", str(out / "platform.jsonl")), "auditor"),
        (("audit", "export", str(out / "client.jsonl"), "--client", client), "auditor"),
        (("audit", "proof", client, str(out / "proof.json")), "auditor"),
        (("audit", "checkpoint"), "auditor"),
        (("audit", "list", "--limit", "200", "--json"), "auditor"),
        (("audit", "health"), "auditor"),
        (("key", "list", client, "--json"), "operator"),
        (("key", "inventory", "--json"), "operator"),
        (("alert", "list", "--json"), "operator"),
        (("client", "list", "--json"), "admin"),
        (("operator", "list", "--json"), "admin"),
    ):
        told = (0, 1) if words[:2] == ("alert", "list") else (0,)  # 1 = a critical one is open
        assert await flows.command(*words, who=who) in told, words
    sop = (await flows.shell.run("key", "add", client, "openai", "--json", token=flows.world.token_file("operator"),
                                 stdin=await flows.known("openai", "rotated"))).document["id"]  # fmt: skip
    assert await flows.command("evidence", "export", sop, str(out / "evidence.json"), who="auditor") == 0


def places(flows: Flows) -> dict[str, Path]:
    """Where a value could have come to rest, by what it is; all of it lies in the home or beside it in ``out``."""
    home = flows.world.home
    return {
        "database files": home / "postgres" / "data", "store": home / "openbao" / "data",
        "store audit a": home / "store-audit", "store audit b": home / "store-audit" / "store-audit-b",
        "logs and spans": home / "logs", "checkpoints": home / "checkpoints",
        "audit copy": home / "checkpoints" / "copy",
        "temporary files": flows.temporary, "dump, exports, evidence": flows.out,
    }  # fmt: skip


@pytest.fixture(scope="module")
async def at_rest(flows: Flows) -> Report:
    """What a search of all places for all values came to; it is made once."""
    (flows.out / "dump.sql").write_bytes(await asyncio.to_thread(flows.world.stack.dump_database))
    assert b"COPY byokeep." in (flows.out / "dump.sql").read_bytes()
    for name, place in places(flows).items():
        sizes = [file.stat().st_size for file in place.rglob("*") if file.is_file()]
        assert sum(sizes) > 0 or name == "temporary files", f"{name}: nothing to search"
    return await asyncio.to_thread(Sweep(flows.canaries).scan_paths, [flows.world.home, flows.out])


@pytest.mark.req("R1.1-1", "R1.2-1", "R1.2-2")
async def test_no_value_is_at_rest_anywhere(flows: Flows, at_rest: Report) -> None:
    """Database, dump, store and its logs, our logs, spans, checkpoints, copies, exports: searched, clean."""
    assert len(flows.canaries) > 40
    assert not at_rest.findings, [(one.label, one.source, str(one.encoding)) for one in at_rest.findings[:9]]
    assert not at_rest.unreadable, at_rest.unreadable[:9]
    assert at_rest.findings_dropped == at_rest.denied == 0
    assert at_rest.clean


@pytest.mark.req("R7.1-8")
async def test_a_leaked_key_was_led_to_its_postmortem(flows: Flows, at_rest: Report) -> None:
    """The incident is closed, its report and its document are among the places searched, the key in none of them."""
    found = await flows.world.must("operator", "GET", f"/v1/incidents/{flows.incident}")
    assert (found["state"], found["missing"], bool(found["postmortem_sha256"])) == ("closed", [], True)
    mine = [one for one in flows.canaries if one.label in ("leaked", "administrator", "replacement")]
    files = [flows.out / name for name in ("exposure.json", "postmortem.md")]
    assert len(mine) == 3
    assert all(file.stat().st_size for file in files)
    assert at_rest.clean, [(one.label, one.source) for one in at_rest.findings[:9]]


@pytest.mark.req("R5.2-3")
async def test_secrets_of_accounts_are_among_what_is_searched_for(flows: Flows) -> None:
    """Codes, verifiers, access and refresh tokens, our apps' secrets, webhooks' secrets: overheard, and many of each.
    Each was at the store, so that the search was for something that had been there."""
    counts = {kind: sum(one.label.startswith(f"{kind}-") for one in flows.canaries) for kind in CLASSES}
    assert all(count >= 3 for count in counts.values()), counts
    assert counts["code"] >= 12
    assert counts["verifier"] >= 6
    log = [file for file in (flows.world.home / "store-audit").rglob("*") if file.is_file()]
    written = b"".join(file.read_bytes() for file in log)
    for place in (b"/tokens", b"/access", b"/verifier", b"/code", b"/landing", b"/webhook", b"kv/data/platform/apps/"):
        assert place in written, place


async def test_the_scanner_finds_nothing_at_rest_and_would_have(flows: Flows) -> None:
    """All places but the database's, which `leaks pack` looks at, by fingerprint of every value; what people and
    machines read by shape; each finds what is planted."""
    short = [one for one in flows.canaries if len(one.value) < 200]
    overheard = [one for one in short if one.label.rpartition("-")[0] in CLASSES]
    strong = [one for one in short if one.label.rpartition("-")[0] not in CLASSES] + overheard[::8]
    key = os.urandom(32)
    prints = fingerprints_from(
        [(one.label, print_) for one in strong for print_ in fingerprints_of(one.value, key)], key
    )
    assert len(prints) > 80
    scanner = Scanner(fingerprints=prints, exclude=[str(flows.world.home / "postgres")])
    live = await asyncio.to_thread(scanner.scan_paths, [flows.world.home, flows.out])
    assert scanner.excluded == 1
    assert not [(one.label, one.source, one.encoding) for one in live.findings if one.kind == LIVE]
    assert not live.unreadable, live.unreadable[:9]
    assert live.sources_scanned > 40
    spoken = [places(flows)[name] for name in ("logs and spans", "temporary files")]
    by_shape = await asyncio.to_thread(Scanner().scan_paths, spoken)
    assert by_shape.clean, [(one.label, one.source, one.line, one.encoding) for one in by_shape.findings[:9]]
    planted = {}
    for at, (name, place) in enumerate(places(flows).items()):
        value = strong[at].value
        planted[name] = place / f"planted-scan-{at}.log"
        planted[name].write_bytes(b"x" * 1000 + b'\n{"body": "' + base64.b64encode(b"key=" + value) + b'"}\n')
    try:
        found = await asyncio.to_thread(Scanner(fingerprints=prints).scan_paths, [*planted.values()])
    finally:
        for file in planted.values():
            file.unlink()
    assert {Path(one.source).name for one in found.findings if one.kind == LIVE} == {
        file.name for file in planted.values()
    }


async def test_the_search_of_these_places_would_have_found(flows: Flows) -> None:
    """Positive control on the spot: a canary of this run, planted as base64 in each place, is found in each."""
    value, planted = flows.canaries[0].value, {}
    for name, place in places(flows).items():
        planted[name] = place / f"planted-{len(planted)}.log"
        planted[name].write_bytes(b"x" * 1000 + base64.b64encode(b"key=" + value))
    try:
        report = await asyncio.to_thread(Sweep(flows.canaries).scan_paths, [*planted.values()])
    finally:
        for file in planted.values():
            file.unlink()
    assert {Path(one.source).name for one in report.findings} == {file.name for file in planted.values()}


async def test_the_logs_were_at_debug_and_spoke(flows: Flows) -> None:
    """The search had something to look at: DEBUG lines, spans of the onboarding, the refused requests."""
    logs = flows.world.home / "logs"
    lines = [json.loads(line) for name in ("web", "broker", "worker") for line in (logs / f"{name}.log").open()]
    assert 'log_level = "DEBUG"' in (flows.world.home / "run-settings.toml").read_text()
    assert {line["status"] for line in lines if line["event"] == "request"} >= {202, 401, 404, 422, 503}
    assert (logs / "spans.jsonl").stat().st_size > 0


async def test_no_answer_gave_a_value_back(flows: Flows) -> None:
    """Bodies and headers of the answers to bad requests, and all that commands printed; every process lives."""
    printed = "\n".join(ran.said for ran in flows.shell.ran).encode()
    search = Sweep(flows.canaries)
    for name, data in (("answers", b"\n".join(flows.replies)), ("printed", printed)):
        report = search.scan_bytes(data, source=name)
        assert report.clean, (name, [(one.label, one.offset, str(one.encoding)) for one in report.findings[:5]])
    assert len(flows.replies) > 100
    assert len(flows.shell.ran) > 40
    assert b"Traceback" not in printed
    assert flows.statuses >= {401, 403, 404, 405, 422, 503}
    async with aiohttp.ClientSession() as http:
        for url in (flows.world.stack.web_url, flows.world.stack.broker_url):
            assert (await http.get(f"{url}/readyz")).status == 200


async def test_no_process_holds_a_value_where_others_look(flows: Flows) -> None:
    """Arguments and environments of all processes of the stack, and of a job's command while it ran."""
    search = Sweep(flows.canaries)
    pids = [below for pid in flows.world.stack.pids.values() for below in family(pid)]
    for name in ("web", "broker", "worker"):  # so their temporary files are among what was searched
        environ = Path(f"/proc/{flows.world.stack.pid(name)}/environ").read_bytes()
        assert f"TMPDIR={flows.temporary}".encode() in environ.split(b"\0")
    report = search.scan_proc(pids)
    assert report.sources_scanned >= 2 * len(flows.world.stack.pids)
    assert report.clean, report.findings[:5]
    assert not report.denied
    assert flows.children.clean, flows.children.findings[:5]


def descriptors(pids: list[int]) -> Iterator[Path]:
    """What processes have open, of those that are there."""
    for pid in pids:
        with contextlib.suppress(FileNotFoundError):
            yield from Path(f"/proc/{pid}/fd").iterdir()


def written(pids: list[int]) -> set[Path]:
    """The files that processes have open to write, but for devices, pipes and memory."""
    found = set()
    for fd in descriptors(pids):
        with contextlib.suppress(OSError):  # closed meanwhile
            info = (fd.parent.parent / "fdinfo" / fd.name).read_text()
            flags = int(next(line.split()[1] for line in info.splitlines() if line.startswith("flags:")), 8)
            if flags & os.O_ACCMODE != os.O_RDONLY and stat.S_ISREG(fd.stat().st_mode):
                found.add(fd.readlink())
    return {path for path in found if path.parts[1] not in ("dev", "proc") and not path.name.startswith("memfd:")}


def peers(pids: list[int]) -> set[str]:
    """Addresses that processes are connected with over TCP, as the kernel's tables show them."""
    own = set()
    for fd in descriptors(pids):
        with contextlib.suppress(OSError):
            own.add(str(fd.readlink()))
    tables = [table for name in ("tcp", "tcp6") if (table := Path(f"/proc/net/{name}")).exists()]
    rows = [row.split() for table in tables for row in table.read_text().splitlines()[1:]]
    return {row[2].partition(":")[0] for row in rows if row[3] == "01" and f"socket:[{row[9]}]" in own}


@pytest.mark.req("S-ASVS-35")
async def test_logs_go_to_documented_places_alone(flows: Flows) -> None:
    """After everything that was done: what our processes have open to write lies in the places of docs/settings.md, and
    they are connected with this machine alone, where the simulators are."""
    home, names = flows.world.home, ("web", "broker", "killswitch", "worker", "refresher")
    pids = [below for name in names for below in family(flows.world.stack.pid(name))]
    inventory = [home / "logs", home / "checkpoints", home / "slots", home / "artifacts", home / "proofs", home / "run"]
    files = written(pids)
    assert {home / "logs" / f"{name}.log" for name in ("web", "broker", "worker")} <= files
    assert [path for path in files if not any(path.is_relative_to(place) for place in inventory)] == []
    assert peers(pids) <= {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}
    with (flows.out / "elsewhere.log").open("w"):  # the look would have seen it
        assert flows.out / "elsewhere.log" in written([os.getpid()])


@pytest.mark.req("R1.1-1")
async def test_a_value_in_a_text_column_would_have_been_found(flows: Flows) -> None:
    """Positive control: a value that somebody wrote into a table is found in the files and in the dump."""
    value = new_canary("anthropic")
    database = flows.world.stack._database
    assert database is not None
    sql = "CREATE TABLE public.note (body text); INSERT INTO public.note VALUES ('VALUE'); CHECKPOINT;"
    await database.as_superuser(sql.replace("VALUE'", f"{value.decode()}'"), database="byokeep")
    search = Sweep([Canary("planted", value)])
    at_rest = await asyncio.to_thread(search.scan_paths, [flows.world.home / "postgres" / "data" / "base"])
    assert at_rest.findings
    assert search.scan_bytes(await asyncio.to_thread(flows.world.stack.dump_database), source="dump").findings
