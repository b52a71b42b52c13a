"""A person logs in once in a real Chromium; the session is packed and lives on in another directory and process."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Error

from byokeep import process
from byokeep.browser import launch, rooms
from byokeep.browser.identify import IdentityOutcome, identify
from byokeep.browser.launch import BrowserEnd, Running, running
from byokeep.browser.rooms import contents, is_kept, unpacked
from byokeep.browser.session import PortableState, digest, read, restored, taken, written
from byokeep.core.errors import ByokeepError, Conflict, Integrity, Rejected, Unavailable
from byokeep.core.identity import IdentityVerdict
from byokeep.core.secret import Secret
from byokeep.process import clean_environment
from tests.support.hang import stop
from tests.support.website import Site, expected, fresh, room, site_of, site_with_acme, start_in

LOGOUTS_ELSEWHERE = ("Login Data", "Web Data", "History", "Cache", "Sessions", "Code Cache", "LOCK", "LOG")


@dataclass
class Login:
    """What the one login left: its portable document, its directory, and what stood in the page."""

    site: Site
    document: Secret
    directory: Path
    visits: str

    @property
    def state(self) -> PortableState:
        return read(self.document)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def login() -> AsyncIterator[Login]:
    with room() as place:
        async with site_with_acme() as site:
            async with running(start_in(place)) as browser:
                await site.log_in(browser.page)
                assert (await identify(browser.page, site_of(), site.place())).outcome is IdentityOutcome.IDENTIFIED
                visits = await browser.page.evaluate("sessionStorage.getItem('visits')")
                document = written(await taken(browser))
            assert browser.ended == BrowserEnd(clean=True, killed=0)
            yield Login(site, document, place / "p", visits)


@pytest.fixture
def place() -> Iterator[Path]:
    with room() as found:
        yield found


def copied(login: Login, place: Path, name: str = "p") -> Path:
    """The full packing as the archive carries it: the kept files alone."""
    target = place / name
    target.mkdir(mode=0o700)
    for path in contents(login.directory):
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(login.directory / path, target / path)
    unpacked(target)
    return target


async def still_acme(browser: Running, site: Site) -> None:
    seen = await identify(browser.page, site_of(), site.place())
    assert seen.outcome is IdentityOutcome.IDENTIFIED, seen
    assert seen.compared(expected()).verdict is IdentityVerdict.MATCH


async def refused(coroutine: object, kind: type[ByokeepError], code: str) -> None:
    with pytest.raises(kind) as caught:
        await coroutine  # type: ignore[misc]
    assert caught.value.code == code


async def test_the_portable_packing_lives_on_in_a_clean_browser(login: Login) -> None:
    """Both cookies, localStorage, IndexedDB and sessionStorage are there in another directory and process."""
    state = login.state
    assert {one["name"]: one["expires"] == -1 for one in state.cookies} == {"auth_token": False, "client_id": True}
    assert all(one["httpOnly"] for one in state.cookies)
    logins = (await login.site.show("site"))["logins"]
    async with fresh() as browser:
        await restored(browser, state)
        assert await browser.page.evaluate("location.href") == "about:blank"
        await still_acme(browser, login.site)
        assert int(await browser.page.evaluate("sessionStorage.getItem('visits')")) == int(login.visits) + 1
        again = await taken(browser)
    assert (await login.site.show("site"))["logins"] == logins
    assert digest(again) != digest(state)  # one more visit is in the tab's storage
    assert [dict(one) for one in again.cookies] == [dict(one) for one in state.cookies]


async def test_a_session_goes_into_a_clean_browser_alone(login: Login) -> None:
    """One that only lay there has the same digest; another over it is refused, and leaves it alone."""
    async with fresh() as browser:
        await restored(browser, login.state)
        again = await taken(browser, also=login.state.visited())
        assert digest(again) == digest(login.state)
        assert digest(again, Secret(b"k" * 32)) != digest(again)
        await refused(restored(browser, login.state), Conflict, "profile_not_clean")
        await still_acme(browser, login.site)


async def test_the_full_packing_lives_on_from_its_files(login: Login, place: Path) -> None:
    """The kept files alone, in a new directory, are still logged in; looking is no effect, a button is one."""
    before = await login.site.effects()
    paths = contents(login.directory)
    assert rooms._cookies(login.directory) == 2
    assert all(is_kept(path) for path in paths)
    assert not any(name in path.split("/") for name in LOGOUTS_ELSEWHERE for path in paths), paths
    assert any("IndexedDB" in path for path in paths)
    assert sum((login.directory / path).stat().st_size for path in paths) < 4 * 1024 * 1024
    copied(login, place)
    async with running(start_in(place)) as browser:
        assert [page.url for page in browser.context.pages] == ["about:blank"]
        assert {one["name"] for one in await browser.context.cookies()} == {"auth_token", "client_id"}
        await still_acme(browser, login.site)
        workers = await browser.page.evaluate("navigator.serviceWorker.getRegistrations().then(all => all.length)")
        assert workers == 1
        assert await login.site.effects() == before
        for button in ("#publish", "#like"):
            async with browser.page.expect_response(lambda reply: reply.request.method == "POST"):
                await browser.page.locator(button).click()
        assert await login.site.effects() == before + 2
    assert browser.ended == BrowserEnd(clean=True, killed=0)
    assert contents(place / "p")
    assert rooms._cookies(place / "p") == 2


async def test_a_killed_browser_is_not_packed(login: Login, place: Path) -> None:
    """Killed within the time in which cookies are only in memory, its directory is refused, also after a clean one."""
    start = start_in(place)
    copied(login, place, "q")
    for name in ("p", "q"):
        start = start_in(place, name)
        async with running(start) as browser:
            await login.site.log_in(browser.page)
            for pid in launch.of_directory(start.directory):
                os.kill(pid, signal.SIGKILL)
        assert browser.ended is not None
        assert not browser.ended.clean
        with pytest.raises(Conflict) as caught:
            contents(start.directory)
        assert caught.value.code == "not_closed_cleanly"


async def test_a_browser_that_will_not_close_is_killed_whole(place: Path) -> None:
    """A stopped browser answers nothing: its whole tree is killed, that is said, and nothing of it is left."""
    from byokeep.browser import launch

    patience, launch.CLOSE_S = launch.CLOSE_S, 1.0  # type: ignore[misc]
    try:
        async with running(start_in(place)) as browser:
            family = launch.of_directory(place / "p")
            assert len(family) > 2
            stop(*family)
    finally:
        launch.CLOSE_S = patience  # type: ignore[misc]
    assert browser.ended is not None
    assert not browser.ended.clean
    assert browser.ended.killed >= len(family) - 1
    assert launch.of_directory(place) == frozenset()


async def test_a_second_browser_on_a_directory_is_refused(place: Path) -> None:
    """A directory has one browser; packing waits for it as well."""
    start = start_in(place)
    async with running(start) as browser:
        await refused(running(start).__aenter__(), Conflict, "profile_in_use")
        with pytest.raises(Conflict):
            contents(start.directory)
        assert browser.ended is None


async def test_another_machines_lock_does_not_stop_a_restored_profile(login: Login, place: Path) -> None:
    """A lock is never packed, and one that came along from elsewhere is taken away before the start."""
    assert not any("Singleton" in path for path in contents(login.directory))
    assert not is_kept("SingletonLock")
    copied(login, place)
    assert socket.gethostname() != "otherhost"
    (place / "p" / "SingletonLock").symlink_to("otherhost-4242")
    async with running(start_in(place)) as browser:
        await still_acme(browser, login.site)


async def test_a_cookie_of_somebodys_keyring_is_refused(login: Login, place: Path) -> None:
    """One v11 row among good ones refuses the packing and the unpacking."""
    target = copied(login, place)
    with closing(sqlite3.connect(target / "Default/Cookies")) as database:
        (value,) = database.execute("SELECT encrypted_value FROM cookies WHERE is_persistent").fetchone()
        assert value[:3] == b"v10"
        database.execute("UPDATE cookies SET encrypted_value = ? WHERE is_persistent", (b"v11" + value[3:],))
        database.commit()
    for look in (contents, unpacked):
        with pytest.raises(Rejected) as caught:
            look(target)
        assert caught.value.code == "cookie_not_portable"


async def test_an_unfinished_write_of_cookies_is_refused(login: Login, place: Path) -> None:
    """A journal with something in it is a transaction that was cut off, whatever the settings say of the end."""
    target = copied(login, place)
    (target / "Default/Cookies-journal").write_bytes(b"")
    assert contents(target)
    assert rooms._cookies(target) == 2
    (target / "Default/Cookies-journal").write_bytes(bytes(512))
    with pytest.raises(Conflict) as caught:
        contents(target)
    assert caught.value.code == "not_closed_cleanly"


async def test_what_a_packing_would_not_write_is_not_unpacked(login: Login, place: Path) -> None:
    """A saved password, a link, a damaged table of cookies: none is let into a browser."""
    for number, spoil in enumerate(
        (
            lambda target: (target / "Default/Login Data").write_bytes(b"SQLite format 3\0"),
            lambda target: (target / "Default/IndexedDB/x").symlink_to("/etc/passwd"),
            lambda target: (target / "Default/Cookies").write_bytes(b"SQLite format 3\0" + bytes(4096)),
        )
    ):
        target = copied(login, place, f"p{number}")
        spoil(target)
        with pytest.raises(Integrity) as caught:
            unpacked(target)
        assert caught.value.code == "profile_damaged"


async def test_a_key_of_the_browsers_own_refuses_the_portable_packing(login: Login) -> None:
    """A key that can not be read out is not left out in silence: the whole profile has to be packed."""
    async with fresh() as browser:
        await browser.page.goto(login.site.place().at(site_of().login))
        await browser.page.evaluate(
            """async () => { const key = await crypto.subtle.generateKey(
                 {name: 'ECDSA', namedCurve: 'P-256'}, false, ['sign']);
               await new Promise(done => { const open = indexedDB.open('keys', 1);
                 open.onupgradeneeded = () => open.result.createObjectStore('own');
                 open.onsuccess = () => { const tx = open.result.transaction('own', 'readwrite');
                   tx.objectStore('own').put({deep: [key]}, 1);
                   tx.oncomplete = () => { open.result.close(); done(); }; };
               }); }"""
        )
        await refused(taken(browser), Rejected, "state_not_portable")


async def test_a_directory_that_others_may_read_is_not_used(place: Path) -> None:
    """Mode 0755 or a link is refused before anything is written."""
    start = start_in(place)
    start.directory.chmod(0o755)
    await refused(running(start).__aenter__(), Rejected, "profile_directory_open")
    start.directory.rmdir()
    start.directory.symlink_to(place / "s")
    await refused(running(start).__aenter__(), Rejected, "profile_directory_open")


async def test_a_browser_that_does_not_start_says_so(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own words, which hold paths, are dropped."""
    monkeypatch.setattr("byokeep.browser.launch.find_chromium", lambda: Path("/bin/false"))
    await refused(running(start_in(place)).__aenter__(), Unavailable, "browser_not_started")


