"""A broker on real HTTP, a real PostgreSQL and a real OpenBao, and what a test needs to play every part.

Use it with ``pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker"]`` and the fixture ``stand``.
"""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import math
import secrets
import shutil
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest
from granian.constants import Interfaces
from granian.server.embed import Server

from byokeep.adapters.blobs.local import LocalArtifacts
from byokeep.adapters.files.checkpoints import CheckpointDirectory
from byokeep.adapters.files.tombstones import TombstoneFile
from byokeep.adapters.openbao.audit import FileStoreAudit
from byokeep.adapters.openbao.breakglass import BaoBreakGlass
from byokeep.adapters.openbao.embedded import audit_files
from byokeep.adapters.openbao.login import AppRoleLogin
from byokeep.adapters.openbao.ports import BaoIntake, BaoProfileRecords, EntityCutoff, ProbedStoreHealth, TransitSigner
from byokeep.adapters.passkeys import Passkeys
from byokeep.adapters.passwords import Passwords
from byokeep.adapters.postgres.database import PostgresDatabase
from byokeep.adapters.postgres.embedded import EmbeddedPostgres
from byokeep.adapters.system import SystemClock, SystemIds
from byokeep.broker.app import create_app
from byokeep.client import ClientSettings, Keep
from byokeep.core.errors import Unavailable
from byokeep.core.model import ClientId, Environment, Provider, Role
from byokeep.core.ref import SecretRef
from byokeep.core.secret import Secret
from byokeep.http.emergency import Emergency
from byokeep.kernel.app import App, BrokerApp, KillApp, ServiceLimits
from byokeep.kernel.ports import Clock
from byokeep.keys import provider_usage
from byokeep.killswitch.app import create_app as create_killswitch
from byokeep.procedures import PROCEDURES
from byokeep.reconciliation.reconcile import SETTLE, Reconciliation, reconcile
from byokeep.tenancy.authenticate import authenticate
from byokeep.tenancy.sso import SsoCheck
from byokeep.tenancy.tokens import Subject
from byokeep.wire.bao_http import BaoHttp
from tests.support.fields import share
from tests.support.openbao import Bao, running_openbao
from tests.support.people import subject_sql, token_sql
from tests.support.ports import free_port
from tests.support.postgres import FreshDatabase, drop_database, fresh_database, quick_home, short_home
from tests.support.surface import surfaces

share()
KEY = b"a pepper made up for tests"
MACHINE_KEY = b"another one, for machines"
PREFIX = {"dispatcher": "bkd_", "runner": "bkr_", "custodian": "bkc_"}


def token_key(token: bytes) -> bytes:
    return hmac.digest(KEY, token, hashlib.sha256)


def machine_key(token: bytes) -> bytes:
    return hmac.digest(MACHINE_KEY, token, hashlib.sha256)


class StoreSeen:
    """A store's health as a test has it: it serves until ``gone``."""

    gone = False

    def __init__(self, real: ProbedStoreHealth) -> None:
        self.look = real.look

    async def probe(self) -> None:
        self.require()

    def require(self) -> None:
        if self.gone:
            raise Unavailable("store_unreachable")


@dataclass(frozen=True)
class Store:
    """The shared OpenBao. ``bao`` belongs to another loop: use its paths and figures only."""

    bao: Bao
    home: Path

    @property
    def address(self) -> str:
        return str(self.bao.server.address)

    def trails(self) -> dict[Path, int]:
        """Its two logs, and how long each is by now: earlier tests wrote megabytes."""
        return {path: path.stat().st_size for path in audit_files(self.home).values()}


def since(trails: dict[Path, int]) -> dict[str, bytes]:
    """What was written to a store's logs since :meth:`Store.trails`, by the log's name."""
    return {path.name: path.read_bytes()[length:] for path, length in trails.items()}


