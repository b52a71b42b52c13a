"""A landing slot: its place before the reply, its seal, what a crash or a hand leaves of it."""

from __future__ import annotations

import json
import os
import shutil
from base64 import b64decode
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from byokeep.adapters.files import slots
from byokeep.adapters.files.slots import SIZE, SlotDirectory, decode, encode, seal, unseal
from byokeep.core.errors import ByokeepError, Conflict, Integrity, Rejected, Unavailable
from byokeep.core.secret import Secret
from byokeep.wire.tokens import LandedReply
from byokeep.wire.transport import MAX_BODY
from byokeep_redact.canary import Canary, new_canary
from byokeep_redact.search import Sweep

VECTORS = Path(__file__).parents[1] / "vectors" / "landing-slot" / "cases.json"
AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY = "A" * 43
JOURNAL = UUID(int=4)
HERE = UUID(int=1)


def cases() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(VECTORS.read_text())["cases"]
    return found


@pytest.mark.parametrize("case", cases(), ids=lambda case: case["name"])
def test_vectors_hold(case: dict[str, Any]) -> None:
    """Each vector opens, holds nothing, or is refused, as it says."""
    whole = b64decode(case["begins"]).ljust(case.get("size", SIZE), b"\0") + b64decode(case.get("ends", ""))
    sealed = decode(whole)
    if case["result"] == "no_reply":
        assert sealed is None
        return
    assert sealed is not None
    key, journal = Secret(case["key"]), UUID(case["journal"])
    if case["result"] == "unreadable":
        with pytest.raises(Integrity, match="landed_reply_unreadable"):
            unseal(key, journal, sealed)
        return
    found = unseal(key, journal, sealed)
    assert (found.base, found.status, found.at) == (case["base"], case["status"], AT)
    assert found.body.reveal() == case["body"].encode()
    nonce = b64decode(case["nonce"])
    assert encode(seal(key, journal, found, nonce)) == b64decode(case["begins"])


class NotVerifying:
    """A cipher that opens an altered text as the one it should have been."""

    def __init__(self, key: bytes) -> None:
        self._real = AESGCM(key)

    def encrypt(self, nonce: bytes, data: bytes, bound: bytes) -> bytes:
        return self._real.encrypt(nonce, data, bound)

    def decrypt(self, nonce: bytes, data: bytes, bound: bytes) -> bytes:
        return self._real.decrypt(nonce, slots._KNOWN, bound)


class NotEncrypting(NotVerifying):
    """A cipher that passes on what it is given."""

    def encrypt(self, nonce: bytes, data: bytes, bound: bytes) -> bytes:
        return data + bytes(16)

    def decrypt(self, nonce: bytes, data: bytes, bound: bytes) -> bytes:
        return data[:-16]


class Raising(NotVerifying):
    """A cipher that is broken in a way that nobody foresaw."""

    def encrypt(self, nonce: bytes, data: bytes, bound: bytes) -> bytes:
        raise ZeroDivisionError