async def test_the_browser_calls_nobody_by_itself(place: Path) -> None:
    """Through a proxy that notes every call, loopback included, nothing is asked for but the page that we open; it is
    the only page that is loaded, and what Playwright switches off stays off."""
    asked: list[bytes] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
        await writer.drain()
        writer.close()

    proxy = await asyncio.start_server(note, "127.0.0.1", 0)
    try:
        address = f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
        async with running(start_in(place, proxy=address)) as browser:
            await browser.page.goto("http://a.example/page")
            await asyncio.sleep(8)  # without our last two switches it asks Google within that
            assert browser.context.browser is not None
            protocol = await browser.context.browser.new_browser_cdp_session()
            loaded = [one["url"] for one in (await protocol.send("Target.getTargets"))["targetInfos"]]
            told = [switches_of(pid) for pid in launch.of_directory(place / "p")]
    finally:
        proxy.close()
        await proxy.wait_closed()
    others = [line for line in asked if not line.startswith(b"GET http://a.example/")]
    assert asked
    assert others == []
    assert loaded == ["http://a.example/page"]
    (playwrights, ours) = next(
        [set(one.partition("=")[2].split(",")) for one in switches if one.startswith("--disable-features=")]
        for switches in told if "--remote-debugging-pipe" in switches
    )  # fmt: skip
    assert playwrights < ours


