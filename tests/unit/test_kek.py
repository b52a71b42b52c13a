"""The nouns of key wrapping: one context has one spelling; stored fields that nobody would have written are refused."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from byokeep.core.canonical import parse_canonical
from byokeep.core.errors import Conflict, Integrity, Rejected
from byokeep.core.kek import (
    KekFault,
    KekStatus,
    KekVersion,
    KeyContext,
    Wrapped,
    check_retirement,
    check_rotation,
    is_unfinished,
)
from byokeep.core.model import ClientId, Environment
from byokeep.core.ref import parse

CONTEXTS = st.builds(
    lambda environment, client, profile: KeyContext(
        environment=environment, client_id=ClientId(client), profile_id=profile
    ),
    st.sampled_from(Environment), st.uuids(), st.uuids(),
)  # fmt: skip
GOOD: dict[str, Any] = {
    "holder": "transit", "kek_id": "production-1", "kek_version": 1, "ciphertext": "vault:v1:" + "A" * 80,
}  # fmt: skip


def status(*numbers: int, least: int = 1, fault: KekFault | None = None) -> KekStatus:
    now = datetime.now(UTC)
    versions = tuple(KekVersion(number=n, created_at=now, fault=fault) for n in numbers)
    return KekStatus(
        kek_id="k",
        versions=versions,
        min_encryption=least,
    )


@given(CONTEXTS, CONTEXTS)
def test_a_context_has_one_spelling(one: KeyContext, other: KeyContext) -> None:
    """Equal contexts give equal bytes and different ones different bytes; the KEK's id fits a reference."""
    assert (one.canonical == other.canonical) == (one == other)
    found = parse_canonical(one.canonical)
    assert found == {
        "format": "byokeep-kek/1", "environment": one.environment.value, "client": str(one.client_id),
        "profile": str(one.profile_id),
    }  # fmt: skip
    wrapped = Wrapped(**GOOD | {"kek_id": one.scope.tenant_kek})
    assert parse(str(wrapped.key_ref)) == wrapped.key_ref


@given(st.uuids(), st.uuids())
def test_no_part_of_a_context_stands_for_another(first: UUID, second: UUID) -> None:
    """Client and profile swapped, or another environment, are other bytes."""
    one = KeyContext(environment=Environment.STAGING, client_id=ClientId(first), profile_id=second)
    swapped = dataclasses.replace(one, client_id=ClientId(second), profile_id=first)
    moved = dataclasses.replace(one, environment=Environment.PRODUCTION)
    assert len({one.canonical, swapped.canonical, moved.canonical}) == (3 if first != second else 2)
    assert one.scope.tenant_kek != moved.scope.tenant_kek


@pytest.mark.parametrize(
    "changed",
    [
        {"kek_version": 0}, {"kek_version": -1}, {"kek_version": True}, {"kek_version": "1"}, {"kek_version": 2**31},
        {"kek_id": ""}, {"kek_id": "Production-1"}, {"kek_id": "../x"}, {"kek_id": "a" * 64}, {"kek_id": "a\n"},
        {"ciphertext": ""}, {"ciphertext": "A" * 15}, {"ciphertext": "A" * 4097},
        {"ciphertext": GOOD["ciphertext"] + "\n"}, {"ciphertext": "A" * 40 + "\u00e9"},
    ],
)  # fmt: skip
def test_fields_that_no_holder_wrote_are_a_broken_key(changed: dict[str, Any]) -> None:
    """A stored wrapped key whose fields are out of their grammar is one Integrity before anybody is asked."""
    Wrapped(**GOOD)
    with pytest.raises(Integrity, match="wrapped_key_broken"):
        Wrapped(**GOOD | changed)


def test_a_rotation_starts_from_what_its_caller_saw() -> None:
    """Another newest version is a conflict, a fault is refused, and only a rotation of the same start is finished."""
    check_rotation(status(), 0)
    check_rotation(status(1, 2), 2)
    for seen in (0, 1, 3):
        with pytest.raises(Conflict, match="kek_version_moved"):
            check_rotation(status(1, 2), seen)
    for fault in KekFault:
        with pytest.raises(Rejected, match=fault.value):
            check_rotation(status(1, fault=fault), 1)
        assert status(1, 2, fault=fault).faults == (fault,)
        assert not is_unfinished(status(1, 2, fault=fault), 1)
    assert is_unfinished(status(1, 2), 1)
    assert not is_unfinished(status(1, 2, least=2), 1)
    assert not is_unfinished(status(1, 2), 2)
    assert not is_unfinished(status(1, 2, 3), 1)
    assert not is_unfinished(status(), 0)


def test_the_newest_version_is_never_retired() -> None:
    """What is retired lies below a version that exists."""
    check_retirement(status(1, 2, 3), 3)
    for below in (-1, 0, 1, 4):
        with pytest.raises(Rejected, match="bad_kek_version"):
            check_retirement(status(1, 2, 3), below)
    with pytest.raises(Rejected, match="bad_kek_version"):
        check_retirement(status(), 1)