def running_store() -> Iterator[Store]:
    """An OpenBao run by a thread's own loop. A module that searches all of a store has one of its own: the session's
    holds what hundreds of tests wrote."""
    home, ready, done = quick_home(), threading.Event(), threading.Event()
    made: list[Bao] = []
    failed: list[BaseException] = []

    async def run() -> None:
        try:
            async with running_openbao(home) as bao:
                made.append(bao)
                ready.set()
                while not done.is_set():
                    await asyncio.sleep(0.1)
        except BaseException as error:
            failed.append(error)
            raise
        finally:
            ready.set()

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    ready.wait(60)
    if not made:
        raise RuntimeError("OpenBao did not start") from (failed[0] if failed else None)
    yield Store(made[0], home)
    done.set()
    thread.join(30)
    shutil.rmtree(home, ignore_errors=True)


store = pytest.fixture(scope="session")(running_store)


@dataclass
class Person:
    """A subject and its token."""

    id: UUID
    token: str = field(repr=False)


def _person(
    role: str, installation: UUID, name: str = "", clients: tuple[UUID, ...] | None = None
) -> tuple[Person, str]:
    """A person or machine with a token, and the statements that make it."""
    person = Person(uuid4(), PREFIX.get(role, "bko_") + secrets.token_urlsafe(32))
    subject = Subject(
        id=person.id, kind="machine" if role in PREFIX else "operator", name=f"{name or role} {person.id.hex[:6]}",
        roles=frozenset({Role(role)}), state="active", all_clients=clients is None, clients=frozenset(clients or ()),
    )  # fmt: skip
    key = machine_key if role in PREFIX else token_key
    token = token_sql(person.id, key(person.token.encode()), installation)
    return person, subject_sql(subject, installation) + token


