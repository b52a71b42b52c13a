"""What the SDK hears while an answer is on its way counts: nothing begins that a kill has ended meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import AsyncMock, Mock
from uuid import uuid4

import anyio
import pytest

from byokeep.client import browser, lease
from byokeep.client.calls import ToldCall
from byokeep.client.http import Broker
from byokeep.client.job import Job, Keep
from byokeep.client.lease import HeldLease
from byokeep.client.settings import ClientSettings
from byokeep.core.errors import Conflict, Denied, Rejected, Unavailable
from byokeep.core.model import Provider
from byokeep.core.secret import Secret
from byokeep.core.usage import CallResult

SETTINGS = ClientSettings(broker_url="http://127.0.0.1:1", runner_token_file=Path("none"))
ON_THE_WAY_S = 0.05


async def test_no_act_begins_whose_permission_a_kill_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker has granted it and the platform is killed before the answer is here: closed as not done, both ways."""
    broker, client, said = Broker(SETTINGS), uuid4(), list[Any]()

    def hear(*scopes: str) -> None:
        engaged = [{"scope": scope, "reason": "kill"} for scope in scopes]
        broker.view._take(json.dumps({"engaged": engaged}).encode(), fresh=True)

    async def call(_: str, path: str, token: Secret, body: Any = None, **more: Any) -> dict[str, Any]:
        if path.endswith("/permits"):
            await asyncio.sleep(ON_THE_WAY_S)
            hear(f"client:{client}:platform:x")
            return {"permit_id": str(uuid4()), "ttl_s": 15}
        said.append(body)
        return {}

    monkeypatch.setattr(broker, "call", call)
    held: Any = SimpleNamespace(holds=True, held=AsyncMock(return_value="lease"))
    job, act, about = Job(uuid4(), client, broker, Secret("t"), held), AsyncMock(), {"platform": "x", "account": "a"}
    hear()
    with pytest.raises(Unavailable, match="lease_lapsed"):
        async with job.effect("publish", key="post-0001", **about):
            await act()
    hear()
    results = await job.batch({"post-0002": "item"}, act, effect="publish", **about)
    assert (results["post-0002"].status, results["post-0002"].reason) == ("blocked", "lease_lapsed")
    assert said == [{"outcome": "failed"}] * 2
    act.assert_not_awaited()


async def test_a_lease_that_ended_while_it_was_renewed_reads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill is heard, and then the broker's earlier yes arrives: there is no login at the store."""
    broker, logins = Broker(SETTINGS), AsyncMock()

    async def call(*_: Any, **__: Any) -> dict[str, Any]:
        await asyncio.sleep(ON_THE_WAY_S)
        pin = {"path": "kv/clients/c/providers/openai", "version": 1}
        store = {"address": "unix:///s", "roles": {"openai": "use-openai"}}
        return {"lease_id": str(uuid4()), "jwt": "a.b.c", "life_s": 5, "store": store, "secrets": {"openai": pin}}

    monkeypatch.setattr(broker, "call", call)
    monkeypatch.setattr(broker, "store", lambda _: SimpleNamespace(may_be_behind=False))
    monkeypatch.setattr(lease, "lease_login", logins)
    held = HeldLease(broker, Secret(b"t"), uuid4())
    reading = asyncio.create_task(held.secret("openai"))
    await asyncio.sleep(ON_THE_WAY_S / 2)
    held.stop(Denied("switch_closed"))
    with pytest.raises(Denied, match="switch_closed"):
        await reading
    logins.assert_not_awaited()
    assert not held.holds


