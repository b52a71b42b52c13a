"""Port Slots: where a token endpoint's reply stays from the moment it arrives until the store has it.

Rules
- A slot is made, of full size and synced, before the request leaves. A full disk is then a delay, not a lost token.
- A reply is sealed (AES-256-GCM) with a key that lies in the store; format, journal and version are bound to it.
- One write, one sync. A digest shows what a crash tore; a torn reply counts as none.
- One process per directory, by a lock; 0700, files 0600. ``owner`` names the directory and its installation and is
  bound to its place. Another installation's directory is refused, and so is a copy, until somebody adopts it.

The format is docs/spec/landing-slot.md. It may not keep a key beyond a call, or know what a reply says.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import stat
from base64 import urlsafe_b64decode
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from byokeep.adapters.files.append import usable
from byokeep.adapters.files.binding import read_bound, write_bound
from byokeep.core.errors import Conflict, Integrity, Rejected, Unavailable, refusing
from byokeep.core.known_answer import require_answer
from byokeep.core.secret import Secret
from byokeep.kernel.durable_write import sync_directory
from byokeep.process import descriptor, hold
from byokeep.wire.tokens import LandedReply, pack_reply, unpack_reply

FORMAT: Final = "byokeep-landing-slot/1"
MAGIC: Final = b"BKSLOT1\n"
SIZE: Final = 352 * 1024  # bytes: the largest reply that is read, as stored
HEADER: Final = 64
# A reply sealed by another implementation of AES-256-GCM, Tink's.
_KNOWN: Final = bytes.fromhex(
    "f3e9522622c7adcbf24a64c8cd30f33c653899a885adbfccfffbbe29a1176d0e9f929e9f6e5613d01ab2"
    "a2eed79f742055c6a28c83bfb9e38ed57f257df8dec7f416d0f1f13975c723bed9b89d39d2531a91ca72"
    "cb75b83918e38d410eadf577d575c803ee912ce12f866246b7409552521717b0c7af9afb3317ff"
)
_KEY: Final = re.compile(r"[A-Za-z0-9_-]{43}\Z")
_OWNER: Final = re.compile(r"byokeep-slots/2\n([0-9a-f-]{36})\n([0-9a-f-]{36})\n\Z")
_OWNER_FILE: Final = "owner"
_NEXT: Final = "Free disk space, or fix the directory of slots. Nothing was sent."


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedSlot:
    """What a slot holds, still sealed."""

    base: int
    nonce: bytes
    text: bytes


def encode(sealed: SealedSlot) -> bytes:
    """Return the bytes at the beginning of a slot; the rest is zero."""
    digest = hashlib.sha256(sealed.text).digest()
    numbers = sealed.base.to_bytes(4, "big") + len(sealed.text).to_bytes(4, "big")
    return (MAGIC + numbers + sealed.nonce + digest).ljust(HEADER, b"\0") + sealed.text


def decode(slot: bytes) -> SealedSlot | None:
    """Return what a slot holds; None for an empty one, a torn one, and one that no writer of ours wrote."""
    base, length = int.from_bytes(slot[8:12], "big"), int.from_bytes(slot[12:16], "big")
    if len(slot) != SIZE or not slot.startswith(MAGIC) or not 16 < length <= SIZE - HEADER or base < 1:
        return None
    text = slot[HEADER : HEADER + length]
    if hashlib.sha256(text).digest() != slot[28:60] or any(slot[60:HEADER]) or any(slot[HEADER + length :]):
        return None
    return SealedSlot(base=base, nonce=slot[16:28], text=text)


def seal(key: Secret, journal_id: UUID, reply: LandedReply, nonce: bytes) -> SealedSlot:
    """Seal a reply.

    Raises:
        ValueError: Not a key.
    """
    with pack_reply(reply) as plain:
        text = AESGCM(_key(key)).encrypt(nonce, plain.reveal(), _bound(journal_id, reply.base))
    return SealedSlot(base=reply.base, nonce=nonce, text=text)


def unseal(key: Secret, journal_id: UUID, sealed: SealedSlot) -> LandedReply:
    """Open a reply.

    Raises:
        Integrity: ``landed_reply_unreadable``: altered, of another journal, or under another key.
    """
    step = "Find out who can write to the directory of slots."
    with refusing("landed_reply_unreadable", on=(InvalidTag, ValueError), next_step=step):
        plain = Secret(AESGCM(_key(key)).decrypt(sealed.nonce, sealed.text, _bound(journal_id, sealed.base)))
    with plain:
        found = unpack_reply(plain)
    if found.base != sealed.base:
        raise Integrity("landed_reply_unreadable")
    return found


def self_test() -> None:
    """Check a known answer: a reply seals to it, opens again, and does not open when one bit differs.

    Raises:
        Unavailable: ``sealing_self_test_failed``.
    """
    require_answer(_held, libraries="version of cryptography")


def _held() -> bool:
    key, journal = Secret("A" * 43), UUID(int=4)
    reply = LandedReply(base=1, at=datetime(2026, 3, 1, 12, tzinfo=UTC), status=200, body=Secret(b"known"))
    sealed = seal(key, journal, reply, bytes(range(12)))
    if sealed.text != _KNOWN or unseal(key, journal, sealed).body.reveal() != b"known":
        return False
    try:
        unseal(key, journal, replace(sealed, text=_KNOWN[:-1] + bytes([_KNOWN[-1] ^ 1])))
    except Integrity:
        return True
    return False


def is_copy(place: Path) -> bool:
    """Whether a directory of slots is not where it was made. One that cannot be read does not count as a copy."""
    text, bound = read_bound(place / _OWNER_FILE)
    return _OWNER.match(text) is not None and not bound


def adopt(place: Path) -> None:
    """Bind a directory of slots to where it is now, after its installation was closed. It may be repeated.

    Raises:
        Unavailable: ``file_unusable``.
    """
    if is_copy(place):
        write_bound(place / _OWNER_FILE, read_bound(place / _OWNER_FILE)[0])


class SlotDirectory:
    """The slots of one refresher. The known answer is checked before anything is touched.

    Args:
        place: The directory; created if missing.
        installation: The installation it belongs to.

    Raises:
        Conflict: ``already_running``: another process has it.
        Rejected: ``slots_too_open``: others may read or write it.
        Integrity: ``slots_of_another_installation``; ``slots_copied``: it is not where it was made.
        Unavailable: ``file_unusable``; ``sealing_self_test_failed``.
    """

    def __init__(self, place: Path, installation: UUID) -> None:
        self_test()
        self._place = place
        with usable():
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = place.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
                raise Rejected("slots_too_open", next_step="Let only the refresher's user use it: chmod 0700.")
            self._lock = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            hold(self._lock)
            self.owner = self._known(installation)
        except OSError:
            self.close()
            raise Conflict("already_running", next_step="Run only one refresher for each slots_dir.") from None
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let another process have the directory."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _known(self, installation: UUID) -> UUID:
        file = self._place / _OWNER_FILE
        if not file.exists():
            write_bound(file, f"byokeep-slots/2\n{uuid4()}\n{installation}\n")
        text, bound = read_bound(file)
        found = _OWNER.match(text)
        if found is None or found[2] != str(installation):
            raise Integrity("slots_of_another_installation", next_step="Give this installation its own slots_dir.")
        if not bound:
            raise Integrity("slots_copied", next_step="Give this refresher an empty slots_dir; runbook, copies.")
        return UUID(found[1])

    async def prepare(self, journal_id: UUID) -> None:
        """Allocate and sync an empty slot of full size.

        Raises:
            Unavailable: ``no_room_to_land``.
            Conflict: ``slot_taken``: it holds a reply.
        """
        if await self.has(journal_id):
            raise Conflict("slot_taken", journal=journal_id)
        await asyncio.to_thread(self._prepare, self._file(journal_id))

    async def land(self, journal_id: UUID, key: Secret, *, base: int, status: int, body: Secret, at: datetime) -> None:
        """Seal a reply into its slot and sync it."""
        reply = LandedReply(base=base, at=at, status=status, body=body)
        data = encode(seal(key, journal_id, reply, os.urandom(12)))
        await asyncio.to_thread(self._land, self._file(journal_id), data)

    async def landed(self, journal_id: UUID, key: Secret) -> tuple[int, int, Secret, datetime] | None:
        """Return base, status, body and time of a landed reply; None if the slot holds none."""
        sealed = await asyncio.to_thread(self._read, self._file(journal_id))
        if sealed is None:
            return None
        found = unseal(key, journal_id, sealed)
        return found.base, found.status, found.body, found.at

    async def has(self, journal_id: UUID) -> bool:
        """Whether the slot holds a complete reply, without opening it."""
        return await asyncio.to_thread(self._read, self._file(journal_id)) is not None

    async def clear(self, journal_id: UUID) -> None:
        """Remove a slot; a missing one is fine."""
        await asyncio.to_thread(self._clear, self._file(journal_id))

    async def all(self) -> list[UUID]:
        """Return the journals that have a slot here."""
        with usable():
            found = await asyncio.to_thread(list, self._place.iterdir())  # raises where a glob finds nothing
            return [UUID(file.stem) for file in found if file.suffix == ".slot"]

    def _file(self, journal_id: UUID) -> Path:
        return self._place / f"{journal_id}.slot"

    def _prepare(self, file: Path) -> None:
        try:
            with descriptor(file, os.O_RDWR | os.O_CREAT | os.O_TRUNC) as fd:
                os.posix_fallocate(fd, 0, SIZE)
                # Written, not only reserved: a file system may need room to write into space it has only promised.
                _write(fd, bytes(SIZE))
                os.fsync(fd)
            sync_directory(self._place)
        except OSError:
            with suppress(OSError):
                file.unlink()
            raise Unavailable("no_room_to_land", next_step=_NEXT) from None

    def _land(self, file: Path, data: bytes) -> None:
        with usable(), descriptor(file, os.O_RDWR) as fd:
            _write(fd, data)
            os.fdatasync(fd)

    def _read(self, file: Path) -> SealedSlot | None:
        with usable(), suppress(FileNotFoundError), descriptor(file, os.O_RDONLY) as fd:
            return decode(os.pread(fd, SIZE + 1, 0))
        return None

    def _clear(self, file: Path) -> None:
        with usable():
            file.unlink(missing_ok=True)
            sync_directory(self._place)


def _write(fd: int, data: bytes) -> None:
    view, at = memoryview(data), 0
    while at < len(view):
        at += os.pwrite(fd, view[at:], at)


def _key(key: Secret) -> bytes:
    text = key.reveal().decode("ascii", "replace")
    if not _KEY.match(text):
        raise ValueError("not a landing key")
    return urlsafe_b64decode(text + "=")


def _bound(journal_id: UUID, base: int) -> bytes:
    return f"{FORMAT}\n{journal_id}\n{base}\n".encode()