@dataclass
class Stand:
    """One broker with its own database."""

    db: FreshDatabase
    store: Store
    app: BrokerApp
    intake: BaoIntake
    url: str
    home: Path
    http: aiohttp.ClientSession
    people: dict[str, Person] = field(default_factory=dict)

    def subject(self, role: str, name: str = "", *, clients: tuple[UUID, ...] | None = None) -> Person:
        """A person or machine with a token; assigned to all clients unless some are named."""
        person, rows = _person(role, self.app.installation_id, name, clients)
        self.db.sql(rows)
        self.people.setdefault(role, person)
        return person

    async def client(self, *providers: str) -> UUID:
        """An active client, enrolled at the store, with one verified key for each provider."""
        client = uuid4()
        admin = self.people["admin"]
        self.db.sql(
            f"INSERT INTO byokeep.client (id, name, created_by) VALUES ('{client}', 'Client {client.hex[:8]}',"
            f" '{admin.id}')"
        )
        status, reply = await self.call("POST", f"/v1/clients/{client}/enroll", "admin")
        assert (status, reply) == (200, {"state": "active"})
        for provider in providers:
            await self.key(client, provider)
        return client

    async def key(self, client: UUID, provider: str, value: str = "", *, version: int = 1) -> str:
        """Put a value as ``web`` does and pin it; returns the value."""
        value = value or f"value-of-{provider}-{secrets.token_hex(8)}"
        ref = SecretRef(ClientId(client), Provider(provider))
        await self.intake.put(ref, Secret(value), cas=version - 1)
        if version == 1:
            self.db.sql(
                "INSERT INTO byokeep.credential_ref (id, client_id, provider, kind, environment, secret_ref, version,"
                " state, verification, risk, created_by, rotation_due_at) VALUES"
                f" ('{uuid4()}', '{client}', '{provider}', 'provider_api_key', 'development', '{ref}', 1, 'active',"
                f" 'verified', 'standard', '{self.people['admin'].id}', now() + interval '90 days')"
            )
        else:
            self.db.sql(
                f"UPDATE byokeep.credential_ref SET version = {version}"
                f" WHERE client_id = '{client}' AND provider = '{provider}'"
            )
        return value

    def account(
        self, client: UUID, platform: str = "x", account: str = "acme", *, lanes: str = "api", identity: str = "match"
    ) -> UUID:
        """A registered account whose identity was just compared."""
        account_id = uuid4()
        self.db.sql(
            "INSERT INTO byokeep.platform_account (id, client_id, platform, account, username, display_name, lanes,"
            f" identity, identified_at, created_by) VALUES ('{account_id}', '{client}', '{platform}', '{account}',"
            f" '{account}', 'Acme Ltd', '{{{lanes}}}', '{identity}', now(), '{self.people['admin'].id}')"
        )
        return account_id

    async def call(
        self, method: str, path: str, who: str | Person | None = None, body: Any = None, *, raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Any]:  # fmt: skip
        """One HTTP call; returns status and JSON."""
        sent = dict(headers or {})
        person = self.people[who] if isinstance(who, str) else who
        if person is not None:
            sent.setdefault("Authorization", f"Bearer {person.token}")
        if raw is not None:
            sent.setdefault("Content-Type", "application/json")
        async with self.http.request(method, "http://broker" + path, json=body, data=raw, headers=sent) as reply:
            content = await reply.read()
            surfaces()["broker"].check(method, path, reply.status, reply.content_type, content)
            return reply.status, json.loads(content) if content.strip() else None

    async def job(self, client: UUID, *, who: str | Person = "dispatcher", **spec: Any) -> UUID:
        """A job for the runner that may publish on x with the openai key."""
        body = {
            "client_id": str(client), "runner_id": str(self.people["runner"].id), "secrets": ["openai"],
            "platforms": ["x"], "lanes": ["api"], "effects": ["publish"],
        }  # fmt: skip
        status, reply = await self.call("POST", "/v1/jobs", who, body | spec)
        assert status == 201, reply
        return UUID(reply["id"])

    async def lease(self, job: UUID, who: str | Person = "runner") -> dict[str, Any]:
        status, reply = await self.call("POST", f"/v1/jobs/{job}/leases", who)
        assert status == 201, reply
        return dict(reply)

    async def permit(self, lease: str, key: str = "", who: str | Person = "runner", **wish: Any) -> tuple[int, Any]:
        body = {
            "version": 1, "effect": "publish", "platform": "x", "account": "acme", "lane": "api",
            "idempotency_key": key or f"key-{secrets.token_hex(8)}",
        }  # fmt: skip
        return await self.call("POST", f"/v1/leases/{lease}/permits", who, body | wish)

    def events(self, name: str, outcome: str = "") -> list[str]:
        """Payloads of an event in the audit log, oldest first."""
        also = f" AND outcome = '{outcome}'" if outcome else ""
        rows = self.db.sql(
            f"SELECT convert_from(payload, 'UTF8') FROM byokeep.audit_record WHERE event = '{name}'{also} ORDER BY at"
        )
        return rows.splitlines()

    def alerts(self) -> list[str]:
        return self.db.sql("SELECT reason FROM byokeep.alert WHERE closed_at IS NULL ORDER BY reason").splitlines()

    def keep(self, **settings: Any) -> Keep:
        """The SDK, as a customer would set it up."""
        files = {}
        for role in ("runner", "dispatcher"):
            files[role] = self.home / f"{role}.token"
            files[role].touch(mode=0o600)
            files[role].write_text(self.people[role].token)
        return Keep(
            ClientSettings(
                broker_url=settings.pop("broker_url", self.url),
                runner_token_file=files["runner"],
                dispatcher_token_file=files["dispatcher"],
                **settings,
            )
        )


async def listening(at: Path | int) -> None:
    """Wait until somebody accepts connections at a unix socket, whose file stands a moment before, or a port."""
    for _ in range(1000):
        with contextlib.suppress(OSError):
            _, writer = await (
                asyncio.open_connection("127.0.0.1", at) if isinstance(at, int) else asyncio.open_unix_connection(at)
            )
            writer.close()
            return
        await asyncio.sleep(0.02)


def serving(app: BrokerApp, socket: Path) -> contextlib.AbstractAsyncContextManager[str]:
    """Serve a broker on a unix socket; returns its address. What it mails is in ``POST``."""
    passwords, passkeys = Passwords(memory_kib=64, time_cost=1), Passkeys(app.limits.console_origin)
    made = create_app(app, partial(authenticate, app), passwords=passwords, passkeys=passkeys, mail=posted,
                      sso=ELSEWHERE[-1] if ELSEWHERE else None, mails=lambda: not UNSET)  # fmt: skip
    return served(made, socket)


