"""The supervisor's watch: what it does when a look fails, something takes long, or it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock

import pytest

from byokeep.cli import drill, servers, terminal
from byokeep.cli.terminal import TerminalSession, current
from byokeep.core.errors import Unavailable
from byokeep.processes import supervisor
from byokeep.processes.platform_secrets import was_cut_off
from byokeep.processes.supervisor import Child, Stack
from byokeep.processes.wiring import embedded_store
from byokeep.settings import Settings
from byokeep.worker import own_token


class Program:
    """A child that has died, or runs."""

    def __init__(self, code: int | None = None) -> None:
        self.pid, self.returncode, self._code = os.getpid(), code, code

    def poll(self) -> int | None:
        return self._code

    def send_signal(self, _: int) -> None:
        self._code = 0


class Part:
    """A store that has died and starts once ``room`` says so."""

    def __init__(self) -> None:
        self.pid, self.tries, self.room = 0, list[float](), asyncio.Event()
        self.full = True

    async def start(self) -> None:
        self.tries.append(time.monotonic())
        if self.full:
            raise OSError(errno.ENOSPC, "no room")
        await self.room.wait()
        self.pid = os.getpid()

    async def stop(self) -> None:
        self.pid = 0


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """A stack of one broker that died long ago, of an ordinary user whose umask lets a group write."""
    before = os.umask(0o002)
    found = Stack(replace(Settings(), home=tmp_path))
    broker: Any = Program(1)
    found._children["broker"] = Child("broker", broker, time.monotonic() - 100)
    monkeypatch.setattr(supervisor, "spawn", lambda *_, **__: Program())
    monkeypatch.setattr(supervisor, "_PAUSE_S", 0.01)
    yield found
    os.umask(before)


@contextlib.asynccontextmanager
async def watched(stack: Stack) -> AsyncIterator[asyncio.Task[None]]:
    watch = asyncio.create_task(stack.run())
    yield watch
    stack.ask_to_stop()
    await asyncio.wait_for(watch, 60)
    await stack.stop()


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not done():
            await asyncio.sleep(0.01)


async def test_a_full_disk_ends_no_stack(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that cannot be started, and a file that cannot be written: the watch goes on, and does it when it can."""
    tried: list[str] = []

    def no_room(*_: object, **__: object) -> Any:
        tried.append("no room")
        raise OSError(errno.ENOSPC, "no room")

    place = stack.settings.home / "stack.json"
    async with watched(stack) as watch:
        with monkeypatch.context() as full:
            full.setattr(supervisor, "spawn", no_room)
            full.setattr(supervisor, "durable_write", no_room)
            await until(lambda: len(tried) > 3)
            assert not watch.done()
            assert not place.exists()
        await until(lambda: stack._children["broker"].process.poll() is None and place.exists())
        assert f'"broker": {os.getpid()}' in place.read_text()
        assert place.stat().st_mode & 0o022 == 0


def test_a_part_that_dies_for_days_is_started_again(stack: Stack) -> None:
    """However often it died: each time it is started, after the longest pause."""
    stack._children["broker"].deaths = 5_000
    stack._children["broker"].started = time.monotonic() - 30
    stack._revive()
    assert stack._children["broker"].process.poll() is None
    assert stack._children["broker"].deaths == 5_001


