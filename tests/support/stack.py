"""A whole stack with simulators and people, run by the test: what an operator's ``byokeep up`` is.

Everything goes through the outside: the operator API, the SDK, the command line, process ids. ``running_stack`` ends
what it started, also what was stopped or killed meanwhile, and says so when something was left over.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, cast
from uuid import uuid4

import aiohttp

from byokeep.adapters.postgres.embedded import EmbeddedPostgres
from byokeep.client import ClientSettings, Keep
from byokeep.core.errors import ByokeepError
from byokeep.processes.supervisor import Stack
from byokeep.settings import load
from byokeep_redact.canary import new_canary
from byokeep_sim import Sim, start
from tests.support.clusters import copied
from tests.support.forks import forked, standing
from tests.support.hang import hung, stop
from tests.support.openbao import ISSUER
from tests.support.psql import Sessions

LOGINS = ("instagram", "linkedin", "meta", "tiktok", "x", "youtube")
PROVIDERS = ("anthropic", "openai", "google", "openrouter", "kie", "heygen")
PEOPLE = ("operator", "approver", "auditor")
SOURCE = Path(__file__).parents[2] / "src"


_sessions = Sessions()


class ForkedStack(Stack):
    """A stack whose own processes are forked from one that has loaded the program, and whose database is a copy."""

    async def _start_parts(self) -> None:
        with copied():
            await super()._start_parts()

    def _spawn(self, name: str) -> None:
        with standing():
            super()._spawn(name)


@dataclass(frozen=True)
class Answer:
    """What the operator API said. ``status`` 0 = nothing came back."""

    status: int
    document: Any
    took_s: float

    @property
    def code(self) -> str:
        """The problem's code."""
        return str(self.document.get("code", "")) if isinstance(self.document, dict) else ""


