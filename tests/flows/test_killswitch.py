"""The kill process: it stops whatever a kill switch can stop, under roles that let nobody back in."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import aiohttp
import psycopg
import pytest

from byokeep.adapters.openbao.ports import EntityCutoff
from byokeep.adapters.postgres import database
from byokeep.adapters.providers.descriptor import exchanges
from byokeep.client import NotDone, view
from byokeep.client.http import end
from byokeep.core.errors import ByokeepError, Denied, Unavailable
from byokeep.jobs import switches
from byokeep.jobs.scheduled import move_scheduled
from byokeep.kernel import views
from byokeep.killswitch import app as process
from tests.flows.test_scheduled import announce, listed
from tests.flows.test_switches import close, holding, names_its_switch, ready, reopen, store_serves, told
from tests.support.broker import Stand, killswitch

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker"]


@pytest.fixture
async def kill(stand: Stand) -> AsyncIterator[Stand]:
    async with killswitch(stand) as made:
        yield made


@pytest.mark.parametrize("scope", ["everything", "client", "platform", "lane", "browser_lane"])
async def test_it_engages_every_scope(stand: Stand, kill: Stand, scope: str) -> None:
    """What it acknowledges, broker and store refuse; what is outside of the scope goes on."""
    client, lease = await ready(stand)
    whole = scope in ("everything", "client")
    named: dict[str, Any] = {
        "everything": {}, "client": {"client_id": str(client)}, "platform": {"client_id": str(client), "platform": "x"},
        "lane": {"client_id": str(client), "lane": "api"}, "browser_lane": {"lane": "browser"},
    }[scope]  # fmt: skip
    assert (await kill.call("POST", "/v1/switches/preview", "operator", named))[1]["ends_jobs"] is whole
    status, reply = await close(kill, **named)
    assert (status, reply["closed"], reply["store_cut_off"]) == (200, True, whole), reply
    assert await store_serves(lease) is not whole
    status, refused = await stand.permit(lease["lease_id"])
    if scope == "browser_lane":
        assert status == 201
    else:
        names_its_switch(refused, reply["scope"])
    listed = (await kill.call("GET", "/v1/switches", "operator"))[1]["switches"]
    assert [one["scope"] for one in listed if one["closed"]] == [reply["scope"]]
    assert len(stand.events("switch.closed")) == 1
    # Of a keyless credential the token that was given before outlives the kill: the answer says where, and until when.
    assert (reply["keyless"], reply["keyless_until"]) == ([], None)
    swaps = exchanges({})
    dict.update(cast("dict[str, Any]", kill.app.limits.exchanges), swaps)
    stand.db.sql(f"UPDATE byokeep.credential_ref SET provider_place = 'project=p1' WHERE client_id = '{client}'")
    again = (await close(kill, **named))[1]
    assert again["epoch"] == reply["epoch"] + 1, "a second kill renews it"
    lives = ["openai"] if scope in ("everything", "client", "lane") else []
    assert again["keyless"] == lives
    span = timedelta(seconds=60 + swaps["openai"].life_s) if lives else None
    until = again["keyless_until"] and datetime.fromisoformat(again["keyless_until"])
    assert (until and until - datetime.fromisoformat(again["at"])) == span


@pytest.mark.parametrize(("scope", "trips", "writes"), [("everything", 4, 2), ("client", 5, 1), ("platform", 4, 0)])
async def test_a_kill_goes_nowhere_that_its_answer_does_not_need(
    stand: Stand, kill: Stand, scope: str, trips: int, writes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trips to the database: the token, the wider locks, lock and row and jobs, record and commit, mark and record and
    commit. The store is told once of each entity, while the row is committed."""
    client, _ = await ready(stand)
    await stand.client()
    named: dict[str, Any] = {
        "everything": {}, "client": {"client_id": str(client)}, "platform": {"client_id": str(client), "platform": "x"}
    }[scope]  # fmt: skip
    monkeypatch.setattr(switches, "WAIT_S", 60.0)  # a busy machine: nobody is looked for who could be in the way
    assert (await close(kill, **named))[0] == 200  # what is looked at once, such as the token's record, is known then
    made: dict[int, list[list[str]]] = {}
    told, moves, real, disable = [], [], database.travel, kill.app.cutoff.disable

    async def counted(connection: Any, asked: Any) -> Any:
        texts = [text for text, _ in asked]
        made.setdefault(id(connection), []).append(texts)
        done = await real(connection, asked)
        moves.extend(["committed"] * ("COMMIT" in texts and any("audit_append" in text for text in texts)))
        return done

    async def disabled(*entities: str) -> None:
        told.extend(entities)
        moves.append("told")
        await disable(*entities)

    monkeypatch.setattr(database, "travel", counted)
    monkeypatch.setattr(EntityCutoff, "disable", lambda _, *entities: disabled(*entities))
    assert (await close(kill, **named))[0] == 200
    [its] = [found for found in made.values() if any("engaged AS" in text for trip in found for text in trip)]
    assert len(its) == trips, [[text[:60] for text in trip] for trip in its]
    assert len(told) == len(set(told)) == writes
    assert moves[0] == "told", "the store was told of it after the commit"


