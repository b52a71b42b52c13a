"""Each alert says what to do about it."""

from __future__ import annotations

import ast
from pathlib import Path

from byokeep.core import kek
from byokeep.core.next_steps import of_alert, of_rotation
from byokeep.profiles.kek import FINDINGS

SRC = Path(__file__).parents[2] / "src" / "byokeep"
RAISES = {
    "alert": "reason",
    "raise_alert": "reason",
    "tell_state": "reason",
    "open_alert": "reason",
    "LogFinding": "reason",
    "record_refusal": "alerted",
    "_alert_many": "reason",
}


def _reasons() -> dict[str, str]:
    """Every reason that stands as a constant where an alert is raised, and the file it stands in."""
    found: dict[str, str] = {}
    for file in sorted(SRC.rglob("*.py")):
        tree = ast.parse(file.read_text())
        constants = {
            target.id: node.value.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant)
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
            if isinstance(target, ast.Name)
        }
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            name = getattr(call.func, "id", None) or getattr(call.func, "attr", None)
            if name not in RAISES:
                continue
            for word in (
                word for word in call.keywords if word.arg in ("alerted", "reason") and word.arg == RAISES[name]
            ):
                for node in _results(word.value):
                    value = node.value if isinstance(node, ast.Constant) else None
                    if isinstance(node, ast.Name):
                        value = constants.get(node.id)
                    if isinstance(value, str):
                        found[value] = str(file.relative_to(SRC))
    return found


def _results(node: ast.expr) -> list[ast.expr]:
    """What an expression may come to: both sides of an ``if``, not what it asks."""
    if isinstance(node, ast.IfExp):
        return [*_results(node.body), *_results(node.orelse)]
    return [node]


def test_each_reason_of_an_alert_has_advice() -> None:
    """Each reason in the source has a line that says what to do, and so do those that are put together."""
    reasons = _reasons()
    assert {"admin_recovered", "credentials_of_another_issued", "device_gap"} <= set(reasons)
    # Reasons that come out of tables and findings rather than standing at the call.
    more = {one.value for one in kek.KekFinding} | {"node_not_named", "subject_unrecorded", "token_unrecorded"}
    more |= {"kek_due", "kek_overdue", "machine_token_ends", "person_token_ends"}
    more |= {"blocked_store_unreachable", "blocked_switch_closed", "blocked_whatever"}  # the runner's own code
    more |= set(FINDINGS)
    without = {one: reasons.get(one, "") for one in (*reasons, *more) if not of_alert(one)}
    assert not without


def test_a_rotation_that_stopped_says_why_in_a_sentence_of_its_own() -> None:
    """In words where there are some; a code without words ends in a full stop, too."""
    said = of_rotation("failed", "admin_key_refused", ("create",), minted=True)
    assert "admin_key_refused" not in said
    assert "stores another one. Then `byokeep rotate resume {id}`" in said
    assert of_rotation("failed", "some_code", ("cutover",)).startswith("It stopped: some_code. Then `byokeep rotate")
