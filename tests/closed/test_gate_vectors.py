"""The published decisions of the gate, one fact changed at a time."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from byokeep.core.errors import Denied
from byokeep.core.gate import DenyReason, GateInput, check_effect, gate_schema

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors" / "gate" / "decisions.json").read_text())
SPEC = Path(__file__).parents[2] / "docs" / "spec" / "gate.md"


def gate(values: dict[str, Any]) -> GateInput:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    at, fresh = given.pop("identity_at_s"), given.pop("identity_fresh_for_s")
    return GateInput(
        now=now,
        identity_at=None if at is None else now + timedelta(seconds=at),
        identity_fresh_for=timedelta(seconds=fresh),
        **given,
    )


@pytest.mark.req("R12-1")
@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: str(case["name"]))
def test_the_gate_decides_as_published(case: dict[str, Any]) -> None:
    """Every vector ends as it says: allow, or exactly its reason."""
    decided = "allow"
    try:
        check_effect(gate(VECTORS["base"] | case["change"]))
    except Denied as error:
        decided = error.code
    assert decided == case["expect"]


def test_every_reason_and_input_is_published() -> None:
    """Vectors give each reason that facts can lead to, and the document names every input and every reason."""
    given = {case["expect"] for case in VECTORS["cases"]}
    assert given == {reason.value for reason in DenyReason} | {"allow"}
    text = SPEC.read_text()
    schema: dict[str, Any] = gate_schema()
    for name in [*schema["inputs"], *schema["deny_reasons"], *schema["effects"], *schema["lanes"]]:
        assert f"`{name}`" in text, name
