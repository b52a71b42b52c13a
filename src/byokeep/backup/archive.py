"""The file of a backup: an age file for offline recipients that holds the signed manifest, then every part.

Rules
- Whoever makes a backup holds only public keys and cannot open one.
- The manifest comes first. A reader takes of each part exactly the bytes that it names, compares their digest, and
  refuses anything missing, left over, cut or altered, as one error (:class:`byokeep.core.backup.BackupRefused`).
- Whoever knows whose signature it must bear has that compared before anything else of the file is read. Until
  :func:`read` has returned, nothing that it passed on may be believed.

It may not know what a part means.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final

import pyrage

from byokeep.core import backup
from byokeep.core.backup import BackupManifest, BackupRefused, Part
from byokeep.core.errors import Integrity, Rejected
from byokeep.core.evidence import pae

PAYLOAD_TYPE: Final = "application/vnd.byokeep.backup+json"
_HEAD: Final = re.compile(rb"byokeep-backup/1 ([0-9]{1,9}) ([A-Za-z0-9+/]{86}==) ([1-9][0-9]{0,8})\n")
_MOST_HEAD: Final = 200  # bytes
_IDENTITY: Final = re.compile(rb"^AGE-SECRET-KEY-1[0-9A-Z]{58}$", re.MULTILINE)
Sink = Callable[[bytes], object]
Sinks = Callable[[Part], Sink]  # of each part when it begins, what takes its bytes
Proof = Callable[[bytes, bytes, str], object]  # of a manifest, its signature and the number of the key; or raises


def signed_bytes(manifest: bytes) -> bytes:
    """Return the part of a manifest that is signed."""
    return pae(manifest, PAYLOAD_TYPE)


def recipients_of(text: str) -> list[Any]:
    """Read public keys, ``age1...``, separated by commas.

    Raises:
        Rejected: ``backup_recipient_missing``, ``bad_backup_recipient``.
    """
    named = [one.strip() for one in text.split(",") if one.strip()]
    if not named:
        step = "Make a key pair on another machine (`age-keygen`), and set backup_recipients to its public key."
        raise Rejected("backup_recipient_missing", next_step=step)
    try:
        return [pyrage.x25519.Recipient.from_str(one) for one in named]
    except pyrage.RecipientError:
        step = "Set backup_recipients to public keys (age1...), separated by commas."
        if "AGE-SECRET-KEY-" in text.upper():
            step = "That is a private key. Remove it from this host, and set backup_recipients to its public key."
        raise Rejected("bad_backup_recipient", next_step=step) from None


def identities_of(content: bytes) -> list[Any]:
    """Read the private keys of an identity file as ``age-keygen`` writes it. Raises Rejected(``bad_identity_file``)."""
    found = _IDENTITY.findall(content)
    try:
        keys = [pyrage.x25519.Identity.from_str(one.decode()) for one in found]
    except pyrage.IdentityError:
        keys = []
    if not keys:
        step = "Give the file that `age-keygen` wrote, with the line AGE-SECRET-KEY-1..."
        raise Rejected("bad_identity_file", next_step=step)
    return keys


def part_of(name: str, file: Path) -> Part:
    """Return size and digest of a file."""
    digest, size = hashlib.sha256(), 0
    with file.open("rb") as content:
        while piece := content.read(1 << 20):
            digest.update(piece)
            size += len(piece)
    return Part(name=name, size=size, sha256=digest.hexdigest())


class _Source:
    """What is encrypted, as one file: the head, the manifest, the parts."""

    def __init__(self, head: bytes, parts: Sequence[tuple[Part, Path]]) -> None:
        self._pieces, self._parts = head, iter(parts)
        self._file: BinaryIO | None = None
        self._left = 0

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes; empty at the end. A file whose length has changed ends it with an error."""
        if self._pieces:
            piece, self._pieces = self._pieces[:size], self._pieces[size:]
            return piece
        while not self._left:
            if self._file is not None:
                self._file.close()
            found = next(self._parts, None)
            if found is None:
                return b""
            self._file, self._left = found[1].open("rb"), found[0].size
        assert self._file is not None  # noqa: S101 - for the type checker
        piece = self._file.read(min(size, self._left))
        if not piece:
            raise OSError("a part became shorter")
        self._left -= len(piece)
        return piece


def write(
    out: BinaryIO, manifest: BackupManifest, files: Mapping[str, Path], *, signature: bytes, key_id: str,
    recipients: Any,
) -> None:  # fmt: skip
    """Write the archive. What changes while it is read is found by whoever opens it. Raises OSError."""
    text = manifest.canonical()
    head = f"{backup.FORMAT} {key_id} {base64.b64encode(signature).decode()} {len(text)}\n".encode()
    try:
        pyrage.encrypt_io(_Source(head + text, [(one, files[one.name]) for one in manifest.parts]), out, recipients)
    except pyrage.EncryptError:
        raise OSError("not encrypted") from None


