"""The report of a recovery drill: what was restored, which steps passed, how long it took (docs/spec/drill-report.md).

Rules
- The steps are those of section 9.3 of the runbook, in its order, and then break glass. The first that fails ends the
  drill: those after it are *not run*. A drill passes only if every step does.
- There is one spelling: ``members`` gives back what the parser accepts. What no drill would write is refused.

It may not hold a value, the name of a client, or anything that a provider or platform said.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from byokeep.core.canonical import from_stamp, stamp

FORMAT: Final = 1
RESTORE: Final = "restore_secrets"
REFS: Final = "restore_refs"
VERIFY: Final = "verify_clients"
PUBLISH: Final = "publish_refused"
GLASS: Final = "break_glass"
STEPS: Final = (RESTORE, REFS, VERIFY, PUBLISH, GLASS)
PASSED: Final = "passed"
FAILED: Final = "failed"
NOT_RUN: Final = "not_run"
CLIENTS: Final = 3
_CODE: Final = re.compile(r"[a-z][a-z0-9_]{1,62}\Z")
_WORD: Final = re.compile(r"[a-z0-9][A-Za-z0-9_.:/,+ -]{0,199}\Z")
NETWORKS: Final = ("none", "shared", "unknown")
_MOST: Final = 1000  # words in a list
Fact = str | int | list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillStep:
    """How a step ended. ``reason``: a code, only if it failed. ``evidence``: ids, codes and counts."""

    name: str
    state: str
    reason: str = ""
    evidence: Mapping[str, Fact] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class DrillReport:
    """One drill.

    Attributes:
        origin: Name of the installation's log, ``byokeep/<id>``.
        backup: The backup that was restored; None: none could be opened.
        run_by: The user of the host who ran it, by name or number.
        network: The network of the drill's stack: one of :data:`NETWORKS`.
        seed: The seed with which the clients were chosen.
        clients: Their ids.
        rto_s: Seconds from the start until everything was verified; None: it never was.
        rpo_s: Seconds between the newest restored record and the newest of production; None: unknown.
    """

    origin: str
    id: UUID
    backup: UUID | None
    started_at: datetime
    ended_at: datetime
    run_by: str
    network: str
    seed: int
    clients: Sequence[UUID]
    rto_s: int | None
    rpo_s: int | None
    steps: Sequence[DrillStep]

    @property
    def passed(self) -> bool:
        """Whether every step passed."""
        return all(step.state == PASSED for step in self.steps)

    @property
    def failed(self) -> DrillStep | None:
        """The step that failed; None if none did."""
        return next((step for step in self.steps if step.state == FAILED), None)

    def members(self) -> dict[str, Any]:
        """Return the one spelling of this report, as an object."""
        return {
            "v": FORMAT, "origin": self.origin, "id": str(self.id), "backup": str(self.backup) if self.backup else None,
            "started_at": stamp(self.started_at), "ended_at": stamp(self.ended_at),
            "run_by": self.run_by, "network": self.network,
            "outcome": PASSED if self.passed else FAILED, "seed": self.seed,
            "clients": [str(one) for one in self.clients], "rto_s": self.rto_s, "rpo_s": self.rpo_s,
            "steps": [{"step": one.name, "state": one.state, "reason": one.reason, "evidence": dict(one.evidence)}
                      for one in self.steps],
        }  # fmt: skip


def parse(found: Mapping[str, Any]) -> DrillReport:
    """Read a report. Raises ValueError, KeyError, TypeError or AttributeError if no drill wrote it."""
    if type(found["v"]) is not int or found["network"] not in NETWORKS:
        raise ValueError("version or network")
    report = DrillReport(
        origin=found["origin"], id=UUID(found["id"]),
        backup=None if found["backup"] is None else UUID(found["backup"]), started_at=from_stamp(found["started_at"]),
        ended_at=from_stamp(found["ended_at"]), run_by=found["run_by"], network=found["network"], seed=found["seed"],
        clients=[UUID(one) for one in found["clients"]], rto_s=found["rto_s"], rpo_s=found["rpo_s"],
        steps=[DrillStep(name=one["step"], state=one["state"], reason=one["reason"], evidence=one["evidence"])
               for one in found["steps"]],
    )  # fmt: skip
    _check(report)
    if report.members() != found:
        raise ValueError("not as it is written")
    return report


def _check(report: DrillReport) -> None:
    """Refuse what no drill would write. Raises ValueError."""
    states = [one.state for one in report.steps]
    ran = states.count(PASSED)
    if tuple(one.name for one in report.steps) != STEPS or states != _states(ran, len(states)):
        raise ValueError("steps")
    if any(bool(_CODE.match(one.reason)) is not (one.state == FAILED) for one in report.steps):
        raise ValueError("reason")
    if any(one.evidence and one.state == NOT_RUN for one in report.steps):
        raise ValueError("evidence")
    if not all(_CODE.match(name) and _fact(one) for step in report.steps for name, one in step.evidence.items()):
        raise ValueError("evidence")
    if len(set(report.clients)) != len(report.clients) or report.ended_at < report.started_at:
        raise ValueError("clients or times")
    verified = ran > STEPS.index(VERIFY)
    if verified and (len(report.clients) < CLIENTS or report.rpo_s is None):
        raise ValueError("clients")
    if (report.rto_s is None) is verified or (ran > 0 and report.backup is None):
        raise ValueError("figures")
    if not all(_whole(one) for one in (report.seed, *(n for n in (report.rto_s, report.rpo_s) if n is not None))):
        raise ValueError("figures")
    if not re.fullmatch(r"byokeep/[0-9a-f-]{36}", report.origin) or not _fact(report.run_by):
        raise ValueError("origin or who")


def _states(passed: int, count: int) -> list[str]:
    return ([PASSED] * passed + [FAILED] + [NOT_RUN] * count)[:count]


def _fact(found: object) -> bool:
    if isinstance(found, list):
        return len(found) <= _MOST and all(isinstance(one, str) and _WORD.match(one) for one in found)
    return _whole(found) or (isinstance(found, str) and _WORD.match(found) is not None)


def _whole(found: object) -> bool:
    return type(found) is int and 0 <= found < 2**53
