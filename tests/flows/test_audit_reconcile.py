"""The store's audit log against ours: what is explained, what is found, and what is unknown."""

# ruff: noqa: S608 - statements are put together from made-up values
from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, Mock
from uuid import UUID, uuid4

import psycopg
import pytest

from byokeep.adapters.postgres.database import PostgresDatabase
from byokeep.audit.alerts import close_alert, list_alerts
from byokeep.broker.rounds import Rounds
from byokeep.core.canonical import canonical_json
from byokeep.core.errors import ByokeepError, Denied, Unavailable
from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.model import Actor, Role
from byokeep.core.secret import Secret
from byokeep.jobs import switches
from byokeep.jobs.lease import claims
from byokeep.kernel.command import open_alert, raise_alert, state_over
from byokeep.kernel.ports import HASHED_NAME, StoreEntry
from byokeep.reconciliation import explain
from byokeep.reconciliation import reconcile as module
from byokeep.reconciliation.explain import LOGIN
from byokeep.reconciliation.reconcile import BEFORE, ORDER, Reconciled, Reconciliation, _on_record, reconcile
from byokeep.tenancy.scopes import scope_from_name
from tests.support.audit_broker import Broker, audit_broker
from tests.support.postgres import FreshDatabase
from tests.support.postgres_rows import RUNNER, client_sql, recorded_sql

pytest_plugins = ["tests.support.postgres_fixtures"]


class Entities:
    """The store's half of a kill."""

    def __init__(self) -> None:
        self.put_out: list[str] = []

    async def disable(self, *entity_ids: str) -> None:
        self.put_out.extend(entity_ids)


class Scene:
    """A broker, two clients with a lease each, and the store's log as honest runners leave it."""

    def __init__(self, broker: Broker) -> None:
        self.broker, self.entities = broker, Entities()
        broker.app = replace(broker.app, cutoff=self.entities)  # type: ignore[arg-type]
        self.alice, self.bob = uuid4(), uuid4()
        self.entity = {self.alice: str(uuid4()), self.bob: str(uuid4())}
        self.since = broker.clock.now() - timedelta(minutes=2)
        self.at = broker.clock.now() - timedelta(minutes=1)
        self.lease = dict.fromkeys((self.alice, self.bob), uuid4())

    def path(self, client: UUID, provider: str = "openai", part: str = "data") -> str:
        return f"kv/{part}/clients/{client}/providers/{provider}"

    def after(self, seconds: float) -> datetime:
        return self.at + timedelta(seconds=seconds)

    async def give_lease(
        self, client: UUID, *, kind: str = "use", at: datetime | None = None, recorded: bool = True,
        told: tuple[int, int] | None = (99, 99),
    ) -> UUID:  # fmt: skip
        """A job and a lease row, issued at a given time; ``told``: how many logins and reads its holder told of."""
        job, lease, issued = uuid4(), uuid4(), at or self.at
        iat = int(issued.timestamp())
        await self.broker.sql(
            f"INSERT INTO byokeep.client (id, name, created_by) VALUES ('{client}', 'Client {client.hex[:8]}',"
            f" '{RUNNER}') ON CONFLICT DO NOTHING;"
            f"INSERT INTO byokeep.job (id, client_id, dispatcher_id, runner_id, kind, secrets, expires_at) VALUES"
            f" ('{job}', '{client}', '{RUNNER}', '{RUNNER}', 'use', '{{openai}}', now() + interval '1 hour');"
            f"INSERT INTO byokeep.lease (id, client_id, job_id, runner_id, kind, secrets, jwt_iat, jwt_exp, issued_at,"
            f" expires_at) VALUES ('{lease}', '{client}', '{job}', '{RUNNER}', '{kind}', '{{openai}}', {iat},"
            f" {iat + 3}, '{issued.isoformat()}', '{issued.isoformat()}')"
        )
        if told is not None:
            await self.tell(client, lease, *told)
        await self.state_rows()
        if recorded:
            await self.broker.record(client, outcome=Outcome.INTENDED, object_id=lease)
        said = claims(self.broker.app, client_id=client, job_id=job, lease_id=lease, kind=kind, secrets=["openai"],
                      iat=iat)  # fmt: skip
        self.jwt = await self.broker.signer.sign_jwt(said)
        self.lease[client] = lease
        return lease

    async def tell(self, client: UUID, lease: UUID, logins: int, reads: int = 99) -> None:
        """The holder's word of its lease."""
        runner = Actor(id=RUNNER, roles=frozenset({Role.RUNNER}), clients=None, request_id=uuid4())
        async with self.broker.app.db.begin(every_client=True) as tx:
            await tx.append(
                Event(name=EventName.LEASE_USE_TOLD, actor=runner, outcome=Outcome.OK, client_id=client,
                      object_id=lease, fields={"logins": logins, "reads": str(reads)})
            )  # fmt: skip

    async def answers(self, at: datetime) -> None:
        """A probe's answer, in which the store names the key that signs leases."""
        self.broker.store.write(
            str(uuid4()), at, "read", "transit/keys/leases", names=await self.hashes(HASHED_NAME)
        )  # fmt: skip

    async def raise_one(self, key: str) -> str:
        """An alert as the broker raises it; returns its id."""
        await raise_alert(self.broker.app, reason="login_unexplained", key=key, severity="critical")
        return await self.broker.sql(f"SELECT id FROM byokeep.alert WHERE dedup_key = '{key}'")

    async def state_rows(self) -> None:
        """Put the rows on record as they stand."""
        await self.broker.sql(
            "SET SESSION AUTHORIZATION byokeep_owner; SELECT byokeep.state_rows(); RESET SESSION AUTHORIZATION"
        )

    async def hashes(self, jwt: str) -> dict[str, str]:
        return {name: await self.broker.store.hash(name, Secret(jwt)) for name in self.broker.store.names}

    async def login(self, client: UUID, *, jwt: str = "", seconds: float = 1, lease: str | None = None,
                    entity: str | None = None, error: bool = False, path: str = LOGIN) -> None:  # fmt: skip
        self.broker.store.write(
            str(uuid4()), self.after(seconds), "update", path, hashes=await self.hashes(jwt or self.jwt),
            entity=self.entity[client] if entity is None else entity, error=error,
            lease=str(self.lease[client]) if lease is None else lease,
        )  # fmt: skip

    def read(self, client: UUID, *, seconds: float = 1.5, lease: str | None = None, by: UUID | None = None,
             provider: str = "openai", operation: str = "read", error: bool = False) -> None:  # fmt: skip
        self.broker.store.write(
            str(uuid4()), self.after(seconds), operation, self.path(client, provider), entity=self.entity[by or client],
            lease=str(self.lease[by or client]) if lease is None else lease, error=error,
        )  # fmt: skip

    def put_entity(self, client: UUID, *, lets_in: bool = False, operation: str = "update", seconds: float = 1) -> None:
        """An entity changed at the store."""
        self.broker.store.write(
            str(uuid4()), self.after(seconds), operation, f"identity/entity/id/{self.entity[client]}", lets_in=lets_in
        )

    async def move_switch(self, client: UUID | None, *, closed: bool, outcome: Outcome = Outcome.OK) -> None:
        """A switch closed or opened now, row and record; ``intended``: only said that it would be opened."""
        scope, whose = (f"client:{client}", f"'{client}'") if client else ("global", "NULL")
        epoch = (
            await self.broker.sql(
                "INSERT INTO byokeep.switch (scope, client_id, closed, epoch, reason, by, installation_id) VALUES"
                f" ('{scope}', {whose}, true, 1, 'test', '{RUNNER}', '{self.broker.app.installation_id}')"
                f" ON CONFLICT (scope) DO UPDATE SET epoch = byokeep.switch.epoch + 1, closed = {closed}"
                " RETURNING epoch"
            )
            if outcome is Outcome.OK
            else "1"
        )
        if closed:  # what was open then is over
            await self.broker.sql("UPDATE byokeep.job SET state = 'killed', closed_at = now() WHERE state = 'open'")
        event = EventName.SWITCH_CLOSED if closed else EventName.SWITCH_OPENED
        await self.broker.record(client, event, outcome=outcome, scope=scope, epoch=int(epoch.split()[0]), reason="x")

    async def honest(self) -> None:
        """A lease, its login and its reads for Alice; a lease and a login for Bob."""
        for client in (self.alice, self.bob):
            await self.give_lease(client, told=(1, 2))
            entity = f"UPDATE byokeep.client SET entity_id = '{self.entity[client]}' WHERE id = '{client}'"
            await self.broker.sql(entity)
            await self.login(client)
        self.read(self.alice)
        self.read(self.alice, seconds=2.5)

    async def run(self) -> Reconciliation:
        return await reconcile(self.broker.app, self.broker.auditor, since=self.since)

    async def reasons(self) -> list[str]:
        return sorted(finding.reason for finding in (await self.run()).findings)


