"""C2SP signed-note and tlog-checkpoint: the text that is signed, and how strictly it is read.

Rules
- One spelling: what :func:`open_note` and :func:`parse_checkpoint` accept, the writers here give back byte for byte.
- An unknown key is ignored, a known key with a bad signature rejects the note, no known key = not verified (S-TLOG-6).
- A checkpoint has three lines and no extensions: origin, size in decimal, root in base64 (S-TLOG-2).

It may not sign: the private key stays in the store; the writer takes signatures that were made elsewhere.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Iterable
from hashlib import sha256
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from byokeep.core.errors import Integrity, Rejected

MAX_NOTE: Final = 64 * 1024  # bytes
MAX_SIGNATURES: Final = 16
_ED25519: Final = b"\x01"
_NAME: Final = re.compile(r"[^\s+]{1,200}\Z")
_SIGNATURE: Final = re.compile(r"\u2014 ([^\s+]+) ([A-Za-z0-9+/]+={0,2})\Z")
_SIZE: Final = re.compile(r"(?:0|[1-9][0-9]{0,15})\Z")
_KEY: Final = re.compile(r"([^\s+]{1,200})\+([0-9a-f]{8})\+([A-Za-z0-9+/]+={0,2})\Z")


class NoteKey(NamedTuple):
    """A public key that notes are checked with: its name and 32 raw Ed25519 bytes."""

    name: str
    public: bytes

    @property
    def key_id(self) -> bytes:
        """The four bytes before each signature of this key."""
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{b64encode(_ED25519 + self.public).decode()}"


class Note(NamedTuple):
    """A verified note: its text and the keys that signed it."""

    text: str
    signed_by: tuple[NoteKey, ...]


class Checkpoint(NamedTuple):
    """What a log commits to: the first ``size`` leaves have this ``root``."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """Return the text to sign."""
        return f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\n"


def parse_key(text: str) -> NoteKey:
    """Parse a public key as :class:`NoteKey` prints it, ``name+id+base64``.

    Raises:
        Rejected: ``bad_note_key``.
    """
    found = _KEY.match(text)
    data = _bytes(found.group(3)) if found else None
    if found and data is not None and data[:1] == _ED25519 and len(data) == 33:
        key = NoteKey(found.group(1), data[1:])
        if key.key_id.hex() == found.group(2):
            return key
    raise Rejected("bad_note_key", next_step="Give the key as `byokeep audit keys` prints it.")


def write_note(text: str, signatures: Iterable[tuple[NoteKey, bytes]]) -> bytes:
    """Return the note: text, an empty line, one line for each ``(key, 64-byte signature)``.

    Raises:
        ValueError: Text, name or signature that a note can not carry.
    """
    lines = []
    for key, signature in signatures:
        if not _NAME.match(key.name) or len(signature) != 64:
            raise ValueError("not a note signature")
        lines.append(f"\u2014 {key.name} {b64encode(key.key_id + signature).decode()}\n")
    if not _is_text(text) or not lines or len(lines) > MAX_SIGNATURES:
        raise ValueError("not a note text")
    return f"{text}\n{''.join(lines)}".encode()


def open_note(data: bytes, keys: Iterable[NoteKey]) -> Note:
    """Verify a note.

    Raises:
        Integrity: ``bad_note`` (malformed), ``bad_note_signature`` (a known key's signature is wrong),
            ``unverified_note`` (no known key signed it).
    """
    text, signatures = _split(data)
    known = {(key.name, key.key_id): key for key in keys}
    signed_by = []
    for name, blob in signatures:
        key = known.get((name, blob[:4]))
        if key is None:
            continue
        if not verifies(key.public, blob[4:], text.encode()):
            raise Integrity("bad_note_signature")
        if key in signed_by:
            raise Integrity("bad_note")
        signed_by.append(key)
    if not signed_by:
        raise Integrity("unverified_note", next_step="Give the log's public key, as `byokeep audit keys` prints it.")
    return Note(text, tuple(signed_by))


def parse_checkpoint(text: str) -> Checkpoint:
    """Parse the text of a checkpoint.

    Raises:
        Integrity: ``bad_checkpoint``.
    """
    lines = text.split("\n")
    if len(lines) == 4 and lines[3] == "" and _NAME.match(lines[0]) and _SIZE.match(lines[1]):
        root = _bytes(lines[2])
        if root is not None and len(root) == 32:
            return Checkpoint(lines[0], int(lines[1]), root)
    raise Integrity("bad_checkpoint")


def open_checkpoint(data: bytes, keys: Iterable[NoteKey], *, origin: str) -> Checkpoint:
    """Verify and parse a signed checkpoint of the log ``origin``.

    Raises:
        Integrity: As :func:`open_note` and :func:`parse_checkpoint`; ``foreign_checkpoint`` for another log's.
    """
    checkpoint = parse_checkpoint(open_note(data, keys).text)
    if checkpoint.origin != origin:
        raise Integrity("foreign_checkpoint")
    return checkpoint


def verifies(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether ``signature`` (64 bytes) of ``message`` is by the raw Ed25519 key ``public``."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def note_text(data: bytes) -> str:
    """Return the text of a note without looking at its signatures: for who keeps notes and holds no keys.

    Raises:
        Integrity: ``bad_note``.
    """
    return _split(data)[0]


def _split(data: bytes) -> tuple[str, list[tuple[str, bytes]]]:
    try:
        note = data.decode("utf-8")
    except UnicodeDecodeError:
        raise Integrity("bad_note") from None
    text, gap, tail = note.rpartition("\n\n")
    lines = tail.split("\n")
    if len(data) > MAX_NOTE or not gap or not _is_text(text + "\n") or lines.pop() != "":
        raise Integrity("bad_note")
    if not 1 <= len(lines) <= MAX_SIGNATURES:
        raise Integrity("bad_note")
    signatures = []
    for line in lines:
        found = _SIGNATURE.match(line)
        blob = _bytes(found.group(2)) if found else None
        if found is None or blob is None or len(blob) < 5:
            raise Integrity("bad_note")
        signatures.append((found.group(1), blob))
    return text + "\n", signatures


def _is_text(text: str) -> bool:
    """Ends with a line end and holds no other control character."""
    return text.endswith("\n") and len(text) > 1 and not any(c < " " and c != "\n" for c in text)


def _bytes(text: str) -> bytes | None:
    """Decode base64 in its one canonical spelling."""
    try:
        data = b64decode(text, validate=True)
    except ValueError:
        return None
    return data if b64encode(data).decode() == text else None
