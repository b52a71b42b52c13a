"""``web`` and ``worker`` beside the broker's stand: real HTTP, queue, PostgreSQL and OpenBao, simulated vendors.

Use it with ``pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker", "tests.support.web"]`` and
the fixture ``desk``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import aiohttp
import pytest
from fastapi import FastAPI
from granian.constants import Interfaces
from granian.server.embed import Server
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from procrastinate import PsycopgConnector
from psycopg_pool import AsyncConnectionPool

from byokeep.adapters.openbao.ports import BaoScanKey
from byokeep.adapters.postgres.database import PostgresDatabase, build_app
from byokeep.adapters.postgres.embedded import EmbeddedPostgres
from byokeep.adapters.providers.descriptor import DESCRIPTORS, acts, check_admin, check_secret, exchanges, place_names
from byokeep.adapters.providers.identify import identify
from byokeep.adapters.providers.issuer import ProviderIssuer
from byokeep.client import ClientSettings
from byokeep.core.model import Environment, Provider
from byokeep.core.procedure import Procedure
from byokeep.core.secret import Secret
from byokeep.kernel.app import WebApp, WorkerApp
from byokeep.kernel.ports import CheckOutcome
from byokeep.settings import Settings, shown
from byokeep.telemetry import log, spans
from byokeep.tenancy.authenticate import authenticate
from byokeep.web.app import create_app
from byokeep.wire.transport import Outbound
from byokeep.worker.ports import BrokerCustodian, LogFiles, account_hasher, noted, swapper
from byokeep.worker.tasks import register
from byokeep_redact.canary import Canary, new_canary
from byokeep_sim.server import Sim, start
from tests.support import markup
from tests.support.broker import Person, Stand, Store, installed, listening, standing, token_key
from tests.support.surface import surfaces

REFUSED = frozenset({400, 401, 403, 404, 409, 413, 415, 422})


@dataclass
class Desk:
    """One ``web`` and one worker on a stand."""

    stand: Stand
    web: WebApp
    worker: WorkerApp
    api: FastAPI
    sim: Sim
    http: aiohttp.ClientSession
    files: Path
    canaries: list[Canary] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    queue: AsyncConnectionPool | None = None  # the worker's, from its first work on
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def people(self) -> dict[str, Person]:
        return self.stand.people

    def sql(self, statement: str) -> str:
        return self.stand.db.sql(statement)

    async def call(
        self, method: str, path: str, who: str | Person | None = None, body: Any = None, *, raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Any]:  # fmt: skip
        """One HTTP call to ``web``; returns status and JSON."""
        status, _, reply = await self.exchange(method, path, who, body, raw=raw, headers=headers)
        return status, reply

    async def exchange(
        self, method: str, path: str, who: str | Person | None = None, body: Any = None, *, raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Mapping[str, str], Any]:  # fmt: skip
        """One HTTP call to ``web``; returns status, headers and JSON, or the text of a reply that is none."""
        sent = dict(headers or {})
        person = self.people[who] if isinstance(who, str) else who
        if person is not None:
            sent.setdefault("Authorization", f"Bearer {person.token}")
        if raw is not None:
            sent.setdefault("Content-Type", "application/octet-stream")
        async with self.http.request(method, "http://web" + path, json=body, data=raw, headers=sent) as reply:
            raw = await reply.read()
            surfaces()["web"].check(method, path, reply.status, reply.content_type, raw)
            is_json = reply.content_type in ("application/json", "application/problem+json") and raw.strip()
            said = json.loads(raw) if is_json else raw.decode()
            if reply.status in REFUSED and is_json:  # a page of the console tells its request's id to a person
                self.refused[said["request_id"]] = f"{method} {path} {said['code']}"
            return reply.status, reply.headers, said

    def not_once_on_record(self, requests: Mapping[str, str] | None = None) -> list[str]:
        """The refusals that left no record, or more than one; of all calls to ``web``, or of those that are named."""
        rows = self.sql(
            "SELECT request_id || ' ' || count(*) FROM byokeep.audit_record"
            " WHERE outcome IN ('denied', 'rejected', 'failed') GROUP BY request_id"
        )
        counts = dict(row.split() for row in rows.splitlines())
        asked = self.refused if requests is None else requests
        return [f"{call}: {counts.get(request, 0)}" for request, call in asked.items() if counts.get(request) != "1"]

    def canary(self, provider: str = "openai", *, state: str = "valid", account: str = "acme") -> bytes:
        """A new key in the provider's shape; the simulator knows it in this state, as this account's."""
        from byokeep_sim import SimKeyState

        value = new_canary(provider)
        self.canaries.append(Canary(f"{provider}-{len(self.canaries)}", value))
        if state:
            self.sim.book.keys.put(provider, value.decode(), SimKeyState(state), account)
        return value

    async def put(
        self, client: UUID, value: bytes, provider: str = "openai", who: str | Person = "operator", query: str = "",
        **headers: str,
    ) -> tuple[int, Any]:  # fmt: skip
        """Submit a value."""
        path = f"/v1/clients/{client}/providers/{provider}/value{query}"
        return await self.call("PUT", path, who, raw=value, headers=headers)

    async def work(self) -> None:
        """Run what waits in the queue, and what that puts there for now, until nothing is due."""
        queue = build_app(self.stand.db.url("byokeep_worker"))
        register(queue, self.worker)
        queue.periodic_registry.periodic_tasks.clear()
        async with self.opening:
            await queue.open_async(self.queue)
            self.queue = cast("PsycopgConnector", queue.connector).pool
        await queue.run_worker_async(wait=False, install_signal_handlers=False, listen_notify=False)

    async def retry_now(self, times: int = 5) -> None:
        """Let the queue's waits pass, again and again."""
        for _ in range(times):
            self.sql("UPDATE procrastinate.procrastinate_jobs SET scheduled_at = NULL WHERE status = 'todo'")
            await self.work()

    async def onboard(self, client: UUID, value: bytes | None = None, provider: str = "openai") -> dict[str, Any]:
        """Submit a value and let the worker finish, with the cutover; returns the reply to the submission."""
        value = value or self.canary(provider)
        status, reply = await self.put(client, value, provider, query="?skip_rehearsal=true")
        assert status == 202, reply
        await self.work()
        return dict(reply)

    async def sop(self, sop: str, who: str | Person = "operator") -> dict[str, Any]:
        status, reply = await self.call("GET", f"/v1/sops/{sop}", who)
        assert status == 200, reply
        return dict(reply)

    async def ref(self, ref: str, who: str | Person = "operator") -> dict[str, Any]:
        status, reply = await self.call("GET", f"/v1/refs/{ref}", who)
        assert status == 200, reply
        return dict(reply)