class _Receiver:
    """Takes an archive apart as it is decrypted. A failure is kept, because the library would rename it."""

    def __init__(self, sinks: Sinks, proof: Proof | None) -> None:
        self._sinks, self._proof, self._held = sinks, proof, bytearray()
        self.failed: Exception | None = None
        self.signature: tuple[bytes, str] = b"", ""
        self.manifest: BackupManifest | None = None
        self._length = -1
        self._parts: list[Part] = []
        self._left, self._digest = 0, hashlib.sha256()
        self._sink: Sink = len

    def write(self, piece: bytes) -> int:
        """Take bytes."""
        try:
            self._take(bytes(piece))
        except Exception as error:
            self.failed = self.failed or error
            raise OSError from None
        return len(piece)

    def flush(self) -> None:
        """Do nothing: nothing is held back."""

    def finish(self) -> BackupManifest:
        """Return the manifest of an archive that was whole. Raises Integrity."""
        if self.manifest is None or self._left or self._parts:
            raise BackupRefused("cut_off")
        return self.manifest

    def _take(self, piece: bytes) -> None:
        if self.manifest is None:
            self._held += piece
            self._begin()
            return
        view = memoryview(piece)
        while view:
            if not self._left:
                raise BackupRefused("left_over")
            now = view[: self._left]
            self._digest.update(now)
            self._sink(bytes(now))
            self._left -= len(now)
            view = view[len(now) :]
            if not self._left:
                self._end()

    def _begin(self) -> None:
        if self._length < 0:
            end = self._held.find(b"\n")
            if end < 0 and len(self._held) <= _MOST_HEAD:
                return
            found = _HEAD.fullmatch(self._held[: end + 1])
            if found is None:
                raise BackupRefused("format")
            self.signature = base64.b64decode(found[2]), found[1].decode()
            self._length = int(found[3])
            del self._held[: end + 1]
        if self._length > backup.MAX_MANIFEST:
            raise BackupRefused("manifest")
        if len(self._held) < self._length:
            return
        text, rest = bytes(self._held[: self._length]), bytes(self._held[self._length :])
        if self._proof is not None:
            self._proof(text, *self.signature)
        self.manifest = backup.parse(text)
        self._parts = list(self.manifest.parts)
        self._held.clear()
        self._next()
        self._take(rest)

    def _next(self) -> None:
        while self._parts:
            self._left, self._digest = self._parts[0].size, hashlib.sha256()
            self._sink = self._sinks(self._parts[0])
            if self._left:
                return
            self._end(go_on=False)

    def _end(self, *, go_on: bool = True) -> None:
        part = self._parts.pop(0)
        if self._digest.hexdigest() != part.sha256:
            raise BackupRefused("part_altered")
        self._sink(b"")  # the end of it
        if go_on:
            self._next()


def nowhere(_: Part) -> Sink:
    """Drop what a part holds."""
    return len


def read(
    archive: BinaryIO, identities: Sequence[Any], sinks: Sinks = nowhere, proof: Proof | None = None
) -> tuple[BackupManifest, bytes, str]:
    """Take a whole archive apart; return its manifest, the manifest's signature, and the key's number.

    Args:
        archive: The file.
        identities: As :func:`identities_of` returns them.
        sinks: Where parts go; a sink is called with empty bytes when its part has ended as it must.
        proof: Whether the right installation signed it; asked before the manifest is parsed.

    Raises:
        Integrity: ``backup_refused``; or what a sink or ``proof`` raises.
        OSError: The file cannot be read.
    """
    receiver = _Receiver(sinks, proof)
    try:
        pyrage.decrypt_io(archive, receiver, identities)
    except (pyrage.DecryptError, OSError, ValueError, binascii.Error) as error:
        if isinstance(receiver.failed, ValueError | TypeError):
            raise BackupRefused("manifest") from None
        if receiver.failed is not None:
            raise receiver.failed from None
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise BackupRefused("not_its_key" if str(error) == "No matching keys found" else "not_opened") from None
    return receiver.finish(), *receiver.signature


def opens(archive: BinaryIO, identities: Sequence[Any]) -> bool:
    """Whether one of some private keys is of a backup, by the head of the file alone. Raises OSError."""

    def enough(*_: object) -> None:
        raise BackupRefused("enough")

    try:
        read(archive, identities, proof=enough)
    except BackupRefused as error:
        return error.reason != "not_its_key"
    return True


def must_be_of(manifest: BackupManifest, environment: object, *, whole: bool = True) -> None:
    """Refuse a backup of another environment; if ``whole``, also one that lacks a profile. Raises Integrity."""
    if manifest.environment is not environment:
        raise BackupRefused("other_environment")
    if whole and manifest.missing:
        step = "Use an older backup that holds every sealed profile, or restore this one with --accept-loss."
        raise Integrity("backup_incomplete", next_step=step,
                        count=len(manifest.missing), first=manifest.missing[0])  # fmt: skip
