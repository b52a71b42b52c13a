"""One error tree. What an error is named says what its receiver should do next.

The root, its rules, and the two that the redactor raises too are those of :mod:`byokeep_redact.errors`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from byokeep_redact.errors import ByokeepError, Conflict, Rejected

__all__ = [
    "KINDS", "ByokeepError", "Conflict", "Denied", "Integrity", "NotFound", "Pending", "RateLimited", "Rejected",
    "Unauthenticated", "Unavailable",
]  # fmt: skip


class Denied(ByokeepError):
    """The caller may not do this; nothing changed (DENY)."""

    exit_code = 3
    http_status = 403


class Unauthenticated(Denied):
    """No valid credential was shown."""

    http_status = 401


class NotFound(Denied):
    """There is no such object for this caller; another client's object answers the same."""

    http_status = 404


class Unavailable(ByokeepError):
    """A part that must work does not; nothing was released and nothing acted (UNAVAIL)."""

    exit_code = 4
    http_status = 503


class Pending(Unavailable):
    """What was asked for holds, and a part that could not be reached is still to follow by itself (PENDING)."""

    exit_code = 7


class RateLimited(Unavailable):
    """Too many calls; ``retry_after_s`` says when to come back."""

    http_status = 429


class Integrity(ByokeepError):
    """Stored bytes are not what was written; the object is quarantined (TAMPER)."""

    exit_code = 5
    http_status = 409


# What the classes are called on the wire (RFC 9457 ``type``), the narrower before the wider.
KINDS: Final[Mapping[str, type[ByokeepError]]] = MappingProxyType(
    {
        "rejected": Rejected, "unauthenticated": Unauthenticated, "not_found": NotFound, "denied": Denied,
        "rate_limited": RateLimited, "pending": Pending, "unavailable": Unavailable,
        "integrity": Integrity, "conflict": Conflict,
    }
)  # fmt: skip
