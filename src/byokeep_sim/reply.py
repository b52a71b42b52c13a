"""What a simulated vendor is asked and what it answers, before it becomes HTTP.

Rules
- Pure data: no sockets here, so that a vendor's behaviour can be read as a table.
- A reply may hold the presented key only when a fault asks for it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any


class SimKeyState(StrEnum):
    """What the vendor thinks of a key. A key nobody registered is invalid."""

    VALID = "valid"
    NO_CREDIT = "no_credit"
    BILLING_BLOCKED = "billing_blocked"
    RESTRICTED = "restricted"
    LEAKED = "leaked"
    DISABLED = "disabled"
    REVOKED = "revoked"
    RATE_LIMITED = "rate_limited"
    GEO_BLOCKED = "geo_blocked"
    MANAGEMENT = "management"
    CAP_REACHED = "cap_reached"
    MAINTENANCE = "maintenance"


COMMON_STATES = frozenset(SimKeyState) - {SimKeyState.MANAGEMENT, SimKeyState.CAP_REACHED, SimKeyState.MAINTENANCE}


@dataclass(frozen=True, slots=True, kw_only=True)
class SimReply:
    """One HTTP answer; ``body`` is sent as JSON, unless there are ``raw`` bytes to send instead."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    content_type: str = "application/json"

    def encoded(self) -> bytes:
        """Return the raw bytes, or the body as UTF-8 JSON."""
        return json.dumps(self.body).encode() if self.raw is None else self.raw

    def with_headers(self, **headers: str) -> SimReply:
        """Return a copy with headers added; underscores in names become dashes."""
        added = {name.replace("_", "-"): value for name, value in headers.items()}
        return replace(self, headers={**self.headers, **added})


@dataclass(frozen=True, slots=True, kw_only=True)
class SimCall:
    """One call as the vendor sees it. ``state`` is None for an unknown or missing key."""

    route: str
    state: SimKeyState | None
    key: str
    account: str
    headers: Mapping[str, str]
    seq: int
    both_credentials: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A path of a vendor: ``pattern`` matches the path after the vendor's prefix, whole."""

    method: str
    pattern: re.Pattern[str]
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """A simulated vendor: where its key sits, its paths, its answers.

    Args:
        key_headers: (header, prefix) pairs in which the vendor looks for the key.
        key_query: Query parameter that the vendor also accepts, None for none.
        error: Native error body for an HTTP status, used by the ``status`` fault.
    """

    name: str
    key_headers: tuple[tuple[str, str], ...]
    routes: tuple[Route, ...]
    answer: Callable[[SimCall], SimReply]
    error: Callable[[int], SimReply]
    key_query: str | None = None
    extra_states: frozenset[SimKeyState] = frozenset()

    def route(self, method: str, path: str) -> Route | None:
        """Return the route that serves this call, or None."""
        return next((r for r in self.routes if r.method == method and r.pattern.fullmatch(path)), None)


def route(method: str, pattern: str, name: str) -> Route:
    """Build a route from a regular expression over the whole path."""
    return Route(method=method, pattern=re.compile(pattern), name=name)


def masked(key: str, head: int, tail: int, filler: str) -> str:
    """Mask a key the way vendors do; a short key is masked whole."""
    return f"{key[:head]}{filler}{key[-tail:]}" if len(key) > 2 * (head + tail) else filler
