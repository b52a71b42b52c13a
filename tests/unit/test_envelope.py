"""Header and binding of a sealed blob: one form, one refusal, and no two profiles with the same binding."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byokeep.core.errors import Integrity
from byokeep.core.manifest import Packing
from byokeep.core.model import ClientId, Environment, ProfileId
from byokeep.sealing.sealer import HEADER, Header, binding, parse_header, refusal, require_commitment
from tests.support.sealing import manifest

HEAD = Header(salt=bytes(range(32)), commitment=bytes(range(32, 64)))


def test_the_header_is_what_the_page_says() -> None:
    """Magic, version, suite, zeros, salt, commitment: 80 bytes at their places."""
    assert bytes(HEAD) == b"BYOKSEAL\0\1\0\1\0\0\0\0" + bytes(range(64))
    assert len(bytes(HEAD)) == HEADER == 80


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_any_header_comes_back(salt: bytes, commitment: bytes) -> None:
    """What was written is read as the same."""
    assert parse_header(bytes(Header(salt=salt, commitment=commitment))) == Header(salt=salt, commitment=commitment)


@pytest.mark.parametrize("at", range(16))
def test_no_other_version_suite_or_bit_is_read(at: int) -> None:
    """Each bit before the salt has one value; every other is refused."""
    for bit in range(8):
        data = bytearray(bytes(HEAD))
        data[at] ^= 1 << bit
        with pytest.raises(Integrity, match="sealed_blob_unreadable"):
            parse_header(bytes(data))


@pytest.mark.parametrize("size", [0, 1, 16, 79, 81, 160])
def test_a_header_has_one_length(size: int) -> None:
    """Shorter and longer are refused, and salt and commitment can not be made of another length."""
    with pytest.raises(Integrity, match="sealed_blob_unreadable"):
        parse_header((bytes(HEAD) * 2)[:size])
    for salt, commitment in ((bytes(31), bytes(32)), (bytes(32), bytes(33)), (b"", b"")):
        with pytest.raises(ValueError, match="32 bytes each"):
            Header(salt=salt, commitment=commitment)


def test_another_commitment_is_refused_in_the_same_words() -> None:
    """One bit of difference, a shorter one, none: the one refusal; the same one passes."""
    require_commitment(HEAD, HEAD.commitment)
    for other in (bytes(32), HEAD.commitment[:-1] + b"\0", HEAD.commitment[:31], b""):
        with pytest.raises(Integrity) as caught:
            require_commitment(HEAD, other)
        assert (str(caught.value), caught.value.next_step) == (str(refusal()), refusal().next_step)


def test_every_part_is_bound() -> None:
    """Another environment, client, profile, generation, key id, header or anything in the manifest: other bytes."""
    one, dek_id = manifest(), UUID(int=4)
    others = [
        replace(one, environment=Environment.STAGING), replace(one, client_id=ClientId(UUID(int=9))),
        replace(one, profile_id=ProfileId(UUID(int=9))), replace(one, generation=2),
        replace(one, packing=Packing.FULL), replace(one, created_by=UUID(int=9)),
    ]  # fmt: skip
    bound = {binding(other, dek_id, HEAD) for other in (one, *others)}
    bound |= {binding(one, UUID(int=5), HEAD), binding(one, dek_id, replace(HEAD, salt=bytes(32)))}
    bound |= {binding(one, dek_id, replace(HEAD, commitment=bytes(32)))}
    assert len(bound) == len(others) + 4
    assert {text.count(b"\n") for text in bound} == {8}


def test_the_binding_is_what_the_page_says() -> None:
    """Eight lines in their order, each with a line end."""
    one = manifest()
    assert binding(one, UUID(int=4), HEAD).decode() == (
        "byokeep-sealed-blob/1\nproduction\n00000000-0000-0000-0000-000000000001\n"
        "00000000-0000-0000-0000-000000000002\n1\n00000000-0000-0000-0000-000000000004\n"
        f"{one.hash.hex()}\n{bytes(HEAD).hex()}\n"
    )