async def test_no_setting_leads_the_browser_to_a_proxy(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even one that lies in the directory at the start counts for nothing: only what a start names is asked."""
    asked: list[bytes] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.close()

    async with await asyncio.start_server(note, "127.0.0.1", 0) as proxy:
        server = f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
        planted = {"proxy": {"mode": "fixed_servers", "server": server, "bypass_list": "<-loopback>"}}

        def plant(directory: Path) -> None:
            (directory / "Default").mkdir()
            (directory / launch.PREFERENCES).write_text(json.dumps(planted))

        monkeypatch.setattr("byokeep.browser.launch.settle", plant)
        async with running(start_in(place)) as browser:
            with pytest.raises(Error):
                await browser.page.goto("http://a.invalid/")
    assert asked == []


def switches_of(pid: int) -> list[str]:
    one = process.running(pid)
    return [] if one is None else [*map(os.fsdecode, one.arguments)]


@pytest.mark.usefixtures("own_drivers")
async def test_a_cancelled_job_leaves_no_browser(place: Path) -> None:
    """Cancelled in the block or at its start, nothing runs afterwards."""
    for wait_s in (0.7, 4.0):
        task = asyncio.ensure_future(_sleeps(place))
        await asyncio.sleep(wait_s)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert launch.of_directory(place / "p") == frozenset()


@pytest.mark.usefixtures("own_drivers")
async def test_a_job_that_is_cancelled_again_and_again_leaves_no_browser(place: Path) -> None:
    """As anyio does, while the browser starts: when the job has ended, so has the browser, and its driver."""
    before, task = {*process.below(os.getpid())}, asyncio.ensure_future(_sleeps(place))
    while not launch.of_directory(place / "p"):
        await asyncio.sleep(0.01)
    while not task.done():
        task.cancel()
        await asyncio.sleep(0)
    assert task.cancelled()
    assert {*process.below(os.getpid())} <= before


async def test_another_users_process_that_names_the_directory_counts_for_nothing(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps no profile in use, is not waited for, and is not ended; one of ours does, and is."""
    with subprocess.Popen(["sh", "-c", "read x", "sh", f"--user-data-dir={place / 'p'}"], stdin=subprocess.PIPE) as one:
        with monkeypatch.context() as other:
            other.setattr(os, "geteuid", lambda: 65534)
            assert launch.of_directory(place / "p") == frozenset()
            assert await launch.end_all(place) == 0
        assert launch.of_directory(place / "p") == {one.pid}
        assert await launch.end_all(place) == 1
        assert one.wait() == -signal.SIGKILL


async def _sleeps(place: Path) -> None:
    async with running(start_in(place)):
        await asyncio.sleep(60)


async def test_long_names_of_folders_are_refused(place: Path) -> None:
    """Chromium would fail on its socket with words of its own."""
    scratch = place / ("s" * 80)
    scratch.mkdir(mode=0o700)
    start = replace(start_in(place), scratch=scratch)
    await refused(running(start).__aenter__(), Rejected, "profile_path_too_long")


JOB = """
import asyncio, sys
from pathlib import Path
from byokeep.browser.launch import Start, running
async def work():
    place = Path(sys.argv[1])
    async with running(Start(directory=place / "p", scratch=place / "s")):
        print("ready", flush=True)
        await asyncio.sleep(60)
asyncio.run(work())
"""


async def test_a_killed_job_takes_its_browser_along(place: Path) -> None:
    """SIGKILL of the process that drives it ends the browser within seconds; a sweep ends one that would stay."""
    start_in(place)
    job = await asyncio.create_subprocess_exec(
        sys.executable, "-c", JOB, str(place), stdout=asyncio.subprocess.PIPE, env=clean_environment(PYTHONPATH="src")
    )
    assert job.stdout is not None
    assert await asyncio.wait_for(job.stdout.readline(), 60) == b"ready\n"
    family = launch.of_directory(place)
    assert len(family) > 2
    job.kill()
    await job.wait()
    assert await launch.gone(place / "p", within_s=10)
    assert await launch.end_all(place) == 0
