"""The SDK against a real broker, database and store: five lines, and what happens when something fails."""

# ruff: noqa: S608 - statements are put together from made-up ids

from __future__ import annotations

import asyncio
import pickle
import time
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from byokeep.client import ClientSettings, ItemResult, Job, Keep, NotDone
from byokeep.client.settings import parse_address, read_token
from byokeep.core.errors import ByokeepError, Conflict, Denied, NotFound, Rejected, Unavailable
from byokeep.core.secret import Secret
from byokeep.wire.bao_http import read_secret
from tests.support.broker import Stand, standing
from tests.support.false_store import false_store
from tests.support.postgres import drop_database, fresh_database, short_home
from tests.support.work import calls

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker"]

EFFECT: dict[str, Any] = {"platform": "x", "account": "acme"}
USE: dict[str, Any] = {"secrets": ["openai"], "platforms": ["x"], "effects": ["publish"]}


async def ready(stand: Stand) -> UUID:
    client = await stand.client("openai")
    stand.account(client)
    return client


async def kill(stand: Stand, client: UUID) -> None:
    body = {"client_id": str(client), "reason": "drill"}
    assert (await stand.call("POST", "/v1/switches/close", "operator", body))[0] == 200


async def test_five_lines_use_a_secret_and_cause_an_effect(stand: Stand) -> None:
    """A job is opened, the secret read, the account identified, one effect done, the job closed; all on record."""
    client = await ready(stand)
    value = await stand.key(client, "heygen")
    async with stand.keep() as keep:
        async with keep.job(client=client, secrets=["heygen"], platforms=["x"], effects=["publish"]) as job:
            key = await job.secret("heygen")
            assert key.matches(value.encode())
            seen = {"id": "acme", "username": "acme", "display_name": "Acme Ltd"}
            assert await job.identify("x", "acme", seen) == "match"
            assert await job.identify("x", "acme", [seen, seen]) == "unknown"
            assert await job.identify("x", "acme", [seen]) == "match"
            async with job.effect("publish", platform="x", account="acme", key="post-0001") as permit:
                assert permit.live
        assert key.wiped
    assert stand.db.sql(f"SELECT state FROM byokeep.permit WHERE id = '{permit.id}'") == "done"
    assert stand.db.sql(f"SELECT state FROM byokeep.job WHERE id = '{job.id}'") == "closed"
    for event in ("job.opened", "lease.issued", "permit.issued", "permit.closed", "job.closed"):
        assert stand.events(event), event
    assert value not in repr([keep, job, job.lease, permit, key, stand.people["runner"]])
    assert stand.people["runner"].token not in repr([keep, job, job.lease])
    with pytest.raises(TypeError):
        pickle.dumps(key)


async def test_a_repeat_within_the_lease_costs_next_to_nothing(stand: Stand) -> None:
    """A repeat is a few calls in this process and reaches neither broker nor store."""
    client = await ready(stand)
    async with stand.keep() as keep, keep.job(client=client, secrets=["openai"]) as job:
        first = await job.secret("openai")
        with calls() as work:
            for _ in range(1_000):
                again = await job.secret("openai")
        assert again is first
        assert work.calls <= 20_000
    assert len(stand.events("lease.issued", "intended")) == 1


@pytest.mark.req("R4.1-4")
async def test_what_was_not_declared_is_refused(stand: Stand) -> None:
    """A secret of the same client that the job did not declare is refused, and so are undeclared effects."""
    client = await ready(stand)
    await stand.key(client, "heygen")
    async with stand.keep() as keep, keep.job(client=client, secrets=["openai"]) as job:
        with pytest.raises(Denied) as caught:
            await job.secret("heygen")
        assert caught.value.code == "not_declared"
        with pytest.raises(Denied) as caught:
            async with job.effect("publish", **EFFECT, key="post-0001"):
                pytest.fail("the block was entered")
        assert caught.value.code == "effect_not_declared"
        with pytest.raises(Rejected, match="bad_key"):  # the program's mistake: nobody is asked, nobody is alarmed
            async with job.effect("publish", **EFFECT, key="short"):
                pytest.fail("the block was entered")
    assert "blocked_bad_request" not in stand.alerts()