@pytest.fixture
async def scene(postgres: FreshDatabase, tmp_path: Path) -> AsyncIterator[Scene]:
    await postgres.ask(recorded_sql())
    async with audit_broker(postgres, tmp_path / "checkpoints") as broker:
        found = Scene(broker)
        await broker.sql(
            "INSERT INTO byokeep.switch (scope, closed, epoch, reason, by, installation_id) VALUES"
            f" ('global', false, 0, 'installed', '{RUNNER}', '{broker.app.installation_id}')"
        )
        await found.honest()
        yield found


async def test_what_honest_runners_do_is_explained(scene: Scene) -> None:
    """Logins, reads, a refused read, a write of ours and the processes' own calls: clean, and on record as such."""
    store, request = scene.broker.store, str(uuid4())
    await scene.broker.record(
        scene.alice, EventName.KEY_STORED, role="byokeep_web", store_request=request,
        path=f"kv/clients/{scene.alice}/providers/openai",
    )  # fmt: skip
    store.write(request, scene.after(3), "update", scene.path(scene.alice))
    scene.read(scene.bob, by=scene.alice, error=True)
    for operation, path in (
        ("update", "auth/approle/login"), ("read", "transit/keys/leases"),
        ("read", scene.path(scene.alice, part="metadata")),
        ("read", f"identity/entity/id/{scene.entity[scene.bob]}"), ("update", "sys/audit-hash/a"),
        ("read", "sys/ha-status"), ("read", "sys/storage/raft/configuration"),
        ("read", "sys/health"), ("update", "sys/wrapping/wrap"),
    ):  # fmt: skip
        store.write(str(uuid4()), scene.after(4), operation, path)
    for machine, operation, path in (
        ("broker", "update", "transit/sign/leases"), ("killswitch", "read", "kv/data/platform/token-key"),
        ("web", "update", "transit/hmac/fingerprints/sha2-256"), ("web", "read", "kv/data/platform/scan-key"),
        ("broker", "read", "kv/data/platform/machine-key"),
    ):  # fmt: skip
        store.write(str(uuid4()), scene.after(4), operation, path, machine=machine)
    result = await scene.run()
    assert result.findings == ()
    assert (result.state, result.logins, result.requests) == ("clean", 2, 20)
    assert await scene.broker.alerts() == []
    outcome = await scene.broker.sql("SELECT outcome FROM byokeep.audit_record WHERE event = 'audit.reconciled'")
    assert outcome == "ok"


@pytest.mark.parametrize("refused", [None, Denied("store_denied"), Unavailable("store_timeout")])
async def test_what_a_wrapped_answer_left_at_the_store_is_ended(scene: Scene, refused: Exception | None) -> None:
    """The read is a finding and its copy is ended; if the store refuses or is away, that is a finding, too."""
    scene.broker.app = replace(scene.broker.app, cutoff=AsyncMock())
    scene.broker.app.cutoff.end_copies.side_effect = refused
    _wrapped(scene, scene.alice)
    assert await scene.reasons() == ["answer_wrapped", *(["wrapped_copy_kept"] if refused else [])]
    scene.broker.app.cutoff.end_copies.assert_awaited_once_with(scene.path(scene.alice))
    assert await scene.broker.alerts() == await scene.reasons()


def _wrapped(scene: Scene, *clients: UUID, provider: str = "openai") -> list[str]:
    for client in clients:
        place = {"entity": scene.entity[client], "lease": str(scene.lease[client]), "wrapped": True}
        scene.broker.store.write(str(uuid4()), scene.after(2), "read", scene.path(client, provider), **place)
    return [scene.path(client, provider) for client in clients]


async def test_a_copy_that_could_not_be_ended_is_tried_in_each_round_until_it_is(scene: Scene) -> None:
    """Although the log of it was judged, and while no log can be read; then no more."""
    scene.broker.app = replace(scene.broker.app, cutoff=AsyncMock())
    end = scene.broker.app.cutoff.end_copies
    end.side_effect = Unavailable("store_timeout")
    await ran(scene, timedelta(minutes=2))
    [path], rounds = _wrapped(scene, scene.alice), Rounds(scene.broker.app, NoReserve())
    for tries in (1, 2):
        await rounds._reconcile()
        assert [call.args for call in end.await_args_list] == [(path,)] * tries
        scene.broker.clock.ahead += timedelta(seconds=20)
    end.side_effect, scene.broker.store.names = None, []
    for _ in range(2):
        await rounds._reconcile()
        assert end.await_count == 3
        scene.broker.clock.ahead += timedelta(seconds=20)