ELSEWHERE: list[SsoCheck] = []  # where people of the next broker sign in, if anywhere
POST: list[tuple[str, str, str]] = []  # address, title, body
UNSET: list[str] = []  # with anything in it no mail server is set


async def posted(*message: str) -> str:
    """Deliver a mail to whoever looks into ``POST``; an address at ``away.example`` is not reached."""
    address, title, body = message
    POST.append((address, title, body))
    return "not_delivered" if address.endswith("@away.example") else ""


@contextlib.asynccontextmanager
async def served(api: Any, socket: Path) -> AsyncIterator[str]:
    """Serve an application on a unix socket; returns its address."""
    server = Server(
        api,
        uds=socket,
        interface=Interfaces.ASGI,
        log_enabled=False,
        # It counts connections, idle ones too: at the default of 128 as many resting runners would keep a kill out.
        backlog=1024,
        backpressure=4096,
    )
    task = asyncio.create_task(server.serve())
    await listening(socket)
    try:
        yield f"unix://{socket}"
    finally:
        server.stop()
        await task
        socket.unlink(missing_ok=True)


@contextlib.asynccontextmanager
async def broker_ports(database: FreshDatabase, store: Store, home: Path, **changed: Any) -> AsyncIterator[BrokerApp]:
    """The ports of a broker in this loop."""
    async with contextlib.AsyncExitStack() as stack:
        http = await stack.enter_async_context(BaoHttp(store.address, timeout_s=5))
        login = AppRoleLogin(http, store.home / "credentials" / "broker.approle")
        stack.push_async_callback(login.close)
        db = PostgresDatabase(database.url("byokeep_broker"), pool_size=16)
        stack.push_async_callback(db.close)
        installation = store.bao.desired.installation_id
        checkpoints = CheckpointDirectory(home / "checkpoints", origin=f"byokeep/{installation}")
        stack.callback(checkpoints.close)
        tombstones = TombstoneFile(home / "checkpoints")
        stack.callback(tombstones.close)
        app = BrokerApp(
            db=db, clock=SystemClock(), ids=SystemIds(), installation_id=installation,
            environment=Environment.DEVELOPMENT, limits=ServiceLimits(console_origin=f"http://localhost:{free_port()}"),
            procedures=dict(PROCEDURES), signer=TransitSigner(login),
            cutoff=EntityCutoff(login), store_audit=FileStoreAudit(login, audit_files(store.home)),
            store_health=StoreSeen(ProbedStoreHealth(http, login)),
            checkpoints=checkpoints, token_key=token_key, machine_key=machine_key, store_address=store.address,
            artifacts=LocalArtifacts(home / "artifacts"), records=BaoProfileRecords(login),
            tombstones=tombstones, glass=BaoBreakGlass(login),
        )  # fmt: skip
        for proof in (app.store_recording, app.platform_chain):
            proof.proved(math.inf)
        yield replace(app, **changed)


ROLES = ("admin", "operator", "approver", "auditor", "dispatcher", "runner", "custodian")
_installed: dict[tuple[EmbeddedPostgres, UUID], tuple[FreshDatabase, dict[str, Person]]] = {}


def _install(database: FreshDatabase, installation: UUID) -> dict[str, Person]:
    """The rows of an installation, and one identity for each role."""
    people, rows = dict[str, Person](), ""
    for role in ROLES:
        people[role], more = _person(role, installation)
        rows += more
    database.sql(
        f"INSERT INTO byokeep.installation (id, environment, store_recorded_at) VALUES"
        f" ('{installation}', 'development', 'infinity');"
        "INSERT INTO byokeep.switch (scope, closed, epoch, reason, by, installation_id) VALUES"
        f" ('global', false, 0, 'installed', '{installation}', '{installation}');{rows}"
    )
    return people