async def test_credentials_that_were_moved_away_end_no_stack(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a root of the store may be alive, too, for which a rotation is looked for all the time."""
    live = embedded_store(stack.settings).root_live
    live.parent.mkdir(parents=True, exist_ok=True)
    live.touch()
    looked: list[bool] = []
    monkeypatch.setattr(supervisor, "was_cut_off", lambda settings: looked.append(was_cut_off(settings)))
    monkeypatch.setattr(supervisor, "CUT_OFF_S", 0.0)
    async with watched(stack) as watch:
        await until(lambda: watch.done() or len(looked) > 1)
    assert looked[:2] == [False, False]


async def test_what_takes_long_keeps_nobody_from_being_started_or_stopped(stack: Stack) -> None:
    """The store fails again and again, with longer pauses, then hangs in its start: a broker that dies meanwhile is
    started, and who says stop is heard at once."""
    part: Any = Part()
    stack._parts["store"] = part
    async with watched(stack):
        await until(lambda: len(part.tries) > 5)
        pauses = [after - before for before, after in zip(part.tries, part.tries[1:], strict=False)]
        assert pauses[4] >= 16 * supervisor._PAUSE_S  # a busy machine makes them longer, never shorter
        part.full = False
        before = len(part.tries)
        await until(lambda: len(part.tries) > before)
        broker: Any = Program(1)
        stack._children["broker"] = Child("broker", broker, time.monotonic() - 100)
        await until(lambda: stack._children["broker"].process is not broker)
        assert part.pid == 0, "it still hangs"
    assert stack._beside == {}


async def test_what_cannot_be_renewed_keeps_nothing_else_back(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk without room, a refusal, a fault of ours: each act of the hour comes by itself, and no stack ends."""
    came: list[str] = []
    ends = {"renew_machines": OSError(errno.ENOSPC, "x"), "rotate_if_due": Unavailable("credentials_unsafe"),
            "backup_if_due": KeyError("x")}  # fmt: skip

    def act(name: str) -> Callable[[Settings], Any]:
        async def work(_: Settings) -> None:
            came.append(name)
            raise ends[name]

        return work

    for name in ends:
        monkeypatch.setattr(supervisor, name, act(name))
    monkeypatch.setattr(supervisor.drill_place, "clear", lambda _: came.append("drill"))
    monkeypatch.setattr(supervisor, "AN_HOUR_S", 0.0)
    async with watched(stack) as watch:
        await until(lambda: {*ends, "drill"} <= set(came))
        assert not watch.done()
    assert came[:2] == ["renew_machines", "rotate_if_due"]


async def test_a_backup_that_hangs_keeps_no_token_from_its_renewal(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a mount that does not answer: what the hour asks for comes again and again, and one backup waits."""
    came: list[str] = []

    async def hangs(_: Settings) -> None:
        came.append("backup")
        await asyncio.Event().wait()

    async def renewed(_: Settings) -> None:
        came.append("tokens")

    monkeypatch.setattr(supervisor, "backup_if_due", hangs)
    monkeypatch.setattr(supervisor, "renew_machines", renewed)
    monkeypatch.setattr(supervisor, "rotate_if_due", renewed)
    monkeypatch.setattr(supervisor, "AN_HOUR_S", 0.0)
    async with watched(stack):
        await until(lambda: came.count("tokens") > 4)
    assert came.count("backup") == 1


async def test_a_start_that_is_told_to_stop_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first signal ends a start under way, and a second one does not cut off what is stopped then. The home is as
    closed as it must be from its first moment."""
    told: list[Callable[[], None]] = []
    seen: list[str] = []

    async def start(_: Stack) -> None:
        seen.append("starting")
        try:
            await asyncio.sleep(60)
        finally:
            told[0]()
            await asyncio.sleep(0.01)
            seen.append("stopped")

    monkeypatch.setattr(Stack, "start", start)
    home, modes = tmp_path / "home", list[int]()
    monkeypatch.setattr(supervisor.log, "configure", lambda *_, **__: modes.append(home.stat().st_mode & 0o066))
    monkeypatch.setattr(asyncio.get_running_loop(), "add_signal_handler", lambda _, act: told.append(act))
    running = asyncio.create_task(
        supervisor.up(replace(Settings(), home=home), say=seen.append, ready=lambda _: seen.append("ready"))
    )
    await until(lambda: seen == ["starting"])
    told[0]()
    await asyncio.wait_for(running, 50)
    assert seen == ["starting", "stopped"]
    assert modes == [0], "the home is there, closed to others, before anything opens a log in it"


def test_the_directory_in_which_somebody_starts_it_runs_nothing(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where anybody may write, a module of that directory is not loaded by what is started as our processes are."""
    commands: list[list[str]] = []
    monkeypatch.setattr(supervisor, "spawn", lambda command, *_, **__: commands.append(command) or Program())
    stack._spawn("broker")
    ((python, option, module, *_),) = commands
    assert module == "byokeep.cli"
    planted = stack.settings.home / "planted.py"
    planted.write_text("print('ran')")
    for given, ran in ((option, False), ("-m", True)):  # the second shows that this would see it
        done = subprocess.run([python, given, "planted"], cwd=planted.parent, capture_output=True, check=False)
        assert (b"ran" in done.stdout) is ran


def test_nobody_listening_ends_no_stack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """``byokeep up`` into a pipe whose reader has gone: what is said is lost, and nothing else."""
    lost: list[str] = []

    class Closed:
        is_terminal = False

        def print(self, *_: object, **__: object) -> None:
            lost.append("said")
            raise BrokenPipeError

    async def up(settings: Settings, *, say: Callable[[str], None], ready: Callable[[object], None]) -> None:
        say("broker died: starting it again")
        ready(SimpleNamespace(settings=settings, web_url="http://127.0.0.1:1", broker_url="http://127.0.0.1:2"))
        lost.append("runs")

    for name in ("out", "err"):
        monkeypatch.setattr(terminal, name, Closed())
    for name in ("harden", "refuse_environment"):
        monkeypatch.setattr(servers, name, lambda: None)
    monkeypatch.setattr(servers, "load", lambda _: SimpleNamespace(up=up))
    current.set(TerminalSession(settings=Settings(home=tmp_path), as_json=False))
    servers.up()
    assert lost == ["said", "said", "runs"]
    drill._say("restore")  # it has keys in clear, which it still removes
    assert lost[3:] == ["said"]


async def test_a_token_whose_renewal_fails_in_any_way_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker of another release answers without a field: people are told, and the next look comes all the same."""
    alert, sleep = AsyncMock(), AsyncMock()
    renew = AsyncMock(side_effect=[KeyError("token_since"), True, asyncio.CancelledError])
    for name, act in (("renew", renew), ("open_alert", alert), ("asyncio", SimpleNamespace(sleep=sleep))):
        monkeypatch.setattr(own_token, name, act)
    app: Any = SimpleNamespace(db=SimpleNamespace(begin=lambda **_: contextlib.nullcontext()), system=lambda: None)
    settings: Any = None
    with pytest.raises(asyncio.CancelledError):
        await own_token.keep(app, settings)
    assert (alert.await_count, sleep.await_count) == (1, 2)