async def test_copies_are_ended_together_within_one_deadline(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that hangs keeps neither another nor what was found."""
    monkeypatch.setattr(module, "_COPIES_S", 0.05)
    paths, ended = _wrapped(scene, scene.alice, scene.bob), list[str]()
    slow = min(paths)

    async def end(path: str) -> None:
        await asyncio.sleep(3600 * (path == slow))
        ended.append(path)

    scene.broker.app = replace(scene.broker.app, cutoff=AsyncMock(end_copies=end))
    assert await scene.reasons() == ["answer_wrapped", "answer_wrapped", "wrapped_copy_kept"]
    assert ended == [max(paths)]


async def test_a_store_that_may_not_end_copies_is_asked_no_more(scene: Scene) -> None:
    """Set up by an earlier release it refuses each: so many refusals would look like a search for a way in."""
    scene.broker.app = replace(scene.broker.app, cutoff=AsyncMock())
    scene.broker.app.cutoff.end_copies.side_effect = Denied("store_denied")
    for letter in "abcdefghij":
        _wrapped(scene, scene.alice, provider=letter)
    assert (await scene.reasons()).count("wrapped_copy_kept") == 10
    assert scene.broker.app.cutoff.end_copies.await_count <= module._COPIES_AT_ONCE


_BACKUP = (("read", "sys/storage/raft/snapshot"), ("list", "tenant/keys/"),
           ("read", f"tenant/keys/production-{UUID(int=7)}"),
           ("update", f"tenant/encrypt/production-{UUID(int=7)}"))  # fmt: skip


async def _backup_begun(scene: Scene, *, at: float, over: float | None) -> None:
    """On record, at seconds of the scene's time: the clock of the database is moved back by hand."""
    for seconds, outcome in ((at, Outcome.INTENDED), (over, Outcome.OK)):
        if seconds is not None:
            seq = await scene.broker.record(None, EventName.BACKUP_CREATED, outcome=outcome, backup="x")
            await scene.broker.tamper(
                f"UPDATE byokeep.audit_record SET at = '{scene.after(seconds).isoformat()}' WHERE seq = {seq}"
                " AND event = 'backup.created'"
            )


@pytest.mark.parametrize("over", [None, 6.0])
async def test_a_backup_is_explained_while_one_is_being_made(scene: Scene, over: float | None) -> None:
    """A snapshot, the list of KEKs and their markers, of the machine `backup`, between begin and end: clean."""
    await _backup_begun(scene, at=2, over=over)
    for operation, path in _BACKUP:
        scene.broker.store.write(str(uuid4()), scene.after(4), operation, path, machine="backup")
    assert await scene.reasons() == []


@pytest.mark.parametrize(("begun", "machine", "at"), [
    (True, "web", 4), (True, "", 4), (False, "backup", 4), (True, "backup", 0.5), (True, "backup", 8)
])  # fmt: skip
async def test_a_snapshot_that_no_backup_asked_for_is_found(scene: Scene, begun: bool, machine: str, at: float) -> None:
    """By another identity, or without a backup begun, before it or after its end, each request is a finding."""
    if begun:
        await _backup_begun(scene, at=2, over=6)
    for operation, path in _BACKUP:
        scene.broker.store.write(str(uuid4()), scene.after(at), operation, path, machine=machine)
    assert len(await scene.reasons()) == len(_BACKUP)


async def test_one_request_counts_once_however_often_it_is_looked_at(scene: Scene) -> None:
    """Two requests that nothing explains are two, also when a person reconciles the same span again and again."""
    for seconds in (4, 5):
        scene.broker.store.write(str(uuid4()), scene.after(seconds), "list", "kv/metadata/clients")
    for _ in range(3):
        assert await scene.reasons() == ["unlisted_request"] * 2
    assert await scene.broker.sql("SELECT count FROM byokeep.alert WHERE reason = 'unlisted_request'") == "2"


async def _foreign_login(scene: Scene) -> None:
    await scene.login(scene.alice, jwt="header.claims.signature", lease="")


async def _login_of_a_lease_long_gone(scene: Scene) -> None:
    await scene.give_lease(scene.alice, at=scene.at - timedelta(seconds=40))
    await scene.login(scene.alice, seconds=10)


async def _login_under_another_name(scene: Scene) -> None:
    lease = scene.lease[scene.bob]
    await scene.give_lease(scene.alice)
    await scene.login(scene.alice, lease=str(lease))


async def _read_without_header(scene: Scene) -> None:
    scene.read(scene.alice, lease="")


async def _read_in_anothers_name(scene: Scene) -> None:
    scene.read(scene.alice, by=scene.bob, lease=str(scene.lease[scene.alice]))


async def _read_of_anothers_client(scene: Scene) -> None:
    scene.read(scene.bob, by=scene.alice)


async def _read_of_an_undeclared_secret(scene: Scene) -> None:
    scene.read(scene.alice, provider="anthropic")


async def _read_with_a_made_up_lease(scene: Scene) -> None:
    scene.read(scene.alice, lease=str(uuid4()))


async def _read_with_a_header_that_is_no_id(scene: Scene) -> None:
    scene.read(scene.alice, lease="x" * 36)


async def _read_of_a_lease_that_never_logged_in(scene: Scene) -> None:
    await scene.give_lease(scene.alice)
    scene.read(scene.alice)


async def _read_too_late(scene: Scene) -> None:
    scene.read(scene.alice, seconds=9)


async def _read_too_early(scene: Scene) -> None:
    scene.read(scene.alice, seconds=-3)


async def _write_without_record(scene: Scene) -> None:
    scene.broker.store.write(str(uuid4()), scene.after(1), "update", scene.path(scene.alice))


async def _write_recorded_for_another_client(scene: Scene) -> None:
    request = str(uuid4())
    await scene.broker.record(
        scene.alice, EventName.KEY_STORED, role="byokeep_web", store_request=request,
        path=f"kv/clients/{scene.alice}/providers/openai",
    )  # fmt: skip
    scene.broker.store.write(request, scene.after(1), "update", scene.path(scene.bob))


async def _write_under_a_use_lease(scene: Scene) -> None:
    scene.read(scene.alice, operation="update")


async def _set_up_changed(scene: Scene) -> None:
    scene.broker.store.write(str(uuid4()), scene.after(1), "update", "sys/policies/acl/use-openai")


async def _clients_listed(scene: Scene) -> None:
    scene.broker.store.write(str(uuid4()), scene.after(1), "list", "kv/metadata/clients")


async def _unknown_path(scene: Scene) -> None:
    scene.broker.store.write(str(uuid4()), scene.after(1), "read", "cubbyhole/x")


async def _fewer_versions_kept(scene: Scene) -> None:
    place = f"kv/metadata/clients/{uuid4()}/providers/openai"
    scene.broker.store.write(str(uuid4()), scene.after(1), "update", place)


async def _let_in(scene: Scene) -> None:
    scene.put_entity(scene.alice, lets_in=True)


async def _put_out(scene: Scene) -> None:
    scene.put_entity(scene.alice, lets_in=False)


async def _stranger_let_in(scene: Scene) -> None:
    scene.entity[scene.alice] = str(uuid4())
    scene.put_entity(scene.alice, lets_in=True)


async def _entity_deleted(scene: Scene) -> None:
    scene.put_entity(scene.alice, operation="delete")


async def _login_by_the_other_door(scene: Scene) -> None:
    await scene.login(scene.alice, jwt="header.claims.signature", lease="", path="auth/lease/login")


async def _more_logins_than_told(scene: Scene) -> None:
    """The claims stand in the row: whoever signs them again logs in as the runner did."""
    await scene.give_lease(scene.alice, told=(1, 1))
    for _ in range(2):
        await scene.login(scene.alice, seconds=2)


async def _more_reads_than_told(scene: Scene) -> None:
    scene.read(scene.alice, seconds=2)


async def _use_that_nobody_told_of(scene: Scene) -> None:
    await scene.give_lease(scene.alice, told=None)
    await scene.login(scene.alice)


async def _more_logins_in_custody(scene: Scene) -> None:
    await scene.give_lease(scene.alice, kind="custody", told=(1, 0))
    for _ in range(2):
        await scene.login(scene.alice)
        scene.read(scene.alice)


async def _only_on_one_device(scene: Scene) -> None:
    scene.broker.store.write(str(uuid4()), scene.after(1), "read", "sys/health", only=("a",))


async def _devices_tell_two_stories(scene: Scene) -> None:
    log = scene.broker.store.logs["b"]
    log[-1] = replace(log[-1], lease_header=str(uuid4()))


async def _a_line_torn(scene: Scene) -> None:
    log = scene.broker.store.logs["b"]
    log.append(replace(log[-1], kind="torn", request_id="", path="", status_error=True))


async def _a_request_without_response(scene: Scene) -> None:
    scene.read(scene.alice, lease="")
    for log in scene.broker.store.logs.values():
        log.pop()


CASES: list[tuple[Callable[[Scene], Awaitable[None]], str, str]] = [
    (_foreign_login, "login_unexplained", "critical"),
    (_login_by_the_other_door, "login_unexplained", "critical"),
    (_login_of_a_lease_long_gone, "login_unexplained", "critical"),
    (_login_under_another_name, "lease_header_forged", "critical"),
    (_read_without_header, "read_without_lease", "critical"),
    (_read_in_anothers_name, "lease_header_forged", "critical"),
    (_read_of_anothers_client, "lease_header_forged", "critical"),
    (_read_of_an_undeclared_secret, "lease_header_forged", "critical"),
    (_read_with_a_made_up_lease, "lease_header_forged", "critical"),
    (_read_with_a_header_that_is_no_id, "lease_header_forged", "critical"),
    (_read_of_a_lease_that_never_logged_in, "lease_header_forged", "critical"),
    (_read_too_late, "use_outside_lease", "critical"),
    (_read_too_early, "use_outside_lease", "critical"),
    (_write_without_record, "write_unexplained", "critical"),
    (_write_recorded_for_another_client, "write_unexplained", "critical"),
    (_write_under_a_use_lease, "write_under_use_lease", "critical"),
    (_set_up_changed, "store_setup_changed", "critical"),
    (_clients_listed, "unlisted_request", "critical"),
    (_unknown_path, "unlisted_request", "critical"),
    (_fewer_versions_kept, "write_unexplained", "critical"),
    (_more_logins_than_told, "lease_use_surplus", "critical"),
    (_more_reads_than_told, "lease_use_surplus", "critical"),
    (_use_that_nobody_told_of, "lease_use_untold", "warning"),
    (_more_logins_in_custody, "lease_use_surplus", "critical"),
    (_let_in, "cut_off_undone", "critical"),
    (_put_out, "cut_off_unexplained", "critical"),
    (_stranger_let_in, "cut_off_undone", "critical"),
    (_entity_deleted, "cut_off_undone", "critical"),
    (_only_on_one_device, "device_gap", "warning"),
    (_devices_tell_two_stories, "devices_disagree", "critical"),
    (_a_line_torn, "device_torn", "warning"),
    (_a_request_without_response, "read_without_lease", "critical"),
]


@pytest.mark.parametrize(("act", "reason", "severity"), CASES, ids=[act.__name__[1:] for act, _, _ in CASES])
async def test_what_nothing_explains_is_found(
    scene: Scene, act: Callable[[Scene], Awaitable[None]], reason: str, severity: str
) -> None:
    """Beside honest traffic one act: exactly one finding, one open alert (also after a second run), a failed record."""
    await act(scene)
    result = await scene.run()
    assert [(finding.reason, finding.severity) for finding in result.findings] == [(reason, severity)]
    assert result.state == "findings"
    assert await scene.reasons() == [reason]
    assert await scene.broker.alerts() == [reason]
    outcomes = await scene.broker.sql("SELECT outcome FROM byokeep.audit_record WHERE event = 'audit.reconciled'")
    assert outcomes.split() == ["failed", "failed"]


@pytest.mark.req("R8.2-4")
async def test_a_gap_of_one_device_and_a_disagreement_are_told_apart(scene: Scene) -> None:
    """What one device lacks is counted against it; two stories of one request are tamper suspicion, critical."""
    for _ in range(3):
        await _only_on_one_device(scene)
    await _devices_tell_two_stories(scene)
    findings = {finding.reason: finding for finding in (await scene.run()).findings}
    gap, suspicion = findings["device_gap"], findings["devices_disagree"]
    assert (gap.device, gap.count, gap.severity) == ("b", 3, "warning")
    assert (suspicion.severity, bool(suspicion.request_id)) == ("critical", True)


async def test_a_custody_lease_explains_writes_and_reads(scene: Scene) -> None:
    """Under a custody lease its own client's secret may be written, read and destroyed, in time only."""
    await scene.give_lease(scene.alice, kind="custody")
    await scene.login(scene.alice)
    scene.read(scene.alice, operation="update")
    scene.read(scene.alice)
    scene.broker.store.write(
        str(uuid4()), scene.after(2), "update", scene.path(scene.alice, part="destroy"),
        entity=scene.entity[scene.alice], lease=str(scene.lease[scene.alice]),
    )  # fmt: skip
    assert await scene.reasons() == []
    scene.read(scene.alice, operation="update", seconds=8)
    assert await scene.reasons() == ["use_outside_lease"]


async def test_a_change_of_set_up_is_explained_by_its_record(scene: Scene) -> None:
    """A policy written near a change of configuration is ours, if a process that sets the store up says so."""
    await _set_up_changed(scene)
    await scene.broker.record(None, EventName.CONFIG_CHANGED)  # the broker's own
    await scene.broker.record(None, EventName.AUDIT_READ, role="byokeep_web")
    assert await scene.reasons() == ["store_setup_changed"]
    await scene.broker.record(None, EventName.CONFIG_CHANGED, role="byokeep_web")
    assert await scene.reasons() == []


async def test_a_lease_that_nobody_recorded_explains_nothing(scene: Scene) -> None:
    """A row written past us, and one whose token would live for minutes, explain no login; the rest is judged."""
    await scene.give_lease(scene.bob, recorded=False)
    await scene.login(scene.bob, seconds=3)
    assert await scene.reasons() == ["login_unexplained"]
    lease = await scene.give_lease(scene.bob)
    await scene.login(scene.bob, seconds=4)
    assert await scene.reasons() == ["login_unexplained"]
    await scene.broker.sql(f"UPDATE byokeep.lease SET jwt_exp = jwt_iat + 600 WHERE id = '{lease}'")
    assert await scene.reasons() == ["login_unexplained"] * 2


async def test_a_switch_moved_past_its_record_is_found(scene: Scene) -> None:
    """A switch closed on record is no finding; the same row opened by hand is."""
    scope = f"client:{scene.alice}"
    await scene.broker.sql(
        "INSERT INTO byokeep.switch (scope, client_id, closed, epoch, reason, by, installation_id) VALUES"
        f" ('{scope}', '{scene.alice}', true, 1, 'test', '{RUNNER}', '{scene.broker.app.installation_id}')"
    )
    await scene.broker.record(scene.alice, EventName.SWITCH_CLOSED, scope=scope, epoch=1, reason="test")
    await scene.broker.sql("UPDATE byokeep.job SET state = 'killed', closed_at = now()")
    assert await scene.reasons() == []
    await scene.broker.sql("UPDATE byokeep.switch SET closed = false, epoch = 2 WHERE client_id IS NOT NULL")
    found = (await scene.run()).findings
    assert [(one.reason, one.severity, one.client_id) for one in found] == [
        ("switch_unrecorded", "critical", scene.alice)
    ]
    engaged = f"SELECT closed, epoch, reason FROM byokeep.switch WHERE scope = '{scope}'"
    assert await scene.broker.sql(engaged) == "t|3|row_unrecorded"
    assert await scene.reasons() == []  # it stands as its record says again
    await scene.broker.sql(f"DELETE FROM byokeep.switch WHERE scope = '{scope}'")
    assert await scene.reasons() == ["switch_unrecorded"]
    assert await scene.broker.sql(engaged) == "t|1|row_unrecorded"


async def test_a_kill_row_waits_for_its_record_before_it_is_a_finding(scene: Scene) -> None:
    """A switch engaged a moment ago may still wait for its record; one that has none by then is told, and stays."""
    scope = f"client:{scene.alice}"
    await scene.broker.sql(
        "INSERT INTO byokeep.switch (scope, client_id, closed, epoch, reason, by, installation_id) VALUES"
        f" ('{scope}', '{scene.alice}', true, 1, 'test', '{RUNNER}', '{scene.broker.app.installation_id}')"
    )
    assert await scene.reasons() == []
    await scene.broker.sql("UPDATE byokeep.switch SET at = now() - interval '1 minute'")
    assert await scene.reasons() == ["switch_unrecorded"]
    assert await scene.broker.sql(f"SELECT closed, epoch FROM byokeep.switch WHERE scope = '{scope}'") == "t|1"


MOVED = (
    ("key_unrecorded", "UPDATE byokeep.credential_ref SET verification = 'pending', expires_at = NULL"),
    ("key_unrecorded", "UPDATE byokeep.credential_ref SET version = 2"),
    (
        "key_unrecorded",
        "ALTER TABLE byokeep.credential_ref DROP CONSTRAINT credential_ref_secret_ref_ck;"
        " UPDATE byokeep.credential_ref SET secret_ref = 'vault://kv/clients/other/providers/openai'",
    ),
    ("account_unrecorded", "UPDATE byokeep.platform_account SET lanes = '{api,browser}'"),
    ("account_unrecorded", "UPDATE byokeep.platform_account SET identity = 'match', identified_at = now()"),
    ("account_unrecorded", "UPDATE byokeep.account_grant SET external_id = 'other'"),
    ("account_unrecorded", "UPDATE byokeep.account_grant SET verified_at = now()"),
    ("job_unrecorded", "UPDATE byokeep.job SET effects = '{publish}', platforms = '{x}' WHERE kind = 'use'"),
    ("job_unrecorded", "UPDATE byokeep.job SET runner_id = '00000000-0000-4000-8000-000000000001'"),
    ("client_unrecorded", "UPDATE byokeep.client SET entity_id = 'other'"),
)


@pytest.mark.parametrize(("reason", "statement"), MOVED)
async def test_a_row_that_its_owner_changed_closes_the_gate_of_its_client(
    scene: Scene, reason: str, statement: str
) -> None:
    """What is changed past the services is found and told with its row, and engages the client's kill switch once."""
    client = uuid4()
    await scene.broker.sql(
        client_sql(client) + f"UPDATE byokeep.client SET state = 'active', entity_id = 'own' WHERE id = '{client}';"
        f"DELETE FROM byokeep.subject_client WHERE client_id = '{client}';"  # the person's record names no client
        f"DELETE FROM byokeep.contact_address WHERE client_id = '{client}';"
        "DELETE FROM byokeep.subject WHERE roles = '{contact}';"  # and the contact person has none
        "DELETE FROM byokeep.alert"  # no record speaks of it
    )
    await scene.state_rows()
    assert await scene.reasons() == []
    before = await scene.broker.sql("SELECT count(*) FROM byokeep.job WHERE state = 'open'")
    await scene.broker.sql(f"{statement.partition(' WHERE ')[0]} WHERE {_of(statement, client)}")
    assert int(before) > 0
    found = (await scene.run()).findings
    assert [(one.reason, one.severity, one.client_id) for one in found] == [(reason, "critical", client)]
    said = await scene.broker.sql(f"SELECT object_id, severity FROM byokeep.alert WHERE reason = '{reason}'")
    assert said == f"{found[0].object_id}|critical"
    engaged = f"SELECT closed, epoch, reason FROM byokeep.switch WHERE scope = 'client:{client}'"
    assert await scene.broker.sql(engaged) == "t|1|row_unrecorded"
    assert scene.entities.put_out == ["other" if reason == "client_unrecorded" else "own"]
    on_record = "SELECT actor_id FROM byokeep.audit_record WHERE event = 'switch.closed'"
    assert await scene.broker.sql(f"{on_record} AND chain = '{client}'") == str(scene.broker.app.installation_id)
    await scene.run()
    assert await scene.broker.sql(engaged) == "t|1|row_unrecorded"  # told again, engaged once
    others = "SELECT count(*) FROM byokeep.switch WHERE closed"
    assert await scene.broker.sql(others) == "1"


def _of(statement: str, client: UUID) -> str:
    column = "id" if "byokeep.client SET" in statement else "client_id"
    return f"{column} = '{client}'" + (" AND kind = 'use'" if "WHERE kind" in statement else "")


ENDED = (
    (
        "job.closed",
        "UPDATE byokeep.job SET state = 'closed', closed_at = now()",
        "SET state = 'open', closed_at = NULL",
    ),
    ("job.sealing", "UPDATE byokeep.job SET sealing_at = now()", "SET sealing_at = NULL"),
)


@pytest.mark.parametrize(("event", "ended", "back"), ENDED)
async def test_a_job_that_its_owner_opened_again_closes_the_gate(
    scene: Scene, event: str, ended: str, back: str
) -> None:
    """A job that ended, or seals, on record and is open again in its row is a finding."""
    where = f"WHERE client_id = '{scene.alice}'"
    await scene.broker.sql(f"{ended} {where}")
    job = UUID(await scene.broker.sql(f"SELECT id FROM byokeep.job {where}"))
    await scene.broker.record(scene.alice, EventName(event), object_id=job, kind="use", runner=str(RUNNER))
    assert await scene.reasons() == []
    await scene.broker.sql(f"UPDATE byokeep.job {back} {where}")
    assert await scene.reasons() == ["job_unrecorded"]


async def test_a_job_of_before_a_kill_is_none_that_is_open(scene: Scene) -> None:
    """A job that a kill ended and its owner opened again is found, also once the switch is released."""
    await switches.engage(scene.broker.app, scene.broker.app.system(), scope_from_name("global"), "drill")
    assert await scene.reasons() == []
    where = f"WHERE client_id = '{scene.alice}'"
    await scene.broker.sql(f"UPDATE byokeep.job SET state = 'open', closed_at = NULL {where}")
    assert await scene.reasons() == ["job_unrecorded"]


async def test_the_gate_closes_over_a_row_while_the_store_says_nothing(scene: Scene) -> None:
    """With every device unreadable the row is found and the switch engaged all the same."""
    scene.broker.store.down = True
    await scene.broker.sql(f"UPDATE byokeep.job SET platforms = '{{x}}' WHERE client_id = '{scene.alice}'")
    assert "job_unrecorded" in await scene.reasons()
    assert await scene.broker.sql("SELECT scope, reason FROM byokeep.switch WHERE closed") == (
        f"client:{scene.alice}|row_unrecorded"
    )


async def test_a_login_before_the_span_explains_a_read_within_it(scene: Scene) -> None:
    """Spans that follow each other leave no read unexplained at the seam, and judge none twice."""
    scene.since = scene.after(1.2)
    result = await scene.run()
    assert (result.state, result.logins, result.requests) == ("clean", 0, 2)


async def test_the_newest_requests_wait_for_their_records(scene: Scene) -> None:
    """A write of a moment ago is not judged before its record had time to be committed."""
    scene.broker.store.write(str(uuid4()), scene.broker.clock.now() - timedelta(seconds=3), "update",
                             scene.path(scene.alice))  # fmt: skip
    assert await scene.reasons() == []
    scene.broker.clock.ahead = timedelta(seconds=15)
    assert await scene.reasons() == ["write_unexplained"]


@pytest.mark.parametrize("fault", ["one device", "all devices", "no device", "nothing recorded", "store down"])
async def test_what_could_not_be_read_is_unknown_never_clean(scene: Scene, fault: str) -> None:
    """One unreadable device, all of them, none declared, an empty log: unknown, with an alert and a failed record."""
    store = scene.broker.store
    if fault in ("one device", "all devices"):
        store.unreadable = {"a"} if fault == "one device" else {"a", "b"}
    elif fault == "no device":
        store.names = ()
    elif fault == "nothing recorded":
        store.logs.clear()
    else:
        store.down = True
    await _read_without_header(scene)
    if fault == "nothing recorded":
        store.logs.clear()
    result = await scene.run()
    assert result.state == "unknown"
    assert "store_audit_unread" in await scene.broker.alerts()
    assert [finding.reason for finding in result.findings] == (["read_without_lease"] if fault == "one device" else [])


async def test_the_nodes_of_a_cluster_are_judged_together(scene: Scene) -> None:
    """What a second node alone answered is explained or found; while its files cannot be read nothing is clean."""
    store = scene.broker.store
    store.logs = {
        f"n1/{device}": [replace(entry, device=f"n1/{device}") for entry in log] for device, log in store.logs.items()
    }
    store.names = ("n1/a", "n1/b", "n2/a", "n2/b")
    both = ("n2/a", "n2/b")
    store.write(str(uuid4()), scene.after(1), "read", "sys/health", only=both)
    assert await scene.reasons() == []
    store.write(str(uuid4()), scene.after(1), "read", scene.path(scene.alice), only=both)
    assert await scene.reasons() == ["read_without_lease"]
    store.write(str(uuid4()), scene.after(1), "read", "sys/health", only=("n2/a",))
    assert await scene.reasons() == ["device_gap", "read_without_lease"]
    store.unreadable = set(both)
    result = await scene.run()
    assert (result.state, result.unread, result.findings) == ("unknown", both, ())


async def test_findings_of_a_made_up_client_make_no_chain(scene: Scene) -> None:
    """An intruder's path names a client that does not exist: the alert names it, the audit log gains no chain."""
    stranger = uuid4()
    scene.broker.store.write(str(uuid4()), scene.after(1), "update", scene.path(stranger))
    assert await scene.reasons() == ["write_unexplained"]
    assert await scene.broker.sql(f"SELECT count(*) FROM byokeep.audit_head WHERE chain = '{stranger}'") == "0"
    assert await scene.broker.sql(f"SELECT count(*) FROM byokeep.alert WHERE client_id = '{stranger}'") == "1"


async def test_only_an_auditor_or_the_broker_itself_may_reconcile(scene: Scene) -> None:
    """Other roles are denied before anything is read."""
    for role in (Role.OPERATOR, Role.ADMIN, Role.RUNNER):
        actor = Actor(id=uuid4(), roles=frozenset({role}), clients=None, request_id=uuid4())
        with pytest.raises(Denied, match="not_permitted"):
            await reconcile(scene.broker.app, actor, since=scene.since)


class NoReserve:
    """No reserve to hold."""

    def hold(self) -> bool:
        return True


async def a_round(scene: Scene) -> None:
    """One round of a broker that has just started."""
    await Rounds(scene.broker.app, NoReserve())._reconcile()


async def reconciled_until(scene: Scene) -> datetime:
    return (await _on_record(scene.broker.app))[0]


async def ran(scene: Scene, ago: timedelta, since: datetime | None = None) -> datetime:
    """As if a broker had made its last complete run then."""
    until = scene.broker.clock.now() - ago
    begin = since or until - timedelta(minutes=1)
    await scene.broker.record(
        None, EventName.AUDIT_RECONCILED, reason="clean", since=begin.isoformat(), until=until.isoformat()
    )
    return until


async def test_what_happened_while_the_broker_was_down_is_found(scene: Scene) -> None:
    """Forged logins of days in which no broker ran are found at its start, which goes on where the last run ended."""
    ended = await ran(scene, timedelta(days=3))
    scene.broker.store.logs.clear()
    scene.at = ended - timedelta(seconds=60)
    await _foreign_login(scene)  # was judged by the run before
    for number in range(20):
        scene.at = ended + timedelta(hours=3 * number, seconds=1)
        await _foreign_login(scene)
    scene.at = scene.broker.clock.now() - timedelta(minutes=1)
    scene.read(scene.alice, lease="")
    await a_round(scene)
    assert await scene.broker.alerts() == ["login_unexplained", "read_without_lease"]
    count = "SELECT count FROM byokeep.alert WHERE reason = 'login_unexplained'"
    assert await scene.broker.sql(count) == "20"
    assert scene.broker.clock.now() - await reconciled_until(scene) < timedelta(minutes=1)
    assert await scene.broker.sql(count) == "20"


async def test_the_first_round_ever_begins_with_the_installation(scene: Scene) -> None:
    """Before any run is on record nothing since the installation is left out, and nothing before it is asked for."""
    await scene.broker.sql("UPDATE byokeep.installation SET created_at = now() - interval '2 hours'")
    for hours in (1, 3):
        scene.at = scene.broker.clock.now() - timedelta(hours=hours)
        await _foreign_login(scene)
    await a_round(scene)
    assert await scene.broker.alerts() == ["login_unexplained"]
    assert await scene.broker.sql("SELECT count FROM byokeep.alert") == "1"


@pytest.mark.parametrize("writer", ["byokeep_web", "byokeep_worker", "byokeep_auditor"])
async def test_no_other_role_says_how_far_the_log_was_explained(scene: Scene, writer: str) -> None:
    """The database takes that record from the broker alone; one that lies ahead of itself, or of a person, is none."""
    until = await ran(scene, timedelta(minutes=2))
    said = {"reason": "clean", "until": scene.broker.clock.now().isoformat()}
    with pytest.raises(ByokeepError):
        await scene.broker.record(None, EventName.AUDIT_RECONCILED, role=writer, **said)
    await ran(scene, timedelta(days=-1))
    event = Event(name=EventName.AUDIT_RECONCILED, actor=scene.broker.auditor, outcome=Outcome.OK, fields=said)
    async with scene.broker.app.db.begin(every_client=True) as tx:
        await tx.append(event)
    assert await reconciled_until(scene) == until


async def test_a_false_record_of_the_brokers_role_hides_nothing_while_it_runs(scene: Scene) -> None:
    """The rounds go on where they were; that somebody wrote such a record is an alert."""
    await ran(scene, timedelta(minutes=10))
    rounds = Rounds(scene.broker.app, NoReserve())
    scene.broker.clock.ahead = timedelta(seconds=-30)
    await rounds._reconcile()
    scene.at = scene.broker.clock.now() - timedelta(seconds=5)
    await _foreign_login(scene)
    scene.broker.clock.ahead = timedelta()
    await ran(scene, timedelta(seconds=11))
    await rounds._reconcile()
    assert await scene.broker.alerts() == ["login_unexplained", "reconciled_by_another"]


async def test_what_the_store_did_since_a_clock_was_set_right_is_judged_at_once(scene: Scene) -> None:
    """The rounds of three hours ahead end later than now: the next one goes on from before them, past what they dated
    into the future, which still tells what is break glass. So does a start, now and later, and no alert says that
    somebody else wrote a record."""
    until = await ran(scene, timedelta(minutes=10))
    rounds, clock = Rounds(scene.broker.app, NoReserve()), scene.broker.clock
    clock.ahead = timedelta(hours=3)
    scene.at = clock.now() - timedelta(minutes=1)
    scene.read(scene.alice, lease="")
    grant, glass = uuid4(), EventName.GLASS_ISSUED
    given = {"scope": "openai", "life_s": 900, "jwt_iat": 1, "jwt_exp": 4}
    await scene.broker.record(scene.alice, glass, outcome=Outcome.INTENDED, object_id=grant, **given)
    await scene.broker.record(scene.alice, glass, object_id=grant, accessor="s.grant")
    await rounds._reconcile()
    await scene.broker.tamper(
        "UPDATE byokeep.audit_record SET at = at + interval '3 hours' WHERE event = 'breakglass.issued'"
        " OR seq = (SELECT max(seq) FROM byokeep.audit_record WHERE event = 'audit.reconciled')"
    )
    assert await reconciled_until(scene) > clock.now() - timedelta(minutes=1)
    clock.ahead = timedelta(0)
    scene.at = clock.now() - timedelta(seconds=20)
    scene.read(scene.bob, lease="")
    scene.read(scene.alice, lease="")
    for log in scene.broker.store.logs.values():  # under the grant, which lives on
        shown = await scene.broker.store.hash(log[-1].device, Secret("grant"))
        log[-2:] = [replace(entry, accessor_hash=shown) for entry in log[-2:]]
    assert await reconciled_until(scene) == until
    await rounds._reconcile()
    whose = "SELECT string_agg(client_id || ' ' || count, ',') FROM byokeep.alert WHERE reason = 'read_without_lease'"
    assert sorted((await scene.broker.sql(whose)).split(",")) == sorted([f"{scene.alice} 1", f"{scene.bob} 1"])
    ended = await reconciled_until(scene)
    assert timedelta() < clock.now() - ended < timedelta(minutes=1)
    clock.ahead = timedelta(hours=4)
    assert await reconciled_until(scene) == ended
    await a_round(scene)
    assert set(await scene.broker.alerts()) == {"read_without_lease"}


async def test_a_failed_round_forgets_nothing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """After it the next goes on where this process was, not where a record says that goes on seamlessly; however long
    rounds fail. What the process itself put on record without hearing of it is its own."""
    await ran(scene, timedelta(minutes=10))
    rounds = Rounds(scene.broker.app, NoReserve())
    scene.broker.clock.ahead = timedelta(seconds=-30)
    await rounds._reconcile()
    scene.at = scene.broker.clock.now() - timedelta(seconds=5)
    await _foreign_login(scene)
    scene.broker.clock.ahead = timedelta()
    with monkeypatch.context() as broken:
        broken.setattr(module, "merge", Mock(side_effect=Unavailable("database_busy")))
        for _ in range(2):
            with pytest.raises(ByokeepError):
                await rounds._reconcile()
    await ran(scene, timedelta(seconds=11), since=await reconciled_until(scene))
    await rounds._reconcile()
    assert await scene.broker.alerts() == ["login_unexplained", "reconciled_by_another"]


async def test_a_record_whose_commit_was_not_heard_of_is_ones_own(scene: Scene) -> None:
    """The answer to the commit is lost: no alert, and the next run goes on behind it."""
    await ran(scene, timedelta(minutes=10))
    rounds = Rounds(scene.broker.app, NoReserve())
    scene.broker.clock.ahead = timedelta(seconds=-30)
    begin = PostgresDatabase.begin

    @contextlib.asynccontextmanager
    async def lost(db: PostgresDatabase, **scope: Any) -> AsyncIterator[Any]:
        async with begin(db, **scope) as tx:
            append = AsyncMock(wraps=tx.append)
            tx.append = append  # type: ignore[method-assign]
            yield tx
        if any(call.args[0].name is EventName.AUDIT_RECONCILED for call in append.call_args_list):
            raise Unavailable("commit_outcome_unknown")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PostgresDatabase, "begin", lost)
        with pytest.raises(Unavailable):
            await rounds._reconcile()
    until = await reconciled_until(scene)
    scene.broker.clock.ahead = timedelta()
    await rounds._reconcile()
    since = "SELECT convert_from(payload, 'UTF8')::jsonb #>> '{fields,since}' FROM byokeep.audit_record"
    last = await scene.broker.sql(f"{since} WHERE event = 'audit.reconciled' ORDER BY seq DESC LIMIT 1")
    assert datetime.fromisoformat(last) == until
    assert await scene.broker.alerts() == []