@dataclass
class World:
    """A home, its stack, a simulated world of vendors, and people with tokens."""

    home: Path
    stack: Stack
    sim: Sim
    http: aiohttp.ClientSession
    tokens: dict[str, str] = field(default_factory=dict)

    async def ask(
        self, who: str, method: str, path: str, body: Any = None, *, raw: bytes | None = None, within_s: float = 40.0
    ) -> Answer:
        """Call the operator API; never raises for what a server does."""
        headers, began = {"Authorization": f"Bearer {self.tokens[who]}"}, time.monotonic()
        sent: dict[str, Any] = {"json": body} if body is not None else {}
        if raw is not None:
            sent, headers["Content-Type"] = {"data": raw}, "application/octet-stream"
        try:
            async with self.http.request(
                method, self.stack.web_url + path, headers=headers, timeout=aiohttp.ClientTimeout(total=within_s),
                **sent,
            ) as reply:  # fmt: skip
                document = await reply.json(content_type=None)
                return Answer(reply.status, document, time.monotonic() - began)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return Answer(0, None, time.monotonic() - began)

    async def must(self, who: str, method: str, path: str, body: Any = None, *, raw: bytes | None = None) -> Any:
        """Call the operator API; anything but success fails the test."""
        answer = await self.ask(who, method, path, body, raw=raw)
        assert 200 <= answer.status < 300, (method, path, answer.status, answer.code)
        return answer.document

    async def people(self) -> None:
        """Sign in the first admin with the invitation that the installation left, and make three other people."""
        first = self.home / "credentials" / "admin.token"
        self.tokens["admin"] = first.read_text().strip()
        await self.enter("admin", await self.must("admin", "GET", "/v1/self"))
        first.write_text(self.tokens["admin"] + "\n")
        for role in PEOPLE:
            body = {"name": f"{role}-{secrets.token_hex(3)}", "roles": [role], "clients": [], "all_clients": True}
            made = await self.must("admin", "POST", "/v1/operators", body)
            await self.sign_in(role, made)
            self.token_file(role)

    async def sign_in(self, who: str, made: dict[str, Any]) -> None:
        """Let a person set a password with an admin's invitation, and log in."""
        invitation = await self.must("admin", "POST", f"/v1/operators/{made['id']}/tokens", {"days": 1})
        self.tokens[who] = invitation["token"]
        await self.enter(who, made)

    async def enter(self, who: str, made: dict[str, Any]) -> None:
        """Let a person who holds an invitation set a password with it, and log in."""
        password = secrets.token_urlsafe(16)
        answer = await self.ask(who, "PUT", f"/v1/operators/{made['id']}/password", raw=password.encode())
        assert answer.status in (0, 204), answer  # an empty reply is no document
        session = await self.must(who, "POST", "/v1/session", {"name": made["name"], "password": password})
        self.tokens[who] = session["token"]

    def token_file(self, who: str) -> Path:
        """Where a person's token lies, as the command line wants it."""
        path = self.home / "credentials" / f"{who}.token"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(self.tokens[who] + "\n")
        return path

    async def client(self, name: str = "") -> str:
        """Make a client and bring it to life; returns its id."""
        body = {"name": name or f"Client {secrets.token_hex(4)}", "risk": "standard"}
        made = str((await self.must("admin", "POST", "/v1/clients", body))["id"])
        await self.must("admin", "POST", f"/v1/clients/{made}/enroll")
        return made

    async def new_key(self, provider: str) -> bytes:
        """Make a key that the simulated vendor knows."""
        value: bytes = new_canary(provider)
        known = {"provider": provider, "key": value.decode(), "state": "valid", "account_id": f"{provider}-acme"}
        async with self.http.post(f"{self.sim.url}/_sim/keys", json=known) as reply:
            reply.raise_for_status()
        return value

    async def put(self, client: str, provider: str, value: bytes, *, within_s: float = 40.0) -> Answer:
        """Hand in a key."""
        path = f"/v1/clients/{client}/providers/{provider}/value?skip_rehearsal=true"
        return await self.ask("operator", "PUT", path, raw=value, within_s=within_s)

    async def onboard(self, client: str, provider: str = "openai") -> bytes:
        """Hand in a new key and wait for the end of its procedure; returns the value."""
        value = await self.new_key(provider)
        answer = await self.put(client, provider, value)
        assert answer.status == 202, (answer.status, answer.code)
        await until(lambda: self.complete(answer.document["sop"]), 40)
        return value

    async def complete(self, sop: str) -> bool:
        """Whether a procedure is complete."""
        answer = await self.ask("operator", "GET", f"/v1/sops/{sop}")
        assert answer.status != 200 or answer.document["state"] != "failed", answer.document
        return answer.status == 200 and answer.document["state"] == "complete"

    async def account(self, client: str, name: str) -> None:
        """Register an account on the simulated platform X, here and there."""
        shown = {"username": name, "display_name": name.title()}
        place = f"/v1/clients/{client}/accounts"
        await self.must("operator", "POST", place, {"platform": "x", "account": name, **shown})
        await self.must("operator", "POST", f"{place}/x/{name}/lane", {"policy": "api"})
        about = {"platform": "x", "account": name, "id": name, **shown}
        async with self.http.post(f"{self.sim.url}/_sim/accounts", json=about) as reply:
            reply.raise_for_status()

    def keep(self, *, timeout_s: float = 5.0, attempts: int = 2) -> Keep:
        """The SDK with this home's machine identities."""
        place = self.home / "credentials"
        return Keep(
            ClientSettings(
                broker_url=self.stack.broker_url, runner_token_file=place / "runner.token",
                dispatcher_token_file=place / "dispatcher.token", timeout_s=timeout_s, attempts=attempts,
            )
        )  # fmt: skip

    async def act(self, client: str, account: str, key: str, *, expected: bytes, provider: str = "openai") -> None:
        """One job: secret, identity, effect. Raises what the SDK raises."""
        url = f"{self.sim.platform_url}/x/{account}"
        async with (
            self.keep() as keep,
            keep.job(client=client, secrets=[provider], platforms=["x"], effects=["publish"]) as job,
        ):
            assert (await job.secret(provider)).matches(expected), "the job got another value"
            async with self.http.get(f"{url}/identity") as reply:
                seen = await reply.json()
            assert await job.identify("x", account, seen) == "match"
            async with job.effect("publish", platform="x", account=account, key=key):
                (await self.http.post(f"{url}/posts", json={"text": "hello"})).raise_for_status()

    async def reads(self, client: str, provider: str, expected: bytes) -> bool:
        """Whether a job reads exactly this value now; False when it was refused."""
        try:
            async with self.keep() as keep, keep.job(client=client, secrets=[provider]) as job:
                return (await job.secret(provider)).matches(expected)
        except ByokeepError:
            return False

    async def sql(self, statement: str) -> str:
        """Ask the database as its administrator, by a session that stays while the database does; returns bare output.

        A process of its own for each question costs fifty milliseconds: it is forked from one of hundreds of megabytes.
        """
        database: Any = self.stack._database
        said = await asyncio.to_thread(_sessions.run, database, "byokeep", statement)
        return said.strip()

    async def alerts(self) -> set[str]:
        """Reasons of the open alerts."""
        found = await self.must("admin", "GET", "/v1/alerts")
        return {alert["reason"] for alert in found["alerts"]}

    async def sound(self, *, finding: str = "") -> None:
        """The log verifies, and the store's own could be read and every login explained.

        The last ten seconds of the store's log are judged later, so a young stack and a fresh ``finding`` are waited
        for.
        """
        verified = await self.must("auditor", "POST", "/v1/audit/verify")
        assert verified["state"] == "ok"
        assert verified["records"] > 0
        deadline = time.monotonic() + 20
        while True:
            report = await self.must("auditor", "POST", "/v1/audit/reconcile", {"minutes": 60})
            reasons = {one["reason"] for one in report["findings"]}
            assert "login_unexplained" not in reasons
            assert not report["unread"]
            if report["state"] != "unknown" and (not finding or finding in reasons):
                return
            assert time.monotonic() < deadline, (report["state"], reasons)
            await asyncio.sleep(1)

    async def effects(self) -> int:
        """How many effects the simulated platform has seen."""
        async with self.http.get(f"{self.sim.url}/_sim/effects") as reply:
            return int((await reply.json())["total"])

    async def settled(self) -> None:
        """Wait until no effect comes any more: what had its permit before an outage has acted by then."""
        for _ in range(20):
            before = await self.effects()
            await asyncio.sleep(0.6)
            if await self.effects() == before:
                return

    async def cli(self, *words: str, within_s: float = 60.0, token: str = "operator") -> tuple[int, float, bytes]:
        """Run ``byokeep ...``; returns exit code, seconds and standard error. A run over time is killed: code -9."""
        given = _placed(self.home, self.token_file(token), words)
        began = time.monotonic()
        try:
            code, _, said = await asyncio.to_thread(forked, given, environment(), None, within_s)
        except TimeoutError:
            code, said = -signal.SIGKILL, b""
        return code, time.monotonic() - began, said

    async def job_run(self, client: str, *, within_s: float = 60.0) -> tuple[int, float]:
        """``byokeep job run`` of a command that looks whether it got a secret."""
        words = ("job", "run", "--client", client, "--secret", "openai", "--", "sh", "-c", "test -s $0", "{openai}")
        code, took, _ = await self.cli(*words, within_s=within_s)
        return code, took

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """SIGSTOP a part and all its processes; SIGCONT at the end."""
        first = self.stack.pid(name)
        stop(first)  # from here on it starts no other one, which would go on
        with hung(*family(first)):
            yield