def known(desk: Desk, *declared: Procedure) -> None:
    """Hand procedures to every process of the desk, as the wiring does."""
    desk.stand.app.procedures.update({one.name: one for one in declared})  # type: ignore[attr-defined]


@contextlib.asynccontextmanager
async def serving_web(api: FastAPI, socket: Path) -> AsyncIterator[aiohttp.ClientSession]:
    """Serve ``web`` on a unix socket; yields a client of it."""
    server = Server(api, uds=socket, interface=Interfaces.ASGI, log_enabled=False)
    task = asyncio.create_task(server.serve())
    await listening(socket)
    try:
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket), limit=0)) as http:
            yield http
    finally:
        server.stop()
        await task
        socket.unlink(missing_ok=True)


@contextlib.contextmanager
def telemetry_in(place: Path) -> Any:
    """Write logs and spans of this process below ``place`` for the length of the block."""
    handlers = list(logging.getLogger().handlers)
    level, tracer = logging.getLogger().level, spans._tracer
    log.configure("test", path=place / "web.log", level=logging.DEBUG)
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans._Lines(place / "spans.jsonl")))
    spans._tracer = provider.get_tracer("byokeep")  # type: ignore[misc]
    try:
        yield
    finally:
        provider.shutdown()
        spans._tracer = tracer  # type: ignore[misc]
        logging.getLogger().handlers[:] = handlers
        logging.getLogger().setLevel(level)


