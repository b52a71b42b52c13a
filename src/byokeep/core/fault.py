"""Why a social platform refused a call, as one of the few causes that decide what happens next.

Rules
- The causes are a closed set. A platform's descriptor turns its codes and texts into one of them; the originals are
  dropped.
- ``unknown`` is never taken for harmless: a call whose refusal cannot be read counts as failed.
- Whether the request left, and whether a whole answer came back, is stated apart from the cause: a one-time token may
  be spent although nobody saw the answer.

It may not carry text of a reply.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class FaultCause(StrEnum):
    """What a refusal means.

    ``revoked``: the grant is gone; only a person can give a new one. ``expired``: this token has expired; another may
    be had. ``lockout``: the person must act at the platform; no retry. ``lock_unknown``: the same, for a code that the
    descriptor does not know, in a refusal that mentions a lock or a challenge. ``missing_scope``: the grant is live but
    lacks this permission. ``transient``: nothing is wrong with the token. ``rate_limited``: try later. ``too_early``:
    the token is too young to be renewed; not a failure. ``app``: our app's id, secret or set-up is refused.
    ``unknown``: none of these.
    """

    REVOKED = "revoked"
    EXPIRED = "expired"
    LOCKOUT = "lockout"
    LOCK_UNKNOWN = "lock_unknown"
    MISSING_SCOPE = "missing_scope"
    TRANSIENT = "transient"
    RATE_LIMITED = "rate_limited"
    TOO_EARLY = "too_early"
    APP = "app"
    UNKNOWN = "unknown"


LOCKS: Final = frozenset({FaultCause.LOCKOUT, FaultCause.LOCK_UNKNOWN})
OVER: Final = frozenset({FaultCause.REVOKED, FaultCause.EXPIRED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A call that did not give what was asked for.

    Args:
        cause: What it means.
        http_status: Status of the answer; None if there was none.
        retry_after_s: After how many seconds the platform says to come back; None if it does not say.
        sent: Whether bytes of the request may have reached the platform.
        answered: Whether a whole answer came back and was understood as a refusal.

    Raises:
        ValueError: An answer to a request that was not sent.
    """

    cause: FaultCause
    http_status: int | None = None
    retry_after_s: float | None = None
    sent: bool = True
    answered: bool = True

    def __post_init__(self) -> None:
        if self.answered and not self.sent:
            raise ValueError("what was not sent was not answered")

    @property
    def lost(self) -> bool:
        """Whether the platform may have acted on the request without our learning the result."""
        return self.sent and not self.answered
