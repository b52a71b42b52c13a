"""The address of a waiting browser is believed as long as its worker lives, and goes away with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from byokeep.adapters.files.profile_notes import HandOffNotes
from byokeep.cli import profile as cli
from byokeep.core.errors import Conflict
from byokeep.process import is_held
from byokeep.settings import Settings, hand_off_file

WORKER = """
import asyncio, sys
from pathlib import Path
from uuid import UUID
from byokeep.adapters.files.profile_notes import HandOffNotes
notes = HandOffNotes(Path(sys.argv[1]))
asyncio.run(notes.leave(UUID(sys.argv[2]), address="http://127.0.0.1:1/first/", instructions="there"))
asyncio.run(notes.leave(UUID(sys.argv[2]), address="http://127.0.0.1:1/second/", instructions="there"))
print("left", flush=True)
sys.stdin.read()
"""


def test_the_address_of_a_dead_worker_is_not_told_and_goes_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it lives the address is told and stays; killed, the same file is refused, and cleared."""
    settings, work = Settings(home=tmp_path), uuid4()
    monkeypatch.setattr(cli, "session", lambda: SimpleNamespace(settings=settings))
    file = hand_off_file(settings, work)
    command: list[Any] = [sys.executable, "-c", WORKER, str(file.parent), str(work)]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"left\n"
        assert HandOffNotes(file.parent).clear() == 0, "another worker's start leaves it alone"
        assert cli._window(str(work)) == {"address": "http://127.0.0.1:1/second/", "instructions": "there"}
    finally:
        worker.kill()
        worker.wait()
    assert file.exists()
    with pytest.raises(Conflict, match="handoff_gone") as told:
        cli._window(str(work))
    assert "byokeep profile login" in told.value.next_step
    assert HandOffNotes(file.parent).clear() == 1
    assert cli._window(str(work)) is None
    assert list(file.parent.iterdir()) == []


async def test_a_note_that_was_taken_away_is_held_no_more(tmp_path: Path) -> None:
    """Its own worker takes it away; a file that somebody else put there is held by nobody."""
    notes, work = HandOffNotes(tmp_path), uuid4()
    await notes.leave(work, address="http://127.0.0.1:1/x/", instructions="there")
    file = tmp_path / f"{work}.json"
    assert is_held(file)
    assert file.stat().st_mode & 0o777 == 0o600
    await notes.take_away(work)
    assert not file.exists()
    assert not is_held(file)
    file.write_text('{"address": "http://127.0.0.1:9/", "instructions": ""}')
    assert not is_held(file)
