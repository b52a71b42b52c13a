"""The outcome of one check of the installation: ok, failed, or unknown.

``byokeep doctor``, ``/readyz`` and the checklists all use these outcomes.

Rules
- A probe says ok or failed about what it saw. What it could not check is unknown. That includes a time-out and any
  error, and neither ever passes as ok.
- If nothing was checked, the result is not ok (:func:`all_ok`).
- An outcome carries a code, figures and what to do next, never a value or foreign text.
- The caller gets an answer in time, whatever the probe does: a probe that hangs is abandoned.

It may not repair anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, TypeAlias

from byokeep.core.errors import ByokeepError


class ProbeState(StrEnum):
    """How a probe ended."""

    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"


Figures: TypeAlias = Mapping[str, str | int | float]
PROBE_WITHIN_S: Final = 3.0
SKEW_S: Final = 2.0  # clocks that are further apart are not one time; a login token lives three


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeOutcome:
    """What a probe found.

    Attributes:
        name: What was looked at, as a person calls it.
        state: How it is.
        code: Why it is not ok; empty when it is.
        figures: What was counted, measured or named.
        next_step: What to do about it; at an ok one, what could be better.
    """

    name: str
    state: ProbeState
    code: str = ""
    figures: Figures = field(default_factory=dict)
    next_step: str = ""

    @property
    def ok(self) -> bool:
        """Whether it was seen to be well."""
        return self.state is ProbeState.OK

    def row(self) -> dict[str, object]:
        """Return it as a row of a table or document; ``detail`` is all of it in words."""
        figures = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in self.figures.items())
        return {
            "check": self.name, "state": self.state.value, "code": self.code, "figures": dict(self.figures),
            "next_step": self.next_step, "detail": "; ".join(filter(None, (self.code, figures, self.next_step))),
        }  # fmt: skip


def ok(name: str, next_step: str = "", **figures: str | int | float) -> ProbeOutcome:
    """Return that something is well; ``next_step`` is advice."""
    return ProbeOutcome(name=name, state=ProbeState.OK, figures=figures, next_step=next_step)


def failed(name: str, code: str, next_step: str, **figures: str | int | float) -> ProbeOutcome:
    """Return that something is not well, and what to do."""
    return ProbeOutcome(name=name, state=ProbeState.FAILED, code=code, figures=figures, next_step=next_step)


def unknown(name: str, code: str, next_step: str, **figures: str | int | float) -> ProbeOutcome:
    """Return that nobody could tell, and what would let one."""
    return ProbeOutcome(name=name, state=ProbeState.UNKNOWN, code=code, figures=figures, next_step=next_step)


def skew_s(before: datetime, at: datetime, after: datetime) -> float:
    """Return by how many seconds another clock, asked between two looks at ours, is certainly apart from it."""
    return max((before - at).total_seconds(), (at - after).total_seconds(), 0.0)


async def passes(name: str, check: Awaitable[object]) -> ProbeOutcome:
    """Return ok once a check that raises has not."""
    await check
    return ok(name)


async def ask(
    name: str, probe: Callable[[], Awaitable[ProbeOutcome]], *, within: float = PROBE_WITHIN_S
) -> ProbeOutcome:  # fmt: skip
    """Return what a probe finds; unknown with the error's code when it raises, ``timed_out`` when it takes too long.

    Args:
        name: Of the outcome when the probe gives none.
        probe: Looks.
        within: Seconds after which it is left behind.
    """
    task = asyncio.ensure_future(probe())
    try:
        await asyncio.wait({task}, timeout=within)
        if task.done():
            return task.result()
    except ByokeepError as error:
        return unknown(name, error.code, error.next_step)
    except Exception as error:  # whatever it was, nobody could look
        return unknown(name, "probe_failed", f"The check itself failed: {type(error).__name__}.")
    finally:
        task.cancel()
        task.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody waits for it any more
    return unknown(name, "timed_out", "It did not answer in time. Is it stopped, or the machine busy?", within_s=within)


def all_ok(outcomes: Iterable[ProbeOutcome]) -> bool:
    """Whether something was looked at and all of it is well."""
    found = list(outcomes)
    return bool(found) and all(one.ok for one in found)