@pytest.mark.parametrize("broken", [NotVerifying, NotEncrypting, Raising])
def test_a_broken_cipher_lands_nothing(
    broken: type[NotVerifying], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no directory of slots, so no refresher, and nothing was made."""
    monkeypatch.setattr(slots, "AESGCM", broken)
    with pytest.raises(Unavailable) as refused:
        SlotDirectory(tmp_path / "slots", HERE)
    assert refused.value.code == "sealing_self_test_failed"
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    SlotDirectory(tmp_path / "slots", HERE).close()


async def test_a_reply_comes_back_as_it_was_landed(tmp_path: Path) -> None:
    """The longest reply fits; the slot is of full size before, and gone after."""
    place = SlotDirectory(tmp_path / "slots", HERE)
    await place.prepare(JOURNAL)
    file = tmp_path / "slots" / f"{JOURNAL}.slot"
    assert file.stat().st_size == SIZE
    assert file.stat().st_blocks * 512 >= SIZE
    assert (file.stat().st_mode & 0o777, (tmp_path / "slots").stat().st_mode & 0o777) == (0o600, 0o700)
    assert not await place.has(JOURNAL)
    assert await place.landed(JOURNAL, Secret(KEY)) is None
    body = os.urandom(MAX_BODY)
    await place.land(JOURNAL, Secret(KEY), base=3, status=200, body=Secret(body), at=AT)
    assert file.stat().st_size == SIZE
    assert await place.has(JOURNAL)
    with pytest.raises(Conflict, match="slot_taken"):
        await place.prepare(JOURNAL)
    found = await place.landed(JOURNAL, Secret(KEY))
    assert found is not None
    assert (found[0], found[1], found[2].reveal(), found[3]) == (3, 200, body, AT)
    await place.clear(JOURNAL)
    await place.clear(JOURNAL)
    assert not file.exists()
    place.close()


async def test_a_slot_shows_nothing_and_opens_with_its_own_key_alone(tmp_path: Path) -> None:
    """No encoding of the reply stands on the disk; another key, journal or version opens nothing."""
    place, canary = SlotDirectory(tmp_path / "slots", HERE), new_canary("openai")
    await place.prepare(JOURNAL)
    body = b'{"refresh_token":"' + canary + b'"}'
    await place.land(JOURNAL, Secret(KEY), base=3, status=200, body=Secret(body), at=AT)
    raw = (tmp_path / "slots" / f"{JOURNAL}.slot").read_bytes()
    sweep = Sweep([Canary("token", canary)])
    assert sweep.scan_bytes(body, source="control").findings
    assert not sweep.scan_bytes(raw, source="slot").findings
    with pytest.raises(Integrity):
        await place.landed(JOURNAL, Secret("B" * 43))
    sealed = decode(raw)
    assert sealed is not None
    for journal, base in ((uuid4(), 3), (JOURNAL, 4)):
        with pytest.raises(Integrity):
            unseal(Secret(KEY), journal, slots.SealedSlot(base=base, nonce=sealed.nonce, text=sealed.text))
    place.close()


def test_every_torn_write_holds_no_reply() -> None:
    """A write cut anywhere, the rest as it was: nothing is taken for a reply that was not written to its end."""
    reply = LandedReply(base=1, at=AT, status=200, body=Secret(b"{}"))
    data = encode(seal(Secret(KEY), JOURNAL, reply, bytes(12)))
    assert decode(data.ljust(SIZE, b"\0")) is not None
    # Nothing is cut where what is missing is zero anyway.
    for cut in range(len(data.rstrip(b"\0"))):
        assert decode(data[:cut].ljust(SIZE, b"\0")) is None, cut


def test_a_directory_has_one_owner(tmp_path: Path) -> None:
    """A second process, another installation, and a directory that others can read are refused; the id stays."""
    first = SlotDirectory(tmp_path / "slots", HERE)
    with pytest.raises(Conflict, match="already_running"):
        SlotDirectory(tmp_path / "slots", HERE)
    owner = first.owner
    first.close()
    again = SlotDirectory(tmp_path / "slots", HERE)
    assert again.owner == owner
    again.close()
    with pytest.raises(Integrity, match="slots_of_another_installation"):
        SlotDirectory(tmp_path / "slots", UUID(int=2))
    shutil.copytree(tmp_path / "slots", tmp_path / "copy")
    (tmp_path / "copy").chmod(0o700)
    assert (slots.is_copy(tmp_path / "slots"), slots.is_copy(tmp_path / "copy")) == (False, True)
    with pytest.raises(Integrity, match="slots_copied"):
        SlotDirectory(tmp_path / "copy", HERE)
    slots.adopt(tmp_path / "copy")
    adopted = SlotDirectory(tmp_path / "copy", HERE)
    assert adopted.owner == owner
    adopted.close()
    (tmp_path / "slots").chmod(0o750)
    with pytest.raises(Rejected, match="slots_too_open"):
        SlotDirectory(tmp_path / "slots", HERE)


async def test_a_slot_that_can_not_be_made_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that gives no room leaves no half slot; landing without a slot is refused."""
    place = SlotDirectory(tmp_path / "slots", HERE)

    def full(*_: object) -> None:
        raise OSError(28, "full")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(Unavailable, match="no_room_to_land"):
        await place.prepare(JOURNAL)
    assert [path.name for path in (tmp_path / "slots").iterdir()] == ["owner"]
    with pytest.raises(ByokeepError):
        await place.land(JOURNAL, Secret(KEY), base=1, status=200, body=Secret(b"{}"), at=AT)
    place.close()