@pytest.mark.parametrize("seam_s", [-60, 60])
async def test_a_start_goes_on_at_the_last_end_without_a_seam(scene: Scene, seam_s: int) -> None:
    """A record that begins before or behind the end of the last one was not written by rounds: an alert, and what it
    claims to have looked at is looked at. Told once; the rounds that go on from there are believed again."""
    until = await ran(scene, timedelta(minutes=10))
    await ran(scene, timedelta(seconds=11), since=until + timedelta(seconds=seam_s))
    assert await reconciled_until(scene) == until
    scene.at = scene.broker.clock.now() - timedelta(minutes=5)
    await _foreign_login(scene)
    await a_round(scene)
    assert await scene.broker.alerts() == ["login_unexplained", "reconciled_by_another"]
    assert scene.broker.clock.now() - await reconciled_until(scene) < timedelta(minutes=1)
    await scene.broker.sql("UPDATE byokeep.alert SET closed_at = now()")
    scene.broker.clock.ahead = timedelta(seconds=30)
    await a_round(scene)
    assert "reconciled_by_another" not in await scene.broker.alerts()


async def test_a_record_that_names_no_time_stops_no_round(scene: Scene) -> None:
    """Such a record is somebody's; the rounds go on."""
    until = await ran(scene, timedelta(minutes=10))
    await scene.broker.record(None, EventName.AUDIT_RECONCILED, reason="clean", since="x", until="9999-99-99")
    assert await reconciled_until(scene) == until
    await a_round(scene)
    assert await scene.broker.alerts() == ["reconciled_by_another"]


