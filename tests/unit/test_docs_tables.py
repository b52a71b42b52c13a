"""The tables of docs/architecture.md say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from byokeep.core.keystate import TRANSITIONS
from byokeep.core.policy import FORBIDDEN_PAIRS, GRANTS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "architecture.md").read_text()
ROW = re.compile(r"^\| `([\w.]+)` \|([^|]*)\|$", re.MULTILINE)
WORD = re.compile(r"`(\w+)`")


def table(heading: str) -> list[tuple[str, set[str]]]:
    """The rows of the two-column table below a heading: first cell, words of the second."""
    _, found, rest = PAGE.partition(f"\n## {heading}\n")
    assert found, f"no heading {heading}"
    rows = ROW.findall(rest.partition("\n## ")[0])
    return [(first, set(WORD.findall(second))) for first, second in rows]


def test_the_table_of_key_states_is_the_transition_table() -> None:
    """A reader of the page and the program agree on every transition, the forbidden ones included."""
    assert table("States of a key") == [
        (state.value, {target.value for target in targets}) for state, targets in TRANSITIONS.items()
    ]


def test_the_table_of_verbs_is_the_table_of_grants() -> None:
    """Nobody holds a verb that the page does not show, and the other way round."""
    assert table("Who may do what") == [(verb.value, {role.value for role in roles}) for verb, roles in GRANTS.items()]


def test_the_sentence_on_role_pairs_names_all_of_them() -> None:
    """The page lists five forbidden pairs: those of the code."""
    assert "operator with approver, admin or auditor; admin with approver or auditor" in PAGE
    assert {frozenset(role.value for role in pair) for pair in FORBIDDEN_PAIRS} == {
        frozenset(pair)
        for pair in (
            ("operator", "approver"), ("operator", "admin"), ("operator", "auditor"),
            ("admin", "approver"), ("admin", "auditor"),
        )
    }  # fmt: skip
