"""A start waits while there is progress, says so, and ends with what was slow; on a clock of the test's own."""

from __future__ import annotations

import errno
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from unittest.mock import AsyncMock

import pytest

from byokeep import demo
from byokeep.cli.terminal import TerminalSession, current
from byokeep.core.errors import Unavailable
from byokeep.core.secret import Secret
from byokeep.demo import Broken
from byokeep.process import Progress
from byokeep.processes import supervisor, wiring
from byokeep.processes.supervisor import started
from byokeep.settings import Settings


class Part:
    """A process that answers as told, on a clock that moves a second with each look."""

    pid = 0

    def __init__(self, answers: list[object], *, dies_after: int = 10**9) -> None:
        self.now, self.looks, self.answers, self.dies_after = 0.0, 0, answers, dies_after
        self.said: list[str] = []

    def poll(self) -> int | None:
        return 1 if self.looks >= self.dies_after else None

    async def look(self) -> object:
        self.looks += 1
        return self.answers[min(self.looks, len(self.answers)) - 1]

    async def sleep(self, _: float) -> None:
        self.now += 1.0

    async def started(self, log_dir: Path) -> None:
        progress = Progress(stall_s=60.0, clock=lambda: self.now)
        await started(
            "web", self, self.look, log_dir=log_dir, say=self.said.append, progress=progress, sleep=self.sleep,  # type: ignore[arg-type]
        )  # fmt: skip


async def test_a_slow_part_is_waited_for_while_it_gets_somewhere(tmp_path: Path) -> None:
    """Four hundred seconds with a change every forty: it is ready in the end, and was told of all the while."""
    part = Part([f"state-{n // 40}" for n in range(400)] + [True])
    await part.started(tmp_path)
    assert part.looks == 401
    assert part.said[0] == "web is still starting (5 s)"
    assert len(part.said) == 27  # into a pipe: one in 15 s


async def test_a_growing_log_is_progress(tmp_path: Path) -> None:
    """The same answer again and again, and a line in the log now and then."""
    part = Part(["silent"] * 200 + [True])
    look = part.look

    async def writing() -> object:
        if part.looks % 50 == 0:
            with (tmp_path / "web.log").open("a") as log:
                log.write("{}\n")
        return await look()

    part.look = writing  # type: ignore[method-assign]
    await part.started(tmp_path)
    assert part.looks == 201


async def test_a_part_that_gets_nowhere_is_named(tmp_path: Path) -> None:
    """Sixty seconds without any change: exit code 4, the part and what to do; of another command there is no word."""
    part = Part(["silent"])
    with pytest.raises(Unavailable, match="part_not_ready") as caught:
        await part.started(tmp_path)
    assert part.looks == 61
    assert caught.value.exit_code == 4
    assert caught.value.fields["part"] == "web"
    assert caught.value.next_step == (
        "web made no progress for 60 s: see web.log in the log directory; start it again when the machine is less busy."
    )


async def test_a_part_that_ends_is_not_waited_for(tmp_path: Path) -> None:
    """Its exit is noticed at the next look."""
    part = Part(["silent"], dies_after=3)
    (tmp_path / "web.err").write_bytes(b"Traceback")
    with pytest.raises(Unavailable, match="part_not_ready") as caught:
        await part.started(tmp_path)
    assert part.looks == 3
    assert caught.value.next_step == "web ended by itself: see web.err in the log directory."


@pytest.mark.parametrize(
    ("error", "code"), [(Unavailable("part_not_ready", part="web"), 4), (Broken("two effects"), 5), (None, 0)]
)
async def test_the_demo_tells_a_slow_machine_from_a_broken_claim(
    monkeypatch: pytest.MonkeyPatch, error: Exception | None, code: int
) -> None:
    """What could not be shown is exit code 4; what was shown to be wrong is 5."""

    async def step(_: object) -> str:
        """Do something."""
        if error is not None:
            raise error
        return "seen"

    class Stage:
        async def __aenter__(self) -> object:
            return object()

        async def __aexit__(self, *_: object) -> None:
            return None

    current.set(TerminalSession(settings=Settings(), as_json=True))
    monkeypatch.setattr(demo, "STEPS", {step: "a claim"})
    monkeypatch.setattr(demo, "scene", lambda *_, **__: Stage())
    assert await demo.run(as_json=True) == code


@pytest.mark.parametrize(("code", "calls"), [("database_busy", 2), ("database_unavailable", 1)])
async def test_the_demo_asks_a_busy_machine_again(monkeypatch: pytest.MonkeyPatch, code: str, calls: int) -> None:
    """What was refused because it was busy was not done; anything else ends the demo."""
    asked = AsyncMock(side_effect=[Unavailable(code), {"id": "x"}])
    monkeypatch.setattr(demo, "call", asked)
    monkeypatch.setattr(demo.asyncio, "sleep", AsyncMock())
    stage = demo.Scene(Path(), *[AsyncMock()] * 3, tokens={"admin": Secret(b"x")})
    with nullcontext() if calls > 1 else pytest.raises(Unavailable):
        assert await stage.api("admin", "GET", "/v1/self") == {"id": "x"}
    assert asked.await_count == calls


@pytest.mark.parametrize("where", ["log", "start"])
async def test_a_start_on_a_full_disk_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """Whatever could not be written: exit code 4, and what the disk lacks."""

    def full(*_: object, **__: object) -> None:
        if where == "log":
            raise OSError(errno.ENOSPC, "")

    async def start(_: object) -> None:
        raise OSError(errno.ENOSPC, "")

    monkeypatch.setattr(supervisor.log, "configure", full)
    monkeypatch.setattr(supervisor.Stack, "start", start)
    with pytest.raises(Unavailable, match="home_unusable") as caught:
        await supervisor.up(replace(Settings(), home=tmp_path / "home"), say=lambda _: None, ready=lambda _: None)
    assert "has room" in caught.value.next_step


async def test_what_engines_print_does_not_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full log is kept as NAME.1, closed to others, and emptied while its program holds it open; others stay."""
    settings, elsewhere = replace(Settings(), home=tmp_path, log_dir=str(tmp_path / "other")), tmp_path / "other"
    for place in (tmp_path / "logs", elsewhere):
        place.mkdir()
    full = [tmp_path / "logs" / "postgres.log", elsewhere / "web.err"]
    monkeypatch.setattr(supervisor.log, "FULL", 8)
    (tmp_path / "logs" / "openbao.log").write_text("short")
    held = [file.open("a") for file in full]
    for out in held:
        out.write("a long line\n")
        out.flush()
    await supervisor._empty_logs(settings)
    for out in held:
        out.write("on\n")
        out.close()
    assert [file.read_text() for file in full] == ["on\n"] * 2
    kept = [file.with_name(f"{file.name}.1") for file in full]
    assert [(file.read_text(), file.stat().st_mode & 0o777) for file in kept] == [("a long line\n", 0o600)] * 2
    assert (tmp_path / "logs" / "openbao.log").read_text() == "short"


def test_a_leak_check_looks_where_each_part_logs(tmp_path: Path) -> None:
    """The engines log in the home, wherever ours do: otherwise no key would ever pass the check."""
    logs = wiring._log_files(replace(Settings(), home=tmp_path, log_dir=str(tmp_path / "other"))).logs
    engines = {tmp_path / "logs" / "openbao.log", tmp_path / "logs" / "postgres.log"}
    assert engines <= set(logs)
    assert {one.parent for one in set(logs) - engines} == {tmp_path / "other"}
