"""What a holder tells of its lease, and what somebody does at the store who signs the lease's claims once more."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
import pytest

from byokeep.client import http
from byokeep.client import lease as held
from byokeep.core.errors import Unavailable
from byokeep.core.events import Event, EventName, Outcome
from byokeep.core.exchange import identity_path
from byokeep.core.model import Actor, ClientId, Provider, Role
from byokeep.core.ref import SecretRef
from byokeep.core.secret import Secret
from byokeep.jobs import lease as leases
from byokeep.jobs.lease import claims
from byokeep.kernel.app import BrokerApp
from byokeep.kernel.ports import StoreEntry
from byokeep.reconciliation.reconcile import reconcile
from byokeep.wire.bao_http import BaoHttp, lease_login, read_secret
from tests.support.broker import Stand
from tests.support.postgres_rows import append_sql

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker"]


class Later:
    """The machine's clock, ahead: time in which a holder tells and records settle."""

    ahead = timedelta(seconds=40)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def monotonic(self) -> float:
        return 0.0


async def found(app: BrokerApp, begins: str = "lease_use") -> list[str]:
    later = replace(app, clock=Later())
    result = await reconcile(later, later.system(), since=datetime.now(UTC) - timedelta(minutes=1))
    return sorted(one.reason for one in result.findings if one.reason.startswith(begins))


def told(stand: Stand) -> list[list[object]]:
    """What is on record as told of the leases: logins, and reads in the order of their secrets."""
    rows = stand.db.sql(
        "SELECT convert_from(payload, 'UTF8') FROM byokeep.audit_record WHERE event = 'lease.use_told' ORDER BY at"
    )
    said = [json.loads(row)["fields"] for row in rows.splitlines()]
    return [[one["logins"], one["reads"]] for one in said]


def tell_as_thief(stand: Stand, lease: UUID, client: UUID, logins: int, reads: int) -> None:
    """What a thief with the broker's database role can do: put on record that the lease's holder told this."""
    actor = Actor(id=stand.people["runner"].id, roles=frozenset({Role.RUNNER}), clients=None, request_id=uuid4())
    said = Event(name=EventName.LEASE_USE_TOLD, actor=actor, outcome=Outcome.OK, client_id=client, object_id=lease,
                 fields={"logins": logins, "reads": str(reads)})  # fmt: skip
    with psycopg.connect(stand.db.conninfo("byokeep_broker")) as session:
        session.execute(append_sql(said))


async def sign_again(stand: Stand, lease: UUID) -> tuple[Secret, str]:
    """What a thief with the broker's identity makes of the row: the runner's own token, byte for byte."""
    row = json.loads(stand.db.sql(f"SELECT row_to_json(l) FROM byokeep.lease l WHERE id = '{lease}'"))
    said = claims(stand.app, client_id=row["client_id"], job_id=row["job_id"], lease_id=lease, kind=row["kind"],
                  secrets=row["secrets"], iat=row["jwt_iat"])  # fmt: skip
    return Secret(await stand.app.signer.sign_jwt(said)), f"kv/clients/{row['client_id']}/providers/openai"


@pytest.mark.parametrize("steals", [False, True])
async def test_a_lease_signed_again_shows_in_the_counts(stand: Stand, steals: bool) -> None:
    """The row explains the second login and read; the holder's word does not. Without a thief there is no finding."""
    client = await stand.client("openai")
    keep = stand.keep()
    async with keep, keep.attach(await stand.job(client)) as job:
        await job.secret("openai")
        await job.secret("openai")  # from memory
        if steals:
            jwt, path = await sign_again(stand, UUID(job.lease.id))
            async with BaoHttp(stand.store.address) as store:
                token = await lease_login(store, jwt, "use-openai", lease_id=job.lease.id)
                await read_secret(store, token, path, 1, job.lease.id)
    assert told(stand) == [[1, "1"]]
    assert await found(stand.app) == (["lease_use_surplus"] if steals else [])


