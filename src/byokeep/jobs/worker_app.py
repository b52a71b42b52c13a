"""What a flow of ``byokeep worker`` gets: its ports, none of which holds a standing right at the store.

Rules
- A value is reachable inside a custody lease only; leaving the block ends the reach.
- What a provider says arrives as an allow-listed outcome; what logs hold arrives as counts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from byokeep.core.model import Provider
from byokeep.core.secret import Secret
from byokeep.kernel.app import App
from byokeep.kernel.ports import CheckOutcome, Custodian


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakCount:
    """What a search of logs and spans looked at and found. ``readable`` is False if any source could not be read."""

    sources: int
    lines: int
    spans: int
    found: int
    readable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerApp(App):
    """``byokeep worker``: reads a value inside a lease, and nowhere else."""

    custodian: Custodian
    identify: Callable[[Provider, Secret], Awaitable[CheckOutcome]]
    search_logs: Callable[[Secret, datetime], Awaitable[LeakCount]]
