"""A runner acts in a browser from a sealed profile: a real Chromium, OpenBao, PostgreSQL and a simulated website."""

# ruff: noqa: S608, PT012 - statements are put together from made-up ids; a block is what these tests are about

from __future__ import annotations

import asyncio
import builtins
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from byokeep.browser import ephemeral
from byokeep.client import browser
from byokeep.core.canonical import canonical_json
from byokeep.core.errors import Conflict, Denied, Integrity, Unavailable
from byokeep.core.manifest import Packing
from byokeep.core.model import ProfileId
from byokeep.core.sealed_record import parse_record
from byokeep.profiles import checkout
from byokeep.sealing import sealer
from byokeep_redact.canary import new_canary
from tests.flows.test_profile_use import running
from tests.support.broker import Stand, reconciled
from tests.support.hang import stop
from tests.support.room_owner import orphan
from tests.support.sealed_profile import NAME, PLATFORM, Sealed, Taken, sealed, taken
from tests.support.website import ACME, Site, site_with_acme

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker"]
ACT: dict[str, str] = {"platform": PLATFORM, "account": ACME["id"], "key": "post-0001", "lane": "browser"}
READY = "body[data-ready]"


def seldom(*cases: str) -> list[Any]:
    """What tests of a page, of switches and of sealed bytes try alone, and only a campaign in a browser and a job."""
    return [pytest.param(case, marks=pytest.mark.campaign) for case in cases]


class Visitor:
    """A website, and a person's login on it that each test seals for itself; a new one when that session has ended."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._taken: Taken | None = None

    async def taken(self) -> Taken:
        sessions = (await self.site.show("site"))["sessions"].get(PLATFORM, {}).get("acme", {"live": 0})
        if self._taken is None or not sessions["live"]:
            self._taken = await taken(self.site)
        return self._taken


@pytest.fixture(scope="module")
async def visitor() -> AsyncIterator[Visitor]:
    async with site_with_acme() as made:
        yield Visitor(made)


@pytest.fixture
async def site(visitor: Visitor) -> AsyncIterator[Site]:
    """The website with no effect to count yet; it lies to this test alone."""
    yield replace(visitor.site, before=await visitor.site.effects())
    await visitor.site.lie(platform=PLATFORM)


@pytest.fixture
async def made(stand: Stand, site: Site, visitor: Visitor) -> AsyncIterator[Sealed]:
    async with sealed(stand, site, await visitor.taken()) as one:
        yield one


async def test_logged_in_effect_counted_once_and_what_moved_is_sealed(made: Sealed) -> None:
    """Still logged in, IndexedDB whole; the act counts once; a cookie that moved is there in the next run's browser."""
    since = made.stand.app.clock.now()
    async with made.keep() as keep, made.job(keep) as job:
        async with job.browser(NAME) as context:
            page = context.pages[0]
            await page.goto(made.page)
            await page.wait_for_selector(READY)
            async with job.effect("publish", **ACT):
                await page.locator("#publish").click()
                await page.get_by_text("done", exact=True).wait_for(timeout=60_000)
            with pytest.raises(Conflict, match="already_done"):
                async with job.effect("publish", **ACT):
                    pytest.fail("it was done")
            assert await made.site.effects() == 1
            await page.evaluate("localStorage.setItem('moved', 'here-it-is')")
            await context.add_cookies([{"name": "moved", "value": "cookie-that-moved", "url": made.page}])
        with pytest.raises(Denied):
            async with job.effect("publish", **ACT | {"key": "post-0002"}):
                pytest.fail("a job that has sealed acts no more")
    assert made.row() == ["valid", "2", ""]
    assert made.left() == []
    async with made.keep() as keep, made.job(keep) as job, job.browser(NAME) as context:
        await context.pages[0].goto(made.page)
        await context.pages[0].wait_for_selector(READY)
        assert "cookie-that-moved" in {one["value"] for one in await context.cookies()}
        assert await context.pages[0].evaluate("localStorage.getItem('moved')") == "here-it-is"
    assert made.row()[:2] == ["valid", "2"]  # this time nothing moved
    assert len(made.stand.events("profile.sealed")) == 1
    stated = await reconciled(made.stand, since)
    assert (stated.state, stated.findings) == ("clean", ()), stated
    assert [one for one in made.stand.events("profile.opening_ended") if '"cause":"closed"' not in one] == []
    assert await made.site.effects() == 1


