"""What a flow of ``byokeep worker`` gets: its ports, none of which holds a standing right at the store.

Rules
- A value is reachable inside a custody lease only; leaving the block ends the reach.
- What a provider says arrives as an allow-listed note; what logs hold arrives as counts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from byokeep.core.model import Provider
from byokeep.core.secret import Secret
from byokeep.kernel.app import App
from byokeep.kernel.ports import Custodian


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityNote:
    """What may be kept of an identity call.

    Attributes:
        status: Code of the outcome, e.g. ``verified`` or ``invalid_key``.
        verified: Whether the provider knows the key.
        again: Whether asking later may end differently.
        alarming: Whether a person must look at once.
        endpoint: Name of the call.
        http_status: ``None`` when nothing was answered.
        account_hash: Keyed digest of the provider's account id, if it gave one.
    """

    status: str
    verified: bool
    again: bool
    alarming: bool
    endpoint: str
    http_status: int | None
    latency_ms: int
    attempts: int
    account_hash: str | None


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
    identify: Callable[[Provider, Secret], Awaitable[IdentityNote]]
    search_logs: Callable[[Secret, datetime], Awaitable[LeakCount]]