async def test_nobody_keeps_the_rounds_from_the_platform_s_chain(scene: Scene) -> None:
    """A session that appended and does not commit is ended: the alert is raised, the run is on record, which opens
    leases and permits again, and people are told that somebody was in the way."""
    await ran(scene, timedelta(minutes=10))
    chain_state = scene.broker.app.platform_chain
    chain_state.proved_at = float("-inf")
    rounds, said = Rounds(scene.broker.app, NoReserve()), canonical_json(
        {"v": 1, "event": "access.decided", "outcome": "denied", "actor": str(RUNNER), "roles": ["auditor"],
         "client": None, "object": None, "request": str(RUNNER), "fields": {}}
    )  # fmt: skip
    for act, after in (
        (rounds._reconcile, "audit.reconciled"),
        (partial(scene.raise_one, "held"), "alert.raised"),
        (partial(state_over, scene.broker.app, "state/x"), "alert.closed"),
    ):
        if after == "alert.closed":
            await scene.raise_one("state/x")
        count = f"SELECT count(*) FROM byokeep.audit_record WHERE event = '{after}'"
        before = int(await scene.broker.sql(count))
        conninfo = scene.broker.database.url("byokeep_web").replace("postgresql+psycopg", "postgresql")
        async with await psycopg.AsyncConnection.connect(conninfo, autocommit=True) as held:
            await held.execute("SET idle_in_transaction_session_timeout = 0")
            await held.execute("BEGIN")
            chain = scene.broker.app.installation_id
            await held.execute("SELECT byokeep.audit_append(%s, 'access.decided', %s, NULL, %s, 'denied', %s)",
                               (chain, RUNNER, RUNNER, said))  # fmt: skip
            await act()
            with pytest.raises(psycopg.OperationalError):
                await held.execute("SELECT 1")
        assert int(await scene.broker.sql(count)) > before, after
        assert "audit_chain_held" in await scene.broker.alerts()
        chain_state.require(scene.broker.app.clock.monotonic())