@pytest.mark.parametrize("version", [1, 2])
async def test_a_read_of_a_version_that_the_lease_did_not_pin_is_found(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    """The store gives a job's lease the key that nobody has verified, too; only the pinned one is explained."""
    client = await stand.client("openai", "heygen")
    await stand.intake.put(SecretRef(ClientId(client), Provider.OPENAI), Secret("not-verified"), cas=1)

    async def read(store: BaoHttp, token: Secret, path: str, pinned: int, lease_id: str) -> Secret:
        assert pinned == 1
        return await read_secret(store, token, path, version, lease_id)

    monkeypatch.setattr(held, "read_secret", read)
    keep = stand.keep()
    async with keep, keep.attach(await stand.job(client, secrets=["heygen", "openai"])) as job:
        await job.secret("openai")
    assert await found(stand.app, "version") == (["version_not_pinned"] if version == 2 else [])


@pytest.mark.parametrize("taken", [1, 2])
async def test_a_second_identity_token_shows_in_the_counts(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    """Of a keyless key each told read is one of its ids and one of an identity token, and no more."""
    client = await stand.client("openai")
    keep = stand.keep()
    async with keep, keep.attach(await stand.job(client)) as job:
        await job.secret("openai")
    entries = type(stand.app.store_audit).entries

    async def keyless(self: object, device: str, *, since: datetime) -> AsyncIterator[StoreEntry]:
        async for entry in entries(self, device, since=since):  # type: ignore[arg-type]
            yield entry
            for number in range(taken if str(client) in entry.path and entry.operation == "read" else 0):
                request = f"{number}-{entry.request_id}"
                yield replace(entry, path=identity_path(client, "openai"), request_id=request, version=0)

    monkeypatch.setattr(type(stand.app.store_audit), "entries", keyless)
    assert await found(stand.app) == ["lease_use_surplus"] * (taken - 1)


@pytest.mark.parametrize("first", [False, True])
async def test_no_telling_of_a_thief_hides_what_he_did(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    """Before its holder tells or afterwards: the row takes no count, the least that was told stands, and two tellings
    that differ are a finding of their own."""
    client = await stand.client("openai")
    keep = stand.keep()
    async with keep, keep.attach(await stand.job(client)) as job:
        await job.secret("openai")
        lease = UUID(job.lease.id)
        jwt, path = await sign_again(stand, lease)
        async with BaoHttp(stand.store.address) as store:
            token = await lease_login(store, jwt, "use-openai", lease_id=job.lease.id)
            await read_secret(store, token, path, 1, job.lease.id)
        if first:
            for _ in range(3):
                tell_as_thief(stand, lease, client, 2, 2)
    if not first:
        tell_as_thief(stand, lease, client, 2, 2)
    assert sorted(told(stand)) == [[1, "1"], *[[2, "2"]] * (3 if first else 1)]
    assert await found(stand.app) == ["lease_use_surplus"] * 2
    both = [{"logins": 1, "reads": "2"}, {"logins": 2, "reads": "1"}]
    assert leases.told({"secrets": ["openai"], "told": both}) == (1, {"openai": 1})
    may = "has_any_column_privilege('byokeep_broker', 'byokeep.lease', 'UPDATE')"
    assert stand.db.sql(f"SELECT {may}") == "f"


async def test_a_telling_in_anothers_name_is_a_finding(stand: Stand) -> None:
    """A record that the lease's own holder did not make; counts that are no numbers count as none."""
    client = await stand.client("openai")
    lease = UUID((await stand.lease(await stand.job(client)))["lease_id"])
    stand.people["runner"] = stand.subject("runner", "other")
    tell_as_thief(stand, lease, client, 1, 1)
    assert await found(stand.app) == ["lease_use_surplus"]
    assert leases.told({"secrets": ["openai"], "told": [{"logins": "x", "reads": "y"}]}) == (0, {"openai": 0})


async def test_attempts_count_also_when_their_answer_is_lost(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store did it, the holder never saw it and tried again: both are told, nothing is found."""
    real, lost = held.lease_login, [True]

    async def login(*args: object, **named: object) -> Secret:
        token = await real(*args, **named)  # type: ignore[arg-type]
        if lost.pop() if lost else False:
            raise Unavailable("store_timeout")
        return token

    monkeypatch.setattr(held, "lease_login", login)
    client = await stand.client("openai")
    keep = stand.keep()
    async with keep, keep.attach(await stand.job(client)) as job:
        await job.secret("openai")
    assert told(stand) == [[2, "2"]]
    assert await found(stand.app) == []


async def test_a_holder_that_dies_leaves_a_warning(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing told is no proof that nobody else was there."""
    client = await stand.client("openai")
    keep = stand.keep()

    async def silent(self: object, _: float) -> None:
        pass

    monkeypatch.setattr(http.Tally, "_tell", silent)
    async with keep, keep.attach(await stand.job(client)) as job:
        await job.secret("openai")
    assert told(stand) == []
    assert await found(stand.app) == ["lease_use_untold"]


async def test_a_broker_that_is_busy_when_a_lease_ends_is_told_again(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first five words are refused for now: the sixth is taken, and no warning says that nobody told."""
    real, asked = leases.tell, 0

    async def busy(*args: object) -> None:
        nonlocal asked
        asked += 1
        if asked <= 5:
            raise Unavailable("database_busy")
        await real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(leases, "tell", busy)
    monkeypatch.setattr(http, "LAST_PAUSE_S", 0.05)
    client = await stand.client("openai")
    keep = stand.keep()
    async with keep, keep.attach(await stand.job(client)) as job:
        await job.secret("openai")
    assert (asked, told(stand)) == (6, [[1, "1"]])
    assert await found(stand.app) == []


async def test_a_holder_that_lives_on_tells_by_itself(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a lease can be used no more its holder tells, while the job goes on, and once."""
    monkeypatch.setattr(http, "TELL_AFTER_S", 0.0)
    monkeypatch.setattr(http, "TELL_EVERY_S", 0.0)
    client = await stand.client("openai")
    keep = stand.keep()
    async with keep, keep.attach(await stand.job(client)) as job:
        await job.secret("openai")
        while keep._broker.tally._uses:
            await asyncio.sleep(0.01)
        assert told(stand) == [[1, "1"]]
    assert told(stand) == [[1, "1"]]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"logins": 1, "reads": {"openai": 1, "anthropic": 5, "x" * 60: 1}}, 200), ({"logins": -1, "reads": {}}, 422),
        ({"logins": 10_001, "reads": {}}, 422), ({"logins": 1, "reads": {"openai": -1}}, 422),
        ({"logins": "1", "reads": {}}, 422), ({"logins": 1}, 422),
        ({"logins": 1, "reads": {f"a{number}": 1 for number in range(33)}}, 422),
    ],
)  # fmt: skip
async def test_what_is_told_is_bounded(stand: Stand, body: dict[str, object], status: int) -> None:
    """Counts are small integers of declared secrets; of anything else nothing is kept."""
    lease = await stand.lease(await stand.job(await stand.client("openai")))
    said = {"leases": [{"lease_id": lease["lease_id"], **body}]}
    answer, _ = await stand.call("POST", "/v1/leases/use", "runner", said)
    assert answer == status
    assert told(stand) == ([[1, "1"]] if status == 200 else [])


async def test_only_its_holder_tells_and_the_same_again_is_one_record(stand: Stand) -> None:
    """Another runner, an operator and nobody are refused; the job may be over; of many tellings two are kept."""
    job = await stand.job(await stand.client("openai"))
    lease, other = (await stand.lease(job))["lease_id"], stand.subject("runner", "other")

    async def tells(who: object, *said: tuple[object, int, dict[str, int]]) -> int:
        leases = [{"lease_id": str(one), "logins": logins, "reads": reads} for one, logins, reads in said]
        return int((await stand.call("POST", "/v1/leases/use", who, {"leases": leases}))[0])

    for who, status in ((other, 404), ("operator", 403), (None, 401)):
        assert await tells(who, (lease, 9, {})) == status
    assert await tells("runner", (uuid4(), 9, {})) == 404
    assert await tells("runner") == 422
    assert await tells("runner", *[(lease, 9, {})] * 101) == 422
    await stand.call("POST", f"/v1/jobs/{job}/close", "dispatcher")
    assert await tells("runner", (uuid4(), 9, {}), (lease, 2, {"openai": 3})) == 404  # of the other it is told
    for logins, reads in ((2, {"openai": 3}), (4, {}), (5, {}), (6, {})):
        assert await tells("runner", (lease, logins, reads), (lease, logins, reads)) == 200
    assert told(stand) == [[2, "3"], [4, "0"]]


async def test_leases_of_many_clients_are_told_of_at_once(stand: Stand) -> None:
    """One process's leases of two clients: each client's chain has its own record."""
    keep = stand.keep()
    async with keep:
        for _ in range(2):
            async with keep.attach(await stand.job(await stand.client("openai"))) as job:
                await job.secret("openai")
    assert len(told(stand)) >= 2  # a busy machine may lease again for one
    assert all(one == [1, "1"] for one in told(stand))
    chains = "SELECT count(DISTINCT chain) FROM byokeep.audit_record WHERE event = 'lease.use_told'"
    assert stand.db.sql(chains) == "2"