class Work:
    """Jobs one after the other, "secret, identity, effect", until told to stop; what came of each.

    Args:
        world: Where.
        client, account, value: For whom, as whom, and what the secret must be.
    """

    def __init__(self, world: World, client: str, account: str, value: bytes) -> None:
        self._world, self._client, self._account, self._value = world, client, account, value
        self.done: list[float] = []
        self.refused: list[tuple[float, str]] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._run()) for _ in range(2)]
        await self.goes_on()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        broken = [result for result in results if not isinstance(result, asyncio.CancelledError)]
        assert not broken, broken

    async def goes_on(self, within_s: float = 30.0) -> None:
        """Wait until a job that began after this call has been done."""
        began = time.monotonic()
        await until(lambda: any(at > began for at in self.done), within_s, f"a job; last refusals {self.refused[-3:]}")

    async def _run(self) -> None:
        while True:
            began = time.monotonic()
            try:
                await self._world.act(self._client, self._account, f"post-{uuid4()}", expected=self._value)
                self.done.append(began)
            except ByokeepError as error:
                self.refused.append((began, error.code))
            await asyncio.sleep(0.4)  # a job costs a tenth of a second of processor time


def _placed(home: Path, token: Path, words: tuple[str, ...]) -> list[str]:
    """Put the shared flags before a ``--``."""
    at = words.index("--") if "--" in words else len(words)
    return [*words[:at], "--home", str(home), "--token-file", str(token), *words[at:]]