@contextlib.contextmanager
def installed(server: EmbeddedPostgres, store: Store) -> Iterator[tuple[FreshDatabase, dict[str, Person]]]:
    """A database of its own with the rows of an installation, and who is in it.

    The store's first one is made row by row; the others are copies, which cost a third of that.
    """
    installation = store.bao.desired.installation_id
    if (server, installation) not in _installed:
        first = fresh_database(server)
        _installed[server, installation] = first, _install(first, installation)
        first.leave()
    first, people = _installed[server, installation]
    database = fresh_database(server, template=first.name)
    try:
        yield database, {role: replace(one) for role, one in people.items()}  # a new password gives one another token
    finally:
        drop_database(database)


@contextlib.asynccontextmanager
async def standing(
    database: FreshDatabase, store: Store, people: dict[str, Person] | None = None, **changed: Any
) -> AsyncIterator[Stand]:
    """A whole stand: rows of an installation, if they are not there, and a served broker."""
    home = short_home()
    home.chmod(0o700)
    people = people or _install(database, store.bao.desired.installation_id)
    try:
        async with contextlib.AsyncExitStack() as stack:
            app = await stack.enter_async_context(broker_ports(database, store, home, **changed))
            url = await stack.enter_async_context(serving(app, home / "b.sock"))
            http = await stack.enter_async_context(
                aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(home / "b.sock"), limit=0))
            )
            bao = await stack.enter_async_context(BaoHttp(store.address, timeout_s=5))
            web = AppRoleLogin(bao, store.home / "credentials" / "web.approle")
            stack.push_async_callback(web.close)
            yield Stand(database, store, app, BaoIntake(web), url, home, http, people)
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
async def stand(postgres_server: EmbeddedPostgres, store: Store) -> AsyncIterator[Stand]:
    with installed(postgres_server, store) as (database, people):
        async with standing(database, store, people) as made:
            yield made


@pytest.fixture
def nobody_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no report wait for what providers count: where no worker runs beside it, nobody would say that."""
    monkeypatch.setattr(provider_usage, "WAIT_S", 0.0)


@dataclass
class _Later:
    """The system's clock when all that was asked until now has settled."""

    clock: Clock

    def now(self) -> datetime:
        return self.clock.now() + SETTLE

    def monotonic(self) -> float:
        return self.clock.monotonic()


async def reconciled(stand: Stand, since: datetime) -> Reconciliation:
    """Explain what the store recorded from then until this moment, as the broker does when that has settled."""
    app = replace(stand.app, clock=_Later(stand.app.clock))
    return await reconcile(app, app.system(), since=since)


@contextlib.asynccontextmanager
async def killswitch(stand: Stand) -> AsyncIterator[Stand]:
    """The stand as the kill process serves it: under that one's roles, on a socket of its own."""
    async with contextlib.AsyncExitStack() as stack:
        http = await stack.enter_async_context(BaoHttp(stand.store.address, timeout_s=5))
        login = AppRoleLogin(http, stand.store.home / "credentials" / "killswitch.approle")
        stack.push_async_callback(login.close)
        db, own = (PostgresDatabase(stand.db.url("byokeep_killswitch"), pool_size=4) for _ in range(2))
        for one in (db, own):
            stack.push_async_callback(one.close)
        common = {name.name: getattr(stand.app, name.name) for name in fields(App)}
        app = KillApp(
            **common | {"db": db, "marks": {}}, cutoff=EntityCutoff(login), token_key=token_key,
            machine_key=machine_key, store_health=StoreSeen(ProbedStoreHealth(http, login)),
        )  # fmt: skip
        socket = stand.home / "k.sock"
        lane = replace(app, db=own)
        api = create_killswitch(app, partial(authenticate, app), Emergency(), lane=(lane, partial(authenticate, lane)))
        await stack.enter_async_context(served(api, socket))
        session = aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket), limit=0))
        yield replace(stand, app=app, url=f"unix://{socket}", http=await stack.enter_async_context(session))
