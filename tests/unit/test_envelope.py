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
from byokeep.core.secret import Secret
from byokeep.sealing.sealer import HEADER, binding, commitment, header, refusal, require_header
from tests.support.sealing import manifest

DEK, SALT = Secret(bytes(range(64, 96))), bytes(range(32))
HEAD = header(SALT, commitment(DEK, SALT))


def test_the_header_is_what_the_page_says() -> None:
    """Magic, version, suite, zeros, salt, commitment: 80 bytes at their places."""
    assert header(SALT, bytes(range(32, 64))) == b"BYOKSEAL\0\1\0\1\0\0\0\0" + bytes(range(64))
    assert len(HEAD) == HEADER == 80


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_any_header_comes_back(salt: bytes, key: bytes) -> None:
    """What was written is read as the same."""
    assert require_header(header(salt, commitment(Secret(key), salt)), Secret(key)) == salt


@pytest.mark.parametrize("at", range(16))
def test_no_other_version_suite_or_bit_is_read(at: int) -> None:
    """Each bit before the salt has one value; every other is refused."""
    for bit in range(8):
        data = bytearray(HEAD)
        data[at] ^= 1 << bit
        with pytest.raises(Integrity, match="sealed_blob_unreadable"):
            require_header(bytes(data), DEK)


@pytest.mark.parametrize("size", [0, 1, 16, 79, 81, 160])
def test_a_header_has_one_length(size: int) -> None:
    """Shorter and longer are refused."""
    with pytest.raises(Integrity, match="sealed_blob_unreadable"):
        require_header((HEAD * 2)[:size], DEK)


def test_another_commitment_is_refused_in_the_same_words() -> None:
    """One bit of difference, a shorter one, none, another key: the one refusal; the same one passes."""
    assert require_header(HEAD, DEK) == SALT
    for other in (bytes(32), HEAD[48:-1] + b"\0", HEAD[48:-1], b""):
        with pytest.raises(Integrity) as caught:
            require_header(header(SALT, other), DEK)
        assert (str(caught.value), caught.value.next_step) == (str(refusal()), refusal().next_step)
    with pytest.raises(Integrity, match="sealed_blob_unreadable"):
        require_header(HEAD, Secret(bytes(32)))


def test_every_part_is_bound() -> None:
    """Another environment, client, profile, generation, key id, header or anything in the manifest: other bytes."""
    one, dek_id = manifest(), UUID(int=4)
    others = [
        replace(one, environment=Environment.STAGING), replace(one, client_id=ClientId(UUID(int=9))),
        replace(one, profile_id=ProfileId(UUID(int=9))), replace(one, generation=2),
        replace(one, packing=Packing.FULL), replace(one, created_by=UUID(int=9)),
    ]  # fmt: skip
    bound = {binding(other, dek_id, HEAD) for other in (one, *others)}
    bound |= {binding(one, UUID(int=5), HEAD), binding(one, dek_id, header(bytes(32), HEAD[48:]))}
    bound |= {binding(one, dek_id, header(SALT, bytes(32)))}
    assert len(bound) == len(others) + 4
    assert {text.count(b"\n") for text in bound} == {8}


def test_the_binding_is_what_the_page_says() -> None:
    """Eight lines in their order, each with a line end."""
    one = manifest()
    assert binding(one, UUID(int=4), HEAD).decode() == (
        "byokeep-sealed-blob/1\nproduction\n00000000-0000-0000-0000-000000000001\n"
        "00000000-0000-0000-0000-000000000002\n1\n00000000-0000-0000-0000-000000000004\n"
        f"{one.hash.hex()}\n{HEAD.hex()}\n"
    )