async def test_a_whole_directory_travels_too(stand: Stand, site: Site) -> None:
    """The other packing: opened, still logged in, sealed again whenever it was open, and opened once more."""
    async with sealed(stand, site, await taken(site, packing=Packing.FULL)) as made:
        for generation in ("2", "3"):
            async with made.keep() as keep, made.job(keep) as job, job.browser(NAME) as context:
                await context.pages[0].goto(made.page)
                await context.pages[0].wait_for_selector(READY)
            assert made.row() == ["valid", generation, ""]
            assert made.left() == []


async def test_the_wrong_account_in_a_perfect_profile_does_nothing(stand: Stand, site: Site) -> None:
    """Sealed, bound and valid, but logged in as another: the block is never entered, no effect, an alert."""
    other = {"id": "104000000000002", "username": "beta.bakery", "display_name": "Beta Bakery"}
    await site.tell("accounts", platform=PLATFORM, account="beta", **other)
    await site.tell("site/accounts", platform=PLATFORM, account="beta", password=site.password)
    async with sealed(stand, site, await taken(site, "beta")) as made:
        await refused(made)


async def refused(made: Sealed) -> None:
    async with made.keep() as keep, made.job(keep) as job:
        with pytest.raises(Denied, match="identity_mismatch"):
            async with job.browser(NAME):
                pytest.fail("the context of another's session was handed out")
        with pytest.raises(Denied):
            async with job.effect("publish", **ACT):
                pytest.fail("and no act passes the gate")
        assert made.left() == []
    assert await made.site.effects() == 0
    assert made.row() == ["quarantined", "1", "wrong_account"]
    assert {"identity_mismatch", "profile_quarantined"} <= set(made.stand.alerts())
    async with made.keep() as keep:
        with pytest.raises(Denied, match="profile_not_usable"):
            async with made.job(keep):
                pytest.fail("a quarantined profile is not leased")


@pytest.mark.parametrize("lie", ["challenge", "ended", "frame", *seldom("login", "empty", "error", "two_accounts")])
async def test_what_could_not_be_checked_counts_as_the_wrong_account(made: Sealed, lie: str) -> None:
    """A challenge, a logged-out, empty, broken or unclear page: the block is never entered and nothing is sealed.

    What only a person can mend is out of use at once; the other pages may be the platform's own trouble.
    """
    if lie == "ended":
        await made.site.tell("site/end", platform=PLATFORM, account="acme")
    else:
        await made.site.lie(lie, platform=PLATFORM)
    async with made.keep() as keep, made.job(keep) as job:
        with pytest.raises(Denied, match="identity_unproven"):
            async with job.browser(NAME):
                pytest.fail("the context was handed out")
    assert await made.site.effects() == 0
    needs = {"challenge": "challenge", "login": "logged_out", "ended": "logged_out"}.get(lie, "")
    assert made.row() == (["quarantined", "1", needs] if needs else ["valid", "1", ""])
    assert ("profile_quarantined" if needs else "profile_not_identified") in made.stand.alerts()
    assert made.left() == []
    if needs:
        async with made.keep() as keep:
            with pytest.raises(Denied, match="profile_not_usable"):
                async with made.job(keep):
                    pytest.fail("a quarantined profile is not leased")


async def test_a_session_that_ends_while_a_job_works_is_out_of_use(made: Sealed) -> None:
    """The last look, when the block is over, finds it logged out: nothing is sealed, and a person has to log in."""
    async with made.keep() as keep, made.job(keep) as job:
        with pytest.raises(Unavailable, match="profile_not_sealed"):
            async with job.browser(NAME):
                await made.site.tell("site/end", platform=PLATFORM, account="acme")
    assert made.row() == ["quarantined", "1", "logged_out"]
    assert "profile_quarantined" in made.stand.alerts()
    assert made.left() == []


