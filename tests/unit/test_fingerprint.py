"""What a thief of key and digests can do with them: try whole windows, and nothing from one to the next."""

from __future__ import annotations

import hashlib
import json
import secrets
import string
from itertools import pairwise
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from byokeep.core.errors import Rejected
from byokeep_redact.canary import PROVIDERS, new_canary
from byokeep_redact.fingerprint import DIGEST, MOST_WINDOWS, WINDOW, Digester, fingerprints_of

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "leak-fingerprints"
ALPHABET = (string.ascii_letters + string.digits + "-_").encode()


def places(value: bytes, digests: set[bytes], key: bytes) -> list[int]:
    """Where in a value a window with one of the digests begins."""
    digest = Digester(key).digest
    return [at for at in range(len(value) - WINDOW + 1) if digest(value[at : at + WINDOW]) in digests]


def extended(value: bytes, known: int, digests: set[bytes], key: bytes) -> bytes:
    """What somebody finds out who has key and digests and knows ``value`` up to ``known``: byte for byte onwards."""
    digest, found = Digester(key).digest, value[:known]
    while len(found) < len(value):
        tail = found[1 - WINDOW :]
        more = [byte for byte in ALPHABET if digest(tail + bytes([byte])) in digests]
        if len(more) != 1:
            break
        found += bytes(more)
    return found


@pytest.mark.parametrize("provider", PROVIDERS)
def test_windows_of_a_value_never_share_a_byte(provider: str) -> None:
    """One to four windows, none overlapping, none in the part that all keys of a provider share; keyed."""
    for _ in range(50):
        value, key = new_canary(provider), secrets.token_bytes(32)
        digests = fingerprints_of(value, key)
        assert 1 <= len(digests) <= MOST_WINDOWS
        assert {len(digest) for digest in digests} == {DIGEST}
        found = places(value, set(digests), key)
        assert len(found) == len(digests) == len(set(digests))
        assert all(later - earlier >= WINDOW for earlier, later in pairwise(found))
        other = new_canary(provider)
        assert not places(other, set(digests), key)
        assert not places(value, set(digests), secrets.token_bytes(32))


def test_a_window_that_is_known_gives_away_nothing_of_the_next_byte() -> None:
    """Whoever knows a window and what stands before it learns no byte more; overlapping windows would give away all."""
    value, key = new_canary("anthropic"), secrets.token_bytes(32)
    digests = set(fingerprints_of(value, key))
    for at in places(value, digests, key):
        assert len(extended(value, at + WINDOW, digests, key)) == at + WINDOW
        assert len(extended(value, at + WINDOW - 1, digests, key)) == at + WINDOW  # its own last byte, no further
    digest = Digester(key).digest
    every = {digest(value[at : at + WINDOW]) for at in range(len(value) - WINDOW + 1)}
    assert extended(value, 25, every, key) == value


@pytest.mark.parametrize("value", [b"", b"short", b"0" * 32, b"password" * 8, b"aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbb"])
def test_what_many_values_could_share_is_refused(value: bytes) -> None:
    """A value without 16 random bytes in a row can not be watched, and that is said."""
    with pytest.raises(Rejected, match="value_too_weak_to_watch"):
        fingerprints_of(value, bytes(32))


def test_the_vectors_are_what_the_description_says() -> None:
    """The published digests come out, and each is that of a window computed from the description alone."""
    vectors = json.loads((VECTORS / "digests.json").read_text())
    key = bytes.fromhex(vectors["key"])
    assert len(vectors["values"]) >= 6
    for row in vectors["values"]:
        value = "".join(row["parts"]).encode()
        assert [digest.hex() for digest in fingerprints_of(value, key)] == row["digests"]
        found = [described(value[at : at + 16], key).hex() for at in range(len(value) - 15)]
        starts = [found.index(digest) for digest in row["digests"]]
        assert all(later - earlier >= 16 for earlier, later in pairwise(starts))
    for value in vectors["refused"]:
        with pytest.raises(Rejected, match="value_too_weak_to_watch"):
            fingerprints_of(value.encode(), key)


def described(window: bytes, key: bytes) -> bytes:
    """A digest as docs/spec/leak-fingerprints.md puts it."""
    filter_key = hashlib.blake2b(b"", digest_size=32, key=key, person=b"byokeep-filter-1").digest()
    block = Cipher(algorithms.AES256(filter_key), modes.ECB()).encryptor().update(window)  # noqa: S305
    return block[:4] + hashlib.blake2b(window, digest_size=12, key=key, person=b"byokeep-proof-1").digest()


def test_a_key_of_another_size_is_no_key() -> None:
    """Without 32 bytes of key nothing is made."""
    for key in (b"", bytes(16), bytes(33)):
        with pytest.raises(ValueError, match="32 bytes"):
            fingerprints_of(new_canary("openai"), key)