async def test_a_runner_attaches_to_its_own_job_only(stand: Stand) -> None:
    """A runner without a dispatcher's token does a job that was opened for it, and no other."""
    client = await ready(stand)
    job_id, other = await stand.job(client), stand.subject("runner")
    theirs = await stand.job(client, runner_id=str(other.id))
    async with stand.keep() as keep:
        async with keep.attach(job_id) as job:
            assert (await job.secret("openai")).reveal()
        for foreign in (theirs, uuid4()):
            with pytest.raises(NotFound):
                async with keep.attach(foreign):
                    pytest.fail("attached")
    assert (await stand.call("GET", f"/v1/jobs/{job_id}", "runner"))[1]["state"] == "open"


@pytest.mark.req("R1.5-3")
async def test_a_kill_ends_what_the_sdk_holds(stand: Stand) -> None:
    """Within the lease's life after a kill the cached secret is wiped, every call is refused, and it stays so."""
    client = await ready(stand)
    async with stand.keep() as keep, keep.job(client=client, **USE) as job:
        key = await job.secret("openai")
        await kill(stand, client)
        acked = time.monotonic()
        while not key.wiped and time.monotonic() - acked < 60:
            await asyncio.sleep(0.02)
        assert key.wiped
        with pytest.raises(Denied) as caught:
            await job.secret("openai")
        assert caught.value.code == "switch_closed"
        with pytest.raises(Denied):
            async with job.effect("publish", **EFFECT, key="post-0001"):
                pytest.fail("the block was entered")
    assert stand.db.sql("SELECT count(*) FROM byokeep.permit") == "0"


@pytest.mark.req("R1.5-3")
async def test_a_holder_cut_off_from_the_broker_stops_within_its_life(stand: Stand) -> None:
    """With the broker out of reach the cached secret is refused and wiped at most five seconds after its last yes."""
    client = await ready(stand)
    async with stand.keep(timeout_s=0.5, attempts=1) as keep, keep.job(client=client, **USE) as job:
        key = await job.secret("openai")
        assert await job.secret("openai") is key
        cut = time.monotonic()
        job.lease._broker._transport._socket = "/nonexistent"
        await job.lease._broker.close()
        last = cut
        while time.monotonic() - cut < 8:
            asked = time.monotonic()
            try:
                await job.secret("openai")
                last = asked
            except ByokeepError as error:
                assert isinstance(error, Unavailable)  # noqa: PT017
                break
            await asyncio.sleep(0.01)
        assert key.wiped
        assert 1 < last - cut <= 5.05
        with pytest.raises(Unavailable):
            await job.secret("openai")


@pytest.mark.req("R1.5-3")
async def test_a_program_that_stood_still_does_not_go_on_with_what_it_held(stand: Stand) -> None:
    """After the whole process stood still for longer than a lease lives, the first use is a fresh read or a refusal."""
    client = await ready(stand)
    async with stand.keep(attempts=1) as keep, keep.job(client=client, **USE) as job:
        key = await job.secret("openai")
        time.sleep(5.2)  # nothing of ours runs meanwhile, no timer either
        again = await job.secret("openai")
        assert again is not key
        assert key.wiped
        stand.db.sql(f"UPDATE byokeep.client SET state = 'suspended' WHERE id = '{client}'")
        time.sleep(5.2)
        with pytest.raises(Denied):
            await job.secret("openai")
        assert again.wiped


FAULTS = ["403", "500", "garbage", "truncated", "empty", "no_value", "other_version", "deleted", "redirect", "slow",
          "login_500", "down"]  # fmt: skip