def worker_app(stand: Stand, sim: Sim, http: Outbound, db: PostgresDatabase, files: Path) -> WorkerApp:
    """The ports of a worker whose identity calls go to the simulator."""
    token = stand.home / "custodian.token"
    token.touch(mode=0o600)
    token.write_text(stand.people["custodian"].token)

    async def ask(provider: Provider, secret: Secret, *, short_lived: bool = False) -> CheckOutcome:
        return await identify(
            DESCRIPTORS[provider], secret, base_url=sim.base_url(provider), http=http, allow_loopback=True,
            account_hasher=account_hasher(Secret(b"k" * 32)), short_lived=short_lived,
        )  # fmt: skip

    limits = replace(
        stand.app.limits, rotation_acts={n: acts(d) for n, d in DESCRIPTORS.items() if acts(d)},
        exchanges=exchanges({name: sim.base_url(name) for name in DESCRIPTORS}),
    )  # fmt: skip
    settings = ClientSettings(broker_url=stand.url, runner_token_file=token, attempts=1, timeout_s=10)
    return WorkerApp(
        db=db, clock=stand.app.clock, ids=stand.app.ids, installation_id=stand.app.installation_id,
        environment=stand.app.environment, procedures=stand.app.procedures,
        limits=limits,
        issuer=ProviderIssuer(
            DESCRIPTORS, http, urls={name: sim.base_url(name) for name in DESCRIPTORS}, allow_loopback=True
        ),
        custodian=BrokerCustodian(settings, Environment.DEVELOPMENT),
        identify=noted(ask),
        search_logs=LogFiles(logs=[files / "web.log"], spans=[files / "spans.jsonl"]).search,
        swap=swapper(limits), identify_token=noted(partial(ask, short_lived=True)),
    )  # fmt: skip


@contextlib.asynccontextmanager
async def desk_on(stand: Stand, places: Mapping[str, str] | None = None, **changed: Any) -> AsyncIterator[Desk]:
    """Put ``web`` and a worker on a stand."""
    files = stand.home / "logs"
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(telemetry_in(files))
        dbs = {}
        for role in ("byokeep_web", "byokeep_worker"):
            dbs[role] = PostgresDatabase(stand.db.url(role))
            stack.push_async_callback(dbs[role].close)
        sim = await start()
        stack.push_async_callback(sim.stop)
        providers = await stack.enter_async_context(Outbound())
        days = {name: descriptor.rotation_days for name, descriptor in DESCRIPTORS.items()}
        able = {name: acts(descriptor) for name, descriptor in DESCRIPTORS.items() if acts(descriptor)}
        modes = {name: descriptor.rotation.mode for name, descriptor in DESCRIPTORS.items()}
        swaps = exchanges({name: sim.base_url(name) for name in DESCRIPTORS})
        # The stand's broker was there before the simulator was: it reads the same table.
        dict.update(cast("dict[str, Any]", stand.app.limits.exchanges), swaps)
        dict.update(cast("dict[str, Any]", stand.app.limits.rotation_acts), able)
        web = WebApp(
            db=dbs["byokeep_web"], clock=stand.app.clock, ids=stand.app.ids,
            installation_id=stand.app.installation_id, environment=stand.app.environment,
            limits=replace(stand.app.limits, rotation_default_days=days, rotation_modes=modes, rotation_acts=able,
                           rotation_places={name: place_names(descriptor) for name, descriptor in DESCRIPTORS.items()},
                           provider_pages={name: one.docs_url for name, one in DESCRIPTORS.items()}, exchanges=swaps),
            procedures=stand.app.procedures,
            intake=stand.intake, token_key=token_key,
            scan_key=BaoScanKey(stand.intake._login),
            check_format=check_secret, check_admin=check_admin, platform_urls=places or {}, settings=shown(Settings()),
        )  # fmt: skip
        web = replace(web, **changed)
        api = create_app(web, partial(authenticate, web), broker_address=stand.url)
        api.add_middleware(markup.Kept)
        http = await stack.enter_async_context(serving_web(api, stand.home / "w.sock"))
        worker = worker_app(stand, sim, providers, dbs["byokeep_worker"], files)
        made = Desk(stand, web, worker, api, sim, http, files)
        try:
            yield made
        finally:
            if made.queue is not None:
                await made.queue.close()


@pytest.fixture
async def desk(postgres_server: EmbeddedPostgres, store: Store) -> AsyncIterator[Desk]:
    with installed(postgres_server, store) as (database, people):
        async with standing(database, store, people) as stand, desk_on(stand) as made:
            yield made