@pytest.mark.parametrize("what", ["flipped", "gone", "record", *seldom("longer", "shorter")])
async def test_a_sealed_profile_that_was_altered_opens_nothing(made: Sealed, what: str) -> None:
    """A bit, a byte more or less, no blob, another's record: no browser, no effect, out of use, an alert; one code."""
    blob = next(one for one in (made.stand.home / "artifacts").rglob("*.sealed"))
    data = blob.read_bytes()
    blob.chmod(0o600)
    if what == "gone":
        blob.unlink()
    elif what == "record":
        made.stand.db.sql(f"UPDATE byokeep.profile_generation SET manifest_hash = sha256('another') {made.profile.of}")
    else:
        middle = len(data) // 2
        flipped = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        blob.write_bytes({"flipped": flipped, "longer": data + b"x", "shorter": data[:-1]}[what])
    async with made.keep() as keep, made.job(keep) as job:
        with pytest.raises(Integrity, match=r"blob_missing" if what == "gone" else r"sealed_profile_altered"):
            async with job.browser(NAME):
                pytest.fail("it was opened")
    assert (made.row(), made.left()) == (["quarantined", "1", "altered"], [])
    assert "profile_integrity" in made.stand.alerts()
    assert await made.site.effects() == 0


def other_account(text: bytes) -> bytes:
    """Its manifest says another account; everything else is as it was sealed."""
    said = json.loads(text)
    manifest = json.loads(said["manifest"])
    manifest["accounts"][0]["account_id"] = "another"
    return canonical_json(said | {"manifest": canonical_json(manifest).decode()})


def other_generation(text: bytes) -> bytes:
    record = parse_record(text)
    return replace(record, manifest=replace(record.manifest, generation=2)).canonical


def other_key(text: bytes) -> bytes:
    """A wrapped key that does not open: one character is another."""
    record = parse_record(text)
    head, _, body = record.wrapped_dek.rpartition(":")
    return replace(record, wrapped_dek=f"{head}:{body[:20]}{'A' if body[20] != 'A' else 'B'}{body[21:]}").canonical


def other_place(text: bytes) -> bytes:
    record = parse_record(text)
    return replace(record, manifest=replace(record.manifest, profile_id=ProfileId(uuid4()))).canonical