async def test_it_lets_nobody_back_in(stand: Stand, kill: Stand) -> None:
    """It has no route that releases, and its roles at database and store could not."""
    client, _ = await ready(stand)
    assert (await close(kill, client_id=str(client)))[0] == 200
    body = {"client_id": str(client), "reason": "incident_over"}
    for path in ("/v1/switches/open-requests", f"/v1/switches/open-requests/{uuid4()}/approve", "/v1/jobs"):
        assert (await kill.call("POST", path, "operator", body))[0] in (404, 405)
    entity = stand.db.sql(f"SELECT entity_id FROM byokeep.client WHERE id = '{client}'")
    with pytest.raises(Denied):
        await kill.app.cutoff.enable(entity)
    assert (await reopen(stand, client_id=str(client)))[0] == 200  # the broker does, with two people


async def test_strangers_and_machines_kill_nothing(stand: Stand, kill: Stand) -> None:
    """The kill process asks whose token it is, as the broker does."""
    client, lease = await ready(stand)
    for who in (None, "runner", "dispatcher", "custodian", "auditor"):
        status, _ = await kill.call("POST", "/v1/switches/close", who, {"client_id": str(client), "reason": "drill"})
        assert status == (401 if who is None else 403)
    stranger = stand.subject("operator", clients=())
    body = {"client_id": str(client), "reason": "drill"}
    assert (await kill.call("POST", "/v1/switches/close", stranger, body))[0] == 404
    assert (await stand.permit(lease["lease_id"]))[0] == 201


async def test_a_broker_that_hangs_in_a_decision_is_ended(stand: Stand, kill: Stand) -> None:
    """A stopped broker holds the locks of the decisions that it was in: the kill ends these, and people are told."""
    client, lease = await ready(stand)
    async with await psycopg.AsyncConnection.connect(stand.db.conninfo("byokeep_broker")) as held:
        await held.execute(f"SELECT pg_advisory_xact_lock_shared(byokeep.scope_lock_key('client:{client}'))")
        async with asyncio.timeout(60):  # the lock is held for ever
            status, reply = await close(kill, client_id=str(client))
        assert (status, reply["store_cut_off"]) == (200, True)
        with pytest.raises(psycopg.OperationalError):  # ended, and not waited for until its own time was over
            await held.execute("SELECT 1")
    assert not await store_serves(lease)
    await told(stand)
    took = stand.db.sql("SELECT convert_from(payload, 'UTF8')::jsonb -> 'fields' ->> 'epoch' FROM byokeep.audit_record"
                        " WHERE event = 'switch.closed'")  # fmt: skip
    assert took == "1", "engaged once, under its lock"


