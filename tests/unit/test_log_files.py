"""The search of the logs: everything since a time, and not much more, however large the logs have grown."""

from __future__ import annotations

import json
import os
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from byokeep.core.secret import Secret
from byokeep.process import is_held
from byokeep.telemetry import log as telemetry
from byokeep.worker import ports
from byokeep.worker.ports import EARLIER, LogFiles, _lines_since, _tail
from byokeep_redact.canary import new_canary

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
LINES = 5_000  # one each tenth of a second


def line(number: int, **more: str) -> bytes:
    at = (NOW - timedelta(seconds=(LINES - number) / 10)).isoformat()
    return json.dumps({"at": at, "event": "request", "request_id": "0" * 32, **more}).encode()


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    return [line(number) for number in range(LINES)]


@pytest.mark.parametrize("back_s", [0, 1, 30, 150, 499, 5000])
async def test_a_value_written_since_then_is_found_wherever_it_stands(
    lines: list[bytes], tmp_path: Path, back_s: int
) -> None:
    """The first line of the span, the last one and one without a time are searched, and no line is lost to a count."""
    since = NOW - timedelta(seconds=back_s)
    first = max(LINES - back_s * 10, 0)
    for place in {min(first, LINES - 1), LINES - 1}:
        value = new_canary("openai")
        for planted in (line(place, said=value.decode()), b"no time here: " + value):
            log = tmp_path / f"{secrets.token_hex(4)}.log"
            log.write_bytes(b"\n".join([*lines[:place], planted, *lines[place:]]) + b"\n")
            count = await LogFiles(logs=[log], spans=[log]).search(Secret(value), since)
            assert count.readable
            assert count.found == 2
            assert count.lines >= min(back_s * 10, LINES)


def test_what_is_older_is_left_out_and_what_has_no_time_is_not(lines: list[bytes], tmp_path: Path) -> None:
    """A long log costs what was written since; lines that say no time are all searched."""
    log = tmp_path / "long.log"
    log.write_bytes(b"\n".join(lines) + b"\n")
    since = NOW - timedelta(seconds=30)
    data = _tail(log, since)
    assert data is not None
    recent = [json.loads(one)["at"] for one in _lines_since(data, since - EARLIER)]
    assert len(recent) == 400
    assert min(recent) == (since - EARLIER).isoformat()
    assert len(_lines_since(b"plain words\n" * 50_000, since)) == 50_000


@pytest.mark.req("S-OWASP-16")
async def test_a_full_log_is_begun_anew_and_searched_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several writers of one file begin it anew once; what stood before is searched, too, and no line is lost."""
    monkeypatch.setattr(telemetry, "FULL", 2000)
    monkeypatch.setattr(ports, "TAIL", 2000)
    log, value, since = tmp_path / "shared.log", new_canary("openai"), NOW - timedelta(hours=1)
    writers = [telemetry.Lossy(log) for _ in range(3)]
    written = [line(number, by=str(number % 3)).decode() for number in range(LINES - 30, LINES)]
    written[14] = line(LINES - 16, said=value.decode()).decode()
    for number, text in enumerate(written):
        writers[number % 3].write(text + "\n")
    older = tmp_path / "shared.log.1"
    assert {file.name for file in tmp_path.iterdir()} == {log.name, older.name}
    assert log.stat().st_mode & 0o777 == 0o600
    kept = (older.read_text() + log.read_text()).splitlines()
    assert kept == written[-len(kept) :]
    assert len(kept) > 2000 // len(written[0])
    assert value.decode() in older.read_text()
    count = await LogFiles(logs=[log], spans=[log]).search(Secret(value), NOW - timedelta(seconds=2))
    assert (count.readable, count.found) == (True, 2)
    assert not (await LogFiles(logs=[log], spans=[log]).search(Secret(value), since)).readable, "some of that is gone"


def test_a_full_log_that_cannot_be_moved_loses_lines_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No descriptor for each line, and nobody who shares the file waits for it; once it can be, it is begun anew."""
    monkeypatch.setattr(telemetry, "FULL", 200)
    log, place = tmp_path / "shared.log", tmp_path / "shared.log.1"
    (place / "below").mkdir(parents=True)
    writer = telemetry.Lossy(log)
    descriptors = Path("/proc/self/fd")
    before = len(list(descriptors.iterdir()))
    for number in range(50):
        writer.write(f"line {number:04}" + "." * 20 + "\n")
    assert len(list(descriptors.iterdir())) == before
    assert not is_held(log)
    assert log.stat().st_size < 300
    (place / "below").rmdir()
    place.rmdir()
    writer.write("after\n")
    assert log.read_text() == "after\n"


@pytest.mark.parametrize(("place", "file"), [(0o2770, 0o660), (0o2700, 0o600), (0o770, 0o600)])
def test_a_directory_for_a_group_is_shared_by_processes_of_several_users(tmp_path: Path, place: int, file: int) -> None:
    """All write its spans and the worker reads its logs, whatever the umask; nothing is written through a link."""
    tmp_path.chmod(place)
    (tmp_path / "link.log").symlink_to(tmp_path / "elsewhere")
    before = os.umask(0o077)
    try:
        telemetry.Lossy(tmp_path / "web.log").write("x\n")
        assert (tmp_path / "web.log").stat().st_mode & 0o777 == file
        if file == 0o660:
            with pytest.raises(OSError, match="symbolic"):
                telemetry.Lossy(tmp_path / "link.log")
    finally:
        os.umask(before)


def test_a_log_that_another_user_is_making_is_opened_a_moment_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a directory for a group: between its making and its opening to the group it is closed to all others."""
    tmp_path.chmod(0o2770)
    log, tries, really = tmp_path / "web.log", list[object](), os.open

    def closed_once(path: object, *more: Any) -> int:
        tries.append(path)
        if len(tries) == 1:
            raise PermissionError
        return really(path, *more)

    monkeypatch.setattr(os, "open", closed_once)
    telemetry.Lossy(log).write("x\n")
    assert log.read_text() == "x\n"