def environment() -> dict[str, str]:
    """A child's environment: nothing of ours, but our source."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("BYOKEEP_")}
    return kept | {"PYTHONPATH": str(SOURCE)}


class Pid(int):
    """The id of a process that began at ``since``: a busy machine gives the same id to another within minutes."""

    since: str | None = None


def _stat(pid: int) -> list[str]:
    """What the kernel says of a process after its name: state, parent ... Empty when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def family(pid: int) -> list[Pid]:
    """A process and everything below it, as they are at one moment; to read /proc for each anew is slow."""
    children: dict[int, list[Pid]] = {}
    known: dict[int, Pid] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (told := _stat(int(entry.name))):
            one = known[int(entry.name)] = Pid(entry.name)
            one.since = told[19]
            children.setdefault(int(told[1]), []).append(one)
    found = [known.get(pid, Pid(pid))]
    for one in found:
        found += children.get(one, [])
    return found


def lives(pid: int) -> bool:
    """Whether a process runs; a zombie does not, nor one that only has its id."""
    told, since = _stat(pid), getattr(pid, "since", None)
    return bool(told) and told[0] not in {"Z", "X"} and since in (None, told[19])


async def until(holds: Callable[[], Any], within_s: float, what: str = "", *, each_s: float = 0.2) -> None:
    """Wait until something holds (an awaitable or a plain truth); fails the test when time is up.

    Args:
        holds, within_s, what: What, how long, and what the failure says.
        each_s: From one look to the next; more where a look costs processor time.
    """
    deadline = time.monotonic() + within_s
    while True:
        found = holds()
        if await found if asyncio.iscoroutine(found) else found:
            return
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        await asyncio.sleep(each_s)


@asynccontextmanager
async def supervised(world: World) -> AsyncIterator[None]:
    """Run the supervisor's loop, which starts again what is gone."""
    watch = asyncio.create_task(world.stack.run())
    try:
        yield
        assert not watch.done(), "the supervisor ended by itself"
    finally:
        watch.cancel()
        await asyncio.wait({watch}, timeout=30)


def new_home(home: Path | None = None) -> Path:
    """Make a home that the database's own user can reach."""
    home = home or Path(tempfile.mkdtemp(prefix="byk-"))
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o711)
    return home


def configure(home: Path, sim: Sim) -> None:
    """Point a home at the simulated vendors and platforms."""
    urls = "".join(f'{name} = "{sim.base_url(name)}"\n' for name in PROVIDERS)
    logins = "".join(f'{name} = "{sim.base_url(name)}"\n' for name in LOGINS)
    sites = "".join(f'{name} = "{sim.site_url(name)}"\n' for name in (*LOGINS, "skool"))
    issuer = f'oidc_issuer = "{ISSUER}"\n'
    (home / "config.toml").write_text(
        f"{issuer}[provider_urls]\n{urls}[platform_urls]\n{logins}[website_urls]\n{sites}"
    )
    (home / "config.toml").chmod(0o644)  # whatever the umask is


@asynccontextmanager
async def running_stack(home: Path | None = None, *, revive: bool = False) -> AsyncIterator[World]:
    """Start a stack with simulators and people; end all of it afterwards.

    Args:
        home: An existing directory, kept; default a new one, removed.
        revive: Also run the supervisor's loop, which starts again what dies.
    """
    place = new_home(home)
    sim = await start()
    configure(place, sim)
    stack = ForkedStack(load(home=place, web_listen="127.0.0.1:0", broker_listen="127.0.0.1:0"))
    seen: set[int] = set()
    try:
        await stack.start()
        async with aiohttp.ClientSession() as http:
            world = World(place, stack, sim, http)
            await world.people()
            async with supervised(world) if revive else contextlib.nullcontext():
                yield world
            seen = {below for pid in stack.pids.values() if pid for below in family(pid)}
    finally:
        await stack.stop()
        _sessions.end(cast("EmbeddedPostgres", stack._database))
        await sim.stop()
        if home is None:
            shutil.rmtree(place, ignore_errors=True)
    assert not [pid for pid in seen if lives(pid)], "something was left running"