async def test_signing_secrets_are_those_of_one_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are replaced while the second is read, which takes a new lease: the first was wiped, and is read again."""
    broker, versions = Broker(SETTINGS), iter([(3, 2), (4, 3)])

    async def call(*_: Any, **__: Any) -> dict[str, Any]:
        now, before = next(versions)
        pins = {name: {"path": "p", "version": version} for name, version in
                (("meta/webhook", now), ("meta/webhook/previous", before))}  # fmt: skip
        store = {"address": "unix:///s", "roles": dict.fromkeys(pins, "use-meta")}
        return {"lease_id": str(uuid4()), "jwt": "a.b.c", "life_s": 5, "store": store, "secrets": pins}

    async def read(_: object, __: Secret, ___: str, version: int, ____: str) -> Secret:
        if version == 2:  # the store is slow
            held._asked_at -= lease.LOGIN_WITHIN_S + 1
            raise Unavailable("store_timeout")
        return Secret(f"version-{version}-of-the-signing-secret")

    monkeypatch.setattr(broker, "call", call)
    monkeypatch.setattr(broker, "store", lambda _: SimpleNamespace(may_be_behind=False))
    monkeypatch.setattr(lease, "lease_login", AsyncMock(side_effect=lambda *_, **__: Secret(b"t")))
    monkeypatch.setattr(lease, "read_secret", read)
    held = HeldLease(broker, Secret(b"t"), uuid4())
    found = await held.signing("meta", fresh_s=60)
    assert [secret.reveal()[:9] for secret in found] == [b"version-4", b"version-3"]
    await held.close()


async def test_a_job_is_closed_also_by_whom_anyio_cancels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """anyio cancels whoever waits in a cancelled scope again at each await."""
    files = [tmp_path / "runner.token", tmp_path / "dispatcher.token"]
    for file in files:
        file.touch(0o600)
        file.write_text(f"bkr_{'a' * 43}\n")
    keep = Keep(ClientSettings(broker_url="http://127.0.0.1:1", runner_token_file=files[0],
                               dispatcher_token_file=files[1]))  # fmt: skip
    job, said = str(uuid4()), asyncio.Queue[str]()

    async def call(_: str, path: str, *__: Any) -> dict[str, Any]:
        await asyncio.sleep(0.01)
        said.put_nowait(path)
        return {"id": job, "client_id": str(uuid4())}

    monkeypatch.setattr(keep._broker, "call", call)
    monkeypatch.setattr(HeldLease, "open", AsyncMock())
    async with keep:
        with anyio.CancelScope() as scope:
            async with keep.job(client=uuid4(), runner_id=uuid4(), secrets=["openai"]):
                scope.cancel()
                await asyncio.sleep(5)
    assert [said.get_nowait() for _ in range(3)][-1] == f"/v1/jobs/{job}/close"


async def test_the_block_ends_whatever_the_end_of_its_browser_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker says no, and the browser cannot be ended: the block does not go on."""
    opening: Any = SimpleNamespace(beat_s=0.01, life_s=5.0, beat=AsyncMock(side_effect=Denied("switch_closed")))
    monkeypatch.setattr(browser.OpeningWatch, "_close", AsyncMock(side_effect=PermissionError))
    with pytest.raises(Denied, match="switch_closed"):
        async with asyncio.timeout(5), browser.watched(opening):
            await asyncio.sleep(5)


