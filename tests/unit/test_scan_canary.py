"""Canaries: their shapes, their markers and what their repr gives away."""

from __future__ import annotations

import re

import pytest

from byokeep_redact.canary import PROVIDERS, Canary, new_canary

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
def test_canary_has_its_providers_shape_and_differs_from_the_next(provider: str) -> None:
    """Each canary matches its provider's key shape, and no two share the 24 characters after their public start."""
    values = [new_canary(provider) for _ in range(50)]
    for value in values:
        assert re.fullmatch(SHAPES[provider], value.decode())
    assert len({Canary("x", value).searched[:24] for value in values}) == 50


def test_unknown_provider_is_refused() -> None:
    """No canary is made for a provider without a shape."""
    with pytest.raises(KeyError):
        new_canary("nobody")


def test_repr_keeps_the_value_back() -> None:
    """A canary's repr shows its label alone."""
    value = new_canary("anthropic")
    assert repr(Canary("mine", value)) == "Canary(label='mine')"