def key_lies_about(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A good key under the names where programs look for one: variables, and files here and at home."""
    for name in ("OPENAI_API_KEY", "OPENAI_KEY", "OPENAI", "BYOKEEP_OPENAI", "BYOKEEP_SECRET_OPENAI"):
        monkeypatch.setenv(name, "made-up-value-elsewhere")
    monkeypatch.setenv("HOME", str(place))
    monkeypatch.chdir(place)
    for name in ("openai", ".openai", "openai.key", ".config/byokeep/openai", ".cache/byokeep/openai"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text("made-up-value-elsewhere")
    (place / ".env").write_text("OPENAI_API_KEY=made-up-value-elsewhere\n")


@pytest.mark.req("R1.5-1", "R1.3-1")
async def test_no_secret_no_effect(
    postgres_server: Any, store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For every way a read can fail the job is blocked with a code, nothing is done, and an alert is open; a good key
    in the environment or in a file is not taken instead."""
    database, home = fresh_database(postgres_server), short_home()
    key_lies_about(tmp_path, monkeypatch)
    try:
        async with (
            false_store(home / "s.sock") as (fake, address),
            standing(database, store, store_address=address) as stand,
        ):
            client = await ready(stand)
            told: dict[str, int] = {}
            for fault in FAULTS:
                fake.mode = fault
                done: list[str] = []

                async def act(item: str, done: list[str] = done) -> None:
                    done.append(item)

                if fault == "down":
                    address_path = home / "s.sock"
                    address_path.rename(home / "gone.sock")
                async with stand.keep(timeout_s=1.5, attempts=2) as keep, keep.job(client=client, **USE) as job:
                    with pytest.raises(ByokeepError) as caught:
                        await job.secret("openai")
                    assert "made-up-value" not in str(caught.value)
                    assert caught.value.__context__ is None or "made-up" not in str(caught.value.__context__)
                    results = await job.batch(
                        {f"{fault}-post-1": "a", f"{fault}-post-2": "b"}, act, effect="publish", **EFFECT,
                        secrets=["openai"],
                    )  # fmt: skip
                assert {result.status for result in results.values()} == {"blocked"}, fault
                assert next(iter(results.values())).reason == caught.value.code
                assert done == []
                # One alert of the client for one cause: what happens again is counted up.
                about = f"reason = 'blocked_{caught.value.code}' AND client_id = '{client}'"
                counted = stand.db.sql(f"SELECT count(*), sum(count) FROM byokeep.alert WHERE {about}").split("|")
                before = told.get(caught.value.code, 0)
                told[caught.value.code] = int(counted[1])
                assert (counted[0], int(counted[1]) > before) == ("1", True), fault
            assert stand.db.sql("SELECT count(*) FROM byokeep.permit") == "0"
    finally:
        drop_database(database)


@pytest.mark.req("R1.5-3")
async def test_a_value_that_arrives_after_the_lease_ended_is_not_handed_out(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read that was under way when the lease lapsed or was denied ends in a refusal; its value is wiped, not kept."""
    client = await ready(stand)
    arrived: list[Secret] = []
    ends = [lambda lease: setattr(lease, "valid_until", 0.0), lambda lease: lease.stop(Denied("switch_closed"))]
    for end in ends:
        async with stand.keep(attempts=1) as keep, keep.job(client=client, **USE) as job:

            async def late(*asked: Any, held: Any = job.lease, ended: Any = end) -> Secret:
                value = await read_secret(*asked)
                ended(held)
                arrived.append(value)
                return value

            with monkeypatch.context() as patched:
                patched.setattr("byokeep.client.lease.read_secret", late)
                with pytest.raises(ByokeepError) as caught:
                    await job.secret("openai")
            assert caught.value.code in ("lease_lapsed", "switch_closed")
            assert job.lease.cached == {}
    assert len(arrived) == len(ends)
    assert all(value.wiped for value in arrived)


@pytest.mark.req("R1.5-1")
async def test_a_key_that_is_no_longer_good_blocks(stand: Stand) -> None:
    """At the real store: a destroyed version, a revoked, suspended, expired or unverified key, and an expired lease
    all block."""
    client = await ready(stand)
    row = f"WHERE client_id = '{client}'"
    for change, undo, code in (
        ("state = 'compromised'", "state = 'active'", "credential_not_usable"),
        ("state = 'suspended'", "state = 'active'", "credential_not_usable"),
        ("state = 'pre_activation'", "state = 'active'", "credential_not_usable"),
        ("verification = 'failed'", "verification = 'verified'", "credential_not_usable"),
        ("expires_at = now()", "expires_at = NULL", "credential_not_usable"),
        ("version = 7", "version = 1", "store_not_found"),
    ):
        stand.db.sql(f"UPDATE byokeep.credential_ref SET {change} {row}")
        async with stand.keep(attempts=1) as keep:
            with pytest.raises(ByokeepError) as caught:
                async with keep.job(client=client, **USE) as job:
                    await job.secret("openai")
            assert caught.value.code in (code, "secret_version_gone")
        stand.db.sql(f"UPDATE byokeep.credential_ref SET {undo} {row}")
    async with stand.keep() as keep, keep.job(client=client, **USE) as job:
        await job.secret("openai")
        stand.db.sql(
            f"UPDATE byokeep.job SET opened_at = now() - interval '1 hour', expires_at = now() WHERE id = '{job.id}'"
        )
        with pytest.raises(Denied) as denied:
            async with job.effect("publish", **EFFECT, key="post-0001"):
                pytest.fail("the block was entered")
        assert denied.value.code == "job_not_open"
    assert stand.db.sql("SELECT count(*) FROM byokeep.permit") == "0"


async def posts(job: Job, done: list[str], *, fail_at: int = 0, secrets: tuple[str, ...] = ()) -> dict[str, ItemResult]:
    """A job of five posts; the act of post ``fail_at`` says that it did not happen."""

    async def act(number: int) -> None:
        if number == fail_at:
            raise NotDone("rejected")
        done.append(f"post-{number}")

    items = {f"post-key-{number}": number for number in range(1, 6)}
    return await job.batch(items, act, effect="publish", **EFFECT, secrets=secrets)


@pytest.mark.req("R1.5-5")
async def test_a_failure_in_a_batch_stops_the_rest(stand: Stand) -> None:
    """Five posts, the third is refused: two effects, three blocked; a rerun does the missing three and no other."""
    client = await ready(stand)
    done: list[str] = []
    async with stand.keep() as keep, keep.job(client=client, **USE) as job:
        results = await posts(job, done, fail_at=3)
        assert [result.status for result in results.values()] == ["done", "done", "blocked", "blocked", "blocked"]
        assert [result.reason for result in results.values()][2:] == ["rejected", "after_rejected", "after_rejected"]
        assert done == ["post-1", "post-2"]
        again = await posts(job, done)
        assert {result.status for result in again.values()} == {"done"}
        assert done == [f"post-{number}" for number in range(1, 6)]

        async def lost(number: int) -> None:
            done.append(f"late-{number}")
            raise ConnectionError  # nobody knows how far it got

        results = await job.batch({"late-key-1": 1, "late-key-2": 2}, lost, effect="publish", **EFFECT)
        said = [(result.status, result.reason) for result in results.values()]
        assert said == [("unknown", "act_failed"), ("blocked", "after_act_failed")]
        assert done[5:] == ["late-1"]


@pytest.mark.req("R1.5-5")
async def test_a_store_that_fails_during_a_batch_stops_it(postgres_server: Any, store: Any) -> None:
    """The store fails when the third post's secret is needed: exactly two effects, the rest blocked, then resumed."""
    database, home = fresh_database(postgres_server), short_home()
    try:
        async with (
            false_store(home / "s.sock") as (fake, address),
            standing(database, store, store_address=address) as stand,
        ):
            client = await ready(stand)
            done: list[str] = []
            async with stand.keep(timeout_s=1.5, attempts=2) as keep, keep.job(client=client, **USE) as job:

                async def act(number: int) -> None:
                    done.append(f"post-{number}")
                    if number == 2:
                        fake.mode = "500"
                        job.lease._wipe()

                items = {f"post-key-{number}": number for number in range(1, 6)}
                how: dict[str, Any] = {"effect": "publish", **EFFECT, "secrets": ["openai"]}
                results = await job.batch(items, act, **how)
                statuses = [result.status for result in results.values()]
                assert statuses == ["done", "done", "blocked", "blocked", "blocked"]
                assert done == ["post-1", "post-2"]
                fake.mode = "good"
                again = await job.batch(items, act, **how)
                assert {result.status for result in again.values()} == {"done"}
            assert sorted(done) == [f"post-{number}" for number in range(1, 6)]
    finally:
        drop_database(database)


async def test_an_act_that_breaks_is_unknown_and_not_repeated(stand: Stand) -> None:
    """An exception in the act leaves the permit open: the item is unknown, the rest blocked, a rerun does not act."""
    client = await ready(stand)
    acts = 0

    async def act(_: int) -> None:
        nonlocal acts
        acts += 1
        raise OSError("connection reset")

    async with stand.keep() as keep, keep.job(client=client, **USE) as job:
        items = {"post-key-1": 1, "post-key-2": 2}
        results = await job.batch(items, act, effect="publish", **EFFECT)
        assert [result.status for result in results.values()] == ["unknown", "blocked"]
        again = await job.batch(items, act, effect="publish", **EFFECT)
        assert [result.status for result in again.values()] == ["unknown", "blocked"]
        assert acts == 1
        with pytest.raises(Conflict) as caught:
            async with job.effect("publish", **EFFECT, key="post-key-1"):
                pytest.fail("the block was entered")
        assert caught.value.code == "in_progress"
        with pytest.raises(NotDone):
            async with job.effect("publish", **EFFECT, key="post-key-3"):
                raise NotDone
        async with job.effect("publish", **EFFECT, key="post-key-3"):
            pass


@pytest.mark.req("R1.5-6")
async def test_retries_are_few_and_cause_no_second_effect(postgres_server: Any, store: Any) -> None:
    """A flapping store is asked a bounded number of times; a denial is not asked again; one key, one effect."""
    database, home = fresh_database(postgres_server), short_home()
    try:
        async with (
            false_store(home / "s.sock") as (fake, address),
            standing(database, store, store_address=address) as stand,
        ):
            client = await ready(stand)
            done: list[str] = []
            async with stand.keep(timeout_s=0.5, attempts=4) as keep, keep.job(client=client, **USE) as job:
                fake.mode = "500"
                with pytest.raises(Unavailable):
                    await job.secret("openai")
                assert fake.reads == 4
                assert stand.alerts() == ["blocked_store_failed"]
                fake.reads, fake.mode = 0, "403"
                with pytest.raises(Denied):
                    await job.secret("openai")
                assert fake.reads == 1
                fake.reads, fake.mode = 0, "flaps"
                assert (await job.secret("openai")).reveal() == b"made-up-value"
                assert fake.reads == 3
                for _ in range(3):
                    await posts(job, done, secrets=("openai",))
            assert done == [f"post-{number}" for number in range(1, 6)]
    finally:
        drop_database(database)


async def test_a_token_file_must_be_private(tmp_path: Path) -> None:
    """A token file that others could read, a link, a directory, garbage or nothing is refused without being shown."""
    token = "bkr_" + "a" * 43
    file = tmp_path / "t"
    file.touch(mode=0o600)
    file.write_text(token + "\n")
    assert read_token(file).reveal() == token.encode()
    for mode in (0o640, 0o604, 0o644, 0o660, 0o620):
        file.chmod(mode)
        with pytest.raises(Rejected, match="token_file_too_open") as open_:
            read_token(file)
        assert str(file) in open_.value.next_step
    file.chmod(0o600)
    (tmp_path / "link").symlink_to(file)
    for path in (tmp_path / "link", tmp_path / "nothing", tmp_path):
        with pytest.raises(Rejected):
            read_token(path)
    file.write_text(token + "\nmore")
    with pytest.raises(Rejected) as caught:
        read_token(file)
    assert token not in str(caught.value)


async def test_the_broker_is_reached_safely_or_not_at_all(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain http beyond loopback, user info, paths and other schemes are refused; variables name files only."""
    for good in ("https://broker.example:8421", "http://127.0.0.1:8421", "http://[::1]:8421", "unix:///run/b.sock"):
        parse_address(good)
    for bad in ("http://broker.example", "http://localhost:1", "http://10.0.0.1", "https://u:p@h", "https://h/path",
                "https://h?x=1", "ftp://h", "unix://host/x", "", "127.0.0.1:8421", "https://"):  # fmt: skip
        with pytest.raises(Rejected):
            parse_address(bad)
    client = await ready(stand)
    for role in ("runner", "dispatcher"):
        file = stand.home / f"{role}.tok"
        file.touch(mode=0o600)
        file.write_text(stand.people[role].token)
        monkeypatch.setenv(f"BYOKEEP_{role.upper()}_TOKEN_FILE", str(file))
    monkeypatch.setenv("BYOKEEP_BROKER_URL", stand.url)
    async with Keep.from_settings() as keep, keep.job(client=client, secrets=["openai"]) as job:
        assert isinstance(await job.secret("openai"), Secret)
    monkeypatch.setenv("BYOKEEP_HOME", str(stand.home))
    monkeypatch.delenv("BYOKEEP_BROKER_URL")
    with pytest.raises(Unavailable) as caught:
        Keep.from_settings()
    assert caught.value.code == "no_broker"
    (stand.home / "stack.json").write_text(f'{{"broker_url": "{stand.url}"}}')
    Keep.from_settings()


async def test_a_broker_that_talks_nonsense_is_not_believed(tmp_path: Path) -> None:
    """Garbage, truncated, huge or foreign replies become Unavailable or their status's class; text is dropped."""
    from aiohttp import web

    from byokeep.client.http import Broker

    replies: list[web.Response] = [
        web.Response(body=b"\x00<html>", status=200), web.Response(text="[]", status=200),
        web.Response(text='{"a":', status=201), web.Response(body=b"{" + b" " * 300_000 + b"}", status=200),
        web.Response(text="secret-text", status=500), web.Response(status=302, headers={"Location": "http://x"}),
        web.Response(
            text='{"code": "NO WAY", "type": "urn:byokeep:problem:denied", "next_step": "secret-text \\u0000"}',
            status=403,
        ),
        web.Response(text='{"code": "fine", "type": "urn:byokeep:problem:conflict", "permit": "a\\nb"}', status=409),
    ]  # fmt: skip

    async def answer(_: web.Request) -> web.Response:
        return replies.pop(0)

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    home = short_home()
    await web.UnixSite(runner, str(home / "n.sock")).start()
    broker = Broker(ClientSettings(broker_url=f"unix://{home}/n.sock", runner_token_file=tmp_path / "x"))
    kinds = []
    for _ in range(len(replies)):
        with pytest.raises(ByokeepError) as caught:
            await broker.call("GET", "/", Secret("bkr_x"))
        assert "secret-text" not in str(caught.value) + caught.value.next_step
        kinds.append(type(caught.value).__name__)
    await broker.close()
    await runner.cleanup()
    assert kinds == ["Unavailable"] * 6 + ["Denied", "Conflict"]
