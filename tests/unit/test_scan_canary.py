"""Canaries: their shapes, their markers and what their repr gives away."""

from __future__ import annotations

import re

import pytest

from byokeep_redact.canary import PROVIDERS, Canary, marker_of, new_canary

SHAPES = {
    "anthropic": r"sk-ant-api03-[A-Za-z0-9_-]{93}AA",
    "openai": r"sk-proj-[A-Za-z0-9_-]{74}T3BlbkFJ[A-Za-z0-9_-]{74}",
    "google": r"AQ\.Ab8RN6[A-Za-z0-9_-]{44}",
    "openrouter": r"sk-or-v1-[0-9a-f]{64}",
    "kie": r"[0-9a-f]{32}",
    "heygen": r"sk_V2_hgu_k[A-Za-z0-9]{10}_[A-Za-z0-9]{32}",
}


def test_every_provider_has_a_shape() -> None:
    """The providers offered are the providers checked here."""
    assert set(PROVIDERS) == set(SHAPES)


@pytest.mark.parametrize("provider", SHAPES)
def test_canary_has_its_providers_shape_and_a_marker(provider: str) -> None:
    """Each canary matches its provider's key shape, differs from the next, and holds a 24-character marker."""
    values = [new_canary(provider) for _ in range(50)]
    for value in values:
        assert re.fullmatch(SHAPES[provider], value.decode())
        marker = marker_of(value)
        assert len(marker) == 24
        assert marker in value
    assert len({marker_of(value) for value in values}) == 50


def test_unknown_provider_and_foreign_value_are_refused() -> None:
    """No canary is made for a provider without a shape, and no marker is read from a value that is none."""
    with pytest.raises(KeyError):
        new_canary("nobody")
    with pytest.raises(ValueError, match="not_a_canary"):
        marker_of(b"sk-ant-api03-too-short")


def test_marker_must_be_part_of_the_value() -> None:
    """A marker that the value does not hold would search for something else."""
    with pytest.raises(ValueError, match="marker_not_in_value"):
        Canary("x", new_canary("kie"), b"0123456789abcdefghijklmn")


def test_repr_keeps_the_value_back() -> None:
    """A canary's repr shows its label alone."""
    value = new_canary("anthropic")
    assert repr(Canary("mine", value, marker_of(value))) == "Canary(label='mine')"
