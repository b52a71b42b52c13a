"""docs/events.md is the catalogue that the program keeps to."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from byokeep.adapters.postgres.migrations import WRITERS
from byokeep.core.events import EventName, Outcome
from byokeep.telemetry.log import EVENTS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "events.md").read_text("utf-8")
NAMES = {
    "authn_login_fail", "authz_fail", "input_validation_fail", "sequence_fail",
}  # fmt: skip
REFUSED = {Outcome.DENIED: "denied", Outcome.REJECTED: "rejected", Outcome.FAILED: "failed"}


def table(heading: str) -> list[list[str]]:
    """The cells of the table below a heading."""
    _, found, rest = PAGE.partition(f"\n## {heading}\n")
    assert found, heading
    lines = [line for line in rest.partition("\n## ")[0].splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def words(cell: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", cell))


@pytest.mark.req("R1.2-6", "S-OWASP-18")
def test_the_audit_events_of_the_page_are_those_of_the_code() -> None:
    """Event for event: its fields, and the processes that may write it."""
    rows = {row[0].strip("`"): row for row in table("Audit events")}
    assert list(rows) == [event.value for event in EventName]
    for event in EventName:
        _, meaning, outcomes, writers, fields = rows[event.value]
        assert words(fields) == event.fields - {"reason"}, event
        assert {f"byokeep_{writer}" for writer in writers.split(", ")} == set(WRITERS[event]), event
        assert set(filter(None, outcomes.split(", "))) <= set(Outcome), event
        assert meaning.endswith("."), event
        assert (meaning == "Reserved.") == (outcomes == ""), event


@pytest.mark.req("R1.2-6")
def test_the_log_events_of_the_page_are_those_of_the_code() -> None:
    """Event for event: its fields."""
    assert {row[0].strip("`"): words(row[2]) for row in table("Log events")} == EVENTS
    assert all(row[1].endswith(".") for row in table("Log events"))


def refusals() -> set[tuple[str, str]]:
    """Every event that the program can put on record as a refusal, with its outcome, read from the flows."""
    found: set[tuple[str, str]] = set()
    for path in sorted((ROOT / "src" / "byokeep").rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
                    found |= {
                        (name, outcome)
                        for event, outcomes in _refused(call)
                        for name in _named(event, call, function, tree)
                        for outcome in outcomes
                    }
    return found


def _refused(call: ast.Call) -> list[tuple[ast.AST | None, tuple[str, ...]]]:
    """The events that a call puts on record as refused, each with its outcomes."""
    called = ast.unparse(call.func).rpartition(".")[2]
    said = {word.arg: word.value for word in call.keywords}
    if called in ("command", "recorded"):
        default = ast.parse("EventName.ACCESS").body[0]
        refused = (said.get("refused_as", default), ("rejected", "failed"))
        return [refused, (said.get("denied_as", default), ("denied",))]
    event = said.get("name", call.args[2] if len(call.args) > 2 else None)
    if called == "record_refusal":
        return [(event, ("denied",))]
    if called in ("Event", "record") and "outcome" in said:
        outcome = ast.unparse(said["outcome"])
        texts = (text for one, text in REFUSED.items() if outcome == f"Outcome.{one.name}" and text != "failed")
        return [(event, tuple(texts))]
    return []


def _named(given: ast.AST | None, call: ast.Call, function: ast.AST, tree: ast.AST) -> set[str]:
    """The events that an expression names; of a variable, all that function, module or a default gives it."""
    constants = _constants(given) if given is not None else set()
    if constants or not isinstance(given, ast.Name):
        return constants
    assigned = {
        name for node in ast.walk(function) if isinstance(node, ast.Assign)
        if any(isinstance(target, ast.Name) and target.id == given.id for target in node.targets)
        for name in _constants(node.value)
    }  # fmt: skip
    if assigned or ast.unparse(call.func).endswith("Event"):  # the recorder itself, whose callers are read
        return assigned
    own = getattr(function, "name", "")
    return _constants(getattr(function, "args", ast.Pass())) | {
        name for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == own
        for name in _constants(node)
    }  # fmt: skip


def _constants(node: ast.AST) -> set[str]:
    return {
        EventName[part.attr].value for part in ast.walk(node)
        if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name) and part.value.id == "EventName"
    }  # fmt: skip


@pytest.mark.req("S-OWASP-18")
def test_every_refusal_has_its_name_in_the_published_vocabulary() -> None:
    """Each event that the program records as refused stands in the table of refusals, once, under a known name."""
    rows = table("Refusals in the words of OWASP")
    listed = [(row[0].strip("`"), row[1]) for row in rows]
    assert len(set(listed)) == len(listed)
    assert {row[2].strip("`") for row in rows} == NAMES
    possible = refusals()
    assert {("session.login", "denied"), ("access.decided", "denied"), ("client.suspended", "failed")} <= possible
    assert possible - set(listed) - {("client.suspended", "rejected"), ("client.resumed", "rejected")} == set()
    assert set(listed) <= possible
    outcomes = {row[0].strip("`"): row[2].split(", ") for row in table("Audit events")}
    assert [pair for pair in listed if pair[1] not in outcomes[pair[0]]] == []
