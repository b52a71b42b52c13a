"""A second implementation of the sealed blob, from docs/spec/sealed-blob.md alone: AES-GCM by hand, no Tink, no zstd.

It seals what the product seals, and what an attacker who holds keys would: it can lie about anything.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SEGMENT: Final = 1024 * 1024
TAG: Final = 16
INNER: Final = 40  # bytes of Tink's own header
OUTER: Final = 80
_R: Final = 0xE1 << 120


def derive(key: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=info).derive(key)


def drawn(name: str, size: int) -> bytes:
    """Bytes that look random and are the same on every run."""
    return hashlib.shake_256(name.encode()).digest(size)


@dataclass(frozen=True, kw_only=True)
class Sealing:
    """Everything that goes into a blob.

    Args:
        last_at: The segment that gets the last flag; None = the last one.
        empty_last: A segment of nothing follows a full one, and has the last flag.
    """

    dek: bytes
    dek_id: UUID
    manifest: bytes
    packed: bytes
    salt: bytes
    inner_salt: bytes
    prefix: bytes
    version: int = 1
    suite: int = 1
    commitment: bytes | None = None
    last_at: int | None = None
    frame: bytes | None = None
    empty_last: bool = False

    @property
    def header(self) -> bytes:
        said = self.commitment or derive(self.dek, self.salt, b"byokeep-sealed-blob/1 key commitment")
        numbers = self.version.to_bytes(2, "big") + self.suite.to_bytes(2, "big") + bytes(4)
        return b"BYOKSEAL" + numbers + self.salt + said

    def binding(self, fields: dict[str, Any]) -> bytes:
        lines = (
            "byokeep-sealed-blob/1", fields["environment"], fields["client_id"], fields["profile_id"],
            str(fields["generation"]), str(self.dek_id), hashlib.sha256(self.manifest).hexdigest(), self.header.hex(),
        )  # fmt: skip
        return "".join(line + "\n" for line in lines).encode()

    def key(self, fields: dict[str, Any]) -> bytes:
        stream = derive(self.dek, self.salt, b"byokeep-sealed-blob/1 stream key")
        return derive(stream, self.inner_salt, self.binding(fields))

    @property
    def start(self) -> bytes:
        return self.header + bytes([INNER]) + self.inner_salt + self.prefix

    def blob(self, fields: dict[str, Any]) -> bytes:
        plain = self.frame if self.frame is not None else frame_of(self.packed)
        aead, parts, at, number = AESGCM(self.key(fields)), [self.start], 0, 0
        while True:
            size = SEGMENT - TAG - (0 if number else INNER)
            piece, at = plain[at : at + size], at + size
            last = at >= len(plain) + self.empty_last
            flag = last if self.last_at is None else number == self.last_at
            nonce = self.prefix + number.to_bytes(4, "big") + bytes([flag])
            parts.append(aead.encrypt(nonce, piece, None))
            if last:
                return b"".join(parts)
            number += 1


def frame_of(packed: bytes) -> bytes:
    """One zstd frame of blocks that are not compressed: the same bytes whatever the library's version."""
    parts, block = [bytes.fromhex("28b52ffd0058")], 128 * 1024
    for at in range(0, len(packed), block):
        piece = packed[at : at + block]
        parts += [(len(piece) << 3 | (at + block >= len(packed))).to_bytes(3, "little"), piece]
    return b"".join(parts)


def segments(blob: bytes) -> list[bytes]:
    """The blob's segments; the first one has both headers."""
    ends = list(range(OUTER + SEGMENT, len(blob), SEGMENT))
    return [blob[a:b] for a, b in zip([0, *ends], [*ends, len(blob)], strict=True)]


def edited(blob: bytes, edit: list[Any]) -> bytes:
    """Apply one edit of the vectors."""
    what, *rest = edit
    if what == "cut":
        return blob[: rest[0]]
    if what == "cut_front":
        return blob[rest[0] :]
    if what == "append":
        return blob + bytes.fromhex(rest[0])
    if what == "put":
        at, data = rest[0] % len(blob), bytes.fromhex(rest[1])
        return blob[:at] + data + blob[at + len(data) :]
    if what == "flip":
        at = rest[0] % len(blob)
        return blob[:at] + bytes([blob[at] ^ rest[1]]) + blob[at + 1 :]
    order = {"order": lambda: rest[0]}[what]()
    parts = segments(blob)
    return b"".join(parts[number] for number in order)


def for_two_keys(one: Sealing, other_dek: bytes, fields: dict[str, Any]) -> bytes:
    """A blob whose only segment authenticates under two keys.

    One ciphertext block is free: the tag is linear in it under both hash keys, so there is a value of it for which both
    tags agree. Under the first key the plaintext is a good frame; the free block lies inside its content.
    """
    keys = one.key(fields), replace(one, dek=other_dek, commitment=one.header[-32:]).key(fields)
    nonce = one.prefix + bytes(4) + b"\1"
    cipher = bytearray(AESGCM(keys[0]).encrypt(nonce, frame_of(one.packed), None)[:-TAG])
    free = 16  # the second block: after the frame's header, inside its only raw block
    blocks = [bytes(cipher[at : at + 16]).ljust(16, b"\0") for at in range(0, len(cipher), 16)]
    count = len(blocks)
    hashes = [int.from_bytes(_aes(key, bytes(16)), "big") for key in keys]
    masks = [int.from_bytes(_aes(key, nonce + b"\0\0\0\1"), "big") for key in keys]
    powers = [[0] * (count + 2) for _ in keys]
    for row, unit in zip(powers, hashes, strict=True):
        row[1] = unit
        for exponent in range(2, count + 2):
            row[exponent] = _times(row[exponent - 1], unit)
    both = [powers[0][exponent] ^ powers[1][exponent] for exponent in range(count + 2)]
    wanted = masks[0] ^ masks[1] ^ _times(len(cipher) * 8, both[1])
    for at, block in enumerate(blocks):
        if at * 16 != free:
            wanted ^= _times(int.from_bytes(block, "big"), both[count + 1 - at])
    solved = _times(wanted, _inverse(both[count + 1 - free // 16])).to_bytes(16, "big")
    cipher[free : free + 16] = solved
    blocks[free // 16] = solved
    tag = masks[0] ^ _times(len(cipher) * 8, powers[0][1])
    for at, block in enumerate(blocks):
        tag ^= _times(int.from_bytes(block, "big"), powers[0][count + 1 - at])
    return one.start + bytes(cipher) + tag.to_bytes(16, "big")


def opens_as_gcm(blob: bytes, one: Sealing, fields: dict[str, Any]) -> bytes:
    """The plaintext of a blob of one segment, with no look at the commitment. Raises InvalidTag."""
    return AESGCM(one.key(fields)).decrypt(one.prefix + bytes(4) + b"\1", blob[OUTER + INNER :], None)


def _aes(key: bytes, block: bytes) -> bytes:
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(block)  # noqa: S305


def _times(left: int, right: int) -> int:
    """Product in GCM's field (SP 800-38D, 6.3)."""
    product = 0
    for bit in range(127, -1, -1):
        if left >> bit & 1:
            product ^= right
        right = right >> 1 ^ (_R if right & 1 else 0)
    return product


def _inverse(value: int) -> int:
    """``value`` to the power of 2^128 - 2."""
    result, square = 1 << 127, value
    for _ in range(127):
        square = _times(square, square)
        result = _times(result, square)
    return result