@pytest.mark.parametrize("then", ["silent", "busy", "broken", "refused, then silent"])
async def test_a_browser_is_gone_before_the_brokers_last_yes_has_run_out(
    then: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No answer, one that is put off again and again, and a question that fails here: none of them is a yes."""
    clock, deadline, closed = 0.0, float("inf"), list[float]()

    async def beat() -> float:
        nonlocal clock
        if then == "broken":
            raise ValueError("secret was wiped")
        took = 60.0 if clock > 3.05 else 0.01  # refused at once three times, then no answer
        clock = min(clock + {"silent": 1.0, "busy": 60.0}.get(then, took), deadline)
        raise Unavailable("broker_timeout")

    async def sleep(seconds: float) -> None:
        nonlocal clock
        clock += max(seconds, 0)

    @asynccontextmanager
    async def timeout(seconds: float) -> AsyncIterator[None]:
        nonlocal deadline
        deadline = clock + seconds
        yield

    monkeypatch.setattr(browser, "now", lambda: clock)
    monkeypatch.setattr(browser, "asyncio", SimpleNamespace(sleep=sleep, timeout=timeout))
    monkeypatch.setattr(browser.OpeningWatch, "_close", AsyncMock(side_effect=lambda: closed.append(clock)))
    opening: Any = SimpleNamespace(beat_s=1.0, life_s=5.0, beat=beat)
    watch = browser.OpeningWatch(opening)
    assert await watch.until_stopped()
    assert watch.stopped is not None
    assert watch.stopped.code == "broker_timeout"
    assert closed == [1.0 if then == "broken" else 5.0 - browser.CLOSING_S]


async def test_an_opening_whose_session_is_lost_does_not_end_as_closed() -> None:
    """The browser closed cleanly with changes, and they could not be sealed."""
    opening: Any = SimpleNamespace(begin_sealing=AsyncMock(side_effect=Conflict("opening_lost")))
    job, none, named = cast("Job", None), cast("Any", None), (Provider.TIKTOK, "acme")
    run = browser._Run(job, Broker(SETTINGS), Secret(b"t"), opening, named, uuid4(), none)
    run._prove = AsyncMock()  # type: ignore[method-assign]
    page: Any = SimpleNamespace(
        running=SimpleNamespace(context=SimpleNamespace(pages=["one"])), pack=AsyncMock(return_value=True)
    )
    await run._leave(page)
    with pytest.raises(Unavailable, match="profile_not_sealed"):
        await run.seal(none, none)
    assert run.cause == "failed"


def keep_in(place: Path) -> Keep:
    """A keep of a runner with a token, whose broker is not there."""
    file = place / "runner.token"
    file.touch(0o600)
    file.write_text(f"bkr_{'a' * 43}\n")
    return Keep(ClientSettings(broker_url="http://127.0.0.1:1", runner_token_file=file))


async def test_a_runners_token_is_wiped_by_whoever_is_cut_off_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of the connections takes its time, and the caller does not wait for it."""
    keep = keep_in(tmp_path)
    await keep.__aenter__()
    token = keep._runner
    assert token is not None
    monkeypatch.setattr(keep._broker, "close", lambda: asyncio.sleep(5))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await keep.__aexit__(None, None, None)
    assert token.wiped


async def test_who_is_refused_does_not_wait_until_others_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal is there: what follows it is for others."""
    broker = Broker(ClientSettings(broker_url="http://127.0.0.1:1", runner_token_file=Path("none"), timeout_s=0.1))
    monkeypatch.setattr(broker, "call", lambda *_, **__: asyncio.sleep(60))
    held: Any = SimpleNamespace(secret=AsyncMock(side_effect=Denied("switch_closed")))
    async with asyncio.timeout(5):
        with pytest.raises(Denied, match="switch_closed"):
            await Job(uuid4(), uuid4(), broker, Secret("t"), held).secret("openai")


async def test_who_is_cut_off_at_the_end_leaves_no_task_and_no_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """anyio cancels at each await: the jobs' closes, the last reports and the stream of the switches are cut off."""
    keep = keep_in(tmp_path)
    broker, before, store, closed = keep._broker, asyncio.all_tasks(), AsyncMock(), AsyncMock()
    monkeypatch.setattr(broker, "call", lambda *_, **__: asyncio.sleep(60))
    monkeypatch.setattr(broker.view, "_read", lambda *_: asyncio.sleep(60))
    for transport in (broker._transport, broker.view._transport):
        monkeypatch.setattr(transport, "close", closed)
    broker._stores["unix:///s"] = store
    held: Any = Mock(client_id=uuid4())
    with anyio.CancelScope() as scope:
        async with keep:
            keep._closing.add(asyncio.ensure_future(asyncio.sleep(60, {})))
            broker.view.hold(held, Secret("t"))
            broker.tally.attempt("lease", Secret("t"), "openai", lease.now())
            broker.calls.note("lease", Secret("t"), ToldCall("openai", "post.responses", CallResult.OK, None))
            scope.cancel()
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    assert (closed.await_count, store.close.await_count) == (2, 1)


async def test_a_host_that_only_dispatches_needs_no_runners_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It announces acts; whoever then wants to do a job there hears which file is missing."""
    file = tmp_path / "dispatcher.token"
    file.touch(0o600)
    file.write_text(f"bkd_{'a' * 43}\n")
    own = ClientSettings(broker_url="http://127.0.0.1:1", runner_token_file=tmp_path / "no", dispatcher_token_file=file)
    async with Keep(own) as keep:
        made = uuid4()
        monkeypatch.setattr(keep._broker, "call", AsyncMock(return_value={"id": str(made)}))
        act = {"effect": "publish", "platform": "x", "account": "acme", "key": "post-0001"}
        assert await keep.schedule(client=uuid4(), due_at=datetime.now(UTC), **act) == made
        with pytest.raises(Rejected, match="token_file_unreadable"):
            async with keep.attach(made):
                pass
    with pytest.raises(Rejected, match="token_file_unreadable"):
        async with Keep(replace(own, dispatcher_token_file=None)):
            pass