@pytest.mark.parametrize("first", ["everything", "client"])
async def test_a_kill_does_not_end_another(
    stand: Stand, kill: Stand, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that needs the other's locks waits for it: both are acknowledged and each is on record once."""
    client, lease = await ready(stand)
    scopes: list[dict[str, Any]] = [{}, {"client_id": str(client)}]
    one, other = scopes if first == "everything" else reversed(scopes)
    begun, real = asyncio.Event(), switches.record

    async def slow(*args: Any, **fields: Any) -> Any:
        if not begun.is_set():
            begun.set()
            await asyncio.sleep(0.3)  # its row and jobs are locked; what it waits for is the loop
        return await real(*args, **fields)

    monkeypatch.setattr(switches, "record", slow)
    killing = asyncio.create_task(close(kill, **one))
    await begun.wait()
    for status, reply in [await close(kill, **other), await killing]:
        assert (status, reply.get("closed"), reply.get("store_cut_off")) == (200, True, True), reply
    closed = stand.db.sql("SELECT scope || epoch FROM byokeep.switch WHERE closed").splitlines()
    assert sorted(closed) == [f"client:{client}1", "global1"]
    assert len(stand.events("switch.closed")) == 2
    if kill.app.telling:
        await asyncio.wait(kill.app.telling)
    assert "switch_lock_held" not in stand.alerts(), "a session was ended"
    assert not await store_serves(lease)


async def test_a_kill_whose_session_is_lost_is_tried_once_more(
    stand: Stand, kill: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing twice does no harm; a second loss is told."""
    client, _ = await ready(stand)
    lost, real = 1, switches.record

    async def losing(*args: Any, **fields: Any) -> Any:
        nonlocal lost
        if lost:
            lost -= 1
            raise Unavailable("database_unavailable")
        return await real(*args, **fields)

    monkeypatch.setattr(switches, "record", losing)
    assert (await close(kill, client_id=str(client)))[0] == 200
    lost = 2
    status, reply = await close(kill, client_id=str(client))
    assert (status, reply["code"]) == (503, "database_unavailable")


async def test_a_kill_waits_for_no_connection_behind_others(stand: Stand, kill: Stand) -> None:
    """Who lists may find none free, and is told so; a kill and its login have their own."""
    client, _ = await ready(stand)
    async with AsyncExitStack() as busy:
        for _ in range(4):
            tx = await busy.enter_async_context(kill.app.db.begin())
            await tx.all(dict, "clock_now")
        refused, (status, reply) = await asyncio.gather(
            kill.call("GET", "/v1/switches", "operator"), close(kill, client_id=str(client))
        )
        assert (status, reply.get("store_cut_off")) == (200, True), reply
        assert (refused[0], refused[1]["code"]) == (503, "no_connection_free")


async def test_the_alert_about_ended_sessions_follows_the_answer(stand: Stand, kill: Stand) -> None:
    """Who holds the platform's chain, too, keeps the alert waiting and not the answer."""
    client, _ = await ready(stand)
    async with holding(stand, "byokeep_worker", client), holding(stand, "byokeep_web"):
        status, reply = await close(kill, client_id=str(client))
        assert (status, reply["store_cut_off"]) == (200, True)
        assert len(kill.app.telling) == 1, "the app keeps it"
        assert "switch_lock_held" not in stand.alerts()
        await told(stand)


async def test_the_round_leaves_a_kill_under_way_alone(stand: Stand, kill: Stand) -> None:
    """What was engaged just now is its own; an old one that another session is about to mark is not waited for."""
    client, _ = await ready(stand)
    assert (await close(kill, client_id=str(client)))[0] == 200
    pending = "UPDATE byokeep.switch SET store_cut_off = false, at = clock_timestamp() - interval '{}' WHERE closed"
    stand.db.sql(pending.format("4 seconds"))
    assert await switches.cut_off_pending(kill.app, older_s=30.0) == 0
    async with await psycopg.AsyncConnection.connect(stand.db.conninfo("byokeep_broker")) as marking:
        await marking.execute("SELECT FROM byokeep.switch WHERE closed FOR UPDATE")
        assert await switches.cut_off_pending(kill.app) == 1
        await marking.execute("SELECT 1")  # it was not ended
        await marking.rollback()
    assert await switches.cut_off_pending(kill.app) <= 1  # the served rounds may have been there
    assert stand.db.sql("SELECT store_cut_off FROM byokeep.switch WHERE closed") == "t"


USE: dict[str, Any] = {"secrets": ["openai"], "platforms": ["x"], "effects": ["publish"]}


async def until(holds: Any, what: str) -> None:
    """Look until it holds; how fast is a benchmark."""
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.01)
    assert holds(), what


@asynccontextmanager
async def acting(keep: Any, client: UUID, key: str) -> AsyncIterator[tuple[Any, Any]]:
    """A job that has its secret and leave for one act, whose lease shows no life any more: what ends it is pushed."""
    async with keep.job(client=client, **USE) as job:
        assert not (await job.secret("openai")).wiped
        with suppress(NotDone):
            async with job.effect("publish", platform="x", account="acme", key=key) as permit:
                assert permit.live
                await until(lambda: job.lease._broker.view._heard_at > 0, "the stream")
                await end(job.lease._beat)
                job.lease._live_until(float("inf"))
                yield job, permit
                raise NotDone
        job.lease._beat = None


@pytest.mark.req("R7.1-1")
async def test_a_kill_is_pushed_to_whoever_holds_a_lease(stand: Stand, kill: Stand) -> None:
    """Of the killed client whatever is queued, running or announced causes no effect; another client's job goes on. A
    second kill is as good as the first."""
    client, other = (await ready(stand))[0], (await ready(stand))[0]
    queued = await stand.job(client)
    status, announced = await announce(stand, client)
    assert status == 201
    async with (
        stand.keep(killswitch_url=kill.url) as keep, stand.keep(killswitch_url=kill.url) as others,
        acting(keep, client, "post-0002") as (job, permit),
        acting(others, other, "post-0003") as (other_job, other_permit),
    ):  # fmt: skip
        key = await job.secret("openai")
        for _ in range(2):
            assert (await close(kill, client_id=str(client)))[0] == 200
        await until(lambda: not permit.live, "the permit")
        assert key.wiped
        with pytest.raises(Denied) as caught:
            await job.secret("openai")
        refused = caught.value.fields
        assert (caught.value.code, refused["scope"], refused["reason"]) == (
            "switch_closed",
            f"client:{client}",
            "suspected_leak",
        )
        with pytest.raises(Denied):
            async with job.effect("publish", platform="x", account="acme", key="post-0004"):
                pytest.fail("the block was entered")
        assert (await stand.call("POST", f"/v1/jobs/{queued}/leases", "runner"))[0] == 403
        await move_scheduled(stand.app)
        [found] = await listed(stand, client)
        assert (found["id"], found["state"]) == (announced["id"], "held")
        assert other_permit.live
        assert not (await other_job.secret("openai")).wiped
        assert (await stand.permit(other_job.lease.id))[0] == 201
    assert stand.db.sql("SELECT count(*) FROM byokeep.permit WHERE state = 'done'") == "0"


async def test_a_narrow_kill_ends_the_leave_to_act_and_not_the_lease(stand: Stand, kill: Stand) -> None:
    """Of a platform the permits that were given live no more; the lease goes on. Released, a new one lives."""
    client = (await ready(stand))[0]
    async with stand.keep(killswitch_url=kill.url) as keep, acting(keep, client, "post-0001") as (job, permit):
        assert (await close(kill, client_id=str(client), lane="browser"))[0] == 200
        assert (await close(kill, client_id=str(client), platform="x"))[0] == 200
        await until(lambda: not permit.live, "the permit")
        assert not (await job.secret("openai")).wiped
        assert (await reopen(stand, client_id=str(client), platform="x"))[0] == 200
        with suppress(NotDone):
            async with job.effect("publish", platform="x", account="acme", key="post-0002") as again:
                assert again.live
                raise NotDone


class Cable:
    """Sockets in front of broker and kill process, until somebody pulls them: what is sent then arrives nowhere."""

    def __init__(self) -> None:
        self.pulled = False
        self._open: list[asyncio.StreamWriter] = []

    async def __call__(self, front: Path, behind: Path) -> asyncio.Server:
        """Lead one socket to another."""

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            on_reader, on_writer = await asyncio.open_unix_connection(behind)
            self._open += [writer, on_writer]
            async with asyncio.TaskGroup() as both:
                both.create_task(self._carry(reader, on_writer))
                both.create_task(self._carry(on_reader, writer))

        return await asyncio.start_unix_server(connected, front)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                if not self.pulled:
                    writer.write(data)
        writer.close()

    def close(self) -> None:
        for one in self._open:
            one.close()


@pytest.mark.req("R7.1-1")
async def test_a_runner_that_is_cut_off_begins_nothing_after_five_seconds(stand: Stand, kill: Stand) -> None:
    """Really cut off, with nobody to refuse its connection: it hears neither of the kill nor of anything else, and five
    seconds after it last heard a word its lease, its secret and its permit are over."""
    client, cable = (await ready(stand))[0], Cable()
    fronts = {name: stand.home / f"{name}-cut.sock" for name in ("b", "k")}
    servers = [await cable(front, stand.home / f"{name}.sock") for name, front in fronts.items()]
    try:
        async with stand.keep(broker_url=f"unix://{fronts['b']}", killswitch_url=f"unix://{fronts['k']}") as keep:
            with suppress(NotDone, ByokeepError):
                async with keep.job(client=client, **USE) as job:
                    key = await job.secret("openai")
                    async with job.effect("publish", platform="x", account="acme", key="post-0005") as permit:
                        followed = job.lease._broker.view
                        await until(lambda: followed._heard_at > 0, "the stream")
                        cable.pulled = True
                        last_heard = max(followed._heard_at, job.lease.valid_until - 5.0, permit.use_by - 15.0)
                        assert permit.live
                        assert (await close(kill, client_id=str(client)))[0] == 200
                        await asyncio.sleep(max(0.0, last_heard + 5.3 - view.now()))
                        lives = (permit.live, job.lease.holds)
                        async with asyncio.timeout(2):  # a busy machine
                            await until(lambda: key.wiped, "the end of the secret")
                        cable.close()
                        raise NotDone
    finally:
        for server in servers:
            server.close()
    assert lives == (False, False)
    assert stand.db.sql("SELECT count(*) FROM byokeep.permit WHERE state = 'done'") == "0"


@pytest.mark.req("R7.1-1")
async def test_without_a_view_a_permit_lives_for_five_seconds(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut off from whoever knows the switches, a runner begins no act after five seconds, whatever its permit says."""
    client, moved = (await ready(stand))[0], 0.0
    real = view.now
    monkeypatch.setattr(view, "now", lambda: real() + moved)
    async with stand.keep() as keep, acting(keep, client, "post-0001") as (job, permit):
        job.lease._broker.view._following.cancel()  # no stream is opened again
        for moved, lives in ((4.0, True), (5.1, False), (14.0, False)):
            assert permit.live is lives, moved
        assert job.lease.holds


async def test_a_stream_tells_each_what_it_may_see(stand: Stand, kill: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """A view each second, of the caller's own clients and everybody's switches; strangers get none.

    A token follows over eight streams at most, and all of them end when it does: one question is asked for all.
    """
    counted, real = [], kill.app.db.read

    async def read(shape: Any, statement: str, *given: Any, **more: Any) -> Any:
        counted.extend([statement] * (statement == "auth_living"))
        return await real(shape, statement, *given, **more)

    monkeypatch.setattr(kill.app.db, "read", read)
    client, other = (await ready(stand))[0], (await ready(stand))[0]
    for scope in ({"client_id": str(client)}, {"client_id": str(other)}, {"lane": "browser"}):
        assert (await close(kill, **scope))[0] == 200
    mine = stand.subject("runner", clients=(client,))
    path, shown = "http://broker/v1/switches/stream", {"Authorization": f"Bearer {mine.token}"}
    async with kill.http.get(path, headers=shown) as reply:
        assert (reply.status, reply.content_type) == (200, "text/event-stream")
        for _ in range(2):  # the second comes by itself
            assert await reply.content.readline() == b"event: engaged\n"
            said = json.loads((await reply.content.readline()).removeprefix(b"data: "))
            assert {one["scope"] for one in said["engaged"]} == {f"client:{client}", "lane:browser"}
            assert await reply.content.readline() == b"\n"
    async with AsyncExitStack() as held:
        followed = [
            await held.enter_async_context(kill.http.get(path, headers=shown)) for _ in range(views.MOST_OF_TOKEN)
        ]
        assert {reply.status for reply in followed} == {200}
        status, refusal = await kill.call("GET", "/v1/switches/stream", mine)
        assert (status, refusal["code"], refusal["retry_after_s"]) == (429, "too_many_streams", 30)
        stand.db.sql(f"UPDATE byokeep.api_token SET revoked_at = clock_timestamp() WHERE subject_id = '{mine.id}'")
        asked = len(counted)
        async with asyncio.timeout(60):
            for reply in followed:  # one ends, and so do the others, for which nobody asked on their own
                await reply.read()
        assert len(counted) - asked <= 2
    await until(lambda: not kill.app.views._following, "the end of all")
    for who, status in ((None, 401), ("custodian", 403)):
        assert (await kill.call("GET", "/v1/switches/stream", who))[0] == status


async def test_a_stream_follows_what_its_reader_may_see_now(
    stand: Stand, kill: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that is given while it lasts is heard of, since a runner takes what it does not hear of to be released;
    one that is taken away is not."""
    monkeypatch.setattr(views, "CHECK_EVERY_S", 0.0)
    client, other = (await ready(stand))[0], (await ready(stand))[0]
    assert (await close(kill, client_id=str(other), platform="x"))[0] == 200
    mine = stand.subject("runner", clients=(client,))

    async def heard(reply: aiohttp.ClientResponse) -> list[str]:
        kill.app.views.due.set()
        return [await reply.content.readline() for _ in range(3)][1].decode().split(f"{other}")[1:]

    shown, row = {"Authorization": f"Bearer {mine.token}"}, f"('{mine.id}', '{other}')"
    async with kill.http.get("http://broker/v1/switches/stream", headers=shown) as reply:
        assert await heard(reply) == []
        stand.db.sql(f"INSERT INTO byokeep.subject_client (subject_id, client_id) VALUES {row}")
        async with asyncio.timeout(60):
            while len(await heard(reply)) != 1:
                pass
        stand.db.sql(f"DELETE FROM byokeep.subject_client WHERE (subject_id, client_id) = {row}")
        async with asyncio.timeout(60):
            while await heard(reply):
                pass


async def test_a_stream_that_begins_shows_what_its_reader_may_see_then() -> None:
    """Also where another stream of the same token was looked at just before its reader was given a client."""
    looks, token, client = views.Views(), uuid4(), uuid4()

    async def ask(_: object) -> dict[UUID, frozenset[UUID] | None]:
        return {token: frozenset()}

    with looks.followed(token, frozenset()):
        assert await looks.lives(token, 0.0, ask)
        given = frozenset({client})
        with looks.followed(token, given):
            assert await looks.lives(token, 1.0, ask)
            assert looks.clients(token, given) == given


async def test_its_rounds_go_on_whatever_one_look_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of ours, too: a cut-off that the store has not confirmed is tried until it is, and a kill is pushed."""
    looks = Counter[str]()

    async def read(_: object, name: str, *__: Any, **___: Any) -> list[Any]:
        looks[name] += 1
        if looks[name] == 1:
            raise ValueError("not enough values to unpack")
        return []

    app: Any = SimpleNamespace(
        db=SimpleNamespace(read=read), installation_id=uuid4(), views=views.Views(), telling=set()
    )
    monkeypatch.setattr(process, "RETRY_CUT_OFF_S", 0.01)
    monkeypatch.setattr(process, "BEAT_S", 0.01)
    async with asyncio.timeout(1), process.cutting_off(app):
        while sorted(looks.values()) < [2, 2]:
            await asyncio.sleep(0.01)
