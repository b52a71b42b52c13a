"""What the pack found: counts per class and sink, and a verdict that is "clean" only when everything was looked at.

Rules: shapes and places are named, samples never; ``unknown`` weighs less than ``found`` and more than ``clean``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

Verdict = Literal["clean", "found", "unknown"]
Standing = Literal["clean", "found", "slow", "unknown", "absent"]
EXIT: Final[Mapping[Verdict, int]] = {"clean": 0, "found": 1, "unknown": 4}


@dataclass(slots=True)
class Row:
    """One class through one sink.

    Attributes:
        samples: How many were emitted.
        leaked: Of how many 12 bytes or more could be read.
        altered: Of how many something came out changed that must survive.
        unseen: How many left no trace at all, so that nothing is known of them.
        control: How many leaked with the engine off; 0 = this sink could not have shown a leak.
        slow: How many took more time than they may: a warning, for a busy machine is slow too.
        heavy: 1 when the process grew by more memory than it may.
        shapes: What leaked or was altered.
    """

    group: str
    sink: str
    samples: int = 0
    leaked: int = 0
    altered: int = 0
    unseen: int = 0
    control: int = 0
    slow: int = 0
    heavy: int = 0
    shapes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Result:
    """A whole run.

    Attributes:
        seed: Draws the same samples again.
        engine: ``byokeep`` or ``foreign``.
        sinks: What became of each sink: ``ran``, ``absent`` or ``failed:<error type>``.
        expected: Classes that must have samples, for they have a sink here.
        absent: Classes that have none: every sink of theirs needs a library that is not installed.
        missed: Samples, as class/shape, that the leak criterion does not find even where they stand unredacted.
        cost_s: CPU seconds of each long line.
        rejected: Why the pack itself proves nothing; empty when it does.
    """

    seed: str
    engine: str = "unknown"
    rows: list[Row] = field(default_factory=list)
    sinks: dict[str, str] = field(default_factory=dict)
    expected: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    cost_s: dict[str, float] = field(default_factory=dict)
    grown_bytes: int = 0
    rejected: list[str] = field(default_factory=list)

    def groups(self) -> list[str]:
        """Return the classes that were, or should have been, looked at, in order."""
        return list(dict.fromkeys([*self.expected, *(row.group for row in self.rows)]))

    def of(self, group: str) -> list[Row]:
        """Return the rows of a class."""
        return [row for row in self.rows if row.group == group]

    def verdict(self, group: str) -> Standing:
        """Return what is known of a class."""
        if group in self.absent:
            return "absent"
        rows = self.of(group)
        if any(row.leaked or row.altered or row.heavy for row in rows):
            return "found"
        failed = any(state.startswith("failed") for state in self.sinks.values())
        looked = sum(row.samples for row in rows) and sum(row.control for row in rows)
        unseen, missed = sum(row.unseen for row in rows), any(one.startswith(f"{group}/") for one in self.missed)
        if not looked or failed or unseen or missed or self.rejected:
            return "unknown"
        return "slow" if any(row.slow for row in rows) else "clean"

    def overall(self) -> Verdict:
        """Return what is known of everything; a run without classes is unknown, one that is slow is clean."""
        verdicts: set[Standing] = {self.verdict(group) for group in self.groups()} or {"unknown"}
        return "found" if "found" in verdicts else "unknown" if "unknown" in verdicts else "clean"

    def doubts(self) -> list[str]:
        """Return why the pack as a whole proves nothing: sinks that could not run, controls that did not hold."""
        states = [f"sink {name}: {state}" for name, state in self.sinks.items() if state.startswith("failed")]
        missed = [f"not found where planted: {one}" for one in self.missed]
        empty = [] if any(row.samples for row in self.rows) else ["no samples"]
        return empty + states + missed + [f"pack rejected: {one}" for one in self.rejected]

    def to_json(self) -> str:
        """Return the run as one JSON document."""
        return json.dumps(asdict(self) | {"verdict": self.overall()}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Result:
        """Return a run from what :meth:`to_json` made of it."""
        fields: dict[str, Any] = json.loads(text)
        fields.pop("verdict")
        return cls(**fields | {"rows": [Row(**row) for row in fields["rows"]]})

    def failure(self, group: str) -> str:
        """Say why a class is not clean: shapes and sinks, never a sample."""
        lines = [f"{group}: {self.verdict(group)} (seed {self.seed}, engine {self.engine})"]
        for row in self.of(group):
            if row.leaked or row.altered or row.unseen or row.slow or row.heavy:
                shown = ", ".join(row.shapes[:12]) + (" ..." if len(row.shapes) > 12 else "")
                lines.append(
                    f"  {row.sink}: {row.samples} samples, {row.leaked} leaked, {row.altered} altered,"
                    f" {row.unseen} unseen, {row.slow} slow" + (f": {shown}" if shown else "")
                )
        lines += [f"  {doubt}" for doubt in self.doubts()]
        if not sum(row.samples for row in self.of(group)):
            lines.append("  no samples")
        return "\n".join(lines)


def table(result: Result) -> str:
    """Return the counts per class as text."""
    lines = [f"{'class':<14}{'samples':>9}{'leaked':>8}{'altered':>9}{'unseen':>8}{'slow':>6}  verdict"]
    for group in result.groups():
        rows = result.of(group)
        lines.append(
            f"{group:<14}{_sum(row.samples for row in rows):>9}{_sum(row.leaked for row in rows):>8}"
            f"{_sum(row.altered for row in rows):>9}{_sum(row.unseen for row in rows):>8}"
            f"{_sum(row.slow for row in rows):>6}  {result.verdict(group)}"
        )
    lines += [f"{group:<14}{'':>40}  not available" for group in result.absent]
    ran = sorted(name for name, state in result.sinks.items() if state == "ran")
    absent = sorted(name for name, state in result.sinks.items() if state == "absent")
    lines.append(f"seed {result.seed}, engine {result.engine}, {len(ran)} sinks: {', '.join(ran)}")
    if absent:
        lines.append(f"not available: {', '.join(absent)}")
    return "\n".join(lines)


def _sum(counts: Iterable[int]) -> int:
    return sum(counts)
