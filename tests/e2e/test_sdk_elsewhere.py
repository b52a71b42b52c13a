"""A sealed profile on another machine: another user, a network of its own, a new directory; a real Chromium.

Needs root, for it makes a network and becomes somebody else. Where that can not be done the test fails and says what is
missing: whether a profile travels is what it is about.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from yarl import URL

from byokeep.client import browser
from tests.support.broker import Stand
from tests.support.sealed_profile import NAME, PLATFORM, Sealed, sealed, taken
from tests.support.website import Site, site_with_acme

pytest_plugins = ["tests.support.postgres_fixtures", "tests.support.broker"]
NOBODY = 65534
SOURCE = Path(browser.__file__).parents[2]
STASH = "/mnt/"  # seen in that mount namespace alone
TOOLS = ("unshare", "setpriv", "ip")
# Its network has no way out: the website's port is one of its own, and leads to the website by a socket that is a file.
RUNNER = """
import asyncio, os, socket, sys
from pathlib import Path
from byokeep.client import Keep
from byokeep.client.settings import ClientSettings

url, tokens, client, name, page_url, site, rooms, way, port = sys.argv[1:10]

async def copied(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()

async def led(reader, writer):
    inner, outer = await asyncio.open_unix_connection(way)
    await asyncio.gather(copied(reader, outer), copied(inner, writer), return_exceptions=True)

async def main():
    print("user", os.geteuid(), socket.if_nameindex()[0][1], flush=True)
    print("links", len(socket.if_nameindex()), flush=True)
    server = await asyncio.start_server(led, "127.0.0.1", int(port))
    platform, _, account = name.partition("/")
    keep = Keep(ClientSettings(broker_url=url, runner_token_file=Path(tokens, "runner.token"),
                               dispatcher_token_file=Path(tokens, "dispatcher.token"), site_urls={platform: site},
                               room_dir=Path(rooms)))
    async with server, keep, keep.job(client=client, secrets=["profile"], platforms=[platform], effects=["publish"],
                                      lanes=["browser"]) as job, job.browser(name) as context:
        page = context.pages[0]
        await page.goto(page_url)
        await page.wait_for_selector("body[data-ready]")
        print("vault", await page.evaluate("stored()"), flush=True)
        async with job.effect("publish", platform=platform, account=account, key="post-0001", lane="browser"):
            await page.locator("#publish").click()
            await page.get_by_text("done", exact=True).wait_for(timeout=60_000)
        print("acted", flush=True)

asyncio.run(main())
"""


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with site_with_acme() as made:
        yield made


@pytest.fixture
async def made(stand: Stand, site: Site) -> AsyncIterator[Sealed]:
    async with sealed(stand, site, await taken(site)) as one:
        yield one


@contextlib.contextmanager
def reachable(stand: Stand) -> Iterator[None]:
    """Let another user get to the sockets of broker and store: they stand for machines that anybody can call."""
    sockets = [Path(address.removeprefix("unix://")) for address in (stand.url, stand.store.address)]
    before = {path: stat.S_IMODE(path.stat().st_mode) for one in sockets for path in (one, one.parent)}
    try:
        for one in sockets:
            one.chmod(0o666)
            one.parent.chmod(before[one.parent] | 0o011)
        yield
    finally:
        for path, mode in before.items():
            path.chmod(mode)


@contextlib.asynccontextmanager
async def way_to(port: int, place: Path) -> AsyncIterator[Path]:
    """A socket in the file system that leads to a port of ours."""

    async def copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def led(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, outer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(copied(reader, outer), copied(inner, writer), return_exceptions=True)

    async with await asyncio.start_unix_server(led, place / "way.sock"):
        (place / "way.sock").chmod(0o666)
        yield place / "way.sock"


@contextlib.contextmanager
def own_of_nobody(where: str | None = None) -> Iterator[Path]:
    """A new directory of the other user's, with a short name."""
    place = Path(tempfile.mkdtemp(prefix="byk-far-", dir=where))
    os.chown(place, NOBODY, NOBODY)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def able() -> None:
    """Fail with what this machine lacks."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    assert not missing, f"these programs are missing: {missing}"
    assert os.geteuid() == 0, "only root can make a network and become another user"
    alone = ["unshare", "--net", "ip", "link", "set", "lo", "up"]
    tried = subprocess.run(alone, capture_output=True, text=True, check=False)
    assert tried.returncode == 0, f"no network of its own can be made here: {tried.stderr}"


def shown() -> str:
    """Shell: what a runner is installed from is seen by everybody there, where it lies in a home that is closed."""
    installed = (Path(os.path.realpath(sys.executable)).parents[1], Path(sys.prefix), SOURCE)
    closed: dict[Path, list[Path]] = {}
    for one in installed:
        for above in reversed(one.parents):
            if not above.stat().st_mode & stat.S_IXOTH:
                closed.setdefault(above, []).append(one)
                break
    lines = ["set -e", "mount -t tmpfs stash /mnt"]
    for home, kept in closed.items():
        for number, one in enumerate(kept):
            lines += [f"mkdir {STASH}{number}", f"mount --bind {one} {STASH}{number}"]
        lines.append(f"mount -t tmpfs -o mode=0755 home {home}")
        for number, one in enumerate(kept):
            lines += [f"mkdir -p {one}", f"mount --bind {STASH}{number} {one}"]
    return "\n".join(lines)


def elsewhere(command: list[str]) -> list[str]:
    """The command as nobody, without a capability, in a network, host name, processes and IPC of its own."""
    someone = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--inh-caps=-all",
               "--bounding-set=-all", "--no-new-privs"]  # fmt: skip
    inside = f'{shown()}\nhostname elsewhere\nip link set lo up\nexec "$@"'
    spaces = ["unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"]
    return [*spaces, "sh", "-c", inside, "sh", *someone, *command]


async def started(made: Sealed, place: Path, rooms: Path, way: Path) -> subprocess.Popen[str]:
    """Start the runner there, with copies of the tokens that are its own."""
    made.stand.keep()  # writes the token files
    for role in ("runner", "dispatcher"):
        copy = Path(shutil.copy(made.stand.home / f"{role}.token", place / f"{role}.token"))
        os.chown(copy, NOBODY, NOBODY)
    (place / "runner.py").write_text(RUNNER)
    website = made.site.sim.site_url(PLATFORM)
    command = [
        sys.executable, str(place / "runner.py"), made.stand.url, str(place), str(made.client), NAME, made.page,
        website, str(rooms), str(way), str(URL(website).port),
    ]  # fmt: skip
    env = {"PATH": os.environ["PATH"], "HOME": str(place), "PYTHONPATH": str(SOURCE)}
    return subprocess.Popen(
        elsewhere(command), cwd=place, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


async def test_another_user_in_another_network_opens_what_this_one_sealed(made: Sealed) -> None:
    """Still logged in as the right account, IndexedDB as it was sealed, acts once; nothing plain is left there."""
    able()
    port = URL(made.site.sim.site_url(PLATFORM)).port
    assert port is not None
    with own_of_nobody() as place, own_of_nobody("/dev/shm") as memory, reachable(made.stand):
        async with way_to(port, place) as way:
            rooms = memory / "rooms"
            runner = await started(made, place, rooms, way)
            out, err = await asyncio.to_thread(runner.communicate, timeout=120)
        said = dict(line.split(" ", 1) for line in out.splitlines() if " " in line)
        assert (runner.returncode, out.splitlines()[-1:]) == (0, ["acted"]), (out, err)
        assert said["user"].split() == [str(NOBODY), "lo"]
        assert said["links"] == "1"
        assert said["vault"].encode() in made.taken.canaries
        assert await made.site.effects() == 1
        assert made.row()[0] == "valid"
        assert made.taken.in_memory() == []
        for file in (*place.rglob("*"), *rooms.rglob("*")):
            assert not file.is_file() or not any(one in file.read_bytes() for one in made.taken.canaries), file
    seen = made.stand.events("account.identified")
    assert len(seen) >= 1
    assert all('"match"' in one for one in seen)


async def test_in_that_network_there_is_no_other_way(made: Sealed) -> None:
    """The same runner without the way to the website: whose it is can not be seen, so nothing is handed out."""
    able()
    with own_of_nobody() as place, own_of_nobody("/dev/shm") as memory, reachable(made.stand):
        runner = await started(made, place, memory / "rooms", place / "nowhere.sock")
        out, err = await asyncio.to_thread(runner.communicate, timeout=120)
        assert runner.returncode != 0
        assert "acted" not in out
        assert "identity_unproven" in err, err
    assert await made.site.effects() == 0
    assert made.taken.in_memory() == []