@pytest.mark.parametrize(
    "lie",
    [
        pytest.param(other_account, id="account"), pytest.param(other_key, id="key"),
        pytest.param(other_place, id="place"), pytest.param(lambda _: b"{}", id="nothing"),
        pytest.param(other_generation, id="generation", marks=pytest.mark.campaign),
        pytest.param(lambda text: text + b" ", id="spelling", marks=pytest.mark.campaign),
    ],
)  # fmt: skip
async def test_a_broker_that_hands_out_another_record_opens_nothing(
    made: Sealed, lie: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runner compares what it is given itself: no browser, no effect, nothing visible, out of use; one code."""
    real = checkout.stored

    async def lying(*given: Any, **named: Any) -> bytes:
        return lie(await real(*given, **named))

    monkeypatch.setattr(checkout, "stored", lying)
    async with made.keep() as keep, made.job(keep) as job:
        with pytest.raises(Integrity, match="sealed_profile_altered"):
            async with job.browser(NAME):
                pytest.fail("it was opened")
    assert (made.row(), made.left()) == (["quarantined", "1", "altered"], [])
    assert "profile_integrity" in made.stand.alerts()
    assert await made.site.effects() == 0


async def test_a_second_runner_hears_since_when_it_is_open(made: Sealed) -> None:
    """The same job and another one: a conflict with a time, and nothing of who has it; then it is free again."""
    async with made.keep() as keep, made.job(keep) as job, made.job(keep) as other:
        async with job.browser(NAME):
            with pytest.raises(Conflict, match="profile_in_use") as refused:
                async with other.browser(NAME):
                    pytest.fail("it was opened twice")
            assert set(refused.value.fields) <= {"since", "request_id"}
            with pytest.raises(Conflict, match="browser_open"):
                async with job.browser(NAME):
                    pytest.fail("one browser at a time")
        async with other.browser(NAME) as context:
            assert context.pages


async def test_a_runner_whose_sealing_is_broken_opens_nothing(made: Sealed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its library derives another key: one code, nothing is asked of the broker, no room, no browser, no effect."""
    monkeypatch.setattr(sealer, "_STREAM", b"another key")
    async with made.keep() as keep, made.job(keep) as job:
        with pytest.raises(Unavailable, match="sealing_self_test_failed"):
            async with job.browser(NAME):
                pytest.fail("it was opened")
        assert made.stand.db.sql(f"SELECT count(*) FROM byokeep.profile_opening {made.profile.of}").strip() == "0"
        assert (made.row(), made.left()) == (["valid", "1", ""], [])
        monkeypatch.undo()
        async with job.browser(NAME):
            pass
    assert await made.site.effects() == 0


async def test_a_runner_sweeps_what_another_s_kill_left(
    made: Sealed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a browser is open, the room of a killed runner whose guard was killed too goes; the open one works on."""
    monkeypatch.setattr(ephemeral, "EVERY_S", 0.5)
    canary_file = tmp_path / "canary"
    canary_file.write_bytes(new_canary("openai"))
    async with made.keep() as keep, made.job(keep) as job, job.browser(NAME) as context:
        left = await asyncio.to_thread(orphan, str(made.rooms), canary_file)
        until = time.monotonic() + 60
        while left.exists() and time.monotonic() < until:
            await asyncio.sleep(0.1)
        assert not left.exists()
        await context.pages[0].goto(made.page)
        await context.pages[0].wait_for_selector(READY)
    assert made.left() == []


async def test_nothing_is_recorded_and_the_session_is_not_handed_out(made: Sealed, tmp_path: Path) -> None:
    """Traces, HAR, storage state, videos and other contexts are refused on the context, its requests, its browser and
    each page, also one that is opened later or by a page; nothing is written."""
    async with made.keep() as keep, made.job(keep) as job, job.browser(NAME) as context:
        browser = context.browser
        assert browser is not None
        page = await context.new_page()
        async with context.expect_page() as opening:
            await page.evaluate("() => { window.open('about:blank') }")
        popup = await opening.value
        asked: list[Callable[[], Awaitable[Any]]] = [
            lambda: context.tracing.start(snapshots=True), context.tracing.start_chunk, context.storage_state,
            lambda: context.tracing.stop(path=tmp_path / "trace.zip"),
            lambda: context.storage_state(path=tmp_path / "state.json"),
            lambda: context.route_from_har(tmp_path / "all.har", update=True),
            lambda: context.request.storage_state(path=tmp_path / "request.json"),
            lambda: context.request.tracing.start_har(tmp_path / "request.har"),
            lambda: browser.start_tracing(page=page, path=tmp_path / "browser.json", screenshots=True),
            browser.stop_tracing, browser.new_page, lambda: browser.bind("shared"),
            lambda: browser.new_context(record_har_path=tmp_path / "new.har", record_video_dir=tmp_path),
            lambda: browser.contexts[0].storage_state(path=tmp_path / "again.json"),
        ]  # fmt: skip
        for one in (*context.pages, popup):
            asked += [
                partial(one.request.storage_state, path=tmp_path / "page.json"), one.context.storage_state,
                partial(one.route_from_har, tmp_path / "page.har", update=True),
                partial(one.screencast.start, path=tmp_path / "page.webm"),
            ]  # fmt: skip
        assert len(context.pages) >= 3
        for ask in asked:
            with pytest.raises(Denied, match="profile_stays_sealed"):
                await ask()
        await page.goto(made.page)
        assert [one.video for one in context.pages] == [None] * len(context.pages)
    assert list(tmp_path.iterdir()) == []
    assert made.row()[0] == "valid"


async def test_an_exception_of_the_block_passes_through_and_loses_nothing(
    made: Sealed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The block's own error comes out as it is; the browser closed cleanly, so what moved is sealed all the same.

    Asked every few milliseconds, also while the seal is recorded and the room is wiped: nothing is called lost.
    """
    monkeypatch.setattr(checkout, "BEAT_S", 0.005)
    async with made.keep() as keep, made.job(keep) as job:
        with pytest.raises(ZeroDivisionError):
            async with job.browser(NAME) as context:
                await context.add_cookies([{"name": "moved", "value": "before-the-error", "url": made.page}])
                raise ZeroDivisionError
    assert made.row() == ["valid", "2", ""]
    assert made.left() == []


async def test_a_browser_that_the_block_closed_is_not_sealed(made: Sealed) -> None:
    """Nobody saw how it ended: the last good generation stays, and that is said."""
    async with made.keep() as keep, made.job(keep) as job:
        with pytest.raises(Unavailable, match=r"profile_not_sealed|browser_failed"):
            async with job.browser(NAME) as context:
                await context.close()
    assert made.row() == ["valid", "1", ""]
    assert made.left() == []


@pytest.mark.parametrize("scope", ["client", *seldom("lane", "global", "client lane")])
async def test_a_kill_switch_closes_the_browser(made: Sealed, scope: str) -> None:
    """Each switch over it: no process of the browser is left within five seconds; the block ends with the reason."""
    bodies = {
        "global": {}, "client": {"client_id": str(made.client)}, "lane": {"lane": "browser"},
        "client lane": {"client_id": str(made.client), "lane": "browser"},
    }  # fmt: skip
    started, gone = 0.0, 0.0

    async def watch() -> None:
        nonlocal gone
        while made.browsers():
            await asyncio.sleep(0.05)
        gone = time.monotonic()

    async with made.keep() as keep, made.job(keep) as job:
        with pytest.raises(Denied, match=r"switch_closed|job_not_open"):
            async with job.browser(NAME) as context:
                await context.add_cookies([{"name": "moved", "value": "never-sealed", "url": made.page}])
                assert made.browsers()
                started, watching = time.monotonic(), asyncio.create_task(watch())
                body = {"reason": "a_test"} | bodies[scope]
                status, _ = await made.stand.call("POST", "/v1/switches/close", "operator", body)
                assert status == 200
                await asyncio.sleep(60)
        assert time.monotonic() - started < 45
        await watching
    assert gone - started < 45  # the job itself would have gone on for a minute
    assert made.row()[1] == "1"
    assert made.left() == []
    assert '"cause":"stopped"' in made.stand.events("profile.opening_ended")[-1]


@pytest.mark.req("R7.3-1")
async def test_a_browser_that_will_not_close_is_killed(made: Sealed) -> None:
    """Every client's browser is told to stop; one that can not answer is killed, its lock kept till then, an alert."""
    foreign = await running(made.stand)
    epoch = await foreign.opened()
    held: list[str] = []
    async with made.keep() as keep, made.job(keep) as job, made.job(keep) as other:
        started = 0.0
        with pytest.raises(Denied, match="switch_closed"):
            async with job.browser(NAME):
                stop(*made.browsers())
                started = time.monotonic()
                body = {"reason": "profile_vault_suspected", "lane": "browser"}
                assert (await made.stand.call("POST", "/v1/switches/close", "operator", body))[0] == 200
                held = made.stand.db.sql(f"SELECT until > now() FROM byokeep.profile_opening {made.profile.of}").split()
                assert (await foreign.at(f"/{epoch}/beat"))[1]["code"] == "switch_closed"
                await asyncio.sleep(60)
        assert time.monotonic() - started < 45
        for denied in (job, other):
            with pytest.raises(Denied):
                async with denied.browser(NAME):
                    pytest.fail("the lane is off")
    assert held == ["t"]
    assert checkout.BEAT_S + browser.LATE_ASK_S + browser.CLOSE_S < 5  # where the machine is not busy
    assert made.browsers() == frozenset()
    assert "browser_killed" in made.stand.alerts()
    assert '"cause":"killed"' in made.stand.events("profile.opening_ended")[-1]
    assert made.left() == []
    assert await made.site.effects() == 0


async def test_a_broker_that_is_silent_closes_the_browser(made: Sealed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who hears nothing for the broker's life may have been stopped: it closes, and nothing is sealed."""
    from byokeep.client.browser import ProfileOpening

    async with made.keep() as keep, made.job(keep) as job:
        with pytest.raises(Unavailable, match="broker_unreachable"):
            async with job.browser(NAME):

                async def silent(_: ProfileOpening) -> float:
                    raise Unavailable("broker_unreachable")

                monkeypatch.setattr(ProfileOpening, "beat", silent)
                started = time.monotonic()
                await asyncio.sleep(60)
        assert time.monotonic() - started < 45
    assert made.left() == []
    assert made.row()[1] == "1"


async def test_without_the_extra_the_error_names_it(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    """The base install has no browser: the code and the step say which extra to install, before anything is opened."""
    client = await stand.client("openai")
    real = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name.startswith("byokeep.client.browser"):
            raise ModuleNotFoundError(name)
        return real(name, *rest, **named)

    async with stand.keep() as keep, keep.job(client=client, secrets=["openai"]) as job:
        monkeypatch.setattr(builtins, "__import__", without)
        with pytest.raises(Unavailable, match="browser_extra_missing") as refused:
            async with job.browser(NAME):
                pytest.fail("there is none")
        monkeypatch.undo()
        assert "byokeep[browser]" in refused.value.next_step
        with pytest.raises(Denied, match="not_declared"):
            async with job.browser(NAME):
                pytest.fail("it was not declared")


RUNNER = """
import asyncio, sys
from pathlib import Path
from byokeep.client import Keep
from byokeep.client.settings import ClientSettings
from playwright.async_api import expect

url, runner, dispatcher, client, name, page_url, site, rooms, stay = sys.argv[1:10]

async def main():
    platform, _, account = name.partition("/")
    keep = Keep(ClientSettings(broker_url=url, runner_token_file=Path(runner), dispatcher_token_file=Path(dispatcher),
                               site_urls={platform: site}, room_dir=Path(rooms)))
    async with keep, keep.job(client=client, secrets=["profile"], platforms=[platform], effects=["publish"],
                              lanes=["browser"]) as job, job.browser(name) as context:
        page = context.pages[0]
        await page.goto(page_url)
        await page.wait_for_selector("body[data-ready]")
        async with job.effect("publish", platform=platform, account=account, key="post-0001", lane="browser"):
            await page.locator("#publish").click()
            await page.get_by_text("done", exact=True).wait_for(timeout=60_000)
        print("acted", flush=True)
        if stay == "stay":
            await asyncio.sleep(600)

asyncio.run(main())
"""


def runner(made: Sealed, place: Path, *, stay: bool = False, elsewhere: bool = False) -> subprocess.Popen[str]:
    """A runner of its own: another process, directory and home; ``elsewhere``: another host name, processes, memory."""
    made.stand.keep()  # writes the token files
    script = place / "runner.py"
    script.write_text(RUNNER)
    command = [
        sys.executable, str(script), made.stand.url, str(made.stand.home / "runner.token"),
        str(made.stand.home / "dispatcher.token"), str(made.client), NAME, made.page, made.site.sim.site_url(PLATFORM),
        str(made.rooms), "stay" if stay else "end",
    ]  # fmt: skip
    if elsewhere:
        inside = f'hostname elsewhere && mount -t tmpfs -o mode=0700 rooms {made.rooms} && exec "$@"'
        spaces = ["unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"]
        spaces += [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        command = [*spaces, "sh", "-c", inside, "sh", *command]
    source = Path(browser.__file__).parents[2]
    env = {"PATH": os.environ["PATH"], "HOME": str(place), "PYTHONPATH": str(source)}
    return subprocess.Popen(command, cwd=place, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


async def test_another_host_opens_what_this_one_sealed(made: Sealed, tmp_path: Path) -> None:
    """Another process with its own directory, host name, process numbers and memory: still logged in, acts once."""
    started = runner(made, tmp_path, elsewhere=True)
    out, err = await asyncio.to_thread(started.communicate, timeout=90)
    assert (started.returncode, out) == (0, "acted\n"), err
    assert await made.site.effects() == 1
    assert sorted(one.name for one in tmp_path.iterdir()) == ["runner.py"]
    assert made.row()[0] == "valid"


@pytest.mark.req("R2.1-11")
async def test_a_killed_runner_leaves_nothing_plain(made: Sealed, tmp_path: Path) -> None:
    """SIGKILL in the middle: within a minute no browser runs, no credential lies in memory, and none was on disk."""
    assert len(made.taken.canaries) >= 2
    started = runner(made, tmp_path, stay=True)
    assert started.stdout is not None
    assert await asyncio.to_thread(started.stdout.readline) == "acted\n"
    assert made.taken.in_memory()  # it was there while it was open
    started.kill()
    killed = time.monotonic()
    await asyncio.to_thread(started.communicate)
    while made.left() and time.monotonic() - killed < 60:
        await asyncio.sleep(0.5)
    took = time.monotonic() - killed
    assert made.left() == [], took
    for place in (tmp_path, made.stand.home):
        for file in place.rglob("*"):
            if file.is_file():
                data = file.read_bytes()
                assert not any(one in data for one in made.taken.canaries), file
    assert made.row() == ["valid", "1", ""]
    assert await made.site.effects() == 1
