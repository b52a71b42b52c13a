"""The address of a waiting browser is believed as long as its worker lives, and goes away with it."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock
from uuid import uuid4

import pytest

from byokeep.adapters.files.profile_notes import HandOffNotes, ProofFiles
from byokeep.core.errors import Conflict, Integrity
from byokeep.kernel.ports import Shot, Window
from byokeep.process import is_held
from byokeep.profiles import cli
from byokeep.settings import Settings, hand_off_file

WORKER = """
import asyncio, sys
from pathlib import Path
from uuid import UUID
from byokeep.adapters.files.profile_notes import HandOffNotes, ProofFiles
from byokeep.kernel.ports import Window
notes = HandOffNotes(Path(sys.argv[1]))
for at in ("first", "second"):
    window = Window(address=f"http://127.0.0.1:1/{at}/", instructions="there", done=None)
    asyncio.run(notes.leave(UUID(sys.argv[2]), window))
print("left", flush=True)
sys.stdin.read()
"""


async def test_an_address_that_is_left_while_its_work_ends_is_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is cut off while it is written waits until it stands there, so that it can be taken away."""
    notes, work, sync = HandOffNotes(tmp_path), uuid4(), os.fsync

    def slowly(descriptor: int) -> None:
        time.sleep(0.2)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", slowly)
    window = Window(address="http://127.0.0.1:1/", instructions="", done=AsyncMock())
    leaving = asyncio.create_task(notes.leave(work, window))
    await asyncio.sleep(0.05)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    await notes.take_away(work)
    await asyncio.sleep(0.3)
    assert list(tmp_path.iterdir()) == []


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
    await notes.leave(work, Window(address="http://127.0.0.1:1/x/", instructions="there", done=AsyncMock()))
    file = tmp_path / f"{work}.json"
    assert is_held(file)
    assert file.stat().st_mode & 0o777 == 0o600
    await notes.take_away(work)
    assert not file.exists()
    assert not is_held(file)
    file.write_text('{"address": "http://127.0.0.1:9/", "instructions": ""}')
    assert not is_held(file)


async def test_a_picture_is_what_its_name_says_or_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture that was changed is found and written anew; with its profile it goes, and no other one does."""
    settings, client, profile, other = Settings(home=tmp_path), uuid4(), uuid4(), uuid4()
    monkeypatch.setattr(cli, "session", lambda: SimpleNamespace(settings=settings, as_json=True))
    place, picture = settings.path("proofs_dir"), b"\x89PNG as it was"
    proofs, sha256 = ProofFiles(place), hashlib.sha256(picture).hexdigest()
    name = await proofs.keep(client, profile, 1, Shot(picture=picture, sha256=sha256))
    beside = await proofs.keep(client, other, 1, Shot(picture=picture, sha256=sha256))
    assert not await proofs.altered(client, profile)
    cli._proofs([{"file": name}, {"file": "elsewhere/1-00.png"}])
    (place / name).write_bytes(b"\x89PNG forged")
    assert await proofs.altered(client, profile)
    assert not await proofs.altered(client, other)
    with pytest.raises(Integrity, match="proof_altered"):
        cli._proofs([{"file": name}])
    assert await proofs.keep(client, profile, 1, Shot(picture=picture, sha256=sha256)) == name
    assert (place / name).read_bytes() == picture
    (place / name).unlink()
    (place / name).symlink_to(place / beside)
    assert await proofs.altered(client, profile), "a link is no picture of ours"
    await proofs.remove(client, profile)
    await proofs.remove(client, profile)
    assert not (place / name).parent.exists()
    assert (place / beside).read_bytes() == picture
