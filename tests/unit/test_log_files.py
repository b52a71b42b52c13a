"""The search of the logs: everything since a time, and not much more, however large the logs have grown."""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from byokeep.core.secret import Secret
from byokeep.worker.ports import EARLIER, LogFiles, _lines_since, _tail
from byokeep_redact.canary import new_canary

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
LINES = 20_000  # one each tenth of a second


def line(number: int, **more: str) -> bytes:
    at = (NOW - timedelta(seconds=(LINES - number) / 10)).isoformat()
    return json.dumps({"at": at, "event": "request", "request_id": "0" * 32, **more}).encode()


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    return [line(number) for number in range(LINES)]


@pytest.mark.parametrize("back_s", [0, 1, 30, 600, 1999, 5000])
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