async def test_a_long_span_is_worked_through_in_parts(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """No part holds more than its bound and the seam; each is on record; nothing is left out or told twice, and no
    device is asked twice about one grant."""
    monkeypatch.setattr(module, "MAX_ENTRIES", 40)
    held: list[int] = []

    def merge(entries: list[StoreEntry]) -> Any:
        held.append(len(entries))
        return explain.merge(entries)

    monkeypatch.setattr(module, "merge", merge)
    ended = await ran(scene, timedelta(hours=6))
    scene.broker.store.logs.clear()
    grant, given = uuid4(), {"scope": "openai", "life_s": 900, "jwt_iat": 1, "jwt_exp": 4}
    await scene.broker.record(
        scene.alice, EventName.GLASS_ISSUED, outcome=Outcome.INTENDED, object_id=grant, **given
    )  # fmt: skip
    await scene.broker.record(scene.alice, EventName.GLASS_ISSUED, object_id=grant, accessor="s.grant")
    asked = AsyncMock(wraps=scene.broker.store.hash)
    monkeypatch.setattr(scene.broker.store, "hash", asked)
    for number in range(200):
        scene.at = ended + timedelta(minutes=number + 1)
        scene.read(scene.alice, lease="")
    await a_round(scene)
    assert await scene.broker.sql("SELECT count FROM byokeep.alert WHERE reason = 'read_without_lease'") == "200"
    shown = [call.args[0] for call in asked.await_args_list if call.args[1].reveal() == b"grant"]
    assert sorted(shown) == sorted(scene.broker.store.names)
    assert len(held) >= 200 * 2 // 40
    assert max(held) <= 2 * 40 + 8
    parts = "SELECT count(*) FROM byokeep.audit_record WHERE event = 'audit.reconciled' AND outcome = 'failed'"
    assert int(await scene.broker.sql(parts)) == len(held)
    assert await reconciled_until(scene) > ended + timedelta(hours=5)


async def test_whoever_asks_about_a_time_before_the_log_is_told_that_it_was_not_read(scene: Scene) -> None:
    """Not that it is clean. Where the installation is no older than the log, nothing is missing."""
    await scene.broker.sql("UPDATE byokeep.installation SET created_at = now() - interval '2 hours'")
    assert (await scene.run()).state == "clean"
    scene.broker.store.since = scene.broker.clock.now()
    found = await reconcile(scene.broker.app, scene.broker.auditor, since=scene.since - timedelta(hours=1))
    assert (found.state, found.unread, await scene.broker.alerts()) == ("unknown", ("a", "b"), [])
    await scene.broker.sql("UPDATE byokeep.installation SET created_at = now()")
    assert (await scene.run()).state == "clean"


async def test_what_no_device_shows_is_not_passed_over(scene: Scene) -> None:
    """While no log can be read the next run begins where this one did; with one of two it goes on."""
    until, store = await ran(scene, timedelta(hours=1)), scene.broker.store
    await _foreign_login(scene)
    store.unreadable = {"a", "b"}
    await a_round(scene)
    assert await reconciled_until(scene) == until
    store.unreadable = {"a"}
    await a_round(scene)
    assert await reconciled_until(scene) > until
    assert await scene.broker.alerts() == ["login_unexplained", "reconcile_unknown", "store_audit_unread"]
    until = await ran(scene, timedelta(minutes=4), since=until)
    await a_round(scene)
    assert await reconciled_until(scene) == until


@pytest.mark.parametrize("scope", ["client", "global"])
async def test_switches_on_record_explain_what_becomes_of_entities(scene: Scene, scope: str) -> None:
    """Put out by a kill and again while it holds, let in by its opening; the same moves outside of these are found."""
    whose = scene.alice if scope == "client" else None
    await scene.move_switch(whose, closed=True)
    scene.put_entity(scene.alice, seconds=0)  # a minute before: somebody tried again, for it is closed
    assert await scene.reasons() == []
    scene.at = scene.broker.clock.now() - timedelta(seconds=15)
    scene.put_entity(scene.alice)
    scene.put_entity(scene.alice, lets_in=True)
    assert await scene.reasons() == ["cut_off_undone"]
    await scene.move_switch(whose, closed=False)
    assert await scene.reasons() == []
    scene.put_entity(scene.alice, lets_in=True, seconds=-60)
    assert await scene.reasons() == ["cut_off_undone"]


async def test_an_opening_that_failed_explains_its_two_moves(scene: Scene) -> None:
    """Let in and put out again by an approval that came to nothing; another client's switch explains neither."""
    scene.at = scene.broker.clock.now() - timedelta(seconds=15)
    await scene.move_switch(scene.alice, closed=False, outcome=Outcome.INTENDED)
    scene.put_entity(scene.bob, lets_in=True)
    assert await scene.reasons() == ["cut_off_undone"]
    await scene.move_switch(scene.bob, closed=True)
    await scene.move_switch(scene.bob, closed=False, outcome=Outcome.INTENDED)
    scene.put_entity(scene.bob)
    assert await scene.reasons() == []


async def test_refused_logins_are_a_counted_warning_of_their_own(scene: Scene) -> None:
    """They did nothing, so they hide no alarm: the next login that nothing explains opens one of its own."""
    for _ in range(3):
        await scene.login(scene.alice, jwt="a.b.c", lease="", entity="", error=True)
    assert await scene.reasons() == []
    count = "SELECT reason, severity, count FROM byokeep.alert ORDER BY reason"
    assert await scene.broker.sql(count) == "store_logins_refused|warning|3"
    await _foreign_login(scene)
    assert await scene.reasons() == ["login_unexplained"]
    assert "login_unexplained|critical|1" in await scene.broker.sql(count)


async def test_a_lease_is_judged_once_when_its_holder_had_time_to_tell(scene: Scene) -> None:
    """A surplus of 27 s ago waits for the holder's word; spans that follow each other judge each lease once."""
    scene.at = scene.broker.clock.now() - timedelta(seconds=27)
    lease = await scene.give_lease(scene.alice, told=None)
    await scene.login(scene.alice)
    await scene.login(scene.alice)
    assert await scene.reasons() == []
    await scene.tell(scene.alice, lease, 1)
    scene.since = (await scene.run()).until
    scene.broker.clock.ahead = timedelta(seconds=20)
    scene.broker.store.write(str(uuid4()), scene.broker.clock.now() - timedelta(seconds=11), "read", "sys/health")
    result = await scene.run()
    assert [(one.reason, one.client_id) for one in result.findings] == [("lease_use_surplus", scene.alice)]
    scene.since = result.until
    scene.broker.clock.ahead = timedelta(seconds=40)
    scene.broker.store.write(str(uuid4()), scene.broker.clock.now() - timedelta(seconds=11), "read", "sys/health")
    assert await scene.reasons() == []


async def test_a_round_reads_nothing_again_that_the_last_one_has_read(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A login and a read of the round before explain a read and are held against the holder's word, though the log has
    them no more and nothing is hashed again. After a part with something unread the next reads as far back as ever."""
    store, clock, own, began = scene.broker.store, scene.broker.clock, Reconciled(), scene.broker.clock.now()
    asked, hashed = Mock(wraps=store.entries), AsyncMock(wraps=store.hash)
    monkeypatch.setattr(store, "entries", asked)
    scene.at = began - timedelta(seconds=12)
    await scene.give_lease(scene.alice, told=(1, 1))
    await scene.login(scene.alice, lease="")
    scene.read(scene.alice)

    async def a_part(seconds: int) -> tuple[list[str], timedelta]:
        monkeypatch.setattr(clock, "now", lambda: began + timedelta(seconds=seconds))
        store.write(str(uuid4()), clock.now() - timedelta(seconds=11), "read", "sys/health")
        found = await reconcile(scene.broker.app, scene.broker.app.system(), since=scene.since, own=own)
        back, scene.since = scene.since - asked.call_args.kwargs["since"], found.until
        store.logs.clear()
        return [one.reason for one in found.findings], back

    whole = BEFORE + timedelta(seconds=scene.broker.app.limits.lease_token_ttl_s)
    assert await a_part(0) == ([], whole)
    scene.read(scene.alice, seconds=2.5)
    monkeypatch.setattr(store, "hash", hashed)
    assert await a_part(5) == ([], ORDER)
    assert await a_part(25) == (["lease_use_surplus"], ORDER)
    hashed.assert_not_awaited()
    store.unreadable = {"b"}
    assert await a_part(600) == ([], ORDER)
    assert await a_part(620) == ([], whole)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE {} SET closed_at = now()",
        "UPDATE {} SET severity = 'info'",
        "UPDATE {} SET reason = 'x'",
        "UPDATE {} SET client_id = gen_random_uuid()",
        "UPDATE {} SET object_id = gen_random_uuid()",
        "UPDATE {} SET opened_at = now() - interval '5 years'",
        "DELETE FROM {}",
    ],
)
async def test_an_alert_that_was_changed_past_its_record_is_told_once(scene: Scene, change: str) -> None:
    """The tables' owner closes, changes or removes one: a critical alert names it, and closed like that is told anew.
    What a person closes on record, and an alert that stands as it was raised, is none."""
    kept = await scene.raise_one("kept")
    alert = await scene.raise_one("changed")
    assert await scene.reasons() == []
    await scene.broker.sql(change.format("byokeep.alert") + f" WHERE id = '{alert}'")
    [found] = (await scene.run()).findings
    assert (found.reason, found.severity, str(found.object_id)) == ("alert_unrecorded", "critical", alert)
    assert await scene.reasons() == []
    await scene.broker.sql("UPDATE byokeep.alert SET closed_at = now() WHERE reason = 'alert_unrecorded'")
    assert await scene.reasons() == ["alert_unrecorded"]
    web = PostgresDatabase(scene.broker.database.url("byokeep_web"), pool_size=1)
    admin = Actor(id=uuid4(), roles=frozenset({Role.ADMIN}), clients=None, request_id=uuid4())
    await close_alert(replace(scene.broker.app, db=web), admin, UUID(kept))
    await web.close()
    assert await scene.reasons() == []


async def test_no_alert_that_somebody_put_there_swallows_a_finding(scene: Scene) -> None:
    """An open row under the finding's key, without a record, full and of all time, or one that was closed on record
    and opened again: the round tells of it, and what is raised goes on record; removed then, it is told as well."""
    planted = str(uuid4())
    await scene.broker.sql(
        "INSERT INTO byokeep.alert (id, reason, severity, dedup_key, count, last_seen_at) VALUES"
        f" ('{planted}', 'login_unexplained', 'critical', 'key', 2147483647, 'infinity')"
    )
    reopened = await scene.raise_one("state/again")
    await state_over(scene.broker.app, "state/again")
    assert await scene.reasons() == ["alert_unrecorded"]
    await scene.broker.sql(f"UPDATE byokeep.alert SET closed_at = NULL WHERE id = '{reopened}'")
    assert [str(one.object_id) for one in (await scene.run()).findings] == [reopened]
    raised = "SELECT count(*) FROM byokeep.audit_record WHERE event = 'alert.raised' AND convert_from(payload, 'UTF8')"
    for key, alert, records in (("key", planted, 0), ("state/again", reopened, 1)):
        assert await scene.broker.sql(f'{raised} LIKE \'%"alert":"{alert}"%\'') == str(records)
        for _ in range(2):
            assert await scene.raise_one(key) == alert
            assert await scene.broker.sql(f'{raised} LIKE \'%"alert":"{alert}"%\'') == str(records + 1)
    await scene.broker.sql("UPDATE byokeep.alert SET closed_at = now() WHERE reason = 'alert_unrecorded'")
    assert len(await scene.reasons()) == 2  # those closed past us; the planted and the reopened were told
    later = str(uuid4())
    await scene.broker.sql(
        "INSERT INTO byokeep.alert (id, reason, severity, dedup_key)"
        f" VALUES ('{later}', 'login_unexplained', 'critical', 'later')"
    )
    assert await scene.raise_one("later") == later
    await scene.broker.sql(f"DELETE FROM byokeep.alert WHERE id = '{later}'")
    assert [str(one.object_id) for one in (await scene.run()).findings] == [later]


async def test_a_critical_alert_stands_before_any_flood(scene: Scene) -> None:
    """More alerts than a list holds, opened and seen later: the critical one is first, and how many more is said."""
    critical = await scene.raise_one("real")
    await scene.broker.sql(
        "INSERT INTO byokeep.alert (id, reason, severity, dedup_key, opened_at, last_seen_at) SELECT gen_random_uuid(),"
        " 'x', CASE WHEN n = 1 THEN 'warning' ELSE 'info' END, n::text, now() + interval '10 years',"
        " now() + interval '1 minute' * n FROM generate_series(1, 1001) n"
    )
    web = PostgresDatabase(scene.broker.database.url("byokeep_web"), pool_size=1)
    admin = Actor(id=uuid4(), roles=frozenset({Role.ADMIN}), clients=None, request_id=uuid4())
    found, more = await list_alerts(replace(scene.broker.app, db=web), admin)
    await web.close()
    assert (str(found[0].id), found[1].severity, len(found), more) == (critical, "warning", 1000, 2)


async def test_a_flood_of_alerts_by_one_role_is_an_alert(scene: Scene) -> None:
    """More than 300 within an hour by one role; 300 are none."""
    worker = PostgresDatabase(scene.broker.database.url("byokeep_worker"), pool_size=1)
    app = replace(scene.broker.app, db=worker)
    async with worker.begin(every_client=True) as tx:
        for number in range(300):
            await open_alert(tx, app, None, reason="x", key=str(number), severity="info")
    assert await scene.reasons() == []
    await raise_alert(app, reason="x", key="300", severity="info")
    await worker.close()
    assert await scene.reasons() == ["alerts_flooded"]


async def test_a_login_from_before_the_devices_were_made_anew_is_held_against_the_lease_it_names(scene: Scene) -> None:
    """It cannot be compared, so a warning says so; more than its holder told of is found all the same, and a login that
    names no lease, or came later, stays unexplained."""
    await scene.answers(scene.after(4))
    scene.broker.store.made_anew = 1
    await scene.answers(scene.after(9))
    result = await scene.run()
    assert [(one.reason, one.severity, one.count, one.at) for one in result.findings] == [
        ("store_log_rekeyed", "warning", 2, scene.after(9))
    ] * 2
    assert {one.device for one in result.findings} == {"a", "b"}
    scene.broker.store.made_anew = 0
    await scene.login(scene.alice, seconds=3, lease="")
    await scene.login(scene.alice, seconds=3, lease=str(uuid4()))
    await scene.login(scene.bob, jwt="a.b.c", seconds=3)
    scene.broker.store.made_anew = 1
    await scene.login(scene.alice, jwt="a.b.c", seconds=10)
    rekeyed = ["store_log_rekeyed"] * 2
    assert await scene.reasons() == ["lease_use_surplus", *["login_unexplained"] * 3, *rekeyed]


async def test_without_an_answer_hashed_with_another_key_no_login_is_excused(scene: Scene) -> None:
    """The devices are what they are: neither a login that hashes to something else, nor the answers of the present key
    make it one from before. A device that alone was made anew excuses none: the other compares it."""
    await scene.answers(scene.after(0))
    await scene.login(scene.alice, jwt="a.b.c")
    assert await scene.reasons() == ["login_unexplained"]
    name = {"a": "hmac-sha256:of-before"}
    scene.broker.store.write(str(uuid4()), scene.after(4), "read", "transit/keys/leases", only=("a",), names=name)
    await scene.answers(scene.after(5))
    assert await scene.reasons() == ["device_gap", "login_unexplained", "store_log_rekeyed"]


async def test_an_unused_lease_needs_no_word_and_an_enrolment_has_one_login(scene: Scene) -> None:
    """Nothing at the store, nothing to tell; the enrolment's lease is the broker's own."""
    await scene.give_lease(scene.alice, told=None)
    await scene.give_lease(scene.bob, kind="enroll", told=None)
    await scene.login(scene.bob)
    assert await scene.reasons() == []
    await scene.login(scene.bob)
    assert await scene.reasons() == ["lease_use_surplus"]


async def busy(*_: object) -> None:
    raise Unavailable("database_busy")


async def test_many_findings_of_one_kind_hide_no_other(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """More unexplained logins than a part raises alerts for: the read that one of them was for has its own."""
    monkeypatch.setattr(module, "MAX_ALERTS", 3)
    for number in range(4):
        await scene.login(scene.alice, jwt=f"forged-{number}", lease="")
    scene.read(scene.bob, lease="")
    assert await scene.reasons() == [*["login_unexplained"] * 4, "read_without_lease"]
    raised = await scene.broker.sql("SELECT reason FROM byokeep.alert ORDER BY reason")
    assert raised.split() == ["login_unexplained", "read_without_lease"]


@pytest.mark.parametrize("every", [False, True, None])
async def test_the_switch_follows_a_panic_whoever_was_stopped_before(
    scene: Scene, every: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two clients one is engaged already: both put out is everything, the other alone has its own switch engaged; a
    client without others is everybody. What cannot be engaged now is not passed over."""
    app, kill, store = scene.broker.app, str(uuid4()), scene.broker.store
    if every is None:
        await scene.broker.sql(f"UPDATE byokeep.client SET entity_id = NULL WHERE id = '{scene.bob}'")
    else:
        await scene.move_switch(scene.bob, closed=True)
    store.write(str(uuid4()), scene.after(1), "list", "identity/entity/id/", entity=kill)
    for client in (scene.alice, scene.bob) if every else (scene.alice,):
        path = f"identity/entity/id/{scene.entity[client]}"
        store.write(str(uuid4()), scene.after(1), "update", path, entity=kill)
    [copy], app = _wrapped(scene, scene.alice), replace(app, cutoff=AsyncMock())
    with monkeypatch.context() as away:  # the log is read once: a part whose switches were not engaged is not over
        away.setattr(module, "engage", busy)
        with pytest.raises(Unavailable, match="database_busy"):
            await reconcile(app, app.system(), since=scene.since)
        parts = "SELECT count(*) FROM byokeep.audit_record WHERE event = 'audit.reconciled'"
        assert await scene.broker.sql(parts) == "0"
    app.cutoff.end_copies.assert_awaited_once_with(copy)
    found = await reconcile(app, app.system(), since=scene.since)
    reasons = [one.reason for one in found.findings if one.client_id == scene.alice]
    assert sorted(reasons) == ["answer_wrapped", "cut_off_unexplained"]
    assert "store_setup_changed" not in [one.reason for one in found.findings], "it asked who there is"
    closed = (await scene.broker.sql("SELECT scope FROM byokeep.switch WHERE closed")).split()
    assert ("global" in closed, f"client:{scene.alice}" in closed) == (every is not False, every is False)
